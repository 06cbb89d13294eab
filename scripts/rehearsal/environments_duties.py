"""What production owes besides running: a customer's rights, an archive, being what its program says, and its price."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from contract.estimate import GROUPS
from contract.privacy import NONE, DataClasses
from scripts import stacks
from scripts.environments import archive, archive_verify, cost, drift, evidence, privacy, subject
from scripts.errors import ZdmError
from scripts.rehearsal.environments_stage import Stage

CUSTOMER: Final = "42"
DAYS: Final = 1
"""What somebody sets the retention of a log to, behind the program's back."""


def data_subject(stage: Stage) -> None:
    """A customer asks for a copy of the data, and then for its end."""
    prod = stage.at("prod")
    with stage.chapter("prod", "A customer's data, given and erased") as chapter:
        classes = privacy.classes_of(privacy.FILE)
        given = subject.export(prod, CUSTOMER, classes, console=stage.console)
        file = stage.clone.home / "subject-export.json"  # not in the report: it is what it says
        subject.save(given, file)
        private = stat.S_IMODE(file.stat().st_mode) == 0o600
        counts = {table: len(rows) for table, rows in given.document["tables"].items()}
        erased = subject.erase(prod, CUSTOMER, classes, dry_run=False, console=stage.console)
        left = sum(map(len, erased.left.values()))
        again = subject.export(prod, CUSTOMER, classes, console=stage.console)
        same = _values_left(given.document, again.document, classes)
        stage.result.none_of("erased", left + same, f"of {sum(counts.values())} rows in {len(counts)} tables")
        chapter.text = (
            f"Customer {CUSTOMER}: {sum(counts.values())} rows of {len(counts)} tables were given out, signed, in a "
            "file that only its owner can read. Then what is personal in them was erased in both databases "
            f"({', '.join(f'{side} {n} rows' for side, n in erased.changed.items())}); orders and payments stay for "
            f"the books, and tell nobody whose they were. {left} columns still hold something; of the values given out "
            f"{same} are still there. The proof is signed, and kept in Aurora."
        )
        chapter.table(
            ("Table", "Rows given", "Erased columns"),
            [(table, n, ", ".join(erased.plan.get(table, ())) or "none") for table, n in counts.items()],
        )
        chapter.summary = f"{sum(counts.values())} rows given, {left + same} traces left"
        if left or same or not private or not counts:
            raise ZdmError(f"{left} columns and {same} values are left of customer {CUSTOMER}")


def _values_left(before: Mapping[str, Any], after: Mapping[str, Any], classes: DataClasses) -> int:
    """Personal values of the first document that the second one still has, at the same place."""
    found = 0
    for table, rows in before["tables"].items():
        there = after["tables"].get(table, [])
        for row, now in zip(rows, there, strict=False):
            for name, text in row.items():
                given = classes.tables.get(table, {}).get(name, NONE)
                found += bool(given != NONE and text and text == now.get(name))
    return found


def keep_an_archive(stage: Stage) -> None:
    """MySQL's state goes into the archive, and every object is read back."""
    prod = stage.at("prod")
    with stage.chapter("prod", "The archive") as chapter:
        taken = archive.take(prod, console=stage.console)
        proven = archive_verify.run(prod, console=stage.console)
        objects = len(proven.manifest.objects)
        good = proven.read if proven.ok else proven.read - len(proven.problems)
        stage.result.count("archived", good, objects, f"objects of {proven.manifest.rows:,} rows, read back")
        chapter.text = (
            f"The archive {taken.id} has {proven.manifest.rows:,} rows of {len(proven.manifest.tables)} tables in "
            f"{objects} objects ({proven.manifest.format}). Each object was read back and held against the manifest"
            f"{f'; {proven.skipped}' if proven.skipped else ''}."
        )
        chapter.table(("Table", "Rows"), [(table.name, table.rows) for table in proven.manifest.tables])
        chapter.summary = f"{proven.manifest.rows:,} rows, {good} of {objects} objects proven"
        if not proven.ok:
            raise ZdmError(f"the archive is not what its manifest says: {proven.problems}")


