"""How one person's data is erased: which columns of which rows get which value, and how a database gets them.

Invariants:
- Rows stay (the law on bookkeeping wants orders and payments kept): what tells of the person goes from them.
- New values come from masks under a key that was made for this erasure and is kept nowhere: nobody can compute them
  again, nor try out whose they were. Secrets are erased.
- Both databases get the same values, so they stay equal; whichever of them is the writer gets them in a transaction
  like any other of the shop, under its fence, so that the change travels by CDC.
- A row's version (`updated_at`) grows, as `contract.dual` wants it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pymysql

from contract.control import (
    MYSQL_NOT_ALLOWED,
    MYSQL_READ_FENCE_FOR_WRITE,
    POSTGRES_LOCK_FOR_WRITE,
    READ_FENCE,
    flag_of_row,
)
from contract.flag import Side
from contract.masks import BINARIES, ERASED, HIDDEN_JSON, NUMBERS, form_of, masked
from contract.privacy import DataClass, DataClasses
from contract.tables import Column, Table
from contract.values import same_json
from scripts.environments.subject_rows import Reader, Row
from scripts.errors import UsageError

Rows: TypeAlias = Mapping[str, Sequence[Row]]
"""By table."""


@dataclass(frozen=True)
class Change:
    """New values (canonical texts) of a row's columns."""

    table: Table
    row: Row
    values: Mapping[str, str | None]


def personal_columns(table: Table, classes: DataClasses) -> list[tuple[Column, DataClass]]:
    return [
        (column, classes.of(column))
        for column in table.columns
        if classes.of(column).name != "none" and column.generated is None
    ]


def is_erased(column: Column, given: DataClass, text: str | None) -> bool:
    """Whether the value says nothing of anybody any more."""
    if not text:
        return True
    if given.name == "secret":
        return text == erased_text(column)
    form = form_of(given.mask, column)
    if column.type == "json":
        return same_json(text, HIDDEN_JSON)
    return float(text) == int(float(text)) if not form else re.fullmatch(form, text) is not None


def erased_text(column: Column) -> str | None:
    """A secret's canonical text once it is erased."""
    if column.nullable:
        return None
    if column.type in BINARIES:
        mark = ERASED.encode()
        return (mark.ljust(column.length or 1, b"\0") if column.type == "binary" else mark).hex().upper()
    return ERASED


def changes(tables: Mapping[str, Table], classes: DataClasses, rows: Rows, key: bytes) -> list[Change]:
    """What is to change in these rows; nothing in a row that is erased already."""
    found = []
    for name, of_table in rows.items():
        table = tables[name]
        personal = personal_columns(table, classes)
        for row in of_table:
            if all(is_erased(column, given, row.get(column.name)) for column, given in personal):
                continue
            values = {c.name: _new(c, given, row.get(c.name), key) for c, given in personal if c.name in row}
            found.append(Change(table, row, values))
    return found


def _new(column: Column, given: DataClass, text: str | None, key: bytes) -> str | None:
    if not text:
        return text
    if given.name == "secret":
        return erased_text(column)
    value = masked(given.mask, column, text, key)
    return None if value is None else f"{value:g}" if column.type in NUMBERS else str(value)


def as_there(tables: Mapping[str, Table], classes: DataClasses, mine: Rows, theirs: Rows) -> list[Change]:
    """What makes the rows `mine` tell no more than the same rows of the writer, `theirs`."""
    found = []
    for name, of_table in mine.items():
        table = tables[name]
        columns = [column for column, _ in personal_columns(table, classes)]
        known = {tuple(row[k] for k in table.primary_key): row for row in theirs.get(name, ())}
        for row in of_table:
            other = known.get(tuple(row[k] for k in table.primary_key))
            if other is not None and any(row.get(c.name) != other.get(c.name) for c in columns if c.name in row):
                copied = [*columns, *(c for c in table.columns if c.on_update_now)]
                found.append(Change(table, row, {c.name: other.get(c.name) for c in copied if c.name in row}))
    return found


