"""DebeziumPipeline: MSK Connect with a MySQL source and a PostgreSQL sink connector.

Invariants:
- The connectors exist only while `running`; bucket, plugin, workers' configuration and role are there before.
- Connectors keep their names and are deleted before they are replaced: two of one name cannot be, and the source's
  position belongs to its name.
- One task and one worker read the binary log; its position is in a topic that outlives the connector.
- The role may read two secrets, use this cluster's topics and groups, and write its own log. Nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pulumi
import pulumi_aws as aws
from pulumi import FileAsset, Input, Output, ResourceOptions

from components.base import Component, demand
from components.connectors import Capture, sink_config, source_config, worker_properties
from components.databases import DatabaseAccess
from components.kafka import KafkaAccess
from components.network import allow, call_aws, security_group
from components.policies import (
    assume_role,
    document,
    private_bucket,
    read_secrets,
    statement,
    write_logs,
)


@dataclass(frozen=True)
class Workers:
    """Size of the connectors: MSK Connect units (1 vCPU, 4 GiB each), and parallel tasks of the sink."""

    units: int = 1
    sink_tasks: int = 1

    def __post_init__(self) -> None:
        demand(
            self,
            units=(self.units in (1, 2, 4, 8), f"1, 2, 4 or 8, not {self.units}"),
            sink_tasks=(1 <= self.sink_tasks <= 32, f"1 to 32, not {self.sink_tasks}"),
        )


@dataclass(frozen=True)
class DebeziumArgs:
    """`plugin` is the ZIP with the connectors; a new ZIP makes a new plugin, and with it new connectors."""

    account_id: str
    region: str
    vpc_id: Input[str]
    subnet_ids: Sequence[Input[str]]
    data_key_arn: Input[str]
    secrets_key_arn: Input[str]
    logs_key_arn: Input[str]
    kafka: KafkaAccess
    source: DatabaseAccess
    target: DatabaseAccess
    capture: Capture
    plugin: Path
    running: bool
    server_id: int = 5401
    connect_version: str = "3.7.x"
    workers: Workers = field(default_factory=Workers)
    log_days: int = 30
    keep_bucket: bool = True

    def __post_init__(self) -> None:
        demand(
            self,
            plugin=(self.plugin.suffix == ".zip" and self.plugin.is_file(), f"no ZIP file at {self.plugin}"),
            capture=(bool(self.capture.tables) or not self.running, "no table, but the pipeline is to run"),
            server_id=(1 <= self.server_id < 2**32, f"1 to 4294967295, not {self.server_id}"),
        )


def role_policy(
    capture: Capture, cluster_arn: str, secret_arns: Sequence[str], secrets_key_arn: str, log_group_arn: str
) -> str:
    """What the connectors may do. ARNs of topics and groups are made from the cluster's name and id in its ARN."""
    head, _, cluster = cluster_arn.partition(":cluster/")

    def named(kind: str, *names: str) -> list[str]:
        return [f"{head}:{kind}/{cluster}/{name}" for name in names]

    own = "__amazon_msk_connect_*"
    return document(
        statement(
            "Connect",
            [
                "kafka-cluster:Connect",
                "kafka-cluster:DescribeCluster",
                "kafka-cluster:WriteDataIdempotently",
            ],
            [cluster_arn],
        ),
        statement(
            "UseTopics",
            [
                "kafka-cluster:DescribeTopic",
                "kafka-cluster:DescribeTopicDynamicConfiguration",
                "kafka-cluster:ReadData",
                "kafka-cluster:WriteData",
            ],
            named(
                "topic",
                own,
                f"{capture.prefix}.*",
                capture.schema_history_topic,
                capture.heartbeat_topic,
                capture.offsets_topic,
            ),
        ),
        statement("OwnTopics", ["kafka-cluster:CreateTopic"], named("topic", own)),
        statement(
            "JoinGroups",
            ["kafka-cluster:AlterGroup", "kafka-cluster:DescribeGroup"],
            named("group", own, capture.sink_group, f"{capture.prefix}-schemahistory"),
        ),
        *read_secrets(secret_arns, secrets_key_arn),
        write_logs(log_group_arn),
    )


