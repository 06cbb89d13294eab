"""What each kind of personal data is masked to, and how a masked value is told from a real one.

Invariants:
- A mask is a function of the value and the key alone: equal values (byte for byte) mask to equal values in every
  column and table of the same kind, on both sides, so what joined still joins. NULL and '' stay.
- Every masked value has its kind's *form*, which no real value has: a reserved domain, numbers that nobody was
  assigned, test ranges of cards, a marked word in a name. So a scan can tell whether anything real is left in a masked
  column without knowing what was there; and a mail or a call to a masked person reaches nobody. (Two forms are only
  rare: a day of birth is always the first of a month, a coordinate always whole.)
- A kind that is `unique` maps different values to different ones: mobile and identity numbers by permutation, the rest
  by a digest of at least 80 bits. Others must not be part of a unique key.
- Without the key nothing can be taken back, nor tried out: see `contract.mask_terms`.

Ranges: RFC 2606 reserves `.example`; 240.0.0.0/4 is reserved (RFC 1112), 2001:db8::/32 for documentation (RFC 3849);
+999 belongs to no country (ITU-T E.164, assigned codes); Vietnam's mobile prefixes are `_ASSIGNED` since the eleven
digits of 01x ended in 2018; its identity numbers begin with the code of a province, 001 to 096 (Decree 137/2015/ND-CP,
article 13).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from contract.mask_terms import (
    Case,
    Digest,
    Digits,
    Div,
    Head,
    Hex,
    Input,
    Join,
    Kept,
    Mod,
    Pick,
    Slice,
    Sum,
    Tail,
    Term,
    Times,
    Whole,
    evaluate,
)
from contract.tables import Column

DOMAIN: Final = "masked.example"
"""Of every masked e-mail address."""

# --- Pieces -----------------------------------------------------------------------------------------------------------

_FAMILY = (
    "Nguyễn", "Trần", "Lê", "Phạm", "Hoàng", "Huỳnh", "Phan", "Vũ", "Võ", "Đặng", "Bùi", "Đỗ", "Hồ", "Ngô", "Dương",
    "Lý", "Đinh", "Đoàn", "Mai", "Trịnh", "Trương", "Lâm", "Phùng", "Hà", "Tạ", "Cao", "Chu", "Kiều", "Lưu", "Quách",
    "Tô", "Vương",
)  # fmt: skip
_MIDDLE = (
    "Văn", "Thị", "Hữu", "Đức", "Ngọc", "Minh", "Thanh", "Quốc", "Xuân", "Kim", "Gia", "Bảo", "Anh", "Công", "Đình",
    "Hồng",
)  # fmt: skip
_GIVEN = (
    "An", "Bình", "Chi", "Dũng", "Giang", "Hà", "Hiếu", "Hương", "Khánh", "Lan", "Linh", "Long", "Mai", "Nam", "Nga",
    "Phúc", "Quân", "Sơn", "Thảo", "Trang", "Tuấn", "Uyên", "Việt", "Yến", "Cường", "Đạt", "Hạnh", "Huy", "Kiên",
    "Loan", "My", "Tùng",
)  # fmt: skip
_ENGLISH = (
    "James", "Mary", "John", "Emma", "David", "Anna", "Peter", "Laura", "Mark", "Helen", "Paul", "Alice", "Simon",
    "Ruth", "Adam", "Clara",
)  # fmt: skip
_SURNAMES = (
    "Smith", "Jones", "Brown", "Taylor", "Wilson", "Evans", "Walker", "Hall", "Green", "Clark", "Baker", "Hill",
    "Moore", "King", "Ward", "Cook",
)  # fmt: skip
_ASCII = (
    "an", "binh", "chi", "dung", "giang", "ha", "hieu", "huong", "khanh", "lan", "linh", "long", "mai", "nam", "nga",
    "phuc",
)  # fmt: skip
_STREETS = ("Hoa Sen", "Ban Mai", "Cây Bàng", "Bến Nước", "Gió Lộng", "Đồi Thông", "Suối Mơ", "Cầu Vồng")
_SYLLABLES = tuple(c + v for c in "bdghklmnprstvwxz" for v in "aeou")
WORD: Final = "X(?:[bdghklmnprstvwxz][aeou]){3}"
"""The marked word: no name, and no word of Vietnamese or English that is written so."""


def _number(digest: Term, start: int, length: int) -> Term:
    return Hex(Slice(digest, start, length))


def _word(digest: Term, start: int) -> tuple[Term, ...]:
    syllables = (Pick(_SYLLABLES, Mod(_number(digest, start + 2 * i, 2), 64)) for i in range(3))
    return ("X", *syllables)


def _permuted(tag: str, index: Term, a: int, b: int) -> Term:
    """A keyed permutation of the numbers below a * b: a Feistel network of four rounds whose round function is HMAC
    (Luby and Rackoff, 1988: three suffice against one who may have any values masked, four in both directions)."""
    start = Kept(index)
    left: Term = Div(start, b)
    right: Term = Mod(start, b)
    for i in range(2):
        left = Kept(Mod(Sum((left, _number(Digest(f"{tag}.{2 * i}", Digits(right, 6)), 0, 12))), a))
        right = Kept(Mod(Sum((right, _number(Digest(f"{tag}.{2 * i + 1}", Digits(left, 6)), 0, 12))), b))
    return Kept(Sum((Times(left, b), right)))


# --- Names, addresses, texts ------------------------------------------------------------------------------------------


def _name() -> Term:
    d = Kept(Digest("name", Input()))
    vietnamese = Join((
        Pick(_FAMILY, Mod(_number(d, 1, 2), 32)), " ", Pick(_MIDDLE, Mod(_number(d, 3, 1), 16)), " ",
        Pick(_GIVEN, Mod(_number(d, 4, 2), 32)), " ", *_word(d, 6),
    ))  # fmt: skip
    english = Join((
        Pick(_ENGLISH, Mod(_number(d, 1, 1), 16)), " ", Pick(_SURNAMES, Mod(_number(d, 2, 1), 16)), " ", *_word(d, 6),
    ))  # fmt: skip
    return Case(Slice(d, 0, 1), (("[0-9a-d]", vietnamese),), english)


def _address() -> Term:
    d = Kept(Digest("address", Input()))
    return Join((
        "Số ", Digits(Mod(_number(d, 0, 3), 1000), 3), " ", Pick(_STREETS, Mod(_number(d, 3, 1), 8)), " ", *_word(d, 4),
    ))  # fmt: skip


_HIDDEN: Final = "Đã ẩn"
HIDDEN_JSON: Final = f'{{"masked": "{_HIDDEN}"}}'
"""What takes the place of personal JSON, as both databases write it."""


def _text() -> Term:
    return Join((_HIDDEN, " ", *_word(Kept(Digest("text", Input())), 0)))


def _date() -> Term:
    d = Kept(Digest("date", Input()))
    year, month = Sum((1950, Mod(_number(d, 0, 4), 55))), Sum((1, Mod(_number(d, 4, 4), 12)))
    return Join((Digits(year, 4), "-", Digits(month, 2), "-01"))


# --- What identifies --------------------------------------------------------------------------------------------------


def _email() -> Term:
    d = Kept(Digest("email", Input()))
    return Join((Pick(_ASCII, Mod(_number(d, 0, 1), 16)), ".", Slice(d, 1, 20), f"@{DOMAIN}"))


def _marked(tag: str, mark: str, digits: int) -> Term:
    return Join((mark, Slice(Digest(tag, Input()), 0, digits)))


_ASSIGNED: Final = (
    *range(32, 40), 52, 55, 56, 58, 59, 70, *range(76, 80), *range(81, 90), 90, 91, 92, 93, 94, 96, 97, 98, 99,
)  # fmt: skip
_UNASSIGNED: Final = (*range(10, 20), *range(40, 50), *range(60, 69), 30, 31, 50, 51, 53, 54, 57, *range(71, 76), 95)
"""Prefixes (two digits after the 0) that no operator has: 42 of them, more than are assigned."""

MOBILE_PREFIXES: Final = tuple(map(str, _ASSIGNED))
MOBILE: Final = f"(?:{'|'.join(MOBILE_PREFIXES)})[0-9]{{7}}"
"""A Vietnamese mobile number, without 0 or +84."""
NOBODYS_MOBILE: Final = f"(?:{'|'.join(map(str, sorted(_UNASSIGNED)))})[0-9]{{7}}"
_TEN_MILLION: Final = 10_000_000


def _phone(length: int) -> Term:
    """A mobile number becomes another of the same spelling that nobody has, and different ones stay different. What is
    written otherwise becomes a number under +999, or where there is no room for it one that nobody has."""
    mobile = Kept(Case(Input(), ((rf"(?:\+84|84|0){MOBILE}", Input()),), ""))
    # its place among all that are assigned: that of its prefix, and seven digits
    places = tuple(str(_ASSIGNED.index(prefix) if prefix in _ASSIGNED else 0) for prefix in range(100))
    subscriber = Kept(Case(mobile, (("", f"{_ASSIGNED[0]}0000000"),), Tail(mobile, 9)))
    prefix = Whole(Pick(places, Whole(Slice(subscriber, 0, 2))))
    index = Sum((Times(prefix, _TEN_MILLION), Whole(Slice(subscriber, 2, 7))))
    place = _permuted("phone", index, 21_000, 20_000)
    number = Join((
        Pick(tuple(map(str, _UNASSIGNED)), Div(place, _TEN_MILLION)), Digits(Mod(place, _TEN_MILLION), 7),
    ))  # fmt: skip
    d = Kept(Digest("phone", Input()))
    other: Term
    if length >= 15:
        other = Join(("+999", Digits(Mod(_number(d, 0, 12), 10**11), 11)))
    else:
        nobodys = Pick(tuple(map(str, _UNASSIGNED)), Mod(_number(d, 0, 6), len(_UNASSIGNED)))
        other = Join(("0", nobodys, Digits(Mod(_number(d, 6, 12), _TEN_MILLION), 7)))
    return Case(mobile, (("", other),), Join((Head(mobile, 9), number)))


def _national_id() -> Term:
    """Twelve digits that begin with 9: every number that begins with 0 (all that were issued) has its own."""
    digits = Case(Input(), (("0[0-9]{11}", Slice(Input(), 1, 11)),), "0")
    number = _permuted("national_id", Whole(Kept(digits)), 250_000, 400_000)
    d = Digest("national_id", Input())
    return Case(
        Input(),
        (("0[0-9]{11}", Join(("9", Digits(number, 11)))),),
        Join(("9", Digits(Mod(_number(d, 0, 12), 10**11), 11))),
    )


def _ip(length: int) -> Term:
    d = Kept(Digest("ip", Input()))
    four = Join((
        Digits(Sum((240, Mod(_number(d, 0, 1), 16))), 3), ".", *_octet(d, 1), ".", *_octet(d, 3), ".", *_octet(d, 5),
    ))  # fmt: skip
    if length < 39:
        return four
    groups = [part for i in range(6) for part in (":", Slice(d, 4 * i, 4))]
    return Case(Input(), ((r"[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+", four),), Join(("2001:db8", *groups)))


def _octet(digest: Term, start: int) -> tuple[Term, ...]:
    return (Pick(tuple(map(str, range(256))), _number(digest, start, 2)),)


# --- Cards ------------------------------------------------------------------------------------------------------------

TEST_CARDS: Final[Mapping[str, str]] = {
    "4": "400000", "5": "555555", "2": "222300", "3": "356600", "6": "601111", "9": "970400",
}  # fmt: skip
"""First digit of a card number, and the test range of its scheme that takes its place."""
_AMEX: Final = "378282"


def _card() -> Term:
    """A number of 15 or 16 digits of the same scheme, from a range for tests, which passes Luhn's check. What is no
    card number (a token of the provider) becomes a token that is marked."""
    d = Kept(Digest("card", Input()))
    nine = Kept(Mod(_number(d, 0, 12), 10**9))
    eight = Kept(Mod(_number(d, 0, 12), 10**8))
    branches: list[tuple[str, Term]] = [("3[47][0-9]{13}", _with_check(_AMEX, eight, 8))]
    for first, range_ in TEST_CARDS.items():
        branches.append((f"{first}[0-9]{{12,18}}", _with_check(range_, nine, 9)))
    return Case(Input(), tuple(branches), _marked("card", "mask-", 14))


def _with_check(prefix: str, number: Term, width: int) -> Term:
    odd: list[Term] = []
    even: list[Term] = []  # counted from the right: those that are doubled
    total = 0
    for i in range(width):
        (odd if i % 2 else even).append(Mod(Div(number, 10**i), 10))
    doubled = [part for digit in even for part in (Div(Times(digit, 2), 10), Mod(Times(digit, 2), 10))]
    for i, letter in enumerate(reversed(prefix), start=width):
        value = int(letter)
        total += value if i % 2 else 2 * value // 10 + 2 * value % 10
    check = Mod(Times(Sum((*odd, *doubled, total)), 9), 10)
    return Join((prefix, Digits(number, width), Digits(check, 1)))


_TEST_CARD: Final = f"(?:{'|'.join([*TEST_CARDS.values(), _AMEX])})[0-9]{{9,10}}"

# --- Kinds ------------------------------------------------------------------------------------------------------------

TEXTS: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
BINARIES: Final = frozenset({"binary", "varbinary"})
NUMBERS: Final = frozenset({"double", "float", "decimal"})
DATES: Final = frozenset({"date", "datetime", "timestamp"})
JSON: Final = frozenset({"json"})


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of personal data."""

    what: str
    form: str
    """What every masked value fits as a whole."""
    longest: int
    """Characters that a masked value takes at most."""
    types: frozenset[str] = TEXTS
    unique: bool = False


