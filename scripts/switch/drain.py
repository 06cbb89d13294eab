"""The proof that the target has everything: of every transaction, every table and every partition, never of a single
row.

1. The source connector's committed position contains every transaction that the closed MySQL had: each of their records
   is acknowledged by Kafka.
2. So the ends of the change topics (the tables', and that of the idempotency keys) are final.
3. The sink has committed each partition up to its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from contract.outputs import Outputs
from scripts.clients.kafka import KafkaClient, Offsets, SourceOffsets, mysql_position, postgres_position
from scripts.context import Context
from scripts.errors import ZdmError
from scripts.switch.fence import executed, mark_if_open
from scripts.switch.way_back import required

TICK = 0.01
"""Seconds between two looks at the positions."""


@dataclass(frozen=True)
class Route:
    """One direction of the pipeline, as positions know it."""

    topics: tuple[str, ...]
    """The change topics of the tables."""
    carried: tuple[str, ...]
    """Topics of control tables whose rows must arrive as well."""
    group: str
    """The sink's consumer group."""
    connector: str
    offsets_topic: str
    prefix: str
    read: Callable[[dict[str, Any]], Any]
    """The source's position from what its connector stores; positions are compared with `<=`."""


def way_there(out: Outputs) -> Route:
    """MySQL to Aurora."""
    p = out.pipeline
    return Route(
        tuple(out.topic_of(name) for name in p.tables),
        (out.idempotency_topic,),
        p.sink_group,
        p.source_connector,
        out.brokers.offsets_topic,
        out.brokers.topic_prefix,
        mysql_position,
    )


def way_back(out: Outputs) -> Route:
    """Aurora to MySQL. Raises `UsageError` where the stack has none."""
    back = required(out)
    topics = tuple(back.topic_of(name) for name in out.pipeline.tables)
    return Route(
        topics,
        (back.idempotency_topic,),
        back.sink_group,
        back.source_connector,
        back.offsets_topic,
        back.topic_prefix,
        postgres_position,
    )


@dataclass(frozen=True)
class Drained:
    """The proven ends, and how long each half took."""

    ends: Offsets
    source_seconds: float
    sink_seconds: float


class Drain:
    """Connections and positions made ready, so that the pause has none of that in it."""

    def __init__(self, kafka: KafkaClient, route: Route) -> None:
        self._kafka = kafka
        self._group = route.group
        self.partitions = kafka.partitions(route.topics)
        self._all = self.partitions + kafka.partitions(route.carried)
        self._source = SourceOffsets(kafka, route.offsets_topic, route.connector, route.prefix, route.read)
        self._kafka.end_offsets(self._all)
        self.committed()
        if self._source.read() is None:
            raise ZdmError(
                f"the source connector {route.connector} has no position in {route.offsets_topic}: "
                "has its snapshot ended?"
            )

    def ends(self) -> Offsets:
        """The ends of the tables' topics."""
        return self._kafka.end_offsets(self.partitions)

    def committed(self) -> Offsets:
        return self._kafka.committed(self._group, self._all)

    def run(
        self, executed: Any, remaining: Callable[[], float], on_ends: Callable[[Offsets], None] | None = None
    ) -> Drained:
        """Returns when all of `executed` is on the target; `on_ends` is called as soon as the ends are final.

        `remaining` gives the seconds left and raises when there are none.
        """
        started = time.monotonic()
        seen = self._source.read()
        while seen is None or not executed <= seen:
            remaining()
            seen = self._source.read(TICK)
        middle = time.monotonic()
        ends = self._kafka.end_offsets(self._all)
        if on_ends is not None:
            on_ends({p: ends[p] for p in self.partitions})
        self.await_sink(ends, remaining)
        return Drained(ends, middle - started, time.monotonic() - middle)

    def await_sink(self, ends: Offsets, remaining: Callable[[], float]) -> None:
        """Returns when the sink has committed each partition up to `ends`."""
        needed = {p: end for p, end in ends.items() if end > 0}
        while True:
            committed = self.committed()
            needed = {p: end for p, end in needed.items() if committed[p] < end}
            if not needed:
                return
            remaining()
            time.sleep(TICK)

    def behind(self) -> dict[str, int]:
        """Records that the sink has not committed, by topic."""
        committed = self.committed()
        answer: dict[str, int] = {}
        for (topic, p), end in self._kafka.end_offsets(self._all).items():
            if committed[topic, p] < end:
                answer[topic] = answer.get(topic, 0) + end - max(committed[topic, p], 0)
        return answer


@contextmanager
def settler(context: Context, timeout: float = 60.0) -> Iterator[Callable[[], None]]:
    """Gives a function that returns when all that the source had committed at its call is on the target.

    For checks under live changes. It raises `ZdmError` when that takes longer than `timeout` seconds.
    """
    out = context.outputs
    with (
        KafkaClient.of(out.brokers, out.region) as kafka,
        context.mysql(database="zdm") as mysql,
        mysql.cursor() as cursor,
    ):
        drain = Drain(kafka, way_there(out))

        def settle() -> None:
            open_ = mark_if_open(cursor)
            all_of_it = executed(cursor)
            if open_ is None or mark_if_open(cursor) is None:
                raise ZdmError("MySQL is fenced, so its changes cannot be awaited by markers: is a cutover under way?")
            drain.run(all_of_it, patience(timeout, "the target has not caught up"))

        yield settle


def patience(seconds: float, what: str) -> Callable[[], float]:
    """A function that gives the seconds left, and raises `ZdmError` when there are none."""
    deadline = time.monotonic() + seconds

    def remaining() -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise ZdmError(f"{what} within {seconds:g} s")
        return left

    return remaining