class DebeziumPipeline(Component):
    """Outputs: the bucket's name. The names of connectors and topics are `args.capture`'s."""

    bucket: Output[str]
    security_group_id: Output[str]

    def __init__(self, name: str, args: DebeziumArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        group = security_group(f"{name}-workers", args.vpc_id, f"{name}: Kafka Connect workers", self.child())
        self.security_group_id = group.id
        ways = [
            *allow(f"{name}-to-kafka", group.id, args.kafka.endpoint, self.child()),
            *allow(f"{name}-to-source", group.id, args.source.endpoint, self.child()),
            *allow(f"{name}-to-target", group.id, args.target.endpoint, self.child()),
            call_aws(name, group.id, self.child()),
        ]
        plugin = self._plugin()
        self._logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/mskconnect/{args.capture.name}",
            retention_in_days=args.log_days,
            kms_key_id=args.logs_key_arn,
            opts=self.child(),
        )
        role = aws.iam.Role(
            f"{name}-role",
            assume_role_policy=assume_role("kafkaconnect.amazonaws.com", args.account_id),
            description=f"{name}: connectors",
            opts=self.child(),
        )
        rights = aws.iam.RolePolicy(
            f"{name}-rights",
            role=role.id,
            policy=Output.all(
                args.kafka.cluster_arn,
                args.source.account.secret_arn,
                args.target.account.secret_arn,
                args.secrets_key_arn,
                self._logs.arn,
            ).apply(lambda v: role_policy(args.capture, v[0], [v[1], v[2]], v[3], v[4])),
            opts=self.child(),
        )
        capture = args.capture
        source_workers = self._workers("source", capture.offsets_topic)
        sink_workers = self._workers("sink", None)
        if args.running:
            needs = [*ways, rights, *args.kafka.ready, *args.source.ready, *args.target.ready]
            self._connector(
                "source",
                capture.source_connector,
                plugin,
                source_workers,
                role,
                Output.all(args.source.endpoint.host, args.kafka.bootstrap).apply(
                    lambda v: source_config(
                        capture,
                        host=v[0],
                        port=args.source.endpoint.port,
                        account=args.source.account.secret_name,
                        bootstrap=v[1],
                        server_id=args.server_id,
                    )
                ),
                needs,
            )
            self._connector(
                "sink",
                capture.sink_connector,
                plugin,
                sink_workers,
                role,
                Output.from_input(args.target.endpoint.host).apply(
                    lambda host: sink_config(
                        capture,
                        host=host,
                        port=args.target.endpoint.port,
                        account=args.target.account.secret_name,
                        tasks=args.workers.sink_tasks,
                    )
                ),
                needs,
            )
        self.register_outputs({"bucket": self.bucket})

    def _plugin(self) -> aws.mskconnect.CustomPlugin:
        """A private bucket, the ZIP under a name that is its content's, and the plugin made of it."""
        name, args = self._name, self._args
        bucket = aws.s3.Bucket(f"{name}-plugins", force_destroy=not args.keep_bucket, opts=self.child())
        self.bucket = bucket.id
        closed = aws.s3.BucketPublicAccessBlock(
            f"{name}-plugins-private",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self.child(),
        )
        encrypted = aws.s3.BucketServerSideEncryptionConfiguration(
            f"{name}-plugins-encryption",
            bucket=bucket.id,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    bucket_key_enabled=True,
                    apply_server_side_encryption_by_default=(
                        aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                            sse_algorithm="aws:kms",
                            kms_master_key_id=args.data_key_arn,
                        )
                    ),
                )
            ],
            opts=self.child(),
        )
        aws.s3.BucketVersioning(
            f"{name}-plugins-versions",
            bucket=bucket.id,
            versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
            opts=self.child(),
        )
        aws.s3.BucketPolicy(
            f"{name}-plugins-tls",
            bucket=bucket.id,
            policy=bucket.arn.apply(private_bucket),
            opts=self.child(ResourceOptions(depends_on=[closed])),
        )
        digest = hashlib.sha256(args.plugin.read_bytes()).hexdigest()[:12]
        archive = aws.s3.BucketObjectv2(
            f"{name}-plugin-zip",
            bucket=bucket.id,
            key=f"{args.plugin.stem}-{digest}.zip",
            source=FileAsset(str(args.plugin)),
            opts=self.child(ResourceOptions(depends_on=[encrypted])),
        )
        return aws.mskconnect.CustomPlugin(
            f"{name}-plugin",
            name=f"{args.capture.name}-debezium-{digest}",
            content_type="ZIP",
            description="Debezium MySQL source and JDBC sink",
            location=aws.mskconnect.CustomPluginLocationArgs(
                s3=aws.mskconnect.CustomPluginLocationS3Args(
                    bucket_arn=bucket.arn,
                    file_key=archive.key,
                )
            ),
            opts=self.child(),
        )

    def _workers(self, role: str, offsets_topic: str | None) -> aws.mskconnect.WorkerConfiguration:
        """Named by its content, since any change replaces it while a connector still uses the old one."""
        text = worker_properties(self._args.region, offsets_topic)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        return aws.mskconnect.WorkerConfiguration(
            f"{self._name}-{role}-workers",
            name=f"{self._args.capture.name}-{role}-{digest}",
            properties_file_content=text,
            description=f"{self._name}: workers of the {role}",
            opts=self.child(),
        )

    def _connector(
        self,
        role: str,
        connector: str,
        plugin: aws.mskconnect.CustomPlugin,
        workers: aws.mskconnect.WorkerConfiguration,
        execution: aws.iam.Role,
        configuration: Output[dict[str, str]],
        needs: Sequence[pulumi.Resource],
    ) -> aws.mskconnect.Connector:
        kc, args = aws.mskconnect, self._args
        return kc.Connector(
            f"{self._name}-{role}",
            name=connector,
            kafkaconnect_version=args.connect_version,
            connector_configuration=configuration,
            capacity=kc.ConnectorCapacityArgs(
                provisioned_capacity=kc.ConnectorCapacityProvisionedCapacityArgs(
                    mcu_count=args.workers.units,
                    worker_count=1,
                )
            ),
            kafka_cluster=kc.ConnectorKafkaClusterArgs(
                apache_kafka_cluster=kc.ConnectorKafkaClusterApacheKafkaClusterArgs(
                    bootstrap_servers=args.kafka.bootstrap,
                    vpc=kc.ConnectorKafkaClusterApacheKafkaClusterVpcArgs(
                        security_groups=[self.security_group_id],
                        subnets=list(args.subnet_ids),
                    ),
                ),
            ),
            kafka_cluster_client_authentication=kc.ConnectorKafkaClusterClientAuthenticationArgs(
                authentication_type="IAM",
            ),
            kafka_cluster_encryption_in_transit=kc.ConnectorKafkaClusterEncryptionInTransitArgs(encryption_type="TLS"),
            plugins=[
                kc.ConnectorPluginArgs(
                    custom_plugin=kc.ConnectorPluginCustomPluginArgs(
                        arn=plugin.arn,
                        revision=plugin.latest_revision,
                    )
                )
            ],
            worker_configuration=kc.ConnectorWorkerConfigurationArgs(
                arn=workers.arn,
                revision=workers.latest_revision,
            ),
            service_execution_role_arn=execution.arn,
            log_delivery=kc.ConnectorLogDeliveryArgs(
                worker_log_delivery=kc.ConnectorLogDeliveryWorkerLogDeliveryArgs(
                    cloudwatch_logs=kc.ConnectorLogDeliveryWorkerLogDeliveryCloudwatchLogsArgs(
                        enabled=True,
                        log_group=self._logs.name,
                    ),
                )
            ),
            opts=self.child(ResourceOptions(depends_on=list(needs), delete_before_replace=True)),
        )
