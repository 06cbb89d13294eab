"""copy: every value arrives, once, whatever the key and whoever is killed; what cannot arrive is named."""

from __future__ import annotations

import json
import random
import re
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql.err
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import rows
from scripts.data import check, copy, copy_plan, copy_stream, counts
from scripts.data.copy_stream import Size
from scripts.data.throttle import Throttle
from scripts.errors import UsageError
from tests.data.any_table import AnyTable, any_tables
from tests.data.conftest import Pair

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
EVERY_TYPE = Path(__file__).with_name("every_type.sql")
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {})"


def run(pair: Pair, **options: Any) -> copy.CopyResult:
    given = {"without_capture": True, "console": pair.console} | options
    return copy.run(pair, **given)  # type: ignore[arg-type]


def require_equal(pair: Pair) -> None:
    """Every row is the same on both sides, by SQL that the copy does not use."""
    result = check.run(pair, console=pair.console, patience=0.2, method="hash")  # type: ignore[arg-type]
    assert result.verdict == "equal", result.differences


@pytest.fixture(params=["native", "plain"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With the native core and without."""
    if request.param == "plain":
        monkeypatch.setattr(rows, "available", lambda: False)
    elif not rows.available():
        pytest.skip("needs the native core")
    return str(request.param)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small queries and portions, and many segments, also of small tables."""
    for name, value in SMALL.items():
        monkeypatch.setattr(copy_stream, name, value)
    monkeypatch.setattr(copy_plan, "PART_BYTES", 1 << 12)


SMALL = {"FIRST_ROWS": 5, "MOST_ROWS": 40, "QUERY_BYTES": 20_000, "PORTION_BYTES": 60_000}


# --- values -----------------------------------------------------------------------------------------------------------


def test_every_type_arrives(pair: Pair, way: str) -> None:
    pair.booleans, pair.intervals = ["numbers.flag"], ["moments.span", "moments.span6"]
    statements = re.split(r";\n", re.sub(r"(?m)^--.*\n", "", EVERY_TYPE.read_text()))
    pair.on_source(*(statement for statement in statements if statement.strip()))
    pair.make_tables()
    result = run(pair)
    assert result.ok and result.native is (way == "native")
    assert {t.table: t.rows for t in result.tables} == counts.count(pair, [t.table for t in result.tables]).source  # type: ignore[arg-type]
    require_equal(pair)


def test_any_table_arrives(pair: Pair, way: str) -> None:
    @given(any_tables(most=30))
    @settings(settings.get_profile("databases"), max_examples=4, phases=[Phase.generate])
    def arrives(table: AnyTable) -> None:
        pair.booleans, pair.intervals = table.chosen("booleans"), table.chosen("intervals")
        pair.on_target("DROP TABLE IF EXISTS t", "DROP SCHEMA IF EXISTS zdm CASCADE")
        pair.on_source("DROP TABLE IF EXISTS t", table.ddl)
        with pair.mysql() as my, my.cursor() as cursor:
            cursor.executemany(table.insert, table.rows)
        pair.make_tables()
        assert run(pair).ok
        require_equal(pair)

    arrives()


def test_keys_of_every_kind(pair: Pair, way: str, small: None) -> None:
    """Rows are read by ever new queries, behind the last key of the one before."""
    numbers = NUMBERS.format(399)
    pair.on_source(
        "CREATE TABLE negative (id INT PRIMARY KEY, v VARCHAR(300))",
        f"INSERT INTO negative {numbers} SELECT 200 - i, REPEAT('v', i % 300) FROM n",
        "CREATE TABLE parts (a SMALLINT, b VARCHAR(20), c DATE, v INT, PRIMARY KEY (a, b, c)) "
        "COLLATE utf8mb4_0900_ai_ci",
        f"INSERT INTO parts {numbers} SELECT i % 3 - 1, CONCAT(ELT(1 + i % 4, 'Ä', 'b', 'B%', 'z'), i DIV 12), "
        "'2024-01-01' + INTERVAL i DAY, i FROM n",
        "CREATE TABLE `words %s` (w VARCHAR(40) COLLATE utf8mb4_general_ci PRIMARY KEY, v INT)",
        f"INSERT INTO `words %s` {numbers} "
        "SELECT CONCAT(ELT(1 + i % 5, 'it''s ', '\\\\', '😀', '%', '\"'), i), i FROM n",
        "CREATE TABLE uuids (u BINARY(16) PRIMARY KEY, v INT)",
        f"INSERT INTO uuids {numbers} SELECT UNHEX(LEFT(SHA2(i, 256), 32)), i FROM n",
        "CREATE TABLE prices (p DECIMAL(12,4) PRIMARY KEY, v INT)",
        f"INSERT INTO prices {numbers} SELECT i / 7 - 30, i FROM n",
        "CREATE TABLE floats (f FLOAT, d DOUBLE, PRIMARY KEY (f, d))",
        f"INSERT INTO floats {numbers} SELECT -1.1754943508222875e-38 * POW(1.5, i), i / 3 FROM n",
        "CREATE TABLE kinds (e ENUM('z','a','m'), s SET('x','y'), i INT, PRIMARY KEY (e, s, i))",
        f"INSERT INTO kinds {numbers} SELECT 1 + i % 3, i % 4, i FROM n",
        "CREATE TABLE doubled (n INT, twice INT AS (n + n) STORED, PRIMARY KEY (twice))",
        f"INSERT INTO doubled (n) {numbers} SELECT i FROM n",
        "CREATE TABLE none (id INT PRIMARY KEY)",
        "ANALYZE TABLE negative, parts, `words %s`, uuids, prices, floats, kinds, doubled, none",
    )
    pair.make_tables()
    result = run(pair, streams=3)
    assert result.ok
    assert all(t.rows == (0 if t.table == "none" else 400) for t in result.tables), result.tables
    cut = {t.table for t in result.tables if t.segments > 1}
    assert cut >= {"negative", "uuids", "prices"} and "none" not in cut
    floats = (pair.on_source("SELECT CAST(f AS DOUBLE), d FROM floats"), pair.on_target("SELECT f, d FROM floats"))
    assert len({(struct.pack("f", f), d) for side in floats for f, d in side}) == 400
    pair.tables = [t.table for t in result.tables if t.table != "floats"]  # whose texts MySQL cuts off at 22 characters
    require_equal(pair)


def test_rows_that_grow_wide_end_a_query_early(pair: Pair, way: str, small: None) -> None:
    pair.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, v LONGTEXT)",
        f"INSERT INTO t {NUMBERS.format(299)} SELECT i, REPEAT('x', IF(i < 200, 1, 150000)) FROM n",
    )
    pair.make_tables()
    result = run(pair, streams=1)
    assert result.rows == 300
    require_equal(pair)


