"""workerd, the runtime of Cloudflare Workers: the machine's, or npm's package, pinned with integrity hashes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from local.parts import cache
from local.parts.part import Built, Part, PartError, Recipe, tool, version_of

VERSION = "1.20261117.1"
_DATA = Path(__file__).parent / "data/workerd"
_BINARY = "node_modules/@cloudflare/workerd-linux-*/bin/workerd"
_OUT = "Install npm (Debian: npm), or install workerd, or set ZDM_WORKERD to its binary."
_DATE = r"workerd (\d{4}-\d\d-\d\d)"


def _find(override: Path | None) -> Part | None:
    found = str(override) if override else shutil.which("workerd")
    version = version_of([found, "--version"], _DATE) if found else None
    return Part("workerd", version, Path(found).parent, {"workerd": [found]}) if found and version else None


def _build(work: Path, report: Callable[[str], None]) -> Built:
    npm = tool("workerd", "npm", _OUT)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_DATA / name, work)
    report(f"npm: workerd {VERSION}")
    cache.run("workerd", [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", work / "npm"], work)
    shutil.rmtree(work / "npm", ignore_errors=True)
    binary = next(work.glob(_BINARY), None)
    if binary is None:
        raise PartError(f"workerd: npm has no package for this processor. {_OUT}")
    if version_of([str(binary), "--version"], _DATE) is None:
        raise PartError(f"workerd: the binary of npm does not run here (it needs glibc 2.35 or newer). {_OUT}")
    return Built(VERSION, [binary], {"package": f"@cloudflare/workerd@{VERSION}"})


def _part(home: Path, version: str) -> Part:
    binary = next(home.glob(_BINARY))
    return Part("workerd", version, binary.parent, {"workerd": [str(binary)]}, origin="cache")


RECIPE = Recipe(
    name="workerd",
    purpose="runs the router's Worker",
    key=VERSION,
    override="the workerd binary",
    get=f"npm's package (needs npm). {_OUT}",
    find=_find,
    build=_build,
    part=_part,
    data=(_DATA / "package-lock.json",),
)
