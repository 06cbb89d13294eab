"""What a rehearsal of environments has seen: its story by chapters, and the figures that decide.

Invariants:
- Each figure of `WANTED` is decided: one that was never measured does not hold its bound.
- A chapter belongs to one environment; one that was not told to its end is not good.
- Nothing in here is a value of a customer as it was: what is shown of rows is masked, or a number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from scripts.errors import UsageError
from scripts.rehearsal.result import Timed

Environment = Literal["dev", "staging", "prod"]
ENVIRONMENTS: Final[tuple[Environment, ...]] = get_args(Environment)
VERSION: Final = 1
RESULT_FILE: Final = "environments.json"
RTO_BOUND: Final = 15 * 60.0
"""Seconds until a lost production answers again: the requirement. Also until a promotion that is no good is taken back.
"""

Cell = str | int | float | None


@dataclass(frozen=True)
class Wanted:
    """A figure that a rehearsal must have."""

    key: str
    environment: Environment
    label: str
    bound: str


WANTED: Final[tuple[Wanted, ...]] = (
    Wanted("rto", "prod", "Restore time (RTO)", "≤ 15 min"),
    Wanted("rpo", "prod", "Lost by a restore (RPO)", "≤ 15 min"),
    Wanted("refused", "prod", "Missing proofs that refused", "all"),
    Wanted("returned", "prod", "Bad change taken back", "≤ 15 min"),
    Wanted("lost", "prod", "Lost writes", "0"),
    Wanted("recovered", "prod", "Deleted rows recovered", "all"),
    Wanted("erased", "prod", "Traces of an erased customer", "0"),
    Wanted("archived", "prod", "Archived objects proven", "all"),
    Wanted("drift", "prod", "Drift found and mended", "all"),
    Wanted("cost", "prod", "Sum of the costs is off by", "0.00 $"),
    Wanted("masked", "staging", "Rows masked", "> 0"),
    Wanted("personal", "staging", "Personal values left", "0"),
    Wanted("joins", "staging", "Rows that join nothing", "0"),
    Wanted("different", "staging", "Rows that differ", "0"),
    Wanted("load", "staging", "Latency under load, p95", "≤ 150 ms"),
    Wanted("faults", "staging", "Faults survived", "all"),
    Wanted("functional", "dev", "Tests of the API passed", "all"),
    Wanted("left", "dev", "Processes left at the end", "0"),
)


@dataclass(frozen=True)
class Figure:
    """A measured value against its bound."""

    key: str
    environment: Environment
    label: str
    bound: str
    value: float | None = None
    text: str = "not measured"
    ok: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Numbers are shown with thousands apart, and to the right."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""


@dataclass
class Chapter:
    """A part of the story, in one environment. `summary` is a few words, `text` sentences."""

    environment: Environment
    title: str
    started: float
    ended: float = 0.0
    ok: bool = False
    summary: str = ""
    text: str = ""
    tables: list[Table] = field(default_factory=list)
    steps: list[Timed] = field(default_factory=list)

    def table(self, head: Sequence[str], rows: Sequence[Sequence[Cell]], title: str = "") -> None:
        self.tables.append(Table(tuple(head), tuple(tuple(row) for row in rows), title))

    @property
    def seconds(self) -> float:
        return self.ended - self.started


@dataclass
class EnvironmentsResult:
    """Everything about one rehearsal of environments. A failed one has what there was until then."""

    name: str
    started: float = 0.0
    ended: float = 0.0
    error: str | None = None
    """Why it ended early."""
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)
    chapters: list[Chapter] = field(default_factory=list)
    measured: dict[str, Figure] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the story was told to its end and every figure holds its bound."""
        told = bool(self.chapters) and all(chapter.ok for chapter in self.chapters)
        return self.error is None and told and all(figure.ok for figure in self.figures())

    def measure(self, key: str, value: float | None, text: str, ok: bool, note: str = "") -> None:
        """Decides a figure of `WANTED`."""
        wanted = next(one for one in WANTED if one.key == key)
        held = ok and value is not None
        self.measured[key] = Figure(key, wanted.environment, wanted.label, wanted.bound, value, text, held, note)

    def count(self, key: str, good: int, all_: int, note: str = "") -> None:
        """A figure whose bound is that all of some are good, and there is one."""
        self.measure(key, good, f"{good:,} of {all_:,}", good == all_ > 0, note)

    def none_of(self, key: str, found: int | None, note: str = "") -> None:
        """A figure whose bound is that there is none."""
        self.measure(key, found, "not checked" if found is None else f"{found:,}", found == 0, note)

    def figures(self, environment: Environment | None = None) -> list[Figure]:
        """Those that decide, in the order of the report."""
        return [
            self.measured.get(one.key) or Figure(one.key, one.environment, one.label, one.bound)
            for one in WANTED
            if environment in (None, one.environment)
        ]

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        del data["measured"]
        return {**data, "version": VERSION, "ok": self.ok, "figures": [asdict(one) for one in self.figures()]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EnvironmentsResult:
        """Reads what `to_json` wrote. Raises `UsageError` for another version."""
        d = dict(data)
        if d.pop("version", None) != VERSION:
            raise UsageError(f"this report was not written by version {VERSION} of this rehearsal: run it again")
        d.pop("ok")
        figures = [Figure(**one) for one in d.pop("figures")]
        d["measured"] = {one.key: one for one in figures if one.text != Figure.text}
        d["chapters"] = [_chapter(one) for one in d["chapters"]]
        return cls(**d)


def _chapter(data: Mapping[str, Any]) -> Chapter:
    tables = [Table(tuple(t["head"]), tuple(map(tuple, t["rows"])), t["title"]) for t in data["tables"]]
    return Chapter(**{**data, "tables": tables, "steps": [Timed(**one) for one in data["steps"]]})


def save(result: EnvironmentsResult, directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / RESULT_FILE).write_text(json.dumps(result.to_json(), ensure_ascii=False, default=str) + "\n")


def load(directory: Path) -> EnvironmentsResult:
    """Reads a rehearsal's result. Raises `UsageError` that names the way out."""
    path = directory / RESULT_FILE
    try:
        return EnvironmentsResult.from_json(json.loads(path.read_text()))
    except OSError as e:
        raise UsageError(f"there is no report at {path} ({e.strerror}): run ./zdm rehearse --environments first") from e
    except (ValueError, KeyError, TypeError) as e:
        raise UsageError(f"{path} is not a report that can be read: {e}") from e
