"""Kafka, topics and connectors are real: rows go from MySQL to PostgreSQL with the program's own configuration."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pymysql
import pytest

from components.connectors import Capture, sink_config, source_config, worker_properties
from components.debezium_way_back import WayBackNames, reverse_sink_config, reverse_source_config
from contract.way_back import MYSQL_SINK_USER, REVERSE_USER, mysql_prepare, postgres_prepare, postgres_slot
from local import parts
from local.dataplane import cloud
from local.dataplane.connect import Connector, CustomPlugin, Worker, WorkerConfiguration, local_settings
from local.dataplane.kafka import Broker, Cluster, Configuration, Topic
from local.dataplane.mysql import MySQLInstance
from local.dataplane.postgres import AuroraCluster, AuroraInstance
from local.processes import wait_until
from local.provider.handler import Handler, HandlerError
from local.stack import LocalStack
from tests.local.conftest import Groups

pytestmark = pytest.mark.real

REGION = "us-east-1"
PASSWORD = "it's \\ secret"
CAPTURE = Capture("dev", "ecommerce", tables=["t"], booleans=["t.flag"], snapshot=True)
BACK = WayBackNames(
    Capture("dev", "ecommerce", tables=["t", "wide"], intervals=["wide.took", "wide.span"], excluded=["wide.gross"]),
    round=2,
)
SERVER_PROPERTIES = "auto.create.topics.enable=false\ndefault.replication.factor=3\nmin.insync.replicas=2\n"


class Made:
    """Makes resources through their handlers, and deletes them in the opposite order."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self._done: list[tuple[Handler, str, dict[str, Any]]] = []

    def make(self, handler: Handler, **inputs: Any) -> tuple[str, dict[str, Any]]:
        known, state = handler.create(self.stack, "test", inputs)
        self._done.append((handler, known, state))
        return known, state

    def delete_all(self) -> None:
        while self._done:
            handler, known, state = self._done.pop()
            handler.delete(self.stack, known, state)


@pytest.fixture(scope="module")
def made(stack: LocalStack) -> Iterator[Made]:
    made = Made(stack)
    try:
        yield made
    finally:
        made.delete_all()
    running = [process.name for process in stack.processes() if process.name != "aws-control-plane"]
    assert running == []


@pytest.fixture(scope="module")
def cluster(made: Made) -> dict[str, Any]:
    configuration, _ = made.make(Configuration(), name="kafka", serverProperties=SERVER_PROPERTIES)
    _, state = made.make(
        Cluster(),
        clusterName="kafka",
        kafkaVersion="3.9.x",
        numberOfBrokerNodes=3,
        brokerNodeGroupInfo={"storageInfo": {"ebsStorageInfo": {"volumeSize": 10}}},
        clientAuthentication={"sasl": {"iam": True}},
        configurationInfo={"arn": configuration, "revision": 1},
    )
    return state


