"""`./zdm traffic dual on|off|status`: whether MySQL's origin writes to Aurora too (see `contract.dual`).

On: first the guard, then the second writes. Off: first no second writes, then, when CDC has brought all that was
committed before, no guard. A command that was interrupted in between is finished by running it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console as RichConsole

from contract import dual
from contract.flag import Side
from scripts.console import Console
from scripts.context import Context
from scripts.errors import UsageError
from scripts.switch import journal
from scripts.switch.drain import settler
from scripts.switch.fence import Controller

_VERSIONED = (
    "SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = %s "
    "AND table_name = ANY(%s) ORDER BY 1"
)


@dataclass(frozen=True)
class DualResult:
    """Whether there are second writes, which tables are guarded, and what was (or would be) done."""

    on: bool
    guarded: list[str]
    changes: list[str]
    dry_run: bool = False

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {"dual": self.on, "guarded": self.guarded, "changes": self.changes, "dryRun": self.dry_run}

    def render(self, out: RichConsole) -> None:
        for change in self.changes:
            out.print(f"{'would' if self.dry_run else 'did'}: {change}", markup=False)
        out.print(f"Dual mode is {'on' if self.on else 'off'}; guarded: {', '.join(self.guarded) or 'no table'}.")


def run(
    context: Context, action: Literal["on", "off", "status"], *, dry_run: bool = False, console: Console
) -> DualResult:
    """Turns second writes on or off. Raises `UsageError` where there can be none."""
    with Controller(context) as c:
        if action == "status":
            return DualResult(*_seen(c), changes=[])
        c.lock()
        unfinished = journal.unfinished(c.postgres, c.cursor)
        if unfinished is not None:
            raise UsageError(f"the cutover {unfinished.id} is not finished (state {unfinished.state}): finish it first")
        if action == "on" and c.mysql_flag().mode is not Side.MYSQL:
            raise UsageError("Aurora is the writer: there is nothing to copy to it")
        changes = _turn_on(context, c, dry_run) if action == "on" else _turn_off(context, c, dry_run, console)
        return DualResult(*_seen(c), changes=changes, dry_run=dry_run)


def _turn_on(context: Context, c: Controller, dry_run: bool) -> list[str]:
    on, guarded = _seen(c)
    rows = c.postgres.execute(_VERSIONED, (dual.VERSION_COLUMN, context.outputs.pipeline.tables)).fetchall()
    missing = sorted({name for (name,) in rows} - set(guarded))
    changes = []
    if missing:
        changes.append(f"aurora: no row of {', '.join(missing)} goes back to an older {dual.VERSION_COLUMN}")
        if not dry_run:
            _execute(c, list(dual.guard(missing)))
    if not on:
        changes.append("mysql: its origin writes to Aurora too, from its next transaction on")
        if not dry_run:
            c.cursor.execute(dual.SET_DUAL, (1,))
    return changes


def _turn_off(context: Context, c: Controller, dry_run: bool, console: Console) -> list[str]:
    on, guarded = _seen(c)
    changes = []
    if on:
        changes.append("mysql: its origin writes to MySQL only, from its next transaction on")
        if not dry_run:
            c.cursor.execute(dual.SET_DUAL, (0,))
    if guarded:
        changes.append(f"aurora: no guard on {', '.join(guarded)}, once CDC has brought what was committed before")
        if not dry_run:
            if c.mysql_flag().mode is Side.MYSQL:
                with console.step("Dual mode: wait for CDC"), settler(context) as settle:
                    settle()
            _execute(c, list(dual.unguard(guarded)))
    return changes


def _execute(c: Controller, statements: Sequence[str]) -> None:
    with c.postgres.transaction():
        for statement in statements:
            c.postgres.execute(statement.encode())


def _seen(c: Controller) -> tuple[bool, list[str]]:
    """Whether second writes are on, and the guarded tables."""
    c.cursor.execute(dual.READ_DUAL)
    row = c.cursor.fetchone()
    guarded = sorted(str(name) for (name,) in c.postgres.execute(dual.GUARDED).fetchall())
    return bool(row and row[0]), guarded
