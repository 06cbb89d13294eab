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
from scripts.context import Context, context_from
from scripts.environments import evidence, promote_journal
from scripts.environments.promote_journal import Step
from tests.environments.promotion import tiny_shop
from tests.environments.promotion.conftest import Said, git

pytestmark = pytest.mark.real


class Repository:
    """The small repository, and its stacks."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        self.env = {**os.environ, "ZDM_HOME": str(home), "ZDM_PYTHON": sys.executable, "PYTHONPATH": str(PROJECT)}

    def revision(self, version: str, *, well: bool = True) -> str:
        """A further commit."""
        tiny_shop.serve(self.folder, version, well=well)
        git(self.folder, "add", ".")
        git(self.folder, "commit", "-qm", version)
        return git(self.folder, "rev-parse", "HEAD")[:12]

    def zdm(self, *words: str) -> tuple[int, str]:
        """Exit code and standard output of a command."""
        done = subprocess.run(
            [str(self.folder / "zdm"), *words], env=self.env, capture_output=True, text=True, check=False, timeout=300
        )
        print(done.stderr)
        return done.returncode, done.stdout

    def promote(self, *words: str) -> tuple[int, dict[str, Any]]:
        code, told = self.zdm("promote", "staging", "prod", "--local", "--json", *words)
        return code, json.loads(told)

    def up(self, stack: str) -> None:
        code, told = self.zdm("up", stack, "--local")
        assert code == 0, told

    def context(self, stack: str) -> Context:
        code, told = self.zdm("outputs", stack, "--local")
        assert code == 0
        return context_from(json.loads(told), stack, self.home, environment(stack))

    def prove(self) -> None:
        """Everything, of what is up in staging."""
        staging = self.context("staging")
        for kind in ("data-check", "load-test", "faults", "security"):
            evidence.keep(staging, kind, Said())


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    monkeypatch.setenv("ZDM_HOME", str(tmp_path / "home"))
    scripts.context._account.cache_clear()
    folder = tmp_path / "clone"
    tiny_shop.write(folder)
    monkeypatch.setattr(scripts.context, "PROJECT", folder)
    git(folder, "init", "-q", "-b", "main")
    yield Repository(folder, tmp_path / "home")
    for name in ("staging", "prod"):
        stack = existing_stack(name)
        for process in stack.processes() if stack else ():
            process.stop(2)


def test_not_well_and_killed_goes_back_and_the_next_one_stays(repository: Repository) -> None:
    first = repository.revision("first")
    repository.up("staging")
    repository.up("prod")
    prod = repository.context("prod")
    assert prod.outputs.revision == first
    shop = prod.outputs.router.url

    second = repository.revision("second", well=False)
    repository.up("staging")
    code, refused = repository.promote("--dry-run")
    assert code == 1 and refused["revision"] == second and refused["former"] == first
    assert [one["about"] for one in refused["refused"]] == ["data-check", "load-test", "faults", "security", "approval"]
    assert refused["preview"]["counts"]["update"] >= 1
    repository.prove()

    words = [str(repository.folder / "zdm"), "promote", "staging", "prod", "--local", "--approve", "Ann"]
    with subprocess.Popen([*words, "--watch", "120"], env=repository.env, stderr=subprocess.DEVNULL) as running:
        wait_until(lambda: _step(prod) is Step.UPDATING, 60, "the update")
        wait_until(lambda: _step(prod) is Step.WATCHING, 60, "the watch")
        running.kill()
    assert httpx.get(f"{shop}/").text == "second", "it is up, though it is not well"
    code, returned = repository.promote()
    assert (code, returned["outcome"]) == (4, "returned"), "as it was asked for, without saying it again"
    record = returned["record"]
    assert record["approvedBy"] == "Ann" and "/readyz were not answered" in record["reasons"][0]
    assert record["after"]["ok"] is True
    assert httpx.get(f"{shop}/").text == "first" and repository.context("prod").outputs.revision == first
    assert git(repository.folder, "status", "--porcelain") == ""
    stack = existing_stack("prod")
    assert stack is not None
    (service,) = [process for process in stack.processes() if process.name.startswith("ecs-api")]
    assert Path(f"/proc/{service.pid}/cwd").readlink() == repository.home / "revisions" / first, "by its own program"

    third = repository.revision("third")
    repository.up("staging")
    repository.prove()
    code, promoted = repository.promote("--approve", "Ann", "--watch", "3")
    assert (code, promoted["outcome"]) == (0, "promoted")
    assert httpx.get(f"{shop}/").text == "third" and repository.context("prod").outputs.revision == third
    label = promoted["record"]["label"]
    assert label in [one.outputs["name"] for one in stack.records.all("aws:cloudwatch/logGroup:LogGroup")]
    kept = evidence.latest(repository.context("prod"), "promotion", 5)
    assert [(one.ok, one.authentic, one.revision) for one in kept] == [(True, True, third), (False, True, second)]


def _step(prod: Context) -> Step | None:
    entry = promote_journal.read(prod)
    time.sleep(0.1)
    return entry.step if entry else None
