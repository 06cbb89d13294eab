"""`aws:mskconnect/*`: every connector has a Kafka Connect worker of its own, with the unpacked plugin and its settings.

Where it differs from MSK Connect: one worker whatever the capacity says; the workers' and connectors' settings for IAM
and TLS to Kafka are dropped; the Secrets Manager config provider is Kafka's file provider over the secrets that the
configuration names, written for the worker alone, so that `${secretsmanager:<name>:<key>}` works unchanged. Plugins are
found by their service manifests, as Kafka's own recommendation is (MSK Connect also scans classes).

As with MSK Connect, a connector that is made again starts with new internal topics; what must survive is named by the
program: the worker configuration's `offset.storage.topic`, and a sink's consumer group `connect-<name>`.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
import re
import shutil
import tempfile
import time
import uuid
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from botocore.exceptions import ClientError
from psycopg import sql

from local.dataplane import cloud, java
from local.dataplane.cloud import Properties
from local.dataplane.postgres import Storage
from local.processes import Process, write_atomically
from local.provider.handler import Handler, HandlerError
from local.stack import LocalStack

PORT = 8083
YIELDING = ("nice", "-n", "5")
"""Connect has machines of its own on AWS; here it shares them with the databases and origins, which go first."""
HEAP_MIB = 384
START_SECONDS = 90.0
PROVIDER_CLASS = "SecretsManagerConfigProvider"
CONNECTOR = "aws:mskconnect/connector:Connector"

_CLIENT = r"(?:(?:producer|consumer|admin)\.(?:override\.)?|schema\.history\.internal\.(?:producer|consumer)\.)?"
_LOGIN = re.compile(_CLIENT + r"(?:sasl\..*|security\.protocol|ssl\.(?:truststore|keystore|key|endpoint)\..*)")
_REFUSED = re.compile(
    r"(?:access\.control|admin|client|connect|inter\.worker|internal|listeners\.https|metadata|metrics|rest|sasl"
    r"|security|socket|ssl|topic\.tracking|worker)\..*"
    r"|bootstrap\.servers|config\.storage\.topic|connections\.max\.idle\.ms|group\.id|listeners|plugin\.path|receive\.buffer\.bytes|response\.http\.headers\.config|scheduled\.rebalance\.max\.delay\.ms"
    r"|send\.buffer\.bytes|status\.storage\.topic"
)
"""Worker settings that MSK Connect does not take (from its developer guide)."""


class CustomPlugin(Handler):
    """Handler of a custom plugin: the ZIP (or JAR) from S3, unpacked."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        region, name = cloud.region(stack, inputs), inputs["name"]
        arn = cloud.arn("kafkaconnect", region, f"custom-plugin/{name}/{uuid.uuid4()}-1")
        folder = plugin_folder(stack, arn)
        try:
            self._unpack(stack, region, inputs, folder / re.sub(r"[^A-Za-z0-9._-]", "_", name))
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return arn, {**inputs, "arn": arn, "latestRevision": 1, "state": "ACTIVE"}

    @staticmethod
    def _unpack(stack: LocalStack, region: str, inputs: Properties, folder: Path) -> None:
        where = inputs["location"]["s3"]
        bucket, key = str(where["bucketArn"]).rpartition(":")[2], where["fileKey"]
        what = f"the custom plugin {inputs['name']}: s3://{bucket}/{key}"
        version = {"VersionId": where["objectVersion"]} if where.get("objectVersion") else {}
        folder.mkdir(parents=True)
        with tempfile.NamedTemporaryFile(dir=folder.parent) as file:
            try:
                body = cloud.aws(stack, "s3", region).get_object(Bucket=bucket, Key=key, **version)["Body"]
                shutil.copyfileobj(body, file)
                file.flush()
            except ClientError as e:
                raise HandlerError(f"{what} cannot be read: {e}") from e
            if inputs["contentType"] == "JAR":
                shutil.copyfile(file.name, folder / Path(key).name)
                return
            try:
                with zipfile.ZipFile(file.name) as archive:
                    if not any(name.endswith(".jar") for name in archive.namelist()):
                        raise HandlerError(f"{what} holds no JAR")
                    archive.extractall(folder)  # checks every file's CRC, and keeps to the folder
            except zipfile.BadZipFile as e:
                raise HandlerError(f"{what} is no sound ZIP: {e}") from e

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        return state if plugin_folder(stack, id).is_dir() else None

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        return {**old, **new_inputs}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        shutil.rmtree(plugin_folder(stack, id), ignore_errors=True)


