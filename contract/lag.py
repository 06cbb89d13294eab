"""How late the target is: what is measured, and how figures follow from it. Pure.

The figure of a table is the worst of its partitions: the age of the first change that the sink has not committed yet,
measured from the change's commit at the source; 0 when there is none. To that comes how far the source connector itself
is behind: markers are written to the source, and the delay is the age of the oldest one that is not in Kafka yet.
One heartbeat row would not do: the sink works its partitions off independently, so it overtakes rows that wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

Partition = tuple[str, int]
"""Topic and number."""


@dataclass(frozen=True)
class TableLag:
    """How late one table is, and how many of its records wait."""

    seconds: float = 0.0
    waiting: int = 0


def behind(
    committed: Mapping[Partition, int], begins: Mapping[Partition, int], ends: Mapping[Partition, int]
) -> dict[Partition, int]:
    """Where the sink stands in the partitions that have more for it; without a commit (-1) at the beginning."""
    at = {p: max(offset, begins.get(p, 0)) for p, offset in committed.items()}
    return {p: offset for p, offset in at.items() if offset < ends[p]}


def table_lags(
    tables: Mapping[str, str],
    waits: Mapping[Partition, int],
    ends: Mapping[Partition, int],
    first: Mapping[Partition, float],
    now: float,
    source_seconds: float,
) -> dict[str, TableLag]:
    """By table. `tables` are by topic, `waits` as `behind` says, `first` when the waiting records were committed."""
    seconds = dict.fromkeys(tables.values(), 0.0)
    waiting = dict.fromkeys(tables.values(), 0)
    for partition, offset in waits.items():
        name = tables[partition[0]]
        seconds[name] = max(seconds[name], now - first[partition])
        waiting[name] += ends[partition] - offset
    return {name: TableLag(max(seconds[name], source_seconds), waiting[name]) for name in seconds}


def source_seconds(value: bytes | None, written_ms: int) -> float:
    """When a change was committed at the source, as a Unix time; of a tombstone, when it was written to Kafka."""
    if value:
        start = value.rfind(b'"source":{')
        at = value.find(b'"ts_us":', start)
        if start >= 0 and at >= 0:
            return int(value[at + 8 : value.find(b",", at)]) / 1e6
    return written_ms / 1000


@dataclass
class Markers:
    """The markers that are on their way from the source into Kafka, oldest first."""

    _open: deque[tuple[str, float]] = field(default_factory=deque)
    _last: float = 0.0

    def written(self, marker: str, at: float) -> None:
        """A marker was committed at the source."""
        self._open.append((marker, at))

    def seen(self, marker: str, at: float) -> None:
        """A marker is in Kafka since then. Those before it were overtaken in the watermark's one row: they are too."""
        if any(known == marker for known, _ in self._open):
            while True:
                passed, written = self._open.popleft()
                self._last = max(0.0, at - written)
                if passed == marker:
                    return

    def fenced(self) -> None:
        """The source takes no more changes: there is nothing left to be late."""
        self._open.clear()
        self._last = 0.0

    @property
    def waiting(self) -> int:
        """Markers that are not in Kafka yet."""
        return len(self._open)

    def delay(self, now: float, *, waited: bool = False) -> float:
        """Seconds from the source's commit into Kafka: of the oldest marker on its way if it is not the newest one (or
        if the newest one was waited for), else of the last that came.
        """
        return now - self._open[0][1] if len(self._open) > 1 or (self._open and waited) else self._last
