"""Grafana dashboards of the migration, as code. Pure: JSON from values.

Invariants:
- A dashboard has a stable uid and no numeric id: importing it again replaces it, in whatever Grafana it is imported.
- Where data come from is a variable (`prometheus`, `cloudwatch`): no dashboard names a data source of one Grafana.
- Figures that the migration promises are read from the recorded series, with their bound drawn in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from components.alerts import ERRORS, LAG, LATENCY, MISMATCHES, THROUGHPUT, Bounds

SCHEMA_VERSION = 38
"""Of Grafana 10.1; newer ones bring an older dashboard up to date by themselves."""
PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}
CLOUDWATCH = {"type": "cloudwatch", "uid": "${cloudwatch}"}
GREEN, RED = "green", "red"
WIDTH = 24
"""Columns of Grafana's grid."""


@dataclass(frozen=True)
class Query:
    """A PromQL expression and what its series are called."""

    expr: str
    legend: str

    def target(self, ref: str) -> dict[str, Any]:
        return {"refId": ref, "datasource": PROMETHEUS, "expr": self.expr, "legendFormat": self.legend, "range": True}


@dataclass(frozen=True)
class Metric:
    """A CloudWatch metric of the chosen cluster."""

    namespace: str
    name: str
    statistic: str
    dimensions: dict[str, str]
    legend: str

    def target(self, ref: str) -> dict[str, Any]:
        return {
            "refId": ref,
            "id": f"m{ref.lower()}",
            "datasource": CLOUDWATCH,
            "queryMode": "Metrics",
            "metricQueryType": 0,
            "metricEditorMode": 0,
            "region": "default",
            "namespace": self.namespace,
            "metricName": self.name,
            "dimensions": self.dimensions,
            "matchExact": True,
            "statistic": self.statistic,
            "period": "60",
            "label": self.legend,
            "expression": "",
        }


