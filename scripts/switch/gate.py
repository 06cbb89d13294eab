"""`./zdm gate`: holds the KPIs of a window against their bounds, and stores the verdict.

Latency, errors and throughput come from both origins' own histograms (`zdm_request_seconds`), scraped at the window's
two ends; the lag is sampled all through it; mismatches are those of the last data-check. What was measured too seldom
is no yes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console as RichConsole
from rich.table import Table as RichTable

from contract.flag import Flag, Side
from scripts.console import Console
from scripts.context import Context
from scripts.data.lag import LagSample, Sampler
from scripts.errors import ZdmError
from scripts.switch import journal
from scripts.switch.fence import Controller

HISTOGRAM = "zdm_request_seconds"
MIN_REQUESTS = 100
"""Requests without which a window says nothing; per origin only where the flag sends it readers or writers."""
MIN_OF_A_SIDE = 20
LAG_INTERVAL = 1.0
NOT_ERRORS = frozenset({"421"})
"""The fence's answer: nothing was executed, and the router sends the request to the other side."""

Counts = dict[tuple[str, str], float]
"""Requests by (status, upper bound of the bucket in seconds); the status's total is under the bound `+Inf`."""


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
    """The verdict: open only if every KPI could be judged and holds."""

    window: float
    flag: Flag
    measures: list[Measure]

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
        return {
            "ok": self.ok,
            "reason": self.reason,
            "window": self.window,
            "weight": self.flag.weight,
            "writer": self.flag.mode.value,
            "measures": [m.to_json() for m in self.measures],
        }

    def render(self, out: RichConsole) -> None:
        table = RichTable("KPI", "measured", "bound", "")
        for m in self.measures:
            shown = "–" if m.value is None else f"{m.value:,.4g} {m.unit}"
            mark = {True: "[green]holds[/green]", False: "[red]does not hold[/red]", None: "[yellow]unknown[/yellow]"}[
                m.ok
            ]
            table.add_row(m.name, shown, f"{m.bound:g} {m.unit}", f"{mark} {m.note}".strip())
        out.print(table)
        out.print("The gate is open." if self.ok else "The gate is closed.")


def run(context: Context, *, window: float, console: Console, title: str = "Gate") -> GateResult:
    """Watches for `window` seconds, judges, and stores the verdict in the target."""
    out = context.outputs
    origins = {Side.MYSQL: out.router.mysql_origin, Side.AURORA: out.router.aurora_origin}
    with console.step(title) as step, Sampler(context) as sampler:
        before = {side: scrape(context, url) for side, url in origins.items()}
        started = time.monotonic()
        samples: list[LagSample] = []
        while (gone := time.monotonic() - started) < window:
            step.progress(gone, window, "s")
            samples.append(sampler.sample())
            time.sleep(max(0.0, min(LAG_INTERVAL, started + window - time.monotonic())))
        after = {side: scrape(context, url) for side, url in origins.items()}
        seconds = time.monotonic() - started
        step.done(f"watched for {seconds:.0f} s")
    with Controller(context) as c:
        flag, pg = max(c.mysql_flag(), c.postgres_flag(), key=lambda f: (f.epoch, f.v)), c.postgres
        record = journal.last_record(pg, journal.DATA_CHECK)
        requests = {side: difference(before[side], after[side], side) for side in origins}
        measures = [
            *_of_requests(context, requests, flag, seconds),
            _lag(context, samples),
            _mismatches(context, record),
        ]
        result = GateResult(window, flag, measures)
        journal.store(pg, journal.GATE, result.ok, result.to_json())
    return result


def scrape(context: Context, origin: str) -> Counts:
    """The origin's histogram as it stands. Raises `ZdmError` that names the origin."""
    try:
        with context.http(origin) as client:
            answer = client.get("/metrics")
            answer.raise_for_status()
    except httpx.HTTPError as e:
        raise ZdmError(f"the metrics of {origin} cannot be read: {e}") from e
    return parse(answer.text)


def parse(text: str) -> Counts:
    """Cumulative counts from Prometheus' text."""
    counts: Counts = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"{HISTOGRAM}_bucket":
                at = sample.labels["status"], sample.labels["le"]
                counts[at] = counts.get(at, 0.0) + sample.value
    return counts


