"""A small language in which masks are said once: evaluated here, and written as MySQL's or PostgreSQL's SQL.

A term is a function of one value's text (`Input`) and of a secret key. `evaluate` is the reference; `MySQL` and
`Postgres` write the same function as an expression, so that a value masks to the same result on either side.

Invariants:
- The key is only ever used in `Digest`: HMAC-SHA256 (RFC 2104) of `tag:text`. Without the key no term can be computed.
- SQL names the key by where the session keeps it (`MYSQL_KEY`, `POSTGRES_KEY`), never by its bytes.
- Whole numbers stay below 2^53, so all three compute them exactly.
- A `Kept` is computed once a row and then used by name. One that is made from other `Kept` has no bare `Input`.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

MYSQL_KEY: Final = ("@zdm_mask_inner", "@zdm_mask_outer")
"""MySQL's session variables with the key's two pads (64 bytes each)."""
POSTGRES_KEY: Final = ("zdm.mask_inner", "zdm.mask_outer")
"""PostgreSQL's session settings with the same, in hexadecimal."""

_BLOCK: Final = 64


@dataclass(frozen=True, slots=True)
class Input:
    """The value as its canonical text (`contract.types`)."""


@dataclass(frozen=True, slots=True)
class Join:
    """Text: the parts one after another."""

    parts: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Pick:
    """Text: the option with this number, counted from 0."""

    options: tuple[str, ...]
    index: Term


@dataclass(frozen=True, slots=True)
class Digest:
    """Text: 64 hexadecimal digits, keyed. Different tags give unrelated digests of one text."""

    tag: str
    of: Term


@dataclass(frozen=True, slots=True)
class Slice:
    """Text: `length` characters from `start` on, counted from 0."""

    of: Term
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Tail:
    """Text: the last `length` characters."""

    of: Term
    length: int


@dataclass(frozen=True, slots=True)
class Head:
    """Text: all but the last `without` characters."""

    of: Term
    without: int


@dataclass(frozen=True, slots=True)
class Hex:
    """Number: of a text of at most 13 hexadecimal digits."""

    of: Term


@dataclass(frozen=True, slots=True)
class Whole:
    """Number: of a text of decimal digits."""

    of: Term


@dataclass(frozen=True, slots=True)
class Digits:
    """Text: the number with leading zeros, `width` digits."""

    of: Term
    width: int


@dataclass(frozen=True, slots=True)
class Sum:
    parts: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Times:
    of: Term
    factor: int


@dataclass(frozen=True, slots=True)
class Mod:
    of: Term
    by: int


@dataclass(frozen=True, slots=True)
class Div:
    of: Term
    by: int


@dataclass(frozen=True, slots=True)
class Case:
    """The first of `branches` whose whole text fits its pattern, else `other`. Nothing else is computed."""

    of: Term
    branches: tuple[tuple[str, Term], ...]
    other: Term


@dataclass(frozen=True, slots=True)
class Kept:
    """What is used more than once, or in the middle of a long computation."""

    of: Term


Term: TypeAlias = (
    "Input | Join | Pick | Digest | Slice | Tail | Head | Hex | Whole | Digits | Sum | Times | Mod | Div | Case | "
    "Kept | str | int"
)
_Own: TypeAlias = "Join | Pick | Digest | Slice | Tail | Head | Hex | Whole | Digits | Div | str | int"


def pads(key: bytes) -> tuple[bytes, bytes]:
    """The key as HMAC's inner and outer block: what a session is given."""
    block = (hashlib.sha256(key).digest() if len(key) > _BLOCK else key).ljust(_BLOCK, b"\0")
    return bytes(b ^ 0x36 for b in block), bytes(b ^ 0x5C for b in block)


def digest(key: bytes, tag: str, text: str) -> str:
    """What `Digest` comes to."""
    return hmac.new(key, f"{tag}:{text}".encode(), hashlib.sha256).hexdigest()


