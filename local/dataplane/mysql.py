"""`aws:rds/instance:Instance` with engine mysql: a real MySQL server with the values of its parameter group.

Invariants:
- Binary log with GTIDs as on RDS: on while automatic backups are on (`backupRetentionPeriod` > 0), else off.
- A value of the parameter group goes to the server as it is; an unknown one is refused. Only sizes are kept small.
- As on RDS, a static parameter that changes waits for the next restart; see `pending`.
- The server is the machine's or the cache's version whatever the program asks for: `engineVersionActual` says which.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pymysql

from local import parts
from local.dataplane import cloud, parameters, recovery
from local.dataplane.backups import MOST_LOG_BYTES, Backups, Base, copied, in_utc
from local.dataplane.cloud import Properties
from local.dataplane.parameters import Parameter
from local.dataplane.rds import words
from local.processes import Process, as_user, forget_lock_of_dead, unprivileged, write_atomically
from local.provider.handler import Handler, HandlerError
from local.stack import LocalStack

if TYPE_CHECKING:
    from local.dataplane.snapshots import Restored

PORT = 3306
ADMIN = "rdsadmin"
TOKEN = "aws:rds/instance:Instance"
BUFFER_POOL_LIMIT = 256 << 20

BASE: Mapping[str, str] = {
    "binlog_row_image": "FULL",
    "binlog_row_metadata": "FULL",
    "binlog_expire_logs_seconds": "604800",
    "gtid_mode": "ON",
    "enforce_gtid_consistency": "ON",
    "innodb_buffer_pool_size": str(BUFFER_POOL_LIMIT // 2),
    "innodb_redo_log_capacity": str(256 << 20),
    "innodb_flush_log_at_trx_commit": "2",
    "sync_binlog": "0",
    "performance_schema": "OFF",
    "default_time_zone": "+00:00",
    "max_connections": "151",
}
"""Where the parameter group says nothing. A killed server loses nothing; only a power cut may cost the last second."""

FIXED = frozenset(
    {
        "basedir",
        "datadir",
        "tmpdir",
        "socket",
        "pid_file",
        "port",
        "bind_address",
        "log_error",
        "plugin_dir",
        "server_id",
        "log_bin",
        "ssl_cert",
        "ssl_key",
        "ssl_ca",
        "secure_file_priv",
        "init_file",
        "user",
        "mysqlx",
    }
)
"""What RDS decides, not a parameter group."""

RENAMED: Mapping[str, str] = {
    "log_slave_updates": "log_replica_updates",
    "slave_parallel_workers": "replica_parallel_workers",
    "slave_parallel_type": "replica_parallel_type",
    "slave_preserve_commit_order": "replica_preserve_commit_order",
    "slave_net_timeout": "replica_net_timeout",
    "slave_max_allowed_packet": "replica_max_allowed_packet",
    "slave_compressed_protocol": "replica_compressed_protocol",
    "slave_type_conversions": "replica_type_conversions",
}
"""Parameters of the family mysql8.0 that newer servers know under another name only."""


class MySQLInstance(Handler):
    """Handler of an RDS instance."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        if (engine := inputs.get("engine")) != "mysql":
            raise HandlerError(f"engine {engine!r}: the local cloud runs an RDS instance with engine mysql only")
        identifier = inputs.get("identifier") or f"tf-{cloud.resource_id('')[1:11].lower()}"
        username, managed = inputs.get("username"), bool(inputs.get("manageMasterUserPassword"))
        password = cloud.generated_password() if managed else inputs.get("password")
        restored = inputs.get("snapshotIdentifier") or inputs.get("restoreToPointInTime")
        if not restored and (not username or not password):
            raise HandlerError("an RDS instance needs username, and password or manageMasterUserPassword")
        server = Server(stack, identifier)
        recorded = stack.records.find(TOKEN, identifier=identifier) or server.settings.get("recorded")
        if server.exists() and recorded:
            raise HandlerError(f"DBInstanceAlreadyExists: this stack has an RDS instance {identifier!r}")
        region = cloud.region(stack, inputs)
        state: Properties = {}
        try:
            server.make(inputs, username, password)
            username = str(server.settings["username"])
            if managed:
                state["masterUserSecrets"] = cloud.managed_secret(stack, "db", inputs, username, str(password))
        except BaseException:
            cloud.forget_secret(stack, {**inputs, **state})
            server.remove()
            raise
        known = cloud.resource_id("db")
        state |= {
            "identifier": identifier,
            "username": username,
            "dbName": server.settings["database"],
            "arn": cloud.arn("rds", region, f"db:{identifier}"),
            "resourceId": known,
            "status": "available",
            "engineVersion": inputs.get("engineVersion") or parts.require("mysql").version,
            "engineVersionActual": parts.require("mysql").version,
            "availabilityZone": inputs.get("availabilityZone") or f"{region}a",
            "caCertIdentifier": inputs.get("caCertIdentifier") or "rds-ca-rsa2048-g1",
            "hostedZoneId": "Z1",
            "licenseModel": "general-public-license",
            "backupRetentionPeriod": inputs.get("backupRetentionPeriod") or 0,
            "parameterGroupName": inputs.get("parameterGroupName") or "default.mysql8.4",
            "masterUserSecrets": state.get("masterUserSecrets", []),
            "replicas": [],
        }
        made = {**inputs, **state, **server.outputs()}
        server.describe(made, createdAt=cloud.now())
        return known, made

    def recorded(self, stack: LocalStack, outputs: Properties) -> None:
        server = Server(stack, str(outputs["identifier"]))
        if server.exists() and not server.settings.get("recorded"):
            server.settings["recorded"] = True
            server.save()

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        server = of_resource(stack, id, state.get("identifier") or id)
        if server is None:
            return None
        seen = words.seen(words.INSTANCE, state, server.described)
        return {**seen, **server.outputs(), "status": "available" if server.process.running() else "stopped"}

    def needs_repair(self, state: Properties) -> list[str]:
        return [] if state.get("status") in (None, "available") else ["status"]

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        identifier = new_inputs.get("identifier") or old["identifier"]
        server = of_resource(stack, id, old["identifier"])
        if server is None:
            raise HandlerError(f"DBInstanceNotFound: this stack has no RDS instance {old['identifier']!r}")
        if identifier != server.identifier:
            server = server.rename(identifier)
        port, retention = int(new_inputs.get("port") or PORT), int(new_inputs.get("backupRetentionPeriod") or 0)
        logged = int(server.settings.get("backups", 0)) > 0
        server.settings |= {
            "group": new_inputs.get("parameterGroupName"),
            "port": port,
            "backups": retention,
        }
        if port != int(old.get("port") or PORT) or logged != (retention > 0):
            server.process.stop()  # RDS restarts the server for either
        if server.process.running():
            server.reconfigure(parameters.of_group(stack, parameters.INSTANCE_GROUP, server.settings["group"]))
        else:
            server.start()
        state = {**old, **new_inputs, "identifier": identifier}
        region = cloud.region(stack, state)
        self._change_password(stack, server, old, new_inputs, state)
        state |= {
            "arn": cloud.arn("rds", region, f"db:{identifier}"),
            "status": "available",
            "engineVersionActual": parts.require("mysql").version,
            **server.outputs(),
        }
        server.describe(state)
        return state

    @staticmethod
    def _change_password(
        stack: LocalStack, server: Server, old: Properties, new: Properties, state: Properties
    ) -> None:
        managed, was_managed = bool(new.get("manageMasterUserPassword")), bool(old.get("manageMasterUserPassword"))
        username = str(old["username"])
        if managed and not was_managed:
            password = cloud.generated_password()
            server.set_password(username, password)
            state["masterUserSecrets"] = cloud.managed_secret(stack, "db", new, username, password)
        elif not managed and new.get("password") and (was_managed or new["password"] != old.get("password")):
            server.set_password(username, str(new["password"]))
            cloud.forget_secret(stack, old)
            state["masterUserSecrets"] = []

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        server = of_resource(stack, id, state["identifier"])
        if server is not None:
            cloud.refuse_without_snapshot(f"the RDS instance {state['identifier']}", state)
            if not state.get("skipFinalSnapshot"):
                from local.dataplane.snapshots import keep_instance

                keep_instance(server, state["finalSnapshotIdentifier"])
        cloud.forget_secret(stack, state)
        left = server or Server(stack, state["identifier"])
        if server is not None or not left.described:  # else another server has its name by now
            left.remove()


