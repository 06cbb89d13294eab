"""CloudWatch alarms of a stack, and the one that says whether a cutover may begin. Pure: typed data from values.

A service and a DMS task have alarms of their own, made with them; a cutover waits for those too.

Invariants:
- An alarm that a cutover waits for counts as broken while it has no data: what is not measured is no yes.
- A count that is only reported when there is something to count (errors, deadlocks) is good while it is missing.
- The composite alarm is quiet (OK) if and only if every alarm that a cutover waits for is OK.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pulumi import Input

from components.alerts import Bounds
from components.watched import AuroraTarget, Connectors, KafkaBrokers, MySQLSource, Watched

Comparison = Literal["GreaterThanThreshold", "LessThanThreshold"]
ABOVE: Comparison = "GreaterThanThreshold"
BELOW: Comparison = "LessThanThreshold"
LAG_METRIC, MISMATCH_METRIC = "CdcLagSeconds", "Mismatches"
"""What the metric filters make of the probe's log."""
MISSING_IS_BAD, MISSING_IS_GOOD = "breaching", "notBreaching"


@dataclass(frozen=True)
class Metric:
    """A CloudWatch metric: one statistic of one period."""

    namespace: str
    name: str
    statistic: str
    dimensions: Mapping[str, Input[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Worst:
    """The highest value of a metric over all that have it, by a query of CloudWatch's own language."""

    query: str


@dataclass(frozen=True)
class AlarmSpec:
    """One alarm. `late` of `periods` periods of `seconds` must be beyond the bound."""

    key: str
    what: str
    measure: Metric | Worst
    comparison: Comparison
    bound: float
    seconds: int = 60
    periods: int = 5
    late: int = 5
    missing: str = MISSING_IS_BAD
    blocks: bool = True
    """Whether a cutover waits for it."""


def alarms(watched: Watched, namespace: str) -> list[AlarmSpec]:
    """Every alarm of the stack. `namespace` is where the probe's figures go."""
    found = [*_aurora(watched.aurora)]
    if watched.mysql:
        found += _mysql(watched.mysql)
    if watched.kafka:
        found += _kafka(watched.kafka)
    if watched.connectors:
        found += _connectors(watched.connectors)
    if watched.probe:
        found += _kpis(watched.bounds, namespace)
    return found


def ready_rule(names: Sequence[str]) -> str:
    """The composite alarm's rule: it is in ALARM unless each of the named alarms is OK."""
    return "NOT (" + " AND ".join(f'OK("{name}")' for name in names) + ")"


def _aurora(target: AuroraTarget) -> Iterator[AlarmSpec]:
    def writer(name: str, statistic: str) -> Metric:
        return Metric("AWS/RDS", name, statistic, {"DBClusterIdentifier": target.cluster, "Role": "WRITER"})

    def cluster(name: str, statistic: str) -> Metric:
        return Metric("AWS/RDS", name, statistic, {"DBClusterIdentifier": target.cluster})

    yield AlarmSpec("aurora-cpu", "Aurora's writer is short of CPU", writer("CPUUtilization", "Average"), ABOVE, 80)
    yield AlarmSpec(
        "aurora-connections",
        f"Aurora's writer has over 80 % of its {target.connections} connections in use",
        writer("DatabaseConnections", "Maximum"),
        ABOVE,
        0.8 * target.connections,
        late=3,
    )
    if target.serverless:
        yield AlarmSpec(
            "aurora-capacity",
            "Aurora's writer is at the end of its capacity: raise the maximum",
            writer("ACUUtilization", "Average"),
            ABOVE,
            90,
        )
    else:
        yield AlarmSpec(
            "aurora-memory",
            "Aurora's writer has little free memory",
            writer("FreeableMemory", "Minimum"),
            BELOW,
            target.free_memory_mib * 1024**2,
        )
    if target.readers:
        yield AlarmSpec(
            "aurora-replica-lag",
            "An Aurora reader is over a second behind its writer",
            cluster("AuroraReplicaLagMaximum", "Maximum"),
            ABOVE,
            1000,
        )
    yield AlarmSpec(
        "aurora-deadlocks",
        "Transactions block each other on Aurora",
        writer("Deadlocks", "Average"),
        ABOVE,
        0.1,
        late=3,
        missing=MISSING_IS_GOOD,
        blocks=False,
    )


def _mysql(source: MySQLSource) -> Iterator[AlarmSpec]:
    def of(name: str, statistic: str) -> Metric:
        return Metric("AWS/RDS", name, statistic, {"DBInstanceIdentifier": source.instance})

    yield AlarmSpec("mysql-cpu", "The MySQL source is short of CPU", of("CPUUtilization", "Average"), ABOVE, 90)
    yield AlarmSpec(
        "mysql-storage",
        "The MySQL source has less than a tenth of its volume free: its binary log must fit too",
        of("FreeStorageSpace", "Minimum"),
        BELOW,
        source.storage_gib * 1024**3 / 10,
    )


def _kafka(kafka: KafkaBrokers) -> Iterator[AlarmSpec]:
    def worst(metric: str) -> Worst:
        return Worst(
            f'SELECT MAX({metric}) FROM SCHEMA("AWS/Kafka", "Broker ID", "Cluster Name") '
            f"WHERE \"Cluster Name\" = '{kafka.cluster}'"
        )

    yield AlarmSpec(
        "kafka-offline",
        "Kafka partitions have no leader",
        Metric("AWS/Kafka", "OfflinePartitionsCount", "Maximum", {"Cluster Name": kafka.cluster}),
        ABOVE,
        0,
        periods=1,
        late=1,
    )
    yield AlarmSpec(
        "kafka-under-replicated", "Kafka partitions lack replicas", worst("UnderReplicatedPartitions"), ABOVE, 0
    )
    yield AlarmSpec("kafka-disk", "A Kafka broker's disk is over 80 % full", worst("KafkaDataLogsDiskUsed"), ABOVE, 80)


def _connectors(connectors: Connectors) -> Iterator[AlarmSpec]:
    for name in connectors.names:
        key = "sink" if name.endswith("-sink") else "source" if name.endswith("-source") else name
        yield AlarmSpec(
            f"connect-{key}",
            f"Connector {name} has failed tasks, or does not run",
            Metric("AWS/KafkaConnect", "ErroredTaskCount", "Maximum", {"ConnectorName": name}),
            ABOVE,
            0,
            periods=2,
            late=2,
        )


def _kpis(bounds: Bounds, namespace: str) -> Iterator[AlarmSpec]:
    yield AlarmSpec(
        "cdc-lag",
        f"CDC lag has stayed above {bounds.lag_seconds:g} s for a minute",
        Metric(namespace, LAG_METRIC, "Minimum"),
        ABOVE,
        bounds.lag_seconds,
        periods=1,
        late=1,
    )
    yield AlarmSpec(
        "mismatches",
        "The last data check found rows that differ, or there has been none",
        Metric(namespace, MISMATCH_METRIC, "Maximum"),
        ABOVE,
        bounds.mismatches,
        seconds=300,
        periods=1,
        late=1,
    )
