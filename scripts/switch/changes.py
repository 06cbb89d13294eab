"""Which rows changed since a point in the change topics: what must be compared once more before the switch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from confluent_kafka import TopicPartition

from scripts.clients.kafka import KafkaClient, Offsets, key_payload, place
from scripts.context import Context
from scripts.data.compare import Key, Rules
from scripts.errors import ZdmError


def kafka_offsets(context: Context, tables: Iterable[str] | None = None) -> dict[str, dict[str, int]]:
    """The ends of the change topics (of `tables`, or all) now, as JSON: `{topic: {partition: offset}}`.

    Taken before a check starts (`check.run(marker=...)`) and stored with its verdict, they say from where on changes
    have not been checked.
    """
    out = context.outputs
    with KafkaClient.of(out.brokers, out.region) as kafka:
        ends = kafka.end_offsets(kafka.partitions([out.topic_of(name) for name in tables or out.pipeline.tables]))
    answer: dict[str, dict[str, int]] = {}
    for (topic, partition), end in sorted(ends.items()):
        answer.setdefault(topic, {})[str(partition)] = end
    return answer


def offsets_of(stored: Mapping[str, Mapping[str, int]]) -> Offsets:
    """What `kafka_offsets` gave."""
    return {(topic, int(p)): int(offset) for topic, partitions in stored.items() for p, offset in partitions.items()}


class ChangedKeys:
    """The primary keys in the change topics from a point on, read ahead in the background, taken in portions."""

    def __init__(self, kafka: KafkaClient, rules: Mapping[str, Rules], since: Offsets) -> None:
        """`rules` by topic. Raises `ZdmError` when records after `since` have been deleted by retention already."""
        gone = [p for p, first in kafka.begin_offsets(since).items() if first > since[p]]
        if gone:
            raise ZdmError(
                f"Kafka no longer has all changes of {gone[0][0]} since the last check: "
                "run `./zdm data-check` again, and keep records longer than a check's age"
            )
        self._rules = dict(rules)
        self._position = dict(since)
        self._consumer = kafka.consumer(
            settings={
                "fetch.message.max.bytes": 1 << 20,
                "queued.max.messages.kbytes": 16 << 10,
                "fetch.queue.backoff.ms": 10,
            }
        )
        self._consumer.assign([TopicPartition(t, p, offset) for (t, p), offset in since.items()])
        self.pending: dict[str, dict[Key, None]] = {}

    @property
    def count(self) -> int:
        """How many keys wait."""
        return sum(len(keys) for keys in self.pending.values())

    def advance(self, ends: Offsets, timeout: float) -> None:
        """Adds the keys of all records before `ends` (and perhaps some after). Raises `ZdmError` after `timeout`
        seconds.
        """
        deadline = time.monotonic() + timeout
        behind = {p for p, end in ends.items() if self._position[p] < end}
        while behind:
            for message in self._consumer.consume(500, 0.02):
                if message.error() is not None:
                    raise ZdmError(f"Kafka cannot be read: {message.error()}")
                where, offset = place(message)
                self._position[where] = offset + 1
                payload = key_payload(message)
                rules = self._rules[where[0]]
                key = rules.canonical([rule.from_debezium(payload[column.name]) for column, rule in rules.key])
                self.pending.setdefault(rules.table.name, {})[key] = None
            behind = {p for p in behind if self._position[p] < ends[p]}
            if behind and time.monotonic() > deadline:
                raise ZdmError(f"the changes of {min(behind)[0]} cannot be read within {timeout:.0f} s")

    def take(self) -> dict[str, list[Key]]:
        """The keys that wait, which wait no longer."""
        taken = {name: list(keys) for name, keys in self.pending.items() if keys}
        self.pending = {}
        return taken

    def put_back(self, table: str, keys: Iterable[Key]) -> None:
        """Keys that must be compared again."""
        self.pending.setdefault(table, {}).update(dict.fromkeys(keys))
