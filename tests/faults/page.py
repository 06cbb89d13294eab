"""Writes `docs/faults.md` from the table of faults and from what was seen of them: `python -m tests.faults.page`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.faults.table import FAULTS, Fault, Outcome

DOCS = Path(__file__).parents[2] / "docs"
RESULTS, PAGE = DOCS / "faults.json", DOCS / "faults.md"

HEAD = """# What breaks, and what becomes of the switch

Every row is a test with real parts (`tests/faults`): MySQL, Kafka, Debezium, PostgreSQL, both origins and the Worker,
with 40 writes and 20 reads a second going on over the router, and a ledger of what was acknowledged. A killed part
gets SIGKILL with all its children and is started again a second later (*before* a switch: after its answer); one that
stands still does so for 4 s; the budget is 12 s. After each fault the switch is run until Aurora is the writer.

Whatever is expected of the switch: no acknowledged write is lost, none is doubled or wrong, exactly one side can be
written, both fences agree. *Finished*: Aurora is the writer. *Undone*: MySQL is the writer again. *Refused*: nothing
was begun. *Held*: nobody writes until the operator runs the switch again. Where two are given, how fast the part comes
back decides.

```console
$ export ZDM_FAULTS_RESULTS=docs/faults.json
$ ZDM_FAULTS=all .venv/bin/python -m pytest tests/faults   # all of them
$ ZDM_FAULTS=7 .venv/bin/python -m pytest tests/faults     # a few, by this seed
$ .venv/bin/python -m tests.faults.page                    # this page
```

A full disk is a limit on the size of the broker's files (RLIMIT_FSIZE): to it that is the same. Nothing is mounted.
The clock steps by `libfaketime`, a part that is fetched like the others. The pause is the customers': from the
last write that MySQL acknowledged to the first that Aurora did.

| fault | when | expected | seen | acknowledged | unknown | lost, doubled, wrong | pause |
|---|---|---|---|---|---|---|---|
"""


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page. A fault that has not been tried says so."""
    return HEAD + "".join(_row(fault, results.get(fault.name)) for fault in FAULTS.values())


def _row(fault: Fault, seen: Mapping[str, Any] | None) -> str:
    expected = " or ".join(outcome.value for outcome in Outcome if outcome in fault.expected)
    if fault.known:
        cells = [f"**not yet:** {fault.known}", "", "", "", ""]
    elif seen is None:
        cells = ["not tried yet", "", "", "", ""]
    else:
        wrong = seen["wrong"] + seen["misplaced"] + seen["increments"]
        pause = "" if seen["pause"] is None else f"{seen['pause']:.2f} s"
        cells = [
            seen["outcome"], f"{seen['acknowledged']:,}", str(seen["unknown"]),
            f"{seen['lost']}, {seen['doubled']}, {wrong}", pause,
        ]  # fmt: skip
    return f"| {' | '.join([fault.what, fault.when, expected, *cells])} |\n"


def results() -> dict[str, Any]:
    return dict(json.loads(RESULTS.read_text())) if RESULTS.exists() else {}


if __name__ == "__main__":
    PAGE.write_text(page(results()))
