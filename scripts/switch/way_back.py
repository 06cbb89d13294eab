"""The way back from Aurora to MySQL: made ready before the cutover, proven when it runs, given up at last.

Invariants:
- What is made early (accounts, privileges, publication, replica identity) holds nothing back and needs no undoing. The
  slot, which makes Aurora keep its log, is made inside the cutover and dropped with its undoing, or at the end.
- MySQL's account of the sink is locked whenever MySQL is the writer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
import pymysql
from psycopg import sql

from contract.control import CARRIED, SCHEMA
from contract.outputs import Outputs, WayBack
from contract.tables import postgres_name
from contract.way_back import (
    MYSQL_SINK_USER,
    PUBLICATION,
    REVERSE_USER,
    mysql_prepare,
    postgres_drop_slot,
    postgres_prepare,
)
from scripts.context import Context
from scripts.errors import UsageError, ZdmError
from scripts.switch.fence import Controller, mark_postgres

TICK = 0.02
"""Seconds between two looks at a marker."""


@dataclass(frozen=True)
class Missing:
    """One thing that the way back needs and has not: `what` for people, `make` does it."""

    what: str
    make: Callable[[], object]


def required(out: Outputs) -> WayBack:
    """Raises `UsageError` where the stack has no way back."""
    if out.pipeline.way_back is None:
        raise UsageError(f"{out.stack} has no way back: its outputs have no pipeline.wayBack")
    return out.pipeline.way_back


def prepare(context: Context, c: Controller) -> list[str]:
    """Makes what is missing, and says what that was."""
    return [one.what for one in missing(context, c) if one.make() is not False]


def missing(context: Context, c: Controller) -> Iterator[Missing]:
    """What the way back still needs, in the order in which it must be made."""
    yield from _on_postgres(context, c)
    yield from _on_mysql(context, c)
    yield from _left_over(context, c)


def _on_postgres(context: Context, c: Controller) -> Iterator[Missing]:
    out, pg = context.outputs, c.postgres
    account = context.account(required(context.outputs).aurora_secret)
    if account.username != REVERSE_USER:
        raise UsageError(f"the secret pipeline.wayBack.auroraSecret is for {account.username!r}, not {REVERSE_USER!r}")
    if not pg.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (REVERSE_USER,)).fetchall():
        hashed = pg.pgconn.encrypt_password(account.password.encode(), REVERSE_USER.encode(), b"scram-sha-256")
        role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
            sql.Identifier(REVERSE_USER), sql.Literal(hashed.decode())
        )
        yield Missing(f"account {REVERSE_USER} on Aurora", lambda: pg.execute(role))
    captured = {("public", name) for name in out.pipeline.tables} | {(SCHEMA, name) for name in CARRIED}
    published = set(
        pg.execute("SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = %s", (PUBLICATION,))
    )
    full = {
        (schema, name)
        for schema, name in pg.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relreplident = 'f'"
        )
    }
    if captured - published or captured - full or published - captured:

        def make() -> None:
            with pg.transaction():
                pg.execute(f"DROP PUBLICATION IF EXISTS {postgres_name(PUBLICATION)}".encode())
                for statement in postgres_prepare(out.database, out.pipeline.tables):
                    pg.execute(statement.encode())

        yield Missing(f"publication {PUBLICATION} of {len(captured)} tables, with their whole rows in the log", make)


def _on_mysql(context: Context, c: Controller) -> Iterator[Missing]:
    account = context.account(required(context.outputs).mysql_secret)
    if account.username != MYSQL_SINK_USER:
        raise UsageError(
            f"the secret pipeline.wayBack.mysqlSecret is for {account.username!r}, not {MYSQL_SINK_USER!r}"
        )
    if c.query("SELECT 1 FROM mysql.user WHERE user = %s AND host = '%%'", MYSQL_SINK_USER):
        return

    def make() -> None:
        c.cursor.execute(
            "CREATE USER %s@'%%' IDENTIFIED BY %s REQUIRE SSL ACCOUNT LOCK", (MYSQL_SINK_USER, account.password)
        )
        for statement in mysql_prepare(context.outputs.database):
            c.cursor.execute(statement)

    yield Missing(f"account {MYSQL_SINK_USER} on MySQL, locked", make)


def _left_over(context: Context, c: Controller) -> Iterator[Missing]:
    """Slots of rounds that are over: each makes Aurora keep its log for ever."""
    back = required(context.outputs)
    for (name,) in c.postgres.execute(
        "SELECT slot_name FROM pg_replication_slots WHERE starts_with(slot_name, %s) AND slot_name <> %s "
        "AND NOT active AND database = current_database()",
        (f"{PUBLICATION}_", back.slot),
    ).fetchall():
        drop = postgres_drop_slot(name).encode()
        yield Missing(f"slot {name} of a round that is over, dropped", partial(c.postgres.execute, drop))


def slot_state(pg: psycopg.Connection[Any], back: WayBack) -> tuple[bool, bool, int]:
    """Of the slot: whether it is there, whether it is in use, and how many bytes of log Aurora keeps for it."""
    row = pg.execute(
        "SELECT active, coalesce(pg_current_wal_lsn() - confirmed_flush_lsn, 0)::bigint FROM pg_replication_slots "
        "WHERE slot_name = %s",
        (back.slot,),
    ).fetchone()
    return (False, False, 0) if row is None else (True, bool(row[0]), int(row[1]))


class ReverseLag:
    """How late MySQL is behind Aurora: a marker's journey, through the log, Kafka and the sink."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._mysql = context.mysql(database="zdm", autocommit=True, read_timeout=10)
        try:
            self._postgres = context.postgres()
        except BaseException:
            self._mysql.close()
            raise

    def __enter__(self) -> ReverseLag:
        return self

    def __exit__(self, *_: object) -> None:
        self._mysql.close()
        self._postgres.close()

    def seconds(self, patience: float) -> float | None:
        """Seconds until a marker that is written now is on MySQL; None when that takes longer than `patience`."""
        marker, _ = mark_postgres(self._postgres)
        started = time.monotonic()
        with self._mysql.cursor() as cursor:
            while (past := time.monotonic() - started) < patience:
                cursor.execute("SELECT marker FROM zdm.watermark WHERE id = 1")
                row = cursor.fetchone()
                if row is not None and row[0] == marker:
                    return past
                time.sleep(TICK)
        return None


