"""BackupCopies: the backups once more, in a second region, and from there in another account.

Invariants:
- A copy crosses a region or an account: AWS Backup does not do both at once for RDS and Aurora in every region. So the
  plan copies into this vault (first hop), and whenever a recovery point is complete there, a state machine of one step
  has it copied on into the other account's vault in this region (second hop). Either copy can be restored from.
- Every resource is in the second region: the provider given in the options must be that region's.
- The copies' key is of that region, too; the other account may use it through AWS Backup and RDS only.
- The step may start copies of this region's backups, with the copies' role, and nothing else; where they go is in its
  definition. A copy asked for twice is made once.
- Failed copies of the second hop reach the home region's event bus, where the plan tells the alarm topic.

Cost drivers:
- Copies by the GiB and month, in both vaults; transfer between regions by the GiB, of all data for the first copy.
- The key by the month. One execution of the state machine a copy: nothing worth counting.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.backup import LEAST_DAYS, CopyTarget, failed_jobs
from components.backup_vault import BackupVault, VaultArgs, VaultLock
from components.base import Component, demand
from components.encryption import EncryptionArgs, data_key_policy
from components.policies import assume_role, document, statement


@dataclass(frozen=True)
class BackupCopiesArgs:
    """Arguments of `BackupCopies`."""

    prefix: str
    """Makes the vault's and the key's names unique to the stack."""
    account_id: str
    """Account of the stack."""
    partition: str
    """Of the account, as in its ARNs: `aws`, outside of China and GovCloud."""
    region: str
    """The second region, that of the provider in the options."""
    home_region: str
    """The stack's own region."""
    keep_days: int = 35
    """Days that copies are kept, in both vaults; at least 7, as long as the plan's by default."""
    keep: bool = True
    """Whether vault and key stay, with what is in it, when the stack goes."""
    lock: VaultLock | None = None
    """Lock of the vault; none by default."""
    account_vault_arn: str = ""
    """Vault of another account in the second region, whose policy lets this account copy into it. Both accounts must
    be of one organisation that has cross-account backup switched on. Empty, the default: there is no second hop."""
    key_days: int = 30
    """Days (7 to 30) in which the deleted key can be brought back."""

    def __post_init__(self) -> None:
        there = re.fullmatch(r"arn:[\w-]+:backup:([\w-]+):(\d{12}):backup-vault:[\w-]{2,50}", self.account_vault_arn)
        region, account = there.groups() if there else ("", "")
        demand(
            self,
            region=(self.region != self.home_region, f"must differ from home_region ({self.home_region})"),
            keep_days=(LEAST_DAYS <= self.keep_days <= 36500, f"{LEAST_DAYS} to 36500, not {self.keep_days}"),
            lock=(
                self.lock is None or self.lock.allows(self.keep_days),
                f"AWS Backup would fail every copy: keeps {self.keep_days} days, outside of the lock",
            ),
            account_vault_arn=(
                not self.account_vault_arn or (region == self.region and account != self.account_id),
                f"the ARN of another account's backup vault in {self.region}, since a copy crosses a region or an "
                f"account, not both: not {self.account_vault_arn!r}",
            ),
        )

    @property
    def other_account(self) -> str:
        return self.account_vault_arn.split(":")[4] if self.account_vault_arn else ""


def copied(vault_arn: str) -> str:
    """Pattern of the event that a recovery point is complete in the vault."""
    return json.dumps(
        {
            "source": ["aws.backup"],
            "detail-type": ["Recovery Point State Change"],
            "detail": {"backupVaultArn": [vault_arn], "status": ["COMPLETED"]},
        },
        sort_keys=True,
    )


def copy_on(args: BackupCopiesArgs, vault_name: str, role_arn: str) -> str:
    """The state machine: has AWS Backup copy the event's recovery point into the other account's vault.

    The recovery point's ARN is the token of the call: events may come more than once, the copy is made once.
    """
    step = {
        "Type": "Task",
        "Resource": f"arn:{args.partition}:states:::aws-sdk:backup:startCopyJob",
        "Parameters": {
            "RecoveryPointArn.$": "$.resources[0]",
            "SourceBackupVaultName": vault_name,
            "DestinationBackupVaultArn": args.account_vault_arn,
            "IamRoleArn": role_arn,
            "IdempotencyToken.$": "States.Hash($.resources[0], 'SHA-256')",
            "Lifecycle": {"DeleteAfterDays": args.keep_days},
        },
        "Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 60, "BackoffRate": 2, "MaxAttempts": 6}],
        "End": True,
    }
    return json.dumps({"StartAt": "Copy", "States": {"Copy": step}}, sort_keys=True)


