"""Changes are captured for good before a row is copied: a connector that is killed at once loses none of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import orjson
import pytest

from local.dataplane.connect import Connector, Worker
from local.processes import wait_until
from scripts.clients.kafka import KafkaClient
from scripts.context import Context, context_from
from scripts.errors import UsageError, ZdmError
from scripts.switch.capture import await_capture
from tests.switch.conftest import CAPTURE, Lab, make_topics

pytestmark = pytest.mark.real

FIRST = replace(CAPTURE, name="first", prefix="first", snapshot=False)
"""Another capture of the same tables, whose rows somebody else copies."""


@pytest.fixture
def first(lab: Lab) -> Context:
    """The stack as it is while changes are captured and not applied."""
    kafka = {**lab.outputs["kafka"], "topicPrefix": FIRST.prefix, "offsetsTopic": FIRST.offsets_topic}
    pipeline = {**lab.outputs["pipeline"], "state": "capturing", "copy": "zdm", "sourceConnector": "first-source"}
    return context_from({**lab.outputs, "kafka": kafka, "pipeline": pipeline}, "test", lab.context.home)


def changes(context: Context, since: dict[tuple[str, int], int]) -> Iterator[tuple[str, str]]:
    """Operation and name of what was captured of the customers from there on."""
    with KafkaClient.of(context.outputs.brokers, "us-east-1") as kafka:
        for message in kafka.records(since, kafka.end_offsets(since)):
            if (value := message.value()) and message.topic() == "first.ecommerce.customers":
                payload = orjson.loads(value)["payload"]
                yield payload["op"], payload["after"]["name"]


def test_nothing_is_lost_once_capture_has_begun(lab: Lab, first: Context) -> None:
    make_topics(lab.stack, lab.cluster, FIRST)
    with pytest.raises(ZdmError, match=r"first-source .*has not captured a marker within 2 s"):
        await_capture(first, 2)
    inputs = lab.connector(FIRST.source_connector, FIRST.offsets_topic, lab.source_config(FIRST, 5402))
    known, state = Connector().create(lab.stack, "first", inputs)
    try:
        started = await_capture(first)
        process = Worker(lab.stack, FIRST.source_connector).process
        assert process.pid is not None
        lab.mysql("INSERT INTO customers (name) VALUES ('at once')")
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not process.running(), 10, "the worker's death")
        lab.mysql("INSERT INTO customers (name) VALUES ('meanwhile')")
        Connector().update(lab.stack, known, state, inputs)
        begin = dict.fromkeys(started.offsets, 0)

        def seen(since: dict[tuple[str, int], int]) -> list[tuple[str, str]]:
            return sorted(set(changes(first, since)))

        both = [("c", "at once"), ("c", "meanwhile")]
        wait_until(lambda: seen(started.offsets) == both, 60, "both changes in Kafka")
        assert seen(begin) == both, "no row of before, and no snapshot after the restart"
        again = await_capture(first)
        assert started.gtid_set <= again.gtid_set and all(again.offsets[p] >= o for p, o in started.offsets.items())
    finally:
        Connector().delete(lab.stack, known, state)


def test_without_a_source_there_is_nothing_to_await(lab: Lab) -> None:
    pipeline = {**lab.outputs["pipeline"], "state": "stopped"}
    stopped = context_from({**lab.outputs, "pipeline": pipeline}, "test", lab.context.home)
    with pytest.raises(UsageError, match=r"cdc\.state to capturing"):
        await_capture(stopped)
