"""The servers that an export reads: made on a copy, seen by nobody, gone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
import pymysql
from psycopg import sql
from pymysql.converters import encoders
from pymysql.cursors import SSCursor

from local.dataplane.mysql import ADMIN, Server
from local.dataplane.postgres import ADMIN as POSTGRES_ADMIN
from local.dataplane.postgres import Instance, Storage
from local.dataplane.rds.export_types import Exported, mysql_column, postgres_column
from local.stack import LocalStack

_MYSQL_TABLES = """
SELECT table_schema, table_name, column_name, column_type, numeric_precision, numeric_scale
  FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
 WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema')
 ORDER BY table_schema, table_name, ordinal_position
"""
_POSTGRES_TABLES = """
SELECT n.nspname, c.relname, a.attname, format_type(a.atttypid, a.atttypmod)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence = 'p'
   AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
 ORDER BY 1, 2, a.attnum
"""


@dataclass(frozen=True)
class Table:
    """A table. In MySQL the schema is the database."""

    database: str
    schema: str
    name: str
    columns: Sequence[Exported]

    def wanted(self, only: Sequence[str]) -> bool:
        """Whether `ExportOnly` names it, its schema or its database."""
        full = [self.database, f"{self.database}.{self.schema}", f"{self.database}.{self.schema}.{self.name}"]
        if self.schema == self.database:
            full += [f"{self.database}.{self.name}"]
        return not only or any(name in full for name in only)


class Source(Protocol):
    """A server's tables and rows."""

    def tables(self, only: Sequence[str]) -> Iterator[Table]: ...

    def rows(self, table: Table, block: int) -> Iterator[Sequence[Sequence[Any]]]:
        """All rows, in blocks, as the columns select them."""
        ...


@contextmanager
def mysql_source(stack: LocalStack, name: str, inputs: dict[str, Any]) -> Iterator[Source]:
    server = Server(stack, name)
    try:
        server.make(inputs, None, None)
        yield _MySQL(server)
    finally:
        server.remove()


@contextmanager
def postgres_source(stack: LocalStack, name: str, inputs: dict[str, Any]) -> Iterator[Source]:
    storage = Storage(stack, name)
    try:
        storage.make(inputs, None, None)
        with storage.locked():
            Instance(storage, name).join(None)
        yield _PostgreSQL(storage)
    finally:
        storage.remove()


@dataclass(frozen=True)
class _MySQL:
    server: Server

    def tables(self, only: Sequence[str]) -> Iterator[Table]:
        with self.server.admin() as connection, connection.cursor() as cursor:
            cursor.execute(_MYSQL_TABLES)
            found = cursor.fetchall()
        columns: dict[tuple[str, str], list[Exported]] = {}
        for schema, table, column, kind, precision, scale in found:
            of = columns.setdefault((schema, table), [])
            of.append(mysql_column(column, kind, int(precision or 0), int(scale or 0)))
        made = (Table(schema, schema, table, of) for (schema, table), of in columns.items())
        yield from (table for table in made if table.wanted(only))

    def rows(self, table: Table, block: int) -> Iterator[Sequence[Sequence[Any]]]:
        as_sent: Any = encoders  # of values; none to decode them
        connection = pymysql.connect(
            host=self.server.address,
            port=int(self.server.settings["port"]),
            user=ADMIN,
            password=self.server.settings["admin"],
            ssl={"check_hostname": False, "verify_mode": "none"},
            conv=as_sent,
            init_command="SET time_zone = '+00:00'",
        )
        names = (f"`{part.replace('`', '``')}`" for part in (table.schema, table.name))
        with connection, connection.cursor(SSCursor) as cursor:
            cursor.execute(f"SELECT {', '.join(c.select for c in table.columns)} FROM {'.'.join(names)}")
            yield from _blocks(cursor.fetchmany, block)


@dataclass(frozen=True)
class _PostgreSQL:
    storage: Storage

    def _connect(self, database: str) -> psycopg.Connection[Any]:
        instance = self.storage.instances()[0]
        return psycopg.connect(
            host=instance.address,
            port=self.storage.port,
            user=POSTGRES_ADMIN,
            password=self.storage.settings["admin"],
            dbname=database,
            sslmode="require",
        )

    def tables(self, only: Sequence[str]) -> Iterator[Table]:
        with self._connect("postgres") as connection:
            listed = connection.execute("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1")
            databases = [str(row[0]) for row in listed]
        for database in databases:
            with self._connect(database) as connection:
                found = connection.execute(_POSTGRES_TABLES).fetchall()
            columns: dict[tuple[str, str], list[Exported]] = {}
            for schema, table, column, kind in found:
                columns.setdefault((schema, table), []).append(postgres_column(column, kind))
            made = (Table(database, schema, table, of) for (schema, table), of in columns.items())
            yield from (table for table in made if table.wanted(only))

    def rows(self, table: Table, block: int) -> Iterator[Sequence[Sequence[Any]]]:
        selected = sql.SQL(", ").join(sql.SQL(column.select) for column in table.columns)
        query = sql.SQL("SELECT {} FROM {}").format(selected, sql.Identifier(table.schema, table.name))
        with self._connect(table.database) as connection, connection.cursor("export") as cursor:
            cursor.execute(query)
            yield from _blocks(cursor.fetchmany, block)


def _blocks(fetch: Callable[[int], Sequence[Any]], block: int) -> Iterator[Sequence[Any]]:
    while rows := fetch(block):
        yield rows
