"""Kafka as the probe sees it: how far the sink is, the oldest record that waits, markers and heartbeats.

Nothing here joins a consumer group or commits: the connectors' positions are only read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from contract.lag import Partition, source_seconds
from services.kafka_client import client_settings
from services.lag_probe.settings import Settings

TIMEOUT = 10.0
"""Seconds that a question to the brokers may take."""
FETCH_SECONDS = 3.0
"""Seconds in which the first waiting record of every partition must come."""
READER = "zdm-lag-probe"
"""The probe's own group: it has no members and no commits, Kafka's client only wants a name."""


class KafkaFails(RuntimeError):
    """Kafka could not be asked."""


@dataclass(frozen=True)
class Position:
    """Where the sink and the ends of all partitions are."""

    committed: Mapping[Partition, int]
    begins: Mapping[Partition, int]
    ends: Mapping[Partition, int]


class Kafka:
    """Connections that stay open; `close` ends them. Not for two threads at once."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._watermark = f"{settings.prefix}.zdm.watermark"
        self._admin = AdminClient(self._client({}))
        self._sink = Consumer(self._client({"group.id": settings.sink_group, "enable.auto.commit": False}))
        fetch = {"max.partition.fetch.bytes": 65536, "queued.max.messages.kbytes": 4096, "queued.min.messages": 1}
        self._first = Consumer(self._reader(fetch))
        self._signs = Consumer(self._reader({}))
        self._follow()

    def close(self) -> None:
        for consumer in (self._sink, self._first, self._signs):
            consumer.close()

    def position(self) -> Position:
        """The sink's position and the topics' ends, now. Raises `KafkaFails`."""
        partitions = self._partitions(self._settings.topics)
        with _explained():
            answers = self._sink.committed([TopicPartition(t, p) for t, p in partitions], timeout=TIMEOUT)
        for answer in answers:
            if answer.error is not None:
                raise KafkaFails(f"no position of {self._settings.sink_group} in {answer.topic}: {answer.error}")
        committed = {(a.topic, a.partition): max(a.offset, -1) for a in answers}
        never = any(offset < 0 for offset in committed.values())
        begins = self._offsets(partitions, OffsetSpec.earliest()) if never else {}
        return Position(committed, begins, self._offsets(partitions, OffsetSpec.latest()))

    def first_records(self, offsets: Mapping[Partition, int]) -> dict[Partition, float]:
        """When the record at each offset was committed at the source. Raises `KafkaFails` if one does not come."""
        found: dict[Partition, float] = {}
        if not offsets:
            return found
        self._first.assign([TopicPartition(t, p, offset) for (t, p), offset in offsets.items()])
        deadline = time.monotonic() + FETCH_SECONDS
        while len(found) < len(offsets):
            for message in self._first.consume(len(offsets), 0.05):
                if message.error() is not None:
                    raise KafkaFails(str(message.error()))
                where = _place(message)
                if where not in found:
                    found[where] = source_seconds(message.value(), message.timestamp()[1])
                    self._first.incremental_unassign([TopicPartition(*where)])
            if time.monotonic() > deadline:
                missing = next(p for p in offsets if p not in found)
                raise KafkaFails(f"{missing[0]}-{missing[1]} is not served at offset {offsets[missing]}")
        self._first.unassign()
        return found

    def signs(self) -> Iterator[tuple[str | None, float]]:
        """What came since the last call: (marker, when) of the watermark, (None, when) of a heartbeat."""
        message = self._signs.poll(0.01)
        while message is not None:
            value = message.value()
            if message.error() is None and value:
                at = message.timestamp()[1] / 1000
                if message.topic() == self._settings.heartbeat_topic:
                    yield None, at
                else:
                    after = json.loads(value)["payload"].get("after") or {}
                    if "marker" in after:
                        yield str(after["marker"]), at
            message = self._signs.poll(0)

    def _follow(self) -> None:
        """Markers from now on; heartbeats from the last one that there is."""
        ends = self._offsets(self._partitions([self._watermark, self._settings.heartbeat_topic]), OffsetSpec.latest())
        back = {self._settings.heartbeat_topic: 1}
        self._signs.assign([TopicPartition(t, p, max(0, end - back.get(t, 0))) for (t, p), end in ends.items()])

    def _partitions(self, topics: Iterable[str]) -> list[Partition]:
        with _explained():
            known = self._admin.list_topics(timeout=TIMEOUT).topics
        missing = sorted(t for t in topics if t not in known)
        if missing:
            raise KafkaFails(f"there is no topic {', '.join(missing)}")
        return [(topic, p) for topic in topics for p in sorted(known[topic].partitions)]

    def _offsets(self, partitions: Iterable[Partition], spec: OffsetSpec) -> dict[Partition, int]:
        question = {TopicPartition(t, p): spec for t, p in partitions}
        if not question:
            return {}
        with _explained():
            answers = self._admin.list_offsets(question, request_timeout=TIMEOUT)
            return {(tp.topic, tp.partition): future.result().offset for tp, future in answers.items()}

    def _reader(self, more: Mapping[str, Any]) -> dict[str, Any]:
        return self._client(
            {
                "group.id": READER,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 10,
                "allow.auto.create.topics": False,
                **more,
            }
        )

    def _client(self, more: Mapping[str, Any]) -> dict[str, Any]:
        known = self._settings
        return {**client_settings(known.bootstrap, known.protocol, known.region, READER), **more}


def _place(message: Message) -> Partition:
    topic, partition = message.topic(), message.partition()
    if topic is None or partition is None:
        raise KafkaFails(str(message.error()))
    return topic, partition


class _explained:
    """Turns the client's errors into ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KafkaException):
            detail = error.args[0]
            raise KafkaFails(detail.str() if isinstance(detail, KafkaError) else str(error)) from error
