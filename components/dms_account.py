"""DmsAccount: the three IAM roles that AWS DMS looks for under fixed names, once in an account.

Invariants:
- The names are DMS's own and belong to the whole account: exactly one stack of an account makes them, by a switch.
- Only DMS takes the roles, and only for this account; their rights are AWS's managed policies for just this.
- Deleting the stack that has them stops DMS in every other stack of the account: it goes last.

Cost drivers:
- None: IAM is not billed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.base import Component
from components.policies import assume_role

ROLES: Final = {
    "vpc": ("dms-vpc-role", "AmazonDMSVPCManagementRole", "network interfaces in the subnets"),
    "logs": ("dms-cloudwatch-logs-role", "AmazonDMSCloudWatchLogsRole", "the tasks' logs"),
    "endpoint": ("dms-access-for-endpoint", "AmazonDMSRedshiftS3Role", "staging buckets of endpoints"),
}
"""Key: (the name DMS looks for, the managed policy, what for). Source: AWS DMS user guide, "Creating the IAM roles to
use with the AWS CLI and AWS DMS API"."""


@dataclass(frozen=True)
class DmsAccountArgs:
    """Which account the roles are made in."""

    account_id: str
    """The account that DMS must act for."""
    partition: str
    """Of the account, as in its ARNs: `aws`, outside of China and GovCloud."""


class DmsAccount(Component):
    """The account's roles for DMS. What uses DMS depends on the whole component, so that the rights are there too."""

    vpc_role_arn: Output[str]
    """`dms-vpc-role`: makes network interfaces; without it no subnet group and no instance can be made."""
    logs_role_arn: Output[str]
    """`dms-cloudwatch-logs-role`: writes the tasks' logs; without it tasks run without a log."""
    endpoint_role_arn: Output[str]
    """`dms-access-for-endpoint`: DMS asks for it where an endpoint stages data in S3; MySQL and PostgreSQL do not."""

    def __init__(self, name: str, args: DmsAccountArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        trust = assume_role("dms.amazonaws.com", args.account_id)
        arns: dict[str, Output[str]] = {}
        for key, (role_name, policy, purpose) in ROLES.items():
            role = aws.iam.Role(
                f"{name}-{key}",
                name=role_name,
                assume_role_policy=trust,
                description=f"AWS DMS, {purpose}",
                opts=self.child(),
            )
            rights = aws.iam.RolePolicyAttachment(
                f"{name}-{key}-rights",
                role=role.name,
                policy_arn=f"arn:{args.partition}:iam::aws:policy/service-role/{policy}",
                opts=self.child(),
            )
            arns[key] = Output.all(role.arn, rights.id).apply(lambda both: str(both[0]))
        self.vpc_role_arn, self.logs_role_arn, self.endpoint_role_arn = arns["vpc"], arns["logs"], arns["endpoint"]
        self.register_outputs({"vpcRoleArn": self.vpc_role_arn})