class WorkerConfiguration(Handler):
    """Handler of a worker configuration."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        text = _decoded(inputs["propertiesFileContent"])
        values = java.parse_properties(text)
        refused = sorted(name for name in values if _REFUSED.fullmatch(name))
        missing = [name for name in ("key.converter", "value.converter") if name not in values]
        if refused or missing:
            said = [f"may not set {', '.join(refused)}"] if refused else []
            said += [f"must set {', '.join(missing)}"] if missing else []
            raise HandlerError(f"BadRequestException: the worker configuration {inputs['name']} {'; '.join(said)}")
        region = cloud.region(stack, inputs)
        arn = cloud.arn("kafkaconnect", region, f"worker-configuration/{inputs['name']}/{uuid.uuid4()}-1")
        write_atomically(_worker_file(stack, arn), text)
        return arn, {**inputs, "propertiesFileContent": text, "arn": arn, "latestRevision": 1}

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        return state if _worker_file(stack, id).exists() else None

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        return {**old, **new_inputs, "propertiesFileContent": old["propertiesFileContent"]}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        _worker_file(stack, id).unlink(missing_ok=True)


class Connector(Handler):
    """Handler of a connector."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        name = inputs["name"]
        if stack.records.find(CONNECTOR, name=name):
            raise HandlerError(f"ConflictException: this stack has a connector {name!r}")
        known = f"{uuid.uuid4()}-1"
        worker = Worker(stack, name)
        worker.remove()  # what a crash left of an earlier try
        try:
            worker.make(inputs, known)
            worker.start()
            worker.configure(inputs)
        except BaseException:
            worker.remove()
            raise
        arn = cloud.arn("kafkaconnect", cloud.region(stack, inputs), f"connector/{name}/{known}")
        return arn, {**inputs, "arn": arn, "version": _token(), "status": "RUNNING"}

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        worker = Worker(stack, state["name"])
        return {**state, "status": worker.status()} if worker.exists() else None

    def needs_repair(self, state: Properties) -> list[str]:
        return [] if state.get("status") in (None, "RUNNING") else ["status"]

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        worker = Worker(stack, old["name"])
        if worker.write(new_inputs):
            worker.stop()
        worker.start()
        worker.configure(new_inputs)
        return {**old, **new_inputs, "version": _token(), "status": "RUNNING"}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        Worker(stack, state["name"]).remove()


