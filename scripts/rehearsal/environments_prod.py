"""Production's chapters: the shop opens, is snapshotted, loses rows and gets them back, and nothing was lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from scripts.console import duration
from scripts.context import Context
from scripts.data import copy, proven_check, schema
from scripts.environments import evidence, snapshot_table, snapshot_take, snapshot_verify
from scripts.errors import ZdmError
from scripts.rehearsal import fill, ledger
from scripts.rehearsal.environments_result import RTO_BOUND
from scripts.rehearsal.environments_stage import PILOT_WEIGHT, PLAN, SECOND_WRITE, Stage
from scripts.rehearsal.machine import versions
from scripts.rehearsal.workload import load_plan
from scripts.switch import bootstrap, dual, traffic


def open_shop(stage: Stage) -> None:
    """The shop as it is in the middle of its migration: MySQL is the writer, half of the readers are on Aurora."""
    options, console = stage.options, stage.console
    with stage.chapter("prod", "The shop is open") as chapter:
        prod = stage.up("prod")
        stage.result.versions = versions(prod)
        with console.step(f"Fill MySQL with a shop of {options.rows:,} rows") as step:
            filled = fill.fill(prod.mysql, options.rows, options.seed, progress=step.progress)
            step.done(f"{sum(filled.rows.values()):,} rows")
        bootstrap.run(prod, dry_run=False, console=console)
        schema.run(prod, stage="tables", dry_run=False, skip_unsupported=False, console=console)
        copied = copy.run(prod, without_capture=True, console=console)
        schema.run(prod, stage="indexes", dry_run=False, skip_unsupported=False, console=console)
        checked = proven_check.run(prod, console=console, title="Check every row", connections=1)
        if not (copied.ok and checked.ok):
            raise ZdmError(f"the copy is not equal: {checked.summary}")
        dual.run(prod, "on", console=console)
        traffic.set_weight(prod, PILOT_WEIGHT)
        with console.step(f"Customers: {options.rate} writes and {options.reads} reads a second"):
            stage.load = stage.start_load(prod, stage.load_folder, writes=options.rate, reads=options.reads)
        chapter.text = (
            f"{checked.rows:,} rows in {len(checked.tables)} tables, the same in MySQL and in Aurora. MySQL is the "
            f"writer, its service writes to Aurora as well, and {PILOT_WEIGHT:g} % of the readers are there. From here "
            f"on customers make {options.rate} writes and {options.reads} reads a second."
        )
        chapter.table(
            ("Table", "Rows in MySQL", "Rows in Aurora", "Rows that differ"),
            [(t.table, t.source_rows, t.target_rows, t.differences) for t in checked.tables],
        )
        chapter.summary = f"{checked.rows:,} rows, {options.rate} writes a second"


def snapshot(stage: Stage) -> None:
    """The nightly check, then a set of snapshots under load, and the drill that proves it: restored beside, read in
    full, destroyed."""
    prod, console = stage.at("prod"), stage.console
    with stage.chapter("prod", "Snapshots, and the restore drill") as chapter:
        nightly = proven_check.Options(connections=1, repair=True, patience=SECOND_WRITE)  # a late second write
        proven_check.run(prod, console=console, title="The nightly check", options=nightly)
        with _held_writes(stage, prod) as held:
            taken = snapshot_take.run(prod, snapshot_take.Options(reason="nightly"), console)
        evidence.keep(prod, evidence.SNAPSHOT, taken)
        proven = snapshot_verify.run(prod, None, console=console)
        rto, rpo = proven.rto_seconds, proven.rpo_seconds
        evidence.keep(prod, evidence.VERIFIED, proven)
        listed = snapshot_table.list_sets(prod, console)
        assert taken.set is not None
        chapter.text = (
            f"The set {taken.set.id} was taken in {duration(taken.seconds)}. Customers' writes were held for "
            f"{duration(held())} meanwhile, and then executed, so that both databases are of one moment. While they "
            f"went on, each database was restored beside the running one: it answered after {duration(rto)}, and after "
            f"{duration(proven.rto_counted_seconds)} every row was read, every index and key checked. The "
            "requirement is 15 minutes."
        )
        chapter.table(("Part", "Snapshot", "Consistent to"), [(p.role, p.name, p.consistency) for p in taken.set.parts])
        chapter.table(
            ("Database", "Answers after, s", "All read after, s", "Rows", "Lost, s", "What the copy holds", "Verdict"),
            [
                (
                    drill.role, drill.serving_seconds, drill.counted_seconds, drill.found.rows, drill.rpo_seconds,
                    drill.rpo_told, "✓ sound" if drill.sound else f"✗ {'; '.join(drill.problems)}",
                )
                for drill in proven.drills
            ],
            "The drill",
        )  # fmt: skip
        chapter.table(
            ("Set", "Complete", "Verified"),
            [
                (s.id, "yes" if s.complete else "no", f"{s.verified:%F %T} UTC" if s.verified else "no")
                for s in listed.sets
            ],
            "Sets",
        )
        measure = stage.result.measure
        measure("rto", rto, duration(rto), proven.sound and rto <= RTO_BOUND, "until both databases answered")
        known = rpo is not None and rpo <= RTO_BOUND
        measure("rpo", rpo, "not known" if rpo is None else duration(rpo), known, "under load")
        chapter.summary = f"RTO {duration(rto)}, everything read after {duration(proven.rto_counted_seconds)}"
        if not proven.ok:
            raise ZdmError(f"the drill failed: {[drill.problems for drill in proven.drills]}")


@contextlib.contextmanager
def _held_writes(stage: Stage, prod: Context) -> Iterator[Callable[[], float]]:
    """Writes wait in the router, as at a cutover, until the block ends. Gives how long they did, in seconds."""
    with stage.console.step("Hold writes, so that both databases are of one moment"):
        traffic.hold(prod)
        began = time.monotonic()
        time.sleep(SECOND_WRITE)
    ended: list[float] = []
    try:
        yield lambda: ended[0] - began
    finally:
        traffic.release(prod)
        ended.append(time.monotonic())


def close_the_ledger(stage: Stage) -> None:
    """Every write that production acknowledged is there, once."""
    prod, console = stage.at("prod"), stage.console
    assert stage.load is not None
    with stage.chapter("prod", "Nothing was lost") as chapter:
        with console.step("Stop the load"):
            stage.load.stop()
        with console.step("Hold the ledger against MySQL") as step, contextlib.closing(prod.mysql()) as my:
            book = ledger.read_ledger(stage.load_folder)
            verdict = ledger.verify(book, load_plan(stage.load_folder / PLAN), my, None)
            step.done(f"{verdict.acknowledged:,} writes, {len(verdict.lost)} lost, {len(verdict.doubled)} doubled")
        stage.load = None
        bad = len(verdict.lost) + len(verdict.doubled) + len(verdict.wrong) + len(verdict.increments)
        stage.result.none_of("lost", bad, f"of {verdict.acknowledged:,} acknowledged, by the ledger of the load")
        chapter.text = (
            f"From the first snapshot to here the customers' program wrote down {verdict.acknowledged:,} acknowledged "
            f"writes. Each was looked up: {len(verdict.lost)} are lost, {len(verdict.doubled)} were executed twice, "
            f"{len(verdict.increments)} sums are off."
        )
        chapter.table(("Acknowledged write", "Number"), sorted(verdict.by_kind.items()))
        chapter.summary = f"{verdict.acknowledged:,} writes, {len(verdict.lost)} lost"
        if bad or not verdict.acknowledged:
            raise ZdmError(f"the ledger does not hold: {verdict.to_json()}")
