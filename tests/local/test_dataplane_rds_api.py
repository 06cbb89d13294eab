"""RDS' API in front of real servers: snapshots, restores, renames and deletions through boto3, as commands call it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pymysql
import pytest
from botocore.exceptions import ClientError

from local.dataplane import cloud
from local.dataplane.mysql import TOKEN as SERVER
from local.dataplane.mysql import MySQLInstance
from local.dataplane.postgres import AuroraCluster, AuroraInstance, Storage
from local.dataplane.rds.place import CLUSTER, MEMBER
from local.dataplane.snapshots import Copy
from local.stack import LocalStack
from tests.local.test_parquet import read

pytestmark = pytest.mark.real

REGION = "us-east-1"
TAGS = {"tags": {"owner": "shop"}, "tagsAll": {"owner": "shop"}}
AURORA = {
    "engine": "aurora-postgresql",
    "clusterIdentifier": "shop",
    "masterUsername": "zdm_admin",
    "masterPassword": "first-password",
    "databaseName": "ecommerce",
    "backupRetentionPeriod": 7,
    "serverlessv2ScalingConfiguration": {"minCapacity": 0.5, "maxCapacity": 4},
    "vpcSecurityGroupIds": ["sg-1"],
    "copyTagsToSnapshot": True,
    "skipFinalSnapshot": True,
    **TAGS,
}
WRITER = {
    "clusterIdentifier": "shop",
    "engine": "aurora-postgresql",
    "identifier": "shop-writer",
    "instanceClass": "db.serverless",
    **TAGS,
}
MYSQL = {
    "engine": "mysql",
    "identifier": "source",
    "instanceClass": "db.t4g.medium",
    "allocatedStorage": 20,
    "username": "zdm_admin",
    "password": "first-password",
    "dbName": "ecommerce",
    "backupRetentionPeriod": 7,
    "skipFinalSnapshot": True,
    **TAGS,
}


class Rds:
    """boto3's client of the stack, and waiting that goes on until the state is there."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.client = cloud.aws(stack, "rds", REGION)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def cluster(self, name: str, status: str = "available") -> Any:
        return self._await(lambda: self.client.describe_db_clusters(DBClusterIdentifier=name)["DBClusters"][0], status)

    def instance(self, name: str, status: str = "available") -> Any:
        return self._await(
            lambda: self.client.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0], status
        )

    def snapshot(self, name: str, status: str = "available") -> Any:
        return self._await(
            lambda: self.client.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier=name)["DBClusterSnapshots"][
                0
            ],
            status,
        )

    def dump(self, name: str, status: str = "available") -> Any:
        return self._await(
            lambda: self.client.describe_db_snapshots(DBSnapshotIdentifier=name)["DBSnapshots"][0], status
        )

    def gone(self, describe: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                describe()
            except ClientError as error:
                assert "NotFound" in error.response["Error"]["Code"]
                return
            time.sleep(0.1)
        raise AssertionError("it is still there")

    def _await(self, look: Callable[[], Any], status: str) -> Any:
        """A renamed server is not found for a moment: its new name is not there yet."""
        deadline, seen = time.monotonic() + 90, None
        while time.monotonic() < deadline:
            try:
                seen = look()
            except ClientError as error:
                if "NotFound" not in error.response["Error"]["Code"]:
                    raise
                time.sleep(0.1)
                continue
            now = seen.get("Status") or seen.get("DBInstanceStatus")
            if now == status:
                return seen
            assert now != "failed" or status == "failed", seen
            time.sleep(0.1)
        raise AssertionError(seen)


@pytest.fixture(scope="module")
def rds(stack: LocalStack) -> Iterator[Rds]:
    """The program's databases: a cluster with its writer, and a MySQL server."""
    for token, handler, inputs in (
        (CLUSTER, AuroraCluster(), AURORA),
        (MEMBER, AuroraInstance(), WRITER),
        (SERVER, MySQLInstance(), MYSQL),
    ):
        id, state = handler.create(stack, "x", dict(inputs))
        stack.records.put(token, id, inputs, state)
    yield Rds(stack)


def postgres(rds: Rds, name: str, password: str = "first-password") -> Any:
    found = rds.cluster(name)
    return psycopg.connect(
        host=found["Endpoint"], port=found["Port"], user="zdm_admin", password=password, dbname="ecommerce",
        sslmode="require", autocommit=True,
    )  # fmt: skip


def mysql(rds: Rds, name: str, password: str = "first-password") -> Any:
    there = rds.instance(name)["Endpoint"]
    tls = {"check_hostname": False, "verify_mode": "none"}
    return pymysql.connect(
        host=there["Address"], port=there["Port"], user="zdm_admin", password=password, database="ecommerce",
        ssl=tls, autocommit=True,
    )  # fmt: skip


def ask(connection: Any, *statements: str) -> Any:
    with connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else None


def refused(code: str, call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as error:
        call()
    assert error.value.response["Error"]["Code"] == code
    return str(error.value)


def test_aurora_is_restored_beside_and_takes_the_place_of_the_running_cluster(rds: Rds) -> None:
    before = rds.cluster("shop")
    assert before["DBClusterMembers"][0]["IsClusterWriter"] and before["TagList"] == [{"Key": "owner", "Value": "shop"}]
    assert before["ServerlessV2ScalingConfiguration"] == {"MinCapacity": 0.5, "MaxCapacity": 4.0}
    ask(postgres(rds, "shop"), "CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")

    # a snapshot is under way, then there; its tags are its state
    tags = [{"Key": "zdm:set", "Value": "shop-1"}]
    made = rds.create_db_cluster_snapshot(DBClusterSnapshotIdentifier="shop-1", DBClusterIdentifier="shop", Tags=tags)[
        "DBClusterSnapshot"
    ]
    assert made["Status"] == "creating"
    taken = rds.snapshot("shop-1")
    assert taken["TagList"] == [{"Key": "owner", "Value": "shop"}, *tags], "the cluster's are copied"
    assert (taken["SnapshotType"], taken["MasterUsername"], taken["PercentProgress"]) == ("manual", "zdm_admin", 100)
    refused(
        "DBClusterSnapshotAlreadyExistsFault",
        lambda: rds.create_db_cluster_snapshot(DBClusterSnapshotIdentifier="shop-1", DBClusterIdentifier="shop"),
    )
    arn = taken["DBClusterSnapshotArn"]
    rds.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "zdm:verified", "Value": "yes"}])
    rds.remove_tags_from_resource(ResourceName=arn, TagKeys=["owner"])
    assert {t["Key"] for t in rds.list_tags_for_resource(ResourceName=arn)["TagList"]} == {"zdm:set", "zdm:verified"}
    assert Copy(rds.stack, "aurora", "shop-1").exists(), "it is the same copy as the program's"

    ask(postgres(rds, "shop"), "INSERT INTO t VALUES (2)")
    restored = rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier="shop-new",
        SnapshotIdentifier=arn,
        Engine="aurora-postgresql",
        VpcSecurityGroupIds=["sg-1"],
        ServerlessV2ScalingConfiguration={"MinCapacity": 0.5, "MaxCapacity": 4},
        CopyTagsToSnapshot=True,
        Tags=[{"Key": "owner", "Value": "shop"}],
    )["DBCluster"]
    assert restored["Status"] == "creating"
    assert rds.cluster("shop-new")["BackupRetentionPeriod"] == 7, "what the request leaves open is the source's"
    rds.create_db_instance(
        DBInstanceIdentifier="shop-new-writer",
        DBClusterIdentifier="shop-new",
        DBInstanceClass="db.serverless",
        Engine="aurora-postgresql",
        Tags=[{"Key": "owner", "Value": "shop"}],
    )
    assert rds.instance("shop-new-writer")["DBClusterIdentifier"] == "shop-new"
    assert ask(postgres(rds, "shop-new"), "SELECT id FROM t") == [(1,)]

    rds.modify_db_cluster(DBClusterIdentifier="shop-new", ManageMasterUserPassword=True, ApplyImmediately=True)
    secret = rds.cluster("shop-new")["MasterUserSecret"]
    account = json.loads(cloud.secret_text(rds.stack, secret["SecretArn"], REGION))
    assert ask(postgres(rds, "shop-new", account["password"]), "SELECT 1") == [(1,)]
    rds.modify_db_cluster(
        DBClusterIdentifier="shop-new",
        ManageMasterUserPassword=False,
        MasterUserPassword="second-password",
        ApplyImmediately=True,
    )
    assert "MasterUserSecret" not in rds.cluster("shop-new")

    # the swap: endpoints go with identifiers
    for old, new in (("shop", "shop-old"), ("shop-new", "shop")):
        rds.modify_db_instance(
            DBInstanceIdentifier=f"{old}-writer", NewDBInstanceIdentifier=f"{new}-writer", ApplyImmediately=True
        )
        rds.instance(f"{new}-writer")
        rds.modify_db_cluster(DBClusterIdentifier=old, NewDBClusterIdentifier=new, ApplyImmediately=True)
        rds.cluster(new)
    after = rds.cluster("shop")
    assert after["Endpoint"] == before["Endpoint"] and after["DbClusterResourceId"] != before["DbClusterResourceId"]
    assert ask(postgres(rds, "shop", "second-password"), "SELECT id FROM t") == [(1,)]
    assert ask(postgres(rds, "shop-old"), "SELECT id FROM t ORDER BY 1") == [(1,), (2,)]

    # what is there now is the program's resource, and the same in all that the program says
    state = rds.stack.records.get(CLUSTER, "shop")
    assert state and AuroraCluster().read(rds.stack, "shop", state.outputs) == state.outputs
    said = {name: value for name, value in AURORA.items() if name != "masterPassword"}
    assert {name: state.outputs.get(name) for name in said} == said
    assert state.outputs["clusterResourceId"] == after["DbClusterResourceId"]
    writer = rds.stack.records.get(MEMBER, "shop-writer")
    assert writer and {name: writer.outputs.get(name) for name in WRITER} == WRITER

    # the old one goes, with its last snapshot
    rds.modify_db_cluster(DBClusterIdentifier="shop-old", DeletionProtection=True)
    rds.cluster("shop-old")
    refused(
        "InvalidDBClusterStateFault",
        lambda: rds.delete_db_cluster(DBClusterIdentifier="shop-old", SkipFinalSnapshot=True),
    )
    rds.delete_db_instance(DBInstanceIdentifier="shop-old-writer")
    assert "protected" in refused(
        "InvalidParameterCombination",
        lambda: rds.delete_db_cluster(DBClusterIdentifier="shop-old", SkipFinalSnapshot=True),
    )
    rds.modify_db_cluster(DBClusterIdentifier="shop-old", DeletionProtection=False)
    rds.cluster("shop-old")
    rds.delete_db_cluster(DBClusterIdentifier="shop-old", FinalDBSnapshotIdentifier="shop-old-final")
    rds.gone(lambda: rds.describe_db_clusters(DBClusterIdentifier="shop-old"))
    assert rds.snapshot("shop-old-final")["DBClusterIdentifier"] == "shop-old"
    assert not Storage(rds.stack, "shop-old").home.exists()


