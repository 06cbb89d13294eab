"""Exports in RDS' API: the tables of a snapshot, or of a cluster as it is now, as Parquet in a bucket of the stack.

A server of its own starts on a copy of the snapshot, which nobody sees; its tables are read in blocks, and it goes. The
objects are named as RDS names them (Amazon RDS User Guide, "File naming conventions for exports to Amazon S3"); beside
them are the two documents that RDS writes about a task, whose fields no guide describes: `export_info_...json` and
`export_tables_info_...json`. A table has one part, and is skipped where RDS skips it.
"""

from __future__ import annotations

import json
import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from botocore.exceptions import ClientError

from local.dataplane import cloud, snapshots
from local.dataplane.rds.export_sources import Source, Table, mysql_source, postgres_source
from local.dataplane.rds.parquet import Writer
from local.dataplane.rds.place import Place, Reply, Request, chosen
from local.processes import write_atomically
from local.provider.handler import HandlerError

GROUP: Final = 50_000
"""Rows of a row group."""
_UNDER_WAY = ("STARTING", "IN_PROGRESS", "CANCELING")
_TIMES = ("SnapshotTime", "TaskStartTime", "TaskEndTime")
_NO_COLUMN = re.compile(r"[,;{}()\n\t= ]")
FILTERS = {
    "export-task-identifier": lambda one: one["ExportTaskIdentifier"],
    "s3-bucket": lambda one: one["S3Bucket"],
    "source-arn": lambda one: one["SourceArn"],
    "status": lambda one: one["Status"].lower(),
}


class Canceled(Exception):
    """Somebody canceled the task."""


def start(place: Place, request: Request) -> Reply:
    task, arn = str(request["ExportTaskIdentifier"]), str(request["SourceArn"])
    if _file(place, task).exists():
        raise HandlerError(f"ExportTaskAlreadyExists: there is an export task {task} already")
    kind, _, name = arn.split(":", 5)[5].partition(":")
    taken: str | None = cloud.now()
    if kind == "cluster":
        snapshots.cluster_of(place.stack, arn)
    else:
        family: snapshots.Kind = "aurora" if kind == "cluster-snapshot" else "mysql"
        copy = snapshots.found(place.stack, family, arn)
        if copy is None:
            fault = "DBClusterSnapshotNotFoundFault" if family == "aurora" else "DBSnapshotNotFound"
            raise HandlerError(f"{fault}: {name} not found.")
        taken = copy.described.get("createdAt")
    _demand_reachable(place, request)
    known = {
        "ExportTaskIdentifier": task,
        "SourceArn": arn,
        "SourceType": "CLUSTER" if kind == "cluster" else "SNAPSHOT",
        "ExportOnly": request.get("ExportOnly") or [],
        "SnapshotTime": taken,
        "TaskStartTime": cloud.now(),
        "S3Bucket": request["S3BucketName"],
        "S3Prefix": (request.get("S3Prefix") or "").strip("/"),
        "IamRoleArn": request["IamRoleArn"],
        "KmsKeyId": request["KmsKeyId"],
        "Status": "STARTING",
        "PercentProgress": 0,
        "TotalExtractedDataInGB": 0,
    }
    _write(place, known)
    place.begin("export", task, "in progress", lambda: _Task(place, task).run())
    return _told(place, task)


def describe(place: Place, request: Request) -> Reply:
    found = [_told(place, file.stem) for file in sorted(_home(place).glob("*.json"))]
    if wanted := request.get("ExportTaskIdentifier"):
        found = [one for one in found if one["ExportTaskIdentifier"] == wanted]
        if not found:
            raise HandlerError(f"ExportTaskNotFound: there is no export task {wanted}")
    if arn := request.get("SourceArn"):
        found = [one for one in found if one["SourceArn"] == arn]
    return {"ExportTasks": chosen(found, request, FILTERS)}


def cancel(place: Place, request: Request) -> Reply:
    task = str(request["ExportTaskIdentifier"])
    if not _file(place, task).exists():
        raise HandlerError(f"ExportTaskNotFound: there is no export task {task}")
    known = _read(place, task)
    if known["Status"] not in _UNDER_WAY:
        raise HandlerError(f"InvalidExportTaskStateFault: the export task {task} is {known['Status']}")
    _write(place, {**known, "Status": "CANCELING"})
    return _told(place, task)


