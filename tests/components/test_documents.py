"""The documents that components write: policies, brokers' and workers' properties, containers, names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from components.aurora_options import Provisioned, Serverless
from components.base import ArgumentError
from components.databases import Backups, Protection
from components.network import Endpoint, NetworkArgs, plan_subnets
from components.parameter_groups import ParameterGroupsArgs, apply_method, aurora_family, mysql_family
from components.policies import assume_role, private_bucket


def statements(document: str) -> dict[str, dict[str, Any]]:
    return {s["Sid"]: s for s in json.loads(document)["Statement"]}


def test_subnets_do_not_move_when_a_zone_is_added() -> None:
    two = {s.name: s.cidr for s in plan_subnets("10.40.0.0/16", ["a", "b"])}
    three = {s.name: s.cidr for s in plan_subnets("10.40.0.0/16", ["a", "b", "c"])}
    assert two.items() <= three.items()
    assert len(set(three.values())) == 9
    assert two["public-1"] == "10.40.0.0/20"


def test_network_wants_two_to_four_different_zones() -> None:
    for zones in (["a"], ["a", "a"], list("abcde")):
        with pytest.raises(ArgumentError, match=r"NetworkArgs\.zones"):
            NetworkArgs(region="r", zones=zones)


def test_a_role_is_taken_by_one_service_for_this_account_only() -> None:
    statement = json.loads(assume_role("ecs-tasks.amazonaws.com", "123456789012"))["Statement"][0]
    assert statement["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": "123456789012"}


def test_bucket_refuses_plain_and_old_tls() -> None:
    denied = statements(private_bucket("arn:aws:s3:::b"))
    for statement in denied.values():
        assert (statement["Effect"], statement["Resource"]) == ("Deny", ["arn:aws:s3:::b", "arn:aws:s3:::b/*"])
    assert denied["TlsOnly"]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_parameter_families_and_methods() -> None:
    assert mysql_family("8.4.6") == "mysql8.4"
    assert aurora_family("15.10") == "aurora-postgresql15"
    assert apply_method("rds.logical_replication") == "pending-reboot"
    assert apply_method("work_mem") == "immediate"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: ParameterGroupsArgs(aurora_version="15", mysql={"binlog_format": "MIXED"}),
            r"ParameterGroupsArgs\.mysql: binlog_format",
        ),
        (lambda: Serverless(min_acu=4, max_acu=2), r"Serverless\.max_acu"),
        (lambda: Serverless(min_acu=0.7), r"Serverless\.min_acu"),
        (lambda: Provisioned("db.serverless"), r"Provisioned\.instance_class"),
        (lambda: Backups(window="2-3"), r"Backups\.window"),
        (lambda: Backups(days=0, maintenance="noon"), r"Backups\.days.*Backups\.maintenance"),
        (lambda: Endpoint("h", 1), r"Endpoint\.security_group_id"),
    ],
)
def test_a_bad_argument_is_named(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


def test_protection_is_on_unless_said_otherwise() -> None:
    assert Protection() == Protection(deletion_protection=True, final_snapshot=True, apply_immediately=False)
