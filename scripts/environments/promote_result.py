"""What a promotion answers: its plan, why it is refused, or what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich.console import Console as RichConsole
from rich.table import Table as RichTable

from scripts.environments.config_difference import Difference
from scripts.environments.promote_refusals import Refusal
from scripts.stacks import StackResult

Outcome = Literal["planned", "refused", "already", "promoted", "returned", "stopped"]
"""`already`: the revision was up, and nothing would change. `returned`: the target has its former revision again.
`stopped`: it has the new one, is not well, and there was no way back."""


@dataclass(frozen=True)
class PromoteResult:
    """`record` is the evidence of a promotion that took place."""

    outcome: Outcome
    source: str
    target: str
    revision: str
    former: str
    reasons: Sequence[Refusal] = ()
    plan: Sequence[str] = ()
    difference: Sequence[Difference] = ()
    preview: StackResult | None = None
    record: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.outcome in ("promoted", "already") or (self.outcome == "planned" and not self.reasons)

    def to_json(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome,
            "source": self.source,
            "target": self.target,
            "revision": self.revision,
            "former": self.former,
            "refused": [reason.to_json() for reason in self.reasons],
            "plan": list(self.plan),
            "difference": [one.to_json() for one in self.difference],
            "preview": None if self.preview is None else self.preview.to_json(),
            "record": dict(self.record),
        }

    def render(self, out: RichConsole) -> None:
        if self.difference:
            table = RichTable("setting", self.source, self.target, box=None, pad_edge=False)
            for one in self.difference:
                table.add_row(one.name, one.source, one.target)
            out.print(table, markup=False)
        if self.preview is not None:
            self.preview.render(out)
        for number, step in enumerate(self.plan, 1):
            out.print(f"{number}. {step}", markup=False, soft_wrap=True)
        if self.reasons:
            out.print(f"[red]Not to be promoted[/red], for {len(self.reasons)} reasons:")
            for reason in self.reasons:
                out.print(f"  {reason.about}: {reason.text}", markup=False, soft_wrap=True)
        if self.record:
            render_record(self.record, out)
        elif not self.reasons:
            out.print(_WORDS[self.outcome].format(**vars(self)), markup=False)


_WORDS = {
    "planned": "Revision {revision} could be promoted from {source} to {target}.",
    "already": "{target} has revision {revision} already, and nothing would change.",
    "promoted": "", "refused": "", "returned": "", "stopped": "",
}  # fmt: skip


@dataclass(frozen=True)
class Status:
    """The open promotion of a stack, or its last one."""

    stack: str
    open: bool
    record: Mapping[str, Any] | None
    authentic: bool = True
    ok = True

    def to_json(self) -> dict[str, Any]:
        return {"stack": self.stack, "open": self.open, "authentic": self.authentic, "record": self.record}

    def render(self, out: RichConsole) -> None:
        if self.record is None:
            out.print(f"Nothing was promoted into {self.stack} yet.")
            return
        if not self.authentic:
            out.print("[red]not authentic[/red]: not signed with the stack's key, or changed since")
        render_record(self.record, out)
        if self.open:
            source, stack = self.record["source"], self.stack
            out.print(
                f"It is open. Run it again to finish it: ./zdm promote {source} {stack}; or to take it back: "
                f"./zdm promote {source} {stack} --undo",
                markup=False,
                soft_wrap=True,
            )


def render_record(record: Mapping[str, Any], out: RichConsole) -> None:
    """The record of a promotion."""
    out.print(
        f"Promotion {record['id']}: revision {record['revision']} from {record['source']} to {record['stack']}, "
        f"approved by {record['approvedBy']}",
        markup=False,
        soft_wrap=True,
    )
    for step in record["steps"]:
        out.print(f"  {step['at']}  {step['step']}", markup=False)
    if record.get("health"):
        out.print(f"  health: {record['health']['summary']}", markup=False)
    for reason in record.get("reasons") or ():
        out.print(f"  {reason}", markup=False, soft_wrap=True)
    outcome = record.get("outcome")
    if outcome:
        said = {
            "promoted": f"{record['stack']} has it, and is well.",
            "returned": f"{record['stack']} has its former revision {record['former']} again.",
            "stopped": f"{record['stack']} has it and is not well, and there was no way back: see to it now.",
        }
        out.print(said[outcome], markup=False)
