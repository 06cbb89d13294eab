"""What both databases have in common: where they stand, how they are backed up, and what protects them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field

import pulumi
from pulumi import Input, Output

from components.base import demand
from components.database_monitoring import Monitoring
from components.database_restore import Restore
from components.network import Endpoint

_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d"
_DAY = r"(?:mon|tue|wed|thu|fri|sat|sun)"
DAILY_WINDOW = rf"{_TIME}-{_TIME}"
WEEKLY_WINDOW = rf"{_DAY}:{_TIME}-{_DAY}:{_TIME}"


@dataclass(frozen=True)
class Placement:
    """Where a server stands and what encrypts it."""

    vpc_id: Input[str]
    """The VPC."""
    subnet_ids: Sequence[Input[str]]
    """Two or more subnets of the data tier, in different zones."""
    data_key_arn: Input[str]
    """Key for storage, backups and Performance Insights."""
    secrets_key_arn: Input[str]
    """Key for the master account's secret."""
    operator_cidrs: Sequence[str] = ()
    """Private networks of the operators' machines; nobody unless given."""
    _: KW_ONLY
    account_id: str
    """The AWS account: roles trust services of this account only."""
    logs_key_arn: Input[str]
    """Key for the exported logs."""
    partition: str = "aws"
    """AWS's partition, in whose name its own policies are."""

    def __post_init__(self) -> None:
        demand(self, subnet_ids=(len(self.subnet_ids) >= 2, "two or more, in different zones"))


@dataclass(frozen=True)
class Backups:
    """Automatic backups, and the weekly window for maintenance."""

    days: int = 7
    """Days that they are kept, 1 to 35. Seven: the requirement; 0 would switch off MySQL's binary log."""
    window: str = "02:00-03:00"
    """Daily, UTC, at least 30 minutes: the requirement's hour."""
    maintenance: str = "sun:04:00-sun:05:00"
    """Weekly, UTC, outside the backup window: after it, in the night to Monday."""

    def __post_init__(self) -> None:
        demand(
            self,
            days=(1 <= self.days <= 35, f"1 to 35, not {self.days}"),
            window=(re.fullmatch(DAILY_WINDOW, self.window) is not None, f"hh:mm-hh:mm in UTC, not {self.window!r}"),
            maintenance=(
                re.fullmatch(WEEKLY_WINDOW, self.maintenance) is not None,
                f"ddd:hh:mm-ddd:hh:mm in UTC, not {self.maintenance!r}",
            ),
        )


@dataclass(frozen=True)
class Protection:
    """Against loss by mistake."""

    deletion_protection: bool = True
    """Whether AWS refuses to delete the server. Taken away by an `up` of its own before a `destroy`."""
    final_snapshot: bool = True
    """Whether a snapshot stays when the server goes."""
    apply_immediately: bool = False
    """Whether changes that restart the server happen at once; False leaves them to the maintenance window."""


@dataclass(frozen=True)
class DatabaseServer:
    """The part of the arguments that both databases take."""

    database: str
    """Name of the one database in it."""
    placement: Placement
    """Network and keys."""
    backups: Backups = field(default_factory=Backups)
    """Automatic backups."""
    protection: Protection = field(default_factory=Protection)
    """Against loss."""
    monitoring: Monitoring = field(default_factory=Monitoring)
    """Insights and metrics."""
    master: str = "zdm_admin"
    """The master account's name."""

    def final_snapshot(self, stem: str, subnet_group: Input[str], restore: Restore | None = None) -> Output[str] | None:
        """A name for the snapshot at deletion: it stays as long as the server, and differs for one that replaces it.

        The key and the subnet group come with a new server, and so does what it is restored from where that may
        replace it: with all equal, it is the same one.
        """
        if not self.protection.final_snapshot:
            return None
        origin = repr(restore) if restore is not None and restore.renew else ""
        return Output.all(self.placement.data_key_arn, subnet_group).apply(
            lambda v: f"{stem}-final-{hashlib.sha256('|'.join([*map(str, v), origin]).encode()).hexdigest()[:10]}"
        )


@dataclass(frozen=True)
class Account:
    """A database account by its secret."""

    secret_name: str
    """Name of the secret: Kafka Connect knows secrets by name."""
    secret_arn: Input[str]
    """Its ARN: policies, tasks and proxies know secrets by it."""


@dataclass(frozen=True)
class DatabaseAccess:
    """A database as one client sees it."""

    endpoint: Endpoint
    """Where it listens."""
    account: Account
    """Who the client is."""
    ready: Sequence[pulumi.Resource] = ()
    """What must be there before the client can connect."""


def master_secret(secrets: Sequence[object] | None) -> str:
    """ARN of the secret that RDS made for the master account; empty while it has made none yet."""
    return str(getattr(secrets[0], "secret_arn", "") or "") if secrets else ""
