"""A fenced database: transactions that first ask whether they may happen, on MySQL and PostgreSQL alike.

Invariants:
- Every write transaction takes the fence (`zdm.fence`, see `contract.control`) before its first change and keeps it
  until its end, so whoever changes the fence waits for it.
- A transaction is repeated only when it certainly did not happen: a deadlock, or a connection lost before COMMIT was
  sent.
- When the answer to COMMIT is lost, nobody knows; that is `UnknownOutcome`, and nothing is repeated.
- SQL is written once with `?` for values; each driver's own placeholders are made from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from enum import Enum
from typing import Any, Protocol, TypeVar

from contract.flag import Flag, Side

log = logging.getLogger("zdm.origin")

T = TypeVar("T")

DEADLINE_SECONDS = 20.0
"""A transaction that takes longer is given up; longer than every lock wait of the databases (10 s)."""
POOL_WAIT_SECONDS = 5.0
"""How long a request waits for a free connection."""
CONNECT_SECONDS = 5.0
CONNECT_PAUSE_SECONDS = 0.1
"""After a failed attempt nobody tries again for so long: a database that comes back must not meet a storm."""
CONFLICT_ATTEMPTS = 5
"""So often a transaction is tried when the database chose it as the victim of a deadlock."""


class DatabaseError(Exception):
    """The transaction did not happen, unless it is an `UnknownOutcome`."""


class Unavailable(DatabaseError):
    """No connection, or the database or its tables are not there yet."""


class Conflict(DatabaseError):
    """A deadlock or a lock that was not to be had in time."""


class Refused(DatabaseError):
    """The values break a rule of the database: a duplicate, a missing parent, a value out of range."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Fenced(DatabaseError):
    """This side may not do it; `flag` is what its fence said."""

    def __init__(self, flag: Flag) -> None:
        super().__init__("this side may not do that now")
        self.flag = flag


class UnknownOutcome(DatabaseError):
    """The connection was lost while COMMIT was under way: the write happened, or it did not."""


class Kind(Enum):
    """What a driver's error means for the transaction."""

    LOST = "the connection is gone"
    NOT_READY = "the database, its tables or the account are not there yet"
    NOT_ALLOWED = "the database is read only, or the privilege is missing"
    CONFLICT = "deadlock or lock timeout"
    REFUSED = "the values break a rule"
    BUG = "a mistake in the SQL or in this program"


Row = Sequence[Any]


class Transaction:
    """What is noted about a connection's open transaction."""

    def __init__(self) -> None:
        self.dual = False
        """Whether its rows are to be written to the second database too."""
        self.touched: list[tuple[str, str, Any]] = []

    def touch(self, table: str, column: str, value: Any) -> None:
        """Says that rows of `table` with this value in `column` are changed."""
        if self.dual:
            self.touched.append((table, column, value))


class Session(Protocol):
    """One connection. Between `begin` and `commit` it is a transaction; otherwise each statement is its own."""

    async def fetch(self, sql: str, *values: Any) -> Sequence[Row]:
        """The rows of a query."""

    async def execute(self, sql: str, *values: Any) -> int:
        """Runs a change and returns how many rows it found."""

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Runs a change once for each row of values, in their order, with as few round trips as the driver can."""

    async def insert(self, sql: str, *values: Any, key: str = "id") -> int | None:
        """Runs an INSERT of at most one row and returns the value that `key` was given, or None if no row went in."""

    dual: bool
    touched: list[tuple[str, str, Any]]

    def touch(self, table: str, column: str, value: Any) -> None:
        """Says that rows of `table` with this value in `column` are changed, for who copies them."""

    async def lock(self, number: int) -> bool:
        """Takes the lock of this number (64 bits with a sign) until the transaction ends. False: another one has it."""

    async def savepoint(self) -> None:
        """Marks a point of the open transaction. It has one at most."""

    async def back(self) -> None:
        """Undoes what the transaction did since its savepoint."""


class Connection(Session, Protocol):
    """What a driver's adaptor adds for the pool and the fence."""

    @property
    def broken(self) -> bool:
        """Whether it is certain that it cannot be used any more."""

    async def read_flag(self) -> Flag | None:
        """The fence without a lock. None: no row yet."""

    async def begin(self) -> Flag | None:
        """Opens a transaction that holds the fence, and returns what the fence says."""

    async def commit(self) -> None: ...

    async def rollback(self) -> None: ...

    async def close(self) -> None: ...

    def abort(self) -> None:
        """Drops the connection at once; the database rolls back what was open."""

    async def claim(self, number: int) -> bool:
        """Takes the lock of this number for as long as the connection lives. False: another connection has it."""

    def kind_of(self, error: Exception, committing: bool) -> Kind:
        """What the driver's error means. `committing`: it was the answer to COMMIT."""


