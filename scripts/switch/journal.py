"""The journal of the switch in both databases, and the stored verdicts (`zdm.record`, PostgreSQL only).

Invariants:
- PostgreSQL's journal decides: a run is committed if and only if its COMMITTED row is there. MySQL's copy is written
  whenever MySQL can be written at all, in the same transaction as the fence row that it explains.
- A run is unfinished while the last of its rows, in either database, is neither OPEN nor UNDONE.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import psycopg
from pymysql.cursors import Cursor as MySQLCursor


class Direction(StrEnum):
    """Which way the right to write moves."""

    CUTOVER = "cutover"
    ROLLBACK = "rollback"


class State(StrEnum):
    """Where a run is. Up to PREPARED it can only be undone, from COMMITTED on only be finished.

    PROBATION and FINAL follow a cutover that is open: the way back is watched, and at last given up.
    """

    PREFLIGHT = "PREFLIGHT"
    FENCED = "FENCED"
    DRAINED = "DRAINED"
    VERIFIED = "VERIFIED"
    PREPARED = "PREPARED"
    COMMITTED = "COMMITTED"
    OPEN = "OPEN"
    PROBATION = "PROBATION"
    FINAL = "FINAL"
    UNDONE = "UNDONE"


DATA_CHECK, GATE, CUTOVER, PROBATION = "data-check", "gate", "cutover", "probation"
"""Kinds of stored verdicts; a rollback's is its direction."""

FINISHED = frozenset({State.OPEN, State.PROBATION, State.FINAL, State.UNDONE})


@dataclass(frozen=True)
class Run:
    """A run as the journals know it. `epoch` is the one its fence was given, `detail` that of its first row."""

    id: str
    state: State
    epoch: int
    committed: bool
    detail: dict[str, Any]

    @property
    def finished(self) -> bool:
        return self.state in FINISHED

    @property
    def direction(self) -> Direction:
        return Direction(self.detail.get("direction", Direction.CUTOVER))


@dataclass(frozen=True)
class Entry:
    """A row of PostgreSQL's journal."""

    run: str
    state: State
    at: datetime
    epoch: int
    detail: dict[str, Any]


@dataclass(frozen=True)
class Record:
    """A stored verdict."""

    kind: str
    at: datetime
    ok: bool
    body: dict[str, Any]


def write_postgres(pg: psycopg.Connection[Any], run: str, state: State, epoch: int, detail: dict[str, Any]) -> None:
    """In the transaction that is open, if one is."""
    pg.execute(
        "INSERT INTO zdm.journal (run, state, epoch, detail) VALUES (%s, %s, %s, %s)",
        (run, state.value, epoch, json.dumps(detail, default=str)),
    )


def write_mysql(cursor: MySQLCursor, run: str, state: State, epoch: int, detail: dict[str, Any]) -> None:
    """In the transaction that is open, if one is."""
    cursor.execute(
        "INSERT INTO zdm.journal (run, state, at, epoch, detail) VALUES (%s, %s, UTC_TIMESTAMP(6), %s, %s)",
        (run, state.value, epoch, json.dumps(detail, default=str)),
    )


def unfinished(pg: psycopg.Connection[Any], my: MySQLCursor) -> Run | None:
    """The run that someone must finish or undo, or None."""
    row = pg.execute("SELECT run FROM zdm.journal ORDER BY seq DESC LIMIT 1").fetchone()
    my.execute("SELECT run FROM zdm.journal ORDER BY seq DESC LIMIT 1")
    other = my.fetchone()
    for name in dict.fromkeys(r[0] for r in (row, other) if r is not None):
        run = find(pg, my, name)
        if not run.finished:
            return run
    return None


def find(pg: psycopg.Connection[Any], my: MySQLCursor, name: str) -> Run:
    """What both journals say of one run. It is finished when PostgreSQL says so: that row is the last one written."""
    here = [
        (State(s), int(e), d)
        for s, e, d in pg.execute("SELECT state, epoch, detail FROM zdm.journal WHERE run = %s ORDER BY seq", (name,))
    ]
    my.execute("SELECT state, epoch, detail FROM zdm.journal WHERE run = %s ORDER BY seq", (name,))
    there = [(State(s), int(e), json.loads(d)) for s, e, d in my.fetchall()]
    rows = here or there
    committed = any(state is State.COMMITTED for state, _, _ in here)
    return Run(name, rows[-1][0], rows[0][1], committed, rows[0][2])


def last(pg: psycopg.Connection[Any], my: MySQLCursor) -> Run | None:
    """The newest run, as PostgreSQL knows it; None if there never was one."""
    row = pg.execute("SELECT run FROM zdm.journal ORDER BY seq DESC LIMIT 1").fetchone()
    return None if row is None else find(pg, my, row[0])


def entries(pg: psycopg.Connection[Any], limit: int) -> list[Entry]:
    """The last rows of PostgreSQL's journal, in order."""
    rows = pg.execute(
        "SELECT run, state, at, epoch, detail FROM zdm.journal ORDER BY seq DESC LIMIT %s", (limit,)
    ).fetchall()
    return [Entry(run, State(state), at, int(epoch), detail) for run, state, at, epoch, detail in reversed(rows)]


def last_commit(pg: psycopg.Connection[Any]) -> datetime | None:
    """When the target became the writer, by its own clock; None if it never did."""
    row = pg.execute(
        "SELECT at FROM zdm.journal WHERE state = %s ORDER BY seq DESC LIMIT 1", (State.COMMITTED.value,)
    ).fetchone()
    return None if row is None else row[0]


def store(pg: psycopg.Connection[Any], kind: str, ok: bool, body: dict[str, Any]) -> None:
    """Keeps a verdict: one of the kinds above."""
    pg.execute(
        "INSERT INTO zdm.record (kind, verdict, body) VALUES (%s, %s, %s)",
        (kind, "ok" if ok else "failed", json.dumps(body, default=str)),
    )


def last_record(pg: psycopg.Connection[Any], kind: str) -> Record | None:
    """The newest stored verdict of this kind."""
    row = pg.execute(
        "SELECT kind, at, verdict, body FROM zdm.record WHERE kind = %s ORDER BY seq DESC LIMIT 1", (kind,)
    ).fetchone()
    return None if row is None else Record(row[0], row[1], row[2] == "ok", row[3])


def last_clean(pg: psycopg.Connection[Any], kind: str) -> Record | None:
    """The newest stored verdict of this kind that is good."""
    row = pg.execute(
        "SELECT kind, at, verdict, body FROM zdm.record WHERE kind = %s AND verdict = 'ok' ORDER BY seq DESC LIMIT 1",
        (kind,),
    ).fetchone()
    return None if row is None else Record(row[0], row[1], True, row[3])


def records_since(pg: psycopg.Connection[Any], kind: str, at: datetime) -> list[Record]:
    """The stored verdicts of this kind after a moment, in order."""
    rows = pg.execute(
        "SELECT kind, at, verdict, body FROM zdm.record WHERE kind = %s AND at > %s ORDER BY seq", (kind, at)
    )
    return [Record(kind, at, verdict == "ok", body) for kind, at, verdict, body in rows]
