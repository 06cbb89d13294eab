"""DualWriteService: the shop's API on ECS in front of one of the two databases, with a standby that can take over.

Invariants:
- One service is one origin (`mysql-api`, `aurora-api`) and knows one database account, by reference to its secret; the
  one of MySQL knows another on Aurora where it can make second writes.
- Tasks run in private subnets without a public address, as a user without rights, on a file system they cannot write,
  spread over the zones; a deployment never has fewer of them than there must be.
- A deployment whose tasks do not come up, or during which errors or latency ring, is rolled back by ECS.
- The task's own role may do nothing; the role that starts tasks reads those secrets and writes one log.
- The standby is a service of its own, with its own tasks, task definition and (if wanted) the release before: what
  breaks the main tasks does not break it. It is checked all the time and gets no request until it is made active.

Cost drivers:
- Fargate: vCPU and memory of all tasks by the second, the standby's as well.
- The load balancer (see `Balancer`), alarms by the month, logs by the GiB taken in and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.balancer import AccessLogs, Balancer, BalancerArgs, Targets
from components.base import Component, demand
from components.databases import DatabaseAccess
from components.dual_write_alarms import Bounds, deployment_alarms, healthy_alarm
from components.dual_write_task import HEALTH_PATH, PORT, Login, Runtime, Task, container_definitions, execution_policy
from components.endpoints import reach_aws
from components.network import Endpoint, allow, security_group
from components.place import Place, task_role
from contract.flag import Side


@dataclass(frozen=True)
class Capacity:
    """How many tasks, and what makes them more."""

    minimum: int = 1
    """Tasks that always run. A cutover moves all requests at once and autoscaling takes minutes, so these alone must
    carry them. 0: none yet, for a first `up` before there is an image."""
    maximum: int = 1
    """Tasks at most. As many as the minimum: no autoscaling."""
    requests_per_second: int = 100
    """What one task carries: more tasks are started when they get more. To be measured by the load test."""
    cpu_percent: int = 60
    """CPU that is aimed at, of what a task has. 60 leaves room for the minutes until a new task answers."""

    def __post_init__(self) -> None:
        demand(
            self,
            minimum=(0 <= self.minimum <= 200, f"0 to 200, not {self.minimum}"),
            maximum=(self.minimum <= self.maximum <= 200, f"minimum ({self.minimum}) to 200, not {self.maximum}"),
            requests_per_second=(self.requests_per_second >= 1, f"at least 1, not {self.requests_per_second}"),
            cpu_percent=(10 <= self.cpu_percent <= 90, f"10 to 90, not {self.cpu_percent}"),
        )


@dataclass(frozen=True)
class Standby:
    """As many tasks as the main service has at least, ready to take its place: takeover is one change of the listener.

    A second service and not just more tasks of the first: those would share its deployments and its faults. A load
    balancer does not move requests between groups by itself, so whoever makes it active decides.
    """

    image: str | None = None
    """Image of the standby: the release before, so that a fault of the new one is not its own. None: the same image."""
    active: bool = False
    """The standby gets the requests, and the main tasks none."""


@dataclass(frozen=True)
class DualWriteArgs:
    """Arguments of `DualWriteService`."""

    side: Side
    """Which of the two databases it writes to first."""
    host: str
    """Name of the origin in DNS."""
    database_name: str
    """Name of the database."""
    database: DatabaseAccess
    """The side's endpoint and the application's account there."""
    task: Task
    """Image and size of a task."""
    place: Place
    """Where services stand."""
    capacity: Capacity = field(default_factory=Capacity)
    """How many tasks. One, without autoscaling: what a dev stack needs."""
    second: DatabaseAccess | None = None
    """MySQL's service: Aurora, for its second writes in dual mode. None: it can make none."""
    standby: Standby | None = None
    """The hot standby; it doubles the price of the tasks, so a dev stack has none."""
    bounds: Bounds = field(default_factory=Bounds)
    """When a deployment is bad enough to be rolled back."""


