"""data-check and validate-counts find every planted difference, and nothing else; also while rows change."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from scripts.data import check, counts
from scripts.data.compare import compare_keys, key_of
from scripts.errors import ZdmError
from tests.data.conftest import Pair

pytestmark = pytest.mark.real

ROWS = 500


@pytest.fixture(params=["stream", "hash"])
def method(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def filled(pair: Pair) -> Pair:
    """Keys of three kinds: unsigned numbers, two columns, and text."""
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)"
    pair.on_source(
        "CREATE TABLE orders "
        "(id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, a VARCHAR(20), b VARCHAR(20), n DECIMAL(9,2))",
        f"INSERT INTO orders {numbers} SELECT i, CONCAT('a', i), CONCAT('b', i), i / 7 FROM n",
        "CREATE TABLE items (o INT, line SMALLINT, v VARCHAR(20), PRIMARY KEY (o, line))",
        f"INSERT INTO items {numbers} SELECT i DIV 7, i MOD 7, CONCAT('v', i) FROM n",
        "CREATE TABLE words (w VARCHAR(40) PRIMARY KEY, n INT) COLLATE utf8mb4_0900_ai_ci",
        f"INSERT INTO words {numbers} SELECT CONCAT(IF(i MOD 2, 'Ä', 'z'), i, '%s'), i FROM n",
    )
    pair.copy(pair.make_tables())
    return pair


def run(pair: Pair, **options: Any) -> check.CheckResult:
    given = {"patience": 0.2, "chunk": 60, "console": pair.console} | options
    return check.run(pair, **given)  # type: ignore[arg-type]


def found(result: check.CheckResult) -> set[tuple[str, tuple[str, ...], str]]:
    return {(d.table, d.key, d.kind) for d in result.differences}


def test_equal_tables_are_equal(filled: Pair, method: Any) -> None:
    result = run(filled, method=method)
    assert result.verdict == "equal"
    seen = {t.table: (t.source_rows, t.target_rows, t.suspects) for t in result.tables}
    assert seen == dict.fromkeys(("items", "orders", "words"), (ROWS, ROWS, 0))
    assert all(table.chunks > 5 for table in result.tables if table.table != "words")


def test_every_planted_difference_is_found(filled: Pair, method: Any) -> None:
    filled.on_target(
        "UPDATE orders SET n = n + 0.01 WHERE id = 77",
        "DELETE FROM orders WHERE id = 200",
        "INSERT INTO orders (id, a) VALUES (9999, 'new')",
        "UPDATE orders x SET a = y.a FROM orders y WHERE (x.id, y.id) IN ((5, 6), (6, 5))",
        "UPDATE orders SET a = b, b = a WHERE id = 300",
        "UPDATE items SET v = v || ' ' WHERE o = 3 AND line = 4",
        "UPDATE words SET n = NULL WHERE w = 'Ä1%s'",
        "UPDATE words SET w = lower(w) WHERE w = 'Ä3%s'",
    )
    result = run(filled, method=method)
    assert not result.ok
    assert found(result) == {
        ("orders", ("77",), "changed"),
        ("orders", ("200",), "missing"),
        ("orders", ("9999",), "extra"),
        ("orders", ("5",), "changed"),
        ("orders", ("6",), "changed"),
        ("orders", ("300",), "changed"),
        ("items", ("3", "4"), "changed"),
        ("words", ("Ä1%s",), "changed"),
        ("words", ("Ä3%s",), "missing"),
        ("words", ("ä3%s",), "extra"),
    }
    columns = {d.key: [(c.column, c.source, c.target) for c in d.columns] for d in result.differences}
    assert columns["77",] == [("n", "11.00", "11.01")]
    assert columns["300",] == [("a", "a300", "b300"), ("b", "b300", "a300")]
    assert result.to_json()["mismatches"] == 10


def test_rows_before_the_first_and_after_the_last_are_seen(filled: Pair, method: Any) -> None:
    filled.on_target("INSERT INTO items VALUES (-5, 1, 'x'), (10000, 1, 'y')")
    assert found(run(filled, method=method)) == {("items", ("-5", "1"), "extra"), ("items", ("10000", "1"), "extra")}


def test_only_the_tables_named(filled: Pair) -> None:
    filled.on_target("DELETE FROM orders")
    assert run(filled, tables=["items", "words"]).ok


def test_rows_that_are_only_late_are_equal(filled: Pair, method: Any) -> None:
    """The source moves on all the time, the target follows a little later: nothing is a mismatch."""
    over = threading.Event()

    def follow() -> None:
        with filled.mysql() as my, filled.postgres() as pg, my.cursor() as cursor:
            while not over.is_set():
                for key in range(1, 60, 7):
                    cursor.execute("UPDATE orders SET n = n + 1 WHERE id = %s", (key,))
                time.sleep(0.03)
                for key in range(1, 60, 7):
                    pg.execute("UPDATE orders SET n = n + 1 WHERE id = %s", (key,))
                over.wait(0.3)

    def settle() -> None:
        time.sleep(0.1)  # what the stand-in of CDC above needs at most

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        results = [run(filled, method=method, settle=settle) for _ in range(4)]
        filled.on_target("UPDATE orders SET a = 'wrong' WHERE id = 400")
        last = run(filled, method=method, settle=settle)
    finally:
        over.set()
        thread.join()
    assert [result.mismatches for result in results] == [0, 0, 0, 0]
    assert found(last) == {("orders", ("400",), "changed")}


def test_rows_newer_on_the_target_are_counted_apart(filled: Pair, method: Any) -> None:
    filled.on_target("UPDATE orders SET n = 0 WHERE id IN (1, 2)")

    def expected(_: object, __: object, keys: Sequence[tuple[str, ...]]) -> list[tuple[str, ...]]:
        return [key for key in keys if key == ("1",)]

    result = run(filled, method=method, expected=expected)
    assert found(result) == {("orders", ("2",), "changed")}
    assert {t.table: t.newer for t in result.tables}["orders"] == 1


def test_a_row_that_cannot_be_hashed_is_an_error(filled: Pair) -> None:
    filled.on_source("ALTER TABLE items ADD x TEXT", "UPDATE items SET x = REPEAT('x', 30000) WHERE o = 3 AND line = 4")
    filled.on_target("ALTER TABLE items ADD x text")
    [(usual,)] = filled.on_source("SELECT @@GLOBAL.max_allowed_packet")
    try:
        filled.on_source("SET GLOBAL max_allowed_packet = 16384")
        with pytest.raises(ZdmError, match="max_allowed_packet"):
            run(filled, tables=["items"], method="hash")
    finally:
        filled.on_source(f"SET GLOBAL max_allowed_packet = {usual}")


def test_the_marker_is_set_before_the_first_row_is_read(filled: Pair) -> None:
    result = run(filled, marker=lambda: filled.on_target("UPDATE orders SET n = 0 WHERE id = 9") or {"topic": 1})
    assert result.started == {"topic": 1}
    assert found(result) == {("orders", ("9",), "changed")}


def test_keys_of_topics_are_the_keys_of_rows(filled: Pair) -> None:
    from scripts.data.inspect import mysql_tables

    with filled.mysql() as my, filled.postgres() as pg:
        tables = {table.name: table for table in mysql_tables(my, filled.name)}
        filled.on_target("UPDATE orders SET n = 0 WHERE id = 300")
        key = key_of(tables["orders"], {"id": "ASw="})
        assert key == ("300",)
        assert [d.key for d in compare_keys(my, pg, tables["orders"], [key, (299,), ("301",)])] == [("300",)]
        assert compare_keys(my, pg, tables["items"], [(3, 4), (99999, 1)]) == []


def test_counts(filled: Pair) -> None:
    assert counts.run(filled, console=filled.console).ok  # type: ignore[arg-type]
    filled.on_target("DELETE FROM items WHERE o = 1")
    result = counts.run(filled, console=filled.console, patience=0.1)  # type: ignore[arg-type]
    assert [(c.table, c.status) for c in result.counts] == [
        ("items", "different"), ("orders", "equal"), ("words", "equal"),
    ]  # fmt: skip
    sql = (filled.home / "validate_counts.mysql.sql").read_text()
    assert dict(filled.on_source(sql)) == result.source
    assert dict(filled.on_target((filled.home / "validate_counts.postgres.sql").read_text())) == result.target
    moving = counts.Count("t", source=5, target=6, again=7)
    assert moving.status == "moving"


@pytest.mark.parametrize("streams", [1, 3])
def test_keys_with_gaps_and_crowds_are_cut_well(filled: Pair, streams: int) -> None:
    """What one chunk's density says of the next is wrong again and again here."""
    ids = [*range(1, 4000), *range(10**6, 10**9, 10**6), *range(10**12, 10**12 + 4000), -(10**15), 2**63 - 1]
    filled.on_source("CREATE TABLE scattered (id BIGINT PRIMARY KEY, n INT NOT NULL)")
    filled.on_target("CREATE TABLE scattered (id bigint PRIMARY KEY, n integer NOT NULL)")
    with filled.mysql() as my, my.cursor() as cursor:
        cursor.executemany("INSERT INTO scattered VALUES (%s, 1)", [(i,) for i in ids])
        cursor.execute("ANALYZE TABLE scattered")
    with filled.postgres() as pg, pg.cursor() as cursor, cursor.copy("COPY scattered FROM STDIN") as copy:
        for i in ids:
            copy.write_row((i, 1))
    filled.on_target("UPDATE scattered SET n = 2 WHERE id IN (3999, 1000000000002, 9223372036854775807)")
    result = run(filled, tables=["scattered"], method="hash", chunk=300, connections=streams)
    assert found(result) == {
        ("scattered", (key,), "changed") for key in ("3999", "1000000000002", "9223372036854775807")
    }
    assert result.rows == len(ids)
