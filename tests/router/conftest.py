"""Fixtures of the router's tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.flag import Flag, Side
from tests.router.standins import SALT, TOKEN, WORKER, Kv, Origin, Setup, Start, workerd


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a router: `start(flag, kv=text of the flag in KV, flag_object=its script, **bindings)`."""
    with ExitStack() as stack:
        count = 0

        def begin(flag: Flag, kv: str | None = "", flag_object: str = "", **bindings: Any) -> Setup:
            nonlocal count
            count += 1
            folder = tmp_path / str(count)
            folder.mkdir()
            store = Kv(flag.to_json() if kv == "" else kv)
            origins = Origin(Side.MYSQL, flag), Origin(Side.AURORA, flag)
            for closing in (store, *origins):
                stack.callback(closing.close)
            values = {
                "FLAG_KEY": "flag", "SALT": SALT, "HOLD_MS": "5000", "FORCE_TOKEN": TOKEN,
                "MYSQL_ORIGIN": origins[0].url, "AURORA_ORIGIN": origins[1].url, "FLAG_TTL_MS": "50",
            } | {name: str(value) for name, value in bindings.items()}  # fmt: skip
            url = stack.enter_context(workerd(folder, {"worker.mjs": WORKER}, values, store.address, flag_object))
            client = stack.enter_context(httpx.Client(base_url=url, timeout=20))
            return Setup(url, store, *origins, client)

        yield begin
