"""Encryption: one customer key for stored data, one for secrets, one for logs.

Invariants:
- Keys rotate every year and wait out their whole window before they are deleted.
- A key's policy trusts this account's IAM, and a service only for what it encrypts in this account and region.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.base import Component, demand
from components.policies import document, statement


@dataclass(frozen=True)
class EncryptionArgs:
    """`prefix` makes the aliases unique to the stack. `deletion_days` is how long a deleted key can be brought back."""

    prefix: str
    account_id: str
    partition: str
    region: str
    deletion_days: int = 30

    def __post_init__(self) -> None:
        demand(self, deletion_days=(7 <= self.deletion_days <= 30, f"7 to 30 days, not {self.deletion_days}"))


def key_policy(args: EncryptionArgs, *, logs: bool = False) -> str:
    """The account's IAM decides who may use the key; the key for logs also serves CloudWatch Logs."""
    account = f"arn:{args.partition}:iam::{args.account_id}:root"
    statements: list[dict[str, Any]] = [
        statement("AccountDecides", ["kms:*"], ["*"], principal={"AWS": account}),
    ]
    if logs:
        groups = f"arn:{args.partition}:logs:{args.region}:{args.account_id}:log-group:*"
        statements.append(
            statement(
                "Logs",
                ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"],
                ["*"],
                principal={"Service": f"logs.{args.region}.amazonaws.com"},
                condition={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
            )
        )
    return document(*statements)


class Encryption(Component):
    """Outputs: the ARNs of the three keys."""

    data_key_arn: Output[str]
    secrets_key_arn: Output[str]
    logs_key_arn: Output[str]

    def __init__(self, name: str, args: EncryptionArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self.data_key_arn = self._key(name, "data", "databases, brokers and buckets", args)
        self.secrets_key_arn = self._key(name, "secrets", "accounts in Secrets Manager", args)
        self.logs_key_arn = self._key(name, "logs", "logs in CloudWatch", args)
        self.register_outputs(
            {
                "dataKeyArn": self.data_key_arn,
                "secretsKeyArn": self.secrets_key_arn,
                "logsKeyArn": self.logs_key_arn,
            }
        )

    def _key(self, name: str, role: str, what: str, args: EncryptionArgs) -> Output[str]:
        key = aws.kms.Key(
            f"{name}-{role}",
            description=f"{args.prefix}: {what}",
            enable_key_rotation=True,
            deletion_window_in_days=args.deletion_days,
            policy=key_policy(args, logs=role == "logs"),
            opts=self.child(),
        )
        alias = f"alias/{args.prefix}-{role}"
        aws.kms.Alias(f"{name}-{role}-alias", name=alias, target_key_id=key.id, opts=self.child())
        return key.arn
