"""The fence on both real databases: who may not write does not, and who closes it waits for those who write."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from contract.flag import Flag, Side, Writes, parse_flag
from services.origin.database import Database, Fenced, Session, Unavailable, UnknownOutcome
from services.origin.server import database_of
from tests.services.databases import Databases, Service, until

pytestmark = pytest.mark.real

ADJUST = "/inventory/5/adjust"
BODY = {"client_ref": "x", "delta": 1}


def open_for(side: Side, epoch: int = 2) -> Flag:
    return Flag(epoch, epoch, 0.0 if side is Side.MYSQL else 100.0, Writes.OPEN, side)


def on_hand(databases: Databases, side: Side) -> int:
    [(count,)] = databases.query(side, "SELECT on_hand FROM inventory WHERE product_id = 5")
    return int(count)


async def increment(db: Session) -> int:
    return await db.execute("UPDATE inventory SET on_hand = on_hand + 1 WHERE product_id = 5")


def run(databases: Databases, side: Side, use: Callable[[Database], Awaitable[Any]]) -> Any:
    """Runs `use` with the origin's own database layer."""

    async def main() -> Any:
        database = database_of(databases.settings(side))
        try:
            return await use(database)
        finally:
            await database.close()

    return asyncio.run(main())


def test_a_closed_fence_executes_nothing(origin: Service, databases: Databases, side: Side) -> None:
    for flag in (
        Flag(5, 3, 50.0, Writes.HOLD, side),
        Flag(6, 3, 50.0, Writes.REJECT, side),
        Flag(7, 4, 50.0, Writes.OPEN, side.other),
    ):
        databases.set_fence(side, flag)
        answer = origin.client.post(ADJUST, json=BODY)
        assert answer.status_code == 421 and answer.json()["error"]["code"] == "fenced"
        assert parse_flag(answer.headers["x-zdm-flag"]) == flag
        assert origin.client.get("/products/5").status_code == 200
    assert on_hand(databases, side) == 0
    databases.set_fence(side, open_for(side, 9))
    assert origin.client.post(ADJUST, json=BODY).status_code == 200


def test_a_side_that_is_stale_refuses_reads(origin: Service, databases: Databases, side: Side) -> None:
    flag = open_for(side.other, 5)
    databases.set_fence(side, flag)
    answer = origin.client.get("/products/5")
    assert (answer.status_code, parse_flag(answer.headers["x-zdm-flag"])) == (421, flag)
    assert origin.client.get("/products/5", headers={"x-zdm-forced": "1"}).status_code == 200
    assert parse_flag(origin.client.get("/__zdm/flag").text) == flag


def test_answers_carry_a_newer_flag_only(origin: Service, databases: Databases, side: Side) -> None:
    databases.set_fence(side, Flag(7, 3, 10.0, Writes.OPEN, side))
    told_to = {("3", "7"): False, ("4", "1"): False, ("3", "6"): True, ("2", "99"): True, ("x", "7"): True}
    for known, told in told_to.items():
        headers = {"x-zdm-epoch": known[0], "x-zdm-v": known[1]}
        read = origin.client.get("/products/5", headers=headers)
        for answer in (read, origin.client.post(ADJUST, json=BODY, headers=headers)):
            assert answer.status_code == 200 and ("x-zdm-flag" in answer.headers) is told, known


def test_closing_waits_for_a_write_in_flight(databases: Databases, side: Side) -> None:
    databases.set_fence(side, open_for(side))
    closed = Flag(9, 9, 100.0, Writes.HOLD, side)
    may_end, is_in = threading.Event(), threading.Event()

    async def use(database: Database) -> None:
        async def work(db: Session) -> None:
            await increment(db)
            is_in.set()
            await asyncio.to_thread(may_end.wait, 20)

        await database.write(work)
        with pytest.raises(Fenced) as caught:
            await database.write(increment)
        assert caught.value.flag == closed

    with ThreadPoolExecutor(2) as pool:
        writing = pool.submit(run, databases, side, use)
        assert is_in.wait(10)
        closing = pool.submit(databases.set_fence, side, closed)
        until(lambda: waiting_for_the_fence(databases, side))
        assert not closing.done()
        may_end.set()
        closing.result(10)
        assert on_hand(databases, side) == 1
        writing.result(10)
    assert on_hand(databases, side) == 1


def waiting_for_the_fence(databases: Databases, side: Side) -> bool:
    if side is Side.MYSQL:
        sql = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    else:
        sql = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    return bool(databases.query(side, sql)[0][0])


