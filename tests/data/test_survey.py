"""The survey: what it finds in real tables, how much of them it reads, and how it keeps out of the source's way."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console as RichConsole

from contract.tables import Table
from local.dataplane.mysql import MySQLInstance
from local.dataplane.mysql import Server as MySQLServer
from local.dataplane.parameters import INSTANCE_GROUP
from scripts.clients import mysql
from scripts.clients.secrets import Account
from scripts.data import survey, survey_catalog, survey_result, survey_scan
from scripts.data.inspect import mysql_tables
from scripts.data.survey import SurveyReport
from scripts.data.survey_catalog import held_privileges
from scripts.data.survey_growth import growth
from scripts.data.survey_keys import collisions
from scripts.data.survey_page import page
from scripts.data.survey_result import Survey, TableFacts, load, percent, size_text
from scripts.data.survey_scan import Ask, Busy, Pace, Reader, between, budget, key_of, prepare
from scripts.errors import UsageError
from tests.data.conftest import ACCOUNT, Pair, Servers

pytestmark = pytest.mark.real

NUMBERS = "(WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {}) SELECT i FROM n) AS n"


def run(pair: Pair, **options: Any) -> Survey:
    report = survey.run(pair, console=pair.console, **options)  # type: ignore[arg-type]
    assert load(report.file) == report.survey
    return report.survey


def fill(pair: Pair, table: str, values: str, rows: int) -> None:
    """INSERT of `values` (SQL over `i`) for `i` from 1 to `rows`; the server then knows how many there are."""
    pair.on_source(
        "SET SESSION cte_max_recursion_depth = 10000000",
        f"INSERT INTO {table} SELECT {values} FROM {NUMBERS.format(rows)}",
        f"ANALYZE TABLE {table}",
    )


def counted(survey: Survey) -> dict[tuple[str, str], int]:
    return {(f.kind, f.name): f.rows for table in survey.tables for f in table.findings}


def only(survey: Survey) -> TableFacts:
    (table,) = survey.tables
    return table


def described(pair: Pair) -> Table:
    with pair.mysql() as my:
        (table,) = mysql_tables(my, pair.name)
    return table


# --- Values -----------------------------------------------------------------------------------------------------------


def test_every_kind_of_value_is_found_and_counted(pair: Pair) -> None:
    pair.booleans = ["v.listed"]
    pair.on_source(
        "SET sql_mode = ''",
        "CREATE TABLE v (id INT PRIMARY KEY, flag TINYINT(1), many TINYINT(1), none TINYINT(1), listed TINYINT(1), "
        "big BIGINT UNSIGNED, t TEXT, l VARCHAR(20) CHARACTER SET latin1, g VARCHAR(20) CHARACTER SET cp1257, "
        "d DATE, dn DATETIME NOT NULL, tm TIME, ts TIME, e ENUM('a', 'b'), j JSON, b LONGBLOB, KEY (ts))",
        "INSERT INTO v VALUES "
        "(1, 0, 2, NULL, 2, 9223372036854775808, 'x\\0y', _binary 0xC3A9, _binary 0xA541, '0000-00-00', '2024-00-01', "
        "'-01:00:00', '30:00:00', 'wrong', '\"\\\\u0000\"', REPEAT('b', 9000000)),"
        "(2, 1, -1, NULL, 1, 9223372036854775807, 'x', _binary 0xE9, 'x?', '2024-02-30', '2024-01-01', '24:00:00', "
        "'23:59:59', 'a', '[]', ''),"
        "(3, NULL, 0, NULL, 0, NULL, '', 'plain', NULL, '2024-02-01', '0000-00-00', '23:59:59.4', '00:00:00', 'b', "
        "NULL, NULL)",
    )
    found = run(pair)
    assert counted(found) == {
        ("refused", "v.listed"): 1,
        ("large", "v.big"): 1,
        ("refused", "v.t"): 1,
        ("mojibake", "v.l"): 1,
        ("lost", "v.g"): 1,
        ("noted", "v.d"): 2,  # 2024-02-30 was stored as a zero date
        ("refused", "v.dn"): 2,
        ("refused", "v.tm"): 2,
        ("refused", "v.ts"): 1,
        ("refused", "v.e"): 1,
        ("refused", "v.j"): 1,
    }
    facts = only(found)
    assert (facts.reading.how, facts.rows, facts.reading.proven) == ("all", 3, True)
    assert facts.longest == {"t": 3, "j": 8, "b": 9_000_000}
    assert facts.widest_row is not None and facts.widest_row > 9_000_000
    assert {f.name: f.examples for f in facts.findings}["v.dn"] == ["id=1", "id=3"]
    blocked = {o.name for o in found.blocking}
    assert blocked == {"v.listed", "v.t", "v.dn", "v.tm", "v.ts", "v.e", "v.j"}
    assert any(o.kind == "row" and o.name == "v" and not o.blocking for o in found.obstacles)
    assert found.proposals.settings == {
        "cdc.tables": ["v"],
        "cdc.booleans": ["v.flag"],
        "cdc.intervals": ["v.tm", "v.ts"],
    }
    assert all(choice.proven for choice in (*found.proposals.booleans, *found.proposals.intervals))
    assert not found.ok

    pair.booleans, pair.intervals = ["v.flag"], ["v.tm", "v.ts"]
    again = run(pair)
    assert not {"v.listed", "v.tm", "v.ts"} & {o.name for o in again.blocking}
    assert again.proposals.settings == found.proposals.settings


def test_floats_lose_digits_only_in_the_snapshot_of_debezium(pair: Pair) -> None:
    pair.on_source("CREATE TABLE f (id INT PRIMARY KEY, x FLOAT)", "INSERT INTO f VALUES (1, 16777217), (2, 1.5)")
    assert only(run(pair)).reading.how == "none"
    pair.copied_by = "debezium"
    assert counted(run(pair)) == {("rounded", "f.x"): 1}


def test_bytes_that_are_no_utf8_are_found(pair: Pair, servers: Servers) -> None:
    """MySQL tests text when it is written; a tablespace that is imported brings what it holds."""
    pair.on_source(
        "CREATE TABLE bytes (id INT PRIMARY KEY, t VARBINARY(80))",
        "INSERT INTO bytes VALUES (1, 0xFF41), (2, 'ok'), (3, 0xC3A9), (4, 0xEDA080)",
        "CREATE TABLE texts (id INT PRIMARY KEY, t VARCHAR(20) CHARACTER SET utf8mb4)",
        "ALTER TABLE texts DISCARD TABLESPACE",
    )
    folder = MySQLServer(servers.stack, "source").home / "data" / pair.name
    with pair.mysql() as my, my.cursor() as cursor:
        cursor.execute("FLUSH TABLES bytes FOR EXPORT")
        source, copy = folder / "bytes.ibd", folder / "texts.ibd"
        shutil.copy(source, copy)
        shutil.chown(copy, source.stat().st_uid, source.stat().st_gid)
        cursor.execute("UNLOCK TABLES")
        cursor.execute("ALTER TABLE texts IMPORT TABLESPACE")
    found = run(pair, tables=["texts"])
    assert counted(found) == {("bytes", "texts.t"): 2}
    assert only(found).findings[0].examples == ["id=1", "id=4"]
    assert not found.ok


def test_a_clean_schema_has_nothing_to_report(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE plain (id BIGINT PRIMARY KEY, n DECIMAL(20, 5), d DOUBLE, b VARBINARY(9), bits BIT(5))",
        "INSERT INTO plain VALUES (1, 2, 3, 'x', b'101')",
        "CREATE TABLE texts (code VARCHAR(20) COLLATE utf8mb4_0900_bin PRIMARY KEY, mail VARCHAR(99) NOT NULL UNIQUE, "
        "made DATETIME NOT NULL, day TIME)",
        "INSERT INTO texts VALUES ('a', 'ä@x', '2024-01-01', '12:00'), ('A', 'Ö@x', '2024-01-01', NULL)",
        "CREATE TABLE uses (id INT PRIMARY KEY, code VARCHAR(20) COLLATE utf8mb4_0900_bin, "
        "FOREIGN KEY (code) REFERENCES texts (code))",
        "INSERT INTO uses VALUES (1, 'a'), (2, 'A'), (3, NULL)",
    )
    found = run(pair)
    ours = [o for o in found.obstacles if o.kind not in ("setting", "privilege")]
    assert (ours, counted(found)) == ([], {})
    assert found.proposals.settings == {"cdc.tables": ["plain", "texts", "uses"]}
    assert [t.reading.how for t in found.tables] == ["none", "all", "all"]
    assert [t.reading.rows for t in found.tables] == [0, 2, 3]
    assert found.ok


def test_objects_without_a_rule_are_obstacles_and_left_out_of_the_settings(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE t (id INT PRIMARY KEY, g POINT NOT NULL SRID 0, n INT AS (id + 1) STORED)",
        "CREATE TABLE keyless (x TEXT)",
        "INSERT INTO keyless VALUES ('a\\0'), ('b')",
        "CREATE VIEW w AS SELECT 1 AS one",
        "CREATE TRIGGER tr BEFORE INSERT ON t FOR EACH ROW SET NEW.id = NEW.id",
    )
    found = run(pair)
    assert {(o.kind, o.name) for o in found.blocking} >= {("type", "t.g"), ("table", "keyless")}
    assert found.objects == {"views": ["w"]}
    assert {t.name: t.triggers for t in found.tables} == {"t": ["tr"], "keyless": []}
    assert found.proposals.settings == {"cdc.tables": ["t"], "cdc.excludedColumns": ["t.g", "t.n"]}
    assert counted(found) == {("refused", "keyless.x"): 1}


# --- Keys -------------------------------------------------------------------------------------------------------------


def test_keys_that_the_target_compares_differently(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE parents (code VARCHAR(20) COLLATE utf8mb4_general_ci PRIMARY KEY)",
        "INSERT INTO parents VALUES ('a'), ('b '), ('c')",
        "CREATE TABLE children (id INT PRIMARY KEY, code VARCHAR(20) COLLATE utf8mb4_general_ci, "
        "word VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci UNIQUE, "
        "same VARCHAR(20) COLLATE utf8mb4_0900_ai_ci UNIQUE, "
        "wide VARCHAR(760), KEY wide (wide), CONSTRAINT parent FOREIGN KEY (code) REFERENCES parents (code))",
        "INSERT INTO children VALUES (1, 'a', 'a', 'ß', 'x'), (2, 'A', 'å', 'i', 'x'), (3, 'b', 'z', 'x', 'x'), "
        "(4, 'b ', NULL, NULL, REPEAT('ü', 760)), (5, NULL, 'b', NULL, REPEAT('😀', 700))",
    )
    found = run(pair)
    assert counted(found) == {
        ("spaces", "parents.code"): 1,
        ("reference", "children.parent"): 2,
        ("collision", "children.word"): 1,
    }
    unique = next(o for o in found.obstacles if o.kind == "unique")
    assert (unique.blocking, "1 and 2" in unique.reason) == (True, True)
    assert any(o.kind == "index" and o.name == "children.wide" and "2,800 bytes" in o.reason for o in found.obstacles)
    assert [o.name for o in found.obstacles if o.kind == "key"] == ["parents.PRIMARY"]


def test_the_target_agrees_about_collisions(pair: Pair) -> None:
    """What MySQL's newest collation takes for equal is what the target's unique index refuses."""
    pair.on_source(
        "CREATE TABLE w (id INT PRIMARY KEY, word VARCHAR(20) COLLATE utf8mb4_general_ci, UNIQUE KEY word (word))",
        "INSERT INTO w VALUES (1, 'ß'), (2, 'ss'), (3, 'æ'), (4, 'ae'), (5, 'İ'), (6, 'x'), (7, 'ẞ'), (8, 'x\\u00ad'), "
        "(9, 'đ'), (10, 'd'), (11, 'ﬁ'), (12, 'fi'), (13, 'ł'), (14, 'l'), (15, '½')",
    )
    table = described(pair)
    with pair.mysql() as my:
        prepare(my)
        found = collisions(my, table, table.keys[0])
    assert found is not None
    pair.make_tables()
    pair.copy([table])
    words = "word COLLATE zdm_ai_ci"
    groups = pair.on_target(
        "CREATE COLLATION IF NOT EXISTS zdm_ai_ci (provider = icu, locale = 'und-u-ks-level1', deterministic = false)",
        f"SELECT min(id), max(id) FROM w GROUP BY {words} HAVING count(*) > 1",
    )
    assert found.rows == len(groups)
    assert found.rows > 0


# --- Samples ----------------------------------------------------------------------------------------------------------


def test_a_big_table_is_sampled_and_says_so(pair: Pair) -> None:
    pair.on_source("CREATE TABLE s (id BIGINT UNSIGNED PRIMARY KEY, flag TINYINT(1), t VARCHAR(20))")
    fill(pair, "s", "i * 7, i % 2, IF(i % 10 = 0, 'x\\0', 'x')", 40_000)
    sampled = run(pair)
    facts = only(sampled)
    assert facts.reading.how == "sample"
    assert 5_000 <= facts.reading.rows < 8_000
    assert facts.reading.ranges > 2
    assert not facts.reading.proven
    assert 0.1 < facts.reading.share < 0.25
    (flag,) = sampled.proposals.booleans
    assert (flag.column, flag.proven) == ("s.flag", False)
    (value,) = [o for o in sampled.obstacles if o.kind == "value"]
    assert f"(seen in {percent(facts.reading.share)} of the rows)" in value.reason
    assert abs(counted(sampled)["refused", "s.t"] - facts.reading.rows / 10) < 30

    full = run(pair, sample=1.0)
    assert (only(full).reading.how, only(full).rows) == ("all", 40_000)
    assert counted(full) == {("refused", "s.t"): 4_000}
    assert full.proposals.booleans[0].proven
    half = only(run(pair, sample=0.5)).reading
    assert half.rows >= half.of / 2 and half.of > 30_000  # by the server's estimate of the 40,000 rows


KEYS = {
    "numbers": ("a INT, b INT, PRIMARY KEY (a, b)", "i % 7, i"),
    "decimal": ("a DECIMAL(20, 4) PRIMARY KEY", "i / 3"),
    "uuid": ("a CHAR(36) PRIMARY KEY", "CONCAT(LEFT(SHA2(i, 256), 8), LPAD(i, 28, '-'))"),
    "text and number": ("a VARCHAR(20) COLLATE utf8mb4_0900_ai_ci, b INT, PRIMARY KEY (a, b)", "CHAR(97 + i % 26), i"),
    "latin1": ("a VARCHAR(20) CHARACTER SET latin1 PRIMARY KEY", "CONCAT(CHAR(224 + i % 20 USING latin1), i)"),
    "bytes": ("a BINARY(16) PRIMARY KEY", "UNHEX(LEFT(SHA2(i, 256), 32))"),
    "time": ("a DATETIME(3), b INT, PRIMARY KEY (a, b)", "'2024-01-01' + INTERVAL i MINUTE, i"),
    "date": ("a DATE, b INT, PRIMARY KEY (a, b)", "'2020-01-01' + INTERVAL i % 1000 DAY, i"),
    "enum first": ("a ENUM('x', 'y'), b INT, c INT NOT NULL UNIQUE, PRIMARY KEY (a, b)", "1 + i % 2, i, i"),
    "percent": ("`100%` INT PRIMARY KEY", "i"),
}


@pytest.mark.parametrize("kind", KEYS)
def test_every_row_is_read_once_whatever_the_key(pair: Pair, kind: str) -> None:
    columns, values = KEYS[kind]
    pair.on_source(f"CREATE TABLE k ({columns})")
    fill(pair, "k", values, 3_000)
    table = described(pair)
    with pair.mysql() as my:
        prepare(my)
        name = f"t.`{table.columns[0].name}`"
        whole = Reader(my, table, [Ask(f"{name} IS NOT NULL")], Pace())
        whole.chunk = 170
        reading = whole.read(None)
        assert (reading.how, reading.rows, whole.counts, len(whole.examples[0])) == ("all", 3_000, [3_000], 3)

        part = Reader(my, table, [], Pace())
        part.chunk = 170
        sampled = part.read(2_000)
    assert sampled.how == "sample"
    assert 500 <= sampled.rows <= 2_100  # ranges that would overlap are not read twice


def test_what_is_between_two_keys() -> None:
    assert between(10, 20, 0.5) == 15
    assert between(-(2**63), 2**64, 0.5) == 2**62
    assert between("0a", "ff", 0.5) > "0a"
    assert "user-1" < between("user-1000", "user-9000", 0.5) < "user-9000"
    assert between(b"\x00" * 16, b"\xff" * 16, 0.5)[0] == 0x7F
    assert between(datetime(2020, 1, 1), datetime(2022, 1, 1), 0.5).year == 2020
    assert between("0000-00-00", datetime(2022, 1, 1), 0.5) is None
    assert between(1.5, 2.5, 0.5) is None


def test_how_much_is_read() -> None:
    def table(rows: int, size: int = 0) -> Table:
        return Table("t", (), rows=rows, size=size or rows * 100)

    assert budget(table(5_000), None) is None
    assert budget(table(9_000), None) is None
    assert budget(table(200_000), None) == 10_000
    assert budget(table(10**9), None) == 1_000_000
    assert budget(table(10**9, size=10**14), None) == 10_000
    assert budget(table(10**9), 0.1) == 10**8
    assert budget(table(10**9), 1.0) is None


def test_a_table_without_a_key_is_read_from_its_beginning(pair: Pair) -> None:
    pair.on_source("CREATE TABLE n (a INT, t VARCHAR(10))")
    fill(pair, "n", "i, IF(i % 2, 'x\\0', 'x')", 3_000)
    table = described(pair)
    assert key_of(table) == ("", ())
    with pair.mysql() as my:
        prepare(my)
        reader = Reader(my, table, [Ask("t.`a` % 2 = 1")], Pace())
        reader.chunk = 100
        assert (reader.read(None).how, reader.rows, reader.counts) == ("head", 101, [51])
    assert counted(run(pair)) == {("refused", "n.t"): 1_500}
    assert only(run(pair)).reading.how == "all"


# --- Load on the source -----------------------------------------------------------------------------------------------


def test_chunks_follow_the_time_that_they_take(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.on_source("CREATE TABLE c (id INT PRIMARY KEY, t TEXT)")
    fill(pair, "c", "i, 'x'", 400)
    table = described(pair)
    with pair.mysql() as my:
        prepare(my)
        quick = Reader(my, table, [], Pace())
        quick.chunk = 10
        quick.read(None)
        assert quick.chunk > 100
        monkeypatch.setattr(survey_scan, "LIMIT_SECONDS", 0.1)
        slow = Reader(my, table, [Ask("BENCHMARK(20000, SHA2(t.id, 256)) = 0")], Pace())
        slow.chunk = 400
        assert slow.read(None).rows == 400
        assert slow.counts == [400]
        assert slow.chunk < 400  # what was ended by the server was cut in half, and is not counted twice


def test_the_survey_waits_for_a_busy_source(pair: Pair) -> None:
    pair.on_source("CREATE TABLE b (id INT PRIMARY KEY, t TEXT)", "INSERT INTO b VALUES (1, 'x\\0')")
    started = threading.Event()

    def work() -> None:
        with pair.mysql() as my, my.cursor() as cursor:
            started.set()
            cursor.execute("SELECT SLEEP(2)")

    ((_, idle),) = pair.on_source("SHOW GLOBAL STATUS LIKE 'Threads_running'")
    other = threading.Thread(target=work)
    other.start()
    started.wait()
    found = run(pair, max_running=int(idle))
    other.join()
    assert found.paused_seconds > 0
    assert counted(found) == {("refused", "b.t"): 1}

    given_up = run(pair, max_running=0, patience=0)  # its own query is one that runs
    assert (only(given_up).reading.how, only(given_up).reading.proven) == ("unread", False)
    assert [o.kind for o in given_up.obstacles if o.name == "b"] == ["unread"]
    with pytest.raises(Busy), pair.mysql() as my:
        Pace(max_running=0, patience=0).wait(my)


def test_the_session_only_reads_and_an_error_costs_one_table(pair: Pair) -> None:
    pair.on_source(
        "CREATE TABLE a (id INT PRIMARY KEY, t TEXT)",
        "INSERT INTO a VALUES (1, 'x\\0')",
        "CREATE TABLE locked (id INT PRIMARY KEY, t TEXT)",
        "INSERT INTO locked VALUES (1, 'x')",
    )
    with pair.mysql() as my, my.cursor() as cursor:
        prepare(my)
        with pytest.raises(Exception, match="READ ONLY"):
            cursor.execute("DELETE FROM a")
    with pair.mysql() as holder, holder.cursor() as cursor:
        cursor.execute("LOCK TABLES locked WRITE")
        found = run(pair)
    assert counted(found) == {("refused", "a.t"): 1}
    readings = {t.name: t.reading for t in found.tables}
    assert readings["a"].how == "all"
    assert (readings["locked"].how, "Lock wait timeout" in readings["locked"].note) == ("unread", True)


# --- The server -------------------------------------------------------------------------------------------------------


def test_long_transactions_and_what_cannot_be_seen(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_catalog, "LONG_SECONDS", 0)
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
    with pair.mysql(autocommit=False) as holder, holder.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (1), (2)")
        found = run(pair)
        (mine,) = [t for t in found.transactions if t.thread == holder.thread_id()]
        holder.rollback()
    assert (mine.rows_changed, mine.account.startswith("admin@")) == (2, True)
    assert any(o.kind == "transaction" and not o.blocking for o in found.obstacles)
    assert found.unknown == ["hot tables: performance_schema is off"]


def test_settings_and_privileges(pair: Pair) -> None:
    pair.on_source("CREATE TABLE t (id INT PRIMARY KEY)")
    user = f"poor_{pair.name}"
    pair.on_source(
        "SET GLOBAL binlog_row_image = 'MINIMAL'",
        f"CREATE USER {user} IDENTIFIED BY 'a password of 22 chars'",
        f"GRANT SELECT, TRIGGER ON {pair.name}.* TO {user}",
    )
    try:
        found = run(pair)
        rich = {p.privilege for p in found.privileges if p.held}
        assert {"SELECT", "CREATE USER", "PROCESS"} <= rich
        wrong = {s.name for s in found.settings if not s.ok}
        assert {"binlog_row_image"} <= wrong
        assert ("setting", "binlog_row_image", True) in [(o.kind, o.name, o.blocking) for o in found.obstacles]
        assert {s.name: s.ok for s in found.settings}["gtid_mode"]
        with mysql.connect(pair.source, 3306, Account(user, "a password of 22 chars"), pair.name) as my:
            prepare(my)
            tables = mysql_tables(my, pair.name)
            catalog = survey_catalog.read(my, pair.name, tables)
        held = {p.privilege: p.held for p in catalog.privileges if p.account.startswith("poor")}
        assert [held[name] for name in ("SELECT", "TRIGGER", "PROCESS", "CONNECTION_ADMIN")] == [True] * 2 + [False] * 2
        assert any("binlog leaves out" in what for what in catalog.unknown)
        assert any("long transactions" in what for what in catalog.unknown)
        assert all(not o.blocking for o in catalog.obstacles if o.kind == "privilege")
    finally:
        pair.on_source("SET GLOBAL binlog_row_image = 'FULL'", f"DROP USER {user}")


def test_a_source_that_cannot_be_captured_and_its_hot_tables(servers: Servers, tmp_path: Path) -> None:
    """A server of its own: whether it writes a binlog and counts is decided when it starts."""
    wanted = [{"name": "performance_schema", "value": "ON"}, {"name": "binlog_format", "value": "MIXED"}]
    servers.stack.records.put(INSTANCE_GROUP, "bare", {}, {"name": "bare", "parameters": wanted})
    made, state = MySQLInstance().create(servers.stack, "bare", {
        "engine": "mysql", "identifier": "bare", "username": ACCOUNT.username, "password": ACCOUNT.password,
        "dbName": "shop", "backupRetentionPeriod": 0, "parameterGroupName": "bare", "skipFinalSnapshot": True,
    })  # fmt: skip
    try:
        bare = Pair(state["address"], "", "shop", tmp_path)
        bare.on_source("CREATE TABLE hot (id INT PRIMARY KEY)", "INSERT INTO hot VALUES (1), (2), (3)")
        found = run(bare)
    finally:
        MySQLInstance().delete(servers.stack, made, state)
    assert {o.name for o in found.blocking} == {"log_bin", "binlog_format"}
    heat = only(found).heat
    assert heat is not None
    assert heat.writes >= 3
    assert "Hot tables" in page(found)
    assert found.unknown == []


def test_grants_are_read_as_the_server_writes_them() -> None:
    grants = [
        "GRANT PROCESS, REPLICATION CLIENT ON *.* TO `a`@`%` WITH GRANT OPTION",
        "GRANT SELECT, CREATE ON `my\\_shop`.* TO `a`@`%`",
        "GRANT ALL PRIVILEGES ON `other%`.* TO `a`@`%`",
        "GRANT `role`@`%` TO `a`@`%`",
        "GRANT CONNECTION_ADMIN ON *.* TO `a`@`%`",
    ]
    common = {"PROCESS", "REPLICATION CLIENT", "GRANT OPTION", "CONNECTION_ADMIN"}
    assert held_privileges(grants, "my_shop") == common | {"SELECT", "CREATE"}
    assert held_privileges(grants, "myxshop") == common
    everything = held_privileges(grants, "other_shop")
    assert {"SELECT", "TRIGGER", "EVENT"} <= everything
    assert "RELOAD" not in everything


def test_growth_is_told_with_its_basis(pair: Pair) -> None:
    now = datetime.now(UTC)

    def of(table: str, before: Survey | None = None, number: int | None = None) -> Any:
        with pair.mysql() as my:
            (described,) = mysql_tables(my, pair.name, [table])
            return growth(my, replace(described, size=1_000 * described.rows), number, before, now)

    hour = "UTC_TIMESTAMP() - INTERVAL (2000 - i) * 6 MINUTE"  # 240 rows a day
    pair.on_source(
        "CREATE TABLE indexed (id INT PRIMARY KEY, created_at DATETIME, expires DATETIME, KEY (created_at))",
        "CREATE TABLE numbered (id INT AUTO_INCREMENT PRIMARY KEY, at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)",
        "CREATE TABLE bare (id INT AUTO_INCREMENT PRIMARY KEY, x INT)",
    )
    fill(pair, "indexed", f"i, {hour}, NULL", 2_000)
    fill(pair, "numbered", f"i, {hour}", 2_000)
    fill(pair, "bare", "i, i", 2_000)
    indexed = of("indexed")
    assert 230 < indexed.rows_per_day < 250
    assert indexed.bytes_per_day == pytest.approx(1_000 * indexed.rows_per_day, rel=0.01)
    assert indexed.basis.endswith("rows by created_at")
    numbered = of("numbered")
    assert 230 < numbered.rows_per_day < 250
    assert numbered.basis.endswith("numbers of id by at")
    assert of("bare") is None
    kept = run(pair)
    facts = [t.model_copy(update={"auto_increment": 1_001}) for t in kept.tables if t.name == "bare"]
    before = kept.model_copy(update={"tables": facts, "at": now - timedelta(days=2)})
    since = of("bare", before, 2_001)
    assert (since.rows_per_day, since.basis.split(" since ")[0]) == (500.0, "AUTO_INCREMENT")
    assert of("bare", before.model_copy(update={"at": now}), 2_001) is None


# --- Result -----------------------------------------------------------------------------------------------------------


def test_the_result_is_kept_and_read_again(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    pair.on_source(
        "CREATE TABLE `<b>&\"x` (id INT PRIMARY KEY, `<i>` TINYINT(1), t TEXT)",
        "INSERT INTO `<b>&\"x` VALUES (1, 1, '<script>\\0')",
        "CREATE TABLE other (id INT PRIMARY KEY)",
    )
    output = pair.home / "new" / "kept.json"
    report = survey.run(pair, output=output, console=pair.console)  # type: ignore[arg-type]
    assert isinstance(report, SurveyReport)
    assert load(output) == load(pair.home / survey_result.FILE) == report.survey
    assert Survey.model_validate(report.to_json()) == report.survey
    html = report.page.read_text()
    assert html == page(report.survey)
    for text in ("&lt;b&gt;&amp;", "In the way", "What to decide", "cdc.booleans", "NUL characters", "binlog_format"):
        assert text in html, text
    for raw in ("<b>", "<i>", "<script>", "http"):
        assert raw not in html, raw
    report.render(RichConsole())
    shown = capsys.readouterr().out
    for text in ("In the way", 'value <b>&"x.t', "cdc.booleans", "survey.html"):
        assert text in shown, text

    part = survey.run(pair, tables=["other"], console=pair.console)  # type: ignore[arg-type]
    assert part.page.name == "survey-part.html"
    assert load(pair.home / survey_result.FILE) == report.survey
    with pytest.raises(UsageError, match="has no table nowhere"):
        survey.run(pair, tables=["nowhere"], console=pair.console)  # type: ignore[arg-type]

    old = pair.home / "old.json"
    old.write_text(output.read_text().replace('"version": 1', '"version": 99'))
    with pytest.raises(UsageError, match="no survey of version 1"):
        load(old)
    with pytest.raises(UsageError, match="makes it"):
        load(pair.home / "none.json")
    with pytest.raises(UsageError, match="cannot be written"):
        survey.run(pair, output=old / "x", console=pair.console)  # type: ignore[arg-type]


def test_words_for_numbers() -> None:
    assert [size_text(n) for n in (0, 999, 1_500, 123_456, 8e12)] == ["0 B", "999 B", "1.5 kB", "123 kB", "8.0 TB"]
    assert [percent(x) for x in (1, 0.123, 0.0512, 0.0004, 0)] == ["100 %", "12 %", "5 %", "0.04 %", "0 %"]
