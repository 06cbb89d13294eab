"""The Pulumi engine: `pulumi` of the machine, or built from its own Go module (go.sum is part of this project)."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from local.parts import cache
from local.parts.part import Built, Part, PartError, Recipe, number, tool, version_of

VERSION = "3.250.0"
MINIMUM = "3.225.0"
_DATA = Path(__file__).parent / "data/pulumi"
_MODULE = "github.com/pulumi/pulumi"
_OUT = (
    "Install Go 1.21 or newer (Debian: golang-go of trixie or of bookworm-backports), "
    "or install Pulumi, or set ZDM_PULUMI to its binary."
)


def _find(override: Path | None) -> Part | None:
    found = str(override) if override else shutil.which("pulumi")
    version = version_of([found, "version"]) if found else None
    if found is None or version is None or number(version) < number(MINIMUM):
        return None
    return Part("pulumi", version, Path(found).resolve().parent, {"pulumi": [found]})


def _build(work: Path, report: Callable[[str], None]) -> Built:
    go = tool("pulumi", "go", _OUT)
    version = version_of([go, "version"], r"go(\d+\.\d+(?:\.\d+)?)")
    if version is None or number(version) < (1, 21):
        raise PartError(f"pulumi: the Go of this machine is {version or 'not usable'}. {_OUT}")
    source = work / "source"
    shutil.copytree(_DATA, source)
    env = {"GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false", "GOWORK": "off", "CGO_ENABLED": "0"}
    if number(version) < (1, 26):
        env["GOTOOLCHAIN"] = "auto"
    if not _has_caches(go):
        # someone who does not work with Go keeps 3 GB of its caches for nothing
        env |= {"GOCACHE": str(work / "go/build"), "GOMODCACHE": str(work / "go/mod"), "GOPATH": str(work / "go")}
    package = f"{_MODULE}/pkg/v3/cmd/pulumi"
    lines: list[str] = []

    def downloading(text: str) -> None:
        lines.append(text)
        report(f"Go modules: {sum(line.startswith('go: downloading') for line in lines)} fetched")

    cache.run("pulumi", [go, "list", "-deps", package], source, env, downloading)
    total, done = sum(not line.startswith("go: ") for line in lines), 0

    def compiling(text: str) -> None:
        nonlocal done
        done += 1
        if done % 20 == 0:
            report(f"compiling the engine: {done} of at most {total} packages")

    flags = f"-s -w -X {_MODULE}/sdk/v3/go/common/version.Version={VERSION}"
    binary = work / "bin/pulumi"
    report("compiling the engine (about 3 minutes on 2 cores)")
    build: list[str | Path] = [go, "build", "-v", "-trimpath", "-ldflags", flags, "-o", binary, package]
    cache.run("pulumi", build, source, env, compiling)
    shutil.rmtree(work / "go", ignore_errors=True)
    if version_of([str(binary), "version"]) != VERSION:
        raise PartError(f"pulumi: the engine that was built does not answer with version {VERSION}")
    return Built(VERSION, [binary], {"module": f"{_MODULE}/pkg/v3@v{VERSION}", "go": version})


def _has_caches(go: str) -> bool:
    words = [go, "env", "GOCACHE", "GOMODCACHE"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))
    places = done.stdout.split()
    return done.returncode == 0 and len(places) == 2 and all(os.access(place, os.W_OK) for place in places)


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
