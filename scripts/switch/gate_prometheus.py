"""The gate's figures where the stack has Prometheus: what its collector scraped of every task of both origins, and of
the lag probe, in the window.

The window begins when the command does, so that all of it is of the flag in force.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

from contract.flag import Side
from scripts.clients.prometheus import Prometheus
from scripts.context import Context
from scripts.switch.gate_figures import Figures, Tell

MIN_SCRAPES = 3
"""Of an origin and of the lag in a window: one or two say nothing of what was between. There are four in a minute."""
DELIVERY = 45.0
"""Seconds after the window's end in which its last samples must have come: a scrape is due every 15 s, then it is sent.
"""
COUNT, BUCKET, UP, LAG = "zdm_request_seconds_count", "zdm_request_seconds_bucket", "up", "zdm_cdc_lag_seconds"
MISMATCHES, CHECKED = "zdm_data_check_mismatches", "zdm_data_check_timestamp_seconds"
ANSWERED, FAILED, ORIGINS = '{status!="421"}', '{status=~"5.."}', '{job="services"}'


def watch(context: Context, window: float, tell: Tell) -> Figures:
    """Waits for `window` seconds, and asks. Raises `ZdmError` when Prometheus does not answer."""
    out = context.outputs
    assert out.observability is not None
    with Prometheus(out.observability.prometheus_endpoint, out.region) as prometheus:
        prometheus.query(UP, time.time())  # who may not ask is told now, not after the window
        started, began = time.monotonic(), time.time()
        while (gone := time.monotonic() - started) < window:
            tell(gone)
            time.sleep(min(1.0, max(0.0, window - gone)))
        ended = time.time()
        while time.time() < ended + DELIVERY and not _delivered(prometheus, ended):
            tell(window)
            time.sleep(1.0)
        return figures(prometheus, ended, ended - began)


def figures(prometheus: Prometheus, at: float, seconds: float) -> Figures:
    """Those of the `seconds` before the Unix time `at`."""
    window = f"{seconds:.0f}s"
    requests = prometheus.by("side", f"sum by (side) ({grown(COUNT + ANSWERED, window)})", at)
    p95 = prometheus.by(
        "side", f"1000 * histogram_quantile(0.95, sum by (side, le) ({grown(BUCKET + ANSWERED, window)}))", at
    )
    checked = prometheus.number(f"max({CHECKED})", at)
    mismatches = prometheus.number(f"max({MISMATCHES})", at)
    lag_samples = int(prometheus.number(f"max(count_over_time({LAG}[{window}]))", at) or 0)
    return Figures(
        source="prometheus",
        seconds=seconds,
        requests={side: requests.get(side.value, 0.0) for side in Side},
        p95_ms={side: p95.get(side.value) for side in Side},
        failed=prometheus.number(f"sum({grown(COUNT + FAILED, window)})", at) or 0.0,
        lag=prometheus.number(f"max(max_over_time({LAG}[{window}]))", at) if lag_samples >= MIN_SCRAPES else None,
        lag_samples=lag_samples,
        mismatches=None if mismatches is None else int(mismatches),
        checked=_checked(checked, mismatches),
        doubt=_doubt(prometheus, at, window),
    )


def grown(series: str, window: str) -> str:
    """PromQL: by how much each counter grew: from its value at the window's beginning, or from 0 if it began later.

    `increase` guesses what happened at the window's edges, and misses what a new counter begins with. Only that of a
    process that was started again meanwhile is left to it.
    """
    last, before = f"last_over_time({series}[{window}])", f"{series} offset {window}"
    return f"(({last} - {before}) >= 0 or (increase({series}[{window}]) and {before}) or {last})"


def _delivered(prometheus: Prometheus, ended: float) -> bool:
    """Whether samples of both, origins and probe, have come that were taken after the window."""
    jobs = (ORIGINS, '{job="probe"}')
    newest = [prometheus.number(f"max(timestamp({UP}{job}))", time.time()) for job in jobs]
    return all(at is not None and at >= ended for at in newest)


def _doubt(prometheus: Prometheus, at: float, window: str) -> str:
    """What was not measured all through the window."""
    before = prometheus.by("service", f"count by (service) ({UP}{ORIGINS} offset {window})", at)
    scrapes = prometheus.by("service", f"max by (service) (count_over_time({UP}{ORIGINS}[{window}]))", at)
    down = prometheus.by("instance", f"min by (instance) (min_over_time({UP}{ORIGINS}[{window}])) == 0", at)
    for side in Side:
        service = f"{side.value}-api"
        if not scrapes.get(service):
            return f"Prometheus has no figures of {service}: look at the collector's task and its log"
        if not before.get(service):
            return f"Prometheus has known {service} for less than the window: watch again"
        if scrapes[service] < MIN_SCRAPES:
            return f"only {scrapes[service]:.0f} scrapes of {service}, {MIN_SCRAPES} are needed: watch longer"
    if down:
        return f"{', '.join(sorted(down))} did not answer the collector all the time: its requests are not counted"
    return ""


def _checked(at: float | None, mismatches: float | None) -> str:
    if at is None:
        return "no data-check has been seen: run `./zdm data-check`, and look at the lag probe's task"
    when = f"data-check of {datetime.fromtimestamp(at, UTC):%F %T} UTC"
    return when if mismatches is not None else f"the {when} could not say: run it again"
