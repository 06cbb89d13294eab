"""KafkaCluster: MSK with TLS and IAM only, its configuration and every topic the migration uses.

Invariants:
- Topics are declared, never made by a client: with the wrong partitions or clean-up, order or history would be lost.
- A record is acknowledged by a majority of its replicas: with three, two must have it.
- Log in by IAM over TLS; there is no other way in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.network import Endpoint, admit, security_group

PORT = 9098
MAX_RECORD_BYTES = 16 * 1024 * 1024
"""Largest record the brokers take: one row event with its before and after image."""


@dataclass(frozen=True)
class Topic:
    """`retention_hours` None keeps records for ever; a compacted topic keeps the last record of each key."""

    name: str
    partitions: int = 1
    retention_hours: int | None = None
    compacted: bool = False

    def __post_init__(self) -> None:
        demand(self, partitions=(self.partitions >= 1, f"at least 1, not {self.partitions}"))

    def configs(self) -> dict[str, str]:
        if self.compacted:
            return {"cleanup.policy": "compact"}
        retention = -1 if self.retention_hours is None else self.retention_hours * 3_600_000
        return {"cleanup.policy": "delete", "retention.bytes": "-1", "retention.ms": str(retention)}


@dataclass(frozen=True)
class Brokers:
    """`per_zone` brokers of one class in each of the subnets' zones; the volume never shrinks."""

    instance_type: str = "kafka.m7g.large"
    per_zone: int = 1
    volume_gib: int = 100

    def __post_init__(self) -> None:
        demand(
            self,
            instance_type=(self.instance_type.startswith("kafka."), f"begins with kafka., not {self.instance_type}"),
            per_zone=(self.per_zone >= 1, f"at least 1, not {self.per_zone}"),
            volume_gib=(1 <= self.volume_gib <= 16384, f"1 to 16384 GiB, not {self.volume_gib}"),
        )


@dataclass(frozen=True)
class KafkaArgs:
    """`version` as MSK names it. `log_days` is how long broker logs are kept."""

    cluster_name: str
    vpc_id: Input[str]
    subnet_ids: Sequence[Input[str]]
    data_key_arn: Input[str]
    logs_key_arn: Input[str]
    topics: Sequence[Topic]
    version: str = "3.9.x"
    brokers: Brokers = field(default_factory=Brokers)
    log_days: int = 30
    operator_cidrs: Sequence[str] = ()

    def __post_init__(self) -> None:
        names = [topic.name for topic in self.topics]
        demand(
            self,
            cluster_name=(1 <= len(self.cluster_name) <= 64, f"1 to 64 characters, not {self.cluster_name!r}"),
            subnet_ids=(2 <= len(self.subnet_ids) <= 4, "2 to 4, in different zones"),
            topics=(len(set(names)) == len(names), "each name once"),
        )

    @property
    def broker_count(self) -> int:
        return self.brokers.per_zone * len(self.subnet_ids)


def replication(brokers: int) -> tuple[int, int]:
    """Replication factor and the replicas that must have a record before it is acknowledged."""
    factor = min(3, brokers)
    return factor, max(1, factor - 1)


def server_properties(brokers: int) -> str:
    """The brokers' configuration, in Kafka's own format."""
    factor, in_sync = replication(brokers)
    values: Mapping[str, object] = {
        "auto.create.topics.enable": "false",
        "default.replication.factor": factor,
        "delete.topic.enable": "true",
        "message.max.bytes": MAX_RECORD_BYTES,
        "min.insync.replicas": in_sync,
        "num.partitions": 1,
        "replica.fetch.max.bytes": MAX_RECORD_BYTES,
        "unclean.leader.election.enable": "false",
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())


@dataclass(frozen=True)
class KafkaAccess:
    """What a client needs: brokers, the cluster for its policy, the group for its rule, and what it must wait for."""

    bootstrap: Output[str]
    cluster_arn: Output[str]
    security_group_id: Output[str]
    ready: Sequence[pulumi.Resource]

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.bootstrap, PORT, security_group_id=self.security_group_id)


class KafkaCluster(Component):
    """Outputs: `access`."""

    access: KafkaAccess

    def __init__(self, name: str, args: KafkaArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        group = security_group(f"{name}-access", args.vpc_id, f"{name}: who may connect", self.child())
        admit(f"{name}-operators", group.id, PORT, args.operator_cidrs, self.child())
        logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/msk/{args.cluster_name}",
            retention_in_days=args.log_days,
            kms_key_id=args.logs_key_arn,
            opts=self.child(),
        )
        configuration = aws.msk.Configuration(
            f"{name}-configuration",
            name=args.cluster_name,
            description=f"{name}: declared topics, durable records",
            server_properties=server_properties(args.broker_count),
            opts=self.child(),
        )
        cluster = aws.msk.Cluster(
            f"{name}-cluster",
            cluster_name=args.cluster_name,
            kafka_version=args.version,
            number_of_broker_nodes=args.broker_count,
            broker_node_group_info=aws.msk.ClusterBrokerNodeGroupInfoArgs(
                client_subnets=list(args.subnet_ids),
                instance_type=args.brokers.instance_type,
                security_groups=[group.id],
                storage_info=aws.msk.ClusterBrokerNodeGroupInfoStorageInfoArgs(
                    ebs_storage_info=aws.msk.ClusterBrokerNodeGroupInfoStorageInfoEbsStorageInfoArgs(
                        volume_size=args.brokers.volume_gib,
                    ),
                ),
            ),
            client_authentication=aws.msk.ClusterClientAuthenticationArgs(
                sasl=aws.msk.ClusterClientAuthenticationSaslArgs(iam=True),
                unauthenticated=False,
            ),
            encryption_info=aws.msk.ClusterEncryptionInfoArgs(
                encryption_at_rest_kms_key_arn=args.data_key_arn,
                encryption_in_transit=aws.msk.ClusterEncryptionInfoEncryptionInTransitArgs(
                    client_broker="TLS",
                    in_cluster=True,
                ),
            ),
            configuration_info=aws.msk.ClusterConfigurationInfoArgs(
                arn=configuration.arn,
                revision=configuration.latest_revision,
            ),
            enhanced_monitoring="PER_TOPIC_PER_BROKER",
            logging_info=aws.msk.ClusterLoggingInfoArgs(
                broker_logs=aws.msk.ClusterLoggingInfoBrokerLogsArgs(
                    cloudwatch_logs=aws.msk.ClusterLoggingInfoBrokerLogsCloudwatchLogsArgs(
                        enabled=True,
                        log_group=logs.name,
                    ),
                ),
            ),
            opts=self.child(),
        )
        topics = [
            aws.msk.Topic(
                f"{name}-{topic.name}",
                name=topic.name,
                cluster_arn=cluster.arn,
                partition_count=topic.partitions,
                replication_factor=replication(args.broker_count)[0],
                configs=json.dumps(topic.configs(), sort_keys=True),
                opts=self.child(),
            )
            for topic in args.topics
        ]
        self.access = KafkaAccess(cluster.bootstrap_brokers_sasl_iam, cluster.arn, group.id, topics)
        self.register_outputs({"bootstrapServers": self.access.bootstrap, "clusterArn": cluster.arn})
