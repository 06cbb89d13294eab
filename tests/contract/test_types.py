"""The type contract by itself: the encoding is injective, values have one canonical text, what has no rule is named."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.debezium import debezium_source_settings, sink_settings
from contract.tables import Column, mysql_name, postgres_name
from contract.types import (
    NO_CHOICES,
    Choices,
    Unsupported,
    collation_for,
    default_for,
    encode,
    rule_for,
    unique_expression,
)

BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The machine may be busy with other tests."""

PLAIN = st.text("0123456789-.: eE", max_size=12)
"""What texts without a frame may hold."""


def column(kind: str, full: str = "", **more: object) -> Column:
    return Column("c", kind, full or kind, table="t", **more)  # type: ignore[arg-type]


def rows(framed: tuple[bool, ...]) -> st.SearchStrategy[tuple[str | None, ...]]:
    return st.tuples(*(st.none() | (st.text(max_size=8) if f else PLAIN) for f in framed))


SHAPES = st.lists(st.booleans(), min_size=1, max_size=5).map(tuple)


@BUSY
@given(SHAPES.flatmap(lambda shape: st.tuples(st.just(shape), rows(shape), rows(shape))))
def test_rows_that_differ_are_encoded_differently(
    case: tuple[tuple[bool, ...], tuple[str | None, ...], tuple[str | None, ...]],
) -> None:
    shape, first, second = case
    same = encode(zip(first, shape, strict=True)) == encode(zip(second, shape, strict=True))
    assert same == (first == second)


def test_what_joined_text_confuses_is_told_apart() -> None:
    def of(*values: str | None) -> str:
        return encode((value, True) for value in values)

    assert of("a|b", "c") != of("a", "b|c")
    assert of("a", None) != of(None, "a")
    assert of("~") != of(None)
    assert of("1:a") != of("a")


@BUSY
@given(st.integers(0, 2**64 - 1))
def test_an_unsigned_key_of_a_topic_is_the_key_of_the_databases(number: int) -> None:
    rule = rule_for(column("bigint", "bigint unsigned"))
    raw = base64.b64encode(number.to_bytes((number.bit_length() + 8) // 8, "big", signed=True)).decode()
    assert rule.postgres == "numeric(20)"
    assert rule.canonical(rule.from_debezium(raw)) == rule.canonical(number) == str(number)


@BUSY
@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9))
def test_a_decimal_of_a_topic_has_the_canonical_text(number: Decimal) -> None:
    rule = rule_for(column("decimal", precision=14, scale=4))
    unscaled = int(number.scaleb(4))
    raw = base64.b64encode(unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)).decode()
    assert rule.canonical(rule.from_debezium(raw)) == rule.canonical(number)
    assert Decimal(rule.canonical(number)) == number


@BUSY
@given(st.datetimes(datetime(1000, 1, 1), datetime(9999, 12, 31)))
def test_a_time_of_a_topic_has_the_canonical_text(moment: datetime) -> None:
    rule = rule_for(column("datetime", fraction=6))
    micros = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    assert rule.canonical(rule.from_debezium(micros)) == rule.canonical(moment)
    instant = rule_for(column("timestamp", fraction=6))
    assert instant.canonical(instant.from_debezium(f"{moment.isoformat()}Z")) == instant.canonical(
        moment.replace(tzinfo=UTC)
    )


def test_other_keys_of_topics() -> None:
    assert rule_for(column("date")).from_debezium(19782) == date(2024, 2, 29)
    binary = rule_for(column("binary", length=2))
    assert binary.canonical(binary.from_debezium(base64.b64encode(b"\x0a\xff").decode())) == "0AFF"
    assert binary.parameter("0AFF") == b"\x0a\xff"
    clock = rule_for(column("time"))
    assert clock.canonical(clock.from_debezium(45_296_500_000)) == "12:34:56.500000"


JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@BUSY
@given(JSON)
def test_json_is_equal_however_it_is_written(value: object) -> None:
    rule = rule_for(column("json"))
    assert rule.equal(json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False))


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("[2.5]", "[2.50]", True),
        ("1e308", str(int(1e308)), True),
        ("-0.0", "0.0", True),
        ("true", "1", False),
        ('"1"', "1", False),
        ("[1, 2]", "[2, 1]", False),
        ('{"a": null}', "{}", False),
        ("18446744073709551615", "18446744073709551614", False),
    ],
)
def test_json_numbers(a: str, b: str, same: bool) -> None:
    assert rule_for(column("json")).equal(a, b) is same


@pytest.mark.parametrize(
    ("given_column", "target"),
    [
        (column("tinyint", "tinyint(1)"), "smallint"),
        (column("smallint", "smallint unsigned"), "integer"),
        (column("int", "int unsigned"), "bigint"),
        (column("decimal", precision=65, scale=30), "numeric(65,30)"),
        (column("char", "char(3)", length=3), "varchar(3)"),
        (column("longtext"), "text"),
        (column("varbinary", length=9), "bytea"),
        (column("datetime", fraction=3), "timestamp(3)"),
        (column("timestamp"), "timestamptz(0)"),
        (column("time", fraction=6), "time(6)"),
        (column("bit", precision=1), "boolean"),
        (column("bit", precision=8), "bit(8)"),
        (column("year"), "smallint"),
        (column("json"), "jsonb"),
    ],
)
def test_types_of_the_target(given_column: Column, target: str) -> None:
    assert rule_for(given_column).postgres == target


def test_a_named_boolean_is_one() -> None:
    assert rule_for(column("tinyint", "tinyint(1)"), Choices.of(["t.c"])).postgres == "boolean"
    with pytest.raises(Unsupported, match=r"t\.c int: only TINYINT\(1\)"):
        rule_for(column("int"), Choices.of(["t.c"]))


@pytest.mark.parametrize("kind", ["geometry", "point", "vector", "something"])
def test_what_has_no_rule_is_named(kind: str) -> None:
    with pytest.raises(Unsupported, match=rf"t\.c {kind}: "):
        rule_for(column(kind))


def test_generated_columns() -> None:
    a, b = (Column(name, "bigint", "bigint", table="t") for name in ("a", "b c"))
    kept = column("bigint", generated="stored", expression="(`a` * (`b c` + 2))", sources=(a, b))
    assert rule_for(kept).generated == '("a"::numeric * ("b c"::numeric + 2::numeric))'
    for kind, expression in (("int", "(`a` / 2)"), ("double", "(`a` * 2)"), ("varchar", "(`a` * 2)"), ("int", "`x`")):
        with pytest.raises(Unsupported, match="generated from"):
            rule_for(column(kind, generated="virtual", expression=expression, sources=(a,)))


def test_a_generated_column_over_another_is_computed_from_what_that_one_is() -> None:
    a = Column("a", "int", "int", table="t")
    first = Column("x", "int", "int", generated="stored", expression="(`a` + 1)", sources=(a,), table="t")
    second = column("int", generated="stored", expression="(`x` * 2)", sources=(first,))
    assert rule_for(second).generated == '((("a"::numeric + 1::numeric))::integer::numeric * 2::numeric)'


def test_defaults() -> None:
    def of(given_column: Column) -> str | None:
        choices = Choices.of(["t.c"] if "(1)" in given_column.full_type else [])
        return default_for(given_column, rule_for(given_column, choices))

    assert of(column("int")) is None
    assert of(column("int", default="5")) == "'5'"
    assert of(column("tinyint", "tinyint(1)", default="1")) == "true"
    assert of(column("bit", precision=8, default="b'101'")) == "B'00000101'"
    assert of(column("varchar", length=9, default="it's")) == "'it''s'"
    assert of(column("binary", length=3, default="a")) == r"'\x610000'::bytea"
    now = column("timestamp", default="CURRENT_TIMESTAMP(6)", default_expression=True, fraction=6)
    assert of(now) == "CURRENT_TIMESTAMP(6)"
    with pytest.raises(Unsupported, match="zero date"):
        of(column("date", default="0000-00-00"))
    with pytest.raises(Unsupported, match="no rule for DEFAULT"):
        of(column("varchar", length=9, default="md5(_utf8mb4'x')", default_expression=True))


