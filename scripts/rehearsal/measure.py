"""What the load generator measured, second by second: written while it runs, read live and by the report.

A file `seconds.jsonl` has one `Second` a line, in order; a line is written when its second is over.

Invariants:
- Latency runs from the moment a request was DUE, not from when it was sent: a stall is in the figures of all the
  requests that it made late (no coordinated omission).
- A request counts in the second in which its answer arrived.
- Histograms add up exactly; a percentile is at most 2 percent off.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

SECONDS_FILE: Final = "seconds.jsonl"

Verb = Literal["read", "write"]

_GROWTH: Final = math.log(1.04)


@dataclass(slots=True)
class Histogram:
    """Latencies in milliseconds, counted in buckets that grow by 4 percent."""

    buckets: dict[int, int] = field(default_factory=dict)

    def add(self, ms: float) -> None:
        bucket = round(math.log(max(ms, 0.001)) / _GROWTH)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def update(self, other: Histogram) -> Histogram:
        for bucket, n in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + n
        return self

    @property
    def count(self) -> int:
        return sum(self.buckets.values())

    def percentile(self, percent: float) -> float | None:
        """Milliseconds that `percent` of the requests did not exceed; None when there were none."""
        rank = math.ceil(self.count * percent / 100)
        for bucket in sorted(self.buckets):
            rank -= self.buckets[bucket]
            if rank <= 0:
                return math.exp(bucket * _GROWTH)
        return None

    def to_json(self) -> dict[str, int]:
        return {str(bucket): n for bucket, n in sorted(self.buckets.items())}

    @classmethod
    def from_json(cls, data: dict[str, int]) -> Histogram:
        return cls({int(bucket): n for bucket, n in data.items()})


@dataclass
class Second:
    """One second of load. `t` is its start (whole seconds since the epoch).

    `latency` holds the answered requests by "read:mysql", "write:aurora" and so on; the counts are those histograms'.
    `failed` were refused or could not be sent; `unknown` may or may not have been executed; `stale` are reads that did
    not see the reader's own acknowledged write. `late_ms` is how far the generator itself fell behind its arrivals at
    most.
    """

    t: int
    arrivals: int = 0
    failed: int = 0
    unknown: int = 0
    stale: int = 0
    in_flight: int = 0
    late_ms: float = 0.0
    latency: dict[str, Histogram] = field(default_factory=dict)

    def answered(self, verb: Verb | None = None, side: str | None = None) -> int:
        return self.histogram(verb, side).count

    def histogram(self, verb: Verb | None = None, side: str | None = None) -> Histogram:
        return _merged([self], verb, side)

    def to_json(self) -> dict[str, Any]:
        return {
            "t": self.t, "arrivals": self.arrivals, "failed": self.failed, "unknown": self.unknown, "stale": self.stale,
            "in_flight": self.in_flight, "late_ms": round(self.late_ms, 2),
            "latency": {key: h.to_json() for key, h in sorted(self.latency.items())},
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Second:
        return cls(**{**data, "latency": {key: Histogram.from_json(h) for key, h in data["latency"].items()}})


@dataclass(frozen=True)
class Window:
    """Several seconds of load taken together."""

    seconds: tuple[Second, ...]

    @property
    def requests(self) -> int:
        """All that ended, well or not."""
        return self.answered() + self.failed + self.unknown

    @property
    def failed(self) -> int:
        return sum(s.failed for s in self.seconds)

    @property
    def unknown(self) -> int:
        return sum(s.unknown for s in self.seconds)

    @property
    def stale(self) -> int:
        return sum(s.stale for s in self.seconds)

    @property
    def error_rate(self) -> float:
        """Share of the requests that did not get their answer, 0..1; 0 when there were none."""
        return (self.failed + self.unknown) / self.requests if self.requests else 0.0

    @property
    def late_ms(self) -> float:
        return max((s.late_ms for s in self.seconds), default=0.0)

    def answered(self, verb: Verb | None = None, side: str | None = None) -> int:
        return self.histogram(verb, side).count

    def throughput(self, verb: Verb | None = None, side: str | None = None) -> float:
        """Answers a second, on average."""
        return self.answered(verb, side) / len(self.seconds) if self.seconds else 0.0

    def histogram(self, verb: Verb | None = None, side: str | None = None) -> Histogram:
        return _merged(self.seconds, verb, side)

    def percentile(self, percent: float, verb: Verb | None = None, side: str | None = None) -> float | None:
        return self.histogram(verb, side).percentile(percent)


def read_seconds(directory: Path) -> list[Second]:
    """All the seconds that are written so far; none when the generator has not begun."""
    return list(_read(directory / SECONDS_FILE))


def window(directory: Path, since: float, until: float = math.inf) -> Window:
    """The whole seconds that began at `since` or later and ended by `until` (both `time.time()`)."""
    return Window(tuple(s for s in _read(directory / SECONDS_FILE) if since <= s.t and s.t + 1 <= until))


def _read(path: Path) -> Iterator[Second]:
    if not path.exists():
        return
    with path.open() as file:
        for line in file:
            if line.endswith("\n"):  # the last one may be half written
                yield Second.from_json(json.loads(line))


def _merged(seconds: Iterable[Second], verb: Verb | None, side: str | None) -> Histogram:
    total = Histogram()
    for second in seconds:
        for key, histogram in second.latency.items():
            its_verb, _, its_side = key.partition(":")
            if (verb is None or verb == its_verb) and (side is None or side == its_side):
                total.update(histogram)
    return total
