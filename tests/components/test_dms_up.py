"""DmsReplication under the real engine: all options on an instance, and serverless."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws
import pytest

from components.dms import DmsReplication
from components.dms_account import DmsAccount, DmsAccountArgs
from components.dms_args import DmsArgs, Instance, Serverless
from components.dms_choices import BatchApply, Changes, Errors, FullLoad, InlineLobs, LimitedLobs, Logging
from components.dms_endpoints import DmsSource, DmsTarget, WayBack
from components.dms_mappings import Partitions, Ranges
from components.network import security_group
from tests.cloud import Cloud, Program, changes, client
from tests.components.dms_cases import ACCOUNT, access, arguments, authority, place

pytestmark = pytest.mark.real


def program(folder: Path, **more: Any) -> Program:
    """A network, the account's roles and the replication."""

    def declare() -> None:
        own = pulumi.ResourceOptions()
        vpc = aws.ec2.Vpc("net", cidr_block="10.0.0.0/16")
        subnets = [aws.ec2.Subnet(f"s{i}", vpc_id=vpc.id, cidr_block=f"10.0.{i}.0/24") for i in range(2)]
        group = security_group("databases", vpc.id, "databases", own)
        tls = authority(folder)
        roles = DmsAccount("dms-account", DmsAccountArgs(ACCOUNT, "aws"))
        there = place(vpc_id=vpc.id, subnet_ids=[s.id for s in subnets], log_days=7, ready=[roles])
        args: DmsArgs = replace(
            arguments(folder),
            place=there,
            source=DmsSource(access("dms-source", 3306, group.id), tls, time_zone="Asia/Ho_Chi_Minh"),
            target=DmsTarget(access("dms-target", 5432, group.id), tls),
            **more,
        )
        made = DmsReplication("dms", args)
        for output in ("replication_arn", "validation_arn", "way_back_arn", "instance_arn", "slot"):
            pulumi.export(output, getattr(made, output))

    return declare



def tasks() -> dict[str, dict[str, Any]]:
    found = client("dms").describe_replication_tasks()["ReplicationTasks"]
    return {task["ReplicationTaskIdentifier"]: task for task in found}


ALL: dict[str, Any] = {
    "capacity": Instance("dms.t3.medium", 50, multi_az=False),
    "running": True,
    "validation": "running",
    "way_back": WayBack(access("dms-back-source", 5432), access("dms-back-target", 3306)),
    "parallel": {"orders": Ranges(["id"], [["1000"]]), "events": Partitions()},
    "lobs": LimitedLobs(20),
    "load": FullLoad("TRUNCATE_BEFORE_LOAD", at_once=16),
    "changes": Changes(batch=BatchApply()),
    "errors": Errors("SUSPEND_TABLE"),
    "logging": Logging("INFO", {"VALIDATOR": "DEBUG"}),
    "relaxed": ["orders.doc"],
    "lag_seconds": 20,
}


def test_all_options_on_an_instance(cloud: Cloud, tmp_path: Path) -> None:
    first = cloud.use(program(tmp_path, **ALL)).up()
    made = changes(first)["create"]
    assert first.outputs["slot"].value == "zdm_dev_dms_back"
    assert first.outputs["replication_arn"].value.endswith(":task:zdm-dev-dms-forward")
    there = tasks()
    assert {name: task["Status"] for name, task in there.items()} == {
        "zdm-dev-dms-forward": "running",
        "zdm-dev-dms-compare": "running",
        "zdm-dev-dms-back": "creating",  # never started
    }
    settings = json.loads(there["zdm-dev-dms-forward"]["ReplicationTaskSettings"])
    assert settings["TargetMetadata"]["LobMaxSize"] == 60
    instance = client("dms").describe_replication_instances()["ReplicationInstances"][0]
    assert (instance["PubliclyAccessible"], instance["AutoMinorVersionUpgrade"]) == (False, False)
    ends = {e["EndpointIdentifier"]: e for e in client("dms").describe_endpoints()["Endpoints"]}
    assert {e["SslMode"] for e in ends.values()} == {"verify-full"}
    assert (
        ends["zdm-dev-dms-target"]["PostgreSQLSettings"]["AfterConnectScript"]
        == "SET session_replication_role='replica'"
    )
    assert "DatabaseName" not in ends["zdm-dev-dms-source"]
    alarms = {a["AlarmName"]: a for a in client("cloudwatch").describe_alarms()["MetricAlarms"]}
    late = alarms["zdm-dev-dms-forward-latency-target"]
    assert (late["Threshold"], late["TreatMissingData"]) == (20, "breaching")
    assert {d["Name"]: d["Value"] for d in late["Dimensions"]} == {
        "ReplicationInstanceIdentifier": "zdm-dev-dms",
        "ReplicationTaskIdentifier": "zdm-dev-dms-forward",
    }

    assert changes(cloud.use(program(tmp_path, **ALL)).up(refresh=True)) == {"same": made}

    # Stopping takes the task and its alarms along in place; a larger instance is no new one.
    calm = {**ALL, "running": False, "validation": "stopped", "capacity": Instance("dms.r6i.large", 80, multi_az=False)}
    assert changes(cloud.use(program(tmp_path, **calm)).up()) == {"same": made - 6, "update": 6}
    assert {task["Status"] for task in tasks().values()} == {"stopped", "creating"}

    local = cloud.local()
    assert changes(cloud.use(program(tmp_path, **calm)).destroy()) == {"delete": made}
    assert local.records.all() == []


def test_serverless(cloud: Cloud, tmp_path: Path) -> None:
    small = {"capacity": Serverless(4, 2), "lobs": InlineLobs(64), "validation": "stopped"}
    first = cloud.use(program(tmp_path, **small)).up()
    arn = first.outputs["replication_arn"].value
    assert arn.endswith(":replication-config:zdm-dev-dms-forward")
    assert "instance_arn" not in first.outputs
    groups = {g["logGroupName"]: g["retentionInDays"] for g in client("logs").describe_log_groups()["logGroups"]}
    assert groups == {
        "dms-serverless-replication-zdm-dev-dms-forward": 7,
        "dms-serverless-replication-zdm-dev-dms-compare": 7,
    }
    large = {**small, "capacity": Serverless(16, 2), "validation": "inline"}
    second = cloud.use(program(tmp_path, **large)).up()
    assert second.outputs["replication_arn"].value == arn
    assert changes(second)["update"] == 1
    assert changes(cloud.use(program(tmp_path, **large)).up()) == {
        "same": changes(second)["same"] + 1 + changes(second)["create"]
    }
    cloud.use(program(tmp_path, **large)).destroy()
