"""`aws:ecs/service:Service`: the commands of the task definition's containers, as processes of this machine.

Each task gets what the container would get: environment, secrets resolved, and where to listen. `ZDM_BIND` is the
address of the service's load balancer with the container's port; several tasks share it (SO_REUSEPORT). Images, users,
file systems and CPU limits of the container have no meaning here: the command runs in the project with its Python.
Containers of one task reach each other as `localhost` on AWS; here the task has an address, which takes that word's
place before their ports. `ZDM_TASK_DIR` is where a container may write that mounts a volume; of an image that is one of
the machine's parts (`PARTS`), the part's programs are on PATH and its options in the environment.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from local import parts
from local.dataplane import cloud
from local.dataplane.cloud import Properties
from local.environment import environment, target_address
from local.processes import Process, ProcessError
from local.provider.handler import Handler, HandlerError
from local.stack import PROJECT, LocalStack

SERVICE = "aws:ecs/service:Service"
TASK_DEFINITION = "aws:ecs/taskDefinition:TaskDefinition"
START_SECONDS = 60.0
STOP_SECONDS = 30.0
"""As long as ECS waits between SIGTERM and SIGKILL."""
PARTS = {"prometheus": "prometheus", "zdm-router": "nginx"}
"""Parts that stand for an image, by the last word of its name."""
MOST_TASKS = max(2, os.cpu_count() or 1)
"""Of one service; further ones would only take each other's processor."""


class Service(Handler):
    """Handler of an ECS service."""

    def create(self, stack: LocalStack, urn_name: str, inputs: Properties) -> tuple[str, Properties]:
        cluster = str(inputs.get("cluster") or "default").rpartition("/")[2]
        arn = cloud.arn("ecs", cloud.region(stack, inputs), f"service/{cluster}/{inputs['name']}")
        if stack.records.get(SERVICE, arn):
            raise HandlerError(f"InvalidParameterException: this stack has a service {inputs['name']!r}")
        tasks = Tasks(stack, inputs["name"])
        tasks.stop(tasks.all())  # what a crash left of an earlier try
        try:
            tasks.run(inputs, _count(inputs))
        except BaseException:
            tasks.stop(tasks.all())
            raise
        return arn, {**inputs, "arn": arn, "cluster": inputs.get("cluster") or "default", "status": "ACTIVE"}

    def read(self, stack: LocalStack, id: str, state: Properties) -> Properties | None:
        tasks = Tasks(stack, state["name"])
        alive = sum(1 for task in tasks.all() if tasks.running(task))
        return {**state, "status": "ACTIVE" if alive == _count(state) else f"{alive} of {_count(state)} tasks run"}

    def needs_repair(self, state: Properties) -> list[str]:
        return [] if state.get("status") in (None, "ACTIVE") else ["status"]

    def update(self, stack: LocalStack, id: str, old: Properties, new_inputs: Properties) -> Properties:
        tasks = Tasks(stack, old["name"])
        wanted = _count(new_inputs)
        dead = [task for task in tasks.all() if not tasks.running(task)]
        tasks.stop(dead)
        before = tasks.all()
        same = all(old.get(name) == new_inputs.get(name) for name in ("taskDefinition", "loadBalancers"))
        if same and not new_inputs.get("forceNewDeployment"):
            tasks.run(new_inputs, wanted - len(before))
            tasks.stop(before[wanted:])
        else:
            most = new_inputs.get("deploymentMaximumPercent")
            if most is not None and int(most) <= 100:
                tasks.stop(before)  # never more than are wanted
                before = []
            tasks.run(new_inputs, wanted)  # the new tasks listen before the old ones go
            tasks.stop(before)
        return {**old, **new_inputs, "cluster": old["cluster"], "status": "ACTIVE"}

    def delete(self, stack: LocalStack, id: str, state: Properties) -> None:
        tasks = Tasks(stack, state["name"])
        tasks.stop(tasks.all())
        shutil.rmtree(tasks.folder, ignore_errors=True)


