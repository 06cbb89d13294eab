"""What a refresh did, or would do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console as RichConsole

NOTES = (
    "while a name moves, connections to it break and are made anew: services on ECS reconnect by themselves, what "
    "keeps one open for good (jobs, consoles) must be restarted",
    "the connectors' places in the former databases mean nothing in these: start CDC with a new copy "
    "(./zdm up STACK -c cdc.state=capturing, ./zdm copy STACK --restart)",
)


@dataclass(frozen=True)
class RefreshResult:
    """`figures` are of masking and scanning; `locked` the accounts of production that cannot log in, by engine."""

    stack: str
    origin: str
    actions: list[str]
    dry_run: bool
    figures: Mapping[str, Any] = field(default_factory=dict)
    locked: Mapping[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    discarded: bool = False
    """It was taken back: the stack is as it was."""

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "stack": self.stack,
            "origin": self.origin,
            "dryRun": self.dry_run,
            "actions": self.actions,
            "figures": dict(self.figures),
            "locked": dict(self.locked),
            "notes": self.notes,
            "kept": self.kept,
            "discarded": self.discarded,
        }

    def render(self, out: RichConsole) -> None:
        if not self.actions:
            out.print(f"{self.stack}: nothing to do.", markup=False)
        for action in self.actions:
            out.print(f"{'would' if self.dry_run else 'did'}: {action}", markup=False)
        for role, names in self.locked.items():
            out.print(f"{role}: locked {', '.join(names) or 'nobody'}", markup=False)
        for name, figures in self.figures.items():
            if isinstance(figures, Mapping) and "total" in figures:
                out.print(f"{name}: {figures['total']:,} rows in {figures['seconds']:.1f} s", markup=False)
        for name in self.kept:
            out.print(f"kept: {name}", markup=False)
        for note in self.notes:
            out.print(f"note: {note}", markup=False)
        if self.discarded:
            out.print(f"{self.stack} is as it was.", markup=False)
        elif not self.dry_run and self.actions:
            out.print(f"{self.stack} is refreshed from {self.origin}.", markup=False)
