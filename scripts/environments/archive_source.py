"""What the archive has to know of the source: who may write, which transactions it has, and its schema as SQL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pymysql.cursors
from pymysql.connections import Connection

from contract.archive import ArchivedColumn
from contract.tables import Column, Table, mysql_name
from scripts.data.inspect import mysql_tables

_KINDS = (("PROCEDURE", "routines"), ("FUNCTION", "routines"), ("TRIGGER", "triggers"), ("EVENT", "events"))


@dataclass(frozen=True)
class Server:
    """`fenced`: nobody can write, whatever their privileges."""

    version: str
    id: str
    gtid: str
    fenced: bool


@dataclass(frozen=True)
class Schema:
    """`ddl` has the statement of each table; `code` is everything as one file for MySQL's client."""

    tables: tuple[Table, ...]
    ddl: dict[str, str]
    code: str

    @property
    def digest(self) -> str:
        """Of everything but the counters of AUTO_INCREMENT."""
        return hashlib.sha256(re.sub(r" AUTO_INCREMENT=\d+", "", self.code).encode()).hexdigest()


def server_of(my: Connection[Any]) -> Server:
    [(version, identity, gtid, fenced)] = _rows(
        my, "SELECT VERSION(), @@server_uuid, @@GLOBAL.gtid_executed, @@GLOBAL.super_read_only"
    )
    return Server(str(version), str(identity), str(gtid).replace("\n", ""), bool(fenced))


def schema_of(my: Connection[Any], database: str) -> Schema:
    """The schema of the database that `my` uses. Needs SHOW_ROUTINE (or more) to see the code of others' routines."""
    tables = tuple(mysql_tables(my, database))
    ddl = {table.name: _create(my, "TABLE", table.name) for table in tables}
    statements = [f"{text};" for text in ddl.values()]
    for (name,) in _rows(
        my, "SELECT table_name FROM information_schema.views WHERE table_schema = %s ORDER BY 1", database
    ):
        statements.append(f"{_create(my, 'VIEW', name)};")
    code = [text for kind, where in _KINDS for text in _code(my, database, kind, where)]
    if code:
        statements += ["DELIMITER ;;", *(f"{text};;" for text in code), "DELIMITER ;"]
    head = "SET NAMES utf8mb4;\nSET FOREIGN_KEY_CHECKS = 0;\n"
    return Schema(tables, ddl, head + "\n\n".join(statements) + "\n")


def columns_of(table: Table, classes: dict[str, str]) -> list[ArchivedColumn]:
    """`classes` by `table.column`."""
    return [
        ArchivedColumn(
            name=column.name,
            type=_declared(column),
            carried=column.generated is None,
            data_class=classes.get(f"{table.name}.{column.name}"),
        )
        for column in table.columns
    ]


def _declared(column: Column) -> str:
    return column.full_type if column.collation is None else f"{column.full_type} COLLATE {column.collation}"


def _code(my: Connection[Any], database: str, kind: str, where: str) -> Iterator[str]:
    schema, name = {
        "routines": ("routine_schema", "routine_name"),
        "triggers": ("trigger_schema", "trigger_name"),
        "events": ("event_schema", "event_name"),
    }[where]
    only = f" AND routine_type = '{kind}'" if where == "routines" else ""
    listed = f"SELECT {name} FROM information_schema.{where} WHERE {schema} = %s{only} ORDER BY 1"
    for (found,) in _rows(my, listed, database):
        yield _create(my, kind, found)


def _create(my: Connection[Any], kind: str, name: str) -> str:
    with my.cursor(pymysql.cursors.DictCursor) as cursor:
        cursor.execute(f"SHOW CREATE {kind} {mysql_name(name)}")
        row: dict[str, Any] = cursor.fetchone() or {}
    key = "SQL Original Statement" if kind == "TRIGGER" else f"Create {kind.capitalize()}"
    return str(row[key] or f"-- {kind} {name}: its code may only be seen with the privilege SHOW_ROUTINE")


def _rows(my: Connection[Any], sql: str, *values: Any) -> Sequence[tuple[Any, ...]]:
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(sql, values or None)
        return list(cursor.fetchall())
