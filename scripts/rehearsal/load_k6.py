"""Sending a load test with k6, the machine's own: its script is `k6/shop.js`, its thresholds are judged here.

Nothing here gets k6 (its licence is the AGPL): it is used where someone has installed it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scripts.clients.http import connect_to
from scripts.errors import UsageError, ZdmError
from scripts.rehearsal.load_job import Job, Seen, Tell

SCRIPT = Path(__file__).with_name("k6") / "shop.js"
OUT = "install it (k6.io), or leave --tool out: this project's own generator sends the same mix"


def require() -> str:
    """Its path. Raises `UsageError` where there is none."""
    found = shutil.which("k6")
    if found is None:
        raise UsageError(f"there is no k6 on PATH: {OUT}")
    return found


def send(job: Job, folder: Path, tell: Tell) -> Seen:
    """Runs k6 until it is through. Raises `ZdmError` with its last words when it fails."""
    summary, log = folder / "summary.json", folder / "k6.log"
    total, began = job.ramp + job.seconds, time.time()
    with log.open("w") as out:
        process = subprocess.Popen(
            [require(), "run", "--quiet", "--no-usage-report", str(SCRIPT)],
            env={**os.environ, **environment(job, summary)},
            stdout=out,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
        )
        try:
            while process.poll() is None:
                tell(min(time.time() - began, total), total, "s")
                time.sleep(0.25)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(60)
    if process.returncode or not summary.exists():
        raise ZdmError(f"k6 ended with {process.returncode}: {log.read_text()[-1000:].strip()}")
    return seen(json.loads(summary.read_text()), job.seconds)


def environment(job: Job, summary: Path) -> dict[str, str]:
    """What the script is told. Everything is text; `HOST` is empty where the URL's own will do."""
    url, headers = connect_to(job.url)
    return {
        "URL": url.rstrip("/"),
        "HOST": headers.get("host", "") if headers.get("host") != urlsplit(url).netloc else "",
        "RATE": f"{job.rate:g}",
        "WRITES": f"{job.writes:g}",
        "RAMP": f"{job.ramp:g}",
        "SECONDS": f"{job.seconds:g}",
        "CUSTOMERS": str(job.plan.customers),
        "PRODUCTS": str(job.plan.products),
        "ORDERS": str(job.plan.orders),
        "RUN": uuid.uuid4().hex[:16],
        "SUMMARY": str(summary),
    }


def seen(summary: Mapping[str, Any], seconds: float) -> Seen:
    """From k6's own summary: the metrics of the scenario `full`, which begins when the ramp is over."""
    metrics = summary["metrics"]
    latency = metrics.get("http_req_duration{scenario:full}", {}).get("values", {})
    failed = metrics.get("http_req_failed{scenario:full}", {}).get("values", {})
    number = int(metrics.get("http_reqs{scenario:full}", {}).get("values", {}).get("count", 0))
    bad = int(failed.get("passes", 0))  # of a rate of failures, those that are failures
    dropped = int(metrics.get("dropped_iterations", {}).get("values", {}).get("count", 0))
    return Seen(
        requests=number + dropped,
        failed=bad,
        pace=(number - bad) / seconds,
        p50=latency.get("med"),
        p95=latency.get("p(95)"),
        p99=latency.get("p(99)"),
        note=f"k6 sent {dropped} less than were due",
    )
