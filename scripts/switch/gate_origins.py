"""The gate's figures where the stack has no Prometheus: the origins' own histograms (`zdm_request_seconds`), scraped at
the window's two ends, the lag sampled all through it, and the mismatches of the last stored data-check.
"""

from __future__ import annotations

import time

import httpx
from prometheus_client.parser import text_string_to_metric_families

from contract.flag import Side
from scripts.context import Context
from scripts.data.lag import LagSample, Sampler
from scripts.errors import ZdmError
from scripts.switch import journal
from scripts.switch.gate_figures import Figures, Tell

HISTOGRAM = "zdm_request_seconds"
LAG_INTERVAL = 1.0
NOT_ANSWERS = frozenset({"421"})
"""The fence's answer: nothing was executed, and the router sends the request to the other side."""

Counts = dict[tuple[str, str], float]
"""Requests by (status, upper bound of the bucket in seconds); the status's total is under the bound `+Inf`."""


def watch(context: Context, window: float, tell: Tell) -> Figures:
    """Watches for `window` seconds. Raises `ZdmError` that names what cannot be read."""
    out = context.outputs
    origins = {Side.MYSQL: out.router.mysql_origin, Side.AURORA: out.router.aurora_origin}
    samples: list[LagSample] = []
    with Sampler(context) as sampler:
        before = {side: scrape(context, url) for side, url in origins.items()}
        started = time.monotonic()
        while (gone := time.monotonic() - started) < window:
            tell(gone)
            samples.append(sampler.sample())
            time.sleep(max(0.0, min(LAG_INTERVAL, started + window - time.monotonic())))
        after = {side: scrape(context, url) for side, url in origins.items()}
        seconds = time.monotonic() - started
    made = {side: answered(difference(before[side], after[side], side)) for side in origins}
    p95 = {side: quantile(counts, 0.95) for side, counts in made.items()}
    mismatches, checked = _mismatches(context)
    return Figures(
        source="origins",
        seconds=seconds,
        requests={side: total(counts) for side, counts in made.items()},
        p95_ms={side: None if value is None else value * 1000 for side, value in p95.items()},
        failed=sum(total(counts, failed=True) for counts in made.values()),
        lag=max((s.seconds for s in samples), default=None),
        lag_samples=len(samples),
        mismatches=mismatches,
        checked=checked,
    )


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


def answered(counts: Counts) -> Counts:
    """Without the requests that were only told where to go."""
    return {at: n for at, n in counts.items() if at[0] not in NOT_ANSWERS}


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
        value for (status, bound), value in counts.items() if bound == "+Inf" and (not failed or status.startswith("5"))
    )


def _mismatches(context: Context) -> tuple[int | None, str]:
    with context.postgres() as pg:
        record = journal.last_record(pg, journal.DATA_CHECK)
    if record is None:
        return None, "no data-check has been stored: run `./zdm data-check`"
    found = int(record.body.get("mismatches", 0))
    if not record.ok and not found:
        return None, "the last data-check could not say: run it again"
    return found, f"data-check of {record.at:%F %T} UTC"
