"""Encryption: one customer key for stored data, one for secrets, one for logs.

Invariants:
- Keys rotate by themselves and wait out their whole window before they are deleted.
- A key's policy trusts this account's IAM, and a service only for what it encrypts in this account and region.
- Nobody outside the account may use a key, but the accounts that are named to restore its snapshots.

Cost drivers:
- Each key by the month; each of its first two rotations adds as much again.
- Requests to KMS, by number: buckets use bucket keys and secrets are cached by their readers, so few.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.base import Component, demand
from components.policies import document, statement


@dataclass(frozen=True)
class EncryptionArgs:
    """Arguments of `Encryption`."""

    prefix: str
    """Makes the keys' aliases unique to the stack."""
    account_id: str
    """Account whose IAM decides who may use the keys."""
    partition: str
    """Of the account, as in its ARNs: `aws`, outside of China and GovCloud."""
    region: str
    """Region of the keys, and of the services that may use them."""
    deletion_days: int = 30
    """Days (7 to 30) in which a deleted key can be brought back. The longest: without its key, data is lost."""
    rotation_days: int = 365
    """Days (90 to 2560) after which a key gets new material. A year is KMS's own default and what PCI-DSS asks for at
    the least; old material stays, so nothing is encrypted anew."""
    keep: bool = True
    """Whether the keys stay when the stack goes: without them nobody could read what stays of it, such as final
    snapshots, the archive and backups. False where nothing does."""
    snapshot_accounts: Sequence[str] = ()
    """Accounts that restore or copy snapshots and backups of this one, such as staging's when it is refreshed from
    production: they may use the key for data, through RDS, EC2 and AWS Backup. Nobody, unless named."""

    def __post_init__(self) -> None:
        demand(
            self,
            deletion_days=(7 <= self.deletion_days <= 30, f"7 to 30 days, not {self.deletion_days}"),
            rotation_days=(90 <= self.rotation_days <= 2560, f"90 to 2560 days, not {self.rotation_days}"),
            snapshot_accounts=(
                all(re.fullmatch(r"\d{12}", account) for account in self.snapshot_accounts),
                "account ids have 12 digits",
            ),
        )


def account_decides(args: EncryptionArgs) -> dict[str, Any]:
    """Leaves it to the account's IAM who may use and manage the key; without it nobody could ever change the policy.

    Services that act through a role or by a grant of whoever calls them (RDS, Backup, DMS, ECR, Secrets Manager, MSK,
    exports of snapshots) need no more than this.
    """
    account = f"arn:{args.partition}:iam::{args.account_id}:root"
    return statement("AccountDecides", ["kms:*"], ["*"], principal={"AWS": account})


def data_key_policy(args: EncryptionArgs) -> str:
    """The account's IAM; and the accounts that restore snapshots, through the services that do so only."""
    statements = [account_decides(args)]
    if args.snapshot_accounts:
        principal = {"AWS": [f"arn:{args.partition}:iam::{account}:root" for account in args.snapshot_accounts]}
        via = {"kms:ViaService": [f"{service}.{args.region}.amazonaws.com" for service in ("backup", "ec2", "rds")]}
        statements += [
            statement(
                "RestoreSnapshots",
                ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey*", "kms:ReEncrypt*"],
                ["*"],
                principal=principal,
                condition={"StringEquals": via},
            ),
            statement(
                "GrantToRestorers",
                ["kms:CreateGrant"],
                ["*"],
                principal=principal,
                condition={"Bool": {"kms:GrantIsForAWSResource": "true"}, "StringEquals": via},
            ),
        ]
    return document(*statements)


def secrets_key_policy(args: EncryptionArgs) -> str:
    """The account's IAM: who may read a secret is said by the roles that read it."""
    return document(account_decides(args))


def logs_key_policy(args: EncryptionArgs) -> str:
    """The account's IAM; CloudWatch Logs for this region's log groups, and CloudTrail for this account's trails."""
    groups = f"arn:{args.partition}:logs:{args.region}:{args.account_id}:log-group:*"
    trails = f"arn:{args.partition}:cloudtrail:*:{args.account_id}:trail/*"
    trail = {"Service": "cloudtrail.amazonaws.com"}
    own = {"ArnLike": {"aws:SourceArn": trails}}
    return document(
        account_decides(args),
        statement(
            "Logs",
            ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*"],
            ["*"],
            principal={"Service": f"logs.{args.region}.amazonaws.com"},
            condition={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
        ),
        statement(
            "Trails",
            ["kms:GenerateDataKey*"],
            ["*"],
            principal=trail,
            condition={**own, "StringLike": {"kms:EncryptionContext:aws:cloudtrail:arn": trails}},
        ),
        statement("TrailsLook", ["kms:DescribeKey"], ["*"], principal=trail, condition=own),
    )


class Encryption(Component):
    """The stack's keys, each with an alias `alias/<prefix>-<role>`."""

    data_key_arn: Output[str]
    """Key for databases, brokers, buckets, backups and images."""
    secrets_key_arn: Output[str]
    """Key for accounts in Secrets Manager."""
    logs_key_arn: Output[str]
    """Key for logs in CloudWatch and the audit trail."""

    def __init__(self, name: str, args: EncryptionArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self.data_key_arn = self._key(name, "data", "databases, brokers and buckets", args, data_key_policy(args))
        self.secrets_key_arn = self._key(name, "secrets", "accounts in Secrets Manager", args, secrets_key_policy(args))
        self.logs_key_arn = self._key(name, "logs", "logs in CloudWatch", args, logs_key_policy(args))
        self.register_outputs(
            {
                "dataKeyArn": self.data_key_arn,
                "secretsKeyArn": self.secrets_key_arn,
                "logsKeyArn": self.logs_key_arn,
            }
        )

    def _key(self, name: str, role: str, what: str, args: EncryptionArgs, policy: str) -> Output[str]:
        key = aws.kms.Key(
            f"{name}-{role}",
            description=f"{args.prefix}: {what}",
            enable_key_rotation=True,
            rotation_period_in_days=args.rotation_days,
            deletion_window_in_days=args.deletion_days,
            policy=policy,
            opts=self.child(ResourceOptions(retain_on_delete=args.keep)),
        )
        alias = f"alias/{args.prefix}-{role}"
        aws.kms.Alias(f"{name}-{role}-alias", name=alias, target_key_id=key.id, opts=self.child())
        return key.arn
