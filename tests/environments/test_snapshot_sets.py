"""Sets from tags, what is pruned, what disks become, and requests of restores: all without a cloud."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from contract.flag import Flag, Side, Writes
from scripts.clients.ec2 import Disk
from scripts.clients.rds import Cluster, Instance, Member
from scripts.environments import snapshot_set as tags
from scripts.environments.positions import Counters, counters_of
from scripts.environments.refresh_data import compared, flag_for
from scripts.environments.refresh_phases import Phase, Seen, can_discard, next_one, plan
from scripts.environments.restore import (
    AtTime,
    FromSnapshot,
    Master,
    cluster_changes,
    cluster_request,
    instance_changes,
    instance_request,
    member_request,
)
from scripts.environments.snapshot_prune import Policy, last_good, verdicts
from scripts.environments.snapshot_set import Part, SnapshotSet, fitting, set_id, sets_of
from scripts.environments.snapshot_take import disks_of
from scripts.environments.soundness import differences
from scripts.errors import UsageError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def part(set: str, role: str, at: datetime, expected: int = 2, status: str = "available", **more: str) -> Part:
    own = {tags.SET: set, tags.STACK: "prod", tags.PART: role, tags.PARTS: str(expected), tags.AT: at.isoformat()}
    return Part(
        kind="cluster" if role == "aurora" else "instance",
        role=role,
        name=f"zdm-{set}-{role}",
        arn=f"arn:aws:rds:us-east-1:123456789012:snapshot:{set}-{role}",
        source="x",
        status=status,
        available=status == "available",
        percent=100,
        size_gib=10,
        created=at,
        key="",
        encrypted=True,
        tags={**own, **more},
    )


def made(id: str, at: datetime, roles: tuple[str, ...] = ("aurora", "mysql"), **more: str) -> SnapshotSet:
    return SnapshotSet(id, tuple(part(id, role, at, **more) for role in roles))


def test_sets_are_what_the_tags_say() -> None:
    a, b = NOW - timedelta(hours=2), NOW - timedelta(hours=1)
    copy = part("old", "aurora", a, **{tags.COPY_OF: "us-east-1/x"})
    whole = [part("old", "aurora", a), part("old", "mysql", a + timedelta(seconds=3), **{tags.VERIFIED: b.isoformat()})]
    newest, oldest = sets_of([*whole, copy, part("new", "aurora", b), replace(copy, tags={})])
    assert (newest.id, oldest.id) == ("new", "old")
    assert oldest.complete and oldest.at == a and oldest.spread_seconds == 3 and len(oldest.parts) == 2
    assert oldest.verified is None, "one of its databases was never proven"
    assert not newest.complete and newest.ready_roles == ["aurora"]
    failed = SnapshotSet("x", (part("x", "aurora", a), part("x", "mysql", a, status="failed")))
    assert not failed.complete and not failed.under_way


def test_names_and_tags_are_fit_for_aws() -> None:
    assert set_id("prod", NOW, "1a2b3c+") == "prod-20260301t120000z-1a2b3c-dirty"
    assert set_id("My_Stack--", NOW, "unknown") == "my-stack-20260301t120000z-unknown"
    assert fitting("--reason", "before g1: a/b") == "before g1: a/b"
    with pytest.raises(UsageError, match=r"--reason .*not ;"):
        fitting("--reason", "drop; it")
    with pytest.raises(UsageError, match="63"):
        tags.name_of("zdm", set_id("a-very-long-name-of-a-stack-that-somebody-chose", NOW, "abc"), "aurora")


HOURS = st.integers(0, 24 * 60)
ONE = st.tuples(HOURS, st.booleans(), st.booleans(), st.booleans())


@given(st.lists(ONE, max_size=14), st.integers(0, 3), st.integers(0, 4), st.integers(0, 3))
def test_pruning_never_takes_the_last_good_set(found: Any, newest: int, days: int, weeks: int) -> None:
    sets = []
    for i, (hours, verified, protected, complete) in enumerate(found):
        more = {tags.VERIFIED: NOW.isoformat()} if verified else {}
        more |= {tags.PROTECTED: "true"} if protected else {}
        roles = ("aurora", "mysql") if complete else ("aurora",)
        sets.append(made(f"s{i}", NOW - timedelta(hours=hours), roles, **more))
    judged = verdicts(sets, Policy(newest, days, weeks), NOW, in_use={"s0"})
    stays = {one.set.id for one in judged if one.stays}
    good = last_good(sets)
    assert good is None or good.id in stays
    assert {one.id for one in sets if one.protected} <= stays and ({"s0"} & {one.id for one in sets}) <= stays
    assert good is None or good.verified or not any(one.complete and one.verified for one in sets)
    complete = sorted((one for one in sets if one.complete), key=lambda one: one.at, reverse=True)
    assert {one.id for one in complete[:newest]} <= stays
    free = [one for one in complete if one.id in stays and not one.protected and one.id not in ("s0", good and good.id)]
    assert len(free) <= newest + days + weeks, "the policy lets no more stay than it says"
    assert len(judged) == len(sets) and all(one.why for one in judged)


def test_pruning_keeps_one_a_day_and_one_a_week() -> None:
    sets = [made(f"d{i}", NOW - timedelta(hours=6 * i)) for i in range(40)]
    stays = [one.set.id for one in verdicts(sets, Policy(1, 2, 2), NOW) if one.stays]
    assert stays == ["d0", "d3", "d27"] or stays[:2] == ["d0", "d3"]
    young, old = made("young", NOW - timedelta(hours=2), ("aurora",)), made("old", NOW - timedelta(days=3), ("aurora",))
    told = {one.set.id: (one.stays, one.why) for one in verdicts([young, old], Policy(), NOW)}
    assert told["young"][0] and "take" in told["young"][1] and not told["old"][0]


def test_disks_are_snapshotted_by_server() -> None:
    disks = [
        Disk("vol-1", 10, "i-1", "/dev/xvda"),
        Disk("vol-2", 100, "i-1", "/dev/sdf"),
        Disk("vol-3", 8, "i-2", "/dev/xvda"),
        Disk("vol-4", 500, "i-2", "/dev/sdf"),
        Disk("vol-5", 500, "i-2", "/dev/sdg"),
    ]
    loose = Disk("vol-9", 1, "", "")
    roots = {"i-1": "/dev/xvda", "i-2": "/dev/xvda"}
    wanted = disks_of(["i-1"], ["vol-4", "vol-9"], [*disks, loose], disks, roots)
    assert [(one.role, one.exclude, one.root) for one in wanted] == [
        ("disks/i-1", (), True),
        ("disks/i-2", ("vol-5",), False),
        ("disk/vol-9", (), True),
    ]


def test_counts_may_move_as_far_as_the_counters_say() -> None:
    assert differences({"a": 10, "b": 5}, {"a": 12, "b": 4}, 3) == []
    [told] = differences({"a": 10, "b": 5}, {"a": 12, "b": 4}, 2)
    assert "3" in told and "a -2" in told
    assert differences({"a": 1}, {"a": 1, "b": 0}, 5) == ["b is missing, the live database has it"]
    before = Counters(10, 4, NOW)
    assert counters_of({tags.COUNTERS: before.to_tag()}) == before and counters_of({}) is None
    assert Counters(12, 5, NOW).since(before) == 3
    assert Counters(12, 5, NOW + timedelta(minutes=1)).since(before) is None, "started anew"
    assert compared({"a": 1, "b": 2}, {"a": 1, "b": 3}) == ["b: 2 before masking, 3 after it"]


RAW = {
    "Engine": "aurora-postgresql",
    "Port": 5432,
    "KmsKeyId": "key",
    "DBSubnetGroup": "group",
    "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-1", "Status": "active"}],
    "DBClusterParameterGroup": "parameters",
    "ServerlessV2ScalingConfiguration": {"MinCapacity": 0.5, "MaxCapacity": 4.0, "Unknown": 1},
    "EnabledCloudwatchLogsExports": ["postgresql"],
    "BackupRetentionPeriod": 7,
    "PreferredBackupWindow": "02:00-03:00",
    "PerformanceInsightsEnabled": True,
}
OWN = {
    "Engine": "mysql",
    "DBInstanceClass": "db.t4g.medium",
    "DBSubnetGroup": {"DBSubnetGroupName": "group"},
    "DBParameterGroups": [{"DBParameterGroupName": "parameters"}],
    "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-1", "Status": "active"}],
    "MultiAZ": False,
    "MaxAllocatedStorage": 100,
    "MonitoringInterval": 0,
}


def test_restores_ask_for_what_the_running_server_has() -> None:
    """Each request is one that AWS' own description of RDS takes."""
    cluster = Cluster("x", "arn", "r", "available", "h", "r", 5432, "m", "", (Member("x-writer", True),), {}, RAW)
    instance = Instance("y", "arn", "r", "available", "h", 3306, "m", "", {}, OWN)
    model = boto3.client("rds", region_name="us-east-1").meta.service_model
    own = {"a": "b"}
    asked = [
        cluster_request(cluster, "n", FromSnapshot("snap"), own),
        cluster_request(cluster, "n", AtTime("x", NOW), own),
        cluster_request(cluster, "n", AtTime("x", None), own),
        instance_request(instance, "n", FromSnapshot("snap"), own),
        instance_request(instance, "n", AtTime("y", NOW), own),
        ("create_db_instance", member_request(instance, "n", "n-writer", own)),
        ("modify_db_cluster", {"DBClusterIdentifier": "n", **cluster_changes(cluster, Master(key="k"))}),
        ("modify_db_instance", {"DBInstanceIdentifier": "n", **instance_changes(instance, Master("password"))}),
    ]
    names = {name.lower(): name for name in model.operation_names}
    for operation, arguments in asked:
        shape = model.operation_model(names[operation.replace("_", "")]).input_shape
        report = ParamValidator().validate(arguments, shape)
        assert not report.has_errors(), report.generate_report()
    operation, arguments = asked[0]
    assert arguments["VpcSecurityGroupIds"] == ["sg-1"] and arguments["DBSubnetGroupName"] == "group"
    assert arguments["KmsKeyId"] == "key" and arguments["DeletionProtection"] is False
    assert asked[3][1]["DBSubnetGroupName"] == "group" and asked[3][1]["DBParameterGroupName"] == "parameters"


