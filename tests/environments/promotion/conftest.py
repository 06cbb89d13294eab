"""Two stacks with real archives (an AWS API of moto's over HTTP), a clone with a revision of its own, and a shop that
answers: what a promotion looks at. The engine is played; what it would bring up is tested in `test_promote_up`."""

from __future__ import annotations

import json
import logging
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from rich.console import Console as RichConsole

import scripts.context
from contract.flag import Side
from local.engine import Change, Outcome, Violation
from scripts.console import Console
from scripts.context import Context, context_from, git_revision
from scripts.environments import evidence, findings, promote, promote_hands
from scripts.environments.config_difference import Difference
from scripts.environments.promote_refusals import Asked
from scripts.environments.promote_result import PromoteResult
from scripts.errors import ZdmError
from scripts.stacks import StackResult
from services.origin.metrics import Metrics

REGION = "us-east-1"
FORMER = "0123456789ab"


@dataclass(frozen=True)
class Said:
    """A result that says so."""

    ok: bool = True
    rows: int = 7

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "rows": self.rows, "examples": [["a customer's name"]]}

    def render(self, out: RichConsole) -> None:
        raise AssertionError("nobody looks")


@dataclass
class Account:
    """An AWS API with the archive, the key and the snapshots of each stack."""

    url: str

    @property
    def settings(self) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL": self.url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

    def client(self, service: str) -> Any:
        make: Any = boto3.client
        return make(
            service, region_name=REGION, endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test"
        )


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Account(f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def fresh(account: Account) -> Account:
    """The account, with the empty archives and the keys of staging and prod."""
    account.client("s3")  # botocore's own set-up before the reset
    import httpx

    httpx.post(f"{account.url}/moto-api/reset").raise_for_status()
    scripts.context._account.cache_clear()
    for stack in ("staging", "prod"):
        account.client("s3").create_bucket(Bucket=f"zdm-{stack}-archive")
        secret = json.dumps({"username": "gate", "password": f"key of {stack}"})
        account.client("secretsmanager").create_secret(Name=f"zdm-{stack}/gate", SecretString=secret)
    return account


class Shop:
    """A router with both origins behind it, as they are seen from outside. `slow` and `failing` are what customers get;
    `down` answers nobody."""

    def __init__(self) -> None:
        self.metrics = {side: Metrics(side) for side in Side}
        self.slow, self.failing, self.down, self.customers = 0.01, 0, False, 50
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                side = next((side for side in Side if self.path.startswith(f"/{side.value}/")), None)
                body = b"ok"
                if side and self.path.endswith("/metrics"):
                    for number in range(shop.customers):
                        shop.metrics[side].request(False, 500 if number < shop.failing else 200, shop.slow)
                    body = shop.metrics[side].text()
                self.send_response(503 if shop.down else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def shop() -> Iterator[Shop]:
    made = Shop()
    yield made
    made.close()


def git(folder: Path, *words: str) -> str:
    name = ("-c", "user.name=a test", "-c", "user.email=test@example.com")
    done = subprocess.run(["git", *name, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in the place of this project."""
    folder = tmp_path / "clone"
    folder.mkdir()
    (folder / "program.py").write_text("first\n")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    for module in (scripts.context, promote, promote_hands):
        monkeypatch.setattr(module, "PROJECT", folder)
    monkeypatch.setattr(findings.Files, "__init__", _files(folder / "findings"))
    return folder


def _files(folder: Path) -> Callable[[findings.Files], None]:
    def init(self: findings.Files) -> None:
        object.__setattr__(self, "folder", folder)

    return init


@dataclass
class Played:
    """The engine's part: notes what is asked of it, and makes the revision an output of prod."""

    lab: Lab
    changes: int = 1
    violations: tuple[Violation, ...] = ()
    fails: str = ""
    no_way: str = ""
    done: list[str] = field(default_factory=list)
    meanwhile: Callable[[str], None] = lambda _: None
    """Called with what is about to be done."""

    def difference(self) -> list[Difference]:
        return [Difference("service.count", "3", "10")]

    def preview(self) -> StackResult:
        changes = tuple(Change("update", "aws:ecs/service:Service", f"s{n}", "urn") for n in range(self.changes))
        counts = {"update": self.changes}
        return StackResult(Outcome("preview", "prod", 1.0, counts, changes, {}, self.violations))

    def up(self, label: str, *, again: bool) -> StackResult:
        self.meanwhile("up")
        self.done.append(f"up {label}{' again' if again else ''}")
        if self.fails:
            raise ZdmError(self.fails)
        self.lab.up["prod"] = git_revision().removesuffix("+")
        self.meanwhile("upped")
        return StackResult(Outcome("up", "prod", 1.0, {"update": 1}, (), {}))

    def no_way_back(self, former: str, revision: str) -> str:
        return self.no_way

    def go_back(self, former: str, label: str) -> None:
        self.meanwhile("back")
        self.done.append(f"back to {former}")
        self.lab.up["prod"] = former
        self.meanwhile("was back")

    def tidy(self) -> None:
        pass


@dataclass
class Lab:
    """Staging and prod, and a promotion between them for which everything is there."""

    account: Account
    shop: Shop
    clone: Path
    home: Path
    up: dict[str, str] = field(default_factory=dict)
    """Revision that is up, by stack."""
    rules: dict[str, Any] = field(default_factory=dict)
    changes: dict[str, Any] = field(default_factory=dict)
    """Outputs of both stacks that are not the usual ones."""

    def context(self, stack: str) -> Context:
        shop = self.shop.url
        secret = "unused"
        out: dict[str, Any] = {
            "version": 3, "project": "zdm", "stack": stack, "environment": "prod", "region": REGION,
            "database": "ecommerce",
            "source": {"host": "h", "port": 3306, "adminSecret": secret, "cdcSecret": secret, "appSecret": secret},
            "target": {
                "host": "h", "readerHost": "h", "port": 5432, "engineVersion": "15", "adminSecret": secret,
                "sinkSecret": secret, "appSecret": secret,
            },
            "kafka": None,
            "pipeline": {"state": "stopped", "sourceConnector": "s", "sinkConnector": "s", "tables": []},
            "router": {
                "url": shop, "salt": "s", "holdMs": 30000, "mysqlOrigin": f"{shop}/mysql",
                "auroraOrigin": f"{shop}/aurora",
            },
            "kpis": {"probationWindowSeconds": 1, "probationBreaches": 2},
            "archive": {"bucket": f"zdm-{stack}-archive", "keyArn": "k", "exportRoleArn": "r"},
            "gateSecret": f"zdm-{stack}/gate",
            "revision": self.up.get(stack, ""),
            "promotion": {"watchMinutes": 0.05, **self.rules},
        }  # fmt: skip
        return context_from({**out, **self.changes.get(stack, {})}, stack, self.home, self.account.settings)

    def commit(self, text: str) -> str:
        """A further revision, in this clone only."""
        (self.clone / "program.py").write_text(text)
        git(self.clone, "commit", "-qam", text)
        return git_revision()

    def prove(self, kind: str, ok: bool = True, hours: float = 1.0, revision: str = "") -> evidence.Evidence:
        at = datetime.now(UTC) - timedelta(hours=hours)
        return evidence.keep(self.context("staging"), kind, Said(ok), at=at, revision=revision)

    def snapshot(self, name: str, hours: float = 1.0, *, verified: bool = True) -> None:
        """A snapshot of prod's cluster, as the tags tell it."""
        at = datetime.now(UTC) - timedelta(hours=hours)
        tags = {
            "zdm:set": name, "zdm:stack": "prod", "zdm:at": at.isoformat(), "zdm:parts": "1", "zdm:part": "aurora",
        }  # fmt: skip
        if verified:
            tags["zdm:verified"] = at.isoformat()
        self.account.client("rds").create_db_cluster_snapshot(
            DBClusterSnapshotIdentifier=name,
            DBClusterIdentifier="aurora",
            Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
        )

    def scene(self, hands: Played | None = None, **asked: Any) -> promote.Scene:
        wanted = {"approved_by": "Ann", **asked}
        return promote.Scene(
            Asked("staging", "prod", **wanted),
            self.context("staging"),
            lambda: self.context("prod"),
            hands or Played(self),
            Console(quiet=True),
        )

    def plan(self, **asked: Any) -> PromoteResult:
        return promote.run(self.scene(**asked), dry_run=True)


@pytest.fixture
def lab(fresh: Account, shop: Shop, clone: Path, tmp_path: Path) -> Lab:
    """Everything is proven, and nothing stands in the way."""
    made = Lab(fresh, shop, clone, tmp_path / "home")
    made.up = {"staging": git_revision(), "prod": FORMER}
    for kind in ("data-check", "load-test", "faults", "security"):
        made.prove(kind)
    fresh.client("rds").create_db_cluster(
        DBClusterIdentifier="aurora", Engine="aurora-postgresql", MasterUsername="master", MasterUserPassword="secret-1"
    )
    made.snapshot("prod-1")
    return made
