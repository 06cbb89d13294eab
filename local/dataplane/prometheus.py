"""`aws:amp/*`: a workspace of managed Prometheus is a real Prometheus server of this machine.

It takes samples by remote write, evaluates the workspace's rules and answers queries, behind a process that gives it
the managed service's paths. Signatures are not checked. The alert manager's definition is checked by the real one's
tool and kept: alerts fire here (the series `ALERTS` shows them), but nobody is told.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import yaml

from local import parts
from local.dataplane import cloud
from local.dataplane.cloud import Properties
from local.processes import Process, ProcessError, write_atomically
from local.provider.handler import Handler, HandlerError
from local.stack import PROJECT, LocalStack

PORT, SERVER_PORT = 9090, 9091
START_SECONDS = 60.0
STOP_SECONDS = 20.0
RETENTION = "2d"
"""The managed service keeps samples for 150 days; here a rehearsal's worth is enough."""


class Server:
    """The server of one workspace."""

    def __init__(self, stack: LocalStack, id: str) -> None:
        self.stack, self.id = stack, id
        self.home = stack.home / "data" / "prometheus" / id
        self.rules = self.home / "rules"
        self.alert_manager = self.home / "alertmanager.yml"

    @property
    def process(self) -> Process:
        return self.stack.process(f"prometheus-{self.id}")

    @property
    def front(self) -> Process:
        return self.stack.process(f"prometheus-{self.id}.front")

    @property
    def address(self) -> str:
        return self.stack.address(f"prometheus-{self.id}")

    @property
    def endpoint(self) -> str:
        return f"http://{self.address}:{PORT}/workspaces/{self.id}/"

    @property
    def running(self) -> bool:
        return self.process.running() and self.front.running()

    def start(self) -> None:
        """Starts what does not run. Raises `HandlerError`."""
        self.rules.mkdir(parents=True, exist_ok=True)
        config = {"global": {"evaluation_interval": "15s"}, "rule_files": [str(self.rules / "*.yml")]}
        write_atomically(self.home / "prometheus.yml", yaml.safe_dump(config, sort_keys=False))
        try:
            self.process.start(
                [
                    *parts.require("prometheus").command["prometheus"],
                    f"--config.file={self.home / 'prometheus.yml'}",
                    f"--storage.tsdb.path={self.home / 'samples'}",
                    f"--storage.tsdb.retention.time={RETENTION}",
                    f"--web.listen-address={self.address}:{SERVER_PORT}",
                    f"--web.external-url={self.endpoint}",
                    "--web.enable-remote-write-receiver",
                    "--web.enable-lifecycle",
                ],
                cwd=self.home,
                ready=lambda: self._ready(SERVER_PORT),
                timeout=START_SECONDS,
            )
            module = "local.dataplane.prometheus_front"
            self.front.start(
                [sys.executable, "-m", module, self.address, str(PORT), f"http://{self.address}:{SERVER_PORT}"],
                cwd=PROJECT,
                ready=lambda: self._ready(PORT),
                timeout=START_SECONDS,
            )
        except ProcessError as e:
            raise HandlerError(f"the Prometheus workspace {self.id}: {e}") from e

    def reload(self) -> None:
        """Makes a running server read its rules again."""
        if not self.running:
            return
        request = urllib.request.Request(f"{self.endpoint}-/reload", method="POST")
        try:
            urllib.request.urlopen(request, timeout=30).close()
        except urllib.error.URLError as e:
            raise HandlerError(f"the Prometheus workspace {self.id} does not take its rules: {e}") from e

    def remove(self) -> None:
        self.front.remove(STOP_SECONDS)
        self.process.remove(STOP_SECONDS)
        shutil.rmtree(self.home, ignore_errors=True)

    def _ready(self, port: int) -> bool:
        with contextlib.suppress(OSError):
            url = f"http://{self.address}:{port}/workspaces/{self.id}/-/ready"
            with urllib.request.urlopen(url, timeout=2) as answer:
                return bool(answer.status == 200)
        return False


