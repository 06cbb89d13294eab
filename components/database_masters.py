"""Who has the master account's password: RDS, or a secret of ours. One choice, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.base import demand
from components.credentials import Rotation


@dataclass(frozen=True)
class ManagedMaster:
    """RDS makes, keeps and rotates the master account's secret. Excludes Blue/Green deployments."""

    rotation_days: int = 7
    """Days between rotations, 1 to 1000; seven is what RDS does by itself."""

    def __post_init__(self) -> None:
        demand(self, rotation_days=(1 <= self.rotation_days <= 1000, f"1 to 1000, not {self.rotation_days}"))


@dataclass(frozen=True)
class OwnMaster:
    """A secret of ours for the master account: for Blue/Green deployments, which exclude a managed one."""

    secret_name: str
    """Name of the secret; its value has what AWS's rotation templates need."""
    rotation: Rotation | None = None
    """Who rotates it; None leaves the first password in place, which an audit will not like."""
    recovery_days: int = 30
    """How long a deleted secret can be brought back: 0 (then the name is free at once), or 7 to 30."""

    def __post_init__(self) -> None:
        demand(
            self,
            secret_name=(bool(self.secret_name), "a name, such as zdm-dev/aurora-master"),
            recovery_days=(self.recovery_days == 0 or 7 <= self.recovery_days <= 30, "0, or 7 to 30 days"),
        )


Master = ManagedMaster | OwnMaster


def rotate_managed(name: str, master: ManagedMaster, secret_arn: Output[str], opts: ResourceOptions) -> None:
    """How often RDS rotates the secret it keeps; nothing to make for its own seven days."""
    if master != ManagedMaster():
        aws.secretsmanager.SecretRotation(
            f"{name}-master-rotation",
            secret_id=secret_arn,
            rotate_immediately=False,
            rotation_rules=aws.secretsmanager.SecretRotationRotationRulesArgs(
                automatically_after_days=master.rotation_days
            ),
            opts=opts,
        )
