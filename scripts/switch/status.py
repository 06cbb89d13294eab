"""What `./zdm cutover status` shows: who is the writer, what is open, what the way back does, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console as RichConsole
from rich.table import Table as RichTable

from contract.flag import Flag, Side, Writes
from contract.outputs import Outputs
from scripts.switch.journal import Direction, Entry, Run, State

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Status:
    """`slot`: whether the way back's slot is there, in use, and how many bytes of log Aurora keeps for it."""

    outputs: Outputs
    mysql: Flag
    postgres: Flag
    read_only: bool
    super_read_only: bool
    run: Run | None
    busy: bool
    entries: list[Entry]
    slot: tuple[bool, bool, int]

    @property
    def ok(self) -> bool:
        """Whether one side is the writer and nothing is open."""
        return self.run is None or self.run.finished

    @property
    def flag(self) -> Flag:
        return max(self.mysql, self.postgres, key=lambda f: (f.epoch, f.v))

    @property
    def next(self) -> str:
        """What the operator does next."""
        stack, run, back = self.outputs.stack, self.run, self.outputs.pipeline.way_back
        if run is not None and not run.finished:
            if self.busy:
                return f"A {run.direction} is under way (state {run.state}). To stop it: ./zdm cutover abort {stack}"
            what = "finish" if run.committed else "undo"
            return f"The {run.direction} {run.id} died in state {run.state}. To {what} it: ./zdm cutover resume {stack}"
        if self.flag.writes is not Writes.OPEN:
            return f"Writes are {self.flag.writes}. To let them go on: ./zdm traffic release {stack}"
        if self.flag.mode is Side.MYSQL:
            if run is not None and run.direction is Direction.ROLLBACK and self.outputs.pipeline.state != "running":
                return (
                    f"MySQL is the writer again. Aurora gets its changes when the way there runs: ./zdm up {stack} "
                    f"-c cdc.reverse=stopped -c cdc.state=running -c cdc.reverseRound={self._next_round}"
                )
            return f"MySQL is the writer. To switch: ./zdm gate {stack}, then ./zdm cutover {stack}"
        if back is None or (run is not None and run.state is State.FINAL):
            return "Aurora is the writer for good."
        if back.state != "running":
            return (
                f"Aurora is the writer; the way back is kept open but does not run: ./zdm up {stack} "
                "-c cdc.state=stopped -c cdc.reverse=running"
            )
        return (
            f"Aurora is the writer. To watch it: ./zdm cutover probation {stack}; to go back: ./zdm rollback {stack}; "
            f"to give the way back up: ./zdm cutover final {stack}"
        )

    @property
    def _next_round(self) -> int:
        back = self.outputs.pipeline.way_back
        return int(back.slot.rpartition("_")[2]) + 1 if back else 1

    def to_json(self) -> dict[str, Any]:
        run, (there, active, kept) = self.run, self.slot
        return {
            "writer": self.flag.mode.value,
            "writes": self.flag.writes.value,
            "mysql": {"flag": self.mysql.to_json(), "readOnly": self.read_only, "superReadOnly": self.super_read_only},
            "aurora": {"flag": self.postgres.to_json()},
            "run": None
            if run is None
            else {
                "id": run.id,
                "direction": run.direction.value,
                "state": run.state.value,
                "committed": run.committed,
                "finished": run.finished,
                "operator": run.detail.get("operator", ""),
            },
            "busy": self.busy,
            "wayBack": {"slot": there, "active": active, "keptBytes": kept},
            "journal": [
                {"run": e.run, "state": e.state.value, "at": e.at.isoformat(), "epoch": e.epoch, "detail": e.detail}
                for e in self.entries
            ],
            "next": self.next,
        }

    def render(self, out: RichConsole) -> None:
        table = RichTable("side", "writer", "writes", "reads from Aurora", "epoch", "")
        shut = "super_read_only" if self.super_read_only else "read_only" if self.read_only else "open"
        there, active, kept = self.slot
        way = f"slot {'in use' if active else 'waits'}, {kept / MEBIBYTE:,.1f} MiB of log kept" if there else ""
        for name, flag, note in (("MySQL", self.mysql, shut), ("Aurora", self.postgres, way)):
            table.add_row(name, flag.mode, flag.writes, f"{flag.weight:g} %", str(flag.epoch), note)
        out.print(table)
        if self.entries:
            history = RichTable("at (UTC)", "run", "state", "epoch")
            for e in self.entries:
                history.add_row(f"{e.at:%F %T}", e.run[:8], e.state.value, str(e.epoch))
            out.print(history)
        out.print(self.next, markup=False, soft_wrap=True)
