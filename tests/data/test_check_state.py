"""What a check keeps: it goes on after a kill, draws parts until all were seen, and its digests can be made again."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.processes import wait_until
from scripts.data import check, check_state
from scripts.data.check_result import CheckResult
from scripts.data.check_stream import HEADER, TRAILER
from scripts.data.keyset import Bounds
from scripts.data.rules import rules_of
from scripts.errors import UsageError
from tests.data.conftest import Pair

pytestmark = pytest.mark.real

ROWS = 2000
PROJECT = Path(__file__).parents[2]
CHILD = """
import sys
from pathlib import Path
from scripts.data import check, check_state
from tests.data.conftest import Pair
source, target, name = sys.argv[1:]
pair = Pair(source, target, name, Path())
with pair.postgres() as pg:
    check_state.prepare(pg)
    ledger = check_state.FullLedger(pg, check_state.begin(pg, "full", None, {}))
    check.run(pair, console=pair.console, ledger=ledger, patience=0, chunk=40, busy=0.2)
"""


@pytest.fixture
def filled(pair: Pair) -> Pair:
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})"
    pair.on_source(
        "SET SESSION cte_max_recursion_depth = 5000",
        "CREATE TABLE orders (id BIGINT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(20), n DECIMAL(9,2), j JSON)",
        f"INSERT INTO orders {numbers} SELECT i * 3, CONCAT('a', i), i / 7, JSON_OBJECT('i', i) FROM n",
        "CREATE TABLE words (w CHAR(36) PRIMARY KEY, n INT)",
        f"INSERT INTO words {numbers} SELECT CONCAT(LEFT(SHA2(i, 256), 8), '-0000-4000-8000-000000000000'), i FROM n",
        "CREATE TABLE nothing (id INT PRIMARY KEY)",
    )
    pair.copy(pair.make_tables())
    return pair


def full(pair: Pair, pg: Any, *, resumed: check_state.Run | None = None, **options: Any) -> CheckResult:
    run = resumed or check_state.begin(pg, "full", None, {})
    ledger = check_state.FullLedger(pg, run, resumed=resumed is not None)
    given = {"patience": 0, "chunk": 300, "console": pair.console} | options
    result = check.run(pair, ledger=ledger, **given)  # type: ignore[arg-type]
    check_state.end(pg, run, result.verdict)
    return result


def test_digests_are_those_of_copy(filled: Pair) -> None:
    """As anyone can make them with psql; bounds of chunks and all."""
    filled.on_target("DELETE FROM orders WHERE id = 900", "INSERT INTO orders VALUES (901, 'x', 1, '1')")
    with filled.postgres() as pg:
        check_state.prepare(pg)
        result = full(filled, pg, method="stream")
        assert result.mismatches == 2
        digests = {table.table: table.digest for table in result.tables}
        for table, key in (("orders", "id"), ("words", "w"), ("nothing", "id")):
            lines = []
            for after, upto, rows, digest in pg.execute(
                "SELECT after_key->>0, upto_key->>0, target_rows, digest FROM zdm.check_chunk WHERE table_name = %s",
                (table,),
            ).fetchall():
                bounds = [f"{key} > '{after}'"] if after else []
                bounds += [f"{key} <= '{upto}'"] if upto else []
                where = " AND ".join(bounds) or "TRUE"
                statement = f"COPY (SELECT * FROM {table} WHERE {where} ORDER BY {key}) TO STDOUT (FORMAT binary)"
                with pg.cursor().copy(statement) as copy:
                    data = b"".join(copy)
                assert hashlib.sha256(data[HEADER:-TRAILER]).hexdigest() == digest
                assert pg.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone() == (rows,)
                bound = [None if text is None else json.dumps([text]) for text in (after, upto)]
                lines.append((after, f"{bound[0]} {bound[1]} {digest}\n"))
            order = int if table == "orders" else str
            lines.sort(key=lambda line: (line[0] is not None, order(line[0] or 0)))
            assert hashlib.sha256("".join(line for _, line in lines).encode()).hexdigest() == digests[table]


def test_a_killed_check_goes_on(filled: Pair) -> None:
    filled.on_target("UPDATE orders SET a = 'spoiled' WHERE id IN (9, 5700)", "DELETE FROM words WHERE n = 77")
    command = [sys.executable, "-c", CHILD, filled.source, filled.target, filled.name]
    with filled.postgres() as pg:
        child = subprocess.Popen(command, cwd=PROJECT)
        try:
            counted = "SELECT count(*) FROM zdm.check_chunk WHERE table_name = 'orders'"
            wait_until(
                lambda: pg.execute("SELECT to_regclass('zdm.check_chunk')").fetchone() != (None,), 60, "the table"
            )
            wait_until(lambda: pg.execute(counted).fetchone()[0] >= 8, 60, "some chunks")  # type: ignore[index]
        finally:
            child.send_signal(signal.SIGKILL)
            child.wait()

        def alone() -> bool:
            try:
                check_state.prepare(pg)
            except UsageError:
                return False
            return True

        wait_until(alone, 30, "the end of the killed check's session")
        old = check_state.unfinished(pg)
        assert old is not None
        kept = {row[0] for row in pg.execute("SELECT n FROM zdm.check_chunk").fetchall()}
        result = full(filled, pg, resumed=old, chunk=40)
        assert kept < {row[0] for row in pg.execute("SELECT n FROM zdm.check_chunk").fetchall()}
        assert check_state.unfinished(pg) is None
        anew = full(filled, pg, chunk=40)
    assert sorted(map(str, result.differences)) == sorted(map(str, anew.differences))
    assert {(t.table, t.source_rows, t.target_rows) for t in result.tables} == {
        (t.table, t.source_rows, t.target_rows) for t in anew.tables
    }
    assert {d.key for d in anew.differences} >= {("9",), ("5700",)} and anew.mismatches == 3


def test_a_table_that_changed_is_begun_anew(filled: Pair) -> None:
    with filled.postgres() as pg:
        check_state.prepare(pg)
        run = check_state.begin(pg, "full", None, {})
        ledger = check_state.FullLedger(pg, run)
        check.run(filled, ledger=ledger, patience=0, chunk=300, console=filled.console)  # type: ignore[arg-type]
        filled.on_source("ALTER TABLE orders MODIFY a VARCHAR(30)")
        again = check_state.FullLedger(pg, run, resumed=True)
        with filled.mysql() as my:
            from scripts.data.inspect import mysql_tables

            rules = {table.name: rules_of(table) for table in mysql_tables(my, filled.name)}
        assert again.earlier(rules["orders"]) is None
        earlier = again.earlier(rules["words"])
        assert earlier is not None and (list(earlier.ranges), earlier.source_rows) == ([], ROWS)


def test_samples_see_everything_after_a_while(filled: Pair) -> None:
    with filled.postgres() as pg:
        check_state.prepare(pg)
        full(filled, pg, chunk=100)
        pg.execute("UPDATE zdm.check_chunk SET at = at - interval '9 days'")
        known = check_state.last_map(pg)
        assert known is not None
        filled.on_target("UPDATE orders SET n = n + 1 WHERE id IN (30, 3000, 6000)")
        found, seen = set(), 0
        for night in range(6):
            drawn = check_state.draw(pg, known, 0.2, seed=night)
            assert drawn == check_state.draw(pg, known, 0.2, seed=night)
            ledger = check_state.MapLedger(pg, known)
            result = check.run(
                filled, ranges=drawn, ledger=ledger, patience=0, console=filled.console  # type: ignore[arg-type]
            )
            assert 0.1 * 2 * ROWS < result.rows < 0.3 * 2 * ROWS
            found |= {d.key for d in result.differences}
            seen += result.rows
        assert found == {("30",), ("3000",), ("6000",)}
        assert pg.execute("SELECT count(*) FROM zdm.check_chunk WHERE at < now() - interval '1 day'").fetchone() == (0,)
        assert check_state.table_digest(pg, known, "orders") is not None


def test_changed_keys_void_their_chunks_only(filled: Pair) -> None:
    with filled.postgres() as pg, filled.mysql() as my:
        from scripts.data.inspect import mysql_tables

        check_state.prepare(pg)
        full(filled, pg, method="stream", chunk=100)
        known = check_state.last_map(pg)
        assert known is not None
        rules = {table.name: rules_of(table) for table in mysql_tables(my, filled.name)}
        check_state.mark_dirty(pg, known, rules["orders"], [("300",), ("301",), ("99999",)])
        dirty = pg.execute("SELECT after_key->>0, upto_key->>0 FROM zdm.check_chunk WHERE dirty ORDER BY n").fetchall()
        assert sorted(dirty, key=str) == [("300", "600"), ("6000", None), (None, "300")]
        assert check_state.table_digest(pg, known, "orders") is None
        assert check_state.table_digest(pg, known, "words") is not None


def test_only_one_check_keeps_state(filled: Pair) -> None:
    with filled.postgres() as pg, filled.postgres() as other:
        check_state.prepare(pg)
        with pytest.raises(UsageError, match="under way"):
            check_state.prepare(other)


def test_parts_follow_one_another() -> None:
    bounds = [Bounds(None, ("5",)), Bounds(("5",), ("7",)), Bounds(("8",), None)]
    parts = [check_state.Part(n, "t", b, 1, 1, "d", (), None) for n, b in enumerate(bounds)]  # type: ignore[arg-type]
    assert [p.n for p in check_state._chain(parts, Bounds())] == [0, 1]
    assert [p.n for p in check_state._chain(reversed(parts), Bounds(None, ("5",)))] == [0]
    assert [p.n for p in check_state._chain(parts, Bounds(("8",)))] == [2]
