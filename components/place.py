"""Place: where a stack's services stand, the same for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi_aws as aws
from pulumi import Input, ResourceOptions

from components.base import demand
from components.endpoints import AwsApis
from components.flow_logs import LOG_DAYS
from components.policies import assume_role


@dataclass(frozen=True)
class Place:
    """What services share: network, ECS cluster, keys, the edge in front and the zone in DNS."""

    prefix: str
    """Makes names that are not auto-named unique to the stack."""
    account_id: str
    """Account for which ECS may take the services' roles."""
    region: str
    """Region of network and cluster."""
    vpc_id: Input[str]
    """Network of load balancers and tasks."""
    public_subnet_ids: Sequence[Input[str]]
    """Where load balancers stand, one in each zone."""
    private_subnet_ids: Sequence[Input[str]]
    """Where tasks stand, without public addresses, one in each zone."""
    cluster_arn: Input[str]
    """The ECS cluster."""
    cluster_name: Input[str]
    """Its name, by which autoscaling knows its services."""
    secrets_key_arn: Input[str]
    """Key of the accounts in Secrets Manager."""
    logs_key_arn: Input[str]
    """Key of the services' logs."""
    edge_prefix_list_id: Input[str]
    """Managed prefix list of the networks that may connect to load balancers."""
    zone_id: str
    """Cloudflare's id of the zone in which the services' names are."""
    alarm_topic_arn: Input[str]
    """Where alarms go."""
    apis: AwsApis = field(default_factory=AwsApis)
    """How tasks reach AWS's APIs. Over NAT, unless the network has endpoints for them."""
    web_acl_arn: Input[str] | None = None
    """Web ACL in front of the load balancers, if there is one."""
    access_log_bucket: Input[str] | None = None
    """Bucket for the load balancers' access logs, if they are kept."""
    log_days: int = 30
    """Days that services' logs are kept, one of those that CloudWatch Logs knows."""
    deletion_protection: bool = True
    """Of load balancers; on, because the shop is behind them."""

    def __post_init__(self) -> None:
        demand(
            self,
            log_days=(self.log_days in LOG_DAYS, f"one of {', '.join(map(str, LOG_DAYS))}, not {self.log_days}"),
        )


def task_role(name: str, description: str, place: Place, opts: ResourceOptions) -> aws.iam.Role:
    """A role that ECS takes for tasks of this account."""
    return aws.iam.Role(
        name,
        assume_role_policy=assume_role("ecs-tasks.amazonaws.com", place.account_id),
        description=description,
        opts=opts,
    )
