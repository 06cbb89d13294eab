"""A check's result for Prometheus: a file for the node exporter's textfile collector."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from scripts.data.check_result import CheckResult

FILE: Final = "data-check.prom"


def write(result: CheckResult, *files: Path) -> None:
    """Each file is replaced at once, so that nobody reads half of it."""
    registry = CollectorRegistry()

    def gauge(name: str, help: str, *labels: str) -> Gauge:
        return Gauge(f"zdm_check_{name}", help, labels, registry=registry)

    mismatches = gauge("mismatches", "Rows that differ, by the last data check", "table")
    rows = gauge("rows", "Rows of the source that the last data check compared", "table")
    seconds = gauge("seconds", "How long the last data check took", "table")
    unsettled = gauge("unsettled", "Rows that changed too often to be judged", "table")
    for table in result.tables:
        mismatches.labels(table.table).set(table.differences)
        rows.labels(table.table).set(table.source_rows)
        seconds.labels(table.table).set(table.seconds)
        unsettled.labels(table.table).set(len(table.unsettled))
    gauge("verdict", "1: the last data check found everything equal", "kind").labels(result.kind).set(result.ok)
    ended = gauge("timestamp_seconds", "When the last data check ended, as a Unix time", "kind")
    ended.labels(result.kind).set(result.started_at + result.seconds)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_to_textfile(str(file), registry)
