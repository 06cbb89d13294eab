"""Alert rules of the migration, and the recorded KPIs that its commands and dashboards read. Pure: text from values.

Recorded series (what others may rely on; each under one name whatever it is computed from):
- `zdm:api_latency_p95_ms{side}`: 95th percentile of the API's answers in five minutes, by origin.
- `zdm:api_error_rate`: share of requests answered with 5xx in five minutes, both origins together.
- `zdm:throughput_per_second`: requests answered by both origins, over five minutes.
- `zdm:cdc_lag_seconds`: how late the worst table is on the target, now.
- `zdm:mismatches`: differing rows that the last data check found.

Invariants:
- The fence's answer (421) is neither an error nor a request: nothing was executed, the other side gets it.
- What is not measured alarms too: no figure is no yes.
- A bound is the stack's own KPI; a rule holds no figure of its own where the stack has one.
"""

from __future__ import annotations

from dataclasses import dataclass

from components.base import demand
from components.rules import Alert, Group, Recording

LATENCY, ERRORS, THROUGHPUT = "zdm:api_latency_p95_ms", "zdm:api_error_rate", "zdm:throughput_per_second"
LAG, MISMATCHES = "zdm:cdc_lag_seconds", "zdm:mismatches"


@dataclass(frozen=True)
class Bounds:
    """What the rules hold the migration to: the stack's KPIs."""

    latency_p95_ms: float = 150.0
    """Milliseconds of the API's 95th percentile: the customer's requirement."""
    error_rate: float = 0.001
    """Share of requests that may fail: the customer's requirement, 0.1 %."""
    lag_seconds: float = 30.0
    """Seconds that a table may be late on the target; longer than a minute above it is critical."""
    mismatches: int = 0
    """Rows that may differ: none."""
    throughput_per_second: float = 0.0
    """Requests a second that must be served; 0 where no load is promised (a development stack), then nothing alarms."""
    check_hours: float = 26.0
    """Hours after which a data check is too old: it runs every night, and may take two hours longer than last time."""
    slot_gib: float = 50.0
    """GiB of write-ahead log that a replication slot may hold back on the target before someone must look: the volume
    grows by it, and nothing but the slot's reader (or its end) gives it back."""

    def __post_init__(self) -> None:
        demand(
            self,
            latency_p95_ms=(self.latency_p95_ms > 0, f"above 0, not {self.latency_p95_ms}"),
            error_rate=(0 <= self.error_rate < 1, f"a share of 0 to 1, not {self.error_rate}"),
            lag_seconds=(self.lag_seconds > 0, f"above 0, not {self.lag_seconds}"),
            mismatches=(self.mismatches >= 0, f"0 or more, not {self.mismatches}"),
            throughput_per_second=(self.throughput_per_second >= 0, f"0 or more, not {self.throughput_per_second}"),
            check_hours=(self.check_hours > 0, f"above 0, not {self.check_hours}"),
            slot_gib=(self.slot_gib > 0, f"above 0, not {self.slot_gib}"),
        )


@dataclass(frozen=True)
class Watched:
    """What of the stack there is to watch: a rule about a thing that is not there would alarm for ever."""

    cdc: bool
    """Whether the pipeline runs: its lag, heartbeat and progress are watched then."""
    brokers: int = 0
    """Brokers whose exporters are scraped; 0: none are."""


def rule_groups(bounds: Bounds, watched: Watched) -> list[Group]:
    """Every group of the stack."""
    groups = [_recorded(), _api(bounds), _data(bounds), _target(bounds), _measuring()]
    if watched.cdc:
        groups.append(_cdc(bounds))
    if watched.brokers:
        groups.append(_kafka(watched.brokers))
    return groups


def _recorded() -> Group:
    answered = 'zdm_request_seconds_count{status!="421"}'
    return Group(
        "zdm-kpis",
        [
            Recording(
                LATENCY,
                "1000 * histogram_quantile(0.95, sum by (side, le) "
                '(rate(zdm_request_seconds_bucket{status!="421"}[5m])))',
            ),
            Recording(
                ERRORS,
                '(sum(rate(zdm_request_seconds_count{status=~"5.."}[5m])) or vector(0)) '
                f"/ (sum(rate({answered}[5m])) > 0)",
            ),
            Recording(THROUGHPUT, f"sum(rate({answered}[5m]))"),
            Recording(LAG, "max(zdm_cdc_lag_seconds)"),
            Recording(MISMATCHES, "max(zdm_data_check_mismatches)"),
        ],
    )


def _api(bounds: Bounds) -> Group:
    alerts = [
        Alert(
            "ApiLatencyHigh",
            f"{LATENCY} > {bounds.latency_p95_ms:.12g}",
            120,
            "critical",
            'The 95th percentile of {{ $labels.side }} is {{ $value | printf "%.0f" }} ms, '
            f"above {bounds.latency_p95_ms:.12g} ms",
            "Lower the weight of the slower side; then look at its database's connections and CPU.",
        ),
        Alert(
            "ApiErrorsHigh",
            f"{ERRORS} > {bounds.error_rate:.12g}",
            60,
            "critical",
            f"{{{{ $value | humanizePercentage }}}} of requests fail, above {bounds.error_rate:.2%}",
            "Send the traffic to the side that answers (weight 0 or 100), then read the origins' logs.",
        ),
    ]
    if bounds.throughput_per_second:
        alerts.append(
            Alert(
                "ThroughputLow",
                f"{THROUGHPUT} < {bounds.throughput_per_second:.12g}",
                300,
                "warning",
                f'{{{{ $value | printf "%.0f" }}}} requests a second, below {bounds.throughput_per_second:.12g}',
                "If customers are there, so is a bottleneck: look at router, services, pool of connections.",
            )
        )
    return Group("zdm-api", alerts)


