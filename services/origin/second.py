"""The second write: rows that MySQL has committed go to Aurora at once, besides coming by CDC (see `contract.dual`).

Invariants:
- It happens after MySQL's COMMIT and never changes what the customer is answered: whatever fails is counted, and CDC
  brings the rows. It takes `SECONDS` at most, and after a failure nobody tries for `PAUSE_SECONDS`.
- It carries whole rows as the transaction left them, read inside it, so it may be repeated and come in any order: only
  a newer version replaces a row, and a row without versions is only added.
- It is fenced by Aurora's own row: once Aurora is the writer, nothing old gets in.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from contract.dual import VERSION_COLUMN
from contract.tables import mysql_name, postgres_name
from services.origin.database import Database, DatabaseError, Fenced, Row, Session

log = logging.getLogger("zdm.origin")

SECONDS = 1.0
"""How long a customer may wait for it."""
PAUSE_SECONDS = 1.0
"""How long nobody tries after a failure: a second database that hangs must not slow down every write."""

_COLUMNS = (
    "SELECT a.attname::text, t.typname::text, EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = a.attrelid "
    "AND i.indisprimary AND a.attnum = ANY (i.indkey)) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
    "WHERE a.attrelid = to_regclass(?) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' "
    "ORDER BY a.attnum"
)

Touched = tuple[str, str, Any]
"""Table, a column, its value: all rows where it has that value."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A table as Aurora has it."""

    name: str
    columns: tuple[str, ...]
    types: tuple[str, ...]
    upsert: str
    """Writes a row unless a newer version of it is there; one value for each column."""

    def select(self, column: str) -> str:
        """MySQL's query for the rows with a value in `column`."""
        wanted = ", ".join(mysql_name(name) for name in self.columns)
        return f"SELECT {wanted} FROM {mysql_name(self.name)} WHERE {mysql_name(column)} = ?"

    def values(self, row: Sequence[Any]) -> list[Any]:
        """A row that MySQL gave, as Aurora takes it."""
        return [None if v is None else _AS.get(kind, _same)(v) for kind, v in zip(self.types, row, strict=True)]


@dataclass(frozen=True, slots=True)
class Image:
    """A row as MySQL's transaction left it."""

    shape: Shape
    row: Sequence[Any]


class Second:
    """The second database of an origin in front of MySQL."""

    def __init__(self, database: Database, count: Callable[[str], None]) -> None:
        """`count` is told how each second write ended: done, late, failed, or skipped."""
        self._database = database
        self._count = count
        self._shapes: dict[str, Shape] = {}
        self._unknown: set[str] = set()
        self._not_before = float("-inf")

    async def images(self, db: Session, touched: Sequence[Touched]) -> list[Image]:
        """The rows that the open transaction of MySQL has changed, in order. Asks Aurora nothing: locks are held.

        Those of a table that is not known yet are left to CDC; `write` makes its acquaintance.
        """
        found = []
        for table, column, value in touched:
            shape = self._shapes.get(table)
            if shape is None:
                self._unknown.add(table)
                continue
            rows = await db.fetch(shape.select(column), value)
            found += [Image(shape, row) for row in rows]
        return found

    async def write(self, images: Sequence[Image]) -> None:
        """Writes committed rows; never raises."""
        if not images and not self._unknown:
            return
        if time.monotonic() < self._not_before:
            self._count("skipped")
            return
        try:
            async with asyncio.timeout(SECONDS):
                if images:
                    await self._database.follow(lambda db: _put(db, images))
                left_out = bool(self._unknown)
                await self._learn()
            self._count("skipped" if left_out else "done")
        except Fenced:
            self._count("skipped")
        except TimeoutError:
            self._failed("late", f"not within {SECONDS:g} s")
        except DatabaseError as e:
            self._failed("failed", str(e))
        except Exception:
            log.exception("a second write cannot be made; CDC brings its rows")
            self._count("failed")

    async def close(self) -> None:
        await self._database.close()

    def _failed(self, how: str, why: str) -> None:
        self._not_before = time.monotonic() + PAUSE_SECONDS
        self._count(how)
        log.warning("no second write (%s); CDC brings its rows", why)

    async def _learn(self) -> None:
        for table in sorted(self._unknown):
            name = postgres_name("public", table)
            columns, _ = await self._database.read(partial(_columns, name), even_if_stale=True)
            if columns:
                self._shapes[table] = shape_of(table, columns)
        self._unknown.clear()


async def _columns(name: str, db: Session) -> Sequence[Row]:
    return await db.fetch(_COLUMNS, name)


async def _put(db: Session, images: Sequence[Image]) -> None:
    for shape, of_shape in groupby(images, attrgetter("shape")):
        await db.execute_many(shape.upsert, [shape.values(image.row) for image in of_shape])


def shape_of(table: str, columns: Sequence[Sequence[Any]]) -> Shape:
    """From the rows of `_COLUMNS`: name, type, and whether it is of the primary key."""
    names = [postgres_name(name) for name, _, _ in columns]
    key = [postgres_name(name) for name, _, is_key in columns if is_key]
    target = postgres_name("public", table)
    version = postgres_name(VERSION_COLUMN)
    if version in names:
        changes = ", ".join(f"{name} = EXCLUDED.{name}" for name in names if name not in key)
        then = f"DO UPDATE SET {changes} WHERE {target}.{version} < EXCLUDED.{version}"
    else:
        then = "DO NOTHING"
    upsert = (
        f"INSERT INTO {target} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
        f"ON CONFLICT ({', '.join(key)}) {then}"
    )
    return Shape(table, tuple(c[0] for c in columns), tuple(c[1] for c in columns), upsert)


def _same(value: Any) -> Any:
    return value


def _clock(value: Any) -> Any:
    return (datetime.min + value).time() if isinstance(value, timedelta) else value


_AS: Mapping[str, Callable[[Any], Any]] = {
    "bool": bool,
    "numeric": Decimal,
    "timestamptz": lambda value: value.replace(tzinfo=UTC),
    "time": _clock,
}
"""How a value that MySQL's driver gave becomes what Aurora's takes, by PostgreSQL's type. Others are the same."""
