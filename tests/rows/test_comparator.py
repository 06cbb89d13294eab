"""Both sides in, suspects out: exactly those that differ, whatever the order and however the bytes come."""

from __future__ import annotations

import json
import struct
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.types import Codec
from rows import RowsError, ServerError
from rows.native import Column, Comparator, Plan
from tests.rows.packets import Fields, compared, copy_answer, cut, message, plan, postgres_row, result_set
from tests.rows.samples import JSON, SAMPLES, Sample

PLACES = st.lists(st.integers(0, 1 << 16), max_size=8)
NAMES = [name for name in SAMPLES if name != "bits"]


@dataclass(frozen=True)
class Sides:
    """A table with an int4 and a text as its key, and what happened to its copy."""

    plan: Plan
    source: list[list[bytes | None]]
    target: list[list[bytes | None]]
    expected: Counter[tuple[str, tuple[bytes | None, ...]]]


@st.composite
def sides(draw: st.DrawFn) -> Sides:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5))
    keys = draw(st.lists(st.tuples(st.integers(0, 60), st.sampled_from("ab")), unique=True, max_size=25))
    source: list[list[bytes | None]] = []
    target: list[list[bytes | None]] = []
    expected: Counter[tuple[str, tuple[bytes | None, ...]]] = Counter()
    for number, text in keys:
        values = [draw(st.none() | SAMPLES[name]) for name in names]
        row: list[Sample | None] = [
            *values,
            Sample(Codec("int4"), b"%d" % number, struct.pack(">i", number), ""),
            Sample(Codec("text"), text.encode(), text.encode(), ""),
        ]
        on_source = [field and field.mysql for field in row]
        on_target = [field and field.postgres for field in row]
        key = (text.encode(), struct.pack(">i", number))
        fate = draw(st.sampled_from(["same"] * 6 + ["lost", "new", "doubled", "changed"]))
        if fate != "new":
            source.append(on_source)
        if fate == "changed":
            place = draw(st.integers(0, len(names) - 1))
            other = draw(st.none() | SAMPLES[names[place]])
            if _same(values[place], other):
                fate = "same"
            on_target[place] = on_target[place] if fate == "same" else other and other.postgres
        if fate != "lost":
            target.append(on_target)
        if fate == "doubled":
            target.append(on_target)
        if fate != "same":
            expected[{"lost": "missing", "new": "extra", "doubled": "extra"}.get(fate, fate), key] += 1
    if draw(st.booleans()):
        source, target = draw(st.permutations(source)), draw(st.permutations(target))
    columns = (*names, "int4", "text")
    return Sides(plan(*columns, key=(len(names) + 1, len(names))), source, target, expected)


def _same(a: Sample | None, b: Sample | None) -> bool:
    """Whether they could be taken for the same value (numbers in JSON, minus zero)."""
    if a is None or b is None:
        return a is b
    return a.postgres == b.postgres or (a.codec.name in ("float4", "float8", "jsonb") and _loose(a) == _loose(b))


def _loose(sample: Sample) -> str:
    return sample.canonical.replace("-0.0", "0").replace("0.0", "0")


@given(sides(), PLACES, PLACES, st.sampled_from([0, 1, 5, 100]))
@settings(deadline=None, max_examples=150)
def test_exactly_what_differs_is_suspected(
    table: Sides, source_cuts: list[int], target_cuts: list[int], size: int
) -> None:
    source = result_set(len(table.plan.columns), table.source)
    target = copy_answer(len(table.plan.columns), table.target, size)
    with Comparator(table.plan, keep_target_rows=True) as comparator:
        suspects = compared(comparator, cut(source, source_cuts), cut(target, target_cuts))
        assert Counter((suspect.kind, suspect.key) for suspect in suspects) == table.expected
        assert (comparator.source_rows, comparator.target_rows) == (len(table.source), len(table.target))
        kept = b"".join(iter(lambda: comparator.take_target_rows(50), b""))
        assert kept == b"".join(map(postgres_row, table.target))
        for rows, last in (
            (table.source, comparator.source_last_texts),
            (table.target, comparator.target_last_key),
        ):
            assert last == ((rows[-1][-1], rows[-1][-2]) if rows else None)
        assert (comparator.source_last_key is None) == (not table.source)


