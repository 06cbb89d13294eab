"""What a load test sends and what it met; and sending it with this project's own generator.

Invariant: the seconds in which the rate grows, and those that are not whole, are in no figure.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.errors import ZdmError
from scripts.rehearsal.load import LEDGER_FILE, Load, Settings
from scripts.rehearsal.measure import Window, read_seconds
from scripts.rehearsal.workload import ShopPlan, save_plan

PER_PROCESS: Final = 500.0
"""Requests a second of one generator: a processor sends twice as many before it is late itself."""

Tell = Callable[[float, float, str], None]
"""Called now and then with seconds gone and seconds in all, and their unit."""


@dataclass(frozen=True)
class Job:
    """`rate` requests a second, of which the share `writes` changes something, for `seconds` after a `ramp`."""

    url: str
    plan: ShopPlan
    rate: float
    writes: float
    seconds: float
    ramp: float
    allow_remote: bool = False


@dataclass(frozen=True)
class Seen:
    """Latencies in milliseconds of answered requests; the pace in answers a second."""

    requests: int
    failed: int
    pace: float
    p50: float | None
    p95: float | None
    p99: float | None
    note: str = ""


def send(job: Job, folder: Path, tell: Tell) -> Seen:
    """Sends the load from as many processes as its rate needs. Raises `ZdmError` when there was no answer at all."""
    save_plan(job.plan, folder / "plan.json")
    number = max(1, math.ceil(job.rate / PER_PROCESS))
    total, began = job.ramp + job.seconds, time.time()
    loads = [Load(_settings(job, folder, i, number)) for i in range(number)]
    try:
        while any(load.process.poll() is None for load in loads):
            tell(min(time.time() - began, total), total, "s")
            time.sleep(0.25)
    finally:
        for load in loads:
            load.stop()
    return _seen([load.out for load in loads], job)


def _settings(job: Job, folder: Path, i: int, number: int) -> Settings:
    share = job.rate / number
    return Settings(
        url=job.url,
        plan=folder / "plan.json",
        out=folder / f"load-{i}",
        writes=share * job.writes,
        reads=share * (1 - job.writes),
        seed=i,
        seconds=job.ramp + job.seconds,
        ramp=job.ramp,
        allow_remote=job.allow_remote,
    )


def _seen(folders: list[Path], job: Job) -> Seen:
    started = [json.loads((folder / LEDGER_FILE).open().readline())["started"] for folder in folders]
    since = math.ceil(max(started) + job.ramp)
    until = math.floor(min(started) + job.ramp + job.seconds)
    whole = Window(tuple(s for folder in folders for s in read_seconds(folder) if since <= s.t < until))
    if not whole.requests:
        raise ZdmError(f"the load got no answer: look at the router ({job.url}), and at the origins behind it")
    return Seen(
        requests=whole.requests,
        failed=whole.failed + whole.unknown,
        pace=whole.answered() / (until - since),
        p50=whole.percentile(50),
        p95=whole.percentile(95),
        p99=whole.percentile(99),
        note=f"{len(folders)} generators, at most {whole.late_ms:.0f} ms late themselves",
    )
