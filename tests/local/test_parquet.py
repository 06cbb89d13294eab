"""What the writer of Parquet writes is read back by the format's description: footer, pages, levels, plain values."""

from __future__ import annotations

import gzip
import io
import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from local.dataplane.rds.export_types import mysql_column, postgres_column
from local.dataplane.rds.parquet import Column, Writer

COLUMNS = (
    Column("id", "INT64"),
    Column("small", "INT32"),
    Column("ratio", "DOUBLE"),
    Column("yes", "BOOLEAN"),
    Column("name", "BYTE_ARRAY", "UTF8"),
    Column("price", "FIXED_LEN_BYTE_ARRAY", "DECIMAL", 9, 20, 2),
)
VALUES = (
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.text().map(str.encode),
    st.integers(-(10**20), 10**20).map(lambda n: n.to_bytes(9, "big", signed=True)),
)
ROWS = st.lists(st.tuples(*(st.none() | values for values in VALUES)), min_size=1, max_size=40)


class Thrift:
    """Thrift's compact protocol: structures as their fields by number."""

    def __init__(self, data: bytes) -> None:
        self.stream = io.BytesIO(data)

    def struct(self) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while head := self.stream.read(1)[0]:
            number += head >> 4
            assert head >> 4, "all fields here are near each other"
            fields[number] = self.value(head & 15)
        return fields

    def value(self, kind: int) -> Any:
        match kind:
            case 5 | 6:
                number = self.varint()
                return (number >> 1) ^ -(number & 1)
            case 8:
                return self.stream.read(self.varint())
            case 9:
                head = self.stream.read(1)[0]
                count = self.varint() if head >> 4 == 15 else head >> 4
                return [self.value(head & 15) for _ in range(count)]
            case 12:
                return self.struct()
        raise AssertionError(kind)

    def varint(self) -> int:
        number = shift = 0
        while (byte := self.stream.read(1)[0]) > 127:
            number |= (byte & 127) << shift
            shift += 7
        return number | byte << shift


def read(data: bytes) -> tuple[list[str], list[tuple[Any, ...]]]:
    """The names of the columns, and the rows."""
    assert data[:4] == data[-4:] == b"PAR1"
    length = int.from_bytes(data[-8:-4], "little")
    footer = Thrift(data[-8 - length : -8]).struct()
    root, *elements = footer[2]
    assert root[5] == len(elements)
    rows: list[tuple[Any, ...]] = []
    for group in footer[4]:
        columns = [_column(data, chunk[3], element) for chunk, element in zip(group[1], elements, strict=True)]
        rows += zip(*columns, strict=True)
    assert len(rows) == footer[3]
    return [element[4].decode() for element in elements], rows


def _column(data: bytes, meta: dict[int, Any], element: dict[int, Any]) -> list[Any]:
    thrift = Thrift(data[meta[9] :])
    header = thrift.struct()
    start = meta[9] + thrift.stream.tell()
    body = io.BytesIO(gzip.decompress(data[start : start + header[3]]))
    assert len(body.getvalue()) == header[2] and start + header[3] - meta[9] == meta[7]
    count = header[5][1]
    levels = Thrift(body.read(int.from_bytes(body.read(4), "little")))
    run = levels.varint()
    bits = int.from_bytes(levels.stream.read(), "little") if run & 1 else -1
    assert run & 1 or run >> 1 == count
    return (
        [_value(body, element, i) if bits >> i & 1 else None for i in range(count)]
        if element[1]
        else _booleans(body, bits, count)
    )


def _booleans(body: io.BytesIO, bits: int, count: int) -> list[Any]:
    packed, seen = int.from_bytes(body.read(), "little"), iter(range(count))
    return [bool(packed >> next(seen) & 1) if bits >> i & 1 else None for i in range(count)]


def _value(body: io.BytesIO, element: dict[int, Any], _: int) -> Any:
    match element[1]:
        case 6:
            return body.read(int.from_bytes(body.read(4), "little"))
        case 7:
            return body.read(element[2])
    code = {1: "<i", 2: "<q", 4: "<f", 5: "<d"}[element[1]]
    return struct.unpack(code, body.read(struct.calcsize(code)))[0]


@given(st.lists(ROWS, min_size=1, max_size=3))
def test_rows_come_back(groups: list[list[tuple[Any, ...]]]) -> None:
    file = io.BytesIO()
    writer = Writer(file, COLUMNS)
    for group in groups:
        writer.write(group)
    writer.close()
    names, rows = read(file.getvalue())
    assert names == [column.name for column in COLUMNS]
    assert rows == [row for group in groups for row in group]


def test_types_are_those_of_rds() -> None:
    def mysql(kind: str, precision: int = 0, scale: int = 0) -> tuple[str, str]:
        column = mysql_column("c", kind, precision, scale).column
        return column.physical, column.converted

    assert mysql("bigint unsigned") == ("FIXED_LEN_BYTE_ARRAY", "DECIMAL")
    assert [mysql(k)[0] for k in ("int unsigned", "mediumint", "year", "float", "bit(3)")] == [
        "INT64", "INT32", "INT32", "DOUBLE", "BYTE_ARRAY",
    ]  # fmt: skip
    assert [mysql("decimal(12,2)", p, 2)[0] for p in (9, 18, 38, 39)] == [
        "INT32", "INT64", "FIXED_LEN_BYTE_ARRAY", "BYTE_ARRAY",
    ]  # fmt: skip
    assert mysql("timestamp(6)") == ("INT64", "TIMESTAMP_MICROS") and mysql("date") == ("BYTE_ARRAY", "UTF8")
    at = mysql_column("c", "datetime(6)", 0, 0).convert
    assert (at("1970-01-02 00:00:00.000001"), at("1969-12-31 23:59:59"), at("0000-00-00 00:00:00")) == (
        86_400_000_001, -1_000_000, None,
    )  # fmt: skip
    price = mysql_column("c", "decimal(20,2)", 20, 2)
    assert int.from_bytes(price.convert("-12.34"), "big", signed=True) == -1234
    assert postgres_column("c", "numeric(12,2)").column.converted == "UTF8", "NaN has no place in a decimal"
    assert postgres_column("c", "timestamp with time zone").select == '"c"::text'