class Pool:
    """At most `size` connections, the last used first."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], size: int) -> None:
        self._connect = connect
        self._free = asyncio.Semaphore(size)
        self._idle: list[Connection] = []
        self._failed_at = float("-inf")
        self._failure = ""

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[Connection]:
        """A connection for one task. It must come back outside a transaction, or broken. Raises `Unavailable`."""
        if self._free.locked():
            try:
                async with asyncio.timeout(POOL_WAIT_SECONDS):
                    await self._free.acquire()
            except TimeoutError:
                raise Unavailable(f"no free connection to the database within {POOL_WAIT_SECONDS:.0f} s") from None
        else:
            await self._free.acquire()
        try:
            connection = await self._take()
            try:
                yield connection
            except Exception:
                if not connection.broken:
                    self._idle.append(connection)
                raise
            except BaseException:
                connection.abort()
                raise
            self._idle.append(connection)
        finally:
            self._free.release()

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.broken:
                return connection
        if time.monotonic() - self._failed_at < CONNECT_PAUSE_SECONDS:
            raise Unavailable(self._failure)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await self._connect()
        except Exception as e:
            self._failed_at = time.monotonic()
            self._failure = f"no connection to the database: {type(e).__name__}: {e}"
            log.warning("%s", self._failure)
            raise Unavailable(self._failure) from e

    def purge(self) -> None:
        """Drops the idle connections: the server they lead to is gone, or is not the writer any more."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.abort()

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            with contextlib.suppress(Exception):
                await connection.close()


