"""`./zdm copy`: brings the rows that are there from MySQL to PostgreSQL, while changes are captured for later.

Why nothing is missed or doubled: before the first row is read it is proven that every change from then on is kept in
Kafka (`scripts.switch.capture`). Each row is then read once, at some moment, and written once. What happened to it
before that moment is in what was read; what happens after it is in Kafka, and is applied by key once `cdc.state` is
running: inserted or updated to the later value, or deleted. Of what was read already, applying it again makes no
difference.

- Tables are cut into segments, which `streams` work through side by side (`copy_stream`), each with one connection to
  each side; one more to each side is the command's own.
- Killed at any point, the same command goes on where it was (`copy_state`).
- Rows that the target cannot hold are set aside by key, column and reason; all others arrive.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Final

import pymysql.err

import rows
from contract import control
from contract.tables import postgres_name
from scripts.clients.kafka import KafkaClient
from scripts.console import Console, Step, duration
from scripts.context import Context
from scripts.data import copy_state
from scripts.data.copy_native import NativeReading, Reading
from scripts.data.copy_plain import PlainReading
from scripts.data.copy_plan import Seen, observe, parts, refused_by_state
from scripts.data.copy_result import CopyResult, TableResult
from scripts.data.copy_state import Run, Segment
from scripts.data.copy_stream import Stream
from scripts.data.copy_table import Carried
from scripts.data.inspect import mysql_tables
from scripts.data.lag import CaptureDelay
from scripts.data.rules import SCHEMA, MySQL, Postgres
from scripts.data.throttle import MAX_RUNNING, Throttle
from scripts.errors import UsageError, ZdmError
from scripts.switch import journal
from scripts.switch.bootstrap import check_settings
from scripts.switch.capture import Started, await_capture

STREAMS: Final = 2
GUESS: Final = 40e6
"""Bytes a second that a stream is taken to carry, before anything was measured."""
LOOK: Final = 1.0
"""Seconds between two looks at how far the streams are."""


def run(
    context: Context,
    *,
    tables: Sequence[str] | None = None,
    streams: int = STREAMS,
    max_mb_per_second: float | None = None,
    max_running: int | None = MAX_RUNNING,
    without_capture: bool = False,
    restart: bool = False,
    dry_run: bool = False,
    console: Console,
) -> CopyResult:
    """Copies the captured tables (all of the source if none is), or those named; goes on with what an earlier call
    began. `restart` first empties the tables that this copy has filled.

    Raises `UsageError` that lists everything in the way before anything was changed; `ZdmError` when it cannot go on.
    """
    out, began = context.outputs, time.monotonic()
    native = rows.available()
    with ExitStack() as stack:
        pg = stack.enter_context(context.postgres())
        with console.step("Copy: look at both databases") as step, context.mysql() as my:
            refused = [*refused_by_state(out.pipeline, without_capture), *_settings(my, without_capture)]
            if not dry_run:
                copy_state.lock(pg)
            found = mysql_tables(my, out.database, tables or out.pipeline.tables or None)
            seen = observe(pg, found, out.pipeline, restart=restart)
            refused += seen.refused
            if dry_run:
                return _planned(my, seen, streams, restart, native, refused)
            if refused:
                raise UsageError("nothing was copied:\n" + "\n".join(f"  {reason}" for reason in refused))
            step.done(f"{len(seen.tables)} tables, {sum(t.rules.table.size for t in seen.tables) / 1e6:,.0f} MB")
        if not native:
            console.warn("the native core is not available, so rows are copied several times slower (./zdm doctor)")
        if without_capture:
            console.warn("nothing is captured: what changes on the source from now on is not carried over")
            started = None
        else:
            with console.step("Copy: prove that changes are captured"):
                started = await_capture(context)
        copy_state.prepare(pg)
        current = _begin(context, pg, seen, started, streams, restart, console)
        names = [table.name for table in seen.tables]
        left = [segment for segment in copy_state.segments(pg, current, names) if not segment.done]
        throttle = Throttle(streams, max_running, max_mb_per_second * 1e6 if max_mb_per_second else None)
        with console.step("Copy rows") as step:
            before = sum(segment.rows for segment in copy_state.segments(pg, current, names))
            with _lateness(context, captured=started is not None) as late:
                _copy(context, current, seen.tables, left, before, streams, throttle, late, native, step)
            _analyze(context, {segment.table for segment in left}, streams, step)
            result = _result(context, pg, current, seen.tables, before, time.monotonic() - began, native)
            step.done(_speed(result.moved, step.seconds) + f", {len(result.poisons):,} set aside")
        if copy_state.complete(pg, current):
            copy_state.set_state(pg, current, "finished")
        journal.store(pg, control.COPY, result.ok, result.to_json())
    return result


# --- observe and plan -------------------------------------------------------------------------------------------------


def _settings(my: MySQL, without_capture: bool) -> list[str]:
    try:
        if not without_capture:
            check_settings(my)
    except ZdmError as e:
        return [str(e)]
    return []


def _planned(my: MySQL, seen: Seen, streams: int, restart: bool, native: bool, refused: list[str]) -> CopyResult:
    """What would be done."""
    cut = {table.name: len(parts(my, table, streams)) for table in seen.tables}
    done = [] if restart else seen.segments
    tables = _tables(seen.tables, done, cut)
    left = sum(table.size * max(0.0, 1 - table.rows / max(table.expected, 1)) for table in tables)
    seconds = left / (GUESS * streams)
    return CopyResult(seen.run.id if seen.run else "", tables, [], seconds, 0, native, dry_run=True, refused=refused)


def _tables(tables: Sequence[Carried], segments: Sequence[Segment], cut: Mapping[str, int]) -> list[TableResult]:
    found = []
    for table in tables:
        of_table = [segment for segment in segments if segment.table == table.name]
        found.append(
            TableResult(
                table.name,
                table.rules.table.rows,
                table.rules.table.size,
                len(of_table) or cut.get(table.name, 0),
                sum(segment.rows for segment in of_table),
                sum(segment.bytes for segment in of_table),
                sum(segment.set_aside for segment in of_table),
            )
        )
    return found


# --- apply ------------------------------------------------------------------------------------------------------------


def _begin(
    context: Context,
    pg: Postgres,
    seen: Seen,
    started: Started | None,
    streams: int,
    restart: bool,
    console: Console,
) -> Run:
    """The run to go on with: the last one, or a new one, with all tables in it."""
    current, begun = seen.run, {segment.table for segment in seen.segments}
    if current is not None and restart and begun:
        console.warn(f"emptying what run {current.id} has copied: {', '.join(sorted(begun))}")
        copy_state.take_back(pg, current, sorted(begun))
        if not set(current.definitions) - begun:
            copy_state.set_state(pg, current, "given up")
            current = None
        begun = set()
    if current is not None and begun:
        done = sum(segment.rows for segment in seen.segments)
        console.info(f"run {current.id} goes on: {done:,} rows are there")
    if current is None:
        gtid_set, offsets = (str(started.gtid_set), started.offsets) if started else ("", {})
        current = copy_state.begin(pg, gtid_set, {f"{topic}-{number}": at for (topic, number), at in offsets.items()})
    with context.mysql() as my:
        for table in seen.tables:
            if table.name not in begun:
                copy_state.add_table(pg, current, table.name, table.definition(), parts(my, table, streams))
    copy_state.set_state(pg, current, "open")
    return current


def _copy(
    context: Context,
    current: Run,
    tables: Sequence[Carried],
    left: Sequence[Segment],
    before: int,
    streams: int,
    throttle: Throttle,
    late: Callable[[], float],
    native: bool,
    step: Step,
) -> None:
    """Works through the segments that are left; returns when all are done. Raises the first error, once all streams
    have ended."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # what is lost on the way, the streams tell
    by_name = {table.name: table for table in tables}
    places = {table.name: place for place, table in enumerate(tables)}
    queue: SimpleQueue[Segment] = SimpleQueue()
    for segment in sorted(left, key=lambda segment: (places[segment.table], segment.number)):
        queue.put(segment)
    stop, moved = threading.Event(), _Moved()
    reading: Callable[[Carried], Reading] = NativeReading if native else PlainReading
    options = NativeReading.options if native else PlainReading.options

    def work() -> None:
        try:
            with Stream(context, current, reading, options, throttle, stop, moved.add) as stream:
                while not stop.is_set():
                    segment = queue.get_nowait()
                    stream.copy(by_name[segment.table], segment)
        except Empty:
            pass
        except BaseException:
            stop.set()
            raise

    total = sum(table.rules.table.rows for table in tables)
    with ThreadPoolExecutor(streams, "copy") as pool:
        futures = {pool.submit(work) for _ in range(min(streams, len(left)))}
        try:
            while wait(futures, LOOK).not_done:
                with suppress(pymysql.err.MySQLError):  # the streams say so if it lasts
                    throttle.lag = late()
                step.update(moved.said(before, total, throttle))
        finally:
            stop.set()
        for future in futures:
            future.result()


