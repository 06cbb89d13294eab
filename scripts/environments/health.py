"""Is a stack well? Watched from outside, as its customers meet it, and by what its origins count.

Invariants:
- Uptime is what the router's own page and, through the router, an origin with its database answer once a second: it is
  known also at night, when nobody shops.
- Response time and errors are those of customers' requests, from Prometheus where the stack has one, else from the
  origins' own histograms (the gate's readers). A window with too few of them says nothing of these two.
- The answers to our own requests come from wherever we are: only by how much slower they are than before counts.
- One bad window is no breach: so many in a row are (`kpis.probationBreaches`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Protocol

import httpx

from contract.flag import Side
from contract.outputs import Kpis
from scripts.clients.prometheus import Prometheus
from scripts.console import Step
from scripts.context import Context
from scripts.errors import ZdmError
from scripts.switch import gate_origins, gate_prometheus
from scripts.switch.gate import MIN_OF_A_SIDE

PAGES: Final = ("/__zdm/router", "/readyz")
"""The router's own page, and one that needs an origin and its database."""
INTERVAL: Final = 1.0
PATIENCE: Final = 5.0
"""Seconds after which a page counts as not answered."""
SCRAPED: Final = 60.0
"""Shortest window over Prometheus, whose collector asks every 15 s."""
BASELINE: Final = 3
"""Rounds of requests that say how fast the pages are before a change."""


@dataclass(frozen=True)
class Window:
    """What was seen in a window. Milliseconds; None is what could not be judged, for the reason in `note`."""

    at: float
    seconds: float
    probes: int
    unanswered: int
    slowest_ms: float | None
    """95th percentile of our own requests."""
    requests: int
    p95_ms: float | None
    error_rate: float | None
    broken: list[str]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Health:
    """Windows of a watch; well unless the last ones in a row were all broken."""

    windows: list[Window]
    breaches: int

    @property
    def broken(self) -> list[str]:
        """What does not hold; empty while it is well."""
        last = self.windows[-self.breaches :]
        return last[-1].broken if len(last) == self.breaches and all(w.broken for w in last) else []

    @property
    def ok(self) -> bool:
        return not self.broken

    @property
    def summary(self) -> str:
        probes, lost = sum(w.probes for w in self.windows), sum(w.unanswered for w in self.windows)
        uptime = 1 - lost / probes if probes else 0.0
        return f"up {uptime:.2%} of {probes:,} requests, {sum(w.requests for w in self.windows):,} of customers"

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "broken": self.broken, "windows": [w.to_json() for w in self.windows]}


def watch(context: Context, seconds: float, baseline_ms: float | None, step: Step) -> Health:
    """Watches for so many seconds, or until it is clear that the stack is not well.

    `baseline_ms` is what `baseline` said before the change, None where that is not known.
    """
    kpis = context.outputs.kpis
    windows: list[Window] = []
    started = time.monotonic()
    length = min(seconds, max(kpis.probation_window_seconds, SCRAPED if _prometheus(context) else 0.0))
    while True:
        left = started + seconds - time.monotonic()
        if windows and left < length / 2:
            break  # too little for a window of its own
        windows.append(_window(context, min(length, max(left, INTERVAL)), baseline_ms))
        step.progress(min(time.monotonic() - started, seconds), seconds, "s")
        if not Health(windows, kpis.probation_breaches).ok:
            break
    found = Health(windows, kpis.probation_breaches)
    step.done(found.summary)
    return found


def baseline(context: Context) -> float | None:
    """How fast the pages are now, in ms; None where they are not all answered."""
    with context.http(context.outputs.router.url, PATIENCE) as client:
        times = [_ask(client, page) for _ in range(BASELINE) for page in PAGES]
    answered = [one for one in times if one is not None]
    return max(answered) if len(answered) == len(times) else None


