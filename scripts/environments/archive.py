"""`./zdm archive`: MySQL's last state, in S3 under lock, for years.

`take` observes the source and the archive, plans what is still to be written, and writes it:

- MySQL on EC2 is read by `archive_dump`. Fenced (`super_read_only`, after `./zdm cutover final`) it is read by several
  workers, and a run that was killed goes on, since nothing can have changed. While it can be written to, one worker
  reads one read view; killed, it begins anew.
- MySQL on RDS is exported by RDS itself (`archive_export`).
- The manifest is written last. Without it an archive is incomplete, whatever is there.

Nothing is ever deleted: what a killed run left behind is locked, too.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from contract.archive import (
    PREFIX,
    SCHEMA,
    TSV,
    ArchivedTable,
    ArchiveError,
    Chunk,
    Lock,
    Manifest,
    Plan,
    PlannedTable,
    StoredObject,
    dumped,
    folder,
    load_manifest,
    load_plan,
    manifest_key,
    plan_key,
)
from scripts.clients.archive_store import ArchiveStore, Missing, now
from scripts.console import Console, Step
from scripts.context import Context
from scripts.data.keyset import Bounds, split
from scripts.data.rules import MySQL
from scripts.data.throttle import Throttle
from scripts.environments.archive_dump import (
    USUAL,
    Digest,
    Dump,
    Limits,
    Subject,
    Task,
    complete_objects,
    read_view,
)
from scripts.environments.archive_format import load_statement
from scripts.environments.archive_result import Entry, ListResult, ShowResult, TakeResult
from scripts.environments.archive_source import Schema, Server, columns_of, schema_of, server_of
from scripts.errors import UsageError, ZdmError

RANGES: Final = 256
"""Of a table, at most."""


def store_of(context: Context) -> ArchiveStore:
    """Raises `UsageError` where the stack has no archive."""
    if context.outputs.archive is None:
        raise UsageError(
            f"{context.outputs.stack} has no archive (setting archive.enabled): "
            f"./zdm up {context.outputs.stack} -c archive.enabled=true"
        )
    return ArchiveStore(context.aws("s3"), context.outputs.archive)


def take(
    context: Context,
    *,
    console: Console,
    dry_run: bool = False,
    limits: Limits = USUAL,
    classes: Mapping[str, str] | None = None,
) -> TakeResult:
    """Archives the source, or goes on with what an earlier call began. `classes` are data classes by `table.column`.

    Raises `UsageError` before anything is written, `ZdmError` when the archive stays incomplete.
    """
    store = store_of(context)
    if context.outputs.source.instance:
        from scripts.environments import archive_export

        return archive_export.take(context, store, console=console, dry_run=dry_run, classes=classes or {})
    with console.step("Archive: look at the source and at the archive") as step, context.mysql() as my:
        seen = _observe(context, my, store, limits)
        step.done(seen.summary)
    if dry_run or seen.complete is not None:
        return seen.result(dry_run)
    if not seen.resumed:
        _put(store, plan_key(seen.plan.id), dumped(seen.plan), seen.plan.lock)
    with console.step(f"Archive {seen.plan.id}: rows") as step:
        server = _dump(context, store, seen, limits, step)
    with console.step(f"Archive {seen.plan.id}: manifest") as step:
        manifest = _finish(context, store, seen, server, classes or {})
        step.done(f"{manifest.rows:,} rows, {manifest.size / 1e6:,.1f} MB")
    return TakeResult.of(manifest, resumed=seen.resumed)


# --- observe and plan -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What is there, and so what is to be done. `complete`: this very state is archived already."""

    server: Server
    schema: Schema
    plan: Plan
    subjects: tuple[Subject, ...]
    tasks: tuple[Task, ...] = ()
    resumed: bool = False
    complete: Manifest | None = None

    @property
    def summary(self) -> str:
        if self.complete is not None:
            return f"{self.complete.id} has this state already"
        left = sum(not task.ended for task in self.tasks)
        how = "goes on with" if self.resumed else "begins"
        return f"{how} {self.plan.id}: {left} of {len(self.tasks)} ranges of {len(self.subjects)} tables"

    def result(self, dry_run: bool) -> TakeResult:
        if self.complete is not None:
            return TakeResult.of(self.complete, already=True)
        actions = []
        if not self.resumed:
            actions.append(f"write the plan of {self.plan.id}" + _locked(self.plan.lock))
        actions.append("write the schema: " + ", ".join(table.name for table in self.schema.tables))
        for subject in self.subjects:
            own = [task for task in self.tasks if task.subject is subject]
            left = [task for task in own if not task.ended]
            if left:
                size = f"about {subject.table.rows:,} rows, {subject.table.size / 1e6:,.1f} MB"
                actions.append(f"write {len(left)} of {len(own)} ranges of {subject.table.name} ({size})")
        actions.append("write the manifest")
        return TakeResult(self.plan.id, actions=tuple(actions), dry_run=dry_run, fenced=self.plan.fenced)


