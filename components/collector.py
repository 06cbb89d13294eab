"""Collector: one task that measures how late the target is, scrapes the stack, and writes it all to the workspace.

Invariants:
- One task at a time, also while it is replaced: two would write every sample twice.
- It may write to the one workspace, list the tasks of the one cluster, read the captured topics and the position of the
  one consumer group, and log in to both databases as an account that can change nothing but the watermark's row.
- It has no public address, and nothing connects to it.

Cost drivers:
- Fargate: vCPU and memory of one task by the second; its log by the GiB.
- What it writes is paid in `Metrics`, by the sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component, demand
from components.collector_task import (
    Runtime,
    agent_config,
    container_definitions,
    execution_policy,
    task_policy,
)
from components.connectors import Capture
from components.databases import DatabaseAccess
from components.endpoints import reach_aws
from components.kafka import KafkaAccess
from components.metrics import Metrics
from components.network import Endpoint, allow, security_group
from components.place import Place, task_role

JMX_PORT, NODE_PORT = 11001, 11002


@dataclass(frozen=True)
class ScrapedService:
    """A service whose tasks are scraped one by one."""

    service: Input[str]
    """Its name in ECS."""
    security_group_id: Input[str]
    """Its tasks' security group, which lets the collector in."""
    url: str
    """Its public URL, which tells it apart where there is no ECS."""
    port: int = 8080
    """The containers' port."""


@dataclass(frozen=True)
class Exporters:
    """The brokers' exporters (MSK's open monitoring)."""

    jmx: Input[Sequence[str]]
    """`host:11001` of each broker."""
    nodes: Input[Sequence[str]]
    """`host:11002` of each broker."""


@dataclass(frozen=True)
class CollectorArgs:
    """What is measured, and where the task stands."""

    place: Place
    """Network, ECS cluster and keys."""
    metrics: Metrics
    """The workspace to write to."""
    capture: Capture
    """What is captured: its topics, and the sink's consumer group."""
    kafka: KafkaAccess
    """The brokers."""
    mysql: DatabaseAccess
    """The source, as the account `zdm_probe`."""
    aurora: DatabaseAccess
    """The target, as the account `zdm_probe`."""
    probe_image: str
    """Image with this project's services; the same as the API's."""
    agent_image: str = "prom/prometheus:v2.55.1"
    """Prometheus: 2.55 is the last of the second series, whose agent mode these arguments are for."""
    services: Mapping[str, ScrapedService] = field(default_factory=dict)
    """Services to scrape, by the name that their series carry."""
    exporters: Exporters | None = None
    """The brokers' exporters, if they are switched on."""
    cpu: int = 512
    """CPU units of the task: half a vCPU scrapes some tens of tasks and brokers."""
    memory: int = 1024
    """MiB of the task: the agent keeps two hours of samples that it could not deliver, on disk and not in memory."""

    def __post_init__(self) -> None:
        demand(
            self,
            probe_image=(bool(self.probe_image), "an image must be named"),
            agent_image=(
                self.agent_image.partition("@")[0].partition(":")[0].endswith("/prometheus"),
                f"an image of Prometheus, not {self.agent_image!r}",
            ),
            cpu=(self.cpu in (256, 512, 1024, 2048, 4096), f"256, 512, 1024, 2048 or 4096, not {self.cpu}"),
            memory=(2 <= self.memory / self.cpu <= 8, f"2 to 8 times the CPU units, not {self.memory}"),
        )


