"""`aws:rds/clusterSnapshot:ClusterSnapshot` and `aws:rds/snapshot:Snapshot`: real copies of a server's data.

A copy is taken from the running server, which goes on serving: PostgreSQL's by `pg_basebackup` from the writer, MySQL's
by its clone plugin. It is the state at one moment, like a snapshot of RDS, whatever is written meanwhile. Of a server
that does not run, the files are copied as they lie.

Invariants:
- A copy counts only once its `snapshot.json` is there, which is written last: one that broke off is none.
- Copies are apart from their server's data and outlive it. Deleting the snapshot frees them.
- A name that this stack lacks is looked for in its neighbours on this machine: their stacks share one account.

Where it differs from RDS: there is no archive of the log, so the only point in time to restore to is now; and MySQL's
copy has the rows of InnoDB tables only, which is the one engine that RDS backs up reliably.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from local import parts
from local.dataplane import cloud, mysql, postgres
from local.dataplane.cloud import Properties
from local.processes import unprivileged, write_atomically
from local.provider.handler import Handler, HandlerError
from local.stack import LocalStack

Kind = Literal["aurora", "mysql"]

_NOT_KEPT = ("postmaster.pid", "postmaster.opts", "standby.signal", "server.crt", "server.key", "auto.cnf")
"""Of the server, not of its data."""


@dataclass(frozen=True)
class Restored:
    """What a restored server inherits: RDS takes no other master user, and ignores another database name."""

    username: str
    database: str | None
    version: str


# --- what a restoring server calls ------------------------------------------------------------------------------------


def restore_cluster(stack: LocalStack, snapshot_identifier: str, data_dir: Path) -> Restored:
    """Fills `data_dir`, which is not there yet, from the snapshot (its name or ARN). Passwords stay the source's."""
    copy = _found(stack, "aurora", snapshot_identifier, "DBClusterSnapshotNotFoundFault")
    ours = parts.require("postgres").version
    if copy.restored.version.split(".")[0] != ours.split(".")[0]:
        raise HandlerError(
            f"the snapshot {copy.name} is of PostgreSQL {copy.restored.version}, which {ours} of this machine cannot "
            "start: point ZDM_POSTGRES to that version, or take a new snapshot"
        )
    _duplicate(copy.data, data_dir)
    return copy.restored


def clone_cluster(
    stack: LocalStack, source_cluster_identifier: str, data_dir: Path, restore_time: str | None = None
) -> Restored:
    """Fills `data_dir` from the cluster as it is now. Any other time is refused."""
    if restore_time is not None:
        raise HandlerError(
            f"InvalidRestoreFault: the local cloud keeps no archive of the log, so not {restore_time}: "
            "restore to the newest time (useLatestRestorableTime), or from a snapshot"
        )
    storage = _cluster(stack, source_cluster_identifier)
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    _give_away(data_dir.parent, "aurora")
    with storage.locked():
        storage.copy_to(data_dir)
    _strip(data_dir)
    return _inherited(storage.settings, parts.require("postgres").version)


def restore_instance(stack: LocalStack, snapshot_identifier: str, data_dir: Path) -> Restored:
    """Fills `data_dir`, which is not there yet, from the snapshot (its name or ARN). Passwords stay the source's."""
    copy = _found(stack, "mysql", snapshot_identifier, "DBSnapshotNotFound")
    _duplicate(copy.data, data_dir)
    return copy.restored


# --- what a server calls that goes ------------------------------------------------------------------------------------


def keep_cluster(storage: postgres.Storage, name: str) -> None:
    """The final snapshot of a cluster, whose last instance is gone: its storage becomes the copy."""
    copy = _new(storage.stack, "aurora", name)
    copy.take(storage.data.rename, _inherited(storage.settings, parts.require("postgres").version))


def keep_instance(server: mysql.Server, name: str) -> None:
    """The final snapshot of an instance: the server stops, and its data becomes the copy."""
    copy = _new(server.stack, "mysql", name)
    server.process.stop(60)
    copy.take((server.home / "data").rename, _inherited(server.settings, parts.require("mysql").version))


# --- the handlers -----------------------------------------------------------------------------------------------------


