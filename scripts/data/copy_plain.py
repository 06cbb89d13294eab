"""The same as `copy_native` without the native core: row by row in Python, and so several times slower.

PyMySQL hands over MySQL's own texts, and COPY's text format takes most of them as they are. What PostgreSQL would
refuse is set aside for the same reasons as the native core's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

import pymysql.cursors

from contract.types import Codec
from scripts.data.copy_native import WRITE, Chunk, Form
from scripts.data.copy_state import Poisoned
from scripts.data.copy_table import Carried
from scripts.data.difference import Key
from scripts.data.rules import MySQL

Convert = Callable[[bytes], bytes]
"""From MySQL's text of a value to that of COPY."""


class Refused(Exception):
    """A value that PostgreSQL cannot hold: why."""


class PlainReading:
    form: ClassVar[Form] = "text"
    header: ClassVar[bytes] = b""
    trailer: ClassVar[bytes] = b""
    options: ClassVar[Mapping[str, Any]] = {"conv": {}, "use_unicode": False}  # values as MySQL wrote them

    def __init__(self, table: Carried) -> None:
        self._table = table
        self._converters = [converter(rule.codec) for _, rule in table.columns]
        self._raw: tuple[bytes | None, ...] | None = None
        self._poisons: list[Poisoned] = []
        self.size = 0
        self.rows = 0

    def read(self, my: MySQL, sql: str, write: Callable[[bytes], object], enough: Callable[[int], bool]) -> Chunk:
        began, read, lines, gathered = self.size, 0, [], 0
        self._raw = None
        cursor = pymysql.cursors.SSCursor(my)
        cursor.execute(sql)
        whole = True
        while (row := cursor.fetchone()) is not None:
            read += 1
            self._raw = row
            if (line := self._line(row)) is not None:
                lines.append(line)
                gathered += len(line)
            if gathered >= WRITE:
                self.size += gathered
                write(b"".join(lines))
                lines, gathered = [], 0
                if enough(self.size - began):
                    whole = False
                    break
        if whole:
            cursor.close()
        else:
            # Freed, the result would read its rest.
            cursor._result.unbuffered_active = False  # type: ignore[attr-defined]
            my.close()
        self.size += gathered
        write(b"".join(lines))
        return Chunk(read, whole)

    def _line(self, row: tuple[bytes | None, ...]) -> bytes | None:
        """The row as COPY reads it; None when it was set aside."""
        place, fields = 0, []
        try:
            for place, convert in enumerate(self._converters):
                value = row[place]
                fields.append(rb"\N" if value is None else convert(value))
        except Refused as e:
            column = self._table.columns[place][0].name
            self._poisons.append(Poisoned(self._table.name, self._key(row), column, str(e)))
            return None
        self.rows += 1
        return b"\t".join(fields) + b"\n"

    def _key(self, row: tuple[bytes | None, ...]) -> Key:
        return self._table.key(tuple(row[place] for place in self._table.key_places))

    @property
    def last(self) -> Key | None:
        return None if self._raw is None else self._key(self._raw)

    def poisons(self) -> list[Poisoned]:
        found, self._poisons = self._poisons, []
        return found

    def close(self) -> None:
        pass


def converter(codec: Codec) -> Convert:
    """How a type's values are written. What it raises is `Refused`."""
    if codec.name in ("date", "timestamp", "timestamptz"):
        return _dates(codec)
    if codec.name == "enum" and not codec.empty_member:
        return _member
    if codec.name == "bits":
        return lambda value: f"{int.from_bytes(value, 'big'):0{codec.parameter}b}".encode()
    return _CONVERTERS.get(codec.name, _as_it_is)


_SPECIAL: Final = re.compile(rb"[\\\n\r\t]")
_ESCAPES: Final = {b"\\": rb"\\", b"\n": rb"\n", b"\r": rb"\r", b"\t": rb"\t"}
_JSON_NUL: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_ZERO_DATE: Final = re.compile(rb"0000-|\d{4}-00|\d{4}-\d\d-00")


def _as_it_is(value: bytes) -> bytes:
    return value


def _text(value: bytes) -> bytes:
    if b"\0" in value:
        raise Refused("nul_character")
    try:
        value.decode()
    except UnicodeDecodeError:
        raise Refused("invalid_utf8") from None
    return _SPECIAL.sub(lambda match: _ESCAPES[match[0]], value)


def _member(value: bytes) -> bytes:
    if not value:
        raise Refused("empty_enum")
    return _text(value)


def _json(value: bytes) -> bytes:
    if _JSON_NUL.search(value):
        raise Refused("json_nul")
    return _text(value)


def _boolean(value: bytes) -> bytes:
    if value not in (b"0", b"1"):
        raise Refused("not_boolean")
    return value


def _time(value: bytes) -> bytes:
    if value.startswith(b"-") or value[2:3] != b":" or value >= b"24":
        raise Refused("out_of_range")
    return value


def _dates(codec: Codec) -> Convert:
    suffix = b"+00" if codec.name == "timestamptz" else b""

    def convert(value: bytes) -> bytes:
        if _ZERO_DATE.match(value):
            if codec.zero_is_null:
                return rb"\N"
            raise Refused("zero_date")
        return value + suffix

    return convert


_CONVERTERS: Final[dict[str, Convert]] = {
    "text": _text,
    "enum": _text,
    "jsonb": _json,
    "bool": _boolean,
    "bitbool": lambda value: b"1" if value == b"\x01" else b"0",
    "bytea": lambda value: b"\\\\x" + value.hex().encode(),
    "time": _time,
}
