"""`./zdm load-test`: the sample shop's mix of requests through the router at a constant rate, held against the KPIs.

The load comes from this project's own generator, or from k6 where it is on PATH and asked for. Invariants:
- Every write goes through the shop's API with a `client_ref` of its own, and refers only to rows that exist.
- It aims at this machine unless told otherwise, and never at production: it places orders.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from rich.console import Console as RichConsole
from rich.table import Table as RichTable

from contract.outputs import Kpis
from scripts.clients.http import connect_to
from scripts.console import Console
from scripts.context import Context, git_revision
from scripts.errors import UsageError
from scripts.rehearsal import load_job, load_k6, report, result, shop
from scripts.rehearsal.load import require_loopback
from scripts.rehearsal.load_job import Job, Seen
from scripts.rehearsal.workload import ShopPlan, shop_plan
from scripts.switch import journal
from scripts.switch.gate import Measure

KIND: Final = "load-test"
"""Kind of the stored records."""
WRITES: Final = 0.25
"""Share of the requests that change something: a shop is looked at more than bought from."""
RAMP: Final = 5.0
"""Seconds until the full rate: caches, pools and compilers warm up; not judged."""
KEPT: Final = 0.98
"""Share of the rate that must be answered in time: less means that requests pile up."""
DEFAULT_RATE: Final = 100.0

Tool = Literal["zdm", "k6"]


@dataclass(frozen=True)
class LoadTestResult:
    """The verdict. `at` is when it ended (Unix time)."""

    url: str
    tool: Tool
    rate: float
    seconds: float
    at: float
    seen: Seen
    measures: list[Measure]

    @property
    def ok(self) -> bool:
        return all(m.ok for m in self.measures)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "url": self.url,
            "tool": self.tool,
            "rate": self.rate,
            "seconds": self.seconds,
            "at": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="seconds"),
            "revision": git_revision(),
            "seen": asdict(self.seen),
            "measures": [m.to_json() for m in self.measures],
        }

    def render(self, out: RichConsole) -> None:
        table = RichTable("", "measured", "bound", "")
        for m in self.measures:
            shown = "–" if m.value is None else f"{m.value:,.4g} {m.unit}"
            mark = "[green]holds[/green]" if m.ok else "[red]does not hold[/red]"
            table.add_row(m.name, shown, f"{m.bound:g} {m.unit}", f"{mark} {m.note}".strip())
        out.print(table)
        out.print(f"{self.rate:g} requests a second for {self.seconds:g} s: {'passed' if self.ok else 'failed'}.")


def run(
    context: Context,
    *,
    rate: float | None = None,
    seconds: float = 60.0,
    tool: Tool = "zdm",
    allow_remote: bool = False,
    console: Console,
    page: Path | None = None,
) -> LoadTestResult:
    """Loads the stack and judges. `rate` in requests a second is by default what the stack's KPIs promise.

    The result is stored in the target, and added to the rehearsal's report in the folder `page` where there is one.
    Raises `UsageError` before anything is sent to where it must not go.
    """
    out = context.outputs
    wanted = rate or out.kpis.throughput_per_second or DEFAULT_RATE
    if out.environment == "prod":
        raise UsageError("a load test places orders, so it never runs in production: take staging, which mirrors it")
    if not allow_remote:
        require_loopback(connect_to(out.router.url)[0])
    if tool == "k6":
        load_k6.require()
    job = Job(out.router.url, _plan(context), wanted, WRITES, seconds, RAMP, allow_remote)
    with console.step(f"Load {job.url} with {wanted:g} requests a second for {seconds:g} s") as step:
        with tempfile.TemporaryDirectory(prefix="zdm-load-") as folder:
            seen = (load_k6 if tool == "k6" else load_job).send(job, Path(folder), step.progress)
        step.done(f"{seen.pace:,.0f} answers a second")
    judged = list(judge(seen, out.kpis, wanted))
    tested = LoadTestResult(job.url, tool, wanted, seconds, time.time(), seen, judged)
    with context.postgres() as pg:
        journal.store(pg, KIND, tested.ok, tested.to_json())
    if page is not None and (page / result.RESULT_FILE).exists():
        rehearsed = result.load(page)
        rehearsed.load_tests.append(tested.to_json())
        report.write(rehearsed, page)
    return tested


def judge(seen: Seen, kpis: Kpis, rate: float) -> Iterator[Measure]:
    """Every figure against the stack's bounds."""
    rounded = None if seen.p95 is None else round(seen.p95, 2)
    held = seen.p95 is not None and seen.p95 <= kpis.latency_p95_ms
    others = "".join(f", {n} {v:.3g} ms" for n, v in (("p50", seen.p50), ("p99", seen.p99)) if v is not None)
    yield Measure("latency p95", rounded, kpis.latency_p95_ms, held, "ms", f"{seen.requests:,} requests{others}")
    share = seen.failed / seen.requests if seen.requests else None
    good = share is not None and share <= kpis.error_rate
    yield Measure("errors", share, kpis.error_rate, good, "of requests", f"{seen.failed:,} of {seen.requests:,}")
    pace, least, kept = round(seen.pace, 2), kpis.throughput_per_second, round(KEPT * rate, 2)
    yield Measure("throughput at least", pace, least, pace >= least, "/s")
    yield Measure("rate that was kept", pace, kept, pace >= kept, "/s", seen.note)


def _plan(context: Context) -> ShopPlan:
    """What there is to ask for. Raises `UsageError` where the stack is not the sample shop's."""
    with context.mysql() as my:
        with my.cursor() as cursor:
            cursor.execute(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = %s", (context.outputs.database,)
            )
            missing = sorted({*shop.TABLES} - {str(name) for (name,) in cursor.fetchall()})
        if missing:
            raise UsageError(
                f"a load test knows the sample shop, and this database has no {', '.join(missing)}: "
                "`./zdm rehearse --keep` brings up a stack with it"
            )
        return shop_plan(my)
