"""What a command works with: the stack's outputs, and connections made from them and from the secrets they name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import httpx
import psycopg
from pg8000.native import Connection as CopyOut
from pymysql.connections import Connection as MySQLConnection

from contract.outputs import Outputs, OutputsError, load_outputs
from infra.revision import revision_of
from scripts.clients import aws, copy_out, http, mysql, postgres
from scripts.clients.secrets import Account, read_account
from scripts.errors import UsageError

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Context:
    """One stack. Connections are made anew at each call; the caller closes them."""

    outputs: Outputs
    home: Path
    """Where the commands keep what is theirs alone (statements, reports): never the truth about the stack."""
    cloud: tuple[tuple[str, str], ...] = ()
    """What reaches this stack's AWS API where this process's own environment does not: see `clients.aws`."""

    def account(self, secret: str) -> Account:
        return _account(secret, self.outputs.region, self.cloud)

    def aws(self, service: str) -> Any:
        """A boto3 client of this stack's account and region."""
        return aws.client(service, self.outputs.region, dict(self.cloud))

    def mysql(
        self,
        role: Literal["admin", "app", "cdc"] = "admin",
        database: str | None = "",
        **options: Any,
    ) -> MySQLConnection[Any]:
        """`database` is the migrated one unless another (or None) is given."""
        source = self.outputs.source
        secret = {"admin": source.admin_secret, "app": source.app_secret, "cdc": source.cdc_secret}[role]
        name = self.outputs.database if database == "" else database
        return mysql.connect(source.host, source.port, self.account(secret), name, **options)

    def postgres(
        self,
        role: Literal["admin", "app", "sink"] = "admin",
        *,
        reader: bool = False,
        **options: Any,
    ) -> psycopg.Connection[Any]:
        target = self.outputs.target
        secret = {"admin": target.admin_secret, "app": target.app_secret, "sink": target.sink_secret}[role]
        host = target.reader_host if reader else target.host
        return postgres.connect(host, target.port, self.account(secret), self.outputs.database, **options)

    def copy_out(self, *, reader: bool = False) -> CopyOut:
        """A connection to the target from which COPY is read without being parsed."""
        target = self.outputs.target
        host = target.reader_host if reader else target.host
        return copy_out.connect(host, target.port, self.account(target.admin_secret), self.outputs.database)

    def http(self, base_url: str, timeout: float = 10.0) -> httpx.Client:
        return http.client(base_url, timeout)


@cache
def _account(secret: str, region: str, cloud: tuple[tuple[str, str], ...]) -> Account:
    return read_account(secret, region, dict(cloud))


def forget_accounts() -> None:
    """Secrets are read anew: for a process that outlives their change."""
    _account.cache_clear()


def context_from_file(path: Path, home: Path) -> Context:
    """Outputs from a file made by `pulumi stack output --json` (`-` is standard input)."""
    import sys

    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        data = json.loads(text)
    except OSError as e:
        raise UsageError(f"--outputs {path}: {e.strerror}") from e
    except ValueError as e:
        raise UsageError(f"--outputs {path} is not JSON; make it with: pulumi stack output --json > {path}") from e
    return context_from(data, str(path), home)


def context_from(data: dict[str, Any], origin: str, home: Path, cloud: Mapping[str, str] | None = None) -> Context:
    """The context of a stack with these outputs. `cloud` reaches its AWS API, where the environment does not."""
    try:
        outputs = load_outputs(data, origin)
    except OutputsError as e:
        raise UsageError(str(e)) from e
    home.mkdir(parents=True, exist_ok=True)
    return Context(outputs, home, tuple(sorted((cloud or {}).items())))


def git_revision() -> str:
    """The revision of the program, with `+` when the work tree differs from it; `unknown` outside of git."""
    return revision_of(PROJECT)
