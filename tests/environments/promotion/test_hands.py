"""What a promotion does to this clone: settings compared without secrets, work trees, packages lent."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from infra import settings
from infra.declared import stand_in_plugin
from local.engine import PROJECT
from scripts.console import Console
from scripts.environments.config_difference import config_difference
from scripts.environments.promote_hands import Engine, lend_packages, work_tree
from scripts.errors import UsageError, ZdmError
from tests.environments.promotion.conftest import git


def write(folder: Path, name: str, config: dict[str, object]) -> Path:
    path = folder / f"Pulumi.{name}.yaml"
    path.write_text(yaml.safe_dump({"config": config}))
    return path


def test_settings_differ_by_name_and_secrets_are_not_shown(tmp_path: Path) -> None:
    plugin = {"plugin": str(stand_in_plugin(tmp_path))}
    hook = "https://hooks.example/services/T0/secret"
    staging = write(
        tmp_path, "staging", {"aws:region": "x", "zdm:environment": "staging", "zdm:cdc": plugin, "zdm:owner": "a"}
    )
    prod = write(
        tmp_path,
        "prod",
        {
            "zdm:environment": "staging",
            "zdm:cdc": plugin,
            "zdm:owner": {"secure": "v1:abcdef"},
            "zdm:observability": {"webhooks": [hook]},
            "zdm:aurora": {"readers": 4},
        },
    )
    found = {one.name: (one.source, one.target) for one in config_difference(staging, prod, "zdm")}
    assert found == {
        "owner": ("a", "(not shown)"),
        "aurora.readers": ("2", "4"),
        "observability.webhooks": ("(none)", "(not shown)"),
    }
    assert config_difference(staging, staging, "zdm") == []
    wrong = write(tmp_path, "wrong", {"zdm:aurora": {"reeders": 4}})
    with pytest.raises(UsageError, match=r"aurora\.reeders: there is no such setting"):
        config_difference(staging, wrong, "zdm")
    assert settings.ROOT == PROJECT


def test_what_there_is_to_go_back_to(clone: Path) -> None:
    hands = Engine("staging", "prod", True, Console(quiet=True))
    first = git(clone, "rev-parse", "HEAD")[:12]
    assert hands.no_way_back(first, "0123456789ab") == ""
    assert "not known" in hands.no_way_back("", first) and "not known" in hands.no_way_back("unknown", first)
    assert "not committed" in hands.no_way_back(f"{first}+", "0123456789ab")
    assert "no other" in hands.no_way_back(first, first)
    assert "git fetch" in hands.no_way_back("0123456789ab", first)


def test_label_is_taken_out_again_and_nothing_else(clone: Path) -> None:
    hands = Engine("staging", "prod", True, Console(quiet=True))
    file = write(clone, "prod", {"zdm:environment": "prod", "zdm:snapshots": {"sharedWith": ["123456789012"]}})
    git(clone, "add", ".")
    git(clone, "commit", "-qm", "settings")
    committed = file.read_text()
    settings_ = yaml.safe_load(committed)
    settings_["config"]["zdm:snapshots"]["label"] = "g1"
    file.write_text(yaml.safe_dump(settings_))
    hands.tidy()
    assert file.read_text() == committed
    settings_["config"]["zdm:owner"] = "somebody"
    file.write_text(yaml.safe_dump(settings_))
    with pytest.raises(ZdmError, match="changes besides the label"):
        hands.tidy()


def test_work_tree_of_a_former_revision(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZDM_HOME", str(tmp_path / "home"))
    (clone / ".zdm").mkdir()
    (clone / ".zdm/schema.json").write_text("{}")
    first = git(clone, "rev-parse", "HEAD")[:12]
    (clone / "program.py").write_text("second\n")
    git(clone, "commit", "-qam", "second")
    tree = work_tree(first)
    assert (tree / "program.py").read_text() == "first\n" and (tree / ".zdm/schema.json").read_text() == "{}"
    (tree / "program.py").write_text("what an update of before has left\n")
    assert work_tree(first) == tree and (tree / "program.py").read_text() == "first\n"
    (tree / ".git").unlink()  # as a run that was killed while it made it
    assert (work_tree(first) / "program.py").read_text() == "first\n"
    assert git(clone, "status", "--porcelain", "--untracked-files=no") == ""


@pytest.mark.real
def test_packages_are_lent_and_the_modules_are_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other work tree's `./zdm` runs at once, without making an environment, and from its own files."""
    there = tmp_path / "there"
    git(PROJECT, "clone", "-q", "--shared", str(PROJECT), str(there))
    lend_packages(PROJECT, there)
    environment = {**os.environ, "PIP_NO_INDEX": "1"}
    done = subprocess.run(
        [str(there / "zdm"), "--help"], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0 and "Python packages" not in done.stderr, done.stderr
    words = [str(there / ".venv/bin/python"), "-P", "-c", "import scripts; print(scripts.__file__)"]
    told = subprocess.run(words, cwd="/", capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(there / "scripts/__init__.py")
    own = (PROJECT / ".venv/bin/python").parent.parent.glob("lib/python3*/site-packages/zdm.pth")
    assert [path.read_text().strip() for path in own] == [str(PROJECT)], "the lender's is as it was"

    other = tmp_path / "other"
    other.mkdir()
    (other / "requirements.lock").write_text("another\n")
    lend_packages(PROJECT, other)
    assert not (other / ".venv").exists()
