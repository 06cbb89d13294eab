"""How fast a table grows, without reading much of it. The first way that the table allows is taken:

1. An index begins with a time of creation: how long the newest rows took to come, however few pages they are on.
2. The key counts up (AUTO_INCREMENT) and there is such a column: how old the row is that came so many numbers ago.
3. A survey kept before: how far AUTO_INCREMENT has come since, else how the server's estimates have changed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pymysql
import pymysql.cursors
from pymysql.connections import Connection

from contract.tables import Column, Table, mysql_name
from scripts.data.survey_result import Growth, Survey

NEWEST: Final = (10_000, 100_000, 1_000_000)
"""So many rows are looked back over, more if they came within less than a day."""

SHORTEST: Final = timedelta(hours=1)
"""What came within less says nothing about a day."""

_DAY: Final = timedelta(days=1)
_CREATION: Final = re.compile(
    r"(?i)(^|_)(created?|creation|inserted|added|registered|placed|logged|occurred)(_|$|at$|on$)"
)
_LIMIT: Final = "/*+ MAX_EXECUTION_TIME(2000) */"


def creation_columns(table: Table) -> list[Column]:
    """Columns that say when a row came: filled by default and never changed, or called so."""
    times = [c for c in table.columns if c.type in ("date", "datetime", "timestamp") and not c.on_update_now]
    by_default = [c for c in times if (c.default or "").upper().startswith("CURRENT_TIMESTAMP")]
    return by_default + [c for c in times if c not in by_default and _CREATION.search(c.name)]


def growth(
    my: Connection[Any], table: Table, auto_increment: int | None, before: Survey | None, now: datetime
) -> Growth | None:
    """What comes in a day; None where nothing tells it. `now` is in UTC."""
    try:
        found = _by_index(my, table, now) or _by_number(my, table, now)
    except pymysql.err.OperationalError:  # too slow: not worth the source's time
        found = None
    if found is None:
        found = _since(table, auto_increment, before, now)
    if found is None:
        return None
    rows, basis = found
    width = table.size / table.rows if table.rows else 0
    return Growth(rows_per_day=round(rows, 1), bytes_per_day=round(rows * width), basis=basis)


def _by_index(my: Connection[Any], table: Table, now: datetime) -> tuple[float, str] | None:
    leading = {table.primary_key[:1], *(key.columns[:1] for key in table.keys if key.kind == "btree")}
    column = next((c for c in creation_columns(table) if (c.name,) in leading), None)
    if column is None:
        return None
    name, relation = mysql_name(column.name), mysql_name(table.name)
    found: tuple[float, str] | None = None
    for rows in NEWEST:
        rows = min(rows, max(table.rows, 1))
        age = _age(
            my, f"SELECT {_LIMIT} {name} FROM {relation} WHERE {name} IS NOT NULL ORDER BY {name} DESC "
            f"LIMIT 1 OFFSET {rows - 1}", now,
        )  # fmt: skip
        if age is None:
            break
        if age >= SHORTEST:
            found = rows / (age / _DAY), f"the newest {rows:,} rows by {column.name}"
        if age >= _DAY or rows == table.rows:
            break
    return found


def _by_number(my: Connection[Any], table: Table, now: datetime) -> tuple[float, str] | None:
    number = next((c for c in table.columns if c.auto_increment and (c.name,) == table.primary_key[:1]), None)
    column = next(iter(creation_columns(table)), None)
    if number is None or column is None:
        return None
    key, name, relation = mysql_name(number.name), mysql_name(column.name), mysql_name(table.name)
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(f"SELECT {_LIMIT} MAX({key}) FROM {relation}")
        row = cursor.fetchone()
    if row is None or row[0] is None:
        return None
    last = int(row[0])
    found: tuple[float, str] | None = None
    for rows in NEWEST:
        age = _age(
            my, f"SELECT {_LIMIT} {name} FROM {relation} WHERE {key} >= {last - rows} ORDER BY {key} LIMIT 1", now
        )
        if age is not None and age >= SHORTEST:
            found = min(rows, table.rows) / (age / _DAY), f"the last {rows:,} numbers of {number.name} by {column.name}"
        if age is None or age >= _DAY or rows >= last:
            break
    return found


def _age(my: Connection[Any], sql: str, now: datetime) -> timedelta | None:
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(sql)
        row = cursor.fetchone()
    value = row[0] if row else None
    if value is None or isinstance(value, str):  # a zero date
        return None
    moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
    return now - moment.replace(tzinfo=UTC)


def _since(table: Table, auto_increment: int | None, before: Survey | None, now: datetime) -> tuple[float, str] | None:
    then = next((t for t in before.tables if t.name == table.name), None) if before else None
    if before is None or then is None or now - before.at < SHORTEST:
        return None
    days = (now - before.at) / _DAY
    when = f"the survey of {before.at:%Y-%m-%d %H:%M} UTC"
    if auto_increment is not None and then.auto_increment is not None:
        return max(0, auto_increment - then.auto_increment) / days, f"AUTO_INCREMENT since {when}"
    return max(0, table.rows - then.rows) / days, f"estimated rows since {when}"
