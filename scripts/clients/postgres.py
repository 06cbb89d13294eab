"""Connections to PostgreSQL: TLS always, time zone UTC."""

from __future__ import annotations

from typing import Any

import psycopg

from scripts.clients.secrets import Account
from scripts.errors import ZdmError


def connect(
    host: str,
    port: int,
    account: Account,
    database: str,
    *,
    autocommit: bool = True,
    connect_timeout: int = 10,
    **options: Any,
) -> psycopg.Connection[Any]:
    """Opens a connection with `sslmode=require`."""
    try:
        return psycopg.connect(
            host=host,
            port=port,
            user=account.username,
            password=account.password,
            dbname=database,
            sslmode="require",
            autocommit=autocommit,
            connect_timeout=connect_timeout,
            options="-c timezone=UTC -c datestyle=ISO -c extra_float_digits=1",
            application_name="zdm",
            **options,
        )
    except psycopg.OperationalError as e:
        raise ZdmError(f"PostgreSQL at {host}:{port} does not let {account.username!r} in: {e}") from e
