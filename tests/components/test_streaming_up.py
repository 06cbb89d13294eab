"""Kafka and the connectors of both ways with every option on, under the real engine: real brokers and databases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pulumi
import pulumi_aws as aws
import pymysql
import pytest
from pulumi import automation as auto

from components.connectors import Capture
from components.databases import Account, DatabaseAccess
from components.debezium import Autoscaled, DebeziumArgs, DebeziumPipeline, Fixed, Plugin, WayBack
from components.debezium_way_back import WayBackNames
from components.kafka import Brokers, KafkaArgs, KafkaCluster, Monitoring
from components.network import Endpoint, security_group
from contract.control import MYSQL_DDL, POSTGRES_DDL
from contract.way_back import mysql_prepare, postgres_prepare, postgres_slot
from local import parts
from local.dataplane import cloud as local_cloud
from local.dataplane.kafka import Broker
from local.processes import wait_until
from tests.cloud import Cloud, Program, changes

pytestmark = pytest.mark.real

ACCOUNT = "123456789012"
PASSWORD = "a password of 22 chars"
CAPTURE = Capture("tiny", "ecommerce", ["t"], snapshot=True)
NAMES = WayBackNames(CAPTURE)


@dataclass(frozen=True)
class Wanted:
    """What differs from one update to the next."""

    plugin: Plugin
    running: bool = False
    back: bool = False
    volume_gib: int = 100
    log_days: int = 30


def account(role: str, username: str, key: aws.kms.Key) -> Account:
    secret = aws.secretsmanager.Secret(role, name=f"tiny/{role}", kms_key_id=key.arn, recovery_window_in_days=0)
    text = pulumi.Output.secret(json.dumps({"username": username, "password": PASSWORD}))
    value = aws.secretsmanager.SecretVersion(role, secret_id=secret.id, secret_string=text)
    return Account(f"tiny/{role}", pulumi.Output.all(secret.arn, value.id).apply(lambda v: str(v[0])))


def stream(wanted: Wanted) -> Program:
    def program() -> None:
        vpc = aws.ec2.Vpc("net", cidr_block="10.0.0.0/16")
        subnets = [
            aws.ec2.Subnet(f"s{i}", vpc_id=vpc.id, cidr_block=f"10.0.{i}.0/24", availability_zone=f"us-east-1{zone}")
            for i, zone in enumerate("abc")
        ]
        key = aws.kms.Key("key", enable_key_rotation=True)
        group = security_group("databases", vpc.id, "databases", pulumi.ResourceOptions())
        mysql = aws.rds.Instance(
            "mysql",
            engine="mysql",
            engine_version="8.4",
            instance_class="db.t4g.medium",
            allocated_storage=20,
            db_name="ecommerce",
            username="boss",
            password=PASSWORD,
            backup_retention_period=1,
            skip_final_snapshot=True,
        )
        logical = aws.rds.ClusterParameterGroup(
            "logical",
            family="aurora-postgresql15",
            parameters=[{"name": "rds.logical_replication", "value": "1", "apply_method": "pending-reboot"}],
        )
        aurora = aws.rds.Cluster(
            "aurora",
            engine="aurora-postgresql",
            master_username="boss",
            master_password=PASSWORD,
            database_name="ecommerce",
            db_cluster_parameter_group_name=logical.name,
            skip_final_snapshot=True,
        )
        writer = aws.rds.ClusterInstance(
            "writer",
            cluster_identifier=aurora.id,
            engine=aws.rds.EngineType.AURORA_POSTGRESQL,
            instance_class="db.t4g.medium",
        )

        def on_mysql(role: str, username: str) -> DatabaseAccess:
            there = Endpoint(mysql.address, 3306, security_group_id=group.id)
            return DatabaseAccess(there, account(role, username, key), [mysql])

        def on_aurora(role: str, username: str) -> DatabaseAccess:
            there = Endpoint(aurora.endpoint, 5432, security_group_id=group.id)
            return DatabaseAccess(there, account(role, username, key), [writer])

        lister = aws.secretsmanager.Secret(
            "lister", name="AmazonMSK_tiny-lister", kms_key_id=key.arn, recovery_window_in_days=0
        )
        kafka = KafkaCluster(
            "kafka",
            KafkaArgs(
                "tiny",
                vpc.id,
                [subnet.id for subnet in subnets],
                key.arn,
                key.arn,
                [*CAPTURE.topics(24), *NAMES.topics(24)],
                version="3.9.x.kraft",
                brokers=Brokers(
                    "kafka.m7g.2xlarge",
                    1,
                    wanted.volume_gib,
                    2000,
                    grow_at_percent=50,
                    throughput_mib=300,
                ),
                scram_users=[Account("AmazonMSK_tiny-lister", lister.arn)],
                shared_with=["210987654321"],
                monitoring=Monitoring(
                    "PER_TOPIC_PER_PARTITION",
                    True,
                    {"scraper": security_group("scraper", vpc.id, "s", pulumi.ResourceOptions()).id},
                ),
                log_days=wanted.log_days,
                log_bucket=aws.s3.Bucket("logs").id,
                operator_cidrs=["10.9.0.0/16"],
            ),
        )
        assert kafka.scram
        pipeline = DebeziumPipeline(
            "cdc",
            DebeziumArgs(
                account_id=ACCOUNT,
                region="us-east-1",
                vpc_id=vpc.id,
                subnet_ids=[subnet.id for subnet in subnets],
                data_key_arn=key.arn,
                secrets_key_arn=key.arn,
                logs_key_arn=key.arn,
                kafka=kafka.access,
                source=on_mysql("mysql-cdc", "boss"),
                target=on_aurora("aurora-sink", "boss"),
                capture=CAPTURE,
                plugin=wanted.plugin,
                state="running" if wanted.running else "stopped",
                way_back=WayBack(
                    on_aurora("aurora-cdc", "zdm_reverse"), on_mysql("mysql-sink", "zdm_sink"), NAMES, wanted.back
                ),
                source_capacity=Fixed(2),
                sink_capacity=Autoscaled(1, 3, 2),
                sink_tasks=2,
                log_days=wanted.log_days,
                keep_bucket=False,
            ),
        )
        pulumi.export("mysql", mysql.address)
        pulumi.export("aurora", aurora.endpoint)
        pulumi.export("scram", kafka.scram.host)
        pulumi.export("jmx", kafka.jmx_exporters)
        pulumi.export("node", kafka.node_exporters)
        pulumi.export("log", pipeline.log_group)

    return program


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Plugin:
    """The real connectors, pinned by their checksum."""
    found = Plugin(parts.debezium_zip(tmp_path_factory.mktemp("plugin") / "debezium.zip"))
    return replace(found, sha256=found.digest)


def connections(made: auto.UpResult) -> tuple[Callable[[str], Any], Callable[[str], Any]]:
    """Queries as each database's administrator."""

    def on_mysql(query: str) -> Any:
        tls = {"check_hostname": False, "verify_mode": "none"}
        host = made.outputs["mysql"].value
        with pymysql.connect(host=host, user="boss", password=PASSWORD, ssl=tls, autocommit=True) as c:
            with c.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall()

    def on_postgres(query: str) -> Any:
        host = made.outputs["aurora"].value
        with psycopg.connect(
            host=host, user="boss", password=PASSWORD, dbname="ecommerce", sslmode="require", autocommit=True
        ) as c:
            cursor = c.execute(query)
            return cursor.fetchall() if cursor.description else None

    return on_mysql, on_postgres