def test_cluster(cluster: dict[str, Any]) -> None:
    assert cluster["bootstrapBrokersSaslIam"].endswith(":9098")
    assert cluster["bootstrapBrokersTls"] == cluster["zookeeperConnectString"] == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kafkaVersion": "3.8.x"}, r"3\.9\.x to 3\.8\.x: a cluster takes newer versions only"),
        ({"kafkaVersion": "3.9.x.kraft"}, "the metadata mode of a cluster stays"),
        (
            {"brokerNodeGroupInfo": {"storageInfo": {"ebsStorageInfo": {"volumeSize": 9}}}},
            "storage of 10 GiB cannot shrink to 9",
        ),
    ],
)
def test_cluster_refuses_what_msk_refuses(
    stack: LocalStack, cluster: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(HandlerError, match=message):
        Cluster().update(stack, cluster["arn"], cluster, {**cluster, **change})


def test_brokers_are_the_same_number_in_each_zone(stack: LocalStack) -> None:
    inputs = {"clusterName": "odd", "numberOfBrokerNodes": 3, "brokerNodeGroupInfo": {"clientSubnets": ["a", "b"]}}
    with pytest.raises(HandlerError, match="3 brokers are no multiple of the 2 subnets"):
        Cluster().create(stack, "x", inputs)


def test_configuration_refuses_what_msk_refuses(stack: LocalStack) -> None:
    with pytest.raises(HandlerError, match=r"log\.dirs"):
        Configuration().create(stack, "x", {"name": "x", "serverProperties": "log.dirs=/elsewhere"})


def test_topic(stack: LocalStack, cluster: dict[str, Any]) -> None:
    handler, broker = Topic(), Broker(stack, "kafka")
    inputs = {
        "clusterArn": cluster["arn"],
        "name": "a.topic",
        "partitionCount": 2,
        "replicationFactor": 3,
        "configs": '{"cleanup.policy": "compact", "min.insync.replicas": 2}',
    }
    known, state = handler.create(stack, "x", dict(inputs))
    assert known == f"{cluster['arn']},a.topic"
    assert json.loads(state["configsActual"])["cleanup.policy"] == "compact"
    assert handler.read(stack, known, state) == state
    state = handler.update(stack, known, state, {**inputs, "partitionCount": 4, "configs": '{"retention.ms": 5000}'})
    actual = json.loads(state["configsActual"])
    assert (actual["cleanup.policy"], actual["retention.ms"]) == ("delete", "5000")
    assert len(broker.admin.list_topics("a.topic").topics["a.topic"].partitions) == 4
    with pytest.raises(HandlerError, match="cannot take any away"):
        handler.update(stack, known, state, {**inputs, "partitionCount": 3})
    handler.create(stack, "x", {**inputs, "partitionCount": 4})  # a crash left it there; it is not in the records
    handler.delete(stack, known, state)
    assert handler.read(stack, known, state) is None
    handler.delete(stack, known, state)


def test_killed_broker_comes_back_with_its_topics(stack: LocalStack, cluster: dict[str, Any]) -> None:
    known, state = Topic().create(
        stack,
        "x",
        {
            "clusterArn": cluster["arn"],
            "name": "kept",
            "partitionCount": 1,
            "replicationFactor": 3,
        },
    )
    process = Broker(stack, "kafka").process
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not process.running(), 10, "the broker's death")
    seen = Cluster().read(stack, cluster["arn"], cluster)
    assert seen is not None and Cluster().needs_repair(seen) == ["status"]
    assert Cluster().update(stack, cluster["arn"], seen, dict(cluster))["status"] == "ACTIVE"
    assert Topic().read(stack, known, state) is not None
    Topic().delete(stack, known, state)


@dataclass
class Pipeline:
    """Both databases, their hosts, how connectors are described, and the two of the way there."""

    mysql: Callable[[str], Any]
    postgres: Callable[[str], Any]
    mysql_host: str
    postgres_host: str
    connector: Callable[[str, str | None, dict[str, str]], dict[str, Any]]
    source: dict[str, Any]
    sink: dict[str, Any]