KINDS: Final[Mapping[str, Kind]] = {
    "name": Kind("a person's name", rf"[^ ]+ (?:[^ ]+ )?[^ ]+ {WORD}", 27),
    "username": Kind("a name to log in with", "user-[0-9a-f]{20}", 25, unique=True),
    "email": Kind("an e-mail address", r"[a-z]+\.[0-9a-f]{20}@masked\.example", 41, unique=True),
    "phone": Kind("a telephone number", rf"(?:\+84|84|0){NOBODYS_MOBILE}|\+999[0-9]{{11}}", 10, unique=True),
    "address": Kind("a street with its number", f"Số [0-9]{{3}} [^ ]+ [^ ]+ {WORD}", 24),
    "postcode": Kind("a postal code", "00[0-9]{3}", 5),
    "location": Kind("latitude or longitude", "", 0, NUMBERS),
    "birth_date": Kind("a day of birth", "[0-9]{4}-[0-9]{2}-01(?: 00:00:00(?:.0+)?)?", 10, TEXTS | DATES),
    "national_id": Kind("a number of an identity card (CCCD)", "9[0-9]{11}", 12, unique=True),
    "tax_id": Kind("a personal tax number", "00[0-9]{8}", 10),
    "bank_account": Kind("a number of a bank account", "0000[0-9]{10}", 14),
    "ip": Kind("an IP address", r"2[45][0-9]\.[0-9.]{5,11}|2001:db8(?::[0-9a-f]{4}){6}", 15),
    "token": Kind("what a device or session is known by", "mask-[0-9a-f]{20}", 25, TEXTS | BINARIES, unique=True),
    "free_text": Kind("what somebody wrote", f"{_HIDDEN} {WORD}", 13, TEXTS | JSON),
}
"""By name, as `data-classes.yaml` has them: `personal(name)`."""

