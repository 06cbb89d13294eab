"""`aws:rds/clusterSnapshot:ClusterSnapshot` and `aws:rds/snapshot:Snapshot`: real copies of a server's data.

A copy is taken from the running server, which goes on serving: PostgreSQL's by `pg_basebackup` from the writer, MySQL's
by its clone plugin. It is the state at one moment, like a snapshot of RDS, whatever is written meanwhile. Of a server
that does not run, the files are copied as they lie.

Invariants:
- A copy counts only once its `snapshot.json` is there, which is written last: one that broke off is none.
- Copies are apart from their server's data and outlive it. Deleting the snapshot frees them.
- A name that this stack lacks is looked for in its neighbours on this machine: their stacks share one account.

Where it differs from RDS: MySQL's copy has the rows of InnoDB tables only, which is the one engine that RDS backs up
reliably.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from local import parts
from local.dataplane import cloud, mysql, postgres, recovery
from local.dataplane.backups import Base, copied, in_utc, linked
from local.dataplane.cloud import Properties
from local.dataplane.rds import words
from local.processes import unprivileged, write_atomically
from local.provider.handler import Handler, HandlerError
from local.stack import LocalStack

Kind = Literal["aurora", "mysql"]

_NOT_KEPT = ("postmaster.pid", "postmaster.opts", "standby.signal", "server.crt", "server.key", "auto.cnf")
"""Of the server, not of its data."""

_OUTPUTS = frozenset(
    {
        "allocatedStorage",
        "availabilityZone",
        "availabilityZones",
        "dbClusterSnapshotArn",
        "dbSnapshotArn",
        "encrypted",
        "engine",
        "engineVersion",
        "kmsKeyId",
        "licenseModel",
        "port",
        "snapshotType",
        "status",
        "storageEncrypted",
        "storageType",
    }
)
"""What the resources of the program compute."""


@dataclass(frozen=True)
class Restored:
    """What a restored server inherits: RDS takes no other master user, and ignores another database name."""

    username: str
    database: str | None
    version: str
    described: Properties = field(default_factory=dict)
    """What RDS' API tells of the copy."""


# --- what a restoring server calls ------------------------------------------------------------------------------------


def restore_cluster(stack: LocalStack, snapshot_identifier: str, data_dir: Path) -> Copy:
    """Fills `data_dir`, which is not there yet, from the snapshot (its name or ARN). Passwords stay the source's."""
    copy = _found(stack, "aurora", snapshot_identifier, "DBClusterSnapshotNotFoundFault")
    ours = parts.require("postgres").version
    if copy.restored.version.split(".")[0] != ours.split(".")[0]:
        raise HandlerError(
            f"the snapshot {copy.name} is of PostgreSQL {copy.restored.version}, which {ours} of this machine cannot "
            "start: point ZDM_POSTGRES to that version, or take a new snapshot"
        )
    copied(copy.data, data_dir)
    return copy


def clone_cluster(target: postgres.Storage, source_identifier: str, restore_time: str | None) -> Restored:
    """Fills the target's data from the cluster as it was at the time; None is now. Passwords stay the source's."""
    source = cluster_of(target.stack, source_identifier)
    _give_away(target.home, "aurora")
    with source.locked():
        if restore_time is None:
            source.copy_to(target.data)
        else:
            base = source.backups.before(at := in_utc(restore_time), source.window())
            log = target.home / "log"
            recovery.collect_log(source, base, log)
            copied(base.data, target.data)
    if restore_time is not None:
        writer: Properties = next(iter(source.settings["instances"].values()), {})
        prepared = str((writer.get("applied") or {}).get("max_prepared_transactions", 0))
        recovery.recover_cluster(target, source.settings["admin"], at, log, prepared)
        shutil.rmtree(log)
    _strip(target.data)
    return _inherited(source.settings, parts.require("postgres").version)


def restore_instance(stack: LocalStack, snapshot_identifier: str, data_dir: Path) -> Copy:
    """Fills `data_dir`, which is not there yet, from the snapshot (its name or ARN). Passwords stay the source's."""
    copy = _found(stack, "mysql", snapshot_identifier, "DBSnapshotNotFound")
    copied(copy.data, data_dir)
    return copy