class Worker:
    """The worker of one connector: folder, settings, process, REST interface."""

    def __init__(self, stack: LocalStack, name: str) -> None:
        self.stack = stack
        self.name = name
        self.home = stack.home / "data" / "connect" / name
        self.secrets = self.home / "secrets"
        self.process: Process = stack.process(f"connect-{name}")
        self._file = self.home / "connector.json"

    def exists(self) -> bool:
        return self._file.exists()

    @property
    def url(self) -> str:
        return f"http://{self.stack.address(f'connect-{self.name}')}:{PORT}"

    def make(self, inputs: Properties, known: str) -> None:
        self.secrets.mkdir(parents=True, mode=0o700)
        write_atomically(self._file, json.dumps({"id": known}))
        self.write(inputs)

    def write(self, inputs: Properties) -> bool:
        """Writes the worker's settings and the secrets; returns whether the worker's settings changed."""
        address, known = self.stack.address(f"connect-{self.name}"), json.loads(self._file.read_text())["id"]
        internal = f"{self.name}_{known}"
        values: dict[str, object] = {
            "offset.storage.topic": f"__amazon_msk_connect_offsets_{internal}",
            "offset.storage.partitions": 1,
            "connector.client.config.override.policy": "All",
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 2000,
            **_of_worker(self._worker_configuration(inputs)),
            "bootstrap.servers": inputs["kafkaCluster"]["apacheKafkaCluster"]["bootstrapServers"],
            "group.id": internal,
            "config.storage.topic": f"__amazon_msk_connect_configs_{internal}",
            "status.storage.topic": f"__amazon_msk_connect_status_{internal}",
            "status.storage.partitions": 1,
            "config.storage.replication.factor": 1,
            "offset.storage.replication.factor": 1,
            "status.storage.replication.factor": 1,
            "scheduled.rebalance.max.delay.ms": 0,
            "listeners": f"http://{address}:{PORT}",
            "rest.advertised.host.name": address,
            "rest.advertised.port": PORT,
            "plugin.path": ",".join(str(folder) for folder in self._plugins(inputs)),
            "plugin.discovery": "service_load",
        }
        self._write_secrets(inputs)
        text, file = java.properties(values), self.home / "worker.properties"
        changed = not file.exists() or file.read_text() != text
        write_atomically(file, text)
        return changed

    def _plugins(self, inputs: Properties) -> list[Path]:
        folders = [plugin_folder(self.stack, plugin["customPlugin"]["arn"]) for plugin in inputs["plugins"]]
        for folder in folders:
            if not folder.is_dir():
                raise HandlerError(f"the connector {self.name}: this stack has no custom plugin {folder.name}")
        return folders

    def _worker_configuration(self, inputs: Properties) -> dict[str, str]:
        given = inputs.get("workerConfiguration")
        if not given:
            converter = "org.apache.kafka.connect.json.JsonConverter"
            return {"key.converter": converter, "value.converter": converter}
        file = _worker_file(self.stack, given["arn"])
        if not file.exists():
            raise HandlerError(f"the connector {self.name}: this stack has no worker configuration {given['arn']}")
        return java.parse_properties(file.read_text())

    def _write_secrets(self, inputs: Properties) -> None:
        """One file for every secret that the connector's configuration names, as the config provider will ask for it.

        The folder itself stays: it is the worker's working folder.
        """
        providers = [
            name.split(".")[2]
            for name, value in self._worker_configuration(inputs).items()
            if re.fullmatch(r"config\.providers\.[^.]+\.class", name) and value.endswith(PROVIDER_CLASS)
        ]
        text, region = "\n".join(inputs["connectorConfiguration"].values()), cloud.region(self.stack, inputs)
        wanted = set()
        for provider in providers:
            for name in set(re.findall(r"\$\{" + re.escape(provider) + r":([^:}]+):[^}]+\}", text)):
                file = (self.secrets / name).resolve()
                if self.secrets.resolve() not in file.parents:
                    raise HandlerError(f"the connector {self.name}: {name!r} is no name of a secret")
                content = json.loads(cloud.secret_text(self.stack, name, region))
                write_atomically(file, java.properties(content), mode=0o600)
                wanted.add(file)
        for file in self.secrets.resolve().rglob("*"):
            if file.is_file() and file not in wanted:
                file.unlink()

    def start(self) -> None:
        self.process.start(
            [
                *YIELDING,
                *java.command(
                    self.home,
                    "org.apache.kafka.connect.cli.ConnectDistributed",
                    str(self.home / "worker.properties"),
                    heap=HEAP_MIB,
                ),
            ],
            cwd=self.secrets,
            ready=lambda: self._get("/connectors") is not None,
            timeout=START_SECONDS,
        )

    def configure(self, inputs: Properties) -> None:
        """Gives the connector its configuration, and waits until it and its tasks run.

        Raises HandlerError with what Connect says about the configuration, or why a task failed.
        """
        wanted = local_settings(inputs["connectorConfiguration"])
        let_members_replicate(self.stack, wanted)
        deadline = time.monotonic() + START_SECONDS
        if self._get(f"/connectors/{self.name}/config") == {**wanted, "name": self.name}:
            self._ask(deadline, "POST", f"/connectors/{self.name}/restart?includeTasks=true&onlyFailed=true")
        else:
            self._ask(deadline, "PUT", f"/connectors/{self.name}/config", wanted)
        limit = f"{START_SECONDS:.0f} s"
        while (status := self._get(f"/connectors/{self.name}/status")) is None or not _runs(status):
            for part in [status["connector"], *status["tasks"]] if status else ():
                if part["state"] == "FAILED":
                    reason = _reason(part.get("trace", "")) + self._cause()
                    raise HandlerError(f"the connector {self.name} failed: {reason}; see {self.process.log}")
            if not self.process.running():
                raise HandlerError(f"the worker of the connector {self.name} ended:\n{self.process.tail(10)}")
            if time.monotonic() > deadline:
                raise HandlerError(
                    f"the connector {self.name} does not run after {limit}: {status}; see {self.process.log}"
                )
            time.sleep(0.1)

    def _cause(self) -> str:
        """What the log says about a database that did not let the connector in, when the trace hides it."""
        found = re.findall(
            r"FATAL: [^\n]*|Access denied for [^\n]*|Connection to [^\n]* refused|UnknownHostException: [^\n]*",
            self.process.tail(400),
        )
        return f"; {found[-1]}" if found else ""

    def status(self) -> str:
        """RUNNING, FAILED (the connector or a task of it), STARTING, or STOPPED (there is no worker)."""
        if not self.process.running():
            return "STOPPED"
        status = self._get(f"/connectors/{self.name}/status")
        if status is None or any(part["state"] == "FAILED" for part in [status["connector"], *status["tasks"]]):
            return "FAILED"
        return "RUNNING" if _runs(status) else "STARTING"

    def stop(self) -> None:
        self.process.stop(20)

    def remove(self) -> None:
        """Deletes the connector (its sink's consumers leave their group at once) and stops the worker."""
        if self.process.running():
            with contextlib.suppress(httpx.HTTPError):  # the worker is on its way out, or its broker is gone
                httpx.delete(f"{self.url}/connectors/{self.name}", timeout=10)
        self.stop()
        self.process.remove()
        shutil.rmtree(self.home, ignore_errors=True)

    def _get(self, path: str) -> Any:
        """The answer, or None while there is none."""
        try:
            answer = httpx.get(self.url + path, timeout=5)
        except httpx.HTTPError:
            return None
        return answer.json() if answer.status_code == 200 else None

    def _ask(self, deadline: float, method: str, path: str, body: object = None) -> None:
        """Sends a change; Connect refuses with 409 while it rebalances, and at first with other answers."""
        while True:
            try:
                answer = httpx.request(method, self.url + path, json=body, timeout=60)
            except httpx.HTTPError as e:
                raise HandlerError(f"the connector {self.name}: its worker does not answer: {e}") from e
            if answer.is_success:
                return
            if answer.status_code not in (409, 503) or time.monotonic() > deadline:
                is_json = "json" in answer.headers.get("content-type", "")
                message = answer.json().get("message", answer.text) if is_json else answer.text
                raise HandlerError(f"the connector {self.name} is refused: {message}")
            time.sleep(0.1)


