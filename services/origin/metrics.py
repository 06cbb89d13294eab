"""What an origin measures about its requests, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from contract.flag import Side

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

BUCKETS = (
    0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.12, 0.13, 0.14, 0.145, 0.15, 0.155, 0.16, 0.17, 0.18,
    0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Seconds; fine around 0.15, the bound of the p95."""


class Metrics:
    """One process's measurements: processes that share a port are scraped one by one, or not at all."""

    def __init__(self, side: Side) -> None:
        self.registry = CollectorRegistry()
        self._side = side.value
        self._seconds = Histogram(
            "zdm_request_seconds", "Time from request to answer", ["side", "kind", "status"],
            buckets=BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._fenced = Counter("zdm_fenced_total", "Requests refused by the fence", ["side", "kind"],
                               registry=self.registry)  # fmt: skip
        self._unknown = Counter("zdm_unknown_outcomes_total", "Writes whose COMMIT got no answer", ["side"],
                                registry=self.registry)  # fmt: skip
        self._replayed = Counter("zdm_replayed_total", "Writes answered from their idempotency key", ["side"],
                                 registry=self.registry)  # fmt: skip
        self._second = Counter("zdm_second_writes_total", "Writes to the second database: done, late, failed, skipped",
                               ["side", "how"], registry=self.registry)  # fmt: skip
        self._epoch = Gauge("zdm_fence_epoch", "Epoch of the fence as last seen", ["side"], registry=self.registry)
        self._children: dict[tuple[bool, int], Histogram] = {}
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def request(self, write: bool, status: int, seconds: float) -> None:
        child = self._children.get((write, status))
        if child is None:
            kind = "write" if write else "read"
            child = self._children[write, status] = self._seconds.labels(self._side, kind, str(status))
        child.observe(seconds)

    def fenced(self, write: bool) -> None:
        self._fenced.labels(self._side, "write" if write else "read").inc()

    def unknown_outcome(self) -> None:
        self._unknown.labels(self._side).inc()

    def replayed(self) -> None:
        self._replayed.labels(self._side).inc()

    def second_write(self, how: str) -> None:
        self._second.labels(self._side, how).inc()

    def epoch(self, epoch: int) -> None:
        self._epoch.labels(self._side).set(epoch)

    def text(self) -> bytes:
        return generate_latest(self.registry)
