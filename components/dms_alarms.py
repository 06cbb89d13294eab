"""Alarms and events of AWS DMS. Pure but for `declare` and `subscribe`, which make what the plans say.

- Latency is alarmed on both halves: what is not read yet (source) and what is not written yet (target).
- A task that should run and says nothing is as bad as one that is late: missing figures alarm then, and only then.
- One row that validation found different alarms: the customer allows none.

Serverless replications have no event subscriptions in DMS: where one ends, its figures do, and its latency alarm tells.

Source: AWS DMS user guide, "Monitoring AWS DMS tasks", "Working with Amazon SNS events and notifications", "AWS DMS
Serverless components" (which names the figures but not their dimension: `ReplicationConfigId` is what dashboards use).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import pulumi
import pulumi_aws as aws
from pulumi import Input, ResourceOptions

NAMESPACE: Final = "AWS/DMS"
INSTANCE: Final = "ReplicationInstanceIdentifier"
TASK: Final = "ReplicationTaskIdentifier"
REPLICATION: Final = "ReplicationConfigId"
MEBI: Final = 1024 * 1024
INSTANCE_EVENTS: Final = ("failover", "failure", "low storage", "maintenance")
TASK_EVENTS: Final = ("failure", "state change")


@dataclass(frozen=True)
class Alarm:
    """One alarm; `name` is its role within the component."""

    name: str
    """Its role, as a part of its name."""
    metric: str
    """The figure."""
    statistic: Literal["Minimum", "Maximum", "Average"]
    """Of the figures of one minute; `Minimum` for what must stay above its bound."""
    above: bool
    """Whether more than the threshold alarms, or less."""
    threshold: float
    """The bound, in the figure's own unit."""
    minutes: int
    """How long."""
    expected: bool
    """Whether the figure must be there: where it must, a missing one alarms."""
    text: str
    """What someone reads."""


def latency(lag_seconds: float, running: bool) -> tuple[Alarm, ...]:
    """Both halves of the lag, each above the bound for a whole minute."""
    return tuple(
        Alarm(
            f"latency-{half}",
            f"CDCLatency{half.capitalize()}",
            "Minimum",
            above=True,
            threshold=lag_seconds,
            minutes=1,
            expected=running,
            text=f"AWS DMS: changes are {what} more than {lag_seconds:g} s late for a minute",
        )
        for half, what in (("source", "read"), ("target", "written"))
    )


def validation() -> tuple[Alarm, ...]:
    """Rows that differ, and rows that DMS gave up to compare."""
    return (
        Alarm("failed", "ValidationFailedOverallCount", "Maximum", True, 0, 1, False, "AWS DMS: rows differ"),
        Alarm(
            "suspended", "ValidationSuspendedOverallCount", "Maximum", True, 0, 5, False, "AWS DMS: rows not comparable"
        ),
    )


def instance(storage_gib: int, memory_floor_mb: int = 512) -> tuple[Alarm, ...]:
    """The replication instance: cached changes fill its disk, large transactions its memory."""
    return (
        Alarm(
            "memory",
            "FreeableMemory",
            "Average",
            above=False,
            threshold=memory_floor_mb * MEBI,
            minutes=5,
            expected=False,
            text=f"AWS DMS: under {memory_floor_mb} MiB of memory left",
        ),
        Alarm(
            "storage",
            "FreeStorageSpace",
            "Minimum",
            above=False,
            threshold=storage_gib * 1024 * MEBI // 5,
            minutes=5,
            expected=False,
            text="AWS DMS: under a fifth of the storage left",
        ),
    )


def capacity() -> tuple[Alarm, ...]:
    """A serverless replication that has used up its units fails."""
    return (
        Alarm(
            "capacity", "CapacityUtilization", "Average", True, 90, 5, False, "AWS DMS: over 90 % of the capacity used"
        ),
    )


def declare(
    name: str,
    prefix: str,
    plan: Alarm,
    dimensions: Mapping[str, Input[str]],
    topic_arn: Input[str],
    opts: ResourceOptions,
) -> aws.cloudwatch.MetricAlarm:
    """The alarm, told to the topic when it begins and when it is over."""
    return aws.cloudwatch.MetricAlarm(
        f"{name}-{plan.name}",
        name=f"{prefix}-{name}-{plan.name}",
        alarm_description=plan.text,
        namespace=NAMESPACE,
        metric_name=plan.metric,
        dimensions=dict(dimensions),
        statistic=plan.statistic,
        comparison_operator="GreaterThanThreshold" if plan.above else "LessThanThreshold",
        threshold=plan.threshold,
        period=60,
        evaluation_periods=plan.minutes,
        treat_missing_data="breaching" if plan.expected else "notBreaching",
        alarm_actions=[topic_arn],
        ok_actions=[topic_arn],
        opts=opts,
    )


def subscribe(
    name: str,
    prefix: str,
    kind: Literal["replication-instance", "replication-task"],
    ids: list[Input[str]],
    topic_arn: Input[str],
    opts: ResourceOptions,
) -> pulumi.Resource:
    """Events of instances or tasks that someone must hear of."""
    return aws.dms.EventSubscription(
        f"{name}-{kind.removeprefix('replication-')}-events",
        name=f"{prefix}-{name}-{kind.removeprefix('replication-')}",
        source_type=kind,
        source_ids=ids,
        event_categories=list(INSTANCE_EVENTS if kind == "replication-instance" else TASK_EVENTS),
        sns_topic_arn=topic_arn,
        opts=opts,
    )
