"""Backups' documents: plan, windows, the vault's policy, the two hops and the weekly restore."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from components.backup import BackupPlanArgs, CopyTarget, apart, failed_jobs, plan_rules, schedule, window_minutes
from components.backup_copies import (
    BackupCopiesArgs,
    copied,
    copy_on,
    forward_policy,
    start_policy,
    step_policy,
)
from components.backup_vault import VaultArgs, VaultLock, vault_policy
from components.base import ArgumentError
from components.databases import Backups
from components.restore_test import RestoreTestArgs, failed_restores, plain
from local.provider.control_plane.snapshots import plan_document
from tests.components.test_archive import camel
from tests.policy_lint import assert_sound

ACCOUNT, OTHER = "123456789012", "210987654321"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/copier"
THERE = f"arn:aws:backup:ap-southeast-5:{ACCOUNT}:backup-vault:zdm-prod-copies"
BEYOND = f"arn:aws:backup:ap-southeast-5:{OTHER}:backup-vault:central"
MODEL = boto3.client("backup", region_name="us-east-1").meta.service_model


def plan(**more: Any) -> BackupPlanArgs:
    known = {
        "prefix": "zdm-prod",
        "account_id": ACCOUNT,
        "partition": "aws",
        "key_arn": "arn:key",
        "alarm_topic_arn": "arn:topic",
        "databases": {"aurora": "arn:cluster"},
    }
    return BackupPlanArgs(**{**known, **more})


def copies(**more: Any) -> BackupCopiesArgs:
    known = {
        "prefix": "zdm-prod",
        "account_id": ACCOUNT,
        "partition": "aws",
        "region": "ap-southeast-5",
        "home_region": "ap-southeast-1",
    }
    return BackupCopiesArgs(**{**known, **more})


def assert_backup_takes(operation: str, document: dict[str, Any]) -> None:
    report = ParamValidator().validate(document, MODEL.operation_model(operation).input_shape)
    assert not report.has_errors(), report.generate_report()


def rules(args: BackupPlanArgs, copy_vault: str | None = None) -> dict[str, dict[str, Any]]:
    """The plan's rules as AWS Backup gets them, by name."""
    given = [camel(_plain(rule)) for rule in plan_rules(args, "zdm-prod", copy_vault)]
    document = plan_document({"name": "zdm-prod", "rules": given})
    assert_backup_takes("CreateBackupPlan", {"BackupPlan": document})
    return {rule["RuleName"]: rule for rule in document["Rules"]}


def _plain(value: Any) -> Any:
    """What Pulumi sends of an args object, without an engine."""
    import pulumi

    if pulumi._types.is_input_type(type(value)):
        return {k: _plain(v) for k, v in pulumi._types.input_type_to_dict(value).items() if v is not None}
    return [_plain(v) for v in value] if isinstance(value, list) else value


def test_a_snapshot_a_day_and_any_second_of_the_last_week() -> None:
    made = rules(plan(copies=CopyTarget(THERE, 90)), THERE)
    daily, continuous = made["daily"], made["continuous"]
    assert daily["ScheduleExpression"] == continuous["ScheduleExpression"] == "cron(0 2 ? * * *)"
    assert (daily["StartWindowMinutes"], daily["Lifecycle"]) == (60, {"DeleteAfterDays": 35})
    assert daily["CopyActions"] == [{"DestinationBackupVaultArn": THERE, "Lifecycle": {"DeleteAfterDays": 90}}]
    assert continuous["EnableContinuousBackup"] and continuous["Lifecycle"] == {"DeleteAfterDays": 7}
    assert "CopyActions" not in continuous and "EnableContinuousBackup" not in daily
    assert list(rules(plan(continuous=False))) == ["daily"]


TIMES = st.integers(0, 1439).map(lambda m: f"{m // 60:02}:{m % 60:02}")


@given(TIMES, st.integers(60, 300), TIMES, st.integers(30, 300))
def test_windows_are_apart_when_no_minute_is_in_both(backup: str, length: int, maintenance: str, lasting: int) -> None:
    start, began = window_minutes(f"{backup}-{backup}")[0], window_minutes(f"{maintenance}-{maintenance}")[0]
    end, over = (start + length) % 1440, (began + lasting) % 1440
    windows = f"{backup}-{end // 60:02}:{end % 60:02}", f"sun:{maintenance}-sun:{over // 60:02}:{over % 60:02}"
    open_at = {(start + m) % 1440 for m in range(length)}
    closed_at = {(began - 60 + m) % 1440 for m in range(lasting + 60)}
    assert apart(*windows) == (not open_at & closed_at)
    minute, hour = (int(field) for field in schedule(windows[0]).removeprefix("cron(").split()[:2])
    assert hour * 60 + minute == start