def test_snapshots_are_copied_shared_listed_and_deleted(rds: Rds) -> None:
    rds.create_db_cluster_snapshot(DBClusterSnapshotIdentifier="first", DBClusterIdentifier="shop")
    arn = rds.snapshot("first")["DBClusterSnapshotArn"]
    far = cloud.aws(rds.stack, "rds", "eu-west-1")
    far.copy_db_cluster_snapshot(
        SourceDBClusterSnapshotIdentifier=arn,
        TargetDBClusterSnapshotIdentifier="first",
        SourceRegion=REGION,
        CopyTags=True,
    )
    far.get_waiter("db_cluster_snapshot_available").wait(
        DBClusterSnapshotIdentifier="first", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    copied = far.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier="first")["DBClusterSnapshots"][0]
    assert (copied["SourceDBClusterSnapshotArn"], ":eu-west-1:" in copied["DBClusterSnapshotArn"]) == (arn, True)
    listed = far.describe_db_cluster_snapshots(DBClusterIdentifier="shop")["DBClusterSnapshots"]
    assert [one["DBClusterSnapshotIdentifier"] for one in listed] == ["first"], "a region has its own"

    rds.modify_db_cluster_snapshot_attribute(
        DBClusterSnapshotIdentifier="first", AttributeName="restore", ValuesToAdd=["123456789012"]
    )
    told = rds.describe_db_cluster_snapshot_attributes(DBClusterSnapshotIdentifier="first")
    (attribute,) = told["DBClusterSnapshotAttributesResult"]["DBClusterSnapshotAttributes"]
    assert attribute == {"AttributeName": "restore", "AttributeValues": ["123456789012"]}

    rds.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier="first")
    refused(
        "DBClusterSnapshotNotFoundFault",
        lambda: rds.describe_db_cluster_snapshots(DBClusterSnapshotIdentifier="first"),
    )
    assert far.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier=copied["DBClusterSnapshotArn"])
    refused(
        "DBClusterSnapshotNotFoundFault",
        lambda: rds.restore_db_cluster_from_snapshot(
            DBClusterIdentifier="x", SnapshotIdentifier="first", Engine="aurora-postgresql"
        ),
    )
    groups = rds.describe_db_subnet_groups()["DBSubnetGroups"]
    assert groups == [], "what is not about databases is answered by the API server"


