"""Python's side of the type contract: canonical texts from values as drivers and topics give them, and their equality.

A canonical text is what the contract's SQL computes on either side (`contract.types`); these functions give the same
text for a value that came by another way.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final

Convert = Callable[[Any], str]


def integer(value: Any) -> str:
    return str(value) if isinstance(value, str) else str(int(value))


def decimal(scale: int) -> Convert:
    def convert(value: Any) -> str:
        if isinstance(value, str):
            return value
        number = Decimal(value)
        return f"{number if number else abs(number):.{scale}f}"

    return convert


def hexadecimal(value: Any) -> str:
    return str(value) if isinstance(value, str) else bytes(value).hex().upper()


def bits(width: int) -> Convert:
    def convert(value: Any) -> str:
        if isinstance(value, str):
            return value
        number = int.from_bytes(value, "big") if isinstance(value, bytes) else int(value)
        return f"{number:0{width}b}"

    return convert


def timestamp(value: Any) -> str:
    if not isinstance(value, datetime):
        return str(value)
    moment: datetime = value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(sep=" ", timespec="microseconds")


def clock(value: Any) -> str:
    if isinstance(value, timedelta):
        seconds, sign = (-value, "-") if value < timedelta(0) else (value, "")
        whole = seconds.days * 86_400 + seconds.seconds
        return f"{sign}{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{seconds.microseconds:06d}"
    if isinstance(value, time):
        return value.isoformat(timespec="microseconds")
    return str(value)


def microseconds(value: Any) -> str:
    """The length of a time, whole."""
    return str(value // timedelta(microseconds=1)) if isinstance(value, timedelta) else str(value)


def double(value: Any) -> str:
    """As the contract's SQL writes it: 30 decimals, and an exponent beyond."""
    if isinstance(value, str):
        return str(value)
    number = float(value)
    if number == 0:
        return "0"
    if 1e-12 <= abs(number) < 1e30:
        return f"{Decimal(repr(number)):.30f}"
    return repr(number).replace("e+", "e")


def six_digits(value: Any) -> str:
    return str(value) if isinstance(value, str) else double(float(f"{value:.6g}"))


def same_number(a: str, b: str) -> bool:
    try:
        return float(a) == float(b)
    except ValueError:
        return False


def same_float(a: str, b: str) -> bool:
    """Below 1.2e-38 a FLOAT has fewer digits than MySQL prints, and PostgreSQL prints no more than it has."""
    try:
        return float(a) == float(b) or struct.pack("f", float(a)) == struct.pack("f", float(b))
    except (ValueError, OverflowError):
        return False


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        raise ValueError(f"no JSON number: {text}") from None


def same_json(a: str, b: str) -> bool:
    try:
        first, second = (json.loads(text, parse_float=_number, parse_int=_number) for text in (a, b))
    except ValueError:
        return False
    return _same_item(first, second)


def _same_item(a: Any, b: Any) -> bool:
    """Equality of JSON. Types are told apart (in Python True equals 1); a number of at most 17 digits is a double, so
    its exact expansion (which CDC may carry) is the same number."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same_item(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same_item, a, b))
    if isinstance(a, Decimal) and isinstance(b, Decimal):
        digits = min(len(a.normalize().as_tuple().digits), len(b.normalize().as_tuple().digits))
        return a == b or (digits <= 17 and float(a) == float(b))
    return type(a) is type(b) and bool(a == b)


# --- Records of the topics --------------------------------------------------------------------------------------------

_EPOCH: Final = datetime(1970, 1, 1)


def debezium_decimal(scale: int) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return Decimal(int.from_bytes(base64.b64decode(value), "big", signed=True)).scaleb(-scale)

    return convert


def debezium_datetime(fraction: int) -> Callable[[Any], Any]:
    unit = "milliseconds" if fraction <= 3 else "microseconds"
    return lambda value: _EPOCH + timedelta(**{unit: value}) if isinstance(value, int) else value


def debezium_bytes(value: Any) -> Any:
    return base64.b64decode(value) if isinstance(value, str) else value


def debezium_bits(value: Any) -> Any:
    return int.from_bytes(base64.b64decode(value), "little") if isinstance(value, str) else value


def debezium_instant(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def debezium_interval(value: Any) -> Any:
    """From the text of a TIME that is carried as an interval (`[-]HHH:MM:SS.ffffff`)."""
    if not isinstance(value, str):
        return value
    hours, minutes, seconds = value.lstrip("-").split(":")
    length = timedelta(hours=int(hours), minutes=int(minutes), microseconds=int(Decimal(seconds) * 1_000_000))
    return -length if value.startswith("-") else length