class DualWriteService(Component):
    """The origin of one side."""

    origin: str
    """Base URL that the router sends requests to."""
    balancer: Balancer
    """The load balancer in front, with the target groups between which a takeover chooses."""
    service_name: Output[str]
    """Name of the main service in ECS."""
    standby_service_name: Output[str] | None
    """Name of the standby's service, if there is one."""
    security_group_id: Output[str]
    """Group of the tasks: what scrapes them is let in there."""
    log_group: Output[str]
    """Name of the log group that all tasks write to."""
    alarm_names: list[Output[str]]
    """Its alarms: a cutover waits until none of them rings."""
    task_role_name: Output[str]
    """Role that the containers have; it may do nothing until something is added to it."""

    def __init__(self, name: str, args: DualWriteArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        self.alarm_names = []
        place, standby = args.place, args.standby
        logs = None if place.access_log_bucket is None else AccessLogs(place.access_log_bucket, name)
        self.balancer = balancer = Balancer(
            name,
            BalancerArgs(
                host=args.host,
                zone_id=place.zone_id,
                vpc_id=place.vpc_id,
                subnet_ids=place.public_subnet_ids,
                edge_prefix_list_id=place.edge_prefix_list_id,
                targets=Targets(
                    PORT,
                    HEALTH_PATH,
                    standby=standby is not None,
                    active="standby" if standby and standby.active else "main",
                ),
                deletion_protection=place.deletion_protection,
                web_acl_arn=place.web_acl_arn,
                access_logs=logs,
            ),
            self.child(),
        )
        self._tasks = security_group(f"{name}-tasks", place.vpc_id, f"{name}: tasks", self.child())
        self.security_group_id = self._tasks.id
        ways = [
            *allow(f"{name}-to-task", balancer.security_group_id, Endpoint("", PORT, self._tasks.id), self.child()),
            *allow(f"{name}-to-database", self._tasks.id, args.database.endpoint, self.child()),
            *(
                allow(f"{name}-to-second", self._tasks.id, args.second.endpoint, self.child())
                if args.second is not None
                else []
            ),
            *reach_aws(name, self._tasks.id, place.apis, self.child()),
        ]
        self._logs = aws.cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/ecs/{place.prefix}/{name}",
            retention_in_days=place.log_days,
            kms_key_id=place.logs_key_arn,
            opts=self.child(),
        )
        images = [args.task.image, *([standby.image] if standby and standby.image else [])]
        self._execution = task_role(f"{name}-execution", f"{name}: starts tasks", place, self.child())
        rights = aws.iam.RolePolicy(
            f"{name}-rights",
            role=self._execution.id,
            policy=Output.all(
                [access.account.secret_arn for access in self._accesses], place.secrets_key_arn, self._logs.arn
            ).apply(lambda v: execution_policy(images, v[0], v[1], v[2])),
            opts=self.child(),
        )
        self._role_of_tasks = task_role(f"{name}-task-role", f"{name}: the containers' own", place, self.child())
        needs = [*balancer.ready, rights, *ways, *(part for access in self._accesses for part in access.ready)]
        main = self._service(name, f"{name}-service", args.task, balancer.target, needs)
        self.service_name, self.standby_service_name = main.name, None
        if standby is not None and balancer.standby is not None:
            task = Task(standby.image or args.task.image, args.task.module, args.task.cpu, args.task.memory)
            second = self._service(f"{name}-standby", f"{name}-standby-service", task, balancer.standby, needs)
            self.standby_service_name = second.name
        self.origin, self.log_group, self.task_role_name = balancer.url, self._logs.name, self._role_of_tasks.name
        self.register_outputs({"origin": self.origin, "service": self.service_name})

    @property
    def _accesses(self) -> list[DatabaseAccess]:
        """The databases that it reaches, its own first."""
        args = self._args
        return [args.database, *([args.second] if args.second is not None else [])]

    def _service(
        self, name: str, label: str, task: Task, group: aws.lb.TargetGroup, needs: Sequence[pulumi.Resource]
    ) -> aws.ecs.Service:
        """Task definition, alarms, service and its scaling, in front of one target group."""
        args, place, capacity = self._args, self._args.place, self._args.capacity
        definition = aws.ecs.TaskDefinition(
            f"{name}-task",
            family=f"{place.prefix}-{name}",
            requires_compatibilities=["FARGATE"],
            network_mode="awsvpc",
            cpu=str(task.cpu),
            memory=str(task.memory),
            execution_role_arn=self._execution.arn,
            task_role_arn=self._role_of_tasks.arn,
            container_definitions=Output.all(
                [Output.all(a.endpoint.host, a.endpoint.port, a.account.secret_arn) for a in self._accesses],
                self._logs.name,
            ).apply(
                lambda v: container_definitions(
                    name, task, Runtime(args.side, args.database_name, [Login(*a) for a in v[0]], v[1], place.region)
                )
            ),
            skip_destroy=True,  # ECS rolls back to the definition before, which must not be deregistered by then
            opts=self.child(),
        )
        topic = place.alarm_topic_arn
        alarms = deployment_alarms(name, self.balancer, group, args.bounds, topic, self.child())
        self.alarm_names += alarms
        if capacity.minimum:
            self.alarm_names.append(healthy_alarm(name, self.balancer, group, capacity.minimum, topic, self.child()))
        scales = capacity.maximum > capacity.minimum
        service = aws.ecs.Service(
            label,
            cluster=place.cluster_arn,
            task_definition=definition.arn,
            desired_count=capacity.minimum,
            launch_type="FARGATE",
            availability_zone_rebalancing="ENABLED",
            deployment_minimum_healthy_percent=100,
            deployment_maximum_percent=200,
            deployment_circuit_breaker=aws.ecs.ServiceDeploymentCircuitBreakerArgs(enable=True, rollback=True),
            alarms=aws.ecs.ServiceAlarmsArgs(alarm_names=alarms, enable=True, rollback=True),
            enable_execute_command=False,
            enable_ecs_managed_tags=True,
            health_check_grace_period_seconds=60,
            propagate_tags="SERVICE",
            load_balancers=[
                aws.ecs.ServiceLoadBalancerArgs(
                    target_group_arn=group.arn,
                    container_name=name,
                    container_port=PORT,
                )
            ],
            network_configuration=aws.ecs.ServiceNetworkConfigurationArgs(
                subnets=list(place.private_subnet_ids),
                security_groups=[self._tasks.id],
                assign_public_ip=False,
            ),
            opts=self.child(ResourceOptions(depends_on=[*needs], ignore_changes=["desiredCount"] if scales else None)),
        )
        if scales:
            self._scaling(name, service, group)
        return service

    def _scaling(self, name: str, service: aws.ecs.Service, group: aws.lb.TargetGroup) -> None:
        """Between minimum and maximum, by CPU and by requests, whichever wants more: quick to grow, slow to shrink."""
        capacity = self._args.capacity
        target = aws.appautoscaling.Target(
            f"{name}-scaling",
            service_namespace="ecs",
            scalable_dimension="ecs:service:DesiredCount",
            resource_id=Output.format("service/{0}/{1}", self._args.place.cluster_name, service.name),
            min_capacity=capacity.minimum,
            max_capacity=capacity.maximum,
            opts=self.child(),
        )
        follows = {
            "cpu": ("ECSServiceAverageCPUUtilization", None, capacity.cpu_percent),
            "requests": (
                "ALBRequestCountPerTarget",
                Output.format("{0}/{1}", self.balancer.arn_suffix, group.arn_suffix),
                capacity.requests_per_second * 60,
            ),
        }
        for what, (metric, resource, value) in follows.items():
            aws.appautoscaling.Policy(
                f"{name}-by-{what}",
                policy_type="TargetTrackingScaling",
                service_namespace=target.service_namespace,
                scalable_dimension=target.scalable_dimension,
                resource_id=target.resource_id,
                target_tracking_scaling_policy_configuration=aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs(
                    predefined_metric_specification=aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationPredefinedMetricSpecificationArgs(
                        predefined_metric_type=metric, resource_label=resource
                    ),
                    target_value=value,
                    scale_out_cooldown=30,
                    scale_in_cooldown=300,
                ),
                opts=self.child(),
            )
