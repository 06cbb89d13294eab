"""What a copy or a check of a given size needs, from what a measured one took (pure).

The assumptions, all on the careful side:
- Processor time grows with the bytes of the rows (as text) and not with how many tables they are in.
- A processor of the target is as fast as one of the machine that measured; it may be busy for `BUSY` of the time.
- Within one stream nothing overlaps: while one side works the others wait. In truth they overlap, and fewer streams do.
- Streams do not slow one another down: each works on rows of its own.
- Disks keep up; what they must deliver is `bytes_per_second`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

BUSY = 0.7
TERABYTE = 1e12


@dataclass(frozen=True)
class Cost:
    """Seconds of processor time that one gigabyte of rows (as text) takes on each machine."""

    client: float
    source: float
    target: float

    @classmethod
    def of(cls, size: float, client: float, source: float, target: float) -> Cost:
        """From the processor time that `size` bytes took."""
        gigabytes = size / 1e9
        return cls(client / gigabytes, source / gigabytes, target / gigabytes)

    @property
    def total(self) -> float:
        return self.client + self.source + self.target

    def __str__(self) -> str:
        return (
            f"CPU seconds a gigabyte of rows: {self.source:.1f} of the source, {self.target:.1f} of the target, "
            f"{self.client:.1f} of the command"
        )


@dataclass(frozen=True)
class Need:
    """What must be there: bytes a second, parallel streams, and processors that are free for this on each machine."""

    bytes_per_second: float
    streams: int
    client_cpus: float
    source_cpus: float
    target_cpus: float

    def __str__(self) -> str:
        return (
            f"{self.bytes_per_second / 1e6:,.0f} MB/s of rows, {self.streams} streams; free processors: "
            f"{self.source_cpus:.1f} on the source, {self.target_cpus:.1f} on the target, "
            f"{self.client_cpus:.1f} for the command"
        )


def project(cost: Cost, size: float, hours: float) -> Need:
    """What moves or compares `size` bytes of rows (as text) within `hours`."""
    rate = size / 1e9 / (hours * 3600)
    return Need(
        rate * 1e9,
        max(1, math.ceil(rate * cost.total / BUSY)),
        rate * cost.client / BUSY,
        rate * cost.source / BUSY,
        rate * cost.target / BUSY,
    )
