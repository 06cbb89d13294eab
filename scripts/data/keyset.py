"""Parts of a table by its primary key, in both databases' SQL: literals, conditions, and cuts for parallel work.

Keys are canonical texts (`contract.types`), as a check finds them and as a copy keeps its position. They are written
into the statements: COPY takes no parameters, and such a statement has its `%` as they are, so execute it without
parameters.

- MySQL's condition selects by MySQL's order of the key, collation included, as `ORDER BY` the key does. PostgreSQL
  orders text (and what became text) differently: the same bounds select the same rows there only as far as the rules of
  the bounded columns are `ordered`. `split` cuts only there.
- ENUM and SET are ordered by number in MySQL, so they are compared as numbers.
- MySQL's session must not have NO_ZERO_DATE when a zero date is part of a key.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Final

import pymysql.cursors
from psycopg import sql

from contract.tables import Column, mysql_name, postgres_name
from contract.types import TypeRule
from scripts.data.difference import Key
from scripts.data.rules import MySQL, Rules
from scripts.errors import ZdmError

_NUMBERS: Final = frozenset({"int2", "int4", "int8", "numeric"})
_MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Rows with `after` < key <= `upto`; None is open. A bound may be shorter than the key: then its columns alone
    count, and all rows that begin with it are on the same side."""

    after: Key | None = None
    upto: Key | None = None


# --- Literals ---------------------------------------------------------------------------------------------------------


def mysql_literal(column: Column, rule: TypeRule, text: str) -> str:
    """A canonical text as a literal that MySQL compares with the column by its index. Raises `ZdmError` for BLOBs,
    whose canonical text is a hash, and for what is no member of an ENUM or SET."""
    codec = rule.codec.name
    if column.type in ("enum", "set"):
        return str(_member_number(column, text))
    if codec in _NUMBERS or codec == "bool":
        return _number(text)
    if codec in ("float4", "float8"):
        number = float(text)
        if codec == "float4":  # MySQL's text may lack the last of its 17 digits
            (number,) = struct.unpack("f", struct.pack("f", number))
        digits = repr(number)
        return digits if "e" in digits else f"{digits}e0"  # without an exponent it would be a DECIMAL
    if codec in ("bits", "bitbool"):
        return str(int(text, 2))
    if codec == "bytea":
        _refuse_hashes(column)
        return f"X'{_hex(text)}'"
    if codec == "interval":
        return f"'{_clock(int(text))}'"
    if codec == "text":
        return f"_utf8mb4 X'{text.encode('utf-8', 'surrogateescape').hex()}'"
    return _quoted_time(text)


def postgres_literal(column: Column, rule: TypeRule, text: str) -> str:
    """A canonical text as a literal of the column's type in PostgreSQL. Raises `ZdmError` for BLOBs."""
    codec = rule.codec.name
    kind = rule.postgres.partition("(")[0]  # with its length, a cast would cut off or round
    if codec in ("bool", "bitbool"):
        return "true" if text == "1" else "false"
    if codec == "bits":
        return f"B'{int(text, 2):0{rule.codec.parameter}b}'"
    if codec == "bytea":
        _refuse_hashes(column)
        return f"'\\x{_hex(text)}'::bytea"
    if codec == "interval":
        text = _clock(int(text))
    if codec == "timestamptz":
        text = f"{text}+00"
    if codec in ("text", "enum"):
        kind = "text"
    return f"{sql.Literal(text).as_string(None).strip()}::{kind}"


def key_text(column: Column, rule: TypeRule, raw: bytes) -> str:
    """The canonical text of a key's column from MySQL's own text of `rule.mysql_read` (as the native core gives it)."""
    codec = rule.codec.name
    if codec in ("text", "enum"):
        return raw.decode("utf-8", "surrogateescape")
    if codec in ("bytea", "bits", "bitbool"):
        return rule.canonical(raw)
    text = raw.decode()
    if codec in _NUMBERS or codec == "bool":
        return rule.canonical(Decimal(text))
    if codec in ("float4", "float8"):
        return rule.canonical(float(text))
    if codec in ("timestamp", "timestamptz", "time", "interval"):
        whole, _, fraction = text.partition(".")
        text = f"{whole}.{fraction:0<6}"
    if codec == "interval":
        return str(_microseconds(text))
    return text


