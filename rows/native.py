"""The native core's objects: `Transcoder` for the copy, `Comparator` for the check.

They parse what comes from the sockets and hold no connection. An object is used by one thread at a time; feeding
releases the interpreter's lock, so that threads with one object each run side by side. Errors are `RowsError`, a
server's own are `ServerError`; after one the object is of no more use.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, Self

from contract.types import Codec
from rows.build import load
from rows.errors import RowsError, ServerError

Buffer = bytes | bytearray | memoryview
Key = tuple[bytes | None, ...]
Kind = Literal["changed", "missing", "extra", "poisoned"]

COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER: Final = b"\xff\xff"
PORTION: Final = 1 << 17
"""Bytes that psycopg takes at once without cutting them."""

_CODECS: Final = {
    "int2": 1, "int4": 2, "int8": 3, "bool": 4, "bitbool": 5, "bits": 6, "numeric": 7, "float4": 8, "float8": 9,
    "text": 10, "enum": 11, "bytea": 12, "date": 13, "timestamp": 14, "timestamptz": 14, "time": 15, "interval": 16,
    "jsonb": 17,
}  # fmt: skip
_REASONS: Final = {
    1: "zero_date", 2: "nul_character", 3: "invalid_utf8", 4: "out_of_range", 5: "not_boolean", 6: "empty_enum",
    7: "json_nul", 8: "malformed",
}  # fmt: skip
_KINDS: Final[dict[int, Kind]] = {1: "changed", 2: "missing", 3: "extra", 4: "poisoned"}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the source's result set."""

    codec: Codec
    carried: bool = True
    """Whether the rows of COPY have it; what they have not serves the key."""
    six_digits: bool = False
    """float4: values are the same when MySQL prints the same 6 digits of them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The columns in the order of the SELECT, and the indices of the key's columns in the key's order."""

    columns: tuple[Column, ...]
    key: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Poison:
    """A row that PostgreSQL cannot hold."""

    key: Key
    """MySQL's texts of the key's columns."""
    column: int
    """Index of the first column that cannot be carried."""
    reason: str
    """zero_date, nul_character, invalid_utf8, out_of_range, not_boolean, empty_enum, json_nul or malformed."""
    value: bytes
    """The first 200 bytes of MySQL's text."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row that is not the same on both sides, as far as one pass can tell."""

    kind: Kind
    """missing: only the source has it; extra: only the target has it."""
    key: Key | None
    """PostgreSQL's binary values of the key's columns; None where the key itself cannot be carried."""
    poison: Poison | None = None
    """Of a poisoned row: why it cannot be compared."""