def evaluate(term: Term, text: str, key: bytes) -> Any:
    """The term's value for a text: the reference that both databases are held against."""
    known: dict[int, Any] = {}  # by identity: a term's parts live as long as the term

    def value(t: Term) -> Any:
        match t:
            case str() | int():
                return t
            case Input():
                return text
            case Join(parts):
                return "".join(value(part) for part in parts)
            case Pick(options, index):
                return options[value(index)]
            case Digest(tag, of):
                return digest(key, tag, value(of))
            case Slice(of, start, length):
                return value(of)[start : start + length]
            case Tail(of, length):
                return value(of)[-length:]
            case Head(of, without):
                return value(of)[:-without]
            case Hex(of):
                return int(value(of), 16)
            case Whole(of):
                return int(value(of))
            case Digits(of, width):
                return f"{value(of):0{width}d}"
            case Sum(parts):
                return sum(value(part) for part in parts)
            case Times(of, factor):
                return value(of) * factor
            case Mod(of, by):
                return value(of) % by
            case Div(of, by):
                return value(of) // by
            case Case(of, branches, other):
                subject = value(of)
                for pattern, result in branches:
                    if re.fullmatch(pattern, subject):
                        return value(result)
                return value(other)
            case Kept(of):
                if id(t) not in known:
                    known[id(t)] = value(of)
                return known[id(t)]

    return value(term)


class Dialect(ABC):
    """Writes terms as SQL."""

    def write(self, term: Term, text: str, kept: Mapping[Kept, str]) -> str:
        """SQL of a term, where `text` is the SQL of the value's canonical text. `kept` has the SQL that stands for a
        `Kept`; one that is not there is written out."""

        def w(t: Term) -> str:
            match t:
                case Input():
                    return text
                case Sum(parts):
                    return f"({' + '.join(map(w, parts))})"
                case Times(of, factor):
                    return f"({w(of)} * {factor})"
                case Mod(of, by):
                    return f"({w(of)} % {by})"
                case Case(of, branches, other):
                    cases = " ".join(f"WHEN {self.fits(w(of), p)} THEN {w(then)}" for p, then in branches)
                    return f"CASE {cases} ELSE {w(other)} END"
                case Kept(of):
                    return kept.get(t) or w(of)
                case _:
                    return self._own(t, w)

        return w(term)

    @abstractmethod
    def _own(self, t: _Own, w: Callable[[Term], str]) -> str:
        """What the databases write differently; `w` writes a term within."""

    @abstractmethod
    def fits(self, text: str, pattern: str) -> str:
        """SQL: whether the whole of a text fits the pattern."""

    @abstractmethod
    def has(self, text: str, pattern: str) -> str:
        """SQL: whether a part of a text fits the pattern."""


class MySQL(Dialect):
    """Text is utf8mb4 and compared by code points."""

    def _own(self, t: _Own, w: Callable[[Term], str]) -> str:
        match t:
            case str():
                return mysql_text(t)
            case int():
                return str(t)
            case Join(parts):
                return f"CONCAT({', '.join(map(w, parts))})"
            case Pick(options, index):
                return f"ELT(1 + {w(index)}, {', '.join(map(mysql_text, options))})"
            case Digest(tag, of):
                inner, outer = MYSQL_KEY
                message = f"{mysql_text(tag + ':')}, {w(of)}"
                return f"SHA2(CONCAT({outer}, UNHEX(SHA2(CONCAT({inner}, {message}), 256))), 256)"
            case Slice(of, start, length):
                return f"SUBSTR({w(of)}, {start + 1}, {length})"
            case Tail(of, length):
                return f"RIGHT({w(of)}, {length})"
            case Head(of, without):
                return f"LEFT({w(of)}, GREATEST(CHAR_LENGTH({w(of)}), {without}) - {without})"
            case Hex(of):
                return f"CAST(CONV({w(of)}, 16, 10) AS UNSIGNED)"
            case Whole(of):
                return f"CAST({w(of)} AS UNSIGNED)"
            case Digits(of, width):
                return f"LPAD({w(of)}, {width}, '0')"
            case Div(of, by):
                return f"({w(of)} DIV {by})"

    def fits(self, text: str, pattern: str) -> str:
        whole = mysql_text(rf"\A(?:{pattern})\z")
        return f"REGEXP_LIKE({text}, {whole}, 'c')"

    def has(self, text: str, pattern: str) -> str:
        return f"REGEXP_LIKE({text}, {mysql_text(pattern)}, 'c')"


