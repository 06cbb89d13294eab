"""Fixtures of the data commands' tests: one MySQL and one PostgreSQL for all, new databases on both for every test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from contract.control import READER_ROLE, WRITER_ROLE
from contract.outputs import Pipeline
from contract.tables import Table, mysql_name, postgres_name
from contract.types import carried, rule_for
from local.dataplane.mysql import MySQLInstance
from local.dataplane.mysql import Server as MySQLServer
from local.dataplane.postgres import AuroraCluster, AuroraInstance, Storage
from local.dataplane.postgres import Instance as PostgresServer
from local.stack import LocalStack, open_stack
from scripts.clients import copy_out, mysql, postgres
from scripts.clients.secrets import Account
from scripts.console import Console
from scripts.data import schema
from scripts.data.inspect import mysql_tables

hypothesis_settings.register_profile(
    "databases", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

SAKILA = Path(__file__).parents[3] / "shared" / "data" / "sakila"
ACCOUNT = Account("admin", "a password of 22 chars")
NUMBERS = count(1)


@dataclass
class Pair:
    """A database on each side; stands in for a stack's `Context`."""

    source: str
    target: str
    name: str
    home: Path
    tables: list[str] = field(default_factory=list)
    booleans: list[str] = field(default_factory=list)
    intervals: list[str] = field(default_factory=list)
    copied_by: Literal["zdm", "debezium", "dms"] = "zdm"
    console: Console = field(default_factory=lambda: Console(quiet=True))

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(
            state="stopped",
            copy_=self.copied_by,
            source_connector="source",
            sink_connector="sink",
            tables=self.tables,
            booleans=self.booleans,
            intervals=self.intervals,
        )

    @property
    def outputs(self) -> Any:
        return SimpleNamespace(database=self.name, pipeline=self.pipeline)

    def mysql(self, role: str = "admin", database: str | None = "", **options: Any) -> Any:
        return mysql.connect(self.source, 3306, ACCOUNT, self.name if database == "" else database, **options)

    def postgres(self, role: str = "admin", *, reader: bool = False, **options: Any) -> Any:
        return postgres.connect(self.target, 5432, ACCOUNT, self.name, **options)

    def copy_out(self, **_: Any) -> Any:
        return copy_out.connect(self.target, 5432, ACCOUNT, self.name)

    def on_source(self, *statements: str) -> list[tuple[Any, ...]]:
        """Executes statements, and returns the rows of the last."""
        with self.mysql() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def on_target(self, *statements: str) -> list[tuple[Any, ...]]:
        with self.postgres() as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def make_tables(self) -> list[Table]:
        """Makes the target's tables from the source's."""
        schema.run(self, stage="tables", console=self.console)  # type: ignore[arg-type]
        with self.mysql() as connection:
            return mysql_tables(connection, self.name)

    def copy(self, tables: Sequence[Table]) -> None:
        """Copies rows as the drivers give them: another way than CDC's and the checks'."""
        with self.mysql() as my, self.postgres() as pg:
            for table in tables:
                columns = carried(table.columns)
                with my.cursor() as cursor:
                    names = ", ".join(mysql_name(column.name) for column in columns)
                    cursor.execute(f"SELECT {names} FROM {mysql_name(table.name)}")
                    rows = cursor.fetchall()
                convert = [converter(rule_for(column, self.pipeline.choices).postgres) for column in columns]
                relation = postgres_name("public", table.name)
                names = ", ".join(postgres_name(column.name) for column in columns)
                pg.execute(f"TRUNCATE {relation}")
                with pg.cursor().copy(f"COPY {relation} ({names}) FROM STDIN") as copy:
                    for row in rows:
                        copy.write_row([None if v is None else f(v) for f, v in zip(convert, row, strict=True)])


def converter(kind: str) -> Callable[[Any], Any]:
    if kind == "boolean":
        return lambda value: bool(int.from_bytes(value, "big") if isinstance(value, bytes) else value)
    if kind.startswith("bit("):
        return lambda value: f"{int.from_bytes(value, 'big'):0{int(kind[4:-1])}b}"
    return lambda value: value


@dataclass(frozen=True)
class Servers:
    stack: LocalStack

    def make(self) -> None:
        MySQLInstance().create(self.stack, "source", {
            "engine": "mysql", "identifier": "source", "username": ACCOUNT.username, "password": ACCOUNT.password,
            "dbName": "first", "backupRetentionPeriod": 1,
        })  # fmt: skip
        AuroraCluster().create(self.stack, "target", {
            "engine": "aurora-postgresql", "clusterIdentifier": "target", "masterUsername": ACCOUNT.username,
            "masterPassword": ACCOUNT.password, "databaseName": "first",
        })  # fmt: skip
        AuroraInstance().create(self.stack, "writer", {"clusterIdentifier": "target", "identifier": "writer"})
        with self.pair("first", Path()).postgres() as pg:
            for role in (READER_ROLE, WRITER_ROLE):
                pg.execute(f"CREATE ROLE {role}")

    def pair(self, name: str, home: Path) -> Pair:
        source = MySQLServer(self.stack, "source").address
        target = PostgresServer(Storage(self.stack, "target"), "writer").address
        return Pair(source, target, name, home)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    stack = open_stack("data", tmp_path_factory.mktemp("stacks"))
    servers = Servers(stack)
    try:
        servers.make()
        yield servers
    finally:
        for process in stack.processes():
            process.stop()


@pytest.fixture
def pair(servers: Servers, tmp_path: Path) -> Iterator[Pair]:
    """An empty database on each side."""
    first, pair = servers.pair("first", tmp_path), servers.pair(f"test{next(NUMBERS)}", tmp_path)
    first.on_source(f"CREATE DATABASE {pair.name} CHARACTER SET utf8mb4")
    first.on_target(f"CREATE DATABASE {pair.name}")
    yield pair
    first.on_source(f"DROP DATABASE {pair.name}")
    first.on_target(f"DROP DATABASE {pair.name} WITH (FORCE)")
