"""A database that is to be masked: its sessions, whichever side it is, and what is really in it.

Invariants:
- A session changes nothing but the rows it is told to: no trigger fires, no foreign key cascades, no binary log is
  written where the account may decide that.
- The key is in the session's memory only. It is not part of any statement but the one that sets it, which is kept out
  of MySQL's general log and statement history, and is a parameter in PostgreSQL.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import psycopg
import pymysql

from contract.control import SCHEMA
from contract.flag import Side
from contract.mask_terms import MYSQL_KEY, POSTGRES_KEY, Dialect, MySQL, Postgres, pads
from contract.privacy import CONTROL_TABLES, DataClasses
from contract.tables import Column, Table, mysql_name, postgres_name
from contract.types import rule_for
from scripts.data.keyset import Bounds, mysql_condition, postgres_condition
from scripts.data.rules import SCHEMA as PUBLIC
from scripts.data.rules import Rules
from scripts.errors import UsageError

Connection = Any
"""PyMySQL's or psycopg's, as `Side` says."""

AGAIN = frozenset({1205, 1213, "40001", "40P01", "55P03"})
"""Errors after which a transaction may be tried again: a lock was not had, or a deadlock ended it."""


@dataclass(frozen=True)
class Masked:
    """A database on a server that nobody else uses: restored, and not yet in service.

    `connect` opens an administrator's connection to it. `tables` describe the shop's tables as MySQL has them; those
    that are not there are left out (the target lacks some), those that are there and not described are refused.
    """

    side: Side
    connect: Callable[[], Connection]
    tables: Sequence[Table]
    workers: int = 2
    """Connections that mask at a time: about as many as the server has processors."""
    batch: int = 5_000
    """Rows in a transaction; PostgreSQL plans each for some milliseconds."""


class Session:
    """One connection, spoken to alike on both sides."""

    def __init__(self, side: Side, connection: Connection) -> None:
        self.side, self.connection = side, connection
        self.dialect: Dialect = MySQL() if side is Side.MYSQL else Postgres()

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.connection.close()

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        if self.side is Side.MYSQL:
            with self.connection.cursor(pymysql.cursors.Cursor) as cursor:
                cursor.execute(statement, values or None)
                return list(cursor.fetchall())
        cursor = self.connection.execute(statement.encode(), values or None)
        return list(cursor.fetchall()) if cursor.description else []

    def run(self, statement: str, *values: Any) -> int:
        """Executes a statement; returns how many rows it changed."""
        if self.side is Side.MYSQL:
            with self.connection.cursor() as cursor:
                return int(cursor.execute(statement, values or None))
        return int(self.connection.execute(statement.encode(), values or None).rowcount)

    def may(self, statement: str, *values: Any) -> bool:
        """Executes a statement that needs a privilege; False where the account lacks it."""
        try:
            self.run(statement, *values)
        except pymysql.err.MySQLError as e:
            if e.args and e.args[0] in (1044, 1142, 1143, 1227):
                return False
            raise
        except psycopg.errors.InsufficientPrivilege:
            return False
        return True

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self.run("BEGIN")
        try:
            yield
        except BaseException:
            with contextlib.suppress(Exception):  # a lost session rolls back by itself
                self.run("ROLLBACK")
            raise
        self.run("COMMIT")

    # --- names and values in this side's SQL ---

    def name(self, *parts: str) -> str:
        return mysql_name(*parts) if self.side is Side.MYSQL else postgres_name(*parts)

    def relation(self, table: str) -> str:
        """A table of the shop, or of the control schema when it is named with it."""
        schema, _, name = table.rpartition(".")
        if schema == SCHEMA:
            return self.name(SCHEMA, name)
        return self.name(table) if self.side is Side.MYSQL else self.name(PUBLIC, table)

    def text(self, column: Column, qualifier: str = "") -> str:
        """The column's canonical text."""
        name = (f"{qualifier}." if qualifier else "") + self.name(column.name)
        rule = rule_for(replace(column, generated=None))  # however it came to be
        template = rule.mysql_text if self.side is Side.MYSQL else rule.postgres_text
        return template.format(name)

    def condition(self, table: Table, bounds: Bounds) -> str:
        rules = key_rules(table)
        return mysql_condition(rules, bounds) if self.side is Side.MYSQL else postgres_condition(rules, bounds)


Work = TypeVar("Work")