@pytest.fixture(scope="module")
def pipeline(made: Made, cluster: dict[str, Any], groups: Groups, tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    stack = made.stack
    groups.put("aws:rds/clusterParameterGroup:ClusterParameterGroup", "target", rds__logical_replication="reboot:1")
    _, mysql = made.make(
        MySQLInstance(),
        engine="mysql",
        identifier="shop",
        username="admin",
        password=PASSWORD,
        dbName="ecommerce",
        backupRetentionPeriod=1,
        skipFinalSnapshot=True,
    )
    _, aurora = made.make(
        AuroraCluster(),
        engine="aurora-postgresql",
        clusterIdentifier="target",
        masterUsername="admin1",
        masterPassword=PASSWORD,
        databaseName="ecommerce",
        dbClusterParameterGroupName="target",
        skipFinalSnapshot=True,
    )
    made.make(AuroraInstance(), clusterIdentifier="target", identifier="target-1", engine="aurora-postgresql")

    def on_mysql(query: str) -> Any:
        tls = {"check_hostname": False, "verify_mode": "none"}
        with pymysql.connect(host=mysql["address"], user="admin", password=PASSWORD, ssl=tls, autocommit=True) as c:
            with c.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall()

    def on_postgres(query: str) -> Any:
        with psycopg.connect(
            host=aurora["endpoint"],
            user="admin1",
            password=PASSWORD,
            dbname="ecommerce",
            sslmode="require",
            autocommit=True,
        ) as c:
            cursor = c.execute(query)
            return cursor.fetchall() if cursor.description else None

    on_mysql("CREATE DATABASE zdm")
    on_mysql("CREATE TABLE zdm.watermark (id INT PRIMARY KEY, marker CHAR(36) NOT NULL)")
    on_mysql("CREATE TABLE zdm.idempotency (idempotency_key VARCHAR(64) PRIMARY KEY)")
    on_mysql(
        "CREATE TABLE ecommerce.t (id BIGINT UNSIGNED PRIMARY KEY, flag TINYINT(1) NOT NULL, small TINYINT, "
        "price DECIMAL(20,6) NOT NULL, made DATETIME(6) NOT NULL, seen TIMESTAMP(3) NULL, name VARCHAR(50))"
    )
    on_mysql(
        "INSERT INTO ecommerce.t VALUES (18446744073709551615, 1, -7, 12345678901234.567891, "
        "'2024-03-10 02:30:00.123456', '2024-03-10 02:30:00.654', 'ü 😀')"
    )
    on_postgres("CREATE SCHEMA zdm")
    on_postgres("CREATE TABLE zdm.watermark (id int PRIMARY KEY, marker char(36) NOT NULL)")
    on_postgres("CREATE TABLE zdm.idempotency (idempotency_key varchar(64) PRIMARY KEY)")
    on_postgres(
        "CREATE TABLE t (id numeric(20) PRIMARY KEY, flag boolean NOT NULL, small smallint, "
        "price numeric(20,6) NOT NULL, made timestamp(6) NOT NULL, seen timestamptz(3), name varchar(50))"
    )

    for topic in (*CAPTURE.topics(24), *BACK.topics(24)):
        made.make(
            Topic(),
            clusterArn=cluster["arn"],
            name=topic.name,
            partitionCount=topic.partitions,
            replicationFactor=3,
            configs=json.dumps(topic.configs()),
        )
    secrets, s3 = cloud.aws(stack, "secretsmanager", REGION), cloud.aws(stack, "s3", REGION)
    for name, user in (("zdm/dev/source", "admin"), ("zdm/dev/sink", "admin1")):
        secrets.create_secret(Name=name, SecretString=json.dumps({"username": user, "password": PASSWORD}))
    archive = parts.debezium_zip(Path(tmp_path_factory.mktemp("plugin")) / "debezium.zip")
    s3.create_bucket(Bucket="plugins")
    s3.upload_file(str(archive), "plugins", "debezium.zip")
    location = {"s3": {"bucketArn": "arn:aws:s3:::plugins", "fileKey": "debezium.zip"}}
    plugin, _ = made.make(CustomPlugin(), name="debezium", contentType="ZIP", location=location)

    def connector(name: str, offsets: str | None, config: dict[str, str]) -> dict[str, Any]:
        workers, _ = made.make(
            WorkerConfiguration(), name=name, propertiesFileContent=worker_properties(REGION, offsets)
        )
        return {
            "name": name,
            "connectorConfiguration": config,
            "kafkaconnectVersion": "3.7.x",
            "capacity": {"provisionedCapacity": {"mcuCount": 1, "workerCount": 1}},
            "kafkaCluster": {"apacheKafkaCluster": {"bootstrapServers": cluster["bootstrapBrokersSaslIam"]}},
            "plugins": [{"customPlugin": {"arn": plugin, "revision": 1}}],
            "workerConfiguration": {"arn": workers, "revision": 1},
        }

    source = source_config(
        CAPTURE,
        host=mysql["address"],
        port=3306,
        account="zdm/dev/source",
        bootstrap=cluster["bootstrapBrokersSaslIam"],
        server_id=5401,
    )
    sink = sink_config(CAPTURE, host=aurora["endpoint"], port=5432, account="zdm/dev/sink")
    return Pipeline(
        on_mysql,
        on_postgres,
        mysql["address"],
        aurora["endpoint"],
        connector,
        connector(CAPTURE.source_connector, CAPTURE.offsets_topic, source),
        connector(CAPTURE.sink_connector, None, sink),
    )


@pytest.fixture(scope="module")
def running(made: Made, pipeline: Pipeline) -> tuple[dict[str, Any], dict[str, Any]]:
    return made.make(Connector(), **pipeline.source)[1], made.make(Connector(), **pipeline.sink)[1]


ROW = (
    "SELECT id::text, flag, small, price::text, made::text, "
    "seen AT TIME ZONE 'UTC' = made::timestamp(0) + interval '654 ms', name FROM t"
)


def test_snapshot_and_changes_arrive(stack: LocalStack, pipeline: Pipeline, running: Any) -> None:
    row = "18446744073709551615", True, -7, "12345678901234.567891", "2024-03-10 02:30:00.123456", True, "ü 😀"
    wait_until(lambda: pipeline.postgres(ROW) == [row], 60, "the snapshot's row in PostgreSQL")
    pipeline.mysql("INSERT INTO ecommerce.t VALUES (1, 0, NULL, 0.5, '2024-01-01', NULL, NULL)")
    pipeline.mysql("UPDATE ecommerce.t SET flag = 0 WHERE id > 1")
    changed = "SELECT count(*), bool_or(flag) FROM t"
    wait_until(lambda: pipeline.postgres(changed) == [(2, False)], 30, "the change")
    pipeline.mysql("DELETE FROM ecommerce.t WHERE id > 1")
    wait_until(lambda: pipeline.postgres("SELECT id::text FROM t") == [("1",)], 30, "the deletion")
    for state in running:
        assert Connector().read(stack, state["arn"], state) == state, "RUNNING"


def test_password_is_in_a_private_file_only(stack: LocalStack, running: Any) -> None:
    worker = Worker(stack, CAPTURE.sink_connector)
    assert (worker.secrets / "zdm/dev/sink").stat().st_mode & 0o077 == 0
    assert PASSWORD not in json.dumps(worker._get(f"/connectors/{worker.name}/config"))


def test_killed_worker_comes_back_where_it_was(stack: LocalStack, pipeline: Pipeline, running: Any) -> None:
    for state in running:
        process = Worker(stack, state["name"]).process
        pid = process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda process=process: not process.running(), 10, "the worker's death")  # type: ignore[misc]
        seen = Connector().read(stack, state["arn"], state)
        assert seen is not None and seen["status"] == "STOPPED" and Connector().needs_repair(seen) == ["status"]
    pipeline.mysql("INSERT INTO ecommerce.t VALUES (2, 1, 1, 1, '2024-01-01', NULL, 'meanwhile')")
    for state, inputs in zip(running, (pipeline.source, pipeline.sink), strict=True):
        assert Connector().update(stack, state["arn"], state, inputs)["status"] == "RUNNING"
    name = "SELECT name FROM t WHERE id = 2"
    wait_until(lambda: pipeline.postgres(name) == [("meanwhile",)], 60, "the row of meanwhile")


