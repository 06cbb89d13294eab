"""An ECS service runs its container's command at the load balancer's address, with secrets; new tasks before old go."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local import parts
from local.dataplane import cloud
from local.dataplane.ecs import Service, Tasks
from local.parts import Part
from local.processes import wait_until
from local.provider.handler import HandlerError
from local.stack import LocalStack

pytestmark = pytest.mark.real

PROGRAM = """
import http.server, json, os, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({**os.environ, "pid": os.getpid()}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()
host, port = os.environ["ZDM_BIND"].rsplit(":", 1)
Server((host, int(port)), Handler).serve_forever()
"""
HANDLER = Service()
GROUP = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/api/1"


class Definitions:
    """Task definitions as the control plane records them."""

    def __init__(self, stack: LocalStack, secret: str) -> None:
        self._stack, self._secret, self._revision = stack, secret, 0

    def put(self, **container: Any) -> str:
        self._revision += 1
        arn = f"arn:aws:ecs:us-east-1:123456789012:task-definition/api:{self._revision}"
        definition = {
            "name": "api",
            "essential": True,
            "command": ["python", "-c", PROGRAM],
            "portMappings": [{"containerPort": 8080}],
            "environment": [{"name": "SIDE", "value": "mysql"}],
            "secrets": [{"name": "DB_USER", "valueFrom": f"{self._secret}:username::"}],
            **container,
        }
        outputs = {
            "arn": arn,
            "family": "api",
            "revision": self._revision,
            "containerDefinitions": json.dumps([definition]),
        }
        self._stack.records.put("aws:ecs/taskDefinition:TaskDefinition", arn, {}, outputs)
        return arn


@pytest.fixture(scope="module")
def definitions(stack: LocalStack) -> Definitions:
    content = json.dumps({"username": "shop_app", "password": "x"})
    made = cloud.aws(stack, "secretsmanager", "us-east-1").create_secret(Name="app", SecretString=content)
    return Definitions(stack, made["ARN"])


@pytest.fixture(scope="module")
def balancer(stack: LocalStack) -> str:
    address = stack.address("load-balancer-api")
    actions = [{"type": "forward", "targetGroupArn": GROUP}]
    stack.records.put("aws:lb/loadBalancer:LoadBalancer", "lb", {}, {"dnsName": address})
    stack.records.put("aws:lb/listener:Listener", "l", {}, {"loadBalancerArn": "lb", "defaultActions": actions})
    return address


@pytest.fixture()
def inputs(definitions: Definitions) -> dict[str, Any]:
    return {
        "name": "api",
        "cluster": "arn:aws:ecs:us-east-1:123456789012:cluster/shop",
        "desiredCount": 2,
        "taskDefinition": definitions.put(),
        "loadBalancers": [{"targetGroupArn": GROUP, "containerName": "api", "containerPort": 8080}],
    }


@pytest.fixture()
def service(stack: LocalStack, inputs: dict[str, Any], balancer: str) -> Iterator[tuple[str, dict[str, Any]]]:
    known, state = HANDLER.create(stack, "api", dict(inputs))
    yield known, state
    HANDLER.delete(stack, known, state)
    assert Tasks(stack, "api").all() == [] and not cloud.accepts(balancer, 8080)
    HANDLER.delete(stack, known, state)


def seen(address: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"http://{address}:8080/", timeout=5).json()
    return answer


def test_tasks_get_what_the_container_would(stack: LocalStack, service: Any, balancer: str) -> None:
    known, state = service
    assert known == "arn:aws:ecs:us-east-1:123456789012:service/shop/api" and state["status"] == "ACTIVE"
    environment = seen(balancer)
    assert environment["SIDE"] == "mysql" and environment["DB_USER"] == "shop_app"
    assert environment["ZDM_BIND"] == f"{balancer}:8080"
    assert environment["AWS_ENDPOINT_URL"].startswith(f"http://{stack.address('aws')}:")
    assert len({task.pid for task in Tasks(stack, "api").all()}) == 2


def test_dead_task_is_seen_and_replaced(stack: LocalStack, service: Any, inputs: dict[str, Any]) -> None:
    known, state = service
    dead, alive = Tasks(stack, "api").all()
    pid, survivor = dead.pid, alive.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not dead.running(), 10, "the task's death")
    now = HANDLER.read(stack, known, state)
    assert now is not None and now["status"] == "1 of 2 tasks run" and HANDLER.needs_repair(now) == ["status"]
    HANDLER.update(stack, known, now, dict(inputs))
    pids = [task.pid for task in Tasks(stack, "api").all()]
    assert len(pids) == 2 and survivor in pids


def test_new_definition_replaces_all_tasks_count_only_some(
    stack: LocalStack, service: Any, inputs: dict[str, Any], definitions: Definitions, balancer: str
) -> None:
    known, state = service
    before = {task.pid for task in Tasks(stack, "api").all()}
    new = {**inputs, "taskDefinition": definitions.put(environment=[{"name": "SIDE", "value": "aurora"}])}
    state = HANDLER.update(stack, known, state, new)
    now = {task.pid for task in Tasks(stack, "api").all()}
    assert len(now) == 2 and not now & before and seen(balancer)["SIDE"] == "aurora"
    HANDLER.update(stack, known, state, {**new, "desiredCount": 1})
    assert {task.pid for task in Tasks(stack, "api").all()} < now


def test_definition_that_does_not_start_leaves_the_old_tasks(
    stack: LocalStack, service: Any, inputs: dict[str, Any], definitions: Definitions, balancer: str
) -> None:
    known, state = service
    before = {task.pid for task in Tasks(stack, "api").all()}
    broken = definitions.put(command=["python", "-c", "raise SystemExit('no such database')"])
    with pytest.raises(HandlerError, match="no such database"):
        HANDLER.update(stack, known, state, {**inputs, "taskDefinition": broken})
    assert {task.pid for task in Tasks(stack, "api").all()} == before and seen(balancer)


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"command": []}, "give the container definition a command"),
        (
            {"secrets": [{"name": "X", "valueFrom": "arn:aws:ssm:us-east-1:123456789012:parameter/x"}]},
            "Secrets Manager",
        ),
        ({"portMappings": [], "name": "other"}, "no port mapping"),
    ],
)
def test_mistakes_are_refused(
    stack: LocalStack, definitions: Definitions, balancer: str, container: dict[str, Any], message: str
) -> None:
    group = [{"targetGroupArn": GROUP, "containerName": "api", "containerPort": 8080}]
    inputs = {"name": "bad", "desiredCount": 1, "taskDefinition": definitions.put(**container), "loadBalancers": group}
    with pytest.raises(HandlerError, match=message):
        HANDLER.create(stack, "bad", inputs)
    assert not list(Path(stack.home / "run").glob("ecs-bad*"))


def test_target_group_without_load_balancer(stack: LocalStack, inputs: dict[str, Any], balancer: str) -> None:
    group = [{"targetGroupArn": f"{GROUP}2", "containerName": "api", "containerPort": 8080}]
    with pytest.raises(HandlerError, match="depend on the listener"):
        HANDLER.create(stack, "bad", {**inputs, "name": "bad", "loadBalancers": group})


def test_containers_of_one_task(stack: LocalStack, definitions: Definitions, monkeypatch: pytest.MonkeyPatch) -> None:
    """They find each other as localhost, write where a volume is, and the second finds its image's programs."""
    programs = Part("prometheus", "2", Path("/opt/programs"), {})
    monkeypatch.setattr(parts, "require", lambda name: programs)
    common = {"command": ["python", "-c", PROGRAM], "secrets": []}
    arn = definitions.put(**common, environment=[{"name": "PEER", "value": "http://localhost:9090/x?localhost:90"}])
    record = stack.records.get("aws:ecs/taskDefinition:TaskDefinition", arn)
    assert record is not None
    containers = json.loads(record.outputs["containerDefinitions"])
    agent = {
        "name": "agent",
        "image": "prom/prometheus:v2.55.1",
        "portMappings": [{"containerPort": 9090}],
        "environment": [{"name": "PEER", "value": "localhost:8080"}],
        "mountPoints": [{"sourceVolume": "wal", "containerPath": "/prometheus"}],
        **common,
    }
    outputs = {**record.outputs, "containerDefinitions": json.dumps([*containers, agent])}
    stack.records.put("aws:ecs/taskDefinition:TaskDefinition", arn, {}, outputs)
    inputs = {"name": "pair", "desiredCount": 1, "taskDefinition": arn, "deploymentMaximumPercent": 100}
    known, state = HANDLER.create(stack, "pair", dict(inputs))
    try:
        address = stack.address("ecs-pair")
        first = seen(address)
        second: dict[str, Any] = httpx.get(f"http://{address}:9090/", timeout=5).json()
        assert first["PEER"] == f"http://{address}:9090/x?localhost:90" and second["PEER"] == f"{address}:8080"
        assert Path(second["ZDM_TASK_DIR"]).is_dir() and "ZDM_TASK_DIR" not in first
        assert second["PATH"].startswith("/opt/programs:") and not first["PATH"].startswith("/opt/programs:")
        os.kill(second["pid"], signal.SIGKILL)
        wait_until(lambda: not cloud.accepts(address, 9090), 10, "the death of one container")
        state = HANDLER.read(stack, known, state) or {}
        assert HANDLER.needs_repair(state) == ["status"], "a task without one of its containers is no task"
        state = HANDLER.update(stack, known, state, dict(inputs))
        assert cloud.accepts(address, 9090) and cloud.accepts(address, 8080)
        again = HANDLER.update(stack, known, state, {**inputs, "forceNewDeployment": True})
        assert again["status"] == "ACTIVE" and len(Tasks(stack, "pair").all()) == 1
    finally:
        HANDLER.delete(stack, known, state)
    assert not cloud.accepts(address, 9090) and not Tasks(stack, "pair").folder.exists()
