"""`aws:rds/proxy:Proxy`, its target group and its target: a real pgbouncer before the writer of an Aurora cluster.

TLS on both sides, the accounts of the secrets that the proxy names, its share of the server's connections, and how long
a client waits and may be idle: all as RDS Proxy has it. The proxy goes to the cluster's writer endpoint, so it follows
a failover.

Where it differs: every session keeps its connection to the end (pgbouncer's session pooling), which RDS Proxy does only
for sessions that it pins. pgbouncer before 1.21 cannot carry the prepared statements of the protocol, which asyncpg and
others use for everything, from one connection to another. Settings in the start-up message that pgbouncer does not
know are passed over; what all sessions need belongs in the proxy's `initQuery`. Secrets are read when the proxy, its
target group or its target is made, changed or repaired.
"""

from __future__ import annotations

import json
import shutil
import signal

import psycopg

from local import parts
from local.dataplane import cloud
from local.dataplane.cloud import Properties
from local.dataplane.postgres import PORT, Storage
from local.processes import Process, unprivileged, write_atomically
from local.provider.handler import Handler, HandlerError
from local.stack import LocalStack

PROXY = "aws:rds/proxy:Proxy"
FRESH = (
    "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DEALLOCATE ALL; UNLISTEN *; "
    "SELECT pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES; "
)
"""DISCARD ALL in the parts that may stand before other statements."""
PASSED_OVER = (
    "extra_float_digits,options,search_path,default_transaction_isolation,lock_timeout,statement_timeout,"
    "idle_in_transaction_session_timeout"
)
_POOL = {"maxConnectionsPercent": 100, "maxIdleConnectionsPercent": 50, "connectionBorrowTimeout": 120}
"""What RDS Proxy's target group has by itself."""


class ProxyHandler(Handler):
    """Handler of a proxy: accounts and address; it runs once it has a target."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        if (family := inputs["engineFamily"]) != "POSTGRESQL":
            raise HandlerError(f"engineFamily {family!r}: the local cloud's proxies are for POSTGRESQL only")
        proxy = Proxy(stack, str(inputs["name"]))
        if proxy.exists():
            raise HandlerError(f"DBProxyAlreadyExistsFault: this stack has a proxy {proxy.name!r}")
        proxy.set(inputs=inputs)
        region = cloud.region(stack, inputs)
        return proxy.name, {
            **inputs,
            "arn": cloud.arn("rds", region, f"db-proxy:{cloud.resource_id('prx').lower()}"),
            "endpoint": proxy.address,
            "idleClientTimeout": inputs.get("idleClientTimeout") or 1800,
            "status": "available",
        }

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        proxy = Proxy(stack, id)
        if not proxy.exists():
            return None
        dead = bool(proxy.settings.get("cluster")) and not proxy.process.running()
        return {**state, "status": "stopped" if dead else "available"}

    def needs_repair(self, state: Properties) -> list[str]:
        return [] if state.get("status") in (None, "available") else ["status"]

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        if new_inputs["name"] != id:
            raise HandlerError(f"the proxy {id} cannot be renamed here: destroy it first")
        Proxy(stack, id).set(inputs=new_inputs)
        return {**old, **new_inputs, "status": "available"}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        Proxy(stack, id).remove()


class TargetGroupHandler(Handler):
    """Handler of a proxy's default target group, which is there with the proxy: only its pool can be set."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        name = str(inputs["dbProxyName"])
        proxy = _known(stack, name)
        proxy.set(pool=inputs.get("connectionPoolConfig") or {})
        arn = cloud.arn("rds", cloud.region(stack, inputs), f"target-group:prx-tg-{name}")
        pool = {**_POOL, **(inputs.get("connectionPoolConfig") or {})}
        return name, {**inputs, "name": "default", "arn": arn, "connectionPoolConfig": pool}

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        return state if Proxy(stack, id).exists() else None

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        _known(stack, id).set(pool=new_inputs.get("connectionPoolConfig") or {})
        return {
            **old,
            **new_inputs,
            "connectionPoolConfig": {**_POOL, **(new_inputs.get("connectionPoolConfig") or {})},
        }

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        """It goes with its proxy."""


