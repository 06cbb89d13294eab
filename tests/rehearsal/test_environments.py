"""The story of the environments, as a user starts it: small, from the first snapshot to the last process gone."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from local.stack import listening_networks
from scripts.rehearsal.environments_result import ENVIRONMENTS, WANTED

PROJECT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, text=True, check=False).stdout


def test_from_productions_snapshot_to_production_again(tmp_path: Path) -> None:
    networks, status, branches = listening_networks(), git("status", "--porcelain"), git("branch", "--all")
    done = subprocess.run(
        [PROJECT / "zdm", "rehearse", "--environments", "--rows", "2000", "--json"],
        env={**os.environ, "ZDM_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=1400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    told = json.loads(done.stdout)
    assert told["ok"] is True
    figures = {figure["key"]: figure for figure in told["figures"]}
    assert set(figures) == {wanted.key for wanted in WANTED}
    assert [figures[key]["value"] for key in ("lost", "personal", "joins", "different", "left", "erased")] == [0] * 6
    assert {chapter["environment"] for chapter in told["chapters"]} == set(ENVIRONMENTS)
    assert all(chapter["ok"] and chapter["text"] for chapter in told["chapters"])
    page = Path(told["page"])
    for name in ("index", *ENVIRONMENTS):
        text = page.with_name(f"{name}.html").read_text()
        assert "Passed" in text and "http://" not in text.replace("http://www.w3.org", "")
    assert listening_networks() <= networks, "the rehearsal left a port open"
    assert not (tmp_path / "environments/home").exists()
    assert (status, branches) == (git("status", "--porcelain"), git("branch", "--all")), "this clone was touched"


def test_options_of_the_other_rehearsal_are_refused(tmp_path: Path) -> None:
    for words, told in ((("--rollback",), "--rollback does not go"), (("--inside", str(tmp_path)), "leave it out")):
        done = subprocess.run(
            [PROJECT / "zdm", "rehearse", "--environments", *words],
            env={**os.environ, "ZDM_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2 and told in done.stderr, done.stderr
    assert not (tmp_path / "environments").exists()