def test_changed_configuration_is_taken_in_place(stack: LocalStack, pipeline: Pipeline, running: Any) -> None:
    state = running[1]
    process = Worker(stack, state["name"]).process
    before = process.pid
    config = {**pipeline.sink["connectorConfiguration"], "batch.size": "500"}
    inputs = {**pipeline.sink, "connectorConfiguration": config}
    new = Connector().update(stack, state["arn"], state, inputs)
    assert process.pid == before and new["version"] != state["version"]
    assert Worker(stack, state["name"])._get(f"/connectors/{state['name']}/config")["batch.size"] == "500"


def test_made_again_it_goes_on(stack: LocalStack, made: Made, pipeline: Pipeline, running: Any) -> None:
    for state in reversed(running):
        Connector().delete(stack, state["arn"], state)
        assert Connector().read(stack, state["arn"], state) is None
    pipeline.postgres("DELETE FROM t WHERE id = 1")  # would come back if the sink or the source began anew
    pipeline.mysql("INSERT INTO ecommerce.t VALUES (3, 1, 1, 1, '2024-01-01', NULL, 'after')")
    made.make(Connector(), **pipeline.source)
    made.make(Connector(), **pipeline.sink)
    name = "SELECT name FROM t WHERE id = 3"
    wait_until(lambda: pipeline.postgres(name) == [("after",)], 60, "the row of afterwards")
    assert pipeline.postgres("SELECT count(*) FROM t WHERE id = 1") == [(0,)]


