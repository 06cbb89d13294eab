"""An RDS instance with engine mysql is a real MySQL server."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from local.dataplane import cloud, parameters
from local.dataplane.mysql import MySQLInstance, Server
from local.dataplane.reconfigure import pending, reboot, reconfigure
from local.processes import wait_until
from local.provider.handler import HandlerError
from local.stack import LocalStack

pytestmark = pytest.mark.real

INPUTS = {
    "engine": "mysql",
    "engineVersion": "8.4",
    "identifier": "shop",
    "instanceClass": "db.t4g.medium",
    "port": 3306,
    "username": "admin",
    "manageMasterUserPassword": True,
    "dbName": "ecommerce",
    "parameterGroupName": "source",
    "backupRetentionPeriod": 7,
    "skipFinalSnapshot": True,
}
HANDLER = MySQLInstance()


def connect(state: dict[str, Any], user: str, password: str) -> Any:
    tls = {"check_hostname": False, "verify_mode": "none"}
    return pymysql.connect(
        host=state["address"], port=state["port"], user=user, password=password, ssl=tls, autocommit=True
    )


def ask(state: dict[str, Any], user: str, password: str, query: str) -> Any:
    with connect(state, user, password) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


@pytest.fixture(scope="module")
def instance(stack: LocalStack, groups: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    groups.put(
        parameters.INSTANCE_GROUP,
        "source",
        **{"gtid-mode": "reboot:ON"},
        enforce_gtid_consistency="reboot:ON",
        binlog_format="ROW",
        max_connections="{DBInstanceClassMemory/12582880}",
        long_query_time="2",
    )
    known, state = HANDLER.create(stack, "shop", dict(INPUTS))
    yield known, state
    HANDLER.delete(stack, known, state)
    assert not Server(stack, "shop").process.running()
    assert not cloud.accepts(state["address"], 3306)
    assert not Server(stack, "shop").home.exists()
    HANDLER.delete(stack, known, state)  # once more is no error


@pytest.fixture(scope="module")
def account(stack: LocalStack, instance: tuple[str, dict[str, Any]]) -> tuple[str, str]:
    secret = instance[1]["masterUserSecrets"][0]["secretArn"]
    content = json.loads(cloud.secret_text(stack, secret, "us-east-1"))
    return content["username"], content["password"]


def test_state(instance: tuple[str, dict[str, Any]]) -> None:
    known, state = instance
    assert known == state["resourceId"] and known.startswith("db-")
    assert state["endpoint"] == f"{state['address']}:3306"
    assert state["engineVersion"] == "8.4", "the program's version stays as it is"
    assert int(state["engineVersionActual"].split(".")[0]) >= 8


def test_values_reach_the_server(instance: Any, account: Any) -> None:
    query = "SELECT @@gtid_mode, @@log_bin, @@binlog_format, @@max_connections, @@long_query_time, @@time_zone"
    assert ask(instance[1], *account, query) == (("ON", 1, "ROW", 85, 2.0, "+00:00"),)


def test_master_may_all_over_tls(instance: Any, account: Any) -> None:
    state = instance[1]
    assert ask(state, *account, "SHOW DATABASES LIKE 'ecommerce'")
    assert ask(state, *account, "SHOW STATUS LIKE 'Ssl_version'")[0][1].startswith("TLSv1.")
    grants = " ".join(row[0] for row in ask(state, *account, "SHOW GRANTS"))
    assert "CONNECTION_ADMIN" in grants and "WITH GRANT OPTION" in grants


def test_second_of_that_name_is_refused(stack: LocalStack, instance: Any) -> None:
    stack.records.put("aws:rds/instance:Instance", instance[0], dict(INPUTS), instance[1])
    with pytest.raises(HandlerError, match="DBInstanceAlreadyExists"):
        HANDLER.create(stack, "shop", dict(INPUTS))
    stack.records.delete("aws:rds/instance:Instance", instance[0])


def test_dynamic_parameter_at_once_static_one_after_reboot(
    stack: LocalStack, instance: Any, account: Any, groups: Any
) -> None:
    kept = {"gtid-mode": "reboot:ON", "enforce_gtid_consistency": "reboot:ON", "binlog_format": "ROW"}
    query = "SELECT @@long_query_time, @@innodb_buffer_pool_instances, @@table_open_cache_instances"
    before = ask(instance[1], *account, query)[0]

    def change(**values: str) -> None:
        reconfigure(stack, "source", groups.put(parameters.INSTANCE_GROUP, "source", **kept, **values))

    change(long_query_time="5", table_open_cache_instances="reboot:3")
    assert ask(instance[1], *account, query)[0] == (5.0, *before[1:])
    assert pending(stack) == {"shop": ["table_open_cache_instances"]}
    reboot(stack, "shop")
    assert ask(instance[1], *account, query)[0][2] == 3
    assert pending(stack) == {}
    with pytest.raises(HandlerError, match=r"table_open_cache_instances is static.*pending-reboot"):
        change(table_open_cache_instances="4")
    with pytest.raises(HandlerError, match="no_such_setting"):
        change(no_such_setting="4")
    groups.put(parameters.INSTANCE_GROUP, "source", **kept)


def test_killed_server_comes_back_with_its_data(stack: LocalStack, instance: Any, account: Any) -> None:
    known, state = instance
    ask(state, *account, "CREATE TABLE ecommerce.kept (id INT PRIMARY KEY)")
    ask(state, *account, "INSERT INTO ecommerce.kept VALUES (7)")
    process = Server(stack, "shop").process
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not process.running(), 10, "the server's death")
    seen = HANDLER.read(stack, known, state)
    assert seen is not None and seen["status"] == "stopped"
    assert HANDLER.needs_repair(seen) == ["status"]
    mended = HANDLER.update(stack, known, seen, dict(INPUTS))
    assert mended["status"] == "available" and not HANDLER.needs_repair(mended)
    assert ask(state, *account, "SELECT id FROM ecommerce.kept") == ((7,),)


def test_own_password_in_place_of_the_managed_one(stack: LocalStack, instance: Any) -> None:
    known, state = instance
    inputs = {**INPUTS, "manageMasterUserPassword": False, "password": "it's \\ new"}
    new = HANDLER.update(stack, known, state, inputs)
    assert ask(new, "admin", "it's \\ new", "SELECT 1") == ((1,),)
    assert new["masterUserSecrets"] == []


def test_mistakes_are_refused_and_leave_nothing(stack: LocalStack, groups: Any) -> None:
    groups.put(parameters.INSTANCE_GROUP, "wrong", no_such_setting="1")
    groups.put(parameters.INSTANCE_GROUP, "path", datadir="/elsewhere")
    base = {**INPUTS, "identifier": "other", "manageMasterUserPassword": False, "password": "x"}
    for change, message in (
        ({"parameterGroupName": "wrong"}, "no_such_setting"),
        ({"parameterGroupName": "path"}, "does not let a parameter group set datadir"),
        ({"parameterGroupName": "none"}, "DBParameterGroupNotFound"),
        ({"engine": "mariadb"}, "engine mysql only"),
        ({"password": None}, "needs username, and password"),
    ):
        with pytest.raises(HandlerError, match=message):
            HANDLER.create(stack, "other", {**base, **change})
        assert not Server(stack, "other").home.exists()


def test_delete_without_final_snapshot_is_refused(stack: LocalStack, instance: Any) -> None:
    with pytest.raises(HandlerError, match="finalSnapshotIdentifier"):
        HANDLER.delete(stack, instance[0], {**instance[1], "skipFinalSnapshot": False})
    with pytest.raises(HandlerError, match="deletionProtection"):
        HANDLER.delete(stack, instance[0], {**instance[1], "deletionProtection": True})
    assert Server(stack, "shop").process.running()


def test_without_backups_there_is_no_binary_log(stack: LocalStack) -> None:
    inputs = {
        "engine": "mysql",
        "identifier": "bare",
        "username": "admin",
        "password": "secret",
        "skipFinalSnapshot": False,
        "finalSnapshotIdentifier": "bare-final",
    }
    known, state = HANDLER.create(stack, "bare", inputs)
    assert ask(state, "admin", "secret", "SELECT @@log_bin, @@gtid_mode") == ((0, "ON"),)
    Server(stack, "bare").process.stop()
    known, state = HANDLER.create(stack, "bare", inputs)  # a crash left it there; it is not in the records
    HANDLER.delete(stack, known, state)
    assert (stack.home / "data/snapshots/mysql/bare-final/data/mysql.ibd").exists()
