"""A whole pipeline of real parts for the tests of the switch: MySQL, Kafka, Debezium, PostgreSQL, flag store.

One for the session, since it takes half a minute to bring up. Each test finds MySQL as the writer, all replicated.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

import scripts.context
from components.connectors import Capture, sink_config, source_config, worker_properties
from contract.control import APP_USER, SINK_USER, WRITER_ROLE
from contract.outputs import load_outputs
from local import parts
from local.dataplane import cloud
from local.dataplane.connect import Connector, CustomPlugin, Worker, WorkerConfiguration
from local.dataplane.kafka import Cluster, Configuration, Topic
from local.dataplane.keyvalue import Namespace
from local.dataplane.mysql import MySQLInstance
from local.dataplane.postgres import AuroraCluster, AuroraInstance
from local.environment import environment
from local.processes import wait_until
from local.provider.settings import ACCOUNT
from local.stack import LocalStack, default_root, open_stack
from scripts.console import Console
from scripts.context import Context, context_from
from scripts.data import schema
from scripts.switch import bootstrap, drain, gate, journal
from scripts.switch.changes import kafka_offsets
from scripts.switch.fence import Controller

REGION = "us-east-1"
CAPTURE = Capture("dev", "ecommerce", tables=["customers", "orders"], snapshot=True)
MASTER = "Master-it's-secret-1"
TABLES = (
    "CREATE TABLE customers (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, name VARCHAR(50) NOT NULL, "
    "n INT NOT NULL DEFAULT 0)",
    "CREATE TABLE orders (id CHAR(36) PRIMARY KEY, customer BIGINT UNSIGNED NOT NULL, total DECIMAL(12,2) NOT NULL, "
    "at DATETIME(6) NOT NULL)",
)
CUSTOMERS = 50


@dataclass
class Lab:
    """The pipeline, and what tests do with it."""

    stack: LocalStack
    context: Context
    outputs: dict[str, Any]
    secrets: Any
    cluster: str
    """ARN of Kafka's cluster."""
    plugin: str = ""
    """ARN of the connectors' plugin."""
    quiet: Console = field(default_factory=lambda: Console(quiet=True))

    def with_kpis(self, **kpis: float) -> Context:
        return context_from({**self.outputs, "kpis": kpis}, "test", self.context.home)

    def settle(self) -> None:
        with drain.settler(self.context, 60) as settle:
            settle()

    def mysql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.context.mysql() as my, my.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def postgres(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.context.postgres() as pg:
            cursor = pg.execute(statement, values or None)  # type: ignore[call-overload]
            return cursor.fetchall() if cursor.description else []

    def clean_check(self) -> None:
        """As `data-check` and `gate` store it: nothing of before is in doubt, and someone let the cutover go on."""
        started = kafka_offsets(self.context)
        self.settle()
        with self.context.postgres() as pg:
            journal.store(pg, journal.DATA_CHECK, True, {"verdict": "equal", "mismatches": 0, "started": started})
        self.pass_gate()

    def pass_gate(self, approved_by: str = "a test") -> None:
        """As `gate` stores it, under the flag in force."""
        with Controller(self.context) as c:
            gate.store(self.context, c.postgres, gate.GateResult(60.0, c.mysql_flag(), [], approved_by=approved_by))

    def connector(self, name: str, offsets: str | None, config: dict[str, str]) -> dict[str, Any]:
        """What a connector is made of."""
        workers, _ = WorkerConfiguration().create(
            self.stack, name, {"name": name, "propertiesFileContent": worker_properties(REGION, offsets)}
        )
        bootstrap_servers = self.outputs["kafka"]["bootstrapServers"]
        return {
            "name": name,
            "connectorConfiguration": config,
            "kafkaconnectVersion": "3.7.x",
            "capacity": {"provisionedCapacity": {"mcuCount": 1, "workerCount": 1}},
            "kafkaCluster": {"apacheKafkaCluster": {"bootstrapServers": bootstrap_servers}},
            "plugins": [{"customPlugin": {"arn": self.plugin, "revision": 1}}],
            "workerConfiguration": {"arn": workers, "revision": 1},
        }

    def source_config(self, capture: Capture, server_id: int = 5401) -> dict[str, str]:
        return source_config(
            capture,
            host=self.outputs["source"]["host"],
            port=3306,
            account="zdm-dev/mysql-cdc",
            bootstrap=self.outputs["kafka"]["bootstrapServers"],
            server_id=server_id,
        )

    def sink(self, action: str, name: str = CAPTURE.sink_connector) -> None:
        """Pauses or resumes a sink connector."""
        worker = Worker(self.stack, name)
        httpx.put(f"{worker.url}/connectors/{worker.name}/{action}", timeout=10).raise_for_status()
        state = {"pause": "PAUSED", "resume": "RUNNING"}[action]

        def there() -> bool:
            status = httpx.get(f"{worker.url}/connectors/{worker.name}/status", timeout=10).json()
            return all(part["state"] == state for part in [status["connector"], *status["tasks"]])

        wait_until(there, 30, f"the sink's {action}")

    def back_to_mysql(self) -> None:
        """MySQL is the writer again, and the target is made equal to it: so no test depends on the one before."""
        with self.context.mysql(database="zdm") as my, my.cursor() as cursor, self.context.postgres() as pg:
            for statement in (
                "SET GLOBAL super_read_only = OFF",
                "SET GLOBAL read_only = OFF",
                "RESET PERSIST IF EXISTS super_read_only",
                "RESET PERSIST IF EXISTS read_only",
            ):
                cursor.execute(statement)
            cursor.execute("SELECT epoch, v FROM zdm.fence")
            mine = cursor.fetchone() or (0, 0)
            theirs = pg.execute("SELECT epoch, v FROM zdm.fence").fetchone() or (0, 0)
            epoch, v = max(mine[0], theirs[0]) + 1, max(mine[1], theirs[1]) + 1
            for database in (cursor, pg):
                database.execute(
                    "UPDATE zdm.fence SET epoch = %s, v = %s, weight = 0, writes = 'open', mode = 'mysql'", (epoch, v)
                )
            pg.execute(f"REVOKE {WRITER_ROLE} FROM {APP_USER}")
            pg.execute(f"GRANT {WRITER_ROLE} TO {SINK_USER}")
            for statement in ("DELETE FROM zdm.journal", "DELETE FROM zdm.record"):
                pg.execute(statement)
            cursor.execute("DELETE FROM zdm.journal")
        self.settle()
        with self.context.mysql() as my, my.cursor() as cursor, self.context.postgres() as pg:
            for table, columns in (("customers", "id, name, n"), ("orders", "id, customer, total, at")):
                cursor.execute(f"SELECT {columns} FROM {table}")
                rows = cursor.fetchall()
                pg.execute(f"TRUNCATE {table}")
                with pg.cursor() as copying, copying.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row(row)


@pytest.fixture(scope="session")
def lab_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    yield from lab_of_its_own(tmp_path_factory)


def lab_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Brings a pipeline up, and takes it down at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZDM_HOME", str(tmp_path_factory.mktemp("home")))
        stack = open_stack("dev", default_root())
        try:
            yield _brought_up(stack, patch, tmp_path_factory.mktemp("plugin"))
        finally:
            for name in (CAPTURE.sink_connector, CAPTURE.source_connector):
                Worker(stack, name).process.stop(20)
            for process in stack.processes():
                process.stop(20)


@pytest.fixture
def lab(lab_session: Lab) -> Iterator[Lab]:
    lab_session.back_to_mysql()
    lab_session.clean_check()
    yield lab_session


def _brought_up(stack: LocalStack, patch: pytest.MonkeyPatch, folder: Path) -> Lab:
    secrets = cloud.aws(stack, "secretsmanager", REGION)
    scripts.context._account.cache_clear()  # another lab's secrets had the same names
    for name, value in environment(stack.name).items():
        patch.setenv(name, value)
    patch.setenv("AWS_REGION", REGION)
    accounts = {
        "mysql-admin": "admin",
        "mysql-cdc": "zdm_cdc",
        "mysql-app": APP_USER,
        "aurora-admin": "master",
        "aurora-sink": SINK_USER,
        "aurora-app": APP_USER,
        "gate": "gate",
    }
    for name, user in accounts.items():
        password = MASTER if user in ("admin", "master") else str(uuid.uuid4())
        secrets.create_secret(Name=f"zdm-dev/{name}", SecretString=json.dumps({"username": user, "password": password}))
    _, mysql = MySQLInstance().create(
        stack,
        "source",
        {
            "engine": "mysql",
            "identifier": "shop",
            "username": "admin",
            "password": MASTER,
            "dbName": "ecommerce",
            "backupRetentionPeriod": 1,
            "skipFinalSnapshot": True,
        },
    )
    logical = {"name": "rds.logical_replication", "value": "1", "applyMethod": "pending-reboot"}
    stack.records.put(
        "aws:rds/clusterParameterGroup:ClusterParameterGroup",
        "target",
        {},
        {"name": "target", "parameters": [logical]},
    )
    _, aurora = AuroraCluster().create(
        stack,
        "target",
        {
            "dbClusterParameterGroupName": "target",
            "engine": "aurora-postgresql",
            "clusterIdentifier": "target",
            "masterUsername": "master",
            "masterPassword": MASTER,
            "databaseName": "ecommerce",
            "skipFinalSnapshot": True,
        },
    )
    AuroraInstance().create(
        stack, "target-1", {"clusterIdentifier": "target", "identifier": "target-1", "engine": "aurora-postgresql"}
    )
    configuration, _ = Configuration().create(
        stack, "kafka", {"name": "kafka", "serverProperties": "auto.create.topics.enable=false\n"}
    )
    _, kafka = Cluster().create(
        stack,
        "kafka",
        {
            "clusterName": "kafka",
            "kafkaVersion": "3.9.x",
            "numberOfBrokerNodes": 3,
            "clientAuthentication": {"sasl": {"iam": True}},
            "configurationInfo": {"arn": configuration, "revision": 1},
        },
    )
    make_topics(stack, kafka["arn"], CAPTURE)
    namespace, _ = Namespace().create(stack, "flags", {"accountId": ACCOUNT, "title": "flags"})
    outputs = _outputs(mysql, aurora, kafka, namespace)
    context = Context(load_outputs(outputs, "test"), stack.home / "commands")
    lab = Lab(stack, context, outputs, secrets, kafka["arn"])
    bootstrap.run(context, dry_run=False, console=lab.quiet)
    for statement in TABLES:
        lab.mysql(statement)
    schema.run(context, stage="tables", console=lab.quiet)
    for i in range(CUSTOMERS):
        lab.mysql("INSERT INTO customers (name) VALUES (%s)", f"customer {i}")
    _connect(lab, aurora["endpoint"], folder)
    wait_until(lambda: lab.postgres("SELECT count(*) FROM customers") == [(CUSTOMERS,)], 90, "the snapshot")
    return lab


def make_topics(stack: LocalStack, cluster: str, capture: Capture) -> None:
    for topic in capture.topics(24):
        Topic().create(
            stack,
            topic.name,
            {
                "clusterArn": cluster,
                "name": topic.name,
                "partitionCount": topic.partitions,
                "replicationFactor": 3,
                "configs": json.dumps(topic.configs()),
            },
        )


def _outputs(mysql: dict[str, Any], aurora: dict[str, Any], kafka: dict[str, Any], namespace: str) -> dict[str, Any]:
    return {
        "version": 3,
        "project": "zdm",
        "stack": "dev",
        "environment": "dev",
        "region": REGION,
        "database": "ecommerce",
        "source": {
            "host": mysql["address"],
            "port": 3306,
            "adminSecret": "zdm-dev/mysql-admin",
            "cdcSecret": "zdm-dev/mysql-cdc",
            "appSecret": "zdm-dev/mysql-app",
        },
        "target": {
            "host": aurora["endpoint"],
            "readerHost": aurora["readerEndpoint"],
            "port": 5432,
            "engineVersion": "15",
            "adminSecret": "zdm-dev/aurora-admin",
            "sinkSecret": "zdm-dev/aurora-sink",
            "appSecret": "zdm-dev/aurora-app",
        },
        "kafka": {
            "bootstrapServers": kafka["bootstrapBrokersSaslIam"],
            "topicPrefix": CAPTURE.prefix,
            "partitions": CAPTURE.partitions,
            "schemaHistoryTopic": CAPTURE.schema_history_topic,
            "offsetsTopic": CAPTURE.offsets_topic,
            "heartbeatTopic": CAPTURE.heartbeat_topic,
        },
        "pipeline": {
            "state": "running",
            "sourceConnector": CAPTURE.source_connector,
            "sinkConnector": CAPTURE.sink_connector,
            "tables": list(CAPTURE.tables),
            "booleans": [],
        },
        "router": {
            "url": "https://shop.example",
            "accountId": ACCOUNT,
            "namespaceId": namespace,
            "flagKey": "flag",
            "salt": "s",
            "holdMs": 30000,
            "mysqlOrigin": "https://mysql-api.example",
            "auroraOrigin": "https://aurora-api.example",
        },
        "kpis": {},
        "gateSecret": "zdm-dev/gate",
    }


def _connect(lab: Lab, target: str, folder: Path) -> None:
    s3 = cloud.aws(lab.stack, "s3", REGION)
    archive = parts.debezium_zip(folder / "debezium.zip")
    s3.create_bucket(Bucket="plugins")
    s3.upload_file(str(archive), "plugins", "debezium.zip")
    lab.plugin, _ = CustomPlugin().create(
        lab.stack,
        "plugin",
        {
            "name": "debezium",
            "contentType": "ZIP",
            "location": {"s3": {"bucketArn": "arn:aws:s3:::plugins", "fileKey": "debezium.zip"}},
        },
    )
    sink = sink_config(CAPTURE, host=target, port=5432, account="zdm-dev/aurora-sink")
    for name, offsets, config in (
        (CAPTURE.source_connector, CAPTURE.offsets_topic, lab.source_config(CAPTURE)),
        (CAPTURE.sink_connector, None, sink),
    ):
        Connector().create(lab.stack, name, lab.connector(name, offsets, config))


class Shop:
    """Writers as the shop has them: they ask the fence inside each transaction, and go to the other side when told."""

    def __init__(self, context: Context, writers: int = 4, pause: float = 0.01) -> None:
        self.acknowledged: list[tuple[str, str, int]] = []
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._pause = pause
        self._threads = [
            threading.Thread(target=self._write, args=(context, i + 1), daemon=True) for i in range(writers)
        ]

    def __enter__(self) -> Shop:
        for thread in self._threads:
            thread.start()
        self.await_writes(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def await_writes(self, number: int, side: str | None = None, timeout: float = 30) -> None:
        """Returns when so many further writes are acknowledged (by this side)."""

        def count() -> int:
            return sum(1 for s, _, _ in list(self.acknowledged) if side in (None, s))

        until = count() + number
        wait_until(lambda: count() >= until, timeout, f"{number} writes by {side or 'any side'}")

    def of(self, side: str) -> list[str]:
        return [key for s, key, _ in self.acknowledged if s == side]

    def _write(self, context: Context, customer: int) -> None:
        from pymysql.err import MySQLError

        from contract.control import (
            MYSQL_NOT_ALLOWED,
            MYSQL_READ_FENCE_FOR_WRITE,
            POSTGRES_LOCK_FOR_WRITE,
            READ_FENCE,
            flag_of_row,
        )
        from contract.flag import Side

        statements = (
            "INSERT INTO orders (id, customer, total, at) VALUES (%s, %s, 1.5, '2024-01-01')",
            "UPDATE customers SET n = n + 1 WHERE id = %s",
        )
        my, pg = context.mysql("app"), context.postgres("app")
        cursor = my.cursor()

        def on_mysql(key: str) -> bool:
            cursor.execute("START TRANSACTION")
            cursor.execute(MYSQL_READ_FENCE_FOR_WRITE)
            if not flag_of_row(cursor.fetchone()).may_write(Side.MYSQL):
                cursor.execute("ROLLBACK")
                return False
            try:
                cursor.execute(statements[0], (key, customer))
                cursor.execute(statements[1], (customer,))
                cursor.execute("COMMIT")
            except MySQLError as e:
                cursor.execute("ROLLBACK")
                if e.args[0] in MYSQL_NOT_ALLOWED:
                    return False
                raise
            return True

        def on_aurora(key: str) -> bool:
            with pg.transaction():
                pg.execute(POSTGRES_LOCK_FOR_WRITE)
                if not flag_of_row(pg.execute(READ_FENCE).fetchone()).may_write(Side.AURORA):
                    return False
                pg.execute(statements[0], (key, customer))
                pg.execute(statements[1], (customer,))
            return True

        sides: list[tuple[str, Callable[[str], bool]]] = [("mysql", on_mysql), ("aurora", on_aurora)]
        try:
            while not self._stop.is_set():
                key = str(uuid.uuid4())
                while not self._stop.is_set():
                    name, write = sides[0]
                    if write(key):
                        self.acknowledged.append((name, key, customer))
                        break
                    sides.reverse()
                    time.sleep(0.005)
                time.sleep(self._pause)
        except Exception as e:
            self.errors.append(repr(e))
        finally:
            my.close()
            pg.close()


@pytest.fixture(scope="session")
def environment_of_children() -> dict[str, str]:
    """For subprocesses of a test; taken when the lab is up."""
    return dict(os.environ)
