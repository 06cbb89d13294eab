"""The archive of a MySQL that RDS runs: a snapshot, exported by RDS itself as Parquet into the archive's bucket.

Each step finds what an earlier run has done: the snapshot and the export have the archive's id as their names. RDS
writes `<prefix>/<task>/<database>/<database>.<table>/<batch>/part-….gz.parquet`, and documents about the task beside
(Amazon RDS User Guide, "File naming conventions for exports to Amazon S3"); all are locked, and described in our own
manifest. The check's digest is of rows, which Parquet keeps in another form: these archives have none.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from contract.archive import (
    PARQUET,
    SCHEMA,
    ArchivedTable,
    Lock,
    Manifest,
    Plan,
    StoredObject,
    dumped,
    folder,
    manifest_key,
    plan_key,
)
from contract.outputs import Archive
from scripts.clients.archive_store import ArchiveStore, now
from scripts.console import Console, Step
from scripts.context import Context
from scripts.environments.archive import entries
from scripts.environments.archive_result import TakeResult
from scripts.environments.archive_source import Schema, columns_of, schema_of, server_of
from scripts.environments.parquet import rows_of
from scripts.errors import UsageError, ZdmError

LOOK_SECONDS: Final = 5.0
"""Between two looks at what RDS is doing; both steps take from minutes to hours."""
UNDER_WAY: Final = ("STARTING", "IN_PROGRESS")
"""What the export of a task that goes on is in."""
_NONE: Final = frozenset({"DBSnapshotNotFound", "ExportTaskNotFound"})


def take(
    context: Context,
    store: ArchiveStore,
    *,
    console: Console,
    dry_run: bool,
    classes: Mapping[str, str],
    look_seconds: float = LOOK_SECONDS,
) -> TakeResult:
    """Archives the RDS instance of the stack, or goes on with what an earlier call began."""
    out, archive = context.outputs, context.outputs.archive
    assert archive is not None
    rds = _Rds(context.aws("rds"), look_seconds)
    with console.step("Archive: look at the source and at the archive") as step, context.mysql() as my:
        server, schema = server_of(my), schema_of(my, out.database)
        plan, resumed = _begun(store, rds, out.database, schema), True
        if plan is None:
            plan, resumed = _plan(context, store, server.id, server.gtid, schema), False
        step.done(f"{'goes on with' if resumed else 'begins'} {plan.id}")
    name = task_name(plan.id)
    if dry_run:
        actions = (
            f"take the snapshot {name} of {out.source.instance}",
            f"export it to s3://{archive.bucket}/{folder(plan.id)}",
            "lock its objects, and write the schema and the manifest",
        )
        return TakeResult(plan.id, actions=actions, dry_run=True, fenced=False, resumed=resumed)
    if not resumed:
        _put(store, plan_key(plan.id), dumped(plan), plan.lock)
    with console.step(f"Archive {plan.id}: snapshot of {out.source.instance}") as step:
        arn = rds.snapshot(name, out.source.instance, step)
    with console.step(f"Archive {plan.id}: export by RDS") as step:
        rds.export(name, arn, archive, plan, step)
    with console.step(f"Archive {plan.id}: prove and lock what RDS wrote") as step:
        tables = [_table(store, plan, schema, table_name, classes, step) for table_name in sorted(schema.ddl)]
        documents = _locked(store, plan, f"{folder(plan.id)}{name}/", lambda key: not key.endswith(".parquet"))
        code = _put(store, f"{folder(plan.id)}{SCHEMA}", schema.code.encode(), plan.lock)
        manifest = Manifest(
            id=plan.id,
            stack=plan.stack,
            database=plan.database,
            kind="export",
            format="parquet",
            format_note=PARQUET,
            server=server.version,
            gtid=plan.gtid,
            fenced=False,
            started=plan.started,
            finished=now(),
            key_arn=archive.key_arn,
            lock=plan.lock,
            code=code,
            snapshot=arn,
            tables=tables,
        )
        _put(store, manifest_key(plan.id), dumped(manifest), plan.lock)
        step.done(f"{manifest.rows:,} rows, {len(manifest.objects)} objects, {len(documents)} documents of RDS")
    return TakeResult.of(manifest, resumed=resumed)


def task_name(archive: str) -> str:
    """RDS wants letters, digits and hyphens, at most 60 of them in the name of a task."""
    return f"zdm-archive-{archive.lower()}"[:60].rstrip("-")


def _begun(store: ArchiveStore, rds: _Rds, database: str, schema: Schema) -> Plan | None:
    """An export that was begun and has no manifest yet, of a database that still has the same schema. One that failed
    is not gone on with: RDS takes a task's name once."""
    for entry in entries(store):
        plan = entry.plan
        if plan is None or entry.manifest is not None or plan.tables:
            continue
        if (plan.database, plan.schema_digest) == (database, schema.digest) and not rds.failed(task_name(plan.id)):
            return plan
    return None


def _plan(context: Context, store: ArchiveStore, server_id: str, gtid: str, schema: Schema) -> Plan:
    started, days = now(), store.default_days()
    return Plan(
        id=f"{context.outputs.stack}-{started:%Y%m%dT%H%M%SZ}",
        stack=context.outputs.stack,
        database=context.outputs.database,
        server_id=server_id,
        gtid=gtid,
        fenced=False,
        schema_digest=schema.digest,
        started=started,
        lock=Lock.model_validate({"mode": days[0], "until": started + timedelta(days=days[1])}) if days else None,
    )