def test_failed_task_is_an_error_that_says_why(stack: LocalStack, pipeline: Pipeline, running: Any) -> None:
    bad = {**pipeline.sink["connectorConfiguration"], "connection.password": "wrong"}
    with pytest.raises(HandlerError, match=r"(?s)other.*password authentication failed"):
        Connector().create(stack, "x", {**pipeline.sink, "name": "other", "connectorConfiguration": bad})
    assert not Worker(stack, "other").process.running()
    with pytest.raises(HandlerError, match=r"is refused.*no\.such\.Class|no.such.Class"):
        config = {**pipeline.sink["connectorConfiguration"], "connector.class": "no.such.Class"}
        Connector().create(stack, "x", {**pipeline.sink, "name": "other", "connectorConfiguration": config})


def test_worker_configuration_refuses_what_msk_connect_refuses(stack: LocalStack) -> None:
    with pytest.raises(HandlerError, match=r"may not set group\.id; must set key\.converter, value\.converter"):
        WorkerConfiguration().create(stack, "x", {"name": "x", "propertiesFileContent": "group.id=mine\n"})


def test_plugin_that_is_no_zip(stack: LocalStack, pipeline: Pipeline) -> None:
    cloud.aws(stack, "s3", REGION).put_object(Bucket="plugins", Key="broken.zip", Body=b"PK no zip")
    for key, message in (("broken.zip", "no sound ZIP"), ("none.zip", "cannot be read")):
        location = {"s3": {"bucketArn": "arn:aws:s3:::plugins", "fileKey": key}}
        with pytest.raises(HandlerError, match=message):
            CustomPlugin().create(stack, "x", {"name": "broken", "contentType": "ZIP", "location": location})


# --- what Kafka Connect says of the configurations, and the way back --------------------------------------------------

HANDED_ON = re.compile(
    r"(producer|consumer)\.override\..*"  # Connect's clients
    r"|schema\.history\.internal\.(producer\..*|consumer\..*|kafka\.topic|kafka\.bootstrap\.servers)"
    r"|(booleans|intervals)\..*"  # the converters'
)
"""Settings that a connector hands on, so that its own definition does not name them."""
UNLISTED = {"binary.handling.mode", "topic.heartbeat.prefix", "use.reduction.buffer"}
"""Settings that Debezium 3.6 reads but leaves out of its definition (they are in its classes)."""


