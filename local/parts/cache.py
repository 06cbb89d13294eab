"""The cache of parts: one folder per part and recipe, made once, never half.

A folder appears by one rename when it is complete, with a manifest of what is in it (version, digests, origin). Runs
that need the same part at the same time wait for one another; what a killed run left behind is swept by the next.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from local.parts.part import PartError, Recipe

MANIFEST = "manifest.json"
_TAIL = 15
_running: set[subprocess.Popen[str]] = set()
_running_lock = threading.Lock()


def root() -> Path:
    """$ZDM_CACHE, else $XDG_CACHE_HOME/zdm, else ~/.cache/zdm."""
    if own := os.environ.get("ZDM_CACHE"):
        return Path(own).absolute()
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise PartError("no home folder to keep the cache in: set ZDM_CACHE to a folder of yours") from error
    return Path(base).absolute() / "zdm"


@contextlib.contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path`; calls `waiting` once if another process holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("w")
    except OSError as error:
        why = f"cannot write the cache {path.parent} ({error.strerror})"
        raise PartError(f"{why}: set ZDM_CACHE to a folder of yours") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder(recipe: Recipe) -> Path:
    """Where the recipe's result stands; another processor or changed recipe data give another folder."""
    known = hashlib.sha256(platform.machine().encode())
    for path in recipe.data:
        known.update(path.read_bytes())
    return root() / "parts" / f"{recipe.name}-{recipe.key}-{known.hexdigest()[:8]}"


def manifest(home: Path) -> dict[str, Any] | None:
    """The manifest of a finished folder; None if it is not there, or a file of it is gone or has another size."""
    try:
        known: dict[str, Any] = json.loads((home / MANIFEST).read_text())
        whole = all((home / name).stat().st_size == entry["size"] for name, entry in known["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return known if whole else None


def damaged(home: Path) -> list[str]:
    """Files of a finished folder whose SHA-256 is not the manifest's."""
    known = manifest(home)
    if known is None:
        return [MANIFEST]
    return [name for name, entry in known["files"].items() if digest(home / name) != entry["sha256"]]


def install(recipe: Recipe, report: Callable[[str], None]) -> Path:
    """The recipe's finished folder; builds it if it is not there. Raises PartError."""
    home = folder(recipe)
    if manifest(home):
        return home
    assert recipe.build is not None
    with locked(home.parent / f"{recipe.name}.lock", lambda: report("another run is getting it; waiting")):
        if manifest(home):
            return home
        for rest in [*home.parent.glob(f".{recipe.name}-*"), home]:
            shutil.rmtree(rest, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=f".{recipe.name}-", dir=home.parent))
        begin = time.monotonic()
        try:
            built = recipe.build(work, report)
            files = {
                str(file.relative_to(work)): {"size": file.stat().st_size, "sha256": digest(file)}
                for file in built.files
            }
            seconds = round(time.monotonic() - begin, 1)
            known = {"part": recipe.name, "version": built.version, "seconds": seconds, "files": files, **built.record}
            (work / MANIFEST).write_text(json.dumps(known, indent=1) + "\n")
            work.chmod(0o755)
            work.rename(home)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        report(f"ready, {built.version}, after {seconds:.0f} s")
    return home


def run(
    part: str,
    argv: Sequence[str | Path],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    line: Callable[[str], None] = lambda text: None,
) -> None:
    """Run a tool; its output goes to `<cache>/log/<part>.log` and, by lines, to `line`. PartError has the last."""
    log = root() / "log" / f"{part}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    words = [str(word) for word in argv]
    with log.open("a") as out:
        out.write(f"$ {' '.join(words)}\n")
        process = subprocess.Popen(
            words,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        with _running_lock:
            _running.add(process)
        last: list[str] = []
        try:
            assert process.stdout is not None
            for text in process.stdout:
                out.write(text)
                last = [*last[1 - _TAIL :], text.rstrip()]
                line(text.rstrip())
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        finally:
            with _running_lock:
                _running.discard(process)
    if code:
        end = "\n  ".join(last)
        raise PartError(f"{part}: `{' '.join(words[:3])} ...` ended with exit code {code} (all of it: {log}):\n  {end}")


def _end(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def stop_running() -> None:
    """End the tools that other threads are running (the user pressed Ctrl-C, or one part failed)."""
    with _running_lock:
        for process in _running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
