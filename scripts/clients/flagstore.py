"""The router's copies of the flag, by what the stack has: Cloudflare KV through Cloudflare's REST API, a Durable Object
through the router's admin path, or none, where nginx asks the origins.

All are hints; the truth is in the databases. KV takes up to a minute to reach the edges and one write a second for a
key, so a refusal for haste is waited out. The Durable Object is seen by all edges within about a second, and refuses a
flag that is not newer than its own.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack
from typing import Protocol

import httpx

from contract.flag import Flag, parse_flag
from contract.outputs import Router
from scripts.context import Context
from scripts.errors import UsageError, ZdmError

BASE_URL = "CLOUDFLARE_BASE_URL"
TOKEN = "CLOUDFLARE_API_TOKEN"
DEFAULT_BASE_URL = "https://api.cloudflare.com/client/v4"
ADMIN_PATH = "/__zdm/router/flag"
HEALTH_PATH = "/__zdm/router"
PATIENCE = 15.0
"""Seconds during which a write is tried again."""


class Copy(Protocol):
    """One place where the router finds the flag."""

    def read(self) -> Flag | None:
        """The flag there; None when there is none. Raises `ZdmError`, or `FlagError` when it is no flag."""
        ...

    def write(self, flag: Flag) -> None:
        """Stores the flag unless a newer one is there. Raises `ZdmError` when it is not taken in time."""
        ...


class FlagStore:
    """All copies that the stack's router has."""

    def __init__(self, context: Context) -> None:
        self._open = ExitStack()
        self._copies = _copies(context, self._open)

    def __enter__(self) -> FlagStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def read(self) -> Flag | None:
        """The oldest of the copies: what a router may still believe. Raises `ZdmError`, or `FlagError`."""
        there = [flag for flag in (copy.read() for copy in self._copies) if flag is not None]
        return min(there, key=lambda flag: (flag.epoch, flag.v), default=None)

    def write(self, flag: Flag) -> None:
        """Stores the flag in every copy that is older. Raises `ZdmError` with all that did not take it in time."""
        problems: list[str] = []
        for copy in self._copies:
            try:
                copy.write(flag)
            except ZdmError as e:
                problems.append(str(e))
        if problems:
            raise ZdmError("; ".join(problems))


def _copies(context: Context, opened: ExitStack) -> list[Copy]:
    router = context.outputs.router
    if router.kind == "nginx":
        return [Told(opened.enter_context(context.http(router.url)))]
    copies: list[Copy] = []
    if router.admin_secret is not None:  # first, because it is the faster one
        token = context.account(router.admin_secret).password
        client = opened.enter_context(context.http(router.url))
        client.headers["authorization"] = f"Bearer {token}"
        copies.append(DurableObject(client))
    return [*copies, Kv(opened.enter_context(_cloudflare()), router)]


def _cloudflare() -> httpx.Client:
    token = os.environ.get(TOKEN)
    if not token:
        raise UsageError(f"{TOKEN} is not set: the flag in the router's store cannot be reached")
    base = os.environ.get(BASE_URL, DEFAULT_BASE_URL).rstrip("/")
    return httpx.Client(base_url=base, headers={"authorization": f"Bearer {token}"}, timeout=10.0)


class Kv:
    """The flag's key in the KV namespace."""

    def __init__(self, client: httpx.Client, router: Router) -> None:
        self._client = client
        namespace = f"/accounts/{router.account_id}/storage/kv/namespaces/{router.namespace_id}"
        self._path = f"{namespace}/values/{router.flag_key}"

    def read(self) -> Flag | None:
        answer = self._send("GET", None)
        return None if answer.status_code == 404 else parse_flag(answer.text)

    def write(self, flag: Flag) -> None:
        there = self.read()
        if there is None or flag.newer_than(there):
            self._send("PUT", flag.to_json())

    def _send(self, method: str, body: str | None) -> httpx.Response:
        accepted = (404,) if method == "GET" else ()
        return _send(self._client, method, self._path, body, accepted, f"Look at {TOKEN} and {BASE_URL}")


class DurableObject:
    """The router's Durable Object: compare-and-set by (epoch, v)."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def read(self) -> Flag | None:
        answer = self._send("GET", None, 404)
        return None if answer.status_code == 404 else parse_flag(answer.text)

    def write(self, flag: Flag) -> None:
        self._send("PUT", flag.to_json(), 409)  # 409: it has a newer one

    def _send(self, method: str, body: str | None, accepted: int) -> httpx.Response:
        hint = "The token is in the stack's secret router.adminSecret; the zone's firewall has to know your network"
        return _send(self._client, method, ADMIN_PATH, body, (accepted,), hint)


class Told:
    """A router that asks the origins by itself: writing is waiting until it has heard."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def read(self) -> Flag | None:
        answer = _send(self._client, "GET", HEALTH_PATH, None, (), "Is the router's service running?")
        return parse_flag(json.dumps(answer.json()["flag"]))

    def write(self, flag: Flag) -> None:
        deadline = time.monotonic() + PATIENCE
        while (there := self.read()) is not None and flag.newer_than(there):
            if time.monotonic() > deadline:
                raise ZdmError(f"the router still has {there.to_json()} after {PATIENCE:g} s, not {flag.to_json()}")
            time.sleep(0.1)


def _send(
    client: httpx.Client, method: str, path: str, body: str | None, accepted: tuple[int, ...], hint: str
) -> httpx.Response:
    """The answer, if it is a success or accepted; anything that may pass is tried again for a while."""
    deadline = time.monotonic() + PATIENCE
    pause = 0.2
    while True:
        try:
            answer = client.request(method, path, content=body)
            if answer.is_success or answer.status_code in accepted:
                return answer
            problem = f"{answer.status_code} {answer.text[:200]}"
            again = answer.status_code == 429 or answer.status_code >= 500
            pause = float(answer.headers.get("retry-after", pause)) if again else pause
        except httpx.TransportError as e:
            problem, again = str(e) or type(e).__name__, True
        if not again or time.monotonic() + pause > deadline:
            raise ZdmError(f"the router's flag store ({method} {client.base_url}{path}) answered: {problem}. {hint}")
        time.sleep(pause)
        pause = min(pause * 2, 2.0)
