"""The type contract in the words of AWS DMS: how each column travels, and what DMS cannot carry, by name.

DMS reads a value into a data type of its own and writes that into the column that is there. The target's columns are
made by the contract, so a transformation is needed only where DMS's own type would lose or break a value:

- BIGINT UNSIGNED is UINT8, which DMS writes as bigint: half of its range would not fit. It is changed to numeric(20).
- TINYINT(1) named in `booleans` is INT1, which PostgreSQL does not take for a boolean. It is changed to boolean.
- A generated column is removed: the target computes it, and refuses a value for it.
- A LOB (MEDIUMTEXT, LONGTEXT, MEDIUMBLOB, LONGBLOB, JSON) is written as NULL first and filled by a second statement.
  So it must be nullable on the target while DMS writes, cannot be part of a key, and cannot be transformed.
- TIMESTAMP arrives in UTC, DATETIME as it stands: just what timestamptz and timestamp want. A zero value is NULL on a
  target that has none; of partial dates the user guide says nothing: the check tells.
- TIME is text, and so is what an interval is made of; 838 hours are as good as 8.
- Names stay as MySQL has them, as in the schema; only the schema itself is renamed.

The way back (PostgreSQL to MySQL) carries less: text, bytea and jsonb are all LOBs there, and boolean, bit(n) and
interval travel as text that MySQL takes for another value or for none.

Source: AWS DMS user guide, "Using a MySQL-compatible database as a source", "Using a PostgreSQL database as a target",
"Using a PostgreSQL database as a source", "Setting LOB support for source databases", "AWS DMS data validation".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from contract.tables import Column, Table
from contract.types import Choices, TypeRule, Unsupported, rule_for

Direction = Literal["forward", "back"]

MAX_DIGITS: Final = 38
"""Of DMS's NUMERIC."""
MAX_KEY_CHARACTERS: Final = 1023
"""Validation compares rows by keys shorter than 1,024 characters."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_$ ]+")


@dataclass(frozen=True, slots=True)
class DmsRule:
    """How DMS carries one column."""

    type: str
    """DMS's data type, after the change."""
    change: Mapping[str, str | int] | None = None
    """What `change-data-type` must say, or nothing."""
    lob: bool = False
    """Whether it is a large object to DMS: fetched by a look-up of its own, and written in two steps."""
    caution: str = ""
    """What the user guide does not promise, so that only a comparison of the data can tell."""


_FORWARD: Final = {
    "tinyint": ("INT1", "UINT1"),
    "smallint": ("INT2", "UINT2"),
    "mediumint": ("INT4", "UINT4"),
    "int": ("INT4", "UINT4"),
    "bigint": ("INT8", "NUMERIC"),
    "decimal": ("NUMERIC", "NUMERIC"),
    "float": ("REAL8", "REAL8"),
    "double": ("REAL8", "REAL8"),
    "char": ("WSTRING", "WSTRING"),
    "varchar": ("WSTRING", "WSTRING"),
    "tinytext": ("WSTRING", "WSTRING"),
    "text": ("WSTRING", "WSTRING"),
    "mediumtext": ("NCLOB", "NCLOB"),
    "longtext": ("NCLOB", "NCLOB"),
    "binary": ("BYTES", "BYTES"),
    "varbinary": ("BYTES", "BYTES"),
    "tinyblob": ("BYTES", "BYTES"),
    "blob": ("BYTES", "BYTES"),
    "mediumblob": ("BLOB", "BLOB"),
    "longblob": ("BLOB", "BLOB"),
    "enum": ("WSTRING", "WSTRING"),
    "set": ("WSTRING", "WSTRING"),
    "json": ("CLOB", "CLOB"),
    "year": ("INT2", "INT2"),
    "date": ("DATE", "DATE"),
    "datetime": ("DATETIME", "DATETIME"),
    "timestamp": ("DATETIME", "DATETIME"),
    "time": ("STRING", "STRING"),
}
"""MySQL's type: DMS's (signed, unsigned)."""

_BACK: Final = {
    "smallint": "INT2",
    "integer": "INT4",
    "bigint": "INT8",
    "numeric": "NUMERIC",
    "real": "REAL4",
    "double precision": "REAL8",
    "varchar": "WSTRING",
    "text": "NCLOB",
    "bytea": "BLOB",
    "jsonb": "NCLOB",
    "date": "DATE",
    "timestamp": "DATETIME",
    "timestamptz": "DATETIME",
    "time": "TIME",
}
"""PostgreSQL's type: DMS's."""

_LOBS: Final = frozenset({"BLOB", "CLOB", "NCLOB"})


def dms_rule(
    column: Column,
    booleans: Collection[str] = (),
    direction: Direction = "forward",
    intervals: Collection[str] = (),
) -> DmsRule:
    """The rule for a column. Raises `Unsupported` where the contract or DMS has none."""
    rule = rule_for(column, Choices.of(booleans, intervals))
    return _forward(column, rule) if direction == "forward" else _back(column, rule)


def _refuse(column: Column, reason: str) -> Unsupported:
    return Unsupported(column.table, column.name, column.full_type, f"AWS DMS cannot carry it: {reason}")


