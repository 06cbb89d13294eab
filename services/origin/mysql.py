"""MySQL behind `Session`: asyncmy, binary protocol, one round trip to open a fenced transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any

import asyncmy
from asyncmy import errors
from asyncmy.constants.CLIENT import FOUND_ROWS

from contract.control import MYSQL_NOT_ALLOWED, READ_FENCE, flag_of_row
from contract.dual import READ_FENCE_FOR_WRITE
from contract.flag import Flag
from services.origin.database import CONNECT_SECONDS, Connection, Database, Kind, Row, Transaction
from services.origin.settings import Settings

_SESSION = "SET time_zone = '+00:00', innodb_lock_wait_timeout = 10, wait_timeout = 600"
_BEGIN = f"START TRANSACTION; {READ_FENCE_FOR_WRITE}"

_NOT_ALLOWED = MYSQL_NOT_ALLOWED | {1792}  # also: the transaction itself is READ ONLY
_CONFLICT = {1205, 1213, 1317, 3101}  # lock wait timeout, deadlock, interrupted, rolled back by group replication
_NOT_READY = {1040, 1044, 1045, 1049, 1146, 1203}  # too many connections; no such account, database or table
_LOST = {0, 1053, 1927, 2003, 2006, 2013, 2014, 2055, 3169, 4031}  # shutdown, killed, gone, idle for too long
_REFUSED = {1048, 1062, 1264, 1265, 1292, 1364, 1366, 1406, 1451, 1452, 1690, 3140, 3819, 4025}
_ROLLED_BACK_AT_COMMIT = MYSQL_NOT_ALLOWED | {1205, 1213, 3101}


@lru_cache(maxsize=1024)
def placeholders(sql: str) -> str:
    """`?` as asyncmy's `%s`."""
    return sql.replace("%", "%%").replace("?", "%s")


class MySQLConnection(Transaction):
    """An asyncmy connection as `Connection`; errors are the driver's, `kind_of` explains them."""

    def __init__(self, connection: Any) -> None:
        super().__init__()
        self._connection = connection
        self._locked = False

    @property
    def broken(self) -> bool:
        return not self._connection.connected or self._connection._stream_broken

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        cursor = self._connection.cursor()
        await cursor.execute(placeholders(sql), values)
        return list(await cursor.fetchall())

    async def execute(self, sql: str, *values: Any) -> int:
        cursor = self._connection.cursor()
        await cursor.execute(placeholders(sql), values)
        return int(cursor.rowcount)

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        for row in rows:
            await self.execute(sql, *row)

    async def insert(self, sql: str, *values: Any, key: str = "id") -> int | None:
        cursor = self._connection.cursor()
        await cursor.execute(placeholders(sql), values)
        return int(cursor.lastrowid) if cursor.rowcount else None

    async def lock(self, number: int) -> bool:
        self._locked = await self.claim(number)
        return self._locked

    async def claim(self, number: int) -> bool:
        [(taken,)] = await self.fetch("SELECT GET_LOCK(?, 0)", f"zdm:{number}")
        return bool(taken)

    async def savepoint(self) -> None:
        await self._connection.cursor().execute("SAVEPOINT work")

    async def back(self) -> None:
        await self._connection.cursor().execute("ROLLBACK TO SAVEPOINT work")

    async def read_flag(self) -> Flag | None:
        rows = await self.fetch(READ_FENCE)
        return flag_of_row(tuple(rows[0])) if rows else None

    async def begin(self) -> Flag | None:
        cursor = self._connection.cursor()
        await cursor.execute(_BEGIN)
        await cursor.nextset()
        row = await cursor.fetchone()
        self.dual, self.touched = bool(row and row[-1]), []
        return flag_of_row(tuple(row[:-1])) if row else None

    async def commit(self) -> None:
        await self._connection.commit()
        await self._unlock()

    async def rollback(self) -> None:
        await self._connection.rollback()
        await self._unlock()

    async def _unlock(self) -> None:
        """Lets go of the lock, which belongs to the connection and not to the transaction, whose end is known here."""
        if not self._locked:
            return
        self._locked = False
        try:
            await self._connection.cursor().execute("DO RELEASE_ALL_LOCKS()")
        except Exception:
            self.abort()

    async def close(self) -> None:
        await self._connection.ensure_closed()

    def abort(self) -> None:
        transport = self._connection._transport
        if transport is not None:
            transport.abort()  # closing would wait for TLS to say goodbye, and the transaction with it
        self._connection.close()

    def kind_of(self, error: Exception, committing: bool) -> Kind:
        if isinstance(error, OSError | EOFError):
            return Kind.LOST
        if not isinstance(error, errors.MySQLError):
            return Kind.BUG
        code = error.args[0] if error.args else None
        if committing and code not in _ROLLED_BACK_AT_COMMIT:
            return Kind.LOST
        for kind, codes in (
            (Kind.NOT_ALLOWED, _NOT_ALLOWED), (Kind.CONFLICT, _CONFLICT), (Kind.NOT_READY, _NOT_READY),
            (Kind.LOST, _LOST), (Kind.REFUSED, _REFUSED),
        ):  # fmt: skip
            if code in codes:
                return kind
        if isinstance(error, errors.InterfaceError):
            return Kind.LOST
        return Kind.REFUSED if isinstance(error, errors.IntegrityError | errors.DataError) else Kind.BUG


def mysql_database(settings: Settings) -> Database:
    """The database of the settings; nothing is connected yet."""
    return Database(settings.side, settings.database, connector(settings), settings.pool)


def connector(settings: Settings) -> Callable[[], Awaitable[Connection]]:
    """What opens a connection."""

    async def connect() -> Connection:
        connection = await asyncmy.connect(
            host=settings.host, port=settings.port, user=settings.user, password=settings.password,
            database=settings.database, ssl=settings.tls, charset="utf8mb4", autocommit=True,
            connect_timeout=CONNECT_SECONDS, client_flag=FOUND_ROWS, stmt_cache_size=128, init_command=_SESSION,
        )  # fmt: skip
        return MySQLConnection(connection)

    return connect
