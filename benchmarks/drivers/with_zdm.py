"""The product's own check or copy of a table, with the functions that the commands call."""

import json
import resource
import sys
import time
from typing import Any

from benchmarks.databases import Sides, of_driver
from scripts.console import Console
from scripts.data import check, copy


def main() -> None:
    task = json.load(sys.stdin)
    sides = of_driver(task)
    began, used = time.monotonic(), cpu()
    answer = {"check": checked, "copy": copied}[task["command"]](sides, task)
    print(json.dumps({"seconds": time.monotonic() - began, "cpu": cpu() - used, **answer}))


def checked(sides: Sides, task: dict[str, Any]) -> dict[str, Any]:
    """Nothing changes meanwhile, so what differs once differs: `patience` is not needed."""
    result = check.run(
        sides,  # type: ignore[arg-type]
        tables=[task["table"]],
        console=Console(quiet=True),
        connections=task["streams"],
        patience=0,
        method=task["method"],
    )
    keys = [",".join(key) for table in result.tables for key in table.keys]
    return {"rows": result.rows, "keys": sorted(keys)}


def copied(sides: Sides, task: dict[str, Any]) -> dict[str, Any]:
    """Anew each time. No capture is waited for: there is none."""
    result = copy.run(
        sides,  # type: ignore[arg-type]
        tables=[task["table"]],
        streams=task["streams"],
        without_capture=True,
        restart=True,
        console=Console(quiet=True),
    )
    return {"rows": result.rows, "native": result.native}


def cpu() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


main()
