"""The router as nginx on ECS, behind a load balancer of its own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.balancer import AccessLogs, Balancer, BalancerArgs, Targets
from components.base import Component, demand
from components.endpoints import reach_aws
from components.images import pull_images
from components.network import Endpoint, allow, security_group
from components.place import Place, task_role
from components.policies import document, read_secrets, write_logs

if TYPE_CHECKING:
    from components.router import RouterArgs

PORT = 8080
HEALTH_PATH = "/healthz"
STOP_SECONDS = 60
"""Between SIGQUIT, which lets requests finish, and SIGKILL: longer than a write is held by default."""


@dataclass(frozen=True)
class NginxRouter:
    """Nginx on Fargate, with the same buckets and the same flag as the Worker."""

    place: Place
    """Where services stand; its edge is Cloudflare's network, for customers come through its proxy."""
    image: str
    """Image with nginx and njs, made by services/nginx_router/Dockerfile; best by its digest."""
    force_secret_arn: Input[str]
    """Secret whose `password` is the token with which a request may choose its side. ECS reads it."""
    cpu: int = 256
    """CPU units of a task, 1024 is one vCPU. The least that Fargate has: to be grown by the load test."""
    memory: int = 512
    """MiB of a task; 2 to 8 times the CPU units, as Fargate has them. Writes are held in it (`max_held`)."""
    count: int = 2
    """Tasks, 1 to 64. Two: one for each zone, so that the loss of a zone is none of the shop."""

    def __post_init__(self) -> None:
        demand(
            self,
            image=(bool(self.image), "an image must be named"),
            cpu=(self.cpu in (256, 512, 1024, 2048, 4096), f"256, 512, 1024, 2048 or 4096, not {self.cpu}"),
            memory=(2 <= self.memory / self.cpu <= 8, f"2 to 8 times the CPU units, not {self.memory}"),
            count=(1 <= self.count <= 64, f"1 to 64, not {self.count}"),
        )


HELD_KIB = 400
"""Memory of a held write: 330 KiB of njs context were seen with 2,000 of them, and a body of some KiB."""


def max_held(memory: int) -> int:
    """How many writes a task with so many MiB may hold at a time; 128 MiB are for all the rest."""
    return (memory - 128) * 1024 // HELD_KIB


def container_definitions(name: str, args: RouterArgs, kind: NginxRouter, *, secret_arn: str, log_group: str) -> str:
    """The one container of a task, as ECS wants it. What nginx does follows from these variables alone."""
    environment = {
        "MYSQL_ORIGIN": args.mysql_origin,
        "AURORA_ORIGIN": args.aurora_origin,
        "SALT": args.salt,
        "HOLD_MS": str(args.hold_ms),
        "MAX_HELD": str(max_held(kind.memory)),
        "ZDM_BIND": f"0.0.0.0:{PORT}",
    }
    container: dict[str, Any] = {
        "name": name,
        "image": kind.image,
        "essential": True,
        "command": ["python3", "-m", "services.nginx_router"],
        "user": "101:101",
        "readonlyRootFilesystem": True,
        "mountPoints": [{"sourceVolume": "scratch", "containerPath": "/tmp"}],
        "stopTimeout": STOP_SECONDS,
        "ulimits": [{"name": "nofile", "softLimit": 65536, "hardLimit": 65536}],
        "linuxParameters": {"capabilities": {"drop": ["ALL"]}},
        "portMappings": [{"containerPort": PORT, "protocol": "tcp"}],
        "environment": [{"name": key, "value": value} for key, value in environment.items()],
        "secrets": [{"name": "FORCE_TOKEN", "valueFrom": f"{secret_arn}:password::"}],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": log_group,
                "awslogs-region": kind.place.region,
                "awslogs-stream-prefix": name,
            },
        },
    }
    return json.dumps([container])


