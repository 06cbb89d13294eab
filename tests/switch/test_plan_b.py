"""The roads out by the flag: there and back, twice, after a crash, and when someone else has changed things since."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.flag import Side, Writes
from local.processes import wait_until
from scripts import cli
from scripts.errors import UsageError, ZdmError
from scripts.switch import cutover, plan_b, plan_b_traffic, traffic
from scripts.switch.plan_b_action import Scene
from tests.switch.conftest import Lab, Shop

pytestmark = pytest.mark.real


def scene(lab: Lab) -> Scene:
    return Scene(lab.context, "dev", True, lab.quiet, deploys=False)


def take(lab: Lab, name: str, **options: bool) -> plan_b.PlanBResult:
    return plan_b.run(scene(lab), name, **options)


def standing(lab: Lab, name: str) -> plan_b.Standing | None:
    return plan_b.status(scene(lab)).standing[name]


def records(lab: Lab) -> list[dict[str, Any]]:
    return [body for (body,) in lab.postgres("SELECT body FROM zdm.record WHERE kind = 'plan-b' ORDER BY seq")]


def test_read_only_stops_every_writer_and_lets_all_go_on(lab: Lab) -> None:
    planned = take(lab, "read-only", dry_run=True)
    assert planned.steps == ["the flag: writes reject", "MySQL: read_only ON"]
    assert traffic.get(lab.context).flag.writes is Writes.OPEN and records(lab) == []
    with Shop(lab.context) as shop:
        done = take(lab, "read-only")
        assert done.steps == planned.steps
        assert traffic.get(lab.context).agree and traffic.get(lab.context).flag.writes is Writes.REJECT
        before = len(lab.mysql("SELECT id FROM orders"))
        with lab.context.mysql("app") as app, app.cursor() as cursor, pytest.raises(Exception, match="read-only"):
            cursor.execute("UPDATE customers SET n = 0")  # one that never asks
        wait_until(lambda: lab.postgres("SELECT count(*) FROM orders") == [(before,)], 60, "that Aurora has caught up")
        assert len(lab.mysql("SELECT id FROM orders")) == before
        assert take(lab, "read-only").steps == []
        found = standing(lab, "read-only")
        assert found is not None and (found.state, found.undoing) == ("done", False)
        with pytest.raises(UsageError, match="read-only --undo"):
            traffic.release(lab.context)
        refused = cutover.run(lab.context, console=lab.quiet)
        assert refused.outcome == "refused" and "read only already" in refused.reason
        undone = take(lab, "read-only", undo=True)
        assert undone.steps == ["MySQL: read_only OFF", "the flag: writes open"]
        shop.await_writes(20, "mysql")
    assert shop.errors == []
    assert standing(lab, "read-only") is None
    assert [(r["undo"], r["state"]) for r in records(lab)] == [
        (False, "begun"),
        (False, "done"),
        (True, "begun"),
        (True, "done"),
    ]
    assert "nothing to undo" in take(lab, "read-only", undo=True).note


def test_half_and_none_of_the_readers(lab: Lab) -> None:
    traffic.set_weight(lab.context, 50.01)
    assert take(lab, "half-traffic").after == {"weight": 25.0}
    assert traffic.get(lab.context).flag.weight == 25
    assert take(lab, "half-traffic").steps == []  # not a quarter
    assert take(lab, "mysql-only").before == {"weight": 25.0}
    assert traffic.get(lab.context).flag.weight == 0
    with pytest.raises(UsageError, match="changed since"):
        take(lab, "half-traffic")
    take(lab, "mysql-only", undo=True)
    assert traffic.get(lab.context).flag.weight == 25
    take(lab, "half-traffic", undo=True)
    assert traffic.get(lab.context).flag.weight == 50.01
    assert traffic.get(lab.context).agree


def test_what_was_changed_since_is_left(lab: Lab) -> None:
    traffic.set_weight(lab.context, 40)
    take(lab, "half-traffic")
    traffic.set_weight(lab.context, 5)
    undone = take(lab, "half-traffic", undo=True)
    assert undone.steps == [] and "Left as it is" in undone.note
    assert traffic.get(lab.context).flag.weight == 5
    assert standing(lab, "half-traffic") is None


def test_interrupted_road_is_gone_on_or_back(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZdmError("the session was lost")

    with monkeypatch.context() as patch:
        patch.setattr(plan_b_traffic, "_set_read_only", fail)
        with pytest.raises(ZdmError, match="lost"):
            take(lab, "read-only")
    found = standing(lab, "read-only")
    assert found is not None and found.state == "begun"
    assert found.before == {"writes": "open", "mysqlReadOnly": False}
    assert take(lab, "read-only").steps == ["MySQL: read_only ON"]
    with monkeypatch.context() as patch:
        patch.setattr(plan_b_traffic, "_set_read_only", fail)
        with pytest.raises(ZdmError, match="lost"):
            take(lab, "read-only", undo=True)
    found = standing(lab, "read-only")
    assert found is not None and found.undoing
    take(lab, "read-only", undo=True)
    assert lab.mysql("SELECT @@read_only") == [(0,)]
    assert traffic.get(lab.context).flag.may_write(Side.MYSQL)


@pytest.fixture
def dual(lab: Lab) -> Iterator[Callable[[], bool]]:
    """Dual mode is on; says whether it is."""
    lab.mysql("UPDATE zdm.fence SET dual_writes = 1")
    yield lambda: lab.mysql("SELECT dual_writes FROM zdm.fence") == [(1,)]
    lab.mysql("SET GLOBAL super_read_only = OFF")
    lab.mysql("UPDATE zdm.fence SET dual_writes = 0")


def test_second_writes_are_paused(lab: Lab, dual: Callable[[], bool]) -> None:
    before = traffic.get(lab.context)
    assert take(lab, "pause-dual-write", dry_run=True).steps and dual()
    with lab.context.mysql("app", autocommit=False) as writer, writer.cursor() as cursor:
        cursor.execute("SELECT v FROM zdm.fence FOR SHARE")  # a write under way: nothing changes below it
        with pytest.raises(ZdmError, match="cannot be changed"):
            take(lab, "pause-dual-write")
        assert dual()
        writer.rollback()
    take(lab, "pause-dual-write")
    assert not dual() and take(lab, "pause-dual-write").steps == []
    take(lab, "pause-dual-write", undo=True)
    assert dual() and traffic.get(lab.context) == before
    take(lab, "pause-dual-write")
    assert cutover.run(lab.context, console=lab.quiet).outcome == "open"
    assert "Left as it is" in take(lab, "pause-dual-write", undo=True).note
    with pytest.raises(UsageError, match="no second writes"):
        take(lab, "pause-dual-write")


def test_after_the_cutover_only_writes_can_be_refused(lab: Lab) -> None:
    assert cutover.run(lab.context, console=lab.quiet).outcome == "open"
    for name in ("mysql-only", "half-traffic", "cdc-to-dms"):
        with pytest.raises(UsageError, match="Aurora is the writer"):
            take(lab, name)
    assert take(lab, "read-only").steps == ["the flag: writes reject"]
    assert not traffic.get(lab.context).flag.may_write(Side.AURORA)
    take(lab, "read-only", undo=True)
    assert traffic.get(lab.context).flag.may_write(Side.AURORA)
    assert lab.mysql("SELECT @@super_read_only") == [(1,)]


def test_commands(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps(lab.outputs))

    def zdm(*words: str) -> Any:
        answer = cli.app(["plan-b", "dev", *words, "--outputs", str(outputs), "--json"], standalone_mode=False)
        assert answer == cli.Answer(True)
        return json.loads(capsys.readouterr().out)

    traffic.set_weight(lab.context, 10)
    assert zdm("mysql-only", "--dry-run")["changed"] is False
    assert zdm("mysql-only")["changed"] is True
    [row] = [r for r in zdm("status")["actions"] if r["action"] == "mysql-only"]
    assert row["inForce"]["before"] == {"weight": 10}
    assert zdm("mysql-only", "--undo")["after"] == {"weight": 10}
    with pytest.raises(UsageError, match="choose from read-only"):
        zdm("pray")
    with pytest.raises(UsageError, match="without --outputs"):
        zdm("add-reader")
