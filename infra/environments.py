"""What an environment decides: the defaults of its settings, and what no setting can weaken.

`PROD` says what production is. Staging is production at a stated scale: the same zones, options and versions, with each
size in `SIZES` multiplied by `STAGING_SCALE`. Dev is small and cheap: the defaults of `groups.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Environment = Literal["dev", "staging", "prod"]
Defaults = Mapping[str, Any]

PROD: Defaults = {
    "network": {"zones": 3},
    "aurora": {"min_acu": 8.0, "max_acu": 128.0, "readers": 2},
    "kafka": {"instance_type": "kafka.m7g.xlarge", "volume_gib": 1000, "topic_retention_hours": 336},
    "cdc": {"connect_units": 4, "sink_tasks": 8},
    "service": {"count": 6, "cpu": 2048, "memory": 4096},
    "kpis": {"throughput_per_second": 5000.0},
}

STAGING_SCALE = 0.25
"""Staging's sizes by production's."""

SIZES: Mapping[str, tuple[str, ...]] = {
    "aurora": ("min_acu", "max_acu"),
    "kafka": ("volume_gib",),
    "cdc": ("connect_units", "sink_tasks"),
    "service": ("count",),
    "kpis": ("throughput_per_second",),
}

STAGING: Defaults = {
    "source": {"instance_class": "db.r7g.large", "storage_gib": 200},
    "kafka": {"instance_type": "kafka.m7g.large"},
    "service": {"cpu": 1024, "memory": 2048},
}
"""What does not scale by a number."""


def _scaled(defaults: Defaults, sizes: Mapping[str, tuple[str, ...]], scale: float) -> dict[str, Any]:
    """The defaults with each size multiplied, whole numbers rounded up."""
    return {
        group: {
            name: (math.ceil(value * scale) if isinstance(value, int) else value * scale)
            if name in sizes.get(group, ())
            else value
            for name, value in settings.items()
        }
        for group, settings in defaults.items()
    }


def _merged(base: Defaults, over: Defaults) -> dict[str, Any]:
    return {group: {**base.get(group, {}), **over.get(group, {})} for group in {**base, **over}}


DEFAULTS: Mapping[str, Defaults] = {
    "dev": {},
    "staging": _merged(_scaled(PROD, SIZES, STAGING_SCALE), STAGING),
    "prod": PROD,
}


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