@dataclass(frozen=True)
class Panel:
    """One picture. `bound` is drawn in red: above it is wrong, or below it with `least`."""

    title: str
    queries: Sequence[Query | Metric]
    unit: str
    kind: Literal["timeseries", "stat"] = "timeseries"
    bound: float | None = None
    least: bool = False
    what: str = ""

    def document(self, x: int, y: int, width: int, height: int) -> dict[str, Any]:
        steps: list[dict[str, Any]] = [{"value": None, "color": GREEN}]
        if self.bound is not None:
            steps = [
                {"value": None, "color": RED if self.least else GREEN},
                {"value": self.bound, "color": GREEN if self.least else RED},
            ]
        defaults: dict[str, Any] = {
            "unit": self.unit,
            "thresholds": {"mode": "absolute", "steps": steps},
            "color": {"mode": "thresholds" if self.kind == "stat" else "palette-classic"},
        }
        if self.kind == "timeseries":
            style = "line" if self.bound is not None else "off"
            defaults["custom"] = {"thresholdsStyle": {"mode": style}, "lineWidth": 1, "fillOpacity": 10}
            options: dict[str, Any] = {
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        else:
            options = {
                "reduceOptions": {"calcs": ["lastNotNull"], "values": False},
                "colorMode": "background",
                "graphMode": "area",
            }
        return {
            "type": self.kind,
            "title": self.title,
            "description": self.what,
            "datasource": PROMETHEUS if isinstance(self.queries[0], Query) else CLOUDWATCH,
            "gridPos": {"x": x, "y": y, "w": width, "h": height},
            "targets": [query.target(chr(ord("A") + i)) for i, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options,
        }


def dashboards(bounds: Bounds) -> dict[str, str]:
    """Every dashboard: file name -> JSON."""
    made = [_overview(bounds), _databases(), _kafka(bounds), _service(bounds)]
    return {f"{board['uid']}.json": json.dumps(board, indent=1, sort_keys=True) + "\n" for board in made}


def _dashboard(uid: str, title: str, rows: Sequence[Sequence[Panel]], variables: Sequence[str] = ()) -> dict[str, Any]:
    panels = []
    y = 0
    for row in rows:
        height = 5 if row[0].kind == "stat" else 8
        width = WIDTH // len(row)
        panels += [panel.document(i * width, y, width, height) for i, panel in enumerate(row)]
        y += height
    used = {p["datasource"]["type"] for p in panels}
    sources = [source for source in ("prometheus", "cloudwatch") if source in used]
    return {
        "uid": uid,
        "title": title,
        "tags": ["zdm", "migration"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "panels": panels,
        "templating": {"list": [*(_source(name) for name in sources), *(_dimension(name) for name in variables)]},
        "annotations": {"list": []},
        "links": [
            {
                "title": "Migration",
                "type": "dashboards",
                "tags": ["zdm"],
                "asDropdown": True,
                "includeVars": False,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
            }
        ],
    }


def _source(kind: str) -> dict[str, Any]:
    """A variable that offers the data sources of one kind."""
    label = {"prometheus": "Metrics", "cloudwatch": "CloudWatch"}[kind]
    return {"name": kind, "label": label, "type": "datasource", "query": kind, "hide": 0, "multi": False}


def _dimension(name: str) -> dict[str, Any]:
    """A variable that offers the clusters or connectors that CloudWatch knows."""
    namespace, metric, key, label = {
        "cluster": ("AWS/RDS", "AuroraReplicaLagMaximum", "DBClusterIdentifier", "Aurora cluster"),
        "kafka": ("AWS/Kafka", "OfflinePartitionsCount", "Cluster Name", "Kafka cluster"),
        "connector": ("AWS/KafkaConnect", "RunningTaskCount", "ConnectorName", "Connector"),
    }[name]
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": CLOUDWATCH,
        "hide": 0,
        "multi": name == "connector",
        "includeAll": name == "connector",
        "refresh": 1,
        "query": {
            "queryType": "dimensionValues",
            "region": "default",
            "namespace": namespace,
            "metricName": metric,
            "dimensionKey": key,
            "dimensionFilters": {},
        },
    }


def _overview(bounds: Bounds) -> dict[str, Any]:
    def share(kind: str) -> Query:
        rate = f'rate(zdm_request_seconds_count{{kind="{kind}",status!="421"}}[5m])'
        return Query(f"100 * sum by (side) ({rate}) / ignoring (side) group_left sum({rate})", "{{side}}")

    return _dashboard(
        "zdm-overview",
        "Migration: overview",
        [
            [
                Panel("Lag of the worst table", [Query(LAG, "lag")], "s", "stat", bounds.lag_seconds),
                Panel("API p95", [Query(f"max({LATENCY})", "p95")], "ms", "stat", bounds.latency_p95_ms),
                Panel("Errors", [Query(ERRORS, "errors")], "percentunit", "stat", bounds.error_rate),
                Panel(
                    "Throughput",
                    [Query(THROUGHPUT, "requests")],
                    "reqps",
                    "stat",
                    bounds.throughput_per_second or None,
                    least=True,
                ),
                Panel("Rows that differ", [Query(MISMATCHES, "rows")], "none", "stat", bounds.mismatches + 1),
                Panel(
                    "Alerts firing",
                    [Query('count(ALERTS{alertstate="firing"}) or vector(0)', "alerts")],
                    "none",
                    "stat",
                    1,
                ),
            ],
            [
                Panel(
                    "Reads served by each side",
                    [share("read")],
                    "percent",
                    what="What the weight does: the flag's percentage shows here as soon as customers follow it.",
                ),
                Panel(
                    "Writes taken by each side",
                    [share("write")],
                    "percent",
                    what="One side only at any time; both at once would be a broken fence.",
                ),
            ],
            [
                Panel("Lag by table", [Query("zdm_cdc_lag_seconds", "{{table}}")], "s", bound=bounds.lag_seconds),
                Panel("API p95 by side", [Query(LATENCY, "{{side}}")], "ms", bound=bounds.latency_p95_ms),
            ],
            [
                Panel(
                    "Who may write (epoch seen by each side)",
                    [Query("max by (side) (zdm_fence_epoch)", "{{side}}")],
                    "none",
                    what="Both sides hold the same epoch but for the moment of a cutover.",
                ),
                Panel(
                    "Refused by the fence",
                    [Query("sum by (side, kind) (rate(zdm_fenced_total[5m]))", "{{side}} {{kind}}")],
                    "reqps",
                ),
            ],
        ],
    )


def _databases() -> dict[str, Any]:
    def aurora(name: str, statistic: str, role: str) -> Metric:
        dimensions = {"DBClusterIdentifier": "$cluster", "Role": role}
        return Metric("AWS/RDS", name, statistic, dimensions, role.lower())

    def whole(name: str, statistic: str) -> Metric:
        return Metric("AWS/RDS", name, statistic, {"DBClusterIdentifier": "$cluster"}, name)

    roles = ("WRITER", "READER")
    return _dashboard(
        "zdm-databases",
        "Migration: databases",
        [
            [
                Panel("CPUUtilization", [aurora("CPUUtilization", "Average", r) for r in roles], "percent", bound=80),
                Panel("DatabaseConnections", [aurora("DatabaseConnections", "Maximum", r) for r in roles], "none"),
            ],
            [
                Panel("Commit latency", [aurora("CommitLatency", "Average", "WRITER")], "ms"),
                Panel("Replica lag", [whole("AuroraReplicaLagMaximum", "Maximum")], "ms"),
            ],
            [
                Panel("Capacity (ACU)", [whole("ServerlessDatabaseCapacity", "Maximum")], "none"),
                Panel("Deadlocks", [aurora("Deadlocks", "Average", "WRITER")], "cps"),
                Panel("Buffer cache hits", [aurora("BufferCacheHitRatio", "Average", "WRITER")], "percent"),
            ],
            [
                Panel("Log held back by slots", [Query("zdm_target_slot_wal_bytes", "{{slot}}")], "bytes"),
                Panel(
                    "Hours since the last data check",
                    [Query("(time() - max(zdm_data_check_timestamp_seconds)) / 3600", "hours")],
                    "h",
                ),
            ],
        ],
        variables=("cluster",),
    )


def _kafka(bounds: Bounds) -> dict[str, Any]:
    def connect(name: str, statistic: str) -> Metric:
        return Metric("AWS/KafkaConnect", name, statistic, {"ConnectorName": "$connector"}, "")

    rate = 'sum by (instance) (kafka_server_BrokerTopicMetrics_OneMinuteRate{{name="{}",topic=""}})'
    free = 'node_filesystem_avail_bytes{job="kafka-node"} / node_filesystem_size_bytes{job="kafka-node"}'
    return _dashboard(
        "zdm-kafka",
        "Migration: Kafka and Connect",
        [
            [
                Panel(
                    "Heartbeat of the source connector",
                    [Query("zdm_cdc_heartbeat_age_seconds", "age")],
                    "s",
                    "stat",
                    bounds.lag_seconds,
                ),
                Panel("Records that wait", [Query("sum(zdm_cdc_consumer_lag_records)", "records")], "none", "stat"),
                Panel(
                    "Offline partitions",
                    [Query('max(kafka_controller_KafkaController_Value{name="OfflinePartitionsCount"})', "partitions")],
                    "none",
                    "stat",
                    1,
                ),
                Panel(
                    "Under-replicated",
                    [Query('sum(kafka_server_ReplicaManager_Value{name="UnderReplicatedPartitions"})', "partitions")],
                    "none",
                    "stat",
                    1,
                ),
            ],
            [
                Panel(
                    "Records that wait, by topic",
                    [Query("sum by (topic) (zdm_cdc_consumer_lag_records)", "{{topic}}")],
                    "none",
                ),
                Panel("Records applied a second", [Query("sum(rate(zdm_cdc_committed_offset[5m]))", "records")], "cps"),
            ],
            [
                Panel("Bytes in", [Query(rate.format("BytesInPerSec"), "{{instance}}")], "Bps"),
                Panel("Bytes out", [Query(rate.format("BytesOutPerSec"), "{{instance}}")], "Bps"),
                Panel("Disk used", [Query(f"1 - {free}", "{{instance}} {{mountpoint}}")], "percentunit", bound=0.8),
            ],
            [
                Panel("Tasks running", [connect("RunningTaskCount", "Minimum")], "none", bound=1, least=True),
                Panel("Tasks failed", [connect("ErroredTaskCount", "Maximum")], "none", bound=1),
                Panel("Workers' CPU", [connect("CpuUtilization", "Average")], "percent", bound=80),
            ],
        ],
        variables=("connector",),
    )


def _service(bounds: Bounds) -> dict[str, Any]:
    answered = 'zdm_request_seconds_count{status!="421"}'
    quantile = "1000 * histogram_quantile({}, sum by (side, le) (rate(zdm_request_seconds_bucket[5m])))"
    return _dashboard(
        "zdm-service",
        "Migration: service",
        [
            [
                Panel("Requests by side", [Query(f"sum by (side) (rate({answered}[5m]))", "{{side}}")], "reqps"),
                Panel(
                    "Requests by status",
                    [Query("sum by (status) (rate(zdm_request_seconds_count[5m]))", "{{status}}")],
                    "reqps",
                ),
            ],
            [
                Panel("p50", [Query(quantile.format("0.5"), "{{side}}")], "ms"),
                Panel("p95", [Query(LATENCY, "{{side}}")], "ms", bound=bounds.latency_p95_ms),
                Panel("p99", [Query(quantile.format("0.99"), "{{side}}")], "ms"),
            ],
            [
                Panel("Errors", [Query(ERRORS, "errors")], "percentunit", bound=bounds.error_rate),
                Panel(
                    "Writes whose outcome is unknown",
                    [Query("sum by (side) (increase(zdm_unknown_outcomes_total[5m]))", "{{side}}")],
                    "none",
                    what="A COMMIT got no answer; the client's retry settles it, by its idempotency key.",
                ),
            ],
            [
                Panel(
                    "Tasks that answer", [Query('count by (service) (up{job="services"} == 1)', "{{service}}")], "none"
                ),
                Panel(
                    "Memory of tasks",
                    [Query('max by (service) (process_resident_memory_bytes{job="services"})', "{{service}}")],
                    "bytes",
                ),
                Panel(
                    "CPU of tasks",
                    [Query('sum by (service) (rate(process_cpu_seconds_total{job="services"}[5m]))', "{{service}}")],
                    "none",
                ),
            ],
        ],
    )
