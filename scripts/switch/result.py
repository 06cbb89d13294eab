"""What a cutover has to say at its end: to people, to programs, and to the record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console as RichConsole
from rich.table import Table as RichTable

from contract.flag import Flag
from scripts.switch.journal import Direction, State
from scripts.switch.probe import Pause


@dataclass(frozen=True)
class StepTime:
    """One state: when it was reached (Unix time), how long it took, and what there is to say."""

    state: State
    at: float
    seconds: float
    detail: dict[str, Any]


@dataclass(frozen=True)
class CutoverResult:
    """What happened. `outcome`: `open`, `undone`, `refused`, `dry-run`, or of a run that had died `finished`."""

    run: str
    outcome: str
    flag: Flag | None
    problems: list[str] = field(default_factory=list)
    steps: list[StepTime] = field(default_factory=list)
    pause: Pause | None = None
    pause_bound: float = 0.0
    differences: list[dict[str, Any]] = field(default_factory=list)
    direction: Direction = Direction.CUTOVER

    @property
    def ok(self) -> bool:
        if self.outcome in ("dry-run", "finished"):
            return not self.problems
        return self.outcome == "open" and self.pause_seconds is not None and self.pause_seconds <= self.pause_bound

    @property
    def pause_seconds(self) -> float | None:
        """Last write acknowledged before the fence to first one after it, by the independent writer."""
        return None if self.pause is None else self.pause.seconds

    @property
    def opened_at(self) -> float | None:
        """From when on the target may have taken writes (Unix time)."""
        return next((s.at - s.seconds for s in self.steps if s.state is State.OPEN), None)

    @property
    def reason(self) -> str:
        """Why the answer is no, in one line."""
        if not self.ok and not self.problems and self.pause_seconds is not None:
            return f"writes paused {self.pause_seconds:.2f} s, more than {self.pause_bound:g} s"
        return "; ".join(self.problems)

    def detail(self, state: State) -> dict[str, Any]:
        """What a state had to say; empty when it was not reached."""
        return next((s.detail for s in self.steps if s.state is state), {})

    def to_json(self) -> dict[str, Any]:
        pause = self.pause
        return {
            "run": self.run,
            "direction": self.direction.value,
            "outcome": self.outcome,
            "ok": self.ok,
            "problems": self.problems,
            "opened_at": self.opened_at,
            "flag": None
            if self.flag is None
            else {
                "epoch": self.flag.epoch,
                "v": self.flag.v,
                "weight": self.flag.weight,
                "writes": self.flag.writes.value,
                "mode": self.flag.mode.value,
            },
            "pauseSeconds": None if pause is None else round(pause.seconds, 4),
            "pauseBound": self.pause_bound,
            "pause": None
            if pause is None
            else {"began": pause.began, "ended": pause.ended, "before": pause.before.value, "after": pause.after.value},
            "steps": [
                {"state": s.state.value, "at": s.at, "seconds": round(s.seconds, 4), "detail": s.detail}
                for s in self.steps
            ],
            "differences": self.differences,
        }

    def render(self, out: RichConsole) -> None:
        table = RichTable("state", "took", "")
        for step in self.steps:
            table.add_row(
                step.state.value,
                f"{step.seconds * 1000:,.0f} ms",
                ", ".join(f"{k}={v}" for k, v in step.detail.items() if not isinstance(v, dict | list))[:100],
            )
        if self.steps:
            out.print(table)
        for problem in self.problems:
            out.print(f"- {problem}", markup=False)
        there, back = ("Aurora", "MySQL") if self.direction is Direction.CUTOVER else ("MySQL", "Aurora")
        what = {
            "open": f"{there} is the writer.",
            "undone": f"Undone: {back} is the writer, as before.",
            "refused": "Refused; nothing was changed.",
            "dry-run": "Dry run: nothing was changed.",
            "finished": f"The run that had died is finished: {there} is the writer.",
        }[self.outcome]
        out.print(what + (f" Writes paused {self.pause.seconds:.2f} s." if self.pause else ""))


@dataclass(frozen=True)
class Done:
    """What a command did, in a sentence."""

    ok: bool
    says: str

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "says": self.says}

    def render(self, out: RichConsole) -> None:
        out.print(self.says, markup=False, soft_wrap=True)
