"""Literals, conditions and cuts over the primary key select exactly the rows meant, in both databases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from contract.tables import Column, Table, mysql_name, postgres_name
from scripts.data.compare import Key, MySQL, Postgres, Rules, rules_of
from scripts.data.keyset import Bounds, _cuts, key_text, mysql_condition, mysql_literal, postgres_condition, split
from scripts.errors import ZdmError
from tests.data.conftest import Pair, converter


def rules(*columns: Column) -> Rules:
    return rules_of(Table("t", columns, tuple(column.name for column in columns)))


def column(name: str, full_type: str, **options: Any) -> Column:
    return Column(name, full_type.partition("(")[0].partition(" ")[0], full_type, nullable=False, table="t", **options)


A, B = column("a", "int"), column("b%`", "varchar(20)", length=20, collation="utf8mb4_0900_ai_ci")


def test_the_first_column_bounds_the_index_and_the_rest_is_exact() -> None:
    both = rules(A, B)
    assert mysql_condition(both, Bounds()) == "TRUE"
    assert mysql_condition(both, Bounds(("1",), ("2",))) == "`a` > 1 AND `a` <= 2"
    assert mysql_condition(both, Bounds(("-1", "x'"))) == (
        "`a` >= -1 AND ((`a` > -1) OR (`a` = -1 AND `b%``` > _utf8mb4 X'7827'))"
    )
    assert postgres_condition(both, Bounds(None, ("-1", "x'\\"))) == (
        "(\"a\", \"b%`\") <= ('-1'::integer, E'x''\\\\'::text)"
    )


def test_no_text_gets_out_of_its_literal() -> None:
    for kind in ("int", "datetime", "date", "decimal(9,2)"):
        one = column("c", kind, scale=2)
        (_, rule), = rules(one).key
        with pytest.raises((ValueError, ArithmeticError)):
            mysql_literal(one, rule, "1' OR 1=1 -- ")
    one = column("c", "binary(4)", length=4)
    with pytest.raises(ValueError):
        mysql_literal(one, rules(one).key[0][1], "zz")


def test_blobs_have_no_literal() -> None:
    one = column("c", "blob")
    with pytest.raises(ZdmError, match=r"t\.c is a BLOB"):
        mysql_literal(one, rules(one).key[0][1], "00")


@given(
    st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=300, unique=True).map(sorted), st.integers(2, 12)
)
@settings(deadline=None)
def test_cuts_balance_what_is_unevenly_spread(keys: list[int], parts: int) -> None:
    cuts = _cuts(keys[0], keys[-1], parts, lambda low, high: sum(low < key <= high for key in keys))
    assert cuts == sorted(set(cuts))
    ends = [keys[0] - 1, *cuts, keys[-1]]
    sizes = [sum(low < key <= high for key in keys) for low, high in pairwise(ends)]
    assert sum(sizes) == len(keys)
    assert len(sizes) <= 2 * parts
    assert max(sizes) <= 2.25 * len(keys) / parts + 2


# --- In the databases -------------------------------------------------------------------------------------------------

SMALL = st.text(st.sampled_from("aA'\\%_é😀\"` \u00df中z"), min_size=0, max_size=4)
DAY = st.dates().map(str)
MOMENT = st.datetimes().map(lambda value: value.isoformat(sep=" ", timespec="microseconds"))
KINDS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "tinyint": ("TINYINT", st.integers(-128, 127)),
    "unsigned": ("BIGINT UNSIGNED", st.integers(0, 2**64 - 1)),
    "zerofill": ("INT(6) ZEROFILL", st.integers(0, 2**32 - 1)),
    "decimal": ("DECIMAL(30,4)", st.decimals(-(10**20), 10**20, places=4)),
    "double": ("DOUBLE", st.floats(allow_nan=False, allow_infinity=False)),
    "float": ("FLOAT", st.floats(allow_nan=False, allow_infinity=False, width=32)),
    "bits": ("BIT(12)", st.integers(0, 4095)),
    "folded": ("VARCHAR(8) COLLATE utf8mb4_0900_ai_ci", SMALL),
    "padded": ("CHAR(8) COLLATE utf8mb4_general_ci", SMALL),
    "exact": ("VARCHAR(8) COLLATE utf8mb4_0900_bin", SMALL),
    "latin": ("VARCHAR(8) CHARACTER SET latin1", st.text(st.sampled_from("aé'\\%ß"), max_size=4)),
    "binary": ("BINARY(3)", st.binary(min_size=3, max_size=3)),
    "varbinary": ("VARBINARY(5)", st.binary(max_size=5)),
    "enum": ("ENUM('z','a','it''s','é')", st.sampled_from(["z", "a", "it's", "é"])),
    "set": ("SET('z','a','m')", st.sampled_from(["", "z", "a", "z,a", "m", "z,m", "z,a,m"])),
    "date": ("DATE", DAY),
    "datetime": ("DATETIME(6)", MOMENT),
    "timestamp": ("TIMESTAMP(6)", st.datetimes(datetime(1970, 1, 2), datetime(2038, 1, 1))),
    "year": ("YEAR", st.integers(1901, 2155)),
    "time": ("TIME(6)", st.times().map(str)),
}


KEYS: dict[str, tuple[str, ...]] = {
    **{kind: (kind,) for kind in KINDS},
    "number and text": ("tinyint", "folded"),
    "text and number and enum": ("folded", "tinyint", "enum"),
    "date and binary%": ("date", "binary", "decimal"),
}
"""Tables by their keys."""


@dataclass
class Both:
    """A table in both databases."""

    my: MySQL
    pg: Postgres
    rules: Rules

    def fill(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """New rows on both sides; what MySQL takes for equal is one."""
        name, columns = self.rules.table.name, self.rules.columns
        with self.my.cursor() as cursor:
            cursor.execute(f"DELETE FROM {mysql_name(name)}")
            places = ", ".join(["%s"] * len(columns))
            cursor.executemany(f"INSERT IGNORE INTO {mysql_name(name)} VALUES ({places})".replace("y%`", "y%%`"), rows)
            cursor.execute(f"SELECT * FROM {mysql_name(name)}")
            convert = [converter(rule.postgres) for _, rule in columns]
            self.pg.execute(f"TRUNCATE {postgres_name(name)}".encode())
            with self.pg.cursor().copy(f"COPY {postgres_name(name)} FROM STDIN".encode()) as copy:
                for row in cursor.fetchall():
                    copy.write_row([f(value) for f, value in zip(convert, row, strict=True)])

    def in_order(self) -> list[Key]:
        """All keys as MySQL orders them, from its own texts."""
        names = [mysql_name(column.name) for column, _ in self.rules.key]
        texts = [
            name
            if rule.codec.name.startswith("bit") or rule.codec.name == "bytea"
            else f"CAST({rule.mysql_text.format(name)} AS BINARY)"  # a mere cast to CHAR would cut the digits
            if rule.codec.name.startswith("float")
            else f"CAST(CAST({rule.mysql_read.format(name)} AS CHAR CHARACTER SET utf8mb4) AS BINARY)"
            for name, (_, rule) in zip(names, self.rules.key, strict=True)
        ]
        return [
            tuple(key_text(column, rule, value) for (column, rule), value in zip(self.rules.key, row, strict=True))
            for row in self.source(f"SELECT {', '.join(texts)} FROM {{}} ORDER BY {', '.join(names)}")
        ]

    def source(self, sql: str) -> Sequence[tuple[Any, ...]]:
        with self.my.cursor() as cursor:
            cursor.execute(sql.format(mysql_name(self.rules.table.name)))
            return cursor.fetchall()

    def on_source(self, bounds: Bounds) -> set[Key]:
        texts = ", ".join(rule.mysql_text.format(mysql_name(column.name)) for column, rule in self.rules.key)
        where = mysql_condition(self.rules, bounds).replace("{", "{{").replace("}", "}}")
        rows = self.source(f"SELECT {texts} FROM {{}} FORCE INDEX (PRIMARY) WHERE {where}")
        return {tuple(v.decode() if isinstance(v, bytes) else str(v) for v in row) for row in rows}

    def on_target(self, bounds: Bounds) -> set[Key]:
        texts = ", ".join(rule.postgres_text.format(postgres_name(column.name)) for column, rule in self.rules.key)
        where = postgres_condition(self.rules, bounds)
        sql = f"SELECT {texts} FROM {postgres_name(self.rules.table.name)} WHERE {where}"
        return {tuple(map(str, row)) for row in self.pg.execute(sql.encode())}


@pytest.fixture
def keyed(pair: Pair) -> Iterator[dict[str, Both]]:
    """An empty table for each of `KEYS`."""
    for table, kinds in KEYS.items():
        names = [mysql_name(f"k%{i}") for i in range(len(kinds))]
        columns = ", ".join(f"{name} {KINDS[kind][0]} NOT NULL" for name, kind in zip(names, kinds, strict=True))
        pair.on_source(f"CREATE TABLE {mysql_name(table)} ({columns}, PRIMARY KEY ({', '.join(names)}))")
    with pair.mysql() as my, pair.postgres() as pg:
        yield {table.name: Both(my, pg, rules_of(table)) for table in pair.make_tables()}


@pytest.mark.real
def test_bounds_select_the_same_rows_in_both_databases(keyed: dict[str, Both]) -> None:
    @given(st.data())
    @settings(settings.get_profile("databases"), max_examples=8, phases=[Phase.generate])
    def check(data: st.DataObject) -> None:
        for name, both in keyed.items():
            values = st.tuples(*(KINDS[kind][1] for kind in KEYS[name]))
            both.fill(data.draw(st.lists(values, min_size=2, max_size=12), name))
            keys = both.in_order()
            after, upto = data.draw(st.tuples(*[st.integers(0, len(keys) - 1)] * 2), name)
            ordered = all(rule.ordered for _, rule in both.rules.key)
            for bounds, wanted in (
                (Bounds(), keys),
                (Bounds(keys[after]), keys[after + 1 :]),
                (Bounds(None, keys[upto]), keys[: upto + 1]),
                (Bounds(keys[after], keys[upto]), keys[after + 1 : upto + 1]),
            ):
                assert both.on_source(bounds) == set(wanted), name
                assert not ordered or both.on_target(bounds) == set(wanted), name
            beginning = Bounds(None, keys[upto][:1])
            assert both.on_source(beginning) >= set(keys[: upto + 1]), name
            assert not ordered or both.on_target(beginning) == both.on_source(beginning), name

    check()


@pytest.mark.real
def test_segments_have_every_row_once_and_are_of_similar_size(pair: Pair) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
    pair.on_source(
        "CREATE TABLE even (id BIGINT PRIMARY KEY)",
        f"INSERT INTO even {numbers} SELECT i * 3 - 1000 FROM n",
        "CREATE TABLE uneven (id BIGINT UNSIGNED, line INT, PRIMARY KEY (id, line))",
        f"INSERT INTO uneven {numbers} SELECT IF(i = 999, 18446744073709551615, i DIV 3), i MOD 3 FROM n",
        "CREATE TABLE days (day DATETIME(3) PRIMARY KEY)",
        f"INSERT INTO days {numbers} SELECT '2024-01-01' + INTERVAL i HOUR FROM n",
        "CREATE TABLE prices (p DECIMAL(20,6) PRIMARY KEY)",
        f"INSERT INTO prices {numbers} SELECT i / 7 - 50 FROM n",
        "CREATE TABLE uuids (u BINARY(16) PRIMARY KEY)",
        f"INSERT INTO uuids {numbers} SELECT UNHEX(LEFT(SHA2(i, 256), 32)) FROM n",
        "CREATE TABLE words (w VARCHAR(40) PRIMARY KEY)",
        f"INSERT INTO words {numbers} SELECT CONCAT('w', i) FROM n",
        "CREATE TABLE none (id INT PRIMARY KEY)",
        "ANALYZE TABLE even, uneven, days, prices, uuids, words, none",
    )
    pair.copy(pair.make_tables())
    for table in pair.make_tables():
        found = rules_of(table)
        with pair.mysql() as my:
            segments = split(my, found, 4)
            assert split(my, found, 1) == [Bounds()]
        assert segments[0].after is None and segments[-1].upto is None
        assert [one.upto for one in segments[:-1]] == [one.after for one in segments[1:]]
        source = count(pair.on_source, "`{}`", table.name, [mysql_condition(found, one) for one in segments])
        if table.name in ("words", "none"):
            assert segments == [Bounds()]
            continue
        assert source == count(pair.on_target, '"{}"', table.name, [postgres_condition(found, one) for one in segments])
        assert sum(source) == 1000
        assert 3 <= len(segments) <= 8 and max(source) <= 500, (table.name, source)


def count(execute: Any, quoted: str, table: str, conditions: list[str]) -> list[int]:
    return [execute(f"SELECT COUNT(*) FROM {quoted.format(table)} WHERE {where}")[0][0] for where in conditions]


@pytest.mark.real
def test_a_condition_is_read_from_the_index(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE t (a INT, e ENUM('z','a'), w VARCHAR(20), v TEXT, PRIMARY KEY (a, e, w))",
        "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999) "
        "SELECT i DIV 10, 'a', i, REPEAT('v', 200) FROM n",
        "ANALYZE TABLE t",
    )
    table = rules_of(pair.make_tables()[0])
    where = mysql_condition(table, Bounds(("95", "z", "x")))
    (plan,) = pair.on_source(
        f"EXPLAIN FORMAT=TRADITIONAL SELECT * FROM t FORCE INDEX (PRIMARY) WHERE {where} ORDER BY a, e, w LIMIT 10"
    )
    assert "range" in plan and "PRIMARY" in plan and "filesort" not in str(plan[-1])
    assert any(str(value).isdigit() and 1 < int(value) <= 100 for value in plan), plan


def test_negative_decimals_keep_their_digits() -> None:
    one = column("c", "decimal(20,6)", precision=20, scale=6)
    ((_, rule),) = rules(one).key
    assert key_text(one, rule, b"-0.500000") == "-0.500000"
    assert mysql_literal(one, rule, str(Decimal("-12.340000"))) == "-12.340000"