def _forward(column: Column, rule: TypeRule) -> DmsRule:
    if column.type == "bit":
        if rule.postgres == "boolean":
            return DmsRule("BOOLEAN")
        raise _refuse(column, f"BIT(n) travels as bytes, which {rule.postgres} does not take")
    if rule.postgres == "boolean":
        return DmsRule("BOOLEAN", {"type": "boolean"})
    if column.type not in _FORWARD:
        raise _refuse(column, "the user guide names no data type for it")
    carried = _FORWARD[column.type][column.unsigned]
    if column.type == "decimal":
        _demand_digits(column)
    if column.type == "bigint" and column.unsigned:
        return DmsRule("NUMERIC", {"type": "numeric", "precision": 20, "scale": 0})
    caution = ""
    if column.type in ("datetime", "timestamp") and column.fraction > 3:
        caution = "the user guide promises milliseconds only"
    if column.type == "time":
        caution = f"travels as text, which the target must read as {rule.postgres.partition('(')[0]}"
    return DmsRule(carried, lob=carried in _LOBS, caution=caution)


def _back(column: Column, rule: TypeRule) -> DmsRule:
    base = rule.postgres.partition("(")[0]
    if base in ("boolean", "bit"):
        raise _refuse(
            column, f"{rule.postgres} travels as text, which MySQL's {column.full_type} takes for another value"
        )
    if base == "interval":
        raise _refuse(column, "an interval travels as words for its parts, which MySQL's TIME does not take")
    if column.type == "decimal":
        _demand_digits(column)
    carried = _BACK[base]
    caution = "the user guide promises milliseconds only" if carried == "DATETIME" and column.fraction > 3 else ""
    return DmsRule(carried, lob=carried in _LOBS, caution=caution)


def _demand_digits(column: Column) -> None:
    if (column.precision or 10) > MAX_DIGITS:
        raise _refuse(column, f"its NUMERIC has at most {MAX_DIGITS} digits")


@dataclass(frozen=True, slots=True)
class Demands:
    """What a task asks of its tables, beyond carrying them."""

    validated: bool = False
    """DMS compares the rows by key."""
    batched: bool = False
    """Changes are applied in batches, by key and out of order."""
    relaxed: frozenset[str] = frozenset()
    """`table.column` of LOBs whose NOT NULL is taken away where DMS writes."""


@dataclass(frozen=True, slots=True)
class Travel:
    """How a table travels."""

    carried: Mapping[str, DmsRule]
    """By column."""
    removed: tuple[str, ...]
    """Columns that are there on the source and must not be written: generated ones, and those left out."""
    obstacles: tuple[str, ...]
    """Why DMS cannot carry it, each with table, column and the way out; none if it can."""

    @property
    def lobs(self) -> int:
        """Number of large objects in a row."""
        return sum(rule.lob for rule in self.carried.values())


def travel(
    table: Table,
    booleans: Collection[str] = (),
    excluded: Collection[str] = (),
    direction: Direction = "forward",
    demands: Demands = Demands(),
    intervals: Collection[str] = (),
) -> Travel:
    """How DMS carries a table; every obstacle at once."""
    carried: dict[str, DmsRule] = {}
    removed: list[str] = []
    obstacles: list[str] = []
    for column in table.columns:
        if column.path in excluded:
            # It was never made on PostgreSQL, so on the way back there is nothing to remove.
            if direction == "forward":
                removed.append(column.name)
            continue
        if column.generated:
            removed.append(column.name)
            continue
        try:
            carried[column.name] = dms_rule(column, booleans, direction, intervals)
        except Unsupported as error:
            obstacles.append(str(error))
    obstacles += _shape(table, carried, removed, demands)
    return Travel(carried, tuple(removed), tuple(obstacles))


def _shape(table: Table, carried: Mapping[str, DmsRule], removed: list[str], demands: Demands) -> list[str]:
    """What is wrong with the table as a whole."""
    wrong = [
        f"{table.name}.{name}: AWS DMS cannot transform a column with such a name, and this one must be"
        for name in (column.name for column in table.columns)
        if (name in removed or (name in carried and carried[name].change)) and not _PLAIN_NAME.fullmatch(name)
    ]
    if not table.primary_key:
        wrong.append(f"{table.name}: no primary key, by which AWS DMS fetches LOBs, applies changes and validates")
    for column in table.key_columns:
        rule = carried.get(column.name)
        if rule is None:
            continue
        if rule.lob:
            wrong.append(f"{column.path} {column.full_type}: a LOB to AWS DMS, which cannot be part of a key")
        elif demands.validated and rule.type == "BYTES":
            wrong.append(
                f"{column.path} {column.full_type}: AWS DMS validates no row by a binary key: leave it to the check"
            )
        elif demands.validated and (column.length or 0) > MAX_KEY_CHARACTERS and rule.type == "WSTRING":
            wrong.append(
                f"{column.path} {column.full_type}: AWS DMS validates by keys up to {MAX_KEY_CHARACTERS} characters"
            )
    for name, rule in carried.items():
        column = table.column(name)
        if rule.lob and not column.nullable and column.path not in demands.relaxed and name not in table.primary_key:
            wrong.append(
                f"{column.path} {column.full_type}: a LOB to AWS DMS, written as NULL first, but NOT NULL: drop that "
                "constraint on the target while DMS writes, and name the column in `relaxed`"
            )
    if demands.batched and (unique := [key.name for key in table.keys if key.unique]):
        wrong.append(
            f"{table.name}: AWS DMS applies no batches to a table with a unique key ({', '.join(unique)}) besides its "
            "primary key"
        )
    return wrong