class _Object:
    """A native object and how it is called."""

    def __init__(self, kind: str, plan: Plan, *options: int) -> None:
        self._library = _library()
        self._kind = kind
        self._parts = len(plan.key)
        self._handle: int | None = self._call("new")(*_raw(plan), *options)
        if not self._handle:
            raise _error(self._library)

    def close(self) -> None:
        """Frees its memory."""
        handle, self._handle = self._handle, None
        if handle:
            self._call("free")(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()

    def _call(self, name: str) -> Callable[..., Any]:
        function: Callable[..., Any] = getattr(self._library, f"zdm_{self._kind}_{name}")
        return function

    def _checked(self, name: str, *arguments: Any) -> bool:
        answer = self._call(name)(self._handle, *arguments)
        if answer < 0:
            raise _error(self._library)
        return bool(answer)

    def _feed(self, name: str, data: Buffer, size: int | None) -> bool:
        pointer, length = _pointer(data, size)
        return self._checked(name, pointer, length)

    def _report(self, name: str, *arguments: int) -> bytes:
        place = ctypes.c_void_p()
        size = self._call(name)(self._handle, *arguments, ctypes.byref(place))
        return ctypes.string_at(place, size) if size else b""

    def _take(self, name: str, limit: int) -> bytes:
        place = ctypes.c_void_p()
        size = min(self._call(name)(self._handle, ctypes.byref(place)), limit)
        if not size:
            return b""
        data = ctypes.string_at(place, size)
        self._call("consume")(self._handle, size)
        return data

    def _counts(self, size: int) -> list[int]:
        counts = (ctypes.c_uint64 * size)()
        self._call("counts")(self._handle, counts)
        return list(counts)

    def _key(self, name: str, *arguments: int) -> Key | None:
        report = _Report(self._report(name, *arguments))
        return report.values(self._parts) if report else None


class Transcoder(_Object):
    """From MySQL's result sets to the rows of a binary COPY; header and trailer are the caller's to write.

    Rows with a value that PostgreSQL cannot hold are set aside.
    """

    def __init__(self, plan: Plan) -> None:
        """Raises `Unavailable`, and `RowsError` for a plan that makes no sense."""
        super().__init__("transcoder", plan)
        self.ended = False
        """Whether the result set has ended."""

    def feed(self, data: Buffer, size: int | None = None) -> bool:
        """Takes bytes (the first `size` of `data`) as MySQL sent them; returns whether the result set has ended."""
        self.ended = self._feed("feed", data, size)
        return self.ended

    def take(self, limit: int = PORTION) -> bytes:
        """At most `limit` bytes of the rows that are ready (the last one may be cut); empty when there are none."""
        return self._take("output", limit)

    def next(self) -> None:
        """Another result set follows."""
        self._checked("next")
        self.ended = False

    def poisons(self) -> list[Poison]:
        """The rows set aside since the last call."""
        report = _Report(self._report("poisons"))
        return [report.poison(self._parts) for _ in iter(lambda: bool(report), False)]

    @property
    def rows(self) -> int:
        """Rows carried so far, of all result sets."""
        return self._counts(3)[0]

    @property
    def set_aside(self) -> int:
        """Rows set aside so far, of all result sets."""
        return self._counts(3)[1]

    @property
    def rows_read(self) -> int:
        """Rows of this result set, carried or not."""
        return self._counts(3)[2]

    @property
    def last_key(self) -> Key | None:
        """MySQL's texts of the key of this result set's last row, carried or not."""
        return self._key("last_key")


class Comparator(_Object):
    """Compares one key range of both sides, in whatever order the rows come: MySQL's result set with the answer to
    `COPY ... TO STDOUT (FORMAT binary)`. All columns of the key must be carried.

    Of rows that wait for their counterpart it keeps key and hash only.
    """

    def __init__(self, plan: Plan, *, keep_target_rows: bool = False) -> None:
        """`keep_target_rows`: whether `take_target_rows` will be called. Raises as `Transcoder`."""
        super().__init__("comparator", plan, int(keep_target_rows))

    def feed_source(self, data: Buffer, size: int | None = None) -> bool:
        """Takes bytes (the first `size` of `data`) as MySQL sent them; returns whether that side has ended."""
        return self._feed("source", data, size)

    def feed_target(self, data: Buffer, size: int | None = None) -> bool:
        """Takes bytes as PostgreSQL sent them; returns whether that side has ended."""
        return self._feed("target", data, size)

    def wants(self) -> Literal["source", "target"] | None:
        """The side whose bytes are needed next; None when both have ended."""
        wanted = self._call("wants")(self._handle)
        return "source" if wanted & 1 else "target" if wanted & 2 else None

    def finish(self) -> None:
        """To be called when both sides have ended: what waits for its counterpart has none."""
        self._checked("finish")

    def suspects(self) -> list[Suspect]:
        """The suspects since the last call, in no order."""
        return list(_Report(self._report("suspects")).suspects(self._parts))

    def take_target_rows(self, limit: int = PORTION) -> bytes:
        """At most `limit` bytes of the target's rows, as binary COPY has them, in the order in which they came."""
        return self._take("kept", limit)

    @property
    def source_rows(self) -> int:
        return self._counts(2)[0]

    @property
    def target_rows(self) -> int:
        return self._counts(2)[1]

    @property
    def source_last_key(self) -> Key | None:
        """PostgreSQL's binary values of the last key; None where that cannot be carried."""
        return self._key("last_key", 0)

    @property
    def source_last_texts(self) -> Key | None:
        """The same key as MySQL wrote it."""
        return self._key("last_key", 1)

    @property
    def target_last_key(self) -> Key | None:
        """PostgreSQL's binary values of the last key."""
        return self._key("last_key", 2)


def same_json(a: bytes, b: bytes) -> bool:
    """Whether both texts are JSON and the same value, as the contract has it."""
    library = _library()
    answer: int = library.zdm_same_json(a, len(a), b, len(b))
    if answer < 0:
        raise _error(library)
    return answer == 1


class _Report:
    """What the library reports, read from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def numbers(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return found

    def value(self) -> bytes | None:
        (size,) = self.numbers(">q")
        if size < 0:
            return None
        self.at += size
        return self.data[self.at - size : self.at]

    def values(self, count: int) -> Key:
        return tuple(self.value() for _ in range(count))

    def poison(self, parts: int) -> Poison:
        column, reason = self.numbers(">II")
        key = self.values(parts)
        return Poison(key, column, _REASONS[reason], self.value() or b"")

    def suspects(self, parts: int) -> Iterator[Suspect]:
        while self:
            kind, has_key = self.numbers(">BB")
            key = self.values(parts) if has_key else None
            yield Suspect(_KINDS[kind], key, self.poison(parts) if _KINDS[kind] == "poisoned" else None)


class _RawColumn(ctypes.Structure):
    _fields_ = (("codec", ctypes.c_uint32), ("parameter", ctypes.c_uint32), ("flags", ctypes.c_uint32))


def _raw(plan: Plan) -> tuple[Any, int, Any, int]:
    columns = [_raw_column(column) for column in plan.columns]
    if not all(0 <= index < len(columns) for index in plan.key):
        raise RowsError("the key has a column that the plan has not")
    key = (ctypes.c_uint32 * len(plan.key))(*plan.key)
    return (_RawColumn * len(columns))(*columns), len(columns), key, len(plan.key)


def _raw_column(column: Column) -> _RawColumn:
    codec = column.codec
    if codec.name not in _CODECS or (codec.name == "bits" and not 1 <= codec.parameter <= 64):
        raise RowsError(f"the native core has no codec {codec.name}({codec.parameter})")
    flags = column.carried | codec.zero_is_null << 1 | codec.empty_member << 2 | column.six_digits << 3
    return _RawColumn(_CODECS[codec.name], codec.parameter, flags)


def _pointer(data: Buffer, size: int | None) -> tuple[Any, int]:
    """Of bytes without copying them (but for a memoryview that is read only)."""
    length = len(data) if size is None else size
    if not 0 <= length <= len(data):
        raise RowsError(f"{length} bytes of a buffer that has {len(data)}")
    if isinstance(data, bytes) or not length:
        return data if length else None, length
    if isinstance(data, memoryview) and data.readonly:
        return bytes(data[:length]), length
    return ctypes.byref(ctypes.c_char.from_buffer(data)), length


def _error(library: ctypes.CDLL) -> RowsError:
    place = ctypes.c_void_p()
    size = library.zdm_rows_error(ctypes.byref(place))
    kind, code, message = ctypes.string_at(place, size).decode(errors="replace").split("\0", 2)
    if kind == "malformed":
        return RowsError(message)
    return ServerError("mysql" if kind == "mysql" else "postgres", code, message)


@cache
def _library() -> ctypes.CDLL:
    """The library with the types of its functions."""
    library = load()
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    plan = [pointer, size, pointer, size]

    def declare(name: str, result: Any, arguments: Iterable[Any]) -> None:
        function = getattr(library, f"zdm_{name}")
        function.restype, function.argtypes = result, list(arguments)

    declare("rows_error", size, [pointer])
    declare("same_json", ctypes.c_int32, [pointer, size, pointer, size])
    declare("transcoder_new", pointer, plan)
    declare("comparator_new", pointer, [*plan, ctypes.c_int32])
    for kind, feeds, reports in (
        ("transcoder", ("feed",), ("output", "last_key", "poisons")),
        ("comparator", ("source", "target"), ("kept", "suspects")),
    ):
        for name in feeds:
            declare(f"{kind}_{name}", ctypes.c_int32, [pointer, pointer, size])
        for name in reports:
            declare(f"{kind}_{name}", size, [pointer, pointer])
        declare(f"{kind}_consume", None, [pointer, size])
        declare(f"{kind}_counts", None, [pointer, pointer])
        declare(f"{kind}_free", None, [pointer])
    declare("transcoder_next", ctypes.c_int32, [pointer])
    declare("comparator_wants", ctypes.c_int32, [pointer])
    declare("comparator_finish", ctypes.c_int32, [pointer])
    declare("comparator_last_key", size, [pointer, ctypes.c_uint32, pointer])
    return library
