"""What is seen of a database server: Performance Insights, enhanced monitoring, exported logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import demand
from components.policies import assume_role

INSIGHTS_DAYS = {"standard": 7, "advanced": 465}
"""How long Database Insights keeps a database's history, by mode; AWS fixes both."""
_YEARS = (365, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
LOG_DAYS = frozenset({1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 400, 545, *_YEARS})
"""What CloudWatch can keep a log for."""


@dataclass(frozen=True)
class Monitoring:
    """What can be seen of the server from inside."""

    insights: Literal["standard", "advanced"] = "standard"
    """Database Insights: `standard` keeps Performance Insights for 7 days at no cost, `advanced` for 465."""
    seconds: int = 60
    """Enhanced monitoring's interval: 1, 5, 10, 15, 30 or 60 s, 0 is off. A minute is what alarms look at."""
    log_days: int = 30
    """Days that exported logs stay, one of CloudWatch's steps. RDS by itself would keep them for ever."""

    def __post_init__(self) -> None:
        demand(
            self,
            insights=(self.insights in INSIGHTS_DAYS, f"standard or advanced, not {self.insights!r}"),
            seconds=(self.seconds in (0, 1, 5, 10, 15, 30, 60), f"0, 1, 5, 10, 15, 30 or 60, not {self.seconds}"),
            log_days=(
                self.log_days in LOG_DAYS,
                f"7, 14, 30, 90, 365 or another of CloudWatch's, not {self.log_days}",
            ),
        )

    @property
    def insights_days(self) -> int:
        """How long Performance Insights keeps what it saw."""
        return INSIGHTS_DAYS[self.insights]


def monitoring_role(name: str, account_id: str, partition: str, opts: ResourceOptions) -> Output[str]:
    """The role with which RDS writes enhanced monitoring."""
    role = aws.iam.Role(
        f"{name}-monitoring",
        assume_role_policy=assume_role("monitoring.rds.amazonaws.com", account_id),
        description=f"{name}: enhanced monitoring",
        opts=opts,
    )
    attached = aws.iam.RolePolicyAttachment(
        f"{name}-monitoring-rights",
        role=role.name,
        policy_arn=f"arn:{partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole",
        opts=opts,
    )
    return Output.all(role.arn, attached.id).apply(lambda both: str(both[0]))


def log_groups(
    name: str, stem: Input[str], logs: Sequence[str], days: int, key_arn: Input[str], opts: ResourceOptions
) -> list[pulumi.Resource]:
    """The groups `<stem>/<log>` that RDS exports logs to, there before RDS makes them without key and without an end.

    Logs flow when the first instance of a server starts; the groups are made once its identifier is known.
    """
    return [
        aws.cloudwatch.LogGroup(
            f"{name}-{log}-log",
            name=Output.concat(stem, f"/{log}"),
            retention_in_days=days,
            kms_key_id=key_arn,
            opts=opts,
        )
        for log in logs
    ]