def left(tables: Mapping[str, Table], classes: DataClasses, rows: Rows) -> list[str]:
    """The `table.column` in which something of the person still stands."""
    return sorted({
        column.path
        for name, of_table in rows.items()
        for column, given in personal_columns(tables[name], classes)
        if any(not is_erased(column, given, row.get(column.name)) for row in of_table)
    })  # fmt: skip


def write(reader: Reader, changed: Sequence[Change], replies: Mapping[str, str], *, fenced: bool) -> int:
    """Makes the changes in one transaction; returns how many rows it found. `fenced`: only if this side is the writer.

    Raises `UsageError` where it is not, or where writes are held; nothing was changed then.
    """
    session = reader.session
    try:
        with session.transaction():
            if fenced:
                _demand_writer(reader)
            count = sum(session.run(_update(reader, change)) for change in changed)
            for id, answer in replies.items():
                session.run("UPDATE zdm.idempotency SET answer = %s WHERE id = %s", answer, id)
    except pymysql.err.MySQLError as e:
        if e.args and e.args[0] in MYSQL_NOT_ALLOWED:
            raise UsageError("MySQL does not accept writes right now: wait until the cutover is over") from e
        raise
    return count


def _demand_writer(reader: Reader) -> None:
    session = reader.session
    if session.side is Side.MYSQL:
        rows = session.rows(MYSQL_READ_FENCE_FOR_WRITE)
    else:
        session.rows(POSTGRES_LOCK_FOR_WRITE)
        rows = session.rows(READ_FENCE)
    if not rows or not flag_of_row(rows[0]).may_write(session.side):
        raise UsageError(f"{session.side} may not be written right now (its fence holds writes): try again in a minute")


def _update(reader: Reader, change: Change) -> str:
    session, table = reader.session, change.table
    literals = {
        name: "NULL" if text is None else _value(reader, table.column(name), text)
        for name, text in change.values.items()
    }  # fmt: skip
    for column in table.columns:
        if column.on_update_now and column.name not in literals:
            name, now = session.name(column.name), "CURRENT_TIMESTAMP(6)"
            literals[column.name] = f"GREATEST({now}, {name} + INTERVAL {_microsecond(session.side)})"
    sets = ", ".join(f"{session.name(name)} = {literal}" for name, literal in literals.items())
    key = [(session.name(c.name), reader.literal(c, str(change.row[c.name]))) for c in table.key_columns]
    where = " AND ".join(f"{name} = {literal}" for name, literal in key)
    return f"UPDATE {session.relation(table.name)} SET {sets} WHERE {where}"


def _microsecond(side: Side) -> str:
    return "1 MICROSECOND" if side is Side.MYSQL else "'0.000001' SECOND"


def _value(reader: Reader, column: Column, text: str) -> str:
    if column.type == "json":
        return _json(reader, text)
    return reader.literal(column, text)


def _json(reader: Reader, text: str) -> str:
    if reader.session.side is Side.MYSQL:
        return f"CAST(_utf8mb4 X'{text.encode().hex()}' AS JSON)"
    return "'" + text.replace("'", "''") + "'::jsonb"


# --- what was answered to the person ----------------------------------------------------------------------------------


def answers(reader: Reader, changed: Sequence[Change]) -> dict[str, str]:
    """The stored answers (`zdm.idempotency`) in which a value of the person stands, as they are to be: by id."""
    swaps = {}
    for change in changed:
        for name, new in change.values.items():
            old = change.row.get(name)
            if old and len(old) >= 6 and old != new and change.table.column(name).type not in BINARIES:
                swaps[json.dumps(old, ensure_ascii=False)] = json.dumps(new, ensure_ascii=False)
    found: dict[str, str] = {}
    there = reader.session.rows(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'zdm' AND table_name = 'idempotency'"
    )
    if not swaps or not there[0][0]:
        return found
    position = "LOCATE(%s, answer)" if reader.session.side is Side.MYSQL else "strpos(answer, %s)"
    for old in swaps:
        for id, answer in reader.session.rows(f"SELECT id, answer FROM zdm.idempotency WHERE {position} > 0", old):
            text = found.get(str(id), str(answer))
            for value, new in swaps.items():
                text = text.replace(value, new)
            found[str(id)] = text
    return found
