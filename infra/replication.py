"""How changes travel: Kafka with Debezium, and AWS DMS as the other way, each where the settings ask for it."""

from __future__ import annotations

from typing import Any

import pulumi

from components.archive import Archive
from components.connectors import Capture
from components.debezium import Autoscaled, DebeziumArgs, DebeziumPipeline, Fixed, WayBack
from components.debezium_plugin import Plugin
from components.debezium_way_back import WayBackNames
from components.dms import DmsReplication
from components.dms_account import DmsAccount, DmsAccountArgs
from components.dms_args import DmsArgs, Instance, Serverless
from components.dms_args import Place as DmsPlace
from components.dms_choices import BatchApply, Changes, FullLoad, FullLobs, InlineLobs, LimitedLobs
from components.dms_endpoints import DmsSource, DmsTarget, Tls
from components.dms_endpoints import WayBack as DmsWayBack
from components.dms_mappings import Partitions, Ranges
from components.kafka import Brokers, KafkaArgs, KafkaCluster, Monitoring
from components.kafka_args import Topic
from contract.tables import Table, load_tables
from infra.databases import Databases
from infra.foundation import Foundation


class Replication:
    """Kafka and its connectors, DMS and its tasks."""

    def __init__(self, base: Foundation, databases: Databases, archive: Archive | None) -> None:
        s = self.settings = base.settings
        self.base, self.databases = base, databases
        self.capture = Capture(
            name=base.name,
            database=s.database,
            tables=s.cdc.tables,
            booleans=s.cdc.booleans,
            intervals=s.cdc.intervals,
            excluded=s.cdc.excluded_columns,
            partitions=s.kafka.partitions,
            snapshot=s.cdc.copy_ == "debezium",
        )
        self.names = WayBackNames(self.capture, s.cdc.reverse_round)
        self.kafka = self._kafka(archive) if s.kafka.enabled else None
        self.pipeline = self._pipeline(self.kafka) if self.kafka else None
        account = s.account
        self.dms_roles = (
            DmsAccount("dms-account", DmsAccountArgs(base.account_id, base.partition), base.opts)
            if account.owner
            else None
        )
        self.dms = self._dms() if s.dms.enabled else None

    def _kafka(self, archive: Archive | None) -> KafkaCluster:
        base, k = self.base, self.settings.kafka
        return KafkaCluster(
            "kafka",
            KafkaArgs(
                cluster_name=base.name,
                vpc_id=base.ground.vpc_id,
                subnet_ids=base.ground.data_subnet_ids,
                data_key_arn=base.encryption.data_key_arn,
                logs_key_arn=base.encryption.logs_key_arn,
                topics=[
                    *self.capture.topics(k.retention_hours),
                    *self.names.topics(k.retention_hours),
                    *self._events(),
                ],
                version=k.version,
                brokers=Brokers(
                    k.instance_type,
                    k.brokers_per_zone,
                    k.volume_gib,
                    k.grow_to_gib or None,
                    k.grow_at_percent,
                    k.throughput_mib or None,
                ),
                scram_users=[
                    base.credential(
                        f"kafka-{user}", user, "Kafka by password", secret_name=f"AmazonMSK_{base.name}-{user}"
                    ).account
                    for user in k.scram_users
                ],
                shared_with=k.shared_with,
                monitoring=Monitoring(k.monitoring, k.exporters),
                log_days=self.settings.posture.log_days,
                log_bucket=archive.log_bucket if archive and k.log_archive else None,
                operator_cidrs=self.settings.network.operator_cidrs,
            ),
            base.opts,
        )

    def _events(self) -> list[Topic]:
        """Where the outbox's events go. An event's aggregate keeps its order by its key, whatever the partitions."""
        s = self.settings
        if not s.service.relay:
            return []
        return [Topic(s.service.events_topic, s.kafka.partitions, retention_hours=s.kafka.retention_hours)]

    def _pipeline(self, kafka: KafkaCluster) -> DebeziumPipeline:
        base, databases, s = self.base, self.databases, self.settings
        most = s.cdc.sink_workers_most
        return DebeziumPipeline(
            "cdc",
            DebeziumArgs(
                account_id=base.account_id,
                region=s.region,
                vpc_id=base.ground.vpc_id,
                subnet_ids=base.ground.private_subnet_ids,
                data_key_arn=base.encryption.data_key_arn,
                secrets_key_arn=base.encryption.secrets_key_arn,
                logs_key_arn=base.encryption.logs_key_arn,
                apis=base.ground.apis,
                kafka=kafka.access,
                source=databases.mysql_as(databases.mysql_cdc),
                target=databases.aurora_as(databases.aurora_sink),
                capture=self.capture,
                plugin=Plugin(s.plugin_path, s.cdc.plugin_sha256 or None),
                state=s.cdc.state,
                way_back=WayBack(
                    databases.aurora_as(databases.aurora_cdc),
                    databases.mysql_as(databases.mysql_sink),
                    self.names,
                    running=s.cdc.reverse == "running",
                ),
                server_id=s.cdc.server_id,
                source_capacity=Fixed(s.cdc.source_units),
                sink_capacity=Autoscaled(s.cdc.sink_workers, most, s.cdc.sink_units)
                if most
                else Fixed(s.cdc.sink_units, s.cdc.sink_workers),
                sink_tasks=s.cdc.sink_tasks,
                log_days=s.posture.log_days,
                keep_bucket=s.posture.keep_buckets,
            ),
            base.opts,
        )

    def _dms(self) -> DmsReplication:
        base, databases, s = self.base, self.databases, self.settings
        d = s.dms
        authority = s.root / d.authority
        source_tls = Tls(s.root / d.source_authority if d.source_authority else authority, d.source_tls)
        lobs: FullLobs | InlineLobs | LimitedLobs = FullLobs()
        if d.lobs == "inline":
            lobs = InlineLobs(d.inline_lob_kb)
        elif d.lobs == "limited":
            lobs = LimitedLobs(d.largest_lob_kb)
        capacity: Instance | Serverless = Serverless(d.max_units, d.min_units, d.multi_az)
        if d.capacity == "instance":
            capacity = Instance(d.instance_class, d.storage_gib, d.multi_az, d.version)
        way_back = None
        if d.way_back:
            way_back = DmsWayBack(
                databases.aurora_as(databases.aurora_cdc),
                databases.mysql_as(databases.mysql_sink),
            )
        return DmsReplication(
            "dms",
            DmsArgs(
                DmsPlace(
                    prefix=base.name,
                    account_id=base.account_id,
                    region=s.region,
                    vpc_id=base.ground.vpc_id,
                    subnet_ids=base.ground.private_subnet_ids,
                    data_key_arn=base.encryption.data_key_arn,
                    secrets_key_arn=base.encryption.secrets_key_arn,
                    logs_key_arn=base.encryption.logs_key_arn,
                    alarm_topic_arn=base.alerts.arn,
                    apis=base.ground.apis,
                    log_days=s.posture.log_days,
                    ready=[self.dms_roles] if self.dms_roles else [],
                ),
                s.database,
                self._tables(),
                DmsSource(databases.mysql_as(databases.mysql_cdc), source_tls, d.source_time_zone),
                DmsTarget(databases.aurora_as(databases.aurora_sink), Tls(authority)),
                capacity,
                running=d.running,
                booleans=s.cdc.booleans,
                intervals=s.cdc.intervals,
                excluded=s.cdc.excluded_columns,
                relaxed=d.relaxed,
                load=FullLoad(commit_rows=d.commit_rows),
                parallel={
                    p.table: Ranges(p.columns, p.boundaries) if p.columns else Partitions() for p in d.parallel_load
                },
                lobs=lobs,
                changes=Changes(batch=BatchApply() if d.batch_apply else None),
                validation=d.validation,
                way_back=way_back,
                lag_seconds=s.kpis.lag_seconds,
                maintenance=s.backups.maintenance,
            ),
            base.opts,
        )

    def _tables(self) -> list[Table]:
        """The described tables that are under capture (all of them where none is named)."""
        s = self.settings
        described = {table.name: table for table in load_tables((s.root / s.dms.tables_file).read_text())}
        if strange := sorted(set(s.cdc.tables) - set(described)):
            raise pulumi.RunError(
                f"dms.tablesFile: {s.dms.tables_file} does not describe {', '.join(strange)}; "
                "make it anew with: ./zdm schema STACK --describe FILE"
            )
        return [described[name] for name in s.cdc.tables or described]

    def to_outputs(self) -> dict[str, Any]:
        s, c, names = self.settings, self.capture, self.names
        return {
            "kafka": {
                "bootstrapServers": self.kafka.access.bootstrap,
                "topicPrefix": c.prefix,
                "partitions": c.partitions,
                "schemaHistoryTopic": c.schema_history_topic,
                "offsetsTopic": c.offsets_topic,
                "heartbeatTopic": c.heartbeat_topic,
            }
            if self.kafka
            else None,
            "pipeline": {
                "state": s.cdc.state,
                "copy": s.cdc.copy_,
                "sourceConnector": c.source_connector,
                "sinkConnector": c.sink_connector,
                "tables": list(c.tables),
                "booleans": list(c.booleans),
                "intervals": list(c.intervals),
                "excluded": list(c.excluded),
                "wayBack": {
                    "state": s.cdc.reverse,
                    "sourceConnector": names.source_connector,
                    "sinkConnector": names.sink_connector,
                    "topicPrefix": names.prefix,
                    "offsetsTopic": names.offsets_topic,
                    "slot": names.slot,
                    "publication": names.publication,
                    "auroraSecret": self.databases.aurora_cdc.arn,
                    "mysqlSecret": self.databases.mysql_sink.arn,
                },
            },
            "dms": {
                "forward": self.dms.replication_arn,
                "validation": self.dms.validation_arn,
                "wayBack": self.dms.way_back_arn,
                "serverless": s.dms.capacity == "serverless",
                "running": s.dms.running,
            }
            if self.dms
            else None,
        }
