"""What expressions are made of, on their way from MySQL to PostgreSQL: columns, and translated parts with their kind.

A conversion is made only where both databases make it alike; any other one is refused by name (`NoCounterpart`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from contract.tables import Column

Kind = Literal["number", "float", "truth", "text", "date", "datetime", "json", "null", "other"]


class NoCounterpart(Exception):
    """An expression has no exact counterpart; the message names the construct."""


@dataclass(frozen=True, slots=True)
class Operand:
    """A column as expressions may use it."""

    column: Column
    postgres: str
    """Its declared type on the target."""
    comparable: Callable[[str], str]
    """From SQL of text over the column to SQL that compares as the column's collation does in MySQL."""
    sql: str = ""
    """What stands for it, where that is not its name."""


@dataclass(frozen=True, slots=True)
class Result:
    """A translated expression."""

    sql: str
    kind: Kind
    operand: Operand | None = None
    """For text: the column whose collation it has."""
    literal: str | None = None
    """The value, for a literal of text."""
    plain: bool = False
    """Whether it is the operand's column itself."""
    exact: bool = False
    """Whether a number is of the type numeric already."""


WHOLE: Final = ("smallint", "integer", "bigint")
NUMBERS: Final = (*WHOLE, "numeric")


def kind_of(postgres: str) -> Kind:
    """The kind of a column's values, from its type on the target."""
    base = postgres.partition("(")[0]
    kinds: dict[str, Kind] = {
        **dict.fromkeys(NUMBERS, "number"), "real": "float", "double precision": "float", "boolean": "truth",
        "varchar": "text", "text": "text", "date": "date", "timestamp": "datetime", "jsonb": "json",
    }  # fmt: skip
    return kinds.get(base, "other")


def truth(value: Result) -> Result:
    """A truth value; a number is true where it is not 0."""
    if value.kind in ("truth", "null"):
        return value
    if value.kind in ("number", "float"):
        return Result(f"({value.sql} <> 0)", "truth")
    raise NoCounterpart(f"{value.kind} as a truth value")


def number(value: Result) -> Result:
    """An exact number: of the type numeric, since PostgreSQL computes with integers in few bits, or as floating
    point."""
    if value.kind == "null" or value.exact:
        return value
    if value.kind == "truth":
        return Result(f"({value.sql})::int::numeric", "number", exact=True)
    if value.kind == "number":
        return Result(f"{value.sql}::numeric", "number", exact=True)
    raise NoCounterpart(f"{value.kind} as a number")


def quoted(text: str) -> str:
    """A literal of text in PostgreSQL's SQL."""
    if "\0" in text:
        raise NoCounterpart("U+0000 in a literal")
    return "'" + text.replace("'", "''") + "'"


_ISO: Final[dict[Kind, tuple[re.Pattern[str], str]]] = {
    "date": (re.compile(r"\d{4}-\d\d-\d\d"), "DATE"),
    "datetime": (re.compile(r"\d{4}-\d\d-\d\d(?: \d\d:\d\d:\d\d(?:\.\d{1,6})?)?"), "TIMESTAMP"),
}


def moment(value: Result, kind: Kind) -> str:
    """A date or a moment, as one may be compared with one of `kind`."""
    if value.kind != "text":
        return value.sql
    pattern, word = _ISO[kind]
    if value.literal is None or not pattern.fullmatch(value.literal):
        raise NoCounterpart(f"a comparison of a {kind} with text that is not one in ISO form")
    return f"{word} {quoted(value.literal)}"


def alike(results: Sequence[Result]) -> list[Result]:
    """Results that one expression may have: of one kind, numbers where truth values are among numbers."""
    kinds = {r.kind for r in results} - {"null"}
    if kinds == {"number", "truth"}:
        return [number(r) for r in results]
    if len(kinds) > 1:
        raise NoCounterpart(f"a choice between {' and '.join(sorted(kinds))}")
    return list(results)


def common(results: Sequence[Result]) -> Result:
    """What results have in common: their kind, and the collation's column."""
    kind: Kind = next((r.kind for r in results if r.kind != "null"), "null")
    operands = [r.operand for r in results if r.operand is not None]
    if kind == "text" and len({o.column.collation for o in operands}) > 1:
        raise NoCounterpart("texts of different collations")
    return Result("", kind, operands[0] if operands else None)
