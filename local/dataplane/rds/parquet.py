"""Writes Parquet files: flat tables, optional columns, plain values, pages in gzip, as RDS' exports have them.

(Apache Parquet, "File format", "Data pages" and parquet.thrift; Apache Thrift, "Thrift compact protocol".) The usual
library is larger than all others of the project together, and this is all that there is to write.
"""

from __future__ import annotations

import gzip
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Literal

Physical = Literal["BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"]
Converted = Literal["", "UTF8", "DECIMAL", "TIMESTAMP_MICROS", "INT_16"]

_PHYSICAL: Final = {
    "BOOLEAN": 0,
    "INT32": 1,
    "INT64": 2,
    "FLOAT": 4,
    "DOUBLE": 5,
    "BYTE_ARRAY": 6,
    "FIXED_LEN_BYTE_ARRAY": 7,
}
_CONVERTED: Final = {"UTF8": 0, "DECIMAL": 5, "TIMESTAMP_MICROS": 10, "INT_16": 16}
_ARRAYS: Final = {"INT32": "i", "INT64": "q", "FLOAT": "f", "DOUBLE": "d"}
_PLAIN, _RLE, _GZIP, _DATA_PAGE, _OPTIONAL = 0, 3, 2, 0, 1
_LEVEL = 4
"""Of gzip: half the time of its default for a tenth more bytes."""
MAGIC: Final = b"PAR1"


@dataclass(frozen=True)
class Column:
    """A column, and what its values must be: `bytes` for both kinds of BYTE_ARRAY, else numbers and booleans."""

    name: str
    physical: Physical
    converted: Converted = ""
    length: int = 0
    precision: int = 0
    scale: int = 0


class Writer:
    """Writes one file; `close` makes it whole."""

    def __init__(self, file: BinaryIO, columns: Sequence[Column]) -> None:
        self._file, self._columns = file, columns
        self._groups: list[dict[int, Any]] = []
        self.rows = 0
        file.write(MAGIC)

    def write(self, rows: Sequence[Sequence[Any]]) -> None:
        """One group of rows, each with a value or None for every column."""
        chunks = [self._chunk(column, [row[i] for row in rows]) for i, column in enumerate(self._columns)]
        size = sum(chunk[3][6] for chunk in chunks)
        self._groups.append({1: [Struct(chunk) for chunk in chunks], 2: Int64(size), 3: Int64(len(rows))})
        self.rows += len(rows)

    def close(self) -> None:
        root: dict[int, Any] = {4: "schema", 5: len(self._columns)}
        footer = encode(
            {
                1: 1,
                2: [Struct(root), *(Struct(_element(column)) for column in self._columns)],
                3: Int64(self.rows),
                4: [Struct(group) for group in self._groups],
                6: "zdm",
            }
        )
        self._file.write(footer + len(footer).to_bytes(4, "little") + MAGIC)

    def _chunk(self, column: Column, values: list[Any]) -> dict[int, Any]:
        plain = _levels(values) + _values(column, [value for value in values if value is not None])
        packed = gzip.compress(plain, _LEVEL, mtime=0)
        page = {1: len(values), 2: _PLAIN, 3: _RLE, 4: _RLE}
        header = encode({1: _DATA_PAGE, 2: len(plain), 3: len(packed), 5: Struct(page)})
        at = self._file.tell()
        self._file.write(header + packed)
        return {
            2: Int64(at),
            3: Struct(
                {
                    1: _PHYSICAL[column.physical],
                    2: [_PLAIN, _RLE],
                    3: [column.name],
                    4: _GZIP,
                    5: Int64(len(values)),
                    6: Int64(len(header) + len(plain)),
                    7: Int64(len(header) + len(packed)),
                    9: Int64(at),
                }
            ),
        }


def _element(column: Column) -> dict[int, Any]:
    element: dict[int, Any] = {1: _PHYSICAL[column.physical]}
    if column.length:
        element[2] = column.length
    element |= {3: _OPTIONAL, 4: column.name}
    if column.converted:
        element[6] = _CONVERTED[column.converted]
    if column.converted == "DECIMAL":
        element |= {7: column.scale, 8: column.precision}
    return element


def _levels(values: list[Any]) -> bytes:
    """Which values are there: one bit each, in groups of eight."""
    groups = -(-len(values) // 8)
    bits = sum(1 << i for i, value in enumerate(values) if value is not None) if None in values else None
    if bits is None:
        run = _varint(len(values) << 1) + b"\x01"
    else:
        run = _varint(groups << 1 | 1) + bits.to_bytes(groups, "little")
    return len(run).to_bytes(4, "little") + run


def _values(column: Column, values: list[Any]) -> bytes:
    match column.physical:
        case "BOOLEAN":
            bits = sum(1 << i for i, value in enumerate(values) if value)
            return bits.to_bytes(-(-len(values) // 8), "little")
        case "BYTE_ARRAY":
            length = struct.Struct("<I").pack
            return b"".join(part for value in values for part in (length(len(value)), value))
        case "FIXED_LEN_BYTE_ARRAY":
            return b"".join(values)
    return array(_ARRAYS[column.physical], values).tobytes()


# --- Thrift's compact protocol ----------------------------------------------------------------------------------------


class Int64(int):
    """An integer of 64 bits; a plain one has 32."""


class Struct(dict[int, Any]):
    """A structure, by the numbers of its fields."""


def encode(fields: dict[int, Any]) -> bytes:
    """A structure with its end."""
    out, last = bytearray(), 0
    for number, value in sorted(fields.items()):
        kind, body = _encoded(value)
        out.append((number - last) << 4 | kind)  # field numbers here are never 16 apart
        out += body
        last = number
    out.append(0)
    return bytes(out)


def _encoded(value: Any) -> tuple[int, bytes]:
    match value:
        case Int64():
            return 6, _zigzag(value)
        case int():
            return 5, _zigzag(value)
        case str():
            text = value.encode()
            return 8, _varint(len(text)) + text
        case Struct():
            return 12, encode(value)
        case list():
            parts = [_encoded(item) for item in value]
            kind = parts[0][0] if parts else 12
            head = bytes([len(parts) << 4 | kind]) if len(parts) < 15 else bytes([0xF0 | kind]) + _varint(len(parts))
            return 9, head + b"".join(body for _, body in parts)
    raise TypeError(type(value).__name__)


def _zigzag(number: int) -> bytes:
    return _varint(number << 1 if number >= 0 else (-number << 1) - 1)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)
