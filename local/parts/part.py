"""What a part is: a program of others (MySQL, Kafka, the Pulumi engine, ...) that the local cloud starts.

Where a part comes from, first hit wins:
1. `ZDM_<PART>`: a path (what it must point to stands in the recipe's `override`), or `cache` to leave out step 2.
2. The machine: PATH and the usual places, if the version will do.
3. The cache, filled once by the part's recipe.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Report = Callable[[str, str], None]
"""Called with a part's name and what is happening to it now, from any thread."""


EXTRA_FOLDERS = ("/usr/local/go/bin", "/usr/sbin")
"""Where toolchains often are although a user's PATH does not say so."""


class PartError(RuntimeError):
    """A part is not there and cannot be had; the message says why and names the way out."""


@dataclass(frozen=True)
class Part:
    """A part that is ready to run.

    `command` maps a program's name to its argv prefix (a loader or `env` may stand in front), `options` holds what a
    server's configuration must name because the part does not stand where it was compiled for, `origin` says who
    provided it.
    """

    name: str
    version: str
    home: Path
    command: Mapping[str, list[str]]
    options: Mapping[str, str] = field(default_factory=dict)
    origin: str = "machine"


@dataclass(frozen=True)
class Built:
    """What a recipe made: the real version, the files whose digests the manifest keeps, and where they came from."""

    version: str
    files: Sequence[Path]
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe:
    """How one part is found or made.

    `key` names the cache folder, `data` the files whose change asks for a new build, `override` what `ZDM_<PART>` may
    point to. `find` gets that path (or None: look on the machine) and returns None if nothing usable is there; `build`
    fills an empty folder; `part` describes a finished folder.
    """

    name: str
    purpose: str
    key: str
    override: str
    get: str
    find: Callable[[Path | None], Part | None]
    build: Callable[[Path, Callable[[str], None]], Built] | None
    part: Callable[[Path, str], Part] | None
    data: Sequence[Path] = ()
    shares: str = ""
    """Name of the recipe whose build also makes this part."""
    optional: bool = False
    """Only some stacks use it: it is got by the first that does, never beforehand."""

    @property
    def variable(self) -> str:
        return f"ZDM_{self.name.upper()}"


def version_of(argv: Sequence[str], pattern: str = r"(\d+(?:\.\d+)+)") -> str | None:
    """The first group of `pattern` in what `argv` prints, or None if it cannot run or prints no such thing."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(pattern, done.stdout + done.stderr) if done.returncode == 0 else None
    return match.group(1) if match else None


def number(version: str) -> tuple[int, ...]:
    """`15.18` -> `(15, 18)`; what follows the digits (`1.2.3-rc1`) does not count."""
    return tuple(int(n) for n in re.findall(r"\d+", version.split("-")[0]))


def tool(part: str, name: str, way_out: str) -> str:
    """Path of a toolchain's program; PartError with the way out if the machine has none."""
    for folder in [*os.environ.get("PATH", os.defpath).split(os.pathsep), *EXTRA_FOLDERS]:
        path = Path(folder or ".") / name
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    raise PartError(f"{part}: this machine has no `{name}`, which is needed to get it. {way_out}")
