"""What watches a stack and what it costs: alarms, dashboards, Prometheus, budgets, and the account's own guards."""

from __future__ import annotations

from typing import Any

from components.alerts import Bounds, rule_groups
from components.alerts import Watched as Ruled
from components.archive import Archive
from components.collector import Collector, CollectorArgs, Exporters, ScrapedService
from components.cost import Cost, CostArgs, limit
from components.metrics import Metrics, MetricsArgs
from components.observability import Observability, ObservabilityArgs
from components.security import AccountSecurity, AccountSecurityArgs, GuardDuty
from components.watched import ApiService, AuroraTarget, Connectors, KafkaBrokers, MySQLSource, Probe, Watched
from infra.databases import Databases
from infra.foundation import Foundation
from infra.replication import Replication
from infra.services import Services


class Operations:
    """Made last: it looks at everything else."""

    def __init__(
        self,
        base: Foundation,
        databases: Databases,
        replication: Replication,
        services: Services,
        archive: Archive | None,
    ) -> None:
        s = self.settings = base.settings
        self.base, self.databases, self.replication, self.services = base, databases, replication, services
        k = s.kpis
        self.bounds = Bounds(
            latency_p95_ms=k.latency_p95_ms,
            error_rate=k.error_rate,
            lag_seconds=k.lag_seconds,
            mismatches=k.mismatches,
            throughput_per_second=k.throughput_per_second,
        )
        self.metrics = self._metrics() if s.observability.prometheus else None
        self.collector = self._collector(self.metrics) if self.metrics else None
        self.watch = Observability(
            "watch",
            ObservabilityArgs(
                prefix=base.name,
                account_id=base.account_id,
                partition=base.partition,
                region=s.region,
                alarm_topic_arn=base.alerts.arn,
                watched=self._watched(),
                others=replication.dms.alarm_names if replication.dms else (),
            ),
            base.opts,
        )
        self.gate = base.credential("gate", "gate", "key that signs the decision gate's records")
        self.masking = base.credential("masking", "masking", "key by which personal data is masked")
        self.cost = self._cost() if s.cost.budgets else None
        self.guard = self._guard(archive) if s.account.owner else None

    def _watched(self) -> Watched:
        s, server = self.settings, self.databases.source.server
        capture = self.replication.capture
        a = s.aurora
        return Watched(
            bounds=self.bounds,
            aurora=AuroraTarget(
                self.databases.aurora.identifier,
                serverless=a.capacity == "serverless",
                readers=a.readers,
                **({"connections": a.max_connections} if a.max_connections else {}),
            ),
            mysql=MySQLSource(server.identifier, s.source.storage_gib) if server else None,
            kafka=KafkaBrokers(self.base.name) if self.replication.kafka else None,
            connectors={
                "stopped": None,
                "capturing": Connectors([capture.source_connector]),
                "running": Connectors([capture.source_connector, capture.sink_connector]),
            }[s.cdc.state],
            services=[
                ApiService(
                    str(side),
                    self.services.cluster.name,
                    (s.service.active == "standby" and origin.standby_service_name) or origin.service_name,
                    origin.balancer.arn_suffix,
                    origin.alarm_names,
                )
                for side, origin in self.services.origins.items()
            ],
            probe=Probe(self.collector.log_group) if self.collector else None,
        )

    def _metrics(self) -> Metrics:
        base, s = self.base, self.settings
        kafka = self.replication.kafka
        watched = Ruled(
            cdc=s.cdc.state == "running",
            brokers=s.kafka.brokers_per_zone * s.network.zones if kafka and s.kafka.exporters else 0,
        )
        return Metrics(
            "metrics",
            MetricsArgs(
                prefix=base.name,
                region=s.region,
                data_key_arn=base.encryption.data_key_arn,
                logs_key_arn=base.encryption.logs_key_arn,
                alarm_topic_arn=base.alerts.arn,
                groups=rule_groups(self.bounds, watched),
                bounds=self.bounds,
                log_days=s.posture.log_days,
                keep_bucket=s.posture.keep_buckets,
            ),
            base.opts,
        )

    def _collector(self, metrics: Metrics) -> Collector | None:
        """With Kafka only: what the probe measures is Kafka's lag."""
        kafka, s = self.replication.kafka, self.settings
        databases = self.databases
        if kafka is None or databases.mysql_probe is None or databases.aurora_probe is None:
            return None
        return Collector(
            "collector",
            CollectorArgs(
                place=self.services.place,
                metrics=metrics,
                capture=self.replication.capture,
                kafka=kafka.access,
                mysql=databases.mysql_as(databases.mysql_probe),
                aurora=databases.aurora_as(databases.aurora_probe),
                probe_image=s.service.image,
                agent_image=s.observability.collector_image,
                services={
                    f"{side}-api": ScrapedService(origin.service_name, origin.security_group_id, origin.origin)
                    for side, origin in self.services.origins.items()
                },
                exporters=Exporters(kafka.jmx_exporters, kafka.node_exporters) if s.kafka.exporters else None,
            ),
            self.base.opts,
        )

    def _cost(self) -> Cost:
        base, c = self.base, self.settings.cost
        return Cost(
            "cost",
            CostArgs(
                prefix=base.name,
                tags=self.settings.tags,
                limit_usd=limit(c.mysql_monthly_usd, c.overrun_percent),
                estimate_usd=c.estimate_monthly_usd,
                alarm_topic_arn=base.alerts.arn,
                variance_percent=c.variance_percent,
                emails=c.emails,
                anomaly_usd=c.anomaly_usd,
                account=self.settings.account.owner,
            ),
            base.opts,
        )

    def _guard(self, archive: Archive | None) -> AccountSecurity:
        base, s = self.base, self.settings
        return AccountSecurity(
            "account",
            AccountSecurityArgs(
                prefix=base.name,
                account_id=base.account_id,
                partition=base.partition,
                region=s.region,
                alarm_topic_arn=base.alerts.arn,
                logs_key_arn=base.encryption.logs_key_arn,
                watched_buckets=[archive.bucket_arn] if archive else [],
                log_days=s.posture.log_days,
                keep=s.keeps_records,
                guardduty=GuardDuty() if s.account.guardduty else None,
                config=s.account.config,
            ),
            base.opts,
        )

    def to_outputs(self) -> dict[str, Any]:
        base, databases = self.base, self.databases
        return {
            "observability": {
                "alertTopic": base.alerts.arn,
                "dashboard": self.watch.dashboard,
                "readyAlarm": self.watch.ready_alarm,
                "prometheusEndpoint": self.metrics.endpoint if self.metrics else "",
                "grafanaBucket": self.metrics.grafana_bucket if self.metrics else "",
                "mysqlProbeSecret": databases.mysql_probe.arn if databases.mysql_probe else "",
                "auroraProbeSecret": databases.aurora_probe.arn if databases.aurora_probe else "",
            },
            "security": {
                "blockedIpv4": base.firewall.blocked["ipv4"] if base.firewall else "",
                "blockedIpv6": base.firewall.blocked["ipv6"] if base.firewall else "",
                "auditBucket": self.guard.bucket if self.guard else "",
            },
            "gateSecret": self.gate.arn,
            "maskingSecret": self.masking.arn,
        }
