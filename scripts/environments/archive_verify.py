"""`./zdm archive verify`: whether an archive can be believed and restored, by reading it back.

- Every object is read from the bucket: its size, its SHA-256, its key, its lock, its rows.
- The digests of a table's objects give the table's.
- A sample of the objects is loaded into MySQL, made from the archive's own statements, and MySQL computes the digest
  of what it has got. The tables are temporary ones: they can be made on a `super_read_only` server, no binary log has
  them, and nothing is left when the session ends, however it ends.

Exports of RDS are Parquet, which MySQL does not load: of these the objects are proven, and their rows counted.
"""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pymysql.cursors
import pymysql.err
from pymysql.connections import Connection
from rich.console import Console as RichConsole

from contract.archive import ArchivedTable, Manifest, StoredObject
from contract.tables import mysql_name
from contract.types import carried
from scripts.clients.archive_store import ArchiveStore, Cold, Damaged, Missing
from scripts.console import Console, Step
from scripts.context import Context
from scripts.data.inspect import mysql_tables
from scripts.environments.archive import manifest_of, store_of
from scripts.environments.archive_dump import Digest, Subject
from scripts.environments.archive_format import insert_values, scratch_ddl
from scripts.environments.parquet import rows_of
from scripts.errors import ZdmError

SCRATCH: Final = "zdm_restored"
INSERT_BYTES: Final = 1 << 20
"""Of an INSERT."""


@dataclass(frozen=True)
class Restored:
    """An object that was loaded into MySQL."""

    table: str
    key: str
    rows: int


@dataclass(frozen=True)
class VerifyResult:
    """`problems` name the object or table and what is wrong with it."""

    manifest: Manifest
    problems: tuple[str, ...]
    read: int
    restored: tuple[Restored, ...]
    skipped: str = ""
    """Why nothing was restored."""

    @property
    def ok(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.manifest.id,
            "ok": self.ok,
            "problems": list(self.problems),
            "objects": len(self.manifest.objects),
            "read": self.read,
            "rows": self.manifest.rows,
            "restored": [{"table": r.table, "object": r.key, "rows": r.rows} for r in self.restored],
            "restoreSkipped": self.skipped,
        }

    def render(self, out: RichConsole) -> None:
        for problem in self.problems:
            out.print(f"[red]wrong[/red] {problem}")
        m = self.manifest
        out.print(f"{m.id}: {self.read} of {len(m.objects)} objects are what the manifest says")
        if self.skipped:
            out.print(f"nothing was restored: {self.skipped}")
        else:
            rows = sum(restored.rows for restored in self.restored)
            tables = len({restored.table for restored in self.restored})
            out.print(f"restored into MySQL and equal: {rows:,} rows of {tables} tables")


def run(
    context: Context,
    *,
    console: Console,
    archive: str = "",
    tables: Sequence[str] | None = None,
    sample: int = 1,
    seed: int | None = None,
) -> VerifyResult:
    """Verifies an archive (the newest complete one), and restores `sample` objects of each table, or of those named;
    none with 0."""
    store = store_of(context)
    manifest = manifest_of(store, archive)
    chosen = _chosen(manifest, tables)
    with console.step(f"Verify {manifest.id}: read every object") as step:
        problems, sound = _read_all(store, manifest, step)
        step.done(f"{len(sound)} of {len(manifest.objects)} are what the manifest says")
    restored: list[Restored] = []
    skipped = "as asked" if not sample else "Parquet, which MySQL does not load" if manifest.format != "tsv" else ""
    if not skipped:
        picks = list(_sampled(chosen, sound, sample, random.Random(seed)))
        with console.step(f"Verify {manifest.id}: restore a sample") as step, context.mysql() as my:
            for done, (table, stored) in enumerate(picks):
                step.progress(done, len(picks), "objects")
                problem = _restore(context, store, my, table, stored)
                if problem:
                    problems.append(problem)
                else:
                    restored.append(Restored(table.name, stored.key, stored.rows))
            step.done(f"{len(restored)} of {len(picks)} are equal")
    return VerifyResult(manifest, tuple(problems), len(sound), tuple(restored), skipped)


def _chosen(manifest: Manifest, names: Sequence[str] | None) -> list[ArchivedTable]:
    if unknown := [name for name in names or () if manifest.table(name) is None]:
        known = ", ".join(table.name for table in manifest.tables)
        raise ZdmError(f"{manifest.id} has no table {', '.join(unknown)} (it has: {known})")
    return [table for table in manifest.tables if names is None or table.name in names]


def _sampled(
    tables: Iterable[ArchivedTable], sound: set[str], sample: int, chance: random.Random
) -> Iterator[tuple[ArchivedTable, StoredObject]]:
    for table in tables:
        there = [stored for stored in table.objects if stored.key in sound]
        for stored in chance.sample(there, min(sample, len(there))):
            yield table, stored


# --- objects ----------------------------------------------------------------------------------------------------------


def _read_all(store: ArchiveStore, manifest: Manifest, step: Step) -> tuple[list[str], set[str]]:
    """What is wrong, and the keys of the objects with which nothing is."""
    problems, sound, done = [], set(), 0
    of_rows = {stored.key for table in manifest.tables for stored in table.objects}
    for stored in manifest.objects:
        found = _object_problem(store, manifest, stored, of_rows=stored.key in of_rows)
        if found:
            problems.append(f"{stored.key} {found}")
        else:
            sound.add(stored.key)
        done += stored.size
        step.progress(done / 1e6, manifest.size / 1e6, "MB")
    return problems + [text for table in manifest.tables for text in table_problems(table)], sound


