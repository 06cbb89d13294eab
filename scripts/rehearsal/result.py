"""A rehearsal's result: all that was measured, and the figures that decide. The report is made from this alone.

Invariants:
- Nothing in here is computed twice: what `report.json` holds is what the page and the terminal show.
- A figure that could not be measured does not hold its bound.
- Times are seconds since the epoch (`time.time()`) unless a name says otherwise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from contract.outputs import Kpis
from scripts.errors import UsageError
from scripts.rehearsal.ledger import Finding, LedgerVerdict
from scripts.rehearsal.measure import Second, Window

VERSION: Final = 2
RESULT_FILE: Final = "report.json"


@dataclass(frozen=True)
class Timed:
    """A step of the rehearsal."""

    title: str
    started: float
    ended: float
    ok: bool = True
    summary: str = ""
    level: int = 0
    """0 for a step, 1 for a part of the one before."""

    @property
    def seconds(self) -> float:
        return self.ended - self.started


@dataclass(frozen=True)
class TableCheck:
    """What the last full comparison of both databases said about one table."""

    table: str
    mysql_rows: int | None
    aurora_rows: int | None
    differences: int | None
    """Rows that differ; None when the table was not compared."""
    note: str = ""

    @property
    def ok(self) -> bool:
        return self.differences == 0 and (
            self.mysql_rows == self.aurora_rows or None in (self.mysql_rows, self.aurora_rows)
        )


@dataclass(frozen=True)
class GateCheck:
    """A decision gate: the weight that it watched, and whether it opened."""

    name: str
    at: float
    ok: bool
    weight: float | None = None
    summary: str = ""


@dataclass(frozen=True)
class LeftOut:
    """Something of the database that was not migrated: a trigger, a view, a column of an unknown type."""

    kind: str
    name: str
    reason: str


@dataclass(frozen=True)
class Figure:
    """A measured value against its bound. `value` is None when it could not be measured, and then it is not `ok`."""

    key: str
    label: str
    value: float | None
    text: str
    bound: str
    ok: bool
    note: str = ""


@dataclass
class RehearsalResult:
    """Everything about one rehearsal. `rehearse` fills it as it goes on; a failed one has what there was until then."""

    name: str
    kind: str = "sample shop"
    """`sample shop`, or the names of the dump's files."""
    started: float = 0.0
    ended: float = 0.0
    error: str | None = None
    """Why it ended early."""
    bounds: Kpis = field(default_factory=Kpis)
    settings: dict[str, Any] = field(default_factory=dict)
    """As given: rows, rate, seed, ..."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows by table before the load."""
    versions: dict[str, str] = field(default_factory=dict)
    """Of the program and of every part."""
    machine: dict[str, str] = field(default_factory=dict)
    """Processor, memory, system."""
    steps: list[Timed] = field(default_factory=list)
    seconds: list[Second] = field(default_factory=list)
    """The load, second by second."""
    lag: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    """(when, seconds by table), from the end of the snapshot until the cutover."""
    weights: list[tuple[float, float]] = field(default_factory=list)
    """(when, percent) for each change of the weight."""
    gates: list[GateCheck] = field(default_factory=list)
    cutover: dict[str, Any] | None = None
    """The (last) cutover's own result, as JSON."""
    rollback: dict[str, Any] | None = None
    """The rollback's own result, as JSON, where there was one."""
    switches: list[dict[str, Any]] = field(default_factory=list)
    """The results of all that moved the writer, in order."""
    not_measured: list[tuple[float, float]] = field(default_factory=list)
    """From when to when the latency is not held against its bound: an update of the stack, a breach on purpose."""
    checks: list[TableCheck] = field(default_factory=list)
    """The last full comparison, one for each table."""
    ledger: LedgerVerdict | None = None
    planted: int = 0
    """Differences planted on the target; 0 where no table stood still."""
    planted_found: int = 0
    """How many of them the check found; 0 also when it found others."""
    left_out: list[LeftOut] = field(default_factory=list)
    load_tests: list[dict[str, Any]] = field(default_factory=list)
    """What `load-test` has measured on this stack since, as JSON; they decide nothing here."""

    @property
    def ok(self) -> bool:
        """Whether the rehearsal went through and every figure holds its bound."""
        return self.error is None and all(figure.ok for figure in self.figures())

    @property
    def load(self) -> Window:
        return Window(tuple(self.seconds))

    @property
    def pause(self) -> float | None:
        """Seconds without writes, by the cutover's independent probe."""
        return _number(self.cutover, "pauseSeconds")

    @property
    def lag_p95(self) -> float | None:
        """Of the worst table in every sample."""
        return percentile([max(tables.values()) for _, tables in self.lag if tables], 95)

    def pause_span(self) -> tuple[float, float] | None:
        """From the last write that MySQL acknowledged to the first of Aurora, for the charts."""
        if self.ledger is None or self.ledger.last_mysql is None or self.ledger.first_aurora is None:
            return None
        return self.ledger.last_mysql, max(self.ledger.first_aurora, self.ledger.last_mysql)

    def cutover_states(self) -> list[Timed]:
        """The states of the cutover, in order, with what each took."""
        steps: list[dict[str, Any]] = (self.cutover or {}).get("steps") or []
        return [
            Timed(
                str(s["state"]),
                float(s["at"]) - float(s["seconds"]),
                float(s["at"]),
                True,
                _told(s.get("detail") or {}),
            )
            for s in steps
        ]

    def figures(self) -> list[Figure]:
        """The figures that decide, in the order of the report."""
        load, ledger, b = self.load, self.ledger, self.bounds
        failed = load.failed + load.unknown
        spans = self.not_measured
        calm = Window(tuple(s for s in self.seconds if not any(a <= s.t <= b for a, b in spans)))
        latency = calm.percentile(95)
        back = _number(self.rollback, "pauseSeconds")
        rate = load.error_rate if load.requests else None
        mismatches = sum(c.differences or 0 for c in self.checks) if self.checks else None
        uncounted = [c.table for c in self.checks if not c.ok and not c.differences]
        client = None if ledger is None else ledger.pause
        return [
            _figure(
                "pause",
                "Write pause",
                self.pause,
                _seconds(self.pause),
                f"≤ {b.pause_seconds:g} s",
                self.pause,
                b.pause_seconds,
                "" if client is None else f"{_seconds(client)} for the clients of the load",
            ),
            *(
                [
                    _figure(
                        "rollback",
                        "Write pause, rollback",
                        back,
                        _seconds(back),
                        f"≤ {b.pause_seconds:g} s",
                        back,
                        b.pause_seconds,
                        "by the probation, after a provoked breach",
                    )
                ]
                if self.rollback is not None
                else []
            ),
            _figure(
                "failed",
                "Failed requests",
                None if rate is None else float(failed),
                "not measured" if rate is None else f"{failed:,}",
                f"≤ {b.error_rate:.1%}",
                rate,
                b.error_rate,
                f"of {load.requests:,} requests",
            ),
            *_ledger_figures(ledger),
            Figure(
                "mismatches",
                "Rows that differ",
                mismatches,
                _count(mismatches),
                f"≤ {b.mismatches}" if b.mismatches else "0",
                mismatches is not None and mismatches <= b.mismatches and not uncounted,
                f"not equal or not compared: {', '.join(uncounted)}" if uncounted else f"in {len(self.checks)} tables",
            ),
            *([self._planted_figure()] if self.planted else []),
            _figure(
                "lag",
                "Replication lag, p95",
                self.lag_p95,
                _seconds(self.lag_p95),
                f"≤ {b.lag_seconds:g} s",
                self.lag_p95,
                b.lag_seconds,
                "of the slowest table",
            ),
            _figure(
                "latency",
                "Latency, p95",
                latency,
                _milliseconds(latency),
                f"≤ {b.latency_p95_ms:g} ms",
                latency,
                b.latency_p95_ms,
                "from when a request was due" + (", without updates and the breach" if spans else ""),
            ),
        ]

    def _planted_figure(self) -> Figure:
        found, planted = self.planted_found, self.planted
        text = f"{found:,} of {planted:,}"
        return Figure("planted", "Planted differences found", found, text, "all", found == planted, "and repaired")

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        data["version"] = VERSION
        data["ok"] = self.ok
        data["figures"] = [asdict(figure) for figure in self.figures()]
        data["bounds"] = self.bounds.model_dump()
        data["seconds"] = [second.to_json() for second in self.seconds]
        data["ledger"] = None if self.ledger is None else self.ledger.to_json()
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RehearsalResult:
        """Reads what `to_json` wrote. Raises `UsageError` for another version."""
        d = dict(data)
        if d.pop("version", None) != VERSION:
            raise UsageError(f"this report was not written by version {VERSION} of the rehearsal: run it again")
        for computed in ("ok", "figures"):
            d.pop(computed, None)
        d["bounds"] = Kpis(**d["bounds"])
        d["steps"] = [Timed(**s) for s in d["steps"]]
        d["seconds"] = [Second.from_json(s) for s in d["seconds"]]
        d["lag"] = [(float(t), dict(tables)) for t, tables in d["lag"]]
        d["weights"] = [(float(t), float(w)) for t, w in d["weights"]]
        d["not_measured"] = [(float(a), float(b)) for a, b in d["not_measured"]]
        d["gates"] = [GateCheck(**g) for g in d["gates"]]
        d["checks"] = [TableCheck(**c) for c in d["checks"]]
        d["left_out"] = [LeftOut(**x) for x in d["left_out"]]
        if d["ledger"] is not None:
            ledger = {k: v for k, v in d["ledger"].items() if k not in ("ok", "pause")}
            for key in ("lost", "doubled", "misplaced", "wrong", "increments"):
                ledger[key] = [Finding(**f) for f in ledger[key]]
            d["ledger"] = LedgerVerdict(**ledger)
        return cls(**d)


