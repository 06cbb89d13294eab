"""The team's repository in the rehearsal of environments: a copy of this project, in which changes are commits.

Invariants:
- This project's own repository, its files and its findings are not touched. What is not committed here is part of the
  copy's first revision, so that work in progress can be rehearsed.
- Stacks are called `dev`, `staging` and `prod` in the copy, and live in a folder of their own: nobody's stacks of these
  names on this machine are met.
- The Python packages are shared with this project, as hard links; so is `.zdm` with what was built once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from scripts.context import PROJECT
from scripts.environments.promote_hands import lend_packages
from scripts.errors import ZdmError

AUTHOR = ("-c", "user.name=rehearsal", "-c", "user.email=rehearsal@localhost", "-c", "commit.gpgsign=false")
STACKS = ("dev", "staging", "prod")
SHARED = (".", ":(exclude)findings")
"""What the copy consists of, for `git add`: all that is not ignored, without this project's findings."""
SALT = "v1:Wjn536coCpk=:v1:ibjfn2Nrp8UGFQSZ:dhSSv+JZOJYdkJ0aEJKQ3dEI0wcUcw=="
"""Of the passphrase of local stacks (`engine.PASSPHRASE`), which guards throwaway data: no secret."""


@dataclass(frozen=True)
class Clone:
    """`folder` holds all of a rehearsal of environments; the copy of the project is in it."""

    folder: Path

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def home(self) -> Path:
        """Where the copy's stacks live (`ZDM_HOME`)."""
        return self.folder / "home"

    def make(self, settings: Mapping[str, Mapping[str, Any]]) -> None:
        """Copies the project and gives its stacks these settings. What was there before is thrown away."""
        shutil.rmtree(self.project, ignore_errors=True)
        shutil.rmtree(self.home / "revisions", ignore_errors=True)  # work trees of the copy that was here before
        self.project.mkdir(parents=True)
        _git(self.project, "init", "--quiet", "--initial-branch=main")
        from_here = (f"--git-dir={self.project / '.git'}", f"--work-tree={PROJECT}")
        _git(PROJECT, *from_here, "add", "--all", "--", *SHARED)
        _git(PROJECT, *from_here, *AUTHOR, "commit", "--quiet", "--no-verify", "-m", "The program as it is here")
        _git(self.project, "reset", "--quiet", "--hard")
        (self.project / ".zdm").symlink_to(PROJECT / ".zdm")
        lend_packages(PROJECT, self.project)
        for stack in STACKS:
            self.file(stack).unlink(missing_ok=True)  # of the real ones
        self.commit("Three small stacks", settings)

    def commit(self, message: str, settings: Mapping[str, Mapping[str, Any]]) -> str:
        """Changes settings of stacks, by `group.setting`, and commits that; returns the revision."""
        for stack, values in settings.items():
            self._write(stack, values)
        files = [self.file(stack).name for stack in settings]
        _git(self.project, "add", "--", *files)
        _git(self.project, *AUTHOR, "commit", "--quiet", "--no-verify", "-m", message)
        return _git(self.project, "rev-parse", "HEAD")[:12]

    def back_to(self, revision: str) -> None:
        """What a team does after a change that was taken back: it is undone in the repository, too."""
        _git(self.project, "reset", "--quiet", "--hard", revision)

    def file(self, stack: str) -> Path:
        return self.project / f"Pulumi.{stack}.yaml"

    def _write(self, stack: str, values: Mapping[str, Any]) -> None:
        file = self.file(stack)
        known = yaml.safe_load(file.read_text()) if file.is_file() else {}
        name = yaml.safe_load((self.project / "Pulumi.yaml").read_text())["name"]
        config = nested(name, known.get("config") or {}, values)
        file.write_text(yaml.safe_dump({"config": config, "encryptionsalt": SALT}, sort_keys=False))

    def remove_work_trees(self) -> None:
        """Of revisions that a promotion went back to."""
        shutil.rmtree(self.home / "revisions", ignore_errors=True)
        _git(self.project, "worktree", "prune")


def nested(project: str, known: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration `known` with further settings: `aurora.readers` is `readers` in the group `project:aurora`."""
    config = {name: dict(value) if isinstance(value, Mapping) else value for name, value in known.items()}
    for path, value in values.items():
        group, _, name = path.partition(".")
        key = f"{project}:{group}"
        if name:
            config[key] = {**config.get(key, {}), name: value}
        else:
            config[key] = value
    return config


def _git(folder: Path, *words: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        run = subprocess.run(
            ["git", *words], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
    except FileNotFoundError as e:
        raise ZdmError("the rehearsal of environments needs git on PATH") from e
    if run.returncode:
        raise ZdmError(f"git {' '.join(words)} failed: {run.stderr.strip()}")
    return run.stdout.strip()