def _member_number(column: Column, text: str) -> int:
    """What MySQL stores for an ENUM's or SET's text; 0 is no member at all."""
    places = {member: place for place, member in enumerate(column.values)}
    chosen = [text] if column.type == "enum" else text.split(",")
    if unknown := [member for member in chosen if member and member not in places]:
        raise ZdmError(f"{column.path} has no member {unknown[0]!r}")
    if column.type == "enum":
        return places.get(text, -1) + 1
    return sum(1 << places[member] for member in chosen if member)


def _number(text: str) -> str:
    Decimal(text)  # raises for what is no number
    return text


def _hex(text: str) -> str:
    return bytes.fromhex(text).hex()


def _quoted_time(text: str) -> str:
    if not set(text) <= set("-0123456789: ."):
        raise ValueError(f"no date or time: {text!r}")
    return f"'{text}'"


def _clock(microseconds: int) -> str:
    seconds, rest = divmod(abs(microseconds), 1_000_000)
    sign = "-" if microseconds < 0 else ""
    return f"{sign}{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:06d}"


def _microseconds(clock: str) -> int:
    hours, minutes, seconds = clock.lstrip("-").split(":")
    length = int(hours) * 3_600_000_000 + int(minutes) * 60_000_000 + int(Decimal(seconds) * 1_000_000)
    return -length if clock.startswith("-") else length


def _refuse_hashes(column: Column) -> None:
    if column.type.endswith("blob"):
        raise ZdmError(f"{column.path} is a BLOB in the primary key: a table cannot be cut or searched at its values")


# --- Conditions -------------------------------------------------------------------------------------------------------


def mysql_condition(rules: Rules, bounds: Bounds) -> str:
    """`bounds` in MySQL's SQL (row constructors find no index range there); `TRUE` when they are open."""
    names = [mysql_name(column.name) for column, _ in rules.key]
    parts = []
    for bound, beyond, last in ((bounds.after, ">", ">"), (bounds.upto, "<", "<=")):
        if bound is None:
            continue
        values = [mysql_literal(column, rule, text) for (column, rule), text in zip(rules.key, bound, strict=False)]
        if len(values) == 1:
            parts.append(f"{names[0]} {last} {values[0]}")
            continue
        parts.append(f"{names[0]} {beyond}= {values[0]}")  # bounds the index scan; what follows is exact
        cases = []
        for i, (name, value) in enumerate(zip(names, values, strict=False)):
            equal = [f"{n} = {v}" for n, v in zip(names[:i], values, strict=False)]
            sign = last if i == len(values) - 1 else beyond
            cases.append("(" + " AND ".join([*equal, f"{name} {sign} {value}"]) + ")")
        parts.append("(" + " OR ".join(cases) + ")")
    return " AND ".join(parts) or "TRUE"


def postgres_condition(rules: Rules, bounds: Bounds) -> str:
    """`bounds` in PostgreSQL's SQL, which finds rows by its index (a disjunction would scan all that begin alike);
    `TRUE` when they are open."""
    parts = []
    for bound, sign in ((bounds.after, ">"), (bounds.upto, "<=")):
        if bound is None:
            continue
        key = rules.key[: len(bound)]
        names = ", ".join(postgres_name(column.name) for column, _ in key)
        values = ", ".join(postgres_literal(*part, text) for part, text in zip(key, bound, strict=True))
        parts.append(f"{names} {sign} {values}" if len(bound) == 1 else f"({names}) {sign} ({values})")
    return " AND ".join(parts) or "TRUE"


# --- Cuts -------------------------------------------------------------------------------------------------------------


