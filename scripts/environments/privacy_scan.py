"""Proves that nothing personal is left in a masked database: reads every text in it, whatever class it has.

- A masked column holds nothing but NULL, '' and values of its mask's form. No real value has that form, so no value of
  the column is an original one, without anybody having to remember the originals (which would be personal data again).
- An erased column holds nothing.
- In every other text column, JSON too: no e-mail address, telephone, card or identity number and no name of a person
  (`contract.personal`), but where `data-classes.yaml` allows what looks like one.

Invariants:
- A finding names table, column, kind, how many rows and the key of one of them; never the value.
- Nothing is written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pymysql
from rich.console import Console as RichConsole

from contract.flag import Side
from contract.masks import BINARIES, ERASED, JSON, TEXTS, form_of
from contract.personal import SUSPECT, found
from contract.privacy import DataClass, DataClasses
from contract.tables import Column, Table
from scripts.console import Step
from scripts.data.keyset import Bounds
from scripts.environments.masked import Masked, Session, open_session, tables_there, work_off
from scripts.environments.masking_state import cuts

UNMASKED: Final = "not masked"
NOT_ERASED: Final = "not erased"
ITERATED: Final = 500
"""Rows that are fetched at a time."""


@dataclass(frozen=True)
class Finding:
    """What is left in a column, in `rows` rows; `key` is the primary key of one of them."""

    table: str
    column: str
    what: str
    rows: int
    key: str

    def to_json(self) -> dict[str, Any]:
        return {"table": self.table, "column": self.column, "what": self.what, "rows": self.rows, "key": self.key}


@dataclass(frozen=True)
class ScanResult:
    """`texts` columns were read in `tables` tables; clean if nothing was found."""

    side: Side
    tables: int
    texts: int
    masked: int
    """Columns whose every value was held against the form of its mask."""
    findings: tuple[Finding, ...] = ()
    seconds: float = field(default=0.0, compare=False)

    @property
    def ok(self) -> bool:
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "side": str(self.side),
            "tables": self.tables,
            "textColumns": self.texts,
            "maskedColumns": self.masked,
            "findings": [finding.to_json() for finding in self.findings],
            "seconds": round(self.seconds, 3),
        }

    def render(self, out: RichConsole) -> None:
        if self.ok:
            out.print(
                f"{self.side}: all values of {self.masked} masked columns are made up, and nothing personal is in "
                f"{self.texts} other text columns of {self.tables} tables"
            )
            return
        out.print(f"{self.side}: [red]personal data is left[/red]")
        for f in self.findings:
            such = f", such as {f.key}" if f.key else ""
            out.print(f"  {f.table}.{f.column}: {f.what} in {f.rows:,} rows{such}", markup=False)
        out.print(
            "  Give the column its class in data-classes.yaml and mask anew; if it is no personal data, say so under "
            "`allow:`",
            markup=False,
        )


def scan(target: Masked, classes: DataClasses, step: Step) -> ScanResult:
    """Reads the whole database. Raises `UsageError` for columns without a class."""
    started = time.monotonic()
    session = open_session(target)
    try:
        tables = tables_there(target, session, classes)
        plans = [plan for table in tables if (plan := _plan(table, classes)).reads]
        parts = [
            (plan, Bounds(after, upto))
            for plan in plans
            for after, upto in cuts(session, plan.table, target.workers * 4)
        ]  # fmt: skip
    finally:
        session.close()
    tally = _Tally()
    _work(target, parts, classes, tally, step, sum(plan.table.rows for plan in plans))
    texts, masked = sum(len(plan.texts) for plan in plans), sum(len(plan.masked) for plan in plans)
    step.done(f"{len(tally.found)} findings" if tally.found else f"{masked} masked and {texts} other columns are clean")
    return ScanResult(target.side, len(tables), texts, masked, tally.findings(), time.monotonic() - started)


@dataclass(frozen=True)
class _Plan:
    table: Table
    texts: tuple[Column, ...]
    """Where anything may be found."""
    masked: tuple[tuple[Column, DataClass], ...]

    @property
    def reads(self) -> bool:
        return bool(self.texts or self.masked)


def _plan(table: Table, classes: DataClasses) -> _Plan:
    masked = tuple(
        (column, classes.of(column))
        for column in table.columns
        if classes.of(column).name != "none" and column.generated is None
    )
    known = {column.name for column, _ in masked}  # a value of a mask's form is known as a whole
    texts = tuple(column for column in table.columns if column.type in TEXTS | JSON and column.name not in known)
    return _Plan(table, texts, masked)


class _Tally:
    """Rows by table, column and what was found, and a key for each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.found: dict[tuple[str, str, str], list[Any]] = {}
        self.rows = 0

    def add(self, table: str, column: str, what: str, key: str) -> None:
        with self._lock:
            self.found.setdefault((table, column, what), [0, key])[0] += 1

    def findings(self) -> tuple[Finding, ...]:
        return tuple(Finding(*place, rows, key) for place, (rows, key) in sorted(self.found.items()))


