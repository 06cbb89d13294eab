"""Tables as data: what a MySQL schema consists of, as far as the migration is concerned (pure; no database needed).

Names are as MySQL has them. They are kept on the target, so every identifier in generated SQL is quoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import TypeAdapter

Generated = Literal["stored", "virtual"]
KeyKind = Literal["btree", "fulltext", "spatial"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `type` is MySQL's bare type in lower case (`bigint`), `full_type` as declared (`bigint unsigned`)."""

    name: str
    type: str
    full_type: str
    nullable: bool = True
    default: str | None = None
    """A literal as text, or an expression when `default_expression`; None is no default (or NULL)."""
    default_expression: bool = False
    on_update_now: bool = False
    auto_increment: bool = False
    length: int | None = None
    """Characters for text, bytes for binary."""
    precision: int | None = None
    """Digits of a decimal, bits of a BIT."""
    scale: int | None = None
    fraction: int = 0
    """Digits after the second of TIME, DATETIME and TIMESTAMP."""
    collation: str | None = None
    invisible: bool = False
    values: tuple[str, ...] = ()
    """Members of an ENUM or SET, in order."""
    generated: Generated | None = None
    expression: str = ""
    """What a generated column is computed from, in MySQL's SQL."""
    sources: tuple[Column, ...] = ()
    """The columns that it is computed from."""
    comment: str = ""
    table: str = ""
    """The table it belongs to: for messages, and for settings that name `table.column`."""

    @property
    def unsigned(self) -> bool:
        return " unsigned" in self.full_type

    @property
    def zerofill(self) -> bool:
        return " zerofill" in self.full_type

    @property
    def case_insensitive(self) -> bool:
        """Whether MySQL takes `A` and `a` for the same value here."""
        return self.collation is not None and "_ci" in self.collation

    @property
    def pads(self) -> bool:
        """Whether MySQL takes `a` and `a ` for the same value here (a PAD SPACE collation)."""
        return self.collation is not None and self.collation != "binary" and "_0900_" not in self.collation

    @property
    def path(self) -> str:
        return f"{self.table}.{self.name}"


@dataclass(frozen=True, slots=True)
class KeyPart:
    """One part of an index: a column, its first `prefix` characters, or an expression (then `column` is empty)."""

    column: str
    prefix: int | None = None
    descending: bool = False
    expression: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """A secondary index (the primary key is `Table.primary_key`)."""

    name: str
    parts: tuple[KeyPart, ...]
    unique: bool = False
    kind: KeyKind = "btree"
    visible: bool = True
    """Whether MySQL's optimizer may use it."""

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(p.column for p in self.parts if p.column)


@dataclass(frozen=True, slots=True)
class ForeignKey:
    name: str
    columns: tuple[str, ...]
    referenced_table: str
    referenced_columns: tuple[str, ...]
    on_delete: str = "NO ACTION"
    on_update: str = "NO ACTION"

    @property
    def cascades(self) -> bool:
        """Whether MySQL changes rows of this table by itself when the parent changes."""
        return any(action in ("CASCADE", "SET NULL", "SET DEFAULT") for action in (self.on_delete, self.on_update))


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class Table:
    name: str
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    keys: tuple[Key, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    checks: tuple[Check, ...] = ()
    engine: str = "InnoDB"
    partitions: int = 0
    rows: int = 0
    """An estimate; count to know."""
    size: int = field(default=0)
    """Bytes of data and indexes, estimated."""
    next_number: int = 1
    """What AUTO_INCREMENT gives next."""
    comment: str = ""

    def column(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"table {self.name} has no column {name}")

    @property
    def key_columns(self) -> tuple[Column, ...]:
        return tuple(self.column(name) for name in self.primary_key)


def mysql_name(*parts: str) -> str:
    """A quoted identifier for MySQL."""
    return ".".join("`" + part.replace("`", "``") + "`" for part in parts)


def postgres_name(*parts: str) -> str:
    """A quoted identifier for PostgreSQL."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


_TABLES: Final = TypeAdapter(tuple[Table, ...])


def dump_tables(tables: Sequence[Table]) -> str:
    """The description of tables as text that can be kept in a file."""
    return _TABLES.dump_json(tuple(tables), indent=1, exclude_defaults=True).decode() + "\n"


def load_tables(text: str) -> tuple[Table, ...]:
    """What `dump_tables` wrote. Raises `ValueError` that names what does not fit."""
    return _TABLES.validate_json(text)
