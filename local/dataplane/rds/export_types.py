"""What a column's type becomes in RDS' exports.

Amazon RDS User Guide and Amazon Aurora User Guide, "Data conversion when exporting to an Amazon S3 bucket": MySQL keeps
its numbers and times, of PostgreSQL everything but plain numbers and booleans is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from local.dataplane.rds.parquet import Column

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Exported:
    """A column of a table: as it is in Parquet, how it is selected, and how a selected value becomes one of Parquet."""

    column: Column
    original: str
    select: str
    convert: Callable[[Any], Any]


def mysql_column(name: str, kind: str, precision: int, scale: int) -> Exported:
    """`kind` is the column's whole type in MySQL, such as `bigint unsigned`."""
    quoted = "`" + name.replace("`", "``") + "`"
    plain, unsigned = re.split(r"[( ]", kind.lower())[0], "unsigned" in kind.lower()

    def made(column: Column, convert: Callable[[Any], Any], select: str = quoted) -> Exported:
        return Exported(column, kind, select, convert)

    match plain:
        case "bigint" if unsigned:
            return made(Column(name, "FIXED_LEN_BYTE_ARRAY", "DECIMAL", 9, 20, 0), lambda v: int(v).to_bytes(9, "big"))
        case "bigint":
            return made(Column(name, "INT64"), int)
        case "int" | "mediumint":
            return made(Column(name, "INT64" if unsigned else "INT32"), int)
        case "smallint" | "tinyint" | "year":
            return made(Column(name, "INT32"), int)
        case "float" | "double":
            return made(Column(name, "DOUBLE"), float)
        case "decimal":
            return made(*_decimal(name, precision, scale))
        case "datetime" | "timestamp":
            return made(Column(name, "INT64", "TIMESTAMP_MICROS"), _micros)
        case "bit" | "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob":
            return made(Column(name, "BYTE_ARRAY"), _bytes)
        case "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon":
            return made(Column(name, "BYTE_ARRAY"), _bytes)
    return made(Column(name, "BYTE_ARRAY", "UTF8"), _bytes)


def postgres_column(name: str, kind: str) -> Exported:
    """`kind` is the column's type as PostgreSQL says it, such as `numeric(12,2)`."""
    quoted = '"' + name.replace('"', '""') + '"'
    numbers: dict[str, Column] = {
        "bigint": Column(name, "INT64"),
        "integer": Column(name, "INT32"),
        "smallint": Column(name, "INT32", "INT_16"),
        "real": Column(name, "FLOAT"),
        "double precision": Column(name, "DOUBLE"),
        "boolean": Column(name, "BOOLEAN"),
    }
    if kind in numbers:
        return Exported(numbers[kind], kind, quoted, lambda value: value)
    if kind == "bytea":
        return Exported(Column(name, "BYTE_ARRAY"), kind, quoted, bytes)
    return Exported(Column(name, "BYTE_ARRAY", "UTF8"), kind, f"{quoted}::text", _bytes)


def _decimal(name: str, precision: int, scale: int) -> tuple[Column, Callable[[Any], Any]]:
    if precision > 38:
        return Column(name, "BYTE_ARRAY", "UTF8"), _bytes

    def unscaled(value: Any) -> int:
        return int(Decimal(value).scaleb(scale))

    if precision <= 9:
        return Column(name, "INT32", "DECIMAL", 0, precision, scale), unscaled
    if precision <= 18:
        return Column(name, "INT64", "DECIMAL", 0, precision, scale), unscaled
    length = (10**precision).bit_length() // 8 + 1
    column = Column(name, "FIXED_LEN_BYTE_ARRAY", "DECIMAL", length, precision, scale)
    return column, lambda value: unscaled(value).to_bytes(length, "big", signed=True)


def _micros(value: Any) -> int | None:
    """None for MySQL's zero dates, which no calendar has."""
    try:
        at = datetime.fromisoformat(value).replace(tzinfo=UTC)
    except ValueError:
        return None
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)
