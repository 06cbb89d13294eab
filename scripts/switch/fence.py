"""The fence: the flag as each database's own truth (`zdm.fence`), and what enforces it for those who do not ask.

MySQL's `read_only` stops the applications, `super_read_only` everybody. PostgreSQL's right to write belongs to the role
`zdm_writer`, which has one member. Nothing here decides anything; the order of the steps is the cutover's.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pymysql
from pymysql.connections import Connection as MySQLConnection
from pymysql.cursors import Cursor as MySQLCursor

from contract.control import (
    APP_USER,
    MARK_POSTGRES,
    MARK_WATERMARK,
    MYSQL_NOT_ALLOWED,
    MYSQL_READ_FENCE_FOR_WRITE,
    OPERATOR_LOCK,
    OPERATOR_LOCK_KEY,
    POSTGRES_LOCK_FOR_CHANGE,
    READ_FENCE,
    SET_FENCE,
    SINK_USER,
    UPDATE_FENCE,
    WRITER_ROLE,
    adopt_values,
    fence_values,
    flag_of_row,
)
from contract.flag import Flag, Side
from scripts.clients.gtid import GtidSet
from scripts.context import Context
from scripts.errors import UsageError, ZdmError

LOCK_WAIT = 3
"""Seconds that the controller waits for writes under way (and for metadata locks) before it gives up."""

TICK = 0.01
"""Seconds between two looks at sessions that end."""

FENCE_ATTEMPTS = 3
"""So often the closing is repeated when someone privileged wrote in between."""


class Moved(ZdmError):
    """Someone else changed the flag in the meantime; nothing was changed here."""

    exit_code = 1


class Busy(UsageError):
    """Another operator is at work."""


class Controller:
    """The connections of whoever changes authority: one to each database, prepared before anything is fenced."""

    def __init__(self, context: Context) -> None:
        self.mysql: MySQLConnection[Any] = context.mysql(
            database="zdm", autocommit=True, read_timeout=10, write_timeout=10
        )
        self.cursor: MySQLCursor = self.mysql.cursor()
        try:
            self.postgres: psycopg.Connection[Any] = context.postgres(
                keepalives_idle=5, keepalives_interval=2, keepalives_count=3, tcp_user_timeout=15_000
            )
        except BaseException:
            self.mysql.close()
            raise
        self.cursor.execute(
            f"SET SESSION lock_wait_timeout = {LOCK_WAIT}, innodb_lock_wait_timeout = {LOCK_WAIT}, "
            "transaction_isolation = 'READ-COMMITTED', time_zone = 'SYSTEM'"
        )  # as information_schema tells times
        self.postgres.execute(f"SET lock_timeout = '{LOCK_WAIT}s'")
        self.postgres.execute("SET statement_timeout = '15s'")

    def __enter__(self) -> Controller:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends both sessions; the operator's locks go with them."""
        with contextlib.suppress(pymysql.err.MySQLError, OSError):
            self.mysql.close()
        self.postgres.close()

    def lock(self) -> None:
        """Makes this the only operator. Raises `Busy` that says where the other one is."""
        [(got,)] = self.query("SELECT GET_LOCK(%s, 0)", OPERATOR_LOCK)
        if got != 1:
            [(thread,)] = self.query("SELECT IS_USED_LOCK(%s)", OPERATOR_LOCK)
            raise Busy(
                "another operator changes authority right now "
                f"(MySQL connection {thread}, see SHOW PROCESSLIST); nothing was changed"
            )
        row = self.postgres.execute("SELECT pg_try_advisory_lock(%s)", (OPERATOR_LOCK_KEY,)).fetchone()
        if row is None or not row[0]:
            raise Busy(
                "another operator changes authority right now (PostgreSQL advisory lock "
                f"{OPERATOR_LOCK_KEY}, see pg_locks); nothing was changed"
            )

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows from MySQL."""
        self.cursor.execute(statement, values or None)
        return list(self.cursor.fetchall())

    # --- the fence rows ---

    def mysql_flag(self) -> Flag:
        rows = self.query(READ_FENCE)
        if not rows:
            raise UsageError("MySQL has no zdm.fence row: run `./zdm bootstrap` first")
        return flag_of_row(rows[0])

    def postgres_flag(self) -> Flag:
        row = self.postgres.execute(READ_FENCE).fetchone()
        if row is None:
            raise UsageError("PostgreSQL has no zdm.fence row: run `./zdm bootstrap` first")
        return flag_of_row(row)

    def set_mysql(self, flag: Flag, replaces: Flag | None, note: Callable[[MySQLCursor], None] | None = None) -> None:
        """Changes MySQL's row once every write under way has ended; `note` writes in the same transaction.

        `replaces` is what must be there (raises `Moved` if it is not); None adopts the flag over anything older.
        """
        self.cursor.execute("START TRANSACTION")
        try:
            changed = (
                self.cursor.execute(SET_FENCE, adopt_values(flag))
                if replaces is None
                else self.cursor.execute(UPDATE_FENCE, (*fence_values(flag), replaces.epoch, replaces.v))
            )
            if not changed and replaces is not None:
                raise Moved(f"MySQL's flag is no longer {replaces.to_json()}: someone changed it in the meantime")
            if note is not None:
                note(self.cursor)
            self.cursor.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(pymysql.err.MySQLError, OSError):  # a lost session rolls back by itself
                self.cursor.execute("ROLLBACK")
            raise

    def set_postgres(self, flag: Flag, replaces: Flag | None = None, note: Callable[[], None] | None = None) -> None:
        """The same for PostgreSQL's row."""
        with self.postgres.transaction():
            self.postgres.execute(POSTGRES_LOCK_FOR_CHANGE)
            changed = (
                self.postgres.execute(SET_FENCE, adopt_values(flag))
                if replaces is None
                else self.postgres.execute(UPDATE_FENCE, (*fence_values(flag), replaces.epoch, replaces.v))
            ).rowcount
            if not changed and replaces is not None:
                raise Moved(f"PostgreSQL's flag is no longer {replaces.to_json()}: someone changed it in the meantime")
            if note is not None:
                note()

    # --- MySQL for those who do not ask ---

    def close_mysql(self, between: Callable[[], None] | None = None) -> tuple[GtidSet, int]:
        """Makes MySQL read only for everybody, and proves that nothing slipped in. The row must hold writes already.

        Two markers: all that was committed up to the first must be drained; between it and the closed door there may be
        exactly one transaction, the second marker. (A position of the source connector shows a transaction only once
        the next one has passed; that is the second marker's other use.) `between` runs between the markers, for tests.
        """
        found = 0
        for attempt in range(1, FENCE_ATTEMPTS + 1):
            self.cursor.execute("SET GLOBAL super_read_only = OFF, GLOBAL read_only = ON")
            mark(self.cursor)
            first = executed(self.cursor)
            if between is not None:
                between()
            mark(self.cursor)
            self.cursor.execute("SET PERSIST super_read_only = ON")  # a restart must not open it again
            rest = executed(self.cursor) - first
            if rest.count == 1:
                return first, attempt - 1
            found = rest.count - 1
        raise ZdmError(
            f"{found} transactions of someone privileged went into the fenced MySQL, {FENCE_ATTEMPTS} times in a "
            "row: stop whoever writes with CONNECTION_ADMIN or SUPER (jobs, replication, events) and try again"
        )

    def open_mysql(self, change: Callable[[], None]) -> None:
        """Lets MySQL be written again, as far as its fence row allows, which `change` changes in between."""
        self.cursor.execute("SET GLOBAL super_read_only = OFF")
        for variable in ("super_read_only", "read_only"):
            self.cursor.execute(f"RESET PERSIST IF EXISTS {variable}")
        change()
        self.cursor.execute("SET GLOBAL read_only = OFF")

    # --- PostgreSQL for those who do not ask ---

    def move_right_to_write(self, writer: Side) -> None:
        """In the open transaction: of the application and the sink, only who belongs to this writer may write. (A late
        redelivery by the other would undo newer rows.)
        """
        loses, gets = (SINK_USER, APP_USER) if writer is Side.AURORA else (APP_USER, SINK_USER)
        self.postgres.execute(f"REVOKE {WRITER_ROLE} FROM {loses}")
        self.postgres.execute(f"GRANT {WRITER_ROLE} TO {gets}")

    def take_right_to_write(self) -> None:
        """In the open transaction: the application may not write any more; nobody else may instead."""
        self.postgres.execute(f"REVOKE {WRITER_ROLE} FROM {APP_USER}")

    def take_right_from_sink(self) -> None:
        """The sink may not write any more, nor what it has begun."""
        self.postgres.execute(f"REVOKE {WRITER_ROLE} FROM {SINK_USER}")
        self.end_statements(SINK_USER)

    def end_statements(self, user: str, patience: float = 0.0) -> int:
        """Ends what may still write by a privilege that was revoked: statements that passed its check before. Idle
        sessions must pass anew. Those under way have `patience` seconds to end by themselves. Returns how many were
        ended.
        """
        under_way = "usename = %s AND state <> 'idle' AND (state = 'active' OR backend_xid IS NOT NULL)"
        deadline = time.monotonic() + patience
        [(now,)] = self.postgres.execute("SELECT clock_timestamp()").fetchall()
        while time.monotonic() < deadline:
            query = f"SELECT count(*) FROM pg_stat_activity WHERE {under_way} AND xact_start < %s"
            row = self.postgres.execute(query, (user, now)).fetchone()
            if row is None or row[0] == 0:
                return 0
            time.sleep(TICK)
        ended = self.postgres.execute(
            f"SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity WHERE {under_way} AND xact_start < %s",
            (user, now),
        )
        return len(ended.fetchall())

    # --- the writer of the way back on MySQL ---

    def lock_mysql_account(self, user: str) -> None:
        """Nobody may log in as `user`, and its sessions have ended. MySQL checks a database's privileges only when a
        session turns to it, so revoking them would not stop those that are there.
        """
        self._account(user, "LOCK")
        deadline = time.monotonic() + LOCK_WAIT
        while sessions := [row[0] for row in self.query("SHOW FULL PROCESSLIST") if row[1] == user]:
            if time.monotonic() > deadline:
                raise ZdmError(f"MySQL's sessions {sessions} of {user} do not end within {LOCK_WAIT} s")
            for session in sessions:
                with contextlib.suppress(pymysql.err.MySQLError):  # it has ended by itself
                    self.cursor.execute(f"KILL {session}")
            time.sleep(TICK)

    def unlock_mysql_account(self, user: str) -> None:
        """It may log in again."""
        self._account(user, "UNLOCK")

    def _account(self, user: str, how: str) -> None:
        self.cursor.execute("SET SESSION sql_log_bin = 0")  # no change of the shop's, and nothing to be drained
        try:
            self.cursor.execute(f"ALTER USER IF EXISTS %s@'%%' ACCOUNT {how}", (user,))
        finally:
            self.cursor.execute("SET SESSION sql_log_bin = 1")