def test_mysql_is_restored_beside_and_takes_the_place_of_the_running_server(rds: Rds) -> None:
    before = rds.instance("source")
    ask(mysql(rds, "source"), "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    rds.create_db_snapshot(DBSnapshotIdentifier="source-1", DBInstanceIdentifier="source")
    arn = rds.dump("source-1")["DBSnapshotArn"]
    ask(mysql(rds, "source"), "INSERT INTO t VALUES (2)")
    rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier="source-new", DBSnapshotIdentifier=arn)
    restored = rds.instance("source-new")
    assert (restored["BackupRetentionPeriod"], restored["DBInstanceClass"]) == (7, "db.t4g.medium")
    rds.modify_db_instance(DBInstanceIdentifier="source-new", MasterUserPassword="second-password")
    rds.instance("source-new")
    rds.reboot_db_instance(DBInstanceIdentifier="source-new")
    rds.instance("source-new")
    for old, new in (("source", "source-old"), ("source-new", "source")):
        refused(
            "InvalidParameterCombination",
            lambda old=old, new=new: rds.modify_db_instance(DBInstanceIdentifier=old, NewDBInstanceIdentifier=new),
        )
        rds.modify_db_instance(DBInstanceIdentifier=old, NewDBInstanceIdentifier=new, ApplyImmediately=True)
        rds.instance(new)
    assert rds.instance("source")["Endpoint"] == before["Endpoint"]
    assert ask(mysql(rds, "source", "second-password"), "SELECT id FROM t") == [(1,)]
    assert ask(mysql(rds, "source-old"), "SELECT id FROM t") == [(1,), (2,)]

    # AWS' provider follows the resource id, which goes with the server, not with the name
    state = rds.stack.records.get(SERVER, before["DbiResourceId"])
    assert state and state.outputs["identifier"] == "source-old"
    (now,) = rds.describe_db_instances(Filters=[{"Name": "dbi-resource-id", "Values": [before["DbiResourceId"]]}])[
        "DBInstances"
    ]
    assert now["DBInstanceIdentifier"] == "source-old"
    refused("InvalidParameterCombination", lambda: rds.delete_db_instance(DBInstanceIdentifier="source-old"))
    rds.delete_db_instance(DBInstanceIdentifier="source-old", FinalDBSnapshotIdentifier="source-final")
    rds.gone(lambda: rds.describe_db_instances(DBInstanceIdentifier="source-old"))
    assert rds.dump("source-final")["DBInstanceIdentifier"] == "source-old"


