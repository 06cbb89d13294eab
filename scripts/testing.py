"""`./zdm test`: ruff, the type checker, then pytest, whose closing line is the last thing printed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from local import parts
from scripts.console import Console
from scripts.context import PROJECT
from scripts.errors import ZdmError


def run(args: Sequence[str] = ()) -> int:
    """Exit code: 0 if all three are content. `--fast` leaves out tests with real parts; the rest of `args` is pytest's."""
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
        get_parts(console)
    marker = ["-m", "not real"] if fast else []
    tests = subprocess.run([sys.executable, "-m", "pytest", *marker, *rest], cwd=PROJECT, check=False)
    if failed:
        console.error(f"not clean: {', '.join(failed)} (said above)")
    return tests.returncode or len(failed)


def get_parts(console: Console, names: Sequence[str] = parts.NAMES) -> None:
    """Have the parts ready, so that no test waits for a download."""
    missing = [name for name in names if parts.look(name).part is None]
    if not missing:
        return
    with console.step(f"getting {', '.join(missing)} (once)") as step:
        try:
            parts.prepare(missing, lambda part, text: step.update(f"{part}: {text}"))
        except parts.PartError as error:
            raise ZdmError(str(error)) from error
