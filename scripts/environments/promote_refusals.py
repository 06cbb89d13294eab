"""Why a promotion may not go through (pure): from what was observed, all reasons at once.

Invariants:
- A proof counts only if it is authentic, good, fresh enough, and of the very revision that is to be promoted.
- What is not known is a reason, never left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from contract.outputs import Promotion
from contract.window import Window
from infra.revision import UNKNOWN
from scripts.environments.evidence import DATA_CHECK, FAULTS, FUNCTIONAL, LOAD_TEST, SECURITY, Evidence
from scripts.environments.findings import ACCEPTABLE, BLOCKING, Finding
from scripts.environments.snapshot_set import SnapshotSet

SKEW: Final = timedelta(minutes=5)
"""How far two machines' clocks may be apart."""


@dataclass(frozen=True)
class Asked:
    """What somebody wants. `override` is the reason to go outside of the window, `watch` seconds."""

    source: str
    target: str
    approved_by: str = ""
    accepted: tuple[str, ...] = ()
    override: str = ""
    watch: float | None = None


@dataclass(frozen=True)
class Proof:
    """Evidence that a promotion looks at. Not `required`: good if it is there."""

    kind: str
    hours: float
    way: str
    required: bool = True


@dataclass(frozen=True)
class Facts:
    """What was observed. `revision` is this work tree's, `changed` its files that differ from it."""

    now: datetime
    revision: str
    changed: Sequence[str]
    source_revision: str
    evidence: Mapping[str, Evidence | None]
    no_evidence: str
    """Why there is no evidence to look at; empty where there is a place for it."""
    no_record: str
    """Why the promotion could not be recorded."""
    snapshots: SnapshotSet | None
    findings: Sequence[Finding]
    preview: str
    """Why the target's preview does not go through; empty if it does."""


@dataclass(frozen=True)
class Refusal:
    """A reason. `about` is what is missing: one of the kinds of evidence, or another word that does not change."""

    about: str
    text: str

    def to_json(self) -> dict[str, str]:
        return {"about": self.about, "text": self.text}


def proofs(rules: Promotion, source: str) -> tuple[Proof, ...]:
    """What is looked at in the source stack, and how it comes about."""
    return (
        Proof(DATA_CHECK, rules.check_hours, f"./zdm data-check {source} --record"),
        Proof(LOAD_TEST, rules.load_test_hours, f"./zdm load-test {source} --allow-remote --record"),
        Proof(FAULTS, rules.faults_hours, f"./zdm evidence add {source} faults --file RESULT.xml"),
        Proof(SECURITY, rules.security_hours, f"./zdm evidence add {source} security --file RESULT.sarif"),
        Proof(
            FUNCTIONAL, rules.faults_hours, f"./zdm evidence add {source} functional --file RESULT.xml", required=False
        ),
    )


def refusals(asked: Asked, facts: Facts, rules: Promotion) -> list[Refusal]:
    """All that stands in the way; empty if nothing does."""
    return [
        *_revision(asked, facts),
        *(Refusal("evidence", facts.no_evidence) for _ in [0] if facts.no_evidence),
        *(one for proof in proofs(rules, asked.source) for one in _proof(proof, facts, asked)),
        *_snapshots(asked, facts, rules),
        *_window(asked, facts, rules),
        *_findings(asked, facts),
        *(Refusal("preview", facts.preview) for _ in [0] if facts.preview),
        *(Refusal("record", facts.no_record) for _ in [0] if facts.no_record),
        *_approval(asked),
    ]


def _revision(asked: Asked, facts: Facts) -> Iterator[Refusal]:
    if facts.revision.startswith(UNKNOWN):
        yield Refusal("work-tree", "this is no clone of the repository: which revision it is cannot be told")
        return
    if facts.changed:
        names = ", ".join(facts.changed[:5]) + (", ..." if len(facts.changed) > 5 else "")
        yield Refusal("work-tree", f"the work tree differs from its revision ({names}): commit or undo that")
    clean, up = facts.revision.removesuffix("+"), facts.source_revision
    if up != clean:
        told = f"revision {up}" if up else "a revision that is not known (output revision)"
        yield Refusal("revision", f"{asked.source} has {told}, not {clean}: ./zdm up {asked.source}, and test that")


