"""SourceMySQL: the MySQL 8 server that dev and staging migrate from. Production names its own server instead.

Invariants:
- The binary log stays: automatic backups are always on (without them RDS keeps no binary log).
- Never public, always encrypted; the master account's password is made, kept and rotated by RDS.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.databases import DatabaseServer, master_secret
from components.network import Endpoint, admit, security_group

PORT = 3306


@dataclass(frozen=True)
class SourceMySQLArgs:
    """`version` may be a whole series (`8.4`): then RDS takes its newest at creation, and nothing upgrades it later."""

    server: DatabaseServer
    parameter_group: Input[str]
    version: str = "8.4"
    instance_class: str = "db.t4g.medium"
    storage_gib: int = 20
    storage_limit_gib: int = 100
    multi_az: bool = True

    def __post_init__(self) -> None:
        demand(
            self,
            version=(self.version.startswith(("8.0", "8.4")), f"8.0 or 8.4, not {self.version}"),
            instance_class=(self.instance_class.startswith("db."), f"begins with db., not {self.instance_class}"),
            storage_gib=(20 <= self.storage_gib <= 65536, f"20 to 65536 GiB, not {self.storage_gib}"),
            storage_limit_gib=(self.storage_limit_gib >= self.storage_gib, "at least storage_gib"),
        )


class SourceMySQL(Component):
    """Outputs: `endpoint`, and the ARN of the master account's secret."""

    endpoint: Endpoint
    admin_secret_arn: Output[str]

    def __init__(self, name: str, args: SourceMySQLArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        server, place = args.server, args.server.placement
        group = security_group(f"{name}-access", place.vpc_id, f"{name}: who may connect", self.child())
        admit(f"{name}-operators", group.id, PORT, place.operator_cidrs, self.child())
        subnets = aws.rds.SubnetGroup(
            f"{name}-subnets",
            subnet_ids=list(place.subnet_ids),
            description=f"{name}: data tier",
            opts=self.child(),
        )
        instance = aws.rds.Instance(
            f"{name}-server",
            engine="mysql",
            engine_version=args.version,
            instance_class=args.instance_class,
            db_name=server.database,
            username=server.master,
            manage_master_user_password=True,
            master_user_secret_kms_key_id=place.secrets_key_arn,
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
            enabled_cloudwatch_logs_exports=["error", "slowquery"],
            iam_database_authentication_enabled=True,
            deletion_protection=server.protection.deletion_protection,
            skip_final_snapshot=not server.protection.final_snapshot,
            final_snapshot_identifier=server.final_snapshot(name, subnets.name),
            apply_immediately=server.protection.apply_immediately,
            opts=self.child(),
        )
        self.endpoint = Endpoint(instance.address, PORT, security_group_id=group.id)
        self.admin_secret_arn = instance.master_user_secrets.apply(master_secret)
        self.register_outputs({"host": instance.address, "port": PORT, "adminSecretArn": self.admin_secret_arn})
