"""The check of what changed: rows whose keys are in the change topics since the last clean check of everything, and
those that a later check found different. What nothing changed is as equal as it was then; a row of the target that
was spoiled there, without a change at the source, is found by the sampled and the full check only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from scripts.clients.kafka import KafkaClient, Offsets
from scripts.console import Step
from scripts.context import Context
from scripts.data.check import explained
from scripts.data.check_result import REPORTED, TableResult
from scripts.data.difference import Difference, Key
from scripts.data.rules import MySQL, Postgres, Rules
from scripts.data.settle import Settle, settled_differences
from scripts.errors import UsageError
from scripts.switch.changes import ChangedKeys, offsets_of

PORTION = 100_000
"""Records of a partition that are read before their rows are compared: they bound the memory."""
PATIENCE = 600
"""Seconds that reading a portion may take."""

Touched = Callable[[Rules, Sequence[Key]], None]
"""Told of the keys of a table that changed."""


def check_changes(
    context: Context,
    my: MySQL,
    pg: Postgres,
    tables: Sequence[Rules],
    *,
    since: Mapping[str, Mapping[str, int]],
    until: Mapping[str, Mapping[str, int]],
    suspects: Mapping[str, Sequence[Key]],
    settle: Settle,
    touched: Touched,
    step: Step,
) -> list[TableResult]:
    """Compares what changed between two markers (`kafka_offsets`), and `suspects` by table. Raises `UsageError` when
    `since` knows nothing of a table, `ZdmError` when Kafka does not have all changes any more."""
    out = context.outputs
    rules = {out.topic_of(of_table.table.name): of_table for of_table in tables}
    begin = {place: offset for place, offset in offsets_of(since).items() if place[0] in rules}
    end = {place: offset for place, offset in offsets_of(until).items() if place[0] in rules}
    if missing := [place for place in end if place not in begin]:
        raise UsageError(
            f"the last clean data-check knew nothing of {missing[0][0]}-{missing[0][1]}: run `./zdm data-check` in full"
        )
    results = {of_table.table.name: TableResult(of_table.table.name, method="keys") for of_table in tables}
    by_name = {of_table.table.name: of_table for of_table in tables}

    def compare(name: str, keys: Sequence[Key]) -> None:
        result, began = results[name], time.monotonic()
        found, unsettled = settled_differences(my, pg, by_name[name], keys, settle=settle)
        result.source_rows += len(keys)
        result.target_rows += len(keys)
        result.chunks += 1
        result.unsettled += unsettled
        _add(my, by_name[name], result, found)
        result.seconds += time.monotonic() - began

    for name, keys in suspects.items():
        if name in by_name:
            compare(name, keys)
    with KafkaClient.of(out.brokers, out.region) as kafka:
        changes = ChangedKeys(kafka, rules, begin)
        total = sum(end[place] - begin[place] for place in end)
        for portion in _portions(begin, end):
            changes.advance(portion, PATIENCE)
            for name, keys in changes.take().items():
                touched(by_name[name], keys)
                compare(name, keys)
            step.progress(sum(portion[place] - begin[place] for place in end), total, "changes")
    return list(results.values())


def _portions(begin: Offsets, end: Offsets) -> list[Offsets]:
    """Ends of the portions, in order; the last is `end`."""
    most = max((end[place] - begin[place] for place in end), default=0)
    steps = range(PORTION, most + PORTION, PORTION)
    return [{place: min(begin[place] + step, end[place]) for place in end} for step in steps]


def _add(my: MySQL, rules: Rules, result: TableResult, found: Sequence[Difference]) -> None:
    known = set(result.keys)
    new = [difference for difference in found if difference.key not in known]
    result.differences += len(new)
    result.keys += [difference.key for difference in new]
    result.examples += explained(my, rules, new[: max(0, REPORTED - len(result.examples))], {})