class Workspace(Handler):
    """Handler of a workspace."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        server = Server(stack, f"ws-{uuid.uuid4()}")
        try:
            server.start()
        except BaseException:
            server.remove()
            raise
        arn = cloud.arn("aps", cloud.region(stack, inputs), f"workspace/{server.id}")
        return server.id, {**inputs, "arn": arn, "prometheusEndpoint": server.endpoint, "status": "ACTIVE"}

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        server = Server(stack, id)
        if not server.home.exists():
            return None
        return {**state, "status": "ACTIVE" if server.running else "the server does not run"}

    def needs_repair(self, state: Properties) -> list[str]:
        return [] if state.get("status") in (None, "ACTIVE") else ["status"]

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        Server(stack, id).start()
        kept = {name: value for name, value in old.items() if name in ("arn", "prometheusEndpoint", "region")}
        return {**kept, **new_inputs, "status": "ACTIVE"}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        Server(stack, id).remove()


class RuleGroupNamespace(Handler):
    """Handler of a namespace of rules: a rule file of the workspace's server."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        server, file = _rule_file(stack, inputs)
        if file.exists():
            raise HandlerError(f"ConflictException: the workspace has a namespace {inputs['name']!r}")
        _put(server, file, str(inputs["data"]))
        resource = f"rulegroupsnamespace/{inputs['workspaceId']}/{inputs['name']}"
        arn = cloud.arn("aps", cloud.region(stack, inputs), resource)
        return arn, {**inputs, "arn": arn}

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        _, file = _rule_file(stack, state)
        return {**state, "data": file.read_text()} if file.exists() else None

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        server, file = _rule_file(stack, new_inputs)
        _put(server, file, str(new_inputs["data"]))
        return {**{name: old[name] for name in ("arn", "region") if name in old}, **new_inputs}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        server, file = _rule_file(stack, state)
        file.unlink(missing_ok=True)
        server.reload()


class AlertManagerDefinition(Handler):
    """Handler of the alert manager's definition: checked and kept."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        server = Server(stack, inputs["workspaceId"])
        if server.alert_manager.exists():
            raise HandlerError(f"ConflictException: the workspace {server.id} has an alert manager definition")
        _put_definition(server, str(inputs["definition"]))
        return server.id, dict(inputs)

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        file = Server(stack, id).alert_manager
        return {**state, "definition": file.read_text()} if file.exists() else None

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        _put_definition(Server(stack, id), str(new_inputs["definition"]))
        return {**{name: old[name] for name in ("region",) if name in old}, **new_inputs}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        Server(stack, id).alert_manager.unlink(missing_ok=True)


def _rule_file(stack: LocalStack, inputs: Properties) -> tuple[Server, Path]:
    server = Server(stack, inputs["workspaceId"])
    return server, server.rules / f"{inputs['name']}.yml"


def _put(server: Server, file: Path, text: str) -> None:
    """Checks the rules as the managed service does, and makes them the server's."""
    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / file.name
        tried.write_text(text)
        _check("promtool", "ValidationException: the rules do not fit", "check", "rules", str(tried))
    write_atomically(file, text)
    server.reload()


def _put_definition(server: Server, text: str) -> None:
    try:
        document: Any = yaml.safe_load(text)
        inner = document["alertmanager_config"]
    except (yaml.YAMLError, KeyError, TypeError) as e:
        raise HandlerError(f"ValidationException: the definition has no alertmanager_config: {e}") from e
    with tempfile.TemporaryDirectory() as folder:
        tried = Path(folder) / "alertmanager.yml"
        tried.write_text(str(inner))
        _check("amtool", "ValidationException: the alert manager's definition does not fit", "check-config", str(tried))
    write_atomically(server.alert_manager, text)


def _check(tool: str, what: str, *arguments: str) -> None:
    argv = [*parts.require("prometheus").command[tool], *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        raise HandlerError(f"{what}: {(done.stderr or done.stdout).strip()}")