def _observe(context: Context, my: MySQL, store: ArchiveStore, limits: Limits) -> Seen:
    out = context.outputs
    server = server_of(my)
    schema = schema_of(my, out.database)
    if not server.fenced and (odd := [table.name for table in schema.tables if table.engine != "InnoDB"]):
        raise UsageError(
            f"{', '.join(odd)}: no InnoDB, so no read view has them as they were at one time. Archive them once the "
            "source is super_read_only (./zdm cutover final)"
        )
    subjects = tuple(Subject.of(table, out.pipeline.choices) for table in schema.tables)
    for entry in entries(store) if server.fenced else ():
        if entry.plan is None or not _same(entry.plan, server, schema, out.database):
            continue
        if entry.manifest is not None:
            return Seen(server, schema, entry.plan, subjects, complete=entry.manifest)
        tasks = _tasks(store, entry.plan, subjects, resumed=True)
        return Seen(server, schema, entry.plan, subjects, tasks, resumed=True)
    plan = _planned(context, my, store, server, schema, subjects, limits)
    return Seen(server, schema, plan, subjects, _tasks(store, plan, subjects, resumed=False))


def _same(plan: Plan, server: Server, schema: Schema, database: str) -> bool:
    """Whether the source is still what the plan was made for. Only a fenced one can be known to be."""
    return plan.fenced and (plan.server_id, plan.gtid, plan.schema_digest, plan.database) == (
        server.id,
        server.gtid,
        schema.digest,
        database,
    )


