"""Masks: the same everywhere, of the right form, different for different values, without the original."""

from __future__ import annotations

import re
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract import personal
from contract.masks import _ASSIGNED, KINDS, form_of, is_unique, masked, obstacle
from contract.privacy import FINDINGS, PrivacyError, parse_classes
from contract.tables import Column, ForeignKey, Key, KeyPart, Table

KEY, OTHER = b"k" * 32, b"o" * 32
TEXT = Column("c", "varchar", "varchar(190)", length=190, table="t")
KINDS_OF_TEXT = sorted({*KINDS, "card"} - {"location"})
DIGITS = st.integers(0, 9_999_999).map("{:07d}".format)
MOBILES = st.builds("{}{}{}".format, st.sampled_from(["+84", "84", "0"]), st.sampled_from(_ASSIGNED), DIGITS)
IDENTITIES = st.integers(0, 10**11 - 1).map("0{:011d}".format)


def _card(prefix: str, digits: int) -> str:
    body = f"{prefix}{digits:09d}"
    return next(body + str(check) for check in range(10) if personal.luhn(body + str(check)))


CARDS = st.builds(_card, st.sampled_from(["411122", "512345", "970436", "358812"]), st.integers(0, 10**9 - 1))
VALUES = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=60),
    MOBILES,
    IDENTITIES,
    CARDS,
    st.from_regex(r"[a-z0-9.]{1,12}@[a-z]{1,8}\.vn", fullmatch=True),
    st.ip_addresses().map(str),
    st.dates().map(str),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(kind=st.sampled_from(KINDS_OF_TEXT), text=VALUES)
def test_a_mask_is_of_its_form_and_depends_on_value_and_key_alone(kind: str, text: str) -> None:
    result = masked(kind, TEXT, text, KEY)
    assert isinstance(result, str)
    assert masked(kind, TEXT, text, KEY) == result
    assert re.fullmatch(form_of(kind, TEXT), result)
    assert not personal.found(result)
    assert len(result) <= 41
    if kind == "birth_date":
        assert date.fromisoformat(result).day == 1
    if kind == "card" and result.isdigit():
        assert personal.luhn(result)
    if is_unique(kind):
        assert masked(kind, TEXT, text, OTHER) != result  # for others it is only likely
        assert masked(kind, TEXT, f"{text}.", KEY) != result


@settings(deadline=None)
@given(kind=st.sampled_from(KINDS_OF_TEXT), text=st.text("bcdfjqyzBCDFJQYZ_#~", min_size=4, max_size=40))
def test_nothing_of_the_original_is_left(kind: str, text: str) -> None:
    """Of letters that no mask has but in a digest: no four of them in a row."""
    result = str(masked(kind, TEXT, text, KEY))
    assert not any(text[i : i + 4] in result for i in range(len(text) - 3)) or re.search("[0-9a-f]{14}", result)


@settings(deadline=None)
@given(st.sets(MOBILES, min_size=2, max_size=200))
def test_different_mobile_numbers_stay_different_and_keep_their_spelling(numbers: set[str]) -> None:
    results = {number: str(masked("phone", TEXT, number, KEY)) for number in numbers}
    assert len(set(results.values())) == len(numbers)
    for number, result in results.items():
        assert (len(result), result[:-9]) == (len(number), number[:-9])


@settings(deadline=None)
@given(st.sets(IDENTITIES, min_size=2, max_size=200))
def test_different_identity_numbers_stay_different(numbers: set[str]) -> None:
    assert len({masked("national_id", TEXT, number, KEY) for number in numbers}) == len(numbers)


def test_the_permutation_reaches_every_number_once() -> None:
    """All of a small network of the same making: 12 times 10 numbers."""
    from contract.mask_terms import Input, Whole, evaluate
    from contract.masks import _permuted

    term = _permuted("any", Whole(Input()), 12, 10)
    assert sorted(evaluate(term, str(n), KEY) for n in range(120)) == list(range(120))


