"""Proxy and custom endpoints follow the cluster: whoever is the writer, whoever may serve an endpoint."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from local.dataplane import cloud
from local.dataplane.endpoints import ClusterEndpoint
from local.dataplane.postgres import AuroraCluster, AuroraInstance, Storage
from local.dataplane.proxy import ProxyHandler, TargetGroupHandler, TargetHandler
from local.processes import wait_until
from local.provider.handler import HandlerError
from local.stack import LocalStack

pytestmark = pytest.mark.real

PASSWORD = 'a "quoted" word'
CLUSTER = {
    "engine": "aurora-postgresql",
    "clusterIdentifier": "target",
    "masterUsername": "zdm_admin",
    "masterPassword": PASSWORD,
    "databaseName": "ecommerce",
    "skipFinalSnapshot": True,
}
INSTANCE = {"clusterIdentifier": "target", "engine": "aurora-postgresql", "instanceClass": "db.r7g.large"}
ENDPOINT = {"clusterIdentifier": "target", "customEndpointType": "READER"}
TARGET = {"dbProxyName": "shop", "targetGroupName": "default", "dbClusterIdentifier": "target"}
CLUSTERS, INSTANCES, ENDPOINTS = AuroraCluster(), AuroraInstance(), ClusterEndpoint()
PROXIES, POOLS, TARGETS = ProxyHandler(), TargetGroupHandler(), TargetHandler()


def ask(host: str, query: str) -> Any:
    with psycopg.connect(
        host=host, user="zdm_admin", password=PASSWORD, dbname="ecommerce", sslmode="require", connect_timeout=5
    ) as connection:
        row = connection.execute(query.encode()).fetchone()
        return row and row[0]


@pytest.fixture(scope="module")
def cluster(stack: LocalStack) -> Iterator[dict[str, Any]]:
    known, state = CLUSTERS.create(stack, "target", dict(CLUSTER))
    for role in ("writer", "reader", "reports"):
        INSTANCES.create(stack, role, {**INSTANCE, "identifier": f"target-{role}"})
    yield state
    for identifier in reversed(Storage(stack, "target").members):
        INSTANCES.delete(stack, identifier, dict(INSTANCE))
    CLUSTERS.delete(stack, known, state)
    stack.process("aws-control-plane").remove()
    assert stack.processes() == []


def test_an_endpoint_leads_to_a_reader_that_may_serve_it(stack: LocalStack, cluster: dict[str, Any]) -> None:
    inputs = {**ENDPOINT, "clusterEndpointIdentifier": "target-reports", "staticMembers": ["target-reports"]}
    name, reports = ENDPOINTS.create(stack, "reports", dict(inputs))
    others = {**ENDPOINT, "clusterEndpointIdentifier": "target-shop", "excludedMembers": ["target-reports"]}
    _, shop = ENDPOINTS.create(stack, "shop", dict(others))
    assert ENDPOINTS.read(stack, name, reports) == reports

    def served(state: dict[str, Any]) -> str:
        return str(ask(state["endpoint"], "SELECT current_setting('data_directory')")).rpartition("/")[2]

    assert (served(reports), served(shop)) == ("target-reports", "target-reader")
    moved = ENDPOINTS.update(stack, name, reports, {**inputs, "staticMembers": ["target-reader"]})
    assert served(moved) == "target-reader" and moved["endpoint"] == reports["endpoint"]
    ENDPOINTS.update(stack, name, moved, dict(inputs))

    with pytest.raises(HandlerError, match=r"DBInstanceNotFound: .* has no nobody"):
        ENDPOINTS.update(stack, name, moved, {**inputs, "staticMembers": ["nobody"]})
    with pytest.raises(HandlerError, match="AlreadyExists"):
        ENDPOINTS.create(stack, "again", dict(inputs))

    INSTANCES.delete(stack, "target-reader", dict(INSTANCE))
    assert not cloud.accepts(shop["endpoint"], 5432), "nobody is left who may serve the shop"
    INSTANCES.create(stack, "reader", {**INSTANCE, "identifier": "target-reader"})
    assert (served(reports), served(shop)) == ("target-reports", "target-reader")
    for endpoint in (reports, shop):
        ENDPOINTS.delete(stack, endpoint["clusterEndpointIdentifier"], endpoint)
        assert not cloud.accepts(endpoint["endpoint"], 5432)


def test_the_proxy_follows_the_writer_and_is_mended(stack: LocalStack, cluster: dict[str, Any]) -> None:
    account = json.dumps({"username": "zdm_admin", "password": PASSWORD})
    secret = cloud.aws(stack, "secretsmanager", "us-east-1").create_secret(Name="app", SecretString=account)["ARN"]
    inputs = {
        "name": "shop",
        "engineFamily": "POSTGRESQL",
        "requireTls": True,
        "auths": [{"authScheme": "SECRETS", "secretArn": secret}],
        "region": "us-east-1",
    }
    name, proxy = PROXIES.create(stack, "shop", dict(inputs))
    pool = {"maxConnectionsPercent": 3, "connectionBorrowTimeout": 1, "initQuery": "SET work_mem = '9MB'"}
    POOLS.create(stack, "shop", {"dbProxyName": "shop", "connectionPoolConfig": pool})
    target, state = TARGETS.create(stack, "shop", dict(TARGET))
    assert target == "shop/default/TRACKED_CLUSTER/target" and state["endpoint"] == cluster["endpoint"]
    host = proxy["endpoint"]
    assert ask(host, "SHOW work_mem") == "9MB"
    first = ask(host, "SELECT pg_backend_pid() FROM set_config('work_mem', '1MB', false)")
    assert ask(host, "SELECT pg_backend_pid()") == first, "the next session gets the same connection"
    assert ask(host, "SHOW work_mem") == "9MB", "without what the one before has set"

    # 3 % of 100 connections: a fourth session waits a second for one of the three, in vain
    held = [psycopg.connect(host=host, user="zdm_admin", password=PASSWORD, dbname="ecommerce") for _ in range(3)]
    for connection in held:
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="query_wait_timeout"):
        ask(host, "SELECT 1")
    held[0].close()
    assert ask(host, "SELECT 1") == 1
    for connection in held[1:]:
        connection.close()

    INSTANCES.delete(stack, "target-writer", dict(INSTANCE))
    wait_until(lambda: ask(host, "SELECT NOT pg_is_in_recovery()"), 10, "the new writer behind the proxy")

    pid = stack.process("proxy-shop").pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not stack.process("proxy-shop").running(), 5, "the proxy's death")
    seen = PROXIES.read(stack, name, proxy)
    assert seen and PROXIES.needs_repair(seen) == ["status"]
    PROXIES.update(stack, name, seen, dict(inputs))
    assert ask(host, "SELECT 1") == 1

    with pytest.raises(HandlerError, match="DBClusterNotFoundFault"):
        TARGETS.create(stack, "x", {**TARGET, "dbClusterIdentifier": "none"})
    with pytest.raises(HandlerError, match="POSTGRESQL only"):
        PROXIES.create(stack, "x", {**inputs, "name": "x", "engineFamily": "MYSQL"})
    TARGETS.delete(stack, target, state)
    assert not cloud.accepts(host, 5432), "a proxy without a target answers nobody"
    PROXIES.delete(stack, name, proxy)
    assert PROXIES.read(stack, name, proxy) is None and not (stack.home / "data/proxy/shop").exists()
