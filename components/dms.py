"""DmsReplication: AWS DMS from MySQL to Aurora PostgreSQL, the second way of change data capture, for when MSK must go.

Invariants:
- What DMS cannot carry by the type contract is refused before anything is made, by table and column.
- Capacity is one choice, an `Instance` or `Serverless`; it is private, encrypted with the stack's key, and its version
  does not move by itself.
- Nothing runs unless `running` says so. A change of a running task's settings or mappings stops it, changes it and
  starts it again where it was; one of its endpoints replaces it.
- The way back is never started by the program: it must begin at the position that a cutover has proven.
- Two ways never write one target: switch the other capture off before this one is on.

Cost drivers:
- The replication instance, by the hour, class and number of zones, also while no task runs; or a serverless
  replication's units by the hour while it runs.
- The instance's storage, by GiB and month; traffic between zones; logs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.base import Component
from components.dms_alarms import INSTANCE, REPLICATION, TASK, Alarm, capacity, declare, instance, latency, subscribe
from components.dms_alarms import validation as validation_alarms
from components.dms_args import DmsArgs, Instance, Serverless, Told
from components.dms_endpoints import DmsEndpoints, DmsEndpointsArgs, slot_name
from components.endpoints import reach_aws
from components.network import allow, security_group


class DmsReplication(Component):
    """The replication, the task that validates it, and the way back."""

    replication_arn: Output[str]
    """ARN of the replication: a task's, or a serverless configuration's."""
    validation_arn: Output[str] | None
    """ARN of the task that only validates; None where it is `off` or `inline`."""
    way_back_arn: Output[str] | None
    """ARN of the way back's task, to be started at a position; None without one."""
    instance_arn: Output[str] | None
    """ARN of the replication instance; None when serverless."""
    slot: str
    """Name of the replication slot that must be made on Aurora before the way back is started."""
    security_group_id: Output[str]
    """What the replication connects from."""
    alarm_names: list[Output[str]]
    """Its alarms: a cutover waits until none of them rings."""

    def __init__(self, name: str, args: DmsArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self.alarm_names = []
        self._name, self._args, self._place = name, args, args.place
        place, self._id = args.place, f"{args.place.prefix}-dms"
        group = security_group(f"{name}-capacity", place.vpc_id, f"{name}: AWS DMS", self.child())
        self.security_group_id = group.id
        ways = [
            *allow(f"{name}-to-source", group.id, args.source.access.endpoint, self.child()),
            *allow(f"{name}-to-target", group.id, args.target.access.endpoint, self.child()),
            *reach_aws(name, group.id, place.apis, self.child()),
        ]
        subnets = aws.dms.ReplicationSubnetGroup(
            f"{name}-subnets",
            replication_subnet_group_id=self._id,
            replication_subnet_group_description=f"{place.prefix}: AWS DMS",
            subnet_ids=list(place.subnet_ids),
            opts=self._named(*place.ready),
        )
        self._subnet_group = subnets.id
        self.slot = slot_name(place.prefix)
        self._ends = DmsEndpoints(
            f"{name}-endpoints",
            DmsEndpointsArgs(
                place.prefix,
                place.account_id,
                place.region,
                args.database,
                place.data_key_arn,
                place.secrets_key_arn,
                args.source,
                args.target,
                args.way_back,
            ),
            self.child(),
        )
        self.validation_arn = self.way_back_arn = self.instance_arn = None
        if isinstance(args.capacity, Instance):
            self._on_instance(args.capacity, ways)
        else:
            self._serverless(args.capacity, ways)
        for caution in args.forward()[1].cautions:
            pulumi.log.warn(f"AWS DMS, {caution}: the check of the data decides", self)
        self.register_outputs({"replicationArn": self.replication_arn})

    # --- on an instance -----------------------------------------------------------------------------------------------

    def _on_instance(self, size: Instance, ways: Sequence[pulumi.Resource]) -> None:
        name, args, place = self._name, self._args, self._place
        # DMS would make the group itself, and keep its streams for ever.
        logs = self._log_group(f"dms-tasks-{self._id}")
        machine = aws.dms.ReplicationInstance(
            f"{name}-instance",
            replication_instance_id=self._id,
            replication_instance_class=size.instance_class,
            allocated_storage=size.storage_gib,
            engine_version=size.version,
            auto_minor_version_upgrade=False,
            multi_az=size.multi_az,
            publicly_accessible=False,
            kms_key_arn=place.data_key_arn,
            replication_subnet_group_id=self._subnet_group,
            vpc_security_group_ids=[self.security_group_id],
            preferred_maintenance_window=args.maintenance,
            opts=self._named(*ways, logs, *place.ready),
        )
        self.instance_arn = machine.replication_instance_arn
        for plan in instance(size.storage_gib):
            self._alarm("instance", plan, {INSTANCE: machine.replication_instance_id})
        ids: list[Input[str]] = []

        def task(
            role: str, told: Told, source: Input[str], target: Input[str], run: bool = False
        ) -> aws.dms.ReplicationTask:
            settings, mappings = told
            made = aws.dms.ReplicationTask(
                f"{name}-{role}",
                replication_task_id=f"{self._id}-{role}",
                migration_type=settings.kind,
                replication_instance_arn=machine.replication_instance_arn,
                source_endpoint_arn=source,
                target_endpoint_arn=target,
                table_mappings=mappings.document,
                replication_task_settings=settings.document(),
                start_replication_task=run,
                opts=self._named(),
            )
            ids.append(made.replication_task_id)
            return made

        ends = self._ends
        forward = task("forward", args.forward(), ends.source_arn, ends.target_arn, args.running)
        self.replication_arn = forward.replication_task_arn
        self._watch("forward", self._of(machine, forward), args.running, args.validation == "inline")
        if args.validation in ("stopped", "running"):
            on = args.validation == "running"
            compare = task("compare", args.comparison(), ends.source_arn, ends.target_arn, on)
            self.validation_arn = compare.replication_task_arn
            for plan in validation_alarms():
                self._alarm("compare", plan, self._of(machine, compare))
        if ends.back_source_arn and ends.back_target_arn:
            back = task("back", args.back(), ends.back_source_arn, ends.back_target_arn)
            self.way_back_arn = back.replication_task_arn
            self._watch("back", self._of(machine, back), False, False)
        topic = place.alarm_topic_arn
        subscribe(name, place.prefix, "replication-instance", [machine.replication_instance_id], topic, self.child())
        subscribe(name, place.prefix, "replication-task", ids, topic, self.child())

    @staticmethod
    def _of(machine: aws.dms.ReplicationInstance, task: aws.dms.ReplicationTask) -> dict[str, Input[str]]:
        """Figures know a task by the last part of its ARN."""
        resource = task.replication_task_arn.apply(lambda arn: arn.rsplit(":", 1)[-1])
        return {INSTANCE: machine.replication_instance_id, TASK: resource}

    # --- serverless ---------------------------------------------------------------------------------------------------

    def _serverless(self, size: Serverless, ways: Sequence[pulumi.Resource]) -> None:
        name, args, place, ends = self._name, self._args, self._place, self._ends

        def replication(role: str, told: Told, run: bool) -> Output[str]:
            settings, mappings = told
            own = f"{self._id}-{role}"
            logs = self._log_group(f"dms-serverless-replication-{own}", role)
            made = aws.dms.ReplicationConfig(
                f"{name}-{role}",
                replication_config_identifier=own,
                # The last part of the ARN: with it, log group and figures have names that are known beforehand.
                resource_identifier=own,
                replication_type=settings.kind,
                source_endpoint_arn=ends.source_arn,
                target_endpoint_arn=ends.target_arn,
                table_mappings=mappings.document,
                replication_settings=settings.document(),
                start_replication=run,
                compute_config=aws.dms.ReplicationConfigComputeConfigArgs(
                    replication_subnet_group_id=self._subnet_group,
                    vpc_security_group_ids=[self.security_group_id],
                    kms_key_id=place.data_key_arn,
                    min_capacity_units=size.min_units,
                    max_capacity_units=size.max_units,
                    multi_az=size.multi_az,
                    preferred_maintenance_window=args.maintenance,
                ),
                opts=self._named(*ways, logs, *place.ready),
            )
            for plan in capacity():
                self._alarm(role, plan, {REPLICATION: own})
            return made.arn

        self.replication_arn = replication("forward", args.forward(), args.running)
        self._watch("forward", {REPLICATION: f"{self._id}-forward"}, args.running, args.validation == "inline")
        if args.validation in ("stopped", "running"):
            self.validation_arn = replication("compare", args.comparison(), args.validation == "running")
            for plan in validation_alarms():
                self._alarm("compare", plan, {REPLICATION: f"{self._id}-compare"})

    # --- both ---------------------------------------------------------------------------------------------------------

    def _named(self, *needs: pulumi.Resource) -> ResourceOptions:
        """For what has a fixed name, of which there cannot be two."""
        return self.child(ResourceOptions(depends_on=list(needs), delete_before_replace=True))

    def _log_group(self, group: str, role: str = "tasks") -> aws.cloudwatch.LogGroup:
        return aws.cloudwatch.LogGroup(
            f"{self._name}-{role}-logs",
            name=group,
            retention_in_days=self._place.log_days,
            kms_key_id=self._place.logs_key_arn,
            opts=self.child(),
        )

    def _watch(self, role: str, dimensions: Mapping[str, Input[str]], running: bool, validated: bool) -> None:
        for plan in (*latency(self._args.lag_seconds, running), *(validation_alarms() if validated else ())):
            self._alarm(role, plan, dimensions)

    def _alarm(self, role: str, plan: Alarm, dimensions: Mapping[str, Input[str]]) -> None:
        place = self._place
        made = declare(f"{self._name}-{role}", place.prefix, plan, dimensions, place.alarm_topic_arn, self.child())
        self.alarm_names.append(made.name)
