"""Values of every codec: as MySQL writes them, as PostgreSQL has them in binary (by psycopg, or by the documentation of
the format), and as the contract's canonical text."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st
from psycopg.types import datetime as pg_datetime
from psycopg.types import numeric as pg_numeric

from contract import values
from contract.types import Codec


@dataclass(frozen=True)
class Sample:
    codec: Codec
    mysql: bytes
    postgres: bytes
    canonical: str


def _dumper(kind: type) -> Callable[[Any], bytes]:
    dumper: Any = kind
    return lambda value: bytes(dumper(type(value), None).dump(value))


_decimal = _dumper(pg_numeric.DecimalBinaryDumper)
_date = _dumper(pg_datetime.DateBinaryDumper)
_plain_datetime = _dumper(pg_datetime.DatetimeNoTzBinaryDumper)
_instant = _dumper(pg_datetime.DatetimeBinaryDumper)
_time = _dumper(pg_datetime.TimeBinaryDumper)


def _integers(name: str, bits: int, form: str) -> st.SearchStrategy[Sample]:
    numbers = st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)
    return numbers.map(lambda n: Sample(Codec(name), str(n).encode(), struct.pack(form, n), str(n)))


def _bits(width: int) -> st.SearchStrategy[Sample]:
    size = (width + 7) // 8

    def sample(number: int) -> Sample:
        text = f"{number:0{width}b}"
        aligned = int(text.ljust(size * 8, "0"), 2).to_bytes(size, "big")
        return Sample(
            Codec("bits", width), number.to_bytes(size, "big"), struct.pack(">i", width) + aligned, text
        )

    return st.integers(0, (1 << width) - 1).map(sample)


@st.composite
def numerics(draw: st.DrawFn, scale: int) -> Sample:
    """DECIMAL(65, scale), with leading zeros as ZEROFILL gives them."""
    unscaled = draw(st.integers(-(10**65) + 1, 10**65 - 1) | st.integers(-(10**6), 10**6))
    number = Decimal(f"{unscaled}e-{scale}")  # exact: `scaleb` would round to the context's 28 digits
    text = f"{number:.{scale}f}"
    zeros = "0" * draw(st.integers(0, 5))
    written = text.replace("-", "-" + zeros) if text.startswith("-") else zeros + text
    exact = Decimal(text) if number else Decimal(text).copy_abs()
    return Sample(Codec("numeric"), written.encode(), _decimal(exact), values.decimal(scale)(exact))


def _double(number: float) -> Sample:
    text = repr(number).replace("e+", "e")
    return Sample(Codec("float8"), text.encode(), struct.pack(">d", number), values.double(number))


def _real(number: float) -> Sample:
    return Sample(Codec("float4"), repr(number).encode(), struct.pack(">f", number), values.double(number))


def _text(kind: str) -> Callable[[str], Sample]:
    return lambda text: Sample(Codec(kind), text.encode(), text.encode(), text)


def _clock(moment: Any, digits: int) -> str:
    return f"{moment:%H:%M:%S}.{moment.microsecond:06d}"[: 9 + digits if digits else 8]


@st.composite
def timestamps(draw: st.DrawFn, name: str, first: datetime = datetime.min, last: datetime = datetime.max) -> Sample:
    moment = draw(st.datetimes(first, last))
    digits = draw(st.integers(0, 6))
    moment = moment.replace(microsecond=moment.microsecond // 10 ** (6 - digits) * 10 ** (6 - digits))
    written = f"{moment.year:04d}-{moment:%m-%d} {_clock(moment, digits)}"
    binary = _plain_datetime(moment) if name == "timestamp" else _instant(moment.replace(tzinfo=UTC))
    return Sample(Codec(name), written.encode(), binary, values.timestamp(moment))


@st.composite
def _times(draw: st.DrawFn) -> Sample:
    moment = draw(st.times())
    return Sample(Codec("time"), _clock(moment, 6).encode(), _time(moment), values.clock(moment))


@st.composite
def _intervals(draw: st.DrawFn) -> Sample:
    span = draw(st.timedeltas(-timedelta(hours=838, minutes=59, seconds=59), timedelta(hours=838, minutes=59)))
    microseconds = span // timedelta(microseconds=1)
    binary = struct.pack(">qii", microseconds, 0, 0)
    return Sample(Codec("interval"), values.clock(span).encode(), binary, values.microseconds(span))


def _day(day: date) -> Sample:
    return Sample(Codec("date"), day.isoformat().encode(), _date(day), day.isoformat())


def _json(value: Any) -> Sample:
    text = json.dumps(value, ensure_ascii=False)
    return Sample(Codec("jsonb"), text.encode(), b"\1" + text.encode(), text)


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)  # fmt: skip

SAMPLES: dict[str, st.SearchStrategy[Sample]] = {
    "int2": _integers("int2", 16, ">h"),
    "int4": _integers("int4", 32, ">i"),
    "int8": _integers("int8", 64, ">q"),
    "bool": st.booleans().map(lambda b: Sample(Codec("bool"), b"%d" % b, bytes([b]), str(int(b)))),
    "bitbool": st.booleans().map(lambda b: Sample(Codec("bitbool"), bytes([b]), bytes([b]), str(int(b)))),
    "bits": st.integers(2, 64).flatmap(_bits),
    "numeric": st.integers(0, 30).flatmap(numerics),
    "float4": st.floats(width=32, allow_nan=False, allow_infinity=False).map(_real),
    "float8": st.floats(allow_nan=False, allow_infinity=False).map(_double),
    "text": TEXTS.map(_text("text")),
    "enum": TEXTS.filter(bool).map(_text("enum")),
    "bytea": st.binary(max_size=300).map(lambda b: Sample(Codec("bytea"), b, b, b.hex().upper())),
    "date": st.dates().map(_day),
    "timestamp": timestamps("timestamp"),
    "timestamptz": timestamps("timestamptz"),
    "time": _times(),
    "interval": _intervals(),
    "jsonb": JSON.map(_json),
}


@st.composite
def tables(draw: st.DrawFn, max_rows: int = 8) -> tuple[list[Codec], list[list[Sample | None]]]:
    """Some columns and rows of them; None is NULL."""
    names = draw(st.lists(st.sampled_from([name for name in SAMPLES if name != "bits"]), min_size=1, max_size=6))
    size = draw(st.integers(0, max_rows))
    rows = [[draw(st.none() | SAMPLES[name]) for name in names] for _ in range(size)]
    return [Codec(name) for name in names], rows
