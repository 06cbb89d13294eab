"""The archive, backups with both hops of copies, and restore tests under the real engine, with every option on."""

from __future__ import annotations

import json
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest
from botocore.exceptions import ClientError
from pulumi import ResourceOptions

from components.archive import Archive, ArchiveArgs, Lock
from components.backup import BackupPlan, BackupPlanArgs
from components.backup_copies import BackupCopies, BackupCopiesArgs
from components.backup_vault import VaultLock
from components.bucket import BucketArgs, PrivateBucket
from components.databases import Backups
from components.policies import statement
from components.restore_test import RestoreTest, RestoreTestArgs
from tests.cloud import Cloud, Program, changes, client

pytestmark = pytest.mark.real

ACCOUNT, OTHER = "123456789012", "210987654321"
HOME, THERE = "us-east-1", "us-west-2"
IDENTITY: dict[str, str] = {"prefix": "tiny-dev", "account_id": ACCOUNT, "partition": "aws"}
CLUSTER = f"arn:aws:rds:{HOME}:{ACCOUNT}:cluster:shop"
INSTANCE = f"arn:aws:rds:{HOME}:{ACCOUNT}:db:shop"


def brokers(arn: str) -> list[dict[str, Any]]:
    principal = {"Service": "delivery.logs.amazonaws.com"}
    return [statement("Brokers", ["s3:PutObject"], [f"{arn}/kafka/*"], principal=principal)]


def program(*, keep_days: int = 35, lock_days: int = 30, deep_days: int = 180) -> Program:
    def declare() -> None:
        second = aws.Provider("second", region=THERE, default_tags={"tags": {"owner": "platform"}})
        key = aws.kms.Key("data", deletion_window_in_days=7)
        topic = aws.sns.Topic("alarms", name="tiny-dev-alerts")
        vpc = aws.ec2.Vpc("net", cidr_block="10.0.0.0/16")
        lock = VaultLock("governance", 7, 400)
        archive = Archive(
            "archive",
            ArchiveArgs(
                account_id=ACCOUNT,
                data_key_arn=key.arn,
                keep=False,
                lock=Lock("governance", lock_days),
                cold_days=0,
                deep_days=deep_days,
                expire_days=720,
                log_days=90,
                deliveries=[brokers],
            ),
        )
        copies = BackupCopies(
            "copies",
            BackupCopiesArgs(
                **IDENTITY,  # type: ignore[arg-type]
                region=THERE,
                home_region=HOME,
                keep_days=90,
                keep=False,
                lock=lock,
                account_vault_arn=f"arn:aws:backup:{THERE}:{OTHER}:backup-vault:central",
                key_days=7,
            ),
            ResourceOptions(providers=[second]),
        )
        backup = BackupPlan(
            "backup",
            BackupPlanArgs(
                **IDENTITY,  # type: ignore[arg-type]
                key_arn=key.arn,
                alarm_topic_arn=topic.arn,
                databases={"aurora": CLUSTER, "mysql": INSTANCE},
                backups=Backups(days=14, window="01:30-03:00"),
                keep_days=keep_days,
                keep=False,
                lock=lock,
                copies=copies.target,
            ),
        )
        RestoreTest(
            "restore-test",
            RestoreTestArgs(
                **IDENTITY,  # type: ignore[arg-type]
                vault_arn=backup.vault_arn,
                alarm_topic_arn=topic.arn,
                vpc_id=vpc.id,
                subnet_group="data",
                clusters={"aurora": CLUSTER},
                instances={"mysql": INSTANCE},
                validation_hours=2,
            ),
        )
        for name in ("bucket", "log_bucket", "export_role_arn"):
            pulumi.export(name, getattr(archive, name))
        pulumi.export("plan", backup.plan_id)

    return declare



