"""Prometheus with its tools, and the tool of its alert manager: the machine's, or Debian's packages, unpacked into the
cache.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from local.parts import debian
from local.parts.part import Built, Part, PartError, Recipe, number, version_of

MINIMUM = "2.40"
"""Agent mode and the remote-write receiver without a feature flag of their own."""
_PROGRAMS = ("prometheus", "promtool", "amtool")
_PACKAGES = ["prometheus", "prometheus-alertmanager"]
_OUT = (
    "Install Prometheus 2.40 or newer with promtool and amtool (Debian: prometheus, prometheus-alertmanager), or set "
    "ZDM_PROMETHEUS to the folder of the three programs."
)


def _of(folder: Path, origin: str) -> Part | None:
    """The part in a folder of programs, if all are there and the version will do. They need nothing but libc."""
    if not all((folder / name).is_file() for name in _PROGRAMS):
        return None
    version = version_of([str(folder / "prometheus"), "--version"], r"prometheus, version (\d+\.\d+\.\d+)")
    if version is None or number(version) < number(MINIMUM):
        return None
    return Part("prometheus", version, folder, {name: [str(folder / name)] for name in _PROGRAMS}, origin=origin)


def _find(override: Path | None) -> Part | None:
    on_path = shutil.which("prometheus")
    folders = [override] if override else [Path(on_path).resolve().parent] if on_path else []
    return next((part for folder in folders if (part := _of(folder, "machine"))), None)


def _build(work: Path, report: Callable[[str], None]) -> Built:
    source = debian.machine_source("prometheus", _OUT)
    report(f"index of Debian {source.suite}")
    apt = debian.Apt("prometheus", work / "apt", source, _OUT)
    apt.update()
    hashes = apt.unpack(_PACKAGES, work / "packages", work / "root", report)
    for rest in ("apt", "packages"):
        shutil.rmtree(work / rest)
    part = _in_cache(work)
    if part is None:
        raise PartError(f"prometheus: Debian {source.suite}'s does not run here or is older than {MINIMUM}. {_OUT}")
    return Built(
        part.version,
        [part.home / name for name in _PROGRAMS],
        {"suite": f"Debian {source.suite}", "packages": hashes},
    )


def _in_cache(home: Path) -> Part | None:
    return _of(home / "root/usr/bin", "cache")


def _part(home: Path, version: str) -> Part:
    part = _in_cache(home)
    if part is None:
        raise PartError(f"prometheus: {home} does not run any more: remove it, the next run fetches it again")
    return part


RECIPE = Recipe(
    name="prometheus",
    purpose="metrics and alert rules",
    key="debian",
    override="the folder that holds prometheus, promtool and amtool",
    get=f"Debian's packages (unpacked into the cache only; needs apt). {_OUT}",
    find=_find,
    build=_build,
    part=_part,
    optional=True,
)