@dataclass
class _Moved:
    """What all streams have carried in this call."""

    rows: int = 0
    bytes: int = 0
    began: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, rows: int, size: int) -> None:
        with self.lock:
            self.rows += rows
            self.bytes += size

    def said(self, before: int, total: int, throttle: Throttle) -> str:
        seconds = time.monotonic() - self.began
        done = before + self.rows
        total = max(total, done)
        left = (total - done) / (self.rows / seconds) if self.rows else None
        return (
            f"{done:,} of about {total:,} rows ({done / max(total, 1):.0%}"
            f"{f', {duration(left)} left' if left else ''}), "
            f"{self.rows / seconds:,.0f} rows/s, {self.bytes / seconds / 1e6:,.1f} MB/s"
            f"{f'; slowed down: {throttle.reason}' if throttle.rest else ''}"
        )


@contextmanager
def _lateness(context: Context, *, captured: bool) -> Iterator[Callable[[], float]]:
    """Says how late changes are captured now, in seconds."""
    if not captured:
        yield lambda: 0.0
        return
    out = context.outputs
    with KafkaClient.of(out.brokers, out.region) as kafka:
        delay = CaptureDelay(context, kafka)
        try:
            yield lambda: delay.delay(0)
        finally:
            delay.close()


def _analyze(context: Context, tables: set[str], streams: int, step: Step) -> None:
    """Collects the planner's statistics of what was filled."""
    if not tables:
        return
    step.update("collecting statistics")

    def analyze(name: str) -> None:
        with context.postgres() as pg:
            pg.execute(f"ANALYZE {postgres_name(SCHEMA, name)}")

    with ThreadPoolExecutor(streams) as pool:
        list(pool.map(analyze, sorted(tables)))


def _result(
    context: Context,
    pg: Postgres,
    current: Run,
    tables: Sequence[Carried],
    before: int,
    seconds: float,
    native: bool,
) -> CopyResult:
    names = [table.name for table in tables]
    segments = copy_state.segments(pg, current, names)
    following = f"./zdm up {context.outputs.stack} -c cdc.state=running" if current.captured else ""
    return CopyResult(
        current.id,
        _tables(tables, segments, {}),
        copy_state.poisons(pg, current, names),
        seconds,
        sum(segment.rows for segment in segments) - before,
        native,
        current.gtid_set,
        following=following,
    )


def _speed(moved: int, seconds: float) -> str:
    return f"{moved:,} rows, {moved / max(seconds, 1e-3):,.0f} rows/s"