def execution_policy(image: str, secret_arn: str, secrets_key_arn: str, log_group_arn: str) -> str:
    """What ECS may do to start a task: pull its image, read the one token, write the one log."""
    return document(
        *pull_images([image]),
        *read_secrets([secret_arn], secrets_key_arn),
        write_logs(log_group_arn),
    )


def make_nginx(owner: Component, name: str, args: RouterArgs, kind: NginxRouter) -> None:
    """Makes the service and the load balancer that customers reach through Cloudflare's proxy."""
    place = kind.place
    balancer = Balancer(
        name,
        BalancerArgs(
            host=args.host,
            zone_id=args.zone_id,
            vpc_id=place.vpc_id,
            subnet_ids=place.public_subnet_ids,
            edge_prefix_list_id=place.edge_prefix_list_id,
            targets=Targets(PORT, HEALTH_PATH),
            proxied=True,
            deletion_protection=place.deletion_protection,
            web_acl_arn=place.web_acl_arn,
            access_logs=None if place.access_log_bucket is None else AccessLogs(place.access_log_bucket, name),
        ),
        owner.child(),
    )
    tasks = security_group(f"{name}-tasks", place.vpc_id, f"{name}: tasks", owner.child())
    ways = [
        *allow(f"{name}-to-task", balancer.security_group_id, Endpoint("", PORT, tasks.id), owner.child()),
        *reach_aws(name, tasks.id, place.apis, owner.child()),
    ]
    if place.apis.endpoint_group_id is not None:  # else the way to AWS's APIs leads to the origins as well
        ways.append(_to_origins(owner, name, tasks.id))
    logs = aws.cloudwatch.LogGroup(
        f"{name}-logs",
        name=f"/ecs/{place.prefix}/{name}",
        retention_in_days=place.log_days,
        kms_key_id=place.logs_key_arn,
        opts=owner.child(),
    )
    execution = task_role(f"{name}-execution", f"{name}: starts tasks", place, owner.child())
    rights = aws.iam.RolePolicy(
        f"{name}-rights",
        role=execution.id,
        policy=Output.all(kind.force_secret_arn, place.secrets_key_arn, logs.arn).apply(
            lambda v: execution_policy(kind.image, v[0], v[1], v[2])
        ),
        opts=owner.child(),
    )
    definition = aws.ecs.TaskDefinition(
        f"{name}-task",
        family=f"{place.prefix}-{name}",
        requires_compatibilities=["FARGATE"],
        network_mode="awsvpc",
        cpu=str(kind.cpu),
        memory=str(kind.memory),
        execution_role_arn=execution.arn,
        volumes=[aws.ecs.TaskDefinitionVolumeArgs(name="scratch")],
        container_definitions=Output.all(kind.force_secret_arn, logs.name).apply(
            lambda v: container_definitions(name, args, kind, secret_arn=v[0], log_group=v[1])
        ),
        opts=owner.child(),
    )
    aws.ecs.Service(
        f"{name}-service",
        cluster=place.cluster_arn,
        task_definition=definition.arn,
        desired_count=kind.count,
        launch_type="FARGATE",
        deployment_circuit_breaker=aws.ecs.ServiceDeploymentCircuitBreakerArgs(enable=True, rollback=True),
        deployment_minimum_healthy_percent=100,
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
            security_groups=[tasks.id],
            assign_public_ip=False,
        ),
        opts=owner.child(ResourceOptions(depends_on=[*balancer.ready, rights, *ways])),
    )


def _to_origins(owner: Component, name: str, group_id: Input[str]) -> aws.vpc.SecurityGroupEgressRule:
    """HTTPS to anywhere: the origins' load balancers have public addresses, and these change."""
    return aws.vpc.SecurityGroupEgressRule(
        f"{name}-to-origins",
        security_group_id=group_id,
        cidr_ipv4="0.0.0.0/0",
        ip_protocol="tcp",
        from_port=443,
        to_port=443,
        description="the origins' load balancers",
        tags={"Name": f"{name}-to-origins"},
        opts=owner.child(),
    )
