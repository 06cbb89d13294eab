"""Configuration of the two connectors of the way there and of all workers. Pure: dictionaries and text from values.

Invariants:
- The settings that decide how a value is represented come from the type contract alone, so that capture, DDL and checks
  cannot disagree.
- No secret is in a configuration: accounts are references that the worker resolves in Secrets Manager.
- Names of topics, connectors and offsets never change while a migration runs: the position would be lost.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from components.kafka_args import Topic
from components.kafka_documents import MAX_RECORD_BYTES
from contract.control import CARRIED, IDEMPOTENCY, WATERMARK
from contract.debezium import debezium_source_settings, sink_settings
from contract.types import Choices

CONTROL_SCHEMA = "zdm"
"""Database (MySQL) and schema (PostgreSQL) of the control tables, on both sides."""
PROVIDER = "secretsmanager"
"""Name under which the workers resolve `${secretsmanager:<secret>:<key>}`."""
FLUSH_MS = 100
"""How often offsets are committed: a drain is proven through them, so this is part of the cutover's pause."""
KEEP_ALIVE_MS = 5_000
"""How often the source looks whether MySQL still talks to it. One that MySQL has left stays RUNNING and reads nothing
until then; Debezium's own minute is more than the lag that an alert allows."""
FETCH_WAIT_MS = 100
"""How long the sink collects records before it writes them: fewer and larger batches, for so much more lag."""
_CONVERTER = "org.apache.kafka.connect.json.JsonConverter"


@dataclass(frozen=True)
class Capture:
    """What is captured, and the names that follow from it."""

    name: str
    """Unique to the stack; connectors, workers and offsets are named after it."""
    database: str
    """MySQL's database, and its name in PostgreSQL."""
    tables: Sequence[str] = ()
    """Tables under capture, without the database's name. None yet is fine while nothing runs."""
    booleans: Sequence[str] = ()
    """TINYINT(1) columns (`table.column`) to carry as boolean; a scan of the values must have allowed it."""
    intervals: Sequence[str] = ()
    """TIME columns (`table.column`) that hold durations, to carry as interval."""
    excluded: Sequence[str] = ()
    """Columns (`table.column`) not to carry at all: generated ones, and those the type contract has no rule for."""
    prefix: str = "dbserver1"
    """First part of every topic's name. Never changes while a migration runs: history and offsets belong to it."""
    partitions: int = 3
    """Partitions of a table's topic. More let the sink work in parallel; records of one key stay in order."""
    snapshot: bool = False
    """Whether Debezium copies the rows that are there before it goes on to their changes. Else it takes changes only,
    from its start on, and another way brings the rows."""

    @property
    def choices(self) -> Choices:
        """What was decided by column."""
        return Choices.of(self.booleans, self.intervals)

    @property
    def source_connector(self) -> str:
        return f"{self.name}-source"

    @property
    def sink_connector(self) -> str:
        return f"{self.name}-sink"

    @property
    def schema_history_topic(self) -> str:
        return f"__debezium-schema-history.{self.prefix}"

    @property
    def heartbeat_topic(self) -> str:
        return f"__debezium-heartbeat.{self.prefix}"

    @property
    def offsets_topic(self) -> str:
        return f"{self.name}-source-offsets"

    @property
    def watermark_topic(self) -> str:
        return f"{self.prefix}.{CONTROL_SCHEMA}.{WATERMARK}"

    @property
    def idempotency_topic(self) -> str:
        return f"{self.prefix}.{CONTROL_SCHEMA}.{IDEMPOTENCY}"

    @property
    def control_topics(self) -> list[str]:
        """What is carried of the control schema."""
        return [self.watermark_topic, self.idempotency_topic]

    @property
    def sink_group(self) -> str:
        """Kafka Connect names a sink's consumer group after its connector."""
        return f"connect-{self.sink_connector}"

    @property
    def table_topics(self) -> list[str]:
        return [f"{self.prefix}.{self.database}.{table}" for table in self.tables]

    def topics(self, retention_hours: int) -> list[Topic]:
        """All topics to declare. Records of tables are kept for `retention_hours`, history and offsets for ever."""
        return [
            Topic(self.schema_history_topic),
            Topic(self.offsets_topic, compacted=True),
            Topic(self.heartbeat_topic, retention_hours=retention_hours),
            Topic(self.watermark_topic, retention_hours=retention_hours),
            Topic(self.idempotency_topic, self.partitions, retention_hours),
            *(Topic(topic, self.partitions, retention_hours) for topic in self.table_topics),
        ]


def secret(name: str, key: str) -> str:
    """A reference that a worker resolves."""
    return f"${{{PROVIDER}:{name}:{key}}}"


def worker_properties(region: str, offsets_topic: str | None = None) -> str:
    """The workers' configuration, in Kafka's own format. Only a source keeps offsets, in a topic that outlives it."""
    values = {
        "key.converter": _CONVERTER,
        "key.converter.schemas.enable": "true",
        "value.converter": _CONVERTER,
        "value.converter.schemas.enable": "true",
        "offset.flush.interval.ms": str(FLUSH_MS),
        "config.providers": PROVIDER,
        f"config.providers.{PROVIDER}.class": "com.amazonaws.kafka.config.providers.SecretsManagerConfigProvider",
        f"config.providers.{PROVIDER}.param.region": region,
    }
    if offsets_topic is not None:
        values |= {"offset.storage.topic": offsets_topic, "offset.storage.partitions": "1"}
    return "".join(f"{key}={value}\n" for key, value in values.items())


