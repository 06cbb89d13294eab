"""Observability: CloudWatch's dashboard and alarms, and the one alarm that says whether a cutover may begin.

Invariants:
- Every alarm goes to the one topic, when it begins and when it is over.
- The alarm `ready-for-cutover` is OK if and only if every alarm that a cutover waits for is OK; while one of them has
  no data, it is not.
- Alarms and dashboard name only what the stack has, so none of them waits for a thing that never reports.

Cost drivers:
- Alarms by the month: plain ones each, those with a query by the metrics it reads, and the composite alarm.
- The dashboard by the month; the probe's two figures as custom metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.alarms import LAG_METRIC, MISMATCH_METRIC, AlarmSpec, Metric, alarms, ready_rule
from components.base import Component, demand
from components.dashboards import dashboard
from components.watched import Probe, Watched

MOST_CHILDREN = 100
"""Alarms that a composite alarm may name: a quota of CloudWatch."""


@dataclass(frozen=True)
class ObservabilityArgs:
    """What is watched, and who is told."""

    prefix: str
    """Makes the names of alarms and dashboard unique to the stack."""
    account_id: str
    """Account of the alarms' ARNs."""
    partition: str
    """Partition of the alarms' ARNs."""
    region: str
    """Region whose metrics are shown."""
    alarm_topic_arn: Input[str]
    """Topic of all alarms."""
    watched: Watched
    """The stack's parts."""
    others: Sequence[Input[str]] = ()
    """Names of further alarms that a cutover waits for, made by the component that knows the thing (DMS, backups)."""

    def __post_init__(self) -> None:
        waits = [*self.others, *(name for service in self.watched.services for name in service.alarms)]
        demand(self, others=(len(waits) <= MOST_CHILDREN - 20, f"at most {MOST_CHILDREN - 20} alarms of others"))

    @property
    def namespace(self) -> str:
        """Where the figures of the probe's log go in CloudWatch."""
        return f"zdm/{self.prefix}"


class Observability(Component):
    """The dashboard, the alarms and the verdict of them all."""

    dashboard: Output[str]
    """Name of the dashboard in CloudWatch."""
    ready_alarm: Output[str]
    """Name of the alarm that is OK while a cutover may begin."""

    def __init__(self, name: str, args: ObservabilityArgs, opts: ResourceOptions | None = None) -> None:
        super().__init__(name, opts)
        self._name, self._args = name, args
        if args.watched.probe:
            self._figures(args.watched.probe)
        specs = alarms(args.watched, args.namespace)
        made = {spec.key: self._alarm(spec) for spec in specs}
        waits: list[Input[str]] = [
            *(made[spec.key].name for spec in specs if spec.blocks),
            *(alarm for service in args.watched.services for alarm in service.alarms),
            *args.others,
        ]
        ready = f"{args.prefix}-ready-for-cutover"
        composite = aws.cloudwatch.CompositeAlarm(
            f"{name}-ready",
            alarm_name=ready,
            alarm_description="OK: a cutover may begin. ALARM: one of the alarms it waits for is not OK",
            alarm_rule=Output.all(*waits).apply(ready_rule),
            alarm_actions=[args.alarm_topic_arn],
            ok_actions=[args.alarm_topic_arn],
            opts=self.child(),
        )
        arns = {spec.key: self._arn(f"{args.prefix}-{spec.key}") for spec in specs}
        body = dashboard(
            args.watched, region=args.region, namespace=args.namespace, alarm_arns=arns, ready=self._arn(ready)
        )
        board = aws.cloudwatch.Dashboard(
            f"{name}-dashboard",
            dashboard_name=args.prefix,
            dashboard_body=Output.json_dumps(body, sort_keys=True),
            opts=self.child(),
        )
        self.ready_alarm, self.dashboard = composite.id, board.id
        self.register_outputs({"readyAlarm": self.ready_alarm, "dashboard": self.dashboard})

    def _arn(self, alarm: str) -> str:
        args = self._args
        return f"arn:{args.partition}:cloudwatch:{args.region}:{args.account_id}:alarm:{alarm}"

    def _alarm(self, spec: AlarmSpec) -> aws.cloudwatch.MetricAlarm:
        args, measure = self._args, spec.measure
        metric: dict[str, Any]
        if isinstance(measure, Metric):
            metric = {
                "namespace": measure.namespace,
                "metric_name": measure.name,
                "dimensions": measure.dimensions or None,
                "statistic": measure.statistic,
                "period": spec.seconds,
            }
        else:
            query: dict[str, Any] = {
                "id": "worst",
                "expression": measure.query,
                "label": spec.what,
                "period": spec.seconds,
            }
            metric = {"metric_queries": [aws.cloudwatch.MetricAlarmMetricQueryArgs(**query, return_data=True)]}
        return aws.cloudwatch.MetricAlarm(
            f"{self._name}-{spec.key}",
            name=f"{args.prefix}-{spec.key}",
            alarm_description=spec.what,
            **metric,
            comparison_operator=spec.comparison,
            threshold=spec.bound,
            evaluation_periods=spec.periods,
            datapoints_to_alarm=spec.late,
            treat_missing_data=spec.missing,
            alarm_actions=[args.alarm_topic_arn],
            ok_actions=[args.alarm_topic_arn],
            opts=self.child(),
        )

    def _figures(self, probe: Probe) -> None:
        """The probe writes one JSON line a sample; two of its figures become metrics."""
        for metric, key in ((LAG_METRIC, "lagSeconds"), (MISMATCH_METRIC, "mismatches")):
            aws.cloudwatch.LogMetricFilter(
                f"{self._name}-figure-{metric.lower()}",
                name=metric,
                log_group_name=probe.log_group,
                pattern=f"{{ $.{key} = * }}",
                metric_transformation=aws.cloudwatch.LogMetricFilterMetricTransformationArgs(
                    name=metric, namespace=self._args.namespace, value=f"$.{key}"
                ),
                opts=self.child(),
            )
