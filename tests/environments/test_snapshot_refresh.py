"""Production and staging on this machine: sets are taken, completed, drilled, pruned; staging is refreshed."""

from __future__ import annotations

import re
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import psycopg
import pymysql
import pytest

from contract.outputs import load_outputs
from scripts import stacks
from scripts.clients import mysql, postgres
from scripts.clients.rds import Rds
from scripts.clients.secrets import Account
from scripts.console import Console
from scripts.context import Context
from scripts.environments import evidence, refresh, snapshot_take
from scripts.environments.refresh_check import Request
from scripts.environments.snapshot_set import POSITION, SCRATCH, VERIFIED
from scripts.environments.snapshot_store import Store
from scripts.errors import UsageError, ZdmError
from tests.environments.twins import Twins, twins, zdm

pytestmark = pytest.mark.real
QUIET = Console(quiet=True)
__all__ = ["twins"]


class Killed(BaseException):
    """As if the process had been killed there."""


def counts(context: Context) -> tuple[int, int]:
    """Orders in both databases, as the shop sees them."""
    with closing(context.mysql("app")) as my, my.cursor() as cursor, context.postgres("app") as pg:
        cursor.execute("SELECT COUNT(*) FROM orders")
        [row] = cursor.fetchall()
        return int(row[0]), int(pg.execute("SELECT count(*) FROM orders").fetchone()[0])  # type: ignore[index]


def test_sets_are_taken_completed_drilled_and_pruned(twins: Twins, capsys: pytest.CaptureFixture[str]) -> None:
    code, planned = zdm(capsys, "snapshot", "prod", "--label", "g1", "--dry-run")
    assert code == 0 and len(planned["actions"]) == 2 and zdm(capsys, "snapshot", "list", "prod")[1]["sets"] == []
    code, taken = zdm(capsys, "snapshot", "take", "prod", "--label", "g1", "--reason", "before a deployment")
    assert code == 0 and taken["complete"] and [one["role"] for one in taken["parts"]] == ["aurora", "mysql"]
    assert all(one["position"] for one in taken["parts"])

    # one that broke off is shown, not drilled, and completed under its label
    store = Store(twins.prod)
    store.delete(next(part for part in store.named("g1").parts if part.role == "mysql"))
    assert zdm(capsys, "snapshot", "show", "prod", "g1")[0] == 1
    with pytest.raises(UsageError, match="--label g1"):
        zdm(capsys, "snapshot", "verify", "prod", "g1")
    code, again = zdm(capsys, "snapshot", "take", "prod", "--label", "g1")
    assert code == 0 and len(again["actions"]) == 1 and again["set"] == taken["set"]
    assert zdm(capsys, "snapshot", "take", "prod", "--label", "g1")[1]["actions"] == []

    # the drill, while the shop goes on; what a killed drill left goes first
    rds = store.rds
    part = store.named("g1").part("aurora")
    assert part is not None
    left = {"DBClusterIdentifier": "left-over", "Engine": "aurora-postgresql", "SnapshotIdentifier": part.arn}
    rds.must("restore_db_cluster_from_snapshot", "left", **left, Tags=[{"Key": SCRATCH, "Value": "prod"}])
    deadline = time.monotonic() + 60
    while (there := rds.cluster("left-over")) is None or there.status != "available":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    with closing(twins.prod.mysql()) as my, my.cursor() as cursor:
        cursor.execute("DELETE FROM carts WHERE id <= 3")
    code, drill = zdm(capsys, "snapshot", "verify", "prod", "--record")
    assert code == 0 and drill["sound"] and drill["rtoHolds"] and drill["rpoSeconds"] == 0.0, drill
    assert 0 < drill["rtoSeconds"] <= drill["rtoCountedSeconds"]
    read = {one["role"]: one["read"]["tables"] for one in drill["engines"]}
    assert read["mysql"]["orders"]["rows"] == read["aurora"]["orders"]["rows"] == counts(twins.prod)[0] > 0
    assert not [one.name for one in (*rds.clusters(), *rds.instances()) if one.tags.get(SCRATCH)]
    assert store.named("g1").verified
    kept = evidence.newest(twins.prod, evidence.VERIFIED)
    assert kept is not None and kept.ok and kept.body["figures"]["rtoSeconds"] == drill["rtoSeconds"]

    # a moment instead of a set
    code, drill = zdm(capsys, "snapshot", "verify", "prod", "--latest", "--no-live")
    assert code == 0 and drill["sound"] and drill["engines"][1]["rpoSeconds"] >= 0, drill

    # a copy that lacks what was committed fails, loudly
    zdm(capsys, "snapshot", "take", "prod", "--label", "g2")
    lacking = store.named("g2").part("aurora")
    assert lacking is not None
    rds.tag(lacking.arn, {POSITION: "xid=900000 at=2026-01-01T00:00:00+00:00"})
    code, drill = zdm(capsys, "snapshot", "verify", "prod", "g2", "--no-live")
    assert code == 1 and not drill["sound"] and "lacks" in drill["engines"][0]["problems"][0]
    assert not store.named("g2").verified and not [one for one in rds.clusters() if one.tags.get(SCRATCH)]

    # the last good one stays, newer as the others may be; a protected one stays
    zdm(capsys, "snapshot", "take", "prod", "--label", "g3", "--protect")
    none = ("--newest", "0", "--days", "0", "--weeks", "0")
    code, judged = zdm(capsys, "snapshot", "prune", "prod", *none, "--dry-run")
    assert [one["stays"] for one in judged["sets"]] == [True, False, True]
    zdm(capsys, "snapshot", "prune", "prod", *none)
    assert [one.label for one in store.sets()] == ["g3", "g1"]
    zdm(capsys, "snapshot", "protect", "prod", "g3", "--undo")
    zdm(capsys, "snapshot", "prune", "prod", *none)
    assert [one.label for one in store.sets()] == ["g1"]