class ClusterSnapshot(Handler):
    """Handler of a snapshot of an Aurora cluster."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        name = str(inputs["dbClusterSnapshotIdentifier"])
        storage = _cluster(stack, str(inputs["dbClusterIdentifier"]))
        copy, version = _new(stack, "aurora", name), parts.require("postgres").version
        with storage.locked():
            copy.take(storage.copy_to, _inherited(storage.settings, version))
        region = cloud.region(stack, inputs)
        source = _outputs(stack, "aws:rds/cluster:Cluster", clusterIdentifier=storage.identifier)
        return name, {
            **inputs,
            **copy.outputs(),
            "dbClusterSnapshotArn": cloud.arn("rds", region, f"cluster-snapshot:{name}"),
            "engine": "aurora-postgresql",
            "engineVersion": version,
            "port": storage.port,
            "availabilityZones": source.get("availabilityZones") or [],
            "storageEncrypted": bool(source.get("storageEncrypted")),
            "kmsKeyId": source.get("kmsKeyId") or "",
            "licenseModel": "postgresql-license",
        }

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        return state if Copy(stack, "aurora", id).exists() else None

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        return {**old, **new_inputs}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        Copy(stack, "aurora", id).remove()


class InstanceSnapshot(Handler):
    """Handler of a snapshot of an RDS instance."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        name = str(inputs["dbSnapshotIdentifier"])
        server = mysql.Server(stack, _plain(str(inputs["dbInstanceIdentifier"])))
        if not server.exists():
            raise HandlerError(f"DBInstanceNotFound: this stack has no RDS instance {server.identifier!r}")
        copy, version = _new(stack, "mysql", name), parts.require("mysql").version
        copy.take(server.copy_to, _inherited(server.settings, version))
        region = cloud.region(stack, inputs)
        source = _outputs(stack, mysql.TOKEN, identifier=server.identifier)
        return name, {
            **inputs,
            **copy.outputs(),
            "dbSnapshotArn": cloud.arn("rds", region, f"snapshot:{name}"),
            "engine": "mysql",
            "engineVersion": version,
            "port": int(server.settings["port"]),
            "availabilityZone": source.get("availabilityZone") or f"{region}a",
            "encrypted": bool(source.get("storageEncrypted")),
            "kmsKeyId": source.get("kmsKeyId") or "",
            "licenseModel": "general-public-license",
            "storageType": source.get("storageType") or "gp2",
        }

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        return state if Copy(stack, "mysql", id).exists() else None

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        return {**old, **new_inputs}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        Copy(stack, "mysql", id).remove()


# --- inside -----------------------------------------------------------------------------------------------------------


class Copy:
    """One copy: `data` and `snapshot.json` in a folder of its own."""

    def __init__(self, stack: LocalStack, kind: Kind, name: str) -> None:
        self.name = name
        self.kind = kind
        self.home = stack.snapshots / kind / name
        self.data = self.home / "data"
        self._file = self.home / "snapshot.json"

    def exists(self) -> bool:
        return self._file.is_file()

    @property
    def restored(self) -> Restored:
        return Restored(**json.loads(self._file.read_text()))

    def take(self, fill: Callable[[Path], Any], of: Restored) -> None:
        """Has `fill` make the data. What fails leaves nothing."""
        self.remove()  # what broke off
        self.home.mkdir(parents=True)
        _give_away(self.home, self.kind)
        try:
            fill(self.data)
            _strip(self.data)
            write_atomically(self._file, json.dumps(vars(of)), mode=0o600)
        except BaseException:
            self.remove()
            raise

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def outputs(self) -> Properties:
        size = sum(file.stat().st_size for file in self.data.rglob("*") if file.is_file())
        return {"allocatedStorage": max(1, -(-size // 2**30)), "snapshotType": "manual", "status": "available"}


def _new(stack: LocalStack, kind: Kind, name: str) -> Copy:
    copy = Copy(stack, kind, name)
    if copy.exists():
        fault = "DBClusterSnapshotAlreadyExistsFault" if kind == "aurora" else "DBSnapshotAlreadyExists"
        raise HandlerError(f"{fault}: this stack has a snapshot {name!r}: give the new one another name, or delete it")
    return copy


def _found(stack: LocalStack, kind: Kind, identifier: str, fault: str) -> Copy:
    name = _plain(identifier)
    neighbours = sorted(home for home in stack.home.parent.iterdir() if home.is_dir() and home != stack.home)
    for home in (stack.home, *neighbours):
        copy = Copy(LocalStack(home.name, home), kind, name)
        if copy.exists():
            return copy
    raise HandlerError(f"{fault}: no stack of this machine has a snapshot {name!r}")


def _cluster(stack: LocalStack, identifier: str) -> postgres.Storage:
    storage = postgres.Storage(stack, _plain(identifier))
    if not storage.exists():
        raise HandlerError(f"DBClusterNotFoundFault: this stack has no cluster {storage.identifier!r}")
    return storage


def _plain(identifier: str) -> str:
    """An identifier, also where its ARN is given."""
    return identifier.rpartition(":")[2] if identifier.startswith("arn:") else identifier


def _inherited(settings: Properties, version: str) -> Restored:
    return Restored(settings["username"], settings.get("database"), version)


def _outputs(stack: LocalStack, token: str, **known: str) -> Properties:
    return next((record.outputs for record in stack.records.find(token, **known)), {})


def _strip(data: Path) -> None:
    for name in _NOT_KEPT:
        (data / name).unlink(missing_ok=True)


def _duplicate(source: Path, target: Path) -> None:
    """A copy that keeps owners and modes, and shares blocks where the file system can."""
    target.parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["cp", "-a", "--reflink=auto", str(source), str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        shutil.rmtree(target, ignore_errors=True)
        raise HandlerError(f"the data of the snapshot cannot be copied: {done.stderr.strip()}")


def _give_away(folder: Path, kind: Kind) -> None:
    """The server itself writes there."""
    user = unprivileged("postgres") if kind == "aurora" else unprivileged("mysql", "postgres")
    if user is not None:
        shutil.chown(folder, user.pw_uid, user.pw_gid)
