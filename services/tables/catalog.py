"""Which tables and columns there are, and how a JSON value becomes a value of a column.

Invariants:
- Names reach SQL only from here, quoted, never from a request; values are always parameters.
- A value is text for the database's own parser wherever JSON has no such type: dates, decimals, JSON as text. Binary
  columns take and give hexadecimal text.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import orjson

from contract.flag import Side
from services.origin.database import Database, Session
from services.origin.http import Problem

LOOK_AGAIN_SECONDS = 2.0
"""A table that is not known is looked for again this often: the target's tables come later than its origin."""

_NUMBERS = frozenset({
    "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "float", "double",
    "integer", "numeric", "real", "double precision",
})  # fmt: skip
_BYTES = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "bytea"})

_MYSQL_COLUMNS = """
SELECT c.table_name, c.column_name, c.data_type, c.column_key = 'PRI', c.extra LIKE '%auto_increment%',
       c.generation_expression <> ''
FROM information_schema.columns c
JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
WHERE c.table_schema = DATABASE() AND t.table_type = 'BASE TABLE'
ORDER BY c.table_name, c.ordinal_position"""

_POSTGRES_COLUMNS = """
SELECT t.relname, a.attname, format_type(a.atttypid, a.atttypmod),
       EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary AND a.attnum = ANY (i.indkey)),
       a.attidentity <> '' OR COALESCE(pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%', FALSE),
       a.attgenerated <> ''
FROM pg_class t
JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
WHERE n.nspname = 'public' AND t.relkind IN ('r', 'p')
ORDER BY t.relname, a.attnum"""


@dataclass(frozen=True, slots=True)
class Column:
    """`type` is as the database names it; `counted` means that the database gives it a number of its own."""

    name: str
    type: str
    key: bool
    counted: bool
    generated: bool

    @property
    def base(self) -> str:
        """The type without its length."""
        return self.type.partition("(")[0].strip().lower()

    @property
    def width(self) -> int:
        """The length in the type's parentheses, else 1."""
        length = self.type.partition("(")[2].rstrip(")")
        return int(length) if length.isdigit() else 1

    @property
    def numeric(self) -> bool:
        return self.base in _NUMBERS

    @property
    def binary(self) -> bool:
        return self.base in _BYTES


@dataclass(frozen=True, slots=True)
class Table:
    """A table of one side, with the SQL that is made of its names."""

    side: Side
    name: str
    columns: dict[str, Column]

    @property
    def sql(self) -> str:
        return self._quoted(self.name)

    @property
    def key(self) -> list[Column]:
        return [column for column in self.columns.values() if column.key]

    @property
    def counted(self) -> str | None:
        """The column that the database numbers."""
        return next((column.name for column in self.columns.values() if column.counted), None)

    def column(self, name: str) -> str:
        return self._quoted(self.columns[name].name)

    def slot(self, name: str) -> str:
        """The SQL around a value's `?` for this column."""
        column = self.columns[name]
        if self.side is Side.MYSQL:
            return "UNHEX(?)" if column.binary else "CAST(? AS UNSIGNED)" if column.base == "bit" else "?"
        if column.binary:
            return "decode(CAST(? AS text), 'hex')"
        if column.base.startswith("character"):  # a cast would cut silently what is too long
            return "CAST(? AS text)"
        return f"CAST(CAST(? AS text) AS {column.type})"

    def value(self, name: str, value: object) -> object:
        """A JSON value as this side's driver takes it for `slot`."""
        if value is None:
            return None
        if isinstance(value, bool):
            value = int(value)
        column = self.columns[name]
        if self.side is Side.AURORA and column.base == "bit" and isinstance(value, int):
            return f"{value:0{column.width}b}"
        if isinstance(value, dict | list):
            value = orjson.dumps(value).decode()
        return value if self.side is Side.MYSQL and isinstance(value, int | float) else str(value)

    def _quoted(self, name: str) -> str:
        mark = "`" if self.side is Side.MYSQL else '"'
        return mark + name.replace(mark, mark * 2) + mark


class Catalog:
    """The tables of a database, read once it is there."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._tables: dict[str, Table] = {}
        self._looked = float("-inf")
        self._looking = asyncio.Lock()

    async def table(self, name: str) -> Table:
        """Raises `Problem` 404 for a table that is not there, and `DatabaseError`."""
        found = self._tables.get(name)
        if found is None:
            async with self._looking:
                if name not in self._tables and time.monotonic() - self._looked >= LOOK_AGAIN_SECONDS:
                    self._tables, _ = await self._database.read(self._read, even_if_stale=True)
                    self._looked = time.monotonic()
            found = self._tables.get(name)
        if found is None:
            raise Problem(404, "not-found", f"there is no table {name!r}")
        return found

    async def _read(self, db: Session) -> dict[str, Table]:
        side = self._database.side
        tables: dict[str, Table] = {}
        for table, name, kind, key, counted, generated in await db.fetch(
            _MYSQL_COLUMNS if side is Side.MYSQL else _POSTGRES_COLUMNS
        ):
            column = Column(_text(name), _text(kind), bool(key), bool(counted), bool(generated))
            tables.setdefault(_text(table), Table(side, _text(table), {})).columns[column.name] = column
        return tables


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
