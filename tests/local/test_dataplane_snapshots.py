"""Snapshots are real copies: what was there at one moment, whatever was written meanwhile, and for good."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pymysql
import pytest

from local.dataplane import cloud
from local.dataplane.mysql import MySQLInstance, Server
from local.dataplane.postgres import AuroraCluster, AuroraInstance, Storage
from local.dataplane.snapshots import ClusterSnapshot, Copy, InstanceSnapshot
from local.provider.handler import HandlerError
from local.stack import LocalStack, open_stack

pytestmark = pytest.mark.real

CLUSTERS, MEMBERS, SNAPSHOTS = AuroraCluster(), AuroraInstance(), ClusterSnapshot()
INSTANCES, DUMPS = MySQLInstance(), InstanceSnapshot()
CLUSTER = {
    "engine": "aurora-postgresql",
    "clusterIdentifier": "shop",
    "masterUsername": "zdm_admin",
    "masterPassword": "first",
    "databaseName": "ecommerce",
    "skipFinalSnapshot": True,
}
INSTANCE = {
    "engine": "mysql",
    "identifier": "shop",
    "instanceClass": "db.t4g.medium",
    "username": "zdm_admin",
    "password": "first",
    "dbName": "ecommerce",
    "backupRetentionPeriod": 7,
    "skipFinalSnapshot": True,
}
TABLE = "CREATE TABLE money (id INT PRIMARY KEY, amount INT NOT NULL)"


def postgres(state: dict[str, Any], password: str) -> Any:
    return psycopg.connect(
        host=state["endpoint"], user="zdm_admin", password=password, dbname="ecommerce", sslmode="require",
        autocommit=True,
    )  # fmt: skip


def mysql(state: dict[str, Any], password: str) -> Any:
    tls = {"check_hostname": False, "verify_mode": "none"}
    return pymysql.connect(
        host=state["address"], user="zdm_admin", password=password, database="ecommerce", ssl=tls, autocommit=True
    )


def ask(connection: Any, *statements: str) -> Any:
    with connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


@contextmanager
def moving_money(connect: Callable[[], Any]) -> Iterator[list[int]]:
    """Moves money between two rows, and writes a third of how often, all the time. The sum never changes."""
    moved, stop, started = [0], threading.Event(), threading.Event()

    def move() -> None:
        with connect() as connection, connection.cursor() as cursor:
            while not stop.is_set():
                cursor.execute("BEGIN")
                cursor.execute("UPDATE money SET amount = amount - 1 WHERE id = 1")
                cursor.execute("UPDATE money SET amount = amount + 1 WHERE id = 2")
                cursor.execute("UPDATE money SET amount = amount + 1 WHERE id = 3")
                cursor.execute("COMMIT")
                moved[0] += 1
                started.set()

    thread = threading.Thread(target=move)
    thread.start()
    assert started.wait(20)
    try:
        yield moved
    finally:
        stop.set()
        thread.join(20)


def assert_one_moment(rows: Any, before: int, after: int) -> None:
    amounts = {row[0]: row[1] for row in rows}
    assert amounts[1] + amounts[2] == 1000
    assert amounts[2] == amounts[3], "all of a transaction or nothing of it"
    assert before <= amounts[3] <= after


def up(stack: LocalStack, **inputs: Any) -> dict[str, Any]:
    """A cluster with its writer."""
    identifier, state = CLUSTERS.create(stack, "x", {**CLUSTER, **inputs})
    writer = {"clusterIdentifier": identifier, "engine": "aurora-postgresql", "identifier": f"{identifier}-writer"}
    MEMBERS.create(stack, "x", writer)
    return state


def down(stack: LocalStack, state: dict[str, Any], **inputs: Any) -> None:
    identifier = state["clusterIdentifier"]
    MEMBERS.delete(stack, f"{identifier}-writer", {"clusterIdentifier": identifier})
    CLUSTERS.delete(stack, identifier, {**state, **inputs})


def test_a_cluster_comes_back_as_it_was_at_one_moment(stack: LocalStack) -> None:
    state = up(stack)
    ask(postgres(state, "first"), TABLE, "INSERT INTO money VALUES (1, 1000), (2, 0), (3, 0)")
    with moving_money(lambda: postgres(state, "first")) as moved:
        before = moved[0]
        name, taken = SNAPSHOTS.create(
            stack, "x", {"dbClusterIdentifier": "shop", "dbClusterSnapshotIdentifier": "before-1"}
        )
        after = moved[0] + 1
    assert (name, taken["status"], taken["engineVersion"]) == ("before-1", "available", state["engineVersionActual"])
    ask(postgres(state, "first"), "DELETE FROM money")
    with pytest.raises(HandlerError, match="DBClusterSnapshotAlreadyExistsFault"):
        SNAPSHOTS.create(stack, "x", {"dbClusterIdentifier": "shop", "dbClusterSnapshotIdentifier": "before-1"})

    restored = up(
        stack,
        clusterIdentifier="second",
        snapshotIdentifier=taken["dbClusterSnapshotArn"],
        masterUsername=None,
        masterPassword=None,
        databaseName=None,
        manageMasterUserPassword=True,
    )
    assert (restored["masterUsername"], restored["databaseName"]) == ("zdm_admin", "ecommerce")
    secret = json.loads(cloud.secret_text(stack, restored["masterUserSecrets"][0]["secretArn"], "us-east-1"))
    rows = ask(postgres(restored, secret["password"]), "SELECT id, amount FROM money")
    assert_one_moment(rows, before, after)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        postgres(restored, "first")
    assert ask(postgres(state, "first"), "SELECT count(*) FROM money") == [(0,)], "the source goes its own way"

    # the newest point in time is a copy of the source as it is now; the master's password is inherited
    ask(postgres(state, "first"), "INSERT INTO money VALUES (9, 9)")
    clone = up(
        stack,
        clusterIdentifier="clone",
        masterPassword=None,
        restoreToPointInTime={"sourceClusterIdentifier": "shop", "useLatestRestorableTime": True},
    )
    assert ask(postgres(clone, "first"), "SELECT id FROM money") == [(9,)]
    earlier = {"sourceClusterIdentifier": "shop", "restoreToTime": "2026-01-31T10:00:00Z"}
    with pytest.raises(HandlerError, match=r"2026-01-31T10:00:00Z is not between"):
        up(stack, clusterIdentifier="earlier", restoreToPointInTime=earlier)
    assert not Storage(stack, "earlier").home.exists()

    # the final snapshot outlives its cluster; a neighbour of this machine finds it by name
    down(stack, clone, skipFinalSnapshot=False, finalSnapshotIdentifier="clone-final")
    assert not Storage(stack, "clone").home.exists()
    neighbour = open_stack("staging", stack.home.parent)
    third = up(neighbour, clusterIdentifier="third", snapshotIdentifier="clone-final", masterPassword="third")
    assert ask(postgres(third, "third"), "SELECT id FROM money") == [(9,)]
    down(neighbour, third)

    for cluster in (restored, state):
        down(stack, cluster)
    for process in (*stack.processes(), *neighbour.processes()):
        process.remove()
    stack.forget()
    assert sorted(p.name for p in (stack.snapshots / "aurora").iterdir()) == [
        "before-1",
        "clone-final",
    ]
    for left in ("before-1", "clone-final"):
        assert SNAPSHOTS.read(stack, left, {}) is not None
        SNAPSHOTS.delete(stack, left, {})
        assert SNAPSHOTS.read(stack, left, {}) is None and not Copy(stack, "aurora", left).home.exists()
    with pytest.raises(HandlerError, match="DBClusterSnapshotNotFoundFault"):
        up(stack, clusterIdentifier="fourth", snapshotIdentifier="before-1")


def test_an_instance_comes_back_as_it_was_at_one_moment(stack: LocalStack) -> None:
    known, state = INSTANCES.create(stack, "x", dict(INSTANCE))
    ask(mysql(state, "first"), TABLE, "INSERT INTO money VALUES (1, 1000), (2, 0), (3, 0)")
    wanted = {"dbInstanceIdentifier": "shop", "dbSnapshotIdentifier": "before-1"}
    with moving_money(lambda: mysql(state, "first")) as moved:
        before = moved[0]
        _, taken = DUMPS.create(stack, "x", dict(wanted))
        after = moved[0] + 1
    with pytest.raises(HandlerError, match="DBSnapshotAlreadyExists"):
        DUMPS.create(stack, "x", dict(wanted))

    # also behind the fence of a cutover, and without leaving a trace in the source's log
    with Server(stack, "shop").admin() as connection, connection.cursor() as cursor:
        cursor.execute("SET GLOBAL super_read_only = ON")
        cursor.execute("SELECT @@GLOBAL.gtid_executed")
        executed = cursor.fetchall()
        DUMPS.create(stack, "x", {**wanted, "dbSnapshotIdentifier": "fenced"})
        cursor.execute("SELECT @@GLOBAL.gtid_executed")
        assert cursor.fetchall() == executed
        cursor.execute("SET GLOBAL super_read_only = OFF, GLOBAL read_only = OFF")

    ask(mysql(state, "first"), "DELETE FROM money")
    INSTANCES.delete(stack, known, {**state, "skipFinalSnapshot": False, "finalSnapshotIdentifier": "shop-final"})
    assert not Server(stack, "shop").home.exists()

    restored = {**INSTANCE, "username": None, "dbName": None, "password": "second"}
    again, second = INSTANCES.create(stack, "x", {**restored, "snapshotIdentifier": taken["dbSnapshotArn"]})
    assert (second["username"], second["dbName"]) == ("zdm_admin", "ecommerce")
    assert_one_moment(ask(mysql(second, "second"), "SELECT id, amount FROM money"), before, after)
    rows = ask(mysql(second, "second"), "SELECT @@GLOBAL.gtid_executed")
    assert rows[0][0].count(",") == 0, "its own accounts are not in its log"
    INSTANCES.delete(stack, again, second)

    last, third = INSTANCES.create(
        stack, "x", {**restored, "password": None, "identifier": "third", "snapshotIdentifier": "shop-final"}
    )
    assert ask(mysql(third, "first"), "SELECT count(*) FROM money") == ((0,),)
    INSTANCES.delete(stack, last, third)
    for name in ("before-1", "fenced", "shop-final"):
        DUMPS.delete(stack, name, {})
    with pytest.raises(HandlerError, match="DBSnapshotNotFound"):
        INSTANCES.create(stack, "x", {**restored, "snapshotIdentifier": "before-1"})
    with pytest.raises(HandlerError, match="DBInstanceNotFound"):
        DUMPS.create(stack, "x", wanted)
    assert not Server(stack, "shop").home.exists() and not list(stack.snapshots.glob("mysql/*"))
