"""nginx 1.27.3 or newer with njs and its QuickJS engine: the machine's, or Debian's packages of the suite sid, run
through their own loader.

1.27.3 is the first that resolves the names of upstreams again (`resolve`); the machine's own release has older ones.
sid moves: whatever version it holds is taken, with apt's signature check, and recorded with the packages' hashes.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from local.parts import debian
from local.parts.part import Built, Part, PartError, Recipe, number, version_of

MINIMUM = "1.27.3"
_SUITE = "sid"
_PACKAGES = ["nginx", "libnginx-mod-http-js"]
_LEAVE_OUT = (
    r"perl|debconf|gcc-\d+-base|iproute2|libc-gconv|libbpf|libcap2|libelf|libdb5|libmnl|libtirpc|libxtables|nginx-c"
)
_MODULES = Path("/usr/lib/nginx/modules")
_OUT = "Install nginx 1.27.3 or newer with njs (nginx.org: nginx, nginx-module-njs), or set ZDM_NGINX to its binary."
_VERSION = r"nginx/(\d+\.\d+\.\d+)"
_SHIM = """#!/bin/sh
root=$(dirname "$(readlink -f "$0")")/../root
for loader in "$root"/usr/lib/*/ld-linux*.so.* "$root"/usr/lib*/ld-linux*.so.*; do
  if [ -f "$loader" ]; then
    exec "$loader" --library-path "$(echo "$root"/usr/lib/*-linux-gnu*)" "$root/usr/sbin/nginx" "$@"
  fi
done
exit 127
"""
_PROBE = """load_module "{module}";
pid {folder}/pid;
events {{}}
http {{
  {temporary}
  js_engine qjs;
  js_shared_dict_zone zone=known:32k timeout=2s;
  upstream probe {{ zone probe 64k; server probe.invalid:80 resolve; }}
  resolver 127.0.0.1;
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def _usable(nginx: Path, modules: Path) -> str | None:
    """The version, if this nginx has all that the router needs: asked with a configuration that uses it."""
    version = version_of([str(nginx), "-v"], _VERSION)
    if version is None or number(version) < number(MINIMUM):
        return None
    with tempfile.TemporaryDirectory() as folder:
        temporary = " ".join(f"{name}_temp_path {folder}/{name};" for name in _TEMPORARY)
        file = Path(folder) / "nginx.conf"
        file.write_text(_PROBE.format(module=modules / "ngx_http_js_module.so", folder=folder, temporary=temporary))
        words = [str(nginx), "-t", "-q", "-e", "stderr", "-c", str(file), "-p", folder]
        done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    return None if done.returncode else version


def _described(nginx: Path, modules: Path, version: str, origin: str) -> Part:
    options = {"modules": str(modules), "path": str(nginx.parent)}
    return Part("nginx", version, nginx.parent, {"nginx": [str(nginx)]}, options, origin)


def _find(override: Path | None) -> Part | None:
    found = str(override) if override else shutil.which("nginx")
    version = _usable(Path(found), _MODULES) if found else None
    return _described(Path(found), _MODULES, version, "machine") if found and version else None


def _build(work: Path, report: Callable[[str], None]) -> Built:
    own = debian.machine_source("nginx", _OUT)
    report(f"index of Debian {_SUITE}")
    apt = debian.Apt("nginx", work / "apt", debian.Source(own.uri, _SUITE, own.signed_by), _OUT)
    apt.update()
    packages = apt.closure(_PACKAGES, _LEAVE_OUT)
    hashes = apt.unpack(packages, work / "packages", work / "root", report)
    shutil.rmtree(work / "apt")
    shim = work / "bin/nginx"
    shim.parent.mkdir()
    shim.write_text(_SHIM)
    shim.chmod(0o755)
    modules = work / f"root{_MODULES}"
    version = _usable(shim, modules)
    if version is None:
        raise PartError(f"nginx: Debian {_SUITE}'s does not run here, or lacks njs with QuickJS. {_OUT}")
    files = [shim, work / "root/usr/sbin/nginx", modules / "ngx_http_js_module.so"]
    return Built(version, files, {"suite": f"Debian {_SUITE}", "packages": hashes})


def _part(home: Path, version: str) -> Part:
    return _described(home / "bin/nginx", home / f"root{_MODULES}", version, "cache")


RECIPE = Recipe(
    name="nginx",
    purpose="the router, where a stack has chosen nginx",
    key=_SUITE,
    override="the nginx binary",
    get=f"Debian's packages (suite {_SUITE}, unpacked into the cache only; needs apt). {_OUT}",
    find=_find,
    build=_build,
    part=_part,
    optional=True,
)
