"""From PostgreSQL's binary values to the canonical texts of the contract. Python only, and written without regard to
the native core: what one says of the other counts."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Final

from contract import values
from contract.types import Codec

_EPOCH: Final = datetime(2000, 1, 1)


def canonical(codec: Codec, value: bytes | None) -> str | None:
    """The canonical text of a value; None for NULL.

    Raises `ValueError` for bytes that are no value of the type, and `KeyError` for an unknown codec.
    """
    if value is None:
        return None
    try:
        return _DECODERS[codec.name](value)
    except (struct.error, OverflowError) as error:
        raise ValueError(f"{value[:40]!r} is no {codec.name}: {error}") from error


def _integer(value: bytes) -> str:
    return str(int.from_bytes(value, "big", signed=True))


def _bits(value: bytes) -> str:
    (width,) = struct.unpack_from(">i", value)
    return "".join(f"{byte:08b}" for byte in value[4:])[:width]


def _numeric(value: bytes) -> str:
    groups, weight, sign, scale = struct.unpack_from(">hhHh", value)
    digits = "".join(f"{group:04d}" for group in struct.unpack_from(f">{groups}h", value, 8))
    number = Decimal(f"{'-' if sign else ''}{digits or 0}E{4 * (weight + 1 - groups)}")
    return f"{number:.{scale}f}"


def _float(form: str) -> Callable[[bytes], str]:
    return lambda value: values.double(struct.unpack(form, value)[0])


def _date(value: bytes) -> str:
    day: date = _EPOCH.date() + timedelta(days=struct.unpack(">i", value)[0])
    return day.isoformat()


def _timestamp(value: bytes) -> str:
    return values.timestamp(_EPOCH + timedelta(microseconds=struct.unpack(">q", value)[0]))


def _time(value: bytes) -> str:
    return values.clock(timedelta(microseconds=struct.unpack(">q", value)[0]))


def _interval(value: bytes) -> str:
    microseconds, days, months = struct.unpack(">qii", value)
    if months:
        raise ValueError("an interval with months is no time")
    return str(microseconds + days * 86_400_000_000)


def _json(value: bytes) -> str:
    if value[:1] != b"\1":
        raise ValueError("jsonb of a version that is not known here")
    return value[1:].decode()


_DECODERS: Final[dict[str, Callable[[bytes], str]]] = {
    "int2": _integer,
    "int4": _integer,
    "int8": _integer,
    "bool": _integer,
    "bitbool": _integer,
    "bits": _bits,
    "numeric": _numeric,
    "float4": _float(">f"),
    "float8": _float(">d"),
    "text": bytes.decode,
    "enum": bytes.decode,
    "bytea": lambda value: value.hex().upper(),
    "date": _date,
    "timestamp": _timestamp,
    "timestamptz": _timestamp,
    "time": _time,
    "interval": _interval,
    "jsonb": _json,
}