def split(my: MySQL, rules: Rules, parts: int) -> list[Bounds]:
    """Cuts a table into about `parts` segments of similar size, in the order of the key. The first and the last are
    open, so that no row is outside of all.

    The cuts are values of the key's first column, halfway between known ones; MySQL's estimates say which segment is
    the largest and so cut next. Nothing is scanned. A first column that is no integer, decimal, date or binary string
    is not cut: one segment.
    """
    column, rule = rules.key[0]
    if parts <= 1 or not _cuttable(column, rule):
        return [Bounds()]
    name, relation = mysql_name(column.name), mysql_name(rules.table.name)
    read = rule.mysql_text.format(name)
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(
            f"SELECT (SELECT {read} FROM {relation} ORDER BY {name} LIMIT 1), "
            f"(SELECT {read} FROM {relation} ORDER BY {name} DESC LIMIT 1)"
        )
        low, high = cursor.fetchone() or (None, None)
        if low is None or high is None:
            return [Bounds()]

        def rows(first: int, last: int) -> int:
            bounds = Bounds((_text(column, rule, first),), (_text(column, rule, last),))
            cursor.execute(
                f"EXPLAIN FORMAT=TRADITIONAL SELECT {name} FROM {relation} USE INDEX (PRIMARY) "
                f"WHERE {mysql_condition(rules, bounds)}"  # with FORCE INDEX there would be no estimate
            )
            names = [field[0] for field in cursor.description]
            return sum(int(row[names.index("rows")] or 0) for row in cursor.fetchall())

        first, last = _position(column, rule, str(low)), _position(column, rule, str(high))
        cuts = _cuts(first, last, parts, rows)
    ends = [None, *((_text(column, rule, cut),) for cut in cuts), None]
    return [Bounds(after, upto) for after, upto in pairwise(ends)]


def _cuts(first: int, last: int, parts: int, rows: Callable[[int, int], int]) -> list[int]:
    """Positions between `first` and `last` that leave about as many rows between any two, by halving the largest."""
    segments = [(rows(first, last), first, last)]
    for _ in range(64 * parts):  # 64: a number's bits, should all rows be in as many crowds as there are parts
        total = sum(size for size, _, _ in segments)
        size, low, high = largest = max(segments, key=lambda segment: (segment[0], segment[2] - segment[1]))
        if high - low < 2 or (len(segments) >= parts and size * parts <= 1.5 * total):
            break
        middle = (low + high) // 2
        segments.remove(largest)
        segments += [(rows(low, middle), low, middle), (rows(middle, high), middle, high)]
    segments.sort(key=lambda segment: segment[1])
    share = sum(size for size, _, _ in segments) / parts
    cuts, filled = [], 0
    for size, _, high in segments[:-1]:
        filled += size
        if filled >= 0.75 * share:
            cuts.append(high)
            filled = 0
    return cuts


def _cuttable(column: Column, rule: TypeRule) -> bool:
    return rule.ordered and (
        rule.codec.name in _NUMBERS
        or rule.codec.name in ("date", "timestamp", "timestamptz")
        or column.type == "binary"
    )


def _position(column: Column, rule: TypeRule, text: str) -> int:
    """The place of a canonical text among all values of the column, as a whole number."""
    codec = rule.codec.name
    if codec in _NUMBERS:
        return int(text.replace(".", ""))
    if codec == "bytea":
        return int(text, 16)
    if text < "0001-01-01" or "-00" in text[:10]:  # zero and partial dates come before what can be computed with
        return 0
    if codec == "date":
        return date.fromisoformat(text).toordinal()
    return (datetime.fromisoformat(text) - datetime.min) // _MICROSECOND


def _text(column: Column, rule: TypeRule, position: int) -> str:
    """The canonical text at a place."""
    codec = rule.codec.name
    if codec in _NUMBERS:
        scale = column.scale or 0
        digits = f"{abs(position):0{scale + 1}d}"
        point = f".{digits[-scale:]}" if scale else ""
        return f"{'-' if position < 0 else ''}{digits[: len(digits) - scale]}{point}"
    if codec == "bytea":
        return f"{position:0{2 * (column.length or 0)}X}"
    if codec == "date":
        return (date.min + timedelta(days=max(position - 1, 0))).isoformat()
    return rule.canonical(datetime.min + position * _MICROSECOND)
