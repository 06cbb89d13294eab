"""BackupPlan: AWS Backup of the databases, every night, and of servers and volumes that carry the stack's tag.

Invariants:
- A snapshot every day in the backup window, kept for at least a week; with `continuous`, any second of the last days.
- What must be backed up is named by ARN, so that a lost tag loses no backup; `backup: <prefix>` as a tag adds what the
  stack does not make, such as the servers of an existing MySQL.
- A job that fails, expires or is broken off is told to the alarm topic, and so is a day without any backup.
- The window keeps clear of RDS' maintenance, in which RDS turns AWS Backup away.
- AWS Backup must be opted in for Aurora in the region: a setting of the account, not of a stack. Without it not even a
  cluster named by ARN is backed up, and the alarm tells of a day without a backup.

Cost drivers:
- Recovery points by the GiB and month: `keep_days` of them. Volumes and images have no continuous backup: with
  `continuous`, they get a second snapshot a day instead.
- Copies: their storage, and transfer out of the region by the GiB.
- One CloudWatch alarm. The plan and its rules cost nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.backup_vault import BackupVault, VaultArgs, VaultLock
from components.base import Component, demand
from components.databases import Backups
from components.policies import assume_role

LEAST_DAYS = 7
"""The product's own floor for backups."""
CONTINUOUS_DAYS = 35
"""The longest that AWS keeps a continuous backup for."""
DAY = 24 * 60
HOUR = 60
"""In minutes: the shortest start window of AWS Backup, and how long before its maintenance RDS takes no snapshot."""
TAG = "backup"


@dataclass(frozen=True)
class CopyTarget:
    """The vault in another region that every daily backup is copied to, as `BackupCopies` makes it."""

    vault_arn: Input[str]
    """The vault."""
    days: int
    """Days that copies are kept."""
    role_arns: Sequence[Input[str]] = ()
    """Roles of further jobs there, whose failures are told here."""


@dataclass(frozen=True)
class BackupPlanArgs:
    """Arguments of `BackupPlan`."""

    prefix: str
    """Name of vault and plan, and the value of the tag that adds servers and volumes: unique to the stack."""
    account_id: str
    """Account whose resources are backed up."""
    partition: str
    """Of the account, as in its ARNs: `aws`, outside of China and GovCloud."""
    key_arn: Input[str]
    """Customer key of the vault. Snapshots of databases stay under their database's key."""
    alarm_topic_arn: Input[str]
    """Where failed jobs and days without a backup are told."""
    databases: Mapping[str, Input[str]]
    """ARNs of clusters and instances, by role."""
    backups: Backups = field(default_factory=Backups)
    """The databases' own backups: their window is the plan's, and their days those of the continuous backup, which AWS
    Backup takes over from RDS: so both ask for the same."""
    keep_days: int = 35
    """Days that daily snapshots are kept, at least 7: five weeks, to see a month's end twice."""
    continuous: bool = True
    """Whether any second of the last `backups.days` can be restored. On; databases only."""
    keep: bool = True
    """Whether the vault stays, with what is in it, when the stack goes."""
    lock: VaultLock | None = None
    """Lock of the vault; none by default."""
    copies: CopyTarget | None = None
    """Vault in a second region; none by default."""

    def __post_init__(self) -> None:
        days = [self.keep_days, *([self.backups.days] if self.continuous else [])]
        _, length = window_minutes(self.backups.window)
        demand(
            self,
            databases=(bool(self.databases), "none: name at least one"),
            keep_days=(LEAST_DAYS <= self.keep_days <= 36500, f"{LEAST_DAYS} to 36500, not {self.keep_days}"),
            continuous=(
                not self.continuous or LEAST_DAYS <= self.backups.days <= CONTINUOUS_DAYS,
                f"needs backups.days of {LEAST_DAYS} to {CONTINUOUS_DAYS}, not {self.backups.days}",
            ),
            lock=(
                self.lock is None or all(map(self.lock.allows, days)),
                f"AWS Backup would fail every job: keeps {' and '.join(map(str, days))} days, outside of the lock",
            ),
            backups=(
                length >= HOUR and apart(self.backups.window, self.backups.maintenance),
                f"window {self.backups.window}: an hour or more, and clear of maintenance ({self.backups.maintenance}) "
                "and the hour before, in which RDS takes no snapshots",
            ),
        )


def window_minutes(window: str) -> tuple[int, int]:
    """Start of a window hh:mm-hh:mm in minutes of the day, and its length. A weekly window is taken as of any day."""
    start, end = (int(h) * 60 + int(m) for h, m in re.findall(r"(\d\d):(\d\d)", window))
    return start, (end - start) % DAY


def apart(backup_window: str, maintenance_window: str) -> bool:
    """Whether backups are over an hour before maintenance begins, and begin after it has ended."""
    start, length = window_minutes(backup_window)
    maintenance, lasting = window_minutes(maintenance_window)
    closed, closed_for = (maintenance - HOUR) % DAY, lasting + HOUR
    return (closed - start) % DAY >= length and (start - closed) % DAY >= closed_for


def schedule(window: str) -> str:
    """The beginning of a daily window as a cron expression of AWS."""
    start, _ = window_minutes(window)
    return f"cron({start % 60} {start // 60} ? * * *)"


