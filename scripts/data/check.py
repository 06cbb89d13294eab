"""`./zdm data-check`: whether every row is the same in both databases, also while they change.

Two methods with one verdict: `check_stream` compares what both databases send, `check_hash` has them compute hashes and
needs no native code. Either way a table is cut at its primary key into ranges, ranges are worked off chunk by chunk by
a bounded number of connections, and rows that look different are looked at again until it is proven that it is not lag
(`settle`). No lock is ever taken, and no statement lasts long.

- The ranges of a table leave nothing out: the first and the last are open.
- `connections` to each database read chunks; one more to each looks again at suspects.
- A table of which too much differs is not checked to its end: which rows it is that differ is no longer the question.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from contract.tables import Table
from scripts.console import Console, Step
from scripts.context import Context
from scripts.data import check_method
from scripts.data.check_crew import UNPACED, Crew, Pace, Task
from scripts.data.check_hash import Buckets
from scripts.data.check_method import Wanted
from scripts.data.check_ranges import cut
from scripts.data.check_result import REPORTED, CheckResult, Kind, TableResult
from scripts.data.check_source import accepted, refused_values
from scripts.data.check_worker import ALL_ROWS, Chunk, Disagree, Method, Sides, Where, Worker, read_only
from scripts.data.difference import Difference, Key, Refused
from scripts.data.inspect import mysql_tables, without_unsupported
from scripts.data.keyset import Bounds
from scripts.data.rules import MySQL, Postgres, Rules, rules_of
from scripts.data.settle import PATIENCE, Settle, settled_differences

RANGE: Final = 100_000
"""Rows of a range, at least."""
RANGES: Final = 8
"""Of a table for each connection, at most, so that all of them end at about the same time."""
RANGE_WHERE: Final = 500_000
"""Rows of a range of which a condition chooses some: a statement must not look at many more to find none."""

FEW: Final = 1_000
SHARE: Final = 0.2
"""More suspects than both (rows; share of the rows so far) are no differences of single rows: another method is tried.
"""
MOST: Final = 100_000
"""Suspects of a table after which it is not checked further."""

Expected = Callable[[Postgres, Rules, Sequence[Key]], Collection[Key]]
"""Given keys of rows that differ: those that may, because they were changed on the target after the switch."""


@dataclass(frozen=True)
class Earlier:
    """What is known of a table from before: the ranges still to be checked, and what the others had."""

    method: str
    ranges: Sequence[Bounds]
    source_rows: int = 0
    target_rows: int = 0
    chunks: int = 0
    suspects: Sequence[Key] = ()


class Ledger(Protocol):
    """Keeps what was checked (`check_state`)."""

    digests: bool

    def earlier(self, rules: Rules) -> Earlier | None:
        """What an earlier run has left of the table; None: all of it."""
        ...

    def plan(self, rules: Rules, method: str, ranges: Sequence[Bounds]) -> None:
        """The table is checked (anew) like that."""
        ...

    def chunk(self, rules: Rules, within: Bounds, chunk: Chunk) -> None:
        """A chunk of the range `within` is done."""
        ...

    def judged(self, rules: Rules, different: Sequence[Key]) -> str | None:
        """All chunks of the table are done, and these rows differ. Returns the table's digest, where it is known."""
        ...


def run(
    context: Context,
    *,
    tables: Sequence[str] | None = None,
    console: Console,
    title: str = "Check data",
    settle: Settle | None = None,
    marker: Callable[[], Any] | None = None,
    expected: Expected | None = None,
    connections: int = 2,
    chunk: int | None = None,
    busy: float = 1.0,
    patience: float = PATIENCE,
    method: Wanted = "auto",
    where: str = "",
    reader: bool = False,
    ranges: Mapping[str, Sequence[Bounds]] | None = None,
    ledger: Ledger | None = None,
    kind: Kind | None = None,
    remark: str = "",
    show_values: bool = False,
) -> CheckResult:
    """Checks the captured tables (all of the source if none is), or only those named.

    `settle` returns when everything written to the source before its call is on the target, and raises when that cannot
    be proven; without it a row must differ for `patience` seconds. `marker` is called before the first row is read; its
    answer becomes `started`. `expected` says of which differing rows the target may be newer. `busy` (0 to 1) is the
    share of the time in which each connection's queries run: below 1 it rests after each chunk, and chunks are smaller;
    `chunk` fixes their rows. `where` is a condition over one table, valid in both databases. `reader`: chunks are read
    from the target's reader, suspects always from its writer. `ranges` are all that is checked of the tables in it.
    """
    out = context.outputs
    started_at, clock = time.time(), time.monotonic()
    with console.step(title) as step, ExitStack() as stack:
        started = marker() if marker is not None else None
        my = stack.enter_context(context.mysql())
        pg = stack.enter_context(context.postgres())
        everything = mysql_tables(my, out.database, tables or out.pipeline.tables or None)
        chosen = without_unsupported(everything, out.pipeline.choices)
        results, used, reason = check_tables(
            context,
            my,
            pg,
            [rules_of(table, out.pipeline.choices) for table in chosen if ranges is None or table.name in ranges],
            settle=settle,
            expected=expected,
            connections=connections,
            pace=Pace(busy, chunk),
            patience=patience,
            method=method,
            where=Where(where),
            reader=reader,
            ranges=ranges or {},
            ledger=ledger,
            step=step,
        )
        result = CheckResult(
            results,
            started_at,
            time.monotonic() - clock,
            started,
            _left_out(everything, chosen),
            kind or ("where" if where else "tables" if tables else "full"),
            used,
            reason,
            remark,
            show_values,
        )
        step.done(result.summary)
    return result


