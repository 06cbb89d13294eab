"""Prometheus' own tools as judges of what we write for it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from local import parts


def tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs `promtool` or `amtool`, which are got at first use."""
    argv = [*parts.require("prometheus").command[name], *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def accepted(name: str, *arguments: str | Path) -> str:
    """The same, where nothing else than success will do."""
    done = tool(name, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rule_test(rules: str, folder: Path, tests: list[Mapping[str, Any]], interval: str = "15s") -> None:
    """`promtool test rules` over a rule file."""
    (folder / "rules.yml").write_text(rules)
    (folder / "tests.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": interval, "tests": tests}, sort_keys=False)
    )
    accepted("promtool", "test", "rules", folder / "tests.yml")
