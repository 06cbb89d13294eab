"""What is under way in RDS' API: every operation that takes time is answered at once and done by a thread.

An entry on disk says so (`creating`, `renaming`, `deleting`, ...) until the work is over; then what is there speaks for
itself. Work that failed leaves its entry as `failed`, with the reason, until the next work on it, or its deletion.

Invariants:
- At most one piece of work at a time for each server and copy; another is refused as RDS refuses it.
- An entry whose process has died is a failure: nobody does that work any more.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from local.processes import identity, wait_until, write_atomically
from local.provider.handler import HandlerError
from local.stack import LocalStack

Kind = Literal["cluster", "db", "cluster-snapshot", "snapshot", "export"]
THREADS = 8
FAILED = "failed"


@dataclass(frozen=True)
class Entry:
    """Work on one server or copy. `known` are the properties of what is not there yet."""

    kind: Kind
    name: str
    status: str
    known: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    to: str = ""
    """The new name of what is being renamed: from some moment on it is found there."""
    by: dict[str, object] = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return self.status == FAILED


class Progress:
    """The work of one stack's API server."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._home = stack.home / "data" / "rds"
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="rds")

    def of(self, kind: Kind, name: str) -> Entry | None:
        """The work on what has this name, or is about to have it."""
        own = self._load(self._file(kind, name))
        return own or next((entry for entry in self.all(kind) if entry.to == name), None)

    def all(self, kind: Kind) -> list[Entry]:
        found = (self._load(file) for file in sorted(self._home.glob(f"{kind}.*.json")))
        return [entry for entry in found if entry is not None]

    def begin(self, entry: Entry, work: Callable[[], object]) -> None:
        """Writes the entry and starts the work. The caller has made sure that nothing else is under way."""
        entry = replace(entry, by=identity(os.getpid()) or {})
        self._put(entry)
        self._pool.submit(self._do, entry, work)

    def forget(self, kind: Kind, name: str) -> None:
        """Removes the entry of what failed."""
        self._file(kind, name).unlink(missing_ok=True)

    def wait(self, kind: Kind, name: str, timeout: float = 600) -> None:
        """Returns when nothing is under way there any more."""

        def over() -> bool:
            entry = self.of(kind, name)
            return entry is None or entry.failed

        wait_until(over, timeout, f"the end of the work on {name}")

    def _do(self, entry: Entry, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            if not isinstance(error, HandlerError):
                traceback.print_exc()
            print(f"{entry.status} of {entry.kind} {entry.name} failed: {error}", file=sys.stderr, flush=True)
            self._put(replace(entry, status=FAILED, reason=str(error)))
        else:
            self.forget(entry.kind, entry.name)

    def _file(self, kind: Kind, name: str) -> Path:
        return self._home / f"{kind}.{name}.json"

    def _put(self, entry: Entry) -> None:
        write_atomically(self._file(entry.kind, entry.name), json.dumps(asdict(entry), indent=1), mode=0o600)

    def _load(self, file: Path) -> Entry | None:
        try:
            entry = Entry(**json.loads(file.read_text()))
        except FileNotFoundError:
            return None
        if entry.failed or identity(int(str(entry.by.get("pid", 0)))) == entry.by:
            return entry
        return replace(entry, status=FAILED, reason=f"{entry.status} was interrupted")
