"""One stream of a copy: its two connections, and the segments that it works through in portions.

A portion is one COPY and one transaction on the target, which also moves the segment's position. Its rows come from
queries of a bounded size, each a consistent read of its own: no lock, and no read view that lasts. How many rows a
query asks for follows from how long the ones before it took and how wide their rows were.

- A row that cannot be carried is set aside (`copy_state.Poisoned`). When PostgreSQL refuses a portion, ever smaller
  ones are tried until it is one row, which is set aside with what PostgreSQL said.
- A connection that is lost is made anew, and the portion done again.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import psycopg
import pymysql.err

from rows.errors import RowsError, ServerError
from scripts.data import copy_state
from scripts.data.copy_native import Reading
from scripts.data.copy_state import Poisoned, Run, Segment
from scripts.data.copy_table import LONGEST_QUERY, Carried
from scripts.data.difference import Key
from scripts.data.rules import MySQL, Postgres
from scripts.data.throttle import Throttle
from scripts.errors import ZdmError

QUERY_SECONDS: Final = 1.0
QUERY_BYTES: Final = 8 << 20
"""What a query should take and bring."""
ENOUGH: Final = 4
"""A query that brings, or takes, so many times as much is given up where it is."""
PORTION_SECONDS: Final = 3.0
PORTION_BYTES: Final = 32 << 20
"""After which no further query is put into a portion."""
FIRST_ROWS, MOST_ROWS, GROWTH = 64, 200_000, 4
"""Of a query; from one to the next it asks for at most so many times as much."""

PATIENCE: Final = 300.0
"""Seconds that a lost connection is tried for."""
LONGEST_WAIT: Final = 10.0

_GONE: Final = frozenset({
    1040, 1053, 1077, 1158, 1159, 1160, 1161, 1203, 1205, 1317, 1927, 2006, 2013, 2055, 3024, 4031,
})  # fmt: skip
"""MySQL's errors after which the same query may succeed."""
_ROWS_FAULT: Final = ("22", "23", "54", "P0", "08P01")
"""SQLSTATEs (or their classes) that say that a row cannot be stored."""
_PASSING: Final = ("08", "25006", "40", "53", "55", "57", "58")
"""Those after which the same statement may succeed."""


class Sides(Protocol):
    """Where connections come from (`scripts.context.Context`)."""

    def mysql(self, **options: Any) -> MySQL: ...

    def postgres(self, **options: Any) -> Postgres: ...


class Lost(Exception):
    """A connection, or a server for a while."""


