"""ParameterGroups: what the source and the target must be set to, in each phase of the migration.

Invariants:
- The values that capture, safety and the way back depend on are in every profile and cannot be overridden.
- `rds.logical_replication` is on from the first day: it is static, and the way back to MySQL needs it.
- A change of profile is made in place: new values are set, and those of the former profile are reset.
- Triggers and foreign keys are never off in a group (`session_replication_role`), commits never asynchronous.
- Groups are auto-named, so that one that must be replaced is made before the old one goes.

Cost drivers:
- Parameter groups are free. `work_mem` and `max_connections` decide how much memory, and so how many ACUs or which
  instance class, the cluster needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.base import Component, demand
from components.parameter_profiles import (
    PROFILE_NAMES,
    ProfileName,
    cluster_values,
    instance_values,
    mysql_refused,
    mysql_values,
    refused,
    report_values,
)

STATIC = frozenset(
    {
        "gtid-mode",
        "enforce_gtid_consistency",
        "innodb_buffer_pool_instances",
        "performance_schema",
        "rds.logical_replication",
        "track_commit_timestamp",
        "shared_preload_libraries",
        "autovacuum_max_workers",
        "max_connections",
        "max_locks_per_transaction",
        "max_prepared_transactions",
        "max_replication_slots",
        "max_wal_senders",
        "max_worker_processes",
        "pg_stat_statements.max",
        "shared_buffers",
        "track_activity_query_size",
    }
)
"""Parameters that a server takes over only when it restarts. `max_connections` is static for PostgreSQL only, but
waiting does no harm with MySQL."""


@dataclass(frozen=True)
class ParameterGroupsArgs:
    """Whose groups, in which phase."""

    aurora_version: str
    """Aurora PostgreSQL's version, `15` or `15.10`: the family is its major version's."""
    mysql_version: str | None = None
    """MySQL's version, `8.4` or `8.4.6`; None makes no group for the source, because it is an existing server."""
    profile: ProfileName = "cdc"
    """The phase: `load`, `cdc` or `steady`. `cdc` by default, because it also does for the other two, only slower."""
    mysql: Mapping[str, str] = field(default_factory=dict)
    """More parameters of the source's group; the required ones are refused."""
    aurora: Mapping[str, str] = field(default_factory=dict)
    """More parameters of Aurora's groups, or other values than the profile's; the required ones are refused."""
    max_connections: int | None = None
    """Connections of each Aurora instance; None is Aurora's own formula, memory / 9531392 and at most 5000."""
    reports: bool = False
    """Whether there are readers for reports, which get a group of their own."""

    def __post_init__(self) -> None:
        mysql, aurora = mysql_refused(self.mysql), refused(self.aurora)
        twice = self.max_connections is not None and "max_connections" in self.aurora
        demand(
            self,
            profile=(self.profile in PROFILE_NAMES, f"{', '.join(PROFILE_NAMES)}, not {self.profile!r}"),
            mysql=(not mysql, "; ".join(mysql)),
            aurora=(not aurora, "; ".join(aurora)),
            max_connections=(
                not twice and (self.max_connections is None or 50 <= self.max_connections <= 262143),
                "50 to 262143, and not in aurora as well",
            ),
        )

    @property
    def given(self) -> dict[str, str]:
        """The settings' own values for Aurora."""
        more = {} if self.max_connections is None else {"max_connections": str(self.max_connections)}
        return {**self.aurora, **more}


def apply_method(parameter: str) -> str:
    return "pending-reboot" if parameter in STATIC else "immediate"


def mysql_family(version: str) -> str:
    """`8.4`, `8.4.6` -> `mysql8.4`."""
    return "mysql" + ".".join(version.split(".")[:2])


def aurora_family(version: str) -> str:
    """`15`, `15.10` -> `aurora-postgresql15`."""
    return "aurora-postgresql" + version.split(".")[0]


class ParameterGroups(Component):
    """The groups of the source, of Aurora's cluster and of its instances."""

    mysql: Output[str] | None
    """Name of the source's group; None where the source is an existing server."""
    aurora_cluster: Output[str]
    """Name of the cluster's group."""
    aurora_instance: Output[str]
    """Name of the group of the writer and of the shop's readers."""
    aurora_reports: Output[str] | None
    """Name of the group of the readers for reports; None without them."""

    def __init__(self, name: str, args: ParameterGroupsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        family, given = aurora_family(args.aurora_version), args.given
        self.mysql = None
        if args.mysql_version is not None:
            source = mysql_family(args.mysql_version)
            self.mysql = self._group(f"{name}-mysql", source, f"{name}: source MySQL", mysql_values(args.mysql))
        self.aurora_cluster = aws.rds.ClusterParameterGroup(
            f"{name}-aurora-cluster",
            family=family,
            description=f"{name}: Aurora cluster",
            parameters=[
                aws.rds.ClusterParameterGroupParameterArgs(name=key, value=value, apply_method=apply_method(key))
                for key, value in sorted(cluster_values(args.profile, given).items())
            ],
            opts=self.child(),
        ).name
        self.aurora_instance = self._group(
            f"{name}-aurora-instance", family, f"{name}: Aurora instances", instance_values(args.profile, given)
        )
        self.aurora_reports = None
        if args.reports:
            self.aurora_reports = self._group(
                f"{name}-aurora-reports", family, f"{name}: Aurora readers for reports", report_values(given)
            )
        self.register_outputs(
            {
                "mysql": self.mysql,
                "auroraCluster": self.aurora_cluster,
                "auroraInstance": self.aurora_instance,
                "auroraReports": self.aurora_reports,
            }
        )

    def _group(self, name: str, family: str, description: str, values: Mapping[str, str]) -> Output[str]:
        return aws.rds.ParameterGroup(
            name,
            family=family,
            description=description,
            parameters=[
                aws.rds.ParameterGroupParameterArgs(name=key, value=value, apply_method=apply_method(key))
                for key, value in sorted(values.items())
            ],
            opts=self.child(),
        ).name
