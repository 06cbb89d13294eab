"""The stack's processes: killed, frozen, thawed, and started again as an operator does, by the local cloud's means."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

from local.processes import Process, wait_until


class Part:
    """One process with its children. `start` starts it unless it runs, and returns when it serves."""

    def __init__(self, process: Process, start: Callable[[], None]) -> None:
        self.process = process
        self._start = start
        self._frozen: list[int] = []

    def kill(self) -> None:
        """Kills all of it at once, as a machine that loses its power."""
        pids = list(self._tree())
        for pid in pids:
            _signal(pid, signal.SIGKILL)
        wait_until(lambda: not any(_alive(pid) for pid in pids), 20, f"the end of {self.process.name}")

    def freeze(self) -> None:
        self._frozen = list(self._tree())
        for pid in self._frozen:
            _signal(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self._frozen:
            _signal(pid, signal.SIGCONT)
        self._frozen = []

    def start(self) -> None:
        self._start()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def _tree(self) -> Iterator[int]:
        """The process, then its children and theirs: a server's sessions may have groups of their own."""
        pid = self.process.pid
        assert pid is not None, f"{self.process.name} does not run"
        found = [pid]
        for parent in found:
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    found += [int(child) for child in children.read_text().split()]
        return iter(found)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _alive(pid: int) -> bool:
    """Whether it holds anything still: one that has ended and waits to be reaped does not."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] not in "ZX" or len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
