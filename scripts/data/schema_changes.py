"""Changes to the target's schema, and how they are made: one after the other, or side by side where that pays.

- A change that needs a lock on a table waits for it in short turns: who waits for a lock holds up everyone behind.
- Indexes are built CONCURRENTLY, and constraints validated, over several connections: the largest tables first, never
  two on one table at a time (PostgreSQL lets only one of them run).
- A build that was killed leaves an invalid index: it is dropped and built again. One that still runs on the server (its
  client was killed) is waited for: its session holds a lock that others try.
- A change that fails stops no other one; all failures are told together in the end.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import psycopg

from contract.tables import postgres_name
from scripts.console import Step
from scripts.context import Context
from scripts.data.obstacle import MAX_NAME
from scripts.errors import ZdmError

SCHEMA: Final = "public"
LOCK_PATIENCE: Final = 2
"""Seconds that one turn waits for a lock on a table."""
LOCK_TURNS: Final = 30
"""Turns until the change counts as failed."""
LOOK: Final = 1.0
"""Seconds between two looks at how far the builds are."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to do on the target."""

    what: str
    statements: tuple[str, ...]
    """In one transaction; for an index outside of any."""
    table: str = ""
    index: str = ""
    """The index that is built, if it is one."""
    parallel: bool = False
    """Whether it reads a whole table, so that several are worth doing at a time."""
    before: str = ""
    """A query that must find nothing, or the change would fail; it finds how often which values stand in the way."""
    offenders: str = ""
    """A query for the rows that made it fail."""


def identifier(*parts: str) -> str:
    """A name made of parts; a longer one than PostgreSQL takes is cut and told apart by a hash."""
    name = "_".join(parts)
    if len(name.encode()) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: MAX_NAME - 9].decode(errors="ignore") + "_" + digest


def apply(pg: psycopg.Connection[Any], change: Change) -> None:
    """Makes one change. `pg` must be in autocommit mode. Raises `ZdmError` that says what failed, and why."""
    try:
        if change.index:
            _build(pg, change)
        else:
            _in_turns(pg, change)
    except psycopg.Error as e:
        raise ZdmError(f"{change.what} failed on the target: {_reason(e)}{_offenders(pg, change)}") from e


def _in_turns(pg: psycopg.Connection[Any], change: Change) -> None:
    for _ in range(LOCK_TURNS):
        try:
            with pg.transaction():
                pg.execute(f"SET LOCAL lock_timeout = '{LOCK_PATIENCE}s'")
                for statement in change.statements:
                    pg.execute(statement)
            return
        except psycopg.errors.LockNotAvailable:
            continue
    raise ZdmError(
        f"{change.what}: others have held locks on {change.table or 'what it changes'} for "
        f"{LOCK_TURNS * LOCK_PATIENCE} s (see pg_locks); run it again when their transactions have ended"
    )


def _build(pg: psycopg.Connection[Any], change: Change) -> None:
    """Builds an index, unless someone else has just done so."""
    key = f"zdm schema {change.table}"
    while not _is_true(pg, "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", key):
        time.sleep(LOOK)  # to wait inside of a statement would hold a snapshot, for which the other build waits
    try:
        _build_alone(pg, change)
    finally:
        if not pg.broken:
            pg.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (key,))


def _is_true(pg: psycopg.Connection[Any], sql: str, parameter: str) -> bool:
    row = pg.execute(sql, (parameter,)).fetchone()
    return row is not None and bool(row[0])


def _build_alone(pg: psycopg.Connection[Any], change: Change) -> None:
    name = postgres_name(SCHEMA, change.index)
    row = pg.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)", (name,)).fetchone()
    if row is not None and row[0]:
        return
    if row is not None:
        pg.execute(f"DROP INDEX CONCURRENTLY {name}")
    try:
        for statement in change.statements:
            pg.execute(statement)
    except psycopg.errors.QueryCanceled:
        raise  # someone is in a hurry: the next run drops what is left
    except psycopg.Error:
        if not pg.broken:
            pg.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        raise


def _reason(error: psycopg.Error) -> str:
    detail = error.diag.message_detail
    return f"{error.diag.message_primary or error}" + (f" ({detail})" if detail else "")


def _offenders(pg: psycopg.Connection[Any], change: Change) -> str:
    if not change.offenders or pg.broken:
        return ""
    rows = pg.execute(change.offenders).fetchall()
    return "".join(f"\n    row {', '.join(map(repr, row))}" for row in rows)


def apply_all(
    context: Context, changes: Sequence[Change], step: Step, *, jobs: int = 1, sizes: dict[str, int] | None = None
) -> None:
    """Makes the changes in their order; those that may run side by side over at most `jobs` connections.

    Raises `ZdmError` that lists the values that unique indexes would refuse (none is built then), or every change that
    failed.
    """
    sizes = sizes or {}
    failed: list[str] = []
    with _Workers(context, jobs) as workers:
        done = 0
        for parallel, grouped in groupby(changes, lambda change: change.parallel):
            group = list(grouped)
            _require_no_conflicts(workers, group, step)
            if parallel:
                works = _by_table(group, sizes)
                failed += workers.run(works, step, sizes)
                done += sum(map(len, works))
            else:
                for change in group:
                    step.progress(done, len(changes), change.what)
                    failed += workers.attempt(change)
                    done += 1
    if failed:
        raise ZdmError(
            f"{len(failed)} of {len(changes)} changes failed; the others are made, and a second run goes on from "
            "there:\n" + "\n".join(f"  {reason}" for reason in failed)
        )


