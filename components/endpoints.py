"""How clients in the VPC reach AWS's APIs: through interface endpoints inside it, or over NAT.

Invariants:
- An endpoint admits only the groups that `reach_aws` names, on port 443.
- With endpoints, nobody has a rule that reaches the whole internet: HTTPS leads to the endpoints' group and to S3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi import Input, ResourceOptions

from components.base import demand

USED = ("ecr.api", "ecr.dkr", "kms", "logs", "monitoring", "secretsmanager", "sts")
"""What tasks and connectors call: images, keys, logs, metrics, secrets, credentials. S3 has a gateway endpoint."""


@dataclass(frozen=True)
class Endpoints:
    """Which of AWS's APIs have an endpoint in the VPC's private subnets."""

    services: Sequence[str] = USED
    """Names of services as in `com.amazonaws.<region>.<service>`. Each costs by zone and hour, so only those in use."""

    def __post_init__(self) -> None:
        names = set(self.services)
        demand(
            self,
            services=(
                "s3" not in names and 0 < len(names) == len(self.services),
                "at least one, each once, and not s3, which has a gateway endpoint",
            ),
        )


@dataclass(frozen=True)
class AwsApis:
    """Where AWS's APIs are found from inside the VPC."""

    endpoint_group_id: Input[str] | None = None
    """Security group of the interface endpoints. None: there are none, and the APIs are reached over NAT."""
    s3_prefix_list_id: Input[str] | None = None
    """Address ranges of S3 (image layers lie there), reached through the gateway endpoint."""

    def __post_init__(self) -> None:
        both = (self.endpoint_group_id is None) == (self.s3_prefix_list_id is None)
        demand(self, s3_prefix_list_id=(both, "give both or neither: images need S3 as well"))


def interface_endpoints(
    name: str,
    region: str,
    endpoints: Endpoints,
    vpc_id: Input[str],
    subnet_ids: Sequence[Input[str]],
    group_id: Input[str],
    opts: ResourceOptions,
) -> None:
    """One endpoint a service, with an address in each subnet, under the service's public name."""
    for service in endpoints.services:
        label = f"{name}-{service.replace('.', '-')}"
        aws.ec2.VpcEndpoint(
            label,
            vpc_id=vpc_id,
            service_name=f"com.amazonaws.{region}.{service}",
            vpc_endpoint_type="Interface",
            subnet_ids=list(subnet_ids),
            security_group_ids=[group_id],
            private_dns_enabled=True,
            tags={"Name": label},
            opts=opts,
        )


def reach_aws(name: str, client: Input[str], apis: AwsApis, opts: ResourceOptions) -> list[pulumi.Resource]:
    """Lets members of the security group `client` reach AWS's APIs and the image registry: HTTPS, nothing else."""

    def egress(label: str, **peer: Input[str]) -> pulumi.Resource:
        return aws.vpc.SecurityGroupEgressRule(
            f"{name}-{label}",
            security_group_id=client,
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            description="AWS APIs",
            tags={"Name": name},
            opts=opts,
            **peer,
        )

    if apis.endpoint_group_id is None or apis.s3_prefix_list_id is None:
        return [egress("https", cidr_ipv4="0.0.0.0/0")]
    return [
        egress("to-apis", referenced_security_group_id=apis.endpoint_group_id),
        egress("to-s3", prefix_list_id=apis.s3_prefix_list_id),
        aws.vpc.SecurityGroupIngressRule(
            f"{name}-at-apis",
            security_group_id=apis.endpoint_group_id,
            referenced_security_group_id=client,
            ip_protocol="tcp",
            from_port=443,
            to_port=443,
            description=name,
            tags={"Name": name},
            opts=opts,
        ),
    ]
