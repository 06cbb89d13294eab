"""Snapshots under the real engine, of real databases: what was before the deployment comes back, and only that."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pulumi
import pulumi_aws as aws
import pymysql
import pytest
from pulumi import automation as auto

from components.snapshots import Snapshots, SnapshotsArgs
from tests.cloud import Cloud, Program, changes, client

pytestmark = pytest.mark.real

PASSWORD = "a password of 22 chars"
BEFORE = ["**zdm:index:Snapshots$**"]


def program(
    label: str = "",
    *,
    keep: bool = True,
    servers: tuple[str, ...] = (),
    volumes: tuple[str, ...] = (),
    restore: str = "",
) -> Program:
    def cluster(name: str, snapshot: str | None) -> aws.rds.Cluster:
        made = aws.rds.Cluster(
            name,
            engine="aurora-postgresql",
            master_username="zdm_admin",
            master_password=None if snapshot else PASSWORD,
            manage_master_user_password=True if snapshot else None,
            database_name="ecommerce",
            backup_retention_period=7,
            skip_final_snapshot=True,
            snapshot_identifier=snapshot,
        )
        writer = aws.rds.ClusterInstance(
            f"{name}-writer", cluster_identifier=made.id, engine="aurora-postgresql", instance_class="db.t4g.medium"
        )
        pulumi.export(name, pulumi.Output.all(made.endpoint, writer.id).apply(lambda known: known[0]))
        return made

    def instance(name: str, snapshot: str | None) -> aws.rds.Instance:
        made = aws.rds.Instance(
            name,
            engine="mysql",
            instance_class="db.t4g.medium",
            allocated_storage=20,
            username="zdm_admin",
            password=PASSWORD,
            db_name=None if snapshot else "ecommerce",
            backup_retention_period=7,
            skip_final_snapshot=True,
            snapshot_identifier=snapshot,
        )
        pulumi.export(name, made.address)
        return made

    def declare() -> None:
        shop, legacy = cluster("shop", None), instance("legacy", None)
        taken = Snapshots(
            "snapshots",
            SnapshotsArgs(
                prefix="tiny-dev",
                account_id="123456789012",
                partition="aws",
                region="us-east-1",
                label=label,
                clusters={"aurora": shop.cluster_identifier},
                instances={"mysql": legacy.identifier},
                servers=servers,
                volumes=volumes,
                keep=keep,
            ),
        )
        pulumi.export("taken", taken.identifiers)
        if restore:
            again = cluster("shop-again", f"tiny-dev-aurora-{restore}")
            pulumi.export("secret", again.master_user_secrets[0].secret_arn)
            instance("legacy-again", f"tiny-dev-mysql-{restore}")

    return declare



def ask(result: Any, name: str, *statements: str, password: str = PASSWORD) -> list[int]:
    """Runs statements in one of the databases; the ids that the last one yields."""
    host = result.outputs[name].value
    if name.startswith("shop"):
        account = {"user": "zdm_admin", "password": password, "dbname": "ecommerce", "sslmode": "require"}
        with psycopg.connect(host=host, autocommit=True, **account) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return [row[0] for row in cursor.fetchall()] if cursor.description else []
    tls = {"check_hostname": False, "verify_mode": "none"}
    with pymysql.connect(
        host=host, user="zdm_admin", password=password, database="ecommerce", ssl=tls, autocommit=True
    ) as connection, connection.cursor() as cursor:  # fmt: skip
        for statement in statements:
            cursor.execute(statement)
        return [row[0] for row in cursor.fetchall()]


def test_what_was_before_comes_back(cloud: Cloud) -> None:
    first = cloud.use(program()).up()
    assert first.outputs["taken"].value == []
    for name in ("shop", "legacy"):
        ask(first, name, "CREATE TABLE t (id INT PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    ec2 = client("ec2")
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    server = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    outside: dict[str, Any] = {"servers": (server,), "volumes": (volume,)}

    # before the deployment: by an update of the snapshots alone
    before = cloud.use(program("g1", **outside)).up(target=BEFORE)
    assert changes(before).get("create") == 4 and "delete" not in changes(before)
    for name in ("shop", "legacy"):
        ask(first, name, "INSERT INTO t VALUES (3)", "SELECT id FROM t")
    after = cloud.use(program("g1", **outside)).up()
    assert not {"create", "replace", "delete"} & changes(after).keys()
    taken = after.outputs["taken"].value
    assert taken[:2] == ["tiny-dev-aurora-g1", "tiny-dev-mysql-g1"]
    made = ec2.describe_images(ImageIds=[taken[2]])["Images"][0]
    assert made["Name"] == f"tiny-dev-{server}-g1" and {"Key": "label", "Value": "g1"} in made["Tags"]
    assert ec2.describe_snapshots(SnapshotIds=[taken[3]])["Snapshots"][0]["VolumeId"] == volume
    assert set(changes(cloud.use(program("g1", **outside)).up(refresh=True))) == {"same"}

    # the next deployment's snapshots do not end the former ones, which restore exactly what was before
    restored = cloud.use(program("g2", restore="g1", **outside)).up()
    secret = client("secretsmanager").get_secret_value(SecretId=restored.outputs["secret"].value)
    password = json.loads(secret["SecretString"])["password"]
    assert ask(restored, "shop-again", "SELECT id FROM t ORDER BY id", password=password) == [1, 2]
    assert ask(restored, "legacy-again", "SELECT id FROM t ORDER BY id") == [1, 2]
    assert ask(restored, "shop", "SELECT id FROM t ORDER BY id") == [1, 2, 3]
    with pytest.raises(auto.CommandError, match="DBClusterSnapshotAlreadyExistsFault"):
        # the cluster's alone: one that is refused keeps the others from being asked for
        cloud.use(program("g1", **outside)).up(target=["**aws:rds/clusterSnapshot:ClusterSnapshot::*-g1"])

    # where disk matters more, the former ones go, after the new ones are there
    cloud.use(program("g2", keep=False, **outside)).up()
    local = cloud.local()
    last = cloud.use(program("g3", keep=False, volumes=(volume,))).up()
    assert last.outputs["taken"].value[:2] == ["tiny-dev-aurora-g3", "tiny-dev-mysql-g3"]
    kept = sorted(f"{copy.parent.name}/{copy.name}" for copy in local.snapshots.glob("*/*"))
    assert kept == [
        f"{kind}-{label}" for kind in ("aurora/tiny-dev-aurora", "mysql/tiny-dev-mysql") for label in ("g1", "g3")
    ]

    ec2.terminate_instances(InstanceIds=[server])
    cloud.use(program("g3", keep=False)).destroy()
    left = {record.id for record in local.records.all()}
    assert {"tiny-dev-aurora-g1", "tiny-dev-mysql-g1"} <= left and not {i for i in left if i.endswith("g3")}
    assert [p.name for p in local.processes()] == ["aws-control-plane"], "it has the image and the volume's snapshot"
