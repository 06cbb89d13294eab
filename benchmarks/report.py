"""One table of all ways side by side, the bounds and whether they are reached, and the same as JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Run, median, spread
from benchmarks.projection import TERABYTE, Cost, project

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Line:
    """One way with all its runs. `note` says what it found or with which settings it ran."""

    name: str
    rows: int
    runs: Sequence[Run]
    note: str = ""

    @property
    def run(self) -> Run:
        return median(self.runs)

    @property
    def speed(self) -> float:
        """Rows a second."""
        return self.rows / self.run.wall

    def to_json(self) -> dict[str, Any]:
        return {
            "way": self.name,
            "rows": self.rows,
            "rowsPerSecond": round(self.speed),
            "note": self.note,
            "median": self.run.to_json(),
            "runs": [run.to_json() for run in self.runs],
        }


@dataclass(frozen=True)
class Bound:
    """A figure to reach: at least (or, with `most`, at most) `limit`."""

    what: str
    value: float
    limit: float
    most: bool = False

    @property
    def reached(self) -> bool:
        return self.value <= self.limit if self.most else self.value >= self.limit

    def __str__(self) -> str:
        word = "at most" if self.most else "at least"
        verdict = "reached" if self.reached else "NOT REACHED"
        return f"{self.what}: {self.value:,.2f} ({word} {self.limit:,g}) {verdict}"

    def to_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "value": round(self.value, 3),
            "limit": self.limit,
            "atMost": self.most,
            "reached": self.reached,
        }


@dataclass(frozen=True)
class Section:
    """The ways of one comparison over `size` bytes of rows (as text). `ours` names the line that the others are held
    against."""

    title: str
    size: int
    ours: str
    lines: Sequence[Line]
    bounds: Sequence[Bound] = ()

    def __str__(self) -> str:
        head = ("", "wall s", "spread", "rows/s", "client", "MySQL", "PostgreSQL", "MB", "ratio", "")
        rows = [head]
        by_name = {line.name: line for line in self.lines}
        ours = by_name.get(self.ours)
        for line in self.lines:
            run = line.run
            rows.append((
                line.name,
                f"{run.wall:.2f}",
                f"{spread(line.runs):.2f}" if len(line.runs) > 1 else "",
                f"{line.speed:,.0f}",
                f"{run.client:.1f}",
                f"{run.servers.mysql:.1f}",
                f"{run.servers.postgres:.1f}",
                f"{run.memory / MEBIBYTE:,.0f}",
                f"{run.wall / ours.run.wall:.2f}" if ours is not None else "",
                line.note,
            ))  # fmt: skip
        widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
        text = [self.title, "(CPU seconds of client, MySQL, PostgreSQL; MB: the client's peak; ratio: wall to ours)"]
        for row in rows:
            first, *rest, last = (
                cell.ljust(width) if column in (0, len(head) - 1) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            text.append("  ".join([first, *rest, last]).rstrip())
        return "\n".join([*text, *map(str, self.bounds)])

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "bytes": self.size,
            "ours": self.ours,
            "lines": [line.to_json() for line in self.lines],
            "bounds": [bound.to_json() for bound in self.bounds],
        }


def projected(line: Line, size: int, hours: float) -> str:
    """What a line's run takes for a gigabyte, and what 8 TB within `hours` need."""
    cost = Cost.of(size, line.run.client, line.run.servers.mysql, line.run.servers.postgres)
    return f"{line.name}: {cost}\n  8 TB in {hours:g} h: {project(cost, 8 * TERABYTE, hours)}"


def ratio(lines: Mapping[str, Line], other: str, ours: str, of: Callable[[Run], float]) -> float | None:
    """How many times `other` takes what `ours` takes; None if one of them did not run."""
    if other not in lines or ours not in lines:
        return None
    return of(lines[other].run) / of(lines[ours].run)


def bounds(wanted: Sequence[tuple[str, float | None, float, bool]]) -> list[Bound]:
    """Those whose value could be measured."""
    return [Bound(what, value, limit, most) for what, value, limit, most in wanted if value is not None]


def load_average() -> str:
    """What else keeps the machine busy."""
    one, five, _ = Path("/proc/loadavg").read_text().split()[:3]
    return f"load average before the runs: {one} (1 min), {five} (5 min)"
