"""RestoreTest: every week AWS Backup restores the newest backup of each database, times it, and throws it away again.

Invariants:
- A backup that was never restored is none: newest first, once a week, for every database by its ARN.
- The restored databases stand in the data subnets behind a group without a rule: nobody reaches them unless whoever
  checks them adds one. They are deleted when the validation window is over.
- A restore that fails is told to the alarm topic. How long it took is in the restore job, from creation to completion;
  the product's aim is 15 minutes.

Cost drivers:
- The restored databases while they stand, `validation_hours` a week each; an Aurora cluster without instances is billed
  by its storage.
- AWS Backup bills each restore test by the resource.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.network import security_group
from components.policies import assume_role

WEEK = 7


@dataclass(frozen=True)
class RestoreTestArgs:
    """Arguments of `RestoreTest`."""

    prefix: str
    """Makes names unique to the stack; hyphens become underscores, since AWS takes none in a restore testing plan."""
    account_id: str
    """Account that restores."""
    partition: str
    """Of the account, as in its ARNs: `aws`, outside of China and GovCloud."""
    vault_arn: Input[str]
    """Vault whose recovery points are restored."""
    alarm_topic_arn: Input[str]
    """Where a failed restore is told."""
    vpc_id: Input[str]
    """Network of the restored databases. Without one AWS Backup would take the default VPC, which may be gone."""
    subnet_group: Input[str]
    """Subnet group of the restored databases: the data tier's."""
    clusters: Mapping[str, Input[str]]
    """ARNs of Aurora clusters, by role."""
    instances: Mapping[str, Input[str]]
    """ARNs of RDS instances, by role."""
    schedule: str = "cron(0 5 ? * MON *)"
    """When, in UTC: Mondays at five, after the night's backup and when somebody is there to look at a failure."""
    validation_hours: int = 4
    """Hours (1 to 168) that a restored database stands to be checked: a working morning."""

    def __post_init__(self) -> None:
        demand(
            self,
            clusters=(bool(self.clusters or self.instances), "no cluster and no instance: there is nothing to restore"),
            schedule=(
                re.fullmatch(r"cron\((?:\S+ ){5}\S+\)", self.schedule) is not None,
                f"six fields, as in cron(0 5 ? * MON *), not {self.schedule!r}",
            ),
            validation_hours=(1 <= self.validation_hours <= 168, f"1 to 168, not {self.validation_hours}"),
        )


def plain(text: str) -> str:
    """A name as restore testing takes it: letters, digits and underscores, at most 50."""
    return re.sub(r"\W", "_", text.replace("-", "_"))[:50]


def failed_restores(role_arn: str) -> str:
    """Pattern of the events of restores under the role that came to nothing."""
    return json.dumps(
        {
            "source": ["aws.backup"],
            "detail-type": ["Restore Job State Change"],
            "detail": {"iamRoleArn": [role_arn], "status": ["ABORTED", "FAILED"]},
        },
        sort_keys=True,
    )


class RestoreTest(Component):
    """The plan, what it restores, and the role it restores with."""

    plan_name: Output[str]
    """The plan's name, by which its restore jobs are found."""
    role_arn: Output[str]
    """Role of restores, for one on demand too."""
    security_group_id: Output[str]
    """Group of the restored databases: who checks them adds a rule."""

    def __init__(self, name: str, args: RestoreTestArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        group = security_group(f"{name}-closed", args.vpc_id, f"{name}: restored databases", self.child())
        role = aws.iam.Role(
            f"{name}-role",
            assume_role_policy=assume_role("backup.amazonaws.com", args.account_id),
            description=f"{args.prefix}: restores",
            opts=self.child(),
        )
        rights = aws.iam.RolePolicyAttachment(
            f"{name}-rights",
            role=role.name,
            policy_arn=f"arn:{args.partition}:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForRestores",
            opts=self.child(),
        )
        plan = aws.backup.RestoreTestingPlan(
            f"{name}-plan",
            name=plain(f"{args.prefix}_weekly"),
            schedule_expression=args.schedule,
            schedule_expression_timezone="Etc/UTC",
            start_window_hours=1,
            recovery_point_selection=aws.backup.RestoreTestingPlanRecoveryPointSelectionArgs(
                algorithm="LATEST_WITHIN_WINDOW",
                include_vaults=[args.vault_arn],
                recovery_point_types=["SNAPSHOT"],
                selection_window_days=WEEK,
            ),
            opts=self.child(),
        )
        where = {
            "dbSubnetGroupName": args.subnet_group,
            "vpcSecurityGroupIds": group.id.apply(lambda id: json.dumps([id])),
        }
        for kind, arns in (("Aurora", args.clusters), ("RDS", args.instances)):
            if arns:
                aws.backup.RestoreTestingSelection(
                    f"{name}-{kind.lower()}",
                    name=kind.lower(),
                    restore_testing_plan_name=plan.name,
                    protected_resource_type=kind,
                    protected_resource_arns=list(arns.values()),
                    restore_metadata_overrides=where,
                    validation_window_hours=args.validation_hours,
                    iam_role_arn=role.arn,
                    opts=self.child(ResourceOptions(depends_on=[rights])),
                )
        failed = aws.cloudwatch.EventRule(
            f"{name}-failed",
            name=f"{args.prefix}-restores-failed",
            description="Restores that came to nothing",
            event_pattern=role.arn.apply(failed_restores),
            opts=self.child(),
        )
        aws.cloudwatch.EventTarget(
            f"{name}-failed-alarm", rule=failed.name, target_id="alarm", arn=args.alarm_topic_arn, opts=self.child()
        )
        self.plan_name, self.role_arn, self.security_group_id = plan.name, role.arn, group.id
        self.register_outputs(
            {"planName": self.plan_name, "roleArn": self.role_arn, "securityGroupId": self.security_group_id}
        )
