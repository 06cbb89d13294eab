"""The snapshots of one stack in AWS: read as parts of sets, tagged, and deleted. The tags are the only state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scripts.clients.ec2 import DiskSnapshot, Ec2
from scripts.clients.rds import Cluster, Instance, Rds, Snapshot, SnapshotKind
from scripts.context import Context
from scripts.environments.snapshot_set import FROM_SET, PART, SET, STACK, Part, SnapshotSet, sets_of
from scripts.errors import UsageError


class Store:
    """The sets of a stack; `rds` and `ec2` reach its account."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.rds = Rds(context.aws("rds"))
        self.ec2 = Ec2(context.aws("ec2"))

    def parts(self) -> list[Part]:
        """Every part of every set of this stack."""
        stack = self.context.outputs.stack
        kinds: tuple[SnapshotKind, ...] = ("cluster", "instance")
        taken: list[Snapshot | DiskSnapshot] = [one for kind in kinds for one in self.rds.snapshots(kind)]
        found = [_part(one) for one in (*taken, *self.ec2.tagged(STACK, [stack]))]
        return [part for part in found if part.tags.get(STACK) == stack and part.tags.get(SET)]

    def sets(self) -> list[SnapshotSet]:
        """The newest first."""
        return sets_of(self.parts())

    def newest_proven(self) -> SnapshotSet | None:
        """The newest set that is whole, and all of whose databases were restored and checked."""
        return next((one for one in self.sets() if one.complete and one.verified), None)

    def named(self, wanted: str, sets: Sequence[SnapshotSet] | None = None) -> SnapshotSet:
        """By its id or label (the newest with it). Raises `UsageError` that says which there are."""
        known = self.sets() if sets is None else sets
        found = next((one for one in known if wanted in (one.id, one.label)), None)
        if found is None:
            there = ", ".join(one.id for one in known[:10]) or "none"
            raise UsageError(f"{self.context.outputs.stack} has no snapshot set {wanted!r}; there are: {there}")
        return found

    def in_use(self) -> set[str]:
        """Sets that something in this account is being restored from."""
        servers: list[Cluster | Instance] = [*self.rds.clusters(), *self.rds.instances()]
        return {server.tags[FROM_SET] for server in servers if server.tags.get(FROM_SET)}

    def tag(self, one: SnapshotSet, tags: Mapping[str, str], parts: Sequence[Part] | None = None) -> None:
        """On every part, or on these."""
        for part in one.parts if parts is None else parts:
            if part.kind in ("cluster", "instance"):
                self.rds.tag(part.arn, tags)
            else:
                self.ec2.tag([part.name], tags)

    def untag(self, one: SnapshotSet, keys: Sequence[str]) -> None:
        for part in one.parts:
            if part.kind in ("cluster", "instance"):
                self.rds.untag(part.arn, keys)
            else:
                self.ec2.untag([part.name], keys)

    def delete(self, part: Part) -> None:
        """What is gone already is fine."""
        if part.kind in ("cluster", "instance"):
            self.rds.forget(part.kind, part.name)
        else:
            found = [one for one in self.ec2.tagged(SET, [part.tags[SET]]) if one.name == part.name]
            for one in found:
                self.ec2.forget(one)


def disk_snapshots(ec2: Ec2, one: SnapshotSet) -> dict[str, DiskSnapshot]:
    """The images and disk snapshots of a set, as EC2 has them."""
    return {found.name: found for found in ec2.tagged(SET, [one.id])}


def _part(one: Snapshot | DiskSnapshot) -> Part:
    return Part(
        kind=one.kind,
        role=one.tags.get(PART, ""),
        name=one.name,
        arn=one.arn if isinstance(one, Snapshot) else "",
        source=one.source,
        status=one.status,
        available=one.available,
        percent=one.percent,
        size_gib=one.size_gib,
        created=one.created,
        key=one.key,
        encrypted=one.encrypted,
        tags=one.tags,
    )