def check_tables(
    sides: Sides,
    my: MySQL,
    pg: Postgres,
    tables: Sequence[Rules],
    *,
    settle: Settle | None = None,
    expected: Expected | None = None,
    connections: int = 1,
    pace: Pace = UNPACED,
    patience: float = PATIENCE,
    method: Wanted = "auto",
    where: Where = ALL_ROWS,
    reader: bool = False,
    ranges: Mapping[str, Sequence[Bounds]] | None = None,
    ledger: Ledger | None = None,
    step: Step | None = None,
) -> tuple[list[TableResult], str, str]:
    """The tables' results, the method's name, and why it was chosen. `my` and `pg` look again at suspects."""
    read_only(my, 0)
    if where.sql:
        accepted(my, pg, tables[0], where)
    with ExitStack() as stack:
        workers = [Worker(sides, reader=reader) for _ in range(connections)]
        for worker in workers:
            stack.callback(worker.close)
        digests = ledger is not None and ledger.digests
        chosen, reason = check_method.choose(method, workers[0], tables, where, digests=digests)
        crew = stack.enter_context(Crew(workers, pace))
        work = _Work(my, pg, crew, where, RANGES * connections, ranges or {}, ledger)
        jobs = {rules.table.name: _Job(rules, chosen) for rules in tables}

        def end(job: _Job) -> None:
            if step is not None and job.suspects:
                step.update(f"{job.name}: {len(job.suspects):,} rows looked different, looking again")
            _judge(my, pg, job, settle, expected, patience)
            if ledger is not None:
                job.result.digest = ledger.judged(job.rules, job.result.keys)

        for largest in sorted(jobs.values(), key=lambda job: -job.rules.table.rows):
            work.begin(largest)
        for job in jobs.values():
            if not job.left:  # it was done before
                end(job)
        while any(job.left for job in jobs.values()):
            if (changed := work.next(jobs)) is None:
                continue
            if step is not None:
                _show(step, jobs.values())
            if not changed.left:
                end(changed)
    return [job.result for job in jobs.values()], chosen.name, reason


@dataclass
class _Job:
    """A table while it is checked. `left` are ranges not done, `attempt` numbers the methods tried."""

    rules: Rules
    method: Method
    result: TableResult = field(init=False)
    attempt: int = 0
    left: int = 0
    suspects: dict[Key, None] = field(default_factory=dict)
    refused: dict[Key, tuple[str, str]] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.result = TableResult(self.name)

    @property
    def name(self) -> str:
        return self.rules.table.name

    def add(self, chunk: Chunk) -> None:
        self.result.source_rows += chunk.source_rows
        self.result.target_rows += chunk.target_rows
        self.result.chunks += 1
        self.suspects.update(dict.fromkeys(chunk.suspects))
        self.refused.update(chunk.refused)
        self.left -= chunk.ended

    @property
    def too_different(self) -> bool:
        return len(self.suspects) > max(FEW, SHARE * self.result.source_rows)


