"""There and back with real parts: the way back carries what Aurora took, a rollback loses nothing, and the way there
goes on from where it stopped."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from components.debezium_way_back import WayBackNames, reverse_sink_config, reverse_source_config
from contract.flag import Side, Writes
from contract.way_back import MYSQL_SINK_USER, REVERSE_USER
from local.dataplane.connect import Connector, Worker
from local.dataplane.kafka import Topic
from scripts.context import Context, context_from
from scripts.errors import UsageError, ZdmError
from scripts.switch import cutover, journal, probation, traffic, way_back
from scripts.switch.fence import Controller
from scripts.switch.hands_back import BackHands
from scripts.switch.journal import Direction, State
from tests.switch.conftest import CAPTURE, Lab, Shop
from tests.switch.test_cutover import CountedShop, Killed

pytestmark = pytest.mark.real

ROUNDS = count(1)
SECRETS = {"aurora-cdc": REVERSE_USER, "mysql-sink": MYSQL_SINK_USER}


@dataclass
class Road:
    """The lab with a way back of its own round."""

    lab: Lab
    names: WayBackNames
    running: bool = False

    @property
    def context(self) -> Context:
        names, out = self.names, self.lab.outputs
        pipeline = {
            **out["pipeline"],
            "state": "stopped" if self.running else "running",
            "wayBack": {
                "state": "running" if self.running else "stopped",
                "sourceConnector": names.source_connector,
                "sinkConnector": names.sink_connector,
                "topicPrefix": names.prefix,
                "offsetsTopic": names.offsets_topic,
                "slot": names.slot,
                "publication": names.publication,
                "auroraSecret": "zdm-dev/aurora-cdc",
                "mysqlSecret": "zdm-dev/mysql-sink",
            },
        }
        kpis = {"probationWindowSeconds": 2.0, "lagSeconds": 20.0}
        return context_from({**out, "pipeline": pipeline, "kpis": kpis}, "test", self.lab.context.home)

    def cut_over(self) -> None:
        result = cutover.run(self.context, console=self.lab.quiet)
        assert (result.outcome, result.problems) == ("open", [])

    def roll_back(self, **options: Any) -> Any:
        return cutover.run(self.context, console=self.lab.quiet, direction=Direction.ROLLBACK, **options)

    def turn_round(self) -> None:
        """As one update of the stack does: the forward sink stops, then the way back's connectors start."""
        lab, names, out = self.lab, self.names, self.lab.outputs
        lab.sink("pause")
        for name, offsets, config in (
            (
                names.sink_connector,
                None,
                reverse_sink_config(names, host=out["source"]["host"], port=3306, account="zdm-dev/mysql-sink"),
            ),
            (
                names.source_connector,
                names.offsets_topic,
                reverse_source_config(names, host=out["target"]["host"], port=5432, account="zdm-dev/aurora-cdc"),
            ),
        ):
            Connector().create(lab.stack, name, lab.connector(name, offsets, config))
        self.running = True
        try:
            way_back.await_running(self.context, 60)
        except ZdmError as e:
            tails = [Worker(lab.stack, n).process.tail(40) for n in (names.source_connector, names.sink_connector)]
            raise AssertionError("\n".join([str(e), *tails])) from e

    def back_sink(self, action: str) -> None:
        self.lab.sink(action, self.names.sink_connector)

    def stop(self) -> None:
        for name in (self.names.source_connector, self.names.sink_connector):
            worker = Worker(self.lab.stack, name)
            if worker.exists():
                worker.remove()
        self.running = False


@pytest.fixture
def road(lab: Lab) -> Iterator[Road]:
    for name, user in SECRETS.items():
        text = json.dumps({"username": user, "password": "Way-back-1"})
        with contextlib.suppress(lab.secrets.exceptions.ResourceExistsException):
            lab.secrets.create_secret(Name=f"zdm-dev/{name}", SecretString=text)
    road = Road(lab, WayBackNames(CAPTURE, next(ROUNDS)))
    for topic in road.names.topics(24):
        if topic.name == road.names.offsets_topic and road.names.round > 1:
            continue
        declared = {
            "clusterArn": lab.cluster,
            "name": topic.name,
            "partitionCount": topic.partitions,
            "replicationFactor": 3,
            "configs": json.dumps(topic.configs()),
        }
        Topic().create(lab.stack, topic.name, declared)
    try:
        yield road
    finally:
        road.stop()
        with Controller(road.context) as c:
            c.cursor.execute("SET GLOBAL super_read_only = OFF")
            c.lock_mysql_account(MYSQL_SINK_USER)
            c.cursor.execute("RESET PERSIST IF EXISTS read_only")
            for (slot,) in lab.postgres("SELECT slot_name FROM pg_replication_slots WHERE slot_name LIKE 'zdm_back%%'"):
                lab.postgres(f"SELECT pg_drop_replication_slot('{slot}')")
        lab.sink("resume")


