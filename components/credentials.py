"""Credential: one database account's name and generated password, in Secrets Manager.

Invariants:
- The password is made once, at creation; a later `up` leaves it alone, so that rotation belongs to Secrets Manager.
- The secret's name is fixed by the caller: Kafka Connect's configuration refers to secrets by name.
- The value is `{"username", "password"}`; a password has letters and digits only, so it needs no escaping anywhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import pulumi_aws as aws
from pulumi import Input, InvokeOptions, Output, ResourceOptions

from components.base import Component, demand
from components.databases import Account


@dataclass(frozen=True)
class CredentialArgs:
    """`recovery_days` 0 deletes at once (then the name is free again), else 7 to 30."""

    secret_name: str
    username: str
    kms_key_arn: Input[str]
    description: str
    recovery_days: int = 30

    def __post_init__(self) -> None:
        demand(
            self,
            username=(0 < len(self.username) <= 32, f"1 to 32 characters, not {self.username!r}"),
            recovery_days=(self.recovery_days == 0 or 7 <= self.recovery_days <= 30, "0, or 7 to 30 days"),
        )


def _password(text: str | None) -> str:
    return str(json.loads(text or "{}")["password"])


class Credential(Component):
    """Outputs: `account` (the secret's name and ARN, known once it has its value), and `password`, a secret."""

    arn: Output[str]
    account: Account
    password: Output[str]

    def __init__(self, name: str, args: CredentialArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        secret = aws.secretsmanager.Secret(
            f"{name}-secret",
            name=args.secret_name,
            description=args.description,
            kms_key_id=args.kms_key_arn,
            recovery_window_in_days=args.recovery_days,
            opts=self.child(),
        )
        password = aws.secretsmanager.get_random_password_output(
            password_length=32,
            exclude_punctuation=True,
            opts=InvokeOptions(parent=self),
        )
        document: Output[str] = Output.secret(
            password.random_password.apply(lambda made: json.dumps({"username": args.username, "password": made}))
        )
        version = aws.secretsmanager.SecretVersion(
            f"{name}-value",
            secret_id=secret.id,
            secret_string=document,
            opts=self.child(ResourceOptions(ignore_changes=["secretString"])),
        )
        self.arn = Output.all(secret.arn, version.id).apply(lambda both: str(both[0]))
        self.account = Account(args.secret_name, self.arn)
        self.password = Output.secret(version.secret_string.apply(_password))
        self.register_outputs({"arn": self.arn})
