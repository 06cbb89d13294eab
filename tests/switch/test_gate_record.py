"""A gate's record: what is signed stays what it was, and a cutover takes only what is fit."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.flag import Flag
from contract.outputs import load_outputs
from scripts import cli
from scripts.context import Context
from scripts.errors import UsageError
from scripts.switch import gate, gate_record, journal
from tests.switch.conftest import Lab

KEY = "k" * 32
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(-1e12, 1e12) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), VALUES, max_size=5), st.text(min_size=1, max_size=6))
def test_only_what_was_signed_is_authentic(body: dict[str, Any], name: str) -> None:
    record = gate_record.signed(body, KEY)
    assert gate_record.authentic(json.loads(json.dumps(record)), KEY)
    assert not gate_record.authentic(record, KEY + "x")
    changed = "another" if name == "signature" else body.get(name)
    assert not gate_record.authentic({**record, name: [changed]}, KEY) or body.get(name) == [changed]
    assert not gate_record.authentic(body, KEY)


def test_numbers_may_come_back_in_another_dress() -> None:
    record = gate_record.signed({"a": 5.0, "b": 1e-05, "c": 1e16, "d": [0.001, -0.0]}, KEY)
    there = json.loads('{"a": 5, "b": 0.00001, "c": 10000000000000000, "d": [0.0010, 0]}')
    assert gate_record.authentic({**there, "signature": record["signature"]}, KEY)
    with pytest.raises(ValueError, match="Out of range"):
        gate_record.signed({"a": float("nan")}, KEY)


@pytest.mark.real
def test_stack_without_a_key_is_told_what_to_do(lab: Lab) -> None:
    old = {**lab.outputs, "gateSecret": ""}
    with pytest.raises(UsageError, match="gateSecret"):
        gate.run(Context(load_outputs(old, "test"), lab.context.home), window=1, console=lab.quiet)


def stored(lab: Lab, **changes: Any) -> dict[str, Any]:
    """A record as `gate` makes it, with some of its body changed and signed again."""
    with lab.context.postgres() as pg:
        record = journal.last_record(pg, journal.GATE)
    assert record is not None
    return gate_record.signed({**record.body, **changes}, gate_record.key_of(lab.context))


@pytest.mark.real
def test_what_a_cutover_refuses(lab: Lab) -> None:
    epoch = lab.mysql("SELECT epoch FROM zdm.fence")[0][0]
    flag = Flag(v=1, epoch=epoch)
    now = datetime.now(UTC)

    def refused(record: dict[str, Any] | None, at: datetime = now, flag: Flag = flag) -> str:
        return "; ".join(gate_record.refusals(lab.context, record, flag, at))

    assert refused(stored(lab)) == ""
    assert "has not been passed: run `./zdm gate dev --approve NAME`" in refused(None)
    assert "not signed" in refused({**stored(lab), "ok": False})
    assert "not signed" in refused({})
    assert "the gate is closed (errors)" in refused(stored(lab, ok=False, reason="errors"))
    assert "nobody has approved" in refused(stored(lab, approvedBy=""))
    assert "older than 4:00:00" in refused(stored(lab), now + timedelta(hours=5))
    assert "clock" in refused(stored(lab), now - timedelta(hours=1))
    assert "in epoch" in refused(stored(lab), flag=replace(flag, epoch=epoch + 1))
    assert "revision" in refused(stored(lab, revision="0123456789ab"))
    assert "is of zdm/prod" in refused(stored(lab, stack="prod"))
    assert "another version" in refused(stored(lab, v=2))


@pytest.mark.real
def test_the_record_that_was_printed_is_verified(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs, file = tmp_path / "outputs.json", tmp_path / "record.json"
    outputs.write_text(json.dumps(lab.outputs))
    with lab.context.postgres() as pg:
        result = gate.GateResult(60.0, Flag(), [gate.Measure("lag", 0.25, 30.0, True, "s")], approved_by="Ann")
        file.write_text(json.dumps(gate.store(lab.context, pg, result).to_json(), indent=2))
        last = journal.last_record(pg, journal.GATE)
    assert last is not None and last.body == json.loads(file.read_text())
    words = ["gate", "dev", "--verify", str(file), "--outputs", str(outputs), "--json"]
    assert cli.app(words, standalone_mode=False) == cli.Answer(True)
    assert json.loads(capsys.readouterr().out)["ok"] is True
    file.write_text(file.read_text().replace("Ann", "Bob"))
    assert cli.app(words, standalone_mode=False) == cli.Answer(False)
    file.write_text("[]")
    with pytest.raises(UsageError, match="no record"):
        cli.app(words, standalone_mode=False)