def source_defaults() -> dict[str, str]:
    """What Debezium's sources have in common, whichever way the changes go: a heartbeat, sizes, a failure stops it."""
    return {
        "topic.heartbeat.prefix": "__debezium-heartbeat",
        "heartbeat.interval.ms": "1000",
        "provide.transaction.metadata": "false",
        "tombstones.on.delete": "true",
        "event.processing.failure.handling.mode": "fail",
        "max.batch.size": "4096",
        "max.queue.size": "16384",
        "poll.interval.ms": "100",
        "producer.override.acks": "all",
        "producer.override.batch.size": "262144",
        "producer.override.compression.type": "lz4",
        "producer.override.linger.ms": "20",
        "producer.override.max.request.size": str(MAX_RECORD_BYTES),
    }


def source_config(
    capture: Capture,
    *,
    host: str,
    port: int,
    account: str,
    bootstrap: str,
    server_id: int,
) -> dict[str, str]:
    """Debezium's MySQL source. `account` is the secret's name; `server_id` must be free among MySQL's replicas."""
    qualified = [f"{capture.database}.{table}" for table in capture.tables]
    qualified += [f"{CONTROL_SCHEMA}.{table}" for table in CARRIED]
    history = "schema.history.internal"
    return {
        "connector.class": "io.debezium.connector.mysql.MySqlConnector",
        "tasks.max": "1",
        "database.hostname": host,
        "database.port": str(port),
        "database.user": secret(account, "username"),
        "database.password": secret(account, "password"),
        "database.server.id": str(server_id),
        "database.ssl.mode": "required",
        "database.include.list": ",".join(re.escape(name) for name in (capture.database, CONTROL_SCHEMA)),
        "table.include.list": ",".join(re.escape(name) for name in qualified),
        "topic.prefix": capture.prefix,
        "connect.keep.alive.interval.ms": str(KEEP_ALIVE_MS),
        **_snapshot(capture),
        "include.schema.changes": "false",
        **source_defaults(),
        f"{history}.kafka.bootstrap.servers": bootstrap,
        f"{history}.kafka.topic": capture.schema_history_topic,
        f"{history}.store.only.captured.tables.ddl": "true",
        **iam(f"{history}.producer."),
        **iam(f"{history}.consumer."),
        **debezium_source_settings(capture.choices, capture.database, capture.excluded),
    }


def _snapshot(capture: Capture) -> dict[str, str]:
    """What the source reads at its first start. Later ones go on from its position, whatever stands here.

    With rows it holds a lock while it notes its position and the tables' columns. Without, it only reads the columns,
    which do not change in a migration: no lock, which on a busy server would wait behind the longest statement, and
    everybody behind it.
    """
    if capture.snapshot:
        return {"snapshot.mode": "initial", "snapshot.locking.mode": "minimal"}
    return {"snapshot.mode": "no_data", "snapshot.locking.mode": "none"}


def sink_config(capture: Capture, *, host: str, port: int, account: str, tasks: int = 1) -> dict[str, str]:
    """Debezium's JDBC sink into PostgreSQL: upserts and deletes by key, into tables that exist.

    A topic `<prefix>.<database>.<table>` goes to `public.<table>`, those of control tables to the control schema.
    """
    prefix = re.escape(capture.prefix)
    router = "org.apache.kafka.connect.transforms.RegexRouter"
    return {
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": str(tasks),
        "topics": ",".join([*capture.table_topics, *capture.control_topics]),
        "connection.url": (
            f"jdbc:postgresql://{host}:{port}/{capture.database}"
            "?reWriteBatchedInserts=true&stringtype=unspecified&sslmode=require"
        ),
        "connection.username": secret(account, "username"),
        "connection.password": secret(account, "password"),
        "connection.pool.min_size": "1",
        "connection.pool.max_size": str(max(4, tasks * 2)),
        "batch.size": "2000",
        "consumer.override.auto.offset.reset": "earliest",
        "consumer.override.max.poll.records": "2000",
        "consumer.override.fetch.min.bytes": "1048576",
        "consumer.override.fetch.max.wait.ms": str(FETCH_WAIT_MS),
        "consumer.override.max.partition.fetch.bytes": str(MAX_RECORD_BYTES),
        "consumer.override.session.timeout.ms": "10000",
        "consumer.override.heartbeat.interval.ms": "3000",
        "transforms": "data,control",
        "transforms.data.type": router,
        "transforms.data.regex": rf"{prefix}\.{re.escape(capture.database)}\.(.*)",
        "transforms.data.replacement": "public.$1",
        "transforms.control.type": router,
        "transforms.control.regex": rf"{prefix}\.{re.escape(CONTROL_SCHEMA)}\.(.*)",
        "transforms.control.replacement": f"{CONTROL_SCHEMA}.$1",
        **sink_settings(),
    }


def iam(prefix: str) -> dict[str, str]:
    """A Kafka client that logs in by IAM over TLS. The worker's own clients are set up by MSK Connect itself."""
    return {
        f"{prefix}security.protocol": "SASL_SSL",
        f"{prefix}sasl.mechanism": "AWS_MSK_IAM",
        f"{prefix}sasl.jaas.config": "software.amazon.msk.auth.iam.IAMLoginModule required;",
        f"{prefix}sasl.client.callback.handler.class": "software.amazon.msk.auth.iam.IAMClientCallbackHandler",
    }
