"""Somebody deletes rows in production by mistake: MySQL as it was just before is restored beside, and they are brought
back from there.

Invariants:
- Production is written to only to bring back what is missing; the copy is destroyed whatever happens.
- The rows are those that were deleted, to the last byte: a digest of them is the same before and after.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from contract.tables import mysql_name
from scripts.clients import mysql
from scripts.clients.rds import Rds
from scripts.clients.secrets import Account
from scripts.clients.waiting import await_ready
from scripts.console import duration
from scripts.context import Context
from scripts.data.inspect import mysql_tables
from scripts.environments.restore import AtTime, Master, MySQLBeside, remove_instance
from scripts.environments.snapshot_set import SCRATCH, STACK
from scripts.errors import ZdmError
from scripts.rehearsal.environments_stage import Stage

TABLE: Final = "addresses"
"""One that no customer of the load touches."""
WHERE: Final = "customer_id <= 200"
PATIENCE: Final = 15 * 60.0


@dataclass(frozen=True)
class Found:
    """What there is of the rows in question."""

    rows: tuple[tuple[Any, ...], ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(self.rows).encode()).hexdigest()


def recover_deleted_rows(stage: Stage) -> None:
    """A mistake, and the way back from it."""
    prod, console = stage.at("prod"), stage.console
    rds, name = Rds(prod.aws("rds")), prod.outputs.source.instance
    with stage.chapter("prod", "Deleted by mistake, and recovered") as chapter:
        with contextlib.closing(prod.mysql()) as my:
            (table,) = mysql_tables(my, prod.outputs.database, [TABLE])
            columns = [column.name for column in table.columns if column.generated is None]
            before = _look(my, columns)
        at = _moment_to_go_back_to(prod, rds, name)
        began = time.monotonic()
        with console.step(f"Somebody deletes {TABLE} with {WHERE}") as step, contextlib.closing(prod.mysql()) as my:
            with my.cursor() as cursor:
                deleted = cursor.execute(f"DELETE FROM {TABLE} WHERE {WHERE}")
            step.done(f"{deleted:,} rows are gone")
        with _as_it_was(stage, prod, rds, name, at) as there, contextlib.closing(prod.mysql()) as my:
            found = _look(there, columns)
            with console.step(f"Bring {len(found.rows):,} rows back") as step:
                _insert(my, columns, found)
                after = _look(my, columns)
                step.done(f"{len(after.rows):,} are there again")
        took = time.monotonic() - began
        same = after.digest == before.digest
        back = len(after.rows) if same else 0
        stage.result.count("recovered", back, deleted, f"in {duration(took)}, restored to just before")
        chapter.text = (
            f"At {at:%T} UTC all was well; then {deleted:,} rows of {TABLE} were deleted, while customers went on. "
            "MySQL as it was at that second was restored beside, from the last backup and the binary log; the rows "
            f"were there, and were brought back {duration(took)} after they had gone. Their digest is "
            f"{'the same as before' if same else 'NOT the one from before'}."
        )
        chapter.table(
            ("Rows", "Before", "After the mistake", "In the copy", "Brought back"),
            [(TABLE, len(before.rows), len(before.rows) - deleted, len(found.rows), len(after.rows))],
        )
        chapter.summary = f"{back:,} of {deleted:,} rows, in {duration(took)}"
        if not same or deleted != len(before.rows) or not deleted:
            raise ZdmError(f"{deleted} rows were deleted, {len(found.rows)} found, {len(after.rows)} are there")


def _look(my: Any, columns: list[str]) -> Found:
    names = ", ".join(mysql_name(name) for name in columns)
    with my.cursor() as cursor:
        cursor.execute(f"SELECT {names} FROM {TABLE} WHERE {WHERE} ORDER BY id")
        return Found(tuple(tuple(row) for row in cursor.fetchall()))


def _insert(my: Any, columns: list[str], found: Found) -> None:
    names = ", ".join(mysql_name(name) for name in columns)
    values = ", ".join(["%s"] * len(columns))
    with my.cursor() as cursor:
        cursor.executemany(f"INSERT INTO {TABLE} ({names}) VALUES ({values})", list(found.rows))


def _moment_to_go_back_to(prod: Context, rds: Rds, name: str) -> datetime:
    """A second that is over, as RDS counts in whole ones; what happens from now on is after it."""
    with contextlib.closing(prod.mysql()) as my, my.cursor() as cursor:
        cursor.execute("SELECT UTC_TIMESTAMP(6), SLEEP(1.0 - MICROSECOND(UTC_TIMESTAMP(6)) / 1e6)")
        now: datetime = cursor.fetchone()[0]
    return now.replace(microsecond=0, tzinfo=UTC) + timedelta(seconds=1)


@contextlib.contextmanager
def _as_it_was(stage: Stage, prod: Context, rds: Rds, name: str, at: datetime) -> Iterator[Any]:
    """A connection to MySQL as it was at a moment, beside the running one; it is destroyed at the end."""
    model = rds.instance(name)
    if model is None:
        raise ZdmError(f"the instance {name} is not there")
    beside = f"{name}-{at:%H%M%S}"
    password = secrets.token_urlsafe(24)
    tags = {SCRATCH: prod.outputs.stack, STACK: prod.outputs.stack}
    copy = MySQLBeside(rds, model, beside, AtTime(name, at), tags, Master(password))
    try:
        with stage.console.step(f"Await that {at:%T} UTC can be restored") as step:
            await_ready(lambda: _restorable(rds, name, at), "the binary log's backup", step, PATIENCE)
        with stage.console.step(f"Restore MySQL as it was at {at:%T} UTC, beside") as step:
            await_ready(copy.advance, beside, step, PATIENCE)
        there = copy.found()
        account = Account(there.master, password)
        with contextlib.closing(mysql.connect(there.host, there.port, account, prod.outputs.database)) as my:
            yield my
    finally:
        with stage.console.step("Destroy the copy") as step:
            await_ready(lambda: remove_instance(rds, beside), "the copy's end", step, PATIENCE)


def _restorable(rds: Rds, name: str, at: datetime) -> tuple[bool, str]:
    there = rds.instance(name)
    latest = there.raw.get("LatestRestorableTime") if there else None
    return latest is not None and latest >= at, f"up to {latest}"