class Tasks:
    """The tasks of a service: processes `ecs-<service>.<number>` of the first container, numbers never used twice at a
    time, and `ecs-<service>.<number>.<container>` of the others."""

    def __init__(self, stack: LocalStack, service: str) -> None:
        self.stack = stack
        self.service = service

    def all(self) -> list[Process]:
        """The first process of every task that was started and not removed, oldest first, dead ones too."""
        prefix = f"ecs-{self.service}."
        found = [p.name for p in (self.stack.home / "run").glob(f"{prefix}*") if p.name.removeprefix(prefix).isdigit()]
        return [self.stack.process(name) for name in sorted(found, key=lambda name: int(name.removeprefix(prefix)))]

    def run(self, inputs: Properties, count: int) -> None:
        """Starts `count` more tasks and waits until each listens. If one does not, the new ones are taken back."""
        if count <= 0:
            return
        definition, containers = _containers(self.stack, inputs)
        places = {c["name"]: self._bind(inputs, c) for c in containers}
        there = self.all()
        first = int(there[-1].name.rpartition(".")[2]) + 1 if there else 1
        started: list[Process] = []
        try:
            for number in range(first, first + count):
                for i, container in enumerate(containers):
                    address, port = places[container["name"]]
                    suffix = f".{container['name']}" if i else ""
                    process = self.stack.process(f"ecs-{self.service}.{number}{suffix}")
                    started += [] if i else [process]
                    env = {**self._environment(inputs, container), "ZDM_BIND": f"{address}:{port}"}
                    argv = _argv(container, definition)
                    if len(containers) > 1:
                        env = {name: _at_home(value, places) for name, value in env.items()}
                        argv = [_at_home(word, places) for word in argv]
                    process.start(
                        argv,
                        env=env,
                        cwd=Path(container.get("workingDirectory") or PROJECT),
                        timeout=START_SECONDS,
                        ready=lambda process=process, port=port: _listens(process.pid, port),  # type: ignore[misc]
                    )
        except ProcessError as e:
            self.stop(started)
            raise HandlerError(f"the ECS service {self.service}: {e}") from e

    def running(self, task: Process) -> bool:
        """Whether all of a task's containers run."""
        return all(process.running() for process in self._whole(task))

    def stop(self, tasks: list[Process]) -> None:
        for task in tasks:
            for process in reversed(self._whole(task)):
                process.stop(STOP_SECONDS, _stop_signal(process))
                process.remove()

    @property
    def folder(self) -> Path:
        """Where containers write that mount a volume."""
        return self.stack.home / "data" / "ecs" / self.service

    def _whole(self, task: Process) -> list[Process]:
        return [task, *(self.stack.process(p.name) for p in sorted(task.home.parent.glob(f"{task.name}.*")))]

    def _bind(self, inputs: Properties, container: Properties) -> tuple[str, int]:
        """Where the container's port is: at the service's load balancer, or at an address of its own."""
        for balancer in inputs.get("loadBalancers") or ():
            group = balancer.get("targetGroupArn")
            if group and balancer["containerName"] == container["name"]:
                return _load_balancer(self.stack, group), int(balancer["containerPort"])
        ports = [int(mapping["containerPort"]) for mapping in container.get("portMappings") or ()]
        if not ports:
            raise HandlerError(f"the ECS service {self.service}: its container has no port mapping")
        return self.stack.address(f"ecs-{self.service}"), ports[0]

    def _environment(self, inputs: Properties, container: Properties) -> dict[str, str]:
        region = cloud.region(self.stack, inputs)
        base = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        given = {variable["name"]: str(variable["value"]) for variable in container.get("environment") or ()}
        secret = {s["name"]: _secret(self.stack, s["valueFrom"], region) for s in container.get("secrets") or ()}
        cloud_of_stack = environment(self.stack.name)
        own: dict[str, str] = {}
        if container.get("mountPoints"):
            own["ZDM_TASK_DIR"] = str(self.folder / container["name"])
            Path(own["ZDM_TASK_DIR"]).mkdir(parents=True, exist_ok=True)
        image = re.split(r"[:@]", str(container.get("image") or "").rpartition("/")[2])[0]
        if image in PARTS:
            part = parts.require(PARTS[image])
            own |= {f"{part.name}_{name}".upper(): value for name, value in part.options.items()}
            own["PATH"] = f"{part.home}{os.pathsep}{base.get('PATH', os.defpath)}"
        return {**base, "PYTHONUNBUFFERED": "1", **cloud_of_stack, **given, **secret, **own}