def one(codec: Codec | Column, source: bytes | None, target: bytes | None) -> bool:
    """Whether two values are the same, side by side as well as out of step."""
    column = codec if isinstance(codec, Column) else Column(codec)
    table = Plan((Column(Codec("int4")), column), (0,))
    found = []
    for filler in (False, True):
        left: list[Fields] = [(b"1", source)]
        right: list[Fields] = [(struct.pack(">i", 1), target)]
        if filler:  # on one side first, on the other last
            left.insert(0, (b"2", None))
            right.append((struct.pack(">i", 2), None))
        with Comparator(table) as comparator:
            suspects = compared(comparator, [result_set(2, left)], [copy_answer(2, right)])
        assert all(suspect.kind == "changed" for suspect in suspects)
        found.append(not suspects)
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("codec", "source", "target", "same"),
    [
        ("float8", b"-0", struct.pack(">d", 0.0), True),
        ("float8", b"1", struct.pack(">d", 1.0000000000000002), False),
        ("float4", b"0.10000000149011612", struct.pack(">f", 0.1), True),
        ("text", b"a", b"a ", False),
        ("text", b"", None, False),
        ("text", None, b"", False),
        ("text", None, None, True),
        ("text", "é".encode(), "e\u0301".encode(), False),
        ("interval", b"25:00:00", struct.pack(">qii", 3_600_000_000, 1, 0), True),
        ("interval", b"25:00:00", struct.pack(">qii", 3_600_000_001, 1, 0), False),
        ("timestamp", b"2000-01-01 00:00:00.000001", struct.pack(">q", 2), False),
        ("jsonb", b'{"a": 2.50}', b'\1{"a": 2.5}', True),
        ("jsonb", b'{"b": 1, "a": 2}', b'\1{"a": 2, "b": 1}', True),
        ("jsonb", b"[1, 2]", b"\1[2, 1]", False),
        ("jsonb", b"1", b"\1true", False),
        ("jsonb", b"1", b'\1"1"', False),
        ("jsonb", b"0.1", b"\x010.1000000000000000055511151231257827021181583404541015625", True),
    ],
)
def test_values_that_are_the_same(codec: str, source: bytes | None, target: bytes | None, same: bool) -> None:
    assert one(Codec(codec), source, target) == same


def test_floats_at_six_digits() -> None:
    column = Column(Codec("float4"), six_digits=True)
    written, more = struct.pack(">f", 0.123457), b"0.12345678"
    assert one(column, more, written)
    assert not one(replace(column, six_digits=False), more, written)
    assert not one(column, b"0.123458", written)
    assert not one(replace(column, codec=Codec("float8")), more, struct.pack(">d", 0.123457))


@given(JSON)
@settings(deadline=None)
def test_json_is_itself(value: object) -> None:
    assert one(Codec("jsonb"), json.dumps(value).encode(), b"\1" + json.dumps(value, ensure_ascii=False).encode())


def test_poisoned_rows() -> None:
    """They are told with their reason, and their counterpart on the target is no suspect besides."""
    source = [(b"1", b"a"), (b"2", b"\0"), (b"3", b"c"), (b"4", b"\0"), (b"x", b"e")]
    target = [(struct.pack(">i", n), text) for n, text in ((1, b"a"), (4, b"d"), (3, b"c"), (2, b"b"))]
    with Comparator(plan("int4", "text")) as comparator:
        suspects = compared(comparator, [result_set(2, source)], [copy_answer(2, target)])
        assert comparator.source_last_key is None
        assert comparator.source_last_texts == (b"x",)
    assert [suspect.kind for suspect in suspects] == ["poisoned"] * 3
    found = {suspect.poison.key: (suspect.key, suspect.poison.reason) for suspect in suspects if suspect.poison}
    assert found == {
        (b"2",): ((struct.pack(">i", 2),), "nul_character"),
        (b"4",): ((struct.pack(">i", 4),), "nul_character"),
        (b"x",): (None, "malformed"),
    }


