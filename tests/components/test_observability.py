"""Alarms, the verdict before a cutover and the dashboard, as documents and as arguments."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.alarms import MISSING_IS_BAD, MISSING_IS_GOOD, AlarmSpec, Metric, alarms, ready_rule
from components.alerts import Bounds
from components.base import ArgumentError
from components.dashboards import dashboard
from components.observability import ObservabilityArgs
from components.watched import (
    ApiService,
    AuroraTarget,
    Connectors,
    KafkaBrokers,
    MySQLSource,
    Probe,
    Watched,
)

NAMESPACE = "zdm/zdm-prod"
SERVERLESS = AuroraTarget("aurora-1", serverless=True, readers=2, connections=2000)
PROVISIONED = AuroraTarget("aurora-1", serverless=False, readers=0)
SERVICES = [
    ApiService(side, "cluster", f"{side}-api", f"app/{side}/1", alarms=[f"{side}-errors"])
    for side in ("mysql", "aurora")
]
ALL = Watched(
    Bounds(throughput_per_second=5000),
    SERVERLESS,
    MySQLSource("mysql-1", 100),
    KafkaBrokers("zdm-prod"),
    Connectors(["zdm-prod-source", "zdm-prod-sink"]),
    SERVICES,
    Probe("/ecs/zdm-prod/collector"),
)
LEAST = Watched(Bounds(), PROVISIONED)

METRICS: dict[str, tuple[set[str], list[set[str]]]] = {
    # Namespace: what it has, by which dimensions (CloudWatch's documentation of each service).
    "AWS/RDS": (
        {
            *("CPUUtilization", "DatabaseConnections", "Deadlocks", "FreeableMemory", "ACUUtilization"),
            *("ServerlessDatabaseCapacity", "AuroraReplicaLagMaximum", "FreeStorageSpace"),
        },
        [{"DBClusterIdentifier"}, {"DBClusterIdentifier", "Role"}, {"DBInstanceIdentifier"}],
    ),
    "AWS/Kafka": ({"OfflinePartitionsCount", "ActiveControllerCount"}, [{"Cluster Name"}]),
    "AWS/KafkaConnect": ({"ErroredTaskCount", "RunningTaskCount", "CpuUtilization"}, [{"ConnectorName"}]),
    "AWS/ApplicationELB": (
        {"RequestCount", "TargetResponseTime", *(f"HTTPCode_Target_{n}XX_Count" for n in (2, 4, 5))},
        [{"LoadBalancer"}],
    ),
    "AWS/ECS": ({"CPUUtilization", "MemoryUtilization"}, [{"ClusterName", "ServiceName"}]),
    "ECS/ContainerInsights": ({"RunningTaskCount"}, [{"ClusterName", "ServiceName"}]),
    NAMESPACE: ({"CdcLagSeconds", "Mismatches"}, [set()]),
}
STATISTICS = re.compile(r"Average|Minimum|Maximum|Sum|SampleCount|p\d{1,2}")


def known(namespace: str, name: str, dimensions: set[str], statistic: str) -> bool:
    names, sets = METRICS[namespace]
    return name in names and dimensions in sets and bool(STATISTICS.fullmatch(statistic))


def body(watched: Watched) -> dict[str, Any]:
    specs = alarms(watched, NAMESPACE)
    arns = {s.key: f"arn:aws:cloudwatch:ap-southeast-1:1:alarm:{s.key}" for s in specs}
    made: dict[str, Any] = json.loads(
        json.dumps(dashboard(watched, region="ap-southeast-1", namespace=NAMESPACE, alarm_arns=arns, ready="arn:ready"))
    )
    return made


@pytest.mark.parametrize("watched", [ALL, LEAST])
def test_alarms_name_metrics_that_exist(watched: Watched) -> None:
    specs = alarms(watched, NAMESPACE)
    assert len({s.key for s in specs}) == len(specs)
    for spec in specs:
        assert 1 <= spec.late <= spec.periods and spec.seconds % 60 == 0 and len(spec.what) < 1024
        if isinstance(spec.measure, Metric):
            m = spec.measure
            assert known(m.namespace, m.name, set(m.dimensions), m.statistic), spec.key
        else:
            assert re.fullmatch(
                r"SELECT MAX\((UnderReplicatedPartitions|KafkaDataLogsDiskUsed)\) "
                r'FROM SCHEMA\("AWS/Kafka", "Broker ID", "Cluster Name"\) WHERE "Cluster Name" = \'zdm-prod\'',
                spec.measure.query,
            )


def test_what_a_stack_lacks_has_no_alarm() -> None:
    def keys(watched: Watched) -> set[str]:
        return {s.key for s in alarms(watched, NAMESPACE)}

    assert keys(LEAST) == {"aurora-cpu", "aurora-connections", "aurora-memory", "aurora-deadlocks"}
    assert keys(ALL) - keys(LEAST) == {
        *("aurora-capacity", "aurora-replica-lag", "mysql-cpu", "mysql-storage", "kafka-offline"),
        *("kafka-under-replicated", "kafka-disk", "connect-source", "connect-sink", "cdc-lag", "mismatches"),
    }


def by_key(key: str, watched: Watched = ALL) -> AlarmSpec:
    return next(s for s in alarms(watched, NAMESPACE) if s.key == key)


def test_bounds_reach_their_alarms() -> None:
    assert (by_key("cdc-lag").bound, by_key("mismatches").bound) == (30, 0)
    assert by_key("aurora-connections").bound == 1600
    assert by_key("mysql-storage").bound == 100 * 1024**3 / 10
    assert by_key("aurora-memory", LEAST).bound == 1024 * 1024**2


def test_late_for_a_minute_means_the_whole_minute() -> None:
    lag = by_key("cdc-lag")
    assert isinstance(lag.measure, Metric) and lag.measure.statistic == "Minimum" and lag.seconds == 60


def test_silence_is_no_yes() -> None:
    assert all(s.missing == MISSING_IS_BAD for s in alarms(ALL, NAMESPACE) if s.blocks)
    assert {s.key for s in alarms(ALL, NAMESPACE) if s.missing == MISSING_IS_GOOD} == {"aurora-deadlocks"}


@given(st.integers(1, 4).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, 3**n - 1))))
def test_ready_if_and_only_if_all_are_ok(case: tuple[int, int]) -> None:
    count, number = case
    names = [f"a {i}" for i in range(count)]
    states = list(itertools.product(("OK", "ALARM", "INSUFFICIENT_DATA"), repeat=count))[number]
    rule = ready_rule(names)
    for name, state in zip(names, states, strict=True):
        rule = rule.replace(f'OK("{name}")', str(state == "OK"))
    in_alarm = eval(rule.replace("NOT", "not").replace("AND", "and"))
    assert in_alarm is not all(state == "OK" for state in states)


def test_the_rule_fits_into_cloudwatch() -> None:
    assert len(ready_rule([f"{'x' * 80}-{i}" for i in range(100)])) <= 10240


def test_more_alarms_than_a_composite_takes_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"ObservabilityArgs\.others"):
        ObservabilityArgs("p", "1", "aws", "r", "arn", ALL, others=[str(i) for i in range(80)])


METRIC_PROPERTIES = {
    *("title", "view", "stacked", "region", "period", "metrics", "yAxis", "annotations", "stat", "legend"),
    *("liveData", "setPeriodToTimeRange", "sparkline", "timezone", "trend", "accountId", "singleValueFullPrecision"),
}
"""CloudWatch's "Dashboard body structure and syntax"."""


