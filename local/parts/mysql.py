"""MySQL 8.0 or newer: the machine's mysqld, or Debian's packages of the suite sid, run through their own loader.

MariaDB is not MySQL and never stands in for it. sid moves: whatever version it holds is taken, with apt's signature
check, and recorded with the packages' hashes in the manifest; the packages stay in the cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from local.parts import debian
from local.parts.part import Built, Part, PartError, Recipe, number, version_of

MINIMUM = "8.0"
_SUITE = "sid"
_LEAVE_OUT = r"perl|libperl|libgdbm|libdb5|gcc-\d+-base|libc-gconv"
_OUT = "Install MySQL 8.0 or newer (not MariaDB), or set ZDM_MYSQL to its mysqld."
_TOOLS = ("mysql", "mysqldump", "mysqladmin", "mysqlbinlog")


def _version(mysqld: list[str]) -> str | None:
    """Version of a MySQL server; None for MariaDB or something that does not run."""
    if version_of([*mysqld, "--no-defaults", "--version"], r"(MariaDB)"):
        return None
    return version_of([*mysqld, "--no-defaults", "--version"], r"Ver (\d+\.\d+\.\d+)")


def _find(override: Path | None) -> Part | None:
    if override:
        places = [override, override / "bin/mysqld", override / "sbin/mysqld", override / "mysqld"]
    else:
        places = [Path(found) for found in (shutil.which("mysqld"),) if found] + [Path("/usr/sbin/mysqld")]
    for mysqld in places:
        if not mysqld.is_file():
            continue
        version = _version([str(mysqld)])
        if version and number(version) >= number(MINIMUM):
            command = {"mysqld": [str(mysqld)]}
            folders = [mysqld.parent, mysqld.parent.parent / "bin"]
            for name in _TOOLS:
                client = next((f / name for f in folders if (f / name).is_file()), None) or shutil.which(name)
                if client:
                    command[name] = [str(client)]
            return Part("mysql", version, mysqld.resolve().parent.parent, command)
    return None


def _build(work: Path, report: Callable[[str], None]) -> Built:
    own = debian.machine_source("mysql", _OUT)
    report(f"index of Debian {_SUITE}")
    apt = debian.Apt("mysql", work / "apt", debian.Source(own.uri, _SUITE, own.signed_by), _OUT)
    apt.update()
    packages = apt.closure(["mysql-server-core", "mysql-client-core"], _LEAVE_OUT)
    hashes = apt.unpack(packages, work / "packages", work / "root", report)
    shutil.rmtree(work / "apt")
    part = _part(work, "")
    version = _version(part.command["mysqld"])
    if version is None or number(version) < number(MINIMUM):
        raise PartError(f"mysql: the server of Debian {_SUITE} does not run here or is older than {MINIMUM}. {_OUT}")
    done = subprocess.run([*part.command["mysql"], "--version"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PartError(f"mysql: the client of Debian {_SUITE} does not run here: {done.stderr.strip()}. {_OUT}")
    files = [work / "root/usr/sbin/mysqld", work / "root/usr/bin/mysql"]
    return Built(version, files, {"suite": f"Debian {_SUITE}", "packages": hashes})


def _part(home: Path, version: str) -> Part:
    base = home / "root/usr"
    libraries = next((path.parent for path in sorted(base.glob("lib/*/libc.so.6"))), base / "lib")
    loaders = sorted([*base.glob("lib/*/ld-linux*.so.*"), *base.glob("lib*/ld-linux*.so.*")])
    loader = loaders[0] if loaders else base / "lib/ld-linux.so"
    places = os.pathsep.join(str(path) for path in (libraries, base / "lib/mysql/private", libraries / "openssl"))
    prefix = [str(loader), "--library-path", places]
    command = {"mysqld": [*prefix, str(base / "sbin/mysqld")]}
    command |= {name: [*prefix, str(base / "bin" / name)] for name in _TOOLS if (base / "bin" / name).is_file()}
    options = {
        "basedir": str(base),
        "plugin-dir": str(base / "lib/mysql/plugin"),
        "lc-messages-dir": str(base / "share/mysql"),
        "character-sets-dir": str(base / "share/mysql/charsets"),
    }
    return Part("mysql", version, base, command, options, "cache")


RECIPE = Recipe(
    name="mysql",
    purpose="the source database",
    key=_SUITE,
    override="mysqld, or the folder MySQL is installed in",
    get=f"Debian's packages (suite {_SUITE}, unpacked into the cache only; needs apt). {_OUT}",
    find=_find,
    build=_build,
    part=_part,
)
