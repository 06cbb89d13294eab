"""The way to production: refused while a proof is missing, blocked by a finding, gone, and taken back on a breach."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from scripts import stacks
from scripts.console import duration
from scripts.context import context_from
from scripts.environments import evidence, findings
from scripts.environments import promote as command
from scripts.environments.promote_hands import Engine
from scripts.environments.promote_refusals import Asked
from scripts.environments.promote_result import PromoteResult
from scripts.errors import ZdmError
from scripts.rehearsal import environments_proofs as proofs
from scripts.rehearsal.environments_dev import WORK_MEM_KB
from scripts.rehearsal.environments_result import RTO_BOUND, Chapter
from scripts.rehearsal.environments_stage import Stage

WATCH, WATCH_BAD = 20.0, 60.0
"""Seconds that production is watched; a bad change is noticed long before."""
OVERRIDE: Final = "a rehearsal does not wait for the night"
UNPROVEN: Final = ("work-tree", "revision", "data-check", "load-test", "faults", "security", "window", "approval")
"""What a promotion must name as missing while nothing was done for it."""
BLOCKED: Final = ("functional", "findings")
"""What must block it besides, once a test has failed."""
BAD_CHANGE = "A search path for reports, in production"
PLANTED = "planted_by_rehearsal"


def _promote(stage: Stage, *, dry_run: bool = False, approved: bool = False, watch: float = WATCH) -> PromoteResult:
    """`./zdm promote staging prod`."""
    prod = stage.at("prod", anew=True)
    asked = Asked("staging", "prod", "the rehearsal" if approved else "", (), OVERRIDE if approved else "", watch)
    scene = command.Scene(
        asked,
        stage.at("staging"),
        lambda: context_from(stacks.outputs("prod", local=True), "stack prod", prod.home, dict(prod.cloud)),
        Engine("staging", "prod", True, stage.console),
        stage.console,
    )
    stage.at("prod")  # whose pages are asked for
    return command.run(scene, dry_run=dry_run)


def _refused(result: PromoteResult) -> list[tuple[str, str]]:
    return [(reason.about, reason.text) for reason in result.reasons]


def refuse_what_is_not_proven(stage: Stage) -> None:
    """A promotion without a single proof, from a work tree that is not committed: each is named, nothing is changed."""
    with stage.chapter("prod", "What is not proven is refused") as chapter:
        before = stage.at("prod", anew=True).outputs.revision
        stage.clone.commit("A comment in production's settings", {"prod": {"cost.estimateMonthlyUsd": 4100}})
        with _unsaved(stage):
            result = _promote(stage)
        after = stage.at("prod", anew=True).outputs.revision
        refused = _refused(result)
        stage.refused |= {about for about, _ in refused}
        missing = [about for about in UNPROVEN if about not in stage.refused]
        chapter.text = (
            f"A commit that staging has not seen, a file that is not saved, and no proof at all: promote refuses for "
            f"{len(refused)} reasons, all of them at once. Production still has revision {after}."
        )
        chapter.table(("Missing", "What it says"), refused)
        chapter.summary = f"refused for {len(refused)} reasons"
        if result.outcome != "refused" or missing or before != after:
            raise ZdmError(f"it was {result.outcome}, and not for {missing}; revision {before}, then {after}")


@contextlib.contextmanager
def _unsaved(stage: Stage) -> Iterator[None]:
    """A file of the repository differs from its revision."""
    file = stage.clone.project / "README.md"
    text = file.read_text()
    file.write_text(text + "\nA line that nobody has committed.\n")
    try:
        yield
    finally:
        file.write_text(text)


def block_by_a_finding(stage: Stage) -> None:
    """A test fails in staging, as something was left there: a finding, which blocks; then it is dealt with."""
    with stage.chapter("staging", "A failed test becomes a finding, which blocks") as chapter:
        staging = stage.at("staging")
        with contextlib.closing(staging.mysql()) as my, my.cursor() as cursor:
            cursor.execute(
                f"CREATE TRIGGER {PLANTED} BEFORE INSERT ON orders FOR EACH ROW SET NEW.total = NEW.total + 1"
            )
        try:
            failed = proofs.functional(stage, staging, "failing")
        finally:
            with contextlib.closing(staging.mysql()) as my, my.cursor() as cursor:
                cursor.execute(f"DROP TRIGGER {PLANTED}")
        if failed.ok:
            raise ZdmError("the planted fault was not found by any test")
        store = findings.store_of(staging.outputs.promotion.findings)
        found = findings.add(
            store, "staging", "An order costs more than its items", severity="high", found_by="functional tests",
            text=failed.told,
        ).finding  # fmt: skip
        blocked = _promote(stage, dry_run=True, approved=True)
        refused = _refused(blocked)
        stage.refused |= {about for about, _ in refused}
        again = proofs.functional(stage, stage.at("staging"), "mended")
        findings.close(store, found.id, by="the rehearsal", how="A trigger had been left in staging's MySQL: dropped.")
        n, all_ = len(stage.refused & {*UNPROVEN, *BLOCKED}), len(UNPROVEN) + len(BLOCKED)
        stage.result.count("refused", n, all_, ", ".join((*UNPROVEN, *BLOCKED)))
        chapter.text = (
            f"A trigger was planted in staging's MySQL that makes orders dearer. The tests of the API saw it: finding "
            f"{found.id}, severity {found.severity}. With every other proof there, an approval, and a reason not to "
            f"wait for the window, the promotion was refused for {', '.join(about for about, _ in refused)} only. The "
            f"trigger was dropped, the tests passed ({again.told}), the finding was closed, and the way "
            "was free: see production's next chapter."
        )
        chapter.table(("In the way", "What it says"), refused)
        chapter.summary = f"refused for {', '.join(about for about, _ in refused)}; then mended"
        if {about for about, _ in refused} != set(BLOCKED):
            raise ZdmError(f"the promotion was refused for {refused}, not for {BLOCKED}")
        if not again.ok:
            raise ZdmError(f"the tests still fail: {again.told}")


def promote(stage: Stage) -> None:
    """What was proven is brought up in production: snapshots, update, watch."""
    with stage.chapter("prod", "The change is promoted") as chapter:
        result = _promote(stage, approved=True)
        prod = stage.at("prod", anew=True)
        with prod.postgres() as pg:
            row = pg.execute("SELECT setting::int FROM pg_settings WHERE name = 'work_mem'").fetchone()
        record = result.record
        there = result.outcome == "promoted" and prod.outputs.revision == result.revision
        chapter.text = (
            f"Revision {result.revision} followed {result.former}: snapshots under the label {record.get('label')}, "
            f"the update, then {WATCH:g} s of watching the pages and the customers' requests. Aurora's work_mem is "
            f"{row[0] if row else '?'} kB in production now. The record of it is signed, and kept in its archive."
        )
        differences = [(one["name"], one["source"], one["target"]) for one in record.get("difference", ())]
        chapter.table(("Setting", "staging", "prod"), differences, "How the two stacks' settings differ")
        _steps(chapter, result)
        chapter.summary = str((record.get("health") or {}).get("summary", result.outcome))
        if not there or row is None or row[0] != WORK_MEM_KB:
            raise ZdmError(f"it was {result.outcome}: {record.get('reasons') or _refused(result)}")


def take_back_a_bad_change(stage: Stage) -> None:
    """A setting that only production gets breaks its readers: proven in staging, promoted, noticed, taken back."""
    console = stage.console
    with stage.chapter("prod", "A bad change is taken back") as chapter:
        good = stage.at("prod", anew=True).outputs.revision
        parameters = {"work_mem": str(WORK_MEM_KB), "search_path": "reports"}
        bad = stage.clone.commit(BAD_CHANGE, {"prod": {"aurora.parameters": parameters}})
        with console.step(f"Prove revision {bad} in staging, where nothing is wrong with it"):
            stage.up("staging")
            made = proofs.all_of(stage, "second")
        if not all(proof.ok for proof in made):
            raise ZdmError(f"staging does not prove it: {[proof for proof in made if not proof.ok]}")
        result = _promote(stage, approved=True, watch=WATCH_BAD)
        prod = stage.at("prod", anew=True)
        record = result.record
        seconds = _between(record, "returning", "closed")
        held = result.outcome == "returned" and prod.outputs.revision == good
        well = bool((record.get("after") or {}).get("ok"))
        returned = held and well and seconds is not None and seconds <= RTO_BOUND
        text = "not measured" if seconds is None else duration(seconds)
        stage.result.measure("returned", seconds, text, returned, "by the former revision's own program")
        chapter.text = (
            f"Revision {bad} ({BAD_CHANGE[0].lower()}{BAD_CHANGE[1:]}) changes nothing in staging, so everything was "
            "proven there. In production the readers on Aurora no longer found their tables. The watch saw it: "
            f"{'; '.join(record.get('reasons') or ['nothing'])}. Production went back to revision {good} in {text}, by "
            f"that revision's own program, and is {'well' if well else 'not well'}."
        )
        _steps(chapter, result)
        chapter.summary = f"{result.outcome} in {text}"
        if not returned:
            raise ZdmError(f"it was {result.outcome}: {record.get('reasons') or _refused(result)}")
        stage.clone.back_to(good)
        kept = evidence.newest(prod, evidence.PROMOTION)
        if kept is None or not kept.authentic or kept.ok:
            raise ZdmError("the record of the promotion is not as it must be")


def _steps(chapter: Chapter, result: PromoteResult) -> None:
    steps = [(step["step"], step["at"]) for step in result.record.get("steps", ())]
    chapter.table(("Step", "At"), steps, "The record")


def _between(record: Mapping[str, Any], first: str, last: str) -> float | None:
    """Seconds between two steps of a promotion's record."""
    at = {step["step"]: datetime.fromisoformat(step["at"]) for step in record.get("steps", ())}
    return (at[last] - at[first]).total_seconds() if first in at and last in at else None
