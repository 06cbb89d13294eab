"""Bytes from the servers: a query's result set from MySQL, the answer to COPY from PostgreSQL, not parsed.

The connections are those of PyMySQL and pg8000, which have logged in and speak TLS; only the answer to one statement is
read past them. Once it was read to its end, or to the server's error, they can be used again. When an exception leaves
a stream before its end, close its connection.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Final

from pg8000.core import CoreConnection
from pg8000.exceptions import InterfaceError
from pymysql.connections import Connection
from pymysql.constants import COMMAND
from pymysql.err import MySQLError

from rows.errors import RowsError
from rows.native import Comparator, Suspect, Transcoder

BLOCK: Final = 1 << 18
RECORD: Final = 1 << 14
"""The longest TLS record: so much room a read should have."""

_GATHERING: Final = threading.Lock()
"""One thread at a time gathers: each record lets go of the interpreter's lock, and threads that gather side by side
would hand it to each other at every one (a quarter of a comparison's processor time was spent on that)."""


class Reader:
    """What a server sends, as it comes.

    TLS gives one record at a time (16 KB of MySQL, 8 KB of PostgreSQL). What has come is gathered, so that the native
    core is called for large pieces.
    """

    def __init__(self, name: str, sock: socket.socket, timeout: float | None) -> None:
        """`timeout`: seconds to wait for the next bytes; None: for ever."""
        self._name, self._sock, self._timeout = name, sock, timeout
        sock.settimeout(timeout)

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Waits for bytes and returns how many there were (at least one). Raises `RowsError` when the connection is
        lost."""
        view, sock = memoryview(buffer), self._sock
        try:
            size = sock.recv_into(view)
            if 0 < size <= len(view) - RECORD:
                size = self._gathered(view, size)
        except (OSError, ValueError) as error:
            raise RowsError(f"the connection to {self._name} is lost: {error}") from error
        if not size:
            raise RowsError(f"{self._name} has closed the connection")
        return size

    def _gathered(self, view: memoryview, size: int) -> int:
        """What else is there already."""
        sock = self._sock
        sock.settimeout(0)
        try:
            with _GATHERING:
                while size <= len(view) - RECORD and (more := sock.recv_into(view[size:])):
                    size += more
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        finally:
            sock.settimeout(self._timeout)
        return size


def mysql_query(connection: Connection[Any], sql: str) -> Reader:
    """Sends a query, whose result set comes from the reader. Nothing else may be under way on the connection."""
    try:
        connection._execute_command(COMMAND.COM_QUERY, sql)  # type: ignore[attr-defined]
    except MySQLError as error:
        raise RowsError(f"the connection to MySQL is lost: {error.args[-1]}") from error
    # PyMySQL reads through a buffered file, which is empty between statements.
    timeout = connection._read_timeout  # type: ignore[attr-defined]
    connection._current_timeout = timeout  # type: ignore[attr-defined]
    return Reader("MySQL", connection._sock, timeout)  # type: ignore[attr-defined]


def postgres_copy(connection: CoreConnection, sql: str) -> Reader:
    """Sends `COPY ... TO STDOUT (FORMAT binary)`, the answer to which comes from the reader."""
    try:
        connection.send_QUERY(sql)
        connection._sock.flush()
    except (InterfaceError, OSError, AttributeError) as error:
        raise RowsError(f"the connection to PostgreSQL is lost: {error}") from error
    return Reader("PostgreSQL", connection._usock, connection._usock.gettimeout())


def transcode(transcoder: Transcoder, source: Reader, write: Callable[[bytes], object]) -> None:
    """Reads one result set to its end; `write` gets the rows of the COPY in portions."""
    buffer = memoryview(bytearray(BLOCK))
    ended = False
    while not ended:
        ended = transcoder.feed(buffer, source.readinto(buffer))
        while portion := transcoder.take():
            write(portion)


def compare(
    comparator: Comparator, source: Reader, target: Reader, digest: Callable[[bytes], object] | None = None
) -> list[Suspect]:
    """Reads both sides to their end, and returns the suspects. `digest` gets the target's rows in portions, if the
    comparator keeps them."""
    buffer = memoryview(bytearray(BLOCK))
    while (side := comparator.wants()) is not None:
        if side == "source":
            comparator.feed_source(buffer, source.readinto(buffer))
        else:
            comparator.feed_target(buffer, target.readinto(buffer))
            while digest is not None and (portion := comparator.take_target_rows()):
                digest(portion)
    comparator.finish()
    return comparator.suspects()
