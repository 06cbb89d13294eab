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
DAILY_WINDOW = rf"^{_TIME}-{_TIME}$"
WEEKLY_WINDOW = rf"^{_DAY}:{_TIME}-{_DAY}:{_TIME}$"


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
            window=(re.match(DAILY_WINDOW, self.window) is not None, f"hh:mm-hh:mm in UTC, not {self.window!r}"),
            maintenance=(re.match(WEEKLY_WINDOW, self.maintenance) is not None,
                         f"ddd:hh:mm-ddd:hh:mm in UTC, not {self.maintenance!r}"),
        )


@dataclass(frozen=True)
class Protection:
    """Against loss by mistake. `apply_immediately` false leaves changes that restart a server to its maintenance window."""

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


def final_snapshot_name(stem: str, *replacing: Input[str]) -> Output[str]:
    """A name that stays as long as the server stays, and differs for the one that replaces it.

    `replacing` are values that come with a new server: with all of them equal, it is the same server.
    """
    return Output.all(*replacing).apply(
        lambda values: f"{stem}-final-{hashlib.sha256('|'.join(map(str, values)).encode()).hexdigest()[:10]}"
    )


def master_secret(secrets: Sequence[object] | None) -> str:
    """ARN of the secret that RDS made for the master account; empty while it has made none yet."""
    return str(getattr(secrets[0], "secret_arn", "") or "") if secrets else ""