def exactly_once(lab: Lab, shop: Shop, ask: Callable[..., list[tuple[Any, ...]]]) -> None:
    """Every acknowledged write is there once: the orders by their keys, the increments by their sums."""
    assert shop.errors == []
    orders = {key for (key,) in ask("SELECT id FROM orders")}
    assert [key for _, key, _ in shop.acknowledged if key not in orders] == []
    expected = Counter(customer for _, _, customer in shop.acknowledged)
    found = {int(customer): n for customer, n in ask("SELECT id, n FROM customers WHERE id <= 10")}
    assert {c: found[c] for c in expected} == {c: n + shop.before[c] for c, n in expected.items()}  # type: ignore[attr-defined]


def test_there_and_back_and_the_way_there_goes_on(road: Road) -> None:
    lab = road.lab
    with CountedShop(lab) as shop:
        road.cut_over()
        shop.await_writes(50, "aurora")
        assert lab.mysql("SELECT @@read_only, @@super_read_only") == [(1, 0)]
        assert cutover.status(road.context).slot[0]
        with pytest.raises(UsageError, match="the way back does not run"):
            probation.run(road.context, minutes=0.1, console=lab.quiet)
        road.turn_round()
        shop.await_writes(50, "aurora")
        held = probation.run(road.context, minutes=0.1, manual=True, console=lab.quiet)
        assert held.windows and all(w.lag_seconds is not None for w in held.windows if not w.broken)
        dry = road.roll_back(dry_run=True)
        assert (dry.outcome, dry.problems) == ("dry-run", [])
        shop.await_writes(20, "aurora")
        result = road.roll_back()
        assert (result.outcome, result.problems) == ("open", [])
        shop.await_writes(50, "mysql")
    assert result.ok and (result.pause.before, result.pause.after) == (Side.AURORA, Side.MYSQL)
    assert [s.state for s in result.steps][-1] is State.OPEN
    assert result.detail(State.VERIFIED)["differences"] == 0 and result.detail(State.VERIFIED)["keys"] > 0
    exactly_once(lab, shop, lab.mysql)
    seen = traffic.get(road.context)
    assert (seen.flag.mode, seen.flag.weight, seen.flag.writes) == (Side.MYSQL, 0.0, Writes.OPEN) and seen.agree
    assert lab.mysql("SELECT @@read_only, @@super_read_only") == [(0, 0)]
    assert lab.mysql("SELECT account_locked FROM mysql.user WHERE user = %s", MYSQL_SINK_USER) == [("Y",)]
    with lab.context.postgres("app") as app, pytest.raises(Exception, match="permission denied"):
        app.execute("UPDATE customers SET n = 0")
    # the way there goes on from where it stopped
    road.stop()
    lab.sink("resume")
    lab.settle()
    exactly_once(lab, shop, lab.postgres)
    assert "cdc.state" not in cutover.status(lab.context).next


def test_probation_rolls_back_by_itself(road: Road) -> None:
    """Nobody answers for Aurora's origin here, which is a breach in every window."""
    lab = road.lab
    with CountedShop(lab) as shop:
        road.cut_over()
        road.turn_round()
        seen = probation.run(road.context, minutes=1.0, console=lab.quiet)
        assert seen.outcome == "rolled-back" and not seen.ok and len(seen.windows) == 2
        assert seen.rollback is not None and seen.rollback.ok
        shop.await_writes(30, "mysql")
    exactly_once(lab, shop, lab.mysql)
    with lab.context.postgres() as pg:
        record = journal.last_record(pg, journal.PROBATION)
    assert record is not None and not record.ok and record.body["rollback"]["outcome"] == "open"


def test_numbers_that_aurora_gave_are_not_given_again(road: Road) -> None:
    lab = road.lab
    road.cut_over()
    road.turn_round()
    with lab.context.postgres("app") as app:
        [(key,)] = app.execute("INSERT INTO customers (name) VALUES ('gone') RETURNING id").fetchall()
        app.execute("DELETE FROM customers WHERE id = %s", (key,))
    assert road.roll_back().outcome == "open"
    lab.mysql("INSERT INTO customers (name) VALUES ('next')")
    [(following,)] = lab.mysql("SELECT id FROM customers WHERE name = 'next'")
    assert following > key


