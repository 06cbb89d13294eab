"""A MySQL and a PostgreSQL of this machine for a benchmark, and how much processor time they take.

The servers are those of the local cloud (`local/`), with its settings but for these, so that all rows stay in memory
and no background work falls into one measurement and not into the next: buffers of `MYSQL_BUFFERS` and
`POSTGRES_BUFFERS`, redo and write-ahead log for a whole load without a checkpoint, no autovacuum (tables are vacuumed
and analysed once they are filled). Nothing is less durable than it is in the local cloud.
"""

from __future__ import annotations

import os
import signal
import ssl
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import pg8000.native
import psycopg
import pymysql
from pymysql.connections import Connection

from contract.control import READER_ROLE, WRITER_ROLE
from contract.outputs import Pipeline
from local.dataplane.mysql import MySQLInstance
from local.dataplane.mysql import Server as MySQLServer
from local.dataplane.postgres import AuroraCluster, AuroraInstance, Instance, Storage
from local.stack import LocalStack, open_stack

DATABASE = "ecommerce"
MYSQL_BUFFERS = 2 << 30
POSTGRES_BUFFERS = 1 << 30
LOG = 8 << 30
"""Bytes of redo and of write-ahead log before a checkpoint must come."""

USER, PASSWORD = "bench", "a password of 22 chars"
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Endpoint:
    """How to reach a server. `tls` is for all clients of a run the same."""

    host: str
    port: int
    tls: bool
    user: str = USER
    password: str = PASSWORD
    database: str = DATABASE


@dataclass(frozen=True)
class Processor:
    """Seconds of processor time, user and system."""

    mysql: float
    postgres: float

    def __sub__(self, other: Processor) -> Processor:
        return Processor(self.mysql - other.mysql, self.postgres - other.postgres)


@dataclass(frozen=True)
class Sides:
    """Both databases. Stands in for a stack's `Context` in the product's own functions."""

    source: Endpoint
    target: Endpoint
    home: Path
    """A folder for files that go when the benchmark ends; PostgreSQL may read and write in it."""

    @property
    def outputs(self) -> Any:
        pipeline = Pipeline(
            state="stopped", copy_="zdm", source_connector="source", sink_connector="sink", tables=[]
        )
        return SimpleNamespace(database=DATABASE, pipeline=pipeline)

    def mysql(self, role: str = "admin", database: str | None = "", **options: Any) -> Connection[Any]:
        return connect_mysql(self.source, DATABASE if database == "" else database, **options)

    def postgres(self, role: str = "admin", *, reader: bool = False, **options: Any) -> psycopg.Connection[Any]:
        return connect_postgres(self.target, **options)

    def copy_out(self, *, reader: bool = False) -> pg8000.native.Connection:
        return connect_copy_out(self.target)

    def on_mysql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Executes statements, and returns the rows of the last."""
        with self.mysql() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def on_postgres(self, *statements: str) -> list[tuple[Any, ...]]:
        with self.postgres() as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def for_driver(self) -> dict[str, Any]:
        """How to reach both, as JSON."""
        return {"mysql": asdict(self.source), "postgres": asdict(self.target), "home": str(self.home)}


def of_driver(task: Mapping[str, Any]) -> Sides:
    """What `for_driver` described."""
    return Sides(Endpoint(**task["mysql"]), Endpoint(**task["postgres"]), Path(task["home"]))


@dataclass(frozen=True)
class Databases(Sides):
    """Both servers, run by this benchmark."""

    stack: LocalStack = field(kw_only=True)

    def as_superuser(self, *statements: str) -> None:
        """Executes on PostgreSQL what only its superuser may (COPY from a file, CHECKPOINT)."""
        with self._postgres.admin() as admin:
            login = {"password": self._postgres.storage.settings["admin"], "dbname": DATABASE}
            with psycopg.connect(admin.info.dsn, **login, autocommit=True) as connection:
                for statement in statements:
                    connection.execute(statement.encode())

    def settle(self) -> None:
        """Writes to disk what earlier work has left in memory, so that it is not a later one's cost."""
        self.as_superuser("CHECKPOINT")
        os.sync()

    def processor(self) -> Processor:
        """What the servers have used since they were started."""
        mysql, postmaster = MySQLServer(self.stack, "source").process.pid, self._postgres.process.pid
        assert mysql is not None and postmaster is not None, "a server has ended"
        return Processor(_used(mysql), used_by_tree(postmaster))

    @property
    def _postgres(self) -> Instance:
        return Instance(Storage(self.stack, "target"), "writer")

    def versions(self) -> str:
        (mysql,), (postgres,) = self.on_mysql("SELECT VERSION()")[0], self.on_postgres("SHOW server_version")[0]
        return f"MySQL {mysql}, PostgreSQL {str(postgres).split()[0]}"


