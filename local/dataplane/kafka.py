"""`aws:msk/*`: one real Kafka broker (KRaft) for a cluster, with the values of its configuration, and real topics.

Where it differs from MSK: there is one broker, so replication factors and in-sync minimums become 1; clients need
neither IAM nor a password nor TLS, whichever of MSK's ports they come to; the broker is the machine's version,
whatever the program asks for.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from local.dataplane import cloud, java
from local.dataplane.cloud import Properties
from local.processes import Process, wait_until, write_atomically
from local.provider.handler import Handler, HandlerError
from local.stack import LocalStack

CLUSTER = "aws:msk/cluster:Cluster"
PORTS = {"IAM": 9098, "SCRAM": 9096, "TLS": 9094, "PLAIN": 9092}
HEAP_MIB = 384
SECONDS = 30.0

CAPPED = frozenset(
    {
        "default.replication.factor",
        "min.insync.replicas",
        "offsets.topic.replication.factor",
        "transaction.state.log.replication.factor",
        "transaction.state.log.min.isr",
    }
)
"""What one broker cannot give more than one of."""

BASE: Mapping[str, object] = {
    "process.roles": "broker,controller",
    "node.id": 1,
    "controller.listener.names": "CONTROLLER",
    "num.partitions": 1,
    "default.replication.factor": 1,
    "min.insync.replicas": 1,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 1,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 1,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "group.initial.rebalance.delay.ms": 0,
    "broker.session.timeout.ms": 3000,  # how long a killed broker's own restart waits for its former self
    "broker.heartbeat.interval.ms": 500,
    "num.network.threads": 2,
    "num.io.threads": 2,
    "log.segment.bytes": 64 << 20,
    "log.cleaner.dedupe.buffer.size": 32 << 20,
    "log.cleaner.threads": 1,
    "controlled.shutdown.enable": "false",
    "auto.create.topics.enable": "false",
}
"""Where the configuration says nothing (MSK's own default is auto.create.topics.enable=false, too)."""

_CUSTOM = """
allow.everyone.if.no.acl.found auto.create.topics.enable auto.leader.rebalance.enable compression.type
connections.max.idle.ms controlled.shutdown.enable controlled.shutdown.max.retries
controlled.shutdown.retry.backoff.ms default.replication.factor delete.topic.enable fetch.max.bytes
group.consumer.max.heartbeat.interval.ms group.consumer.max.session.timeout.ms
group.consumer.min.heartbeat.interval.ms group.consumer.min.session.timeout.ms group.initial.rebalance.delay.ms
group.max.session.timeout.ms group.max.size group.min.session.timeout.ms leader.imbalance.check.interval.seconds
leader.imbalance.per.broker.percentage log.cleaner.delete.retention.ms log.cleaner.min.cleanable.ratio
log.cleanup.policy log.flush.interval.messages log.flush.interval.ms log.message.timestamp.after.max.ms
log.message.timestamp.before.max.ms log.message.timestamp.difference.max.ms log.message.timestamp.type
log.retention.bytes log.retention.hours log.retention.minutes log.retention.ms log.roll.ms log.segment.bytes
max.incremental.fetch.session.cache.slots message.max.bytes min.insync.replicas num.io.threads num.network.threads
num.partitions num.recovery.threads.per.data.dir num.replica.fetchers offsets.retention.minutes
offsets.topic.replication.factor replica.fetch.max.bytes replica.fetch.response.max.bytes replica.lag.time.max.ms
replica.selector.class replica.socket.receive.buffer.bytes socket.receive.buffer.bytes socket.request.max.bytes
socket.send.buffer.bytes transaction.max.timeout.ms transaction.state.log.min.isr
transaction.state.log.replication.factor transactional.id.expiration.ms unclean.leader.election.enable
zookeeper.connection.timeout.ms zookeeper.session.timeout.ms
"""
CUSTOM = frozenset(_CUSTOM.split())
"""What MSK lets a configuration set (from its developer guide)."""


class Configuration(Handler):
    """Handler of an MSK configuration: broker properties in revisions."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        _server_properties(inputs)
        arn = cloud.arn("kafka", cloud.region(stack, inputs), f"configuration/{inputs['name']}/{uuid.uuid4()}-1")
        write_atomically(_revision(stack, arn, 1), inputs["serverProperties"])
        return arn, {**inputs, "arn": arn, "latestRevision": 1}

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        return state if _revision(stack, id, int(state["latestRevision"])).exists() else None

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        _server_properties(new_inputs)
        revision = int(old["latestRevision"]) + 1
        write_atomically(_revision(stack, id, revision), new_inputs["serverProperties"])
        return {**old, **new_inputs, "latestRevision": revision}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        shutil.rmtree(_revision(stack, id, 1).parent, ignore_errors=True)


class Cluster(Handler):
    """Handler of an MSK cluster: one broker process."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        name = inputs["clusterName"]
        if len(name) > 64:
            raise HandlerError(f"clusterName {name!r} is longer than the 64 characters that MSK takes")
        if stack.records.find(CLUSTER, clusterName=name):
            raise HandlerError(f"ConflictException: this stack has a cluster {name!r}")
        zones, brokers = len(_group(inputs).get("clientSubnets") or [1]), int(inputs["numberOfBrokerNodes"])
        if brokers % zones:
            raise HandlerError(f"BadRequestException: {brokers} brokers are no multiple of the {zones} subnets")
        known = str(uuid.uuid4())
        broker = Broker(stack, name)
        broker.remove()  # what a crash left of an earlier try
        try:
            broker.format(inputs)
            broker.start()
        except BaseException:
            broker.remove()
            raise
        arn = cloud.arn("kafka", cloud.region(stack, inputs), f"cluster/{name}/{known}-1")
        state = {"arn": arn, "clusterUuid": f"{known}-1", "currentVersion": _version()}
        return arn, {**inputs, **state, **broker.outputs()}

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        broker = Broker(stack, state["clusterName"])
        return {**state, **broker.outputs()} if broker.exists() else None

    def needs_repair(self, state: Properties) -> list[str]:
        return [] if state.get("status") in (None, "ACTIVE") else ["status"]

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        _refuse_update(old, new_inputs)
        broker = Broker(stack, old["clusterName"])
        if broker.change(new_inputs):
            broker.stop()  # as MSK's rolling restart
        broker.start()
        return {**old, **new_inputs, "currentVersion": _version(), **broker.outputs()}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        Broker(stack, state["clusterName"]).remove()


class Topic(Handler):
    """Handler of a topic."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        broker = Broker.of_arn(stack, inputs["clusterArn"])
        name, partitions, configs = inputs["name"], int(inputs["partitionCount"]), _topic_configs(inputs)
        try:
            _do(broker.admin.create_topics([NewTopic(name, partitions, 1, config=configs)]))
        except KafkaException as e:
            if e.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise HandlerError(f"the topic {name}: {e.args[0].str()}") from e
            self._adopt(broker, name, partitions, configs)  # what a crash left of an earlier try, or a client made
        _await_topic(broker, name, partitions)
        arn = inputs["clusterArn"].replace(":cluster/", ":topic/") + f"/{name}"
        state = {**inputs, "arn": arn, "configsActual": json.dumps(_actual(broker, name), sort_keys=True)}
        return f"{inputs['clusterArn']},{name}", state

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        broker = Broker.of_arn(stack, state["clusterArn"])
        if not broker.process.running():
            return state if broker.exists() else None
        partitions = _partitions(broker, state["name"])
        if partitions == 0:
            return None
        actual = _actual(broker, state["name"])
        state = {**state, "partitionCount": partitions, "configsActual": json.dumps(actual, sort_keys=True)}
        if state.get("configs"):
            given = json.loads(state["configs"])
            found = {key: value if key in CAPPED else actual.get(key, "") for key, value in given.items()}
            if found != {key: _text(value) for key, value in given.items()}:
                state["configs"] = json.dumps(found, sort_keys=True)
        return state

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        broker = Broker.of_arn(stack, new_inputs["clusterArn"])
        name, partitions = new_inputs["name"], int(new_inputs["partitionCount"])
        self._adopt(broker, name, partitions, _topic_configs(new_inputs))
        _await_topic(broker, name, partitions)
        return {**old, **new_inputs, "configsActual": json.dumps(_actual(broker, name), sort_keys=True)}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        broker = Broker.of_arn(stack, state["clusterArn"])
        if broker.process.running():
            delete_topics(broker, [state["name"]])
        elif broker.exists():
            broker.start()
            delete_topics(broker, [state["name"]])
            broker.stop()

    @staticmethod
    def _adopt(broker: Broker, name: str, partitions: int, configs: Mapping[str, str]) -> None:
        """Takes an existing topic to these partitions and to just these settings."""
        there = _partitions(broker, name)
        if partitions < there:
            raise HandlerError(
                f"the topic {name} has {there} partitions, and Kafka cannot take any away: give it a new name"
            )
        if partitions > there:
            _do(broker.admin.create_partitions([NewPartitions(name, partitions)]))
        own = _own_configs(broker, name)
        change: dict[str, str | None] = {k: v for k, v in configs.items() if own.get(k) != v}
        change |= {k: None for k in own if k not in configs}
        kinds = AlterConfigOpType
        entries = [
            ConfigEntry(k, v, incremental_operation=kinds.DELETE if v is None else kinds.SET) for k, v in change.items()
        ]
        if entries:
            resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
            try:
                _do(broker.admin.incremental_alter_configs([resource]))
            except KafkaException as e:
                raise HandlerError(f"the topic {name}: {e.args[0].str()}") from e
            wait_until(lambda: _own_configs(broker, name) == configs, SECONDS, f"the topic {name} with {configs}")


class Broker:
    """The broker of a cluster: folder, configuration, process."""

    def __init__(self, stack: LocalStack, name: str) -> None:
        self.stack = stack
        self.name = name
        self.home = stack.home / "data" / "kafka" / name
        self.process: Process = stack.process(f"kafka-{name}")
        self._file = self.home / "broker.json"

    @staticmethod
    def of_arn(stack: LocalStack, arn: str) -> Broker:
        match = re.fullmatch(r"arn:aws:kafka:[^:]*:[^:]*:cluster/([^/]+)/.*", arn)
        if match is None:
            raise HandlerError(f"{arn!r} is not the ARN of an MSK cluster")
        return Broker(stack, match[1])

    def exists(self) -> bool:
        return self._file.exists()

    @property
    def address(self) -> str:
        return self.stack.address(f"kafka-{self.name}")

    @property
    def listeners(self) -> list[str]:
        return list(json.loads(self._file.read_text())["listeners"])

    @property
    def bootstrap(self) -> str:
        """Where clients of this machine find it."""
        return f"{self.address}:{PORTS[self.listeners[0]]}"

    def outputs(self) -> Properties:
        listening = self.listeners
        names = {
            "IAM": "bootstrapBrokersSaslIam",
            "SCRAM": "bootstrapBrokersSaslScram",
            "TLS": "bootstrapBrokersTls",
            "PLAIN": "bootstrapBrokers",
        }
        return {
            **{output: f"{self.address}:{PORTS[name]}" if name in listening else "" for name, output in names.items()},
            "zookeeperConnectString": "",
            "zookeeperConnectStringTls": "",
            "status": "ACTIVE" if self.process.running() else "STOPPED",
        }

    def format(self, inputs: Properties) -> None:
        """Writes the configuration and makes an empty log folder."""
        self.change(inputs)
        done = subprocess.run(
            java.command(
                self.home,
                "kafka.tools.StorageTool",
                "format",
                "-t",
                _cluster_id(),
                "-c",
                str(self.home / "server.properties"),
                heap=96,
            ),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=self.home,
            check=False,
        )
        if done.returncode:
            said = (done.stdout + done.stderr)[-800:]
            raise HandlerError(f"Kafka does not accept the cluster {self.name}'s settings: {said}")

    def change(self, inputs: Properties) -> bool:
        """Writes the configuration; returns whether it differs from the one before."""
        listeners = _listeners(inputs)
        wanted: dict[str, object] = {**BASE, **self._of_configuration(inputs)}
        roles = {"CONTROLLER": 9093, **{name: PORTS[name] for name in listeners}}
        wanted |= {
            "listeners": ",".join(f"{name}://{self.address}:{port}" for name, port in roles.items()),
            "advertised.listeners": ",".join(f"{name}://{self.address}:{PORTS[name]}" for name in listeners),
            "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in roles),
            "inter.broker.listener.name": listeners[0],
            "controller.quorum.voters": f"1@{self.address}:9093",
            "log.dirs": self.home / "logs",
        }
        text, file = java.properties(wanted), self.home / "server.properties"
        changed = not file.exists() or file.read_text() != text
        write_atomically(file, text)
        write_atomically(self._file, json.dumps({"listeners": listeners}))
        return changed

    def _of_configuration(self, inputs: Properties) -> dict[str, object]:
        given = inputs.get("configurationInfo")
        if not given:
            return {}
        file = _revision(self.stack, given["arn"], int(given["revision"]))
        if not file.exists():
            raise HandlerError(f"this stack has no MSK configuration {given['arn']} with revision {given['revision']}")
        values = java.parse_properties(file.read_text())
        return {key: 1 if key in CAPPED else value for key, value in values.items() if not key.startswith("zookeeper.")}

    def start(self) -> None:
        self.process.start(
            java.command(self.home, "kafka.Kafka", str(self.home / "server.properties"), heap=HEAP_MIB),
            cwd=self.home,
            ready=self._ready,
            timeout=120,
        )

    def _ready(self) -> bool:
        if not cloud.accepts(self.address, PORTS[self.listeners[0]], 0.2):
            return False
        try:
            return bool(self.admin.list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def stop(self) -> None:
        self.process.stop(30)

    def remove(self) -> None:
        self.process.remove(grace=0)
        shutil.rmtree(self.home, ignore_errors=True)

    @cached_property
    def admin(self) -> AdminClient:
        return AdminClient(
            {
                "bootstrap.servers": self.bootstrap,
                "socket.timeout.ms": 10_000,
                "log_level": 2,
                "reconnect.backoff.max.ms": 200,
                "topic.metadata.propagation.max.ms": 5000,
            },
            logger=_SILENT,
        )


def delete_topics(broker: Broker, names: list[str]) -> None:
    """Deletes topics and waits until they are gone. One that is not there is no error."""
    try:
        _do(broker.admin.delete_topics(names, operation_timeout=SECONDS))
    except KafkaException as e:
        if e.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise HandlerError(f"the topics {', '.join(names)}: {e.args[0].str()}") from e
    what = f"the end of the topics {', '.join(names)}"
    wait_until(lambda: not any(_partitions(broker, name) for name in names), SECONDS, what)


def _await_topic(broker: Broker, name: str, partitions: int) -> None:
    what = f"the topic {name} with {partitions} partitions"
    wait_until(lambda: _partitions(broker, name) == partitions, SECONDS, what)


def _do(futures: Mapping[Any, Future[Any]]) -> None:
    failed = [e for e in (future.exception(SECONDS) for future in futures.values()) if e is not None]
    for error in failed:
        raise error


def _partitions(broker: Broker, topic: str) -> int:
    """How many partitions a topic has that have a leader; 0 if there is no such topic."""
    found = broker.admin.list_topics(topic, timeout=10).topics.get(topic)
    if found is None or found.error is not None:
        return 0
    return sum(1 for partition in found.partitions.values() if partition.leader >= 0)


def _describe(broker: Broker, topic: str) -> dict[str, ConfigEntry]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    future: Future[dict[str, ConfigEntry]] = broker.admin.describe_configs([resource])[resource]
    return future.result(SECONDS)


def _actual(broker: Broker, topic: str) -> dict[str, str]:
    """All settings of a topic, the broker's defaults too."""
    return {name: entry.value or "" for name, entry in _describe(broker, topic).items()}


def _own_configs(broker: Broker, topic: str) -> dict[str, str]:
    """The settings that were given to the topic itself."""
    source: Any = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    return {name: entry.value or "" for name, entry in _describe(broker, topic).items() if entry.source == source}


def _topic_configs(inputs: Properties) -> dict[str, str]:
    """A topic's settings as its broker gets them."""
    given = json.loads(inputs.get("configs") or "{}")
    return {key: "1" if key in CAPPED else _text(value) for key, value in given.items()}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _server_properties(inputs: Properties) -> None:
    unknown = sorted(set(java.parse_properties(inputs["serverProperties"])) - CUSTOM)
    if unknown:
        raise HandlerError(f"BadRequestException: MSK does not let a configuration set {', '.join(unknown)}")


def _group(inputs: Properties) -> Properties:
    return dict(inputs.get("brokerNodeGroupInfo") or {})


def _volume(inputs: Properties) -> int:
    storage = (_group(inputs).get("storageInfo") or {}).get("ebsStorageInfo") or {}
    return int(storage.get("volumeSize") or 0)


def _refuse_update(old: Properties, new: Properties) -> None:
    """What MSK does to no cluster that there is."""
    before, after = str(old.get("kafkaVersion", "")), str(new.get("kafkaVersion", ""))
    numbers = [[int(n) for n in re.findall(r"\d+", version)] for version in (before, after)]
    if before.endswith(".kraft") != after.endswith(".kraft"):
        raise HandlerError(f"BadRequestException: {before} to {after}: the metadata mode of a cluster stays")
    if numbers[1] < numbers[0]:
        raise HandlerError(f"BadRequestException: {before} to {after}: a cluster takes newer versions only")
    if _volume(new) < _volume(old):
        raise HandlerError(f"BadRequestException: storage of {_volume(old)} GiB cannot shrink to {_volume(new)}")


def _listeners(inputs: Properties) -> list[str]:
    """Which of MSK's listeners the cluster has, the one of IAM first."""
    access = inputs.get("clientAuthentication") or {}
    transit = ((inputs.get("encryptionInfo") or {}).get("encryptionInTransit") or {}).get("clientBroker") or "TLS"
    iam = bool((access.get("sasl") or {}).get("iam"))
    open_to_all = bool(access.get("unauthenticated")) or not (access.get("sasl") or access.get("tls"))
    by_certificate = bool((access.get("tls") or {}).get("certificateAuthorityArns"))
    wanted = {
        "IAM": iam,
        "SCRAM": bool((access.get("sasl") or {}).get("scram")),
        "TLS": transit != "PLAINTEXT" and (open_to_all or by_certificate),
        "PLAIN": transit != "TLS" and open_to_all,
    }
    listeners = [name for name, has in wanted.items() if has]
    if not listeners:
        raise HandlerError(
            "the MSK cluster has no listener that the local cloud knows: switch on clientAuthentication.sasl.iam"
        )
    return listeners


def _revision(stack: LocalStack, arn: str, revision: int) -> Path:
    return stack.home / "data" / "kafka-configurations" / arn.rpartition("/")[2] / f"{revision}.properties"


def _version() -> str:
    """A cluster's version as MSK writes it; every change gives a new one."""
    return "K" + uuid.uuid4().hex[:13].upper()


def _cluster_id() -> str:
    """A new id, as Kafka makes them: none begins with a hyphen, which a command line would take for an option."""
    drawn = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return _cluster_id() if drawn.startswith("-") else drawn


class _Silent:
    """librdkafka's own messages: failures are raised anyway."""

    def log(self, *_: object, **__: object) -> None: ...


_SILENT: Any = _Silent()