def test_the_database_itself_refuses_and_that_is_a_fence(origin: Service, databases: Databases, side: Side) -> None:
    """Read only or without privilege, while the fence's row still says open."""
    if side is Side.MYSQL:
        databases.query(side, "SET GLOBAL read_only = ON")
    else:
        databases.query(side, "REVOKE zdm_writer FROM shop_app")
    answer = origin.client.post(ADJUST, json=BODY)
    assert (answer.status_code, parse_flag(answer.headers["x-zdm-flag"])) == (421, open_for(side))
    assert origin.client.get("/products/5").json()["on_hand"] == 0
    if side is Side.MYSQL:
        databases.query(side, "SET GLOBAL read_only = OFF")
    else:
        databases.query(side, "GRANT zdm_writer TO shop_app")
    assert origin.client.post(ADJUST, json=BODY).status_code == 200


@pytest.mark.parametrize("side", [Side.MYSQL])
def test_read_only_in_the_middle_of_a_write(databases: Databases, side: Side) -> None:
    """A write that finds MySQL read only at COMMIT has not happened, and is reported so."""

    async def use(database: Database) -> None:
        async def work(db: Session) -> None:
            await increment(db)
            await asyncio.to_thread(databases.query, side, "SET GLOBAL read_only = ON")

        with pytest.raises(Fenced):
            await database.write(work)

    run(databases, side, use)
    assert on_hand(databases, side) == 0


def test_a_lost_answer_to_commit_is_unknown(databases: Databases, side: Side) -> None:
    databases.set_fence(side, open_for(side))

    async def use(database: Database) -> None:
        with contextlib.ExitStack() as stack:

            async def work(db: Session) -> None:
                await increment(db)
                stack.enter_context(cut_at_commit(databases, side))

            if side is Side.AURORA:  # a deferred trigger runs at COMMIT
                stack.enter_context(slow_commit(databases))
            with pytest.raises(UnknownOutcome):
                await database.write(work)
        until(lambda: on_hand(databases, side) in (0, 1))
        await database.read(increment_nothing)

    run(databases, side, use)


async def increment_nothing(db: Session) -> None:
    await db.fetch("SELECT on_hand FROM inventory WHERE product_id = 5")


@contextlib.contextmanager
def slow_commit(databases: Databases) -> Iterator[None]:
    for statement in (
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM pg_sleep(8); RETURN NULL; END$$",
        "CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON inventory DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION slow()",
    ):
        databases.query(Side.AURORA, statement)
    try:
        yield
    finally:
        databases.query(Side.AURORA, "DROP FUNCTION slow() CASCADE")


@contextlib.contextmanager
def cut_at_commit(databases: Databases, side: Side) -> Iterator[None]:
    """From now on COMMIT hangs, and its connection is killed as soon as it does."""
    locker = databases.mysql() if side is Side.MYSQL else None
    if locker is not None:
        locker.cursor().execute("FLUSH TABLES WITH READ LOCK")

    def kill() -> None:
        if side is Side.MYSQL:
            find = "SELECT id FROM information_schema.processlist WHERE user = 'shop_app' AND info = 'COMMIT'"
            until(lambda: bool(databases.query(side, find)))
            databases.query(side, f"KILL {databases.query(side, find)[0][0]}")
            return
        find = "SELECT pid FROM pg_stat_activity WHERE usename = 'shop_app' AND query = 'COMMIT' AND state = 'active'"
        until(lambda: bool(databases.query(side, find)))
        databases.query(side, f"SELECT pg_terminate_backend({databases.query(side, find)[0][0]})")

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        killer.join()
        if locker is not None:
            locker.close()


def test_a_connection_lost_before_commit_costs_nothing(databases: Databases, side: Side) -> None:
    databases.set_fence(side, open_for(side))
    attempts = 0

    async def use(database: Database) -> None:
        async def work(db: Session) -> None:
            nonlocal attempts
            attempts += 1
            await increment(db)
            if attempts == 1:
                [(number,)] = await db.fetch(
                    "SELECT CONNECTION_ID()" if side is Side.MYSQL else "SELECT pg_backend_pid()"
                )
                kill = f"KILL {number}" if side is Side.MYSQL else f"SELECT pg_terminate_backend({number})"
                await asyncio.to_thread(databases.query, side, kill)
                await increment(db)

        await database.write(work)

    run(databases, side, use)
    assert (attempts, on_hand(databases, side)) == (2, 1)


def test_deadlocks_are_tried_again(databases: Databases, side: Side) -> None:
    databases.set_fence(side, open_for(side))

    async def use(database: Database) -> None:
        meet = asyncio.Barrier(2)

        def crossing(first: int, second: int) -> Callable[[Session], Awaitable[None]]:
            tried = 0

            async def work(db: Session) -> None:
                nonlocal tried
                tried += 1
                await db.execute("UPDATE inventory SET on_hand = on_hand + 1 WHERE product_id = ?", first)
                if tried == 1:
                    await meet.wait()
                await db.execute("UPDATE inventory SET on_hand = on_hand + 1 WHERE product_id = ?", second)

            return work

        await asyncio.gather(database.write(crossing(5, 6)), database.write(crossing(6, 5)))

    run(databases, side, use)
    assert on_hand(databases, side) == 2


