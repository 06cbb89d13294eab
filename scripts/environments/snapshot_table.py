"""`./zdm snapshot list`, `show` and `prune`: the sets of a stack, for people and machines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console as RichConsole
from rich.table import Table

from scripts.console import Console
from scripts.context import Context
from scripts.environments.snapshot_prune import Policy, Verdict, verdicts
from scripts.environments.snapshot_set import PROTECTED, VERIFIED, SnapshotSet
from scripts.environments.snapshot_store import Store


def age(at: datetime, now: datetime) -> str:
    """`3 min`, `5 h`, `12 d`."""
    minutes = max(0, int((now - at).total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} d"


def render_set(out: RichConsole, one: SnapshotSet) -> None:
    """A set with its parts."""
    verified = f"verified {one.verified:%F %T} UTC" if one.verified else "not verified"
    out.print(
        f"{one.id}: {'complete' if one.complete else f'INCOMPLETE ({len(one.ready_roles)} of {one.expected} parts)'}, "
        f"{verified}{', protected' if one.protected else ''}, {one.size_gib} GiB, "
        f"parts {one.spread_seconds:.1f} s apart",
        markup=False,
    )
    out.print(
        f"label {one.label}, revision {one.revision}{f', {one.reason}' if one.reason else ''}, {one.at:%F %T} UTC",
        markup=False,
    )
    table = Table("part", "snapshot", "of", "state", "GiB", "consistent to")
    for part in one.parts:
        state = part.status if part.available else f"{part.status} {part.percent} %"
        table.add_row(part.role, part.name, part.source, state, str(part.size_gib), part.consistency)
    out.print(table)
    if not one.complete and not one.under_way:
        out.print(f"Complete it with: ./zdm snapshot take {one.stack} --label {one.label}", markup=False)


@dataclass(frozen=True)
class ListResult:
    """The sets, the newest first."""

    stack: str
    sets: list[SnapshotSet]
    now: datetime

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {"stack": self.stack, "sets": [one.to_json() for one in self.sets]}

    def render(self, out: RichConsole) -> None:
        if not self.sets:
            out.print(f"{self.stack} has no snapshot sets: ./zdm snapshot take {self.stack}", markup=False)
            return
        table = Table("set", "label", "age", "revision", "parts", "complete", "verified", "protected", "GiB")
        for one in self.sets:
            table.add_row(
                one.id,
                "" if one.label == one.id else one.label,
                age(one.at, self.now),
                one.revision,
                " ".join(one.roles),
                "yes" if one.complete else f"no, {len(one.ready_roles)} of {one.expected}",
                age(one.verified, self.now) + " ago" if one.verified else "no",
                "yes" if one.protected else "no",
                str(one.size_gib),
            )
        out.print(table)


@dataclass(frozen=True)
class ShowResult:
    set: SnapshotSet

    @property
    def ok(self) -> bool:
        return self.set.complete

    def to_json(self) -> dict[str, Any]:
        return self.set.to_json()

    def render(self, out: RichConsole) -> None:
        render_set(out, self.set)


@dataclass(frozen=True)
class ProtectResult:
    set: SnapshotSet

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {"set": self.set.id, "protected": self.set.protected}

    def render(self, out: RichConsole) -> None:
        told = "is protected: prune will not delete it" if self.set.protected else "is not protected any more"
        out.print(f"{self.set.id} {told}.", markup=False)


@dataclass(frozen=True)
class PruneResult:
    """What became, or (`dry_run`) would become, of each set."""

    verdicts: list[Verdict]
    dry_run: bool

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {"dryRun": self.dry_run, "sets": [one.to_json() for one in self.verdicts]}

    def render(self, out: RichConsole) -> None:
        if not self.verdicts:
            out.print("There are no snapshot sets.")
            return
        table = Table("set", "", "why")
        gone = "would go" if self.dry_run else "deleted"
        for one in self.verdicts:
            table.add_row(one.set.id, "[green]stays[/green]" if one.stays else f"[yellow]{gone}[/yellow]", one.why)
        out.print(table)


def list_sets(context: Context, console: Console) -> ListResult:
    with console.step(f"Snapshot sets of {context.outputs.stack}") as step:
        sets = Store(context).sets()
        step.done(str(len(sets)))
    return ListResult(context.outputs.stack, sets, datetime.now(UTC))


def show(context: Context, wanted: str) -> ShowResult:
    return ShowResult(Store(context).named(wanted))


def protect(context: Context, wanted: str, protected: bool) -> ProtectResult:
    """Twice does no harm."""
    store = Store(context)
    one = store.named(wanted)
    if protected and not one.protected:
        store.tag(one, {PROTECTED: "true"})
    if not protected and one.protected:
        store.untag(one, [PROTECTED])
    return ProtectResult(store.named(one.id))


def prune(context: Context, policy: Policy, *, dry_run: bool, console: Console) -> PruneResult:
    """Deletes the sets that the policy lets go. Killed and run again, it goes on."""
    store = Store(context)
    with console.step(f"Snapshot sets of {context.outputs.stack}") as step:
        judged = verdicts(store.sets(), policy, datetime.now(UTC), store.in_use())
        going = [one for one in judged if not one.stays]
        step.done(f"{len(judged)}, {len(going)} to go")
    if going and not dry_run:
        with console.step("Delete what the policy lets go") as step:
            # Oldest first. What is deleted no longer counts as verified, so that one that breaks off half-way is never
            # taken for the last good one.
            for done, verdict in enumerate(reversed(going)):
                step.progress(done, len(going), "sets")
                store.untag(verdict.set, [VERIFIED])
                for part in verdict.set.parts:
                    store.delete(part)
    return PruneResult(judged, dry_run)
