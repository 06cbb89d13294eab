"""What a promotion does to stacks, through the engine: preview and update from this work tree, return from another one.

Invariants:
- The way back is the former revision's own program: a work tree of it beside this one, with its own `./zdm up`. Nothing
  of the new revision takes part in it but this file.
- Only what the program finds in git differs there. What is not in git (`.zdm`: plugin, tables, certificates, and the
  state of local stacks) is shared; the Python packages are, too, as hard links, where both revisions lock the same.
- The label of the snapshots is written into the stack's file by the update, and taken out again: the work tree was
  clean, and is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml

from infra.revision import UNKNOWN, changed_files
from local.stack import default_root
from scripts import stacks
from scripts.console import Console
from scripts.context import PROJECT
from scripts.environments.config_difference import Difference, config_difference
from scripts.errors import ZdmError
from scripts.stacks import StackResult

TAIL = 15
"""Last lines of an update that failed."""


class Hands(Protocol):
    """Each raises `ZdmError` when it cannot be done, `stacks.Busy` while another run changes the stack."""

    def difference(self) -> list[Difference]: ...

    def preview(self) -> StackResult: ...

    def up(self, label: str, *, again: bool) -> StackResult:
        """Brings the target up with this revision, after snapshots under the label. `again`: it was begun before."""
        ...

    def no_way_back(self, former: str, revision: str) -> str:
        """Why one cannot go back to the former revision; empty if one can."""
        ...

    def go_back(self, former: str, label: str) -> None: ...

    def tidy(self) -> None:
        """Leaves the work tree as it was."""
        ...


@dataclass(frozen=True)
class Engine:
    """The real ones."""

    source: str
    target: str
    local: bool
    console: Console

    def difference(self) -> list[Difference]:
        here, there = (stacks.settings_file(name, local=self.local) for name in (self.source, self.target))
        return config_difference(here, there, yaml.safe_load((PROJECT / "Pulumi.yaml").read_text())["name"])

    def preview(self) -> StackResult:
        return stacks.preview(self.target, local=self.local, console=self.console)

    def up(self, label: str, *, again: bool) -> StackResult:
        if again:
            self.tidy()
        return stacks.up(self.target, local=self.local, console=self.console, refresh=again, snapshot=label)

    def no_way_back(self, former: str, revision: str) -> str:
        if not former or former.startswith(UNKNOWN):
            return f"with which revision {self.target} was brought up is not known"
        if former.endswith("+"):
            return f"{self.target} was brought up with changes to revision {former[:-1]} that were not committed"
        if former == revision:
            return f"{self.target} has had revision {former} before: there is no other to go back to"
        if _git("cat-file", "-e", f"{former}^{{commit}}", check=False) is None:
            return f"this clone has no revision {former}: fetch all of the history (git fetch --unshallow)"
        return ""

    def go_back(self, former: str, label: str) -> None:
        with self.console.step(f"Bring {self.target} back to revision {former}, by its own program") as step:
            project = work_tree(former)
            lend_packages(PROJECT, project)
            words = [str(project / "zdm"), "up", self.target, "--snapshot", label]
            words.append("--local" if self.local else "--cloud")
            env = {**os.environ, "ZDM_HOME": str(default_root())}
            lines: list[str] = []
            with subprocess.Popen(
                words, cwd=project, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    lines.append(line.rstrip())
                    step.update(lines[-1])
            if process.returncode:
                raise ZdmError(f"{' '.join(words)} failed:\n" + "\n".join(lines[-TAIL:]))
            up = stacks.outputs(self.target, local=self.local).get("revision")
            if up != former:
                raise ZdmError(f"{self.target} has revision {up} after it was brought back to {former}")
            if not self.local:  # services of a local stack run from there
                _git("worktree", "remove", "--force", str(tree_of(former)))

    def tidy(self) -> None:
        name = f"Pulumi.{self.target}.yaml"
        if changed_files(PROJECT) != [name]:
            return
        committed = yaml.safe_load(_git("show", f"HEAD:./{name}") or "")
        if _without_label(committed) != _without_label(yaml.safe_load((PROJECT / name).read_text())):
            raise ZdmError(f"{name} has changes besides the label of the snapshots: commit or undo them")
        _git("checkout", "--", name)


def tree_of(revision: str) -> Path:
    """Where the work tree of a revision is."""
    return default_root() / "revisions" / revision


def work_tree(revision: str) -> Path:
    """The project as it was at a revision, in a work tree of its own, made if it is not there; and what both share."""
    tree = tree_of(revision)
    if tree.exists() and not (_git("-C", str(tree), "rev-parse", "HEAD", check=False) or "").startswith(revision):
        shutil.rmtree(tree)  # half made
    if not tree.exists():
        tree.parent.mkdir(parents=True, exist_ok=True)
        _git("worktree", "prune")
        _git("worktree", "add", "--detach", "--force", str(tree), revision)
    _git("-C", str(tree), "checkout", "--force", "HEAD", "--", ".")
    project = tree / (_git("rev-parse", "--show-prefix") or "")
    shared, there = PROJECT / ".zdm", project / ".zdm"
    if shared.is_dir() and not there.exists():
        there.symlink_to(shared)
    return project


def lend_packages(here: Path, there: Path) -> None:
    """Gives another work tree its `.venv` where both lock the same packages: hard links to the files of this one.

    Only the two files that say where the project is are its own. Where that cannot be, its `./zdm` makes one.
    """
    lock, venv = "requirements.lock", there / ".venv"
    if venv.exists() or not (here / ".venv" / ".zdm-stamp").is_file() or not (here / lock).is_file():
        return
    if (here / lock).read_bytes() != (there / lock).read_bytes():
        return
    making = there / ".venv.part"
    shutil.rmtree(making, ignore_errors=True)
    shutil.copytree(here / ".venv", making, symlinks=True, copy_function=_link)
    (pth,) = making.glob("lib/python3*/site-packages/zdm.pth")
    stamp = making / ".zdm-stamp"
    said = {pth: f"{there}\n", stamp: f"{stamp.read_text().split()[0]} {there}\n"}
    for file, text in said.items():
        file.unlink()  # or the other one would be written to
        file.write_text(text)
    making.rename(venv)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _without_label(settings: dict[str, Any]) -> dict[str, Any]:
    config = dict(settings.get("config") or {})
    for name in [key for key in config if key.endswith(":snapshots")]:
        config[name] = {key: value for key, value in config[name].items() if key != "label"}
        if not config[name]:
            del config[name]
    return {**settings, "config": config}


def _git(*words: str, check: bool = True) -> str | None:
    """What git says, in the project. Without `check` None where it fails; else raises `ZdmError`."""
    run = subprocess.run(["git", *words], cwd=PROJECT, capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return run.stdout.strip()
    if check:
        raise ZdmError(f"git {' '.join(words)} failed: {run.stderr.strip()}")
    return None
