"""HTTP of the commands. `ZDM_CONNECT_TO` is to base URLs what curl's `--connect-to` is to hosts.

It is JSON, `{"https://shop.example": "http://127.16.0.9:8787"}`: a request for the first goes to the second, with the
first one's host in the `Host` header. Useful before DNS points anywhere, and on one machine.
"""

from __future__ import annotations

import json
import os
from urllib.parse import urlsplit

import httpx

from scripts.errors import UsageError

ENVIRONMENT = "ZDM_CONNECT_TO"


def connect_to(url: str) -> tuple[str, dict[str, str]]:
    """Where to send a request for `url`, and the headers that must go with it."""
    text = os.environ.get(ENVIRONMENT, "")
    if not text:
        return url, {}
    try:
        table: dict[str, str] = json.loads(text)
    except ValueError as e:
        raise UsageError(f"{ENVIRONMENT} is not JSON: {text[:80]!r}") from e
    for base, there in table.items():
        if url == base or url.startswith(base + "/"):
            return there + url[len(base) :], {"host": urlsplit(base).netloc}
    return url, {}


def client(base_url: str, timeout: float = 10.0) -> httpx.Client:
    """A client whose relative requests go to `base_url`, wherever that is."""
    url, headers = connect_to(base_url)
    return httpx.Client(base_url=url, headers=headers, timeout=timeout)