def plugin_folder(stack: LocalStack, arn: str) -> Path:
    return stack.home / "data" / "connect-plugins" / "_".join(arn.rsplit("/", 2)[1:])


def _worker_file(stack: LocalStack, arn: str) -> Path:
    return stack.home / "data" / "connect-workers" / f"{arn.rpartition('/')[2]}.properties"


def _of_worker(values: Mapping[str, str]) -> dict[str, str]:
    """Worker settings as they are here: no IAM, and files in place of Secrets Manager."""
    made = {name: value for name, value in values.items() if not _LOGIN.fullmatch(name)}
    for name in [n for n, v in made.items() if n.startswith("config.providers.") and v.endswith(PROVIDER_CLASS)]:
        provider = name.removesuffix(".class")
        made = {n: v for n, v in made.items() if not n.startswith(f"{provider}.param.")}
        made[name] = "org.apache.kafka.common.config.provider.FileConfigProvider"
    return made


def local_settings(config: Mapping[str, str]) -> dict[str, str]:
    """A connector's configuration as it is here: the same, without logins to Kafka."""
    return {name: value for name, value in config.items() if not _LOGIN.fullmatch(name)}


def let_members_replicate(stack: LocalStack, config: Mapping[str, str]) -> None:
    """Aurora lets members of `rds_replication` replicate; PostgreSQL wants an attribute that a superuser must give."""
    if not config["connector.class"].endswith(".PostgresConnector"):
        return
    for storage in Storage.all(stack):
        if storage.writer_endpoint == config["database.hostname"]:
            writer = next(instance for instance in storage.instances() if instance.writer)
            with writer.admin() as connection:
                members = connection.execute(
                    "SELECT m.rolname FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member "
                    "JOIN pg_roles r ON r.oid = a.roleid WHERE r.rolname = 'rds_replication' AND m.rolcanlogin"
                ).fetchall()
                for (name,) in members:
                    connection.execute(sql.SQL("ALTER ROLE {} REPLICATION").format(sql.Identifier(name)))


def _decoded(content: str) -> str:
    """The program may give plain or base64 text; the state holds it decoded."""
    if "=" in content.rstrip().rstrip("="):
        return content
    try:
        return base64.b64decode(content, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return content


def _runs(status: Properties) -> bool:
    return (
        status["connector"]["state"] == "RUNNING"
        and bool(status["tasks"])
        and all(task["state"] == "RUNNING" for task in status["tasks"])
    )


def _reason(trace: str) -> str:
    """The exceptions of a Java trace, without their frames."""
    lines = [line.strip() for line in trace.splitlines()]
    return "; ".join([*lines[:1], *(line for line in lines if line.startswith("Caused by:"))][:4])


def _token() -> str:
    return "K" + uuid.uuid4().hex[:13].upper()
