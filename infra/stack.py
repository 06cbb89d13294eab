"""What a stack is made of, and what it tells the commands.

Invariants:
- The exported values are exactly the fields of `contract.outputs.Outputs`; they name secrets and never carry them.
- Every AWS resource goes through one provider, which puts the mandatory tags on it and keeps it in one region.
- A first `up` brings all but the connectors; with accounts and schema in place, `cdc: running` adds them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Input, InvokeOptions, ResourceOptions

from components.alert_topic import AlertTopic, AlertTopicArgs
from components.aurora import AuroraArgs, AuroraCluster
from components.aurora_options import Provisioned, Serverless, version_policy
from components.connectors import Capture
from components.credentials import Credential, CredentialArgs
from components.database_monitoring import Monitoring
from components.databases import (
    Backups,
    DatabaseAccess,
    DatabaseServer,
    Placement,
    Protection,
)
from components.debezium import DebeziumArgs, DebeziumPipeline, Workers
from components.dual_write import Capacity, DualWriteArgs, DualWriteService
from components.dual_write_task import Task
from components.encryption import Encryption, EncryptionArgs
from components.kafka import Brokers, KafkaArgs, KafkaCluster
from components.network import Endpoint, Network, NetworkArgs, prefix_list
from components.parameter_groups import ParameterGroups, ParameterGroupsArgs
from components.place import Place
from components.router import CLOUDFLARE_NETWORKS, FLAG_KEY, CloudflareRouter, RouterArgs, TrafficRouter
from components.source_mysql import SourceMySQL, SourceMySQLArgs
from contract.flag import Side
from contract.outputs import VERSION, Outputs
from infra.settings import Settings


@dataclass(frozen=True)
class _Source:
    """The MySQL that is left, made here or there before."""

    endpoint: Endpoint
    admin_secret: Input[str]
    ready: list[pulumi.Resource]


def build(settings: Settings) -> Mapping[str, Any]:
    """Declares every resource of the stack; returns its outputs under their exported names."""
    return _Stack(settings).outputs()


class _Stack:
    """One stack while it is being declared, in the order of what depends on what."""

    def __init__(self, settings: Settings) -> None:
        s = self.settings = settings
        self.name = f"{pulumi.get_project()}-{pulumi.get_stack()}"
        self.aws = aws.Provider("aws", region=s.region, default_tags=aws.ProviderDefaultTagsArgs(tags=s.tags))
        self.opts = ResourceOptions(providers=[self.aws])
        ask = InvokeOptions(provider=self.aws)
        self.account_id = aws.get_caller_identity(opts=ask).account_id
        zones = sorted(aws.get_availability_zones(state="available", opts=ask).names)
        if len(zones) < s.network.zones:
            raise pulumi.RunError(f"zones: {s.region} has {len(zones)} available zones, not {s.network.zones}")

        partition = aws.get_partition(opts=ask).partition
        self.alerts = AlertTopic("alerts", AlertTopicArgs(self.name, self.account_id, partition), self.opts)
        self.encryption = Encryption(
            "encryption",
            EncryptionArgs(
                prefix=self.name,
                account_id=self.account_id,
                partition=partition,
                region=s.region,
                deletion_days=s.posture.key_days,
            ),
            self.opts,
        )
        self.network = Network(
            "network",
            NetworkArgs(
                region=s.region,
                zones=zones[: s.network.zones],
                cidr=s.network.cidr,
                nat_per_zone=s.posture.nat_per_zone,
            ),
            self.opts,
        )
        self.groups = ParameterGroups(
            "parameters",
            ParameterGroupsArgs(
                aurora_version=s.aurora.version,
                mysql_version=None if s.existing_mysql else s.source.version,
                mysql=s.source.parameters,
                aurora=s.aurora.parameters,
            ),
            self.opts,
        )
        server = DatabaseServer(
            database=s.database,
            placement=Placement(
                self.network.vpc_id,
                self.network.data_subnet_ids,
                self.encryption.data_key_arn,
                self.encryption.secrets_key_arn,
                s.network.operator_cidrs,
                account_id=self.account_id,
                logs_key_arn=self.encryption.logs_key_arn,
            ),
            monitoring=Monitoring(log_days=s.posture.log_days),
            backups=Backups(s.backups.days, s.backups.window, s.backups.maintenance),
            protection=Protection(
                s.posture.deletion_protection,
                s.posture.final_snapshot,
                s.posture.apply_immediately,
            ),
        )
        self.source = self._source(server)
        self.aurora = self._aurora(server)
        self.mysql_cdc = self._account("mysql-cdc", "zdm_cdc", "capture of the MySQL source")
        self.mysql_app = self._account("mysql-app", "shop_app", "the shop's API on MySQL")
        self.aurora_sink = self._account("aurora-sink", "zdm_sink", "replication into Aurora")
        self.aurora_app = self._account("aurora-app", "shop_app", "the shop's API on Aurora")

        self.capture = Capture(
            name=self.name,
            database=s.database,
            tables=s.cdc.tables,
            booleans=s.cdc.booleans,
            excluded=s.cdc.excluded_columns,
            partitions=s.kafka.topic_partitions,
        )
        self.kafka = KafkaCluster(
            "kafka",
            KafkaArgs(
                cluster_name=self.name,
                vpc_id=self.network.vpc_id,
                subnet_ids=self.network.data_subnet_ids,
                data_key_arn=self.encryption.data_key_arn,
                logs_key_arn=self.encryption.logs_key_arn,
                topics=self.capture.topics(s.kafka.topic_retention_hours),
                version=s.kafka.version,
                brokers=Brokers(s.kafka.instance_type, s.kafka.brokers_per_zone, s.kafka.volume_gib),
                log_days=s.posture.log_days,
                operator_cidrs=s.network.operator_cidrs,
            ),
            self.opts,
        )
        self._pipeline()
        origins = self._services()
        self.mysql_origin, self.aurora_origin = origins[Side.MYSQL], origins[Side.AURORA]
        force = self._account("router-force", "router", "token that lets a request force its side")
        self.router = TrafficRouter(
            "router",
            RouterArgs(
                zone_id=s.router.zone_id,
                host=f"shop.{s.router.domain}",
                mysql_origin=self.mysql_origin,
                aurora_origin=self.aurora_origin,
                salt=self.name,
                force_token=force.password,
                kind=CloudflareRouter(s.router.account_id, f"{self.name}-router"),
                hold_ms=s.router.hold_ms,
            ),
            self.opts,
        )

    def _source(self, server: DatabaseServer) -> _Source:
        s = self.settings
        if self.groups.mysql is None:
            there = Endpoint(s.source.existing.host, s.source.existing.port, cidr=s.source.existing.cidr)
            return _Source(there, s.source.existing.secret, [])
        mysql = SourceMySQL(
            "mysql",
            SourceMySQLArgs(
                server,
                self.groups.mysql,
                version=s.source.version,
                instance_class=s.source.instance_class,
                storage_gib=s.source.storage_gib,
                storage_limit_gib=max(100, s.source.storage_gib * 2),
                multi_az=s.posture.multi_az,
            ),
            self.opts,
        )
        return _Source(mysql.endpoint, mysql.admin_secret_arn, mysql.ready)

    def _aurora(self, server: DatabaseServer) -> AuroraCluster:
        s = self.settings
        serverless = s.aurora.capacity == "serverless"
        return AuroraCluster(
            "aurora",
            AuroraArgs(
                server,
                self.groups.aurora_cluster,
                self.groups.aurora_instance,
                Serverless(s.aurora.min_acu, s.aurora.max_acu) if serverless else Provisioned(s.aurora.instance_class),
                version=version_policy(s.aurora.version),
                readers=s.aurora.readers,
            ),
            self.opts,
        )

    def _account(self, role: str, username: str, what: str) -> Credential:
        return Credential(
            role,
            CredentialArgs(
                secret_name=f"{self.name}/{role}",
                username=username,
                description=f"{self.name}: {what}",
                kms_key_arn=self.encryption.secrets_key_arn,
                recovery_days=self.settings.posture.secret_days,
            ),
            self.opts,
        )

    def _pipeline(self) -> None:
        s = self.settings
        DebeziumPipeline(
            "cdc",
            DebeziumArgs(
                account_id=self.account_id,
                region=s.region,
                vpc_id=self.network.vpc_id,
                subnet_ids=self.network.private_subnet_ids,
                data_key_arn=self.encryption.data_key_arn,
                secrets_key_arn=self.encryption.secrets_key_arn,
                logs_key_arn=self.encryption.logs_key_arn,
                kafka=self.kafka.access,
                source=self._mysql_as(self.mysql_cdc),
                target=self._aurora_as(self.aurora_sink),
                capture=self.capture,
                plugin=s.plugin_path,
                running=s.cdc.state == "running",
                server_id=s.cdc.server_id,
                workers=Workers(s.cdc.connect_units, s.cdc.sink_tasks),
                log_days=s.posture.log_days,
                keep_bucket=s.posture.keep_buckets,
            ),
            self.opts,
        )

    def _services(self) -> dict[Side, str]:
        """The shop's API once for each database; returns the origins' base URLs."""
        s = self.settings
        own = ResourceOptions(provider=self.aws)
        cluster = aws.ecs.Cluster(
            "services",
            settings=[aws.ecs.ClusterSettingArgs(name="containerInsights", value="enabled")],
            opts=own,
        )
        edge = prefix_list("edge", CLOUDFLARE_NETWORKS, own)
        place = Place(
            prefix=self.name,
            account_id=self.account_id,
            region=s.region,
            vpc_id=self.network.vpc_id,
            public_subnet_ids=self.network.public_subnet_ids,
            private_subnet_ids=self.network.private_subnet_ids,
            cluster_arn=cluster.arn,
            cluster_name=cluster.name,
            secrets_key_arn=self.encryption.secrets_key_arn,
            logs_key_arn=self.encryption.logs_key_arn,
            edge_prefix_list_id=edge.id,
            zone_id=s.router.zone_id,
            alarm_topic_arn=self.alerts.arn,
            apis=self.network.apis,
            log_days=s.posture.log_days,
            deletion_protection=s.posture.deletion_protection,
        )
        task = Task(s.service.image, s.service.module, s.service.cpu, s.service.memory)
        capacity = Capacity(s.service.count, s.service.count)
        databases = {Side.MYSQL: self._mysql_as(self.mysql_app), Side.AURORA: self._aurora_as(self.aurora_app)}
        return {
            side: DualWriteService(
                f"{side}-api",
                DualWriteArgs(
                    side=side,
                    host=f"{side}-api.{s.router.domain}",
                    database_name=s.database,
                    database=database,
                    task=task,
                    place=place,
                    capacity=capacity,
                ),
                self.opts,
            ).origin
            for side, database in databases.items()
        }

    def _mysql_as(self, account: Credential) -> DatabaseAccess:
        return DatabaseAccess(self.source.endpoint, account.account, self.source.ready)

    def _aurora_as(self, account: Credential) -> DatabaseAccess:
        return DatabaseAccess(self.aurora.endpoint, account.account, self.aurora.instances)

    def outputs(self) -> dict[str, Any]:
        s, c = self.settings, self.capture
        values: dict[str, Any] = {
            "version": VERSION,
            "project": pulumi.get_project(),
            "stack": pulumi.get_stack(),
            "environment": s.environment,
            "region": s.region,
            "database": s.database,
            "source": {
                "host": self.source.endpoint.host,
                "port": self.source.endpoint.port,
                "adminSecret": self.source.admin_secret,
                "cdcSecret": self.mysql_cdc.arn,
                "appSecret": self.mysql_app.arn,
            },
            "target": {
                "host": self.aurora.endpoint.host,
                "readerHost": self.aurora.reader_host,
                "port": self.aurora.endpoint.port,
                "engineVersion": self.aurora.version,
                "adminSecret": self.aurora.admin_secret_arn,
                "sinkSecret": self.aurora_sink.arn,
                "appSecret": self.aurora_app.arn,
            },
            "kafka": {
                "bootstrapServers": self.kafka.access.bootstrap,
                "topicPrefix": c.prefix,
                "partitions": c.partitions,
                "schemaHistoryTopic": c.schema_history_topic,
                "offsetsTopic": c.offsets_topic,
                "heartbeatTopic": c.heartbeat_topic,
            },
            "pipeline": {
                "state": s.cdc.state,
                "sourceConnector": c.source_connector,
                "sinkConnector": c.sink_connector,
                "tables": list(c.tables),
                "booleans": list(c.booleans),
            },
            "router": {
                "url": self.router.url,
                "accountId": s.router.account_id,
                "namespaceId": self.router.namespace_id,
                "flagKey": FLAG_KEY,
                "salt": self.name,
                "holdMs": s.router.hold_ms,
                "mysqlOrigin": self.mysql_origin,
                "auroraOrigin": self.aurora_origin,
            },
            "kpis": {
                "latencyP95Ms": s.kpis.latency_p95_ms,
                "errorRate": s.kpis.error_rate,
                "lagSeconds": s.kpis.lag_seconds,
                "mismatches": s.kpis.mismatches,
                "throughputPerSecond": s.kpis.throughput_per_second,
                "pauseSeconds": s.kpis.pause_seconds,
                "abortSeconds": s.kpis.abort_seconds,
            },
        }
        missing = {f.alias or name for name, f in Outputs.model_fields.items()} ^ set(values)
        if missing:
            raise pulumi.RunError(f"the outputs and their contract differ in: {', '.join(sorted(missing))}")
        return values
