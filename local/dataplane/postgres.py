"""`aws:rds/cluster:Cluster` and `ClusterInstance` with engine aurora-postgresql: a real PostgreSQL.

As with Aurora, the storage belongs to the cluster and the processes are its instances. The first instance is the writer
and runs on the cluster's storage; every further one is a streaming replica with a copy of its own. The reader endpoint
belongs to the first replica, and to the writer while there is none. When the writer is deleted, the oldest replica's
process takes over the storage.

Where it differs from Aurora: the master user has the attributes REPLICATION and BYPASSRLS (Aurora has roles for that),
replicas have their own copy of the data, and extensions that this machine's PostgreSQL lacks are left out.
"""

from __future__ import annotations

import contextlib
import json
import locale
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from local import parts
from local.dataplane import cloud, parameters, recovery
from local.dataplane.backups import MOST_LOG_BYTES, Backups, Base, copied
from local.dataplane.cloud import Properties
from local.dataplane.parameters import Parameter
from local.dataplane.rds import words
from local.processes import Process, as_user, forget_lock_of_dead, unprivileged, write_atomically
from local.provider.handler import Handler, HandlerError
from local.stack import LocalStack

PORT = 5432
ADMIN = "rdsadmin"
SHARED_BUFFERS_LIMIT = 128 << 20
BLOCK = 8192
SEGMENT = 16 << 20
MOST_LOG = MOST_LOG_BYTES * 3 // 4
"""With so much log since the newest backup, the next one is taken."""

BASE: Mapping[str, str] = {
    "shared_buffers": "64MB",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "wal_keep_size": "256MB",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "track_commit_timestamp": "on",
    "timezone": "UTC",
    "jit": "off",
}
"""Where the parameter groups say nothing."""

FIXED = frozenset(
    {
        "listen_addresses",
        "port",
        "data_directory",
        "hba_file",
        "ident_file",
        "config_file",
        "unix_socket_directories",
        "wal_level",
        "ssl",
        "ssl_cert_file",
        "ssl_key_file",
        "primary_conninfo",
        "primary_slot_name",
        "archive_command",
        "archive_mode",
        "hot_standby",
        "password_encryption",
        "restore_command",
    }
)
"""What RDS decides, not a parameter group."""

ROLES = f"""
CREATE ROLE rds_superuser NOLOGIN;
CREATE ROLE rds_replication NOLOGIN;
CREATE ROLE rds_password NOLOGIN;
GRANT pg_monitor, pg_signal_backend, pg_checkpoint, rds_replication, rds_password TO rds_superuser WITH ADMIN OPTION;
GRANT SET ON PARAMETER session_replication_role, log_min_duration_statement, log_statement TO rds_superuser;
REVOKE ALL ON DATABASE postgres FROM PUBLIC;
GRANT CONNECT, TEMPORARY ON DATABASE postgres TO PUBLIC;
ALTER ROLE {ADMIN} PASSWORD %(admin)s;
"""


