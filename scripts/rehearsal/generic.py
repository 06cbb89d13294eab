"""A load for a database that no one here wrote: what may be read, inserted, updated and incremented, from its schema
alone.

Cautious where the schema does not tell enough; a table or column that is left alone costs coverage, a refused write
would look like a failure of the migration. So:
- Absolute updates touch only columns that are in no index, foreign key, check or trigger, and are not computed.
- Increments touch only whole numbers and decimals with room to grow, other columns than the updates do, and only
  upwards.
- A row is inserted only where every column can be given a value: references to parents that exist, fresh values for
  every unique key, and numbers left for an AUTO_INCREMENT.
- Tables that triggers write to are only read: what a trigger does there is no write of ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from contract.tables import Column, Key, Table, mysql_name
from scripts.rehearsal.workload import TablePlan, TablesPlan

SAMPLE: Final = 500
"""Keys of a table that the load works with."""

ROOM: Final = 10_000
"""Values that an increment or a number must have left for a column to be used."""

_INTEGERS: Final = {"tinyint": 7, "smallint": 15, "mediumint": 23, "int": 31, "bigint": 62}
_TEXTS: Final = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext"}
_UNIQUE_TEXT: Final = 20
"""Characters from which on a made-up text is surely fresh."""

_KEY_TYPES: Final = {*_INTEGERS, *_TEXTS, "decimal", "date", "datetime", "year", "enum"}


def tables_plan(
    connection: Any,
    tables: Sequence[Table],
    excluded: Collection[str] = (),
    booleans: Collection[str] = (),
    sample: int = SAMPLE,
) -> TablesPlan:
    """Looks at the tables in MySQL (`connection` is in their database), before the load begins.

    `excluded` are the columns (`table.column`) that are not migrated: never written, and a table that needs one gets no
    new rows.
    """
    triggers = _triggers(connection)
    return TablesPlan(
        [
            _table_plan(connection, table, frozenset(excluded), frozenset(booleans), triggers, sample)
            for table in tables
            if table.primary_key
        ]
    )


def _table_plan(
    connection: Any,
    table: Table,
    excluded: frozenset[str],
    booleans: frozenset[str],
    triggers: dict[str, str],
    sample: int,
) -> TablePlan:
    others = " ".join(body for name, body in triggers.items() if name != table.name)
    written_by_trigger = re.search(rf"\b{re.escape(table.name)}\b", others, re.IGNORECASE) is not None
    set_by_trigger = {
        name.lower() for name in re.findall(r"NEW\.`?(\w+)`?\s*:?=", triggers.get(table.name, ""), re.IGNORECASE)
    }
    with connection.cursor() as c:
        c.execute(f"SELECT COUNT(*) FROM {mysql_name(table.name)}")
        rows = int(c.fetchone()[0])
    if written_by_trigger or any(column.type not in _KEY_TYPES for column in table.key_columns):
        return TablePlan(table.name, rows, list(table.primary_key), [])
    guarded = " ".join(check.expression for check in table.checks)
    indexed = {
        *table.primary_key,
        *(n for k in table.keys for n in k.columns),
        *(n for f in table.foreign_keys for n in f.columns),
    }
    plain = [
        column
        for column in table.columns
        if column.name not in indexed
        and column.path not in excluded
        and column.generated is None
        and not column.on_update_now
        and column.name.lower() not in set_by_trigger
        and f"`{column.name}`" not in guarded
        and not any(k.kind == "btree" and k.parts and not k.columns for k in table.keys)
    ]
    increments = [c for c in plain if c.path not in booleans and _growing(c)]
    updates = {c.name: how for c in plain if c not in increments and (how := _update(c, booleans)) is not None}
    keys, values = _sample(connection, table, increments, sample)
    insert, room = (
        (None, 0)
        if _demands_more(connection, table)
        else _insert(connection, table, excluded, booleans, guarded, sample)
    )
    return TablePlan(table.name, rows, list(table.primary_key), keys, updates if keys else {}, values, insert, room)


def _triggers(connection: Any) -> dict[str, str]:
    """All that the triggers of each table do, as SQL."""
    bodies: dict[str, str] = {}
    with connection.cursor() as c:
        c.execute(
            "SELECT EVENT_OBJECT_TABLE, ACTION_STATEMENT FROM information_schema.TRIGGERS "
            "WHERE TRIGGER_SCHEMA = DATABASE()"
        )
        for table, body in c.fetchall():
            bodies[table] = f"{bodies.get(table, '')}\n{body}"
    return bodies


def _demands_more(connection: Any, table: Table) -> bool:
    """Whether MySQL wants a value for a column that `table` does not have, as it was left out of the migration."""
    known = {column.name for column in table.columns}
    with connection.cursor() as c:
        c.execute(
            "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = %s "
            "AND IS_NULLABLE = 'NO' AND COLUMN_DEFAULT IS NULL AND EXTRA NOT LIKE '%%auto_increment%%' "
            "AND GENERATION_EXPRESSION = ''",
            (table.name,),
        )
        return any(row[0] not in known for row in c.fetchall())


def _limit(column: Column) -> int:
    """The largest value that a number may safely have."""
    if column.type == "decimal":
        return 10 ** ((column.precision or 10) - (column.scale or 0)) - 1
    return (1 << _INTEGERS[column.type] + int(column.unsigned and column.type != "bigint")) - 1


def _growing(column: Column) -> bool:
    return column.type in (*_INTEGERS, "decimal") and column.type != "tinyint" and _limit(column) >= 3 * ROOM


def _sample(
    connection: Any,
    table: Table,
    increments: list[Column],
    sample: int,
) -> tuple[list[list[Any]], dict[str, list[int | None]]]:
    """Some keys, and what the columns to increment hold there (None where there is no room, or a fraction, or NULL)."""
    names = ", ".join(mysql_name(name) for name in (*table.primary_key, *(c.name for c in increments)))
    order = ", ".join(mysql_name(name) for name in table.primary_key)
    n = len(table.primary_key)
    with connection.cursor() as c:
        c.execute(f"SELECT {names} FROM {mysql_name(table.name)} ORDER BY {order} LIMIT {sample}")
        found = c.fetchall()
    keys = [[_plain(value) for value in row[:n]] for row in found]
    values: dict[str, list[int | None]] = {}
    for i, column in enumerate(increments):
        column_values = [_whole(row[n + i], _limit(column) - ROOM) for row in found]
        if any(value is not None for value in column_values):
            values[column.name] = column_values
    return keys, values


def _whole(value: Any, most: int) -> int | None:
    return int(value) if value is not None and value == int(value) and 0 <= value <= most else None


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal | date | datetime) else value


def _update(column: Column, booleans: frozenset[str]) -> dict[str, Any] | None:
    """How an absolute value is made that both databases give back as it was."""
    if column.path in booleans or column.type in ("datetime", "timestamp", "time", "json", "set", "float", "double"):
        return None
    how = _value(column, booleans)
    return how if how is not None and (how["kind"] != "choice" or column.type == "enum") else None


def _value(column: Column, booleans: frozenset[str]) -> dict[str, Any] | None:
    """How a value of the column's type is made; None where this module knows no way."""
    kind = column.type
    if column.path in booleans:
        return {"kind": "choice", "values": [0, 1]}
    if kind in _INTEGERS:
        return {"kind": "integer", "least": 0, "most": min(_limit(column), 1_000_000)}
    if kind == "decimal":
        return {"kind": "decimal", "digits": column.precision or 10, "scale": column.scale or 0}
    if kind in _TEXTS:
        return {"kind": "text", "length": min(column.length or 60, 60)}
    simple: dict[str, dict[str, Any]] = {
        "date": {"kind": "date"},
        "datetime": {"kind": "moment"},
        "timestamp": {"kind": "moment"},
        "year": {"kind": "integer", "least": 1990, "most": 2026},
        "time": {"kind": "choice", "values": ["08:30:00", "17:45:10"]},
        "float": {"kind": "integer", "least": 0, "most": 1000},
        "double": {"kind": "integer", "least": 0, "most": 1000},
        "json": {"kind": "choice", "values": [{"zdm": True}, {}]},
        "bit": {"kind": "choice", "values": [0]},
    }
    if kind in ("enum", "set"):
        members = [value for value in column.values if value]
        return {"kind": "choice", "values": members} if members else None
    if kind in ("binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"):
        return {"kind": "choice", "values": ["00" * column.length if kind == "binary" and column.length else "00ff"]}
    return simple.get(kind)


