"""The Pulumi engine: `pulumi` of the machine, or built from its own Go module (go.sum is part of this project)."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from local.parts import golang
from local.parts.part import Built, Part, PartError, Recipe, number, version_of

VERSION = "3.250.0"
MINIMUM = "3.225.0"
_DATA = Path(__file__).parent / "data/pulumi"
_MODULE = "github.com/pulumi/pulumi"
_OUT = f"{golang.GO}, or install Pulumi, or set ZDM_PULUMI to its binary."


def _find(override: Path | None) -> Part | None:
    found = str(override) if override else shutil.which("pulumi")
    version = version_of([found, "version"]) if found else None
    if found is None or version is None or number(version) < number(MINIMUM):
        return None
    return Part("pulumi", version, Path(found).resolve().parent, {"pulumi": [found]})


def _build(work: Path, report: Callable[[str], None]) -> Built:
    binary, go = golang.build(
        "pulumi",
        _DATA,
        f"{_MODULE}/pkg/v3/cmd/pulumi",
        work,
        report,
        way_out=_OUT,
        flags=f"-X {_MODULE}/sdk/v3/go/common/version.Version={VERSION}",
        takes="(about 3 minutes on 2 cores)",
    )
    if version_of([str(binary), "version"]) != VERSION:
        raise PartError(f"pulumi: the engine that was built does not answer with version {VERSION}")
    return Built(VERSION, [binary], {"module": f"{_MODULE}/pkg/v3@v{VERSION}", "go": go})


def _part(home: Path, version: str) -> Part:
    return Part("pulumi", version, home / "bin", {"pulumi": [str(home / "bin/pulumi")]}, origin="cache")


RECIPE = Recipe(
    name="pulumi",
    purpose="the engine that runs the program",
    key=VERSION,
    override="the pulumi binary",
    get=f"built from its Go module (needs go). {_OUT}",
    find=_find,
    build=_build,
    part=_part,
    data=(_DATA / "go.mod", _DATA / "go.sum"),
)
