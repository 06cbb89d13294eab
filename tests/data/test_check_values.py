"""Random rows with a random change, values that the target cannot hold, and where a table of text keys is cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.data import check
from scripts.data.check_ranges import cut
from scripts.data.check_result import CheckResult
from scripts.data.compare import source_rows
from scripts.data.inspect import mysql_tables
from scripts.data.rules import rules_of
from tests.data.conftest import Pair
from tests.data.test_values import ROW, TYPES

pytestmark = pytest.mark.real


def run(pair: Pair, method: Any, **options: Any) -> CheckResult:
    given = {"console": pair.console, "method": method, "patience": 0, "connections": 1} | options
    return check.run(pair, **given)  # type: ignore[arg-type]


@pytest.fixture
def typed(pair: Pair) -> Pair:
    columns = ", ".join(f"`{name}` {kind}" for name, (kind, _) in TYPES.items())
    pair.on_source(f"CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, {columns})")
    pair.booleans = ["t.flag"]
    pair.copied_by = "debezium"  # as the driver reads FLOATs: what MySQL prints
    pair.make_tables()
    return pair


@given(rows=st.lists(ROW, min_size=2, max_size=6), data=st.data())
@settings(settings.get_profile("databases"))
def test_any_change_of_a_random_row_is_found(typed: Pair, rows: list[dict[str, Any]], data: st.DataObject) -> None:
    with typed.mysql() as my, my.cursor() as cursor:
        table = mysql_tables(my, typed.name)[0]
        rules = rules_of(table, typed.pipeline.choices)
        cursor.execute("DELETE FROM t")
        names = ", ".join(f"`{name}`" for name in ("id", *TYPES))
        marks = ", ".join(["%s"] * (len(TYPES) + 1))
        values = [(i, *(row[name] for name in TYPES)) for i, row in enumerate(rows)]
        cursor.executemany(f"INSERT INTO t ({names}) VALUES ({marks})", values)
        typed.copy([table])
        before = source_rows(my, rules, keys := [(str(i),) for i in range(len(rows))])
        for _ in range(3):
            place, column = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.sampled_from(sorted(TYPES)))
            value = data.draw(st.none() | TYPES[column][1])
            cursor.execute(f"UPDATE t SET `{column}` = %s WHERE id = %s", (value, place))
        after = source_rows(my, rules, keys)
    expected = {
        key: {
            column.name
            for (column, rule), a, b in zip(rules.columns, before[key], after[key], strict=True)
            if a != b and (a is None or b is None or not rule.equal(a, b))
        }
        for key in keys
    }
    for method in ("stream", "hash"):
        found = {d.key: {c.column for c in d.columns} for d in run(typed, method).differences}
        assert found == {key: columns for key, columns in expected.items() if columns}, method


POISONS = {
    "text": ("VARCHAR(20) NOT NULL", "'a\\0b'", "'a'", "NUL"),
    "day": ("DATE NOT NULL", "'0000-00-00'", "'2024-01-01'", "zero"),
    "part": ("DATETIME(3) NOT NULL", "'2024-00-15'", "'2024-01-01'", "zero"),
    "flag": ("TINYINT(1) NOT NULL", "2", "true", "0 and 1"),
    "hours": ("TIME NOT NULL", "'-01:00:00'", "'01:00'", "one day"),
    "member": ("ENUM('a','b') NOT NULL", "''", "'a'", "empty"),
    "doc": ("JSON NOT NULL", "'{\"k\": \"\\\\u0000\"}'", "'1'", "U+0000"),
}
"""Column: type, a value that the target cannot have, what the target has instead, and a word of the reason."""


def test_values_that_the_target_cannot_hold_are_named(pair: Pair) -> None:
    columns = ", ".join(f"{name} {kind}" for name, (kind, *_) in POISONS.items())
    good = {"text": "'a'", "day": "'2024-01-01'", "part": "'2024-01-01'", "flag": "1", "hours": "'01:00'"}
    good |= {"member": "'a'", "doc": "'1'"}
    rows = [{**good, name: value} for name, (_, value, *_) in POISONS.items()]
    pair.booleans = ["t.flag"]
    pair.on_source(f"CREATE TABLE t (id INT PRIMARY KEY, {columns})")
    pair.make_tables()
    pair.on_source(
        "SET SESSION sql_mode = ''",
        *(f"INSERT INTO t VALUES ({i}, {', '.join(row.values())})" for i, row in enumerate([*rows, good])),
    )
    pair.on_target(
        f"INSERT INTO t SELECT i, {', '.join(value for _, _, value, _ in POISONS.values())} "
        f"FROM generate_series(1, {len(POISONS)}) i"  # the first one is missing
    )
    for method in ("stream", "hash"):
        result = run(pair, method)
        told = {d.key: (d.kind, *[(r.column, r.reason) for r in d.refused]) for d in result.differences}
        assert len(told) == len(POISONS)
        for i, (name, (*_, word)) in enumerate(POISONS.items()):
            kind, (column, reason) = told[str(i),]
            assert (kind, column) == ("poisoned", name) and word in reason, (method, name)


def test_keys_that_the_target_cannot_have(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE days (d DATE PRIMARY KEY, n INT)", "CREATE TABLE words (w VARCHAR(20) PRIMARY KEY, n INT)"
    )
    pair.make_tables()
    pair.on_source(
        "SET SESSION sql_mode = ''",
        "INSERT INTO days VALUES ('0000-00-00', 1), ('2024-00-15', 2), ('2024-01-15', 3)",
        "INSERT INTO words VALUES ('a', 1), ('b\\0', 2), ('c', 3)",
    )
    pair.on_target(
        "INSERT INTO days VALUES ('2024-01-15', 3), ('infinity', 4)", "INSERT INTO words VALUES ('a', 1), ('c', 4)"
    )
    for method in ("stream", "hash"):
        for chunk in (1, 100):
            result = run(pair, method, chunk=chunk)
            assert {(d.table, d.key, d.kind) for d in result.differences} == {
                ("days", ("0000-00-00",), "poisoned"),
                ("days", ("2024-00-15",), "poisoned"),
                ("days", ("infinity",), "extra"),
                ("words", ("b\0",), "poisoned"),
                ("words", ("c",), "changed"),
            }, (method, chunk)
            assert "\0" not in str(result.to_json()) and "\\\\0" in str(result.to_json())


def test_tables_of_text_keys_are_cut_by_statistics(pair: Pair) -> None:
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)"
    pair.on_source(
        "CREATE TABLE words (w VARCHAR(40) COLLATE utf8mb4_0900_ai_ci, n INT, PRIMARY KEY (w, n))",
        f"INSERT INTO words {numbers} SELECT CONCAT(ELT(1 + i % 3, 'Ä', 'a', 'Z'), LEFT(SHA2(i % 97, 224), 6)), i "
        "FROM n",
    )
    (table,) = pair.make_tables()
    pair.copy([table])
    rules = rules_of(table)
    with pair.mysql() as my, pair.postgres() as pg:
        assert len(cut(my, pg, rules, 4)) == 1, "there are no statistics yet"
        pg.execute("ANALYZE words")
        found = cut(my, pg, rules, 4)
        assert len(found) > 1 and found[0].after is None and found[-1].upto is None
        for method in ("stream", "hash"):
            pair.on_target("UPDATE words SET n = -n WHERE n = 77")
            result = run(pair, method, ranges={"words": found}, connections=2, chunk=100)
            assert {d.kind for d in result.differences} == {"missing", "extra"} and result.mismatches == 2
            assert result.tables[0].source_rows == result.tables[0].target_rows == 900
            pair.on_target("UPDATE words SET n = -n WHERE n = -77")