def _cdc(bounds: Bounds) -> Group:
    return Group(
        "zdm-cdc",
        [
            Alert(
                "CdcLagHigh",
                f"zdm_cdc_lag_seconds > {bounds.lag_seconds:.12g}",
                60,
                "critical",
                "{{ $labels.table }} is {{ $value | humanizeDuration }} late on the target, "
                f"above {bounds.lag_seconds:.12g} s for a minute",
                "Look at the connectors and at the target's load. Plan B: MySQL read-only for a while, dual-write "
                "stopped. Plan C: full load through DMS, half of the traffic.",
            ),
            Alert(
                "CdcLagUnknown",
                f"absent({LAG})",
                120,
                "critical",
                "Nobody measures how late the target is",
                "Look at the lag probe's task and its log: no cutover and no gate without it.",
            ),
            Alert(
                "CdcSourceSilent",
                f"zdm_cdc_heartbeat_age_seconds > {bounds.lag_seconds:.12g}",
                60,
                "critical",
                "The source connector has not been heard of for {{ $value | humanizeDuration }}",
                "Its task has failed or lost MySQL: read its log, restart it. The binary log must still hold its "
                "position, or the copy begins anew.",
            ),
            Alert(
                "CdcSinkStalled",
                "sum(zdm_cdc_consumer_lag_records) > 0 and sum(changes(zdm_cdc_committed_offset[3m])) == 0",
                60,
                "critical",
                "{{ $value }} records wait and the sink writes none of them",
                "Its task has failed (often one record that the target refuses): read its log, mend the cause, restart "
                "it.",
            ),
        ],
    )


def _data(bounds: Bounds) -> Group:
    return Group(
        "zdm-data",
        [
            Alert(
                "DataMismatch",
                f"{MISMATCHES} > {bounds.mismatches}",
                0,
                "critical",
                "The last data check found {{ $value }} rows that differ",
                "No cutover. Run the check with repair for the tables it names, then find what wrote past the capture.",
            ),
            Alert(
                "DataCheckOld",
                f"time() - max(zdm_data_check_timestamp_seconds) > {bounds.check_hours * 3600:g}",
                0,
                "warning",
                "The last data check is {{ $value | humanizeDuration }} old",
                "Look at the nightly run. Until it is done again, nothing proves that both sides agree.",
            ),
        ],
    )


def _target(bounds: Bounds) -> Group:
    return Group(
        "zdm-target",
        [
            Alert(
                "ReplicationSlotGrows",
                f"max by (slot) (zdm_target_slot_wal_bytes) > {bounds.slot_gib * 1024**3:.0f}",
                300,
                "warning",
                "The slot {{ $labels.slot }} holds back {{ $value | humanize1024 }}B of write-ahead log",
                "Start the connector of the way back, or drop the slot: the cluster's volume grows by what it holds.",
            )
        ],
    )


def _kafka(brokers: int) -> Group:
    used = '1 - node_filesystem_avail_bytes{job="kafka-node"} / node_filesystem_size_bytes{job="kafka-node"}'
    return Group(
        "zdm-kafka",
        [
            Alert(
                "KafkaOfflinePartitions",
                'max(kafka_controller_KafkaController_Value{name="OfflinePartitionsCount"}) > 0',
                60,
                "critical",
                "{{ $value }} partitions have no leader: nothing can be written to them",
                "Look at the brokers' state. Never allow an unclean election: it loses changes.",
            ),
            Alert(
                "KafkaUnderReplicated",
                'sum(kafka_server_ReplicaManager_Value{name="UnderReplicatedPartitions"}) > 0',
                300,
                "warning",
                "{{ $value }} partitions lack replicas",
                "A broker is down or behind (maintenance does this for a while). With one more loss, writes stop.",
            ),
            Alert(
                "KafkaDiskFull",
                f"max({used}) > 0.8",
                300,
                "critical",
                "A broker's disk is {{ $value | humanizePercentage }} full",
                "Grow the volumes or shorten the topics' retention, before the broker stops.",
            ),
            Alert(
                "KafkaBrokerGone",
                f'(count(up{{job="kafka-jmx"}} == 1) or vector(0)) < {brokers}',
                120,
                "critical",
                f"{{{{ $value }}}} of {brokers} brokers answer",
                "Look at the cluster's state and its security group; with two brokers gone, writes stop.",
            ),
        ],
    )


def _measuring() -> Group:
    return Group(
        "zdm-measuring",
        [
            Alert(
                "TargetDown",
                'up{job!="kafka-jmx"} == 0',
                120,
                "warning",
                "{{ $labels.job }} {{ $labels.instance }} does not answer the collector",
                "Look at its task; figures that come from it are missing from every KPI.",
            ),
            Alert(
                "ProbeFails",
                "increase(zdm_probe_failures_total[5m]) > 3",
                0,
                "warning",
                "The lag probe cannot reach {{ $labels.what }}",
                "Read the probe's log: an account, a rule of a security group, or the server itself.",
            ),
        ],
    )
