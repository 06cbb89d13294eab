"""The relay on both real databases: nothing is lost, whatever the order of commits, and nothing overtakes its cause."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import Consumer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from contract.flag import Flag, Side, Writes
from local.dataplane.kafka import Cluster, Configuration, Topic
from services.origin.database import Database, Fenced
from services.relay import relay as relaying
from services.relay.relay import Event, Metrics, NotDelivered, Relay
from tests.services.databases import Databases, until
from tests.services.test_fence import open_for, run

pytestmark = pytest.mark.real

INSERT = (
    "INSERT INTO outbox (aggregate, aggregate_id, event, payload, client_ref, created_at) "
    "VALUES ('order', 1, 'order.placed', '{}', %s, CURRENT_TIMESTAMP(6))"
)
TRANSACTIONS = 5


@dataclass
class Inbox:
    """Who is delivered to; it may fail before or after it has taken the events."""

    got: list[int] = field(default_factory=list)
    fails: str = ""

    async def publish(self, events: Sequence[Event]) -> None:
        if self.fails == "before":
            raise NotDelivered("before")
        self.got += [event.id for event in events]
        if self.fails == "after":
            raise NotDelivered("after")


def relay_to(database: Database, publish: relaying.Publish) -> Relay:
    return Relay(database, publish, Metrics(database.side, CollectorRegistry()))


async def rounds(database: Database, inbox: Inbox, times: int = 1) -> list[int]:
    relay = relay_to(database, inbox.publish)
    async with database.alone(relaying.LOCK) as db:
        assert db is not None
        return [await relay.round(db) for _ in range(times)]


@contextlib.contextmanager
def sessions(databases: Databases, side: Side, count: int) -> Iterator[list[Any]]:
    """Connections of writers, each in a transaction of its own."""
    with contextlib.ExitStack() as stack:
        made = [databases.mysql() if side is Side.MYSQL else databases.postgres() for _ in range(count)]
        for connection in made:
            stack.callback(connection.close)
        yield made


def execute(connection: Any, sql: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values or None)


def clear(databases: Databases, side: Side) -> None:
    databases.query(side, "DELETE FROM outbox")


def numbers(databases: Databases, side: Side) -> dict[str, int]:
    return {ref: int(number) for ref, number in databases.query(side, "SELECT client_ref, id FROM outbox")}


def test_a_row_that_commits_late_is_delivered_and_a_position_would_lose_it(databases: Databases, side: Side) -> None:
    databases.set_fence(side, open_for(side))
    inbox = Inbox()
    naive: list[int] = []

    def poll() -> None:
        last = max(naive, default=0)
        naive.extend(int(n) for (n,) in databases.query(side, "SELECT id FROM outbox WHERE id > %s ORDER BY id", last))

    with sessions(databases, side, 2) as (slow, quick):
        for name, connection in (("slow", slow), ("quick", quick)):
            execute(connection, "BEGIN")
            execute(connection, INSERT, name)
        for connection in (quick, slow):
            execute(connection, "COMMIT")
            poll()
            run(databases, side, lambda database: rounds(database, inbox))
    number = numbers(databases, side)
    assert number["slow"] < number["quick"]
    assert inbox.got == [number["quick"], number["slow"]]
    assert naive == [number["quick"]], "a position above the last number: the trap"


# Each step is a transaction's number (its next step: begin and insert, then end) or None: the relay has a turn.
STEPS = st.lists(st.one_of(st.none(), st.integers(0, TRANSACTIONS - 1)), max_size=24)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, rolled_back=st.sets(st.integers(0, TRANSACTIONS - 1)), fails=st.sets(st.integers(0, 8)))
def test_any_order_of_commits(
    databases: Databases, side: Side, steps: list[int | None], rolled_back: set[int], fails: set[int]
) -> None:
    """Some rounds fail after delivery. Whatever is committed comes, and never before what it could have seen."""
    databases.set_fence(side, open_for(side))
    clear(databases, side)
    inbox, turns = Inbox(), 0
    begun: dict[int, frozenset[int]] = {}  # by transaction: what had been committed when it inserted
    ended: set[int] = set()
    committed: list[int] = []

    async def relay(database: Database) -> None:
        nonlocal turns
        inbox.fails = "after" if turns in fails else ""
        turns += 1
        with contextlib.suppress(NotDelivered):
            await rounds(database, inbox)

    with sessions(databases, side, TRANSACTIONS) as writers:

        def step(which: int) -> None:
            if which not in begun:
                execute(writers[which], "BEGIN")
                begun[which] = frozenset(committed)
                execute(writers[which], INSERT, str(which))
            elif which not in ended:
                ended.add(which)
                execute(writers[which], "ROLLBACK" if which in rolled_back else "COMMIT")
                if which not in rolled_back:
                    committed.append(which)

        for this in steps:
            if this is None:
                run(databases, side, relay)
            else:
                step(this)
        for which in set(begun) - ended:
            step(which)
        fails = set()
        run(databases, side, relay)
    number = numbers(databases, side)
    assert set(number) == {str(which) for which in committed}
    assert set(inbox.got) == set(number.values())
    first = {n: inbox.got.index(n) for n in number.values()}
    for which in committed:
        for cause in begun[which]:
            assert first[number[str(cause)]] < first[number[str(which)]]
    left = "SELECT COUNT(*) FROM outbox WHERE delivered_at IS NULL"
    assert databases.query(side, left) == [(0,)]


def test_what_was_not_marked_comes_again(databases: Databases, side: Side) -> None:
    databases.set_fence(side, open_for(side))
    for name in "ab":
        databases.query(side, INSERT, name)
    a, b = sorted(numbers(databases, side).values())
    inbox = Inbox()

    async def use(database: Database) -> None:
        for inbox.fails in ("before", "after"):
            with pytest.raises(NotDelivered):
                await rounds(database, inbox)
        inbox.fails = ""
        assert await rounds(database, inbox, 2) == [2, 0]

    run(databases, side, use)
    assert inbox.got == [a, b, a, b]


def test_batches_follow_each_other(databases: Databases, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaying, "UNDELIVERED", relaying.UNDELIVERED.replace(f"LIMIT {relaying.BATCH}", "LIMIT 2"))
    databases.set_fence(side, open_for(side))
    for i in range(5):
        databases.query(side, INSERT, str(i))
    inbox = Inbox()
    assert run(databases, side, lambda database: rounds(database, inbox, 4)) == [2, 2, 1, 0]
    assert inbox.got == sorted(numbers(databases, side).values())


def test_the_side_that_does_not_write_delivers_nothing(databases: Databases, side: Side) -> None:
    databases.query(side, INSERT, "a")
    inbox = Inbox()
    for flag in (open_for(side.other), Flag(5, 3, 0.0, Writes.HOLD, side)):
        databases.set_fence(side, flag)
        assert run(databases, side, lambda database: rounds(database, inbox)) == [0]
    assert inbox.got == []


def test_fenced_between_delivery_and_mark(databases: Databases, side: Side) -> None:
    """The other side, where the row has come without a mark, delivers it again."""
    databases.set_fence(side, open_for(side))
    databases.query(side, INSERT, "a")
    inbox = Inbox()

    async def use(database: Database) -> None:
        async def publish(events: Sequence[Event]) -> None:
            await inbox.publish(events)
            await asyncio.to_thread(databases.set_fence, side, open_for(side.other, 9))

        relay = relay_to(database, publish)
        async with database.alone(relaying.LOCK) as db:
            assert db is not None
            with pytest.raises(Fenced):
                await relay.round(db)

    run(databases, side, use)
    assert len(inbox.got) == 1
    assert databases.query(side, "SELECT COUNT(*) FROM outbox WHERE delivered_at IS NULL") == [(1,)]


def test_one_relays_and_the_next_takes_over(databases: Databases, side: Side) -> None:
    databases.set_fence(side, open_for(side))

    async def use(database: Database) -> None:
        async with database.alone(relaying.LOCK) as first:
            assert first is not None
            async with database.alone(relaying.LOCK) as second:
                assert second is None
            [(number,)] = await first.fetch(
                "SELECT CONNECTION_ID()" if side is Side.MYSQL else "SELECT pg_backend_pid()"
            )
            kill = f"KILL {number}" if side is Side.MYSQL else f"SELECT pg_terminate_backend({number})"
            await asyncio.to_thread(databases.query, side, kill)
            await eventually(lambda: taken(database))

    async def taken(database: Database) -> bool:
        async with database.alone(relaying.LOCK) as db:
            return db is not None

    run(databases, side, use)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        there = False
        while not there:
            there = await condition()
            await asyncio.sleep(0.02)


def test_events_come_to_kafka_by_aggregate(databases: Databases, side: Side, broker: dict[str, str]) -> None:
    """The whole way: the shop's API writes, the relay's process delivers, and takes SIGTERM as it should."""
    databases.set_fence(side, open_for(side))
    topic = f"events-{side}"
    more = {**broker, "EVENTS_TOPIC": topic}
    with databases.origin(side) as shop, databases.origin(side, "services.relay", **more) as relay:
        order = {"client_ref": "r1", "customer_id": 3, "items": [{"product_id": 7, "quantity": 2}]}
        number = shop.client.post("/orders", json=order).json()["id"]
        for status in ("paid", "packed", "shipped"):
            answer = shop.client.post(f"/orders/{number}/status", json={"client_ref": status, "status": status})
            assert answer.status_code == 200
        delivered = f'zdm_outbox_delivered_total{{side="{side}"}} 4.0'
        until(lambda: delivered in relay.client.get("/metrics").text)
        assert f'zdm_outbox_relaying{{side="{side}"}} 1.0' in relay.client.get("/metrics").text
        assert f'zdm_outbox_oldest_seconds{{side="{side}"}}' in relay.client.get("/metrics").text
    assert relay.process.returncode == 0
    events = consumed(broker["KAFKA_BOOTSTRAP"], topic, 4)
    assert {key for key, _ in events} == {f"order:{number}".encode()}
    assert [event["event"] for _, event in events] == ["order.placed", *["order.status"] * 3]
    assert [event["client_ref"] for _, event in events] == ["r1", "paid", "packed", "shipped"]
    assert events[1][1]["payload"] == {"status": "paid"} and events[0][1]["payload"]["total"] == "14.00"
    assert len({event["id"] for _, event in events}) == 4 and events[0][1]["created_at"].endswith("Z")


def consumed(bootstrap: str, topic: str, count: int) -> list[tuple[bytes | None, Any]]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found: list[tuple[bytes | None, Any]] = []
    try:
        for _ in range(100):
            for message in consumer.consume(count, 0.2):
                assert message.error() is None, message.error()
                found.append((message.key(), json.loads(message.value() or b"")))
            if len(found) >= count:
                return found
    finally:
        consumer.close()
    raise AssertionError(f"{len(found)} of {count} events came")


@pytest.fixture(scope="module")
def broker(servers: Databases) -> dict[str, str]:
    """A real broker with a topic for each side's events, as the relay is told."""
    configuration, _ = Configuration().create(servers.stack, "kafka", {"name": "kafka", "serverProperties": ""})
    _, kafka = Cluster().create(
        servers.stack,
        "kafka",
        {
            "clusterName": "kafka",
            "kafkaVersion": "3.9.x",
            "numberOfBrokerNodes": 3,
            "clientAuthentication": {"sasl": {"iam": True}},
            "configurationInfo": {"arn": configuration, "revision": 1},
        },
    )
    for side in Side:
        name = f"events-{side}"
        Topic().create(
            servers.stack,
            name,
            {"clusterArn": kafka["arn"], "name": name, "partitionCount": 3, "replicationFactor": 3, "configs": "{}"},
        )
    return {"KAFKA_BOOTSTRAP": kafka["bootstrapBrokersSaslIam"], "ZDM_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}
