"""Runs one way of doing the work in a process of its own, and measures it: time, processor time, memory.

Such a process (a driver) gets its task as JSON on standard input and prints its answer as JSON in its last line:
`seconds` from when everything was imported until the work was done, `cpu` it used meanwhile, and what it found.
Programs that are no driver are measured from start to end.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.databases import Databases, Processor, descendants

PROJECT = Path(__file__).resolve().parent.parent
LIMIT = 3600
"""Seconds after which a run is given up."""


class RunError(RuntimeError):
    """A way did not do its work; the message has the end of what it said."""


@dataclass(frozen=True)
class Run:
    """What one run took. `wall` in seconds, processor time in seconds, memory in bytes."""

    wall: float
    client: float
    servers: Processor
    memory: int
    answer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def servers_total(self) -> float:
        return self.servers.mysql + self.servers.postgres

    def to_json(self) -> dict[str, Any]:
        return {
            "seconds": round(self.wall, 3),
            "cpuSeconds": {
                "client": round(self.client, 2),
                "mysql": round(self.servers.mysql, 2),
                "postgres": round(self.servers.postgres, 2),
            },
            "peakMemoryBytes": self.memory,
            "answer": dict(self.answer),
        }


def median(runs: Sequence[Run]) -> Run:
    """The run in the middle by wall time: its figures belong together. Of an even number the slower one."""
    return sorted(runs, key=lambda run: run.wall)[len(runs) // 2]


def spread(runs: Sequence[Run]) -> float:
    """How far the runs lie apart: the largest wall time over the median."""
    return max(run.wall for run in runs) / statistics.median(run.wall for run in runs)


def drive(
    databases: Databases,
    argv: Sequence[str | Path],
    task: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Runs a driver, or (without `task`) any program. Raises `RunError` when it fails."""
    before = databases.processor()
    began = time.monotonic()
    process = subprocess.Popen(
        [str(word) for word in argv],
        cwd=PROJECT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak = Peak(process.pid)
    timer = threading.Timer(LIMIT, process.kill)
    timer.start()
    try:
        with peak:
            text = json.dumps({**databases.for_driver(), **task}) if task is not None else ""
            output, errors = _communicate(process, text)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            wall = time.monotonic() - began
    finally:
        timer.cancel()
        if process.returncode is None:
            process.kill()
            process.wait()
    if process.returncode:
        said = "\n".join((errors or output).strip().splitlines()[-8:])
        raise RunError(f"{Path(argv[0]).name} ended with exit code {process.returncode}:\n{said}")
    answer: dict[str, Any] = json.loads(output.strip().splitlines()[-1]) if task is not None else {}
    return Run(
        answer.pop("seconds", wall),
        answer.pop("cpu", usage.ru_utime + usage.ru_stime),
        databases.processor() - before,
        peak.bytes,
        answer,
    )


def _communicate(process: subprocess.Popen[str], text: str) -> tuple[str, str]:
    """As `Popen.communicate`, but leaves the process to be awaited, so that its use of resources can be had."""
    assert process.stdin and process.stdout and process.stderr
    errors: list[str] = []
    reader = threading.Thread(target=lambda stream: errors.append(stream.read()), args=(process.stderr,))
    reader.start()
    with process.stdin as stream:
        stream.write(text)
    output = process.stdout.read()
    reader.join()
    return output, errors[0]


class Peak:
    """The peak of a process' and its descendants' resident memory, while the block runs.

    Read from /proc as it runs: what `wait4` says of a process begins with the memory of the one that started it.
    """

    def __init__(self, pid: int, every: float = 0.1) -> None:
        self._pid = pid
        self._every = every
        self._peaks: dict[int, int] = {}
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch)

    @property
    def bytes(self) -> int:
        """The sum of each process' own peak: at least what they had at one time."""
        return sum(self._peaks.values())

    def __enter__(self) -> Peak:
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._watcher.join()

    def _watch(self) -> None:
        while not self._over.wait(self._every):
            for pid in descendants(self._pid):
                self._peaks[pid] = max(self._peaks.get(pid, 0), high_water(pid))


def high_water(pid: int) -> int:
    """The largest resident size that a process has had, in bytes; 0 when it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def repeated(ways: Mapping[str, Callable[[], Run]], times: int, said: Callable[[str], None]) -> dict[str, list[Run]]:
    """Runs all ways by turns, `times` times, so that whatever else happens on the machine meets all of them alike."""
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for turn in range(times):
        for name, way in ways.items():
            run = way()
            runs[name].append(run)
            said(f"{name}, run {turn + 1} of {times}: {run.wall:.2f} s")
    return runs
