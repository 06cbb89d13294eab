"""Fixtures of the router's tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from contract.flag import Flag, Side
from tests.router.standins import SALT, TOKEN, WORKER, Kv, Origin, Setup, Start, nginx, workerd


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[Start]:
    """Starts a Worker: `start(flag, kv=text of the flag in KV, flag_object=its script, **bindings)`."""
    with ExitStack() as stack:
        count = 0

        def begin(flag: Flag, kv: str | None = "", flag_object: str = "", **bindings: Any) -> Setup:
            nonlocal count
            count += 1
            store = Kv(flag.to_json() if kv == "" else kv)
            stack.callback(store.close)
            folder, origins, values = _around(stack, tmp_path / str(count), flag, bindings)
            url = stack.enter_context(workerd(folder, {"worker.mjs": WORKER}, values, store.address, flag_object))
            return Setup(url, store, *origins, _client(stack, url))

        yield begin


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[Start]:
    """Starts nginx: `start(flag, **variables)`. It has no KV: FLAG_TTL_MS is how often it asks the origins."""
    with ExitStack() as stack:
        count = 0

        def begin(flag: Flag, **variables: Any) -> Setup:
            nonlocal count
            count += 1
            folder, origins, values = _around(stack, tmp_path / str(count), flag, variables)
            made = stack.enter_context(nginx(folder, {**values, "POLL_MS": values["FLAG_TTL_MS"]}))
            setup = Setup(made.url, Kv(None), *origins, _client(stack, made.url), made)
            stack.callback(setup.kv.close)
            return setup

        yield begin


@pytest.fixture(params=["worker", "nginx"])
def start(request: pytest.FixtureRequest) -> Start:
    """Either router: what holds for one holds for the other."""
    made: Start = request.getfixturevalue(f"start_{request.param}")
    return made


def _around(
    stack: ExitStack, folder: Path, flag: Flag, more: dict[str, Any]
) -> tuple[Path, tuple[Origin, Origin], dict[str, str]]:
    """A folder, both origins, and what the router is told."""
    folder.mkdir()
    origins = Origin(Side.MYSQL, flag), Origin(Side.AURORA, flag)
    for origin in origins:
        stack.callback(origin.close)
    values = {
        "FLAG_KEY": "flag", "SALT": SALT, "HOLD_MS": "5000", "FORCE_TOKEN": TOKEN,
        "MYSQL_ORIGIN": origins[0].url, "AURORA_ORIGIN": origins[1].url, "FLAG_TTL_MS": "50",
    }  # fmt: skip
    return folder, origins, values | {name: str(value) for name, value in more.items()}


def _client(stack: ExitStack, url: str) -> httpx.Client:
    return stack.enter_context(httpx.Client(base_url=url, timeout=20))