@dataclass(frozen=True)
class _Task:
    """One export, done by a thread."""

    place: Place
    name: str

    def run(self) -> None:
        try:
            self._note(Status="IN_PROGRESS")
            self._export()
            self._note(Status="COMPLETE", PercentProgress=100, TaskEndTime=cloud.now())
        except Canceled:
            self._note(Status="CANCELED", TaskEndTime=cloud.now())
        except Exception as error:
            self._note(Status="FAILED", FailureCause=str(error), TaskEndTime=cloud.now())
            raise

    def _export(self) -> None:
        known = _read(self.place, self.name)
        with _source(self.place, self.name, known["SourceArn"]) as source:
            tables = list(source.tables(known["ExportOnly"]))
            if known["ExportOnly"] and not tables:
                raise HandlerError(f"nothing of {', '.join(known['ExportOnly'])} is in the snapshot")
            done, extracted = [], 0
            for i, table in enumerate(tables):
                status, size = self._table(source, table, known)
                done.append(status)
                extracted += size
                self._note(PercentProgress=100 * (i + 1) // (len(tables) + 1))
        skipped = [one["target"] for one in done if one["status"] != "COMPLETE"]
        self._note(
            TotalExtractedDataInGB=extracted >> 30,
            WarningMessage=f"Skipped tables: {', '.join(skipped)}" if skipped else None,
        )
        known = {**_read(self.place, self.name), "Status": "COMPLETE", "PercentProgress": 100}
        folder = _folder(known)
        info = {name[0].lower() + name[1:]: value for name, value in known.items()}
        self._put(known, f"{folder}export_info_{self.name}.json", json.dumps(info, indent=1).encode())
        listed = json.dumps({"perTableStatus": done}, indent=1).encode()
        self._put(known, f"{folder}export_tables_info_{self.name}_from_1_to_{len(done)}.json", listed)

    def _table(self, source: Source, table: Table, known: Request) -> tuple[Request, int]:
        """Exports one table; its status in RDS' words, and the bytes of its file."""
        began = cloud.now()
        bad = [column.column.name for column in table.columns if _NO_COLUMN.search(column.column.name)]
        size = 0
        if not bad and "/" not in table.name:
            path = re.sub(r'[\\`" ]', "_", f"{table.database}/{table.schema}.{table.name}")
            key = f"{_folder(known)}{path}/1/part-00000-{uuid.uuid4()}.gz.parquet"
            size = self._part(source, table, known, key)
        return {
            "target": f"{table.database}.{table.schema}.{table.name}",
            "status": "COMPLETE" if not bad and "/" not in table.name else "SKIPPED",
            "sizeGB": size / (1 << 30),
            "tableStatistics": {
                "extractionStartTime": began,
                "extractionEndTime": cloud.now(),
                "partitioningInfo": {"numberOfPartitions": 1, "numberOfCompletedPartitions": 1},
            },
            "schemaMetadata": {
                "originalTypeMappings": [
                    {
                        "columnName": column.column.name,
                        "originalType": column.original,
                        "expectedExportedType": " ".join(
                            filter(None, (column.column.physical, column.column.converted))
                        ),
                    }
                    for column in table.columns
                ]
            },
        }, size

    def _part(self, source: Source, table: Table, known: Request, key: str) -> int:
        """Writes the table's only part; one without rows has none."""
        convert = [column.convert for column in table.columns]
        with tempfile.TemporaryFile() as file:
            writer = Writer(file, [column.column for column in table.columns])
            for block in source.rows(table, GROUP):
                rows = [[None if v is None else c(v) for c, v in zip(convert, row, strict=True)] for row in block]
                writer.write(rows)
                if _read(self.place, self.name)["Status"] == "CANCELING":
                    raise Canceled
            writer.close()
            size = file.tell()
            if writer.rows:
                file.seek(0)
                self._put(known, key, file)
            return size

    def _put(self, known: Request, key: str, body: Any) -> None:
        s3 = cloud.aws(self.place.stack, "s3", self.place.region)
        encrypted = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": known["KmsKeyId"]}
        if isinstance(body, bytes):
            s3.put_object(Bucket=known["S3Bucket"], Key=key, Body=body, **encrypted)
        else:
            s3.upload_fileobj(body, known["S3Bucket"], key, ExtraArgs=encrypted)

    def _note(self, **changes: Any) -> None:
        known = _read(self.place, self.name)
        if known["Status"] == "CANCELING" and changes.get("Status") in ("IN_PROGRESS", "COMPLETE"):
            raise Canceled
        _write(self.place, {**known, **changes})


@contextmanager
def _source(place: Place, task: str, arn: str) -> Iterator[Source]:
    """A server on the data of the snapshot. Its name is none that RDS would take, so no request finds it."""
    inputs: Request = {"region": place.region, "snapshotIdentifier": arn}
    kind = arn.split(":", 5)[5].partition(":")[0]
    if kind == "cluster":
        point = {"sourceClusterIdentifier": arn, "useLatestRestorableTime": True}
        inputs = {"region": place.region, "restoreToPointInTime": point}
    make = mysql_source if kind == "snapshot" else postgres_source
    with make(place.stack, f"export.{task}", inputs) as source:
        yield source


def _demand_reachable(place: Place, request: Request) -> None:
    """What RDS looks at before it starts: the bucket, the key, the role."""
    looks = {
        "InvalidS3BucketFault": ("s3", "head_bucket", {"Bucket": request["S3BucketName"]}),
        "KMSKeyNotAccessibleFault": ("kms", "describe_key", {"KeyId": request["KmsKeyId"]}),
        "IamRoleNotFound": ("iam", "get_role", {"RoleName": request["IamRoleArn"].rpartition("/")[2]}),
    }
    for fault, (service, operation, arguments) in looks.items():
        try:
            getattr(cloud.aws(place.stack, service, place.region), operation)(**arguments)
        except ClientError as error:
            raise HandlerError(f"{fault}: {next(iter(arguments.values()))}: {error}") from error


def _folder(known: Request) -> str:
    prefix = f"{known['S3Prefix']}/" if known["S3Prefix"] else ""
    return f"{prefix}{known['ExportTaskIdentifier']}/"


def _told(place: Place, task: str) -> Reply:
    known, entry = _read(place, task), place.progress.of("export", task)
    if known["Status"] in _UNDER_WAY and (entry is None or entry.failed):
        known |= {"Status": "FAILED", "FailureCause": entry.reason if entry else "the task was interrupted"}
    times = {name: datetime.fromisoformat(known[name]) for name in _TIMES if known.get(name)}
    return {**known, **times}


def _home(place: Place) -> Path:
    return place.stack.home / "data" / "rds" / "exports"


def _file(place: Place, task: str) -> Path:
    return _home(place) / f"{task}.json"


def _read(place: Place, task: str) -> Request:
    known: Request = json.loads(_file(place, task).read_text())
    return known


def _write(place: Place, known: Request) -> None:
    write_atomically(_file(place, known["ExportTaskIdentifier"]), json.dumps(known, indent=1), mode=0o600)
