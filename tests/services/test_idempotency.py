"""A write under a key is executed once, whatever breaks in between, and every repeat gets the first answer."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from contract.flag import Flag, Side, Writes
from services.origin import idempotency
from services.origin.answers import Busy
from services.origin.database import Database, Session, UnknownOutcome
from services.origin.idempotency import Answer, Key, once
from tests.services.databases import Databases, Service, until
from tests.services.test_fence import cut_at_commit, increment, on_hand, open_for, run, slow_commit

pytestmark = pytest.mark.real

ORDER = {"client_ref": "r", "customer_id": 3, "items": [{"product_id": 7, "quantity": 2}]}
ADJUST, DELTA = "/inventory/5/adjust", {"client_ref": "x", "delta": 1}
KEY = {"idempotency-key": "0f8fad5b-d9cb-469f-a165-70867728950e"}
STORED = "SELECT id, status FROM zdm.idempotency ORDER BY id"


def test_a_repeat_gets_the_first_answer(origin: Service, databases: Databases, side: Side) -> None:
    first = origin.client.post("/orders", json=ORDER, headers=KEY)
    assert first.status_code == 201 and idempotency.REPLAYED not in first.headers
    for _ in range(2):
        again = origin.client.post("/orders", json=ORDER, headers=KEY)
        assert (again.status_code, again.content) == (201, first.content)
        assert again.headers[idempotency.REPLAYED] == "true" and again.headers["x-zdm-side"] == side.value
    assert databases.query(side, "SELECT COUNT(*) FROM orders") == [(1,)]
    assert databases.query(side, "SELECT COUNT(*) FROM outbox") == [(1,)]
    other = origin.client.post("/orders", json=ORDER, headers={"idempotency-key": "~" * 64})
    assert other.status_code == 201 and other.json()["id"] != first.json()["id"]
    assert f'zdm_replayed_total{{side="{side}"}} 2.0' in origin.client.get("/metrics").text


def test_a_refusal_is_an_answer_too(origin: Service, databases: Databases, side: Side) -> None:
    change = {"client_ref": "x", "tier": "gold"}
    first = origin.client.put("/customers/99", json=change, headers=KEY)
    assert first.status_code == 404
    databases.query(
        side, "INSERT INTO customers (id, email, full_name, password_hash) VALUES (99, 'c99@example.org', 'A', '')"
    )
    again = origin.client.put("/customers/99", json=change, headers=KEY)
    assert (again.status_code, again.content) == (404, first.content)
    assert origin.client.put("/customers/99", json=change, headers={"idempotency-key": "2"}).status_code == 200
    assert databases.query(side, STORED) == [(KEY["idempotency-key"], 404), ("2", 200)]


def test_a_key_belongs_to_one_request(origin: Service, databases: Databases, side: Side) -> None:
    assert origin.client.post(ADJUST, json=DELTA, headers=KEY).status_code == 200
    for path, body in ((ADJUST, {**DELTA, "delta": 2}), ("/inventory/6/adjust", DELTA), ("/orders", ORDER)):
        other = origin.client.post(path, json=body, headers=KEY)
        assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency-key-reused")
    assert on_hand(databases, side) == 1
    assert origin.client.post(ADJUST, json=DELTA, headers=KEY).status_code == 200
    assert databases.query(side, "SELECT COUNT(*) FROM outbox") == [(1,)]


def test_one_that_is_under_way_says_so(origin: Service, databases: Databases, side: Side) -> None:
    """Also to another process."""
    with ThreadPoolExecutor(1) as pool, databases.origin(side) as second:
        with databases.mysql() if side is Side.MYSQL else databases.postgres() as holder, holder.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT 1 FROM inventory WHERE product_id = 5 FOR UPDATE")
            first = pool.submit(origin.client.post, ADJUST, json=DELTA, headers=KEY)
            until(lambda: waits(databases, side))
            for service in (origin, second):
                answer = httpx.post(service.url + ADJUST, json=DELTA, headers=KEY)
                assert (answer.status_code, answer.json()["error"]["code"]) == (409, "idempotency-key-in-use")
                assert int(answer.headers["retry-after"]) > 0
            cursor.execute("COMMIT")
        assert first.result(10).status_code == 200
        again = second.client.post(ADJUST, json=DELTA, headers=KEY)
        assert again.status_code == 200 and idempotency.REPLAYED in again.headers
    assert on_hand(databases, side) == 1


def waits(databases: Databases, side: Side) -> bool:
    if side is Side.MYSQL:
        sql = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    else:
        sql = "SELECT 1 FROM pg_locks WHERE NOT granted"
    return bool(databases.query(side, sql))


def test_many_at_once_are_one(origin: Service, databases: Databases, side: Side) -> None:
    start = threading.Barrier(12)

    def send(i: int) -> list[int]:
        with httpx.Client(base_url=origin.url, timeout=30) as client:
            codes = []
            for key in range(10):
                start.wait(20)
                codes.append(client.post(ADJUST, json=DELTA, headers={"idempotency-key": f"k{key}"}).status_code)
            return codes

    with ThreadPoolExecutor(12) as pool:
        codes = list(pool.map(send, range(12)))
    assert {code for found in codes for code in found} <= {200, 409}
    assert all(200 in found for found in zip(*codes, strict=True))
    assert on_hand(databases, side) == 10
    repeats = [origin.client.post(ADJUST, json=DELTA, headers={"idempotency-key": f"k{key}"}) for key in range(10)]
    assert {(a.status_code, a.headers.get(idempotency.REPLAYED)) for a in repeats} == {(200, "true")}


def test_what_was_not_executed_is_not_remembered(origin: Service, databases: Databases, side: Side) -> None:
    databases.set_fence(side, Flag(5, 3, 50.0, Writes.HOLD, side))
    assert origin.client.post(ADJUST, json=DELTA, headers=KEY).status_code == 421
    databases.set_fence(side, open_for(side, 9))
    assert origin.client.post("/orders", json={**ORDER, "color": "red"}, headers=KEY).status_code == 422
    assert databases.query(side, STORED) == []
    assert origin.client.post(ADJUST, json=DELTA, headers=KEY).status_code == 200


def test_after_the_cutover_the_other_side_knows(databases: Databases) -> None:
    """The row travels like those of the shop; here by hand (`tests/switch/test_carried.py` has Debezium do it)."""
    databases.set_fence(Side.MYSQL, open_for(Side.MYSQL))
    with databases.origin(Side.MYSQL) as mysql, databases.origin(Side.AURORA) as aurora:
        first = mysql.client.post("/orders", json=ORDER, headers=KEY)
        moved = open_for(Side.AURORA, 3)
        for side in Side:
            databases.set_fence(side, moved)
        [row] = databases.query(Side.MYSQL, "SELECT id, request, status, answer, at FROM zdm.idempotency")
        databases.query(Side.AURORA, "INSERT INTO zdm.idempotency VALUES (%s, %s, %s, %s, %s)", *row)
        assert mysql.client.post("/orders", json=ORDER, headers=KEY).status_code == 421
        again = aurora.client.post("/orders", json=ORDER, headers=KEY)
        assert (again.status_code, again.content) == (201, first.content)
    assert databases.query(Side.AURORA, "SELECT COUNT(*) FROM orders") == [(0,)]


def test_a_lost_answer_to_commit_can_be_asked_for_again(databases: Databases, side: Side) -> None:
    databases.set_fence(side, open_for(side))
    key = Key("k", "digest")

    async def work(db: Session) -> Answer:
        await increment(db)
        return Answer(200, b"{}")

    async def use(database: Database) -> list[Answer]:
        with contextlib.ExitStack() as stack:

            async def cut(db: Session) -> Answer:
                answer = await once(db, key, work)
                stack.enter_context(cut_at_commit(databases, side))
                return answer

            if side is Side.AURORA:
                stack.enter_context(slow_commit(databases))
            with pytest.raises(UnknownOutcome):
                await database.write(cut)
        answers = []
        while len(answers) < 2:
            try:
                answers.append((await database.write(lambda db: once(db, key, work)))[0])
            except Busy:  # the killed session may still be ending
                await asyncio.sleep(0.05)
        return answers

    first, second = run(databases, side, use)
    assert on_hand(databases, side) == 1
    assert (first.status, first.content) == (second.status, second.content) == (200, b"{}") and second.replayed


def test_a_mistake_lets_go_of_the_key(databases: Databases, side: Side) -> None:
    """Whatever ends a transaction ends its lock, though MySQL's belongs to the connection."""
    databases.set_fence(side, open_for(side))
    key = Key("k", "digest")
    locked = (
        f"SELECT IS_USED_LOCK('zdm:{key.lock}') IS NOT NULL"
        if side is Side.MYSQL
        else "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory'"
    )

    async def use(database: Database) -> Answer:
        async def wrong(db: Session) -> Answer:
            await increment(db)
            raise ZeroDivisionError

        async def work(db: Session) -> Answer:
            await increment(db)
            return Answer(200, b"{}")

        with pytest.raises(ZeroDivisionError):
            await database.write(lambda db: once(db, key, wrong))
        many = [Key(f"k{i}", "") for i in range(4)]
        await asyncio.gather(*(database.write(lambda db, key=key: once(db, key, work)) for key in many))
        answer, _ = await database.write(lambda db: once(db, key, work))
        assert await asyncio.to_thread(databases.query, side, locked) == [(0,)]
        return answer

    assert run(databases, side, use) == Answer(200, b"{}")
    assert on_hand(databases, side) == 5