def _proof(proof: Proof, facts: Facts, asked: Asked) -> Iterator[Refusal]:
    found, again = facts.evidence.get(proof.kind), f": {proof.way}"
    if found is None:
        if proof.required and not facts.no_evidence:
            yield Refusal(proof.kind, f"there is no evidence {proof.kind} of {asked.source}{again}")
        return
    named, wanted = f"the evidence {proof.kind} of {asked.source} ({found.id})", facts.revision.removesuffix("+")
    if not found.authentic:
        yield Refusal(proof.kind, f"{named} is not signed with the stack's key, or was changed since{again}")
        return
    if found.body.get("stack") != asked.source or found.body.get("kind") != proof.kind:
        yield Refusal(proof.kind, f"{named} is of {found.body.get('kind')} of {found.body.get('stack')}{again}")
        return
    if found.revision != wanted:
        if proof.required:
            yield Refusal(proof.kind, f"{named} is of revision {found.revision}, not {wanted}{again}")
        return
    if not found.ok:
        yield Refusal(proof.kind, f"{named} is not good{again}")
    if found.commands.endswith("+"):
        yield Refusal(proof.kind, f"{named} was made by a program with changes that are not committed{again}")
    age = facts.now - found.at
    if proof.required and age > timedelta(hours=proof.hours):
        yield Refusal(proof.kind, f"{named} is {_hours(age)} old, {proof.hours:g} h at most are allowed{again}")
    if age < -SKEW:
        yield Refusal(proof.kind, f"{named} is from {found.at:%F %T} UTC, which is not yet: mend this machine's clock")


def _snapshots(asked: Asked, facts: Facts, rules: Promotion) -> Iterator[Refusal]:
    ways = f"./zdm snapshot {asked.target}, ./zdm snapshot verify {asked.target}"
    if facts.snapshots is None:
        yield Refusal("snapshots", f"{asked.target} has no snapshots that were verified: {ways}")
        return
    age = facts.now - facts.snapshots.at
    if age > timedelta(hours=rules.snapshot_hours):
        yield Refusal(
            "snapshots",
            f"the newest verified snapshots of {asked.target} ({facts.snapshots.id}) are {_hours(age)} old, "
            f"{rules.snapshot_hours:g} h at most are allowed: {ways}",
        )


def _window(asked: Asked, facts: Facts, rules: Promotion) -> Iterator[Refusal]:
    if not rules.window or asked.override.strip():
        return
    window = Window.parse(rules.window)
    if not window.contains(facts.now):
        begin = window.next(facts.now)
        yield Refusal(
            "window",
            f"it is {facts.now.astimezone(window.zone):%a %H:%M}, outside of {rules.window}; next is "
            f"{begin:%a %F %H:%M} ({begin.astimezone(UTC):%F %H:%M} UTC). If it cannot wait: --window-override REASON",
        )


def _findings(asked: Asked, facts: Facts) -> Iterator[Refusal]:
    there = [one for one in facts.findings if one.open and one.stack in (asked.source, asked.target)]
    for one in there:
        if one.severity in BLOCKING:
            yield Refusal("findings", f"the finding {one.id} ({one.severity}: {one.title}) is open")
        elif one.severity in ACCEPTABLE and one.id not in asked.accepted:
            yield Refusal("findings", f"the finding {one.id} ({one.severity}: {one.title}) is open: --accept {one.id}")
    for name in asked.accepted:
        if name not in {one.id for one in there if one.severity not in BLOCKING}:
            yield Refusal("findings", f"--accept {name}: there is no such open finding that can be accepted")


def _approval(asked: Asked) -> Iterator[Refusal]:
    if not asked.approved_by.strip():
        yield Refusal("approval", "nobody has approved it: --approve NAME")


def _hours(age: timedelta) -> str:
    return f"{age.total_seconds() / 3600:.1f} h"
