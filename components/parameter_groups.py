"""ParameterGroups: what the source and the target must be set to for capture, safety and the way back.

Invariants:
- The values that capture and the cutover depend on cannot be overridden by settings.
- `rds.logical_replication` is on from the first day: it is static, and the way back to MySQL needs it.
- Groups are auto-named, so that one that must be replaced is made before the old one goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.base import Component, demand

MYSQL_REQUIRED = {
    "binlog_format": "ROW",
    "binlog_row_image": "full",
    "binlog_row_metadata": "full",
    "gtid-mode": "ON",
    "enforce_gtid_consistency": "ON",
    "require_secure_transport": "ON",
}
CLUSTER_REQUIRED = {
    "rds.logical_replication": "1",
    "rds.force_ssl": "1",
    "track_commit_timestamp": "1",
    "wal_sender_timeout": "60000",
}
INSTANCE_REQUIRED = {
    "log_min_duration_statement": "500",
}
STATIC = frozenset(
    {
        "gtid-mode",
        "enforce_gtid_consistency",
        "innodb_buffer_pool_instances",
        "performance_schema",
        "rds.logical_replication",
        "track_commit_timestamp",
        "shared_preload_libraries",
        "max_connections",
        "max_replication_slots",
        "max_wal_senders",
        "max_worker_processes",
        "shared_buffers",
    }
)
"""Parameters that a server takes over only when it restarts. `max_connections` is static for PostgreSQL only, but
waiting does no harm with MySQL."""


@dataclass(frozen=True)
class ParameterGroupsArgs:
    """Versions as RDS names them (`8.4`, `15`, `15.10`). The mappings add parameters to the required ones.

    `mysql_version` None makes no group for the source: it is an existing server.
    """

    aurora_version: str
    mysql_version: str | None = None
    mysql: Mapping[str, str] = field(default_factory=dict)
    aurora: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        demand(
            self,
            mysql=(not set(self.mysql) & set(MYSQL_REQUIRED), _fixed(self.mysql, MYSQL_REQUIRED)),
            aurora=(
                not set(self.aurora) & {*CLUSTER_REQUIRED, *INSTANCE_REQUIRED},
                _fixed(self.aurora, {**CLUSTER_REQUIRED, **INSTANCE_REQUIRED}),
            ),
        )


def _fixed(given: Mapping[str, str], required: Mapping[str, str]) -> str:
    return f"{', '.join(sorted(set(given) & set(required)))} cannot be set: the migration depends on its value"


def apply_method(parameter: str) -> str:
    return "pending-reboot" if parameter in STATIC else "immediate"


def mysql_family(version: str) -> str:
    """`8.4`, `8.4.6` -> `mysql8.4`."""
    return "mysql" + ".".join(version.split(".")[:2])


def aurora_family(version: str) -> str:
    """`15`, `15.10` -> `aurora-postgresql15`."""
    return "aurora-postgresql" + version.split(".")[0]


class ParameterGroups(Component):
    """Outputs: the groups' names; `mysql` is None where the source is an existing server."""

    mysql: Output[str] | None
    aurora_cluster: Output[str]
    aurora_instance: Output[str]

    def __init__(self, name: str, args: ParameterGroupsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self.mysql = None
        if args.mysql_version is not None:
            self.mysql = aws.rds.ParameterGroup(
                f"{name}-mysql",
                family=mysql_family(args.mysql_version),
                description=f"{name}: source MySQL",
                parameters=[
                    aws.rds.ParameterGroupParameterArgs(name=key, value=value, apply_method=apply_method(key))
                    for key, value in sorted({**args.mysql, **MYSQL_REQUIRED}.items())
                ],
                opts=self.child(),
            ).name
        family = aurora_family(args.aurora_version)
        self.aurora_cluster = aws.rds.ClusterParameterGroup(
            f"{name}-aurora-cluster",
            family=family,
            description=f"{name}: Aurora cluster",
            parameters=[
                aws.rds.ClusterParameterGroupParameterArgs(name=key, value=value, apply_method=apply_method(key))
                for key, value in sorted(CLUSTER_REQUIRED.items())
            ],
            opts=self.child(),
        ).name
        self.aurora_instance = aws.rds.ParameterGroup(
            f"{name}-aurora-instance",
            family=family,
            description=f"{name}: Aurora instances",
            parameters=[
                aws.rds.ParameterGroupParameterArgs(name=key, value=value, apply_method=apply_method(key))
                for key, value in sorted({**args.aurora, **INSTANCE_REQUIRED}.items())
            ],
            opts=self.child(),
        ).name
        self.register_outputs(
            {
                "mysql": self.mysql,
                "auroraCluster": self.aurora_cluster,
                "auroraInstance": self.aurora_instance,
            }
        )