def test_a_restarted_database_is_found_again(origin: Service, databases: Databases, side: Side) -> None:
    with ThreadPoolExecutor(4) as pool:  # several connections are open
        answers = pool.map(lambda _: origin.client.post(ADJUST, json=BODY), range(20))
        assert {answer.status_code for answer in answers} == {200}
    databases.stop(side)
    answer = origin.client.post(ADJUST, json=BODY)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert origin.client.get("/products/5").status_code == 503
    assert (origin.status("/healthz"), origin.status("/readyz")) == (200, 503)
    databases.begin(side)
    until(lambda: origin.status("/readyz") == 200)
    assert origin.client.post(ADJUST, json=BODY).status_code == 200
    assert on_hand(databases, side) == 21


def test_an_origin_waits_for_its_database(databases: Databases, side: Side) -> None:
    """Neither the account's database nor the fence need be there when it starts."""
    with databases.origin(side, ready=False, DB_NAME="later") as service:
        assert service.status("/readyz") == 503
        assert service.client.post(ADJUST, json=BODY).status_code == 503
        databases.query(side, "CREATE DATABASE later")
        try:
            if side is Side.MYSQL:
                databases.query(side, "GRANT ALL ON later.* TO shop_app")
                until(lambda: service.status("/readyz") == 200)
            answer = service.client.get("/products/1")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
        finally:
            drop = "DROP DATABASE later"
            databases.query(side, drop if side is Side.MYSQL else f"{drop} WITH (FORCE)")
    assert service.process.returncode == 0


def test_a_stopping_origin_finishes_its_requests(databases: Databases, side: Side) -> None:
    databases.set_fence(side, open_for(side))
    with databases.origin(side) as service, ThreadPoolExecutor(1) as pool:
        with databases.mysql() if side is Side.MYSQL else databases.postgres() as holder, holder.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT 1 FROM inventory WHERE product_id = 5 FOR UPDATE")
            answer = pool.submit(service.client.post, ADJUST, json=BODY)
            waiting = (
                "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
                if side is Side.MYSQL
                else "SELECT COUNT(*) FROM pg_locks WHERE NOT granted"
            )
            until(lambda: databases.query(side, waiting)[0][0] > 0)
            service.process.send_signal(signal.SIGTERM)
            until(lambda: not accepts(service))
            assert not answer.done()
            cursor.execute("COMMIT")
        assert answer.result(10).status_code == 200
        assert service.process.wait(20) == 0
    assert on_hand(databases, side) == 1


def accepts(service: Service) -> bool:
    try:
        httpx.get(service.url + "/healthz", timeout=2)
    except httpx.TransportError:
        return False
    return True


@pytest.mark.parametrize("side", [Side.MYSQL], indirect=True)
def test_processes_share_a_port(origin: Service, databases: Databases, side: Side) -> None:
    bind = origin.url.removeprefix("http://")
    with databases.origin(side, bind=bind) as second:
        until(lambda: len({pid_of(origin.url) for _ in range(20)}) == 2)
        assert second.process.poll() is None


def pid_of(url: str) -> str:
    """Tells the processes behind one address apart by when they started."""
    text = httpx.get(url + "/metrics").text
    return next(line for line in text.splitlines() if line.startswith("process_start_time_seconds"))


def test_a_full_pool_says_so(databases: Databases, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    databases.set_fence(side, open_for(side))
    monkeypatch.setattr("services.origin.database.POOL_WAIT_SECONDS", 0.1)

    async def use(database: Database) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(4):
                await stack.enter_async_context(lease(database))
            with pytest.raises(Unavailable):
                await database.write(increment)
        await database.write(increment)

    run(databases, side, use)
    assert on_hand(databases, side) == 1


def lease(database: Database) -> contextlib.AbstractAsyncContextManager[Any]:
    return database._pool.lease()


def test_a_transaction_has_a_deadline(databases: Databases, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    databases.set_fence(side, open_for(side))
    monkeypatch.setattr("services.origin.database.DEADLINE_SECONDS", 0.5)

    async def use(database: Database) -> None:
        async def work(db: Session) -> None:
            await increment(db)
            await db.fetch("SELECT SLEEP(2)" if side is Side.MYSQL else "SELECT pg_sleep(2)")

        started = time.monotonic()
        with pytest.raises(Unavailable):
            await database.write(work)
        assert time.monotonic() - started < 1.9
        await database.read(increment_nothing)

    run(databases, side, use)
    until(lambda: not waiting_transactions(databases, side))
    assert on_hand(databases, side) == 0


def waiting_transactions(databases: Databases, side: Side) -> bool:
    if side is Side.MYSQL:
        return bool(databases.query(side, "SELECT 1 FROM information_schema.innodb_trx"))
    sql = "SELECT 1 FROM pg_stat_activity WHERE usename = 'shop_app' AND xact_start IS NOT NULL"
    return bool(databases.query(side, sql))
