"""The policy pack beside the real engine: what breaks a rule is refused, the project's stacks keep them all."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

from infra.declared import stand_in_plugin
from local import engine
from policies.pack import ALL
from policies.rule import Level
from tests.policies.test_rules import CASES, STACKS

HERE = Path(__file__).parent


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the program `broken.py`, this project's policy pack, and a provider that takes everything."""
    folder = tmp_path / "project"
    (folder / "bin").mkdir(parents=True)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "policies").symlink_to(engine.PROJECT / "policies")
    (folder / "__main__.py").write_text("import tests.policies.broken\n")
    runtime = {"name": "python", "options": {"virtualenv": ".venv"}}
    (folder / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "broken", "runtime": runtime}))
    plugin = folder / "bin/pulumi-resource-aws"
    plugin.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "anything.py"} "$@"\n')
    plugin.chmod(0o755)
    monkeypatch.setenv("ZDM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZDM_PYTHON", sys.executable)
    return folder


@pytest.mark.real
def test_a_program_that_breaks_every_rule_is_refused_with_each_rules_words(project: Path) -> None:
    env = engine.environment(local=True)
    env["PATH"] = f"{project / 'bin'}:{env['PATH']}"
    stack = engine.Deployment("broken", project, env, True, policies=project / "policies")
    outcome = stack.preview()
    assert outcome.refused
    told: dict[tuple[str, str], str] = defaultdict(str)
    for violation in outcome.violations:
        told[violation.rule, violation.name] += violation.wrong
    for number, (rule, _, _, says, _) in enumerate(CASES):
        assert says in told[rule, f"{number}-{rule}"]
    for number, (rule, _, says, _) in enumerate(STACKS):
        prefix = f"stack-{number}-{rule}-"
        assert any(key[0] == rule and key[1].startswith(prefix) and says in wrong for key, wrong in told.items())
    levels = {violation.rule: violation.mandatory for violation in outcome.violations}
    assert levels == {rule.name: rule.level is Level.MANDATORY for rule in ALL}
    assert all(violation.type.startswith("aws:") for violation in outcome.violations)


@pytest.mark.real
@pytest.mark.parametrize("name", ["dev", "staging", "prod"])
def test_the_projects_stacks_keep_every_rule(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZDM_HOME", str(tmp_path))
    outcome = engine.workspace(name, True, {"cdc.plugin": str(stand_in_plugin(tmp_path))}).preview()
    assert [str(violation) for violation in outcome.violations if violation.mandatory] == []
    assert outcome.counts["create"] > 100
