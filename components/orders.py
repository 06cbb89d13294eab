"""OrdersService: the shop's API on ECS in front of one of the two databases, behind its own load balancer.

Invariants:
- One service is one origin (`mysql-api`, `aurora-api`) and knows one database account, by reference to its secret.
- The load balancer speaks TLS 1.2 or newer only, and only with the router's network.
- Tasks run in private subnets without a public address, as a user without rights, on a file system they cannot write.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.balancer import Balancer, BalancerArgs, Targets
from components.base import Component, demand
from components.databases import DatabaseAccess
from components.network import Endpoint, allow, call_aws, security_group
from components.policies import (
    assume_role,
    document,
    read_secrets,
    statement,
    write_logs,
)
from contract.flag import Side

PORT = 8080
HEALTH_PATH = "/healthz"


@dataclass(frozen=True)
class Task:
    """The container: its image, the Python module it runs, CPU units (1024 is one) and MiB, and how many of it."""

    image: str
    module: str = "services.orders"
    cpu: int = 256
    memory: int = 512
    count: int = 1

    def __post_init__(self) -> None:
        demand(
            self,
            image=(bool(self.image), "an image must be named"),
            cpu=(self.cpu in (256, 512, 1024, 2048, 4096), f"256, 512, 1024, 2048 or 4096, not {self.cpu}"),
            memory=(2 <= self.memory / self.cpu <= 8, f"2 to 8 times the CPU units, not {self.memory}"),
            count=(0 <= self.count <= 64, f"0 to 64, not {self.count}"),
        )


@dataclass(frozen=True)
class Place:
    """Where services stand: network, ECS cluster, keys, the router's network (a prefix list), and the DNS zone.

    `prefix` makes names that are not auto-named unique to the stack.
    """

    prefix: str
    account_id: str
    region: str
    vpc_id: Input[str]
    public_subnet_ids: Sequence[Input[str]]
    private_subnet_ids: Sequence[Input[str]]
    cluster_arn: Input[str]
    secrets_key_arn: Input[str]
    logs_key_arn: Input[str]
    edge_prefix_list_id: Input[str]
    zone_id: str
    log_days: int = 30
    deletion_protection: bool = True


@dataclass(frozen=True)
class OrdersArgs:
    """`host` is the origin's name in DNS; `database` is the side's endpoint and application account."""

    side: Side
    host: str
    database_name: str
    database: DatabaseAccess
    task: Task
    place: Place


def container_definitions(name: str, args: OrdersArgs, *, db_host: str, secret_arn: str, log_group: str) -> str:
    """The one container of a task, as ECS wants it."""
    place, task = args.place, args.task
    environment = {
        "SIDE": args.side.value,
        "DB_HOST": db_host,
        "DB_PORT": str(args.database.endpoint.port),
        "DB_NAME": args.database_name,
        "DB_TLS": "require",
        "PORT": str(PORT),
    }
    return json.dumps(
        [
            {
                "name": name,
                "image": task.image,
                "essential": True,
                "command": ["python", "-m", task.module],
                "user": "65534:65534",
                "readonlyRootFilesystem": True,
                "linuxParameters": {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"]}},
                "portMappings": [{"containerPort": PORT, "protocol": "tcp"}],
                "environment": [{"name": key, "value": value} for key, value in environment.items()],
                "secrets": [
                    {"name": "DB_USER", "valueFrom": f"{secret_arn}:username::"},
                    {"name": "DB_PASSWORD", "valueFrom": f"{secret_arn}:password::"},
                ],
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-group": log_group,
                        "awslogs-region": place.region,
                        "awslogs-stream-prefix": name,
                    },
                },
            }
        ]
    )


def execution_policy(secret_arn: str, secrets_key_arn: str, log_group_arn: str) -> str:
    """What ECS may do to start a task: pull images, read the one account, write the one log."""
    return document(
        statement("RegistryLogin", ["ecr:GetAuthorizationToken"], ["*"]),
        statement(
            "PullImages",
            ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            ["arn:*:ecr:*:*:repository/*"],
        ),
        *read_secrets([secret_arn], secrets_key_arn),
        write_logs(log_group_arn),
    )


class OrdersService(Component):
    """Outputs: `origin`, the base URL the router sends requests to."""

    origin: str

    def __init__(self, name: str, args: OrdersArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        place = args.place
        balancer = Balancer(
            name,
            BalancerArgs(
                host=args.host,
                zone_id=place.zone_id,
                vpc_id=place.vpc_id,
                subnet_ids=place.public_subnet_ids,
                edge_prefix_list_id=place.edge_prefix_list_id,
                targets=Targets(PORT, HEALTH_PATH),
                deletion_protection=place.deletion_protection,
            ),
            self.child(),
        )
        task_group = security_group(f"{name}-tasks", place.vpc_id, f"{name}: tasks", self.child())
        ways: list[pulumi.Resource] = [
            *allow(f"{name}-to-task", balancer.security_group_id, Endpoint("", PORT, task_group.id), self.child()),
            *allow(f"{name}-to-database", task_group.id, args.database.endpoint, self.child()),
            call_aws(name, task_group.id, self.child()),
        ]
        logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/ecs/{place.prefix}/{name}",
            retention_in_days=place.log_days,
            kms_key_id=place.logs_key_arn,
            opts=self.child(),
        )
        account = args.database.account
        execution = aws.iam.Role(
            f"{name}-execution",
            assume_role_policy=assume_role("ecs-tasks.amazonaws.com", place.account_id),
            description=f"{name}: starts tasks",
            opts=self.child(),
        )
        rights = aws.iam.RolePolicy(
            f"{name}-rights",
            role=execution.id,
            policy=Output.all(account.secret_arn, place.secrets_key_arn, logs.arn).apply(
                lambda v: execution_policy(v[0], v[1], v[2])
            ),
            opts=self.child(),
        )
        definition = aws.ecs.TaskDefinition(
            f"{name}-task",
            family=f"{place.prefix}-{name}",
            requires_compatibilities=["FARGATE"],
            network_mode="awsvpc",
            cpu=str(args.task.cpu),
            memory=str(args.task.memory),
            execution_role_arn=execution.arn,
            container_definitions=Output.all(args.database.endpoint.host, account.secret_arn, logs.name).apply(
                lambda v: container_definitions(name, args, db_host=v[0], secret_arn=v[1], log_group=v[2])
            ),
            opts=self.child(),
        )
        aws.ecs.Service(
            f"{name}-service",
            cluster=place.cluster_arn,
            task_definition=definition.arn,
            desired_count=args.task.count,
            launch_type="FARGATE",
            deployment_circuit_breaker=aws.ecs.ServiceDeploymentCircuitBreakerArgs(enable=True, rollback=True),
            health_check_grace_period_seconds=60,
            propagate_tags="SERVICE",
            load_balancers=[
                aws.ecs.ServiceLoadBalancerArgs(
                    target_group_arn=balancer.target.arn,
                    container_name=name,
                    container_port=PORT,
                )
            ],
            network_configuration=aws.ecs.ServiceNetworkConfigurationArgs(
                subnets=list(place.private_subnet_ids),
                security_groups=[task_group.id],
                assign_public_ip=False,
            ),
            opts=self.child(ResourceOptions(depends_on=[*balancer.ready, rights, *ways, *args.database.ready])),
        )
        self.origin = balancer.url
        self.register_outputs({"origin": self.origin})