def await_running(context: Context, timeout: float) -> float:
    """Returns when a marker written on Aurora has arrived on MySQL: the way back carries. Its journey in seconds.

    Raises `ZdmError` that says what that means when none arrives within `timeout` seconds.
    """
    back = required(context.outputs)
    if back.state != "running":
        raise UsageError(
            f"the way back does not run: ./zdm up {context.outputs.stack} -c cdc.state=stopped -c cdc.reverse=running"
        )
    try:
        with ReverseLag(context) as lag:
            seconds = lag.seconds(timeout)
    except (psycopg.Error, pymysql.err.MySQLError, OSError) as e:
        raise ZdmError(f"the way back cannot be looked at: {e}") from e
    if seconds is None:
        raise ZdmError(
            f"the way back is broken: nothing that Aurora writes arrives on MySQL within {timeout:g} s. Aurora goes on "
            f"serving, and keeps its log for the slot {back.slot}, so nothing is lost yet; but there is no way "
            f"back until "
            f"{back.source_connector} and {back.sink_connector} run (see their logs), or you give it up with "
            "`./zdm cutover final`"
        )
    return seconds


def give_up(context: Context, c: Controller) -> None:
    """The end of the way back: nobody writes to MySQL any more, and Aurora keeps no log for it. Raises `ZdmError` when
    the slot is in use: its connector must be stopped first.
    """
    back = required(context.outputs)
    there, active, _ = slot_state(c.postgres, back)
    if active:
        raise UsageError(
            f"{back.source_connector} still reads from Aurora: first ./zdm up {context.outputs.stack} -c "
            f"cdc.reverse=stopped"
        )
    c.cursor.execute("SET GLOBAL super_read_only = OFF")
    c.lock_mysql_account(MYSQL_SINK_USER)
    c.cursor.execute("SET PERSIST super_read_only = ON")
    if there:
        c.postgres.execute(postgres_drop_slot(back.slot).encode())