def of_resource(stack: LocalStack, id: str, identifier: str) -> Server | None:
    """The stack's server with this resource id, which stays when it is renamed, as AWS' provider looks for it.

    (Its state's id is the resource id since the provider's version 5: pull request 31232. So a server that takes
    another one's identifier is not yet its resource: the state must be told the new id.)
    """
    servers = [server for server in Server.all(stack) if server.exists()]
    known = [server for server in servers if server.described.get("resourceId") == id]
    nameless = [server for server in servers if server.identifier == identifier and not server.described]
    return next(iter(known + nameless), None)


class Server:
    """One MySQL server of a stack: folder, configuration, process. `settings` are kept in `server.json`."""

    def __init__(self, stack: LocalStack, identifier: str) -> None:
        self.stack = stack
        self.identifier = identifier
        self.home = stack.home / "data" / "mysql" / identifier
        self.process: Process = stack.process(f"mysql-{identifier}")
        self._file = self.home / "server.json"
        self.settings: Properties = json.loads(self._file.read_text()) if self._file.exists() else {}

    @staticmethod
    def all(stack: LocalStack) -> list[Server]:
        return [Server(stack, file.parent.name) for file in sorted((stack.home / "data/mysql").glob("*/server.json"))]

    def exists(self) -> bool:
        return bool(self.settings) and (self.home / "data").is_dir()

    @property
    def described(self) -> Properties:
        """What RDS' API tells of it."""
        return self.settings.get("described", {})

    def describe(self, state: Properties, **more: Any) -> None:
        """Keeps what the API tells. `more` is not of the program."""
        born = {name: self.described[name] for name in ("createdAt",) if name in self.described}
        self.settings["described"] = {**born, **words.kept(state), **more}
        self.save()

    @property
    def address(self) -> str:
        return self.stack.address(f"mysql-{self.identifier}")

    def outputs(self) -> Properties:
        port = int(self.settings["port"])
        return {
            "address": self.address,
            "port": port,
            "endpoint": f"{self.address}:{port}",
            "listenerEndpoints": [],
        }

    def make(self, inputs: Properties, username: str | None, password: str | None) -> None:
        """Makes the data folder, new or restored, and starts the server. What an earlier try left is removed.

        What is restored has its master user from its source, and that one's password unless another is given.
        """
        from local.dataplane import snapshots

        self.remove()
        self.settings = {
            "group": inputs.get("parameterGroupName"),
            "port": int(inputs.get("port") or PORT),
            "backups": int(inputs.get("backupRetentionPeriod") or 0),
            "admin": cloud.generated_password(),
            "username": username,
            "database": inputs.get("dbName"),
        }
        self.home.mkdir(parents=True)
        (self.home / "tmp").mkdir()
        cloud.certificate(self.home, self.address)
        first = self.home / "first.sql"
        if snapshot := inputs.get("snapshotIdentifier"):
            copy = snapshots.restore_instance(self.stack, str(snapshot), self.home / "data")
            self._restore(copy.restored, password, first)
            self.backups.add(copy.link, gtids=self.executed(), password=password)
        elif point := inputs.get("restoreToPointInTime"):
            self._recover(point, password, first)
        else:
            self._initialise(inputs, str(username), str(password), first)

    def _recover(self, point: Properties, password: str | None, first: Path) -> None:
        """From another server, as it is now or was at some time."""
        from local.dataplane import snapshots

        name, at = point.get("sourceDbInstanceIdentifier"), point.get("restoreTime")
        if not name:
            raise HandlerError("restoreToPointInTime needs sourceDbInstanceIdentifier in the local cloud")
        source, base, of = snapshots.clone_instance(self, str(name), at)
        if base is not None and at is not None:
            # a server of its own until it has what it shall have; what it replays is not in its log
            self._restore(of, base.facts.get("password"), first, "--skip-log-bin", "--server-id=2", "--relay-log=relay")
            recovery.recover_server(self, source, in_utc(at))
            self.process.stop(60)
        self._restore(of, password, first)

    def _restore(self, of: Restored, password: str | None, first: Path, *options: str) -> None:
        """Starts on data that is a copy of another server's, with accounts of its own."""
        self.settings |= {"username": of.username, "database": of.database}
        accounts = {ADMIN: self.settings["admin"], **({of.username: password} if password else {})}
        statements = [
            f"ALTER USER {_quoted(name)}@'%' IDENTIFIED BY {_quoted(secret)}" for name, secret in accounts.items()
        ]
        write_atomically(first, "".join(f"{line};\n" for line in ("SET sql_log_bin = 0", *statements)), mode=0o600)
        self.start(f"--init-file={first}", *options)
        first.unlink()

    def _initialise(self, inputs: Properties, username: str, password: str, first: Path) -> None:
        statements = [
            f"CREATE USER {_quoted(name)}@'%' IDENTIFIED BY {_quoted(secret)}"
            for name, secret in ((ADMIN, self.settings["admin"]), (username, password))
        ]
        statements += [f"GRANT ALL ON *.* TO {_quoted(name)}@'%' WITH GRANT OPTION" for name in (ADMIN, username)]
        statements += ["DROP USER 'root'@'localhost'"]
        if database := inputs.get("dbName"):
            statements += [f"CREATE DATABASE `{str(database).replace('`', '``')}`"]
        write_atomically(first, "".join(f"{line};\n" for line in statements), mode=0o600)
        self._write_configuration(self._values())
        self._give_away()
        self._run("--initialize-insecure", f"--init-file={first}")
        first.unlink()
        if self.settings["backups"]:
            self.backups.add(lambda folder: copied(self.home / "data", folder), gtids="")
        self._give_away()
        self.start()

    # --- backups ----------------------------------------------------------------------------------------------------

    @property
    def backups(self) -> Backups:
        return Backups(self.home)

    def executed(self) -> str | None:
        """The transactions that the server has; None if it does not run."""
        return self._asked("@@GLOBAL.gtid_executed") if self.process.running() else None

    def window(self) -> tuple[datetime, datetime] | None:
        """The earliest and the latest time to restore to; None without a backup to which the log can be replayed."""
        if not self.settings["backups"] or not self.process.running():
            return None
        with contextlib.suppress(pymysql.err.OperationalError):  # it is about to start, or to end
            purged = self._asked("@@GLOBAL.gtid_purged")
            for base in self.backups.bases():
                if self._asked("GTID_SUBSET(%s, %s)", purged, base.facts["gtids"]) == "1":
                    return base.at, datetime.now(UTC)
        return None

    def keep_backups(self) -> None:
        """What RDS does every day: takes a backup if there is none that can be used, and removes those too old."""
        if not self.settings["backups"] or not self.process.running():
            return
        with self.stack.lock(f"mysql-{self.identifier}"):
            bases = self.backups.bases()
            if self.window() is None or self._log_since(bases[-1]) > MOST_LOG_BYTES * 3 // 4:
                executed = self.executed()
                self.backups.add(self._hot_copy, gtids=executed)
            self.backups.prune(int(self.settings["backups"]), self._log_since)

    def _log_since(self, base: Base) -> int:
        files = (file.stat() for file in (self.home / "data").glob("binlog.[0-9]*"))
        return sum(file.st_size for file in files if file.st_mtime >= base.at.timestamp())

    def _hot_copy(self, folder: Path) -> None:
        if user := self._user:
            shutil.chown(folder.parent, user.pw_uid, user.pw_gid)
        self.copy_to(folder)

    def _asked(self, expression: str, *values: str) -> str:
        with self.admin() as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT {expression}", values or None)
            return str(cursor.fetchone()[0]).replace("\n", "")

    def start(self, *options: str) -> None:
        """Starts the server with the values its parameter group has now."""
        values = self._values()
        self._write_configuration(values)
        self._give_away()
        self._run("--validate-config")
        forget_lock_of_dead(self.home / "data" / "mysqld.sock.lock")
        self.process.start(
            [*parts.require("mysql").command["mysqld"], f"--defaults-file={self.home / 'my.cnf'}", *options],
            cwd=self.home,
            user=self._user,
            reaches=self._reaches,
            ready=self._answers,
            timeout=120,
        )
        self.settings["applied"] = values
        self.save()

    def reconfigure(self, group: list[Parameter]) -> None:
        """Takes over the group's values: dynamic ones now, those with applyMethod pending-reboot at the next restart.

        Raises HandlerError, as RDS does, for a static parameter that should apply at once.
        """
        wanted, applied = self._values(group), dict(self.settings["applied"])
        self._write_configuration(wanted)
        self._give_away()
        self._run("--validate-config")
        waiting = {_server_name(p.name) for p in group if p.pending_reboot}
        with self.admin() as connection, connection.cursor() as cursor:
            for name in sorted(set(wanted) | set(applied)):
                if wanted.get(name) == applied.get(name) or name in waiting:
                    continue
                try:
                    if name in wanted:
                        cursor.execute(f"SET GLOBAL `{name}` = {_literal(wanted[name])}")
                        applied[name] = wanted[name]
                    else:
                        cursor.execute(f"SET GLOBAL `{name}` = DEFAULT")
                        del applied[name]
                except pymysql.err.OperationalError as e:
                    if e.args[0] == 1238 and name in wanted:  # a read-only variable
                        raise HandlerError(
                            f"InvalidParameterCombination: {name} is static: give it applyMethod pending-reboot"
                        ) from e
                    if e.args[0] != 1238:
                        raise HandlerError(f"the parameter {name} = {wanted.get(name)}: {e.args[1]}") from e
        self.settings["applied"] = applied
        self.save()

    def pending(self) -> list[str]:
        """Parameters whose new values wait for a restart."""
        wanted, applied = self._values(), self.settings.get("applied", {})
        return sorted(name for name in set(wanted) | set(applied) if wanted.get(name) != applied.get(name))

    def restart(self) -> None:
        """What rebooting the instance does."""
        self.process.stop(60)
        self.start()

    def set_password(self, username: str, password: str) -> None:
        with self.admin() as connection, connection.cursor() as cursor:
            cursor.execute("ALTER USER %s@'%%' IDENTIFIED BY %s", (username, password))

    @contextlib.contextmanager
    def admin(self) -> Iterator[Any]:
        """A connection of RDS' own administrator."""
        connection = pymysql.connect(
            host=self.address,
            port=int(self.settings["port"]),
            user=ADMIN,
            password=self.settings["admin"],
            connect_timeout=5,
            autocommit=True,
            ssl={"check_hostname": False, "verify_mode": "none"},
        )
        with connection:
            yield connection

    def rename(self, identifier: str) -> Server:
        """The same server under another identifier, and so at another address. It does not run afterwards."""
        other = Server(self.stack, identifier)
        if other.exists():
            raise HandlerError(f"DBInstanceAlreadyExists: this stack has an RDS instance {identifier!r}")
        self.process.remove()
        self.home.rename(other.home)
        (other.home / "server.crt").unlink(missing_ok=True)
        cloud.certificate(other.home, other.address)
        other.settings = self.settings
        if self.described:
            stem = str(self.described["arn"]).rpartition(":")[0]
            renamed = {"identifier": identifier, "arn": f"{stem}:{identifier}"}
            other.settings["described"] = {**self.described, **renamed}
        other.save()
        return other

    def copy_to(self, folder: Path) -> None:
        """A consistent copy of the data in a new folder: taken while the server runs, else of the files as they lie."""
        if self.process.running():
            try:
                with self.admin() as connection, connection.cursor() as cursor:
                    cursor.execute("CLONE LOCAL DATA DIRECTORY = %s", (str(folder),))
            except pymysql.err.MySQLError as e:
                raise HandlerError(f"the RDS instance {self.identifier} cannot be copied: {e.args[-1]}") from e
        else:
            copied(self.home / "data", folder)

    def remove(self) -> None:
        self.process.remove(grace=0)
        shutil.rmtree(self.home, ignore_errors=True)
        self.settings = {}

    @property
    def _user(self) -> Any:
        return unprivileged("mysql", "postgres")

    @property
    def _reaches(self) -> list[Path]:
        return [self.home / "data", parts.require("mysql").home / "bin"]

    def save(self) -> None:
        write_atomically(self._file, json.dumps(self.settings, indent=1), mode=0o600)

    def _give_away(self) -> None:
        if user := self._user:
            for path in (self.home, *self.home.rglob("*")):
                if path.name != "server.json":
                    shutil.chown(path, user.pw_uid, user.pw_gid)

    def _answers(self) -> bool:
        with contextlib.suppress(pymysql.err.MySQLError), self.admin():
            return True
        return False

    def _values(self, group: list[Parameter] | None = None) -> dict[str, str]:
        """What stands in `my.cnf`: our defaults, then the group's values."""
        if group is None:
            group = parameters.of_group(self.stack, parameters.INSTANCE_GROUP, self.settings.get("group"))
        values = dict(BASE)
        for parameter in group:
            name = _server_name(parameter.name)
            if name in FIXED:
                raise HandlerError(f"InvalidParameterValue: RDS does not let a parameter group set {parameter.name}")
            if not name.startswith("rds."):  # RDS' own switches; the server does not know them
                values[name] = parameters.resolve(parameter)
        with contextlib.suppress(ValueError):
            values["innodb_buffer_pool_size"] = str(min(int(values["innodb_buffer_pool_size"]), BUFFER_POOL_LIMIT))
        return values

    def _write_configuration(self, values: Mapping[str, str]) -> None:
        home, part = self.home, parts.require("mysql")
        own = {
            **part.options,
            "datadir": home / "data",
            "tmpdir": home / "tmp",
            "socket": "mysqld.sock",
            "pid-file": home / "mysqld.pid",
            "bind-address": self.address,
            "port": self.settings["port"],
            "ssl-cert": home / "server.crt",
            "ssl-key": home / "server.key",
            "tls-version": "TLSv1.2,TLSv1.3",
            "secure-file-priv": "NULL",
            "server-id": 1,
            "mysqlx": "OFF",
            "skip-name-resolve": "ON",
            "plugin-load-add": "mysql_clone.so",
        }
        own |= {"log-bin": "binlog"} if self.settings["backups"] else {"skip-log-bin": ""}
        lines = [f"{name}={value}" if value != "" else name for name, value in {**values, **own}.items()]
        write_atomically(home / "my.cnf", "[mysqld]\n" + "".join(f"{line}\n" for line in lines))

    def _run(self, *options: str) -> None:
        """Runs mysqld for a moment, to initialise or to check the configuration."""
        done = subprocess.run(
            [
                *as_user(self._user, self._reaches),
                *parts.require("mysql").command["mysqld"],
                f"--defaults-file={self.home / 'my.cnf'}",
                *options,
            ],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=self.home,
            check=False,
        )
        if done.returncode:
            errors = re.findall(r"\[ERROR\] (?:\[[^]]*\] )*(.*)", done.stderr) or done.stderr.strip().splitlines()[-3:]
            who = f"the RDS instance {self.identifier} (MySQL {parts.require('mysql').version})"
            raise HandlerError(f"{who} does not accept its settings: {'; '.join(errors)}")


def _server_name(name: str) -> str:
    """RDS writes some parameters with hyphens (`gtid-mode`), variables have underscores."""
    plain = name.replace("-", "_").lower()
    return RENAMED.get(plain, plain)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _literal(value: str) -> str:
    return value if re.fullmatch(r"-?\d+(\.\d+)?", value) else _quoted(value)