def _insert(
    connection: Any,
    table: Table,
    excluded: frozenset[str],
    booleans: frozenset[str],
    guarded: str,
    sample: int,
) -> tuple[dict[str, dict[str, Any]] | None, int]:
    """How a new row is made, and how many there may be; (None, 0) where there is no safe way."""
    unique = [Key("PRIMARY", (), True), *(k for k in table.keys if k.unique)]
    how: dict[str, dict[str, Any]] = {}
    room = 1_000_000_000
    fresh: set[str] = set()
    references: dict[str, dict[str, Any]] = {}
    for foreign in table.foreign_keys:
        if len(foreign.columns) > 1:
            if not any(table.column(name).nullable for name in foreign.columns):
                return None, 0
            continue
        parents = _values(connection, foreign.referenced_table, foreign.referenced_columns[0], sample)
        if parents:
            references[foreign.columns[0]] = {"kind": "reference", "values": parents}
        elif not table.column(foreign.columns[0]).nullable:
            return None, 0
    grouped = {name for foreign in table.foreign_keys if len(foreign.columns) > 1 for name in foreign.columns}
    in_unique = {*table.primary_key, *(name for key in unique for name in key.columns)}
    for column in table.columns:
        omissible = column.nullable or column.default is not None
        if column.generated is not None:
            continue
        if column.auto_increment:
            room = min(room, _limit(column) - _largest(connection, table, column))
            fresh.add(column.name)
        elif column.name in references:
            how[column.name] = references[column.name]
        elif column.path in excluded or column.name in grouped or f"`{column.name}`" in guarded:
            if not omissible:
                return None, 0
        elif column.name in in_unique and column.type in ("int", "bigint", "mediumint", "smallint"):
            first = _largest(connection, table, column)
            first += (min(_limit(column), 1 << 53) - first) // 2  # away from what others number upwards
            how[column.name] = {"kind": "serial", "first": first}
            room = min(room, _limit(column) - first)
            fresh.add(column.name)
        elif (made := _value(column, booleans)) is not None:
            how[column.name] = made
            if column.type in _TEXTS and made["length"] >= _UNIQUE_TEXT:
                fresh.add(column.name)
        elif not omissible:
            return None, 0
    keys = [set(table.primary_key), *(set(key.columns) for key in unique[1:])]
    if (
        room < ROOM
        or not how
        or any(key.isdisjoint(fresh) for key in keys)
        or any(part.prefix is not None and part.prefix < _UNIQUE_TEXT for key in unique for part in key.parts)
    ):
        return None, 0
    return how, room // 2


def _values(connection: Any, table: str, column: str, sample: int) -> list[Any]:
    with connection.cursor() as c:
        c.execute(
            f"SELECT DISTINCT {mysql_name(column)} FROM {mysql_name(table)} "
            f"WHERE {mysql_name(column)} IS NOT NULL LIMIT {sample}"
        )
        return [_plain(row[0]) for row in c.fetchall() if not isinstance(row[0], bytes)]


def _largest(connection: Any, table: Table, column: Column) -> int:
    with connection.cursor() as c:
        c.execute(f"SELECT COALESCE(MAX({mysql_name(column.name)}), 0) FROM {mysql_name(table.name)}")
        return int(c.fetchone()[0])