class Database:
    """One side's database behind its fence."""

    def __init__(self, side: Side, name: str, connect: Callable[[], Awaitable[Connection]], size: int) -> None:
        """`name` is the database's (catalogue's) name, `connect` opens a connection, `size` bounds their number."""
        self.side = side
        self.name = name
        self._pool = Pool(connect, size)

    async def flag(self) -> Flag:
        """What the fence says. Raises `DatabaseError`."""
        _, flag = await self.read(_nothing, even_if_stale=True)
        return flag

    async def read(self, work: Callable[[Session], Awaitable[T]], *, even_if_stale: bool = False) -> tuple[T, Flag]:
        """Runs `work`, which must not change anything, if this side may serve reads. Raises `DatabaseError`."""

        async def attempt(connection: Connection) -> tuple[T, Flag]:
            try:
                flag = _known(await connection.read_flag())
                if not even_if_stale and not flag.may_read(self.side):
                    raise Fenced(flag)
                return await work(connection), flag
            except DatabaseError:
                raise
            except Exception as e:
                kind = connection.kind_of(e, False)
                if kind is Kind.BUG:
                    raise
                raise self._failure(connection, e, kind) from e

        return await self._repeated(attempt)

    async def write(self, work: Callable[[Session], Awaitable[T]]) -> tuple[T, Flag]:
        """Runs `work` in one transaction, if this side may write. Raises `DatabaseError`, or what `work` raised.

        Whatever is raised, nothing of `work` has happened then, except after `UnknownOutcome`. `work` may run twice.
        """
        return await self._transact(work, lambda flag: flag.may_write(self.side))

    async def follow(self, work: Callable[[Session], Awaitable[T]]) -> tuple[T, Flag]:
        """The same, if the other side is the writer: for copies of what was committed there."""
        return await self._transact(work, lambda flag: flag.mode is self.side.other)

    async def _transact(self, work: Callable[[Session], Awaitable[T]], may: Callable[[Flag], bool]) -> tuple[T, Flag]:
        async def attempt(connection: Connection) -> tuple[T, Flag]:
            committing = False
            try:
                flag = _known(await connection.begin())
                if not may(flag):
                    raise Fenced(flag)
                result = await work(connection)
                committing = True
                await connection.commit()
                return result, flag
            except Exception as e:
                kind = None if isinstance(e, DatabaseError) else connection.kind_of(e, committing)
                if committing and kind in (Kind.LOST, Kind.BUG):
                    connection.abort()
                    raise UnknownOutcome(f"the answer to COMMIT was lost: {e}") from e
                await self._roll_back(connection, kind)
                if kind is None or kind is Kind.BUG:
                    raise
                if kind is Kind.NOT_ALLOWED:
                    raise await self._fenced(connection, e) from e
                raise self._failure(connection, e, kind) from e
            except BaseException as e:  # the deadline, or the server's end
                if committing:
                    connection.abort()
                    raise UnknownOutcome("given up while COMMIT was under way") from e
                raise

        return await self._repeated(attempt)

    @contextlib.asynccontextmanager
    async def alone(self, number: int) -> AsyncIterator[Session | None]:
        """A connection that nobody else has the lock of this number while it lives, or None if somebody has.

        What fails on it means that it may be lost, and the lock with it: `DatabaseError`, unless it is a mistake.
        """
        async with self._pool.lease() as connection:
            try:
                yield connection if await connection.claim(number) else None
            except DatabaseError:
                raise
            except Exception as e:
                kind = connection.kind_of(e, False)
                if kind is Kind.BUG:
                    raise
                raise self._failure(connection, e, kind) from e
            finally:
                connection.abort()

    async def _repeated(self, attempt: Callable[[Connection], Awaitable[T]]) -> T:
        conflicts = losses = 0
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                while True:
                    try:
                        async with self._pool.lease() as connection:
                            return await attempt(connection)
                    except Conflict:
                        conflicts += 1
                        if conflicts == CONFLICT_ATTEMPTS:
                            raise
                    except _Lost as e:
                        self._pool.purge()
                        losses += 1
                        if losses == 2:
                            raise Unavailable(str(e)) from e
        except TimeoutError:
            raise Unavailable(f"the database did not answer within {DEADLINE_SECONDS:.0f} s") from None

    async def _roll_back(self, connection: Connection, kind: Kind | None) -> None:
        if kind is not Kind.LOST and not connection.broken:
            try:
                await connection.rollback()
                return
            except Exception as e:
                log.warning("rollback failed, dropping the connection: %s", e)
        connection.abort()

    async def _fenced(self, connection: Connection, error: Exception) -> DatabaseError:
        """The database itself refused the write: read only or no privilege. Says what its fence says now."""
        try:
            flag = _known(await connection.read_flag())
        except Exception as e:
            connection.abort()
            return Unavailable(f"the database refused the write ({error}), and its fence cannot be read: {e}")
        if flag.may_write(self.side):
            log.warning("the fence is open, but the database refuses to write: %s", error)
            connection.abort()  # after a failover the address may lead to another server
            self._pool.purge()
        return Fenced(flag)

    def _failure(self, connection: Connection, error: Exception, kind: Kind) -> DatabaseError:
        match kind:
            case Kind.LOST:
                connection.abort()
                return _Lost(f"connection to the database lost: {error}")
            case Kind.NOT_READY:
                return Unavailable(f"the database is not ready: {error}")
            case Kind.NOT_ALLOWED:
                return Unavailable(f"the account may not read: {error}")
            case Kind.CONFLICT:
                return Conflict(str(error))
            case _:
                return Refused(str(error))

    async def close(self) -> None:
        await self._pool.close()


class _Lost(DatabaseError):
    """The connection went away before anything could have happened."""


async def _nothing(_: Session) -> None:
    return None


def _known(flag: Flag | None) -> Flag:
    if flag is None:
        raise Unavailable("zdm.fence has no row yet: run `bootstrap`, or wait for it")
    return flag