def test_aurora_is_restored_to_a_point_in_time(rds: Rds) -> None:
    ask(postgres(rds, "shop", "second-password"), "CREATE TABLE at (id int)", "INSERT INTO at VALUES (1)")
    then = datetime.now(UTC)
    ask(postgres(rds, "shop", "second-password"), "INSERT INTO at VALUES (2)")
    with Storage(rds.stack, "shop").instances()[0].admin() as connection:
        connection.execute("SELECT pg_switch_wal()")  # some of the log is in the archive, some is not
    rds.restore_db_cluster_to_point_in_time(
        DBClusterIdentifier="then", SourceDBClusterIdentifier="shop", RestoreToTime=then
    )
    known = rds.cluster("then")
    assert known["ServerlessV2ScalingConfiguration"] == {"MinCapacity": 0.5, "MaxCapacity": 4.0}
    rds.create_db_instance(
        DBInstanceIdentifier="then-writer", DBClusterIdentifier="then", DBInstanceClass="db.serverless",
        Engine="aurora-postgresql",
    )  # fmt: skip
    rds.instance("then-writer")
    assert ask(postgres(rds, "then", "second-password"), "SELECT id FROM at") == [(1,)]

    # a time after the last commit is all there is; one outside of the window is refused, with the window
    window = rds.cluster("shop")
    assert window["EarliestRestorableTime"] < then < window["LatestRestorableTime"]
    before = window["EarliestRestorableTime"] - timedelta(minutes=1)
    for wrong in (before, datetime.now(UTC) + timedelta(hours=1)):
        said = refused(
            "InvalidRestoreFault",
            lambda wrong=wrong: rds.restore_db_cluster_to_point_in_time(
                DBClusterIdentifier="never", SourceDBClusterIdentifier="shop", RestoreToTime=wrong
            ),
        )
        assert "earliest restorable time" in said
    idle = {**AURORA, "clusterIdentifier": "idle", "masterUsername": None, "masterPassword": None, "databaseName": None}
    AuroraCluster().create(
        rds.stack,
        "x",
        {
            **idle,
            "restoreToPointInTime": {
                "sourceClusterIdentifier": "shop",
                "restoreToTime": window["LatestRestorableTime"].isoformat(),
            },
        },
    )
    AuroraInstance().create(rds.stack, "x", {**WRITER, "clusterIdentifier": "idle", "identifier": "idle-writer"})
    assert ask(postgres(rds, "idle", "second-password"), "SELECT id FROM at ORDER BY 1") == [(1,), (2,)]


