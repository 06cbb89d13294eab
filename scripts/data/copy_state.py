"""Where a copy is, in PostgreSQL's schema `zdm`: runs, their tables and segments, and the rows that were set aside.

Invariants:
- A segment's position is changed in the transaction that brings its rows, and read there FOR UPDATE before the first of
  them. Whoever is killed leaves both or neither, and a transaction that outlives its process is waited for.
- One copy at a time holds the advisory lock `LOCK`.
- A run begins where capture was proven to have begun, so tables may be added to it later.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from contract.control import POSTGRES_DDL
from contract.tables import postgres_name
from scripts.data.difference import Key
from scripts.data.keyset import Bounds
from scripts.data.rules import SCHEMA, Postgres
from scripts.errors import UsageError

LOCK: Final = 0x7A646D63
"""PostgreSQL's advisory lock of whoever copies."""

_SEGMENT: Final = "table_name, number, after_key, upto_key, last_key, rows, bytes, set_aside, done"


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a table, and how far it is: all rows up to `last` (by MySQL's order) are on the target or set aside."""

    table: str
    number: int
    bounds: Bounds
    last: Key | None = None
    rows: int = 0
    bytes: int = 0
    set_aside: int = 0
    done: bool = False

    @property
    def rest(self) -> Bounds:
        """What is still to be copied."""
        return Bounds(self.last or self.bounds.after, self.bounds.upto)


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A row that was set aside: its key and what cannot be carried; the value itself is not kept."""

    table: str
    key: Key
    column: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {"table": self.table, "key": list(self.key), "column": self.column, "reason": self.reason}

    def __str__(self) -> str:
        return f"{self.table} ({', '.join(self.key)}){' ' if self.column else ''}{self.column}: {self.reason}"


@dataclass(frozen=True)
class Run:
    """A copy of some tables. Without capture `gtid_set` is empty."""

    id: str
    state: str
    gtid_set: str
    offsets: Mapping[str, int]
    """Of the change topics at the start, by `topic-partition`."""
    definitions: Mapping[str, Any] = field(default_factory=dict)
    """What each table was like when it was begun."""

    @property
    def captured(self) -> bool:
        return bool(self.gtid_set)


def lock(pg: Postgres) -> None:
    """Makes this session the only one that copies; raises `UsageError` that names the other."""
    row = pg.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
    if row is None or not row[0]:
        other = pg.execute(
            "SELECT pid, application_name, client_addr::text FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE locktype = 'advisory' AND classid = 0 AND objid = %s AND granted",
            (LOCK,),
        ).fetchone()
        pid = other[0] if other else "unknown"
        raise UsageError(f"another copy is under way (PostgreSQL process {pid}, see pg_stat_activity)")


def prepare(pg: Postgres) -> None:
    """Makes the control tables that are missing."""
    with pg.transaction():
        pg.execute("SET LOCAL client_min_messages = warning")
        for statement in POSTGRES_DDL:
            pg.execute(statement)


def prepared(pg: Postgres) -> bool:
    row = pg.execute("SELECT to_regclass('zdm.copy_run') IS NOT NULL").fetchone()
    return row is not None and bool(row[0])


def current(pg: Postgres) -> Run | None:
    """The last run that was not given up."""
    row = pg.execute(
        "SELECT run, state, gtid_set, offsets FROM zdm.copy_run WHERE state <> 'given up' ORDER BY started DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    tables = pg.execute("SELECT table_name, definition FROM zdm.copy_table WHERE run = %s", (row[0],))
    name, state, gtid_set, offsets = row
    return Run(name, state, gtid_set, offsets, dict(tables))


def begin(pg: Postgres, gtid_set: str, offsets: Mapping[str, int]) -> Run:
    run = Run(uuid.uuid4().hex[:12], "open", gtid_set, offsets)
    pg.execute(
        "INSERT INTO zdm.copy_run (run, state, gtid_set, offsets) VALUES (%s, %s, %s, %s)",
        (run.id, run.state, gtid_set, json.dumps(offsets)),
    )
    return run


def set_state(pg: Postgres, run: Run, state: str) -> None:
    """`open`, `finished` or `given up`."""
    pg.execute("UPDATE zdm.copy_run SET state = %s WHERE run = %s", (state, run.id))


def add_table(pg: Postgres, run: Run, table: str, definition: Any, parts: Sequence[Bounds]) -> None:
    with pg.transaction():
        pg.execute("INSERT INTO zdm.copy_table VALUES (%s, %s, %s)", (run.id, table, json.dumps(definition)))
        for number, bounds in enumerate(parts):
            pg.execute(
                "INSERT INTO zdm.copy_segment (run, table_name, number, after_key, upto_key) "
                "VALUES (%s, %s, %s, %s, %s)",
                (run.id, table, number, _dumped(bounds.after), _dumped(bounds.upto)),
            )


def take_back(pg: Postgres, run: Run, tables: Sequence[str]) -> None:
    """Empties tables that this run has filled, and forgets that it did."""
    with pg.transaction():
        pg.execute(f"TRUNCATE {', '.join(postgres_name(SCHEMA, table) for table in tables)}")
        for name in ("copy_segment", "copy_poison", "copy_table"):
            pg.execute(f"DELETE FROM zdm.{name} WHERE run = %s AND table_name = ANY(%s)", (run.id, list(tables)))


def segments(pg: Postgres, run: Run, tables: Iterable[str]) -> list[Segment]:
    rows = pg.execute(
        f"SELECT {_SEGMENT} FROM zdm.copy_segment WHERE run = %s AND table_name = ANY(%s) ORDER BY 1, 2",
        (run.id, list(tables)),
    )
    return [_segment(row) for row in rows]


def complete(pg: Postgres, run: Run) -> bool:
    """Whether all tables of the run are done."""
    row = pg.execute("SELECT bool_and(done) FROM zdm.copy_segment WHERE run = %s", (run.id,)).fetchone()
    return row is not None and bool(row[0])


def claim(pg: Postgres, run: Run, segment: Segment) -> Segment:
    """The segment as it is now, locked until the transaction ends."""
    row = pg.execute(
        f"SELECT {_SEGMENT} FROM zdm.copy_segment WHERE run = %s AND table_name = %s AND number = %s FOR UPDATE",
        (run.id, segment.table, segment.number),
    ).fetchone()
    if row is None:
        raise UsageError(f"the copy of {segment.table} was taken back meanwhile (run {run.id})")
    return _segment(row)


def advance(pg: Postgres, run: Run, segment: Segment, poisons: Sequence[Poisoned] = ()) -> None:
    """The new position of a claimed segment, with what was set aside on the way."""
    pg.execute(
        "UPDATE zdm.copy_segment SET last_key = %s, rows = %s, bytes = %s, set_aside = %s, done = %s "
        "WHERE run = %s AND table_name = %s AND number = %s",
        (
            _dumped(segment.last), segment.rows, segment.bytes, segment.set_aside, segment.done,
            run.id, segment.table, segment.number,
        ),
    )  # fmt: skip
    if poisons:
        with pg.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO zdm.copy_poison (run, table_name, key, column_name, reason) VALUES (%s, %s, %s, %s, %s)",
                [(run.id, p.table, json.dumps(p.key), p.column, p.reason) for p in poisons],
            )


def poisons(pg: Postgres, run: Run, tables: Iterable[str]) -> list[Poisoned]:
    """What was set aside, in the order in which it was found."""
    rows = pg.execute(
        "SELECT table_name, key, column_name, reason FROM zdm.copy_poison WHERE run = %s AND table_name = ANY(%s) "
        "ORDER BY seq",
        (run.id, list(tables)),
    )
    return [Poisoned(table, tuple(key), column, reason) for table, key, column, reason in rows]


def _dumped(key: Key | None) -> str | None:
    return None if key is None else json.dumps(key)


def _loaded(key: Any) -> Key | None:
    return None if key is None else tuple(key)


def _segment(row: Sequence[Any]) -> Segment:
    table, number, after, upto, last, *rest = row
    return Segment(table, number, Bounds(_loaded(after), _loaded(upto)), _loaded(last), *rest)