CARD: Final = Kind("a card number or its token", f"{_TEST_CARD}|mask-[0-9a-f]{{14}}", 19, TEXTS | BINARIES)

BINARY_MARK: Final = "6D61736B"
"""The first bytes of a masked binary value: `mask`."""
BINARY_LEAST: Final = 14
"""Bytes: the mark, and 80 bits."""
ERASED: Final = "!"
"""What stands for a secret that may not be NULL: no hash of anything, so that no password fits it."""


def term_of(kind: str, column: Column) -> Term | None:
    """The mask of a kind (or `card`) in a column, over the value's canonical text; None where it is not made of text
    (`location`). For a binary column it is hexadecimal, for JSON the text inside, always the same (the two databases
    write JSON differently)."""
    if column.type in BINARIES:
        size = min(column.length or 0, 32) - len(BINARY_MARK) // 2
        return Join((BINARY_MARK, Slice(Digest(kind, Input()), 0, 2 * size)))
    if column.type in JSON:
        return _HIDDEN
    length = column.length if column.type in ("char", "varchar") and column.length else 65_535
    makers = {
        "name": _name, "email": _email, "address": _address, "free_text": _text, "birth_date": _date, "card": _card,
        "national_id": _national_id,
    }  # fmt: skip
    if kind in makers:
        return makers[kind]()
    if kind == "phone":
        return _phone(length)
    if kind == "ip":
        return _ip(length)
    if kind in ("username", "token"):
        return _marked(kind, {"username": "user-", "token": "mask-"}[kind], 20)
    if kind in ("postcode", "tax_id", "bank_account"):
        zeros, digits = {"postcode": ("00", 3), "tax_id": ("00", 8), "bank_account": ("0000", 10)}[kind]
        return Join((zeros, Digits(Mod(_number(Digest(kind, Input()), 0, 12), 10**digits), digits)))
    if kind == "location":
        return None
    raise KeyError(kind)