def _object_problem(store: ArchiveStore, manifest: Manifest, stored: StoredObject, *, of_rows: bool) -> str:
    try:
        facts = store.facts(stored.key, stored.version)
    except Missing:
        return "is missing"
    if facts.size != stored.size:
        return f"has {facts.size:,} bytes, not {stored.size:,}"
    if facts.key_arn != manifest.key_arn:
        return f"is encrypted with {facts.key_arn or 'no key of KMS'}, not {manifest.key_arn}"
    if problem := facts.lock_problem(manifest.lock):
        return problem
    try:
        return _content_problem(store, manifest, stored, of_rows=of_rows)
    except Damaged:
        return "has other bytes than were written"
    except Cold:
        return "is in Glacier Deep Archive: restore it first (aws s3api restore-object)"


def _content_problem(store: ArchiveStore, manifest: Manifest, stored: StoredObject, *, of_rows: bool) -> str:
    sha, problem = hashlib.sha256(), ""
    blocks = _hashed(store.blocks(stored.key, stored.version), sha)
    if of_rows:
        try:
            rows = _lines(blocks) if manifest.format == "tsv" else rows_of(blocks)
            problem = "" if rows == stored.rows else f"has {rows:,} rows, not {stored.rows:,}"
        except ValueError as e:
            problem = f"cannot be read: {e}"
    for _ in blocks:
        pass
    return problem if sha.hexdigest() == stored.sha256 else "has other bytes than were written"


def _hashed(blocks: Iterable[bytes], sha: Any) -> Iterator[bytes]:
    for block in blocks:
        sha.update(block)
        yield block


def _lines(blocks: Iterable[bytes]) -> int:
    return sum(block.count(b"\n") for block in unzipped(blocks))


def unzipped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Raises `ValueError` for what is no whole gzip file."""
    unzip = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        for block in blocks:
            yield unzip.decompress(block)
        yield unzip.flush()
    except zlib.error as e:
        raise ValueError(str(e)) from e
    if not unzip.eof:
        raise ValueError("it ends too early")


def table_problems(table: ArchivedTable) -> list[str]:
    """Whether the objects of a table are together what the manifest says of the table."""
    rows = sum(stored.rows for stored in table.objects)
    problems = [] if rows == table.rows else [f"{table.name}: its objects have {rows:,} rows, not {table.rows:,}"]
    if table.digest_kind != "none":
        digest = Digest(table.digest_kind)
        for stored in table.objects:
            digest.add(stored.rows, int(stored.digest, 16))
        if digest.text != table.digest:
            problems.append(f"{table.name}: the digests of its objects do not give that of the table")
    return problems


# --- restore ----------------------------------------------------------------------------------------------------------


def _restore(
    context: Context, store: ArchiveStore, my: Connection[Any], table: ArchivedTable, stored: StoredObject
) -> str:
    """Loads an object into a temporary table and compares its digest. What is wrong, or nothing."""
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute("SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', unique_checks = 0")
        cursor.execute(f"DROP TEMPORARY TABLE IF EXISTS {SCRATCH}")
        cursor.execute(scratch_ddl(table.ddl, SCRATCH))
        try:
            subject = _subject(context, my, table)
            names = ", ".join(mysql_name(column.name) for column in carried(subject.table.columns))
            rows = (insert_values(subject.table.columns, line) for line in _whole_lines(store, stored))
            for batch in _batches(rows):
                cursor.execute(f"INSERT INTO {SCRATCH} ({names}) VALUES {batch}")
            cursor.execute("SET SESSION sql_mode = ''")
            digest = _digest_of(cursor, subject)
        except (pymysql.err.MySQLError, ValueError) as e:
            return f"{stored.key} cannot be loaded into MySQL: {e.args[-1]}"
        finally:
            cursor.execute(f"DROP TEMPORARY TABLE IF EXISTS {SCRATCH}")
    if digest.rows != stored.rows:
        return f"{stored.key} gives {digest.rows:,} rows in MySQL, not {stored.rows:,}"
    if digest.text != stored.digest:
        return f"{stored.key} gives other rows in MySQL than it was made from"
    return ""


def _subject(context: Context, my: Connection[Any], table: ArchivedTable) -> Subject:
    """The table as it was archived: by the columns that the source has now, which must be those."""
    [now] = mysql_tables(my, context.outputs.database, [table.name])
    if [column.name for column in now.columns] != [column.name for column in table.columns]:
        raise ValueError(f"{table.name} has other columns now than when it was archived")
    return Subject.of(now, context.outputs.pipeline.choices)


def _digest_of(cursor: pymysql.cursors.Cursor, subject: Subject) -> Digest:
    digest = Digest(subject.digest_kind)
    if digest.kind == "xor":
        cursor.execute(
            f"SELECT COUNT(*), HEX(BIT_XOR(UNHEX(h))) FROM (SELECT {subject.hash_sql} AS h FROM {SCRATCH}) r"
        )
        [(rows, value)] = cursor.fetchall()
        digest.add(rows, int(value, 16))
        return digest
    cursor.execute(f"SELECT {subject.hash_sql} FROM {SCRATCH}")
    for (value,) in cursor:
        digest.add(1, int(value, 16))
    return digest


def _whole_lines(store: ArchiveStore, stored: StoredObject) -> Iterator[bytes]:
    rest = b""
    for block in unzipped(store.blocks(stored.key, stored.version)):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines


def _batches(rows: Iterable[str]) -> Iterator[str]:
    batch: list[str] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row)
        if size >= INSERT_BYTES:
            yield ", ".join(batch)
            batch, size = [], 0
    if batch:
        yield ", ".join(batch)
