"""Processes that outlive the command that starts them: found again by pid and start time, stopped for certain.

A process is detached (own session), writes to a log of its own and is remembered in `process.json`. The pid alone would
be no proof after a reboot or a wrap of the pid counter, so the kernel's start time and the boot's id stand beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import resource
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

POLL_SECONDS = 0.05


class ProcessError(RuntimeError):
    """A process did not start, did not become ready in time, or did not stop. The message ends with its log."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on `path` (created if missing), between processes as between threads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replaces a file's content in one step; a reader sees the old or the new text, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{time.monotonic_ns()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "w") as f:
        f.write(text)
    os.replace(temporary, path)


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Polls `condition` until it holds. Raises `ProcessError` naming `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            raise ProcessError(f"{what} did not happen within {timeout:.0f} s")
        time.sleep(POLL_SECONDS)


class Process:
    """One detached process, known by its folder: `process.json`, `log`, `log.1` (the run before)."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.name = home.name
        self.log = home / "log"
        self._file = home / "process.json"

    def start(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: pwd.struct_passwd | None = None,
        ready: Callable[[], bool] | None = None,
        timeout: float = 60.0,
        reaches: Sequence[Path] = (),
    ) -> None:
        """Starts the process unless it runs, and waits until `ready()` holds.

        `env` is the whole environment (default: this process's). `user` (root only) is whom it runs as; `reaches` are
        paths that this user must get at even though they lie in someone's private folder. A process that ends before
        it is ready, or is not ready after `timeout` seconds, is stopped and reported with the end of its log.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        with locked(self.home / "lock"):
            if not self.running():
                _allow_many_files()
                if self.log.exists():
                    self.log.replace(self.log.with_name("log.1"))
                with open(self.log, "ab") as log:
                    child = subprocess.Popen(
                        [*as_user(user, reaches), *argv],
                        env=None if env is None else dict(env),
                        cwd=cwd or self.home,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                write_atomically(self._file, json.dumps(identity(child.pid) or {"pid": child.pid}))
                child.returncode = 0  # it is not ours to wait for: spares the interpreter's warning about a live child
            self._await(ready, timeout)

    def _await(self, ready: Callable[[], bool] | None, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while ready is not None:
            if not self.running():
                raise ProcessError(f"{self.name} ended while it was starting; the end of {self.log}:\n{self.tail(15)}")
            if ready():
                return
            if time.monotonic() >= deadline:
                self.stop(5)
                raise ProcessError(f"{self.name} was not ready after {timeout:.0f} s; {self.log}:\n{self.tail(15)}")
            self._wait(POLL_SECONDS)

    @property
    def pid(self) -> int | None:
        """The pid of the running process, or None."""
        try:
            known = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return None
        pid = int(known["pid"])
        return pid if identity(pid) == known else None

    def running(self) -> bool:
        """Whether the very process that was started is alive (a zombie is not)."""
        return self.pid is not None

    def stop(self, timeout: float = 30.0, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Asks the process to end, and after `timeout` seconds kills it and its children. No process is no error."""
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, with_signal)
            self._wait(timeout)
            if self.running():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                self._wait(10)
                if self.running():
                    raise ProcessError(f"{self.name} (pid {pid}) cannot be killed")
        self._file.unlink(missing_ok=True)

    def _wait(self, seconds: float) -> None:
        """Returns when the process has ended, or after `seconds`."""
        pid = self.pid
        if pid is None:
            return
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(seconds * 1000)
        finally:
            os.close(descriptor)

    def tail(self, lines: int = 20) -> str:
        """The last lines of the log."""
        try:
            with open(self.log, "rb") as f:
                f.seek(max(0, f.seek(0, os.SEEK_END) - 200 * lines - 4096))
                text = f.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def remove(self, grace: float = 30.0) -> None:
        """Stops the process and removes its folder with the logs. `grace` 0 kills it: its data is to go anyway."""
        self.stop(grace)
        shutil.rmtree(self.home, ignore_errors=True)


def _allow_many_files() -> None:
    """Children inherit the limit: a router that holds thousands of requests needs more than the usual 1,024 files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def identity(pid: int) -> dict[str, object] | None:
    """What makes a process this process. None if it does not run (or has ended and is only waiting to be reaped)."""
    try:
        fields = _stat(pid)
        if fields[0] in "ZX" and _over(pid):
            return None
    except (FileNotFoundError, ProcessLookupError):
        return None
    return {"pid": pid, "started": int(fields[19]), "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip()}


def _over(pid: int) -> bool:
    """Whether a zombie holds nothing any more: its other threads, which end after the first, are gone too."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # not ours to reap
        return len(list(Path(f"/proc/{pid}/task").iterdir())) <= 1


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def forget_lock_of_dead(file: Path) -> None:
    """Removes a lock file whose first line is the pid of a process that has ended but was never reaped.

    Servers take such a zombie for a running server, and in a container without an init it stays for ever.
    """
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError, IndexError):
        if _stat(int(file.read_text().split()[0]))[0] in "ZX":
            file.unlink()


def unprivileged(*preferred: str) -> pwd.struct_passwd | None:
    """Whom a database server runs as: the first of the users that exists, else nobody. None if we are not root."""
    if os.geteuid() != 0:
        return None
    for name in (*preferred, "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise ProcessError("there is no unprivileged user for a database server: create one, for example `useradd zdm`")


def as_user(user: pwd.struct_passwd | None, reaches: Sequence[Path] = ()) -> list[str]:
    """The argv prefix that runs a program as `user`: in its own right, or with the right to pass private folders."""
    if user is None:
        return []
    prefix = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    if all(_reachable(path, user) for path in reaches):
        return [*prefix, "--inh-caps=-all", "--"]
    return [*prefix, "--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override", "--"]


def _reachable(path: Path, user: pwd.struct_passwd) -> bool:
    """Whether every folder above `path` lets `user` pass."""
    for folder in path.absolute().parents:
        with contextlib.suppress(FileNotFoundError):
            status = folder.stat()
            own = 0o100 if status.st_uid == user.pw_uid else 0o010 if status.st_gid == user.pw_gid else 0o001
            if not status.st_mode & own:
                return False
    return True
