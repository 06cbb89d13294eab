"""The two databases as the probe sees them: markers into the source, verdicts and slots out of the target."""

from __future__ import annotations

import contextlib
import ssl
import uuid
from dataclasses import dataclass
from typing import Any

import psycopg
import pymysql
from pymysql.connections import Connection

from contract.control import (
    DATA_CHECK,
    LAST_RECORD,
    MARK_WATERMARK,
    MYSQL_NOT_ALLOWED,
    MYSQL_READ_FENCE_FOR_WRITE,
    flag_of_row,
)
from contract.flag import Side
from services.lag_probe.settings import Server

TIMEOUT = 10

SLOTS = (
    "SELECT slot_name, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::float8 "
    "FROM pg_replication_slots WHERE slot_type = 'logical' AND restart_lsn IS NOT NULL"
)


class Source:
    """MySQL. Reconnects by itself at the next call after a failure."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: Connection[Any] | None = None

    def mark(self) -> str | None:
        """Writes a marker as a writer like any other: None, and nothing written, while the fence is shut."""
        if self._connection is None:
            self._connection = self._connect()
        try:
            with self._connection.cursor() as cursor:
                cursor.execute("START TRANSACTION")
                cursor.execute(MYSQL_READ_FENCE_FOR_WRITE)
                row = cursor.fetchone()
                if row is None or not flag_of_row(row).may_write(Side.MYSQL):
                    cursor.execute("ROLLBACK")
                    return None
                marker = str(uuid.uuid4())
                cursor.execute(MARK_WATERMARK, (marker,))
                cursor.execute("COMMIT")
                return marker
        except pymysql.err.MySQLError as e:
            self.close()
            if e.args and e.args[0] in MYSQL_NOT_ALLOWED:
                return None
            raise

    def close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(pymysql.err.MySQLError, OSError):
                self._connection.close()
            self._connection = None

    def _connect(self) -> Connection[Any]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        s = self._server
        return pymysql.connect(
            host=s.host, port=s.port, user=s.user, password=s.password, autocommit=True, ssl=context,
            connect_timeout=TIMEOUT, read_timeout=TIMEOUT, write_timeout=TIMEOUT,
            init_command="SET time_zone = '+00:00'",
        )  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """The last data check: when it ended, and the rows that differed, None if it could not say."""

    at: float
    mismatches: int | None


class Target:
    """Aurora PostgreSQL. Reconnects by itself at the next call after a failure."""

    def __init__(self, server: Server, database: str) -> None:
        self._server, self._database = server, database
        self._connection: psycopg.Connection[Any] | None = None

    def look(self) -> tuple[Verdict | None, dict[str, float]]:
        """The last data check, and the bytes of log that each logical slot holds back."""
        if self._connection is None:
            s = self._server
            self._connection = psycopg.connect(
                host=s.host, port=s.port, user=s.user, password=s.password, dbname=self._database, sslmode="require",
                autocommit=True, connect_timeout=TIMEOUT, application_name="zdm-lag-probe",
                options=f"-c statement_timeout={TIMEOUT * 1000}",
            )  # fmt: skip
        try:
            row = self._connection.execute(LAST_RECORD, (DATA_CHECK,)).fetchone()
            slots = {str(name): float(held) for name, held in self._connection.execute(SLOTS)}
        except psycopg.Error:
            self.close()
            raise
        return (None if row is None else _verdict(*row)), slots

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _verdict(at: Any, verdict: str, body: dict[str, Any]) -> Verdict:
    found = int(body.get("mismatches", 0))
    return Verdict(at.timestamp(), found if found or verdict == "ok" else None)
