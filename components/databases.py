"""What both databases have in common: where they stand, how they are backed up and what protects them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi
from pulumi import Input, Output

from components.base import demand
from components.network import Endpoint

_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d"
_DAY = r"(?:mon|tue|wed|thu|fri|sat|sun)"
DAILY_WINDOW = rf"{_TIME}-{_TIME}"
WEEKLY_WINDOW = rf"{_DAY}:{_TIME}-{_DAY}:{_TIME}"


@dataclass(frozen=True)
class Placement:
    """The VPC, its data subnets, the key for what is stored there and for the master account's secret."""

    vpc_id: Input[str]
    subnet_ids: Sequence[Input[str]]
    data_key_arn: Input[str]
    secrets_key_arn: Input[str]
    operator_cidrs: Sequence[str] = ()

    def __post_init__(self) -> None:
        demand(self, subnet_ids=(len(self.subnet_ids) >= 2, "two or more, in different zones"))


@dataclass(frozen=True)
class Backups:
    """Days that automatic backups are kept, their daily window and the weekly maintenance window, both in UTC."""

    days: int = 7
    window: str = "02:00-03:00"
    maintenance: str = "sun:03:30-sun:04:30"

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
    """Against loss by mistake. `apply_immediately` false leaves restarts to the maintenance window."""

    deletion_protection: bool = True
    final_snapshot: bool = True
    apply_immediately: bool = False


@dataclass(frozen=True)
class DatabaseServer:
    """The part of the arguments that both databases take."""

    database: str
    placement: Placement
    backups: Backups = field(default_factory=Backups)
    protection: Protection = field(default_factory=Protection)
    master: str = "zdm_admin"

    def final_snapshot(self, stem: str, subnet_group: Input[str]) -> Output[str] | None:
        """A name for the snapshot at deletion: it stays as long as the server, and differs for one that replaces it.

        The key and the subnet group come with a new server: with both equal, it is the same one.
        """
        if not self.protection.final_snapshot:
            return None
        return Output.all(self.placement.data_key_arn, subnet_group).apply(
            lambda v: f"{stem}-final-{hashlib.sha256('|'.join(map(str, v)).encode()).hexdigest()[:10]}"
        )


@dataclass(frozen=True)
class Account:
    """A database account: the name of its secret (Kafka Connect knows secrets by name) and its ARN (policies do)."""

    secret_name: str
    secret_arn: Input[str]


@dataclass(frozen=True)
class DatabaseAccess:
    """A database as one client sees it. `ready` must be there before the client can connect."""

    endpoint: Endpoint
    account: Account
    ready: Sequence[pulumi.Resource] = ()


def master_secret(secrets: Sequence[object] | None) -> str:
    """ARN of the secret that RDS made for the master account; empty while it has made none yet."""
    return str(getattr(secrets[0], "secret_arn", "") or "") if secrets else ""