@contextmanager
def databases(tls: bool) -> Iterator[Databases]:
    """Both servers, empty. They are stopped and their data is removed whatever happens."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with TemporaryDirectory(prefix="zdm-benchmark-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        stack = open_stack("benchmark", home)
        try:
            yield _start(stack, home, tls)
        finally:
            for process in stack.processes():
                process.stop(10)


def _start(stack: LocalStack, home: Path, tls: bool) -> Databases:
    MySQLInstance().create(stack, "source", {
        "engine": "mysql", "identifier": "source", "username": USER, "password": PASSWORD, "dbName": DATABASE,
        "backupRetentionPeriod": 1,
    })  # fmt: skip
    AuroraCluster().create(stack, "target", {
        "engine": "aurora-postgresql", "clusterIdentifier": "target", "masterUsername": USER,
        "masterPassword": PASSWORD, "databaseName": DATABASE,
    })  # fmt: skip
    AuroraInstance().create(stack, "writer", {"clusterIdentifier": "target", "identifier": "writer"})
    files = home / "files"
    files.mkdir()
    files.chmod(0o777)
    made = Databases(
        Endpoint(MySQLServer(stack, "source").address, 3306, tls),
        Endpoint(Instance(Storage(stack, "target"), "writer").address, 5432, tls),
        files,
        stack=stack,
    )
    # sizes that the local cloud keeps small on purpose: given to the servers themselves
    made.on_mysql(
        f"SET GLOBAL innodb_buffer_pool_size = {MYSQL_BUFFERS}",
        f"SET GLOBAL innodb_redo_log_capacity = {LOG}",
    )
    settings = {
        "shared_buffers": f"{POSTGRES_BUFFERS >> 20}MB",
        "max_wal_size": f"{LOG >> 20}MB",
        "checkpoint_timeout": "1h",
        "autovacuum": "off",
    }
    made.as_superuser(*(f"ALTER SYSTEM SET {name} = '{value}'" for name, value in settings.items()))
    made._postgres.restart()
    for role in (READER_ROLE, WRITER_ROLE):
        made.on_postgres(f"CREATE ROLE {role}")
    return made


def connect_mysql(at: Endpoint, database: str | None = DATABASE, **options: Any) -> Connection[Any]:
    """As the commands connect, but for TLS, which is there or not as the run has it."""
    security: dict[str, Any] = {"ssl": _unverified()} if at.tls else {"ssl_disabled": True}
    return pymysql.connect(
        host=at.host,
        port=at.port,
        user=at.user,
        password=at.password,
        database=database,
        charset="utf8mb4",
        init_command="SET time_zone = '+00:00'",
        **{"autocommit": True, **security, **options},
    )


def connect_postgres(at: Endpoint, **options: Any) -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=at.host,
        port=at.port,
        user=at.user,
        password=at.password,
        dbname=at.database,
        sslmode="require" if at.tls else "disable",
        options="-c timezone=UTC -c datestyle=ISO -c extra_float_digits=1",
        **{"autocommit": True, **options},
    )


def connect_copy_out(at: Endpoint) -> pg8000.native.Connection:
    """The same for reading COPY past the driver (`scripts.clients.copy_out`)."""
    return pg8000.native.Connection(
        user=at.user,
        password=at.password,
        host=at.host,
        port=at.port,
        database=at.database,
        ssl_context=_unverified() if at.tls else False,  # None would try TLS first
        startup_params={"options": "-c timezone=UTC -c datestyle=ISO -c extra_float_digits=1"},
    )


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _used(pid: int) -> float:
    """Seconds that a process has used, with its ended and awaited children."""
    return sum(int(ticks) for ticks in _stat(pid)[11:15]) / _TICK


def used_by_tree(pid: int) -> float:
    """The same for a process and all its descendants. One that ends meanwhile hands its time on to its parent, so all
    are read again then."""
    while True:
        os.stat(f"/proc/{pid}")  # raises when it has ended itself
        known = descendants(pid)
        try:
            used = sum(map(_used, known))
        except (FileNotFoundError, ProcessLookupError):
            continue
        if descendants(pid) == known:
            return used


def descendants(pid: int) -> list[int]:
    """A process and all that come from it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                children.setdefault(int(_stat(int(folder.name))[1]), []).append(int(folder.name))
            except (FileNotFoundError, ProcessLookupError):  # it has just ended
                continue
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
