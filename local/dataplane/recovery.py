"""Point-in-time recovery: PostgreSQL from its archived log, MySQL from its binary log.

PostgreSQL: the newest base before the time, and the log after it, as far as it is archived and as it lies in the
running server. A server of its own, which nobody knows, replays it and ends.
MySQL: the base starts as a server and replicates from its source, up to the first transaction that was committed later
(the commit times are in the binary log, in microseconds: `immediate_commit_timestamp` of the GTID event).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import struct
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from local import parts
from local.processes import ProcessError, unprivileged, wait_until, write_atomically
from local.provider.handler import HandlerError

if TYPE_CHECKING:
    from local.dataplane.backups import Base
    from local.dataplane.mysql import Server
    from local.dataplane.postgres import Storage

HOURS = 4 * 3600
"""How long a replay may take, in seconds."""
_TOO_SHORT = "recovery ended before configured recovery target was reached"

_GTID_EVENT, _TAGGED_GTID_EVENT = 33, 42
_HEADER = struct.Struct("<IBIIIH")
_GTID_BODY = struct.Struct("<B16sqBqq7s")


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def segment(name: str) -> str | None:
    """What orders a segment of the log by age, whatever its timeline; None for another file."""
    return name[8:] if len(name) == 24 and all(c in "0123456789ABCDEF" for c in name) else None


def first_segment(data: Path) -> str:
    """The oldest segment that is needed to start from a copy of a data folder."""
    found = [key for file in (data / "pg_wal").iterdir() if (key := segment(file.name))]
    return min(found)


def collect_log(source: Storage, base: Base, folder: Path) -> None:
    """The log of a cluster from a base on, in a folder. What the server has is copied; what is archived is linked."""
    folder.mkdir()
    since = first_segment(base.data)
    for file in sorted((source.data / "pg_wal").iterdir()):
        if file.suffix == ".history" or (segment(file.name) or "") >= since:
            with contextlib.suppress(FileNotFoundError):  # recycled by now, so it is in the archive
                shutil.copy2(file, folder / file.name)
    for file in sorted(source.archive.glob("[0-9A-F]*")):
        if file.suffix == ".history" or (segment(file.name) or "") >= since:
            (folder / file.name).unlink(missing_ok=True)
            os.link(file, folder / file.name)


def recover_cluster(target: Storage, admin: str, at: datetime, log: Path, prepared: str) -> None:
    """Replays the log on the target's data, up to the time. `admin` is the administrator's password in that data."""
    if _replay(target, admin, log, prepared, at):
        return
    if not _replay(target, admin, log, prepared, None):  # nothing was committed after the time: all of it
        raise HandlerError(f"InvalidRestoreFault: the log of {target.identifier} ends too early")


def _replay(target: Storage, admin: str, log: Path, prepared: str, at: datetime | None) -> bool:
    """Whether the log reached the time."""
    from local.dataplane.postgres import ADMIN, ENVIRONMENT, reaches

    data = target.data
    values = {
        "listen_addresses": target.writer_endpoint,
        "port": str(target.port),
        "unix_socket_directories": "",
        "hot_standby": "off",
        "fsync": "off",
        "max_prepared_transactions": prepared,
        "restore_command": f'cp "{log}/%f" "%p"',
        "recovery_target_action": "promote",
        **({"recovery_target_time": at.strftime("%Y-%m-%d %H:%M:%S.%f+00")} if at else {}),
    }
    text = "".join(f"{name} = '{value}'\n" for name, value in values.items())
    write_atomically(data / "postgresql.conf", text, mode=0o600)
    write_atomically(data / "pg_hba.conf", f"host all {ADMIN} 127.0.0.0/8 scram-sha-256\n", mode=0o600)
    (data / "recovery.signal").touch(mode=0o600)
    user = unprivileged("postgres")
    if user:
        for name in ("postgresql.conf", "pg_hba.conf", "recovery.signal"):
            shutil.chown(data / name, user.pw_uid, user.pw_gid)
        for file in (log, *log.iterdir()):
            shutil.chown(file, user.pw_uid, user.pw_gid)

    def recovered() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            with psycopg.connect(
                host=target.writer_endpoint, port=target.port, user=ADMIN, password=admin, dbname="postgres"
            ) as connection:
                return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
        return False

    process = target.stack.process(f"recovery-{target.identifier}")
    try:
        process.start(
            [*parts.require("postgres").command["postgres"], "-D", str(data)],
            env=ENVIRONMENT,
            cwd=data,
            user=user,
            reaches=[*reaches(data), log],
            ready=recovered,
            timeout=HOURS,
        )
    except ProcessError as e:
        if at and _TOO_SHORT in process.tail(50):
            return False
        raise HandlerError(f"InvalidRestoreFault: the log of {target.identifier} cannot be replayed: {e}") from e
    finally:
        process.stop(120, signal.SIGINT)
        process.remove()
    (data / "recovery.signal").unlink(missing_ok=True)
    return True


# --- MySQL ------------------------------------------------------------------------------------------------------------


def recover_server(target: Server, source: Server, at: datetime) -> None:
    """Replicates the source's transactions into the target, which runs on a base, up to the time."""
    with source.admin() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.gtid_executed")
        everything = _flat(cursor.fetchone()[0])
    with target.admin() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.gtid_executed")
        has = _flat(cursor.fetchone()[0])
        later = first_after(source.home / "data", at)
        cursor.execute("SELECT GTID_SUBSET(%s, %s)", (everything, has))
        if cursor.fetchone()[0] or (later and _is_in(cursor, later, has)):
            return
        cursor.execute(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = %s, SOURCE_PORT = %s, SOURCE_USER = %s, SOURCE_PASSWORD = %s, "
            "SOURCE_AUTO_POSITION = 1, SOURCE_SSL = 1",
            (source.address, int(source.settings["port"]), "rdsadmin", source.settings["admin"]),
        )
        until = f"SQL_BEFORE_GTIDS = '{later}'" if later else f"SQL_AFTER_GTIDS = '{everything}'"
        cursor.execute(f"START REPLICA UNTIL {until}")
        wait_until(lambda: _replayed(cursor), HOURS, f"the replay of {source.identifier}'s binary log")
        cursor.execute("STOP REPLICA")
        cursor.execute("RESET REPLICA ALL")


