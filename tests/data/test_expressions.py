"""MySQL's expressions in PostgreSQL's SQL: both databases compute the same from the same values, or it is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pymysql
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.expressions import condition, default, generated, stored, translate
from contract.operands import NoCounterpart
from contract.tables import Column
from contract.types import COLLATIONS, create_collation, operands, rule_for
from scripts.data import schema
from scripts.data.inspect import mysql_tables
from tests.data.conftest import Pair

NUMBERS = ("`i`", "`j`", "`d`", "`n`", "3", "0", "2.5", "(-7)")
TEXTS = ("`t`", "`p`", "'x'", "'a '", "_utf8mb4'it''s'", "''")
DATES = ("`day`", "`at`")

def conditions_of(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    compare = st.sampled_from(["=", "<>", "<", ">=", "<=>"])
    return st.one_of(
        st.builds("({} {} {})".format, inner, compare, inner),
        st.builds("({} between {} and {})".format, inner, inner, inner),
        st.builds("({} in ({},{}))".format, inner, inner, inner),
        st.builds("({} is null)".format, inner),
        st.builds("(({} > 1) or (`flag` and (not({} = 2))))".format, inner, inner),
        st.builds("(`t` {} {})".format, st.sampled_from(["=", "<>"]), st.sampled_from(["'X'", "'a '", "'é'", "`t`"])),
        st.builds("(`p` {} {})".format, st.sampled_from(["=", "<>"]), st.sampled_from(["'X'", "'a '", "'a'"])),
        st.builds("(`e` {} 'paid')".format, st.sampled_from(["=", "<>", "<=>"])),
        st.builds("(`day` {} '2024-02-29')".format, st.sampled_from(["=", "<", ">="])),
        st.builds("(`at` {} '2024-02-29 01:02:03')".format, st.sampled_from(["=", "<", ">="])),
    )


numbers = st.recursive(
    st.sampled_from(NUMBERS),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "%", "DIV"]), inner),
        st.builds("{}({})".format, st.sampled_from(["abs", "floor", "ceiling", "round", "-"]), inner),
        st.builds("round({},{})".format, inner, st.integers(0, 3)),
        st.builds("truncate({},{})".format, inner, st.integers(0, 3)),
        st.builds("coalesce({},{})".format, inner, inner),
        st.builds("ifnull({},{})".format, inner, inner),
        st.builds("nullif({},{})".format, inner, inner),
        st.builds("if({},{},{})".format, conditions_of(inner), inner, inner),
        st.builds("(case when {} then {} else {} end)".format, conditions_of(inner), inner, inner),
        st.builds("char_length({})".format, st.sampled_from(TEXTS)),
        st.builds("length({})".format, st.sampled_from(("`t`", "`p`"))),
        st.builds("{}({})".format, st.sampled_from(["year", "month", "dayofmonth"]), st.sampled_from(DATES)),
        st.builds("(case `e` when 'new' then {} when 'paid' then {} end)".format, inner, inner),
    ),
    max_leaves=5,
)
texts = st.recursive(
    st.sampled_from(TEXTS),
    lambda inner: st.one_of(
        st.builds("{}({})".format, st.sampled_from(["lower", "ucase", "trim", "ltrim", "rtrim"]), inner),
        st.builds("concat({},{})".format, inner, inner | st.sampled_from(["`i`", "`e`"])),
        st.builds("{}({},{})".format, st.sampled_from(["left", "right"]), inner, st.integers(0, 4)),
        st.builds("substr({},{},{})".format, inner, st.integers(1, 4), st.integers(0, 4)),
        st.builds("replace({},'a',{})".format, inner, inner),
        st.builds("coalesce({},{})".format, inner, inner),
        st.builds("json_unquote(json_extract(`doc`,'$.{}'))".format, st.sampled_from(["a", "b.c", "none"])),
    ),
    max_leaves=4,
)


@pytest.fixture
def same(pair: Pair) -> Any:
    """A function that has both databases compute an expression over the same rows; None where it is refused."""
    pair.on_source(
        "CREATE TABLE x (id INT PRIMARY KEY, i INT, j BIGINT UNSIGNED, d DECIMAL(10,3), n TINYINT NOT NULL, "
        "t VARCHAR(20), p VARCHAR(20) COLLATE utf8mb4_general_ci, e ENUM('new','paid'), day DATE, at DATETIME(3), "
        "doc JSON, flag TINYINT(1))",
        "INSERT INTO x VALUES (1, 5, 7, 2.345, 3, 'x', 'a ', 'new', '2024-02-29', '2024-02-29 01:02:03.500', "
        '\'{"a": "q", "b": {"c": 1.5}}\', 1), '
        "(2, -5, 0, -2.355, 0, 'É a', 'A', 'paid', '1999-12-31', '1999-12-31 23:59:59', '{\"a\": null}', 0), "
        "(3, NULL, NULL, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL), "
        "(4, 0, 2, 0.5, -1, '', 'É', 'new', '2024-03-01', '2024-02-29 01:02:03', '[1]', 1), "
        "(5, 7, 1, 99.999, 2, ' a ', '', 'paid', '2024-01-01', '2024-01-01', '{\"b\": {\"c\": [true]}}', 0)",
    )
    pair.booleans = ["x.flag"]
    tables = pair.make_tables()
    pair.copy(tables)
    pair.on_target(*(create_collation(name) for name in COLLATIONS))
    found = operands(tables[0].columns, pair.outputs.pipeline.choices)
    with pair.mysql() as my, pair.postgres() as pg, my.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")

        def values(expression: str) -> None:
            try:
                sql = translate(expression, found).sql
            except NoCounterpart:
                return
            try:
                cursor.execute(f"SELECT {expression} FROM x ORDER BY id")
            except pymysql.MySQLError as e:  # an overflow: no row can have such a value
                assert e.args[0] == 1690, expression
                return
            source = [plain(value) for (value,) in cursor.fetchall()]
            rows = pg.execute(f"SELECT {sql} FROM x ORDER BY id")
            assert [plain(value) for (value,) in rows] == source, f"{expression} became {sql}"

        yield values


def plain(value: Any) -> Any:
    return value.normalize() if isinstance(value, Decimal) else int(value) if isinstance(value, bool) else value


@pytest.mark.real
@given(st.lists(numbers | texts | conditions_of(numbers) | st.just("date(`at`)"), min_size=8, max_size=8))
@settings(settings.get_profile("databases"), max_examples=60)
def test_both_databases_compute_the_same(same: Any, expressions: list[str]) -> None:
    for expression in expressions:
        same(expression)


@pytest.mark.real
def test_a_generated_column_a_check_and_a_default_of_each_kind_are_taken(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE g (id INT PRIMARY KEY, i INT, d DECIMAL(10,2), t CHAR(8), e ENUM('a','b'), at DATETIME, "
        "doc JSON, g1 DECIMAL(12,2) AS (ROUND(d * i, 2)) STORED, g2 VARCHAR(40) AS (CONCAT(UPPER(t), ' ', e)) VIRTUAL, "
        "g3 CHAR(9) AS (CONCAT(t, ' ')), g4 INT AS (IF(i > 5, 1, NULL)) INVISIBLE, g5 DATE AS (DATE(at)), "
        "g6 INT AS (g4 + YEAR(at)), g7 VARCHAR(9) AS (doc->>'$.a'), g8 JSON AS (doc->'$.b'), g9 TINYINT(1) AS (i = 1), "
        "now DATETIME DEFAULT (NOW() + INTERVAL 1 DAY), raw BINARY(16) DEFAULT (UUID_TO_BIN(UUID())), "
        "day DATE DEFAULT (CURRENT_DATE), note TEXT DEFAULT (CONCAT('it''s', '\\\\')), "
        "CHECK (e IN ('a', 'b') AND i BETWEEN -9 AND 9), CHECK (at > '2000-01-01'))",
        "INSERT INTO g (id, i, d, t, e, at, doc) VALUES (1, 7, 1.25, 'ab', 'b', '2024-05-06 07:08:09', "
        '\'{"a": 1.50, "b": [1]}\'), (2, 1, -1.15, \'\', NULL, NULL, \'{"a": null}\')',
    )
    tables = pair.make_tables()
    pair.copy(tables)
    for stage in ("indexes", "constraints"):
        schema.run(pair, stage=stage, console=pair.console)  # type: ignore[arg-type]
        assert schema.run(pair, stage=stage, console=pair.console).changes == []  # type: ignore[arg-type]
    columns = "SELECT g1, g2, g3, g4, g5, g6, g7, CAST(g8 AS CHAR), g9, day FROM g ORDER BY id"
    source = pair.on_source(columns)
    assert pair.on_target(columns.replace("CAST(g8 AS CHAR)", "g8::text")) == source
    assert source[0][:4] == (Decimal("8.75"), "AB b", "ab", 1)
    ((note, raw),) = pair.on_target("INSERT INTO g (id) VALUES (3) RETURNING note, raw")
    assert (note, len(raw)) == ("it's\\", 16)


@pytest.mark.real
def test_what_is_refused_names_the_construct(pair: Pair) -> None:
    pair.on_source("CREATE TABLE x (a INT, f FLOAT, t VARCHAR(9), e ENUM('a','b'), s SET('a'), ts TIMESTAMP NULL)")
    with pair.mysql() as my:
        columns = mysql_tables(my, pair.name)[0].columns
    for expression, named in {
        "(`a` / 2)": "`a` / 2", "(`f` * 2)": "float as a number", "sin(`a`)": "SIN()", "(`t` like 'a%')": "LIKE",
        "(`t` < 'b')": "the order of text under utf8mb4_0900_ai_ci", "(`e` = 'A')": "ENUM", "(`s` = 'a')": "SET",
        "year(`ts`)": "YEAR() of other", "concat(`t`,`f`)": "CONCAT() of float", "count(`a`)": "COUNT()",
        "@x": "@x", "now()": "NOW()", "(`t` + 1)": "text as a number", "(`a` = 'x')": "number with text",
        "substr(`t`,-2)": "part of a text", "(`nix` + 1)": "the column nix", "`a` from `x`": "more than one",
        "cast(`a` as char(9))": "CAST() AS CHAR", "if(`t`,1,2)": "text as a truth value", "')": "cannot be read",
    }.items():  # fmt: skip
        with pytest.raises(NoCounterpart) as refused:
            condition(expression, operands(columns))
        assert named in str(refused.value), expression


def test_results_that_a_column_would_take_as_something_else_are_refused() -> None:
    a = Column("a", "int", "int", table="t")
    for kind, full, expression in (("varchar", "varchar(9)", "(`a` + 1)"), ("double", "double", "(`a` + 1)"),
                                   ("enum", "enum('a')", "'a'"), ("date", "date", "'2024-01-01'")):  # fmt: skip
        column = Column("c", kind, full, generated="stored", expression=expression, table="t")
        with pytest.raises(NoCounterpart):
            generated(column, rule_for(Column("c", kind, full, values=("a",))).postgres, operands([a]))
    with pytest.raises(NoCounterpart, match=r"RAND\(\)"):
        default(a, "integer", "rand()")


def test_expressions_are_escaped_once_more_in_the_information_schema() -> None:
    assert stored(r"concat(_utf8mb4\'it\\\'s \\\\ \\n\')") == r"concat(_utf8mb4'it\'s \\ \n')"
