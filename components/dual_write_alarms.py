"""The dual-write service's own alarms: on what its load balancer sees of one target group.

They serve two ends: a deployment during which one of the first two rings is rolled back by ECS, and people hear of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.balancer import Balancer
from components.base import demand

_LEAST_REQUESTS = 100
"""A minute with fewer requests says nothing about a share of one in a thousand."""


@dataclass(frozen=True)
class Bounds:
    """When a service does badly; the requirements' own figures."""

    error_rate: float = 0.001
    """Share of requests answered with 5xx, at most."""
    latency_p95_ms: float = 150.0
    """Milliseconds in which 95 % of the requests are answered, at most."""

    def __post_init__(self) -> None:
        demand(
            self,
            error_rate=(0 < self.error_rate < 1, f"between 0 and 1, not {self.error_rate}"),
            latency_p95_ms=(self.latency_p95_ms > 0, f"more than 0, not {self.latency_p95_ms}"),
        )


def deployment_alarms(
    name: str,
    balancer: Balancer,
    group: aws.lb.TargetGroup,
    bounds: Bounds,
    topic_arn: Input[str],
    opts: ResourceOptions,
) -> list[Output[str]]:
    """Names of the alarms that roll a deployment back: errors, and latency."""
    dimensions = {"LoadBalancer": balancer.arn_suffix, "TargetGroup": group.arn_suffix}

    def count(id: str, metric: str) -> aws.cloudwatch.MetricAlarmMetricQueryArgs:
        return aws.cloudwatch.MetricAlarmMetricQueryArgs(
            id=id,
            metric=aws.cloudwatch.MetricAlarmMetricQueryMetricArgs(
                namespace="AWS/ApplicationELB", metric_name=metric, dimensions=dimensions, period=60, stat="Sum"
            ),
        )

    errors = aws.cloudwatch.MetricAlarm(
        f"{name}-errors",
        alarm_description=f"{name}: more than {bounds.error_rate:.2%} of the requests fail",
        metric_queries=[
            count("errors", "HTTPCode_Target_5XX_Count"),
            count("requests", "RequestCount"),
            aws.cloudwatch.MetricAlarmMetricQueryArgs(
                id="share",
                label="share of failed requests",
                expression=f"IF(requests >= {_LEAST_REQUESTS}, FILL(errors, 0) / requests, 0)",
                return_data=True,
            ),
        ],
        comparison_operator="GreaterThanThreshold",
        threshold=bounds.error_rate,
        evaluation_periods=3,
        datapoints_to_alarm=2,
        treat_missing_data="notBreaching",
        alarm_actions=[topic_arn],
        ok_actions=[topic_arn],
        opts=opts,
    )
    latency = aws.cloudwatch.MetricAlarm(
        f"{name}-latency",
        alarm_description=f"{name}: 95 % of the requests take longer than {bounds.latency_p95_ms:g} ms",
        namespace="AWS/ApplicationELB",
        metric_name="TargetResponseTime",
        dimensions=dimensions,
        extended_statistic="p95",
        period=60,
        comparison_operator="GreaterThanThreshold",
        threshold=bounds.latency_p95_ms / 1000,
        evaluation_periods=5,
        datapoints_to_alarm=3,
        evaluate_low_sample_count_percentiles="ignore",
        treat_missing_data="notBreaching",
        alarm_actions=[topic_arn],
        ok_actions=[topic_arn],
        opts=opts,
    )
    return [errors.name, latency.name]


def healthy_alarm(
    name: str, balancer: Balancer, group: aws.lb.TargetGroup, least: int, topic_arn: Input[str], opts: ResourceOptions
) -> Output[str]:
    """Rings when fewer tasks answer than there must be: the standby is not ready, or the service is down. Its name."""
    alarm = aws.cloudwatch.MetricAlarm(
        f"{name}-healthy",
        alarm_description=f"{name}: fewer than {least} tasks answer",
        namespace="AWS/ApplicationELB",
        metric_name="HealthyHostCount",
        dimensions={"LoadBalancer": balancer.arn_suffix, "TargetGroup": group.arn_suffix},
        statistic="Maximum",
        period=60,
        comparison_operator="LessThanThreshold",
        threshold=least,
        evaluation_periods=3,
        datapoints_to_alarm=3,
        treat_missing_data="breaching",
        alarm_actions=[topic_arn],
        ok_actions=[topic_arn],
        opts=opts,
    )
    return alarm.name
