"""pgbouncer, a connection pool for PostgreSQL: the machine's, or Debian's package, unpacked into the cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from local.parts import debian
from local.parts.part import Built, Part, PartError, Recipe, number, version_of

MINIMUM = "1.17"
_LEAVE_OUT = (
    r"perl|libperl|libgdbm|libdb5|libc6|libc-bin|libc-l|libcrypt|gcc-\d+-base|libgcc|postgresql|adduser|debconf|passwd"
    r"|init-system|lsb-base|sysvinit|libpam-(modules|runtime)|libaudit-common|libselinux|libsemanage|libsepol|libpcre|psmisc"
)
_OUT = "Install pgbouncer 1.17 or newer (Debian: pgbouncer), or set ZDM_PGBOUNCER to it."


def _of(program: Path, prefix: list[str], home: Path, origin: str) -> Part | None:
    """The part, if the program is there, runs, and the version will do."""
    if not program.is_file():
        return None
    command = [*prefix, str(program)]
    version = version_of([*command, "--version"], r"PgBouncer (\d+\.\d+\.\d+)")
    if version is None or number(version) < number(MINIMUM):
        return None
    return Part("pgbouncer", version, home, {"pgbouncer": command}, origin=origin)


def _find(override: Path | None) -> Part | None:
    on_path = shutil.which("pgbouncer")
    places = [override] if override else [Path(on_path)] if on_path else [Path("/usr/sbin/pgbouncer")]
    return next((part for path in places if (part := _of(path, [], path.parent, "machine"))), None)


def _build(work: Path, report: Callable[[str], None]) -> Built:
    source = debian.machine_source("pgbouncer", _OUT)
    report(f"index of Debian {source.suite}")
    apt = debian.Apt("pgbouncer", work / "apt", source, _OUT)
    apt.update()
    hashes = apt.unpack(apt.closure(["pgbouncer"], _LEAVE_OUT), work / "packages", work / "root", report)
    for rest in ("apt", "packages"):
        shutil.rmtree(work / rest)
    part = _in_cache(work)
    if part is None:
        raise PartError(f"pgbouncer: Debian {source.suite}'s does not run here or is older than {MINIMUM}. {_OUT}")
    return Built(
        part.version, [work / "root/usr/sbin/pgbouncer"], {"suite": f"Debian {source.suite}", "packages": hashes}
    )


def _in_cache(home: Path) -> Part | None:
    root = home / "root"
    libraries = [str(path) for path in (*root.glob("usr/lib/*-linux-gnu"), *root.glob("lib/*-linux-gnu"))]
    prefix = ["/usr/bin/env", "LD_LIBRARY_PATH=" + os.pathsep.join(libraries)]
    return _of(root / "usr/sbin/pgbouncer", prefix, home, "cache")


def _part(home: Path, version: str) -> Part:
    part = _in_cache(home)
    if part is None:
        raise PartError(f"pgbouncer: {home} does not run any more: remove it, the next run fetches it again")
    return part


RECIPE = Recipe(
    name="pgbouncer",
    purpose="the proxy before the target database",
    key="debian",
    override="the program pgbouncer",
    get=f"Debian's package of this release (unpacked into the cache only; needs apt). {_OUT}",
    find=_find,
    build=_build,
    part=_part,
    optional=True,
)
