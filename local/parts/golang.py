"""Programs built from their own Go modules; each one's go.mod and go.sum are part of this project."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from local.parts import cache
from local.parts.part import PartError, number, tool, version_of

GO = "Install Go 1.21 or newer (Debian: golang-go of trixie or of bookworm-backports)"


def build(
    name: str,
    data: Path,
    package: str,
    work: Path,
    report: Callable[[str], None],
    *,
    way_out: str,
    flags: str = "",
    takes: str = "",
) -> tuple[Path, str]:
    """Builds `package` with the modules that `data` pins, into `work/bin`; returns the binary and Go's version.

    `flags` go to the linker; `takes` says beforehand how long it takes.
    """
    go = tool(name, "go", way_out)
    version = version_of([go, "version"], r"go(\d+\.\d+(?:\.\d+)?)")
    if version is None or number(version) < (1, 21):
        raise PartError(f"{name}: the Go of this machine is {version or 'not usable'}. {way_out}")
    source = work / "source"
    shutil.copytree(data, source)
    env = {"GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false", "GOWORK": "off", "CGO_ENABLED": "0"}
    if number(version) < (1, 26):
        env["GOTOOLCHAIN"] = "auto"
    if not _has_caches(go):
        # someone who does not work with Go keeps 3 GB of its caches for nothing
        env |= {"GOCACHE": str(work / "go/build"), "GOMODCACHE": str(work / "go/mod"), "GOPATH": str(work / "go")}
    lines: list[str] = []

    def downloading(text: str) -> None:
        lines.append(text)
        report(f"Go modules: {sum(line.startswith('go: downloading') for line in lines)} fetched")

    cache.run(name, [go, "list", "-deps", package], source, env, downloading)
    total, done = sum(not line.startswith("go: ") for line in lines), 0

    def compiling(text: str) -> None:
        nonlocal done
        done += 1
        if done % 20 == 0:
            report(f"compiling: {done} of at most {total} packages")

    binary = work / "bin" / name
    report(f"compiling {takes}".strip())
    words: list[str | Path] = [
        go,
        "build",
        "-v",
        "-trimpath",
        "-ldflags",
        f"-s -w {flags}".strip(),
        "-o",
        binary,
        package,
    ]
    cache.run(name, words, source, env, compiling)
    shutil.rmtree(work / "go", ignore_errors=True)
    return binary, version


def _has_caches(go: str) -> bool:
    words = [go, "env", "GOCACHE", "GOMODCACHE"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=dict(os.environ))
    places = done.stdout.split()
    return done.returncode == 0 and len(places) == 2 and all(os.access(place, os.W_OK) for place in places)
