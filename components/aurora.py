"""AuroraCluster: the Aurora PostgreSQL target, one writer and its readers.

Invariants:
- Capacity is one choice, `Serverless` or `Provisioned`; the cluster's storage and endpoints are the same for both.
- No minor version moves by itself, on the cluster or on an instance.
- Never public, always encrypted; the master account's password is made, kept and rotated by RDS.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.databases import DatabaseServer, master_secret
from components.network import Endpoint, admit, security_group

ENGINE = aws.rds.EngineType.AURORA_POSTGRESQL
PORT = 5432


@dataclass(frozen=True)
class Serverless:
    """Serverless v2: Aurora capacity units (about 2 GiB of memory each), in steps of one half."""

    min_acu: float = 0.5
    max_acu: float = 4.0

    def __post_init__(self) -> None:
        demand(
            self,
            min_acu=(
                0.5 <= self.min_acu <= 256 and self.min_acu * 2 == int(self.min_acu * 2),
                f"0.5 to 256 in steps of 0.5, not {self.min_acu}",
            ),
            max_acu=(
                max(1.0, self.min_acu) <= self.max_acu <= 256 and self.max_acu * 2 == int(self.max_acu * 2),
                f"min_acu (and 1) to 256 in steps of 0.5, not {self.max_acu}",
            ),
        )


@dataclass(frozen=True)
class Provisioned:
    """Instances of one class."""

    instance_class: str

    def __post_init__(self) -> None:
        fits = self.instance_class.startswith("db.") and self.instance_class != "db.serverless"
        demand(self, instance_class=(fits, f"a class such as db.r7g.large, not {self.instance_class!r}"))


@dataclass(frozen=True)
class AuroraArgs:
    """`readers` 0 to 15. `version` may be a major version (`15`): Aurora then takes its default minor at creation."""

    server: DatabaseServer
    cluster_parameter_group: Input[str]
    instance_parameter_group: Input[str]
    capacity: Serverless | Provisioned
    version: str = "15"
    readers: int = 1

    def __post_init__(self) -> None:
        major = self.version.split(".")[0]
        demand(
            self,
            version=(major.isdigit() and int(major) >= 15, f"15 or newer, not {self.version}"),
            readers=(0 <= self.readers <= 15, f"0 to 15, not {self.readers}"),
        )


def _capacity(
    choice: Serverless | Provisioned,
) -> tuple[aws.rds.ClusterServerlessv2ScalingConfigurationArgs | None, str]:
    """The cluster's scaling and the class of its instances."""
    if isinstance(choice, Provisioned):
        return None, choice.instance_class
    return aws.rds.ClusterServerlessv2ScalingConfigurationArgs(
        min_capacity=choice.min_acu,
        max_capacity=choice.max_acu,
    ), "db.serverless"


class AuroraCluster(Component):
    """Outputs: `endpoint` (writer), `reader_host`, `version` (the real one), the ARN of the master account's secret.

    `instances` are what must be there before a client can connect.
    """

    endpoint: Endpoint
    reader_host: Output[str]
    version: Output[str]
    admin_secret_arn: Output[str]
    instances: list[pulumi.Resource]

    def __init__(self, name: str, args: AuroraArgs, opts: ResourceOptions | None = None) -> None:
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
        scaling, instance_class = _capacity(args.capacity)
        cluster = aws.rds.Cluster(
            f"{name}-cluster",
            engine=ENGINE,
            engine_mode="provisioned",
            engine_version=args.version,
            database_name=server.database,
            master_username=server.master,
            manage_master_user_password=True,
            master_user_secret_kms_key_id=place.secrets_key_arn,
            port=PORT,
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=[group.id],
            db_cluster_parameter_group_name=args.cluster_parameter_group,
            storage_encrypted=True,
            kms_key_id=place.data_key_arn,
            serverlessv2_scaling_configuration=scaling,
            backup_retention_period=server.backups.days,
            preferred_backup_window=server.backups.window,
            preferred_maintenance_window=server.backups.maintenance,
            copy_tags_to_snapshot=True,
            enabled_cloudwatch_logs_exports=["postgresql"],
            iam_database_authentication_enabled=True,
            deletion_protection=server.protection.deletion_protection,
            skip_final_snapshot=not server.protection.final_snapshot,
            final_snapshot_identifier=server.final_snapshot(name, subnets.name),
            apply_immediately=server.protection.apply_immediately,
            opts=self.child(),
        )
        self.instances = []
        for role in ["writer", *(f"reader-{i}" for i in range(1, args.readers + 1))]:
            self.instances.append(
                aws.rds.ClusterInstance(
                    f"{name}-{role}",
                    identifier=Output.concat(cluster.id, f"-{role}"),
                    cluster_identifier=cluster.id,
                    engine=ENGINE,
                    engine_version=args.version,
                    instance_class=instance_class,
                    db_subnet_group_name=subnets.name,
                    db_parameter_group_name=args.instance_parameter_group,
                    publicly_accessible=False,
                    auto_minor_version_upgrade=False,
                    promotion_tier=0 if role == "writer" else 1,
                    copy_tags_to_snapshot=True,
                    apply_immediately=server.protection.apply_immediately,
                    # The first instance of a cluster becomes its writer: readers wait for it.
                    opts=self.child(ResourceOptions(depends_on=self.instances[:1])),
                )
            )
        self.endpoint = Endpoint(cluster.endpoint, PORT, security_group_id=group.id)
        self.reader_host = cluster.reader_endpoint
        self.version = cluster.engine_version_actual
        self.admin_secret_arn = cluster.master_user_secrets.apply(master_secret)
        self.register_outputs(
            {
                "host": cluster.endpoint,
                "readerHost": self.reader_host,
                "port": PORT,
                "version": self.version,
                "adminSecretArn": self.admin_secret_arn,
            }
        )
