"""What the probe measures, for Prometheus. A figure that could not be measured is absent, never an old one."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from contract.lag import Partition, TableLag
from services.lag_probe.databases import Verdict
from services.lag_probe.kafka import Position

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PARTS = ("kafka", "mysql", "aurora", "ecs")


class Metrics:
    """The probe's registry."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, what: str, *labels: str) -> Gauge:
            return Gauge(name, what, labels, registry=self.registry)

        self._lag = gauge("zdm_cdc_lag_seconds", "How late a table is on the target", "table")
        self._waiting = gauge(
            "zdm_cdc_consumer_lag_records", "Records that the sink has not applied", "topic", "partition"
        )
        self._committed = gauge(
            "zdm_cdc_committed_offset", "Where the sink has applied all before", "topic", "partition"
        )
        self._source = gauge("zdm_cdc_source_lag_seconds", "From the source's commit into Kafka", "connector")
        self._heartbeat = gauge(
            "zdm_cdc_heartbeat_age_seconds", "Age of the source connector's last heartbeat", "connector"
        )
        self._mismatches = gauge("zdm_data_check_mismatches", "Rows that differed in the last data check", "kind")
        self._checked = gauge("zdm_data_check_timestamp_seconds", "When the last data check ended", "kind")
        self._slots = gauge("zdm_target_slot_wal_bytes", "Log that a logical slot of the target holds back", "slot")
        self._failures = Counter("zdm_probe_failures_total", "Samples that failed", ["what"], registry=self.registry)
        for part in PARTS:
            self._failures.labels(part)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def lags(
        self, lags: Mapping[str, TableLag], position: Position, waits: Mapping[Partition, int], source: float
    ) -> None:
        self.no_lags()
        for table, lag in lags.items():
            self._lag.labels(table).set(lag.seconds)
        for (topic, partition), offset in position.committed.items():
            where = (topic, str(partition))
            waiting = position.ends[topic, partition] - waits[topic, partition] if (topic, partition) in waits else 0
            self._waiting.labels(*where).set(waiting)
            self._committed.labels(*where).set(max(offset, 0))
        self._source.labels("source").set(source)

    def no_lags(self) -> None:
        for gauge in (self._lag, self._waiting, self._committed, self._source):
            gauge.clear()

    def heartbeat(self, age: float | None) -> None:
        self._heartbeat.clear()
        if age is not None:
            self._heartbeat.labels("source").set(age)

    def target(self, verdict: Verdict | None, slots: Mapping[str, float]) -> None:
        self.no_target()
        if verdict is not None:
            self._checked.labels("data-check").set(verdict.at)
            if verdict.mismatches is not None:
                self._mismatches.labels("data-check").set(verdict.mismatches)
        for slot, held in slots.items():
            self._slots.labels(slot).set(held)

    def no_target(self) -> None:
        for gauge in (self._mismatches, self._checked, self._slots):
            gauge.clear()

    def failed(self, what: str) -> None:
        self._failures.labels(what).inc()

    def text(self) -> bytes:
        return generate_latest(self.registry)