def _work(
    target: Masked,
    parts: Sequence[tuple[_Plan, Bounds]],
    classes: DataClasses,
    tally: _Tally,
    step: Step,
    total: int,
) -> None:
    shares = {plan.table.name: sum(other is plan for other, _ in parts) for plan, _ in parts}

    def read(session: Session, part: tuple[_Plan, Bounds], stopped: Callable[[], bool]) -> None:
        plan, bounds = part
        _read(session, plan, bounds, classes, tally)
        tally.rows += plan.table.rows // shares[plan.table.name]
        step.progress(tally.rows, total, "rows")

    work_off(target, parts, read)


def _read(session: Session, plan: _Plan, bounds: Bounds, classes: DataClasses, tally: _Tally) -> None:
    table = plan.table
    key = [session.text(column) for column in table.key_columns]
    wrong = [_wrong(session, column, given) for column, given in plan.masked]
    texts = [session.text(column) for column in plan.texts]
    suspect = [session.dialect.has(text, SUSPECT) for text in texts]
    columns = [*key, *wrong, *(f"CASE WHEN {s} THEN {text} END" for s, text in zip(suspect, texts, strict=True))]
    condition = session.condition(table, bounds) if table.primary_key else "TRUE"
    query = (
        f"SELECT {', '.join(columns)} FROM {session.relation(table.name)} "
        f"WHERE {condition} AND ({' OR '.join([*wrong, *suspect])})"
    )
    for row in _stream(session, query):
        name = ", ".join(f"{c} {v}" for c, v in zip(table.primary_key, row, strict=False))
        if any(classes.of(column).name != "none" for column in table.key_columns):
            name = ""  # the key itself may be what is left
        flags, found_in = row[len(key) : len(key) + len(wrong)], row[len(key) + len(wrong) :]
        for (column, given), flag in zip(plan.masked, flags, strict=True):
            if flag:
                tally.add(table.name, column.name, NOT_ERASED if given.name == "secret" else UNMASKED, name)
        for column, text in zip(plan.texts, found_in, strict=True):
            for kind in (found(text) if text else frozenset()) - classes.allowed.get(column.path, frozenset()):
                tally.add(table.name, column.name, kind, name)


def _wrong(session: Session, column: Column, given: DataClass) -> str:
    """SQL: whether the value is none that a mask makes."""
    name = session.name(column.name)
    if given.name == "secret":
        if column.nullable:
            return f"({name} IS NOT NULL)"
        return f"({_length(session, name)} > 0 AND {_readable(session, column)} <> '{ERASED}')"
    form = form_of(given.mask, column)
    if not form:
        return f"({name} <> FLOOR({name}))"
    some = f"{name} IS NOT NULL" if column.type not in TEXTS | BINARIES else f"{_length(session, name)} > 0"
    return f"({some} AND NOT {session.dialect.fits(session.text(column), form)})"


def _length(session: Session, name: str) -> str:
    return f"LENGTH({name})" if session.side is Side.MYSQL else f"octet_length({name})"


def _readable(session: Session, column: Column) -> str:
    """A text, or bytes as text without the zeros that fill a BINARY."""
    name = session.name(column.name)
    if column.type in TEXTS:
        return name
    if session.side is Side.MYSQL:
        return f"CONVERT(TRIM(TRAILING X'00' FROM {name}) USING latin1)"
    return f"rtrim(encode({name}, 'escape'), '\\000')"


def _stream(session: Session, query: str) -> Iterator[tuple[Any, ...]]:
    """The rows of a query, without having all of them in memory."""
    if session.side is Side.MYSQL:
        with session.connection.cursor(pymysql.cursors.SSCursor) as cursor:
            cursor.execute(query)
            while rows := cursor.fetchmany(ITERATED):
                yield from rows
        return
    with session.connection.transaction(), session.connection.cursor(name="zdm_scan") as cursor:
        cursor.itersize = ITERATED
        cursor.execute(query.encode())
        yield from cursor