def test_empty_values_stay() -> None:
    for kind in KINDS_OF_TEXT:
        assert masked(kind, TEXT, "", KEY) == ""
        assert masked(kind, TEXT, None, KEY) is None


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("viết cho an.nguyen@shop.vn nhé", {"email"}),
        ("an@masked.example.com", {"email"}),
        ("gọi 0912 345 678", {"phone"}),
        ("+84-912-345-678", {"phone"}),
        ("tel:84912345678", {"phone"}),
        ("cố định 024 3825 1234", {"phone"}),
        ("+1 415 555 2671", {"phone"}),
        ('{"pan": "4539 1488 0343 6467"}', {"card"}),
        ("CCCD 001203012345", {"national_id"}),
        ("giao chị Nguyễn Thị Lan", {"name"}),
        ("NGƯỜI NHẬN: Tran Van Hung", {"name"}),
        ("John Smith, please", {"name"}),
        ("TP. Hồ Chí Minh, 128 Phan Đình Phùng", set()),
        ("d1f0a912-3456-4890-a123-091234567890", set()),
        ("4539 1488 0343 6468", set()),
        ("order 1721900000000, 0.3333333333333333", set()),
        ("4111 1111 1111 1111 and +99931586771643", set()),
    ],
)
def test_personal_data_is_found(text: str, kinds: set[str]) -> None:
    assert personal.found(text) == kinds
    assert kinds <= set(FINDINGS)
    if kinds:
        assert re.search(personal.SUSPECT, text)


# --- data classes -----------------------------------------------------------------------------------------------------

CLASSES = """
version: 1
tables:
  users: {id: none, mail: personal(email), name: personal(name), pin: secret, short: personal(email)}
  letters: {id: none, mail: none}
"""


def _table(name: str, *columns: Column, **more: object) -> Table:
    from dataclasses import replace

    return Table(name, tuple(replace(c, table=name) for c in columns), ("id",), **more)  # type: ignore[arg-type]


def test_everything_that_stands_in_the_way_is_named_at_once() -> None:
    text = {name: Column(name, "varchar", "varchar(60)", False, length=60) for name in ("mail", "name", "pin", "extra")}
    id_ = Column("id", "bigint", "bigint", False)
    users = _table(
        "users", id_, *text.values(), Column("short", "varchar", "varchar(10)", length=10),
        keys=(Key("by_name", (KeyPart("name"),), unique=True), Key("by_pin", (KeyPart("pin"),), unique=True)),
    )  # fmt: skip
    letters = _table(
        "letters", id_, text["mail"], foreign_keys=(ForeignKey("fk", ("mail",), "users", ("mail",)),)
    )  # fmt: skip
    classes = parse_classes(CLASSES, "classes")
    problems = "\n".join(classes.problems([users, letters]))
    assert classes.missing([users, letters]) == ["users.extra"]
    for part in (
        "users.extra has no data class",
        "users.short: varchar(10) has no room",
        "users.name is part of the unique key by_name",
        "users.pin is part of the unique key by_pin",
        "letters.mail (none) refers to users.mail (personal(email))",
    ):
        assert part in problems
    assert len(problems.splitlines()) == 5


def test_all_mistakes_of_a_file_are_told() -> None:
    with pytest.raises(PrivacyError) as e:
        parse_classes(
            "version: 1\ntables: {a: {b: private, c: personal(foo), '*': none}, d: none}\n"
            "allow: {a.q: [email]}\nsubject: {is: a.z}\nmore: 1",
            "classes.yaml",
        )
    for part in ("a.b: 'private'", "no kind foo", "a.*: there is no wildcard", "d: name each", "a.q", "a.z", "more"):
        assert part in str(e.value)
    with pytest.raises(PrivacyError, match="named twice: b"):
        parse_classes("version: 1\ntables: {a: {b: none, b: secret}}", "classes.yaml")


def test_a_mask_that_has_no_room_is_refused() -> None:
    assert obstacle("email", Column("c", "varchar", "varchar(20)", length=20))
    assert obstacle("phone", Column("c", "bigint", "bigint"))
    assert obstacle("token", Column("c", "binary", "binary(8)", length=8))
    assert obstacle("phone", Column("c", "varchar", "varchar(10)", length=10)) is None
