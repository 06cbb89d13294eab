"""Who may use which key."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from components.base import ArgumentError
from components.encryption import EncryptionArgs, data_key_policy, logs_key_policy, secrets_key_policy
from tests.policy_lint import assert_sound

ARGS = EncryptionArgs(prefix="zdm-dev", account_id="123456789012", partition="aws", region="ap-southeast-1")


def statements(document: str) -> dict[str, dict[str, Any]]:
    return {s["Sid"]: s for s in json.loads(document)["Statement"]}


def test_without_need_only_the_account_decides() -> None:
    assert set(statements(data_key_policy(ARGS))) == set(statements(secrets_key_policy(ARGS))) == {"AccountDecides"}


def test_documents_are_sound() -> None:
    shared = replace(ARGS, snapshot_accounts=["210987654321"])
    for document in (data_key_policy(ARGS), data_key_policy(shared), secrets_key_policy(ARGS), logs_key_policy(ARGS)):
        assert_sound(document)


def test_the_logs_key_serves_this_regions_logs_and_this_accounts_trails_only() -> None:
    allowed = statements(logs_key_policy(ARGS))
    groups = allowed["Logs"]["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]
    assert groups == "arn:aws:logs:ap-southeast-1:123456789012:log-group:*"
    assert allowed["Trails"]["Condition"]["ArnLike"] == {"aws:SourceArn": "arn:aws:cloudtrail:*:123456789012:trail/*"}


def test_an_account_that_restores_snapshots_does_so_through_those_services_only() -> None:
    allowed = statements(data_key_policy(replace(ARGS, snapshot_accounts=["210987654321"])))
    for sid in ("RestoreSnapshots", "GrantToRestorers"):
        assert allowed[sid]["Principal"] == {"AWS": ["arn:aws:iam::210987654321:root"]}
        via = allowed[sid]["Condition"]["StringEquals"]["kms:ViaService"]
        assert via == [f"{service}.ap-southeast-1.amazonaws.com" for service in ("backup", "ec2", "rds")]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"deletion_days": 6}, "deletion_days"),
        ({"rotation_days": 3000}, "rotation_days"),
        ({"snapshot_accounts": ["12"]}, "snapshot_accounts"),
    ],
)
def test_a_bad_argument_is_named(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ArgumentError, match=rf"EncryptionArgs\.{named}"):
        replace(ARGS, **change)
