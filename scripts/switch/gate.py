"""`./zdm gate`: holds the KPIs of a window against their bounds, and stores the verdict as a signed record.

The figures come from Prometheus where the stack has one, else from the origins themselves. What was measured too
seldom is no yes. The record says what was measured, of which flag, with which program, and who approved it; a cutover
refuses without a fresh one (`gate_record`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Console as RichConsole
from rich.table import Table as RichTable

from contract.flag import Flag, Side
from contract.outputs import Kpis
from scripts.console import Console
from scripts.context import Context, git_revision
from scripts.errors import ZdmError
from scripts.switch import gate_origins, gate_prometheus, gate_record, journal
from scripts.switch.fence import Controller
from scripts.switch.gate_figures import Figures, Source

MIN_REQUESTS = 100
"""Requests without which a window says nothing; per origin only where the flag sends it readers or writers."""
MIN_OF_A_SIDE = 20


@dataclass(frozen=True)
class Measure:
    """One KPI against its bound. `ok` None: it could not be judged, for the reason in `note`."""

    name: str
    value: float | None
    bound: float
    ok: bool | None
    unit: str = ""
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value,
            "bound": self.bound,
            "ok": self.ok,
            "unit": self.unit,
            "note": self.note,
        }


@dataclass(frozen=True)
class GateResult:
    """The verdict: open only if every KPI could be judged and holds. `at` is the window's end; `signed` the record."""

    window: float
    flag: Flag
    measures: list[Measure]
    source: Source = "origins"
    at: float = 0.0
    approved_by: str = ""
    signed: dict[str, Any] | None = None

    @property
    def ok(self) -> bool:
        return all(m.ok for m in self.measures)

    @property
    def summary(self) -> str:
        """What was seen, in a line."""
        return ", ".join(f"{m.name} {m.value:.3g} {m.unit}".strip() for m in self.measures if m.value is not None)

    @property
    def reason(self) -> str:
        """What keeps the gate closed."""
        return "; ".join(
            f"{m.name} {'unknown' if m.value is None else format(m.value, '.4g')} {m.unit} (bound {m.bound:g})"
            f"{': ' + m.note if m.ok is None else ''}"
            for m in self.measures
            if not m.ok
        )

    def to_json(self) -> dict[str, Any]:
        """The record: signed, as it is stored."""
        return self.signed or {}

    def render(self, out: RichConsole) -> None:
        table = RichTable("KPI", "measured", "bound", "")
        for m in self.measures:
            shown = "–" if m.value is None else f"{m.value:,.4g} {m.unit}"
            mark = {True: "[green]holds[/green]", False: "[red]does not hold[/red]", None: "[yellow]unknown[/yellow]"}[
                m.ok
            ]
            table.add_row(m.name, shown, f"{m.bound:g} {m.unit}", f"{mark} {m.note}".strip())
        out.print(table)
        approval = f"Approved by {self.approved_by}." if self.approved_by else "Nobody approved it (--approve NAME)."
        out.print(f"The gate is {'open' if self.ok else 'closed'}. {approval}", markup=False)


def run(context: Context, *, window: float, console: Console, title: str = "Gate", approved_by: str = "") -> GateResult:
    """Watches for `window` seconds, judges, and stores the signed record in the target.

    `approved_by` is who lets the migration go on if the gate is open. Raises `ZdmError` when the flag changed
    meanwhile.
    """
    gate_record.key_of(context)  # not after the window
    watched = context.outputs.observability
    watch = gate_prometheus.watch if watched and watched.prometheus_endpoint else gate_origins.watch
    flag = _flag(context)
    with console.step(title) as step:
        figures = watch(context, window, lambda gone: step.progress(gone, window, "s"))
        step.done(f"watched for {figures.seconds:.0f} s, by {figures.source}")
    now = _flag(context)
    if now != flag:
        raise ZdmError(
            f"the flag changed during the window, from {flag.to_json()} to {now.to_json()}: what was measured is of "
            "neither. Watch again"
        )
    measures = list(judge(figures, context.outputs.kpis, flag))
    result = GateResult(window, flag, measures, figures.source, time.time(), approved_by)
    with context.postgres() as pg:
        return store(context, pg, result)


def store(context: Context, pg: Any, result: GateResult) -> GateResult:
    """Signs the result, and stores it as `./zdm gate` does."""
    record = gate_record.signed(_body(context, result), gate_record.key_of(context))
    journal.store(pg, journal.GATE, result.ok, record)
    return replace(result, signed=record)


def judge(figures: Figures, kpis: Kpis, flag: Flag) -> Iterator[Measure]:
    """Every KPI against its bound."""
    everything = sum(figures.requests.values())
    few = figures.doubt
    if not few and everything < MIN_REQUESTS:
        few = f"only {everything:,.0f} requests, {MIN_REQUESTS} are needed: watch longer"
    yield from _latencies(figures, kpis, flag)
    rate = figures.failed / everything if everything else None
    yield Measure(
        "errors",
        rate,
        kpis.error_rate,
        None if few or rate is None else rate <= kpis.error_rate,
        "of requests",
        few or f"{figures.failed:,.0f} of {everything:,.0f}",
    )
    pace = everything / figures.seconds
    served = None if figures.doubt else pace >= kpis.throughput_per_second
    yield Measure("throughput at least", round(pace, 2), kpis.throughput_per_second, served, "/s", figures.doubt)
    lag = figures.lag
    yield Measure(
        "lag of the worst table",
        None if lag is None else round(lag, 3),
        kpis.lag_seconds,
        None if lag is None else lag <= kpis.lag_seconds,
        "s",
        f"worst of {figures.lag_samples} samples",
    )
    found = figures.mismatches
    yield Measure(
        "mismatches",
        found,
        kpis.mismatches,
        None if found is None else found <= kpis.mismatches,
        "rows",
        figures.checked,
    )


def _latencies(figures: Figures, kpis: Kpis, flag: Flag) -> Iterator[Measure]:
    """Of each side that the flag uses, or that answered anyone."""
    for side in Side:
        number, p95 = figures.requests[side], figures.p95_ms[side]
        if not (flag.may_read(side) or flag.mode is side or number):
            continue
        few, bound = figures.doubt, kpis.latency_p95_ms
        if not few and number < MIN_OF_A_SIDE:
            few = f"only {number:,.0f} requests, {MIN_OF_A_SIDE} are needed: watch longer"
        yield Measure(
            f"latency p95 of {side.value}",
            None if p95 is None else round(p95, 3),
            bound,
            None if few or p95 is None else p95 <= bound,
            "ms",
            few or f"{number:,.0f} requests",
        )


def _body(context: Context, result: GateResult) -> dict[str, Any]:
    out, flag = context.outputs, result.flag
    return {
        "v": gate_record.VERSION,
        "kind": "gate",
        "project": out.project,
        "stack": out.stack,
        "at": datetime.fromtimestamp(result.at or time.time(), UTC).isoformat(timespec="milliseconds"),
        "ok": result.ok,
        "reason": result.reason,
        "approvedBy": result.approved_by,
        "revision": git_revision(),
        "source": result.source,
        "window": result.window,
        "epoch": flag.epoch,
        "weight": flag.weight,
        "writer": flag.mode.value,
        "bounds": out.kpis.model_dump(by_alias=True),
        "measures": [m.to_json() for m in result.measures],
    }


def _flag(context: Context) -> Flag:
    with Controller(context) as c:
        return max(c.mysql_flag(), c.postgres_flag(), key=lambda f: (f.epoch, f.v))
