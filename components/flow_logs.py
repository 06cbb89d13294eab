"""The network's flow log: who talked to whom, accepted or rejected, in CloudWatch.

Invariants:
- The log is encrypted, has an end, and is written by a role that can write this one log only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pulumi_aws as aws
from pulumi import Input, ResourceOptions

from components.base import demand
from components.policies import assume_role, document, statement, write_logs

LOG_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
"""The retentions that CloudWatch Logs knows."""


@dataclass(frozen=True)
class FlowLogs:
    """Which connections are logged, where, and for how long."""

    prefix: str
    """Makes the log group's name unique to the stack."""
    account_id: str
    """The only account for which the flow log service may take the role."""
    logs_key_arn: Input[str]
    """Key that the log is encrypted with."""
    days: int = 30
    """Days that the log is kept, one of those that CloudWatch Logs knows."""
    traffic: Literal["ALL", "REJECT"] = "ALL"
    """ALL shows who reached what, as an audit asks for; REJECT only what was refused, at a fraction of the volume."""

    def __post_init__(self) -> None:
        demand(self, days=(self.days in LOG_DAYS, f"one of {', '.join(map(str, LOG_DAYS))}, not {self.days}"))


def writer_policy(group_arn: str) -> str:
    """Write the one log; the service also looks for it among the account's logs."""
    every = f"{group_arn.partition(':log-group:')[0]}:log-group:*"
    return document(
        write_logs(group_arn),
        statement("FindLog", ["logs:DescribeLogGroups", "logs:DescribeLogStreams"], [every]),
    )


def flow_log(name: str, args: FlowLogs, vpc_id: Input[str], opts: ResourceOptions) -> None:
    """The flow log of a VPC, with its log group and the role that writes it."""
    group = aws.cloudwatch.LogGroup(
        f"{name}-flows",
        name=f"/vpc/{args.prefix}/flows",
        retention_in_days=args.days,
        kms_key_id=args.logs_key_arn,
        opts=opts,
    )
    role = aws.iam.Role(
        f"{name}-flows-role",
        assume_role_policy=assume_role("vpc-flow-logs.amazonaws.com", args.account_id),
        description=f"{name}: writes the flow log",
        opts=opts,
    )
    rights = aws.iam.RolePolicy(
        f"{name}-flows-rights",
        role=role.id,
        policy=group.arn.apply(writer_policy),
        opts=opts,
    )
    aws.ec2.FlowLog(
        f"{name}-flow-log",
        vpc_id=vpc_id,
        traffic_type=args.traffic,
        log_destination_type="cloud-watch-logs",
        log_destination=group.arn,
        iam_role_arn=role.arn,
        max_aggregation_interval=600,
        tags={"Name": f"{name}-flows"},
        opts=ResourceOptions.merge(opts, ResourceOptions(depends_on=[rights])),
    )
