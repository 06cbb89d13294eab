"""KafkaCluster: MSK with TLS and IAM, its configuration in revisions, and every topic the migration uses.

Invariants:
- Topics are declared, never made by a client: with the wrong partitions or clean-up, order or history would be lost.
- A record is acknowledged by a majority of its replicas: with three, two must have it.
- Clients come over TLS and log in, by IAM or, those that cannot, with a password from Secrets Manager (SCRAM).
- Storage grows and never shrinks: where it grows by itself, its size in the program is only the first one.
- Only named security groups reach the brokers, and only those of a scraper reach the exporters.

Cost drivers:
- Brokers: by class and hour, a t3.small is the least; three in three zones cost three times one.
- Storage: by GiB and month of each broker's volume, used or not; provisioned throughput by MiB/s and month.
- Traffic between zones of clients (replication inside the cluster is free), private connectivity by hour and GiB.
- CloudWatch: metrics finer than DEFAULT and PER_BROKER by metric, broker logs by GiB taken in; S3 by GiB kept.
"""

from __future__ import annotations

import json

import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component
from components.kafka_args import PORT, Brokers, KafkaAccess, KafkaArgs, Monitoring, Topic
from components.kafka_documents import (
    cluster_policy,
    exporters,
    log_delivery,
    log_prefix,
    replication,
    server_properties,
)
from components.network import Endpoint, admit, allow, security_group

__all__ = ["Brokers", "KafkaAccess", "KafkaArgs", "KafkaCluster", "Monitoring", "Topic", "log_delivery"]

SCRAM_PORT = 9096
JMX_PORT, NODE_PORT = 11001, 11002


