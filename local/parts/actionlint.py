"""actionlint: reads GitHub's workflows. Of the machine, or built from its own Go module. For tests only."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from local.parts import golang
from local.parts.part import Built, Part, Recipe, number, version_of

VERSION = "1.7.12"
MINIMUM = "1.7.0"
_DATA = Path(__file__).parent / "data/actionlint"
_MODULE = "github.com/rhysd/actionlint"
_OUT = f"{golang.GO}, or set ZDM_ACTIONLINT to its binary."


def _find(override: Path | None) -> Part | None:
    found = str(override) if override else shutil.which("actionlint")
    version = version_of([found, "-version"]) if found else None
    if found is None or version is None or number(version) < number(MINIMUM):
        return None
    return Part("actionlint", version, Path(found).resolve().parent, {"actionlint": [found]})


def _build(work: Path, report: Callable[[str], None]) -> Built:
    binary, go = golang.build("actionlint", _DATA, f"{_MODULE}/cmd/actionlint", work, report, way_out=_OUT)
    return Built(VERSION, [binary], {"module": f"{_MODULE}@v{VERSION}", "go": go})


def _part(home: Path, version: str) -> Part:
    return Part("actionlint", version, home / "bin", {"actionlint": [str(home / "bin/actionlint")]}, origin="cache")


RECIPE = Recipe(
    name="actionlint",
    purpose="the linter of GitHub's workflows",
    key=VERSION,
    override="the actionlint binary",
    get=f"built from its Go module (needs go). {_OUT}",
    find=_find,
    build=_build,
    part=_part,
    data=(_DATA / "go.mod", _DATA / "go.sum"),
    optional=True,
)
