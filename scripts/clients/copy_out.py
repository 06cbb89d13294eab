"""Connections to PostgreSQL for reading COPY without parsing it (`rows.streams`): TLS always, time zone UTC.

They are pg8000's, whose socket can be read directly; psycopg's belongs to libpq.
"""

from __future__ import annotations

import contextlib
import ssl

import pg8000.native
from pg8000.exceptions import DatabaseError, InterfaceError

from scripts.clients.secrets import Account
from scripts.errors import ZdmError


class Connection(pg8000.native.Connection):
    """pg8000's connection, which can be closed also when the server is gone or in the middle of an answer."""

    def close(self) -> None:
        with contextlib.suppress(InterfaceError):
            super().close()


def connect(host: str, port: int, account: Account, database: str, *, connect_timeout: int = 10) -> Connection:
    """Opens a connection. The server's certificate is not verified, as with `sslmode=require`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        connection = Connection(
            user=account.username,
            password=account.password,
            host=host,
            port=port,
            database=database,
            ssl_context=context,
            timeout=connect_timeout,
            application_name="zdm",
            startup_params={"options": "-c timezone=UTC -c datestyle=ISO -c extra_float_digits=1"},
        )
        connection._usock.settimeout(None)
    except (InterfaceError, DatabaseError, OSError) as e:
        detail = e.args[0].get("M") if e.args and isinstance(e.args[0], dict) else e
        raise ZdmError(f"PostgreSQL at {host}:{port} does not let {account.username!r} in: {detail}") from e
    return connection