class KafkaCluster(Component):
    """An MSK cluster of Standard brokers."""

    access: KafkaAccess
    """What clients that log in by IAM need."""
    scram: Endpoint | None
    """Where SCRAM users log in; None without any."""
    jmx_exporters: Output[list[str]]
    """`host:11001` of every broker, empty without exporters."""
    node_exporters: Output[list[str]]
    """`host:11002` of every broker, empty without exporters."""
    log_group: Output[str]
    """CloudWatch's group of the brokers' logs."""

    def __init__(self, name: str, args: KafkaArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        group = security_group(f"{name}-access", args.vpc_id, f"{name}: who may connect", self.child())
        admit(f"{name}-operators", group.id, PORT, args.operator_cidrs, self.child())
        for label, scraper in args.monitoring.scraper_group_ids.items():
            for what, port in (("jmx", JMX_PORT), ("node", NODE_PORT)):
                brokers = Endpoint(name, port, security_group_id=group.id)
                allow(f"{name}-{label}-{what}", scraper, brokers, self.child())
        logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/msk/{args.cluster_name}",
            retention_in_days=args.log_days,
            kms_key_id=args.logs_key_arn,
            opts=self.child(),
        )
        self.log_group = logs.name
        cluster = self._cluster(group.id)
        if args.brokers.grow_to_gib is not None:
            self._grow(cluster.arn, args.brokers.grow_to_gib)
        self.scram = None
        if args.scram_users:
            self.scram = Endpoint(cluster.bootstrap_brokers_sasl_scram, SCRAM_PORT, security_group_id=group.id)
            admit(f"{name}-operators-scram", group.id, SCRAM_PORT, args.operator_cidrs, self.child())
            aws.msk.ScramSecretAssociation(
                f"{name}-users",
                cluster_arn=cluster.arn,
                secret_arn_lists=[user.secret_arn for user in args.scram_users],
                opts=self.child(),
            )
        if args.shared_with:
            aws.msk.ClusterPolicy(
                f"{name}-policy",
                cluster_arn=cluster.arn,
                policy=cluster.arn.apply(lambda arn: cluster_policy(arn, args.shared_with)),
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
        self.jmx_exporters, self.node_exporters = (self._exporters(port) for port in (JMX_PORT, NODE_PORT))
        self.register_outputs(
            {
                "bootstrapServers": self.access.bootstrap,
                "clusterArn": cluster.arn,
                "jmxExporters": self.jmx_exporters,
                "nodeExporters": self.node_exporters,
                "logGroup": self.log_group,
            }
        )

    def _cluster(self, group_id: Input[str]) -> aws.msk.Cluster:
        name, args, brokers = self._name, self._args, self._args.brokers
        configuration = aws.msk.Configuration(
            f"{name}-configuration",
            name=args.cluster_name,
            description=f"{name}: declared topics, durable records",
            server_properties=server_properties(args.broker_count),
            opts=self.child(),
        )
        volume = "brokerNodeGroupInfo.storageInfo.ebsStorageInfo.volumeSize"
        return aws.msk.Cluster(
            f"{name}-cluster",
            cluster_name=args.cluster_name,
            kafka_version=args.version,
            number_of_broker_nodes=args.broker_count,
            broker_node_group_info=aws.msk.ClusterBrokerNodeGroupInfoArgs(
                client_subnets=list(args.subnet_ids),
                instance_type=brokers.instance_type,
                security_groups=[group_id],
                storage_info=_storage(brokers),
                connectivity_info=_private_connectivity() if args.shared_with else None,
            ),
            client_authentication=aws.msk.ClusterClientAuthenticationArgs(
                sasl=aws.msk.ClusterClientAuthenticationSaslArgs(iam=True, scram=bool(args.scram_users)),
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
            enhanced_monitoring=args.monitoring.level,
            open_monitoring=_open_monitoring(args.monitoring.exporters),
            logging_info=self._logging(),
            opts=self.child(ResourceOptions(ignore_changes=[volume] if brokers.grow_to_gib else [])),
        )

    def _logging(self) -> aws.msk.ClusterLoggingInfoArgs:
        args, bucket = self._args, self._args.log_bucket
        return aws.msk.ClusterLoggingInfoArgs(
            broker_logs=aws.msk.ClusterLoggingInfoBrokerLogsArgs(
                cloudwatch_logs=aws.msk.ClusterLoggingInfoBrokerLogsCloudwatchLogsArgs(
                    enabled=True,
                    log_group=self.log_group,
                ),
                s3=aws.msk.ClusterLoggingInfoBrokerLogsS3Args(
                    enabled=bucket is not None,
                    bucket=bucket,
                    prefix=None if bucket is None else log_prefix(args.cluster_name),
                ),
            ),
        )

    def _grow(self, cluster_arn: Output[str], limit: int) -> None:
        """Storage autoscaling. Scaling in is off: MSK cannot shrink a volume."""
        target = aws.appautoscaling.Target(
            f"{self._name}-storage",
            service_namespace="kafka",
            scalable_dimension="kafka:broker-storage:VolumeSize",
            resource_id=cluster_arn,
            min_capacity=1,
            max_capacity=limit,
            opts=self.child(),
        )
        tracking = aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs(
            predefined_metric_specification=(
                aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationPredefinedMetricSpecificationArgs(
                    predefined_metric_type="KafkaBrokerStorageUtilization",
                )
            ),
            target_value=self._args.brokers.grow_at_percent,
            disable_scale_in=True,
        )
        aws.appautoscaling.Policy(
            f"{self._name}-storage-growth",
            name=f"{self._args.cluster_name}-broker-storage",
            policy_type="TargetTrackingScaling",
            service_namespace=target.service_namespace,
            scalable_dimension=target.scalable_dimension,
            resource_id=target.resource_id,
            target_tracking_scaling_policy_configuration=tracking,
            opts=self.child(),
        )

    def _exporters(self, port: int) -> Output[list[str]]:
        if not self._args.monitoring.exporters:
            return Output.from_input([])
        return self.access.bootstrap.apply(lambda brokers: exporters(brokers, self._args.broker_count, port))


def _storage(brokers: Brokers) -> aws.msk.ClusterBrokerNodeGroupInfoStorageInfoArgs:
    fast = brokers.throughput_mib is not None
    throughput = aws.msk.ClusterBrokerNodeGroupInfoStorageInfoEbsStorageInfoProvisionedThroughputArgs(
        enabled=fast,
        volume_throughput=brokers.throughput_mib,
    )
    return aws.msk.ClusterBrokerNodeGroupInfoStorageInfoArgs(
        ebs_storage_info=aws.msk.ClusterBrokerNodeGroupInfoStorageInfoEbsStorageInfoArgs(
            volume_size=brokers.volume_gib,
            provisioned_throughput=throughput if fast else None,
        ),
    )


def _private_connectivity() -> aws.msk.ClusterBrokerNodeGroupInfoConnectivityInfoArgs:
    """Other VPCs get in through PrivateLink, by IAM."""
    vpc = aws.msk.ClusterBrokerNodeGroupInfoConnectivityInfoVpcConnectivityArgs
    login = aws.msk.ClusterBrokerNodeGroupInfoConnectivityInfoVpcConnectivityClientAuthenticationArgs
    sasl = aws.msk.ClusterBrokerNodeGroupInfoConnectivityInfoVpcConnectivityClientAuthenticationSaslArgs
    return aws.msk.ClusterBrokerNodeGroupInfoConnectivityInfoArgs(
        vpc_connectivity=vpc(client_authentication=login(sasl=sasl(iam=True))),
    )


def _open_monitoring(on: bool) -> aws.msk.ClusterOpenMonitoringArgs:
    prometheus = aws.msk.ClusterOpenMonitoringPrometheusArgs(
        jmx_exporter=aws.msk.ClusterOpenMonitoringPrometheusJmxExporterArgs(enabled_in_broker=on),
        node_exporter=aws.msk.ClusterOpenMonitoringPrometheusNodeExporterArgs(enabled_in_broker=on),
    )
    return aws.msk.ClusterOpenMonitoringArgs(prometheus=prometheus)
