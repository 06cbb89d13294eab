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
    "network": {"zones": 3, "endpoints": True, "flow_logs": "all"},
    "source": {"binlog_hours": 336},
    "aurora": {
        "min_acu": 8.0,
        "max_acu": 128.0,
        "readers": 2,
        "max_readers": 5,
        "report_readers": 1,
        "proxy": True,
        "insights": "advanced",
        "monitoring_seconds": 15,
    },
    "backups": {"days": 14, "vault": True, "keep_days": 35, "lock": "governance", "restore_tests": True},
    "archive": {"enabled": True, "lock": "governance"},
    "kafka": {
        "instance_type": "kafka.m7g.xlarge",
        "brokers_per_zone": 2,
        "volume_gib": 7500,
        "grow_to_gib": 10000,
        "monitoring": "PER_TOPIC_PER_BROKER",
        "exporters": True,
        "log_archive": True,
    },
    "cdc": {"source_units": 4, "sink_units": 4, "sink_tasks": 8},
    "dms": {"instance_class": "dms.r6i.2xlarge", "storage_gib": 500, "multi_az": True, "min_units": 4, "max_units": 32},
    "sizing": {"data_gib": 8192.0, "change_gib_per_day": 100.0, "copy_mib_per_second": 100.0, "rollback_hours": 168.0},
    "service": {
        "repository": True,
        "count": 10,
        "max_count": 30,
        "requests_per_second": 500,
        "cpu": 2048,
        "memory": 4096,
        "standby": True,
    },
    "router": {"firewall": True, "tasks": 4, "cpu": 1024, "memory": 2048},
    "observability": {"prometheus": True},
    "security": {"firewall": "block", "access_logs": True},
    "cost": {
        "budgets": True,
        "estimate_monthly_usd": 4160.0,
        "usage": {
            "storage_gib": 8192.0,
            "io_millions": 1300.0,  # one in ten of 5,000 queries a second
            "balancer_units": 10.0,
            "requests_millions": 500.0,
            "internet_gib": 1500.0,
            "nat_gib": 500.0,
            "s3_gib": 500.0,
            "archive_gib": 2048.0,
            "logs_gib": 200.0,
            "licences_usd": 250.0,
            "support_usd": 1000.0,
        },
    },
    "kpis": {"throughput_per_second": 5000.0},
    "promotion": {"window": "Tue-Thu 02:00-04:00 Asia/Ho_Chi_Minh"},
}

STAGING_SCALE = 0.25
"""Staging's sizes by production's."""

SIZES: Mapping[str, tuple[str, ...]] = {
    "aurora": ("min_acu", "max_acu"),
    "kafka": ("volume_gib", "grow_to_gib"),
    "cdc": ("source_units", "sink_units", "sink_tasks"),
    "dms": ("storage_gib", "min_units", "max_units"),
    "sizing": ("data_gib", "change_gib_per_day", "copy_mib_per_second"),
    "service": ("count", "max_count"),
    "router": ("tasks",),
    "cost": ("estimate_monthly_usd",),
    "kpis": ("throughput_per_second",),
}

STAGING: Defaults = {
    "source": {
        "instance_class": "db.r7g.large",
        "storage_gib": 2600,
        "binlog_hours": 168,  # the most that RDS keeps
    },
    "aurora": {"insights": "standard", "monitoring_seconds": 60},
    "backups": {"days": 7, "keep_days": 14, "lock": "off"},
    "archive": {"lock": "off"},
    "kafka": {"instance_type": "kafka.m7g.large"},
    "sizing": {"rollback_hours": 72.0},
    "router": {"firewall": False},  # the zone's rules are production's
    "promotion": {"window": ""},
    "cost": {
        "usage": {
            "storage_gib": 2048.0,
            "io_millions": 100.0,
            "requests_millions": 10.0,
            "internet_gib": 50.0,
            "nat_gib": 100.0,
            "s3_gib": 100.0,
            "logs_gib": 20.0,
        },
    },
}
"""What does not scale by a number: classes, and what keeps data from being thrown away."""


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
