"""What the workflows run, with the real engine and the local cloud."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from local import engine
from local.environment import environment
from local.stack import existing_stack
from scripts import cli, stacks
from scripts.context import git_revision
from scripts.markdown import marker

PROGRAM = """
import os

import pulumi
import pulumi_aws as aws

logs = aws.cloudwatch.LogGroup("logs", name="shop", retention_in_days=30)
pulumi.export("logs", logs.name)
pulumi.export("revision", os.environ.get("ZDM_REVISION", "another one"))
"""


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small project in the place of this one, with one log group in its stack `tiny`."""
    folder = tmp_path / "project"
    (folder / "infra").mkdir(parents=True)
    (folder / "infra/__main__.py").write_text(PROGRAM)
    (folder / ".venv").symlink_to(sys.prefix)
    runtime = {"name": "python", "options": {"virtualenv": ".venv"}}
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "tiny", "main": "infra/", "runtime": runtime}))
    (folder / "Pulumi.tiny.yaml").write_text("config:\n  aws:region: eu-west-1\n")
    monkeypatch.setenv("ZDM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZDM_PYTHON", sys.executable)
    monkeypatch.setattr(stacks.engine, "workspace", partial(engine.workspace, project=folder))
    yield folder
    stack = existing_stack("tiny")
    for process in stack.processes() if stack else ():
        process.stop(2)


def zdm(*words: str) -> int:
    """The exit code of a command line."""
    answer = cli.app(list(words), standalone_mode=False)
    assert isinstance(answer, cli.Answer)
    return 0 if answer.ok else answer.code


@pytest.mark.real
def test_a_preview_for_a_pull_request(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    markdown, plan = tiny / "preview.md", tiny / "plan.json"
    assert zdm("preview", "tiny", "--local", "--markdown", str(markdown), "--plan", str(plan), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["counts"], told["violations"]) == ({"create": 2}, [])
    text = markdown.read_text()
    assert text.startswith(marker("tiny"))
    assert "`aws:cloudwatch/logGroup:LogGroup` | `logs`" in text and "✅" in text
    assert any("LogGroup" in urn for urn in json.loads(plan.read_text())["resourcePlans"])

    (tiny / "policies").symlink_to(engine.PROJECT / "policies")
    assert zdm("preview", "tiny", "--local", "--markdown", str(markdown), "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert {v["rule"] for v in told["violations"]} == {"logs-encrypted", "tagged"}
    text = markdown.read_text()
    assert "❌" in text and "| `logs` | `logs-encrypted` | kmsKeyId must be set. " in text
    assert zdm("preview", "tiny", "--local") == 1
    seen = capsys.readouterr().out
    assert "refused" in seen and "logs-encrypted" in seen


COSTS = """
pulumi.export("region", "ap-southeast-1")
pulumi.export("cost", {
    "mysqlMonthlyUsd": 0.1, "overrunPercent": 30, "estimateMonthlyUsd": 0.11, "variancePercent": 10,
    "tags": {"environment": "dev"}, "usage": {"logsGib": 0.1429},
})
"""


@pytest.mark.real
def test_costs_of_a_stack_are_held_against_its_bounds(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tiny / "infra/__main__.py"
    program.write_text(PROGRAM + COSTS)
    assert zdm("cost", "tiny", "--local", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["totalUsd"], told["limitUsd"], told["notEstimated"]) == ("0.11", "0.13", [])
    assert told["actual"]["usd"] is None and told["actual"]["problem"]
    program.write_text(PROGRAM + COSTS.replace("0.1429", "1"))
    assert zdm("cost", "tiny", "--local", "--json") == 1
    assert json.loads(capsys.readouterr().out)["bounds"][0]["ok"] is False


MORE = """
aws.cloudwatch.LogGroup("more", name="more")
"""


@pytest.mark.real
def test_drift_is_told(tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    program, markdown = tiny / "infra/__main__.py", tiny / "drift.md"
    program.write_text(PROGRAM + MORE)
    drift = ("drift", "tiny", "--local", "--json", "--markdown", str(markdown))
    assert zdm("up", "tiny", "--local") == 0
    capsys.readouterr()
    assert zdm("outputs", "tiny", "--local") == 0
    assert json.loads(capsys.readouterr().out) == {"logs": "shop", "revision": git_revision()}
    assert zdm(*drift) == 0, "that the program has another revision by now is no drift"
    capsys.readouterr()

    import boto3

    for name, value in environment("tiny").items():
        monkeypatch.setenv(name, value)
    logs = boto3.client("logs", region_name="eu-west-1")
    logs.delete_log_group(logGroupName="more")
    assert zdm("preview", "tiny", "--local", "--expect-no-changes") == 0, "without a look nobody knows"
    logs.put_retention_policy(logGroupName="shop", retentionInDays=1)
    program.write_text(PROGRAM.replace("name=", "tags={'a': 'b'}, name=") + MORE)
    capsys.readouterr()
    assert zdm(*drift) == 1
    items = json.loads(capsys.readouterr().out)["items"]
    [gone] = [item for item in items if item["name"] == "more"]
    assert (gone["what"], gone["origin"]) == ("is gone", "drift")
    told = {i["property"]: (i["origin"], i["expected"], i["real"]) for i in items if i["name"] == "logs"}
    assert told.pop("retentionInDays") == ("drift", 30, 1)
    assert told and {origin for origin, *_ in told.values()} == {"not deployed"}
    row = "| `drift` | `aws:cloudwatch/logGroup:LogGroup` | `logs` | is different retentionInDays |"
    assert row in markdown.read_text()

    assert zdm("up", "tiny", "--local", "--refresh") == 0
    assert zdm(*drift) == 0
    assert zdm("destroy", "tiny", "--local", "--yes") == 0