def form_of(kind: str, column: Column) -> str:
    """The pattern that every masked value's canonical text fits; '' for `location`, which is whole."""
    if column.type in BINARIES:
        return f"{BINARY_MARK}[0-9A-F]*"
    if column.type in JSON:
        return HIDDEN_JSON.replace("{", r"\{").replace("}", r"\}")
    return CARD.form if kind == "card" else KINDS[kind].form


def obstacle(kind: str, column: Column) -> str | None:
    """Why the kind cannot be masked in this column; None when it can."""
    known = CARD if kind == "card" else KINDS[kind]
    if column.type not in known.types:
        return f"{known.what} in {column.full_type} cannot be masked (but in {', '.join(sorted(known.types))})"
    if column.type in BINARIES:
        if (column.length or 0) < BINARY_LEAST:
            return f"{column.full_type} has no room for a mask of {BINARY_LEAST} bytes"
    elif column.type in ("char", "varchar") and (column.length or 0) < known.longest:
        return f"{column.full_type} has no room for a mask of {known.longest} characters"
    return None


def is_unique(kind: str) -> bool:
    return kind in KINDS and KINDS[kind].unique


def masked(kind: str, column: Column, text: str | None, key: bytes) -> str | float | None:
    """The reference: what a canonical text masks to (as a canonical text; a number for `location`)."""
    if text is None or text == "":
        return text
    term = term_of(kind, column)
    if term is None:
        return float(math.floor(float(text)))
    result: str = evaluate(term, text, key)
    if column.type in JSON:
        return HIDDEN_JSON
    return result.upper() if column.type in BINARIES else result