def test_mysql_is_restored_to_a_point_in_time(rds: Rds) -> None:
    account = {"name": "source", "password": "second-password"}
    ask(mysql(rds, **account), "CREATE TABLE at (id int PRIMARY KEY)", "INSERT INTO at VALUES (1)")
    then = datetime.now(UTC)
    ask(mysql(rds, **account), "INSERT INTO at VALUES (2)", "FLUSH BINARY LOGS")
    rds.restore_db_instance_to_point_in_time(
        SourceDBInstanceIdentifier="source", TargetDBInstanceIdentifier="source-then", RestoreTime=then
    )
    assert rds.instance("source-then")["BackupRetentionPeriod"] == 7
    assert ask(mysql(rds, "source-then", "second-password"), "SELECT id FROM at") == [(1,)]
    (backup,) = rds.describe_db_instance_automated_backups(DBInstanceIdentifier="source")["DBInstanceAutomatedBackups"]
    earliest = backup["RestoreWindow"]["EarliestTime"]
    refused(
        "InvalidRestoreFault",
        lambda: rds.restore_db_instance_to_point_in_time(
            SourceDBInstanceIdentifier="source",
            TargetDBInstanceIdentifier="never",
            RestoreTime=earliest - timedelta(minutes=1),
        ),
    )
    rds.restore_db_instance_to_point_in_time(
        SourceDBInstanceIdentifier="source", TargetDBInstanceIdentifier="source-now", UseLatestRestorableTime=True
    )
    rds.instance("source-now")
    assert ask(mysql(rds, "source-now", "second-password"), "SELECT id FROM at ORDER BY 1") == [(1,), (2,)]


