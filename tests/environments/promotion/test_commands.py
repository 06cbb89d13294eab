"""Commands as the workflow writes them, with everything that stands in the way of an empty promotion."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts import cli, cli_environments
from scripts.environments import promote_hands
from tests.environments.promotion.conftest import Lab, Played


def test_the_commands_of_the_workflow(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is accepted and the window holds where the workflow's inputs are left empty."""
    from scripts import stacks

    monkeypatch.setattr(cli_environments, "context", lambda stack, *_: lab.context(stack))
    monkeypatch.setattr(cli_environments, "context_of_another", lambda stack, *_: lab.context(stack))
    monkeypatch.setattr(promote_hands, "Engine", lambda *_: Played(lab))

    def outputs(stack: str, **_: Any) -> dict[str, Any]:
        return lab.context(stack).outputs.model_dump(by_alias=True, exclude_none=True)

    monkeypatch.setattr(stacks, "outputs", outputs)
    for name, value in lab.account.settings.items():
        monkeypatch.setenv(name, value)
    asked = ["--approve", "ann (run 7)", "--accept", "", "--window-override", ""]
    plan = ["promote", "staging", "prod", "--dry-run", *asked]
    assert cli.app(plan, standalone_mode=False) == cli.Answer(True)
    assert "could be promoted" in capsys.readouterr().out
    wanted = ["promote", "staging", "prod", *asked, "--json"]
    assert cli.app(wanted, standalone_mode=False) == cli.Answer(True)
    told = json.loads(capsys.readouterr().out)
    assert (told["outcome"], told["record"]["approvedBy"]) == ("promoted", "ann (run 7)")
    assert (told["record"]["accepted"], told["record"]["windowOverride"]) == ([], "")
    assert cli.app(["promote", "status", "prod"], standalone_mode=False) == cli.Answer(True)
    seen = capsys.readouterr().out
    assert "approved by ann (run 7)" in seen and "is well" in seen

    staging = ["evidence", "list", "staging", "--kind", "security"]
    assert cli.app(staging, standalone_mode=False) == cli.Answer(True)
    assert "security" in capsys.readouterr().out
    with pytest.raises(cli.UsageError, match="exclude each other"):
        cli.app([*plan, "--undo"], standalone_mode=False)
