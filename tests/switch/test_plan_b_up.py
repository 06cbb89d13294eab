"""The roads out by the stack's settings, on a whole stack of this machine: a reader more, and DMS instead of Kafka."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.tables import dump_tables
from local.processes import wait_until
from scripts import stacks
from scripts.console import Console
from scripts.context import Context, context_from
from scripts.data import schema
from scripts.data.inspect import mysql_tables
from scripts.errors import UsageError
from scripts.switch import bootstrap, plan_b, traffic
from scripts.switch.plan_b_action import Scene

pytestmark = pytest.mark.real
NAME = "planb"
QUIET = Console(quiet=True)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Scene]]:
    """A stack whose connectors run, as it is now at each call."""
    monkeypatch.setenv("ZDM_HOME", str(tmp_path / "home"))
    before = dict(os.environ)
    files = {"dms.tablesFile": tmp_path / "tables.json", "dms.authority": tmp_path / "authority.pem"}
    files["dms.authority"].write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    files["dms.tablesFile"].write_text(dump_tables([]))
    settings: dict[str, Any] = {
        **{name: str(path) for name, path in files.items()},
        "account.owner": True,
        "cdc.tables": ["orders"],
    }
    try:
        stacks.up_generated(NAME, settings, title="up", console=QUIET)
        os.environ.update(stacks.local_environment(NAME))
        context = now(tmp_path).context
        bootstrap.run(context, dry_run=False, console=QUIET)
        with context.mysql() as my, my.cursor() as cursor:
            cursor.execute("CREATE TABLE orders (id INT PRIMARY KEY, total DECIMAL(12,2) NOT NULL)")
            cursor.execute("INSERT INTO orders VALUES (1, 10), (2, 20)")
            files["dms.tablesFile"].write_text(dump_tables(mysql_tables(my, context.outputs.database)))
        schema.run(context, stage="tables", console=QUIET)
        stacks.up_generated(
            NAME, {**settings, "cdc.state": "running", "cdc.copy": "debezium"}, title="up", console=QUIET
        )
        yield lambda: now(tmp_path)
    finally:
        stacks.destroy(NAME, local=True, console=QUIET)
        os.environ.clear()
        os.environ.update(before)


def now(folder: Path) -> Scene:
    context = context_from(stacks.outputs(NAME, local=True), NAME, folder / "commands")
    return Scene(context, NAME, True, QUIET, deploys=True)


def orders(context: Context) -> list[int]:
    with context.postgres() as pg:
        return [key for (key,) in pg.execute("SELECT id FROM orders ORDER BY id")]


def insert(context: Context, key: int) -> None:
    with context.mysql() as my, my.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (%s, 1)", (key,))


def test_reader_and_dms_there_and_back(running: Callable[[], Scene]) -> None:
    scene = running()
    wait_until(lambda: orders(scene.context) == [1, 2], 120, "the snapshot")

    # a reader more: a real streaming replica
    readers = scene.context.outputs.target.readers
    with scene.context.postgres() as pg:
        replicas = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        assert pg.execute(replicas).fetchone() == (readers,)
        added = plan_b.run(scene, "add-reader")
        assert added.after == {"aurora.readers": readers + 1}
        assert plan_b.run(running(), "add-reader").steps == []
        wait_until(lambda: pg.execute(replicas).fetchone() == (readers + 1,), 60, "the new reader")
        plan_b.run(running(), "add-reader", undo=True)
        wait_until(lambda: pg.execute(replicas).fetchone() == (readers,), 60, "its end")
    assert running().context.outputs.target.readers == readers

    # DMS instead of the connectors: never while readers are on Aurora
    traffic.set_weight(scene.context, 5)
    with pytest.raises(UsageError, match="mysql-only"):
        plan_b.run(running(), "cdc-to-dms")
    plan_b.run(running(), "mysql-only")
    moved = plan_b.run(running(), "cdc-to-dms")
    assert [step.split(" with ")[0] for step in moved.steps] == ["up", "up", "Aurora: empty orders", "up"]
    there = running().context.outputs
    assert there.pipeline.state == "stopped" and there.pipeline.copy_ == "dms"
    assert there.dms is not None and there.dms.running and there.kafka is not None
    assert orders(scene.context) == []  # until DMS has loaded them, which here nobody does
    assert plan_b.run(running(), "cdc-to-dms").steps == []
    insert(scene.context, 3)

    back = plan_b.run(running(), "cdc-to-dms", undo=True)
    assert len(back.steps) == 3
    there = running().context.outputs
    assert there.pipeline.state == "running" and there.dms is None
    wait_until(lambda: 3 in orders(scene.context), 120, "the change that came meanwhile")
    plan_b.run(running(), "mysql-only", undo=True)
    assert traffic.get(scene.context).flag.weight == 5
