"""`./zdm data-check --repair`: what was proven different is copied anew, and looked at once more."""

from __future__ import annotations

from dataclasses import replace

from scripts.console import Console
from scripts.context import Context
from scripts.data.check import explained
from scripts.data.check_result import REPORTED, CheckResult
from scripts.data.inspect import mysql_tables, without_unsupported
from scripts.data.repair import repair
from scripts.data.rules import rules_of
from scripts.data.settle import PATIENCE, Settle, settled_differences


def repaired(
    context: Context,
    result: CheckResult,
    settle: Settle | None,
    *,
    dry_run: bool,
    console: Console,
    patience: float = PATIENCE,
) -> CheckResult:
    """The result after the rows found different were copied anew; with `dry_run` it only says that they would be."""
    wrong = {table.table: table for table in result.tables if table.keys}
    rows = sum(len(table.keys) for table in wrong.values())
    if dry_run:
        return replace(result, remark=f"{result.remark}{'; ' if result.remark else ''}would copy {rows:,} rows anew")
    out = context.outputs
    with console.step("Repair") as step, context.mysql() as my, context.postgres() as pg:
        tables = without_unsupported(mysql_tables(my, out.database, list(wrong)), out.pipeline.choices)
        rules = {table.name: rules_of(table, out.pipeline.choices) for table in tables}
        repair(
            context,
            [(of_table, wrong[name].keys) for name, of_table in rules.items()],
            lambda done: step.progress(done, rows, "rows"),
        )
        for name, of_table in rules.items():
            found = wrong[name]
            left, unsettled = settled_differences(my, pg, of_table, found.keys, settle=settle, patience=patience)
            found.repaired = len(found.keys) - len(left) - len(unsettled)
            found.unsettled += [key for key in unsettled if key not in found.unsettled]
            found.differences, found.keys = len(left), [difference.key for difference in left]
            found.examples = explained(my, of_table, left[:REPORTED], {})
        fixed = sum(table.repaired for table in wrong.values())
        step.done(f"{fixed:,} of {rows:,} rows repaired")
    return result
