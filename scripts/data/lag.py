"""`./zdm lag`: how late each table is on the target. What the figures mean is said in `contract.lag`; a marker is
written to the source at each sample.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import orjson
from confluent_kafka import TopicPartition
from rich.console import Console as RichConsole
from rich.table import Table as RichTable

from contract.lag import Markers, behind, table_lags
from scripts.clients.kafka import KafkaClient, Offsets, Partition, place, source_seconds
from scripts.console import Console
from scripts.context import Context
from scripts.errors import UsageError, ZdmError
from scripts.switch.fence import mark_if_open

MARKER_WAIT = 5.0
"""Seconds that a single sample waits for its marker to pass the source connector."""
FETCH_SECONDS = 2.0
"""A partition whose first waiting record is not served in this time is reported by what is known: behind, age unknown.
"""


@dataclass(frozen=True)
class LagSample:
    """One look. `tables` in seconds; `waiting` are records not applied yet; `at` is a Unix time."""

    at: float
    tables: dict[str, float]
    waiting: dict[str, int]
    source_seconds: float
    bound: float

    @property
    def seconds(self) -> float:
        """The worst table."""
        return max(self.tables.values(), default=self.source_seconds)

    @property
    def ok(self) -> bool:
        return self.seconds <= self.bound

    def to_json(self) -> dict[str, Any]:
        return {
            "at": self.at,
            "seconds": round(self.seconds, 3),
            "bound": self.bound,
            "ok": self.ok,
            "sourceSeconds": round(self.source_seconds, 3),
            "tables": {
                name: {"seconds": round(s, 3), "waiting": self.waiting[name]} for name, s in self.tables.items()
            },
        }

    def render(self, out: RichConsole) -> None:
        table = RichTable("table", "lag", "waiting")
        for name, seconds in sorted(self.tables.items(), key=lambda item: -item[1]):
            table.add_row(name, f"{seconds:.2f} s", f"{self.waiting[name]:,}")
        out.print(table)
        out.print(f"worst {self.seconds:.2f} s (bound {self.bound:g} s); source connector {self.source_seconds:.2f} s")


class Sampler:
    """Takes samples over connections that stay open. Use as a context manager; not from two threads at once."""

    def __init__(self, context: Context) -> None:
        out = context.outputs
        if out.pipeline.state != "running":
            raise UsageError(
                f"the pipeline is {out.pipeline.state}, so nothing is applied that could lag: set cdc.state to running "
                "and bring the stack up"
            )
        self._context = context
        self._kafka = KafkaClient.of(out.brokers, out.region)
        try:
            self._tables = {out.topic_of(name): name for name in out.pipeline.tables}
            self._partitions = self._kafka.partitions(self._tables)
            self._reader = self._kafka.consumer(
                settings={
                    "max.partition.fetch.bytes": 65536,
                    "queued.max.messages.kbytes": 4096,
                    "queued.min.messages": 1,
                    "fetch.queue.backoff.ms": 5,
                }
            )
            self._marks = CaptureDelay(context, self._kafka)
        except BaseException:
            self._kafka.close()
            raise

    def __enter__(self) -> Sampler:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._marks.close()
        self._kafka.close()

    def sample(self, wait: float = 0.0) -> LagSample:
        """One look now; waits at most `wait` seconds for the marker to pass, so that a single sample says something."""
        source = self._marks.delay(wait)
        out = self._context.outputs
        committed = self._kafka.committed(out.pipeline.sink_group, self._partitions)
        ends = self._kafka.end_offsets(self._partitions)
        begins: Offsets = {}
        if any(offset < 0 for offset in committed.values()):
            begins = self._kafka.begin_offsets(self._partitions)
        at = time.time()
        waits = behind(committed, begins, ends)
        lags = table_lags(self._tables, waits, ends, self._first_records(waits), at, source)
        return LagSample(
            at,
            {name: lag.seconds for name, lag in lags.items()},
            {name: lag.waiting for name, lag in lags.items()},
            source,
            out.kpis.lag_seconds,
        )

    def _first_records(self, offsets: Offsets) -> dict[Partition, float]:
        """When the record at each offset was committed at the source."""
        found: dict[Partition, float] = {}
        if not offsets:
            return found
        self._reader.assign([TopicPartition(t, p, offset) for (t, p), offset in offsets.items()])
        deadline = time.monotonic() + FETCH_SECONDS
        while len(found) < len(offsets):
            for message in self._reader.consume(len(offsets), 0.05):
                if message.error() is not None:
                    raise ZdmError(f"Kafka cannot be read: {message.error()}")
                where, _ = place(message)
                if where not in found:
                    found[where] = source_seconds(message)
                    self._reader.incremental_unassign([TopicPartition(*where)])
            if time.monotonic() > deadline:
                missing = next(p for p in offsets if p not in found)
                raise ZdmError(f"Kafka does not serve {missing[0]}-{missing[1]} at offset {offsets[missing]}")
        self._reader.unassign()
        return found


class CaptureDelay:
    """How late changes are captured, by markers in `zdm.watermark`: written to the source, awaited in the topic."""

    def __init__(self, context: Context, kafka: KafkaClient) -> None:
        out = context.outputs
        self._topic = f"{out.brokers.topic_prefix}.zdm.watermark"
        self._mysql = context.mysql(database="zdm", read_timeout=10, write_timeout=10)
        self._markers = Markers()
        self._consumer = kafka.consumer()
        ends = kafka.end_offsets(kafka.partitions([self._topic]))
        self._consumer.assign([TopicPartition(t, p, end) for (t, p), end in ends.items()])

    def close(self) -> None:
        self._mysql.close()

    def delay(self, wait: float) -> float:
        """How long a change takes, or has been taking so far, from the source's commit into Kafka."""
        self._take(0)
        self._mysql.ping(reconnect=True)
        with self._mysql.cursor() as cursor:
            marker = mark_if_open(cursor)
        if marker is None:  # fenced: the source makes no more changes
            self._markers.fenced()
            return 0.0
        self._markers.written(marker, time.time())
        deadline = time.monotonic() + wait
        while self._markers.waiting and time.monotonic() < deadline:
            self._take(0.02)
        return self._markers.delay(time.time(), waited=wait > 0)

    def _take(self, wait: float) -> None:
        message = self._consumer.poll(wait)
        while message is not None:
            value = message.value()
            if message.error() is None and value:
                after = orjson.loads(value)["payload"].get("after") or {}
                self._markers.seen(after.get("marker", ""), message.timestamp()[1] / 1000)
            message = self._consumer.poll(0)


def sample(context: Context) -> LagSample:
    """One sample over connections of its own."""
    with Sampler(context) as sampler:
        return sampler.sample(MARKER_WAIT)


def run(context: Context, *, watch: float | None, console: Console) -> LagSample:
    """One sample, or one every `watch` seconds until interrupted; the last one is the result."""
    if watch is None:
        return sample(context)
    if watch <= 0:
        raise UsageError(f"--watch is in seconds and must be above 0, not {watch:g}")
    with Sampler(context) as sampler:
        last = sampler.sample(MARKER_WAIT)
        try:
            while True:
                started = time.monotonic()
                console.info(
                    f"lag {last.seconds:6.2f} s   source {last.source_seconds:5.2f} s   "
                    f"waiting {sum(last.waiting.values()):,}"
                )
                time.sleep(max(0.0, watch - (time.monotonic() - started)))
                last = sampler.sample()
        except KeyboardInterrupt:
            return last
