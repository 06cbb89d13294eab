"""`./zdm drift`: whether a stack is still what its program says, resource by resource and property by property.

- The engine looks at every resource as it really is, and compares it with the program. What changes by itself and may
  (capacity within the bounds of its scaling, blocked addresses, passwords that rotate, the router's flag) the program
  names in `ignore_changes`; that is no drift.
- What would change without that look, too, was not changed behind the engine's back: it is not deployed yet. It counts
  as well, and is told apart.
- Snapshots of a deployment have a label that only its own update knows (`components.snapshots`): that the program
  without it lets go of them is no difference.
- What no engine sees: settings that wait for a restart (`drift_cloud`), and with `databases` what stands within the two
  databases (`drift_databases`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console as RichConsole
from rich.table import Table

from local import engine
from scripts import stacks
from scripts.console import Console, duration
from scripts.errors import UsageError
from scripts.markdown import table_lines

Origin = Literal["drift", "not deployed"]
_IS: Mapping[str, str] = {
    "create": "is gone",
    "update": "is different",
    "delete": "is not in the program",
    "replace": "is so different that it would be made anew",
}
OWNER = "zdm:index:Snapshots$"
LABELLED = frozenset({
    "aws:rds/clusterSnapshot:ClusterSnapshot",
    "aws:rds/snapshot:Snapshot",
    "aws:ec2/amiFromInstance:AmiFromInstance",
    "aws:ebs/snapshot:Snapshot",
})  # fmt: skip
"""What that component takes under a label."""
SHOWN = 60
"""Characters of a value."""


@dataclass(frozen=True)
class Item:
    """One thing that is not as the program says. `property` is empty where it is the whole."""

    kind: str
    name: str
    what: str
    origin: Origin = "drift"
    property: str = ""
    expected: Any = None
    real: Any = None

    def to_json(self) -> dict[str, Any]:
        return {
            "type": self.kind, "name": self.name, "what": self.what, "origin": self.origin, "property": self.property,
            "expected": self.expected, "real": self.real,
        }  # fmt: skip


@dataclass(frozen=True)
class DriftResult:
    stack: str
    items: tuple[Item, ...]
    looked: int
    """Resources that were looked at."""
    seconds: float
    notes: tuple[str, ...] = ()
    """What could not be looked at, and why."""

    @property
    def ok(self) -> bool:
        return not self.items

    def to_json(self) -> dict[str, Any]:
        return {
            "stack": self.stack,
            "ok": self.ok,
            "items": [item.to_json() for item in self.items],
            "looked": self.looked,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }

    def render(self, out: RichConsole) -> None:
        if self.items:
            table = Table("", "resource", "what", "expected", "really", box=None, pad_edge=False)
            for item in self.items:
                mark = "[red]drift[/red]" if item.origin == "drift" else "[yellow]not deployed[/yellow]"
                table.add_row(mark, *_cells(item))
            out.print(table)
        for note in self.notes:
            out.print(f"not looked at: {note}", markup=False)
        out.print(f"{self.summary}, in {duration(self.seconds)}")

    @property
    def summary(self) -> str:
        if self.ok:
            return f"{self.stack}: all of {self.looked} resources are as the program says"
        names = dict.fromkeys(item.name for item in self.items)
        return f"{self.stack}: {len(names)} of {self.looked} are not as the program says: {', '.join(names)}"

    def markdown(self) -> str:
        """For the summary of a CI job: names and properties, no values."""
        rows = [(item.origin, item.kind, item.name, f"{item.what} {item.property}".strip()) for item in self.items]
        lines = ["### Drift", "", self.summary, *table_lines(("", "type", "name", "what"), rows)]
        return "\n".join([*lines, *(f"- not looked at: {note}" for note in self.notes)]) + "\n"


def _cells(item: Item) -> tuple[str, str, str, str]:
    what = f"{item.what}: {item.property}" if item.property else item.what
    if not item.property:
        return item.name, what, "", ""
    return item.name, what, _shown(item.expected), _shown(item.real)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def run(
    stack: str, *, local: bool, console: Console, databases: bool = False, markdown: Path | None = None
) -> DriftResult:
    """Looks at the whole stack. Raises `ZdmError` when there is none, or it cannot be looked at."""
    looked = stacks.look(stack, local=local, console=console, refresh=True)
    items: list[Item] = []
    if looked.changes:
        planned = stacks.look(stack, local=local, console=console, refresh=False)
        items += items_of(looked.changes, planned.changes)
    more, notes = _beyond(stack, local, databases, console)
    seconds = sum(step.seconds for step in console.steps)
    result = DriftResult(stack, (*items, *more), len(looked.resources), round(seconds, 2), tuple(notes))
    if markdown is not None:
        markdown.write_text(result.markdown())
    return result


def items_of(seen: Iterable[engine.Change], planned: Iterable[engine.Change]) -> list[Item]:
    """`seen` would change after a look at what is really there, `planned` without one."""
    known = {(change.urn, _op(change)): set(change.properties) for change in planned}
    items = []
    for change in seen:
        if _op(change) == "delete" and change.type in LABELLED and OWNER in change.urn:
            continue
        same = known.get((change.urn, _op(change)))
        what, kind = _IS.get(_op(change), change.op), change.type
        if not change.differences:
            items.append(Item(kind, change.name, what, "drift" if same is None else "not deployed"))
        for one in change.differences:
            origin: Origin = "not deployed" if same is not None and one.path in same else "drift"
            items.append(Item(kind, change.name, what, origin, one.path, one.expected, one.real))
    return items


def _op(change: engine.Change) -> str:
    """The steps of a replacement (`create-replacement`, `delete-replaced`, ...) are one."""
    return "replace" if "replace" in change.op else change.op


def _beyond(stack: str, local: bool, databases: bool, console: Console) -> tuple[Sequence[Item], list[str]]:
    """What the engine does not see."""
    from scripts.cli_frame import context
    from scripts.environments import drift_cloud, drift_databases

    try:
        there = context(stack, local, None)
    except UsageError as e:
        return [], [f"settings of the databases: {str(e).splitlines()[0]}"]
    with console.step("Drift: what waits for a restart"):
        found = drift_cloud.items(there)
    if not databases:
        return found, ["accounts, control tables and flags within the databases (--databases)"]
    with console.step("Drift: what is within the databases"):
        return [*found, *drift_databases.items(there)], []