def test_no_engine_takes_its_place_before_all_are_ready() -> None:
    def at(mysql: Phase, aurora: Phase) -> list[Seen]:
        return [Seen("mysql", "m", mysql, "1"), Seen("aurora", "a", aurora, "1")]

    phases = list(Phase)
    for mysql in phases:
        for aurora in phases:
            one = next_one(at(mysql, aurora))
            if one is None or one.phase not in (Phase.READY, Phase.SWAPPING):
                continue
            other = aurora if one.role == "mysql" else mysql
            if other in (Phase.NOTHING, *range(Phase.READY, Phase.DONE + 1)):
                continue  # ready, or further, or done without a trace
            assert one.phase is Phase.SWAPPING, "what has begun is finished; nothing begins before both are ready"
    between = next_one(at(Phase.SWAPPING, Phase.READY))
    assert between is not None and between.role == "mysql", "two engines are never without a name at once"
    assert next_one(at(Phase.NOTHING, Phase.DROPPED)).role == "aurora"  # type: ignore[union-attr]
    assert can_discard(at(Phase.READY, Phase.READY)) and not can_discard(at(Phase.READY, Phase.SWAPPING))
    lines = plan(at(Phase.NOTHING, Phase.NOTHING), "a set", keep_old=False)
    assert len(lines) == 2 * 8 + 1 and "a set" in lines[0] and "delete a-old-1" in lines[-2]
    later = plan(at(Phase.SWAPPED, Phase.SWAPPING), "a set", keep_old=True)
    assert later[0].startswith("aurora: swap") and "keep m-old-1" in later[3]


def test_a_refreshed_staging_has_the_newest_flag() -> None:
    before = Flag(v=7, epoch=4, weight=25.0, writes=Writes.HOLD, mode=Side.MYSQL)
    after = flag_for(before, Side.AURORA)
    assert after.newer_than(before) and after.writes is Writes.OPEN and (after.mode, after.weight) == (Side.AURORA, 100)
    assert flag_for(before, Side.MYSQL).weight == 0