def test_up_again_in_place_and_gone(cloud: Cloud) -> None:
    first = cloud.use(program()).up()
    made = changes(first)["create"]
    outputs = {name: output.value for name, output in first.outputs.items()}

    s3, bucket = client("s3"), outputs["bucket"]
    assert s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"] == {
        "TargetBucket": outputs["log_bucket"],
        "TargetPrefix": "s3/archive-store/",
    }
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    retention = s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]
    assert (retention["Mode"], retention["Days"]) == ("GOVERNANCE", 30)
    transitions = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"][0]["Transitions"]
    assert [(t["Days"], t["StorageClass"]) for t in transitions] == [(0, "GLACIER_IR"), (180, "DEEP_ARCHIVE")]
    policies = {
        b: json.loads(s3.get_bucket_policy(Bucket=b)["Policy"])["Statement"] for b in (bucket, outputs["log_bucket"])
    }
    assert [s["Sid"] for s in policies[bucket]] == ["TlsOnly", "Tls12"]
    assert [s["Sid"] for s in policies[outputs["log_bucket"]]] == ["TlsOnly", "Tls12", "AccessLogs", "Brokers"]
    version = s3.put_object(Bucket=bucket, Key="export/part-0.parquet", Body=b"rows")["VersionId"]
    with pytest.raises(ClientError, match="AccessDenied"):
        s3.delete_object(Bucket=bucket, Key="export/part-0.parquet", VersionId=version)

    plan = client("backup").get_backup_plan(BackupPlanId=outputs["plan"])["BackupPlan"]
    rules = {rule["RuleName"]: rule for rule in plan["Rules"]}
    assert {name: rule["Lifecycle"]["DeleteAfterDays"] for name, rule in rules.items()} == {
        "daily": 35,
        "continuous": 14,
    }
    assert rules["daily"]["ScheduleExpression"] == "cron(30 1 ? * * *)" and rules["daily"]["StartWindowMinutes"] == 90
    assert rules["daily"]["CopyActions"][0]["DestinationBackupVaultArn"].startswith(
        f"arn:aws:backup:{THERE}:{ACCOUNT}:"
    )
    vaults = {region: client("backup", region).list_backup_vaults()["BackupVaultList"] for region in (HOME, THERE)}
    assert {r: [(v["BackupVaultName"], v["Locked"]) for v in vs] for r, vs in vaults.items()} == {
        HOME: [("tiny-dev", True)],
        THERE: [("tiny-dev-copies", True)],
    }
    assert vaults[HOME][0]["EncryptionKeyArn"] != vaults[THERE][0]["EncryptionKeyArn"]
    machine = client("stepfunctions", THERE).list_state_machines()["stateMachines"][0]
    targets = client("events", THERE).list_targets_by_rule(Rule="tiny-dev-backup-copied")["Targets"]
    assert [target["Arn"] for target in targets] == [machine["stateMachineArn"]]
    assert (
        len(
            json.loads(client("events").describe_rule(Name="tiny-dev-backups-failed")["EventPattern"])["detail"][
                "iamRoleArn"
            ]
        )
        == 2
    )

    assert changes(cloud.use(program()).up(refresh=True)) == {"same": made}

    # in place: the plan's rules, the lifecycle, and the lock of an archive in use
    changed = changes(cloud.use(program(keep_days=60, lock_days=60, deep_days=200)).up())
    assert changed == {"same": made - 3, "update": 3}
    assert (
        s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]["Days"]
        == 60
    )
    plan = client("backup").get_backup_plan(BackupPlanId=outputs["plan"])["BackupPlan"]
    assert sorted(rule["Lifecycle"]["DeleteAfterDays"] for rule in plan["Rules"]) == [14, 60]

    local = cloud.local()
    cloud.use(program()).destroy()
    assert local.records.all() == [] and local.processes() == []


class Owner(pulumi.ComponentResource):
    """A component that has a private bucket, first of its own making."""

    def __init__(self, *, shared: bool) -> None:
        super().__init__("zdm:index:Owner", "owner")
        if shared:
            self.bucket = PrivateBucket("plugins", BucketArgs(None, keep=False), ResourceOptions(parent=self)).name
        else:
            own = ResourceOptions(parent=self)
            self.bucket = aws.s3.Bucket("plugins", force_destroy=True, opts=own).id
            aws.s3.BucketVersioning(
                "plugins-versions", bucket=self.bucket, versioning_configuration={"status": "Enabled"}, opts=own
            )


def test_a_component_s_own_bucket_becomes_a_private_bucket_in_place(cloud: Cloud) -> None:
    def declare(shared: bool) -> Program:
        return lambda: pulumi.export("bucket", Owner(shared=shared).bucket)

    before = cloud.use(declare(False)).up().outputs["bucket"].value
    after = cloud.use(declare(True)).up()
    assert after.outputs["bucket"].value == before
    assert not {"delete", "replace"} & changes(after).keys()
    cloud.use(declare(True)).destroy()
