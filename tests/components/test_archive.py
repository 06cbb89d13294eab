"""The archive's documents: how objects age, who writes logs, what an export may do; and private buckets."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from components.archive import ArchiveArgs, Lock, archive_rules, export_policy, log_statements
from components.base import ArgumentError
from components.bucket import expiry
from components.policies import assume_role, private_bucket, statement
from local.provider.control_plane.storage import lifecycle_rules
from tests.policy_lint import assert_sound

ACCOUNT = "123456789012"
BUCKET = "arn:aws:s3:::archive"
KEY = f"arn:aws:kms:ap-southeast-1:{ACCOUNT}:key/0a1b2c3d-0000-1111-2222-333344445555"
SHAPE = boto3.client("s3", region_name="us-east-1").meta.service_model


def args(**more: Any) -> ArchiveArgs:
    return ArchiveArgs(**{"account_id": ACCOUNT, "data_key_arn": KEY, **more})


def camel(value: Any) -> Any:
    """A rule as the provider gets it."""
    if isinstance(value, dict):
        return {k.split("_")[0] + "".join(w.title() for w in k.split("_")[1:]): camel(v) for k, v in value.items()}
    return [camel(v) for v in value] if isinstance(value, list) else value


def assert_s3_takes(rules: list[dict[str, Any]]) -> None:
    document = lifecycle_rules({"rules": camel(rules)})
    shape = SHAPE.operation_model("PutBucketLifecycleConfiguration").input_shape
    report = ParamValidator().validate({"Bucket": "b", "LifecycleConfiguration": document}, shape)
    assert not report.has_errors(), report.generate_report()
    storage = SHAPE.shape_for("TransitionStorageClass").enum
    for rule in document["Rules"]:
        days = [t["Days"] for t in rule.get("Transitions", ())]
        assert days == sorted(days) and {t["StorageClass"] for t in rule.get("Transitions", ())} <= set(storage)


@given(st.integers(0, 400), st.integers(0, 1000), st.integers(0, 4000), st.integers(1, 5000))
def test_what_is_accepted_ages_as_glacier_bills(cold: int, deep: int, last: int, locked: int) -> None:
    wanted = {"cold_days": cold, "deep_days": deep, "expire_days": last, "lock": Lock("governance", locked)}
    good = deep >= cold + 90 and (last == 0 or (last >= deep + 180 and last >= locked))
    if not good:
        with pytest.raises(ArgumentError, match=r"ArchiveArgs\.(deep|expire)_days"):
            args(**wanted)
        return
    rules = archive_rules(args(**wanted))
    assert_s3_takes(rules)
    assert rules[0].get("expiration") == ({"days": last} if last else None)


def test_logs_expire_with_what_is_left_over() -> None:
    rules = expiry(365)
    assert_s3_takes(rules)
    assert rules[0]["expiration"] == {"days": 365} and "transitions" not in rules[0]


def test_export_reaches_its_bucket_and_key_only() -> None:
    document = export_policy(BUCKET, KEY)
    assert_sound(document)
    allowed = {s["Sid"]: s for s in json.loads(document)["Statement"]}
    assert {r for s in allowed.values() for r in s["Resource"]} == {BUCKET, f"{BUCKET}/*", KEY}
    assert allowed["GrantKeyToExport"]["Condition"] == {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    granted = {a for s in allowed.values() for a in s["Action"]}
    assert not {a for a in granted if a.startswith("s3:") and ("*" in a or "Version" in a or "Retention" in a)}
    assert_sound(assume_role("export.rds.amazonaws.com", ACCOUNT))


def test_a_bucket_stays_private_whoever_else_may_write() -> None:
    def brokers(arn: str) -> list[dict[str, Any]]:
        return [
            statement(
                "Brokers", ["s3:PutObject"], [f"{arn}/kafka/*"], principal={"Service": "delivery.logs.amazonaws.com"}
            )
        ]

    document = private_bucket(BUCKET, *log_statements(ACCOUNT, BUCKET, brokers))
    assert_sound(document)
    statements = {s["Sid"]: s for s in json.loads(document)["Statement"]}
    assert list(statements) == ["TlsOnly", "Tls12", "AccessLogs", "Brokers"]
    assert statements["AccessLogs"]["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    assert statements["AccessLogs"]["Resource"] == [f"{BUCKET}/s3/*"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Lock("legal", 1), r"Lock\.mode"),  # type: ignore[arg-type]
        (lambda: Lock("governance", 0), r"Lock\.days"),
        (lambda: args(lock=Lock("compliance", 30), keep=False), r"ArchiveArgs\.keep.*keep it, or lock it in"),
        (lambda: args(cold_days=-1), r"ArchiveArgs\.cold_days"),
        (lambda: args(log_days=0), r"ArchiveArgs\.log_days"),
    ],
)
def test_a_bad_argument_is_named(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


def test_governance_lets_a_stack_be_emptied() -> None:
    assert args(lock=Lock("governance", 30), keep=False).lock == Lock("governance", 30)