def clone_instance(
    target: mysql.Server, source_identifier: str, restore_time: str | None
) -> tuple[mysql.Server, Base | None, Restored]:
    """Fills the target's data from the server as it is now, or from the newest backup before the time, and says which
    that is: the log after it is still to be replayed. Passwords stay the source's.
    """
    source, base = instance_of(target.stack, source_identifier), None
    _give_away(target.home, "mysql")
    if restore_time is None:
        source.copy_to(target.home / "data")
    else:
        if not source.process.running():
            raise HandlerError(f"InvalidDBInstanceState: {source.identifier} does not run, so nobody has its log")
        base = source.backups.before(in_utc(restore_time), source.window())
        copied(base.data, target.home / "data")
    _strip(target.home / "data")
    return source, base, _inherited(source.settings, parts.require("mysql").version)


# --- what a server calls that goes ------------------------------------------------------------------------------------


def keep_cluster(storage: postgres.Storage, name: str) -> None:
    """The final snapshot of a cluster, whose last instance is gone: its storage becomes the copy."""
    of = of_cluster(storage, {"dbClusterSnapshotIdentifier": name})
    _new(storage.stack, "aurora", name).take(storage.data.rename, of)


def keep_instance(server: mysql.Server, name: str) -> None:
    """The final snapshot of an instance: the server stops, and its data becomes the copy."""
    copy, of = _new(server.stack, "mysql", name), of_instance(server, {"dbSnapshotIdentifier": name})
    server.process.stop(60)
    copy.take((server.home / "data").rename, of)


# --- the handlers -----------------------------------------------------------------------------------------------------


class ClusterSnapshot(Handler):
    """Handler of a snapshot of an Aurora cluster."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        name = str(inputs["dbClusterSnapshotIdentifier"])
        storage = _cluster(stack, str(inputs["dbClusterIdentifier"]))
        copy = _new(stack, "aurora", name)
        with storage.locked():
            copy.take(storage.copy_to, of_cluster(storage, {**inputs, "region": cloud.region(stack, inputs)}))
            storage.backups.add(copy.link)
        return name, {**inputs, **copy.outputs()}

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        copy = Copy(stack, "aurora", id)
        return words.seen(words.CLUSTER_SNAPSHOT, state, copy.described) if copy.exists() else None

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        return _retag(Copy(stack, "aurora", id), {**old, **new_inputs})

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        Copy(stack, "aurora", id).remove()


class InstanceSnapshot(Handler):
    """Handler of a snapshot of an RDS instance."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        name = str(inputs["dbSnapshotIdentifier"])
        server = _instance(stack, str(inputs["dbInstanceIdentifier"]))
        copy = _new(stack, "mysql", name)
        executed = server.executed()
        copy.take(server.copy_to, of_instance(server, {**inputs, "region": cloud.region(stack, inputs)}))
        if executed is not None:
            server.backups.add(copy.link, gtids=executed)
        return name, {**inputs, **copy.outputs()}

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        copy = Copy(stack, "mysql", id)
        return words.seen(words.SNAPSHOT, state, copy.described) if copy.exists() else None

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        return _retag(Copy(stack, "mysql", id), {**old, **new_inputs})

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        Copy(stack, "mysql", id).remove()


def of_cluster(storage: postgres.Storage, inputs: Properties) -> Restored:
    """What a copy of the cluster is. `inputs` are those of the snapshot's resource."""
    source, version = storage.described, parts.require("postgres").version
    inherited = (
        *("availabilityZones", "kmsKeyId", "storageType", "engineMode", "backupRetentionPeriod"),
        *("preferredBackupWindow", "iamDatabaseAuthenticationEnabled"),
    )
    region = inputs.get("region") or cloud.region(storage.stack, source)
    told = {
        **{name: source[name] for name in inherited if name in source},
        **inputs,
        "region": region,
        "dbClusterIdentifier": storage.identifier,
        "dbClusterResourceId": source.get("clusterResourceId"),
        "dbClusterSnapshotArn": cloud.arn("rds", region, f"cluster-snapshot:{inputs['dbClusterSnapshotIdentifier']}"),
        "sourceCreatedAt": source.get("createdAt"),
        "engine": "aurora-postgresql",
        "engineVersion": version,
        "port": storage.port,
        "masterUsername": storage.settings["username"],
        "storageEncrypted": bool(source.get("storageEncrypted")),
        "kmsKeyId": source.get("kmsKeyId") or "",
        "licenseModel": "postgresql-license",
        "tagsAll": _tags(source, inputs),
    }
    return Restored(storage.settings["username"], storage.settings.get("database"), version, words.kept(told))


