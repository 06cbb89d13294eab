"""Sets of MySQL's global transaction identifiers: which transactions a server, or a replication position, has seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class GtidSet:
    """Closed intervals of transaction numbers by source (`uuid`, or `uuid:tag`), sorted, merged."""

    intervals: dict[str, tuple[tuple[int, int], ...]]

    @staticmethod
    def parse(text: str) -> GtidSet:
        """Reads `uuid:1-5:7,uuid:tag:1-3`, as MySQL and Debezium write it. Raises `ValueError` if it is something
        else.
        """
        found: dict[str, list[tuple[int, int]]] = {}
        for part in text.replace("\n", "").split(","):
            if not part.strip():
                continue
            source, *rest = part.strip().lower().split(":")
            name = source
            if not rest:
                raise ValueError(f"{part!r} is no GTID set")
            for item in rest:
                if not item[:1].isdigit():
                    name = f"{source}:{item}"
                    continue
                first, _, last = item.partition("-")
                found.setdefault(name, []).append((int(first), int(last or first)))
        return GtidSet({name: _merged(intervals) for name, intervals in found.items()})

    def __le__(self, other: GtidSet) -> bool:
        """Whether `other` has every transaction of this set."""
        return (self - other).count == 0

    def __sub__(self, other: GtidSet) -> GtidSet:
        """The transactions of this set that `other` lacks."""
        left: dict[str, tuple[tuple[int, int], ...]] = {}
        for name, intervals in self.intervals.items():
            rest = _without(intervals, other.intervals.get(name, ()))
            if rest:
                left[name] = rest
        return GtidSet(left)

    @property
    def count(self) -> int:
        """How many transactions are in the set."""
        return sum(last - first + 1 for intervals in self.intervals.values() for first, last in intervals)

    def __str__(self) -> str:
        return ",".join(
            name + "".join(f":{a}" if a == b else f":{a}-{b}" for a, b in intervals)
            for name, intervals in sorted(self.intervals.items())
        )


def _merged(intervals: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return tuple(merged)


def _without(intervals: tuple[tuple[int, int], ...], taken: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    rest = list(intervals)
    for low, high in taken:
        cut: list[tuple[int, int]] = []
        for first, last in rest:
            if high < first or last < low:
                cut.append((first, last))
                continue
            if first < low:
                cut.append((first, low - 1))
            if high < last:
                cut.append((high + 1, last))
        rest = cut
    return tuple(rest)