@dataclass(frozen=True)
class _Rds:
    """What RDS does for an archive. Each call begins it, or finds it begun, and waits until it is done."""

    client: Any
    look_seconds: float

    def snapshot(self, name: str, instance: str, step: Step) -> str:
        """The ARN of the snapshot."""
        if self._snapshot(name) is None:
            tags = [{"Key": "zdm:reason", "Value": "archive"}, {"Key": "zdm:protected", "Value": "true"}]
            self._do("create_db_snapshot", DBSnapshotIdentifier=name, DBInstanceIdentifier=instance, Tags=tags)
        while True:
            found = self._snapshot(name)
            status = found["Status"] if found else "gone"
            if found and status == "available":
                return str(found["DBSnapshotArn"])
            if status not in ("creating", "available"):
                raise ZdmError(f"the snapshot {name} is {status}: delete it in RDS, then run this again")
            step.progress(float(found.get("PercentProgress") or 0) if found else 0, 100, "percent")
            time.sleep(self.look_seconds)

    def export(self, name: str, arn: str, archive: Archive, plan: Plan, step: Step) -> None:
        if self._export(name) is None:
            self._do(
                "start_export_task",
                ExportTaskIdentifier=name,
                SourceArn=arn,
                S3BucketName=archive.bucket,
                S3Prefix=folder(plan.id).rstrip("/"),
                IamRoleArn=archive.export_role_arn,
                KmsKeyId=archive.key_arn,
                ExportOnly=[plan.database],
            )
        while True:
            task = self._export(name) or {}
            status = str(task.get("Status", "gone")).upper()
            if status == "COMPLETE":
                return
            if status not in UNDER_WAY:
                cause = task.get("FailureCause") or task.get("WarningMessage") or "RDS says no more"
                raise ZdmError(f"the export {name} is {status.lower()}: {cause}. Run this again: it begins a new one")
            step.progress(float(task.get("PercentProgress") or 0), 100, "percent")
            time.sleep(self.look_seconds)

    def failed(self, name: str) -> bool:
        task = self._export(name)
        return task is not None and str(task["Status"]).upper() not in (*UNDER_WAY, "COMPLETE")

    def _snapshot(self, name: str) -> dict[str, Any] | None:
        return self._one("describe_db_snapshots", "DBSnapshots", DBSnapshotIdentifier=name)

    def _export(self, name: str) -> dict[str, Any] | None:
        return self._one("describe_export_tasks", "ExportTasks", ExportTaskIdentifier=name)

    def _one(self, operation: str, field: str, **what: str) -> dict[str, Any] | None:
        try:
            found: list[dict[str, Any]] = getattr(self.client, operation)(**what)[field]
        except ClientError as e:
            if e.response["Error"]["Code"] in _NONE:
                return None
            raise ZdmError(f"RDS: {e}") from e
        return found[0] if found else None

    def _do(self, operation: str, **what: Any) -> None:
        try:
            getattr(self.client, operation)(**what)
        except (BotoCoreError, ClientError) as e:
            raise ZdmError(f"RDS: {e}") from e


def _table(
    store: ArchiveStore, plan: Plan, schema: Schema, name: str, classes: Mapping[str, str], step: Step
) -> ArchivedTable:
    prefix = f"{folder(plan.id)}{task_name(plan.id)}/{plan.database}/{plan.database}.{_in_path(name)}/"
    step.update(name)
    objects = _locked(store, plan, prefix, lambda key: key.endswith(".parquet"))
    [table] = [table for table in schema.tables if table.name == name]
    if not objects and table.rows:
        raise ZdmError(f"RDS has exported nothing of {name}, which has rows: see its documents under {folder(plan.id)}")
    return ArchivedTable(
        name=name,
        rows=sum(stored.rows for stored in objects),
        digest_kind="none",
        ddl=schema.ddl[name],
        columns=columns_of(table, dict(classes)),
        objects=objects,
    )


def _in_path(name: str) -> str:
    """RDS writes an underscore for what a path must not have."""
    return re.sub(r'[\\`" ]', "_", name)


def _locked(store: ArchiveStore, plan: Plan, prefix: str, wanted: Callable[[str], bool]) -> list[StoredObject]:
    """The objects under a prefix, read once and locked."""
    found = []
    for key, size in store.keys(prefix):
        if not wanted(key):
            continue
        facts, sha = store.facts(key), hashlib.sha256()
        version = facts.version
        rows = _counted(store.blocks(key, version), sha, key)
        if plan.lock is not None and facts.lock_problem(plan.lock):
            store.lock(key, version, plan.lock)
            if problem := store.facts(key, version).lock_problem(plan.lock):
                raise ZdmError(f"{store.bucket}: {key} {problem}")
        found.append(StoredObject(key=key, size=size, sha256=sha.hexdigest(), rows=rows, version=version))
    return found


def _counted(blocks: Iterator[bytes], sha: Any, key: str) -> int:
    def hashed() -> Iterator[bytes]:
        for block in blocks:
            sha.update(block)
            yield block

    if not key.endswith(".parquet"):
        for _ in hashed():
            pass
        return 0
    try:
        return rows_of(hashed())
    except ValueError as e:
        raise UsageError(f"{key}: {e}") from e


def _put(store: ArchiveStore, key: str, body: bytes, lock: Lock | None) -> StoredObject:
    sha256 = hashlib.sha256(body).hexdigest()
    return StoredObject(key=key, size=len(body), sha256=sha256, version=store.put(key, body, sha256, lock))