def _window(context: Context, seconds: float, baseline_ms: float | None) -> Window:
    kpis, began = context.outputs.kpis, time.monotonic()
    counters: Counters = _Prometheus(context) if _prometheus(context) else _Origins(context)
    times: list[float | None] = []
    with context.http(context.outputs.router.url, PATIENCE) as client:
        while True:
            times += [_ask(client, page) for page in PAGES]
            left = began + seconds - time.monotonic()
            if left <= 0:
                break
            time.sleep(min(INTERVAL, left))
    took = time.monotonic() - began
    answered = sorted(one for one in times if one is not None)
    slowest = answered[int(0.95 * (len(answered) - 1))] if answered else None
    lost = len(times) - len(answered)
    broken = []
    if lost > kpis.error_rate * len(times):
        broken.append(f"{lost} of {len(times)} requests to {', '.join(PAGES)} were not answered")
    if slowest is not None and baseline_ms is not None and slowest - baseline_ms > kpis.latency_p95_ms:
        broken.append(
            f"{slowest:.0f} ms to answer, {baseline_ms:.0f} before (bound {kpis.latency_p95_ms:g} more than that)"
        )
    try:
        seen = counters.end(took)
    except ZdmError as e:
        return Window(time.time(), took, len(times), lost, slowest, 0, None, None, [*broken, str(e)])
    rate, more = _judged(seen, kpis)
    p95 = max((value for value in seen.p95_ms.values() if value is not None), default=None)
    return Window(
        time.time(), took, len(times), lost, slowest, int(seen.total), p95, rate, [*broken, *more], seen.note
    )  # fmt: skip


def _ask(client: httpx.Client, page: str) -> float | None:
    """Milliseconds until the page was answered well; None if it was not."""
    began = time.perf_counter()
    try:
        answer = client.get(page)
    except httpx.HTTPError:
        return None
    return (time.perf_counter() - began) * 1000 if answer.is_success else None


# --- customers' requests ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """Customers' requests by side; `note` says why they are not known."""

    requests: Mapping[Side, float]
    p95_ms: Mapping[Side, float | None]
    failed: float
    note: str = ""

    @property
    def total(self) -> float:
        return sum(self.requests.values())


def _judged(seen: Seen, kpis: Kpis) -> tuple[float | None, list[str]]:
    """The share of errors, and which bounds do not hold."""
    if seen.note or seen.total < MIN_OF_A_SIDE:
        return None, []
    broken = []
    for side, number in seen.requests.items():
        p95 = seen.p95_ms[side]
        if number >= MIN_OF_A_SIDE and p95 is not None and p95 > kpis.latency_p95_ms:
            broken.append(f"latency p95 of {side.value} {p95:.0f} ms (bound {kpis.latency_p95_ms:g})")
    rate = seen.failed / seen.total
    if rate > kpis.error_rate:
        broken.append(f"errors {rate:.2%} of requests (bound {kpis.error_rate:.2%})")
    return rate, broken


class Counters(Protocol):
    """Made when a window begins."""

    def end(self, seconds: float) -> Seen:
        """What was counted since. Raises `ZdmError` that names what does not answer."""
        ...


class _Origins:
    """The origins' own histograms, of one task each."""

    def __init__(self, context: Context) -> None:
        router = context.outputs.router
        self._context = context
        self._urls = {Side.MYSQL: router.mysql_origin, Side.AURORA: router.aurora_origin}
        self._missing = ""
        self._before: dict[Side, gate_origins.Counts] = {}
        try:
            self._before = {side: gate_origins.scrape(context, url) for side, url in self._urls.items()}
        except ZdmError as e:
            self._missing = str(e)

    def end(self, seconds: float) -> Seen:
        if self._missing:
            raise ZdmError(self._missing)
        after = {side: gate_origins.scrape(self._context, url) for side, url in self._urls.items()}
        try:
            made = {
                side: gate_origins.answered(gate_origins.difference(self._before[side], counts, side))
                for side, counts in after.items()
            }
        except ZdmError as e:  # an origin that was started again, or several that answer in turn
            return Seen({}, {}, 0.0, str(e))
        p95 = {side: gate_origins.quantile(counts, 0.95) for side, counts in made.items()}
        return Seen(
            {side: gate_origins.total(counts) for side, counts in made.items()},
            {side: None if value is None else value * 1000 for side, value in p95.items()},
            sum(gate_origins.total(counts, failed=True) for counts in made.values()),
        )


class _Prometheus:
    """What the collector has of every task. What it has not is no breach: it may be its own trouble."""

    def __init__(self, context: Context) -> None:
        self._endpoint, self._region = _prometheus(context), context.outputs.region

    def end(self, seconds: float) -> Seen:
        try:
            with Prometheus(self._endpoint, self._region) as prometheus:
                found = gate_prometheus.figures(prometheus, time.time(), seconds)
        except ZdmError as e:
            return Seen({}, {}, 0.0, str(e))
        return Seen(found.requests, found.p95_ms, found.failed, found.doubt)


def _prometheus(context: Context) -> str:
    watched = context.outputs.observability
    return watched.prometheus_endpoint if watched else ""