class AuroraCluster(Handler):
    """Handler of an Aurora cluster: storage, accounts and endpoints, but no process yet."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        if (engine := inputs.get("engine")) != "aurora-postgresql":
            raise HandlerError(f"engine {engine!r}: the local cloud runs RDS clusters of engine aurora-postgresql only")
        identifier = inputs.get("clusterIdentifier") or f"tf-{cloud.resource_id('')[1:11].lower()}"
        username, managed = inputs.get("masterUsername"), bool(inputs.get("manageMasterUserPassword"))
        password = cloud.generated_password() if managed else inputs.get("masterPassword")
        if not _restored(inputs) and (not username or not password):
            raise HandlerError("an Aurora cluster needs masterUsername, and masterPassword or manageMasterUserPassword")
        storage, region, secrets = Storage(stack, identifier), cloud.region(stack, inputs), []
        recorded = stack.records.find("aws:rds/cluster:Cluster", clusterIdentifier=identifier)
        if storage.exists() and (recorded or storage.settings.get("recorded")):
            raise HandlerError(f"DBClusterAlreadyExistsFault: this stack has a cluster {identifier!r}")
        version = parts.require("postgres").version
        try:
            storage.make(inputs, username, password)
            username = str(storage.settings["username"])
            if managed:
                secrets = cloud.managed_secret(stack, "cluster", inputs, username, str(password))
        except BaseException:
            storage.remove()
            raise
        state = {
            "clusterIdentifier": identifier,
            "masterUsername": username,
            "databaseName": storage.settings["database"],
            "arn": cloud.arn("rds", region, f"cluster:{identifier}"),
            "clusterResourceId": cloud.resource_id("cluster"),
            "engineVersion": inputs.get("engineVersion") or version,
            "engineVersionActual": version,
            "engineMode": inputs.get("engineMode") or "provisioned",
            "dbClusterParameterGroupName": inputs.get("dbClusterParameterGroupName") or "default.aurora-postgresql15",
            "backupRetentionPeriod": inputs.get("backupRetentionPeriod") or 1,
            "availabilityZones": inputs.get("availabilityZones") or [f"{region}{zone}" for zone in "abc"],
            "hostedZoneId": "Z1",
            "masterUserSecrets": secrets,
        }
        made = {**inputs, **state, **storage.outputs()}
        storage.describe(made, createdAt=cloud.now())
        return identifier, made

    def recorded(self, stack: LocalStack, outputs: Properties) -> None:
        Storage(stack, str(outputs["clusterIdentifier"])).confirm()

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        storage = Storage(stack, id)
        if not storage.exists():
            return None
        return {**words.seen(words.CLUSTER, state, storage.described), **storage.outputs()}

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        storage = Storage(stack, id)
        with storage.locked():
            moved = int(storage.settings["port"]) != int(new_inputs.get("port") or PORT)
            storage.settings |= {
                "group": new_inputs.get("dbClusterParameterGroupName"),
                "port": int(new_inputs.get("port") or PORT),
            }
            storage.save()
            for instance in storage.instances():
                if moved:
                    instance.restart()
                elif instance.process.running():
                    instance.reconfigure()
        state = {**old, **new_inputs}
        managed, was_managed = (bool(given.get("manageMasterUserPassword")) for given in (new_inputs, old))
        username, password = str(old["masterUsername"]), new_inputs.get("masterPassword")
        if managed and not was_managed:
            generated = cloud.generated_password()
            storage.set_password(username, generated)
            state["masterUserSecrets"] = cloud.managed_secret(stack, "cluster", new_inputs, username, generated)
        elif not managed and password and (was_managed or password != old.get("masterPassword")):
            storage.set_password(username, str(password))
            cloud.forget_secret(stack, old)
            state["masterUserSecrets"] = []
        state |= {"engineVersionActual": parts.require("postgres").version, **storage.outputs()}
        storage.describe(state)
        return state

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        storage = Storage(stack, id)
        if storage.exists():
            if storage.members:
                raise HandlerError(
                    f"InvalidDBClusterStateFault: the cluster {id} still has instances: {', '.join(storage.members)}"
                )
            cloud.refuse_without_snapshot(f"the Aurora cluster {id}", state)
            if not state.get("skipFinalSnapshot"):
                from local.dataplane.snapshots import keep_cluster

                keep_cluster(storage, state["finalSnapshotIdentifier"])
        cloud.forget_secret(stack, state)
        storage.remove()


class AuroraInstance(Handler):
    """Handler of a cluster instance: one PostgreSQL process."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        storage = Storage(stack, str(inputs["clusterIdentifier"]))
        if not storage.exists():
            raise HandlerError(f"DBClusterNotFoundFault: this stack has no cluster {storage.identifier!r}")
        identifier = inputs.get("identifier") or f"tf-{cloud.resource_id('')[1:11].lower()}"
        recorded = stack.records.get("aws:rds/clusterInstance:ClusterInstance", identifier)
        other = of_instance(stack, identifier)
        if other is not None and (recorded or other.settings["instances"][identifier].get("recorded")):
            raise HandlerError(f"DBInstanceAlreadyExists: this stack has a cluster instance {identifier!r}")
        with storage.locked():
            instance = Instance(storage, identifier)
            instance.remove()  # what a crash left of an earlier try
            try:
                instance.join(inputs.get("dbParameterGroupName"))
            except BaseException:
                instance.remove()
                raise
        region, version = cloud.region(stack, inputs), parts.require("postgres").version
        state = {
            "identifier": identifier,
            "arn": cloud.arn("rds", region, f"db:{identifier}"),
            "dbiResourceId": cloud.resource_id("db"),
            "engineVersionActual": version,
            "engineVersion": inputs.get("engineVersion") or version,
            "availabilityZone": inputs.get("availabilityZone") or f"{region}a",
            "dbParameterGroupName": inputs.get("dbParameterGroupName") or "default.aurora-postgresql15",
            "caCertIdentifier": inputs.get("caCertIdentifier") or "rds-ca-rsa2048-g1",
        }
        made = {**inputs, **state, **instance.outputs()}
        storage.describe(made, identifier, createdAt=cloud.now())
        return identifier, made

    def recorded(self, stack: LocalStack, outputs: Properties) -> None:
        Storage(stack, str(outputs["clusterIdentifier"])).confirm(str(outputs["identifier"]))

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        storage = of_instance(stack, id)
        if storage is None:
            return None
        instance = Instance(storage, id)
        if not instance.data.is_dir():
            return None
        return {**words.seen(words.MEMBER, state, storage.described_instance(id)), **instance.outputs()}

    def needs_repair(self, state: Properties) -> list[str]:
        return [] if state.get("status") in (None, "available") else ["status"]

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        storage = Storage(stack, str(old["clusterIdentifier"]))
        with storage.locked():
            instance = Instance(storage, id)
            storage.settings["instances"][id]["group"] = new_inputs.get("dbParameterGroupName")
            storage.save()
            if instance.process.running():
                instance.reconfigure()
            else:
                instance.repair()
        state = {**old, **new_inputs, **instance.outputs()}
        storage.describe(state, id)
        return state

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        storage = Storage(stack, str(state["clusterIdentifier"]))
        with storage.locked():
            Instance(storage, id).remove()