def test_back_in_step_after_lost_rows() -> None:
    """Rows that one side lost do not slow down all that follow: only they are remembered."""
    source = [(b"%d" % n, b"x" * 100) for n in range(20_000)]
    target = [(struct.pack(">i", n), b"x" * 100) for n in range(20_000) if n % 1000]
    with Comparator(plan("int4", "text")) as comparator:
        suspects = compared(comparator, [result_set(2, source)], [copy_answer(2, target)])
    assert {suspect.kind for suspect in suspects} == {"missing"}
    assert {struct.unpack(">i", suspect.key[0] or b"")[0] for suspect in suspects if suspect.key} == {
        n for n in range(20_000) if not n % 1000
    }


@pytest.mark.parametrize("size", [0, 1 << 20])
def test_giant_rows(size: int) -> None:
    value = b"\x07" * (33 << 20)
    other = value[:-1] + b"\x08"
    source = result_set(2, [(b"1", value), (b"2", value)])
    target = copy_answer(2, [(struct.pack(">i", 1), value), (struct.pack(">i", 2), other)], size)
    pieces = [[data[at : at + (1 << 20)] for at in range(0, len(data), 1 << 20)] for data in (source, target)]
    with Comparator(plan("int4", "bytea")) as comparator:
        suspects = compared(comparator, *pieces)
    assert [(suspect.kind, suspect.key) for suspect in suspects] == [("changed", (struct.pack(">i", 2),))]


def test_the_servers_error() -> None:
    with Comparator(plan("int4")) as comparator:
        assert not comparator.feed_target(message(b"E", b"SERROR\0VERROR\0C57014\0Mcanceling statement\0\0"))
        with pytest.raises(ServerError, match="canceling") as raised:
            comparator.feed_target(message(b"Z", b"I"))
    assert (raised.value.side, raised.value.code) == ("postgres", "57014")


def test_notices_and_settings_may_come_at_any_time() -> None:
    answer = copy_answer(1, [[struct.pack(">i", 1)]])
    noise = message(b"N", b"SNOTICE\0\0") + message(b"S", b"TimeZone\0UTC\0")
    with Comparator(plan("int4")) as comparator:
        assert compared(comparator, [result_set(1, [[b"1"]])], [noise, answer[:-6], noise, answer[-6:]]) == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (message(b"H", b"\0\0\0"), "not binary"),
        (message(b"T", b"\0\0"), "kind 'T'"),
        (message(b"d", b"id\tname\n" * 3), "not binary"),
        (copy_answer(2, [(b"1", b"2")]), "2 columns"),
        (copy_answer(1, []) + copy_answer(1, []), "more than the answer"),
        (copy_answer(1, []).replace(message(b"d", b"\xff\xff"), b""), "ended within"),
        (b"d\0\0\0\3", "length"),
    ],
)
def test_what_is_no_answer_to_copy(answer: bytes, reason: str) -> None:
    with Comparator(plan("int4")) as comparator, pytest.raises(RowsError, match=reason):
        comparator.feed_target(answer)


@given(sides(), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=4), PLACES, st.binary(max_size=30))
@settings(deadline=None, max_examples=200)
def test_damaged_bytes_do_not_crash(
    table: Sides, damage: list[tuple[int, int]], places: list[int], noise: bytes
) -> None:
    streams = [
        bytearray(result_set(len(table.plan.columns), table.source) + noise[:1]),
        bytearray(copy_answer(len(table.plan.columns), table.target) + noise),
    ]
    for place, byte in damage:
        stream = streams[place % 2]
        stream[place // 2 % len(stream)] = byte
    with Comparator(table.plan, keep_target_rows=True) as comparator:
        try:
            for piece in cut(bytes(streams[0]), places):
                comparator.feed_source(piece)
            for piece in cut(bytes(streams[1]), places):
                comparator.feed_target(piece)
            comparator.finish()
        except RowsError:
            pass
        comparator.suspects()
        comparator.take_target_rows()


def test_misuse() -> None:
    with pytest.raises(RowsError, match="needs a key"):
        Comparator(plan("int4", key=()))
    with pytest.raises(RowsError, match="all of it carried"):
        Comparator(Plan((Column(Codec("int4"), carried=False), Column(Codec("int4"))), (0,)))
    with Comparator(plan("int4")) as comparator, pytest.raises(RowsError, match="not ended"):
        comparator.finish()
