"""What a small repository has in it whose stacks are promoted for real: a program, a service, and its own `zdm`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

import scripts.context
from local import engine
from scripts import cli, stacks
from scripts.environments import findings, promote, promote_hands
from scripts.environments.snapshot_set import AT, AURORA, Part, SnapshotSet
from scripts.environments.snapshot_store import Store

PROGRAM = '''
import json
import os
from pathlib import Path

import pulumi
import pulumi_aws as aws
from local.stack import open_stack

HERE = Path(__file__).resolve().parent.parent
name = pulumi.get_stack()
label = (pulumi.Config().get_object("snapshots") or {}).get("label", "")


class Snapshots(pulumi.ComponentResource):
    """In the place of snapshots: what is made under the label before anything else is changed."""

    def __init__(self) -> None:
        super().__init__("zdm:index:Snapshots", "snapshots")
        if label:
            aws.cloudwatch.LogGroup("snapshot", name=label, opts=pulumi.ResourceOptions(parent=self))


aws.cloudwatch.LogGroup("aurora-cluster", name=f"{name}-cluster")
Snapshots()
archive = aws.s3.Bucket("archive", bucket=f"tiny-{name}-archive", force_destroy=True)
gate = aws.secretsmanager.Secret("gate", name=f"tiny-{name}/gate", recovery_window_in_days=0)
key = json.dumps({"username": "gate", "password": f"key of {name}"})
aws.secretsmanager.SecretVersion("gate", secret_id=gate.id, secret_string=key)
cluster = aws.ecs.Cluster("services")
container = {
    "name": "api", "image": "api", "command": ["python", "service.py"], "workingDirectory": str(HERE),
    "portMappings": [{"containerPort": 8080}], "memory": 64,
    "environment": [{"name": "VERSION", "value": (HERE / "version.txt").read_text()}],
}
task = aws.ecs.TaskDefinition("api", family="api", container_definitions=json.dumps([container]))
aws.ecs.Service("api", name="api", cluster=cluster.arn, task_definition=task.arn, desired_count=1)
url = f"http://{open_stack(name).address('ecs-api')}:8080"
nobody = {"adminSecret": "s", "cdcSecret": "s", "appSecret": "s"}
outputs = {
    "version": 3, "project": "tiny", "stack": name, "environment": "dev", "region": "us-east-1", "database": "shop",
    "source": {"host": "h", "port": 3306, **nobody},
    "target": {"host": "h", "readerHost": "h", "port": 5432, "engineVersion": "15", "adminSecret": "s",
               "sinkSecret": "s", "appSecret": "s"},
    "kafka": None,
    "pipeline": {"state": "stopped", "sourceConnector": "s", "sinkConnector": "s", "tables": []},
    "router": {"url": url, "salt": "s", "holdMs": 30000, "mysqlOrigin": url, "auroraOrigin": url},
    "kpis": {"probationWindowSeconds": 3, "probationBreaches": 2},
    "archive": {"bucket": archive.bucket, "keyArn": "k", "exportRoleArn": "r"},
    "gateSecret": gate.name,
    "revision": os.environ.get("ZDM_REVISION", ""),
}
for output, value in outputs.items():
    pulumi.export(output, value)
'''

SERVICE = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION, WELL = os.environ["VERSION"], {well}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"" if self.path == "/metrics" else VERSION.encode()
        self.send_response(200 if WELL or self.path != "/readyz" else 503)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


host, _, port = os.environ["ZDM_BIND"].rpartition(":")
ThreadingHTTPServer.allow_reuse_port = True  # tasks of two revisions listen side by side
ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
"""

COMMANDS = """#!{python} -P
import sys
from pathlib import Path

from tests.environments.promotion.tiny_shop import run

run(Path(__file__).resolve().parent, sys.argv[1:])
"""


def write(folder: Path) -> None:
    """The files that stay the same."""
    (folder / "infra").mkdir(parents=True)
    (folder / "infra/__main__.py").write_text(PROGRAM)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / ".gitignore").write_text(".zdm\n")
    (folder / "zdm").write_text(COMMANDS.format(python=sys.executable))
    (folder / "zdm").chmod(0o755)
    runtime = {"name": "python", "options": {"virtualenv": ".venv"}}
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "tiny", "main": "infra/", "runtime": runtime}))
    for stack in ("staging", "prod"):
        (folder / f"Pulumi.{stack}.yaml").write_text("config:\n  aws:region: us-east-1\n")


def serve(folder: Path, version: str, *, well: bool = True) -> None:
    """Writes the service of a version."""
    (folder / "service.py").write_text(SERVICE.format(well=well))
    (folder / "version.txt").write_text(version)


def stand_in(folder: Path, put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Has the commands take `folder` for their project. `put` sets an attribute."""
    for module in (scripts.context, promote, promote_hands):
        put(module, "PROJECT", folder)
    put(stacks.engine, "workspace", partial(engine.workspace, project=folder))
    put(findings.Files.__init__, "__defaults__", (folder / "findings",))
    # these stacks have no databases: that their snapshots are read is a test of its own
    put(Store, "newest_proven", lambda _: _taken_just_now())


def _taken_just_now() -> SnapshotSet:
    now = datetime.now(UTC)
    part = Part(
        kind="cluster",
        role=AURORA,
        name="prod-1-aurora",
        arn="",
        source="prod-aurora",
        status="available",
        available=True,
        percent=100,
        size_gib=1,
        created=now,
        key="",
        encrypted=True,
        tags={AT: now.isoformat()},
    )
    return SnapshotSet("prod-1", (part,))


def run(folder: Path, words: list[str]) -> None:
    """The command line, with `folder` in the place of this project."""
    stand_in(folder)
    sys.argv = ["zdm", *words]
    cli.main()
