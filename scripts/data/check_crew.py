"""Works off the ranges of tables with a fixed number of workers, chunk by chunk, each as large as its time allows."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from queue import Empty, Queue
from typing import Final

from scripts.data.check_worker import Chunk, Method, TooSlow, Worker
from scripts.data.keyset import Bounds
from scripts.data.rules import Rules
from scripts.errors import ZdmError

WAITING: Final = 64
"""Chunks that wait to be taken, at most."""


@dataclass(frozen=True)
class Pace:
    """How large chunks are and how long a worker rests after each. `busy` (0 to 1) is the share of the time in which
    its queries run; `fixed` rows in each chunk, or as many as take `seconds`."""

    busy: float = 1.0
    fixed: int | None = None

    @property
    def seconds(self) -> float:
        """Of a chunk: where the databases must not notice, a query of some ten milliseconds."""
        return 0.5 if self.busy == 1 else 0.03

    def first(self, method: Method, rules: Rules) -> int:
        if self.fixed is not None:
            return self.fixed
        return min(20_000 if self.busy == 1 else 1_000, self._most(method, rules))

    def next(self, method: Method, rules: Rules, size: int, seconds: float) -> int:
        if self.fixed is not None:
            return self.fixed
        wanted = size * min(max(self.seconds / max(seconds, 1e-6), 0.5), 2.0)
        return max(1, min(round(wanted), self._most(method, rules)))

    def rest(self, seconds: float) -> float:
        """After a chunk that took so long."""
        return seconds * (1 / self.busy - 1)

    @staticmethod
    def _most(method: Method, rules: Rules) -> int:
        average = rules.table.size // max(rules.table.rows, 1)
        return max(1, min(method.most_rows, method.most_bytes // max(average, 1)))


UNPACED: Final = Pace()


@dataclass(frozen=True, eq=False)
class Task:
    """A range to be checked. `attempt` numbers the methods that a table was checked with."""

    rules: Rules
    method: Method
    bounds: Bounds
    attempt: int = 0


Seen = tuple[Task, Chunk | Exception]


class Crew:
    """A context manager: its workers' connections are closed at its end."""

    def __init__(self, workers: list[Worker], pace: Pace) -> None:
        self._workers, self._pace = workers, pace
        self._tasks: Queue[Task | None] = Queue()
        self._seen: Queue[Seen] = Queue(WAITING)
        self._given_up: dict[str, int] = {}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(worker,), daemon=True) for worker in workers]

    def __enter__(self) -> Crew:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for _worker in self._workers:
            self._tasks.put(None)
        while any(thread.is_alive() for thread in self._threads):
            self._drop()
            for thread in self._threads:
                thread.join(0.01)
        for worker in self._workers:
            worker.close()

    def add(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            self._tasks.put(task)

    def give_up(self, table: str, attempt: int) -> None:
        """Nothing of a table's attempts up to this one is worked on any more."""
        self._given_up[table] = attempt

    def take(self) -> Seen:
        """The next chunk, or what went wrong in a range: with `Disagree` its method, with anything else the check."""
        return self._seen.get()

    def _work(self, worker: Worker) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                for chunk in self._chunks(worker, task):
                    self._seen.put((task, chunk))
            except Exception as e:
                self._seen.put((task, e))

    def _chunks(self, worker: Worker, task: Task) -> Iterator[Chunk]:
        after = task.bounds.after
        size = self._pace.first(task.method, task.rules)
        while not self._over.is_set() and self._given_up.get(task.rules.table.name, -1) < task.attempt:
            began = time.monotonic()
            try:
                chunk = task.method.chunk(worker, task.rules, Bounds(after, task.bounds.upto), size)
            except TooSlow as e:
                if size == 1:
                    raise ZdmError(
                        f"{task.rules.table.name}: a single row takes longer than a statement may ({e}). Is there "
                        "enough memory and disk throughput on both sides?"
                    ) from e
                size = max(1, size // 4)
                continue
            seconds = time.monotonic() - began
            yield replace(chunk, seconds=seconds)
            if chunk.ended:
                return
            after = chunk.bounds.upto
            size = self._pace.next(task.method, task.rules, size, seconds)
            self._over.wait(self._pace.rest(seconds))

    def _drop(self) -> None:
        """Makes room for what nobody will take, so that workers can end."""
        try:
            while True:
                self._seen.get_nowait()
        except Empty:
            pass
