"""Relay: carries the outbox's events of one side to Kafka, on ECS.

Invariants:
- One task per side. Both sides' relays run all the time, and each delivers only while its side is the writer, which it
  reads from the database's fence: a cutover needs no change here. A second task, as during a deployment, waits for the
  first one's lock.
- It may connect to the brokers, write the one topic and nothing else there; it knows one database account, by
  reference to its secret. It has no public address, and only what scrapes its metrics connects to it.

Cost drivers:
- Fargate: vCPU and memory of one task by the second; its log by the GiB.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.base import Component, demand
from components.databases import DatabaseAccess
from components.dual_write_task import Login, Runtime, Task, container_definitions, execution_policy
from components.endpoints import reach_aws
from components.kafka import KafkaAccess
from components.network import allow, security_group
from components.place import Place, task_role
from components.policies import document, statement
from contract.flag import Side

MODULE = "services.relay"


@dataclass(frozen=True)
class RelayArgs:
    """Arguments of `Relay`."""

    side: Side
    """Whose outbox it reads."""
    database_name: str
    """Name of the database."""
    database: DatabaseAccess
    """The side's endpoint and the application's account there."""
    kafka: KafkaAccess
    """The brokers; the topic must be there."""
    topic: str
    """Where the events go."""
    task: Task
    """The container, of the image with this project's services: the same as the API's. The least CPU that Fargate has
    carries some thousand events a second."""
    place: Place
    """Where services stand."""

    def __post_init__(self) -> None:
        demand(self, topic=(bool(self.topic), "a topic must be named"))


def task_policy(cluster_arn: str, topic: str) -> str:
    """What the container may do: connect, and write the one topic, each record once for all retries."""
    head, _, cluster = cluster_arn.partition(":cluster/")
    return document(
        statement(
            "Connect",
            ["kafka-cluster:Connect", "kafka-cluster:DescribeCluster", "kafka-cluster:WriteDataIdempotently"],
            [cluster_arn],
        ),
        statement(
            "WriteEvents",
            ["kafka-cluster:DescribeTopic", "kafka-cluster:WriteData"],
            [f"{head}:topic/{cluster}/{topic}"],
        ),
    )


class Relay(Component):
    """The task with its roles and its log."""

    service_name: Output[str]
    """Name of the service in ECS."""
    security_group_id: Output[str]
    """Group of the task: what scrapes it is let in there."""
    log_group: Output[str]
    """Name of its log group."""

    def __init__(self, name: str, args: RelayArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        place, secret = args.place, args.database.account.secret_arn
        group = security_group(f"{name}-group", place.vpc_id, f"{name}: events", self.child())
        ways = [
            *allow(f"{name}-to-database", group.id, args.database.endpoint, self.child()),
            *allow(f"{name}-to-kafka", group.id, args.kafka.endpoint, self.child()),
            *reach_aws(name, group.id, place.apis, self.child()),
        ]
        logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/ecs/{place.prefix}/{name}",
            retention_in_days=place.log_days,
            kms_key_id=place.logs_key_arn,
            opts=self.child(),
        )
        execution = task_role(f"{name}-execution", f"{name}: starts the task", place, self.child())
        role = task_role(f"{name}-task-role", f"{name}: the container's own", place, self.child())
        rights = [
            aws.iam.RolePolicy(
                f"{name}-rights",
                role=execution.id,
                policy=Output.all(secret, place.secrets_key_arn, logs.arn).apply(
                    lambda v: execution_policy([args.task.image], [v[0]], v[1], v[2])
                ),
                opts=self.child(),
            ),
            aws.iam.RolePolicy(
                f"{name}-task-rights",
                role=role.id,
                policy=args.kafka.cluster_arn.apply(lambda arn: task_policy(arn, args.topic)),
                opts=self.child(),
            ),
        ]
        definition = aws.ecs.TaskDefinition(
            f"{name}-task",
            family=f"{place.prefix}-{name}",
            requires_compatibilities=["FARGATE"],
            network_mode="awsvpc",
            cpu=str(args.task.cpu),
            memory=str(args.task.memory),
            execution_role_arn=execution.arn,
            task_role_arn=role.arn,
            container_definitions=self._containers(logs.name),
            skip_destroy=True,  # ECS rolls back to the definition before, which must not be deregistered by then
            opts=self.child(),
        )
        service = aws.ecs.Service(
            f"{name}-service",
            cluster=place.cluster_arn,
            task_definition=definition.arn,
            desired_count=1,
            launch_type="FARGATE",
            deployment_minimum_healthy_percent=100,
            deployment_maximum_percent=200,
            deployment_circuit_breaker=aws.ecs.ServiceDeploymentCircuitBreakerArgs(enable=True, rollback=True),
            enable_ecs_managed_tags=True,
            propagate_tags="SERVICE",
            network_configuration=aws.ecs.ServiceNetworkConfigurationArgs(
                subnets=list(place.private_subnet_ids), security_groups=[group.id], assign_public_ip=False
            ),
            opts=self.child(
                ResourceOptions(depends_on=[*rights, *ways, *args.kafka.ready, *args.database.ready]),
            ),
        )
        self.service_name, self.security_group_id, self.log_group = service.name, group.id, logs.name
        self.register_outputs({"service": self.service_name})

    def _containers(self, log_group: Output[str]) -> Output[str]:
        args, there = self._args, self._args.database
        return Output.all(
            there.endpoint.host, there.endpoint.port, there.account.secret_arn, log_group, args.kafka.bootstrap
        ).apply(
            lambda v: container_definitions(
                self._name,
                args.task,
                Runtime(
                    args.side,
                    args.database_name,
                    [Login(v[0], v[1], v[2])],
                    v[3],
                    args.place.region,
                    {"KAFKA_BOOTSTRAP": v[4], "EVENTS_TOPIC": args.topic, "AWS_REGION": args.place.region},
                ),
            )
        )
