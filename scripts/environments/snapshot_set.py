"""Snapshot sets: what the tags of AWS' snapshots say (pure). A set is all that was taken of one stack at one time.

Invariants:
- The tags are the only state. A part is one snapshot in AWS (or several of one server's disks, of one moment).
- A set is complete when as many parts are there, and can be restored, as were to be taken (`zdm:parts`).
- Tag values have RDS' characters only: letters, digits, spaces and `_ . : / = + - @`, 256 at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from scripts.errors import UsageError

SET: Final = "zdm:set"
STACK: Final = "zdm:stack"
REVISION: Final = "zdm:revision"
REASON: Final = "zdm:reason"
LABEL: Final = "zdm:label"
AT: Final = "zdm:at"
PART: Final = "zdm:part"
PARTS: Final = "zdm:parts"
VERIFIED: Final = "zdm:verified"
PROTECTED: Final = "zdm:protected"
POSITION: Final = "zdm:position"
COUNTERS: Final = "zdm:counters"
COPY_OF: Final = "zdm:copy-of"
SCRATCH: Final = "zdm:scratch"
FROM_SET: Final = "zdm:from-set"

AURORA, MYSQL = "aurora", "mysql"
Kind = Literal["cluster", "instance", "image", "disk"]

_VALUE = r"[\w\s.:/=+\-@]{0,256}"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"

CONSISTENCY: Final[Mapping[str, str]] = {
    "cluster": "one moment of the cluster's volume: all that was committed, nothing else",
    "instance": "one moment of the instance's storage; InnoDB recovers from it as from a power cut",
    "image": "the running server's disks as after a power cut, without a reboot; what was only in memory is not there",
    "disk": "all disks of the server of one moment, as after a power cut; InnoDB recovers from it by its log",
}


@dataclass(frozen=True)
class Part:
    """One snapshot in AWS. `role`: `aurora`, `mysql`, `image/i-…`, `disks/i-…`, `disk/vol-…`."""

    kind: Kind
    role: str
    name: str
    arn: str
    source: str
    status: str
    available: bool
    percent: int
    size_gib: int
    created: datetime | None
    key: str
    encrypted: bool
    tags: Mapping[str, str] = field(repr=False)

    @property
    def asked(self) -> datetime | None:
        """When it was asked for."""
        return moment(self.tags.get(AT))

    @property
    def consistency(self) -> str:
        """What it is consistent to."""
        if self.role.startswith("disk/"):
            return "this one disk of one moment, as after a power cut; no other disk with it"
        return CONSISTENCY[self.kind]

    def to_json(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "kind": self.kind,
            "name": self.name,
            "source": self.source,
            "status": self.status,
            "sizeGib": self.size_gib,
            "asked": _iso(self.asked),
            "created": _iso(self.created),
            "encrypted": self.encrypted,
            "consistentTo": self.consistency,
            "position": self.tags.get(POSITION, ""),
        }


@dataclass(frozen=True)
class SnapshotSet:
    """All that was taken of a stack at one time."""

    id: str
    parts: tuple[Part, ...]

    def _first(self, tag: str) -> str:
        return next((part.tags[tag] for part in self.parts if part.tags.get(tag)), "")

    @property
    def stack(self) -> str:
        return self._first(STACK)

    @property
    def revision(self) -> str:
        return self._first(REVISION)

    @property
    def reason(self) -> str:
        return self._first(REASON)

    @property
    def label(self) -> str:
        return self._first(LABEL) or self.id

    @property
    def at(self) -> datetime:
        """When its first part was asked for."""
        times = [part.asked or part.created for part in self.parts]
        return min((time for time in times if time), default=datetime.min.replace(tzinfo=UTC))

    @property
    def spread_seconds(self) -> float:
        """How far its parts are apart."""
        times = [part.asked for part in self.parts if part.asked]
        return (max(times) - min(times)).total_seconds() if times else 0.0

    @property
    def expected(self) -> int:
        return max((int(part.tags.get(PARTS) or 0) for part in self.parts), default=0)

    @property
    def roles(self) -> list[str]:
        return sorted({part.role for part in self.parts})

    @property
    def ready_roles(self) -> list[str]:
        """Those of which everything can be restored."""
        return [role for role in self.roles if all(part.available for part in self.parts if part.role == role)]

    @property
    def complete(self) -> bool:
        return 0 < self.expected <= len(self.ready_roles) == len(self.roles)

    @property
    def under_way(self) -> bool:
        """AWS is still taking some of it."""
        return any(not part.available and part.status in ("creating", "pending", "copying") for part in self.parts)

    @property
    def verified(self) -> datetime | None:
        """When its databases were last proven to be restorable; None when one was not."""
        times = [moment(part.tags.get(VERIFIED)) for part in self.databases]
        known = [time for time in times if time]
        return min(known) if known and len(known) == len(times) else None

    @property
    def protected(self) -> bool:
        return any(part.tags.get(PROTECTED) for part in self.parts)

    @property
    def databases(self) -> list[Part]:
        return [part for part in self.parts if part.role in (AURORA, MYSQL)]

    @property
    def size_gib(self) -> int:
        return sum(part.size_gib for part in self.parts)

    def part(self, role: str) -> Part | None:
        return next((part for part in self.parts if part.role == role), None)

    def to_json(self) -> dict[str, Any]:
        return {
            "set": self.id,
            "label": self.label,
            "at": _iso(self.at),
            "revision": self.revision,
            "reason": self.reason,
            "complete": self.complete,
            "expectedParts": self.expected,
            "spreadSeconds": round(self.spread_seconds, 3),
            "verified": _iso(self.verified),
            "protected": self.protected,
            "sizeGib": self.size_gib,
            "parts": [part.to_json() for part in self.parts],
        }


def sets_of(parts: Iterable[Part]) -> list[SnapshotSet]:
    """The sets that these parts make, the newest first. Copies belong to none."""
    by_set: dict[str, list[Part]] = {}
    for part in parts:
        if part.tags.get(SET) and not part.tags.get(COPY_OF):
            by_set.setdefault(part.tags[SET], []).append(part)
    made = [SnapshotSet(id, tuple(sorted(parts, key=lambda p: (p.role, p.name)))) for id, parts in by_set.items()]
    return sorted(made, key=lambda one: (one.at, one.id), reverse=True)


def set_id(stack: str, at: datetime, revision: str) -> str:
    """`prod-20260131t100000z-1a2b3c4d5e6f`; a work tree that differs from its revision shows as `…-dirty`."""
    rest = revision.replace("+", "-dirty")
    text = f"{stack}-{at.astimezone(UTC):%Y%m%dt%H%M%Sz}-{rest}".lower()
    return re.sub(r"-{2,}", "-", re.sub(r"[^a-z0-9-]", "-", text)).strip("-")


def name_of(project: str, set: str, role: str) -> str:
    """Name of a part's snapshot in RDS: begins as the stack's other snapshots do, so that the same rights hold."""
    name = f"{project}-{set}-{role}".lower()
    if len(name) > 63:
        raise UsageError(f"{name} has {len(name)} characters, RDS takes names of 63: shorten the stack's name")
    return name


def fitting(what: str, value: str) -> str:
    """A value for a tag. Raises `UsageError` that names the option."""
    if re.fullmatch(_VALUE, value) is None:
        wrong = sorted(set(re.sub(r"[\w\s.:/=+\-@]", "", value)))
        told = f"not {' '.join(wrong)}" if wrong else f"at most 256 of them, not {len(value)}"
        raise UsageError(f"{what} becomes a tag in AWS: letters, digits, spaces and _ . : / = + - @, {told}")
    return value


def fitting_label(value: str) -> str:
    if re.fullmatch(_LABEL, value) is None:
        raise UsageError(f"--label: letters, digits, dots, hyphens and _, 63 at most: not {value!r}")
    return value


def moment(text: str | None) -> datetime | None:
    """A time as the tags have it."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
