"""An Aurora cluster is a real PostgreSQL writer with streaming replicas behind its two endpoints."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from local.dataplane import cloud, parameters
from local.dataplane.postgres import AuroraCluster, AuroraInstance, Storage
from local.dataplane.reconfigure import pending, reboot, reconfigure
from local.processes import wait_until
from local.provider.handler import HandlerError
from local.stack import LocalStack

pytestmark = pytest.mark.real

PASSWORD = "it's \\ secret"
CLUSTER = {
    "engine": "aurora-postgresql",
    "engineVersion": "15",
    "clusterIdentifier": "target",
    "masterUsername": "zdm_admin",
    "masterPassword": PASSWORD,
    "databaseName": "ecommerce",
    "dbClusterParameterGroupName": "cluster",
    "skipFinalSnapshot": True,
}
INSTANCE = {"clusterIdentifier": "target", "engine": "aurora-postgresql", "dbParameterGroupName": "instance"}
CLUSTERS, INSTANCES = AuroraCluster(), AuroraInstance()
WRITER, READER = ({**INSTANCE, "identifier": f"target-{role}"} for role in ("writer", "reader"))


def ask(host: str, query: str, **options: Any) -> Any:
    account = {"user": "zdm_admin", "password": PASSWORD, "dbname": "ecommerce", "sslmode": "require", **options}
    with psycopg.connect(host=host, autocommit=True, connect_timeout=5, **account) as connection:
        cursor = connection.execute(query)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else None


@pytest.fixture(scope="module")
def cluster(stack: LocalStack, groups: Any) -> Iterator[dict[str, Any]]:
    groups.put(
        parameters.CLUSTER_GROUP,
        "cluster",
        rds__logical_replication="reboot:1",
        rds__force_ssl="1",
        wal_sender_timeout="60000",
    )
    groups.put(
        parameters.INSTANCE_GROUP,
        "instance",
        log_min_duration_statement="500",
        max_connections="reboot:LEAST({DBInstanceClassMemory/9531392},5000)",
        shared_preload_libraries="reboot:pg_stat_statements,not_here",
    )
    known, state = CLUSTERS.create(stack, "target", dict(CLUSTER))
    INSTANCES.create(stack, "writer", dict(WRITER))
    INSTANCES.create(stack, "reader", dict(READER))
    yield state
    for identifier in reversed(Storage(stack, "target").members):
        INSTANCES.delete(stack, identifier, {"clusterIdentifier": "target"})
    CLUSTERS.delete(stack, known, state)
    assert stack.processes() == []
    assert not cloud.accepts(state["endpoint"], 5432) and not cloud.accepts(state["readerEndpoint"], 5432)
    assert not Storage(stack, "target").home.exists()
    CLUSTERS.delete(stack, known, state)  # once more is no error


def test_state(stack: LocalStack, cluster: dict[str, Any]) -> None:
    assert cluster["engineVersion"] == "15" and cluster["port"] == 5432
    assert cluster["endpoint"] != cluster["readerEndpoint"]
    seen = CLUSTERS.read(stack, "target", cluster)
    assert seen is not None and seen["clusterMembers"] == ["target-writer", "target-reader"]
    assert [INSTANCES.read(stack, i, dict(INSTANCE))["writer"] for i in seen["clusterMembers"]] == [True, False]  # type: ignore[index]


def test_values_of_both_groups_reach_the_server(cluster: dict[str, Any]) -> None:
    settings = ask(
        cluster["endpoint"],
        """
        SELECT current_setting('wal_level'), current_setting('max_connections'), current_setting('wal_sender_timeout'),
               current_setting('log_min_duration_statement'), current_setting('shared_preload_libraries'),
               current_setting('track_commit_timestamp')""",
    )
    assert settings == [("logical", "112", "1min", "500ms", "pg_stat_statements", "on")]


def test_only_tls_is_let_in(cluster: dict[str, Any]) -> None:
    assert ask(cluster["endpoint"], "SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")[0][0] >= "TLSv1.2"
    with pytest.raises(psycopg.OperationalError, match="no encryption"):
        ask(cluster["endpoint"], "SELECT 1", sslmode="disable")


def test_master_is_no_superuser_but_may_replicate(cluster: dict[str, Any]) -> None:
    query = "SELECT rolsuper, rolcreaterole, rolcreatedb, rolreplication FROM pg_roles WHERE rolname = current_user"
    assert ask(cluster["endpoint"], query) == [(False, True, True, True)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(cluster["endpoint"], "COPY (SELECT 1) TO PROGRAM 'true'")


def test_reader_endpoint_serves_a_replica(cluster: dict[str, Any]) -> None:
    ask(cluster["endpoint"], "CREATE TABLE replicated AS SELECT 7 AS id")
    count = "SELECT count(*), pg_is_in_recovery() FROM pg_tables WHERE tablename = 'replicated'"
    wait_until(lambda: ask(cluster["readerEndpoint"], count) == [(1, True)], 10, "the table on the replica")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        ask(cluster["readerEndpoint"], "DELETE FROM replicated")


def test_dynamic_parameter_at_once_static_one_after_reboot(
    stack: LocalStack, cluster: dict[str, Any], groups: Any
) -> None:
    def change(**values: str) -> None:
        reconfigure(stack, "instance", groups.put(parameters.INSTANCE_GROUP, "instance", **values))

    query = "SELECT current_setting('work_mem'), current_setting('max_connections')"
    kept = {"shared_preload_libraries": "reboot:pg_stat_statements"}
    change(**kept, work_mem="8192", max_connections="reboot:120")
    wait_until(lambda: ask(cluster["endpoint"], query) == [("8MB", "112")], 5, "the new work_mem")
    assert pending(stack) == {name: ["max_connections"] for name in ("target-writer", "target-reader")}
    reboot(stack, "target-writer")
    reboot(stack, "target-reader")
    assert ask(cluster["endpoint"], query) == ask(cluster["readerEndpoint"], query) == [("8MB", "120")]
    assert pending(stack) == {}
    with pytest.raises(HandlerError, match=r"max_connections is static.*pending-reboot"):
        change(**kept, max_connections="130")
    with pytest.raises(HandlerError, match="no_such_setting"):
        change(**kept, no_such_setting="1", max_connections="reboot:120")
    change(**kept, max_connections="reboot:120")


def test_killed_instances_come_back_with_their_data(stack: LocalStack, cluster: dict[str, Any]) -> None:
    for inputs in (WRITER, READER):
        identifier = inputs["identifier"]
        process = stack.process(f"aurora-{identifier}")
        pid = process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda process=process: not process.running(), 10, "the server's death")  # type: ignore[misc]
        seen = INSTANCES.read(stack, identifier, dict(inputs))
        assert seen is not None and INSTANCES.needs_repair(seen) == ["status"]
        assert INSTANCES.update(stack, identifier, seen, dict(inputs))["status"] == "available"
    assert ask(cluster["endpoint"], "SELECT id FROM replicated") == [(7,)]
    assert ask(cluster["readerEndpoint"], "SELECT id FROM replicated") == [(7,)]


def test_writer_goes_and_the_reader_takes_over(stack: LocalStack, cluster: dict[str, Any]) -> None:
    INSTANCES.delete(stack, "target-writer", dict(INSTANCE))
    ask(cluster["endpoint"], "INSERT INTO replicated VALUES (8)")
    assert ask(cluster["readerEndpoint"], "SELECT count(*) FROM replicated") == [(2,)], "one instance serves both"
    INSTANCES.create(stack, "writer", dict(WRITER))
    wait_until(lambda: ask(cluster["readerEndpoint"], "SELECT pg_is_in_recovery()") == [(True,)], 10, "the new replica")
    assert ask(cluster["endpoint"], "SELECT pg_is_in_recovery()") == [(False,)]


def test_new_password(stack: LocalStack, cluster: dict[str, Any]) -> None:
    state = CLUSTERS.update(stack, "target", cluster, {**CLUSTER, "masterPassword": "new"})
    assert ask(cluster["endpoint"], "SELECT 1", password="new") == [(1,)]
    inputs = {**CLUSTER, "manageMasterUserPassword": True, "masterPassword": None}
    managed = CLUSTERS.update(stack, "target", state, inputs)
    assert managed["masterUserSecrets"][0]["secretStatus"] == "active"
    CLUSTERS.update(stack, "target", managed, dict(CLUSTER))
    assert ask(cluster["endpoint"], "SELECT 1") == [(1,)]
    stack.process("aws-control-plane").remove()


def test_mistakes_are_refused_and_leave_nothing(stack: LocalStack, cluster: dict[str, Any], groups: Any) -> None:
    with pytest.raises(HandlerError, match="still has instances"):
        CLUSTERS.delete(stack, "target", cluster)
    with pytest.raises(HandlerError, match="DBClusterNotFoundFault"):
        INSTANCES.create(stack, "x", {**INSTANCE, "clusterIdentifier": "none", "identifier": "x"})
    groups.put(parameters.INSTANCE_GROUP, "wrong", no_such_setting="1")
    groups.put(parameters.INSTANCE_GROUP, "path", wal_level="logical")
    for group, message in (("wrong", "no_such_setting"), ("path", "does not let a parameter group set wal_level")):
        with pytest.raises(HandlerError, match=message):
            INSTANCES.create(stack, "x", {**INSTANCE, "identifier": "x", "dbParameterGroupName": group})
    assert Storage(stack, "target").members == ["target-reader", "target-writer"]
    with pytest.raises(HandlerError, match="aurora-postgresql only"):
        CLUSTERS.create(stack, "x", {**CLUSTER, "clusterIdentifier": "x", "engine": "aurora-mysql"})
