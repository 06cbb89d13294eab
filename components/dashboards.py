"""The CloudWatch dashboard of a stack. Pure: its body from values (which may still be outputs).

Invariants:
- A picture is there if and only if the stack has what it shows.
- The figures that the migration promises carry their bound as a line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pulumi import Input

from components.alarms import LAG_METRIC, MISMATCH_METRIC, Metric
from components.watched import ApiService, Watched

COLUMNS = 24
HEIGHT = 6


@dataclass(frozen=True)
class Line:
    """One metric in a graph; without a label CloudWatch chooses one."""

    metric: Metric
    label: str

    def document(self) -> list[Any]:
        dimensions = [part for pair in self.metric.dimensions.items() for part in pair]
        options = {"stat": self.metric.statistic, "label": self.label}
        return [self.metric.namespace, self.metric.name, *dimensions, options]


@dataclass(frozen=True)
class Graph:
    """A graph over time, with a line at the bound."""

    title: str
    lines: Sequence[Line]
    bound: float | None = None
    unit: str = ""

    def widget(self, region: str, x: int, y: int, width: int) -> dict[str, Any]:
        properties: dict[str, Any] = {
            "title": self.title,
            "view": "timeSeries",
            "stacked": False,
            "region": region,
            "period": 60,
            "metrics": [line.document() for line in self.lines],
            "yAxis": {"left": {"min": 0, **({"label": self.unit, "showUnits": False} if self.unit else {})}},
        }
        if self.bound is not None:
            line = {"value": self.bound, "label": f"bound {self.bound:g}", "color": "#d62728"}
            properties["annotations"] = {"horizontal": [line]}
        return {"type": "metric", "x": x, "y": y, "width": width, "height": HEIGHT, "properties": properties}


def dashboard(
    watched: Watched, *, region: str, namespace: str, alarm_arns: Mapping[str, str], ready: str
) -> dict[str, Any]:
    """The body of the dashboard. `alarm_arns` are by the alarms' keys; `ready` is the composite alarm's ARN."""
    widgets: list[dict[str, Any]] = [
        {
            "type": "alarm",
            "x": 0,
            "y": 0,
            "width": COLUMNS,
            "height": 4,
            "properties": {
                "title": "Ready for cutover, and what it waits for",
                "alarms": [ready, *alarm_arns.values()],
            },
        }
    ]
    y = 4
    for title, graphs in _sections(watched, namespace):
        markdown = {"markdown": f"## {title}"}
        widgets.append({"type": "text", "x": 0, "y": y, "width": COLUMNS, "height": 1, "properties": markdown})
        y += 1
        for start in range(0, len(graphs), 3):
            row = graphs[start : start + 3]
            width = COLUMNS // len(row)
            widgets += [graph.widget(region, i * width, y, width) for i, graph in enumerate(row)]
            y += HEIGHT
    return {"start": "-PT6H", "periodOverride": "inherit", "widgets": widgets}


def _sections(watched: Watched, namespace: str) -> list[tuple[str, list[Graph]]]:
    found = []
    kpis = _kpis(watched, namespace)
    if kpis:
        found.append(("KPIs", kpis))
    found.append(("Databases", _databases(watched)))
    if watched.kafka:
        found.append(("Kafka and Connect", _kafka(watched)))
    if watched.services:
        found.append(("Service", [graph for service in watched.services for graph in _service(service, watched)]))
    return found


def _kpis(watched: Watched, namespace: str) -> list[Graph]:
    bounds, made = watched.bounds, []
    if watched.probe:
        made += [
            Graph("CDC lag", [Line(Metric(namespace, LAG_METRIC, "Maximum"), "worst table")], bounds.lag_seconds, "s"),
            Graph(
                "Rows that differ",
                [Line(Metric(namespace, MISMATCH_METRIC, "Maximum"), "last data check")],
                bounds.mismatches,
                "rows",
            ),
        ]
    if watched.services:
        made.append(
            Graph(
                "API p95",
                [Line(_balancer(s, "TargetResponseTime", "p95"), s.side) for s in watched.services],
                bounds.latency_p95_ms / 1000,
                "s",
            )
        )
        made.append(
            Graph("Requests a minute", [Line(_balancer(s, "RequestCount", "Sum"), s.side) for s in watched.services])
        )
    return made


def _databases(watched: Watched) -> list[Graph]:
    cluster = watched.aurora.cluster

    def roles(name: str, statistic: str) -> list[Line]:
        wanted = ("WRITER", "READER") if watched.aurora.readers else ("WRITER",)
        return [
            Line(
                Metric("AWS/RDS", name, statistic, {"DBClusterIdentifier": cluster, "Role": role}),
                f"Aurora {role.lower()}",
            )
            for role in wanted
        ]

    def mysql(name: str, statistic: str) -> list[Line]:
        if watched.mysql is None:
            return []
        return [Line(Metric("AWS/RDS", name, statistic, {"DBInstanceIdentifier": watched.mysql.instance}), "MySQL")]

    def whole(name: str, statistic: str, label: str) -> Line:
        return Line(Metric("AWS/RDS", name, statistic, {"DBClusterIdentifier": cluster}), label)

    made = [
        Graph("CPUUtilization", [*roles("CPUUtilization", "Average"), *mysql("CPUUtilization", "Average")], 80, "%"),
        Graph(
            "DatabaseConnections",
            [*roles("DatabaseConnections", "Maximum"), *mysql("DatabaseConnections", "Maximum")],
            0.8 * watched.aurora.connections,
        ),
        Graph("Deadlocks", roles("Deadlocks", "Average")[:1], unit="a second"),
    ]
    if watched.aurora.serverless:
        made.append(Graph("Capacity", [whole("ServerlessDatabaseCapacity", "Maximum", "ACU")], unit="ACU"))
    else:
        made.append(Graph("FreeableMemory", roles("FreeableMemory", "Minimum"), unit="bytes"))
    if watched.aurora.readers:
        made.append(Graph("Replica lag", [whole("AuroraReplicaLagMaximum", "Maximum", "worst reader")], 1000, "ms"))
    if watched.mysql:
        made.append(Graph("FreeStorageSpace", mysql("FreeStorageSpace", "Minimum"), unit="bytes"))
    return made


def _kafka(watched: Watched) -> list[Graph]:
    assert watched.kafka
    whole: Mapping[str, Input[str]] = {"Cluster Name": watched.kafka.cluster}
    made = [
        Graph(
            "Offline partitions",
            [Line(Metric("AWS/Kafka", "OfflinePartitionsCount", "Maximum", whole), "partitions")],
            0,
        ),
        Graph(
            "Active controllers",
            [Line(Metric("AWS/Kafka", "ActiveControllerCount", "Maximum", whole), "controllers")],
            1,
        ),
    ]
    if watched.connectors:
        for title, name, statistic, bound in (
            ("Tasks failed", "ErroredTaskCount", "Maximum", 0),
            ("Workers' CPU", "CpuUtilization", "Average", 80),
        ):
            lines = [
                Line(Metric("AWS/KafkaConnect", name, statistic, {"ConnectorName": connector}), connector)
                for connector in watched.connectors.names
            ]
            made.append(Graph(title, lines, bound))
    return made


def _service(service: ApiService, watched: Watched) -> list[Graph]:
    ecs: Mapping[str, Input[str]] = {"ClusterName": service.cluster, "ServiceName": service.service}
    return [
        Graph(
            f"{service.side}-api: answers",
            [
                Line(_balancer(service, f"HTTPCode_Target_{kind}_Count", "Sum"), kind.lower())
                for kind in ("2XX", "4XX", "5XX")
            ],
        ),
        Graph(
            f"{service.side}-api: tasks",
            [Line(Metric("ECS/ContainerInsights", "RunningTaskCount", "Minimum", ecs), "running")],
            1,
        ),
        Graph(
            f"{service.side}-api: CPU and memory",
            [Line(Metric("AWS/ECS", f"{what}Utilization", "Average", ecs), what) for what in ("CPU", "Memory")],
            85,
            "%",
        ),
    ]


def _balancer(service: ApiService, name: str, statistic: str) -> Metric:
    return Metric("AWS/ApplicationELB", name, statistic, {"LoadBalancer": service.balancer})
