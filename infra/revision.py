"""Which revision of the program this is, as git knows it.

Invariants:
- The revision is that of the newest commit that changed anything of the project but its findings: to note or to close
  a finding makes no other program of it, and proofs of the program stay proofs.
- `+` at the end: the work tree differs from that commit. `unknown`: this is no clone of a repository.
- A shallow clone knows its newest commit only, and takes that: fetch all of it where findings are kept
  (`fetch-depth: 0`).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ENVIRONMENT = "ZDM_REVISION"
"""Says which revision is brought up, where git cannot: see `scripts.stacks.up`."""
FINDINGS = "findings"
"""Folder of the findings (`./zdm findings`)."""
UNKNOWN = "unknown"
_PROGRAM = ("--", ".", f":(exclude){FINDINGS}")


def revision_of(project: Path) -> str:
    """Twelve digits of the commit, with `+` when files differ from it; `unknown` outside of git."""
    newest = _git(project, "log", "-1", "--format=%H", *_PROGRAM)
    if not newest:
        return UNKNOWN
    return newest[:12] + ("+" if changed_files(project) else "")


def changed_files(project: Path) -> list[str]:
    """Files of the program that differ from the newest commit, relative to the project."""
    told = _git(project, "diff", "--name-only", "--relative", "HEAD", *_PROGRAM)
    return told.splitlines() if told else []


def revision_brought_up(project: Path) -> str:
    """The revision that this run of the program brings up."""
    return os.environ.get(ENVIRONMENT) or revision_of(project)


def _git(project: Path, *words: str) -> str:
    try:
        run = subprocess.run(
            ["git", "-C", str(project), *words], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip()