def test_snapshots_are_exported_as_parquet(rds: Rds) -> None:
    ask(
        mysql(rds, "source", "second-password"),
        "CREATE TABLE prices (id BIGINT UNSIGNED PRIMARY KEY, price DECIMAL(12,2), note VARCHAR(20), at DATETIME(6))",
        "INSERT INTO prices VALUES (18446744073709551615, -1.5, 'Tết', '2026-02-17 00:00:00'), (1, NULL, NULL, NULL)",
        "CREATE TABLE nothing (id int PRIMARY KEY)",
    )
    ask(postgres(rds, "shop", "second-password"), "CREATE TABLE prices (id bigint, price numeric(12,2))")
    ask(postgres(rds, "shop", "second-password"), "INSERT INTO prices VALUES (1, 1.50), (2, 'NaN')")
    rds.create_db_snapshot(DBSnapshotIdentifier="to-export", DBInstanceIdentifier="source")
    rds.create_db_cluster_snapshot(DBClusterSnapshotIdentifier="to-export", DBClusterIdentifier="shop")
    s3 = cloud.aws(rds.stack, "s3", REGION)
    s3.create_bucket(Bucket="archive")
    key = cloud.aws(rds.stack, "kms", REGION).create_key()["KeyMetadata"]["Arn"]
    there = {"S3BucketName": "archive", "S3Prefix": "final", "KmsKeyId": key, "IamRoleArn": "arn:aws:iam::1:role/none"}
    servers, clusters = (rds.dump("to-export")["DBSnapshotArn"], rds.snapshot("to-export")["DBClusterSnapshotArn"])
    refused(
        "IamRoleNotFound",
        lambda: rds.start_export_task(ExportTaskIdentifier="never", SourceArn=servers, **there),
    )
    iam = cloud.aws(rds.stack, "iam", REGION)
    there["IamRoleArn"] = iam.create_role(RoleName="export", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    rds.start_export_task(
        ExportTaskIdentifier="servers", SourceArn=servers, ExportOnly=["ecommerce.prices", "ecommerce.nothing"], **there
    )
    rds.start_export_task(ExportTaskIdentifier="clusters", SourceArn=clusters, ExportOnly=["ecommerce"], **there)
    refused(
        "ExportTaskAlreadyExists",
        lambda: rds.start_export_task(ExportTaskIdentifier="servers", SourceArn=servers, **there),
    )

    def exported(task: str) -> list[tuple[str, Any]]:
        def look() -> Any:
            found = rds.describe_export_tasks(ExportTaskIdentifier=task)["ExportTasks"][0]
            assert found["Status"] != "FAILED", found
            return found

        done = rds._await(look, "COMPLETE")
        assert done["PercentProgress"] == 100 and done["TaskEndTime"] > done["TaskStartTime"]
        listed = s3.list_objects_v2(Bucket="archive", Prefix=f"final/{task}/")["Contents"]
        return [(one["Key"], s3.get_object(Bucket="archive", Key=one["Key"])["Body"].read()) for one in listed]

    documents = {name.removeprefix("final/servers/"): data for name, data in exported("servers")}
    (part,) = [name for name in documents if name.endswith(".gz.parquet")]
    assert part.startswith("ecommerce/ecommerce.prices/1/part-00000-")
    names, rows = read(documents.pop(part))
    assert names == ["id", "price", "note", "at"]
    assert rows == [
        ((1).to_bytes(9, "big"), None, None, None),
        ((2**64 - 1).to_bytes(9, "big"), -150, "Tết".encode(), 1_771_286_400_000_000),
    ]
    tables = json.loads(documents.pop("export_tables_info_servers_from_1_to_2.json"))["perTableStatus"]
    assert {table["target"] for table in tables} == {"ecommerce.ecommerce.prices", "ecommerce.ecommerce.nothing"}
    assert json.loads(documents.pop("export_info_servers.json"))["status"] == "COMPLETE" and not documents

    parts = {name.split("/")[3]: data for name, data in exported("clusters") if name.endswith(".parquet")}
    assert read(parts["public.prices"])[1] == [(1, b"1.50"), (2, b"NaN")]
    assert not list((rds.stack.home / "data").glob("*/export.*")), "the servers that were read are gone"


def test_disks_and_images_of_servers_are_copied_whole(rds: Rds) -> None:
    ec2, far = (cloud.aws(rds.stack, "ec2", region) for region in (REGION, "eu-west-1"))
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    server = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]
    zone = server["Placement"]["AvailabilityZone"]
    data, scratch = (ec2.create_volume(AvailabilityZone=zone, Size=size, Encrypted=True) for size in (10, 20))
    for device, volume in (("/dev/sdf", data), ("/dev/sdg", scratch)):
        ec2.attach_volume(VolumeId=volume["VolumeId"], InstanceId=server["InstanceId"], Device=device)
    tags = [{"ResourceType": kind, "Tags": [{"Key": "zdm:set", "Value": kind}]} for kind in ("image", "snapshot")]

    of_server = {"InstanceId": server["InstanceId"], "ExcludeDataVolumeIds": [scratch["VolumeId"]]}
    taken = ec2.create_snapshots(InstanceSpecification=of_server, TagSpecifications=tags[1:])["Snapshots"]
    assert [one["VolumeSize"] for one in taken] == [8, 10] and {one["State"] for one in taken} == {"completed"}

    name = {"Name": "before-the-deployment", "TagSpecifications": tags}
    made = ec2.create_image(InstanceId=server["InstanceId"], NoReboot=True, **name)["ImageId"]
    refused("InvalidAMIName.Duplicate", lambda: ec2.create_image(InstanceId=server["InstanceId"], **name))
    copied = far.copy_image(SourceImageId=made, SourceRegion=REGION, **name)["ImageId"]
    for client, id in ((ec2, made), (far, copied)):
        (found,) = client.describe_images(Filters=[{"Name": "tag:zdm:set", "Values": ["image"]}])["Images"]
        assert found["ImageId"] == id
        disks = [mapping["Ebs"] for mapping in found["BlockDeviceMappings"]]
        assert [(disk["VolumeSize"], disk["Encrypted"]) for disk in disks] == [(8, False), (10, True), (20, True)]
        snapshots = client.describe_snapshots(SnapshotIds=[disk["SnapshotId"] for disk in disks])["Snapshots"]
        assert [one["Tags"] for one in snapshots] == [tags[1]["Tags"]] * 3
        refused("InvalidSnapshot.InUse", lambda c=client, s=snapshots: c.delete_snapshot(SnapshotId=s[0]["SnapshotId"]))
        client.deregister_image(ImageId=id, DeleteAssociatedSnapshots=True)
        refused(
            "InvalidSnapshot.NotFound",
            lambda c=client, s=snapshots: c.describe_snapshots(SnapshotIds=[s[0]["SnapshotId"]]),
        )


def test_what_fails_says_so_and_can_be_deleted(rds: Rds) -> None:
    rds.create_db_cluster_snapshot(DBClusterSnapshotIdentifier="broken", DBClusterIdentifier="shop")
    rds.snapshot("broken")
    (Copy(rds.stack, "aurora", "broken").data / "PG_VERSION").unlink()
    rds.restore_db_cluster_from_snapshot(
        DBClusterIdentifier="lost", SnapshotIdentifier="broken", Engine="aurora-postgresql"
    )
    lost = rds.cluster("lost", "failed")
    assert "not a valid data directory" in lost["StatusInfos"][0]["Message"]
    rds.delete_db_cluster(DBClusterIdentifier="lost", SkipFinalSnapshot=True)
    rds.gone(lambda: rds.describe_db_clusters(DBClusterIdentifier="lost"))
