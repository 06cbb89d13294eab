"""Kafka as the commands see it: positions (ends, the sink's, the source's) and the records of the change topics.

Nothing here joins a consumer group or commits: the connectors' positions are only read. MSK is reached with IAM; the
environment variable `ZDM_KAFKA_SECURITY_PROTOCOL` (such as PLAINTEXT) replaces that for brokers without it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from contract import lag
from contract.outputs import Kafka as KafkaOutputs
from scripts.clients.gtid import GtidSet
from scripts.errors import ZdmError

SECURITY = "ZDM_KAFKA_SECURITY_PROTOCOL"
TIMEOUT = 10.0
"""Seconds that a question to the brokers may take."""

Partition = tuple[str, int]
Offsets = dict[Partition, int]


@dataclass
class KafkaClient:
    """Connections are made at first use; `close` ends them."""

    bootstrap_servers: str
    region: str
    _closers: list[Callable[[], None]] = field(default_factory=list)
    _admin: AdminClient | None = None
    _groups: dict[str, Consumer] = field(default_factory=dict)

    @staticmethod
    def of(outputs: KafkaOutputs, region: str) -> KafkaClient:
        return KafkaClient(outputs.bootstrap_servers, region)

    def __enter__(self) -> KafkaClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for close in reversed(self._closers):
            close()
        self._closers.clear()
        self._groups.clear()
        self._admin = None

    def partitions(self, topics: Iterable[str]) -> list[Partition]:
        """The partitions of the topics. Raises `ZdmError` that names a topic that is not there."""
        with _explained(self.bootstrap_servers):
            known = self._get_admin().list_topics(timeout=TIMEOUT).topics
        missing = sorted(t for t in topics if t not in known)
        if missing:
            raise ZdmError(
                f"Kafka has no topic {', '.join(missing)}: is the pipeline running, and was the table captured?"
            )
        return [(topic, p) for topic in topics for p in sorted(known[topic].partitions)]

    def end_offsets(self, partitions: Iterable[Partition]) -> Offsets:
        """Where the next record of each partition will go."""
        return self._list_offsets(partitions, OffsetSpec.latest())

    def begin_offsets(self, partitions: Iterable[Partition]) -> Offsets:
        """The first record that each partition still has."""
        return self._list_offsets(partitions, OffsetSpec.earliest())

    def committed(self, group: str, partitions: Iterable[Partition]) -> Offsets:
        """Up to where the group has worked off each partition; -1 where it never committed."""
        consumer = self._groups.get(group)
        if consumer is None:
            consumer = self._groups[group] = self.consumer(group)
        with _explained(self.bootstrap_servers):
            answers = consumer.committed([TopicPartition(t, p) for t, p in partitions], timeout=TIMEOUT)
        for a in answers:
            if a.error is not None:
                raise ZdmError(f"Kafka does not tell the position of {group} in {a.topic}-{a.partition}: {a.error}")
        return {(a.topic, a.partition): max(a.offset, -1) for a in answers}

    def consumer(self, group: str = "zdm-commands", settings: Mapping[str, Any] | None = None) -> Consumer:
        """A consumer that is assigned by hand and never commits."""
        consumer = Consumer(
            {
                **self._settings(),
                "group.id": group,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 10,
                "fetch.error.backoff.ms": 10,
                "allow.auto.create.topics": False,
                **(settings or {}),
            }
        )
        self._closers.append(consumer.close)
        return consumer

    def records(self, since: Offsets, until: Offsets, timeout: float = 600.0) -> Iterator[Message]:
        """The records of each partition from `since` up to, not including, `until`; partitions interleave as they come.

        Raises `ZdmError` when records have been deleted by retention, or do not come within `timeout` seconds.
        """
        open_ = {p: end for p, end in until.items() if since[p] < end}
        if not open_:
            return
        gone = [p for p, first in self.begin_offsets(open_).items() if first > since[p]]
        if gone:
            raise ZdmError(
                f"Kafka no longer has all records of {gone[0][0]}: its retention is shorter than the way back"
            )
        consumer = self.consumer(
            settings={
                "fetch.message.max.bytes": 4 << 20,
                "queued.max.messages.kbytes": 32 << 10,
                "enable.partition.eof": True,
            }
        )
        try:
            consumer.assign([TopicPartition(t, p, since[t, p]) for t, p in open_])
            deadline = time.monotonic() + timeout
            while open_:
                batch = consumer.consume(1000, 0.1)
                for message in batch:
                    where, offset = place(message)
                    error = message.error()
                    if where not in open_:
                        continue
                    if error is None and offset < open_[where]:
                        yield message
                    elif error is not None and error.code() != KafkaError._PARTITION_EOF:
                        raise ZdmError(f"Kafka cannot be read: {error}")
                    if offset + (error is None) >= open_[where]:
                        del open_[where]
                if not batch and time.monotonic() > deadline:
                    raise ZdmError(f"Kafka gave no more records of {next(iter(open_))[0]} within {timeout:.0f} s")
        finally:
            self._closers.remove(consumer.close)
            consumer.close()

    def _list_offsets(self, partitions: Iterable[Partition], spec: OffsetSpec) -> Offsets:
        question = {TopicPartition(t, p): spec for t, p in partitions}
        if not question:
            return {}
        with _explained(self.bootstrap_servers):
            answers = self._get_admin().list_offsets(question, request_timeout=TIMEOUT)
            return {(tp.topic, tp.partition): future.result().offset for tp, future in answers.items()}

    def _get_admin(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(self._settings())
        return self._admin

    def _settings(self) -> dict[str, Any]:
        base: dict[str, Any] = {"bootstrap.servers": self.bootstrap_servers, "log_level": 2, "client.id": "zdm"}
        protocol = os.environ.get(SECURITY, "SASL_SSL")
        if protocol != "SASL_SSL":
            return {**base, "security.protocol": protocol}
        region = self.region

        def token(_: str) -> tuple[str, float]:
            from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

            text, expires_ms = MSKAuthTokenProvider.generate_auth_token(region)
            return text, expires_ms / 1000

        return {**base, "security.protocol": protocol, "sasl.mechanisms": "OAUTHBEARER", "oauth_cb": token}


def mysql_position(stored: dict[str, Any]) -> GtidSet:
    """What Debezium's MySQL source has read. It lacks the transaction of the very last record; the next one
    shows it."""
    gtids = stored.get("gtids")
    if not gtids:
        raise ZdmError(
            "the source connector's position has no GTIDs: turn gtid_mode on at the source, then make the "
            "connector anew"
        )
    return GtidSet.parse(gtids)


def postgres_position(stored: dict[str, Any]) -> int:
    """How far Debezium's PostgreSQL source has read the log, in bytes. Transactions come in the order of their commits,
    so all that was committed before this place has been read."""
    lsn = stored.get("lsn")
    if lsn is None:
        raise ZdmError("the source connector's position has no LSN: is it a connector of another kind?")
    return int(lsn)


class SourceOffsets:
    """Follows the compacted topic in which Connect keeps the source connector's position.

    What the position contains is in Kafka with every row, acknowledged: Connect commits a position only when all
    records before it were acknowledged.
    """

    def __init__(
        self,
        kafka: KafkaClient,
        topic: str,
        connector: str,
        server: str,
        read: Callable[[dict[str, Any]], Any] = mysql_position,
    ) -> None:
        self._read = read
        self._key = json.dumps([connector, {"server": server}], separators=(",", ":")).encode()
        self._topic = topic
        self._ends = kafka.end_offsets(kafka.partitions([topic]))
        self._consumer = kafka.consumer()
        begin = kafka.begin_offsets(self._ends)
        self._behind = {p: end for p, end in self._ends.items() if begin[p] < end}
        self._consumer.assign([TopicPartition(t, p, begin[t, p]) for t, p in self._ends])
        self._position: Any = None

    def read(self, wait: float = 0.0) -> Any:
        """The newest committed position, after waiting at most `wait` seconds for a newer one; None: there is none yet.

        The first call reads the topic to its end.
        """
        deadline = time.monotonic() + TIMEOUT
        while self._behind:
            self._take(0.05)
            for tp in self._consumer.position([TopicPartition(t, p) for t, p in self._behind]):
                if tp.offset >= self._behind[tp.topic, tp.partition]:
                    del self._behind[tp.topic, tp.partition]
            if time.monotonic() > deadline:
                raise ZdmError(f"Kafka's topic {self._topic} cannot be read to its end within {TIMEOUT:.0f} s")
        self._take(wait)
        return self._position

    def _take(self, wait: float) -> None:
        message = self._consumer.poll(wait)
        while message is not None:
            if message.error() is not None:
                raise ZdmError(f"Kafka's topic {self._topic} cannot be read: {message.error()}")
            value = message.value()
            position = orjson.loads(value) if value and message.key() == self._key else {}
            if position and not _in_snapshot(position):
                self._position = self._read(position)
            message = self._consumer.poll(0)


def _in_snapshot(position: dict[str, Any]) -> bool:
    """Whether a source connector that is killed at this position would begin its snapshot anew, wherever the log ends
    then."""
    return bool(position.get("snapshot")) and not position.get("snapshot_completed")


def place(message: Message) -> tuple[Partition, int]:
    """Partition and offset of a record (or of the end of a partition)."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    if topic is None or partition is None or offset is None:
        raise ZdmError(f"Kafka cannot be read: {message.error()}")
    return (topic, partition), offset


def source_seconds(message: Message) -> float:
    """When the change was committed at the source, as a Unix time; of a tombstone, when it was written to Kafka."""
    return lag.source_seconds(message.value(), message.timestamp()[1])


def key_payload(message: Message) -> dict[str, Any]:
    """The key's fields as Debezium wrote them (JSON with its schema). Raises `ZdmError` when there is no schema."""
    document = orjson.loads(message.key() or b"null")
    if not isinstance(document, dict) or "payload" not in document:
        raise ZdmError("a record's key has no schema: key.converter.schemas.enable must be true")
    payload: dict[str, Any] = document["payload"]
    return payload


class _explained:
    """Turns the client's errors into ones that name the brokers."""

    def __init__(self, servers: str) -> None:
        self.servers = servers

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KafkaException):
            detail = error.args[0].str() if error.args else error
            raise ZdmError(f"Kafka at {self.servers}: {detail}") from error