def test_servers_and_volumes_belong_to_a_set(twins: Twins) -> None:
    ec2 = twins.prod.aws("ec2")
    [image] = ec2.describe_images(Owners=["amazon"], MaxResults=5)["Images"][:1]
    servers = [
        ec2.run_instances(ImageId=image["ImageId"], MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
        for _ in range(2)
    ]
    volumes = [ec2.create_volume(AvailabilityZone="us-east-1a", Size=size)["VolumeId"] for size in (5, 7, 9)]
    for server, volume in zip(servers, volumes, strict=False):
        ec2.attach_volume(InstanceId=server, VolumeId=volume, Device="/dev/sdf")
    out = twins.prod.outputs
    source = out.source.model_copy(update={"servers": servers[:1], "volumes": volumes[1:]})
    context = Context(out.model_copy(update={"source": source}), twins.prod.home, twins.prod.cloud)
    taken = snapshot_take.run(context, snapshot_take.Options(label="disks"), QUIET)
    assert taken.ok and taken.set is not None
    assert taken.set.roles == sorted(
        ["aurora", "mysql", f"image/{servers[0]}", *(f"disks/{one}" for one in servers), f"disk/{volumes[2]}"]
    )
    of_first = [part for part in taken.set.parts if part.role == f"disks/{servers[0]}"]
    of_second = [part for part in taken.set.parts if part.role == f"disks/{servers[1]}"]
    assert len(of_first) == 2 and [part.source for part in of_second] == [volumes[1]], "its own disk, without the root"
    assert all(part.consistency for part in taken.set.parts)
    store = Store(context)
    for part in taken.set.parts:
        store.delete(part)
    assert not [one for one in store.sets() if one.label == "disks"]


def test_refresh_finishes_wherever_it_is_killed(twins: Twins, capsys: pytest.CaptureFixture[str]) -> None:
    before, full = counts(twins.staging), counts(twins.prod)
    assert before == (0, 0) and full[0] == full[1] > 0
    with pytest.raises(UsageError, match="production"):
        zdm(capsys, "refresh", "prod", "--from", "staging")
    for label in ("proven", "unproven"):
        zdm(capsys, "snapshot", "take", "prod", "--label", label)
    store = Store(twins.prod)
    proven = store.named("proven")
    store.tag(proven, {VERIFIED: datetime.now(UTC).isoformat()}, proven.databases)
    with pytest.raises(UsageError, match="never verified"):
        zdm(capsys, "refresh", "staging", "--from", "prod", "--snapshot", "unproven")
    code, planned = zdm(capsys, "refresh", "staging", "--from", "prod", "--dry-run")
    assert code == 0 and len(planned["actions"]) == 17 and planned["origin"] == proven.id

    killed: list[str] = []
    request, target, origin = Request(), twins.staging, twins.prod

    def adopt(ids: Any) -> object:
        return stacks.adopt_databases("staging", ids, local=True, console=QUIET)

    def kill(label: str) -> None:
        """Once after each request, between the phases of the two engines, and between record and traces."""
        step = label.startswith("mysql ") or label == "record" or re.search("becomes|asked for|being deleted$", label)
        if step and label not in killed:
            killed.append(label)
            raise Killed(label)

    result = None
    while result is None:
        try:
            result = refresh.run(target, origin, request, QUIET, adopt, kill)
        except Killed:
            if "becomes" not in killed[-1]:  # between two names nobody is there, until it is run again
                _whole(twins, before, full, killed[-1])
        assert len(killed) < 60, killed
    assert {"record", "mysql CLOSED", "mysql MASKED", "mysql SWAPPED", "mysql OPENED"} <= set(killed)
    assert sum("becomes" in place for place in killed) >= 2 + 2 + 4, killed

    # new, masked, under the same names; what was production's does not open it; and nothing is left
    staging = twins.staging
    assert counts(staging) == full and staging.outputs.target.host == target.outputs.target.host
    with closing(staging.mysql()) as my, my.cursor() as cursor, staging.postgres() as pg:
        cursor.execute("SELECT email FROM customers ORDER BY id LIMIT 5")
        mine = [row[0] for row in cursor.fetchall()]
        theirs = [row[0] for row in pg.execute("SELECT email FROM customers ORDER BY id LIMIT 5").fetchall()]
        assert mine == theirs and all(email.endswith("@masked.example") for email in mine)
        assert pg.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,)
        assert pg.execute("SELECT count(*) FROM pg_publication").fetchone() == (0,)
        flags = (pg.execute("SELECT epoch, mode FROM zdm.fence").fetchone(),)
        assert flags == ((2, "mysql"),)
    stolen = Account("reporting", "known-in-production-1")
    out = staging.outputs
    with pytest.raises(ZdmError):
        mysql.connect(out.source.host, out.source.port, stolen)
    with pytest.raises(ZdmError):
        postgres.connect(out.target.host, out.target.port, stolen, out.database)
    for secret in (twins.prod.outputs.source.app_secret, twins.prod.outputs.source.admin_secret):
        with pytest.raises(ZdmError):
            mysql.connect(out.source.host, out.source.port, twins.prod.account(secret))
    rds = Rds(staging.aws("rds"))
    names = sorted(one.name for one in (*rds.clusters(), *rds.instances()))
    assert len(names) == 4 and not [name for name in names if "-new-" in name or "-old-" in name], names
    assert sorted(one.name for one in rds.endpoints(out.target.cluster)) == [
        f"{out.target.cluster}-{role}" for role in ("reports", "shop")
    ]
    assert not [one for one in (*rds.clusters(), *rds.instances()) if any(key.startswith("zdm:") for key in one.tags)]

    # and the program finds its stack as it says
    outcome = stacks.engine.workspace("staging", True, create=False).preview(refresh=True, with_policies=False)
    assert set(outcome.counts) == {"same"}, outcome.changes
    assert load_outputs(stacks.outputs("staging", local=True), "staging") == out

    # as the workflow says it, the next week: from the first step again, and kept as evidence
    code, again = zdm(capsys, "refresh", "staging", "--from", "prod", "--record")
    kept = evidence.newest(twins.staging, evidence.REFRESH)
    assert code == 0 and kept is not None and kept.ok and kept.authentic, again
    assert counts(twins.staging) == full and {"mysql: mask", "aurora: mask"} <= set(again["actions"])


def _whole(twins: Twins, before: tuple[int, int], full: tuple[int, int], place: str) -> None:
    """Each engine is wholly old or wholly new, under its name: a server that was renamed is about to start."""
    deadline = time.monotonic() + 60
    while True:
        try:
            seen = counts(twins.staging)
            break
        except (ZdmError, psycopg.Error, pymysql.err.MySQLError) as e:
            assert time.monotonic() < deadline, f"killed at {place}: {e}"
            time.sleep(0.2)
    assert all(there in (old, new) for there, old, new in zip(seen, before, full, strict=True)), (place, seen)
