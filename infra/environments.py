"""What an environment decides and no setting can weaken: protection against loss, redundancy, how long things stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Environment = Literal["dev", "staging", "prod"]


@dataclass(frozen=True)
class Posture:
    """`key_days` and `secret_days`: how long a deleted key or secret can be brought back (secrets: 0 is not at all)."""

    deletion_protection: bool
    final_snapshot: bool
    apply_immediately: bool
    nat_per_zone: bool
    multi_az: bool
    keep_buckets: bool
    log_days: int
    key_days: int
    secret_days: int


POSTURES: dict[Environment, Posture] = {
    # Small, cheap, gone without a trace.
    "dev": Posture(
        deletion_protection=False,
        final_snapshot=False,
        apply_immediately=True,
        nat_per_zone=False,
        multi_az=False,
        keep_buckets=False,
        log_days=7,
        key_days=7,
        secret_days=0,
    ),
    # Production's shape, but replaceable: it is made anew from production's snapshots.
    "staging": Posture(
        deletion_protection=False,
        final_snapshot=False,
        apply_immediately=True,
        nat_per_zone=True,
        multi_az=True,
        keep_buckets=False,
        log_days=30,
        key_days=7,
        secret_days=7,
    ),
    "prod": Posture(
        deletion_protection=True,
        final_snapshot=True,
        apply_immediately=False,
        nat_per_zone=True,
        multi_az=True,
        keep_buckets=True,
        log_days=365,
        key_days=30,
        secret_days=30,
    ),
}