def test_rows_of_many_megabytes_in_little_memory(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE wide (id INT PRIMARY KEY, b LONGBLOB, t LONGTEXT)",
        "INSERT INTO wide VALUES (1, REPEAT(X'00FF', 20000000), 'a'), (2, NULL, REPEAT('ä', 20000000)), (3, 'b', '')",
    )
    pair.make_tables()
    result = json.loads(subprocess.run(driver(pair), capture_output=True, text=True, check=True).stdout)
    assert result["rows"] == 3
    assert result["megabytes"] < 300
    assert pair.on_source("SELECT id, SHA2(b, 256), SHA2(t, 256) FROM wide ORDER BY id") == pair.on_target(
        "SELECT id, encode(sha256(b), 'hex'), encode(sha256(convert_to(t, 'UTF8')), 'hex') FROM wide ORDER BY id"
    )


def driver(pair: Pair, **constants: Any) -> list[str]:
    """A command that copies in a process of its own, and prints the result and its peak memory (not `ru_maxrss`, where
    that of the process that started it lives on)."""
    code = f"""
import json
from pathlib import Path
from scripts.console import Console
from scripts.data import copy, copy_plan, copy_stream
from tests.data.conftest import Pair
for name, value in {constants!r}.items():
    setattr(copy_stream, name, value)
copy_plan.PART_BYTES = {1 << 14 if constants else copy_plan.PART_BYTES}
pair = Pair({pair.source!r}, {pair.target!r}, {pair.name!r}, Path({str(pair.home)!r}))
result = copy.run(pair, without_capture=True, console=Console(quiet=True))
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM:")) / 1024
print(json.dumps(result.to_json() | {{"megabytes": peak}}))
"""
    return [sys.executable, "-c", code]


# --- what cannot arrive -----------------------------------------------------------------------------------------------


