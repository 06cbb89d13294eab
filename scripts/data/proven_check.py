"""`./zdm data-check`: the check with the proof that a difference is not lag, and its stored verdict.

- While MySQL is the writer, a row that differs is judged only after everything written before was proven to be applied
  (`scripts.switch.drain`); the positions of the change topics at the start are stored with the verdict, and the
  cutover compares again whatever changed after them.
- Once Aurora is the writer, MySQL stands still and Aurora moves on: a row that Aurora has committed since then may
  differ, and is counted as newer; every other row must be equal.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial

from contract.flag import Side
from scripts.console import Console
from scripts.context import Context
from scripts.data import check
from scripts.data.compare import Key, Postgres, Rules, changed_since
from scripts.switch import journal
from scripts.switch.changes import kafka_offsets
from scripts.switch.drain import settler
from scripts.switch.fence import Controller


def run(
    context: Context,
    *,
    tables: Sequence[str] | None = None,
    console: Console,
    connections: int = 2,
    busy: float = 1.0,
    title: str = "Check data",
) -> check.CheckResult:
    """Checks every captured table (or those named) and stores the verdict in the target; options as of `check.run`."""
    run_check = partial(
        check.run, context, tables=tables, console=console, title=title, connections=connections, busy=busy
    )
    with Controller(context) as controller:
        moved = controller.postgres_flag().mode is Side.AURORA
        since = journal.last_commit(controller.postgres) if moved else None
        if since is not None:
            result = run_check(settle=_still, expected=partial(_newer, since))
        elif context.outputs.pipeline.state == "running":
            with settler(context) as settle:
                result = run_check(settle=settle, marker=partial(kafka_offsets, context) if tables is None else None)
        else:
            result = run_check()
        if tables is None or not result.ok:  # that a part is equal says nothing about the whole
            journal.store(controller.postgres, journal.DATA_CHECK, result.ok, result.to_json())
    return result


def _newer(since: datetime, pg: Postgres, rules: Rules, keys: Sequence[Key]) -> Collection[Key]:
    return changed_since(pg, rules, keys, since)


def _still() -> None:
    """The source is fenced: nothing is on its way any more."""
