"""Staging and production on this machine, as their files say: up, up again, and what is left when they go."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.outputs import load_outputs
from infra.declared import stand_in_plugin
from local import engine
from local.environment import environment
from local.stack import existing_stack
from scripts import stacks
from scripts.clients.http import client
from scripts.console import Console
from scripts.context import git_revision
from scripts.errors import ZdmError
from tests.full_stack import everything

pytestmark = pytest.mark.real


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """What a stack needs besides its file. Whatever is left of staging and prod at the end is stopped."""
    monkeypatch.setenv("ZDM_HOME", str(tmp_path / "home"))
    before = dict(os.environ)
    yield {"cdc.plugin": str(stand_in_plugin(tmp_path))}
    for name in ("staging", "prod", "all"):
        there = existing_stack(name)
        for process in there.processes() if there else ():
            process.stop(2)
    os.environ.clear()
    os.environ.update(before)


def destroy(name: str) -> None:
    stacks.destroy(name, local=True, console=Console(json_mode=True))


def healthy(name: str, url: str) -> int:
    os.environ.update(environment(name))
    with client(url) as http:
        return http.get("/healthz").status_code


def test_staging_up_again_and_gone(settings: dict[str, object]) -> None:
    made = engine.workspace("staging", True, settings).up()
    assert set(made.counts) == {"create"}
    outputs = load_outputs(dict(made.outputs), "staging")
    assert outputs.environment == "staging" and outputs.services and outputs.services.aurora.standby_service
    assert outputs.target.proxy_host and outputs.target.reports_host and outputs.backups and outputs.archive
    assert healthy("staging", outputs.router.mysql_origin) == 200
    assert healthy("staging", outputs.router.aurora_origin) == 200, "through the proxy"
    again = engine.workspace("staging", True, settings).up()
    assert set(again.counts) == {"same"}, again.changes
    destroy("staging")
    assert existing_stack("staging") is None, "nothing stays of staging"


def test_prod_is_protected_until_it_is_to_go(settings: dict[str, object], tmp_path: Path) -> None:
    made = engine.workspace("prod", True, settings).up()
    assert set(made.counts) == {"create"}
    outputs = load_outputs(dict(made.outputs), "prod")
    assert (outputs.source.host, outputs.source.instance) == ("mysql.shop.internal", "")
    assert healthy("prod", outputs.router.aurora_origin) == 200
    again = engine.workspace("prod", True, settings).up()
    assert set(again.counts) == {"same"}, again.changes

    assert outputs.revision == git_revision() and outputs.promotion.window.startswith("Tue-Thu ")

    snapshotted = stacks.up("prod", local=True, console=Console(json_mode=True), snapshot="g1")
    assert snapshotted.outcome.counts.keys() == {"same"}, "the snapshot was taken before, by an update of its own"
    assert snapshotted.outcome.outputs["snapshots"]["identifiers"] == ["zdm-prod-aurora-g1"]

    with pytest.raises(ZdmError, match=r"nothing was deleted\..*-c decommission=true"):
        destroy("prod")
    leaving = stacks.up("prod", local=True, console=Console(json_mode=True), config={"decommission": "true"})
    assert {c.op for c in leaving.outcome.changes} == {"update"}
    destroy("prod")
    assert existing_stack("prod") is None
    final, labelled = sorted(path.name for path in (tmp_path / "home/prod/data/snapshots/aurora").iterdir())
    assert final.startswith("aurora-final-") and labelled == "zdm-prod-aurora-g1"


def test_a_stack_with_all_options_on(settings: dict[str, object], tmp_path: Path) -> None:
    """Nginx in front, both ways of replication, a second region, the account's own things, and all the rest at once.

    The connectors are not started: they have tests of their own.
    """
    wanted = {**everything(tmp_path), **settings, "cdc.state": "stopped"}
    made = engine.workspace("all", True, wanted).up()
    assert set(made.counts) == {"create"}
    outputs = load_outputs(dict(made.outputs), "all")
    parts = {name for name, value in outputs.model_dump().items() if value is None}
    assert not parts, "every part of the contract is there"
    os.environ.update(environment("all"))
    with client(outputs.router.url) as http:
        assert http.get("/__zdm/router").status_code == 200, "nginx answers under the shop's name"
    stack = existing_stack("all")
    assert stack is not None
    relays = [process for process in stack.processes() if "relay" in process.name]
    assert len(relays) == 2 and all(process.running() for process in relays), [p.name for p in stack.processes()]
    again = engine.workspace("all", True, wanted).up()
    assert set(again.counts) == {"same"}, again.changes
    destroy("all")
    assert existing_stack("all") is None