def prepare(mysql: Callable[[str], Any], postgres: Callable[[str], Any]) -> None:
    """Schema and accounts on both sides, the way back's included."""
    for statement in (*MYSQL_DDL, "CREATE TABLE ecommerce.t (id INT PRIMARY KEY, name VARCHAR(20))"):
        mysql(statement)
    mysql("INSERT INTO ecommerce.t VALUES (1, 'there')")
    mysql(f"CREATE USER zdm_sink IDENTIFIED BY '{PASSWORD}' REQUIRE SSL")
    for statement in mysql_prepare("ecommerce"):
        mysql(statement)
    for statement in (*POSTGRES_DDL, "CREATE TABLE t (id integer PRIMARY KEY, name varchar(20))"):
        postgres(statement)
    postgres(f"CREATE ROLE zdm_reverse LOGIN PASSWORD '{PASSWORD}'")
    for statement in postgres_prepare("ecommerce", CAPTURE.tables):
        postgres(statement)


def connector_steps(events: list[auto.EngineEvent]) -> list[str]:
    """What was done to connectors, one after the other, as each was through."""
    done = [e.res_outputs_event.metadata for e in events if e.res_outputs_event]
    return [
        f"{getattr(m.op, 'value', m.op)} {m.urn.rpartition('::')[2]}" for m in done if m.type.endswith(":Connector")
    ]


def test_both_ways_with_all_options(cloud: Cloud, plugin: Plugin) -> None:
    wanted = Wanted(plugin)
    made = cloud.use(stream(wanted)).up()
    local = cloud.local()
    mysql, postgres = connections(made)
    broker = Broker(local, "tiny").address
    assert made.outputs["scram"].value == f"{broker}:9096"
    assert made.outputs["jmx"].value == [f"{broker}:11001"] and made.outputs["node"].value == [f"{broker}:11002"]
    scaling = local_cloud.aws(local, "application-autoscaling", "us-east-1")
    [target] = scaling.describe_scalable_targets(ServiceNamespace="kafka")["ScalableTargets"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 2000)
    [policy] = scaling.describe_scaling_policies(ServiceNamespace="kafka")["ScalingPolicies"]
    assert policy["TargetTrackingScalingPolicyConfiguration"]["DisableScaleIn"]

    prepare(mysql, postgres)
    running = replace(wanted, running=True)
    assert changes(cloud.use(stream(running)).up())["create"] == 2
    wait_until(lambda: postgres("SELECT * FROM t") == [(1, "there")], 60, "the row in PostgreSQL")
    assert set(changes(cloud.use(stream(running)).up())) == {"same"}

    with pytest.raises(auto.CommandError, match="both ways at once would overwrite newer rows"):
        cloud.use(stream(replace(running, back=True))).preview()

    # One update turns the stream round, and ignores the first size of a volume that grows by itself.
    postgres(postgres_slot(NAMES.slot))
    events: list[auto.EngineEvent] = []
    back = replace(wanted, back=True, volume_gib=90, log_days=7)
    turned = changes(cloud.use(stream(back)).up(on_event=events.append))
    assert (turned["replace"], turned["update"]) == (2, 2)
    steps = connector_steps(events)
    assert steps.index("delete-replaced cdc-sink") < steps.index("create-replacement cdc-sink"), steps
    assert steps.index("delete-replaced cdc-sink") < steps.index("create-replacement cdc-source"), steps
    postgres("INSERT INTO t VALUES (2, 'back')")
    wait_until(lambda: mysql("SELECT name FROM ecommerce.t WHERE id = 2") == (("back",),), 60, "the row in MySQL")

    cloud.use(stream(back)).destroy()
    assert local.records.all() == [] and local.processes() == []
