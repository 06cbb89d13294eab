"""AuroraCluster: the Aurora PostgreSQL target, one writer and its readers.

Invariants:
- Capacity is one choice, `Serverless` or `Provisioned`; the cluster's storage and endpoints are the same for both.
- No minor version moves by itself, on the cluster or on an instance, unless `Major` says that it may.
- Never public, always encrypted, TLS only; database users may also log in with IAM.
- The master account's password is RDS's own or a secret of ours, never in the configuration.
- A restored cluster stays: the snapshot it came from is looked at once, unless a restore says `renew`.
- Each replica has the same Performance Insights and enhanced monitoring, which Database Insights asks for.

Cost drivers:
- Instances: ACU hours (Serverless) or instance hours (Provisioned), each reader like the writer.
- Storage by GB and month, I/O by the million requests; `io_optimized` has dearer instances and storage, but free I/O.
- Backups beyond the size of the cluster, snapshots, and what is copied elsewhere.
- Exported logs by GB, enhanced monitoring as logs, Database Insights `advanced` by vCPU or ACU.
- The activity stream itself is free, its Kinesis stream is not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.aurora_instances import ENGINE, Instances
from components.aurora_options import (
    AUTHORITIES,
    MAX_READERS,
    Capacity,
    Provisioned,
    ReaderScaling,
    Reports,
    Version,
    streams_activity,
    upgrades,
)
from components.base import Component, demand
from components.credentials import Credential, CredentialArgs, Login, generated_password
from components.database_masters import ManagedMaster, Master, OwnMaster, rotate_managed
from components.database_monitoring import log_groups, monitoring_role
from components.database_restore import FromPointInTime, FromSnapshot, Restore, frozen_by
from components.databases import DatabaseServer, master_secret
from components.network import Endpoint, admit, security_group

PORT = 5432


@dataclass(frozen=True)
class AuroraArgs:
    """The target cluster."""

    server: DatabaseServer
    """What both databases have in common."""
    cluster_parameter_group: Input[str]
    """The cluster's parameters."""
    instance_parameter_group: Input[str]
    """Those of the writer and of the shop's readers."""
    capacity: Capacity
    """`Serverless` follows a load that nobody knows yet, `Provisioned` is cheaper for one that is always there."""
    version: Version
    """`Pinned("15.10")` or `Major("15")`; `version_policy` reads either from text."""
    readers: int = 1
    """Readers for the shop, 0 to 15; the first one also is what a failover goes to, in another zone."""
    scaling: ReaderScaling | None = None
    """More readers when there is more to read; None keeps their number."""
    reports: Reports | None = None
    """Readers for reports; None makes none, and reports go where the shop reads."""
    master: Master = field(default_factory=ManagedMaster)
    """Who keeps the master account's password: RDS, unless Blue/Green deployments are wanted."""
    restore: Restore | None = None
    """Where the data comes from; None is an empty cluster."""
    io_optimized: bool = False
    """Aurora I/O-Optimized: worth it when I/O is more than a quarter of the cluster's bill; can be changed later."""
    certificate_authority: str = AUTHORITIES[0]
    """Who signs the instances' certificates; RDS's default, whose keys all drivers know."""
    activity_stream: Literal["async", "sync"] | None = None
    """Database activity stream to Kinesis: `async` costs no latency, `sync` loses no event. None makes none."""

    def __post_init__(self) -> None:
        reports = self.reports.readers if self.reports else 0
        demand(
            self,
            readers=(
                self.readers >= 0 and self.readers + reports <= MAX_READERS,
                f"0 to {MAX_READERS - reports}, not {self.readers}",
            ),
            scaling=(
                self.scaling is None or (self.readers >= 1 and self.scaling.max_readers > self.readers + reports),
                f"needs a reader to measure, and max_readers above the {self.readers + reports} that are always there",
            ),
            certificate_authority=(
                self.certificate_authority in AUTHORITIES,
                f"{', '.join(AUTHORITIES)}, not {self.certificate_authority!r}",
            ),
            activity_stream=(
                self.activity_stream is None or streams_activity(self.capacity),
                "needs Provisioned instances of a class that is not burstable (db.t...)",
            ),
        )


def restoring(restore: Restore | None) -> dict[str, Any]:
    """The cluster's arguments for a restore."""
    match restore:
        case FromSnapshot():
            return {"snapshot_identifier": restore.identifier}
        case FromPointInTime():
            return {
                "restore_to_point_in_time": aws.rds.ClusterRestoreToPointInTimeArgs(
                    source_cluster_identifier=restore.source,
                    restore_to_time=restore.at,
                    use_latest_restorable_time=True if restore.at is None else None,
                    restore_type="full-copy",
                )
            }
    return {}