class TargetHandler(Handler):
    """Handler of a proxy's target: the cluster that it stands before."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        cluster = inputs.get("dbClusterIdentifier")
        if not cluster:
            raise HandlerError("dbInstanceIdentifier: the local cloud's proxies stand before Aurora clusters only")
        proxy, storage = _known(stack, str(inputs["dbProxyName"])), Storage(stack, str(cluster))
        if not storage.exists():
            raise HandlerError(f"DBClusterNotFoundFault: this stack has no cluster {cluster!r}")
        proxy.set(cluster=str(cluster))
        return f"{proxy.name}/{inputs['targetGroupName']}/TRACKED_CLUSTER/{cluster}", {
            **inputs,
            "type": "TRACKED_CLUSTER",
            "rdsResourceId": cluster,
            "trackedClusterId": cluster,
            "endpoint": storage.writer_endpoint,
            "port": storage.port,
        }

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        proxy = Proxy(stack, str(state["dbProxyName"]))
        return state if proxy.settings.get("cluster") == state["dbClusterIdentifier"] else None

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        return {**old, **new_inputs}  # every property replaces

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        proxy = Proxy(stack, str(state["dbProxyName"]))
        if proxy.exists():
            proxy.set(cluster="")


def _known(stack: LocalStack, name: str) -> Proxy:
    proxy = Proxy(stack, name)
    if not proxy.exists():
        raise HandlerError(f"DBProxyNotFoundFault: this stack has no proxy {name!r}")
    return proxy


class Proxy:
    """One pgbouncer: folder, configuration, process. `settings` are kept in `proxy.json`."""

    def __init__(self, stack: LocalStack, name: str) -> None:
        self.stack = stack
        self.name = name
        self.home = stack.home / "data" / "proxy" / name
        self.process: Process = stack.process(f"proxy-{name}")
        self._file = self.home / "proxy.json"
        self.settings: Properties = json.loads(self._file.read_text()) if self._file.exists() else {}

    def exists(self) -> bool:
        return bool(self.settings)

    @property
    def address(self) -> str:
        return self.stack.address(f"proxy-{self.name}")

    def set(self, **settings: object) -> None:
        """Changes settings, and starts the proxy anew with them if it has a target."""
        self.settings |= settings
        write_atomically(self._file, json.dumps(self.settings, indent=1), mode=0o600)
        self.process.stop(5, signal.SIGTERM)
        if self.settings.get("cluster"):
            self._start(Storage(self.stack, self.settings["cluster"]))

    def remove(self) -> None:
        self.process.remove(5)
        shutil.rmtree(self.home, ignore_errors=True)
        self.settings = {}

    def _start(self, storage: Storage) -> None:
        write_atomically(self.home / "users.txt", self._users(), mode=0o600)
        write_atomically(self.home / "pgbouncer.ini", self._configuration(storage), mode=0o600)
        cloud.certificate(self.home, self.address)
        user = unprivileged("postgres")
        if user:
            for file in (self.home, *self.home.iterdir()):
                if file.name != "proxy.json":
                    shutil.chown(file, user.pw_uid, user.pw_gid)
        part = parts.require("pgbouncer")
        self.process.start(
            [*part.command["pgbouncer"], str(self.home / "pgbouncer.ini")],
            user=user,
            reaches=[self.home / "pgbouncer.ini", part.home / "root"],
            ready=lambda: cloud.accepts(self.address, PORT),
            timeout=30,
        )

    def _users(self) -> str:
        """The accounts of the secrets that the proxy may read."""
        inputs = self.settings["inputs"]
        region, lines = cloud.region(self.stack, inputs), []
        for auth in inputs.get("auths") or ():
            account = json.loads(cloud.secret_text(self.stack, auth["secretArn"], region))
            lines.append(f"{_quoted(account['username'])} {_quoted(account['password'])}\n")
        return "".join(lines)

    def _configuration(self, storage: Storage) -> str:
        inputs, pool = self.settings["inputs"], {**_POOL, **self.settings.get("pool", {})}
        share = max(1, _max_connections(storage) * int(pool["maxConnectionsPercent"]) // 100)
        first = str(pool.get("initQuery") or "").replace("'", "''")
        target = f"host={storage.writer_endpoint} port={storage.port}" + (f" connect_query='{first}'" if first else "")
        values = {
            "listen_addr": self.address,
            "listen_port": PORT,
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": self.home / "users.txt",
            "pool_mode": "session",
            "server_reset_query": FRESH + str(pool.get("initQuery") or ""),
            "max_client_conn": 2000,
            "default_pool_size": share,
            "max_db_connections": share,
            "query_wait_timeout": pool["connectionBorrowTimeout"],
            "client_idle_timeout": inputs.get("idleClientTimeout") or 1800,
            "client_tls_sslmode": "require" if inputs.get("requireTls") else "allow",
            "client_tls_cert_file": self.home / "server.crt",
            "client_tls_key_file": self.home / "server.key",
            "client_tls_protocols": "secure",
            "server_tls_sslmode": "require",
            "ignore_startup_parameters": PASSED_OVER,
            "log_connections": 0,
            "log_disconnections": 0,
        }
        lines = [f"{name} = {value}\n" for name, value in values.items()]
        return f"[databases]\n* = {target}\n[pgbouncer]\n{''.join(lines)}"


def _max_connections(storage: Storage) -> int:
    """What the writer allows now."""
    writer = next(iter(storage.instances()), None)
    if writer is None or not writer.process.running():
        raise HandlerError(f"the proxy's target {storage.identifier} has no writer: let it depend on the instances")
    try:
        with writer.admin() as connection:
            row = connection.execute("SHOW max_connections").fetchone()
    except psycopg.OperationalError as e:
        raise HandlerError(f"the proxy cannot reach {storage.identifier}: {e}") from e
    return int(row[0]) if row else 0


def _quoted(text: str) -> str:
    return '"' + str(text).replace('"', '""') + '"'
