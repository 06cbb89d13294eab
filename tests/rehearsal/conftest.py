"""A real MySQL with the sample shop and a real PostgreSQL with its tables, as the local cloud runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pymysql
import pytest

from contract import control
from contract.types import Choices
from local.dataplane.mysql import MySQLInstance
from local.dataplane.postgres import AuroraCluster, AuroraInstance
from local.stack import default_root, open_stack
from scripts.clients import mysql, postgres
from scripts.clients.secrets import Account
from scripts.data import inspect, schema
from scripts.rehearsal import fill, shop

ACCOUNT = Account("operator", "Not-a-secret-1")
ROWS = 2_000


@dataclass(frozen=True)
class Databases:
    """Both databases; every call opens a connection of its own."""

    mysql_host: str
    postgres_host: str

    def mysql(self, database: str | None = shop.DATABASE) -> pymysql.connections.Connection[Any]:
        return mysql.connect(self.mysql_host, 3306, ACCOUNT, database)

    def postgres(self) -> psycopg.Connection[Any]:
        return postgres.connect(self.postgres_host, 5432, ACCOUNT, shop.DATABASE)


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """The shop is filled, its tables are on the target (empty), and the control tables let MySQL write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZDM_HOME", str(tmp_path_factory.mktemp("home")))
        stack = open_stack("rehearsal-tests", default_root())
        undo: list[Callable[[], None]] = []
        try:
            made, state = MySQLInstance().create(
                stack,
                "shop",
                {
                    "engine": "mysql",
                    "identifier": "shop",
                    "username": ACCOUNT.username,
                    "password": ACCOUNT.password,
                    "dbName": shop.DATABASE,
                    "skipFinalSnapshot": True,
                    "instanceClass": "db.t4g.medium",
                    "backupRetentionPeriod": 1,
                },
            )
            undo.append(lambda: MySQLInstance().delete(stack, made, state))
            cluster, cluster_state = AuroraCluster().create(
                stack,
                "shop",
                {
                    "engine": "aurora-postgresql",
                    "clusterIdentifier": "shop",
                    "masterUsername": ACCOUNT.username,
                    "masterPassword": ACCOUNT.password,
                    "databaseName": shop.DATABASE,
                    "skipFinalSnapshot": True,
                },
            )
            undo.append(lambda: AuroraCluster().delete(stack, cluster, cluster_state))
            writer, writer_state = AuroraInstance().create(
                stack, "shop", {"clusterIdentifier": "shop", "identifier": "shop-1"}
            )
            undo.append(lambda: AuroraInstance().delete(stack, writer, writer_state))
            found = Databases(state["address"], cluster_state["endpoint"])
            fill.fill(found.mysql, ROWS)
            with found.mysql() as my, my.cursor() as cursor, found.postgres() as pg:
                for statement in control.MYSQL_DDL:
                    cursor.execute(statement)
                cursor.execute(control.INSERT_FENCE, control.fence_values(control.INITIAL_FLAG))
                tables = inspect.mysql_tables(my, shop.DATABASE, shop.TABLES)
                for role in (control.READER_ROLE, control.WRITER_ROLE):
                    pg.execute(f"CREATE ROLE {role} NOLOGIN")  # type: ignore[arg-type]
                for change in schema.plan(tables, schema.observe(pg), "tables", Choices.of(shop.BOOLEANS)):
                    schema.apply(pg, change)
            yield found
        finally:
            for step in reversed(undo):
                step()
            for process in stack.processes():
                process.stop(10)
