"""The dev stack on this machine: the real engine brings the real program up, with real parts."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.outputs import load_outputs
from infra.declared import stand_in_plugin
from local import engine
from local.environment import environment
from local.stack import open_stack
from scripts.context import Context

NAME = "updown"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """Settings of a stack of its own; whatever is left of it at the end is destroyed."""
    monkeypatch.setenv("ZDM_HOME", str(tmp_path / "home"))
    before = dict(os.environ)
    yield {"cdc.plugin": str(stand_in_plugin(tmp_path))}
    os.environ.clear()
    os.environ.update(before)
    engine.workspace(NAME, True, create=False).destroy()


@pytest.mark.real
def test_bad_settings_are_listed_at_once_before_any_resource(settings: dict[str, object]) -> None:
    wrong = {**settings, "zoness": 3, "aurora.minAcu": "0.7", "backups.window": "2-3", "environment": "prod"}
    with pytest.raises(engine.EngineError) as caught:
        engine.workspace(NAME, True, wrong).up()
    for name in ("zoness", "aurora.minAcu", "backups.window", "source.existing.host"):
        assert f"{name}: " in str(caught.value)
    assert engine.workspace(NAME, True, create=False).destroy().counts in ({}, {"delete": 1})


@pytest.mark.real
def test_up_again_change_repair_and_destroy(settings: dict[str, object], tmp_path: Path) -> None:
    made = engine.workspace(NAME, True, settings).up()
    assert set(made.counts) == {"create"}
    outputs = load_outputs(dict(made.outputs), NAME)
    again = engine.workspace(NAME, True, settings).up()
    assert set(again.counts) == {"same"}, again.changes

    guest = {**settings, "network.stack": f"organization/zdm/{NAME}"}
    lodged = engine.workspace("guest", True, guest).preview()
    assert {"aurora-subnets", "mysql-api-balancer"} <= {c.name for c in lodged.changes}
    assert not {c.name for c in lodged.changes if c.name.startswith("network")}
    with pytest.raises(engine.EngineError, match=r"network\.zones: organization/zdm/updown has 2 zones"):
        engine.workspace("guest", True, {**guest, "network.zones": 3}).preview()
    with pytest.raises(engine.EngineError, match=r"account\.stack: organization/zdm/updown is not its account's owner"):
        engine.workspace("guest", True, {**settings, "account.stack": f"organization/zdm/{NAME}"}).preview()

    changed = engine.workspace(NAME, True, {**settings, "aurora.parameters": {"work_mem": "9216"}}).up()
    assert [(c.op, c.name) for c in changed.changes] == [("update", "parameters-aurora-instance")]
    os.environ.update(environment(NAME))
    with Context(outputs, tmp_path).postgres() as postgres:
        assert postgres.execute("SHOW work_mem").fetchone() == ("9MB",)

    moved = engine.workspace(NAME, True, {**settings, "database": "shop"}).preview()
    assert {"aurora-cluster", "mysql-server"} <= {c.name for c in moved.changes if c.op == "replace"}

    stack = open_stack(NAME)
    assert len(processes_of(stack.home)) >= 6, "databases, broker, services, router and the AWS API"
    engine.workspace(NAME, True, create=False).destroy()
    deadline = time.monotonic() + 10
    while processes_of(stack.home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(stack.home) == []
    assert list(stack.records.all()) == []


def processes_of(home: Path) -> list[str]:
    """Command lines of the processes that name the stack's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(home) in line:
                found.append(line)
    return found
