"""Rows of one portion of a copy, from MySQL's packets to a binary COPY by the native core."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Protocol

from rows.native import COPY_HEADER, COPY_TRAILER, Column, Plan, Transcoder
from rows.streams import BLOCK, mysql_query
from scripts.data.copy_state import Poisoned
from scripts.data.copy_table import Carried
from scripts.data.difference import Key
from scripts.data.rules import MySQL

WRITE: Final = 1 << 17
"""Bytes that are gathered before they are written."""

Form = Literal["binary", "text"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one query brought: `rows` of it were read, and `whole` says whether it was read to its end."""

    rows: int
    whole: bool


class Reading(Protocol):
    """A portion: the rows of one or more queries, written as one COPY. After an error it is of no more use."""

    form: ClassVar[Form]
    header: ClassVar[bytes]
    trailer: ClassVar[bytes]
    options: ClassVar[Mapping[str, Any]]
    """Of the connection to MySQL."""
    size: int
    """Bytes written so far."""

    def read(self, my: MySQL, sql: str, write: Callable[[bytes], object], enough: Callable[[int], bool]) -> Chunk:
        """Reads a query's rows. When `enough` (given the bytes of this query) says so, the query is given up behind
        a row: then the connection is closed, and nothing can be read any more."""
        ...

    @property
    def rows(self) -> int:
        """Rows written."""
        ...

    @property
    def last(self) -> Key | None:
        """The key of the last row of the last query, written or not."""
        ...

    def poisons(self) -> list[Poisoned]:
        """The rows set aside."""
        ...

    def close(self) -> None: ...


class NativeReading:
    """`Reading` by the native core: no work in Python by row."""

    form: ClassVar[Form] = "binary"
    header: ClassVar[bytes] = COPY_HEADER
    trailer: ClassVar[bytes] = COPY_TRAILER
    options: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, table: Carried) -> None:
        """Raises `rows.errors.Unavailable`."""
        self._table = table
        columns = tuple(Column(rule.codec, part in table.columns) for part in table.read for rule in part[1:])
        self._transcoder = Transcoder(Plan(columns, table.key_places))
        self._buffer = memoryview(bytearray(BLOCK))
        self.size = 0

    def read(self, my: MySQL, sql: str, write: Callable[[bytes], object], enough: Callable[[int], bool]) -> Chunk:
        transcoder, buffer, began = self._transcoder, self._buffer, self.size
        if transcoder.ended:
            transcoder.next()
        source = mysql_query(my, sql)
        ended, fed = False, 0
        while not ended:
            came = source.readinto(buffer)
            ended = transcoder.feed(buffer, came)
            fed += came
            if fed < WRITE and not ended:
                continue
            fed = 0
            while portion := transcoder.take():
                write(portion)
                self.size += len(portion)
            if not ended and transcoder.rows_read and enough(self.size - began):
                my.close()
                break
        return Chunk(transcoder.rows_read, ended)

    @property
    def rows(self) -> int:
        return self._transcoder.rows

    @property
    def last(self) -> Key | None:
        raw = self._transcoder.last_key
        return None if raw is None else self._table.key(raw)

    def poisons(self) -> list[Poisoned]:
        return [
            Poisoned(self._table.name, self._table.key(p.key), self._table.read[p.column][0].name, p.reason)
            for p in self._transcoder.poisons()
        ]

    def close(self) -> None:
        self._transcoder.close()
