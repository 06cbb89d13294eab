"""`./zdm evidence list|show|add`: what was proven of a stack, when, and whether the record can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole
from rich.table import Table as RichTable

from scripts.console import duration
from scripts.context import Context
from scripts.environments import evidence, evidence_files
from scripts.environments.evidence import Evidence
from scripts.errors import UsageError


@dataclass(frozen=True)
class EvidenceList:
    """Records of one or all kinds, newest first within each. Whether they are good is not this answer."""

    stack: str
    found: Sequence[Evidence]
    now: datetime

    ok = True

    def to_json(self) -> dict[str, Any]:
        return {"stack": self.stack, "evidence": [one.to_json() for one in self.found]}

    def render(self, out: RichConsole) -> None:
        if not self.found:
            out.print(f"{self.stack} has no evidence yet: most checks keep theirs with --record.")
            return
        table = RichTable("kind", "id", "age", "revision", "", box=None, pad_edge=False)
        for one in self.found:
            table.add_row(one.kind, one.id, _age(one.at, self.now), one.revision, _verdict(one))
        out.print(table)


@dataclass(frozen=True)
class OneEvidence:
    """One record; yes if it is authentic."""

    evidence: Evidence

    @property
    def ok(self) -> bool:
        return self.evidence.authentic

    def to_json(self) -> dict[str, Any]:
        return self.evidence.to_json()

    def render(self, out: RichConsole) -> None:
        one = self.evidence
        out.print(f"{one.kind} of {one.body['stack']}, {one.at:%F %T} UTC: {_verdict(one)}")
        out.print(f"revision {one.revision}, by the commands of {one.commands}", markup=False)
        for name, value in one.figures.items():
            out.print(f"  {name}: {value}", markup=False)


@dataclass(frozen=True)
class Added:
    """A result that was kept; yes if it is good."""

    evidence: Evidence
    result: evidence_files.Outside

    @property
    def ok(self) -> bool:
        return self.evidence.ok

    def to_json(self) -> dict[str, Any]:
        return self.evidence.to_json()

    def render(self, out: RichConsole) -> None:
        self.result.render(out)
        out.print(f"kept as {self.evidence.kind} {self.evidence.id} of revision {self.evidence.revision}", markup=False)


def show_all(context: Context, *, kind: str = "", number: int = 3) -> EvidenceList:
    """The newest records of each kind, or of one."""
    if kind and kind not in evidence.KINDS:
        raise UsageError(f"--kind must be one of {', '.join(evidence.KINDS)}, not {kind!r}")
    found = [one for each in ([kind] if kind else evidence.KINDS) for one in evidence.latest(context, each, number)]
    return EvidenceList(context.outputs.stack, found, datetime.now(UTC))


def show(context: Context, name: str) -> OneEvidence:
    return OneEvidence(evidence.find_any(context, name))


def add(context: Context, kind: str, file: Path, revision: str = "") -> Added:
    """Keeps a result that was made elsewhere, as of when it was made."""
    result = evidence_files.read(kind, file)
    return Added(evidence.keep(context, kind, result, at=result.at, revision=revision), result)


def _age(at: datetime, now: datetime) -> str:
    return duration(max(0.0, (now - at).total_seconds()))


def _verdict(one: Evidence) -> str:
    if not one.authentic:
        return "[red]not authentic[/red]"
    return "[green]ok[/green]" if one.ok else "[red]not ok[/red]"
