"""Where a new database server's data comes from: a snapshot, or another server as it was at some moment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from components.base import demand

_MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"
_CHOICE = ("snapshotIdentifier", "restoreToPointInTime")


@dataclass(frozen=True)
class FromSnapshot:
    """The server begins as the copy of a snapshot."""

    identifier: str
    """The snapshot's name (those of AWS begin with `rds:` or `awsbackup:`), or its ARN if another account shares it."""
    renew: bool = False
    """Whether another snapshot replaces the server: False, so that a later `up` never drops one that has been used."""

    def __post_init__(self) -> None:
        fits = re.fullmatch(r"arn:[\w-]+:rds:.+|(?:rds:|awsbackup:)?[A-Za-z][A-Za-z0-9-]*", self.identifier) is not None
        demand(self, identifier=(fits, f"a snapshot's name or ARN, not {self.identifier!r}"))


@dataclass(frozen=True)
class FromPointInTime:
    """The server begins as a copy of another one, as that was at some moment."""

    source: str
    """Identifier of the other one: a cluster's for Aurora, an instance's for MySQL."""
    at: str | None = None
    """The moment in UTC, such as 2026-01-31T10:00:00Z; None is the newest there is (about five minutes ago)."""
    renew: bool = False
    """Whether another source or moment replaces the server; see `FromSnapshot.renew`."""

    def __post_init__(self) -> None:
        demand(
            self,
            source=(re.fullmatch(r"[a-z][a-z0-9-]*", self.source) is not None, f"an identifier, not {self.source!r}"),
            at=(
                self.at is None or re.fullmatch(_MOMENT, self.at) is not None,
                f"a moment in UTC such as 2026-01-31T10:00:00Z, not {self.at!r}",
            ),
        )


Restore = FromSnapshot | FromPointInTime


def frozen_by(restore: Restore | None, given: Sequence[str]) -> list[str]:
    """The properties that a later `up` must leave alone, or it would replace a server that has been restored.

    `given` are those that come out of the snapshot, whatever the program says. Without `renew` the choice of the
    snapshot itself is looked at once, at creation.
    """
    if restore is None:
        return [*_CHOICE]
    return list(given) if restore.renew else [*_CHOICE, *given]
