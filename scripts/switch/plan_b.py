"""`./zdm plan-b STACK ACTION`: the roads out of trouble, each with its way back.

Invariants:
- What was before is recorded before anything is changed; so whoever takes over, or comes after a crash, can go on or
  go back by running the same command.
- To go twice, or back twice, changes nothing. What someone else has changed since is theirs: going back leaves it.
"""

from __future__ import annotations

import getpass
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from rich.console import Console as RichConsole
from rich.table import Table as RichTable

from scripts.context import git_revision
from scripts.errors import UsageError
from scripts.switch import journal
from scripts.switch.plan_b_action import Action, Scene, Step, Values
from scripts.switch.plan_b_stack import ADD_READER, CDC_TO_DMS
from scripts.switch.plan_b_traffic import HALF_TRAFFIC, MYSQL_ONLY, PAUSE_DUAL_WRITE, READ_ONLY

KIND = "plan-b"
"""Kind of the stored records."""
BEGUN, DONE = "begun", "done"
ACTIONS: dict[str, Action] = {
    action.name: action for action in (READ_ONLY, MYSQL_ONLY, HALF_TRAFFIC, PAUSE_DUAL_WRITE, CDC_TO_DMS, ADD_READER)
}


@dataclass(frozen=True)
class Standing:
    """An action that is in force, or was begun. `undoing`: someone is on the way back."""

    at: datetime
    by: str
    before: Values
    after: Values
    state: str
    undoing: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "at": self.at.isoformat(),
            "by": self.by,
            "before": self.before,
            "after": self.after,
            "state": self.state,
            "undoing": self.undoing,
        }


@dataclass(frozen=True)
class PlanBResult:
    """What was done, or (`dry_run`) would be."""

    action: Action
    undo: bool
    dry_run: bool
    before: Values
    after: Values
    steps: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {
            "action": self.action.name,
            "does": self.action.back if self.undo else self.action.does,
            "undo": self.undo,
            "dryRun": self.dry_run,
            "changed": bool(self.steps) and not self.dry_run,
            "before": self.before,
            "after": self.after,
            "steps": self.steps,
            "note": self.note,
        }

    def render(self, out: RichConsole) -> None:
        what = self.action.back if self.undo else self.action.does
        out.print(f"{self.action.name}{' --undo' if self.undo else ''}: {what}.", markup=False)
        for step in self.steps:
            out.print(f"{'would' if self.dry_run else 'did'}: {step}", markup=False)
        if self.note:
            out.print(self.note, markup=False)
        elif not self.steps:
            out.print("It is so already; nothing to do.")
        if self.steps and not self.undo and not self.dry_run:
            out.print("The way back: the same command with --undo.")


@dataclass(frozen=True)
class StatusResult:
    """Every action, and whether it is in force."""

    standing: dict[str, Standing | None]

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {
            "actions": [
                {
                    "action": name,
                    "when": ACTIONS[name].trouble,
                    "does": ACTIONS[name].does,
                    "undo": ACTIONS[name].back,
                    "inForce": None if found is None else found.to_json(),
                }
                for name, found in self.standing.items()
            ]
        }

    def render(self, out: RichConsole) -> None:
        table = RichTable("action", "in force", "when", "does")
        for name, found in self.standing.items():
            action = ACTIONS[name]
            table.add_row(name, "" if found is None else _told(found), action.trouble, action.does)
        out.print(table)


def _told(found: Standing) -> str:
    word = f"since {found.at:%F %T} UTC, by {found.by}"
    if found.state == BEGUN:
        word = f"{'going back' if found.undoing else 'begun'} {word[6:]}, not finished: run it again"
    return f"{word} ({found.before} to {found.after})"


def run(scene: Scene, name: str, *, undo: bool = False, dry_run: bool = False) -> PlanBResult:
    """Takes the road, or goes back. Raises `UsageError` where it is closed or unknown; whatever else fails is left as
    begun, for the next run to finish or undo.
    """
    action = ACTIONS.get(name)
    if action is None:
        raise UsageError(f"there is no plan B {name!r}: choose from {', '.join(ACTIONS)}, or status")
    with scene.context.postgres() as pg:
        found = _standing(pg, action)
        seen = action.look(scene)
        return (_back if undo else _go)(scene, pg, action, found, seen, dry_run)


def status(scene: Scene) -> StatusResult:
    """Which roads are taken."""
    with scene.context.postgres() as pg:
        return StatusResult({name: _standing(pg, action) for name, action in ACTIONS.items()})


def _go(
    scene: Scene, pg: psycopg.Connection[Any], action: Action, found: Standing | None, seen: Values, dry_run: bool
) -> PlanBResult:
    if found is not None and found.state == DONE and seen != found.after:
        raise UsageError(
            f"{action.name} is in force since {found.at:%F %T} UTC, and what it set was changed since (it is {seen}, "
            f"not {found.after}): first `./zdm plan-b {scene.stack} {action.name} --undo`"
        )
    before, after = (found.before, found.after) if found else (seen, action.wanted(scene, seen))
    steps = action.reach(scene, seen, after)
    if steps or (found is not None and found.state == BEGUN):
        _do(scene, pg, action, before, after, steps, undo=False, dry_run=dry_run)
    return PlanBResult(action, False, dry_run, before, after, [step.what for step in steps])


def _back(
    scene: Scene, pg: psycopg.Connection[Any], action: Action, found: Standing | None, seen: Values, dry_run: bool
) -> PlanBResult:
    if found is None:
        return PlanBResult(action, True, dry_run, seen, seen, note=f"{action.name} is not in force; nothing to undo.")
    if found.state == DONE and seen != found.after:
        steps, note = [], f"Left as it is: it was changed since, from {found.after} to {seen}."
    else:
        steps, note = action.reach(scene, seen, found.before), ""
    _do(scene, pg, action, found.before, found.after, steps, undo=True, dry_run=dry_run)
    return PlanBResult(action, True, dry_run, seen, found.before, [step.what for step in steps], note)


def _do(
    scene: Scene,
    pg: psycopg.Connection[Any],
    action: Action,
    before: Values,
    after: Values,
    steps: list[Step],
    *,
    undo: bool,
    dry_run: bool,
) -> None:
    """Records what is about to happen, does it, and records that it is done."""
    if dry_run:
        return
    body = {
        "action": action.name,
        "undo": undo,
        "by": getpass.getuser(),
        "revision": git_revision(),
        "before": before,
        "after": after,
        "steps": [step.what for step in steps],
    }
    journal.store(pg, KIND, False, {**body, "state": BEGUN})
    for step in steps:
        with scene.console.step(f"Plan B {action.name}{' (undo)' if undo else ''}: {step.what}"):
            step.act()
    journal.store(pg, KIND, True, {**body, "state": DONE})


def _standing(pg: psycopg.Connection[Any], action: Action) -> Standing | None:
    """By the last record of the action; None when it is not in force."""
    row = pg.execute(
        "SELECT at, body FROM zdm.record WHERE kind = %s AND body ->> 'action' = %s ORDER BY seq DESC LIMIT 1",
        (KIND, action.name),
    ).fetchone()
    if row is None:
        return None
    at, body = row[0], row[1] if isinstance(row[1], dict) else json.loads(row[1])
    if body["undo"] and body["state"] == DONE:
        return None
    return Standing(at, body["by"], body["before"], body["after"], body["state"], body["undo"])