def test_rollback_that_cannot_finish_is_undone(road: Road) -> None:
    lab = road.lab
    with CountedShop(lab) as shop:
        road.cut_over()
        road.turn_round()
        with pytest.MonkeyPatch.context() as patch:
            fence = BackHands.fence

            def fence_and_stall(hands: BackHands, *arguments: Any) -> Any:
                road.back_sink("pause")
                return fence(hands, *arguments)

            patch.setattr(BackHands, "fence", fence_and_stall)
            patch.setattr("scripts.switch.machine.patience", _short)
            result = road.roll_back()
        assert result.outcome == "undone" and not result.ok
        assert (result.pause.before, result.pause.after) == (Side.AURORA, Side.AURORA)
        shop.await_writes(30, "aurora")
        road.back_sink("resume")
        assert way_back.await_running(road.context, 60) < 60
        assert road.roll_back().outcome == "open"
        shop.await_writes(30, "mysql")
    exactly_once(lab, shop, lab.mysql)


def _short(seconds: float, what: str) -> Callable[[], float]:
    from scripts.switch.drain import patience

    return patience(min(seconds, 8.0), what)


@pytest.mark.parametrize("state", [State.FENCED, State.PREPARED, State.COMMITTED])
def test_killed_in_a_rollback(road: Road, tmp_path: Path, state: State) -> None:
    lab = road.lab
    with CountedShop(lab) as shop:
        road.cut_over()
        road.turn_round()
        outputs = json.loads(road.context.outputs.model_dump_json(by_alias=True))
        dead = Killed(lab, tmp_path, state, Direction.ROLLBACK, outputs)
        before = len(shop.acknowledged)
        dead.kill()
        assert len(shop.acknowledged) == before  # nobody may write
        status = cutover.status(road.context)
        assert not status.ok and "cutover resume" in status.next
        result = cutover.resume(road.context, console=lab.quiet)
        if state is State.COMMITTED:
            assert result.outcome == "finished"  # type: ignore[union-attr]
            shop.await_writes(30, "mysql")
        else:
            assert result.outcome == "undone"  # type: ignore[union-attr]
            shop.await_writes(30, "aurora")
            assert road.roll_back().outcome == "open"
            shop.await_writes(30, "mysql")
    exactly_once(lab, shop, lab.mysql)


def test_an_undone_cutover_leaves_no_slot(road: Road, tmp_path: Path) -> None:
    lab = road.lab
    outputs = json.loads(road.context.outputs.model_dump_json(by_alias=True))
    dead = Killed(lab, tmp_path, State.PREPARED, outputs=outputs)
    assert way_back_slot(lab, road)
    dead.kill()
    assert cutover.resume(road.context, console=lab.quiet).outcome == "undone"  # type: ignore[union-attr]
    assert not way_back_slot(lab, road)
    assert cutover.resume(road.context, console=lab.quiet).ok


def test_abort_of_a_run_under_way_elsewhere(road: Road, tmp_path: Path) -> None:
    lab = road.lab
    with CountedShop(lab) as shop:
        dead = Killed(lab, tmp_path, State.VERIFIED, go_on=True)
        done = cutover.abort(lab.context, console=lab.quiet)
        dead.process.wait(30)
        assert done.ok and "undone itself" in done.says  # type: ignore[union-attr]
        shop.await_writes(30, "mysql")
    assert shop.of("aurora") == []
    assert traffic.get(lab.context).agree


def test_final_gives_the_way_back_up(road: Road) -> None:
    lab = road.lab
    with pytest.raises(UsageError, match="Aurora is not the writer"):
        cutover.final(road.context)
    road.cut_over()
    road.turn_round()
    with pytest.raises(UsageError, match="still reads from Aurora"):
        cutover.final(road.context)
    road.stop()
    assert cutover.final(road.context).ok
    assert lab.mysql("SELECT @@super_read_only") == [(1,)] and not way_back_slot(lab, road)
    with lab.context.postgres() as pg:
        assert journal.entries(pg, 1)[0].state is State.FINAL
    assert cutover.status(road.context).next == "Aurora is the writer for good."


def way_back_slot(lab: Lab, road: Road) -> bool:
    return bool(lab.postgres("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", road.names.slot))