def validated(stack: LocalStack, inputs: dict[str, Any], **change: str) -> tuple[dict[str, list[str]], set[str]]:
    """What the connector's own worker finds wrong in its configuration, and the settings that nobody defines."""
    name, config = inputs["name"], {**inputs["connectorConfiguration"], **change}
    url = f"{Worker(stack, name).url}/connector-plugins/{config['connector.class']}/config/validate"
    answer = httpx.put(url, json={**local_settings(config), "name": name}, timeout=60)
    assert answer.status_code == 200, answer.text
    found = {c["value"]["name"]: c["value"]["errors"] for c in answer.json()["configs"]}
    nobodys = {key for key in config if key not in found and not HANDED_ON.fullmatch(key)}
    return {key: errors for key, errors in found.items() if errors}, nobodys - UNLISTED


def test_kafka_connect_accepts_the_way_there(stack: LocalStack, pipeline: Pipeline, running: Any) -> None:
    for inputs in (pipeline.source, pipeline.sink):
        assert validated(stack, inputs) == ({}, set())
    wrong, nobodys = validated(stack, pipeline.source, **{"snapshot.mode": "sometimes", "heartbeat.interval": "1"})
    assert set(wrong) == {"snapshot.mode"} and nobodys == {"heartbeat.interval"}


WIDE_MYSQL = """CREATE TABLE ecommerce.wide (
    id BIGINT UNSIGNED PRIMARY KEY, flag TINYINT(1) NOT NULL, bits BIT(12), one BIT(1), price DECIMAL(20,6),
    made DATETIME(6), seen TIMESTAMP(3) NULL, day DATE, clock TIME(6), took TIME(6), span TIME, born YEAR,
    kind ENUM('a','b'), tags SET('x','y'), doc JSON, raw VARBINARY(8), body LONGTEXT, f FLOAT, d DOUBLE,
    email VARCHAR(50) UNIQUE, parent BIGINT UNSIGNED, gross DECIMAL(20,6) AS (price * 2) STORED,
    CONSTRAINT up FOREIGN KEY (parent) REFERENCES ecommerce.t (id))"""
WIDE_POSTGRES = """CREATE TABLE wide (
    id numeric(20) PRIMARY KEY, flag boolean NOT NULL, bits bit(12), one boolean, price numeric(20,6),
    made timestamp(6), seen timestamptz(3), day date, clock time(6), took interval, span interval, born smallint,
    kind text, tags text, doc jsonb, raw bytea, body text, f real, d double precision,
    email varchar(50), parent numeric(20), gross numeric(20,6) GENERATED ALWAYS AS (price * 2) STORED)"""
WIDE_ROW = (
    "SELECT CAST(id AS CHAR), flag, bits+0, one+0, CAST(price AS CHAR), CAST(made AS CHAR), "
    "CAST(UNIX_TIMESTAMP(seen) AS CHAR), CAST(day AS CHAR), CAST(clock AS CHAR), CAST(took AS CHAR), "
    "CAST(span AS CHAR), born, kind, tags, "
    "doc->>'$.a[1]', HEX(raw), LENGTH(body), CAST(f AS CHAR), CAST(d AS CHAR), email, parent, CAST(gross AS CHAR) "
    "FROM ecommerce.wide WHERE id > 1"
)