class AuroraCluster(Component):
    """The cluster with its instances and endpoints."""

    endpoint: Endpoint
    """The writer's, with the security group that lets clients in."""
    reader_host: Output[str]
    """Where the shop reads: all readers, without those for reports."""
    reports_host: Output[str] | None
    """Where reports read; None without `reports`."""
    identifier: Output[str]
    """The cluster's identifier, for snapshots and proxies."""
    arn: Output[str]
    """Its ARN, for backups and exports."""
    subnet_group: Output[str]
    """Name of its subnet group: where a restored copy can stand."""
    version: Output[str]
    """The version that really runs."""
    admin_secret_arn: Output[str]
    """ARN of the master account's secret."""
    instances: list[pulumi.Resource]
    """What must be there before a client can connect."""

    def __init__(self, name: str, args: AuroraArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        server, place = args.server, args.server.placement
        group = security_group(f"{name}-access", place.vpc_id, f"{name}: who may connect", self.child())
        admit(f"{name}-operators", group.id, PORT, place.operator_cidrs, self.child())
        subnets = aws.rds.SubnetGroup(
            f"{name}-subnets",
            subnet_ids=list(place.subnet_ids),
            description=f"{name}: data tier",
            opts=self.child(),
        )
        watch = server.monitoring
        role = monitoring_role(name, place.account_id, place.partition, self.child()) if watch.seconds else None
        cluster = aws.rds.Cluster(
            f"{name}-cluster",
            engine=ENGINE,
            engine_mode="provisioned",
            engine_version=args.version.version,
            database_name=server.database,
            master_username=server.master,
            **self._password(),
            **restoring(args.restore),
            port=PORT,
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=[group.id],
            db_cluster_parameter_group_name=args.cluster_parameter_group,
            auto_minor_version_upgrade=upgrades(args.version),
            storage_encrypted=True,
            storage_type="aurora-iopt1" if args.io_optimized else "",
            kms_key_id=place.data_key_arn,
            serverlessv2_scaling_configuration=self._scaling_configuration(),
            backup_retention_period=server.backups.days,
            preferred_backup_window=server.backups.window,
            preferred_maintenance_window=server.backups.maintenance,
            copy_tags_to_snapshot=True,
            database_insights_mode=watch.insights,
            performance_insights_enabled=True,
            performance_insights_kms_key_id=place.data_key_arn,
            performance_insights_retention_period=watch.insights_days,
            enabled_cloudwatch_logs_exports=["postgresql"],
            iam_database_authentication_enabled=True,
            deletion_protection=server.protection.deletion_protection,
            skip_final_snapshot=not server.protection.final_snapshot,
            final_snapshot_identifier=server.final_snapshot(name, subnets.name, args.restore),
            apply_immediately=server.protection.apply_immediately,
            opts=self.child(ResourceOptions(ignore_changes=self._ignored())),
        )
        self._cluster = cluster
        logs = log_groups(
            name,
            Output.concat("/aws/rds/cluster/", cluster.id),
            ["postgresql"],
            watch.log_days,
            place.logs_key_arn,
            self.child(),
        )
        made = Instances(self, name, args, cluster, subnets.name, role, logs)
        self.instances, self.reader_host, self.reports_host = made.all, made.reader_host, made.reports_host
        self.endpoint = Endpoint(cluster.endpoint, PORT, security_group_id=group.id)
        self.identifier, self.arn, self.version = cluster.id, cluster.arn, cluster.engine_version_actual
        self.subnet_group, self.admin_secret_arn = subnets.name, self._master_secret()
        self.register_outputs(
            {
                "host": cluster.endpoint,
                "readerHost": self.reader_host,
                "reportsHost": self.reports_host,
                "port": PORT,
                "identifier": self.identifier,
                "version": self.version,
                "adminSecretArn": self.admin_secret_arn,
            }
        )

    def _password(self) -> dict[str, Any]:
        """The cluster's arguments for its master account."""
        server = self._args.server
        if isinstance(self._args.master, ManagedMaster):
            return {
                "manage_master_user_password": True,
                "master_user_secret_kms_key_id": server.placement.secrets_key_arn,
            }
        return {"master_password": generated_password(self)}

    def _ignored(self) -> list[str]:
        """The first generated password is the one that counts, and what a snapshot brings is not ours to change."""
        own = ["masterPassword"] if isinstance(self._args.master, OwnMaster) else []
        return [*own, *frozen_by(self._args.restore, ["databaseName", "masterUsername"])]

    def _master_secret(self) -> Output[str]:
        """ARN of the secret with the master account, after a cluster that has it."""
        args, cluster = self._args, self._cluster
        if isinstance(args.master, ManagedMaster):
            arn = cluster.master_user_secrets.apply(master_secret)
            rotate_managed(self._name, args.master, arn, self.child())
            return arn
        return Credential(
            f"{self._name}-master",
            CredentialArgs(
                secret_name=args.master.secret_name,
                username=args.server.master,
                kms_key_arn=args.server.placement.secrets_key_arn,
                description=f"{self._name}: master account",
                recovery_days=args.master.recovery_days,
                password=cluster.master_password.apply(lambda text: text or ""),
                login=Login("postgres", cluster.endpoint, PORT, args.server.database),
                rotation=args.master.rotation,
            ),
            self.child(),
        ).arn

    def _scaling_configuration(self) -> aws.rds.ClusterServerlessv2ScalingConfigurationArgs | None:
        choice = self._args.capacity
        if isinstance(choice, Provisioned):
            return None
        return aws.rds.ClusterServerlessv2ScalingConfigurationArgs(
            min_capacity=choice.min_acu, max_capacity=choice.max_acu
        )
