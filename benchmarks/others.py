"""The tools that ours is compared with, each in a virtual environment of its own, so that none touches the product's.

An environment is made at its first use, from `requirements-<name>.txt` beside this file, in the cache of parts. Not
here, because it cannot be: pgloader 3.6.9 knows no `caching_sha2_password`, and MySQL 9 has no other log-in.
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.databases import Databases
from benchmarks.drivers.ranges import cut
from benchmarks.measure import Run, RunError, drive
from contract.tables import Table
from local import parts
from local.parts import cache

HERE = Path(__file__).resolve().parent

RELADIFF_SETTINGS = (
    {"factor": 32, "threshold": 16_384, "threads": 2},  # its defaults, with as many threads as there are streams
    {"factor": 64, "threshold": 16_384, "threads": 2},
    {"factor": 100, "threshold": 50_000, "threads": 2},
    {"factor": 32, "threshold": 16_384, "threads": 4},
)
"""What is tried for the best settings of reladiff: segments that a table is cut into, rows below which it downloads."""


def environment(name: str) -> Path:
    """The Python of the virtual environment `name`."""
    requirements = HERE / f"requirements-{name}.txt"
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:8]
    home = cache.root() / "benchmarks" / f"{name}-{digest}"
    with cache.locked(home.parent / f"{name}.lock"):
        if not (home / "ready").exists():
            shutil.rmtree(home, ignore_errors=True)
            print(f"making the virtual environment of {name} (once)", file=sys.stderr, flush=True)
            cache.run(f"benchmark-{name}", [sys.executable, "-m", "venv", home], HERE)
            cache.run(f"benchmark-{name}", [home / "bin/pip", "install", "--no-input", "-r", requirements], HERE)
            (home / "ready").touch()
    return home / "bin/python"


def driver(name: str) -> Path:
    return HERE / "drivers" / f"{name}.py"


def task(table: Table, **more: Any) -> dict[str, Any]:
    return {"table": table.name, "columns": [column.name for column in table.columns], **more}


def prepare_source(databases: Databases) -> None:
    """What the other tools want of MySQL: MD5, which 9.6 and newer have as a component only, and the named zone UTC."""
    databases.on_mysql(
        "INSTALL COMPONENT 'file://component_classic_hashing'",
        "INSERT IGNORE INTO mysql.time_zone (Time_zone_id, Use_leap_seconds) VALUES (1, 'N')",
        "INSERT IGNORE INTO mysql.time_zone_name (Name, Time_zone_id) VALUES ('UTC', 1)",
        "INSERT IGNORE INTO mysql.time_zone_transition_type "
        "(Time_zone_id, Transition_type_id, `Offset`, Is_DST, Abbreviation) VALUES (1, 0, 0, 0, 'UTC')",
    )


def reladiff(databases: Databases, table: Table, settings: dict[str, int]) -> Run:
    """Compares all columns. The answer's `keys` are those of the rows that it reports."""
    given = task(table, **settings)
    given["columns"].remove("id")
    return drive(databases, [environment("reladiff"), "-P", driver("with_reladiff")], given)


def best_settings(databases: Databases, table: Table) -> dict[str, int]:
    """The fastest of `RELADIFF_SETTINGS` on this table, each run once."""
    return min(RELADIFF_SETTINGS, key=lambda settings: reladiff(databases, table, settings).wall)


def data_validation_tool(databases: Databases, table: Table) -> Run:
    """Google's tool, `validate row --hash`: one hash for each row of either database, joined by it in memory."""
    given = task(table)
    given["columns"].remove("id")
    return drive(databases, [environment("dvt"), "-P", driver("with_dvt")], given)


def psycopg_copy(databases: Databases, table: Table, streams: int) -> Run:
    """Rows from PyMySQL into psycopg's COPY, one by one."""
    return drive(databases, [sys.executable, "-m", "benchmarks.drivers.with_psycopg"], task(table, streams=streams))


def clients_copy(databases: Databases, table: Table) -> Run:
    """The databases' own clients, `mysql` piped into `psql`: one stream, no types, NULL by its name."""
    columns = ", ".join(column.name for column in table.columns)
    source, target = databases.source, databases.target
    psql = shutil.which("psql")
    if psql is None:
        raise RunError("this machine has no psql")
    export = [
        *parts.require("mysql").command["mysql"], "--no-defaults", "--batch", "--quick", "--skip-column-names",
        "--default-character-set=utf8mb4", "--init-command=SET time_zone='+00:00'",
        f"--ssl-mode={'REQUIRED' if source.tls else 'DISABLED'}", "--get-server-public-key",
        f"--host={source.host}", f"--user={source.user}", f"--execute=SELECT {columns} FROM {table.name}",
        source.database,
    ]  # fmt: skip
    load = [
        psql, "--no-psqlrc", "--quiet", "--host", target.host, "--username", target.user, target.database,
        "--set=ON_ERROR_STOP=1", f"--command=COPY {table.name} ({columns}) FROM STDIN (NULL 'NULL')",
    ]  # fmt: skip
    passwords = {
        "MYSQL_PWD": source.password,
        "PGPASSWORD": target.password,
        "PGSSLMODE": "require" if target.tls else "disable",
        "PGOPTIONS": "-c timezone=UTC",
    }
    line = f"set -o pipefail; {shlex.join(export)} | {shlex.join(load)}"
    return drive(databases, ["bash", "-c", line], environment=passwords)


def floor_files(databases: Databases, table: Table, streams: int, form: str) -> list[Path]:
    """The table's rows in files as COPY reads them, one a stream. `form` is `binary` or `text`."""
    files = []
    for number, where in enumerate(cut({**databases.for_driver(), "table": table.name}, streams)):
        file = databases.home / f"{table.name}-{form}-{streams}-{number}"
        query = f"SELECT * FROM {table.name} WHERE {where} ORDER BY id"
        databases.as_superuser(f"COPY ({query}) TO '{file}' (FORMAT {form})")
        files.append(file)
    return files


def floor(databases: Databases, table: Table, files: Sequence[Path], form: str) -> Run:
    """PostgreSQL's own COPY of the same rows from files on its disk: nothing that copies into it can be faster."""
    failed: list[BaseException] = []

    def load(file: Path) -> None:
        try:
            databases.as_superuser(f"COPY {table.name} FROM '{file}' (FORMAT {form})")
        except BaseException as e:
            failed.append(e)

    before, began = databases.processor(), time.monotonic()
    threads = [threading.Thread(target=load, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RunError(f"COPY from a file: {failed[0]}")
    wall, used = time.monotonic() - began, databases.processor() - before
    return Run(wall, 0.0, used, 0, {"bytes": sum(file.stat().st_size for file in files)})

