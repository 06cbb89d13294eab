"""Promotions between two stacks of this machine, by the real engine: a revision that is not well, whose run is killed
and started again, goes back; the next one stays."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import scripts.context
from local.engine import PROJECT
from local.environment import environment
from local.processes import wait_until
from local.stack import existing_stack
from scripts import cli, stacks
from scripts.console import Console
from scripts.context import Context, context_from
from scripts.environments import evidence, promote_journal
from scripts.environments.promote_journal import Step
from tests.environments.promotion import tiny_shop
from tests.environments.promotion.conftest import Said, git

pytestmark = pytest.mark.real


class Repository:
    """The small repository, and its stacks."""

    def __init__(self, folder: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.home, self._capsys = folder, home, capsys

    def revision(self, version: str, *, well: bool = True) -> str:
        """A further commit."""
        tiny_shop.serve(self.folder, version, well=well)
        git(self.folder, "add", ".")
        git(self.folder, "commit", "-qm", version)
        return git(self.folder, "rev-parse", "HEAD")[:12]

    def promote(self, *words: str) -> tuple[cli.Answer, dict[str, Any]]:
        self._capsys.readouterr()
        answer = cli.app(["promote", "staging", "prod", "--local", "--json", *words], standalone_mode=False)
        return answer, json.loads(self._capsys.readouterr().out)

    def up(self, stack: str) -> Context:
        stacks.up(stack, local=True, console=Console(quiet=True))
        return self.context(stack)

    def context(self, stack: str) -> Context:
        return context_from(stacks.outputs(stack, local=True), stack, self.home, environment(stack))

    def prove(self, staging: Context) -> None:
        """Everything, of what is up there."""
        for kind in ("data-check", "load-test", "faults", "security"):
            evidence.keep(staging, kind, Said())


@pytest.fixture
def repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Repository]:
    before = dict(os.environ)
    monkeypatch.setenv("ZDM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZDM_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    scripts.context._account.cache_clear()
    folder = tmp_path / "clone"
    tiny_shop.write(folder)
    tiny_shop.stand_in(folder, monkeypatch.setattr)
    git(folder, "init", "-q", "-b", "main")
    yield Repository(folder, tmp_path / "home", capsys)
    for name in ("staging", "prod"):
        stack = existing_stack(name)
        for process in stack.processes() if stack else ():
            process.stop(2)
    os.environ.clear()
    os.environ.update(before)


def test_not_well_and_killed_goes_back_and_the_next_one_stays(repository: Repository) -> None:
    first = repository.revision("first")
    repository.up("staging")
    prod = repository.up("prod")
    assert prod.outputs.revision == first
    shop = prod.outputs.router.url

    second = repository.revision("second", well=False)
    repository.prove(repository.up("staging"))
    words = [str(repository.folder / "zdm"), "promote", "staging", "prod", "--local", "--approve", "Ann"]
    with subprocess.Popen([*words, "--watch", "120"], stderr=subprocess.DEVNULL) as running:
        wait_until(lambda: _step(prod) is Step.WATCHING, 120, "the watch")
        running.kill()
    assert httpx.get(f"{shop}/").text == "second", "it is up, though it is not well"
    answer, returned = repository.promote()
    assert (answer, returned["outcome"]) == (cli.Answer(False, 4), "returned"), "it was asked for once"
    record = returned["record"]
    assert record["approvedBy"] == "Ann" and "/readyz were not answered" in record["reasons"][0]
    assert record["preview"]["update"] == 1 and record["after"]["ok"] is True
    assert httpx.get(f"{shop}/").text == "first" and repository.context("prod").outputs.revision == first
    assert git(repository.folder, "status", "--porcelain") == ""
    stack = existing_stack("prod")
    assert stack is not None
    (service,) = [process for process in stack.processes() if process.name.startswith("ecs-api")]
    assert Path(f"/proc/{service.pid}/cwd").readlink() == repository.home / "revisions" / first, "by its own program"

    third = repository.revision("third")
    repository.prove(repository.up("staging"))
    answer, promoted = repository.promote("--approve", "Ann", "--watch", "3")
    assert (answer.ok, promoted["outcome"]) == (True, "promoted")
    assert httpx.get(f"{shop}/").text == "third" and repository.context("prod").outputs.revision == third
    label = promoted["record"]["label"]
    assert label in [one.outputs["name"] for one in stack.records.all("aws:cloudwatch/logGroup:LogGroup")]
    kept = evidence.latest(prod, "promotion", 5)
    assert [(one.ok, one.authentic, one.revision) for one in kept] == [(True, True, third), (False, True, second)]


def _step(prod: Context) -> Step | None:
    entry = promote_journal.read(prod)
    time.sleep(0.2)
    return entry.step if entry else None