def _by_table(changes: Iterable[Change], sizes: dict[str, int]) -> list[list[Change]]:
    """The changes of each table; the largest tables first."""
    tables: dict[str, list[Change]] = {}
    for change in changes:
        tables.setdefault(change.table, []).append(change)
    return sorted(tables.values(), key=lambda of: -sizes.get(of[0].table, 0))


def _require_no_conflicts(workers: _Workers, changes: Sequence[Change], step: Step) -> None:
    asked = [change for change in changes if change.before]
    if not asked:
        return
    step.update(f"looking for rows that would stand in the way of {len(asked)} changes")
    found = [line for lines in workers.map(_conflicts, asked) for line in lines]
    if found:
        raise ZdmError("rows stand in the way (values beyond the first 5 of each are not listed):\n" + "\n".join(found))


def _conflicts(pg: psycopg.Connection[Any], change: Change) -> list[str]:
    return [
        f"  {change.what}: {row[0]:,} rows have {', '.join(map(repr, row[1:]))}" for row in pg.execute(change.before)
    ]


@dataclass
class _Workers:
    """Connections that are used by one change at a time each. Leaving the block ends what still runs on them."""

    context: Context
    jobs: int
    done: list[Change] = field(default_factory=list)
    stopped: bool = False
    _free: list[psycopg.Connection[Any]] = field(default_factory=list)
    _all: list[psycopg.Connection[Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> _Workers:
        self._pool = ThreadPoolExecutor(self.jobs, "schema")
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is not None:
            self.stopped = True
            self._pool.shutdown(wait=False, cancel_futures=True)
            for pg in self._all:
                if not pg.closed:
                    pg.cancel_safe()
                    pg.close()
        self._pool.shutdown()
        for pg in self._all:
            pg.close()

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        with self._lock:
            pg = self._free.pop() if self._free else None
        if pg is None or pg.broken:
            pg = self.context.postgres()
            with self._lock:
                self._all.append(pg)
        try:
            yield pg
        finally:
            with self._lock:
                self._free.append(pg)

    def map(self, work: Any, changes: Sequence[Change]) -> Iterator[list[str]]:
        def one(change: Change) -> list[str]:
            with self.connection() as pg:
                found: list[str] = work(pg, change)
                return found

        return self._pool.map(one, changes)

    def attempt(self, change: Change) -> list[str]:
        """Makes one change, unless all is to stop; what went wrong."""
        if self.stopped:
            return []
        with self.connection() as pg:
            try:
                apply(pg, change)
            except ZdmError as e:
                return [str(e)]
        self.done.append(change)
        return []

    def run(self, works: Sequence[Sequence[Change]], step: Step, sizes: dict[str, int]) -> list[str]:
        """Makes the changes of each table one after the other, those of several tables at a time; what went wrong."""

        def of_table(changes: Sequence[Change]) -> list[str]:
            return [reason for change in changes for reason in self.attempt(change)]

        total = sum(len(changes) for changes in works)
        before = len(self.done)
        pending: set[Future[list[str]]] = {self._pool.submit(of_table, changes) for changes in works}
        finished: set[Future[list[str]]] = set()
        with closing(self.context.postgres()) as watcher:
            while pending:
                ended, pending = wait(pending, LOOK, FIRST_COMPLETED)
                finished |= ended
                self._show(step, watcher, len(self.done) - before, total)
        return [reason for future in finished for reason in future.result()]

    def _show(self, step: Step, watcher: psycopg.Connection[Any], done: int, total: int) -> None:
        running = builds(watcher, [pg.info.backend_pid for pg in self._all if not pg.closed])
        share = sum(build.share for build in running)
        step.progress(done + share, total, "; ".join(map(str, running)) or "indexes and validations")


_PHASES: Final[dict[str, tuple[float, float]]] = {
    "building index: scanning table": (0.0, 0.4),
    "building index: sorting live tuples": (0.4, 0.0),
    "building index: loading tuples in tree": (0.4, 0.3),
    "index validation: scanning index": (0.7, 0.1),
    "index validation: sorting tuples": (0.8, 0.0),
    "index validation: scanning table": (0.8, 0.2),
    "waiting for old snapshots": (1.0, 0.0),
}
"""Of a build's phases: what is done before, and the phase's own share. Rough: it depends on the rows' width."""


@dataclass(frozen=True, slots=True)
class Build:
    """An index that is being built. `share` of it is done; a phase that waits names the session it waits for."""

    index: str
    phase: str
    share: float
    waits_for: int | None

    def __str__(self) -> str:
        waiting = f" (session {self.waits_for})" if self.waits_for else ""
        return f"{self.index}: {self.phase.partition(': ')[2] or self.phase}{waiting} {self.share:.0%}"


def builds(pg: psycopg.Connection[Any], pids: Sequence[int]) -> list[Build]:
    """What the sessions `pids` build, as pg_stat_progress_create_index has it."""
    found = []
    for index, phase, blocks, blocks_total, tuples, tuples_total, locker in pg.execute(
        "SELECT coalesce(c.relname, '?'), p.phase, p.blocks_done, p.blocks_total, p.tuples_done, p.tuples_total, "
        "p.current_locker_pid FROM pg_stat_progress_create_index p LEFT JOIN pg_class c ON c.oid = p.index_relid "
        "WHERE p.pid = ANY(%s) ORDER BY 1",
        (list(pids),),
    ):
        before, own = next((share for name, share in _PHASES.items() if phase.startswith(name)), (0.0, 0.0))
        part = blocks / blocks_total if blocks_total else tuples / tuples_total if tuples_total else 0.0
        found.append(Build(index, phase, before + own * min(part, 1.0), locker or None))
    return found
