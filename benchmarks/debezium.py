"""The same table through Debezium's snapshot: Kafka and two Connect workers of this machine, the program's settings.

The time runs from when both connectors are given their configuration until the target has all rows; the workers run
already. The sink has as many tasks as the copies that it is compared with have streams.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.databases import DATABASE, PASSWORD, USER, Databases, used_by_tree
from benchmarks.measure import LIMIT, Run, RunError, high_water
from components.connectors import CONTROL_SCHEMA, Capture, sink_config, source_config, worker_properties
from contract.control import WATERMARK
from contract.tables import Table
from local import parts
from local.dataplane import cloud
from local.dataplane.connect import CustomPlugin, Worker, WorkerConfiguration
from local.dataplane.kafka import Cluster, Topic

REGION = "us-east-1"
SECRET = "zdm/benchmark/login"


def snapshot(databases: Databases, table: Table, tasks: int) -> Run:
    """Copies `table` to the target, which must be empty. Raises `RunError` when a connector fails."""
    capture = Capture("benchmark", DATABASE, tables=[table.name], partitions=max(3, tasks), snapshot=True)
    with _workers(databases, capture, tasks) as workers:
        processes = [databases.stack.process("kafka-benchmark"), *(worker.process for worker, _ in workers)]
        pids = [process.pid for process in processes if process.pid is not None]
        rows = databases.on_mysql(f"SELECT COUNT(*) FROM {table.name}")[0][0]
        databases.settle()
        before, used = databases.processor(), sum(map(used_by_tree, pids))
        began = time.monotonic()
        for worker, inputs in workers:
            worker.configure(inputs)
        with databases.postgres() as pg:
            while (seen := pg.execute(f"SELECT count(*) FROM {table.name}".encode()).fetchone()) != (rows,):
                stopped = [worker.name for worker, _ in workers if worker.status() != "RUNNING"]
                if stopped or time.monotonic() - began > LIMIT:
                    raise RunError(f"Debezium copied {seen} of {rows:,} rows; not running: {stopped or 'none'}")
                time.sleep(0.5)
        return Run(
            time.monotonic() - began,
            sum(map(used_by_tree, pids)) - used,
            databases.processor() - before,
            sum(map(high_water, pids)),
            {"rows": rows},
        )


@contextmanager
def _workers(databases: Databases, capture: Capture, tasks: int) -> Iterator[list[tuple[Worker, dict[str, Any]]]]:
    """A broker with the topics, and both workers, without their connectors yet; all of it goes at the end."""
    stack = databases.stack
    names = {"clusterName": "benchmark", "numberOfBrokerNodes": 1}
    _, cluster = Cluster().create(stack, "benchmark", {**names, "clientAuthentication": {"sasl": {"iam": True}}})
    workers = []
    try:
        for topic in capture.topics(24):
            given = {"name": topic.name, "partitionCount": topic.partitions, "configs": json.dumps(topic.configs())}
            Topic().create(stack, "benchmark", {"clusterArn": cluster["arn"], "replicationFactor": 1, **given})
        _prepare(databases)
        plugin = _plugin(databases)
        bootstrap = cluster["bootstrapBrokersSaslIam"]
        source = source_config(
            capture, host=databases.source.host, port=3306, account=SECRET, bootstrap=bootstrap, server_id=5401
        )
        sink = sink_config(capture, host=databases.target.host, port=5432, account=SECRET, tasks=tasks)
        for name, config, offsets in (
            (capture.source_connector, source, capture.offsets_topic),
            (capture.sink_connector, sink, None),
        ):
            properties = {"name": name, "propertiesFileContent": worker_properties(REGION, offsets)}
            configuration, _ = WorkerConfiguration().create(stack, name, properties)
            inputs = {
                "name": name,
                "connectorConfiguration": config,
                "kafkaCluster": {"apacheKafkaCluster": {"bootstrapServers": bootstrap}},
                "plugins": [{"customPlugin": {"arn": plugin, "revision": 1}}],
                "workerConfiguration": {"arn": configuration, "revision": 1},
            }
            worker = Worker(stack, name)
            workers.append((worker, inputs))
            worker.make(inputs, "1")
            worker.start()
        yield workers
    finally:
        for worker, _ in reversed(workers):
            worker.remove()
        Cluster().delete(stack, cluster["arn"], cluster)


def _prepare(databases: Databases) -> None:
    """Account and control tables, as `./zdm bootstrap` makes them."""
    secrets = cloud.aws(databases.stack, "secretsmanager", REGION)
    secrets.create_secret(Name=SECRET, SecretString=json.dumps({"username": USER, "password": PASSWORD}))
    columns = "(id INT PRIMARY KEY, marker CHAR(36) NOT NULL)"
    databases.on_mysql(
        f"CREATE DATABASE IF NOT EXISTS {CONTROL_SCHEMA}",
        f"CREATE TABLE IF NOT EXISTS {CONTROL_SCHEMA}.{WATERMARK} {columns}",
    )
    databases.on_postgres(
        f"CREATE SCHEMA IF NOT EXISTS {CONTROL_SCHEMA}",
        f"CREATE TABLE IF NOT EXISTS {CONTROL_SCHEMA}.{WATERMARK} {columns}",
    )


def _plugin(databases: Databases) -> str:
    """The ARN of Debezium's plugin, unpacked for the workers."""
    archive = parts.debezium_zip(databases.home / "debezium.zip")
    s3 = cloud.aws(databases.stack, "s3", REGION)
    s3.create_bucket(Bucket="plugins")
    s3.upload_file(str(archive), "plugins", archive.name)
    location = {"s3": {"bucketArn": "arn:aws:s3:::plugins", "fileKey": archive.name}}
    inputs = {"name": "debezium", "contentType": "ZIP", "location": location}
    return CustomPlugin().create(databases.stack, "debezium", inputs)[0]