def find_drift(stage: Stage) -> None:
    """Somebody changes something behind the program's back: it is found, told, and mended."""
    prod, console = stage.at("prod"), stage.console
    with stage.chapter("prod", "Changed by hand, found and mended") as chapter:
        logs = prod.aws("logs")
        groups = [one["logGroupName"] for one in logs.describe_log_groups()["logGroups"]]
        if not groups:
            raise ZdmError("production has no log group that somebody could change")
        group = groups[0]
        with console.step(f"Somebody lets {group} forget after {DAYS} day"):
            logs.put_retention_policy(logGroupName=group, retentionInDays=DAYS)
        found = drift.run("prod", local=True, console=console)
        evidence.keep(prod, evidence.DRIFT, found)
        drifted = [item for item in found.items if item.origin == "drift"]
        told = [item for item in drifted if item.property == "retentionInDays" and item.real == DAYS]
        stacks.up("prod", local=True, refresh=True, console=console)
        prod = stage.at("prod", anew=True)
        after = drift.run("prod", local=True, console=console)
        evidence.keep(prod, evidence.DRIFT, after)
        n = int(len(told) == 1 and after.ok)
        stage.result.count("drift", n, 1, f"of {found.looked} resources looked at")
        chapter.text = (
            f"The retention of the log group {group} was changed to {DAYS} day, past the program. drift looked at "
            f"{found.looked} resources and named it; up --refresh set it back; drift then found "
            f"{'nothing' if after.ok else f'{len(after.items)} things'}."
        )
        chapter.table(
            ("Resource", "What", "Expected", "Really"),
            [(i.name, f"{i.what} {i.property}".strip(), _text(i.expected), _text(i.real)) for i in drifted],
        )
        chapter.summary = f"{len(drifted)} of {found.looked} resources, named and set back"
        if not n or drifted != told:
            raise ZdmError(f"drift told {[item.to_json() for item in found.items]}, then {after.summary}")


def _text(value: Any) -> str:
    return "nothing" if value is None else str(value)


def tell_the_cost(stage: Stage) -> None:
    """What production costs a month by its resources; the sums are added up again."""
    with stage.chapter("prod", "What it costs") as chapter:
        told = cost.run("prod", local=True, console=stage.console)
        e = told.estimate
        by_line = sum((line.usd for line in e.lines), Decimal(0))
        by_group = sum((e.of(group) for group in GROUPS), Decimal(0))
        off = max(abs(by_line - e.total), abs(by_group - e.total))
        note = f"{e.total:,} $ a month, in {len(e.lines)} lines"
        stage.result.measure("cost", float(off), f"{off:.2f} $", off == 0 and bool(e.lines), note)
        chapter.text = (
            f"{e.total:,} $ a month while both databases run, {e.staying:,} $ after the migration, by the resources of "
            f"this small production and list prices of {told.prices.region} ({told.prices.oldest} the oldest); today's "
            f"MySQL costs {told.cost.mysql_monthly_usd:,.2f} $. {len(e.missing)} kinds of resources are not estimated."
        )
        chapter.table(
            ("Group", "Now, $", "After the migration, $"),
            [*((group, float(e.of(group)), float(e.of(group, staying=True))) for group in GROUPS),
             ("total", float(e.total), float(e.staying))],
        )  # fmt: skip
        chapter.table(
            ("Bound", "What was seen", "Verdict"),
            [
                (b.what, b.said, {True: "✓ holds", False: "does not hold", None: "cannot be told"}[b.ok])
                for b in told.bounds
            ],
        )
        chapter.summary = f"{e.total:,} $ a month"
        if off:
            raise ZdmError(f"the costs do not add up: {by_line} by lines, {by_group} by groups, {e.total} in all")