def test_poisoned_rows_are_named_and_all_others_arrive(pair: Pair, way: str) -> None:
    pair.booleans = ["b.v"]
    kinds = {
        "zero_date": ("d", "DATE NOT NULL", "'2024-01-01'", "'0000-00-00'"),
        "partial": ("p", "DATETIME NOT NULL", "'2024-01-01'", "'2024-00-15'"),
        "nul_character": ("n", "VARCHAR(9)", "'a'", "'a\\0b'"),
        "out_of_range": ("o", "TIME", "'12:00:00'", "'25:00:00'"),
        "not_boolean": ("b", "TINYINT(1)", "1", "2"),
        "empty_enum": ("e", "ENUM('a','b')", "'b'", "'wrong'"),
        "json_nul": ("j", "JSON", "'1'", "'\"\\\\u0000\"'"),
    }
    for table, kind, good, _ in kinds.values():
        pair.on_source(
            f"CREATE TABLE {table} (k VARCHAR(9), i INT, v {kind}, PRIMARY KEY (k, i))",
            f"INSERT INTO {table} {NUMBERS.format(99)} SELECT IF(i % 2, 'ä', 'b'), i, {good} FROM n",
        )
    pair.make_tables()
    for table, _, _, bad in kinds.values():
        pair.on_source("SET sql_mode = ''", f"UPDATE {table} SET v = {bad} WHERE i IN (41, 98)")
    result = run(pair)
    assert not result.ok and result.rows == 98 * len(kinds)
    assert {(p.table, p.key, p.column, p.reason) for p in result.poisons} == {
        (table, key, "v", "zero_date" if reason == "partial" else reason)
        for reason, (table, *_) in kinds.items()
        for key in (("ä", "41"), ("b", "98"))
    }
    assert "wrong" not in json.dumps(result.to_json())
    for table, *_ in kinds.values():
        assert pair.on_target(f"SELECT count(*), count(*) FILTER (WHERE i IN (41, 98)) FROM {table}") == [(98, 0)]
    again = run(pair)
    assert again.moved == 0 and again.poisons == result.poisons


def test_rows_that_postgres_refuses_are_set_aside(pair: Pair, way: str, small: None) -> None:
    pair.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, n DECIMAL(9,2), w VARCHAR(20))",
        f"INSERT INTO t {NUMBERS.format(299)} SELECT i, IF(i = 60, 100, i / 4), CONCAT('w', i) FROM n",
        "CREATE TABLE u (id INT PRIMARY KEY)",
        "INSERT INTO u VALUES (7)",
    )
    pair.make_tables()
    pair.on_target(
        "ALTER TABLE t ADD CONSTRAINT odd CHECK (id NOT IN (3, 250, 251, 299))",
        "ALTER TABLE t ALTER n TYPE numeric(4,2)",
        "ALTER TABLE u ADD CONSTRAINT none CHECK (false)",
    )
    result = run(pair, streams=1)
    by_key = {p.key: p for p in result.poisons if p.table == "t"}
    assert set(by_key) == {(str(i),) for i in (3, 60, 250, 251, 299)}
    assert "odd" in by_key["3",].reason
    assert (by_key["60",].column, by_key["60",].reason) == ("n", "numeric field overflow")
    assert [(p.key, p.table) for p in result.poisons if p.table == "u"] == [(("7",), "u")]
    assert pair.on_target("SELECT count(*), max(id) FROM t") == [(295, 298)]


# --- killed, and gone on ----------------------------------------------------------------------------------------------


@pytest.fixture
def busy(pair: Pair) -> Iterator[Pair]:
    """Tables with keys of two kinds, for many small portions."""
    pair.on_source(
        "CREATE TABLE orders (id BIGINT PRIMARY KEY, v VARCHAR(100), at DATETIME(6))",
        f"INSERT INTO orders {NUMBERS.format(990)} "
        "SELECT i * 7, REPEAT('x', i % 90), '2024-01-01' + INTERVAL i HOUR FROM n",
        *["INSERT INTO orders SELECT id + (SELECT MAX(id) + 1 FROM orders o), v, at FROM orders"] * 3,
        "CREATE TABLE words (w VARCHAR(40) PRIMARY KEY, v INT)",
        f"INSERT INTO words {NUMBERS.format(990)} SELECT CONCAT(ELT(1 + i % 3, 'A', 'ä', 'z'), i), i FROM n",
        "ANALYZE TABLE orders, words",
    )
    pair.make_tables()
    yield pair


