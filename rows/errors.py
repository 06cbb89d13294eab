"""What can go wrong in the native core and around it."""

from __future__ import annotations

from typing import Literal

Side = Literal["mysql", "postgres"]


class RowsError(Exception):
    """A stream, plan or connection is not what it must be; the message says which and why."""


class Unavailable(RowsError):
    """There is no native library, and none can be built here. The message says how to get it."""


class ServerError(RowsError):
    """A server's own error in place of rows: MySQL's number or PostgreSQL's SQLSTATE, and its message."""

    def __init__(self, side: Side, code: str, message: str) -> None:
        name = "MySQL" if side == "mysql" else "PostgreSQL"
        super().__init__(f"{name} says {code}: {message}")
        self.side, self.code, self.message = side, code, message