def difference(before: Counts, after: Counts, side: Side) -> Counts:
    """What was counted in between. Raises `ZdmError` when a counter went back: then the origin was restarted."""
    made = {at: value - before.get(at, 0.0) for at, value in after.items()}
    if any(value < 0 for value in made.values()) or before.keys() - after.keys():
        raise ZdmError(
            f"the {side.value} origin's counters went back during the window: it was restarted, or several processes "
            "answer for it in turn. Watch again, and scrape one process"
        )
    return made


def quantile(counts: Counts, q: float) -> float | None:
    """The quantile in seconds, interpolated in its bucket as Prometheus does; None without requests."""
    cumulative: dict[float, float] = {}
    for (_, label), value in counts.items():
        cumulative[float(label)] = cumulative.get(float(label), 0.0) + value
    everything = cumulative.get(float("inf"), 0.0)
    if everything <= 0:
        return None
    rank, low, below = q * everything, 0.0, 0.0
    for bound, value in sorted(cumulative.items()):
        if value >= rank:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (rank - below) / max(value - below, 1e-9)
        low, below = bound, value
    return low


def total(counts: Counts, failed: bool = False) -> float:
    """How many requests; with `failed` only those answered with 5xx."""
    return sum(
        value
        for (status, bound), value in counts.items()
        if bound == "+Inf" and status not in NOT_ERRORS and (not failed or status.startswith("5"))
    )


def _of_requests(context: Context, requests: Mapping[Side, Counts], flag: Flag, seconds: float) -> Iterable[Measure]:
    kpis = context.outputs.kpis
    answered = {
        side: {at: n for at, n in counts.items() if at[0] not in NOT_ERRORS} for side, counts in requests.items()
    }
    numbers = {side: total(counts) for side, counts in answered.items()}
    everything = sum(numbers.values())
    few = (
        ""
        if everything >= MIN_REQUESTS
        else f"only {everything:,.0f} requests, {MIN_REQUESTS} are needed: watch longer"
    )
    for side in Side:
        used = flag.may_read(side) or flag.mode is side
        if not used and not numbers[side]:
            continue
        p95 = quantile(answered[side], 0.95)
        value = None if p95 is None else round(p95 * 1000, 3)
        if numbers[side] < MIN_OF_A_SIDE:
            yield Measure(
                f"latency p95 of {side.value}",
                value,
                kpis.latency_p95_ms,
                None,
                "ms",
                f"only {numbers[side]:,.0f} requests, {MIN_OF_A_SIDE} are needed: watch longer",
            )
        else:
            yield Measure(
                f"latency p95 of {side.value}",
                value,
                kpis.latency_p95_ms,
                value is not None and value <= kpis.latency_p95_ms,
                "ms",
                f"{numbers[side]:,.0f} requests",
            )
    failed = sum(total(counts, failed=True) for counts in requests.values())
    rate = failed / everything if everything else None
    yield Measure(
        "errors",
        rate,
        kpis.error_rate,
        None if few or rate is None else rate <= kpis.error_rate,
        "of requests",
        few or f"{failed:,.0f} of {everything:,.0f}",
    )
    pace = everything / seconds
    yield Measure(
        "throughput at least", round(pace, 2), kpis.throughput_per_second, pace >= kpis.throughput_per_second, "/s"
    )


def _lag(context: Context, samples: list[LagSample]) -> Measure:
    worst = max((s.seconds for s in samples), default=None)
    bound = context.outputs.kpis.lag_seconds
    return Measure(
        "lag of the worst table",
        None if worst is None else round(worst, 3),
        bound,
        None if worst is None else worst <= bound,
        "s",
        f"worst of {len(samples)} samples",
    )


def _mismatches(context: Context, record: journal.Record | None) -> Measure:
    bound = context.outputs.kpis.mismatches
    if record is None:
        return Measure("mismatches", None, bound, None, "rows", "no data-check has been stored: run `./zdm data-check`")
    found = int(record.body.get("mismatches", 0))
    if not record.ok and not found:
        return Measure("mismatches", None, bound, None, "rows", "the last data-check could not say: run it again")
    return Measure("mismatches", found, bound, found <= bound, "rows", f"data-check of {record.at:%F %T} UTC")