def _replayed(cursor: Any) -> bool:
    """Whether the applier has stopped where it should. Raises HandlerError if it stopped elsewhere."""
    cursor.execute("SHOW REPLICA STATUS")
    now = dict(zip([column[0] for column in cursor.description], cursor.fetchone(), strict=True))
    if error := now["Last_SQL_Error"] or now["Last_IO_Error"]:
        raise HandlerError(f"InvalidRestoreFault: the binary log cannot be replayed: {error}")
    return now["Replica_SQL_Running"] == "No"


def _is_in(cursor: Any, gtid: str, executed: str) -> bool:
    cursor.execute("SELECT GTID_SUBSET(%s, %s)", (gtid, executed))
    return bool(cursor.fetchone()[0])


def _flat(gtids: str) -> str:
    return gtids.replace("\n", "")


def first_after(data: Path, at: datetime) -> str | None:
    """The first transaction of a server's binary log that was committed later than the time."""
    limit = int(at.timestamp() * 1_000_000)
    for file in _logs_from(data, at):
        for gtid, committed in transactions(file):
            if committed > limit:
                return gtid
    return None


def _logs_from(data: Path, at: datetime) -> list[Path]:
    """The files of the binary log that can have transactions later than the time: those written to since."""
    names = (data / "binlog.index").read_text().split()
    files = [data / Path(name).name for name in names]
    return [file for file in files if file.exists() and file.stat().st_mtime >= at.astimezone(UTC).timestamp()]


def transactions(file: Path) -> Iterator[tuple[str, int]]:
    """The GTIDs of a binary log with their commit times, in microseconds. A last event that is cut off is none."""
    with open(file, "rb") as log:
        log.seek(4)
        while len(header := log.read(_HEADER.size)) == _HEADER.size:
            _, kind, _, size, _, _ = _HEADER.unpack(header)
            if size < _HEADER.size:
                return
            if kind == _GTID_EVENT:
                body = log.read(size - _HEADER.size)
                if len(body) < _GTID_BODY.size:
                    return
                _, source, number, _, _, _, committed = _GTID_BODY.unpack_from(body)
                micros = int.from_bytes(committed, "little") & ~(1 << 55)
                yield f"{uuid.UUID(bytes=source)}:{number}", micros
            elif kind == _TAGGED_GTID_EVENT:
                raise HandlerError("InvalidRestoreFault: the binary log has transactions with tagged GTIDs")
            else:
                log.seek(size - _HEADER.size, os.SEEK_CUR)