@pytest.mark.parametrize("watched", [ALL, LEAST])
def test_the_dashboard_has_the_documented_structure(watched: Watched) -> None:
    made = body(watched)
    assert made.keys() <= {"start", "end", "periodOverride", "widgets"}
    assert re.fullmatch(r"-P(?:\d+[DWMY])*(?:T(?:\d+[HMS])+)?", made["start"])
    assert made["periodOverride"] in ("auto", "inherit") and len(made["widgets"]) <= 500
    taken: set[tuple[int, int]] = set()
    for widget in made["widgets"]:
        assert widget.keys() == {"type", "x", "y", "width", "height", "properties"}
        assert 1 <= widget["width"] <= 24 - widget["x"] and 1 <= widget["height"] <= 1000
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken
        taken |= cells
        check = {"metric": graph, "text": text, "alarm": alarm}[widget["type"]]
        check(widget["properties"])


def graph(properties: dict[str, Any]) -> None:
    assert properties.keys() <= METRIC_PROPERTIES and {"region", "metrics", "title"} <= properties.keys()
    assert properties["view"] in ("timeSeries", "singleValue", "gauge", "bar", "pie", "table")
    assert properties["period"] % 60 == 0 and 0 < len(properties["metrics"]) <= 500
    for namespace, name, *dimensions, options in properties["metrics"]:
        assert len(dimensions) % 2 == 0 and all(dimensions), "no dimension without a value"
        assert options.keys() <= {"color", "label", "period", "stat", "visible", "yAxis", "id", "expression", "region"}
        assert known(namespace, name, set(dimensions[::2]), options["stat"]), (namespace, name, dimensions)
    for side, axis in properties["yAxis"].items():
        assert side in ("left", "right") and axis.keys() <= {"label", "min", "max", "showUnits"}
    for line in properties.get("annotations", {}).get("horizontal", ()):
        assert line.keys() <= {"value", "label", "color", "fill", "visible", "yAxis"}
        assert re.fullmatch(r"#[0-9a-f]{6}", line["color"]) and isinstance(line["value"], int | float)


def text(properties: dict[str, Any]) -> None:
    assert properties.keys() <= {"markdown", "background"} and properties["markdown"]


def alarm(properties: dict[str, Any]) -> None:
    assert properties.keys() <= {"alarms", "title", "sortBy", "states"}
    assert 1 <= len(properties["alarms"]) <= 100 and "arn:ready" in properties["alarms"]


def test_the_dashboard_shows_what_the_customer_named() -> None:
    made = body(ALL)
    titles = {w["properties"].get("title") for w in made["widgets"]}
    assert {"CPUUtilization", "DatabaseConnections", "CDC lag", "API p95", "Rows that differ"} <= titles
    bounds = {
        w["properties"]["title"]: w["properties"]["annotations"]["horizontal"][0]["value"]
        for w in made["widgets"]
        if "annotations" in w["properties"]
    }
    assert (bounds["CDC lag"], bounds["API p95"], bounds["Rows that differ"]) == (30, 0.15, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: AuroraTarget("c", serverless=True, readers=16),
        lambda: AuroraTarget("c", serverless=True, readers=0, connections=0),
        lambda: Connectors([]),
    ],
)
def test_arguments_that_mean_nothing_are_refused(wrong: Any) -> None:
    with pytest.raises(ArgumentError):
        wrong()
