"""How many rows a Parquet file has: its footer says so.

The file ends with the footer, its length in 4 bytes (little endian), and `PAR1`. The footer is a structure of Thrift's
compact protocol (`FileMetaData`: version, schema, num_rows, ...), of which only the third field is needed: the others
are skipped. (Apache Parquet, "File format" and parquet.thrift; Apache Thrift, "Thrift compact protocol".)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

MAGIC: Final = b"PAR1"
TAIL: Final = 4 << 20
"""Bytes of the file's end that are kept: a footer is as long as its row groups and columns are many."""

_NUM_ROWS: Final = 3


def rows_of(blocks: Iterable[bytes]) -> int:
    """Rows of the file that comes in these blocks. Raises `ValueError` for what is no Parquet."""
    begin, end = b"", b""
    for block in blocks:
        begin = begin or block[:4]
        end = (end + block)[-TAIL:]
    if begin != MAGIC or end[-4:] != MAGIC:
        raise ValueError("it is no Parquet file")
    length = int.from_bytes(end[-8:-4], "little")
    if length > len(end) - 8:
        raise ValueError(f"its footer has {length:,} bytes")
    try:
        return _Reader(end[-8 - length : -8]).field(_NUM_ROWS)
    except IndexError as e:
        raise ValueError("its footer is cut off") from e


class _Reader:
    """Thrift's compact protocol, as far as it takes to skip fields."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def field(self, wanted: int) -> int:
        """The integer in this field of the structure that begins here."""
        number = 0
        while kind := self._field_kind():
            number += kind >> 4 if kind >> 4 else self._zigzag()
            if number == wanted:
                return self._zigzag()
            self._skip(kind & 15)
        raise ValueError("its footer does not say how many rows it has")

    def _field_kind(self) -> int:
        return self._byte()

    def _skip(self, kind: int) -> None:
        if kind in (1, 2):  # true, false: the kind is the value
            return
        if kind == 3:
            self._at += 1
        elif kind in (4, 5, 6):
            self._varint()
        elif kind == 7:
            self._at += 8
        elif kind == 8:
            length = self._varint()
            self._at += length
        elif kind in (9, 10):
            self._skip_list()
        elif kind == 11:
            self._skip_map()
        elif kind == 12:
            while inner := self._byte():
                if not inner >> 4:
                    self._varint()
                self._skip(inner & 15)
        else:
            raise ValueError(f"its footer has a field of the unknown kind {kind}")

    def _skip_list(self) -> None:
        head = self._byte()
        count, kind = head >> 4, head & 15
        for _ in range(self._varint() if count == 15 else count):
            self._skip_element(kind)

    def _skip_map(self) -> None:
        count = self._varint()
        if count:
            kinds = self._byte()
            for _ in range(count):
                self._skip_element(kinds >> 4)
                self._skip_element(kinds & 15)

    def _skip_element(self, kind: int) -> None:
        """Within lists and maps a boolean has a byte of its own."""
        if kind in (1, 2):
            self._at += 1
        else:
            self._skip(kind)

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _varint(self) -> int:
        number = shift = 0
        while True:
            byte = self._byte()
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    def _byte(self) -> int:
        byte = self._data[self._at]
        self._at += 1
        return byte