def step_policy(args: BackupCopiesArgs, role_arn: str) -> str:
    """Start copies of AWS Backup's own snapshots in the region, with the role of the copies."""
    snapshots = f"arn:{args.partition}:rds:{args.region}:{args.account_id}"
    points = [
        f"{snapshots}:cluster-snapshot:awsbackup:*",
        f"{snapshots}:snapshot:awsbackup:*",
        f"arn:{args.partition}:ec2:{args.region}::image/*",
        f"arn:{args.partition}:ec2:{args.region}::snapshot/*",
    ]
    return document(
        statement("Copy", ["backup:StartCopyJob"], points),
        statement(
            "PassRole",
            ["iam:PassRole"],
            [role_arn],
            condition={"StringEquals": {"iam:PassedToService": "backup.amazonaws.com"}},
        ),
    )


def start_policy(machine_arn: str) -> str:
    return document(statement("Start", ["states:StartExecution"], [machine_arn]))


def forward_policy(bus_arn: str) -> str:
    return document(statement("Forward", ["events:PutEvents"], [bus_arn]))


class BackupCopies(Component):
    """The second region's key and vault, and the second hop."""

    vault_arn: Output[str]
    """The second region's vault."""
    target: CopyTarget
    """What the plan copies to."""

    def __init__(self, name: str, args: BackupCopiesArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        staying = self.child(ResourceOptions(retain_on_delete=args.keep))
        key = aws.kms.Key(
            f"{name}-key",
            description=f"{args.prefix}: copies of backups",
            enable_key_rotation=True,
            deletion_window_in_days=args.key_days,
            policy=data_key_policy(
                EncryptionArgs(
                    prefix=args.prefix,
                    account_id=args.account_id,
                    partition=args.partition,
                    region=args.region,
                    snapshot_accounts=[args.other_account] if args.other_account else [],
                )
            ),
            opts=staying,
        )
        alias = f"alias/{args.prefix}-copies"
        aws.kms.Alias(f"{name}-key-alias", name=alias, target_key_id=key.id, opts=self.child())
        vault = BackupVault(name, VaultArgs(f"{args.prefix}-copies", key.arn, args.keep, args.lock), staying)
        roles = [self._second_hop(name, args, vault)] if args.account_vault_arn else []
        self.vault_arn = vault.arn
        self.target = CopyTarget(vault.arn, args.keep_days, roles)
        self.register_outputs({"vaultArn": self.vault_arn})

    def _second_hop(self, name: str, args: BackupCopiesArgs, vault: BackupVault) -> Output[str]:
        """Returns the ARN of the role of the copies."""
        copier = self._role(f"{name}-copier", "backup.amazonaws.com", args, "copies into the other account")
        rights = aws.iam.RolePolicyAttachment(
            f"{name}-copier-rights",
            role=copier.name,
            policy_arn=f"arn:{args.partition}:iam::aws:policy/service-role/AWSBackupServiceRolePolicyForBackup",
            opts=self.child(),
        )
        step = self._role(f"{name}-step", "states.amazonaws.com", args, "starts copies into the other account")
        aws.iam.RolePolicy(
            f"{name}-step-rights",
            role=step.id,
            policy=copier.arn.apply(lambda arn: step_policy(args, arn)),
            opts=self.child(),
        )
        machine = aws.sfn.StateMachine(
            f"{name}-machine",
            name=f"{args.prefix}-copy-backups",
            role_arn=step.arn,
            definition=Output.all(vault.name, copier.arn).apply(lambda v: copy_on(args, v[0], v[1])),
            opts=self.child(ResourceOptions(depends_on=[rights])),
        )
        starter = self._role(f"{name}-starter", "events.amazonaws.com", args, "starts the copying of a backup")
        aws.iam.RolePolicy(
            f"{name}-starter-rights", role=starter.id, policy=machine.arn.apply(start_policy), opts=self.child()
        )
        self._rule(name, "copied", args, vault.arn.apply(copied), machine.arn, starter.arn)
        bus = f"arn:{args.partition}:events:{args.home_region}:{args.account_id}:event-bus/default"
        messenger = self._role(f"{name}-messenger", "events.amazonaws.com", args, "tells the home region of failures")
        aws.iam.RolePolicy(f"{name}-messenger-rights", role=messenger.id, policy=forward_policy(bus), opts=self.child())
        self._rule(name, "copy-failed", args, copier.arn.apply(lambda arn: failed_jobs([arn])), bus, messenger.arn)
        return copier.arn

    def _role(self, name: str, service: str, args: BackupCopiesArgs, what: str) -> aws.iam.Role:
        return aws.iam.Role(
            name,
            assume_role_policy=assume_role(service, args.account_id),
            description=f"{args.prefix}: {what}",
            opts=self.child(),
        )

    def _rule(
        self, name: str, event: str, args: BackupCopiesArgs, pattern: Input[str], target: Input[str], role: Input[str]
    ) -> None:
        rule = aws.cloudwatch.EventRule(
            f"{name}-{event}", name=f"{args.prefix}-backup-{event}", event_pattern=pattern, opts=self.child()
        )
        aws.cloudwatch.EventTarget(
            f"{name}-{event}-target",
            rule=rule.name,
            target_id=event,
            arn=target,
            role_arn=role,
            opts=self.child(),
        )
