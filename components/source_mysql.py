"""SourceMySQL: the MySQL 8 server that dev and staging migrate from. Production names its own server instead.

Invariants:
- The binary log stays: automatic backups are always on (without them RDS keeps no binary log).
- How long the binary log stays is no parameter of RDS but a call to the server, made when accounts are made:
  `CALL mysql.rds_set_configuration('binlog retention hours', n)`. It must outlast the copy.
- Never public, always encrypted; the master account's password is made, kept and rotated by RDS.
- A restored server stays: the snapshot it came from is looked at once, unless the restore says `renew`.

Cost drivers:
- Instance hours, twice with `multi_az`; storage by GB and month (gp3), which grows by itself and never shrinks.
- Backups beyond the size of the storage; kept binary logs lie in the storage too.
- Exported logs by GB, enhanced monitoring as logs, Database Insights `advanced` by vCPU.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.database_masters import ManagedMaster, rotate_managed
from components.database_monitoring import log_groups, monitoring_role
from components.database_restore import FromPointInTime, FromSnapshot, Restore, frozen_by
from components.databases import DatabaseServer, master_secret
from components.network import Endpoint, admit, security_group

PORT = 3306
LOGS = ("error", "slowquery")


@dataclass(frozen=True)
class SourceMySQLArgs:
    """The server to migrate from."""

    server: DatabaseServer
    """What both databases have in common."""
    parameter_group: Input[str]
    """The server's parameters: what capture needs is among them."""
    version: str = "8.4"
    """A series (`8.0`, `8.4`): RDS takes its newest at creation, and nothing upgrades it later; or an exact version."""
    instance_class: str = "db.t4g.medium"
    """The smallest class with the 4 GiB that a buffer pool and a binary log reader want."""
    storage_gib: int = 20
    """Storage at creation, 20 GiB (RDS's least) to 65536."""
    storage_limit_gib: int = 100
    """How far storage grows by itself; binary logs kept for the copy need their room."""
    multi_az: bool = True
    """Whether a standby in another zone takes over; GTIDs let capture go on there."""
    master: ManagedMaster = field(default_factory=ManagedMaster)
    """How often RDS rotates the master account's password."""
    restore: Restore | None = None
    """Where the data comes from: staging takes production's snapshot; None is an empty server."""

    def __post_init__(self) -> None:
        demand(
            self,
            version=(self.version.startswith(("8.0", "8.4")), f"8.0 or 8.4, not {self.version}"),
            instance_class=(
                re.fullmatch(r"db\.[a-z0-9]+\.(?!micro|small)[a-z0-9]+", self.instance_class) is not None,
                f"such as db.t4g.medium (micro and small have no Performance Insights), not {self.instance_class}",
            ),
            storage_gib=(20 <= self.storage_gib <= 65536, f"20 to 65536 GiB, not {self.storage_gib}"),
            storage_limit_gib=(self.storage_limit_gib >= self.storage_gib, "at least storage_gib"),
        )


def restoring(restore: Restore | None) -> dict[str, Any]:
    """The server's arguments for a restore."""
    match restore:
        case FromSnapshot():
            return {"snapshot_identifier": restore.identifier}
        case FromPointInTime():
            return {
                "restore_to_point_in_time": aws.rds.InstanceRestoreToPointInTimeArgs(
                    source_db_instance_identifier=restore.source,
                    restore_time=restore.at,
                    use_latest_restorable_time=True if restore.at is None else None,
                )
            }
    return {}


class SourceMySQL(Component):
    """The server."""

    endpoint: Endpoint
    """Where it listens, with the security group that lets clients in."""
    identifier: Output[str]
    """Its identifier, for snapshots."""
    arn: Output[str]
    """Its ARN, for backups."""
    admin_secret_arn: Output[str]
    """ARN of the master account's secret."""
    ready: list[pulumi.Resource]
    """What must be there before a client can connect."""

    def __init__(self, name: str, args: SourceMySQLArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        server, place, watch = args.server, args.server.placement, args.server.monitoring
        group = security_group(f"{name}-access", place.vpc_id, f"{name}: who may connect", self.child())
        admit(f"{name}-operators", group.id, PORT, place.operator_cidrs, self.child())
        subnets = aws.rds.SubnetGroup(
            f"{name}-subnets",
            subnet_ids=list(place.subnet_ids),
            description=f"{name}: data tier",
            opts=self.child(),
        )
        role = monitoring_role(name, place.account_id, place.partition, self.child()) if watch.seconds else None
        # RDS exports logs from the first moment on: their groups, and so the identifier, are there before the server.
        self.identifier = subnets.name.apply(lambda made: made.replace("-subnets", "-server"))
        stem = Output.concat("/aws/rds/instance/", self.identifier)
        logs = log_groups(name, stem, LOGS, watch.log_days, place.logs_key_arn, self.child())
        instance = aws.rds.Instance(
            f"{name}-server",
            identifier=self.identifier,
            engine="mysql",
            engine_version=args.version,
            instance_class=args.instance_class,
            db_name=server.database,
            username=server.master,
            manage_master_user_password=True,
            master_user_secret_kms_key_id=place.secrets_key_arn,
            **restoring(args.restore),
            port=PORT,
            allocated_storage=args.storage_gib,
            max_allocated_storage=args.storage_limit_gib,
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=place.data_key_arn,
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=[group.id],
            publicly_accessible=False,
            multi_az=args.multi_az,
            parameter_group_name=args.parameter_group,
            auto_minor_version_upgrade=False,
            backup_retention_period=server.backups.days,
            backup_window=server.backups.window,
            maintenance_window=server.backups.maintenance,
            copy_tags_to_snapshot=True,
            database_insights_mode=watch.insights,
            performance_insights_enabled=True,
            performance_insights_kms_key_id=place.data_key_arn,
            performance_insights_retention_period=watch.insights_days,
            monitoring_interval=watch.seconds,
            monitoring_role_arn=role,
            enabled_cloudwatch_logs_exports=list(LOGS),
            iam_database_authentication_enabled=True,
            deletion_protection=server.protection.deletion_protection,
            skip_final_snapshot=not server.protection.final_snapshot,
            final_snapshot_identifier=server.final_snapshot(name, subnets.name, args.restore),
            apply_immediately=server.protection.apply_immediately,
            opts=self.child(
                ResourceOptions(depends_on=logs, ignore_changes=frozen_by(args.restore, ["dbName", "username"]))
            ),
        )
        self.ready = [instance]
        self.endpoint = Endpoint(instance.address, PORT, security_group_id=group.id)
        self.arn = instance.arn
        self.admin_secret_arn = instance.master_user_secrets.apply(master_secret)
        rotate_managed(name, args.master, self.admin_secret_arn, self.child())
        self.register_outputs(
            {
                "host": instance.address,
                "port": PORT,
                "identifier": self.identifier,
                "adminSecretArn": self.admin_secret_arn,
            }
        )