def plan_rules(args: BackupPlanArgs, vault_name: str, copy_vault_arn: str | None) -> list[aws.backup.PlanRuleArgs]:
    """A snapshot a day, with its copy; and the continuous backup, which has no copies (they would be snapshots)."""
    _, length = window_minutes(args.backups.window)

    def rule(name: str, days: int) -> aws.backup.PlanRuleArgs:
        return aws.backup.PlanRuleArgs(
            rule_name=name,
            target_vault_name=vault_name,
            schedule=schedule(args.backups.window),
            schedule_expression_timezone="Etc/UTC",
            start_window=length,
            # From its start a job may take the day: the first copy of terabytes to another region is no quick one.
            completion_window=DAY,
            lifecycle=aws.backup.PlanRuleLifecycleArgs(delete_after=days),
            recovery_point_tags={TAG: args.prefix},
        )

    daily = rule("daily", args.keep_days)
    if args.copies is not None and copy_vault_arn is not None:
        daily.copy_actions = [
            aws.backup.PlanRuleCopyActionArgs(
                destination_vault_arn=copy_vault_arn,
                lifecycle=aws.backup.PlanRuleCopyActionLifecycleArgs(delete_after=args.copies.days),
            )
        ]
    if not args.continuous:
        return [daily]
    continuous = rule("continuous", args.backups.days)
    continuous.enable_continuous_backup = True
    return [daily, continuous]


def failed_jobs(role_arns: Sequence[str]) -> str:
    """Pattern of the events of jobs under these roles that came to nothing."""
    return json.dumps(
        {
            "source": ["aws.backup"],
            "detail-type": ["Backup Job State Change", "Copy Job State Change"],
            "detail": {"iamRoleArn": list(role_arns), "state": ["ABORTED", "EXPIRED", "FAILED", "PARTIAL"]},
        },
        sort_keys=True,
    )


class BackupPlan(Component):
    """Vault, plan, selections, and what tells of failures."""

    vault_name: Output[str]
    """The vault's name."""
    vault_arn: Output[str]
    """The vault's ARN."""
    plan_id: Output[str]
    """The plan's id."""
    role_arn: Output[str]
    """Role of the backup jobs, for backups on demand."""

    def __init__(self, name: str, args: BackupPlanArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        staying = ResourceOptions(retain_on_delete=args.keep)
        vault = BackupVault(name, VaultArgs(args.prefix, args.key_arn, args.keep, args.lock), self.child(staying))
        role = aws.iam.Role(
            f"{name}-role",
            assume_role_policy=assume_role("backup.amazonaws.com", args.account_id),
            description=f"{args.prefix}: backups",
            opts=self.child(),
        )
        rights = aws.iam.RolePolicyAttachment(
            f"{name}-rights",
            role=role.name,
            policy_arn=f"arn:{args.partition}:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup",
            opts=self.child(),
        )
        plan = aws.backup.Plan(
            f"{name}-plan",
            name=args.prefix,
            rules=Output.all(vault.name, args.copies.vault_arn if args.copies else None).apply(
                lambda v: plan_rules(args, v[0], v[1])
            ),
            opts=self.child(),
        )
        # Any change replaces a selection, and its name is the plan's only once.
        ready = ResourceOptions(depends_on=[rights], delete_before_replace=True)
        aws.backup.Selection(
            f"{name}-databases",
            name="databases",
            plan_id=plan.id,
            iam_role_arn=role.arn,
            resources=list(args.databases.values()),
            opts=self.child(ready),
        )
        aws.backup.Selection(
            f"{name}-tagged",
            name="tagged",
            plan_id=plan.id,
            iam_role_arn=role.arn,
            resources=["*"],
            conditions=[
                aws.backup.SelectionConditionArgs(
                    string_equals=[
                        aws.backup.SelectionConditionStringEqualArgs(key=f"aws:ResourceTag/{TAG}", value=args.prefix)
                    ]
                )
            ],
            opts=self.child(ready),
        )
        self._tell(name, args, role.arn, vault.name)
        self.vault_name, self.vault_arn = vault.name, vault.arn
        self.plan_id, self.role_arn = plan.id, role.arn
        self.register_outputs(
            {
                "vaultName": self.vault_name,
                "vaultArn": self.vault_arn,
                "planId": self.plan_id,
                "roleArn": self.role_arn,
            }
        )

    def _tell(self, name: str, args: BackupPlanArgs, role_arn: Output[str], vault_name: Output[str]) -> None:
        failed = aws.cloudwatch.EventRule(
            f"{name}-failed",
            name=f"{args.prefix}-backups-failed",
            description="Backups and copies that came to nothing",
            event_pattern=Output.all(role_arn, *(args.copies.role_arns if args.copies else ())).apply(failed_jobs),
            opts=self.child(),
        )
        aws.cloudwatch.EventTarget(
            f"{name}-failed-alarm",
            rule=failed.name,
            target_id="alarm",
            arn=args.alarm_topic_arn,
            opts=self.child(),
        )
        # AWS Backup sends events on a best-effort basis; and a plan that selects nothing sends none.
        aws.cloudwatch.MetricAlarm(
            f"{name}-missing",
            name=f"{args.prefix}-backup-missing",
            alarm_description=f"{args.prefix}: no backup was completed for a day",
            namespace="AWS/Backup",
            metric_name="NumberOfBackupJobsCompleted",
            dimensions={"BackupVaultName": vault_name},
            statistic="Sum",
            period=DAY * 60,
            evaluation_periods=1,
            comparison_operator="LessThanThreshold",
            threshold=1,
            treat_missing_data="breaching",
            alarm_actions=[args.alarm_topic_arn],
            ok_actions=[args.alarm_topic_arn],
            opts=self.child(),
        )
