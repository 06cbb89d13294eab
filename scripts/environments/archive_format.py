"""How rows of MySQL become lines of text that MySQL's own LOAD DATA reads back, value for value.

Invariants:
- A line is the same whether MySQL builds it (`line_sql`, many rows at a time) or this process does (`line_of`, for rows
  too large for that).
- What LOAD DATA would not read back as it was is written as something it does: binary and spatial values in hexadecimal
  digits, BIT as a number, FLOAT and DOUBLE with as many digits as they need.
- Generated columns are not written: MySQL computes them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from contract.tables import Column, Table, mysql_name
from contract.types import Choices, Unsupported, carried, rule_for
from scripts.data.rules import Rules

NULL: Final = b"\\N"
_ESCAPES: Final = {b"\\": b"\\\\", b"\t": b"\\t", b"\n": b"\\n"}
_SPECIAL: Final = re.compile(rb"[\\\t\n]")
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)

_BINARY: Final = frozenset({
    "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector",
    "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon", "geomcollection",
    "geometrycollection",
})  # fmt: skip
_TEXT: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"})


def is_hexadecimal(column: Column) -> bool:
    return column.type in _BINARY


def value_sql(column: Column) -> str:
    """What a column's value is written as, in MySQL's SQL and not yet escaped."""
    name = mysql_name(column.name)
    if column.type in _BINARY:
        return f"HEX({name})"
    if column.type == "bit":
        return f"{name}+0"
    if column.type in ("float", "double"):
        number = f"CAST({name} AS DOUBLE)"  # of a FLOAT, MySQL prints 6 digits only
        return f"IF(CAST(CAST({number} AS CHAR) AS DOUBLE) = {number}, CAST({number} AS CHAR), " + (
            f"CAST(CAST({number} AS JSON) AS CHAR))"
        )
    if column.type == "json":
        return f"CAST({name} AS CHAR)"
    if column.type in _TEXT:
        return f"CONVERT({name} USING utf8mb4)"
    return f"CAST({name} AS CHAR)"


def line_sql(columns: Sequence[Column]) -> str:
    """A whole line without its end; NULL where it is larger than max_allowed_packet."""
    parts = []
    for column in carried(columns):
        value = value_sql(column)
        if column.type in _TEXT or column.type == "json":
            for plain, escaped in _ESCAPES.items():
                value = f"REPLACE({value},_utf8mb4 X'{plain.hex()}',_utf8mb4 X'{escaped.hex()}')"
        parts.append(f"IFNULL({value},_utf8mb4 X'{NULL.hex()}')")
    tab = ",_utf8mb4 X'09',"
    return f"CONCAT({tab.join(parts)})" if parts else "''"


def line_of(values: Iterable[bytes | None]) -> bytes:
    """The same line from the values of `value_sql`."""
    return b"\t".join(NULL if v is None else _SPECIAL.sub(lambda found: _ESCAPES[found[0]], v) for v in values)


def values_of(line: bytes) -> list[bytes | None]:
    """The values of a line without its end, as MySQL reads them."""
    return [None if field == NULL else _ESCAPED.sub(_unescaped, field) for field in line.split(b"\t")]


def _unescaped(found: re.Match[bytes]) -> bytes:
    return {b"t": b"\t", b"n": b"\n"}.get(found[1], found[1])


def load_statement(table: Table) -> str:
    """How MySQL loads a file of the table, in a session with `sql_mode = 'NO_AUTO_VALUE_ON_ZERO'` and in UTC."""
    names, sets = [], []
    for i, column in enumerate(carried(table.columns)):
        name = mysql_name(column.name)
        if is_hexadecimal(column):
            names.append(f"@v{i}")
            sets.append(f"{name} = UNHEX(@v{i})")
        elif column.type == "bit":
            names.append(f"@v{i}")
            sets.append(f"{name} = CAST(@v{i} AS UNSIGNED)")
        else:
            names.append(name)
    setting = f" SET {', '.join(sets)}" if sets else ""
    return (
        f"LOAD DATA LOCAL INFILE '<file>' INTO TABLE {mysql_name(table.name)} CHARACTER SET utf8mb4 "
        f"({', '.join(names)}){setting}"
    )


def insert_values(columns: Sequence[Column], line: bytes) -> str:
    """A line as the row of an INSERT, in MySQL's SQL."""
    literals = []
    for column, value in zip(carried(columns), values_of(line), strict=True):
        if value is None:
            literals.append("NULL")
        elif is_hexadecimal(column):
            literals.append(f"X'{bytes.fromhex(value.decode()).hex()}'")
        elif column.type == "bit":
            literals.append(str(int(value)))
        else:
            literals.append(f"_utf8mb4 X'{value.hex()}'")
    return f"({', '.join(literals)})"


def digested(table: Table, choices: Choices) -> tuple[Rules, list[str]]:
    """The table with the rules by which its rows are hashed, and the columns that have none. Without a key of columns
    that have rules, `key` is empty."""
    known, unknown = {}, []
    for column in table.columns:
        try:
            known[column.name] = (column, rule_for(column, choices))
        except Unsupported:
            unknown.append(column.name)
    keyed = bool(table.primary_key) and all(name in known for name in table.primary_key)
    rules = Rules(
        replace(table, columns=tuple(column for column, _ in known.values())),
        tuple(known.values()),
        tuple(known[name] for name in table.primary_key) if keyed else (),
    )
    return rules, unknown


def scratch_ddl(ddl: str, name: str) -> str:
    """A table of the archive as a temporary one: its columns and its primary key. What a temporary table cannot have
    (partitions, foreign keys, full-text indexes), and what only makes loading slow, is left out.

    MySQL writes SHOW CREATE TABLE with one column or key on each line.
    """
    head, *lines = ddl.splitlines()
    if not head.startswith("CREATE TABLE "):
        raise ValueError(f"no statement of SHOW CREATE TABLE: {head[:80]}")
    kept = [line.rstrip(",") for line in lines if line.startswith(("  `", "  PRIMARY KEY"))]
    tail = next(line for line in lines if line.startswith(")"))
    auto = next((line.split()[0] for line in kept if " AUTO_INCREMENT" in line.partition(" COMMENT ")[0]), None)
    if auto and not any(line.startswith(f"  PRIMARY KEY ({auto}") for line in kept):
        kept.append(f"  KEY ({auto})")  # such a column must be the first of a key
    options = re.findall(r" (DEFAULT CHARSET=\w+|COLLATE=\w+|ROW_FORMAT=(?:DYNAMIC|COMPACT|REDUNDANT))", tail)
    return f"CREATE TEMPORARY TABLE {name} (\n" + ",\n".join(kept) + f"\n) ENGINE=InnoDB {' '.join(options)}"
