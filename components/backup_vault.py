"""BackupVault: where recovery points are kept, under a customer key, out of everybody's reach but the clock's.

Invariants:
- Nobody deletes a recovery point or shortens its life by hand; the vault's policy denies it to everyone. Only its
  retention ends it.
- With a lock, no plan can keep a recovery point for shorter or longer than the lock says.

Cost drivers:
- Recovery points by the GiB and month. RDS and Aurora snapshots are incremental within a region; the first copy into
  another vault is full.
- The vault, its policy and its lock cost nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.policies import document, statement


@dataclass(frozen=True)
class VaultLock:
    """What no backup plan, and in compliance mode no administrator, can undercut."""

    mode: Literal["governance", "compliance"]
    """Governance: who may delete the lock's configuration can lift it. Compliance: nobody can, not even AWS, once the
    grace is over; the vault then stays until its last recovery point has expired."""
    min_days: int
    """Days that a recovery point must be kept for at the least."""
    max_days: int
    """Days that it may be kept for at the most: so a mistake does not keep personal data for ever."""
    grace_days: int = 3
    """Compliance only: days in which the lock can still be lifted. The least that AWS takes, 3."""

    def __post_init__(self) -> None:
        demand(
            self,
            mode=(self.mode in ("governance", "compliance"), f"governance or compliance, not {self.mode!r}"),
            min_days=(1 <= self.min_days <= 36500, f"1 to 36500, not {self.min_days}"),
            max_days=(self.min_days <= self.max_days <= 36500, f"min_days to 36500, not {self.max_days}"),
            grace_days=(3 <= self.grace_days <= 36500, f"3 to 36500, not {self.grace_days}"),
        )

    def allows(self, days: int) -> bool:
        return self.min_days <= days <= self.max_days


@dataclass(frozen=True)
class VaultArgs:
    """Arguments of `BackupVault`."""

    vault_name: str
    """The vault's name, unique in its account and region."""
    key_arn: Input[str]
    """Customer key of recovery points. AWS's own would do, but no other account can copy what it encrypts."""
    keep: bool = True
    """Whether a vault with recovery points refuses to be deleted. The default; false deletes them first."""
    lock: VaultLock | None = None
    """Lock of the vault; none by default, since a mistake in it is there to stay."""

    def __post_init__(self) -> None:
        name = re.fullmatch(r"[A-Za-z0-9_-]{2,50}", self.vault_name)
        demand(
            self,
            vault_name=(name is not None, f"2 to 50 letters, digits, hyphens and underscores, not {self.vault_name!r}"),
            keep=(
                self.keep or self.lock is None or self.lock.mode == "governance",
                "a locked vault (compliance) cannot be emptied: keep it, or lock it in mode governance",
            ),
        )


def vault_policy() -> str:
    """Denies everybody what would end a recovery point before its time."""
    return document(
        statement(
            "OnlyTimeEndsBackups",
            [
                "backup:DeleteRecoveryPoint",
                "backup:DisassociateRecoveryPoint",
                "backup:UpdateRecoveryPointLifecycle",
            ],
            ["*"],
            effect="Deny",
            principal="*",
        )
    )


class BackupVault(Component):
    """The vault with its policy and its lock."""

    name: Output[str]
    """The vault's name, known once its policy stands."""
    arn: Output[str]
    """The vault's ARN, known once its policy stands."""

    def __init__(self, name: str, args: VaultArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        vault = aws.backup.Vault(
            f"{name}-vault",
            name=args.vault_name,
            kms_key_arn=args.key_arn,
            force_destroy=not args.keep,
            opts=self.child(),
        )
        guards: list[pulumi.Resource] = [
            aws.backup.VaultPolicy(
                f"{name}-policy", backup_vault_name=vault.name, policy=vault_policy(), opts=self.child()
            )
        ]
        if args.lock is not None:
            guards.append(
                aws.backup.VaultLockConfiguration(
                    f"{name}-lock",
                    backup_vault_name=vault.name,
                    min_retention_days=args.lock.min_days,
                    max_retention_days=args.lock.max_days,
                    # Without it the lock is one of governance.
                    changeable_for_days=args.lock.grace_days if args.lock.mode == "compliance" else None,
                    # Any change replaces it, and a vault has one lock: the old one's end must not end the new one.
                    opts=self.child(ResourceOptions(delete_before_replace=True)),
                )
            )
        self.name = Output.all(vault.name, *(guard.urn for guard in guards)).apply(lambda known: str(known[0]))
        self.arn = Output.all(vault.arn, *(guard.urn for guard in guards)).apply(lambda known: str(known[0]))
        self.register_outputs({"name": self.name, "arn": self.arn})