@dataclass
class Size:
    """How many rows the next query asks for."""

    rows: int = FIRST_ROWS
    alone: bool = False
    """Whether a portion is a single query, because PostgreSQL has refused a row near by."""

    def took(self, rows: int, size: int, seconds: float) -> None:
        """After a query that brought `rows` rows of `size` bytes."""
        if rows == 0:
            return
        allowed = min(QUERY_BYTES * rows // max(size, 1), int(QUERY_SECONDS * rows / max(seconds, 1e-6)), MOST_ROWS)
        self.alone = self.alone and self.rows < allowed
        self.rows = max(1, min(allowed, self.rows * (2 if self.alone else GROWTH)))

    def refused(self, rows: int) -> None:
        """After a portion of `rows` rows that PostgreSQL refused."""
        self.alone = True
        self.rows = max(1, min(self.rows, rows) // 2)


class Stream:
    """Use as a context manager; from one thread."""

    def __init__(
        self,
        sides: Sides,
        run: Run,
        reading: Callable[[Carried], Reading],
        options: Mapping[str, Any],
        throttle: Throttle,
        stop: threading.Event,
        moved: Callable[[int, int], object],
        patience: float = PATIENCE,
    ) -> None:
        """`options` are of the connection to MySQL; `moved` is told the rows and bytes of each portion; `stop` ends
        the work behind a portion."""
        self._sides, self._run, self._reading, self._options = sides, run, reading, options
        self._throttle, self._stop, self._moved, self._patience = throttle, stop, moved, patience
        self._my: MySQL | None = None
        self._pg: Postgres | None = None

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._disconnect()

    def copy(self, table: Carried, segment: Segment) -> Segment:
        """Brings a segment to its end, or as far as it is when `stop` is set. Raises `ZdmError`."""
        size = Size()
        failing: float | None = None
        wait = 0.1
        while not segment.done and not self._stop.is_set():
            before = segment
            try:
                segment = self._portion(table, segment, size)
                failing, wait = None, 0.1
                self._moved(segment.rows - before.rows, segment.bytes - before.bytes)
                if not segment.done:
                    self._rest(segment.bytes - before.bytes)
            except Lost as e:
                self._disconnect()
                failing = failing or time.monotonic()
                if time.monotonic() - failing > self._patience:
                    raise ZdmError(
                        f"{table.name}: {e}; tried for {self._patience:.0f} s. The same command goes on from here"
                    ) from e
                self._stop.wait(wait)
                wait = min(2 * wait, LONGEST_WAIT)
        return segment

    def _rest(self, size: int) -> None:
        try:
            self._throttle.pause(self._connected()[0], size, self._stop)
        except (pymysql.err.MySQLError, OSError) as e:
            raise Lost(f"MySQL: {e}") from e

    # --- one portion ---

    def _portion(self, table: Carried, segment: Segment, size: Size) -> Segment:
        """Carries the next rows; the segment as it is afterwards. Raises `Lost`, or `ZdmError`."""
        my, pg = self._connected()
        reading = self._reading(table)
        rows, last = 0, None
        try:
            with pg.transaction():
                now = copy_state.claim(pg, self._run, segment)
                if now.done:
                    return now
                at, done, began = now.rest, False, time.monotonic()
                with pg.cursor() as cursor, cursor.copy(table.copy_into(reading.form)) as copy:
                    copy.write(reading.header)
                    while True:
                        asked, sent, asked_at = size.rows, reading.size, time.monotonic()
                        chunk = reading.read(my, table.select(at, asked), copy.write, _enough(asked_at))
                        rows += chunk.rows
                        last = reading.last or last
                        at = replace(at, after=last or at.after)
                        done = chunk.whole and chunk.rows < asked
                        single = size.alone
                        size.took(chunk.rows, reading.size - sent, time.monotonic() - asked_at)
                        if done or single or not chunk.whole or _full(reading.size, began):
                            break
                    copy.write(reading.trailer)
                poisons = reading.poisons()
                now = replace(
                    now,
                    last=last or now.last,
                    rows=now.rows + reading.rows,
                    bytes=now.bytes + reading.size,
                    set_aside=now.set_aside + len(poisons),
                    done=done,
                )
                copy_state.advance(pg, self._run, now, poisons)
            if not my.open:  # the reading had enough of a query
                self._my = None
            return now
        except psycopg.Error as e:
            self._drop_mysql()
            if pg.broken or (_is(e, _PASSING) and not _is(e, _ROWS_FAULT)):
                raise Lost(f"PostgreSQL: {_message(e)}") from e
            if not _is(e, _ROWS_FAULT) or last is None:
                raise ZdmError(f"PostgreSQL refuses the rows of {table.name}: {_message(e)}") from e
            if rows == 1:
                return self._set_aside(table, segment, last, e)
            size.refused(rows)
            return segment
        except (RowsError, pymysql.err.MySQLError, OSError) as e:
            self._drop_mysql()
            code = _mysql_code(e)
            if code is not None and code not in _GONE:
                raise ZdmError(f"MySQL cannot read {table.name}: {e}") from e
            raise Lost(f"MySQL: {e}") from e
        finally:
            reading.close()

    def _set_aside(self, table: Carried, segment: Segment, key: Key, error: psycopg.Error) -> Segment:
        """The one row of a portion, which PostgreSQL refused."""
        pg = self._connected()[1]
        column = error.diag.column_name or _column_of(error.diag.context)
        try:
            with pg.transaction():
                now = copy_state.claim(pg, self._run, segment)
                if now.last != segment.last:
                    return now
                now = replace(now, last=key, set_aside=now.set_aside + 1)
                copy_state.advance(pg, self._run, now, [Poisoned(table.name, key, column, _message(error))])
                return now
        except psycopg.Error as e:
            raise Lost(f"PostgreSQL: {_message(e)}") from e

    # --- connections ---

    def _connected(self) -> tuple[MySQL, Postgres]:
        try:
            if self._my is None:
                my = self._sides.mysql(read_timeout=LONGEST_QUERY / 1000 + 60, write_timeout=60, **self._options)
                self._my = my
                with my.cursor() as cursor:
                    cursor.execute(
                        "SET SESSION transaction_isolation = 'READ-COMMITTED', sql_mode = '', net_write_timeout = 600"
                    )
                    cursor.execute("SET SESSION TRANSACTION READ ONLY")
            if self._pg is None or self._pg.broken:
                self._pg = self._sides.postgres(keepalives_idle=10, keepalives_interval=5, keepalives_count=3)
                self._pg.execute("SET synchronous_commit = off")
                self._pg.execute("SET statement_timeout = 0")
        except (ZdmError, psycopg.Error, pymysql.err.MySQLError, OSError) as e:
            raise Lost(str(e)) from e
        return self._my, self._pg

    def _drop_mysql(self) -> None:
        my, self._my = self._my, None
        if my is not None:
            with suppress(pymysql.err.MySQLError, OSError):
                my.close()

    def _disconnect(self) -> None:
        self._drop_mysql()
        pg, self._pg = self._pg, None
        if pg is not None:
            pg.close()


def _enough(began: float) -> Callable[[int], bool]:
    return lambda size: size >= ENOUGH * QUERY_BYTES or time.monotonic() - began >= ENOUGH * QUERY_SECONDS


def _full(size: int, began: float) -> bool:
    return size >= PORTION_BYTES or time.monotonic() - began >= PORTION_SECONDS


def _is(error: psycopg.Error, states: tuple[str, ...]) -> bool:
    return (error.sqlstate or "08").startswith(states)


def _message(error: psycopg.Error) -> str:
    """What PostgreSQL says, without the row that it shows as a detail."""
    return error.diag.message_primary or str(error).strip()


def _column_of(context: str | None) -> str:
    match = re.search(r"line \d+, column ([^:]+)", context or "")
    return match[1] if match else ""


def _mysql_code(error: Exception) -> int | None:
    """MySQL's number of its own error; None when the connection is lost."""
    if isinstance(error, ServerError):
        return int(error.code)
    if isinstance(error, pymysql.err.MySQLError) and error.args and isinstance(error.args[0], int):
        return error.args[0] or None
    return None