def of_instance(stack: LocalStack, identifier: str) -> Storage | None:
    """The cluster of the stack that has this instance."""
    return next((storage for storage in Storage.all(stack) if identifier in storage.members), None)


class Storage:
    """The storage volume of a cluster, with its accounts and endpoints. `settings` are kept in `cluster.json`.

    `settings["instances"]` maps an instance to its own settings, the writer first. `described` is what RDS' API tells.
    """

    def __init__(self, stack: LocalStack, identifier: str) -> None:
        self.stack = stack
        self.identifier = identifier
        self.home = stack.home / "data" / "aurora" / identifier
        self.data = self.home / "storage"
        self._file = self.home / "cluster.json"
        self.settings: Properties = {}
        self.load()

    @staticmethod
    def all(stack: LocalStack) -> list[Storage]:
        files = sorted((stack.home / "data" / "aurora").glob("*/cluster.json"))
        return [Storage(stack, file.parent.name) for file in files]

    def load(self) -> None:
        self.settings = json.loads(self._file.read_text()) if self._file.exists() else {}

    def save(self) -> None:
        write_atomically(self._file, json.dumps(self.settings, indent=1), mode=0o600)

    @property
    def described(self) -> Properties:
        return self.settings.get("described", {})

    def described_instance(self, identifier: str) -> Properties:
        return self.settings["instances"].get(identifier, {}).get("described", {})

    def describe(self, state: Properties, instance: str | None = None, **more: Any) -> None:
        """Keeps what the API tells of the cluster, or of one of its instances. `more` is not of the program."""
        with self.locked():
            of = self.settings if instance is None else self.settings["instances"][instance]
            born = {name: of["described"][name] for name in ("createdAt",) if name in of.get("described", {})}
            of["described"] = {**born, **words.kept(state), **more}
            self.save()

    def confirm(self, instance: str | None = None) -> None:
        """Somebody knows of it now: it is no remainder of a crash, which the next one of this name may remove."""
        with self.locked():
            of = self.settings if instance is None else self.settings.get("instances", {}).get(instance)
            if of and not of.get("recorded"):
                of["recorded"] = True
                self.save()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Instances of a cluster come and go one at a time."""
        with self.stack.lock(f"aurora-{self.identifier}"):
            self.load()
            yield

    def exists(self) -> bool:
        return bool(self.settings) and self.data.is_dir()

    @property
    def members(self) -> list[str]:
        return list(self.settings.get("instances", ()))

    def instances(self) -> list[Instance]:
        return [Instance(self, name) for name in self.members]

    @property
    def writer_endpoint(self) -> str:
        return self.stack.address(f"aurora-{self.identifier}")

    @property
    def reader_endpoint(self) -> str:
        return self.stack.address(f"aurora-{self.identifier}-ro")

    @property
    def port(self) -> int:
        return int(self.settings["port"])

    def custom_endpoints(self) -> dict[str, str]:
        """The addresses of the custom endpoints, by name."""
        return {name: self.stack.address(f"aurora-endpoint-{name}") for name in self.settings.get("endpoints", ())}

    def custom_addresses(self, instance: str) -> list[str]:
        """Those that this instance serves: of the members that an endpoint may have, its first one does."""
        served = []
        for name, rule in self.settings.get("endpoints", {}).items():
            members = self.members if rule["type"] == "ANY" else self.members[1:]
            fits = [m for m in members if (m in rule["static"] if rule["static"] else m not in rule["excluded"])]
            if fits[:1] == [instance]:
                served.append(self.custom_endpoints()[name])
        return served

    def settle(self) -> None:
        """Starts what does not run, and restarts those from or to whom an endpoint moved; the writer first."""
        moved = [
            instance
            for instance in self.instances()
            if not instance.process.running()
            or instance.addresses() != self.settings["instances"][instance.identifier].get("addresses")
        ]
        for instance in moved:
            instance.stop()
        for instance in moved:
            instance.start()

    def outputs(self) -> Properties:
        return {
            "endpoint": self.writer_endpoint,
            "readerEndpoint": self.reader_endpoint,
            "port": self.port,
            "clusterMembers": self.members,
        }

    def make(self, inputs: Properties, username: str | None, password: str | None) -> None:
        """Makes the storage, new or restored. What a crash left of an earlier try is removed.

        What is restored has its master user from its source, and that one's password unless another is given.
        """
        self.remove()
        self.home.mkdir(parents=True)
        if user := unprivileged("postgres"):
            shutil.chown(self.home, user.pw_uid, user.pw_gid)
        self.settings = {
            "port": int(inputs.get("port") or PORT),
            "group": inputs.get("dbClusterParameterGroupName"),
            "admin": cloud.generated_password(),
            "username": username,
            "database": inputs.get("databaseName"),
            "instances": {},
        }
        if _restored(inputs):
            self._restore(inputs, password)
        else:
            self._initialise(inputs, str(username), str(password))
            self.backups.add(lambda folder: copied(self.data, folder))
        self.save()

    def _restore(self, inputs: Properties, password: str | None) -> None:
        from local.dataplane import snapshots

        copy = None
        if point := inputs.get("restoreToPointInTime"):
            source = point.get("sourceClusterIdentifier")
            if not source:
                raise HandlerError("restoreToPointInTime needs sourceClusterIdentifier in the local cloud")
            of = snapshots.clone_cluster(self, source, point.get("restoreToTime"))
        else:
            copy = snapshots.restore_cluster(self.stack, inputs["snapshotIdentifier"], self.data)
            of = copy.restored
        self.settings |= {"username": of.username, "database": of.database}
        accounts = {ADMIN: self.settings["admin"], **({of.username: password} if password else {})}
        self._alone(_new_password(name, secret) for name, secret in accounts.items())
        if copy is not None:
            self.backups.add(copy.link)  # what was changed since is in the log

    def _initialise(self, inputs: Properties, username: str, password: str) -> None:
        run(
            self.home,
            "initdb",
            "--pgdata",
            str(self.data),
            "--username",
            ADMIN,
            "--auth",
            "trust",
            "--encoding",
            "UTF8",
            "--locale",
            _locale(),
            "--no-sync",
        )  # who may connect is written before each start
        name, secret = sql.Identifier(username), sql.Literal(password)
        own = sql.Literal(self.settings["admin"]).as_string(None)
        statements = [line.replace("%(admin)s", own) for line in ROLES.strip().split("\n")]
        statements += [
            made.as_string(None)
            for made in (
                sql.SQL("CREATE ROLE {} LOGIN CREATEROLE CREATEDB REPLICATION BYPASSRLS PASSWORD {};").format(
                    name, secret
                ),
                sql.SQL("GRANT rds_superuser TO {};").format(name),
            )
        ]
        if database := inputs.get("databaseName"):
            made = sql.SQL("CREATE DATABASE {} OWNER {};").format(sql.Identifier(str(database)), name)
            statements.append(made.as_string(None))
        self._alone(statements)

    def _alone(self, statements: Iterable[str]) -> None:
        """Runs statements on the data while no server does."""
        run(
            self.home,
            "postgres",
            "--single",
            "-j",
            "-D",
            str(self.data),
            "postgres",
            text="".join(f"{statement}\n\n" for statement in statements),
            refuse=r"(?:ERROR|FATAL): .*",
        )

    # --- backups ----------------------------------------------------------------------------------------------------

    @property
    def backups(self) -> Backups:
        return Backups(self.home)

    @property
    def archive(self) -> Path:
        """Where the writer puts its log, segment by segment."""
        return self.home / "archive"

    def window(self) -> tuple[datetime, datetime] | None:
        """The earliest and the latest time to restore to; None before there is a backup."""
        bases, writer = self.backups.bases(), next(iter(self.instances()), None)
        if not bases:
            return None
        running = writer is not None and writer.process.running()
        return bases[0].at, datetime.now(UTC) if running else max(bases[-1].at, _last_change(self.data / "pg_wal"))

    def keep_backups(self) -> None:
        """What RDS does every day: takes a backup if there is none, and removes those that are too old."""
        writer = next(iter(self.instances()), None)
        if writer is None or not writer.process.running():
            return
        with self.locked():
            bases = self.backups.bases()
            if not bases or self._log_since(bases[-1]) > MOST_LOG:
                self.backups.add(lambda folder: writer.copy_to(folder, "backup"))
            days = int(self.described.get("backupRetentionPeriod") or 1)
            oldest = recovery.first_segment(self.backups.prune(days, self._log_since)[0].data)
            for file in self.archive.glob("[0-9A-F]*"):
                if (recovery.segment(file.name) or oldest) < oldest:
                    file.unlink(missing_ok=True)

    def _log_since(self, base: Base) -> int:
        first = recovery.first_segment(base.data)
        names = (recovery.segment(file.name) for file in self.archive.glob("[0-9A-F]*"))
        return sum(name is not None and name >= first for name in names) * SEGMENT

    def set_password(self, username: str, password: str) -> None:
        statement = _new_password(username, password)
        with self.locked():
            writer = next(iter(self.instances()), None)
            if writer is not None and writer.process.running():
                with writer.admin() as connection:
                    connection.execute(statement.encode())
            else:
                self._alone([statement])

    def copy_to(self, folder: Path) -> None:
        """A consistent copy of the data in a new folder: taken while the writer runs, else of the files as they lie."""
        writer = next(iter(self.instances()), None)
        if writer is not None and writer.process.running():
            writer.copy_to(folder, "snapshot")
        else:
            copied(self.data, folder)

    def rename(self, identifier: str) -> Storage:
        """The same cluster under another identifier, so at other addresses; its instances restart."""
        other = Storage(self.stack, identifier)
        with self.locked(), other.locked():
            if other.exists():
                raise HandlerError(f"DBClusterAlreadyExistsFault: this stack has a cluster {identifier!r}")
            for instance in reversed(self.instances()):
                instance.stop()
            other.remove()
            self.home.rename(other.home)
            other.load()
            other.settings["described"] = _renamed(other.described, "clusterIdentifier", identifier)
            for member in other.settings["instances"].values():
                if "described" in member:
                    member["described"]["clusterIdentifier"] = identifier
            other.save()
            shutil.rmtree(other.home / "tls", ignore_errors=True)  # certificates name addresses
            other.settle()
        return other

    def remove(self) -> None:
        """Removes everything, with the instances that a crash may have left."""
        for instance in self.instances():
            instance.process.stop(10, signal.SIGQUIT)  # PostgreSQL's immediate shutdown
            instance.process.remove()
        shutil.rmtree(self.home, ignore_errors=True)
        self.settings = {}


class Instance:
    """One PostgreSQL process of a cluster."""

    def __init__(self, storage: Storage, identifier: str) -> None:
        self.storage = storage
        self.identifier = identifier
        self.process: Process = storage.stack.process(f"aurora-{identifier}")

    @property
    def writer(self) -> bool:
        return self.storage.members[:1] == [self.identifier]

    @property
    def data(self) -> Path:
        return self.storage.data if self.writer else self.storage.home / "replicas" / self.identifier

    @property
    def address(self) -> str:
        return self.storage.stack.address(f"aurora-{self.identifier}")

    @property
    def _settings(self) -> Properties:
        return self.storage.settings["instances"][self.identifier]

    def outputs(self) -> Properties:
        return {
            "endpoint": self.address,
            "port": self.storage.port,
            "writer": self.writer,
            "status": "available" if self.process.running() else "stopped",
        }

    def addresses(self) -> list[str]:
        """Its own, and those of the cluster's endpoints that it serves now."""
        members = self.storage.members
        reader = members[1] if len(members) > 1 else members[0]
        return [
            self.address,
            *([self.storage.writer_endpoint] if self.writer else []),
            *([self.storage.reader_endpoint] if self.identifier == reader else []),
            *self.storage.custom_addresses(self.identifier),
        ]

    def join(self, group: str | None) -> None:
        """Becomes the writer of a cluster that has none, else a replica."""
        self.storage.settings["instances"][self.identifier] = {"group": group}
        self.storage.save()
        if len(self.storage.members) == 2:
            Instance(self.storage, self.storage.members[0]).restart()  # it gives the reader endpoint away
        if not self.writer:
            self._clone()
        self.start()

    def repair(self) -> None:
        """Starts the process again; a replica that lost touch with the writer is copied anew."""
        if not self.writer and not Instance(self.storage, self.storage.members[0]).process.running():
            Instance(self.storage, self.storage.members[0]).start()
        try:
            self.start()
        except Exception:
            if self.writer:
                raise
            self.process.stop()
            self._clone()
            self.start()

    def start(self) -> None:
        values = self._values()
        self._configure(values)
        user = unprivileged("postgres")
        forget_lock_of_dead(self.data / "postmaster.pid")
        self.process.start(
            [*parts.require("postgres").command["postgres"], "-D", str(self.data)],
            env=ENVIRONMENT,
            cwd=self.data,
            user=user,
            reaches=reaches(self.data),
            ready=self._ready,
            timeout=60,
        )
        self._settings["applied"] = values
        self.storage.save()

    def restart(self) -> None:
        """What rebooting the instance does."""
        self.stop()
        self.start()

    def stop(self) -> None:
        self.process.stop(60, signal.SIGINT)  # PostgreSQL's fast shutdown

    def remove(self) -> None:
        """Leaves the cluster. If it was the writer, the next instance takes over the storage."""
        if not self.storage.exists() or self.identifier not in self.storage.members:
            self.process.remove()
            return
        was_writer, members = self.writer, self.storage.members
        replica = None if was_writer else self.data
        self.stop()
        self.process.remove()
        if was_writer and len(members) > 1:
            heir = Instance(self.storage, members[1])
            heir.stop()
            shutil.rmtree(heir.data, ignore_errors=True)
        del self.storage.settings["instances"][self.identifier]
        self.storage.save()
        if replica is not None:
            shutil.rmtree(replica, ignore_errors=True)
        self.storage.settle()

    def rename(self, identifier: str) -> Instance:
        """The same instance under another identifier, so at another address; it restarts. The cluster is locked."""
        storage, was = self.storage, self.data
        if of_instance(storage.stack, identifier) is not None:
            raise HandlerError(f"DBInstanceAlreadyExists: this stack has a cluster instance {identifier!r}")
        self.stop()
        self.process.remove()
        other = Instance(storage, identifier)
        storage.settings["instances"] = {
            identifier if name == self.identifier else name: settings
            for name, settings in storage.settings["instances"].items()
        }
        if "described" in other._settings:
            other._settings["described"] = _renamed(other._settings["described"], "identifier", identifier)
        for rule in storage.settings.get("endpoints", {}).values():
            for members in (rule["static"], rule["excluded"]):
                members[:] = [identifier if name == self.identifier else name for name in members]
        if was != other.data:
            was.rename(other.data)
        storage.save()
        other.start()
        return other

    def reconfigure(self, cluster: list[Parameter] | None = None, own: list[Parameter] | None = None) -> None:
        """Takes over the groups' values: dynamic ones now, those with applyMethod pending-reboot at the next restart.

        Raises HandlerError, as RDS does, for a static parameter that should apply at once.
        """
        groups = self._groups(cluster, own)
        wanted, applied = self._values(groups), dict(self._settings["applied"])
        waiting = {_server_name(parameter.name) for parameter in groups if parameter.pending_reboot}
        changed = {name for name in set(wanted) | set(applied) if wanted.get(name) != applied.get(name)}
        with self.admin() as connection:
            rows = connection.execute("SELECT name FROM pg_settings WHERE context IN ('postmaster', 'internal')")
            static = {row[0] for row in rows} & changed
            at_once = sorted((static - waiting) & {_server_name(p.name) for p in groups})
            if at_once:
                raise HandlerError(
                    f"InvalidParameterCombination: {', '.join(at_once)} is static: give it applyMethod pending-reboot"
                )
            self._configure(wanted)
            connection.execute("SELECT pg_reload_conf()")
        # what RDS would hold back until the reboot, PostgreSQL holds back only if it is static: say so honestly
        self._settings["applied"] = {
            **{name: value for name, value in wanted.items() if name not in static},
            **{name: applied[name] for name in static if name in applied},
        }
        self.storage.save()

    def pending(self) -> list[str]:
        """Parameters whose new values wait for a restart."""
        wanted, applied = self._values(), self._settings.get("applied", {})
        return sorted(name for name in set(wanted) | set(applied) if wanted.get(name) != applied.get(name))

    @contextlib.contextmanager
    def admin(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of RDS' own administrator."""
        with psycopg.connect(
            host=self.address,
            port=self.storage.port,
            user=ADMIN,
            password=self.storage.settings["admin"],
            dbname="postgres",
            sslmode="require",
            connect_timeout=5,
            autocommit=True,
        ) as connection:
            yield connection

    def _archiving(self) -> dict[str, str]:
        """The log goes to the archive in whole segments; a copy, because the server uses its files again."""
        archive = self.storage.archive
        archive.mkdir(exist_ok=True)
        if user := unprivileged("postgres"):
            shutil.chown(archive, user.pw_uid, user.pw_gid)
        return {
            "archive_mode": "on",
            "archive_command": f'cp "%p" "{archive}/.%f" && mv "{archive}/.%f" "{archive}/%f"',
        }

    def _ready(self) -> bool:
        """Whether the writer takes writes, and a replica reads the writer's log."""
        try:
            with self.admin() as connection:
                row = connection.execute(
                    "SELECT NOT pg_is_in_recovery()"
                    if self.writer
                    else "SELECT count(*) > 0 FROM pg_stat_wal_receiver WHERE status = 'streaming'"
                ).fetchone()
                return bool(row and row[0])
        except psycopg.OperationalError:
            return False

    def _clone(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.parent.mkdir(exist_ok=True)
        if user := unprivileged("postgres"):
            shutil.chown(self.data.parent, user.pw_uid, user.pw_gid)
        self.copy_to(self.data, self.identifier)

    def copy_to(self, folder: Path, client: str) -> None:
        """A copy of the running writer's data in a new folder, as it is when the copy ends."""
        run(
            self.storage.home,
            "pg_basebackup",
            "--pgdata",
            str(folder),
            "--dbname",
            self._writer_conninfo(client),
            "--checkpoint",
            "fast",
            "--wal-method",
            "stream",
            "--no-sync",
        )

    def _writer_conninfo(self, client: str) -> str:
        storage = self.storage
        return (
            f"host={storage.writer_endpoint} port={storage.port} user={ADMIN} password={storage.settings['admin']} "
            f"sslmode=require application_name={client}"
        )

    def _groups(self, cluster: list[Parameter] | None = None, own: list[Parameter] | None = None) -> list[Parameter]:
        """Cluster's parameters, then the instance's, which win."""
        stack = self.storage.stack
        if cluster is None:
            cluster = parameters.of_group(stack, parameters.CLUSTER_GROUP, self.storage.settings.get("group"))
        if own is None:
            own = parameters.of_group(stack, parameters.INSTANCE_GROUP, self._settings.get("group"))
        return [*cluster, *own]

    def _values(self, groups: list[Parameter] | None = None) -> dict[str, str]:
        values = {**BASE, "wal_level": "replica", "rds.force_ssl": "0"}
        for parameter in self._groups() if groups is None else groups:
            name = parameter.name.lower()
            if name in FIXED:
                raise HandlerError(f"InvalidParameterValue: RDS does not let a parameter group set {name}")
            values[_server_name(name)] = _server_value(name, parameters.resolve(parameter))
        return values

    def _configure(self, values: Mapping[str, str]) -> None:
        """Writes the server's files into its data folder, and has PostgreSQL check them."""
        data, storage = self.data, self.storage
        addresses = self.addresses()
        custom = storage.custom_endpoints()
        tls = storage.home / "tls" / "-".join([self.identifier, *sorted(custom)])
        named = (self.address, storage.writer_endpoint, storage.reader_endpoint, *custom.values())
        for file in cloud.certificate(tls, *named):
            shutil.copy2(file, data / file.name)
        own = {
            "listen_addresses": ",".join(addresses),
            "port": str(storage.port),
            "unix_socket_directories": "",
            "ssl": "on",
            "ssl_cert_file": "server.crt",
            "ssl_key_file": "server.key",
            "hot_standby": "on",
            "password_encryption": "scram-sha-256",
            "logging_collector": "off",
            **(self._archiving() if self.writer else {"primary_conninfo": self._writer_conninfo(self.identifier)}),
        }
        lines = [f"{name} = {_literal(value)}" for name, value in {**values, **own}.items() if not _rds_only(name)]
        host = "hostssl" if values["rds.force_ssl"] in ("1", "on") else "host"
        access = f"{host} replication all 127.0.0.0/8 scram-sha-256\n{host} all all 127.0.0.0/8 scram-sha-256\n"
        write_atomically(data / "postgresql.conf", "\n".join(lines) + "\n", mode=0o600)
        write_atomically(data / "pg_hba.conf", access, mode=0o600)
        (data / "standby.signal").unlink(missing_ok=True)
        if not self.writer:
            (data / "standby.signal").touch(mode=0o600)
        if user := unprivileged("postgres"):
            for name in ("postgresql.conf", "pg_hba.conf", "server.crt", "server.key", "standby.signal"):
                if (data / name).exists():
                    shutil.chown(data / name, user.pw_uid, user.pw_gid)
        self._settings["addresses"] = addresses
        self.storage.save()
        run(storage.home, "postgres", "-D", str(data), "-C", "data_directory")


def _last_change(folder: Path) -> datetime:
    return datetime.fromtimestamp(max(file.stat().st_mtime for file in folder.iterdir()), UTC)


ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", "PGSSLMODE": "require"}


def run(home: Path, program: str, *arguments: str, text: str = "", refuse: str = "") -> str:
    """Runs one of PostgreSQL's programs as the server's user. Raises HandlerError with what it says if it fails.

    `refuse` is a pattern that marks a failure in the output (single-user mode ends well whatever happens).
    """
    user = unprivileged("postgres")
    done = subprocess.run(
        [*as_user(user, reaches(home / "storage")), *parts.require("postgres").command[program], *arguments],
        input=text,
        capture_output=True,
        text=True,
        cwd="/",
        env=ENVIRONMENT,
        check=False,
    )
    failed = re.findall(refuse, done.stdout + done.stderr) if refuse else []
    if done.returncode or failed:
        said = failed or [line for line in done.stderr.splitlines() if line.strip()][-4:]
        raise HandlerError(f"PostgreSQL {parts.require('postgres').version}, {program}: {'; '.join(said)}")
    return done.stdout


def _renamed(described: Properties, key: str, identifier: str) -> Properties:
    stem = str(described.get("arn", "")).rpartition(":")[0]
    return {**described, key: identifier, **({"arn": f"{stem}:{identifier}"} if stem else {})}


def _restored(inputs: Properties) -> bool:
    return bool(inputs.get("snapshotIdentifier") or inputs.get("restoreToPointInTime"))


def _new_password(username: str, password: str) -> str:
    made = sql.SQL("ALTER ROLE {} PASSWORD {};").format(sql.Identifier(username), sql.Literal(password))
    return made.as_string(None)


def reaches(data: Path) -> list[Path]:
    return [data, parts.require("postgres").home / "bin"]


def _locale() -> str:
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
        return "C.UTF-8"
    except locale.Error:
        return "C"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)


def _rds_only(name: str) -> bool:
    """Whether a parameter is Aurora's own; PostgreSQL does not know it."""
    return name.startswith(("rds.", "aurora", "apg_", "babelfish"))


def _server_name(name: str) -> str:
    return "wal_level" if name == "rds.logical_replication" else name.lower()


def _server_value(name: str, value: str) -> str:
    """What a value of the group is for the server. Sizes are kept small, libraries cut to those that are there."""
    match name:
        case "rds.logical_replication":
            return "logical" if value in ("1", "on") else "replica"
        case "shared_buffers" if value.isdigit():
            return str(min(int(value), SHARED_BUFFERS_LIMIT // BLOCK))
        case "shared_preload_libraries":
            return ",".join(library for library in re.split(r"\s*,\s*", value) if library and _installed(library))
    return value


def _installed(library: str) -> bool:
    home = parts.require("postgres").home
    return any((home / folder / f"{library}.so").is_file() for folder in ("lib", "lib/postgresql", "lib64"))


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
