"""What Debezium makes of a value of each type, in its snapshot and in its stream, and what its sink writes: compared by
the contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.connectors import Capture, sink_config, source_config, worker_properties
from contract.types import Choices
from local import parts
from local.dataplane import cloud
from local.dataplane.connect import Connector, CustomPlugin, Worker, WorkerConfiguration
from local.dataplane.kafka import Cluster, Configuration, Topic
from local.processes import wait_until
from local.stack import LocalStack
from scripts.data.compare import compare_keys
from tests.data.conftest import ACCOUNT, Pair, Servers

pytestmark = pytest.mark.real

REGION = "us-east-1"
VALUES: dict[str, tuple[str, ...]] = {
    "tiny TINYINT": ("-128", "127"),
    "tiny_u TINYINT UNSIGNED": ("255",),
    "flag TINYINT(1)": ("0", "1"),
    "medium MEDIUMINT": ("-8388608",),
    "whole_u INT UNSIGNED": ("4294967295",),
    "filled INT(8) ZEROFILL": ("42",),
    "big BIGINT": ("-9223372036854775808", "9223372036854775807"),
    "big_u BIGINT UNSIGNED": ("18446744073709551615", "0"),
    "exact DECIMAL(65,30)": (f"{'9' * 35}.{'9' * 30}", f"-0.{'0' * 29}1", "0"),
    "money DECIMAL(8,2) ZEROFILL": ("1.5",),
    "f FLOAT": ("0.1", "16777217", "3.4028235e38", "1.1754944e-38", "1/3", "123456.789"),
    "d DOUBLE": ("1e308", "5e-324", "0.1", "-0e0", "1/3", "-1.7976931348623157e308"),
    "one BIT(1)": ("b'1'", "b'0'"),
    "twelve BIT(12)": ("b'100000000001'",),
    "all_bits BIT(64)": ("18446744073709551615", "1", "9223372036854775808"),
    "born YEAR": ("1901", "2155"),
    "day DATE": ("'0001-01-01'", "'1000-01-01'", "'1582-10-10'", "'9999-12-31'"),
    "no_day DATE": ("'0000-00-00'", "'2024-00-10'", "'2024-02-00'"),
    "made DATETIME(6)": (
        "'1000-01-01'",
        "'9999-12-31 23:59:59.999999'",
        "'1582-10-04 01:02:03.000004'",
        "'2024-03-31 02:30:00.123456'",
        "'1969-12-31 23:59:59.999999'",
    ),
    "made_ms DATETIME(3)": ("'9999-12-31 23:59:59.999'", "'1000-01-01 00:00:00.001'"),
    "never DATETIME": ("'0000-00-00'", "'2024-00-10 10:00:00'", "'2024-02-00'"),
    "seen TIMESTAMP(6) NULL": (
        "'1970-01-01 00:00:01'",
        "'2038-01-19 03:14:07.999999'",
        "'2024-03-31 01:30:00.123456'",
        "'0000-00-00 00:00:00'",
    ),
    "seen_s TIMESTAMP NULL": ("'2024-10-27 02:30:00'", "'0000-00-00 00:00:00'"),
    "clock TIME(6)": ("'00:00:00'", "'23:59:59.999999'", "'00:00:00.000001'"),
    "took TIME(6)": ("'838:59:59'", "'-838:59:59'", "'-00:00:00.000001'", "'24:00:00'", "'00:00:00'"),
    "took_s TIME DEFAULT '25:00:00'": ("'-838:59:59'", "'800:00:00'"),
    "padded CHAR(10)": ("'a  '", "''", "' b'"),
    "name VARCHAR(50)": ("'😀 ü '", r"'it''s \\ \"'", "''"),
    "western VARCHAR(50) CHARACTER SET latin1": ("'ü€é'",),
    "chinese VARCHAR(50) CHARACTER SET gbk": ("'中文'",),
    "taiwanese VARCHAR(10) CHARACTER SET big5": ("'中文'",),
    "newer VARCHAR(10) CHARACTER SET gb18030": ("'😀中'",),
    "japanese VARCHAR(20) CHARACTER SET sjis": ("'日本'",),
    "korean VARCHAR(10) CHARACTER SET euckr": ("'한글'",),
    "russian TEXT CHARACTER SET cp1251": ("'Привет'",),
    "wide VARCHAR(50) CHARACTER SET utf16": ("'😀x'",),
    "older CHAR(5) CHARACTER SET ucs2": ("'яx'",),
    "fixed BINARY(4)": ("x'00ff'",),
    "raw VARBINARY(8)": ("x'00ff10'", "''"),
    "small_blob TINYBLOB": ("x'00'",),
    "large_blob LONGBLOB": ("REPEAT(x'00ff41', 700000)",),
    "large_text LONGTEXT": ("REPEAT('ü😀', 300000)",),
    "kind ENUM('it''s','a\"b','ü','','c(d)')": ("'it''s'", "'a\"b'", "'ü'", "''", "'c(d)'"),
    "tags SET('x','it''s','ü')": ("'x,ü'", "''", "'it''s'"),
    "doc JSON": (
        """'{"a": 2.50, "b": 1e20, "c": 12345678901234567890, "d": 0.1, "e": 1e-7}'""",
        "'null'",
        "JSON_OBJECT('d', CAST(1.50 AS DECIMAL(10,2)), 'ü', '😀')",
        "JSON_ARRAY(CAST('2024-01-02' AS DATE), 0.30000000000000004, 123456789012345678901234567890)",
    ),
    "hidden INT INVISIBLE": ("11",),
    "with_default INT NULL DEFAULT 7": ("8",),
    "day_default DATE NULL DEFAULT '2000-01-01'": ("'2001-01-01'",),
}
"""Columns, each with its values; below them all is a row of NULLs."""
ROWS = max(map(len, VALUES.values())) + 1
SESSION = "SET SESSION sql_mode = '', time_zone = '+00:00'"
INTERVALS = ["vals.took", "vals.took_s"]
GENERATED = {"sum_stored": "INT AS (medium + 1) STORED", "product_virtual": "BIGINT AS (medium * 2) VIRTUAL"}


def inserts(first: int) -> Iterator[str]:
    names = ", ".join(column.split()[0] for column in VALUES)
    for row in range(ROWS):
        values = ", ".join(values[row] if row < len(values) else "NULL" for values in VALUES.values())
        yield f"INSERT INTO vals (id, {names}) VALUES ({first + row}, {values})"


class Connect:
    """Kafka, and connectors between the databases of a pair."""

    def __init__(self, stack: LocalStack, folder: Path) -> None:
        self.stack = stack
        configuration, _ = Configuration().create(stack, "kafka", {
            "name": "kafka", "serverProperties": "auto.create.topics.enable=false\n",
        })  # fmt: skip
        _, self.kafka = Cluster().create(stack, "kafka", {
            "clusterName": "kafka", "kafkaVersion": "3.9.x", "numberOfBrokerNodes": 3,
            "clientAuthentication": {"sasl": {"iam": True}},
            "configurationInfo": {"arn": configuration, "revision": 1},
        })  # fmt: skip
        secret = json.dumps({"username": ACCOUNT.username, "password": ACCOUNT.password})
        cloud.aws(stack, "secretsmanager", REGION).create_secret(Name="admin", SecretString=secret)
        s3 = cloud.aws(stack, "s3", REGION)
        s3.create_bucket(Bucket="plugins")
        s3.upload_file(str(parts.debezium_zip(folder / "debezium.zip")), "plugins", "debezium.zip")
        location = {"s3": {"bucketArn": "arn:aws:s3:::plugins", "fileKey": "debezium.zip"}}
        plugin = {"name": "debezium", "contentType": "ZIP", "location": location}
        self.plugin, _ = CustomPlugin().create(stack, "plugin", plugin)

    def run(self, capture: Capture, pair: Pair) -> None:
        """Both connectors of the way there."""
        for topic in capture.topics(24):
            Topic().create(self.stack, topic.name, {
                "clusterArn": self.kafka["arn"], "name": topic.name, "partitionCount": topic.partitions,
                "replicationFactor": 3, "configs": json.dumps(topic.configs()),
            })  # fmt: skip
        bootstrap = self.kafka["bootstrapBrokersSaslIam"]
        source = source_config(
            capture, host=pair.source, port=3306, account="admin", bootstrap=bootstrap, server_id=5401
        )
        sink = sink_config(capture, host=pair.target, port=5432, account="admin")
        for name, offsets, config in (
            (capture.source_connector, capture.offsets_topic, source),
            (capture.sink_connector, None, sink),
        ):
            properties = worker_properties(REGION, offsets)
            workers, _ = WorkerConfiguration().create(
                self.stack, name, {"name": name, "propertiesFileContent": properties}
            )
            Connector().create(self.stack, name, {
                "name": name, "connectorConfiguration": config, "kafkaconnectVersion": "3.7.x",
                "capacity": {"provisionedCapacity": {"mcuCount": 1, "workerCount": 1}},
                "kafkaCluster": {"apacheKafkaCluster": {"bootstrapServers": bootstrap}},
                "plugins": [{"customPlugin": {"arn": self.plugin, "revision": 1}}],
                "workerConfiguration": {"arn": workers, "revision": 1},
            })  # fmt: skip

    def stop(self, capture: Capture) -> None:
        for name in (capture.sink_connector, capture.source_connector):
            Worker(self.stack, name).remove()


@pytest.fixture
def connect(servers: Servers, tmp_path: Path) -> Connect:
    return Connect(servers.stack, tmp_path)


def test_values_arrive_by_snapshot_and_by_change(pair: Pair, connect: Connect) -> None:
    pair.tables, pair.booleans, pair.intervals, pair.copied_by = ["vals"], ["vals.flag"], INTERVALS, "debezium"
    columns = ", ".join([*VALUES, *(f"{name} {kind}" for name, kind in GENERATED.items())])
    pair.on_source(SESSION, f"CREATE TABLE vals (id INT PRIMARY KEY, {columns}) CHARACTER SET utf8mb4")
    pair.on_source(SESSION, *inserts(0))
    for control in (pair.on_source, pair.on_target):
        control(f"CREATE {'DATABASE' if control == pair.on_source else 'SCHEMA'} zdm")
        control("CREATE TABLE zdm.watermark (id INT PRIMARY KEY, marker CHAR(36) NOT NULL)")
    [table] = pair.make_tables()
    capture = Capture(
        name="values",
        database=pair.name,
        tables=pair.tables,
        booleans=pair.booleans,
        intervals=INTERVALS,
        excluded=[f"vals.{name}" for name in GENERATED],
        snapshot=True,
    )

    def arrived(number: int) -> bool:
        for name in (capture.source_connector, capture.sink_connector):
            worker = Worker(connect.stack, name)
            assert "unrecoverable exception" not in worker.process.tail(2000), worker.process.log
        return pair.on_target("SELECT count(*) FROM vals") == [(number,)]

    def different(first: int, exact_floats: bool) -> list[str]:
        choices = Choices.of(pair.booleans, INTERVALS, exact_floats)
        with pair.mysql() as my, pair.postgres() as pg:
            return [str(d) for d in compare_keys(my, pg, table, [(first + row,) for row in range(ROWS)], choices)]

    try:
        connect.run(capture, pair)
        wait_until(lambda: arrived(ROWS), 60, "the snapshot's rows")
        pair.on_source(SESSION, *inserts(100))
        wait_until(lambda: arrived(2 * ROWS), 60, "the changes")
        assert different(0, exact_floats=False) == []
        assert different(100, exact_floats=True) == []
        zero = pair.on_target("SELECT count(*) FROM vals WHERE coalesce(no_day::text, never::text) IS NOT NULL")
        assert zero == [(0,)], "zero and partial dates are NULL"
        assert pair.on_target("SELECT took::text, took_s::text FROM vals WHERE id IN (1, 101)") == [
            ("-838:59:59", "800:00:00"),
            ("-838:59:59", "800:00:00"),
        ]
    finally:
        connect.stop(capture)
        pair.on_source("DROP DATABASE zdm")