class Collector(Component):
    """The task with its roles and its log."""

    log_group: Output[str]
    """Name of the log group: the probe writes a line of JSON there for each sample."""
    security_group_id: Output[str]
    """Group of the task."""
    service_name: Output[str]
    """Name of the service in ECS."""

    def __init__(self, name: str, args: CollectorArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        place = args.place
        group = security_group(f"{name}-group", place.vpc_id, f"{name}: scrapes and probes", self.child())
        ways = self._ways(group.id)
        logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/ecs/{place.prefix}/{name}",
            retention_in_days=place.log_days,
            kms_key_id=place.logs_key_arn,
            opts=self.child(),
        )
        secrets = [args.mysql.account.secret_arn, args.aurora.account.secret_arn]
        images = [args.probe_image, args.agent_image]
        execution = task_role(f"{name}-execution", f"{name}: starts the task", place, self.child())
        capture = args.capture
        topics = [f"{capture.prefix}.*", capture.heartbeat_topic]
        rights = [
            aws.iam.RolePolicy(
                f"{name}-rights",
                role=execution.id,
                policy=Output.all(*secrets, place.secrets_key_arn, logs.arn).apply(
                    lambda v: execution_policy(images, v[:2], v[2], v[3])
                ),
                opts=self.child(),
            )
        ]
        role = task_role(f"{name}-task-role", f"{name}: the containers' own", place, self.child())
        rights.append(
            aws.iam.RolePolicy(
                f"{name}-task-rights",
                role=role.id,
                policy=Output.all(args.metrics.workspace_arn, place.cluster_arn, args.kafka.cluster_arn).apply(
                    lambda v: task_policy(v[0], v[1], v[2], topics, capture.sink_group)
                ),
                opts=self.child(),
            )
        )
        definition = aws.ecs.TaskDefinition(
            f"{name}-task",
            family=f"{place.prefix}-{name}",
            requires_compatibilities=["FARGATE"],
            network_mode="awsvpc",
            cpu=str(args.cpu),
            memory=str(args.memory),
            execution_role_arn=execution.arn,
            task_role_arn=role.arn,
            container_definitions=self._containers(logs.name),
            volumes=[aws.ecs.TaskDefinitionVolumeArgs(name="wal")],
            opts=self.child(),
        )
        service = aws.ecs.Service(
            f"{name}-service",
            cluster=place.cluster_arn,
            task_definition=definition.arn,
            desired_count=1,
            launch_type="FARGATE",
            deployment_minimum_healthy_percent=0,
            deployment_maximum_percent=100,
            deployment_circuit_breaker=aws.ecs.ServiceDeploymentCircuitBreakerArgs(enable=True, rollback=True),
            propagate_tags="SERVICE",
            network_configuration=aws.ecs.ServiceNetworkConfigurationArgs(
                subnets=list(place.private_subnet_ids),
                security_groups=[group.id],
                assign_public_ip=False,
            ),
            opts=self.child(
                ResourceOptions(
                    depends_on=[*rights, *ways, *args.kafka.ready, *args.mysql.ready, *args.aurora.ready, args.metrics]
                )
            ),
        )
        self.log_group, self.security_group_id, self.service_name = logs.name, group.id, service.name
        self.register_outputs({"logGroup": self.log_group, "service": self.service_name})

    def _ways(self, group: Output[str]) -> list[pulumi.Resource]:
        """The rules to everything that it asks."""
        args = self._args
        peers = {"kafka": args.kafka.endpoint, "mysql": args.mysql.endpoint, "aurora": args.aurora.endpoint}
        for name, scraped in args.services.items():
            peers[name] = Endpoint("", scraped.port, security_group_id=scraped.security_group_id)
        if args.exporters:
            brokers = args.kafka.security_group_id
            peers |= {"jmx": Endpoint("", JMX_PORT, brokers), "node": Endpoint("", NODE_PORT, brokers)}
        ways = [
            rule
            for peer, endpoint in peers.items()
            for rule in allow(f"{self._name}-to-{peer}", group, endpoint, self.child())
        ]
        return [*ways, *reach_aws(self._name, group, args.place.apis, self.child())]

    def _containers(self, log_group: Output[str]) -> Output[str]:
        args, capture, place = self._args, self._args.capture, self._args.place
        fixed = {
            "TOPIC_PREFIX": capture.prefix,
            "DATABASE": capture.database,
            "TABLES": json.dumps(list(capture.tables)),
            "SINK_GROUP": capture.sink_group,
            "HEARTBEAT_TOPIC": capture.heartbeat_topic,
            "MYSQL_PORT": str(args.mysql.endpoint.port),
            "AURORA_PORT": str(args.aurora.endpoint.port),
            "AWS_REGION": place.region,
        }
        known: Output[dict[str, str]] = Output.all(
            KAFKA_BOOTSTRAP=args.kafka.bootstrap,
            MYSQL_HOST=args.mysql.endpoint.host,
            AURORA_HOST=args.aurora.endpoint.host,
            ECS_CLUSTER=place.cluster_name,
            ECS_SERVICES=Output.json_dumps(
                {name: [scraped.service, scraped.port, scraped.url] for name, scraped in args.services.items()}
            ),
        )
        config = Output.all(
            endpoint=args.metrics.endpoint,
            jmx=args.exporters.jmx if args.exporters else [],
            nodes=args.exporters.nodes if args.exporters else [],
        ).apply(lambda v: agent_config(place.prefix, v["endpoint"], place.region, v["jmx"], v["nodes"]))
        return Output.all(
            environment=known,
            mysql=args.mysql.account.secret_arn,
            aurora=args.aurora.account.secret_arn,
            config=config,
            log_group=log_group,
        ).apply(
            lambda v: container_definitions(
                self._name,
                Runtime(
                    args.agent_image,
                    args.probe_image,
                    {**fixed, **v["environment"]},
                    v["mysql"],
                    v["aurora"],
                    v["config"],
                    v["log_group"],
                    place.region,
                ),
            )
        )