def _planned(
    context: Context,
    my: MySQL,
    store: ArchiveStore,
    server: Server,
    schema: Schema,
    subjects: Sequence[Subject],
    limits: Limits,
) -> Plan:
    started, days = now(), store.default_days()
    tables = []
    for subject in subjects:
        parts = min(RANGES, max(1, subject.table.size // limits.range_bytes)) if server.fenced else 1
        ranges = split(my, subject.rules, parts) if subject.keyed else [Bounds()]
        pairs = [(_listed(bounds.after), _listed(bounds.upto)) for bounds in ranges]
        tables.append(PlannedTable(name=subject.table.name, ranges=pairs))
    return Plan(
        id=f"{context.outputs.stack}-{started:%Y%m%dT%H%M%SZ}",
        stack=context.outputs.stack,
        database=context.outputs.database,
        server_id=server.id,
        gtid=server.gtid,
        fenced=server.fenced,
        schema_digest=schema.digest,
        started=started,
        lock=Lock.model_validate({"mode": days[0], "until": started + timedelta(days=days[1])}) if days else None,
        tables=tables,
    )


def _tasks(store: ArchiveStore, plan: Plan, subjects: Sequence[Subject], *, resumed: bool) -> tuple[Task, ...]:
    """The largest tables first, so that no worker is left with one at the end."""
    by_name, tasks = {subject.table.name: subject for subject in subjects}, []
    for table in plan.tables:
        there = complete_objects(store, plan.id, table.name) if resumed else {}
        for part, (after, upto) in enumerate(table.ranges):
            bounds = Bounds(tuple(after) if after else None, tuple(upto) if upto else None)
            tasks.append(Task(by_name[table.name], part, bounds, there.get(part, ())))
    return tuple(sorted(tasks, key=lambda task: -task.subject.table.size))


def _listed(key: tuple[str, ...] | None) -> list[str] | None:
    return None if key is None else list(key)


def _locked(lock: Lock | None) -> str:
    return f", locked until {lock.until:%F} ({lock.mode.lower()})" if lock else ", without a lock"


# --- apply ------------------------------------------------------------------------------------------------------------


@dataclass
class _Count:
    """Rows written, for the progress."""

    total: int
    rows: int = 0
    mutex: threading.Lock = field(default_factory=threading.Lock)


def _dump(context: Context, store: ArchiveStore, seen: Seen, limits: Limits, step: Step) -> Server:
    """Writes the objects of rows. Returns the server as it was once the read views were open."""
    left = [task for task in seen.tasks if not task.ended]
    count = _Count(sum(subject.table.rows for subject in seen.subjects))
    count.rows = sum(chunk.object.rows for task in seen.tasks for chunk in task.there)

    def done(task: Task, chunk: Chunk) -> None:
        with count.mutex:
            count.rows += chunk.object.rows
            step.progress(count.rows, max(count.total, count.rows), "rows")

    workers = max(1, min(limits.workers if seen.plan.fenced else 1, len(left)))
    throttle = Throttle(workers, limits.max_running)
    with ExitStack() as stack:
        views = [stack.enter_context(closing(read_view(context))) for _ in range(workers)]
        with context.mysql() as my:
            opened = server_of(my)
            changed = schema_of(my, context.outputs.database).digest != seen.schema.digest
        if changed or (seen.plan.fenced and opened != seen.server):
            raise ZdmError("the source was changed just now, so the archive stays incomplete: run this again")
        dump = Dump(context, store, seen.plan.id, seen.plan.lock, done, throttle, limits)
        dump.run(left, views)
    with context.mysql() as my:
        if seen.plan.fenced and server_of(my) != seen.server:
            raise ZdmError(
                f"the source was opened or changed while it was read, so {seen.plan.id} stays incomplete: fence it "
                "(super_read_only) and run this again"
            )
    step.done(f"{count.rows:,} rows")
    return opened


def _finish(context: Context, store: ArchiveStore, seen: Seen, opened: Server, classes: Mapping[str, str]) -> Manifest:
    """Puts together what the objects' notes say, and writes the manifest."""
    archive = context.outputs.archive
    assert archive is not None
    plan, code = seen.plan, seen.schema.code.encode()
    stored = _put(store, f"{folder(plan.id)}{SCHEMA}", code, plan.lock)
    manifest = Manifest(
        id=plan.id,
        stack=plan.stack,
        database=plan.database,
        kind="dump",
        format="tsv",
        format_note=TSV,
        server=seen.server.version,
        gtid=plan.gtid,
        gtid_upto=opened.gtid,
        fenced=plan.fenced,
        started=plan.started,
        finished=now(),
        key_arn=archive.key_arn,
        lock=plan.lock,
        code=stored,
        tables=[_table(store, seen, subject, dict(classes)) for subject in seen.subjects],
    )
    _put(store, manifest_key(plan.id), dumped(manifest), plan.lock)
    return manifest


def _table(store: ArchiveStore, seen: Seen, subject: Subject, classes: dict[str, str]) -> ArchivedTable:
    chunks = complete_objects(store, seen.plan.id, subject.table.name)
    for task in seen.tasks:
        if task.subject is subject and not replace(task, there=chunks.get(task.part, ())).ended:
            raise ZdmError(f"{subject.table.name}: range {task.part} is not complete in the archive: run this again")
    digest = Digest(subject.digest_kind)
    objects = [chunk.object for part in sorted(chunks) for chunk in chunks[part]]
    for stored in objects:
        digest.add(stored.rows, int(stored.digest, 16))
    return ArchivedTable(
        name=subject.table.name,
        rows=digest.rows,
        digest_kind=subject.digest_kind,
        digest=digest.text,
        undigested=subject.undigested,
        ddl=seen.schema.ddl[subject.table.name],
        load=load_statement(subject.table),
        columns=columns_of(subject.table, classes),
        objects=objects,
    )


def _put(store: ArchiveStore, key: str, body: bytes, lock: Lock | None) -> StoredObject:
    sha256 = hashlib.sha256(body).hexdigest()
    return StoredObject(key=key, size=len(body), sha256=sha256, version=store.put(key, body, sha256, lock))


# --- what is there ----------------------------------------------------------------------------------------------------


def entries(store: ArchiveStore) -> list[Entry]:
    """Every archive of the bucket, the newest first. Raises `ZdmError` for one that is not understood."""
    found = []
    for name in sorted(store.folders(PREFIX), reverse=True):
        try:
            plan = _read(store, plan_key(name))
            manifest = _read(store, manifest_key(name))
            found.append(
                Entry(
                    name,
                    load_plan(plan, plan_key(name)) if plan else None,
                    load_manifest(manifest, manifest_key(name)) if manifest else None,
                )
            )
        except ArchiveError as e:
            raise ZdmError(f"{store.bucket}: {e}") from e
    return sorted(found, key=lambda entry: entry.started or "", reverse=True)


def _read(store: ArchiveStore, key: str) -> bytes | None:
    try:
        return store.read(key)
    except Missing:
        return None


def list_archives(context: Context) -> ListResult:
    """Every archive, complete or not."""
    store = store_of(context)
    return ListResult(store.bucket, tuple(entries(store)))


def show(context: Context, archive: str = "") -> ShowResult:
    """One archive (the newest complete one)."""
    return ShowResult(manifest_of(store_of(context), archive))


def manifest_of(store: ArchiveStore, archive: str = "") -> Manifest:
    """Raises `UsageError` where there is none."""
    there = entries(store)
    chosen = [entry for entry in there if (entry.id == archive if archive else entry.manifest is not None)]
    if not chosen:
        names = ", ".join(entry.id for entry in there) or "none"
        raise UsageError(f"there is no {f'archive {archive}' if archive else 'complete archive'} (there are: {names})")
    if chosen[0].manifest is None:
        raise UsageError(f"{archive} is incomplete: `./zdm archive take` goes on with it or begins a new one")
    return chosen[0].manifest
