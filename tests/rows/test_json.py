"""The native equality of JSON against the contract's."""

from __future__ import annotations

import json
import random
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.values import same_json as same_by_contract
from rows.native import same_json
from tests.rows.samples import JSON

NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: f"{Decimal(number):f}"[:300]),
    st.integers(-(10**25), 10**25).map(str),
    st.builds(
        lambda sign, whole, fraction, power: f"{sign}{whole}.{fraction:03d}{power}",
        st.sampled_from(["", "-"]), st.integers(0, 999), st.integers(0, 999), st.sampled_from(["", "e0", "E+2", "e-7"]),
    ),
)  # fmt: skip


def both(a: str, b: str) -> bool:
    native = same_json(a.encode(), b.encode())
    assert native == same_by_contract(a, b)
    return native


def rewritten(value: Any, rng: random.Random) -> str:
    """Another text of the same value."""
    space = rng.choice(["", " ", "\n\t "])
    if isinstance(value, dict):
        items = list(value.items())
        rng.shuffle(items)
        members = (f"{rewritten(k, rng)}{space}:{rewritten(v, rng)}" for k, v in items)
        return f"{{{space}{','.join(members)}}}"
    if isinstance(value, list):
        return f"[{f'{space},'.join(rewritten(item, rng) for item in value)}{space}]"
    if isinstance(value, str) and rng.random() < 0.5:
        units = value.encode("utf-16-be", "surrogatepass")
        return '"' + "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2)) + '"'
    return space + json.dumps(value, ensure_ascii=rng.random() < 0.5)


@given(JSON, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_other_texts_of_the_same_value(value: Any, rng: random.Random) -> None:
    assert both(rewritten(value, rng), rewritten(value, rng))


@given(JSON, JSON)
@settings(deadline=None)
def test_two_values(a: Any, b: Any) -> None:
    both(json.dumps(a), json.dumps(b))
    both(json.dumps([a, b]), json.dumps([b, a]))


@given(NUMBERS, NUMBERS)
@settings(deadline=None, max_examples=300)
def test_numbers(a: str, b: str) -> None:
    both(a, b)
    both(a, f"{float(a)!r}".replace("inf", "1e400"))


@given(st.text(max_size=30) | st.text('{}[]",:\\u0123abtrefalsn0123456789.eE+- ', max_size=30))
@settings(deadline=None, max_examples=300)
def test_malformed_texts(text: str) -> None:
    raw = text.encode("utf-8", "surrogatepass")
    assert same_json(raw, b"1") in (True, False)
    if "NaN" not in text and "Infinity" not in text and not text.startswith("\ufeff"):
        both(text, text)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ('{"a": 1, "a": 2}', '{"a": 2}', True),
        ('{"a": null}', "{}", False),
        ("true", "1", False),
        ('"\\ud83d\\ude00"', '"😀"', True),
        ('"\\ud83d"', '"\\ud83d"', True),
        ('"\\ud83dx"', '"\\ude00x"', False),
        ("-0", "0", True),
        ("1.0", "1", True),
        ("100000000000000000000", "1e20", True),
        ("12345678901234567890", "12345678901234567891", False),
    ],
)
def test_cases(a: str, b: str, same: bool) -> None:
    assert both(a, b) == same


def test_deep_nesting_is_no_value() -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    assert not same_json(deep, deep)
    assert same_json(b"[" * 100 + b"]" * 100, b" [" * 100 + b"] " * 100)
