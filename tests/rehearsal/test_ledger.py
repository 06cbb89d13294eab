"""The ledger against real databases: what was acknowledged and is not so must be caught, each in its own column."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.processes import wait_until
from scripts.context import PROJECT
from scripts.rehearsal import ledger
from scripts.rehearsal.ledger import Ledger, LedgerError, LedgerVerdict, read_ledger, verify
from scripts.rehearsal.load import Load, Settings
from scripts.rehearsal.measure import Window, read_seconds
from scripts.rehearsal.workload import ShopPlan, TablePlan, TablesPlan, load_plan, save_plan, shop_plan
from tests.rehearsal.conftest import ACCOUNT, Databases

CUTOVER = {
    "outcome": "open",
    "steps": [{"state": "FENCED", "at": 1_000.0, "seconds": 0.1}, {"state": "OPEN", "at": 1_001.5, "seconds": 0.5}],
}
"""MySQL is fenced at 1000, Aurora is opened from 1001 on."""


def write(side: str, sent: float, **more: Any) -> dict[str, Any]:
    base = {
        "ref": str(uuid.uuid4()),
        "side": side,
        "sent": sent,
        "ack": sent + 0.01,
        "status": 200,
        "outcome": "acknowledged",
        "user": "u",
    }
    return {**base, **more}


def a_ledger(*writes: dict[str, Any]) -> Ledger:
    return Ledger({"ledger": 1}, list(writes), [], {"complete": True})


# --- the load through a real origin ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def origin(databases: Databases) -> Iterator[str]:
    """The shop's service in front of MySQL."""
    address = f"{databases.mysql_host}:8080"
    environment = {
        **os.environ,
        "SIDE": "mysql",
        "DB_HOST": databases.mysql_host,
        "DB_PORT": "3306",
        "DB_NAME": "ecommerce",
        "DB_USER": ACCOUNT.username,
        "DB_PASSWORD": ACCOUNT.password,
        "ZDM_BIND": address,
    }
    process = subprocess.Popen([sys.executable, "-m", "services.orders"], cwd=PROJECT, env=environment)
    try:

        def ready() -> bool:
            try:
                return httpx.get(f"http://{address}/readyz", timeout=1).status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(ready, 30, "the origin")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def run(databases: Databases, origin: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A short load, once: its folder and its plan. The origin is hit directly; there was no cutover."""
    out = tmp_path_factory.mktemp("load")
    plan = out / "plan.json"
    with databases.mysql() as my:
        save_plan(shop_plan(my), plan)
    load = Load(Settings(origin, plan, out / "run", writes=60, reads=30))
    load.wait_until_answered(30)
    wait_until(lambda: sum(s.answered("write") for s in read_seconds(load.out)) >= 150, 60, "150 answered writes")
    load.stop()
    return load.out, plan


@pytest.mark.real
class TestShop:
    def check(self, databases: Databases, run: tuple[Path, Path]) -> LedgerVerdict:
        with databases.mysql() as my:
            return verify(read_ledger(run[0]), load_plan(run[1]), my, None)

    def provoke(self, databases: Databases, run: tuple[Path, Path], *damage: str) -> LedgerVerdict:
        """The verdict while the damage is there; it is undone afterwards."""
        with databases.mysql() as my:
            my.begin()
            with my.cursor() as c:
                c.execute("SET foreign_key_checks = 0")
                for statement in damage:
                    assert c.execute(statement) > 0, statement
            verdict = verify(read_ledger(run[0]), load_plan(run[1]), my, None)
            my.rollback()
        return verdict

    def acknowledged(self, run: tuple[Path, Path], op: str, table: str) -> dict[str, Any]:
        return next(
            w for w in read_ledger(run[0]).writes if (w["op"], w["table"], w["outcome"]) == (op, table, "acknowledged")
        )

    def test_an_undisturbed_load_is_green(self, databases: Databases, run: tuple[Path, Path]) -> None:
        verdict = self.check(databases, run)
        assert verdict.ok, verdict.to_json()
        assert verdict.acknowledged >= 150 and verdict.failed == verdict.unknown == verdict.failed_reads == 0
        assert verdict.by_side == {"mysql": verdict.acknowledged}
        assert verdict.increments_checked > 10 and verdict.updates_checked > 5
        assert verdict.pause is None
        load = Window(tuple(read_seconds(run[0])))
        assert load.answered("write") == verdict.acknowledged and load.error_rate == 0 and load.stale == 0

    def test_a_lost_order(self, databases: Databases, run: tuple[Path, Path]) -> None:
        w = self.acknowledged(run, "insert", "orders")
        verdict = self.provoke(
            databases,
            run,
            f"DELETE FROM orders WHERE client_ref = '{w['ref']}'",
            f"DELETE FROM outbox WHERE client_ref = '{w['ref']}'",
        )
        assert w["ref"] in [f.ref for f in verdict.lost]
        assert {f.key for f in verdict.lost} == {f"id {w['key']['id']}"}  # and with it what was done to it later
        assert not verdict.doubled and not verdict.ok

    def test_an_order_whose_outbox_row_is_gone(self, databases: Databases, run: tuple[Path, Path]) -> None:
        w = self.acknowledged(run, "insert", "orders")
        verdict = self.provoke(databases, run, f"DELETE FROM outbox WHERE client_ref = '{w['ref']}'")
        assert [(f.ref, f.found) for f in verdict.lost] == [(w["ref"], "none in outbox")]

    def test_a_doubled_order(self, databases: Databases, run: tuple[Path, Path]) -> None:
        w = self.acknowledged(run, "insert", "orders")
        verdict = self.provoke(
            databases,
            run,
            "INSERT INTO orders (customer_id, status, total, client_ref) SELECT customer_id, status, total, "
            f"client_ref FROM orders WHERE client_ref = '{w['ref']}'",
        )
        assert [(f.ref, f.found) for f in verdict.doubled] == [(w["ref"], "2 rows")]
        assert not verdict.lost

    def test_an_order_with_an_item_too_few(self, databases: Databases, run: tuple[Path, Path]) -> None:
        w = self.acknowledged(run, "insert", "orders")
        verdict = self.provoke(
            databases, run, f"DELETE FROM order_items WHERE line = 1 AND order_id = {w['key']['id']}"
        )
        assert [f.ref for f in verdict.wrong] == [w["ref"]]

    def test_a_lost_increment(self, databases: Databases, run: tuple[Path, Path]) -> None:
        w = self.acknowledged(run, "increment", "inventory")
        product, delta = w["key"]["product_id"], w["delta"]
        verdict = self.provoke(
            databases, run, f"UPDATE inventory SET on_hand = on_hand - {delta} WHERE product_id = {product}"
        )
        assert [f.key for f in verdict.increments] == [f"product_id {product}"]
        assert verdict.increments[0].found.endswith(f"({-delta:+d})")
        assert not verdict.lost and not verdict.ok

    def test_an_increment_that_was_executed_twice(self, databases: Databases, run: tuple[Path, Path]) -> None:
        w = self.acknowledged(run, "increment", "inventory")
        verdict = self.provoke(
            databases,
            run,
            f"UPDATE inventory SET on_hand = on_hand + {w['delta']} WHERE product_id = {w['key']['product_id']}",
            "INSERT INTO outbox (aggregate, aggregate_id, event, payload, client_ref) "
            "SELECT aggregate, aggregate_id, event, payload, client_ref "
            f"FROM outbox WHERE client_ref = '{w['ref']}'",
        )
        assert [f.ref for f in verdict.doubled] == [w["ref"]]
        assert [f.key for f in verdict.increments] == [f"product_id {w['key']['product_id']}"]

    def test_an_overwritten_update(self, databases: Databases, run: tuple[Path, Path]) -> None:
        last = [w for w in read_ledger(run[0]).writes if w["table"] == "customers"][-1]
        verdict = self.provoke(
            databases, run, f"UPDATE customers SET loyalty_points = -5 WHERE id = {last['key']['id']}"
        )
        assert [f.ref for f in verdict.lost] == [last["ref"]]

    def test_what_was_refused_must_not_be_there(self, databases: Databases, run: tuple[Path, Path]) -> None:
        book = read_ledger(run[0])
        w = next(w for w in book.writes if w["table"] == "orders" and w["op"] == "insert")
        w |= {"outcome": "failed", "status": 503}
        with databases.mysql() as my:
            verdict = verify(book, load_plan(run[1]), my, None)
        assert [f.ref for f in verdict.wrong] == [w["ref"]]

    def test_an_unknown_write_may_be_there_or_not(self, databases: Databases, run: tuple[Path, Path]) -> None:
        book = read_ledger(run[0])
        done = next(w for w in book.writes if w["op"] == "increment")
        done["outcome"] = "unknown"
        book.writes.append({**done, "ref": str(uuid.uuid4())})  # never arrived
        with databases.mysql() as my:
            verdict = verify(book, load_plan(run[1]), my, None)
        assert verdict.ok and (verdict.unknown, verdict.unknown_executed) == (2, 1)


# --- after a cutover ------------------------------------------------------------------------------------------------


@pytest.fixture
def order(databases: Databases) -> Iterator[Callable[..., dict[str, Any]]]:
    """Puts an order (with its outbox row) into the databases that are named, and gives its line of the ledger."""
    with databases.mysql() as my, my.cursor() as c, databases.postgres() as pg:
        refs: list[str] = []

        def put(side: str, sent: float, on: tuple[str, ...], id: int, times: int = 1) -> dict[str, Any]:
            w = write(side, sent, op="insert", table="orders", key={"id": id}, values={"total": "99.00"}, lines=0)
            refs.append(w["ref"])
            for i in range(times):
                values = (id + 1_000 * i, w["ref"])
                if "mysql" in on:
                    c.execute("INSERT INTO orders (id, customer_id, total, client_ref) VALUES (%s, 1, 99, %s)", values)
                    c.execute(
                        "INSERT INTO outbox (id, aggregate, aggregate_id, event, payload, client_ref) "
                        "VALUES (%s, 'order', 1, 'e', '{}', %s)",
                        values,
                    )
                if "aurora" in on:
                    pg.execute(
                        "INSERT INTO orders (id, customer_id, status, total, discount_rate, gift_wrap, client_ref) "
                        "VALUES (%s, 1, 'new', 99, 0, 0, %s)",
                        values,
                    )
                    pg.execute(
                        "INSERT INTO outbox (id, aggregate, aggregate_id, event, payload, client_ref) "
                        "VALUES (%s, 'order', 1, 'e', '{}', %s)",
                        values,
                    )
            return w

        yield put
        for ref in refs:
            for table in ("orders", "outbox"):
                c.execute(f"DELETE FROM {table} WHERE client_ref = %s", (ref,))
                pg.execute(f"DELETE FROM {table} WHERE client_ref = %s", (ref,))  # type: ignore[arg-type]


@pytest.mark.real
class TestCutover:
    PLAN = ShopPlan(1, 1, 1, {1: 10})

    def check(
        self, databases: Databases, *writes: dict[str, Any], cutover: dict[str, Any] | None = CUTOVER
    ) -> LedgerVerdict:
        with databases.mysql() as my, databases.postgres() as pg:
            return verify(a_ledger(*writes), self.PLAN, my, pg, [cutover] if cutover else [])

    def test_writes_on_both_sides_of_the_pause(
        self, databases: Databases, order: Callable[..., dict[str, Any]]
    ) -> None:
        before, after = (
            order("mysql", 999.0, ("mysql", "aurora"), 700_001),
            order("aurora", 1_001.2, ("aurora",), 700_002),
        )
        verdict = self.check(databases, before, after)
        assert verdict.ok, verdict.to_json()
        assert verdict.pause == pytest.approx(2.2)
        assert verdict.by_side == {"mysql": 1, "aurora": 1}

    def test_a_write_of_mysql_that_did_not_reach_aurora_is_lost(
        self, databases: Databases, order: Callable[..., dict[str, Any]]
    ) -> None:
        w = order("mysql", 999.0, ("mysql",), 700_003)
        assert [f.ref for f in self.check(databases, w).lost] == [w["ref"]]
        assert self.check(databases, w, cutover={"outcome": "undone", "steps": CUTOVER["steps"][:1]}).ok

    def test_a_doubled_order_on_aurora(self, databases: Databases, order: Callable[..., dict[str, Any]]) -> None:
        w = order("aurora", 1_002.0, ("aurora",), 700_004, times=2)
        assert [f.ref for f in self.check(databases, w).doubled] == [w["ref"]]

    def test_a_write_that_mysql_took_after_its_fence(
        self, databases: Databases, order: Callable[..., dict[str, Any]]
    ) -> None:
        w = order("mysql", 1_000.5, ("mysql", "aurora"), 700_005)
        assert [f.ref for f in self.check(databases, w).misplaced] == [w["ref"]]

    def test_a_write_that_was_under_way_at_the_fence_is_fine(
        self, databases: Databases, order: Callable[..., dict[str, Any]]
    ) -> None:
        w = {**order("mysql", 999.9, ("mysql", "aurora"), 700_006), "ack": 1_000.2}
        assert self.check(databases, w).ok

    def test_a_write_that_aurora_took_too_early(
        self, databases: Databases, order: Callable[..., dict[str, Any]]
    ) -> None:
        w = order("aurora", 1_000.5, ("aurora",), 700_007)
        assert [f.ref for f in self.check(databases, w).misplaced] == [w["ref"]]
        assert [f.ref for f in self.check(databases, {**w, "sent": 999.0}, cutover=None).misplaced] == [w["ref"]]

    def test_a_write_of_aurora_that_is_in_mysql_too(
        self, databases: Databases, order: Callable[..., dict[str, Any]]
    ) -> None:
        w = order("aurora", 1_002.0, ("mysql", "aurora"), 700_008)
        assert [f.found for f in self.check(databases, w).misplaced] == ["also on mysql"]

    def test_what_was_replicated_back_may_be_in_mysql(
        self, databases: Databases, order: Callable[..., dict[str, Any]]
    ) -> None:
        w = order("aurora", 1_002.0, ("mysql", "aurora"), 700_009)
        with databases.mysql() as my, databases.postgres() as pg:
            assert verify(a_ledger(w), self.PLAN, my, pg, [CUTOVER], carried_back=True).ok

    def test_there_back_and_there_again(self, databases: Databases, order: Callable[..., dict[str, Any]]) -> None:
        def moved(later: float) -> dict[str, Any]:
            return {**CUTOVER, "steps": [{**step, "at": step["at"] + later} for step in CUTOVER["steps"]]}

        both = ("mysql", "aurora")
        right = [
            order("mysql", 999.0, both, 700_010),
            order("aurora", 1_002.0, both, 700_011),
            order("mysql", 1_102.0, both, 700_012),
            order("aurora", 1_202.0, both, 700_013),
        ]
        wrong = [order("aurora", 1_100.5, both, 700_014), order("mysql", 1_202.0, both, 700_015)]
        with databases.mysql() as my, databases.postgres() as pg:
            switches = [moved(0), moved(100), moved(200)]
            seen = verify(a_ledger(*right, *wrong), self.PLAN, my, pg, switches, carried_back=True)
        assert [f.ref for f in seen.misplaced] == [w["ref"] for w in wrong]
        assert seen.pause is None and not seen.lost and not seen.doubled

    def test_increments_go_on_from_mysql_to_aurora(self, databases: Databases) -> None:
        def adjust(side: str, sent: float, delta: int) -> dict[str, Any]:
            return write(
                side, sent, op="increment", table="inventory", key={"product_id": 1}, column="on_hand", delta=delta
            )

        writes = [adjust("mysql", 999.0, 5), adjust("aurora", 1_002.0, -2)]
        with databases.postgres() as pg:
            pg.execute("INSERT INTO inventory (product_id, on_hand, reserved, warehouse) VALUES (1, 13, 0, 1)")
            for i, w in enumerate(writes):
                pg.execute(
                    "INSERT INTO outbox (id, aggregate, aggregate_id, event, payload, client_ref) "
                    "VALUES (%s, 'inventory', 1, 'e', '{}', %s)",
                    (700_020 + i, w["ref"]),
                )
            try:
                assert self.check(databases, *writes).ok
                pg.execute("UPDATE inventory SET on_hand = 8")
                assert [f.found for f in self.check(databases, *writes).increments] == ["8 (-5)"]
            finally:
                pg.execute("DELETE FROM inventory")
                pg.execute("DELETE FROM outbox WHERE id >= 700000")


# --- databases that no one here wrote --------------------------------------------------------------------------------


@pytest.mark.real
class TestTables:
    @pytest.fixture
    def table(self, databases: Databases) -> Iterator[Any]:
        with databases.mysql() as my, my.cursor() as c:
            c.execute(
                "CREATE TABLE things (a SMALLINT, b VARCHAR(20), n INT NOT NULL, "
                "price DECIMAL(8,2), PRIMARY KEY (a, b))"
            )
            c.execute("INSERT INTO things VALUES (1, 'x', 100, 1.5), (2, 'y', 200, NULL)")
            try:
                yield my
            finally:
                c.execute("DROP TABLE things")

    PLAN = TablesPlan(
        [
            TablePlan(
                "things", 2, ["a", "b"], [[1, "x"], [2, "y"]], {"price": {"kind": "decimal"}}, {"n": [100, 200]}, {}
            )
        ]
    )

    def writes(self, c: Any) -> list[dict[str, Any]]:
        """An insert, an update and two increments, executed."""
        c.execute("INSERT INTO things VALUES (3, 'z', 7, 0)")
        c.execute("UPDATE things SET price = 12.3 WHERE a = 2")
        c.execute("UPDATE things SET n = n + 3 WHERE a = 1")
        kept = {"side": "mysql", "table": "things"}
        return [
            write(sent=1.0, op="insert", key={"a": 3, "b": "z"}, values={"a": 3, "b": "z", "n": 7}, **kept),
            write(sent=2.0, op="update", key={"a": 2, "b": "y"}, values={"price": "12.30"}, **kept),
            write(sent=3.0, op="increment", key={"a": 1, "b": "x"}, column="n", delta=1, **kept),
            write(sent=4.0, op="increment", key={"a": 1, "b": "x"}, column="n", delta=2, **kept),
        ]

    def test_green_and_each_fault(self, table: Any) -> None:
        def check() -> LedgerVerdict:
            return verify(a_ledger(*writes), self.PLAN, table, None)

        with table.cursor() as c:
            writes = self.writes(c)
            assert check().ok, check().to_json()
            c.execute("UPDATE things SET n = n - 1 WHERE a = 1")
            assert [f.found for f in check().increments] == ["102 (-1)"]
            writes[2]["outcome"] = "unknown"
            assert check().ok
            writes[3]["outcome"] = "unknown"
            assert check().ok and check().unknown == 2
            c.execute("UPDATE things SET n = 104 WHERE a = 1")
            assert [f.table for f in check().increments] == ["things"]
            c.execute("UPDATE things SET n = 103, price = 1 WHERE a < 3")
            assert [f.ref for f in check().lost] == [writes[1]["ref"]]
            c.execute("UPDATE things SET price = 12.3 WHERE a = 2")
            c.execute("INSERT INTO things VALUES (4, 'z', 7, 0)")
            assert [f.found for f in check().doubled] == ["4 rows"]
            c.execute("DELETE FROM things WHERE a > 2")
            assert [f.ref for f in check().lost] == [writes[0]["ref"]]


# --- the file itself ------------------------------------------------------------------------------------------------


class TestFile:
    def lines(self, tmp_path: Path, *lines: str) -> Path:
        (tmp_path / "ledger.jsonl").write_text("".join(lines))
        return tmp_path

    HEAD = json.dumps({"ledger": 1, "kind": "shop"}) + "\n"

    def test_one_that_was_not_closed_proves_nothing(self, tmp_path: Path) -> None:
        for tail in ("", '{"op": "insert"}\n', '{"end": 1, "complete": false}\n'):
            with pytest.raises(LedgerError, match="not closed"):
                read_ledger(self.lines(tmp_path, self.HEAD, tail))

    def test_one_that_is_cut_off(self, tmp_path: Path) -> None:
        with pytest.raises(LedgerError, match=r"ledger\.jsonl:2 is cut off"):
            read_ledger(self.lines(tmp_path, self.HEAD, '{"op": "ins'))

    def test_another_version_or_none(self, tmp_path: Path) -> None:
        with pytest.raises(LedgerError, match="no ledger at"):
            read_ledger(tmp_path)
        with pytest.raises(LedgerError, match="version 1"):
            read_ledger(self.lines(tmp_path, '{"ledger": 7}\n'))

    def test_reads_that_went_wrong_are_counted(self, tmp_path: Path) -> None:
        read = '{"op": "read", "outcome": "%s"}\n'
        book = read_ledger(
            self.lines(tmp_path, self.HEAD, read % "stale", read % "failed", '{"end": 1, "complete": true}\n')
        )
        assert len(book.reads) == 2 and not book.writes

    @pytest.mark.parametrize(
        ("difference", "deltas", "expected"),
        [
            (0, [], True),
            (1, [], False),
            (3, [1, 2], True),
            (-1, [1, 2], False),
            (5, [2] * 13, True),
            (27, [2] * 13, False),
        ],
    )
    def test_unknown_increments_explain_a_difference_or_not(
        self, difference: int, deltas: list[int], expected: bool
    ) -> None:
        assert ledger._reachable(difference, deltas) is expected
