"""Snapshots: their names, and what the role may do that makes them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.base import ArgumentError
from components.snapshots import LABEL, SnapshotsArgs, snapshot_name, snapshot_policy, trust_account
from tests.policy_lint import assert_sound


def args(**more: Any) -> SnapshotsArgs:
    known: dict[str, Any] = {
        "prefix": "zdm-prod",
        "account_id": "123456789012",
        "partition": "aws",
        "region": "ap-southeast-1",
        "clusters": {"aurora": "shop"},
    }
    return SnapshotsArgs(**{**known, **more})


@given(st.from_regex(LABEL, fullmatch=True) | st.text("abz09-", max_size=80))
def test_an_accepted_label_makes_a_name_that_rds_takes(label: str) -> None:
    try:
        args(label=label)
    except ArgumentError:
        return
    if label:
        name = snapshot_name("zdm-prod", "aurora", label)
        assert re.fullmatch(r"[a-z][a-z0-9-]{0,62}", name) and "--" not in name and not name.endswith("-")


def test_the_role_makes_snapshots_of_these_and_deletes_none() -> None:
    some = args(servers=["i-0123456789abcdef0"], volumes=["vol-0123456789abcdef0"])
    document = snapshot_policy(some, ["shop"], ["legacy"])
    assert_sound(document)
    actions = {action for s in json.loads(document)["Statement"] for action in s["Action"]}
    assert not [action for action in actions if "Delete" in action or "Modify" in action or "*" in action]
    allowed = {s["Sid"]: s for s in json.loads(document)["Statement"]}
    rds = "arn:aws:rds:ap-southeast-1:123456789012"
    assert allowed["Clusters"]["Resource"] == [f"{rds}:cluster:shop", f"{rds}:cluster-snapshot:zdm-prod-*"]
    assert_sound(trust_account("123456789012", "aws"))


def test_without_servers_the_role_has_nothing_to_do_with_ec2() -> None:
    document = snapshot_policy(args(), ["shop"], [])
    assert_sound(document)
    assert not {"Instances", "Images", "Volumes", "TagMade"} & {s["Sid"] for s in json.loads(document)["Statement"]}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"label": "Release 1"}, r"SnapshotsArgs\.label: lower-case"),
        ({"label": "a--b"}, r"SnapshotsArgs\.label"),
        ({"label": "g" + "0" * 50}, r"SnapshotsArgs\.label.*at most 63"),
        ({"instances": {"aurora": "x"}}, r"SnapshotsArgs\.clusters: no role twice.*aurora"),
        ({"servers": ["mysql"]}, r"SnapshotsArgs\.servers"),
        ({"volumes": ["i-0123456789abcdef0"]}, r"SnapshotsArgs\.volumes"),
    ],
)
def test_a_bad_argument_is_named(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        args(**more)