@dataclass(frozen=True)
class Closed:
    """A side is closed: `executed` is what must be drained (MySQL's GTID set, a place in PostgreSQL's log); `repeats`
    counts closings that a privileged one spoiled, `ended` the sessions that had to be ended.
    """

    executed: GtidSet | int
    repeats: int = 0
    ended: int = 0


def mark(cursor: MySQLCursor) -> str:
    """Writes a new marker to MySQL's watermark, which CDC captures, and returns it."""
    marker = str(uuid.uuid4())
    cursor.execute(MARK_WATERMARK, (marker,))
    return marker


def mark_postgres(pg: psycopg.Connection[Any]) -> tuple[str, int]:
    """Writes a new marker to PostgreSQL's watermark, which the way back captures. Returns it, and a place in the log
    that is behind its commit.
    """
    marker = str(uuid.uuid4())
    pg.execute(MARK_POSTGRES, (marker,))
    [(place,)] = pg.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchall()
    return marker, int(place)


def postgres_place(pg: psycopg.Connection[Any]) -> int:
    """A place in PostgreSQL's log behind all that was committed. A marker behind it shows when it has been read."""
    _, place = mark_postgres(pg)
    mark_postgres(pg)
    return place


def mark_if_open(cursor: MySQLCursor) -> str | None:
    """The same as a writer like any other: None, and nothing written, while the fence does not let MySQL be written.

    Whoever is not the cutover marks this way, so that a privileged account does not get in the cutover's way.
    """
    cursor.execute("START TRANSACTION")
    try:
        cursor.execute(MYSQL_READ_FENCE_FOR_WRITE)
        row = cursor.fetchone()
        if row is None or not flag_of_row(row).may_write(Side.MYSQL):
            cursor.execute("ROLLBACK")
            return None
        marker = mark(cursor)
        cursor.execute("COMMIT")
    except pymysql.err.MySQLError as e:
        with contextlib.suppress(pymysql.err.MySQLError, OSError):
            cursor.execute("ROLLBACK")
        if e.args and e.args[0] in MYSQL_NOT_ALLOWED:
            return None
        raise
    return marker


def executed(cursor: MySQLCursor) -> GtidSet:
    """Every transaction that MySQL has committed."""
    cursor.execute("SELECT @@GLOBAL.gtid_executed")
    row = cursor.fetchone()
    return GtidSet.parse(row[0] if row else "")
