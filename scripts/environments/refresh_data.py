"""What a refresh does inside a restored database besides masking: production's ways in are shut, its control data goes.

Invariants:
- Who could log in to production cannot log in to the copy: every account but the master and RDS' own is locked and has
  lost its password, MySQL's second passwords too. Accounts stay, since views, routines and rows' owners refer to them.
- Nothing replicates: no slot, subscription, publication, replica channel, or foreign server's account is left.
- The control tables begin anew: production's answers to customers, journal, records and copies are no business of
  staging's.
- What was counted before masking is kept in the copy itself (`zdm.refresh_count`), so that a run after a crash checks
  against the same numbers.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
import pymysql
import pymysql.cursors
from psycopg import sql

from contract.control import SCHEMA
from contract.flag import Flag, Side
from contract.tables import Table, mysql_name, postgres_name
from scripts.data.rules import MySQL, Postgres
from scripts.environments.soundness import mysql_counts, orphan_query, postgres_counts
from scripts.errors import ZdmError

COUNTS = "refresh_count"
KEPT = frozenset({"fence", "watermark", COUNTS})
"""Control tables that are not emptied at once."""

RDS_ACCOUNTS = ("rdsadmin", "rdsrepladmin", "rdstopmgr", "mysql.sys", "mysql.session", "mysql.infoschema")

_POSTGRES_LOGINS = """
SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname <> current_user AND NOT rolsuper
AND rolname !~ '^(rds|pg_)' ORDER BY 1
"""


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def close_postgres(pg: Postgres) -> list[str]:
    """Shuts production's ways in and out; the accounts that were locked. Raises `ZdmError` if one stays open."""
    logins = [name for (name,) in pg.execute(_POSTGRES_LOGINS).fetchall()]
    for name in logins:
        pg.execute(sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL").format(sql.Identifier(name)))
    pg.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY(%s)", (logins,))
    for server, user in pg.execute("SELECT srvname, usename FROM pg_user_mappings").fetchall():
        who = sql.SQL("PUBLIC") if user == "public" else sql.Identifier(user)
        pg.execute(sql.SQL("DROP USER MAPPING IF EXISTS FOR {} SERVER {}").format(who, sql.Identifier(server)))
    for (name,) in pg.execute(
        "SELECT subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = "
        "current_database())"
    ).fetchall():
        subscription = sql.Identifier(name)
        pg.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(subscription))
        pg.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(subscription))
        pg.execute(sql.SQL("DROP SUBSCRIPTION {}").format(subscription))
    for (name,) in pg.execute("SELECT slot_name FROM pg_replication_slots WHERE NOT temporary").fetchall():
        pg.execute("SELECT pg_drop_replication_slot(%s)", (name,))
    for (name,) in pg.execute("SELECT pubname FROM pg_publication").fetchall():
        pg.execute(sql.SQL("DROP PUBLICATION {}").format(sql.Identifier(name)))
    if left := [name for (name,) in pg.execute(_POSTGRES_LOGINS).fetchall()]:
        raise ZdmError(f"these accounts of production can still log in: {', '.join(left)}")
    return logins


def clear_postgres(pg: Postgres) -> None:
    """Empties the control tables."""
    pg.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    for (name,) in pg.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (SCHEMA,)).fetchall():
        if name not in KEPT:
            pg.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY CASCADE").format(sql.Identifier(SCHEMA, name)))


def count_postgres(pg: Postgres, tables: Sequence[Table]) -> dict[str, int]:
    """Rows by table of the shop, and rows without a parent by foreign key, whether or not it is declared here."""
    there = {name: rows for name, rows in postgres_counts(pg).items() if not name.startswith(f"{SCHEMA}.")}
    for key, query in _keys(tables, there, lambda name: postgres_name("public", name), '"'):
        row = pg.execute(query.encode()).fetchone()
        assert row is not None  # an aggregate has a row
        there[key] = int(row[0])
    return there


def keep_counts_postgres(pg: Postgres, counts: dict[str, int]) -> None:
    """In one transaction, so that there are all or none."""
    with pg.transaction():
        pg.execute(f"CREATE TABLE IF NOT EXISTS {SCHEMA}.{COUNTS} (name text PRIMARY KEY, n bigint NOT NULL)")
        pg.execute(f"TRUNCATE {SCHEMA}.{COUNTS}")
        with pg.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {SCHEMA}.{COUNTS} VALUES (%s, %s)", list(counts.items()))


def kept_counts_postgres(pg: Postgres) -> dict[str, int]:
    return {name: int(n) for name, n in pg.execute(f"SELECT name, n FROM {SCHEMA}.{COUNTS}").fetchall()}


# --- MySQL ------------------------------------------------------------------------------------------------------------