def test_a_lost_backup_is_told_and_only_ours() -> None:
    pattern = json.loads(failed_jobs([ROLE]))
    states = MODEL.shape_for("CopyJobState").enum + MODEL.shape_for("BackupJobState").enum
    assert set(pattern["detail"]["state"]) <= set(states)
    assert pattern["detail"]["iamRoleArn"] == [ROLE]
    restores = json.loads(failed_restores(ROLE))
    assert set(restores["detail"]["status"]) <= set(MODEL.shape_for("RestoreJobStatus").enum)


def test_nobody_ends_a_backup_by_hand() -> None:
    assert_sound(vault_policy())
    denied = json.loads(vault_policy())["Statement"][0]
    assert (denied["Effect"], denied["Principal"]) == ("Deny", "*")
    assert "backup:DeleteRecoveryPoint" in denied["Action"]


def test_the_second_hop_stays_in_its_region_and_crosses_the_account() -> None:
    args = copies(account_vault_arn=BEYOND)
    assert args.other_account == OTHER
    machine = json.loads(copy_on(args, "zdm-prod-copies", ROLE))
    step = machine["States"][machine["StartAt"]]
    asked = {name.removesuffix(".$"): value for name, value in step["Parameters"].items()}
    assert_backup_takes("StartCopyJob", asked)
    assert asked["DestinationBackupVaultArn"] == BEYOND and step["Parameters"]["RecoveryPointArn.$"] == "$.resources[0]"
    pattern = json.loads(copied(THERE))
    # the documented event of a copied Aurora snapshot
    event = {"backupVaultArn": THERE, "status": "COMPLETED", "resourceType": "Aurora"}
    assert all(event[name] in allowed for name, allowed in pattern["detail"].items())
    for document in (
        step_policy(args, ROLE),
        start_policy(f"arn:aws:states:ap-southeast-5:{ACCOUNT}:stateMachine:zdm-prod-copy-backups"),
        forward_policy(f"arn:aws:events:ap-southeast-1:{ACCOUNT}:event-bus/default"),
    ):
        assert_sound(document)


def test_restore_testing_takes_no_hyphen() -> None:
    assert plain("zdm-prod_weekly") == "zdm_prod_weekly"
    assert len(plain("x" * 80)) == 50


RESTORE = {
    "prefix": "zdm-prod",
    "account_id": ACCOUNT,
    "partition": "aws",
    "vault_arn": "arn:vault",
    "alarm_topic_arn": "arn:topic",
    "vpc_id": "vpc-1",
    "subnet_group": "data",
    "clusters": {"aurora": "arn:cluster"},
    "instances": {},
}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: plan(databases={}), r"BackupPlanArgs\.databases"),
        (lambda: plan(keep_days=6), r"BackupPlanArgs\.keep_days"),
        (lambda: plan(backups=Backups(days=1)), r"BackupPlanArgs\.continuous: needs backups\.days of 7 to 35"),
        (lambda: plan(lock=VaultLock("governance", 14, 90)), r"BackupPlanArgs\.lock.*keeps 35 and 7 days"),
        (lambda: plan(lock=VaultLock("governance", 7, 30)), r"BackupPlanArgs\.lock"),
        (lambda: plan(backups=Backups(window="02:00-02:30")), r"BackupPlanArgs\.backups: window 02:00-02:30"),
        (lambda: plan(backups=Backups(maintenance="sun:03:30-sun:04:30")), r"BackupPlanArgs\.backups.*the hour before"),
        (lambda: copies(region="ap-southeast-1"), r"BackupCopiesArgs\.region: must differ"),
        (
            lambda: copies(account_vault_arn=BEYOND.replace("-5", "-1")),
            r"BackupCopiesArgs\.account_vault_arn.*not both",
        ),
        (lambda: copies(account_vault_arn=THERE), r"BackupCopiesArgs\.account_vault_arn: the ARN of another account"),
        (lambda: copies(account_vault_arn="central"), r"BackupCopiesArgs\.account_vault_arn"),
        (lambda: copies(keep_days=3), r"BackupCopiesArgs\.keep_days"),
        (lambda: copies(lock=VaultLock("compliance", 60, 90)), r"BackupCopiesArgs\.lock"),
        (lambda: VaultLock("strict", 7, 90), r"VaultLock\.mode"),  # type: ignore[arg-type]
        (lambda: VaultLock("governance", 90, 7), r"VaultLock\.max_days"),
        (lambda: VaultLock("compliance", 7, 90, grace_days=2), r"VaultLock\.grace_days"),
        (lambda: VaultArgs("a vault", "k"), r"VaultArgs\.vault_name"),
        (lambda: VaultArgs("vault", "k", keep=False, lock=VaultLock("compliance", 7, 90)), r"VaultArgs\.keep"),
        (lambda: RestoreTestArgs(**{**RESTORE, "clusters": {}}), r"RestoreTestArgs\.clusters"),
        (lambda: RestoreTestArgs(**{**RESTORE, "schedule": "weekly"}), r"RestoreTestArgs\.schedule"),
        (lambda: RestoreTestArgs(**{**RESTORE, "validation_hours": 0}), r"RestoreTestArgs\.validation_hours"),
    ],
)
def test_a_bad_argument_is_named(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()
