"""libfaketime, which makes a process believe in another time: the machine's, or Debian's package, in the cache.

Only the tests of faults use it (the clock of one service steps).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from local.parts import debian
from local.parts.part import Built, Part, PartError, Recipe

_PATTERN = "usr/lib/*/faketime/libfaketime.so.1"
_OUT = "Install libfaketime (Debian: libfaketime), or set ZDM_FAKETIME to libfaketime.so.1."


def _works(library: Path) -> bool:
    """Whether a process with the library lives in the year that it was told."""
    told = {**os.environ, "LD_PRELOAD": str(library), "FAKETIME": "@2001-02-03 04:05:06"}
    words = [sys.executable, "-c", "import time; print(time.gmtime().tm_year)"]
    done = subprocess.run(words, env=told, capture_output=True, text=True, check=False)
    return library.is_file() and done.stdout.strip() == "2001"


def _of(root: Path, origin: str, version: str = "") -> Part | None:
    for library in sorted(root.glob(_PATTERN)):
        if _works(library):
            return Part("faketime", version, library.parent, {}, {"library": str(library)}, origin)
    return None


def _find(override: Path | None) -> Part | None:
    if override is None:
        return _of(Path("/"), "machine")
    works = _works(override)
    return Part("faketime", "", override.parent, {}, {"library": str(override)}, "machine") if works else None


def _build(work: Path, report: Callable[[str], None]) -> Built:
    source = debian.machine_source("faketime", _OUT)
    report(f"index of Debian {source.suite}")
    apt = debian.Apt("faketime", work / "apt", source, _OUT)
    apt.update()
    hashes = apt.unpack(["libfaketime"], work / "packages", work / "root", report)
    for rest in ("apt", "packages"):
        shutil.rmtree(work / rest)
    part = _of(work / "root", "cache")
    if part is None:
        raise PartError(f"faketime: Debian {source.suite}'s libfaketime does not work here. {_OUT}")
    [package] = hashes
    library = Path(part.options["library"])
    return Built(package.split("_")[1], [library], {"suite": f"Debian {source.suite}", "packages": hashes})


def _part(home: Path, version: str) -> Part:
    part = _of(home / "root", "cache", version)
    if part is None:
        raise PartError(f"faketime: {home} does not work any more: remove it, the next run fetches it again")
    return part


RECIPE = Recipe(
    name="faketime",
    purpose="a clock that steps, for the tests of faults",
    key="debian",
    override="libfaketime.so.1",
    get=f"Debian's package of this release (unpacked into the cache only; needs apt). {_OUT}",
    find=_find,
    build=_build,
    part=_part,
    optional=True,
)