def test_the_way_back(stack: LocalStack, made: Made, pipeline: Pipeline, running: Any) -> None:
    """Both ways are never live together: the way there ends, a new slot and prefix, then the way back."""
    pipeline.mysql(WIDE_MYSQL)
    pipeline.postgres(WIDE_POSTGRES)
    pipeline.mysql(f"CREATE USER {MYSQL_SINK_USER} IDENTIFIED BY 'x' REQUIRE SSL")
    pipeline.postgres(f"CREATE ROLE {REVERSE_USER} LOGIN PASSWORD 'x'")
    for statement in mysql_prepare("ecommerce"):
        pipeline.mysql(statement)
    for statement in postgres_prepare("ecommerce", BACK.capture.tables):
        pipeline.postgres(statement)
    secrets = cloud.aws(stack, "secretsmanager", REGION)
    for name, user in (("zdm/dev/aurora-cdc", REVERSE_USER), ("zdm/dev/mysql-sink", MYSQL_SINK_USER)):
        secrets.create_secret(Name=name, SecretString=json.dumps({"username": user, "password": "x"}))
    for state in reversed(running):
        Connector().delete(stack, state["arn"], state)
    [[begin]] = pipeline.postgres(postgres_slot(BACK.slot))
    pipeline.postgres(
        "INSERT INTO wide VALUES (18446744073709551615, true, B'101000000001', true, 12345678901234.567891, "
        "'2024-03-10 02:30:00.123456', '2024-03-10 02:30:00.654+00', '2024-02-29', '23:59:59.999999', "
        "'-838:59:58.5', '34 days 22:59:59', 2024, 'b', 'x,y', "
        "'{\"a\": [1, \"ü\"]}', '\\x00ff10', repeat('body', 500000), 1.25, 0.1, 'a@x', 999)"
    )
    unlogged = pipeline.mysql("SELECT @@global.gtid_executed")

    source = reverse_source_config(BACK, host=pipeline.postgres_host, port=5432, account="zdm/dev/aurora-cdc")
    sink = reverse_sink_config(BACK, host=pipeline.mysql_host, port=3306, account="zdm/dev/mysql-sink")
    back = (
        pipeline.connector(BACK.source_connector, BACK.offsets_topic, source),
        pipeline.connector(BACK.sink_connector, None, sink),
    )
    for inputs in back:
        made.make(Connector(), **inputs)
        assert validated(stack, inputs) == ({}, set())

    row = (
        *("18446744073709551615", 1, 0b101000000001, 1, "12345678901234.567891", "2024-03-10 02:30:00.123456"),
        *("1710037800.654", "2024-02-29", "23:59:59.999999", "-838:59:58.500000", "838:59:59", 2024, "b", "x,y", "ü"),
        *("00FF10", 2_000_000, "1.25", "0.1", "a@x", 999, "24691357802469.135782"),
    )
    wait_until(lambda: pipeline.mysql(WIDE_ROW) == (row,), 30, "the row from before the connector, in MySQL")

    pipeline.postgres("UPDATE wide SET email = 'b@x'")  # must leave the row before another one takes it
    pipeline.postgres("INSERT INTO wide (id, flag, email) VALUES (1, false, 'a@x')")
    pipeline.postgres("DELETE FROM t")
    left = "SELECT count(*) FROM ecommerce.t WHERE id > 1"  # an earlier test took row 1 from PostgreSQL alone
    wait_until(lambda: pipeline.mysql(left) == ((0,),), 30, "the deletion in MySQL")
    both = "SELECT CAST(id AS CHAR), email, LENGTH(body) FROM ecommerce.wide ORDER BY id"
    after = (("1", "a@x", None), ("18446744073709551615", "b@x", 2_000_000))
    wait_until(lambda: pipeline.mysql(both) == after, 30, "the changes; the large value is not a placeholder")

    assert pipeline.mysql("SELECT @@global.gtid_executed") == unlogged, "nothing of it is in MySQL's binary log"
    moved = f"SELECT confirmed_flush_lsn > '{begin}' FROM pg_replication_slots WHERE slot_name = '{BACK.slot}'"
    wait_until(lambda: pipeline.postgres(moved) == [(True,)], 30, "the slot to move on")
    [[idle]] = pipeline.postgres("SELECT pg_current_wal_lsn()::text")
    pipeline.postgres("CREATE TABLE elsewhere AS SELECT generate_series(1, 10000)")
    moved = f"SELECT confirmed_flush_lsn > '{idle}' FROM pg_replication_slots WHERE slot_name = '{BACK.slot}'"
    wait_until(lambda: pipeline.postgres(moved) == [(True,)], 30, "the slot to move on while no captured table changes")
