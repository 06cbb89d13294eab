"""Connections to MySQL: TLS always, time zone UTC, text as utf8mb4."""

from __future__ import annotations

import ssl
from typing import Any

import pymysql
from pymysql.connections import Connection

from scripts.clients.secrets import Account
from scripts.errors import ZdmError


def connect(
    host: str,
    port: int,
    account: Account,
    database: str | None = None,
    *,
    autocommit: bool = True,
    connect_timeout: int = 10,
    **options: Any,
) -> Connection[Any]:
    """Opens a connection. The session has an empty `time_zone` surprise removed (UTC) and strict SQL modes as set.

    The server's certificate is not verified (as `sslmode=require`): the addresses are inside the VPC.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        return pymysql.connect(
            host=host,
            port=port,
            user=account.username,
            password=account.password,
            database=database,
            charset="utf8mb4",
            autocommit=autocommit,
            ssl=context,
            connect_timeout=connect_timeout,
            init_command="SET time_zone = '+00:00'",
            **options,
        )
    except pymysql.err.OperationalError as e:
        raise ZdmError(f"MySQL at {host}:{port} does not let {account.username!r} in: {e.args[-1]}") from e
