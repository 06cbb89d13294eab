"""The alert rules, judged by Prometheus itself: they load, fire when they must, and keep still when they must."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.alerts import Bounds, Watched, rule_groups
from components.base import ArgumentError
from components.rules import Alert, Recording, rules_yaml
from tests.components.promtool import accepted, rule_test

ALL = Watched(cdc=True, brokers=3)
BOUNDS = Bounds(throughput_per_second=5000)
RULES = rules_yaml(rule_groups(BOUNDS, ALL))


def names(watched: Watched, bounds: Bounds = BOUNDS) -> set[str]:
    return {r.name for g in rule_groups(bounds, watched) for r in g.rules if isinstance(r, Alert)}


def test_the_recorded_names_are_the_documented_ones() -> None:
    import components.alerts as module

    recorded = {r.record for g in rule_groups(BOUNDS, ALL) for r in g.rules if isinstance(r, Recording)}
    assert recorded == {
        "zdm:api_latency_p95_ms",
        "zdm:api_error_rate",
        "zdm:throughput_per_second",
        "zdm:cdc_lag_seconds",
        "zdm:mismatches",
    }
    assert all(f"`{name}" in (module.__doc__ or "") for name in recorded)


def test_what_is_not_there_is_not_watched() -> None:
    everything = names(ALL)
    assert everything - names(Watched(cdc=False, brokers=3)) == {
        "CdcLagHigh",
        "CdcLagUnknown",
        "CdcSourceSilent",
        "CdcSinkStalled",
    }
    assert {n for n in everything if n.startswith("Kafka")} == everything - names(Watched(cdc=True))
    assert everything - names(ALL, Bounds()) == {"ThroughputLow"}


def test_a_group_stays_within_the_managed_service_s_quota() -> None:
    assert all(1 <= len(group.rules) <= 20 for group in rule_groups(BOUNDS, ALL))


@pytest.mark.parametrize(
    "wrong",
    [
        {"latency_p95_ms": 0},
        {"error_rate": 1},
        {"lag_seconds": -1},
        {"mismatches": -1},
        {"check_hours": 0},
        {"slot_gib": 0},
    ],
)
def test_bounds_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=f"Bounds.{next(iter(wrong))}"):
        Bounds(**wrong)


@given(st.floats(1, 1e5), st.floats(0, 0.5), st.floats(0.1, 1e5), st.integers(0, 10**6), st.floats(0, 1e6))
def test_every_bound_is_written_so_that_it_is_read_back(
    latency: float, errors: float, lag: float, mismatches: int, throughput: float
) -> None:
    bounds = Bounds(latency, errors, lag, mismatches, throughput)
    loaded = yaml.safe_load(rules_yaml(rule_groups(bounds, ALL)))
    expressions = {r["alert"]: r["expr"] for g in loaded["groups"] for r in g["rules"] if "alert" in r}
    assert float(expressions["CdcLagHigh"].split(">")[1]) == pytest.approx(lag, rel=1e-4)
    assert float(expressions["ApiErrorsHigh"].split(">")[1]) == pytest.approx(errors, rel=1e-4)
    assert int(expressions["DataMismatch"].split(">")[1]) == mismatches


@pytest.mark.real
@pytest.mark.parametrize("watched", [ALL, Watched(cdc=False)])
def test_prometheus_loads_them(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(rules_yaml(rule_groups(BOUNDS, watched)))
    accepted("promtool", "check", "rules", "--lint=all", "--lint-fatal", tmp_path / "rules.yml")


def firing(name: str, at: str, *labels: dict[str, str]) -> dict[str, Any]:
    return {"eval_time": at, "alertname": name, "exp_alerts": [{"exp_labels": one} for one in labels]}


def recorded(name: str, at: str, value: float) -> dict[str, Any]:
    return {"expr": name, "eval_time": at, "exp_samples": [{"labels": name, "value": value}]}


def series(*pairs: tuple[str, str], **case: Any) -> dict[str, Any]:
    return {"interval": "15s", "input_series": [{"series": s, "values": v} for s, v in pairs], **case}


def without_annotations(rules: str) -> str:
    """promtool compares annotations word by word; what they say is tested on its own."""
    document = yaml.safe_load(rules)
    for group in document["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations", None)
    return yaml.safe_dump(document, sort_keys=False)


CRITICAL, WARNING = {"severity": "critical"}, {"severity": "warning"}


@pytest.mark.real
def test_they_fire_and_keep_still(tmp_path: Path) -> None:
    quiet = [(f'up{{job="kafka-jmx",instance="{i}"}}', "1x60") for i in range(3)]
    orders = 'zdm_cdc_lag_seconds{table="orders"}'
    fast, slow, everything = (
        f'zdm_request_seconds_bucket{{side="aurora",status="200",le="{bound}"}}' for bound in ("0.15", "0.5", "+Inf")
    )
    good, bad, fenced = (f'zdm_request_seconds_count{{side="mysql",status="{s}"}}' for s in (200, 500, 421))
    tests = [
        # Late for less than a minute, in time again, late for more than one.
        series(
            (orders, "31x2 5x8 31x20"),
            *quiet,
            alert_rule_test=[
                firing("CdcLagHigh", "45s"),
                firing("CdcLagHigh", "3m15s"),
                firing("CdcLagHigh", "4m", {**CRITICAL, "table": "orders"}),
                firing("CdcLagUnknown", "5m"),
            ],
            promql_expr_test=[recorded("zdm:cdc_lag_seconds", "4m", 31)],
        ),
        # Exactly at the bound is still good. Nobody measures: that alarms.
        series((orders, "30x40"), alert_rule_test=[firing("CdcLagHigh", "9m")]),
        series(
            ("unrelated", "1x40"),
            alert_rule_test=[firing("CdcLagUnknown", "1m"), firing("CdcLagUnknown", "5m", CRITICAL)],
        ),
        # 100 requests a second of which six are slower than the bound, then four.
        series(
            (fast, "0+1410x40"),
            (slow, "0+1500x40"),
            (everything, "0+1500x40"),
            alert_rule_test=[firing("ApiLatencyHigh", "9m", {**CRITICAL, "side": "aurora"})],
        ),
        series(
            (fast, "0+1440x40"),
            (slow, "0+1500x40"),
            (everything, "0+1500x40"),
            alert_rule_test=[firing("ApiLatencyHigh", "9m")],
        ),
        # 13 of 15,000 may fail, 200 of 100,000 must not; a thousand refused by the fence are none.
        series(
            (good, "0+14987x40"),
            (bad, "0+13x40"),
            (fenced, "0+9000x40"),
            alert_rule_test=[firing("ApiErrorsHigh", "9m"), firing("ThroughputLow", "9m", WARNING)],
            promql_expr_test=[
                {
                    "expr": "round(zdm:throughput_per_second)",
                    "eval_time": "9m",
                    "exp_samples": [{"labels": "{}", "value": 1000}],
                }
            ],
        ),
        series(
            (good, "0+99800x40"),
            (bad, "0+200x40"),
            alert_rule_test=[firing("ApiErrorsHigh", "9m", CRITICAL), firing("ThroughputLow", "9m")],
        ),
        # No failure at all has no series of its own, and is 0.
        series((good, "0+10x40"), promql_expr_test=[recorded("zdm:api_error_rate", "9m", 0)]),
        # A single differing row; a check of yesterday, and one of the day before.
        series(
            ("zdm_data_check_mismatches", "0x10 1x10"),
            alert_rule_test=[firing("DataMismatch", "2m"), firing("DataMismatch", "4m", CRITICAL)],
        ),
        series(
            ("zdm_data_check_timestamp_seconds", "0x7000"),
            alert_rule_test=[firing("DataCheckOld", "25h"), firing("DataCheckOld", "27h", WARNING)],
        ),
        # Records wait: the sink works, then stands.
        series(
            ('zdm_cdc_consumer_lag_records{topic="t",partition="0"}', "50x60"),
            ('zdm_cdc_committed_offset{topic="t",partition="0"}', "0+10x20 200x40"),
            alert_rule_test=[firing("CdcSinkStalled", "5m"), firing("CdcSinkStalled", "12m", CRITICAL)],
        ),
        # Nothing waits: standing still is right.
        series(
            ('zdm_cdc_consumer_lag_records{topic="t",partition="0"}', "0x60"),
            ('zdm_cdc_committed_offset{topic="t",partition="0"}', "200x60"),
            alert_rule_test=[firing("CdcSinkStalled", "12m")],
        ),
        series(
            ("zdm_cdc_heartbeat_age_seconds", "1x10 20+15x30"),
            alert_rule_test=[firing("CdcSourceSilent", "2m"), firing("CdcSourceSilent", "5m", CRITICAL)],
        ),
        # Kafka: all three brokers, then one; a partition without leader; one behind; a full disk.
        series(*quiet, alert_rule_test=[firing("KafkaBrokerGone", "5m")]),
        series(*quiet[:2], alert_rule_test=[firing("KafkaBrokerGone", "5m", CRITICAL)]),
        series(
            ('kafka_controller_KafkaController_Value{name="OfflinePartitionsCount"}', "0x10 1x20"),
            ('kafka_server_ReplicaManager_Value{name="UnderReplicatedPartitions"}', "0x10 4x60"),
            ('node_filesystem_avail_bytes{job="kafka-node",instance="a"}', "50x20 10x60"),
            ('node_filesystem_size_bytes{job="kafka-node",instance="a"}', "100x80"),
            alert_rule_test=[
                firing("KafkaOfflinePartitions", "2m"),
                firing("KafkaOfflinePartitions", "5m", CRITICAL),
                firing("KafkaUnderReplicated", "5m"),
                firing("KafkaUnderReplicated", "10m", WARNING),
                firing("KafkaDiskFull", "4m"),
                firing("KafkaDiskFull", "12m", CRITICAL),
            ],
        ),
        series(
            ('zdm_target_slot_wal_bytes{slot="back"}', "0x10 60000000000x60"),
            ('zdm_probe_failures_total{what="kafka"}', "0x20 0+1x20"),
            ('up{job="services",instance="a"}', "1x10 0x60"),
            alert_rule_test=[
                firing("ReplicationSlotGrows", "2m"),
                firing("ReplicationSlotGrows", "10m", {**WARNING, "slot": "back"}),
                firing("ProbeFails", "4m"),
                firing("ProbeFails", "8m", {**WARNING, "what": "kafka"}),
                firing("TargetDown", "2m"),
                firing("TargetDown", "6m", {**WARNING, "job": "services", "instance": "a"}),
            ],
        ),
    ]
    rule_test(without_annotations(RULES), tmp_path, tests)


@pytest.mark.real
def test_what_they_say(tmp_path: Path) -> None:
    lag = next(r for g in rule_groups(BOUNDS, ALL) for r in g.rules if isinstance(r, Alert) and r.name == "CdcLagHigh")
    said = {"summary": "orders is 1m 30s late on the target, above 30 s for a minute", "description": lag.action}
    rule_test(
        RULES,
        tmp_path,
        [
            series(
                ('zdm_cdc_lag_seconds{table="orders"}', "90x40"),
                alert_rule_test=[
                    {
                        "eval_time": "5m",
                        "alertname": "CdcLagHigh",
                        "exp_alerts": [{"exp_labels": {**CRITICAL, "table": "orders"}, "exp_annotations": said}],
                    }
                ],
            )
        ],
    )
