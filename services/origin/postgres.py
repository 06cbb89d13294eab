"""PostgreSQL behind `Session`: asyncpg, prepared statements, the fence's lock and row in two statements."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any

import asyncpg

from contract.control import POSTGRES_LOCK_FOR_WRITE, POSTGRES_NOT_ALLOWED, READ_FENCE, flag_of_row
from contract.flag import Flag
from services.origin.database import CONNECT_SECONDS, Connection, Database, Kind, Row, Transaction
from services.origin.settings import Settings

_SESSION = {
    "timezone": "UTC",
    "default_transaction_isolation": "read committed",  # the fence's row must be read by a snapshot after the lock
    "lock_timeout": "10s",
    "statement_timeout": "15s",
    "idle_in_transaction_session_timeout": "30s",
    "application_name": "zdm-origin",
}
_BEGIN = f"BEGIN; {POSTGRES_LOCK_FOR_WRITE}"

_CONFLICT = {"40001", "40P01", "55P03", "57014"}  # serialization, deadlock, lock timeout, statement timeout
_ROLLED_BACK_AT_COMMIT = {"40001", "40P01", *POSTGRES_NOT_ALLOWED}
_GONE = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError)
"""The driver's own errors on a connection that the server has closed, depending on what it was doing."""


@lru_cache(maxsize=1024)
def placeholders(sql: str) -> str:
    """`?` as PostgreSQL's `$1`, `$2`, ..."""
    head, *rest = sql.split("?")
    return head + "".join(f"${i}{part}" for i, part in enumerate(rest, 1))


class PostgresConnection(Transaction):
    """An asyncpg connection as `Connection`; errors are the driver's, `kind_of` explains them."""

    def __init__(self, connection: Any) -> None:
        super().__init__()
        self._connection = connection

    @property
    def broken(self) -> bool:
        return bool(self._connection.is_closed())

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        rows: list[Row] = await self._connection.fetch(placeholders(sql), *values)
        return rows

    async def execute(self, sql: str, *values: Any) -> int:
        status: str = await self._connection.execute(placeholders(sql), *values)
        return int(status.rpartition(" ")[2])

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        await self._connection.executemany(placeholders(sql), rows)

    async def insert(self, sql: str, *values: Any, key: str = "id") -> int | None:
        made = await self._connection.fetchval(f'{placeholders(sql)} RETURNING "{key}"', *values)
        return None if made is None else int(made)

    async def lock(self, number: int) -> bool:
        return bool(await self._connection.fetchval("SELECT pg_try_advisory_xact_lock($1, $2)", *_halves(number)))

    async def claim(self, number: int) -> bool:
        return bool(await self._connection.fetchval("SELECT pg_try_advisory_lock($1, $2)", *_halves(number)))

    async def savepoint(self) -> None:
        await self._connection.execute("SAVEPOINT work")

    async def back(self) -> None:
        await self._connection.execute("ROLLBACK TO SAVEPOINT work")

    async def read_flag(self) -> Flag | None:
        row = await self._connection.fetchrow(READ_FENCE)
        return flag_of_row(tuple(row)) if row else None

    async def begin(self) -> Flag | None:
        await self._connection.execute(_BEGIN)
        return await self.read_flag()

    async def commit(self) -> None:
        status = await self._connection.execute("COMMIT")
        if status != "COMMIT":
            raise RuntimeError(f"COMMIT was answered with {status}")

    async def rollback(self) -> None:
        await self._connection.execute("ROLLBACK")

    async def close(self) -> None:
        await self._connection.close(timeout=2)

    def abort(self) -> None:
        self._connection.terminate()

    def kind_of(self, error: Exception, committing: bool) -> Kind:
        if isinstance(error, asyncpg.InvalidCachedStatementError):
            return Kind.CONFLICT  # the schema changed; the driver prepares the statement anew
        if isinstance(error, asyncpg.PostgresError):
            return _kind_of_state(error.sqlstate or "", committing)
        if isinstance(error, asyncpg.DataError):
            return Kind.REFUSED
        return Kind.LOST if isinstance(error, _GONE) else Kind.BUG


def _halves(number: int) -> tuple[int, int]:
    """A lock of two numbers is never the fence's, which has one."""
    high, low = struct.unpack(">ii", struct.pack(">q", number))
    return high, low


def _kind_of_state(state: str, committing: bool) -> Kind:
    if committing and state not in _ROLLED_BACK_AT_COMMIT and not state.startswith("23"):
        return Kind.LOST
    if state in POSTGRES_NOT_ALLOWED:
        return Kind.NOT_ALLOWED
    if state in _CONFLICT:
        return Kind.CONFLICT
    if state.startswith(("28", "3D", "3F", "53")) or state in ("42P01", "57P03"):
        return Kind.NOT_READY
    if state.startswith(("08", "57P")):
        return Kind.LOST
    return Kind.REFUSED if state.startswith(("22", "23")) else Kind.BUG


def postgres_database(settings: Settings) -> Database:
    """The database of the settings; nothing is connected yet."""
    return Database(settings.side, settings.database, _connector(settings), settings.pool)


def _connector(settings: Settings) -> Callable[[], Awaitable[Connection]]:
    async def connect() -> Connection:
        connection = await asyncpg.connect(
            host=settings.host, port=settings.port, user=settings.user, password=settings.password,
            database=settings.database, ssl=settings.tls or False, timeout=CONNECT_SECONDS, server_settings=_SESSION,
        )  # fmt: skip
        return PostgresConnection(connection)

    return connect
