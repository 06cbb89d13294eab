"""A Grafana dashboard as typed data: panels with queries, rows of panels, variables. Pure: documents from values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

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


def board(uid: str, title: str, rows: Sequence[Sequence[Panel]], variables: Sequence[str] = ()) -> dict[str, Any]:
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