def close_mysql(my: MySQL) -> list[str]:
    """Shuts production's ways in and out; the accounts that were locked. Raises `ZdmError` if one stays open."""
    locked = []
    for user, host in _mysql_logins(my):
        # Another plugin's account (IAM's, say) becomes one with a password that nobody knows.
        _run(
            my,
            "ALTER USER %s@%s IDENTIFIED WITH caching_sha2_password BY %s ACCOUNT LOCK",
            user, host, secrets.token_urlsafe(24),
        )  # fmt: skip
        _run(my, "ALTER USER %s@%s DISCARD OLD PASSWORD", user, host)
        locked.append(user)
    for (session,) in _rows(
        my, "SELECT id FROM information_schema.processlist WHERE user IN %s", tuple(locked or [""])
    ):
        try:
            _run(my, f"KILL {int(session)}")
        except pymysql.err.MySQLError:
            continue  # it has ended by itself
    if _rows(my, "SHOW REPLICA STATUS"):
        if _rows(
            my,
            "SELECT 1 FROM information_schema.routines WHERE routine_schema = 'mysql' "
            "AND routine_name = 'rds_reset_external_source'",
        ):
            _run(my, "CALL mysql.rds_reset_external_source")
        else:
            _run(my, "STOP REPLICA")
            _run(my, "RESET REPLICA ALL")
    open_ones = [user for user, _ in _mysql_logins(my)]
    if open_ones:
        raise ZdmError(f"these accounts of production can still log in: {', '.join(open_ones)}")
    return sorted(set(locked))


def unlock_mysql(my: MySQL, names: Iterable[str]) -> None:
    """Lets staging's own accounts be: their passwords nobody knows yet, `bootstrap` sets them."""
    for user in names:
        for (host,) in _rows(my, "SELECT host FROM mysql.user WHERE user = %s AND host = '%%'", user):
            _run(my, "ALTER USER %s@%s ACCOUNT UNLOCK", user, host)


def clear_mysql(my: MySQL) -> None:
    """Empties the control tables; a fence of production's may not stand in the way of it."""
    _run(my, f"CREATE DATABASE IF NOT EXISTS {SCHEMA} CHARACTER SET utf8mb4")
    for (name,) in _rows(
        my,
        "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type = 'BASE TABLE'",
        SCHEMA,
    ):
        if name not in KEPT:
            _run(my, f"TRUNCATE TABLE {mysql_name(SCHEMA, name)}")


def open_mysql(my: MySQL) -> None:
    """Lifts what a fence has left in the server's kept settings; where the account may not, there is none."""
    if not any(int(value) for row in _rows(my, "SELECT @@GLOBAL.super_read_only, @@GLOBAL.read_only") for value in row):
        return
    _run(my, "SET GLOBAL super_read_only = OFF")
    for variable in ("super_read_only", "read_only"):
        _run(my, f"RESET PERSIST IF EXISTS {variable}")
    _run(my, "SET GLOBAL read_only = OFF")


def count_mysql(my: MySQL, database: str, tables: Sequence[Table]) -> dict[str, int]:
    """Rows by table of the shop, and rows without a parent by foreign key."""
    there = {name: rows for name, rows in mysql_counts(my, database).items() if not name.startswith(f"{SCHEMA}.")}
    for key, query in _keys(tables, there, lambda name: mysql_name(database, name), "`"):
        there[key] = int(_rows(my, query)[0][0])
    return there


def keep_counts_mysql(my: MySQL, counts: dict[str, int]) -> None:
    """In one transaction, so that there are all or none."""
    _run(
        my,
        f"CREATE TABLE IF NOT EXISTS {SCHEMA}.{COUNTS} (name VARCHAR(400) PRIMARY KEY, n BIGINT NOT NULL) "
        "ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    )
    _run(my, "START TRANSACTION")
    _run(my, f"DELETE FROM {SCHEMA}.{COUNTS}")
    with my.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {SCHEMA}.{COUNTS} VALUES (%s, %s)", list(counts.items()))
    _run(my, "COMMIT")


def kept_counts_mysql(my: MySQL) -> dict[str, int]:
    return {str(name): int(n) for name, n in _rows(my, f"SELECT name, n FROM {SCHEMA}.{COUNTS}")}


# --- both -------------------------------------------------------------------------------------------------------------


def compared(before: dict[str, int], after: dict[str, int]) -> list[str]:
    """What masking has changed though it may not (pure)."""
    return [
        f"{name}: {before.get(name, 'nothing')} before masking, {after.get(name, 'nothing')} after it"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def flag_for(staging: Flag, mode: Side) -> Flag:
    """The refreshed staging's flag (pure): above every copy of the former one, so that routers take it; the writer is
    production's, since it is that side's rows that are the truth.
    """
    return Flag(
        v=staging.v + 1,
        epoch=staging.epoch + 1,
        weight=100.0 if mode is Side.AURORA else 0.0,
        writes=type(staging.writes).OPEN,
        mode=mode,
    )


def _keys(tables: Sequence[Table], there: dict[str, int], named: Any, quote: str) -> Iterable[tuple[str, str]]:
    for table in tables:
        for key in table.foreign_keys:
            if table.name in there and key.referenced_table in there:
                name = f"{table.name} without {key.referenced_table} ({key.name})"
                query = orphan_query(
                    named(table.name), named(key.referenced_table), key.columns, key.referenced_columns, quote
                )
                yield name, query


def _mysql_logins(my: MySQL) -> list[tuple[str, str]]:
    return _rows(
        my,
        "SELECT user, host FROM mysql.user WHERE account_locked = 'N' AND user NOT IN %s "
        "AND CONCAT(user, '@', host) <> CURRENT_USER() ORDER BY user, host",
        RDS_ACCOUNTS,
    )


def _rows(my: MySQL, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall())


def _run(my: MySQL, statement: str, *values: Any) -> None:
    with my.cursor() as cursor:
        cursor.execute(statement, values or None)


PROBLEMS = (psycopg.Error, pymysql.err.MySQLError, ZdmError, OSError)
"""What a database that is not there yet answers with."""