def test_expired_answers_are_deleted_in_batches(
    databases: Databases, side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases.set_fence(side, open_for(side))
    monkeypatch.setattr(idempotency, "BATCH", 3)
    for name, hours in (*((f"old{i}", 24 + i) for i in range(1, 6)), ("new", 23)):
        databases.query(
            side,
            "INSERT INTO zdm.idempotency (id, request, status, answer, at) "
            f"VALUES ('{name}', '', 200, '', CURRENT_TIMESTAMP(6) - INTERVAL '{hours}' HOUR)",
        )

    async def use(database: Database) -> list[int]:
        return [await idempotency.prune(database) for _ in range(3)]

    assert run(databases, side, use) == [3, 2, 0]
    assert databases.query(side, "SELECT id FROM zdm.idempotency") == [("new",)]


@pytest.mark.parametrize("side", [Side.MYSQL], indirect=True)
def test_what_is_no_key(origin: Service, databases: Databases) -> None:
    wrong: list[list[tuple[str, Any]]] = [
        [("idempotency-key", value)] for value in ("", "x" * 65, "a b", b"\xc3\xa9", b"\x7f")
    ]
    for headers in (*wrong, [("idempotency-key", "a"), ("idempotency-key", "b")]):
        assert origin.client.post(ADJUST, json=DELTA, headers=headers).status_code == 400, headers
    assert on_hand(databases, Side.MYSQL) == 0
