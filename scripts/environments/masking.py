"""Masks a restored database before anybody may use it: personal data and cards become made-up ones, secrets go.

What becomes of a value is `contract.masks`; which columns, `data-classes.yaml`. It is done inside the database, in
batches by primary key, by several sessions at once.

Invariants:
- Before anything is changed, every column that is really there has a class.
- Killed anywhere and run again with the same key, it ends as if it had not been: `masking_state`.
- The same value masks to the same result in every table, and in both databases.
- What the database knows of old values besides the rows goes as well: statistics and histograms are made anew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
import pymysql
from rich.console import Console as RichConsole

from contract.flag import Side
from contract.privacy import DataClasses
from scripts.console import Step
from scripts.data.keyset import Bounds
from scripts.environments import masking_state as state
from scripts.environments.masked import AGAIN, Masked, Session, open_session, tables_there, work_off
from scripts.environments.masking_sql import TablePlan, plan_of, update
from scripts.environments.masking_state import Part
from scripts.errors import UsageError, ZdmError

__all__ = ["Masked", "MaskingResult", "mask"]

ATTEMPTS: Final = 8
"""So often a transaction is tried that lost a lock or a deadlock."""
PARTS_PER_WORKER: Final = 4


@dataclass(frozen=True)
class MaskingResult:
    """`rows` are those masked in all, by table; `already`: there was nothing left to do. `columns` by table, as
    `name: class`."""

    side: Side
    rows: dict[str, int] = field(default_factory=dict)
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    seconds: float = 0.0
    already: bool = False
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return True

    @property
    def total(self) -> int:
        return sum(self.rows.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "side": str(self.side),
            "rows": self.rows,
            "total": self.total,
            "columns": self.columns,
            "seconds": round(self.seconds, 3),
            "already": self.already,
            "notes": list(self.notes),
        }

    def render(self, out: RichConsole) -> None:
        if self.already:
            out.print(f"{self.side}: masked already, with this key and these data classes")
            return
        out.print(f"{self.side}: {self.total:,} rows masked in {self.seconds:.1f} s")
        for table, columns in self.columns.items():
            out.print(
                f"  {table}: {self.rows.get(table, 0):,} rows; " + ", ".join(f"{c} {k}" for c, k in columns.items()),
                markup=False,
            )
        for note in self.notes:
            out.print(f"  {note}", markup=False)


def mask(target: Masked, classes: DataClasses, key: bytes, step: Step) -> MaskingResult:
    """Masks the database. Raises `UsageError` before anything is changed, `ZdmError` when it refuses a value."""
    if len(key) < 16:
        raise UsageError("the masking key is too short: 16 bytes at least (output maskingSecret names its secret)")
    started = time.monotonic()
    session = open_session(target, key)
    try:
        tables = tables_there(target, session, classes)
        plans = [plan for table in tables if (plan := plan_of(table, classes)) is not None]
        print_ = state.fingerprint(key, classes, plans)
        columns = {plan.name: {column.name: str(given) for column, given in plan.columns} for plan in plans}
        with state.alone(session):
            if (before := state.done_before(session)) is not None:
                if before != print_:
                    raise UsageError(
                        "this database was masked before, with another key or other data classes; restore it again"
                    )
                return MaskingResult(target.side, state.counted(session), columns, already=True)
            parts = state.begin(session, print_, plans, target.workers * PARTS_PER_WORKER)
            state.put_triggers_aside(session, plans)
            _work(target, key, plans, parts, step)
            notes: list[str] = []
            state.bring_triggers_back(session, notes.append)
            _forget(session, plans)
            state.end(session)
            rows = state.counted(session)
    finally:
        session.close()
    step.done(f"{sum(rows.values()):,} rows")
    return MaskingResult(target.side, rows, columns, time.monotonic() - started, notes=tuple(notes))


def _work(target: Masked, key: bytes, plans: Sequence[TablePlan], parts: Sequence[Part], step: Step) -> None:
    """Masks all parts."""
    by_name = {plan.name: plan for plan in plans}
    total = sum(plan.table.rows for plan in plans)
    done = sum(part.rows for part in parts)
    lock = threading.Lock()

    def add(rows: int) -> None:
        nonlocal done
        with lock:
            done += rows
            step.progress(done, max(total, done), "rows")

    def mask_part(session: Session, part: Part, stopped: Callable[[], bool]) -> None:
        plan, last, finished = by_name[part.table], part.last, False
        while not finished and not stopped():
            end = state.bound(session, plan, part, last, target.batch)
            finished = end is None
            add(_mask_batch(session, plan, part, Bounds(last, part.upto if end is None else end), finished))
            last = end

    work_off(target, parts, mask_part, key)


def _mask_batch(session: Session, plan: TablePlan, part: Part, bounds: Bounds, last: bool) -> int:
    """One transaction: the rows within the bounds, and how far the part is."""
    statement = update(session, plan, bounds)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with session.transaction():
                rows = session.run(statement)
                state.move(session, part, bounds.upto, rows, last)
            return rows
        except (pymysql.err.MySQLError, psycopg.Error) as e:
            if code_of(e) not in AGAIN or attempt == ATTEMPTS:
                raise refused(plan, e) from None  # the statement's values are not for a traceback
    raise AssertionError("unreachable")


def code_of(e: BaseException) -> int | str | None:
    if isinstance(e, psycopg.Error):
        return e.sqlstate
    return e.args[0] if e.args and isinstance(e.args[0], int) else None


def refused(plan: TablePlan, e: BaseException) -> ZdmError:
    """Names the table, and the constraint where there is one; never a value."""
    constraint = getattr(getattr(e, "diag", None), "constraint_name", None)
    what = f"constraint {constraint}" if constraint else f"error {code_of(e)}"
    columns = ", ".join(f"{column.name} ({given})" for column, given in plan.columns)
    return ZdmError(
        f"{plan.name} cannot be masked: the database refuses a masked value ({what}). Masked are {columns}: "
        "give one of them another class in data-classes.yaml, then restore and mask again"
    )


def _forget(session: Session, plans: Sequence[TablePlan]) -> None:
    """Statistics hold old values, in plain text."""
    if session.side is Side.AURORA:
        for plan in plans:
            session.run(f"VACUUM (ANALYZE) {session.relation(plan.name)}")
        for (view,) in session.rows("SELECT matviewname FROM pg_matviews WHERE schemaname = 'public'"):
            session.run(f"REFRESH MATERIALIZED VIEW {session.name('public', view)}")
        return
    for plan in plans:
        schema, _, name = plan.name.rpartition(".")
        for (column,) in session.rows(
            "SELECT column_name FROM information_schema.column_statistics "
            "WHERE schema_name = COALESCE(NULLIF(%s, ''), DATABASE()) AND table_name = %s",
            schema, name,
        ):  # fmt: skip
            session.run(f"ANALYZE TABLE {session.relation(plan.name)} DROP HISTOGRAM ON {session.name(column)}")