@dataclass
class _Work:
    """Gives ranges to the crew and takes their chunks."""

    my: MySQL
    pg: Postgres
    crew: Crew
    where: Where
    parts: int
    """Ranges of a large table."""
    ranges: Mapping[str, Sequence[Bounds]]
    ledger: Ledger | None

    def begin(self, job: _Job) -> None:
        earlier = self.ledger.earlier(job.rules) if self.ledger is not None else None
        if earlier is None:
            self._start(job, check_method.first_of(job.method, job.rules, self.where))
            return
        result = job.result
        result.source_rows, result.target_rows = earlier.source_rows, earlier.target_rows
        result.chunks = earlier.chunks
        job.suspects = dict.fromkeys(earlier.suspects)
        job.method = check_method.named(earlier.method, job.method, job.rules, self.where)
        self._add(job, earlier.ranges)

    def next(self, jobs: Mapping[str, _Job]) -> _Job | None:
        """Waits for a chunk, and gives the table it belongs to; None when it counts no more. Raises what went wrong."""
        task, seen = self.crew.take()
        job = jobs[task.rules.table.name]
        if task.attempt != job.attempt or not job.left:
            return None
        if isinstance(seen, Disagree):
            self._again(job, Buckets(self.where), str(seen))
        elif isinstance(seen, Exception):
            raise seen
        else:
            job.add(seen)
            if self.ledger is not None:
                self.ledger.chunk(job.rules, task.bounds, seen)
            other = check_method.next_of(job.method, job.rules, self.where) if job.too_different else None
            if other is not None:
                self._again(job, other, f"{len(job.suspects):,} rows looked different")
            elif len(job.suspects) > MOST:
                self.crew.give_up(job.name, job.attempt)
                job.left, job.result.stopped = 0, f"not checked further, as {len(job.suspects):,} rows look different"
        return job

    def _again(self, job: _Job, method: Method, why: str) -> None:
        """From the beginning, in another way."""
        self.crew.give_up(job.name, job.attempt)
        job.attempt += 1
        job.suspects, job.refused, job.result = {}, {}, TableResult(job.name, remark=f"{method.name} because {why}")
        self._start(job, method)

    def _start(self, job: _Job, method: Method) -> None:
        job.method = method
        ranges = self.ranges.get(job.name) or [Bounds()]
        if job.name not in self.ranges and not isinstance(method, Buckets):
            rows = job.rules.table.rows
            parts = rows // RANGE_WHERE if self.where.sql else min(rows // RANGE, self.parts)
            ranges = cut(self.my, self.pg, job.rules, parts)
        if self.ledger is not None:
            self.ledger.plan(job.rules, method.name, ranges)
        self._add(job, ranges)

    def _add(self, job: _Job, ranges: Sequence[Bounds]) -> None:
        job.left, job.result.method = len(ranges), job.method.name
        self.crew.add(Task(job.rules, job.method, bounds, job.attempt) for bounds in ranges)


def _judge(
    my: MySQL, pg: Postgres, job: _Job, settle: Settle | None, expected: Expected | None, patience: float
) -> None:
    """Looks again at the suspects, now that all ranges are done."""
    result, rules = job.result, job.rules
    result.suspects = len(job.suspects)
    found, result.unsettled = settled_differences(my, pg, rules, job.suspects, settle=settle, patience=patience)
    if expected is not None and found:  # asked after the rows were read, so that none changed in between
        newer = set(expected(pg, rules, [difference.key for difference in found]))
        found = [difference for difference in found if difference.key not in newer]
        result.newer = len(newer)
    result.differences, result.keys = len(found), [difference.key for difference in found]
    if not rules.ordered:  # ranges of the target may overlap; every other row of the source has its counterpart
        kinds = Counter(difference.kind for difference in found)
        result.target_rows = result.source_rows - kinds["missing"] + kinds["extra"]
    result.examples = explained(my, rules, found[:REPORTED], job.refused)
    result.seconds = time.monotonic() - job.began


def explained(
    my: MySQL, rules: Rules, found: Sequence[Difference], known: Mapping[Key, tuple[str, str]]
) -> list[Difference]:
    """Differences with what the target cannot hold of them: as the contract says, or as the native core has seen."""
    refused = refused_values(my, rules, [difference.key for difference in found])
    for key, (column, reason) in known.items():
        refused.setdefault(key, (Refused(column, reason),))
    return [d.poisoned(refused[d.key]) if d.key in refused else d for d in found]


def _show(step: Step, jobs: Collection[_Job]) -> None:
    done = sum(job.result.source_rows for job in jobs)
    total = sum(
        job.result.source_rows if not job.left else max(job.rules.table.rows, job.result.source_rows) for job in jobs
    )
    step.progress(done, total, "rows")


def _left_out(everything: Sequence[Table], chosen: Sequence[Table]) -> list[str]:
    kept = {column.path for table in chosen for column in table.columns}
    tables = {table.name for table in chosen}
    return [
        name
        for table in everything
        for name in (
            [table.name] if table.name not in tables else [c.path for c in table.columns if c.path not in kept]
        )
    ]
