"""A snapshot under a key of ours: where RDS cannot restore straight from the one there is.

An RDS instance keeps its snapshot's key for good, and what is shared under a key cannot be restored at all; a copy of
the snapshot under another key can (Amazon RDS User Guide, "Copying a DB snapshot", "Sharing encrypted snapshots"). Of a
moment there is no snapshot yet, so the server is first restored to it, under its old key, and that is snapshotted.

Invariants:
- What is made on the way has names derived from the copy's, is found again after a crash, and is removed at the end: it
  holds what is not masked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scripts.clients.rds import Instance, Rds, SnapshotKind
from scripts.environments.restore import (
    AtTime,
    FromSnapshot,
    Origin,
    instance_request,
    remove_instance,
    settled,
)
from scripts.environments.snapshot_set import COPY_OF
from scripts.errors import ZdmError


def account_of(arn: str) -> str:
    """The account in an ARN; empty where it is a name."""
    return arn.split(":")[4] if arn.startswith("arn:") else ""


@dataclass(frozen=True)
class Rekeyed:
    """`origin` under `key`, for the server `name`. `model` is the running instance where `origin` is a moment."""

    rds: Rds
    kind: SnapshotKind
    name: str
    origin: Origin
    key: str
    tags: Mapping[str, str]
    model: Instance | None = None

    @property
    def copy(self) -> str:
        return f"{self.name}-copy"

    @property
    def past(self) -> str:
        """The server as it was then, and its snapshot."""
        return f"{self.name}-past"

    @property
    def ready(self) -> Origin:
        return FromSnapshot(self.copy)

    def advance(self) -> tuple[bool, str]:
        """Looks, and does what comes next: whether the copy can be restored, and how far it is."""
        copy = self.rds.snapshot(self.kind, self.copy)
        if copy is not None:
            if copy.status == "failed":
                raise ZdmError(f"the copy {copy.name} under the key {self.key} failed: delete it, and run this again")
            return copy.available, f"copy under the key of this stack {copy.percent} %"
        if isinstance(self.origin, FromSnapshot):
            source = self.origin.arn
        else:
            there, told = self._past(self.origin)
            if not there:
                return False, told
            source = told
        self.rds.copy(self.kind, source, self.copy, self.key, {**self.tags, COPY_OF: source})
        return False, "a copy under the key of this stack asked for"

    def clean(self) -> tuple[bool, str]:
        """One step of removing what was made on the way: whether it is gone."""
        self.rds.forget(self.kind, self.copy)
        if isinstance(self.origin, FromSnapshot):
            return True, "gone"
        self.rds.forget(self.kind, self.past)
        return remove_instance(self.rds, self.past)

    def _past(self, moment: AtTime) -> tuple[bool, str]:
        """Whether the server's snapshot at the moment is there; its ARN, or how far it is."""
        snapshot = self.rds.snapshot(self.kind, self.past)
        if snapshot is not None:
            return snapshot.available, snapshot.arn if snapshot.available else f"its snapshot {snapshot.percent} %"
        assert self.model is not None  # a cluster takes another key by itself
        past = self.rds.instance(self.past)
        if past is None:
            operation, arguments = instance_request(self.model, self.past, moment, self.tags)
            self.rds.must(operation, f"instance {self.past}", **arguments)
            return False, "the moment asked for, under the old key"
        if not settled(f"the instance {self.past}", past.status):
            return False, f"the moment, under the old key: {past.status}"
        self.rds.take(self.kind, self.past, self.past, self.tags)
        return False, "its snapshot asked for"
