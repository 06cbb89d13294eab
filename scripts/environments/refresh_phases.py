"""The phases of a refresh, and which comes next (pure). They are read from what is really there: names and tags.

For each engine the running server is `X`, the copy beside it `X-new-<id>` until it takes the name `X`, and then the
former one is `X-old-<id>`. The tag `zdm:step` of the copy says what has been done to its data.

Invariants:
- No engine takes its place before all are ready: until then staging is wholly old, and the copies can be discarded.
- Once one has taken its place, the way is forward only; a phase done twice does no harm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

REFRESH: Final = "zdm:refresh"
ROLES: Final = "zdm:refresh-roles"
FROM: Final = "zdm:from"
FROM_TIME: Final = "zdm:from-time"
PROTECT: Final = "zdm:protect"
KEEP_OLD: Final = "zdm:keep-old"
ENDPOINT: Final = "zdm:endpoint:"


class Phase(IntEnum):
    """How far an engine is."""

    NOTHING = 0
    RESTORING = 1
    RESTORED = 2
    CLOSED = 3
    """Production's accounts cannot log in, nothing replicates, control tables are empty, rows are counted."""
    MASKED = 4
    SCANNED = 5
    READY = 6
    """Checked against the counts; staging's own accounts and flag are in it."""
    SWAPPING = 7
    SWAPPED = 8
    OPENED = 9
    """It answers under its name, and the router knows its flag."""
    DROPPED = 10
    """The old one is gone, or was kept on purpose."""
    DONE = 11


STEPS: Final[dict[str, Phase]] = {
    "restored": Phase.RESTORED,
    "closed": Phase.CLOSED,
    "masked": Phase.MASKED,
    "scanned": Phase.SCANNED,
    "ready": Phase.READY,
    "swapped": Phase.SWAPPED,
    "opened": Phase.OPENED,
    "dropped": Phase.DROPPED,
}
"""Values of the tag `zdm:step`."""

DOES: Final[dict[Phase, str]] = {
    Phase.NOTHING: "restore {origin} beside it, as {new}, with the running one's groups, key and classes",
    Phase.RESTORED: "lock out every account of production, drop slots, subscriptions and publications, empty the "
    "control tables, count every table",
    Phase.CLOSED: "mask personal data, cards and secrets by data-classes.yaml",
    Phase.MASKED: "scan it for what is left of them; any finding stops here",
    Phase.SCANNED: "check counts and joins, make staging's own accounts and flag, and readers like the running ones",
    Phase.READY: "swap by renaming: {name} becomes {old}, {new} becomes {name}",
    Phase.SWAPPED: "wait for its answer under its name, tell the router its flag",
    Phase.OPENED: "delete {old}",
    Phase.DROPPED: "bring the stack's record up to date (refresh, and the databases' part of an up)",
}


@dataclass(frozen=True)
class Seen:
    """One engine as it is there. `id` is the refresh under way; empty for none."""

    role: str
    name: str
    phase: Phase
    id: str = ""

    @property
    def new(self) -> str:
        return f"{self.name}-new-{self.id}"

    @property
    def old(self) -> str:
        return f"{self.name}-old-{self.id}"


def settled(seen: Sequence[Seen]) -> list[Seen]:
    """What is there, with one thing understood: where one engine has taken its place, another one without any trace is
    done. (None takes its place before all are ready, and traces go last.)
    """
    swapped = any(one.phase >= Phase.SWAPPING for one in seen)
    return [
        Seen(one.role, one.name, Phase.DONE, one.id) if swapped and one.phase is Phase.NOTHING else one for one in seen
    ]


def next_one(seen: Sequence[Seen]) -> Seen | None:
    """The engine that is next to be worked on; None when all are done. One that is between two names comes first, so
    that at no time two are; else the one that is furthest behind.
    """
    behind = min(settled(seen), key=lambda one: (one.phase is not Phase.SWAPPING, one.phase))
    return None if behind.phase is Phase.DONE else behind


def can_discard(seen: Sequence[Seen]) -> bool:
    """Whether no engine has begun to take its place."""
    return all(one.phase <= Phase.READY for one in seen)


def plan(seen: Sequence[Seen], origin: str, keep_old: bool) -> list[str]:
    """What will be done from here, in order, for people."""
    lines = []
    at = {one.role: one for one in settled(seen)}
    for phase, does in DOES.items():
        for one in at.values():
            begun = Phase.NOTHING if one.phase is Phase.RESTORING else one.phase
            begun = Phase.READY if begun is Phase.SWAPPING else begun
            if phase < begun or (phase is Phase.DROPPED and one.role != next(iter(at))):
                continue
            if phase is Phase.OPENED and keep_old:
                lines.append(f"{one.role}: keep {one.old}")
                continue
            told = does.format(origin=origin, name=one.name, new=one.new, old=one.old)
            lines.append(told if phase is Phase.DROPPED else f"{one.role}: {told}")
    return lines
