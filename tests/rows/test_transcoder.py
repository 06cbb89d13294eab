"""MySQL's packets in, binary COPY out: every codec against psycopg's idea of the binary format."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.types import Codec
from rows import RowsError, ServerError
from rows.decode import canonical
from rows.native import Column, Plan, Transcoder
from tests.rows.packets import EOF, cut, mysql_row, packets, plan, postgres_row, result_set, transcoded
from tests.rows.samples import SAMPLES, Sample, tables

PLACES = st.lists(st.integers(0, 1 << 16), max_size=6)


@pytest.mark.parametrize("name", SAMPLES)
def test_values_are_as_postgres_has_them(name: str) -> None:
    @given(st.lists(SAMPLES[name], min_size=1, max_size=20))
    @settings(deadline=None)
    def check(samples: list[Sample]) -> None:
        for sample in samples:
            with Transcoder(plan(sample.codec)) as transcoder:
                out = transcoded(transcoder, [result_set(1, [[sample.mysql]])])
            assert out == postgres_row([sample.postgres])
            assert canonical(sample.codec, sample.postgres) == sample.canonical

    check()


@given(tables(), PLACES)
@settings(deadline=None)
def test_the_pieces_in_which_bytes_come_do_not_matter(
    table: tuple[list[Codec], list[list[Sample | None]]], places: list[int]
) -> None:
    codecs, rows = table
    stream = result_set(len(codecs), [[sample and sample.mysql for sample in row] for row in rows])
    with Transcoder(plan(*codecs)) as transcoder:
        out = transcoded(transcoder, cut(stream, places))
        assert out == b"".join(postgres_row([sample and sample.postgres for sample in row]) for row in rows)
        assert (transcoder.rows, transcoder.set_aside, transcoder.rows_read) == (len(rows), 0, len(rows))
        last = rows[-1][0] if rows else None
        assert transcoder.last_key == ((last and last.mysql,) if rows else None)
        assert transcoder.poisons() == []


POISONED = [
    (Codec("date"), b"0000-00-00", "zero_date"),
    (Codec("date"), b"2024-00-15", "zero_date"),
    (Codec("date"), b"2023-02-29", "out_of_range"),
    (Codec("timestamp"), b"2024-05-00 01:02:03", "zero_date"),
    (Codec("timestamptz"), b"0000-00-00 00:00:00", "zero_date"),
    (Codec("text"), b"a\0b", "nul_character"),
    (Codec("text"), b"a\xff", "invalid_utf8"),
    (Codec("text"), b"\xed\xa0\x80", "invalid_utf8"),
    (Codec("enum"), b"", "empty_enum"),
    (Codec("int2"), b"32768", "out_of_range"),
    (Codec("int4"), b"-2147483649", "out_of_range"),
    (Codec("int8"), b"18446744073709551615", "out_of_range"),
    (Codec("int8"), b"", "malformed"),
    (Codec("bool"), b"2", "not_boolean"),
    (Codec("time"), b"24:00:00", "out_of_range"),
    (Codec("time"), b"-00:00:00.000001", "out_of_range"),
    (Codec("float4"), b"1e39", "out_of_range"),
    (Codec("float8"), b"nan", "malformed"),
    (Codec("bits", 3), b"\x08", "out_of_range"),
    (Codec("jsonb"), b'["\\u0000"]', "json_nul"),
    (Codec("jsonb"), b"\xff", "invalid_utf8"),
    (Codec("numeric"), b"1e5", "malformed"),
]


@pytest.mark.parametrize(("codec", "text", "reason"), POISONED)
def test_poisoned_rows_are_set_aside(codec: Codec, text: bytes, reason: str) -> None:
    rows = [(b"1", None), (b"2", text), (b"3", None), (b"4", text)]
    with Transcoder(plan("int4", codec)) as transcoder:
        out = transcoded(transcoder, [result_set(2, rows)])
        assert out == b"".join(postgres_row([struct.pack(">i", n), None]) for n in (1, 3))
        found = transcoder.poisons()
        assert [(poison.key, poison.column, poison.reason, poison.value) for poison in found] == [
            ((b"2",), 1, reason, text),
            ((b"4",), 1, reason, text),
        ]
        assert (transcoder.rows, transcoder.set_aside, transcoder.poisons()) == (2, 2, [])
        assert transcoder.last_key == (b"4",)


def test_a_poisoned_value_is_shown_by_its_beginning() -> None:
    with Transcoder(plan("text", key=())) as transcoder:
        assert transcoded(transcoder, [result_set(1, [[b"x" * 1000 + b"\0"]])]) == b""
        (poison,) = transcoder.poisons()
    assert poison.value == b"x" * 200
    assert poison.key == ()


def test_flags() -> None:
    columns = (
        Column(Codec("date", zero_is_null=True)),
        Column(Codec("enum", empty_member=True)),
        Column(Codec("int8"), carried=False),
    )
    with Transcoder(Plan(columns, (2, 1))) as transcoder:
        out = transcoded(transcoder, [result_set(3, [[b"0000-00-00", b"", b"no number, but not carried"]])])
        assert out == postgres_row([None, b""])
        assert transcoder.last_key == (b"no number, but not carried", b"")


def test_several_result_sets() -> None:
    with Transcoder(plan("int4")) as transcoder:
        with pytest.raises(RowsError, match="not ended"):
            transcoder.next()
    with Transcoder(plan("int4")) as transcoder:
        first = transcoded(transcoder, [result_set(1, [[b"1"], [b"2"]])])
        transcoder.next()
        assert not transcoder.ended
        second = transcoded(transcoder, [result_set(1, [])])
        assert transcoder.last_key is None
        transcoder.next()
        third = transcoded(transcoder, [result_set(1, [[b"3"]])])
        assert first + second + third == b"".join(postgres_row([struct.pack(">i", n)]) for n in (1, 2, 3))
        assert (transcoder.rows, transcoder.rows_read, transcoder.last_key) == (3, 1, (b"3",))


@pytest.mark.parametrize("size", [(1 << 24) - 6, (1 << 24) - 5, (1 << 24) + 1, 64 << 20])
def test_giant_rows(size: int) -> None:
    """Around 16 MB, where a row begins to need several packets, and at 64 MB."""
    value = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    stream = result_set(2, [[b"1", value], [b"2", b""]])
    with Transcoder(plan("int4", "bytea")) as transcoder:
        out = transcoded(transcoder, (stream[at : at + (1 << 20)] for at in range(0, len(stream), 1 << 20)))
    expected = postgres_row([struct.pack(">i", 1), value]) + postgres_row([struct.pack(">i", 2), b""])
    assert out == expected  # not in the assertion's message


def test_output_in_portions() -> None:
    with Transcoder(plan("int4")) as transcoder:
        transcoder.feed(result_set(1, [[b"1"]] * 10))
        portions = iter(lambda: transcoder.take(7), b"")
        assert b"".join(portions) == postgres_row([struct.pack(">i", 1)]) * 10


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: memoryview(bytearray(data))])
def test_buffers(kind: type) -> None:
    stream = result_set(1, [[b"7"]])
    with Transcoder(plan("int4")) as transcoder:
        assert not transcoder.feed(kind(b""))
        assert not transcoder.feed(kind(stream + b"rest"), 5)
        assert transcoder.feed(kind(stream[5:] + b"rest"), len(stream) - 5)
        assert transcoder.take() == postgres_row([struct.pack(">i", 7)])
        with pytest.raises(RowsError, match="a buffer that has 4"):
            transcoder.feed(kind(b"rest"), 5)


def test_the_servers_error() -> None:
    stream = packets([b"\1", b"\3def", EOF, mysql_row([b"1"]), b"\xff\x25\x05#70100Query execution was interrupted"])
    with Transcoder(plan("int4")) as transcoder:
        with pytest.raises(ServerError, match="interrupted") as raised:
            transcoder.feed(stream)
        assert (raised.value.side, raised.value.code) == ("mysql", "1317")
        assert transcoder.take() == postgres_row([struct.pack(">i", 1)])
        with pytest.raises(RowsError, match="after an error"):
            transcoder.feed(b"")
    with pytest.raises(RowsError, match="closed"):
        transcoder.feed(b"")


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (packets([b"\0\0\0\2\0\0\0"]), "without a result set"),
        (packets([b"\xfb/etc/passwd"]), "local file"),
        (packets([b"\2"]), "2 columns"),
        (packets([b"\1", EOF]), "column definitions"),
        (packets([b"\1", b"\3def", EOF, b"\1"]), "shorter"),
        (packets([b"\1", b"\3def", EOF, b"\0\0"]), "more fields"),
        (packets([b"\1", b"\3def", EOF, b"\xfe\0\0\x0a\0"]), "more than one"),
        (b"\1\0\0\5\1", "out of order"),
        (result_set(1, []) + result_set(1, []), "more than one"),
    ],
)
def test_what_is_no_result_set(stream: bytes, message: str) -> None:
    with Transcoder(plan("int4")) as transcoder, pytest.raises(RowsError, match=message):
        transcoder.feed(stream)


@given(tables(), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=5), PLACES, st.binary(max_size=40))
@settings(deadline=None, max_examples=300)
def test_damaged_bytes_are_an_error_or_other_rows_but_no_crash(
    table: tuple[list[Codec], list[list[Sample | None]]],
    damage: list[tuple[int, int]],
    places: list[int],
    noise: bytes,
) -> None:
    codecs, rows = table
    stream = bytearray(result_set(len(codecs), [[sample and sample.mysql for sample in row] for row in rows]) + noise)
    for place, byte in damage:
        stream[place % len(stream)] = byte
    with Transcoder(plan(*codecs)) as transcoder:
        try:
            for piece in cut(bytes(stream), places):
                transcoder.feed(piece)
                transcoder.take()
        except RowsError:
            pass
        transcoder.poisons()
        assert transcoder.last_key is None or len(transcoder.last_key) == 1


@pytest.mark.parametrize(
    "bad", [Plan(()), plan("int4", key=(1,)), plan("int4", key=(-1,)), plan("int5"), plan(Codec("bits", 65))]
)
def test_plans_that_make_no_sense(bad: Plan) -> None:
    with pytest.raises(RowsError):
        Transcoder(bad)
