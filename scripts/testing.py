"""`./zdm test`: ruff, the type checker, then pytest, whose closing line is the last thing printed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from scripts import stacks
from scripts.console import Console
from scripts.context import PROJECT


def run(args: Sequence[str] = ()) -> int:
    """Exit code: 0 if all three are content. `--fast` leaves out tests with real parts; other `args` are pytest's."""
    fast = "--fast" in args
    rest = [arg for arg in args if arg != "--fast"]
    console = Console()
    checks = {
        "ruff": ["-m", "ruff", "check", "."],
        "mypy": ["-m", "mypy"],
    }
    failed = []
    for name, argv in checks.items():
        with console.step(name) as step:
            done = subprocess.run([sys.executable, *argv], cwd=PROJECT, capture_output=True, text=True, check=False)
            step.ok = done.returncode == 0
            if not step.ok:
                failed.append(name)
                sys.stderr.write(done.stdout + done.stderr)
    if not fast:
        stacks.ensure_parts(console)
    marker = ["-m", "not real"] if fast else []
    tests = subprocess.run([sys.executable, "-m", "pytest", *marker, *rest], cwd=PROJECT, check=False)
    if failed:
        console.error(f"not clean: {', '.join(failed)} (said above)")
    return tests.returncode or len(failed)