def test_settings_of_the_connectors() -> None:
    source = debezium_source_settings(Choices.of(["a.b", "c.d"]), "shop", ["e.f"])
    assert source["booleans.selector"] == r"shop\.a\.b|shop\.c\.d"
    assert source["column.exclude.list"] == r"shop\.e\.f"
    assert "converters" not in debezium_source_settings(NO_CHOICES, "shop")
    assert "snapshot.fetch.size" not in source
    assert sink_settings()["use.reduction.buffer"] == "true"


@BUSY
@given(st.text(min_size=1, max_size=9))
def test_quoted_names_end_where_they_must(name: str) -> None:
    assert mysql_name(name)[1:-1].replace("``", "") == name.replace("`", "")
    assert postgres_name(name)[1:-1].replace('""', "") == name.replace('"', "")


def test_zero_dates_are_null_where_null_may_be_and_refused_elsewhere() -> None:
    for kind in ("date", "datetime", "timestamp"):
        nullable, required = rule_for(column(kind)), rule_for(column(kind, nullable=False))
        assert nullable.codec.zero_is_null and nullable.notes and not nullable.refuse
        assert not required.codec.zero_is_null and required.refuse and not required.notes


def test_a_time_is_a_time_of_day_unless_it_is_chosen_to_be_an_interval() -> None:
    clock = rule_for(column("time", fraction=3))
    assert (clock.postgres, clock.codec.name) == ("time(3)", "time") and clock.refuse
    length = rule_for(column("time", fraction=3), Choices.of(intervals=["t.c"]))
    assert (length.postgres, length.codec.name) == ("interval", "interval") and not length.refuse
    longest = timedelta(hours=-838, minutes=-59, seconds=-59, microseconds=-500_000)
    assert length.from_debezium("-838:59:59.500000") == longest
    assert length.parameter(length.canonical(longest)) == longest


@BUSY
@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_floats_are_exact_unless_a_snapshot_rounded_them(number: float) -> None:
    exact, rounded = rule_for(column("float")), rule_for(column("float"), Choices.of(exact_floats=False))
    assert not exact.loses and rounded.loses
    assert exact.equal(exact.canonical(number), repr(number))
    assert float(exact.canonical(number)) == number or abs(number) < 1e-12 or abs(number) >= 1e30


def test_unique_keys_take_for_equal_what_mysql_does() -> None:
    def of(collation: str | None) -> tuple[str, str | None]:
        text = column("varchar", length=9, collation=collation)
        return unique_expression(text, '"c"'), collation_for(text)

    assert of(None) == ('"c"', None)
    assert of("utf8mb4_0900_bin") == ('"c"', None)
    assert of("utf8mb4_bin") == ("rtrim(\"c\", ' ')", None)
    assert of("utf8mb4_0900_as_cs") == ('"c"', None)
    assert of("utf8mb4_0900_ai_ci") == ('"c" COLLATE "zdm_ai_ci"', "zdm_ai_ci")
    assert of("utf8mb4_0900_as_ci") == ('"c" COLLATE "zdm_as_ci"', "zdm_as_ci")
    assert of("latin1_swedish_ci") == ("rtrim(\"c\", ' ') COLLATE \"zdm_ai_ci\"", "zdm_ai_ci")


def test_what_debezium_would_carry_as_another_value_is_refused() -> None:
    for kind, values in (("enum", ("a,b",)), ("enum", ("a\\b",)), ("set", ("a\\b", "c"))):
        with pytest.raises(Unsupported, match="comma or a backslash"):
            rule_for(column(kind, values=values))
    assert [meaning for _, meaning in rule_for(column("year")).refuse] == [
        "the year 0000, which Debezium carries as 1900 or 2000"
    ]
