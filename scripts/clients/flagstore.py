"""The router's copy of the flag in Cloudflare KV, through Cloudflare's REST API.

It is a hint with up to a minute's delay at the edges; the truth is in the databases. KV takes one write a second for a
key, so a refusal for haste is waited out.
"""

from __future__ import annotations

import os
import time

import httpx

from contract.flag import Flag, parse_flag
from contract.outputs import Router
from scripts.errors import UsageError, ZdmError

BASE_URL = "CLOUDFLARE_BASE_URL"
TOKEN = "CLOUDFLARE_API_TOKEN"
DEFAULT_BASE_URL = "https://api.cloudflare.com/client/v4"
PATIENCE = 15.0
"""Seconds during which a write is tried again."""


class FlagStore:
    """The flag's key in the KV namespace."""

    def __init__(self, router: Router) -> None:
        token = os.environ.get(TOKEN)
        if not token:
            raise UsageError(f"{TOKEN} is not set: the flag in the router's store cannot be reached")
        base = os.environ.get(BASE_URL, DEFAULT_BASE_URL).rstrip("/")
        self._url = (
            f"{base}/accounts/{router.account_id}/storage/kv/namespaces/{router.namespace_id}/values/{router.flag_key}"
        )
        self._client = httpx.Client(headers={"authorization": f"Bearer {token}"}, timeout=10.0)

    def __enter__(self) -> FlagStore:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def read(self) -> Flag | None:
        """The stored flag; None when the key is not there. Raises `ZdmError`, or `FlagError` when it is no flag."""
        answer = self._send("GET", None)
        return None if answer.status_code == 404 else parse_flag(answer.text)

    def write(self, flag: Flag) -> None:
        """Stores the flag unless a newer one is there. Raises `ZdmError` when the store does not take it in time."""
        there = self.read()
        if there is None or flag.newer_than(there):
            self._send("PUT", flag.to_json())

    def _send(self, method: str, body: str | None) -> httpx.Response:
        deadline = time.monotonic() + PATIENCE
        pause = 0.2
        while True:
            try:
                answer = self._client.request(method, self._url, content=body)
                if answer.is_success or (answer.status_code == 404 and method == "GET"):
                    return answer
                problem = f"{answer.status_code} {answer.text[:200]}"
                again = answer.status_code == 429 or answer.status_code >= 500
                pause = float(answer.headers.get("retry-after", pause)) if again else pause
            except httpx.TransportError as e:
                problem, again = str(e) or type(e).__name__, True
            if not again or time.monotonic() + pause > deadline:
                raise ZdmError(
                    f"the router's flag store ({method} {self._url}) answered: {problem}. "
                    f"Look at {TOKEN} and {BASE_URL}"
                )
            time.sleep(pause)
            pause = min(pause * 2, 2.0)
