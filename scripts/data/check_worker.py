"""What both methods of the check have in common: a chunk, its result, and the connections that work on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import psycopg
import pymysql
import pymysql.cursors
from pg8000.native import Connection as CopyOut

from scripts.data.difference import Key
from scripts.data.keyset import Bounds, mysql_condition, postgres_condition
from scripts.data.rules import MySQL, Postgres, Rules

SECONDS = 30
"""A statement of a chunk is ended after so long, and the chunk halved."""

TOO_SLOW = frozenset({"3024", "1317", "57014", "40001"})
"""What the databases say then, and what a reader says that had to end a statement to keep up with the writer."""

T = TypeVar("T")


class TooSlow(Exception):
    """A chunk took longer than `SECONDS`: smaller ones are in order."""


class Disagree(Exception):
    """The two databases order the keys too differently for ranges of them; the message says how that was seen."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was seen of the rows within `bounds`. Suspects are keys that looked different."""

    bounds: Bounds
    source_rows: int
    target_rows: int
    suspects: tuple[Key, ...] = ()
    refused: Mapping[Key, tuple[str, str]] = field(default_factory=dict)
    """Suspects that hold a value which the target cannot have: column and reason."""
    digest: str | None = None
    """SHA-256 of the target's rows in the order of the key, as binary COPY has them."""
    ended: bool = False
    """Whether this is the last chunk of the range asked for."""
    seconds: float = 0.0


class Sides(Protocol):
    """Where connections come from (`scripts.context.Context`)."""

    def mysql(self) -> MySQL: ...

    def postgres(self, *, reader: bool = False) -> Postgres: ...

    def copy_out(self, *, reader: bool = False) -> CopyOut: ...


class Method(Protocol):
    """One way of comparing."""

    @property
    def name(self) -> str: ...

    @property
    def most_rows(self) -> int:
        """Of a chunk."""
        ...

    @property
    def most_bytes(self) -> int:
        """Of a chunk, by the table's average."""
        ...

    def chunk(self, worker: Worker, rules: Rules, bounds: Bounds, size: int) -> Chunk:
        """Compares about the first `size` rows within `bounds`. Raises `TooSlow` or `Disagree`."""
        ...


@dataclass(frozen=True, slots=True)
class Where:
    """A condition of the user, valid in both databases; empty for all rows."""

    sql: str = ""

    def mysql(self, rules: Rules, bounds: Bounds) -> str:
        return self._with(mysql_condition(rules, bounds))

    def postgres(self, rules: Rules, bounds: Bounds) -> str:
        """Raises `Disagree` for a bound that the target cannot have."""
        try:
            return self._with(postgres_condition(rules, bounds))
        except (psycopg.DataError, UnicodeEncodeError) as e:
            raise Disagree(f"the key has a text that only MySQL has ({e})") from e

    def _with(self, condition: str) -> str:
        return f"{condition} AND (\n{self.sql}\n)" if self.sql else condition  # it may end with a comment


ALL_ROWS: Final = Where()


class Worker:
    """At most one connection to each database, made when needed, that can only read and whose statements end in time.

    Either `postgres` or `copy_out` is open: asking for one closes the other.
    """

    def __init__(self, sides: Sides, *, reader: bool = False, seconds: float = SECONDS) -> None:
        self._sides, self._reader = sides, reader
        self._milliseconds = round(seconds * 1000)
        self._mysql: MySQL | None = None
        self._postgres: Postgres | None = None
        self._copy_out: CopyOut | None = None
        self._pool = ThreadPoolExecutor(1)
        self.steps: dict[str, float] = {}
        """By table with an integer key: how far the key goes on from one row to the next, as last seen."""

    @property
    def mysql(self) -> MySQL:
        if self._mysql is None:
            self._mysql = self._sides.mysql()
            read_only(self._mysql, self._milliseconds)
        return self._mysql

    @property
    def postgres(self) -> Postgres:
        if self._postgres is None:
            self._close_target()
            self._postgres = self._sides.postgres(reader=self._reader)
            for statement in self._target_settings():
                self._postgres.execute(statement.encode())
        return self._postgres

    @property
    def copy_out(self) -> CopyOut:
        if self._copy_out is None:
            self._close_target()
            self._copy_out = self._sides.copy_out(reader=self._reader)
            for statement in self._target_settings():
                self._copy_out.run(statement)
        return self._copy_out

    def unbounded(self) -> None:
        """For a statement over a whole table: it may take as long as it takes."""
        with self.mysql.cursor() as cursor:
            cursor.execute("SET SESSION max_execution_time = 0")
        self.postgres.execute("SET statement_timeout = 0")

    def source(self, sql: str) -> list[tuple[Any, ...]]:
        with self.mysql.cursor(pymysql.cursors.Cursor) as cursor:
            try:
                cursor.execute(sql)
                return list(cursor.fetchall())
            except pymysql.err.OperationalError as e:
                raise (TooSlow(e.args[1]) if str(e.args[0]) in TOO_SLOW else e) from e

    def target(self, sql: str) -> list[tuple[Any, ...]]:
        try:
            return self.postgres.execute(sql.encode()).fetchall()
        except (psycopg.errors.QueryCanceled, psycopg.errors.SerializationFailure) as e:
            raise TooSlow(str(e)) from e
        except (psycopg.errors.DatetimeFieldOverflow, psycopg.errors.InvalidDatetimeFormat) as e:
            raise Disagree(f"the key has a date that only MySQL has ({e.diag.message_primary})") from e

    def both(self, source: Callable[[], T], target: Callable[[], T]) -> tuple[T, T]:
        """Both at the same time."""
        other: Future[T] = self._pool.submit(target)
        try:
            mine = source()
        finally:
            with suppress(Exception):
                other.result()
        return mine, other.result()

    def reset(self) -> None:
        """After an error in the middle of something: the next use connects anew."""
        if self._mysql is not None:
            self._mysql._force_close()  # type: ignore[attr-defined]  # without waiting for what is still to come
            self._mysql = None
        self._close_target()

    def close(self) -> None:
        self.reset()
        self._pool.shutdown()

    def _target_settings(self) -> tuple[str, str]:
        return (
            f"SET statement_timeout = {self._milliseconds}",
            "SET default_transaction_read_only = on",
        )

    def _close_target(self) -> None:
        if self._postgres is not None:
            self._postgres.close()
            self._postgres = None
        if self._copy_out is not None:
            with suppress(Exception):  # it may be in the middle of a COPY, or gone
                self._copy_out._usock.close()
            self._copy_out = None


def read_only(mysql: MySQL, milliseconds: int) -> None:
    """A session that takes no locks and whose statements end after so long. Modes that change values are off."""
    with mysql.cursor() as cursor:
        cursor.execute("SET SESSION transaction_read_only = ON, sql_mode = ''")
        cursor.execute(f"SET SESSION max_execution_time = {milliseconds}, group_concat_max_len = {1 << 30}")