def of_instance(server: mysql.Server, inputs: Properties) -> Restored:
    """What a copy of the server is. `inputs` are those of the snapshot's resource."""
    source, version = server.described, parts.require("mysql").version
    inherited = (
        *("kmsKeyId", "backupRetentionPeriod", "backupWindow", "iamDatabaseAuthenticationEnabled"),
        *("allocatedStorage", "instanceClass"),
    )
    region = inputs.get("region") or cloud.region(server.stack, source)
    told = {
        **{name: source[name] for name in inherited if name in source},
        **inputs,
        "region": region,
        "dbInstanceIdentifier": server.identifier,
        "dbiResourceId": source.get("resourceId"),
        "dbSnapshotArn": cloud.arn("rds", region, f"snapshot:{inputs['dbSnapshotIdentifier']}"),
        "sourceCreatedAt": source.get("createdAt"),
        "engine": "mysql",
        "engineVersion": version,
        "port": int(server.settings["port"]),
        "masterUsername": server.settings["username"],
        "availabilityZone": source.get("availabilityZone") or f"{region}a",
        "encrypted": bool(source.get("storageEncrypted")),
        "kmsKeyId": source.get("kmsKeyId") or "",
        "licenseModel": "general-public-license",
        "storageType": source.get("storageType") or "gp2",
        "tagsAll": _tags(source, inputs),
    }
    return Restored(server.settings["username"], server.settings.get("database"), version, words.kept(told))


def _tags(source: Properties, inputs: Properties) -> dict[str, str]:
    copied = source.get("tagsAll") if source.get("copyTagsToSnapshot") else None
    return {**(copied or {}), **(inputs.get("tagsAll") or {})}


def _retag(copy: Copy, state: Properties) -> Properties:
    if copy.exists():
        copy.describe(tagsAll=state.get("tagsAll") or {})
    return state


# --- inside -----------------------------------------------------------------------------------------------------------