def _count(inputs: Properties) -> int:
    """How many tasks run here: those wanted, but no more than there are processors to run them."""
    return min(int(inputs.get("desiredCount") or 0), MOST_TASKS)


def _at_home(text: str, places: Mapping[str, tuple[str, int]]) -> str:
    """The text with `localhost` replaced, where one of the task's own ports follows."""
    for address, port in places.values():
        text = re.sub(rf"\blocalhost:{port}\b", f"{address}:{port}", text)
    return text


def _containers(stack: LocalStack, inputs: Properties) -> tuple[Properties, list[Properties]]:
    """The task definition of a service and its essential containers."""
    wanted = str(inputs.get("taskDefinition") or "")
    records = [
        r
        for r in stack.records.all(TASK_DEFINITION)
        if wanted in (r.outputs.get("arn"), r.outputs.get("arnWithoutRevision"), r.outputs.get("family"))
        or wanted == f"{r.outputs.get('family')}:{r.outputs.get('revision')}"
    ]
    if not records:
        raise HandlerError(f"the ECS service {inputs['name']}: this stack has no task definition {wanted!r}")
    definition = max(records, key=lambda r: int(r.outputs.get("revision") or 0)).outputs
    containers = json.loads(definition["containerDefinitions"])
    essential = [c for c in containers if c.get("essential", True)]
    if not essential:
        raise HandlerError(f"the task definition {definition['family']} has no essential container")
    return definition, essential


def _argv(container: Properties, definition: Properties) -> list[str]:
    """The container's command. `python` is the project's own."""
    argv = [*(container.get("entryPoint") or ()), *(container.get("command") or ())]
    if not argv:
        raise HandlerError(
            f"the container {container['name']} of {definition['family']} names no command, and images do not run "
            "here: give the container definition a command"
        )
    if re.fullmatch(r"(?:.*/)?python3?", argv[0]):
        own = PROJECT / ".venv" / "bin" / "python"
        argv[0] = str(own) if own.exists() else sys.executable
    return argv


def _secret(stack: LocalStack, reference: str, region: str) -> str:
    """The value of `arn:aws:secretsmanager:<region>:<account>:secret:<name>[:<json key>:<stage>:<version>]`."""
    fields = reference.split(":")
    if len(fields) < 7 or fields[2] != "secretsmanager":
        raise HandlerError(f"the container's secret {reference!r} is not the ARN of a secret in Secrets Manager")
    text = cloud.secret_text(stack, ":".join(fields[:7]), region)
    key = fields[7] if len(fields) > 7 else ""
    if not key:
        return text
    try:
        return str(json.loads(text)[key])
    except (ValueError, KeyError, TypeError) as e:
        raise HandlerError(f"the secret {':'.join(fields[:7])} is not JSON with the key {key!r}") from e


def _load_balancer(stack: LocalStack, target_group: str) -> str:
    """The address of the targets of a group, which a load balancer must forward to."""
    address = target_address(stack, target_group)
    if address is None:
        raise HandlerError(
            f"InvalidParameterException: the target group {target_group} does not have an associated load balancer: "
            "let the service depend on the listener"
        )
    return address


def _stop_signal(process: Process) -> signal.Signals:
    """What an image calls its stop signal: nginx's says that requests under way are finished."""
    try:
        words = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return signal.SIGTERM
    return signal.SIGQUIT if b"nginx" in words else signal.SIGTERM


def _listens(pid: int | None, port: int) -> bool:
    """Whether this very process has a listening socket on the port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {f"socket:[{f[9]}]" for f in lines if f[3] == "0A" and int(f[1].rpartition(":")[2], 16) == port}
    try:
        held = {os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()}
    except OSError:
        return False
    return bool(listening & held)
