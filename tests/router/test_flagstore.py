"""The commands' side of the router's copies of the flag, against the real routers and the local KV server."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from contract.flag import Flag
from contract.outputs import Router
from scripts.clients import flagstore
from scripts.clients.flagstore import FlagStore
from scripts.clients.secrets import Account
from scripts.errors import UsageError, ZdmError
from tests.router.standins import ADMIN, FLAG_OBJECT, Reply, Seen, Server, Setup, Start

START, PILOT = Flag(1, 1, 0.0), Flag(2, 1, 5.0)


class Api:
    """Cloudflare's API for one value."""

    def __init__(self) -> None:
        self.text: str | None = START.to_json()
        self.busy = 0
        self._server = Server(self._answer)
        self.url = f"http://{self._server.address}/client/v4"
        self.close = self._server.close

    def _answer(self, seen: Seen) -> Reply:
        assert seen.path == "/client/v4/accounts/a/storage/kv/namespaces/n/values/flag"
        assert seen.headers["authorization"] == "Bearer cloudflare"
        if self.busy:
            self.busy -= 1
            return Reply(429, headers={"retry-after": "0"})
        if seen.method == "PUT":
            self.text = seen.body.decode()
        return Reply(404) if self.text is None else Reply(body=self.text.encode())


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    made = Api()
    monkeypatch.setenv("CLOUDFLARE_BASE_URL", made.url)
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "cloudflare")
    monkeypatch.setattr(flagstore, "PATIENCE", 1.0)
    yield made
    made.close()


def store(setup: Setup, token: str = ADMIN, **changes: Any) -> FlagStore:
    values = {
        "url": setup.url, "account_id": "a", "namespace_id": "n", "flag_key": "flag", "admin_secret": "secret",
        "salt": "s1", "hold_ms": 5000, "mysql_origin": "m", "aurora_origin": "a",
    } | changes  # fmt: skip
    context: Any = SimpleNamespace(
        outputs=SimpleNamespace(router=Router(**values)),
        account=lambda secret: Account("admin", token),
        http=lambda url: httpx.Client(base_url=url, timeout=10),
    )
    return FlagStore(context)


def test_every_copy_gets_the_flag_and_the_oldest_is_what_counts(start_worker: Start, api: Api) -> None:
    setup = start_worker(START, flag_object=FLAG_OBJECT, ADMIN_TOKEN=ADMIN)
    with store(setup) as flags:
        assert flags.read() == START, "an object that knows nothing is no copy"
        api.busy = 2
        flags.write(PILOT)
        assert flags.read() == PILOT and api.text == PILOT.to_json()
        flags.write(START)
        assert flags.read() == PILOT, "a newer one stays"
        api.text = START.to_json()
        assert flags.read() == START, "one copy is behind"
        flags.write(PILOT)
        assert flags.read() == PILOT
    assert setup.client.get("/__zdm/router").json()["flag"]["v"] == 2


def test_a_copy_that_refuses_does_not_keep_the_other_from_it(start_worker: Start, api: Api) -> None:
    setup = start_worker(START, flag_object=FLAG_OBJECT, ADMIN_TOKEN=ADMIN)
    with store(setup, token="wrong") as flags, pytest.raises(ZdmError, match=r"401.*router\.adminSecret"):
        flags.write(PILOT)
    assert api.text == PILOT.to_json()
    with store(setup, admin_secret=None) as flags:
        flags.write(PILOT.changed(weight=6.0))
        assert flags.read() == PILOT.changed(weight=6.0)


def test_nginx_is_waited_for(start_nginx: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN", raising=False)
    setup = start_nginx(START, FLAG_TTL_MS=50)
    nothing = {"account_id": None, "namespace_id": None, "flag_key": None, "admin_secret": None}
    with store(setup, kind="nginx", **nothing) as flags:
        setup.set_flag(PILOT)
        flags.write(PILOT)
        assert flags.read() == PILOT
        monkeypatch.setattr(flagstore, "PATIENCE", 0.3)
        with pytest.raises(ZdmError, match="still has"):
            flags.write(PILOT.changed(weight=6.0))


def test_without_a_token_it_says_so(start_worker: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN", raising=False)
    with pytest.raises(UsageError, match="CLOUDFLARE_API_TOKEN"):
        store(start_worker(START))
