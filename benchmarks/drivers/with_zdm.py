"""The product's own check of a table, with the functions that the commands call."""

import json
import resource
import sys
import time

from benchmarks.databases import of_driver
from scripts.console import Console
from scripts.data import check


def main() -> None:
    task = json.load(sys.stdin)
    sides = of_driver(task)
    began, used = time.monotonic(), cpu()
    result = check.run(
        sides,  # type: ignore[arg-type]
        tables=[task["table"]],
        console=Console(quiet=True),
        connections=task["streams"],
        patience=0,
    )
    seconds, used = time.monotonic() - began, cpu() - used
    keys = sorted(",".join(difference.key) for difference in result.differences)
    print(json.dumps({"seconds": seconds, "cpu": used, "rows": result.rows, "keys": keys}))


def cpu() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


main()