class Copy:
    """One copy: `data` and `snapshot.json` in a folder of its own. One in another region than its stack has that in
    its folder's name, because names are of a region.
    """

    def __init__(self, stack: LocalStack, kind: Kind, name: str) -> None:
        self.stack = stack
        self.name = name
        self.kind = kind
        self.home = stack.snapshots / kind / name
        self.data = self.home / "data"
        self._file = self.home / "snapshot.json"

    @staticmethod
    def all(stack: LocalStack, kind: Kind) -> list[Copy]:
        return [Copy(stack, kind, f.parent.name) for f in sorted((stack.snapshots / kind).glob("*/snapshot.json"))]

    def exists(self) -> bool:
        return self._file.is_file()

    @property
    def restored(self) -> Restored:
        return Restored(**json.loads(self._file.read_text()))

    @property
    def described(self) -> Properties:
        """What RDS' API tells of it."""
        return {**self.restored.described, "status": "available", "percent": 100}

    def describe(self, **told: Any) -> None:
        of = self.restored
        self._write(replace(of, described={**of.described, **told}))

    def take(self, fill: Callable[[Path], Any], of: Restored) -> None:
        """Has `fill` make the data. What fails leaves nothing."""
        self.remove()  # what broke off
        self.home.mkdir(parents=True)
        _give_away(self.home, self.kind)
        try:
            fill(self.data)
            _strip(self.data)
            size = sum(file.stat().st_size for file in self.data.rglob("*") if file.is_file())
            of.described.setdefault("createdAt", cloud.now())
            of.described.setdefault("snapshotType", "manual")
            of.described.setdefault("allocatedStorage", max(1, -(-size // 2**30)))
            self._write(of)
        except BaseException:
            self.remove()
            raise

    def link(self, folder: Path) -> None:
        """The same data once more. Its files are the same on disk, since nobody ever writes to them."""
        linked(self.data, folder)

    def take_from(self, other: Copy, described: Properties) -> None:
        """Becomes a copy of another one."""
        self.take(other.link, replace(other.restored, described=described))

    def remove(self) -> None:
        self._file.unlink(missing_ok=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def outputs(self) -> Properties:
        """What the snapshot's resource computes."""
        return {name: value for name, value in self.described.items() if name in _OUTPUTS}

    def _write(self, of: Restored) -> None:
        write_atomically(self._file, json.dumps(vars(of)), mode=0o600)


def _new(stack: LocalStack, kind: Kind, name: str) -> Copy:
    copy = Copy(stack, kind, name)
    if copy.exists():
        fault = "DBClusterSnapshotAlreadyExistsFault" if kind == "aurora" else "DBSnapshotAlreadyExists"
        raise HandlerError(f"{fault}: this stack has a snapshot {name!r}: give the new one another name, or delete it")
    return copy


def found(stack: LocalStack, kind: Kind, identifier: str, region: str | None = None) -> Copy | None:
    """The copy with this name or ARN: this stack's, else a neighbour's. An ARN names its region; `region` is that of a
    plain name, None is any."""
    name = _plain(identifier)
    wanted = identifier.split(":")[3] if identifier.startswith("arn:") else region
    for one in neighbourhood(stack):
        for copy in Copy.all(one, kind):
            here = wanted is None or copy.described.get("region") in (None, wanted)
            if here and copy.name.partition(".")[0] == name:
                return copy
    return None


def neighbourhood(stack: LocalStack) -> list[LocalStack]:
    """The stacks of this machine, which share one account; this one first."""
    homes = sorted(home for home in stack.home.parent.iterdir() if home.is_dir() and home != stack.home)
    return [stack, *(LocalStack(home.name, home) for home in homes)]


def _found(stack: LocalStack, kind: Kind, identifier: str, fault: str) -> Copy:
    copy = found(stack, kind, identifier)
    if copy is None:
        raise HandlerError(f"{fault}: no stack of this machine has a snapshot {_plain(identifier)!r}")
    return copy


def cluster_of(stack: LocalStack, identifier: str) -> postgres.Storage:
    """The cluster with this identifier or ARN: this stack's, else a neighbour's."""
    for one in neighbourhood(stack):
        storage = postgres.Storage(one, _plain(identifier))
        if storage.exists():
            return storage
    raise HandlerError(f"DBClusterNotFoundFault: no stack of this machine has a cluster {_plain(identifier)!r}")


def instance_of(stack: LocalStack, identifier: str) -> mysql.Server:
    """The server with this identifier or ARN: this stack's, else a neighbour's."""
    for one in neighbourhood(stack):
        server = mysql.Server(one, _plain(identifier))
        if server.exists():
            return server
    raise HandlerError(f"DBInstanceNotFound: no stack of this machine has an RDS instance {_plain(identifier)!r}")


def demand_restorable(source: postgres.Storage | mysql.Server, at: datetime) -> None:
    """Refuses a time to which the source cannot be restored."""
    source.backups.before(at.replace(tzinfo=UTC), source.window())


def _cluster(stack: LocalStack, identifier: str) -> postgres.Storage:
    storage = postgres.Storage(stack, _plain(identifier))
    if not storage.exists():
        raise HandlerError(f"DBClusterNotFoundFault: this stack has no cluster {storage.identifier!r}")
    return storage


def _plain(identifier: str) -> str:
    """An identifier, also where its ARN is given."""
    return identifier.rpartition(":")[2] if identifier.startswith("arn:") else identifier


def _instance(stack: LocalStack, identifier: str) -> mysql.Server:
    server = mysql.Server(stack, _plain(identifier))
    if not server.exists():
        raise HandlerError(f"DBInstanceNotFound: this stack has no RDS instance {server.identifier!r}")
    return server


def _inherited(settings: Properties, version: str) -> Restored:
    return Restored(settings["username"], settings.get("database"), version)


def _strip(data: Path) -> None:
    for name in _NOT_KEPT:
        (data / name).unlink(missing_ok=True)


def _give_away(folder: Path, kind: Kind) -> None:
    """The server itself writes there."""
    user = unprivileged("postgres") if kind == "aurora" else unprivileged("mysql", "postgres")
    if user is not None:
        shutil.chown(folder, user.pw_uid, user.pw_gid)
