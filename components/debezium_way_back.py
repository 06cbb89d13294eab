"""The way back: names, topics and configuration of the connectors from Aurora to MySQL. Pure.

Invariants:
- A round has its own slot, topic prefix and topics; connectors, offsets topic and publication keep their names.
- One partition and one task: MySQL gets the changes of a table in the order in which PostgreSQL committed them.
- Nothing is copied: it begins at the slot, which is made at the cutover, and knows nothing of before.
- What it writes to MySQL is in no binary log.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from components.base import demand
from components.connectors import CONTROL_SCHEMA, FETCH_WAIT_MS, Capture, secret, source_defaults
from components.kafka_args import Topic
from components.kafka_documents import MAX_RECORD_BYTES
from contract.control import CARRIED
from contract.debezium import reverse_sink_settings, reverse_source_settings
from contract.way_back import MYSQL_SESSION, PUBLICATION, prefix, slot

HEARTBEAT = "zdm-heartbeat"
"""Prefix of the messages in PostgreSQL's log that move the slot on while no captured table changes."""


@dataclass(frozen=True)
class WayBackNames:
    """What the way back is called, from what the way there captures."""

    capture: Capture
    """What the way there captures: the same tables go back, less the same columns."""
    round: int = 1
    """Counts the starts of the way back. Each needs a new slot and a new prefix: stale records would be applied."""

    def __post_init__(self) -> None:
        demand(self, round=(1 <= self.round <= 99, f"1 to 99, not {self.round}"))

    @property
    def prefix(self) -> str:
        return prefix(self.capture.prefix, self.round)

    @property
    def slot(self) -> str:
        return slot(self.round)

    @property
    def publication(self) -> str:
        return PUBLICATION

    @property
    def source_connector(self) -> str:
        return f"{self.capture.name}-back-source"

    @property
    def sink_connector(self) -> str:
        return f"{self.capture.name}-back-sink"

    @property
    def sink_group(self) -> str:
        return f"connect-{self.sink_connector}"

    @property
    def offsets_topic(self) -> str:
        return f"{self.capture.name}-back-offsets"

    @property
    def heartbeat_topic(self) -> str:
        return f"__debezium-heartbeat.{self.prefix}"

    @property
    def control_topics(self) -> list[str]:
        """What is carried of the control schema."""
        return [f"{self.prefix}.{CONTROL_SCHEMA}.{table}" for table in CARRIED]

    @property
    def table_topics(self) -> list[str]:
        return [f"{self.prefix}.public.{table}" for table in self.capture.tables]

    def topics(self, retention_hours: int) -> list[Topic]:
        """All topics to declare, each of one partition. The offsets stay from round to round."""
        return [
            Topic(self.offsets_topic, compacted=True),
            Topic(self.heartbeat_topic, retention_hours=retention_hours),
            *(Topic(topic, retention_hours=retention_hours) for topic in [*self.control_topics, *self.table_topics]),
        ]


def reverse_source_config(names: WayBackNames, *, host: str, port: int, account: str) -> dict[str, str]:
    """Debezium's PostgreSQL source, from the slot on. Slot and publication are made by who prepares the way back."""
    capture = names.capture
    tables = [f"public.{table}" for table in capture.tables] + [f"{CONTROL_SCHEMA}.{table}" for table in CARRIED]
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "database.hostname": host,
        "database.port": str(port),
        "database.user": secret(account, "username"),
        "database.password": secret(account, "password"),
        "database.dbname": capture.database,
        "database.sslmode": "require",
        "plugin.name": "pgoutput",
        "slot.name": names.slot,
        "slot.drop.on.stop": "false",
        "publication.name": names.publication,
        "publication.autocreate.mode": "disabled",
        "table.include.list": ",".join(re.escape(name) for name in tables),
        "topic.prefix": names.prefix,
        "heartbeat.action.query": f"SELECT pg_logical_emit_message(false, '{HEARTBEAT}', '')",
        "message.prefix.exclude.list": HEARTBEAT,
        "snapshot.mode": "no_data",
        **source_defaults(),
        **reverse_source_settings(capture.choices, capture.excluded),
    }


def reverse_sink_config(names: WayBackNames, *, host: str, port: int, account: str) -> dict[str, str]:
    """Debezium's JDBC sink into MySQL: upserts and deletes by key, in sessions that leave no binary log.

    A topic `<prefix>.public.<table>` goes to `<database>.<table>`, those of control tables to the control database.
    (Debezium names a table by its schema, never by its catalogue, so MySQL's driver must call a database a schema.)
    """
    start = re.escape(names.prefix)
    router = "org.apache.kafka.connect.transforms.RegexRouter"
    session = ",".join(f"{name}={value}" for name, value in MYSQL_SESSION.items())
    return {
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": "1",
        "topics": ",".join([*names.table_topics, *names.control_topics]),
        "connection.url": (
            f"jdbc:mysql://{host}:{port}/{quote(names.capture.database)}?sslMode=REQUIRED&databaseTerm=SCHEMA&connectionTimeZone=UTC"
            f"&rewriteBatchedStatements=true&sessionVariables={quote(session, safe=',=:')}"
        ),
        "connection.username": secret(account, "username"),
        "connection.password": secret(account, "password"),
        "connection.pool.min_size": "1",
        "connection.pool.max_size": "4",
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
        "transforms.data.regex": rf"{start}\.public\.(.*)",
        "transforms.data.replacement": f"{names.capture.database}.$1",
        "transforms.control.type": router,
        "transforms.control.regex": rf"{start}\.{re.escape(CONTROL_SCHEMA)}\.(.*)",
        "transforms.control.replacement": f"{CONTROL_SCHEMA}.$1",
        **reverse_sink_settings(),
    }
