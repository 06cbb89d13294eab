"""The proof that changes are captured: from here on no change can be missed, whatever dies. Rows may be copied now.

1. The source connector has committed a position: killed, it goes on from there. (Before its first position it would
   begin anew, at whatever is the end of the log by then, and what came between would be lost.)
2. A marker that is written after that is in Kafka: the connector does read on from there.
3. Its committed position contains the marker's transaction.

So every transaction that the marker's GTID set lacks is in Kafka, or will be, at or after the offsets.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import orjson
from confluent_kafka import Consumer, TopicPartition
from pymysql.cursors import Cursor as MySQLCursor

from scripts.clients.gtid import GtidSet
from scripts.clients.kafka import KafkaClient, Offsets, SourceOffsets
from scripts.context import Context
from scripts.errors import UsageError, ZdmError
from scripts.switch.drain import patience
from scripts.switch.fence import executed, mark_if_open

TICK = 0.05
"""Seconds between two looks."""
MARK_EVERY = 1.0
"""Seconds between two markers."""


@dataclass(frozen=True)
class Started:
    """Where capture has begun, as proven."""

    gtid_set: GtidSet
    """All that the source had committed then. What it lacks is captured."""
    offsets: Offsets
    """Ends of the change topics before that."""


def await_capture(context: Context, timeout: float = 120.0) -> Started:
    """Returns when changes are captured for good. Raises `UsageError` when the stack has no source connector running,
    and `ZdmError` when the proof takes longer than `timeout` seconds.
    """
    out = context.outputs
    if out.pipeline.state == "stopped":
        raise UsageError("nothing is captured: set cdc.state to capturing and bring the stack up")
    connector = out.pipeline.source_connector
    remaining = patience(timeout, f"{connector} (see its log) has not captured a marker")
    with (
        KafkaClient.of(out.brokers, out.region) as kafka,
        context.mysql(database="zdm") as mysql,
        mysql.cursor() as cursor,
    ):
        partitions = kafka.partitions([out.topic_of(name) for name in out.pipeline.tables])
        watermark = kafka.partitions([f"{out.brokers.topic_prefix}.zdm.watermark"])
        source = SourceOffsets(kafka, out.brokers.offsets_topic, connector, out.brokers.topic_prefix)
        marks = _Marks(cursor)
        while source.read(TICK) is None:
            marks.keep_coming()
            remaining()
        consumer = kafka.consumer()
        consumer.assign([TopicPartition(t, p, end) for (t, p), end in kafka.end_offsets(watermark).items()])
        ends = kafka.end_offsets(partitions)
        marker = marks.write()
        started = Started(executed(cursor), ends)
        seen = False
        while True:
            marks.keep_coming()
            seen = seen or marker in _markers(consumer)
            position = source.read(TICK)
            if seen and position is not None and started.gtid_set <= position:
                return started
            remaining()


class _Marks:
    """Writes markers to the source. Each also carries the connector's position past the one before."""

    def __init__(self, cursor: MySQLCursor) -> None:
        self._cursor = cursor
        self._due = 0.0

    def write(self) -> str:
        marker = mark_if_open(self._cursor)
        if marker is None:
            raise ZdmError("MySQL is fenced, so no marker can be written: is Aurora the writer, or a cutover on?")
        self._due = time.monotonic() + MARK_EVERY
        return marker

    def keep_coming(self) -> None:
        if time.monotonic() >= self._due:
            self.write()


def _markers(consumer: Consumer) -> set[str]:
    """Markers that have come into the watermark's topic."""
    found = set()
    for message in consumer.consume(100, TICK):
        if message.error() is not None:
            raise ZdmError(f"Kafka cannot be read: {message.error()}")
        if value := message.value():
            found.add(str((orjson.loads(value)["payload"].get("after") or {}).get("marker", "")))
    return found
