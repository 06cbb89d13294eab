"""Grafana dashboards of the migration, as code. Pure: JSON from values.

Invariants:
- A dashboard has a stable uid and no numeric id: importing it again replaces it, in whatever Grafana it is imported.
- Where data come from is a variable (`prometheus`, `cloudwatch`): no dashboard names a data source of one Grafana.
- Figures that the migration promises are read from the recorded series, with their bound drawn in.
"""

from __future__ import annotations

import json
from typing import Any

from components.alerts import ERRORS, LAG, LATENCY, MISMATCHES, THROUGHPUT, Bounds
from components.grafana import Metric, Panel, Query, board


def dashboards(bounds: Bounds) -> dict[str, str]:
    """Every dashboard: file name -> JSON."""
    made = [_overview(bounds), _databases(), _kafka(bounds), _service(bounds)]
    return {f"{one['uid']}.json": json.dumps(one, indent=1, sort_keys=True) + "\n" for one in made}


def _overview(bounds: Bounds) -> dict[str, Any]:
    def share(kind: str) -> Query:
        rate = f'rate(zdm_request_seconds_count{{kind="{kind}",status!="421"}}[5m])'
        return Query(f"100 * sum by (side) ({rate}) / ignoring (side) group_left sum({rate})", "{{side}}")

    return board(
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
    return board(
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
    return board(
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
    return board(
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
