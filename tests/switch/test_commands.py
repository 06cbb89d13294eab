"""Commands as a workflow writes them, on a running pipeline."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import cli
from tests.switch.conftest import Lab


@pytest.mark.real
def test_the_nightly_check(lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps(lab.outputs))
    words = ["data-check", "dev", "--outputs", str(outputs), "--busy", "0.5", "--json"]
    lab.postgres("DELETE FROM zdm.record")  # the first night there is nothing to stand on
    for kind in ("full", "nightly"):
        answer = cli.app([*words, "--nightly"], standalone_mode=False)
        assert answer == cli.Answer(True)
        told = json.loads(capsys.readouterr().out)
        assert (told["verdict"], told["kind"]) == ("equal", kind)

    lab.postgres("UPDATE customers SET n = n + 1 WHERE id = 7")
    assert cli.app(words, standalone_mode=False) == cli.Answer(False)
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["mismatches"]) == ("different", 1)
