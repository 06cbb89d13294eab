"""DmsReplication without an engine: arguments, alarms, and what each task is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator

from components.base import ArgumentError
from components.dms_account import ROLES
from components.dms_alarms import INSTANCE_EVENTS, TASK_EVENTS, Alarm, capacity, instance, latency, validation
from components.dms_args import UNITS, Instance, Serverless
from components.dms_choices import BatchApply, Changes, LimitedLobs
from components.dms_endpoints import AS_REPLICA, WITHOUT_LOG, DmsSource, Tls, WayBack, access_policy, slot_name
from components.dms_mappings import CannotCarry, Partitions, Ranges
from components.policies import assume_role
from contract.tables import Column, Table
from tests.components.dms_cases import ACCOUNT, EVENTS, ORDERS, REGION, access, arguments, authority, place
from tests.policy_lint import assert_sound

BACK = WayBack(access("dms-back-source", 5432), access("dms-back-target", 3306))


def test_nothing_runs_unless_asked(tmp_path: Path) -> None:
    args = arguments(tmp_path)
    assert (args.running, args.way_back, args.validation) == (False, None, "stopped")
    assert args.capacity == Instance()


def test_the_tasks_are_told_by_the_guide_and_the_contract(tmp_path: Path) -> None:
    args = arguments(
        tmp_path,
        tables=[EVENTS],
        way_back=BACK,
        parallel={"events": Partitions()},
        lobs=LimitedLobs(20),
        changes=Changes(batch=BatchApply()),
    )
    forward, mappings = args.forward()
    assert (forward.kind, forward.validation) == ("full-load-and-cdc", None)
    assert "partitions-auto" in mappings.document
    compare, same = args.comparison()
    assert (compare.kind, compare.changes, same.document) == ("cdc", None, mappings.document)
    assert compare.validation is not None
    assert compare.validation.only
    back, reverse = args.back()
    assert (back.kind, back.load) == ("cdc", None)
    assert back.changes == Changes()
    assert "partitions-auto" not in reverse.document
    inline = arguments(tmp_path, validation="inline").forward()[0]
    assert inline.validation is not None
    assert not inline.validation.only


def test_what_dms_cannot_carry_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    bits = Table("flags", (Column("b", "bit", "bit(4)", precision=4, table="flags"),), ())
    with pytest.raises(CannotCarry, match=r"flags\.b bit\(4\)"):
        arguments(tmp_path, tables=[ORDERS, bits])
    with pytest.raises(CannotCarry, match=r"orders\.paid tinyint\(1\): AWS DMS cannot carry it: boolean"):
        arguments(tmp_path, booleans=["orders.paid"], way_back=BACK)
    arguments(tmp_path, booleans=["orders.paid"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"tables": []}, r"DmsArgs\.tables: none"),
        ({"booleans": ["orders.payed"]}, r"DmsArgs\.tables: no such column: orders\.payed"),
        ({"validation": "running"}, r"DmsArgs\.validation: compares nothing"),
        ({"way_back": BACK, "capacity": Serverless(4)}, r"DmsArgs\.way_back: needs an Instance"),
        (
            {"changes": Changes(batch=BatchApply(max_seconds=30)), "lobs": LimitedLobs(20)},
            r"DmsArgs\.changes: a batch may",
        ),
        ({"changes": Changes(batch=BatchApply())}, r"TaskSettings\.changes: batches carry LOBs in the limited mode"),
        ({"maintenance": "noon"}, r"DmsArgs\.maintenance"),
        ({"lag_seconds": 0}, r"DmsArgs\.lag_seconds"),
        ({"parallel": {"orders": Ranges(["total"], [["1"]])}}, r"orders\.total: can be NULL"),
    ],
)
def test_a_combination_that_cannot_work_is_refused(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        arguments(tmp_path, **more)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Instance("db.r6g.large"), r"Instance\.instance_class: a class such as dms"),
        (lambda: Instance(storage_gib=4, version="3.6"), r"Instance\.storage_gib.*Instance\.version: all of it"),
        (lambda: Serverless(3), r"Serverless\.max_units"),
        (lambda: Serverless(2, min_units=4), r"Serverless\.max_units: .*at least min_units"),
        (lambda: place(prefix="Zdm--x"), r"Place\.prefix"),
        (lambda: place(prefix="a" * 20), r"Place\.prefix: at most 19"),
        (lambda: place(subnet_ids=["one"]), r"Place\.subnet_ids"),
        (lambda: Tls(Path("nowhere.pem")), r"Tls\.authority: .*truststore\.pki\.rds\.amazonaws\.com"),
    ],
)
def test_a_bad_argument_is_named(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()


def test_a_source_in_another_time_zone_and_a_file_that_is_no_certificate(tmp_path: Path) -> None:
    tls = authority(tmp_path)
    DmsSource(access("s", 3306), tls, time_zone="Asia/Ho_Chi_Minh")
    with pytest.raises(ArgumentError, match=r"DmsSource\.time_zone.*DmsSource\.poll_seconds"):
        DmsSource(access("s", 3306), tls, time_zone="+07:00", poll_seconds=0)
    (tmp_path / "key.pem").write_text("-----BEGIN PRIVATE KEY-----")
    with pytest.raises(ArgumentError, match=r"Tls\.authority"):
        Tls(tmp_path / "key.pem")


def test_names_fit_what_postgresql_and_dms_allow() -> None:
    assert slot_name("zdm-staging") == "zdm_staging_dms_back"
    longest = "a" * 19
    assert len(slot_name(longest)) < 64
    assert len(f"{longest}-dms-forward") <= 31, "longest name of a serverless replication's resource"


def test_sessions_of_targets_are_set_up_by_one_statement_each() -> None:
    for script in (AS_REPLICA, WITHOUT_LOG):
        assert ";" not in script
        assert script.startswith("SET ")


def test_dms_may_read_its_accounts_and_nothing_else() -> None:
    secret = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:zdm-dev/dms-source-AbCdEf"
    policy = access_policy([secret], f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000")
    assert_sound(policy)
    assert {s["Sid"]: s["Resource"] for s in json.loads(policy)["Statement"]}["ReadSecrets"] == [secret]
    assert_sound(assume_role(f"dms.{REGION}.amazonaws.com", ACCOUNT))


def test_the_accounts_roles_have_the_names_that_dms_looks_for() -> None:
    assert {name for name, *_ in ROLES.values()} == {
        "dms-vpc-role",
        "dms-cloudwatch-logs-role",
        "dms-access-for-endpoint",
    }


PLANS = [*latency(30, True), *latency(30, False), *validation(), *instance(100), *capacity()]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.name}-{plan.expected}")
def test_alarms_are_what_cloudwatch_takes(plan: Alarm) -> None:
    shape = (
        boto3.client("cloudwatch", region_name=REGION).meta.service_model.operation_model("PutMetricAlarm").input_shape
    )
    report = ParamValidator().validate(
        {
            "AlarmName": plan.name,
            "MetricName": plan.metric,
            "Statistic": plan.statistic,
            "Threshold": plan.threshold,
            "EvaluationPeriods": plan.minutes,
            "ComparisonOperator": "GreaterThanThreshold" if plan.above else "LessThanThreshold",
        },
        shape,
    )
    assert not report.has_errors(), report.generate_report()
    assert len(plan.text) <= 1024


def test_a_lag_above_the_kpi_for_a_minute_alarms_on_both_halves() -> None:
    plans = latency(30, True)
    assert {(p.metric, p.threshold, p.minutes, p.above) for p in plans} == {
        ("CDCLatencySource", 30, 1, True),
        ("CDCLatencyTarget", 30, 1, True),
    }
    assert all(p.expected for p in plans), "a task that should run and says nothing alarms too"
    assert not any(p.expected for p in latency(30, False))


def test_what_is_chosen_from_is_what_the_api_documents() -> None:
    model = boto3.client("dms", region_name=REGION).meta.service_model
    text = model.shape_for("ComputeConfig").members["MaxCapacityUnits"].documentation
    assert ", ".join(map(str, UNITS[:-1])) in text
    assert {"failure", "low storage"} <= set(INSTANCE_EVENTS)
    assert "failure" in TASK_EVENTS