class Postgres(Dialect):
    def _own(self, t: _Own, w: Callable[[Term], str]) -> str:
        match t:
            case str():
                return postgres_text(t)
            case int():
                return f"{t}::bigint"
            case Join(parts):
                return f"({' || '.join(map(w, parts))})"
            case Pick(options, index):
                return f"(ARRAY[{', '.join(map(postgres_text, options))}])[1 + {w(index)}]"
            case Digest(tag, of):
                inner, outer = (f"decode(current_setting('{name}'), 'hex')" for name in POSTGRES_KEY)
                message = f"convert_to({postgres_text(tag + ':')} || {w(of)}, 'UTF8')"
                return f"encode(sha256({outer} || sha256({inner} || {message})), 'hex')"
            case Slice(of, start, length):
                return f"substr({w(of)}, {start + 1}, {length})"
            case Tail(of, length):
                return f"right({w(of)}, {length})"
            case Head(of, without):
                return f"left({w(of)}, -{without})"
            case Hex(Slice(of, start, length)):
                return f"('x' || substr({w(of)}, {start + 1}, {length}))::bit({4 * length})::bigint"
            case Hex(of):
                return f"('x' || lpad({w(of)}, 16, '0'))::bit(64)::bigint"
            case Whole(of):
                return f"({w(of)})::bigint"
            case Digits(of, width):
                return f"lpad(({w(of)})::text, {width}, '0')"
            case Div(of, by):
                return f"({w(of)} / {by})"

    def fits(self, text: str, pattern: str) -> str:
        return f"({text} ~ {postgres_text(f'^(?:{pattern})$')})"

    def has(self, text: str, pattern: str) -> str:
        return f"({text} ~ {postgres_text(pattern)})"


def mysql_text(text: str) -> str:
    """A literal that does not depend on the session's SQL mode or character set."""
    return f"_utf8mb4 X'{text.encode().hex()}'" if not text.isascii() or "\\" in text or "'" in text else f"'{text}'"


def postgres_text(text: str) -> str:
    """A literal that does not depend on `standard_conforming_strings`."""
    doubled = text.replace("'", "''")
    return f" E'{doubled.replace(chr(92), 2 * chr(92))}'" if "\\" in text else f"'{doubled}'"


def kept_of(term: Term) -> list[Kept]:
    """Every `Kept` within a term, those that others need first."""
    found: dict[Kept, None] = {}

    def walk(t: Term) -> None:
        if isinstance(t, Kept) and t in found:
            return
        for part in _parts(t):
            walk(part)
        if isinstance(t, Kept):
            found[t] = None

    walk(term)
    return list(found)


@lru_cache(maxsize=4096)
def level(kept: Kept) -> int:
    """How many `Kept` must be computed one after another for this one: 1 for one that is made from the value alone."""
    return 1 + max((level(inner) for inner in kept_of(kept.of)), default=0)


def _parts(term: Term) -> Iterator[Term]:
    match term:
        case Join(parts) | Sum(parts):
            yield from parts
        case Pick(_, index):
            yield index
        case Case(of, branches, other):
            yield of
            yield from (result for _, result in branches)
            yield other
        case Digest() | Slice() | Tail() | Head() | Hex() | Whole() | Digits() | Times() | Mod() | Div() | Kept():
            yield term.of