def save(result: RehearsalResult, directory: Path) -> Path:
    """Writes `report.json`."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / RESULT_FILE
    path.write_text(json.dumps(result.to_json(), ensure_ascii=False, default=str) + "\n")
    return path


def load(directory: Path) -> RehearsalResult:
    """Reads `report.json` of a rehearsal. Raises `UsageError` that names the way out."""
    path = directory / RESULT_FILE
    try:
        return RehearsalResult.from_json(json.loads(path.read_text()))
    except OSError as e:
        raise UsageError(f"there is no report at {path} ({e.strerror}): run ./zdm rehearse first") from e
    except (ValueError, KeyError, TypeError) as e:
        raise UsageError(f"{path} is not a report that can be read: {e}") from e


def percentile(values: Sequence[float], percent: float) -> float | None:
    """The smallest value that `percent` of the values do not exceed; None without values."""
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)] if values else None


def _ledger_figures(ledger: LedgerVerdict | None) -> list[Figure]:
    labels = (("lost", "Lost writes"), ("doubled", "Doubled writes"), ("increments", "Sums that are off"))
    if ledger is None:
        return [Figure(key, label, None, "not checked", "0", False) for key, label in labels]
    notes = {
        "lost": f"of {ledger.acknowledged:,} acknowledged",
        "doubled": f"of {ledger.acknowledged:,} acknowledged",
        "increments": f"of {ledger.increments_checked:,} rows with increments",
    }
    found = {"lost": ledger.lost, "doubled": ledger.doubled, "increments": ledger.increments}
    figures = [
        Figure(key, label, len(found[key]), _count(len(found[key])), "0", not found[key], notes[key])
        for key, label in labels
    ]
    astray = len(ledger.misplaced) + len(ledger.wrong)
    if astray:
        figures.append(
            Figure(
                "astray",
                "Writes gone astray",
                astray,
                _count(astray),
                "0",
                False,
                f"{len(ledger.misplaced)} on the wrong side, {len(ledger.wrong)} with other values",
            )
        )
    return figures


def _figure(
    key: str, label: str, value: float | None, text: str, bound: str, measured: float | None, most: float, note: str
) -> Figure:
    return Figure(key, label, value, text, bound, measured is not None and measured <= most, note)


def _number(data: Mapping[str, Any] | None, key: str) -> float | None:
    value = (data or {}).get(key)
    return float(value) if isinstance(value, int | float) else None


def _told(detail: Mapping[str, Any]) -> str:
    """What a state of the cutover had to say, as words."""
    return ", ".join(f"{key} {value}" for key, value in detail.items() if isinstance(value, str | int | float))


def _count(n: int | None) -> str:
    return "not checked" if n is None else f"{n:,}"


def _seconds(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 10 else f"{value:.1f} s"


def _milliseconds(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"
