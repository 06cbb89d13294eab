"""The product's own check and copy, each run in a process of its own as the other ways are."""

from __future__ import annotations

import sys
from typing import Any

from benchmarks.databases import Databases
from benchmarks.measure import Run, drive
from contract.tables import Table

_ARGV = (sys.executable, "-m", "benchmarks.drivers.with_zdm")


def check(databases: Databases, table: Table, method: str, streams: int) -> Run:
    """The answer's `keys` are those of the rows that differ."""
    return _run(databases, table, command="check", method=method, streams=streams)


def copy(databases: Databases, table: Table, streams: int) -> Run:
    """Into an empty table, or one that it has filled itself."""
    return _run(databases, table, command="copy", streams=streams)


def _run(databases: Databases, table: Table, **task: Any) -> Run:
    return drive(databases, _ARGV, {"table": table.name, **task})
