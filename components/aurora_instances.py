"""The instances of an Aurora cluster, and what spreads the readers' load: endpoints and autoscaling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.aurora_options import Provisioned, ReaderScaling, Reports, upgrades
from components.base import Component

if TYPE_CHECKING:
    from components.aurora import AuroraArgs

ENGINE = aws.rds.EngineType.AURORA_POSTGRESQL
METRICS = {"cpu": "RDSReaderAverageCPUUtilization", "connections": "RDSReaderAverageDatabaseConnections"}
LAST = 15
"""The tier of those that become the writer only when nobody else is left."""


class Instances:
    """The writer, the shop's readers and those for reports, in this order in `all`."""

    def __init__(
        self,
        parent: Component,
        name: str,
        args: AuroraArgs,
        cluster: aws.rds.Cluster,
        subnet_group: Input[str],
        monitoring_role: Input[str] | None,
        after: Sequence[pulumi.Resource],
    ) -> None:
        self._parent, self._name, self._args, self._cluster = parent, name, args, cluster
        self._subnet_group, self._monitoring_role = subnet_group, monitoring_role
        self._class = args.capacity.instance_class if isinstance(args.capacity, Provisioned) else "db.serverless"
        own = args.instance_parameter_group
        writer = self._instance("writer", self._class, own, 0, after)
        # The first instance of a cluster becomes its writer: readers wait for it.
        readers = [self._instance(f"reader-{i}", self._class, own, 1, [writer]) for i in range(1, args.readers + 1)]
        self.all: list[pulumi.Resource] = [writer, *readers]
        self.reader_host: Output[str] = cluster.reader_endpoint
        self.reports_host: Output[str] | None = None
        if args.reports is not None:
            self._reports(args.reports, writer)
        if args.scaling is not None:
            self._scale(args.scaling)
        if args.activity_stream is not None:
            aws.rds.ClusterActivityStream(
                f"{name}-activity",
                resource_arn=cluster.arn,
                mode=args.activity_stream,
                kms_key_id=args.server.placement.data_key_arn,
                opts=parent.child(ResourceOptions(depends_on=self.all)),
            )

    def _instance(
        self, role: str, instance_class: str, parameter_group: Input[str], tier: int, after: Sequence[pulumi.Resource]
    ) -> aws.rds.ClusterInstance:
        """`tier` orders the instances for a failover: the lowest becomes the writer."""
        args, server, watch = self._args, self._args.server, self._args.server.monitoring
        return aws.rds.ClusterInstance(
            f"{self._name}-{role}",
            identifier=Output.concat(self._cluster.id, f"-{role}"),
            cluster_identifier=self._cluster.id,
            engine=ENGINE,
            engine_version=args.version.version,
            instance_class=instance_class,
            db_subnet_group_name=self._subnet_group,
            db_parameter_group_name=parameter_group,
            publicly_accessible=False,
            auto_minor_version_upgrade=upgrades(args.version),
            ca_cert_identifier=args.certificate_authority,
            promotion_tier=tier,
            copy_tags_to_snapshot=True,
            performance_insights_enabled=True,
            performance_insights_kms_key_id=server.placement.data_key_arn,
            performance_insights_retention_period=watch.insights_days,
            monitoring_interval=watch.seconds,
            monitoring_role_arn=self._monitoring_role,
            apply_immediately=server.protection.apply_immediately,
            opts=self._parent.child(ResourceOptions(depends_on=list(after))),
        )

    def _reports(self, reports: Reports, writer: pulumi.Resource) -> None:
        """Readers of their own, an endpoint of just them, and one of all others: scaling's readers are among these."""
        made = [
            self._instance(
                f"reports-{i}", reports.instance_class or self._class, reports.parameter_group, LAST, [writer]
            )
            for i in range(1, reports.readers + 1)
        ]
        members = [instance.id for instance in made]
        self.all += made
        self.reports_host = self._endpoint("reports", static=members)
        self.reader_host = self._endpoint("shop", excluded=members)

    def _endpoint(
        self, role: str, static: list[Output[str]] | None = None, excluded: list[Output[str]] | None = None
    ) -> Output[str]:
        return aws.rds.ClusterEndpoint(
            f"{self._name}-{role}",
            cluster_identifier=self._cluster.id,
            cluster_endpoint_identifier=Output.concat(self._cluster.id, f"-{role}"),
            custom_endpoint_type="READER",
            static_members=static,
            excluded_members=excluded,
            opts=self._parent.child(ResourceOptions(depends_on=self.all)),
        ).endpoint

    def _scale(self, scaling: ReaderScaling) -> None:
        kinds = aws.appautoscaling
        target = kinds.Target(
            f"{self._name}-readers",
            service_namespace="rds",
            scalable_dimension="rds:cluster:ReadReplicaCount",
            resource_id=Output.concat("cluster:", self._cluster.id),
            min_capacity=len(self.all) - 1,
            max_capacity=scaling.max_readers,
            opts=self._parent.child(ResourceOptions(depends_on=self.all)),
        )
        kinds.Policy(
            f"{self._name}-readers-{scaling.metric}",
            service_namespace=target.service_namespace,
            scalable_dimension=target.scalable_dimension,
            resource_id=target.resource_id,
            policy_type="TargetTrackingScaling",
            target_tracking_scaling_policy_configuration=kinds.PolicyTargetTrackingScalingPolicyConfigurationArgs(
                target_value=scaling.target,
                scale_in_cooldown=scaling.scale_in_seconds,
                scale_out_cooldown=scaling.scale_out_seconds,
                predefined_metric_specification=(
                    kinds.PolicyTargetTrackingScalingPolicyConfigurationPredefinedMetricSpecificationArgs(
                        predefined_metric_type=METRICS[scaling.metric]
                    )
                ),
            ),
            opts=self._parent.child(),
        )
