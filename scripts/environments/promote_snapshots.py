"""The snapshots that a promotion stands on: the newest set of a stack's databases that was restored and checked.

Sets are read from the tags on AWS' snapshots, which are all that is kept of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from scripts.context import Context
from scripts.errors import ZdmError

SET, STACK, AT, VERIFIED, COPY = "zdm:set", "zdm:stack", "zdm:at", "zdm:verified", "zdm:copy-of"
_OPERATIONS: Final = (
    ("describe_db_cluster_snapshots", "DBClusterSnapshots"),
    ("describe_db_snapshots", "DBSnapshots"),
)


@dataclass(frozen=True)
class ProvenSet:
    """What was taken of the databases at one time, and proven to be restorable."""

    id: str
    at: datetime


def newest_proven(context: Context) -> ProvenSet | None:
    """The newest set of the stack all of whose databases' snapshots are verified. Raises `ZdmError` when AWS does not
    answer."""
    sets: dict[str, list[dict[str, str]]] = {}
    try:
        for tags in _tags(context.aws("rds")):
            if tags.get(STACK) == context.outputs.stack and SET in tags and COPY not in tags:
                sets.setdefault(tags[SET], []).append(tags)
    except (BotoCoreError, ClientError) as e:
        raise ZdmError(f"the snapshots of {context.outputs.stack} cannot be listed: {e}") from e
    proven = [
        ProvenSet(name, min(_time(tags) for tags in parts))
        for name, parts in sets.items()
        if all(tags.get(VERIFIED) for tags in parts)
    ]
    return max(proven, key=lambda one: one.at, default=None)


def _tags(rds: Any) -> Iterator[dict[str, str]]:
    """Of every complete snapshot of a database that was not taken by RDS' own schedule."""
    for operation, many in _OPERATIONS:
        for page in rds.get_paginator(operation).paginate(SnapshotType="manual"):
            for one in page[many]:
                if one.get("Status") == "available":
                    yield {tag["Key"]: tag["Value"] for tag in one.get("TagList") or ()}


def _time(tags: dict[str, str]) -> datetime:
    try:
        at = datetime.fromisoformat(tags[AT])
    except (KeyError, ValueError) as e:
        raise ZdmError(f"a snapshot of the set {tags[SET]} has no time in its tag {AT}") from e
    return at if at.tzinfo else at.replace(tzinfo=UTC)
