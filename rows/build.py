"""Where the native library comes from: `$ZDM_ROWS`, the cache, or Cargo, which builds it into the cache.

The cache is $ZDM_CACHE, else $XDG_CACHE_HOME/zdm, else ~/.cache/zdm. The library has no dependencies, so the build
needs no network, and one library serves every Python.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

from rows.errors import Unavailable

VARIABLE: Final = "ZDM_ROWS"
ABI: Final = 1
"""The version of the library's functions that `rows.native` calls."""
SOURCES: Final = Path(__file__).resolve().parent
LIBRARY: Final = "libzdm_rows.dylib" if sys.platform == "darwin" else "libzdm_rows.so"
WAY_OUT: Final = f"install Rust (https://rustup.rs), or set {VARIABLE} to a {LIBRARY} built elsewhere from rows/"


@cache
def load() -> ctypes.CDLL:
    """The native library, built if need be. Raises `Unavailable`."""
    path = find()
    try:
        library = ctypes.CDLL(str(path))
        abi = library.zdm_rows_abi()
    except (OSError, AttributeError) as error:
        raise Unavailable(f"the native library {path} cannot be loaded ({error}): {WAY_OUT}") from error
    if abi != ABI:
        raise Unavailable(f"the native library {path} is of another version ({abi}, not {ABI}): {WAY_OUT}")
    return library


def find() -> Path:
    """The library's file, built if need be. Raises `Unavailable`."""
    if named := os.environ.get(VARIABLE):
        if not Path(named).is_file():
            raise Unavailable(f"{VARIABLE} names {named}, which is no file: {WAY_OUT}")
        return Path(named).absolute()
    folder = _cache() / f"rows-{_digest()}"
    if not (folder / LIBRARY).exists():
        build(folder)
    return folder / LIBRARY


def look() -> tuple[Path | None, bool]:
    """The library's file if it is there, and else whether it can be built; builds nothing."""
    if named := os.environ.get(VARIABLE):
        return (Path(named) if Path(named).is_file() else None), False
    built = _cache() / f"rows-{_digest()}" / LIBRARY
    return (built if built.exists() else None), _cargo() is not None


def build(folder: Path) -> None:
    """Builds the library into `folder`, where it appears by one rename; runs that need it at once wait for one another.

    Raises `Unavailable` where there is no Cargo, or with what it said.
    """
    cargo = _cargo()
    if cargo is None:
        raise Unavailable(f"the native library is not built, and there is no cargo: {WAY_OUT}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=folder) as target:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (folder / LIBRARY).exists():
                return
            manifest = str(SOURCES / "Cargo.toml")
            command = [cargo, "build", "--release", "--offline", "--locked", "--quiet"]
            command += ["--manifest-path", manifest, "--target-dir", target]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode != 0:
                raise Unavailable(f"cargo cannot build the native library:\n{result.stderr.strip()}\n{WAY_OUT}")
            os.replace(Path(target) / "release" / LIBRARY, folder / LIBRARY)
    except OSError as error:
        raise Unavailable(f"the native library cannot be built in {folder} ({error}): set ZDM_CACHE") from error


def _cargo() -> str | None:
    return shutil.which("cargo") or shutil.which("cargo", path=os.path.expanduser("~/.cargo/bin"))


def _cache() -> Path:
    if own := os.environ.get("ZDM_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")).absolute() / "zdm"


def _digest() -> str:
    """Of the sources and the processor: another of either is another library."""
    digest = hashlib.sha256(platform.machine().encode())
    for path in [SOURCES / "Cargo.toml", SOURCES / "Cargo.lock", *sorted((SOURCES / "src").glob("*.rs"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