def test_killed_at_any_point_it_goes_on(busy: Pair) -> None:
    expected = 8 * 991 + 991
    chance = random.Random(7)
    ended = []
    for how in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGKILL):
        process = subprocess.Popen(
            driver(busy, **SMALL), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        goal = copied(busy) + chance.randrange(1, expected // 3)
        while copied(busy) < goal and process.poll() is None:
            pass
        process.send_signal(how)
        process.communicate()
        ended.append(process.returncode)
    assert ended.count(-signal.SIGKILL) >= 2 and ended[1] != 0
    result = run(busy)
    assert result.rows == expected
    assert counts.count(busy, ["orders", "words"]).ok  # type: ignore[arg-type]
    require_equal(busy)


def copied(pair: Pair) -> int:
    """Rows that are known to be on the target."""
    if pair.on_target("SELECT to_regclass('zdm.copy_segment') IS NULL") == [(True,)]:
        return 0
    return int(pair.on_target("SELECT coalesce(sum(rows), 0) FROM zdm.copy_segment")[0][0])


def test_lost_connections_are_made_anew(busy: Pair, way: str, small: None) -> None:
    over = threading.Event()
    cut = {"mysql": 0, "postgres": 0}

    def disturb() -> None:
        with busy.mysql() as my, busy.postgres() as pg, my.cursor() as cursor:
            while not over.wait(0.02):
                cursor.execute(
                    "SELECT id FROM information_schema.processlist WHERE db = %s AND id <> CONNECTION_ID() "
                    "AND info LIKE 'SELECT /*+%%' LIMIT 1",
                    (busy.name,),
                )
                for (number,) in cursor.fetchall():
                    with suppress(pymysql.err.OperationalError):  # it has gone already
                        cursor.execute(f"KILL {number}")
                        cut["mysql"] += 1
                cut["postgres"] += len(
                    pg.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND query LIKE 'COPY%' AND state <> 'idle' LIMIT 1"
                    ).fetchall()
                )
                if min(cut.values()) > 1:
                    return

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        result = run(busy)
    finally:
        over.set()
        thread.join()
    assert sum(cut.values()) > 0
    assert result.ok and result.rows == 9 * 991
    require_equal(busy)


def test_a_copy_that_is_done_is_not_done_again(busy: Pair) -> None:
    first = run(busy, tables=["words"])
    assert (first.rows, first.moved) == (991, 991)
    second = run(busy)
    assert second.run == first.run and second.moved == 8 * 991
    again = run(busy)
    assert again.run == first.run and again.moved == 0 and again.ok
    anew = run(busy, restart=True)
    assert anew.run != first.run and anew.moved == 9 * 991
    assert busy.on_target("SELECT kind, verdict FROM zdm.record") == [("copy", "ok")] * 4
    require_equal(busy)


@dataclass
class Counted(Pair):
    """Counts the connections that are open at the same time."""

    opened: list[Any] = field(default_factory=list)
    most: dict[str, int] = field(default_factory=lambda: {"mysql": 0, "postgres": 0})

    def mysql(self, *arguments: Any, **options: Any) -> Any:
        return self.count("mysql", super().mysql(*arguments, **options))

    def postgres(self, *arguments: Any, **options: Any) -> Any:
        return self.count("postgres", super().postgres(*arguments, **options))

    def count(self, side: str, connection: Any) -> Any:
        self.opened.append((side, connection))
        now = sum(is_open(c) for s, c in self.opened if s == side)
        self.most[side] = max(self.most[side], now)
        return connection


def is_open(connection: Any) -> bool:
    return bool(connection.open) if hasattr(connection, "open") else not connection.closed


def test_no_more_connections_than_streams_and_one(busy: Pair, small: None) -> None:
    counted = Counted(busy.source, busy.target, busy.name, busy.home)
    assert run(counted, streams=3).rows == 9 * 991
    assert counted.most == {"mysql": 4, "postgres": 4} or counted.most == {"mysql": 3, "postgres": 4}
    assert not any(is_open(connection) for _, connection in counted.opened)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_everything_in_the_way_is_named_at_once(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE a (id INT PRIMARY KEY)",
        "CREATE TABLE b (id INT PRIMARY KEY, v INT, w VARCHAR(5))",
        "CREATE TABLE c (id INT PRIMARY KEY, p POINT)",
        "CREATE TABLE d (id INT)",
        "CREATE TABLE e (k VARBINARY(9) PRIMARY KEY)",
        "CREATE TABLE f (k BLOB, PRIMARY KEY (k(9)))",
    )
    pair.on_target(
        "CREATE TABLE a (id integer PRIMARY KEY)",
        "INSERT INTO a VALUES (1)",
        "CREATE TABLE b (id bigint PRIMARY KEY, v integer)",
    )
    planned = run(pair, dry_run=True, without_capture=False)
    with pytest.raises(UsageError) as e:
        run(pair, without_capture=False)
    for part in (
        "set cdc.state to capturing",
        "b.id is bigint on the target and must be integer",
        "has no column b.w",
        "c.p point: spatial",
        "d has no primary key",
        "the target has no table e",
        "f.k: a BLOB in the primary key",
    ):
        assert part in str(e.value)
        assert any(part in reason for reason in planned.refused)
    assert not planned.ok and planned.dry_run
    assert pair.on_target("SELECT to_regclass('zdm.copy_run') IS NULL") == [(True,)]
    with pytest.raises(UsageError, match="a has rows on the target that this copy has not brought"):
        run(pair, tables=["a"])
    with pytest.raises(UsageError, match="a has rows"):
        run(pair, tables=["a"], restart=True)
    pair.copied_by = "debezium"
    with pytest.raises(UsageError, match="rows travel by debezium here"):
        run(pair, tables=["a"])


def test_a_changed_table_does_not_go_on(busy: Pair) -> None:
    run(busy)
    busy.on_source("ALTER TABLE words MODIFY v BIGINT, ADD new INT")
    busy.on_target("ALTER TABLE words ALTER v TYPE bigint, ADD new integer")
    with pytest.raises(UsageError) as e:
        run(busy)
    assert "words has changed since the copy began: new is new; v was int (integer on the target) and is bigint" in str(
        e.value
    )
    assert "orders" not in str(e.value)
    assert run(busy, tables=["words"], restart=True).moved == 991
    busy.on_target("TRUNCATE orders")
    with pytest.raises(UsageError, match="orders is empty, though 7,928 rows were copied"):
        run(busy)


def test_two_copies_do_not_run_at_once(busy: Pair) -> None:
    with busy.postgres() as pg:
        pg.execute("SELECT pg_advisory_lock(%s)", (copy.copy_state.LOCK,))
        with pytest.raises(UsageError, match=f"another copy is under way .PostgreSQL process {pg.info.backend_pid},"):
            run(busy)


def test_the_plan_says_what_would_be_done(busy: Pair) -> None:
    planned = run(busy, dry_run=True)
    assert planned.ok and {t.table for t in planned.tables} == {"orders", "words"}
    assert busy.on_target("SELECT count(*) FROM orders") == [(0,)]
    with busy.console.out.capture() as said:
        planned.render(busy.console.out)
    assert "would copy about" in said.get()


# --- pace -------------------------------------------------------------------------------------------------------------


def test_the_source_is_let_rest(pair: Pair) -> None:
    stop = threading.Event()
    with pair.mysql() as my:
        throttle = Throttle(max_running=0)  # the one that asks runs
        throttle.pause(my, 0, stop)
        assert throttle.rest > 0 and throttle.rested > 0 and "threads run on the source" in throttle.reason
        throttle = Throttle(own=1, max_running=1000, bytes_per_second=1e6)
        throttle.pause(my, 10_000, stop)
        assert throttle.rest == 0 and throttle.rested > 0
        late = Throttle(max_running=None, lag=31.0)
        late.pause(my, 0, stop)
        assert late.reason == "changes are captured 31 s late"


@given(st.lists(st.tuples(st.integers(0, 10**5), st.integers(1, 10**9), st.floats(1e-4, 100)), max_size=30))
def test_queries_stay_bounded(seen: list[tuple[int, int, float]]) -> None:
    size = Size()
    for count, width, seconds in seen:
        read = min(count, size.rows)
        size.took(read, read * width, seconds)
        assert 1 <= size.rows <= copy_stream.MOST_ROWS
        if read:
            assert size.rows == 1 or size.rows * width <= copy_stream.QUERY_BYTES
    size.refused(1)
    assert size.rows == 1 and size.alone