def work_off(
    target: Masked,
    work: Sequence[Work],
    do: Callable[[Session, Work, Callable[[], bool]], None],
    key: bytes | None = None,
) -> None:
    """Does every piece of work once, in `target.workers` sessions at a time. The third argument of `do` tells whether
    another one has failed, so that long work may end early; the first error is raised when all have ended."""
    left: queue.SimpleQueue[Work] = queue.SimpleQueue()
    for piece in work:
        left.put(piece)
    failed: list[BaseException] = []

    def worker() -> None:
        try:
            session = open_session(target, key)
            try:
                while not failed:
                    do(session, left.get_nowait(), lambda: bool(failed))
            finally:
                session.close()
        except queue.Empty:
            pass
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=worker, daemon=True) for _ in range(min(target.workers, len(work)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def key_rules(table: Table) -> Rules:
    """The rules of the primary key alone: other columns may have none."""
    return Rules(table, (), tuple((column, rule_for(column)) for column in table.key_columns))


def open_session(target: Masked, key: bytes | None = None) -> Session:
    """A session for reading; with a key, one that masks."""
    session = Session(target.side, target.connect())
    try:
        if key is not None:
            (_prepare_mysql if target.side is Side.MYSQL else _prepare_postgres)(session, key)
    except BaseException:
        session.close()
        raise
    return session


def _prepare_mysql(session: Session, key: bytes) -> None:
    session.may("SET SESSION sql_log_bin = 0")
    session.may("SET SESSION sql_log_off = 1")
    session.may(
        "UPDATE performance_schema.threads SET instrumented = 'NO', history = 'NO' "
        "WHERE processlist_id = CONNECTION_ID()"
    )
    session.run(
        "SET SESSION foreign_key_checks = 0, transaction_isolation = 'READ-COMMITTED', time_zone = '+00:00', "
        "sql_mode = 'STRICT_ALL_TABLES'"  # zero dates in other columns stay
    )
    for variable, pad in zip(MYSQL_KEY, pads(key), strict=True):
        session.run(f"SET {variable} = %s", pad)


def _prepare_postgres(session: Session, key: bytes) -> None:
    if not session.may("SET session_replication_role = replica"):
        raise UsageError(
            "this account may not set session_replication_role, so triggers and foreign keys would see the masking: "
            "connect as the cluster's administrator (a member of rds_superuser)"
        )
    session.run("SET synchronous_commit = off")  # a lost batch loses its progress too
    session.may("SET log_parameter_max_length = 0")
    for setting, pad in zip(POSTGRES_KEY, pads(key), strict=True):
        session.rows("SELECT set_config(%s, %s, false)", setting, pad.hex())


# --- what is there ----------------------------------------------------------------------------------------------------


def catalogue(session: Session) -> dict[str, frozenset[str]]:
    """The columns of every table that is really there, by name; control tables only where they hold customers' data."""
    own = "DATABASE()" if session.side is Side.MYSQL else f"'{PUBLIC}'"
    rows = session.rows(
        "SELECT t.table_schema, t.table_name, c.column_name FROM information_schema.tables t "
        "JOIN information_schema.columns c ON c.table_schema = t.table_schema AND c.table_name = t.table_name "
        f"WHERE t.table_type = 'BASE TABLE' AND t.table_schema IN ({own}, '{SCHEMA}')"
    )
    control = {table.name for table in CONTROL_TABLES}
    found: dict[str, set[str]] = {}
    for schema, table, column in rows:
        name = f"{schema}.{table}" if schema == SCHEMA else str(table)
        if schema != SCHEMA or name in control:
            found.setdefault(name, set()).add(str(column))
    return {table: frozenset(columns) for table, columns in found.items()}


def tables_there(target: Masked, session: Session, classes: DataClasses) -> list[Table]:
    """The tables to look at, each with the columns that are there. Raises `UsageError` that names everything which
    stands in the way: what has no class or no description, and classes that cannot be carried out."""
    there = catalogue(session)
    described = {table.name: table for table in (*target.tables, *CONTROL_TABLES)}
    problems = [f"{name} is there, and is not described" for name in sorted(there.keys() - described.keys())]
    tables = []
    for name, columns in sorted(there.items()):
        if name not in described:
            continue
        table = described[name]
        problems += [
            f"{name}.{c} is there, and is not described" for c in sorted(columns - {c.name for c in table.columns})
        ]
        tables.append(replace(table, columns=tuple(column for column in table.columns if column.name in columns)))
    problems += classes.problems(tables)
    if problems:
        raise UsageError(
            "\n".join([
                "the data classes do not fit this database; nothing was changed:",
                *(f"  {problem}" for problem in problems),
                "say each column's class in data-classes.yaml (`./zdm privacy STACK` proposes them)",
            ])
        )  # fmt: skip
    return tables
