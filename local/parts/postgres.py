"""PostgreSQL 15 or newer: the machine's own, or the Debian packages of its release, unpacked into the cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from local.parts import debian
from local.parts.part import Built, Part, PartError, Recipe, number, version_of

MINIMUM = "15"
_PROGRAMS = ("postgres", "initdb", "pg_ctl", "pg_basebackup", "psql")
_LEAVE_OUT = (
    r"perl|libperl|libgdbm|libdb5|libc6|libc-|gcc-\d+-base|libgcc|libstdc|libllvm"
    r"|postgresql.*common|ssl-cert|adduser|debconf"
)
_OUT = "Install PostgreSQL 15 or newer (Debian: postgresql), or set ZDM_POSTGRES to the folder of its programs."


def _of(folder: Path, prefix: list[str], origin: str) -> Part | None:
    """The part in a folder of programs, if all are there and the version will do."""
    command = {name: [*prefix, str(folder / name)] for name in _PROGRAMS}
    if not all((folder / name).is_file() for name in _PROGRAMS):
        return None
    version = version_of([*command["postgres"], "--version"], r"PostgreSQL\) (\d+(?:\.\d+)?)")
    if version is None or number(version) < number(MINIMUM):
        return None
    return Part("postgres", version, folder.parent, command, origin=origin)


def _find(override: Path | None) -> Part | None:
    if override:
        places = [override, override / "bin", override.resolve().parent]
    else:
        on_path = shutil.which("postgres")
        # Debian and others put links on PATH: the other programs stand beside the real one
        places = [Path(on_path).resolve().parent] if on_path else []
        debian_s = Path("/usr/lib/postgresql").glob("*/bin")
        places += sorted(debian_s, key=lambda path: number(path.parent.name), reverse=True)
    return next((part for folder in places if (part := _of(folder, [], "machine"))), None)


def _build(work: Path, report: Callable[[str], None]) -> Built:
    source = debian.machine_source("postgres", _OUT)
    report(f"index of Debian {source.suite}")
    apt = debian.Apt("postgres", work / "apt", source, _OUT)
    apt.update()
    newest = max(apt.names(r"postgresql-\d+"), key=number, default="")
    if not newest:
        raise PartError(f"postgres: Debian {source.suite} has no postgresql package. {_OUT}")
    packages = apt.closure([newest, newest.replace("postgresql-", "postgresql-client-")], _LEAVE_OUT)
    hashes = apt.unpack(packages, work / "packages", work / "root", report)
    shutil.rmtree(work / "apt")
    for path in (work / "root").glob("usr/lib/postgresql/*/lib/llvmjit.so"):
        path.unlink()  # its library is left out; without the file PostgreSQL knows that it has no JIT
    part = _in_cache(work)
    if part is None:
        raise PartError(f"postgres: the server of {newest} does not run here or is older than {MINIMUM}. {_OUT}")
    files = [part.home / "bin/postgres", part.home / "bin/initdb"]
    return Built(part.version, files, {"suite": f"Debian {source.suite}", "packages": hashes})


def _in_cache(home: Path) -> Part | None:
    root = home / "root"
    libraries = [str(path) for path in (*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu"))]
    prefix = ["/usr/bin/env", "LD_LIBRARY_PATH=" + os.pathsep.join(libraries)]
    folders = root.glob("usr/lib/postgresql/*/bin")
    return next((part for folder in folders if (part := _of(folder, prefix, "cache"))), None)


def _part(home: Path, version: str) -> Part:
    part = _in_cache(home)
    if part is None:
        raise PartError(f"postgres: {home} does not run any more: remove it, the next run fetches it again")
    return part


RECIPE = Recipe(
    name="postgres",
    purpose="the target database",
    key="debian",
    override="the folder that holds postgres, initdb, pg_ctl, pg_basebackup and psql",
    get=f"Debian's package of this release (unpacked into the cache only; needs apt). {_OUT}",
    find=_find,
    build=_build,
    part=_part,
)
