"""DebeziumPipeline: MSK Connect with the connectors of the way there, and those of the way back, prepared.

Invariants:
- Connectors exist only while they run; bucket, plugin, workers' configuration and roles are there before.
- The two ways never run together: stale echoes of one would overwrite newer rows of the other, on both sides alike.
  Both have the same two places in the stack, so turning round deletes the old sink before it makes the new one.
- Connectors keep their names and are deleted before they are replaced: two of one name cannot be, and a source's
  position belongs to its name.
- One task and one worker read a log; its position is in a topic that outlives the connector.
- Each connector's role may read one secret, use its own topics and group, and write its log. Nothing else.

Cost drivers:
- Connectors: MSK Connect units (1 vCPU, 4 GiB) by the hour, units times workers, for each connector that exists.
- Logs of the workers, by GiB taken in and kept. The plugin's bucket holds about 110 MB a version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.base import Component
from components.connectors import worker_properties
from components.debezium_args import Autoscaled, DebeziumArgs, Fixed, WayBack
from components.debezium_plugin import Plugin, make_plugin
from components.debezium_policy import role_policy
from components.debezium_ways import Planned, way_back, way_there
from components.endpoints import reach_aws
from components.network import allow, security_group
from components.policies import assume_role

__all__ = ["Autoscaled", "DebeziumArgs", "DebeziumPipeline", "Fixed", "Plugin", "WayBack"]

CONNECT_VERSION: Final = "3.7.x"
"""MSK Connect has 2.7.1 and 3.7.x; the older one runs on Java 11, which Debezium 3 does not. Seen: the connectors of
Debezium 3.6.0, there and back, on Kafka Connect 3.7.2."""


class DebeziumPipeline(Component):
    """MSK Connect for both ways; the names of connectors and topics are `Capture`'s and `WayBackNames`'."""

    bucket: Output[str]
    """Name of the bucket with the plugin."""
    security_group_id: Output[str]
    """Group of the workers."""
    log_group: Output[str]
    """CloudWatch's group of the workers' logs, a stream for each connector."""

    def __init__(self, name: str, args: DebeziumArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        group = security_group(f"{name}-workers", args.vpc_id, f"{name}: Kafka Connect workers", self.child())
        self.security_group_id = group.id
        self._ways = [
            *allow(f"{name}-to-kafka", group.id, args.kafka.endpoint, self.child()),
            *allow(f"{name}-to-source", group.id, args.source.endpoint, self.child()),
            *allow(f"{name}-to-target", group.id, args.target.endpoint, self.child()),
            *reach_aws(name, group.id, args.apis, self.child()),
        ]
        bucket, self._plugin = make_plugin(
            name, args.capture.name, args.plugin, args.data_key_arn, args.keep_bucket, self.child()
        )
        self.bucket = bucket.name
        self._logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/mskconnect/{args.capture.name}",
            retention_in_days=args.log_days,
            kms_key_id=args.logs_key_arn,
            opts=self.child(),
        )
        self.log_group = self._logs.name
        connectors = [*way_there(args), *(way_back(args, args.way_back) if args.way_back else ())]
        if any(connector.running for connector in connectors) and not args.plugin.resolves_secrets:
            pulumi.log.warn(
                f"{args.plugin.path.name} holds no secrets config provider: workers of MSK Connect would not start; "
                "add the JAR of AWS's msk-config-providers (the local cloud has its own)",
                self,
            )
        self._placed: dict[str, pulumi.Resource] = {}
        for connector in connectors:
            self._declare(connector)
        self.register_outputs(
            {"bucket": self.bucket, "securityGroupId": self.security_group_id, "logGroup": self.log_group}
        )

    def _declare(self, connector: Planned) -> None:
        """Role and workers' configuration of a connector; itself, if it runs."""
        name, args = f"{self._name}-{connector.role}", self._args
        role = aws.iam.Role(
            f"{name}-role",
            assume_role_policy=assume_role("kafkaconnect.amazonaws.com", args.account_id),
            description=f"{self._name}: connector {connector.name}",
            opts=self.child(),
        )
        rights = aws.iam.RolePolicy(
            f"{name}-rights",
            role=role.id,
            policy=Output.all(
                args.kafka.cluster_arn, connector.account.secret_arn, args.secrets_key_arn, self._logs.arn
            ).apply(lambda v: role_policy(connector.rights, v[0], v[1], v[2], v[3])),
            opts=self.child(),
        )
        workers = self._workers(connector.role, connector.offsets_topic)
        if connector.running:
            needs = [*self._ways, rights, *args.kafka.ready, *connector.needs]
            needs += [self._placed[place] for place in connector.after]
            self._placed[connector.place] = self._connector(connector, workers, role, needs)

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
        connector: Planned,
        workers: aws.mskconnect.WorkerConfiguration,
        role: aws.iam.Role,
        needs: Sequence[pulumi.Resource],
    ) -> aws.mskconnect.Connector:
        kc, args = aws.mskconnect, self._args
        plugin = kc.ConnectorPluginCustomPluginArgs(arn=self._plugin.arn, revision=self._plugin.latest_revision)
        return kc.Connector(
            f"{self._name}-{connector.place}",
            name=connector.name,
            kafkaconnect_version=CONNECT_VERSION,
            connector_configuration=connector.configuration,
            capacity=_capacity(connector.capacity),
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
            plugins=[kc.ConnectorPluginArgs(custom_plugin=plugin)],
            worker_configuration=kc.ConnectorWorkerConfigurationArgs(
                arn=workers.arn,
                revision=workers.latest_revision,
            ),
            service_execution_role_arn=role.arn,
            log_delivery=kc.ConnectorLogDeliveryArgs(
                worker_log_delivery=kc.ConnectorLogDeliveryWorkerLogDeliveryArgs(
                    cloudwatch_logs=kc.ConnectorLogDeliveryWorkerLogDeliveryCloudwatchLogsArgs(
                        enabled=True,
                        log_group=self.log_group,
                    ),
                )
            ),
            opts=self.child(ResourceOptions(depends_on=list(needs), delete_before_replace=True)),
        )


def _capacity(choice: Fixed | Autoscaled) -> aws.mskconnect.ConnectorCapacityArgs:
    kc = aws.mskconnect
    if isinstance(choice, Fixed):
        return kc.ConnectorCapacityArgs(
            provisioned_capacity=kc.ConnectorCapacityProvisionedCapacityArgs(
                mcu_count=choice.units,
                worker_count=choice.workers,
            )
        )
    shrink, grow = choice.in_percent, choice.out_percent
    return kc.ConnectorCapacityArgs(
        autoscaling=kc.ConnectorCapacityAutoscalingArgs(
            mcu_count=choice.units,
            min_worker_count=choice.least,
            max_worker_count=choice.most,
            scale_in_policy=kc.ConnectorCapacityAutoscalingScaleInPolicyArgs(cpu_utilization_percentage=shrink),
            scale_out_policy=kc.ConnectorCapacityAutoscalingScaleOutPolicyArgs(cpu_utilization_percentage=grow),
        )
    )
