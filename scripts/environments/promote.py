"""`./zdm promote SOURCE TARGET`: brings the revision that was proven in one stack up in the next one, and watches it.

Invariants:
- Nothing is changed unless every proof is there (`promote_refusals`); what is missing is told all at once.
- How far it is stands in the target's archive before each step (`promote_journal`). Run again after a crash it goes on:
  an update that was begun is finished, a watch begins anew, a return is finished. Until the update begins, nothing has
  happened, and everything is looked at anew.
- The target is at every moment in its former revision, in the new one, or in an update of the engine between the two,
  which is run again.
- If the update fails, or the target is not well afterwards, it gets its former revision back; where there is none, or
  it is not known, the promotion stops, and says so. Data are not taken back: that is for the snapshots.
- Either way the record of it is kept, signed, as evidence of kind `promotion`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from infra.revision import changed_files
from scripts import stacks
from scripts.console import Console, duration
from scripts.context import PROJECT, Context, git_revision
from scripts.environments import evidence, findings, health, promote_journal
from scripts.environments.evidence import PROMOTION, Evidence
from scripts.environments.promote_hands import Hands
from scripts.environments.promote_journal import Entry, Step
from scripts.environments.promote_refusals import Asked, Facts, proofs, refusals
from scripts.environments.promote_result import Outcome, PromoteResult, Status
from scripts.environments.snapshot_store import Store
from scripts.errors import UsageError, ZdmError
from scripts.stacks import StackResult
from scripts.switch.machine import operator

MINUTE: Final = 60.0


@dataclass(frozen=True)
class Scene:
    """Who takes part. `target` gives the stack as it is now: an update changes its outputs."""

    asked: Asked
    source: Context
    target: Callable[[], Context]
    hands: Hands
    console: Console


def run(scene: Scene, *, dry_run: bool = False) -> PromoteResult:
    """Promotes, or goes on with what a run that died has left; with `dry_run` says what it would do, and why not."""
    asked, target = scene.asked, scene.target()
    if asked.source == asked.target:
        raise UsageError("a stack is promoted into another one, such as: ./zdm promote staging prod")
    entry = promote_journal.read(target) if target.outputs.archive else None
    if entry is not None and not dry_run:
        _take_over(scene, entry)
        if entry.step is not Step.OPENED:
            return _carry_on(scene, entry, again=True)
        promote_journal.drop(target)  # nothing was changed, and what it stood on is old
    facts, preview, difference = _observe(scene, target)
    reasons = refusals(asked, facts, target.outputs.promotion)
    former = target.outputs.revision
    revision = facts.revision.removesuffix("+")
    outcome: Outcome = "refused" if reasons and not dry_run else "planned"
    plan = _plan(scene, target, revision, entry)
    planned = PromoteResult(
        outcome, asked.source, asked.target, revision, former, reasons, plan, difference, preview
    )  # fmt: skip
    if reasons or dry_run:
        return planned
    if former == revision and preview is not None and not preview.outcome.changes:
        return PromoteResult("already", asked.source, asked.target, revision, former, preview=preview)
    body = _record(scene, facts, former, preview, planned)
    return _carry_on(scene, promote_journal.begin(target, body), again=False)


def undo(scene: Scene) -> PromoteResult:
    """Takes an open promotion back. Raises `UsageError` when none is open."""
    entry = _open(scene)
    if entry.step is Step.OPENED:
        promote_journal.drop(scene.target())
        return _closed(scene, {**entry.body, "outcome": "returned", "reasons": ["nothing had been changed yet"]})
    if entry.step is not Step.RETURNING:
        entry = promote_journal.move(scene.target(), entry, Step.RETURNING, reasons=[f"taken back by {operator()}"])
    return _carry_on(scene, entry, again=True)


def give_up(scene: Scene, reason: str) -> PromoteResult:
    """Closes an open promotion as it is, since somebody has seen to it by hand."""
    entry = _open(scene)
    told = [*entry.body["reasons"], f"given up by {operator()}: {reason}"]
    entry = promote_journal.move(scene.target(), entry, Step.CLOSED, reasons=told, outcome="stopped", ok=False)
    return _carry_on(scene, entry, again=True)


def status(context: Context) -> Status:
    """The open promotion into a stack, or else the last one."""
    entry, stack = promote_journal.read(context), context.outputs.stack
    if entry is not None:
        return Status(stack, True, entry.body)
    last = evidence.newest(context, PROMOTION)
    return Status(stack, False, None) if last is None else Status(stack, False, last.body, last.authentic)


# --- observe ----------------------------------------------------------------------------------------------------------


def _observe(scene: Scene, target: Context) -> tuple[Facts, StackResult | None, list[Any]]:
    asked, source = scene.asked, scene.source
    with scene.console.step(f"Look at the proofs of {asked.source}, and at {asked.target}") as step:
        found, no_evidence = _evidence(source, asked.source, target)
        step.done(f"{sum(one is not None for one in found.values())} kinds of evidence")
    preview, wrong = _preview(scene)
    difference = scene.hands.difference()
    facts = Facts(
        now=datetime.now(UTC),
        revision=git_revision(),
        changed=changed_files(PROJECT),
        source_revision=source.outputs.revision,
        evidence=found,
        no_evidence=no_evidence,
        no_record=_no_place(target),
        snapshots=Store(target).newest_proven(),
        findings=findings.store_of(target.outputs.promotion.findings).all(),
        preview=wrong,
    )
    return facts, preview, difference


def _evidence(source: Context, name: str, target: Context) -> tuple[Mapping[str, Evidence | None], str]:
    missing = _no_place(source)
    kinds = [proof.kind for proof in proofs(target.outputs.promotion, name)]
    return {kind: None if missing else evidence.newest(source, kind) for kind in kinds}, missing


def _no_place(context: Context) -> str:
    """Why a stack can keep no evidence; empty if it can."""
    try:
        evidence.keeper(context, PROMOTION, wanted=True)
    except UsageError as e:
        return str(e)
    return ""


def _preview(scene: Scene) -> tuple[StackResult | None, str]:
    try:
        preview = scene.hands.preview()
    except ZdmError as e:
        return None, f"the preview of {scene.asked.target} fails: {e}"
    broken = [str(one) for one in preview.outcome.violations if one.mandatory]
    return preview, f"{scene.asked.target} would break rules: {'; '.join(broken)}" if preview.outcome.refused else ""


def _plan(scene: Scene, target: Context, revision: str, entry: Entry | None) -> list[str]:
    """What is done, in order."""
    name, former = scene.asked.target, target.outputs.revision
    no_way = scene.hands.no_way_back(former, revision)
    back = f"go back to revision {former}, by its own program" if not no_way else f"stop: {no_way}"
    before = [f"an open promotion ({entry.id}, {entry.step}) is finished first"] if entry is not None else []
    return [
        *before,
        f"snapshots of {name}, then up with revision {revision}",
        f"watch {name} for {duration(_seconds(scene, target))}: uptime, response time, errors",
        f"if the update fails or {name} is not well: {back}",
    ]


def _seconds(scene: Scene, target: Context) -> float:
    wanted = scene.asked.watch
    return target.outputs.promotion.watch_minutes * MINUTE if wanted is None else wanted


def _record(
    scene: Scene, facts: Facts, former: str, preview: StackResult | None, planned: PromoteResult
) -> dict[str, Any]:
    asked, target = scene.asked, scene.target()
    name = evidence.new_id(facts.now)
    return {
        "v": evidence.VERSION,
        "kind": PROMOTION,
        "id": name,
        "project": target.outputs.project,
        "stack": asked.target,
        "source": asked.source,
        "at": facts.now.isoformat(timespec="seconds"),
        "ok": False,
        "revision": facts.revision,
        "commands": facts.revision,
        "former": former,
        "label": f"g{facts.revision}-{facts.now:%y%m%dt%H%M}",
        "approvedBy": asked.approved_by.strip(),
        "operator": operator(),
        "accepted": list(asked.accepted),
        "windowOverride": asked.override.strip(),
        "evidence": {kind: one.id for kind, one in facts.evidence.items() if one is not None},
        "snapshots": facts.snapshots.id if facts.snapshots else "",
        "difference": [one.to_json() for one in planned.difference],
        "preview": {} if preview is None else {**preview.outcome.counts},
        "watchSeconds": _seconds(scene, target),
        "baselineMs": None,
        "health": None,
        "after": None,
        "reasons": [],
        "outcome": "",
        "figures": {},
    }


# --- apply ------------------------------------------------------------------------------------------------------------


def _open(scene: Scene) -> Entry:
    entry = promote_journal.read(scene.target())
    if entry is None:
        raise UsageError(f"no promotion into {scene.asked.target} is open")
    _take_over(scene, entry)
    return entry


def _take_over(scene: Scene, entry: Entry) -> None:
    """Raises `UsageError` when another process of this machine is at it, or it is of other stacks."""
    if entry.alive:
        raise UsageError(f"the promotion {entry.id} is under way, in process {entry.body['process']['pid']}")
    if entry.body["source"] != scene.asked.source:
        raise UsageError(f"the promotion {entry.id} from {entry.body['source']} is open: finish that first")


def _carry_on(scene: Scene, entry: Entry, *, again: bool) -> PromoteResult:
    """From wherever it is to its end. `again`: another run has begun the step."""
    take = {Step.OPENED: _begin, Step.UPDATING: _update, Step.WATCHING: _watch, Step.RETURNING: _return}
    while entry.step is not Step.CLOSED:
        entry, again = take[entry.step](scene, entry, again), False
    scene.hands.tidy()
    kept = promote_journal.close(scene.target(), entry)
    return _closed(scene, kept.body)


def _closed(scene: Scene, record: Mapping[str, Any]) -> PromoteResult:
    asked = scene.asked
    return PromoteResult(
        record["outcome"], asked.source, asked.target, record["revision"], record["former"], record=record
    )


def _begin(scene: Scene, entry: Entry, again: bool) -> Entry:
    target = scene.target()
    with scene.console.step(f"How fast {scene.asked.target} answers before") as step:
        before = health.baseline(target)
        step.done("not all of it answers" if before is None else f"{before:.0f} ms")
    return promote_journal.move(target, entry, Step.UPDATING, baselineMs=before)


def _update(scene: Scene, entry: Entry, again: bool) -> Entry:
    """Brings it up. An update that failed is taken back; one that another run is at is not."""
    if again:
        scene.hands.tidy()
        here = git_revision()
        if here != entry.revision:
            raise UsageError(
                f"the promotion {entry.id} of revision {entry.revision} is open, and this is {here}: run it again from "
                f"that revision, or take it back: ./zdm promote {scene.asked.source} {scene.asked.target} --undo"
            )
    try:
        scene.hands.up(str(entry.body["label"]), again=again)
    except stacks.Busy:
        raise
    except ZdmError as e:
        scene.console.warn(f"the update of {scene.asked.target} failed: going back")
        return promote_journal.move(scene.target(), entry, Step.RETURNING, reasons=[f"the update failed: {e}"])
    return promote_journal.move(scene.target(), entry, Step.WATCHING)


def _watch(scene: Scene, entry: Entry, again: bool) -> Entry:
    target, seconds = scene.target(), float(entry.body["watchSeconds"])
    with scene.console.step(f"Watch {scene.asked.target} for {duration(seconds)}") as step:
        seen = health.watch(target, seconds, entry.body["baselineMs"], step)
    told = {**seen.to_json(), "summary": seen.summary}
    if seen.ok:
        return promote_journal.move(
            target, entry, Step.CLOSED, health=told, outcome="promoted", ok=True, figures=_figures("promoted", seen)
        )
    scene.console.warn(f"{'; '.join(seen.broken)}: going back")
    return promote_journal.move(
        target, entry, Step.RETURNING, health=told, reasons=seen.broken, figures=_figures("returned", seen)
    )


def _return(scene: Scene, entry: Entry, again: bool) -> Entry:
    target, former = scene.target(), str(entry.body["former"])
    none = scene.hands.no_way_back(former, entry.revision)
    if none:
        return promote_journal.move(
            target, entry, Step.CLOSED, outcome="stopped", reasons=[*entry.body["reasons"], f"no way back: {none}"]
        )
    scene.hands.tidy()
    scene.hands.go_back(former, str(entry.body["label"]))
    target = scene.target()
    with scene.console.step(f"Is {scene.asked.target} well again") as step:
        seen = health.watch(target, target.outputs.kpis.probation_window_seconds, entry.body["baselineMs"], step)
    return promote_journal.move(
        target, entry, Step.CLOSED, outcome="returned", after={**seen.to_json(), "summary": seen.summary}
    )  # fmt: skip


def _figures(outcome: str, seen: health.Health) -> dict[str, Any]:
    return {"outcome": outcome, "windows": len(seen.windows), "health": seen.summary}
