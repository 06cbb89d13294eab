"""Credential: one database account's name and generated password, in Secrets Manager.

Invariants:
- The password is made once, at creation; a later `up` leaves it alone, so that rotation belongs to Secrets Manager.
- The secret's name is fixed by the caller: Kafka Connect's configuration refers to secrets by name.
- The value has `username` and `password`, and with `login` what a rotation needs to log in; a password has letters and
  digits only, so it needs no escaping anywhere.

Cost drivers:
- Each secret by the month, and each 10,000 reads of it; a rotation adds the Lambda's runs.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi import Input, InvokeOptions, Output, ResourceOptions

from components.base import Component, demand
from components.databases import Account

_LAMBDA = r"arn:[\w-]+:lambda:[a-z0-9-]+:\d{12}:function:[\w-]{1,64}(:[\w$-]+)?"


@dataclass(frozen=True)
class Rotation:
    """A Lambda function that changes a secret and the account in the database with it."""

    lambda_arn: str
    """ARN of the function. It stands in the VPC, may reach the database, and allows Secrets Manager to invoke it."""
    days: int = 30
    """Days between rotations, 1 to 1000; 30 stays well within PCI-DSS's 90."""

    def __post_init__(self) -> None:
        demand(
            self,
            lambda_arn=(
                re.fullmatch(_LAMBDA, self.lambda_arn) is not None,
                f"the ARN of a Lambda function, not {self.lambda_arn!r}",
            ),
            days=(1 <= self.days <= 1000, f"1 to 1000, not {self.days}"),
        )


@dataclass(frozen=True)
class Login:
    """Where an account logs in, in the words of AWS's rotation templates."""

    engine: str
    """`mysql` or `postgres`."""
    host: Input[str]
    """Host of the database."""
    port: int
    """Its port."""
    database: str
    """Name of the database."""

    def __post_init__(self) -> None:
        demand(self, engine=(self.engine in ("mysql", "postgres"), f"mysql or postgres, not {self.engine!r}"))


@dataclass(frozen=True)
class CredentialArgs:
    """Whose secret, under which name."""

    secret_name: str
    """Name of the secret, unique in account and region."""
    username: str
    """Name of the account, up to 32 characters (MySQL's limit)."""
    kms_key_arn: Input[str]
    """Key that encrypts the value."""
    description: str
    """What the account is for."""
    recovery_days: int = 30
    """How long a deleted secret can be brought back: 0 (then the name is free at once), or 7 to 30."""
    password: Input[str] | None = None
    """A password that the database already has; None generates one of 32 letters and digits."""
    login: Login | None = None
    """Where the account logs in; a rotation needs it, others find the database elsewhere."""
    rotation: Rotation | None = None
    """Who rotates it; None leaves it alone, so that no connector loses its connection in the middle of the copy."""

    def __post_init__(self) -> None:
        demand(
            self,
            username=(0 < len(self.username) <= 32, f"1 to 32 characters, not {self.username!r}"),
            recovery_days=(self.recovery_days == 0 or 7 <= self.recovery_days <= 30, "0, or 7 to 30 days"),
            login=(self.login is not None or self.rotation is None, "needed with rotation"),
        )


def secret_value(username: str, password: str, login: Login | None = None, host: str = "") -> str:
    """The secret's text: what every client reads, and what AWS's rotation templates need besides."""
    value: dict[str, str | int] = {"username": username, "password": password}
    if login is not None:
        value |= {"engine": login.engine, "host": host, "port": login.port, "dbname": login.database}
    return json.dumps(value)


def _password(text: str | None) -> str:
    return str(json.loads(text or "{}")["password"])


def generated_password(parent: pulumi.Resource) -> Output[str]:
    """A new password in each run of the program: whoever takes it keeps the first one by ignoring changes."""
    made = aws.secretsmanager.get_random_password_output(
        password_length=32, exclude_punctuation=True, opts=InvokeOptions(parent=parent)
    )
    return Output.secret(made.random_password)


class Credential(Component):
    """One account's secret."""

    arn: Output[str]
    """The secret's ARN, known once it has its value."""
    account: Account
    """Its name and ARN, for those who log in with it."""
    password: Output[str]
    """The password as it was made, a secret value."""

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
        password = generated_password(self) if args.password is None else args.password
        host: Input[str] = args.login.host if args.login else ""
        document: Output[str] = Output.secret(
            Output.all(password, host).apply(lambda v: secret_value(args.username, v[0], args.login, v[1]))
        )
        version = aws.secretsmanager.SecretVersion(
            f"{name}-value",
            secret_id=secret.id,
            secret_string=document,
            # A given password is stable, and a new one comes with a new server: that one must replace the value.
            opts=self.child(ResourceOptions(ignore_changes=["secretString"] if args.password is None else [])),
        )
        if args.rotation is not None:
            aws.secretsmanager.SecretRotation(
                f"{name}-rotation",
                secret_id=secret.id,
                rotation_lambda_arn=args.rotation.lambda_arn,
                rotate_immediately=False,
                rotation_rules=aws.secretsmanager.SecretRotationRotationRulesArgs(
                    automatically_after_days=args.rotation.days
                ),
                opts=self.child(ResourceOptions(depends_on=[version])),
            )
        self.arn = Output.all(secret.arn, version.id).apply(lambda both: str(both[0]))
        self.account = Account(args.secret_name, self.arn)
        self.password = Output.secret(version.secret_string.apply(_password))
        self.register_outputs({"arn": self.arn})
