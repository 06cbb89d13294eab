"""Where masking is, kept in the masked database itself: which rows are done, and with which key.

Invariants:
- A part's place moves in the transaction that masks its rows, so no row is masked twice and none is left out, wherever
  it is killed. (A row masked twice would be another person than in the other tables.)
- A database that is masked says so for good: `zdm.masking` stays, and masking it again is refused or already done.
- Triggers that MySQL cannot silence for one session are gone while it lasts, and their definitions are kept here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from contract.control import SCHEMA
from contract.flag import Side
from contract.privacy import DataClasses
from contract.tables import Table
from contract.types import rule_for
from scripts.data.difference import Key
from scripts.data.keyset import Bounds
from scripts.environments.masked import Session
from scripts.environments.masking_sql import TablePlan
from scripts.errors import UsageError

_DDL: Final = {
    Side.MYSQL: (
        f"CREATE DATABASE IF NOT EXISTS {SCHEMA}",
        f"""CREATE TABLE IF NOT EXISTS {SCHEMA}.masking (
            id INT NOT NULL PRIMARY KEY, print CHAR(64) NOT NULL, started DATETIME(6) NOT NULL,
            ended DATETIME(6) NULL, row_count BIGINT NOT NULL DEFAULT 0) ENGINE=InnoDB""",
        f"""CREATE TABLE IF NOT EXISTS {SCHEMA}.masking_part (
            table_name VARCHAR(130) NOT NULL, part INT NOT NULL, upto_key MEDIUMTEXT NULL, last_key MEDIUMTEXT NULL,
            row_count BIGINT NOT NULL DEFAULT 0, done INT NOT NULL DEFAULT 0, PRIMARY KEY (table_name, part))
            ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin""",
        f"""CREATE TABLE IF NOT EXISTS {SCHEMA}.masking_trigger (
            name VARCHAR(130) NOT NULL PRIMARY KEY, sql_mode TEXT NOT NULL, definition LONGTEXT NOT NULL)
            ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin""",
    ),
    Side.AURORA: (
        f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
        f"""CREATE TABLE IF NOT EXISTS {SCHEMA}.masking (
            id integer PRIMARY KEY, print text NOT NULL, started timestamptz NOT NULL, ended timestamptz,
            row_count bigint NOT NULL DEFAULT 0)""",
        f"""CREATE TABLE IF NOT EXISTS {SCHEMA}.masking_part (
            table_name text NOT NULL, part integer NOT NULL, upto_key text, last_key text,
            row_count bigint NOT NULL DEFAULT 0, done integer NOT NULL DEFAULT 0, PRIMARY KEY (table_name, part))""",
    ),
}

PIECE: Final = 50_000
"""Rows, about, below which a table is not cut into parts."""


@dataclass(frozen=True)
class Part:
    """Rows of one table: those with `last` < key <= `upto` are still to be masked."""

    table: str
    number: int
    last: Key | None
    upto: Key | None
    rows: int = 0


def fingerprint(key: bytes, classes: DataClasses, plans: Sequence[TablePlan]) -> str:
    """What tells one masking from another: the key and the masks, without saying anything of the key."""
    what = [[plan.name, [[column.name, str(given)] for column, given in plan.columns]] for plan in plans]
    return hmac.new(key, b"masking:" + json.dumps(what).encode(), hashlib.sha256).hexdigest()


@contextmanager
def alone(session: Session) -> Iterator[None]:
    """Nobody else masks this database meanwhile. Raises `UsageError`."""
    ask = (
        "SELECT GET_LOCK('zdm:masking', 0)" if session.side is Side.MYSQL else "SELECT pg_try_advisory_lock(2054645111)"
    )
    [(got,)] = session.rows(ask)
    if not got:
        raise UsageError("this database is being masked right now, by another session; nothing was changed")
    try:
        yield
    finally:
        session.rows(
            "SELECT RELEASE_LOCK('zdm:masking')"
            if session.side is Side.MYSQL
            else "SELECT pg_advisory_unlock(2054645111)"
        )


def done_before(session: Session) -> str | None:
    """The fingerprint with which this database was masked, if it was, to the end."""
    for statement in _DDL[session.side]:
        session.run(statement)
    rows = session.rows(f"SELECT print FROM {SCHEMA}.masking WHERE id = 1 AND ended IS NOT NULL")
    return str(rows[0][0]) if rows else None


def begin(session: Session, print_: str, plans: Sequence[TablePlan], pieces: int) -> list[Part]:
    """Starts masking, or goes on: the parts that are left. Raises `UsageError` where it was begun otherwise."""
    rows = session.rows(f"SELECT print FROM {SCHEMA}.masking WHERE id = 1")
    if rows and rows[0][0] != print_:
        raise UsageError(
            "masking of this database was begun with another key, or other data classes: rows that are masked already "
            "would not fit to the rest. Restore it again, or mask it with what it was begun with"
        )
    if not rows:
        with session.transaction():
            session.run(
                f"INSERT INTO {SCHEMA}.masking (id, print, started) VALUES (1, %s, CURRENT_TIMESTAMP(6))", print_
            )
            for plan in plans:
                for number, (after, upto) in enumerate(cuts(session, plan.table, pieces)):
                    session.run(
                        f"INSERT INTO {SCHEMA}.masking_part (table_name, part, upto_key, last_key) "
                        "VALUES (%s, %s, %s, %s)",
                        plan.name, number, _dump(upto), _dump(after),
                    )  # fmt: skip
    return [
        Part(str(table), int(number), _load(last), _load(upto), int(rows))
        for table, number, last, upto, rows in session.rows(
            f"SELECT table_name, part, last_key, upto_key, row_count FROM {SCHEMA}.masking_part WHERE done = 0 "
            "ORDER BY table_name, part"
        )
    ]


def move(session: Session, part: Part, last: Key | None, rows: int, done: bool) -> None:
    """In the transaction that masks the rows up to `last`."""
    session.run(
        f"UPDATE {SCHEMA}.masking_part SET last_key = %s, row_count = row_count + %s, done = %s "
        "WHERE table_name = %s AND part = %s",
        _dump(last), rows, int(done), part.table, part.number,
    )  # fmt: skip


def counted(session: Session) -> dict[str, int]:
    """Rows masked so far, by table."""
    rows = session.rows(f"SELECT table_name, SUM(row_count) FROM {SCHEMA}.masking_part GROUP BY table_name")
    return {str(table): int(count) for table, count in rows}


def end(session: Session) -> None:
    """All is masked."""
    with session.transaction():
        session.run(
            f"UPDATE {SCHEMA}.masking SET ended = CURRENT_TIMESTAMP(6), "
            f"row_count = (SELECT COALESCE(SUM(row_count), 0) FROM {SCHEMA}.masking_part) WHERE id = 1"
        )
        session.run(f"UPDATE {SCHEMA}.masking_part SET last_key = NULL, upto_key = NULL")  # keys may be personal


def _dump(key: Key | None) -> str | None:
    return None if key is None else json.dumps(list(key))


def _load(text: str | None) -> Key | None:
    return None if text is None else tuple(json.loads(text))


def cuts(session: Session, table: Table, pieces: int) -> list[tuple[Key | None, Key | None]]:
    """Cuts a table at whole numbers of its key's first column, if that has any; else it is one part. Nothing is
    scanned, and parts may be of different size: there are more of them than workers."""
    whole: list[tuple[Key | None, Key | None]] = [(None, None)]
    if not table.primary_key or table.rows < PIECE:
        return whole
    column = table.key_columns[0]
    if rule_for(column).codec.name not in ("int2", "int4", "int8") and not column.full_type.startswith("bigint"):
        return whole
    name, relation = session.name(column.name), session.relation(table.name)
    [(low, high)] = session.rows(f"SELECT MIN({name}), MAX({name}) FROM {relation}")
    if low is None or int(high) - int(low) < pieces:
        return whole
    inner = [(str(int(low) + (int(high) - int(low)) * i // pieces),) for i in range(1, pieces)]
    ends: list[Key | None] = [None, *inner, None]
    return list(pairwise(ends))


def bound(session: Session, plan: TablePlan, part: Part, after: Key | None, batch: int) -> Key | None:
    """The key of the last of the next `batch` rows; None where there are not so many any more."""
    table = plan.table
    if not table.primary_key:
        return None
    texts = ", ".join(session.text(column) for column in table.key_columns)
    order = ", ".join(f"t.{session.name(name)}" for name in table.primary_key)  # a bare name could be that of a text
    rows = session.rows(
        f"SELECT {texts} FROM {session.relation(table.name)} AS t "
        f"WHERE {session.condition(table, Bounds(after, part.upto))} ORDER BY {order} LIMIT 1 OFFSET {batch - 1}"
    )
    return tuple(str(text) for text in rows[0]) if rows else None


# --- MySQL's triggers -------------------------------------------------------------------------------------------------


def put_triggers_aside(session: Session, plans: Sequence[TablePlan]) -> None:
    """Keeps the definitions of the tables' triggers for UPDATE, and drops them. PostgreSQL silences them by session."""
    if session.side is not Side.MYSQL:
        return
    names = {plan.name for plan in plans}
    for trigger, table in session.rows(
        "SELECT trigger_name, event_object_table FROM information_schema.triggers "
        "WHERE trigger_schema = DATABASE() AND event_manipulation = 'UPDATE'"
    ):
        if table not in names:
            continue
        row = session.rows(f"SHOW CREATE TRIGGER {session.name(trigger)}")[0]
        session.run(
            f"INSERT IGNORE INTO {SCHEMA}.masking_trigger (name, sql_mode, definition) VALUES (%s, %s, %s)",
            trigger, row[1], row[2],
        )  # fmt: skip
        session.run(f"DROP TRIGGER {session.name(trigger)}")


def bring_triggers_back(session: Session, note: Callable[[str], None]) -> None:
    if session.side is not Side.MYSQL:
        return
    there = {
        str(name)
        for (name,) in session.rows(
            "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE()"
        )
    }
    for name, sql_mode, definition in session.rows(f"SELECT name, sql_mode, definition FROM {SCHEMA}.masking_trigger"):
        if name not in there:
            session.run("SET SESSION sql_mode = %s", sql_mode)
            session.run(definition)
            note(f"trigger {name} is there again")
        session.run(f"DELETE FROM {SCHEMA}.masking_trigger WHERE name = %s", name)
