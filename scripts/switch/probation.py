"""`./zdm cutover probation`: watches Aurora after the cutover, and rolls back by itself when a bound is broken.

Invariants:
- Nothing is rolled back for one bad window: so many in a row must break a bound (`kpis.probationBreaches`). A window
  with too few requests says nothing, neither good nor bad.
- The way back is watched as well: a rollback needs it. When it breaks, that is said at once, with what it means, and
  Aurora goes on serving: a broken way back is no reason to use it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pymysql
from rich.console import Console as RichConsole
from rich.table import Table as RichTable

from contract.flag import Side, Writes
from scripts.console import Console
from scripts.context import Context
from scripts.errors import UsageError, ZdmError
from scripts.switch import cutover, gate_origins, journal, way_back
from scripts.switch.fence import Controller
from scripts.switch.gate import MIN_OF_A_SIDE
from scripts.switch.journal import Direction, State
from scripts.switch.machine import operator
from scripts.switch.result import CutoverResult

STARTUP = 120.0
"""Seconds until the way back must carry its first marker."""


@dataclass(frozen=True)
class Window:
    """What was seen in a window: `broken` are the bounds that did not hold, `said` is what was measured."""

    at: float
    requests: int
    p95_ms: float | None
    error_rate: float | None
    lag_seconds: float | None
    broken: list[str]

    def to_json(self) -> dict[str, Any]:
        return {
            "at": self.at,
            "requests": self.requests,
            "p95Ms": self.p95_ms,
            "errorRate": self.error_rate,
            "lagSeconds": self.lag_seconds,
            "broken": self.broken,
        }


@dataclass(frozen=True)
class ProbationResult:
    """`outcome`: `held`, `rolled-back`, `breached` (and a rollback was not wanted, or not possible)."""

    outcome: str
    reason: str
    windows: list[Window] = field(default_factory=list)
    rollback: CutoverResult | None = None

    @property
    def ok(self) -> bool:
        return self.outcome == "held"

    def to_json(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "windows": [w.to_json() for w in self.windows],
            "rollback": None if self.rollback is None else self.rollback.to_json(),
        }

    def render(self, out: RichConsole) -> None:
        table = RichTable("window", "requests", "p95", "errors", "MySQL behind", "")
        for i, w in enumerate(self.windows[-10:], max(1, len(self.windows) - 9)):
            table.add_row(
                str(i),
                f"{w.requests:,}",
                "–" if w.p95_ms is None else f"{w.p95_ms:,.0f} ms",
                "–" if w.error_rate is None else f"{w.error_rate:.2%}",
                "–" if w.lag_seconds is None else f"{w.lag_seconds:.2f} s",
                "; ".join(w.broken),
            )
        out.print(table)
        if self.rollback is not None:
            self.rollback.render(out)
        out.print(self.reason, markup=False, soft_wrap=True)


def run(context: Context, *, minutes: float | None = None, manual: bool = False, console: Console) -> ProbationResult:
    """Watches for `minutes` (the stack's own number if None). `manual`: a breach is only told.

    Raises `UsageError` when Aurora is not the writer, `ZdmError` when the way back does not carry.
    """
    kpis = context.outputs.kpis
    minutes = kpis.probation_minutes if minutes is None else minutes
    automatic = kpis.probation_automatic and not manual
    _begin(context)
    with console.step("Probation: the way back carries") as step:
        step.done(f"a marker took {way_back.await_running(context, STARTUP):.2f} s to MySQL")
    windows: list[Window] = []
    broken: list[str] = []
    with console.step("Probation: watch Aurora") as step, way_back.ReverseLag(context) as lag:
        deadline, started = time.monotonic() + minutes * 60, time.monotonic()
        while not broken and time.monotonic() < deadline:
            windows.append(_window(context, min(kpis.probation_window_seconds, deadline - time.monotonic()), lag))
            step.progress(time.monotonic() - started, minutes * 60, "s")
            last = windows[-kpis.probation_breaches :]
            if len(last) == kpis.probation_breaches and all(w.broken for w in last):
                broken = last[-1].broken
        step.done(f"{len(windows)} windows" + (f", the last {kpis.probation_breaches} broken" if broken else ""))
    result = _judged(context, windows, broken, automatic, console)
    with context.postgres() as pg:
        journal.store(pg, journal.PROBATION, result.ok, result.to_json())
    return result


def _judged(
    context: Context, windows: list[Window], broken: list[str], automatic: bool, console: Console
) -> ProbationResult:
    stack = context.outputs.stack
    if not broken:
        return ProbationResult("held", f"Aurora has held its bounds. To end it: ./zdm cutover final {stack}", windows)
    what = "; ".join(broken)
    if not automatic:
        return ProbationResult("breached", f"{what}. To go back: ./zdm rollback {stack}", windows)
    console.warn(f"{what}: rolling back")
    done = cutover.run(context, console=console, direction=Direction.ROLLBACK)
    if done.outcome in ("open", "finished"):
        return ProbationResult("rolled-back", f"{what}. Rolled back: MySQL is the writer", windows, done)
    return ProbationResult("breached", f"{what}. The rollback did not go through: {done.reason}", windows, done)


def _begin(context: Context) -> None:
    """Notes the state, for a cutover that is open."""
    way_back.required(context.outputs)
    with Controller(context) as c:
        run, flag = journal.last(c.postgres, c.cursor), c.postgres_flag()
        if run is None or flag.mode is not Side.AURORA or flag.writes is not Writes.OPEN:
            raise UsageError("Aurora is not the writer: there is nothing to watch. See ./zdm cutover status")
        if not run.finished:
            raise UsageError(f"the {run.direction} {run.id} is open: ./zdm cutover resume first")
        if run.state is State.FINAL:
            raise UsageError("the way back was given up: there is no probation any more")
        if run.state is State.OPEN:
            journal.write_postgres(c.postgres, run.id, State.PROBATION, flag.epoch, {"operator": operator()})


def _window(context: Context, seconds: float, lag: way_back.ReverseLag) -> Window:
    """Requests of Aurora's origin and the lag of the way back over so many seconds, against their bounds."""
    kpis, url = context.outputs.kpis, context.outputs.router.aurora_origin
    broken: list[str] = []
    until = time.monotonic() + max(seconds, 1.0)
    behind: float | None = None
    try:
        before = gate_origins.scrape(context, url)
        while True:
            try:
                one = lag.seconds(kpis.lag_seconds)
            except (psycopg.Error, pymysql.err.MySQLError, OSError) as e:
                raise ZdmError(f"the way back cannot be looked at: {e}") from e
            if one is None:
                broken_way = (
                    f"the way back is more than {kpis.lag_seconds:g} s late: no rollback is possible until it is not"
                )
                return Window(time.time(), 0, None, None, None, [broken_way])
            behind = max(one, behind or 0.0)
            if time.monotonic() >= until:
                break
            time.sleep(min(1.0, max(0.0, until - time.monotonic())))
        counts = gate_origins.difference(before, gate_origins.scrape(context, url), Side.AURORA)
    except ZdmError as e:
        return Window(time.time(), 0, None, None, behind, [str(e)])
    number = int(gate_origins.total(counts))
    p95, rate = gate_origins.quantile(gate_origins.answered(counts), 0.95), None
    if number >= MIN_OF_A_SIDE:
        rate = gate_origins.total(counts, failed=True) / number
        if p95 is not None and p95 * 1000 > kpis.latency_p95_ms:
            broken.append(f"latency p95 {p95 * 1000:.0f} ms (bound {kpis.latency_p95_ms:g})")
        if rate > kpis.error_rate:
            broken.append(f"errors {rate:.2%} of requests (bound {kpis.error_rate:.2%})")
    return Window(time.time(), number, None if p95 is None else round(p95 * 1000, 1), rate, behind, broken)
