"""The machine that moves the right to write from one side to the other. `Machine.table` is what happens, in order.

Invariants:
- At any time at most one side accepts writes: the source is closed before the target opens.
- The COMMITTED row in PostgreSQL's journal, written in one transaction with the move of the right to write, decides:
  before it any failure, and the end of the budget, undoes everything; after it there is only forward.
- A run that died is finished or undone by the next one, by what the journal says. Two operators never work at once, and
  one who was believed dead cannot commit: an undo first changes the row that a commit must find unchanged.
- Everything slow (connections, positions, comparing what changed since the last check) happens before the fence.
"""

from __future__ import annotations

import getpass
import socket
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import psycopg
import pymysql

from contract.flag import Flag, Side, Writes
from contract.tables import mysql_name, postgres_name
from scripts.clients.kafka import KafkaClient, Offsets
from scripts.console import Console
from scripts.context import Context
from scripts.data.compare import compare_keys
from scripts.data.inspect import mysql_tables, without_unsupported
from scripts.data.rules import SCHEMA, MySQL, Postgres, rules_of
from scripts.data.settle import equal_or_settled
from scripts.errors import ZdmError
from scripts.switch import journal
from scripts.switch.changes import ChangedKeys
from scripts.switch.drain import Drain, Drained, patience
from scripts.switch.fence import Controller
from scripts.switch.hands import Hands
from scripts.switch.journal import State
from scripts.switch.probe import Pause, PauseProbe
from scripts.switch.result import CutoverResult, StepTime
from scripts.switch.way import Way, way

FEW_KEYS = 1_000
"""The fence waits until a pass of comparing leaves at most about so many changed keys for the pause."""
PASSES = 12
COUNT_LIMIT = 3_000_000
"""Rows. A larger database is not counted in the pause: all keys changed since the last check are compared anyway."""
UNDO_PATIENCE = 60.0
"""Seconds during which undoing is tried again."""


def operator() -> str:
    """Who runs this command, for the journal."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = "unknown"
    return f"{name}@{socket.gethostname()}"


class Machine:
    """One run from PREFLIGHT to OPEN."""

    def __init__(
        self,
        way: Way,
        controller: Controller,
        stack: ExitStack,
        console: Console,
        on_state: Callable[[State], None] | None,
        *,
        dry_run: bool = False,
    ) -> None:
        self.way = way
        self.context = way.context
        self.c = controller
        self.stack = stack
        self.console = console
        hands = way.hands(controller)
        self.hands: Hands = way.logging(hands, console) if dry_run else hands
        stack.callback(lambda: self.hands.c.close())  # perhaps not the one that it began with
        self.on_state = on_state or (lambda _: None)
        self.id = str(uuid.uuid4())
        self.steps: list[StepTime] = []
        self.differences: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.dry_run = dry_run

    # What happens, in order. All but the last two can be undone.
    @property
    def table(self) -> tuple[tuple[State, Callable[[], dict[str, Any]]], ...]:
        return (
            (State.FENCED, self._fence),
            (State.DRAINED, self._drain),
            (State.VERIFIED, self._verify),
            (State.PREPARED, self._prepare),
            (State.COMMITTED, self._commit),
            (State.OPEN, self._open),
        )

    def run(self) -> CutoverResult:
        kpis, title = self.context.outputs.kpis, self.way.title
        try:
            with self.console.step(f"{title}: preflight") as step:
                found = self._preflight()
                step.done("ready" if not found else f"{len(found)} problems")
            if found:
                return self._result("refused", None, found)
            with self.console.step(f"{title}: get ready") as step:
                self._get_ready()
                step.done(f"{self.changes.count} keys left for the pause")
        except (ZdmError, psycopg.Error, pymysql.err.MySQLError) as e:
            return self._result("refused", None, [str(e)])
        probe = PauseProbe(self.context)
        if not self.dry_run:
            probe.start()
            if not probe.await_first(10.0):
                probe.stop()
                return self._result(
                    "refused",
                    None,
                    [
                        "the application's account cannot write zdm.pause_probe, so the pause could not be measured: "
                        f"run `./zdm bootstrap`, and look whether {self.way.source.value} can be written"
                    ],
                )
        try:
            with self.console.step(f"{title}: switch") as step:
                self._advance(kpis.abort_seconds)
                step.done("done")
        except BaseException as e:
            if not self.dry_run:
                flag = self._go_back(e)
                probe.await_next(5.0)
                return self._end("open" if flag.mode is self.way.target else "undone", flag, probe, e)
            if not isinstance(e, ZdmError | psycopg.Error | pymysql.err.MySQLError):
                raise
            return self._result("dry-run", self.before, [str(e)])
        if self.dry_run:
            return self._result("dry-run", self.before, self.warnings)
        probe.await_next(5.0)
        return self._end("open", self.opened, probe, None)

    def _advance(self, budget: float) -> None:
        """Through the table, with the budget for all that can be undone."""
        remaining = patience(budget, f"the {self.way.direction} was not finished")
        self._remaining = remaining
        first = {"direction": self.way.direction, "operator": operator(), "before": self.before.to_json()}
        self.hands.note(self.id, State.PREFLIGHT, self.held.epoch, first)
        for state, act in self.table:
            if state is not State.OPEN:
                remaining()
            started = time.monotonic()
            detail = act()
            self.steps.append(StepTime(state, time.time(), time.monotonic() - started, detail))
            if state not in (State.COMMITTED, State.OPEN):  # those two write their row themselves, in their transaction
                self.hands.note(self.id, state, self.held.epoch, detail)
            self.on_state(state)

    # --- before the fence ---

    def _preflight(self) -> list[str]:
        out = self.context.outputs
        started = time.monotonic()
        if self.way.source is Side.MYSQL and out.pipeline.state != "running":
            state = out.pipeline.state
            return [f"the pipeline is {state}: set cdc.state to running, bring the stack up, and let it catch up"]
        with self.context.mysql() as my:
            tables = mysql_tables(my, out.database, out.pipeline.tables)
            self.tables = without_unsupported(tables, out.pipeline.choices)
        found = self.way.problems(self.c, self.tables)
        self.steps.append(StepTime(State.PREFLIGHT, time.time(), time.monotonic() - started, {"problems": len(found)}))
        return found

    def _get_ready(self) -> None:
        """Connections, positions, and comparing what changed since the last clean check, until little is left."""
        out = self.context.outputs
        newest = max(self.c.mysql_flag(), self.c.postgres_flag(), key=lambda f: (f.epoch, f.v))
        self.before = newest
        self.held = self.before.changed(writes=Writes.HOLD, new_epoch=True)
        self.opened = self.held.changed(weight=self.way.weight, writes=Writes.OPEN, mode=self.way.target)
        for what in self.hands.get_ready():
            self.console.info(f"  {what}")
        kafka = self.stack.enter_context(KafkaClient.of(out.brokers, out.region))
        self.drainer = Drain(kafka, self.way.route)
        self.rules = {self.way.topic_of(t.name): rules_of(t, out.pipeline.choices) for t in self.tables}
        since = {p: o for p, o in self.way.since(kafka, self.c).items() if p[0] in self.rules}
        self.changes = ChangedKeys(kafka, self.rules, since)
        self.pool = self.stack.enter_context(ThreadPoolExecutor(4, thread_name_prefix="verify"))
        self.pairs = [
            (
                self.stack.enter_context(self.context.mysql(read_timeout=20)),
                self.stack.enter_context(self.context.postgres()),
            )
            for _ in range(2)
        ]
        self.counting = sum(t.rows for t in self.tables) <= COUNT_LIMIT
        self.counters: tuple[MySQL, Postgres] = (
            self.stack.enter_context(self.context.mysql(read_timeout=20)),
            self.stack.enter_context(self.context.postgres()),
        )
        by_name = {rules.table.name: rules for rules in self.rules.values()}
        for _ in range(PASSES):
            self.changes.advance(self.drainer.ends(), 600)
            keys = self.changes.take()
            wrong, moved = equal_or_settled(*self.pairs[0], keys, by_name, self._settle, self.way.source)
            if wrong:
                self.differences += [d.to_json() for d in wrong[:20]]
                raise ZdmError(f"{len(wrong)} rows differ, the first: {wrong[0]}. Run `./zdm data-check`")
            for name, of_table in moved.items():
                self.changes.put_back(name, of_table)
            compared = sum(map(len, keys.values()))
            self.changes.advance(self.drainer.ends(), 600)
            if compared <= FEW_KEYS or self.changes.count <= FEW_KEYS:
                return
        raise ZdmError(
            f"rows change faster than they can be compared: {self.changes.count} keys were left after {PASSES} "
            "passes. Try at a quieter time"
        )

    def _settle(self) -> None:
        all_of_it = self.way.position(self.c).executed
        self.drainer.run(all_of_it, patience(30, "the target has not caught up with the source"))

    # --- the steps ---

    def _fence(self) -> dict[str, Any]:
        self.closed = self.hands.fence(self.id, self.held, self.before)
        if self.counting:
            self.source_counts: Future[dict[str, int]] = self.pool.submit(self._count, self.way.source)
        return {
            "epoch": self.held.epoch,
            "executed": str(self.closed.executed),
            "repeats": self.closed.repeats,
            "ended": self.closed.ended,
        }

    def _drain(self) -> dict[str, Any]:
        def read_on(ends: Offsets) -> None:
            self.changes.advance(ends, max(self._remaining(), 0.1))

        self.drained: Drained = self.drainer.run(self.closed.executed, self._remaining, read_on)
        self.hands.stop_sink()
        return {
            "sourceSeconds": round(self.drained.source_seconds, 4),
            "sinkSeconds": round(self.drained.sink_seconds, 4),
            "ends": {f"{t}-{p}": end for (t, p), end in sorted(self.drained.ends.items())},
        }

    def _verify(self) -> dict[str, Any]:
        """Compares every key that changed and was not compared yet, and counts both sides."""
        keys = self.changes.take()
        by_name = {t.name: t for t in self.tables}
        work = sorted(keys.items(), key=lambda item: -len(item[1]))
        choices = self.context.outputs.pipeline.choices

        def compare(pair: int) -> list[Any]:
            my, pg = self.pairs[pair]
            return [
                d for name, of_table in work[pair::2] for d in compare_keys(my, pg, by_name[name], of_table, choices)
            ]

        halves = [self.pool.submit(compare, i) for i in range(len(self.pairs))]
        counts: dict[str, list[int]] = {}
        if self.counting:
            target = self._count(self.way.target)
            source = self.source_counts.result(timeout=max(self._remaining(), 0.1))
            counts = {name: [source[name], target[name]] for name in source}
        wrong = [d for half in halves for d in half.result(timeout=max(self._remaining(), 0.1))]
        unequal = {name: both for name, both in counts.items() if both[0] != both[1]}
        self.differences += [d.to_json() for d in wrong[:20]]
        if not self.dry_run:
            if wrong or unequal:
                first = str(wrong[0]) if wrong else f"rows of {unequal}"
                raise ZdmError(
                    f"the sides differ although everything was applied ({len(wrong)} rows, {len(unequal)} counts), "
                    f"the first: {first}. Run `./zdm data-check`"
                )
            if late := {t: end for (t, p), end in self.drainer.ends().items() if end != self.drained.ends[t, p]}:
                raise ZdmError(
                    f"somebody privileged wrote to {self.way.source.value} after the fence: {sorted(late)} have grown"
                )
        return {
            "keys": sum(map(len, keys.values())),
            "differences": len(wrong),
            "counts": counts,
            "counted": self.counting,
        }

    def _prepare(self) -> dict[str, Any]:
        return self.hands.prepare(self.tables)

    def _commit(self) -> dict[str, Any]:
        self.hands.commit(self.id, self.held, {"opened": self.opened.to_json()})
        return {}

    def _open(self) -> dict[str, Any]:
        return self.hands.open(self.id, self.opened) | {"epoch": self.opened.epoch}

    def _count(self, side: Side) -> dict[str, int]:
        """Rows of each table, over a connection of its own."""
        my, pg = self.counters
        if side is Side.AURORA:
            union = " UNION ALL ".join(
                f"SELECT {i}, count(*) FROM {postgres_name(SCHEMA, t.name)}" for i, t in enumerate(self.tables)
            )
            rows = pg.execute(union.encode()).fetchall()  # as bytes: a % in a name is no placeholder
            return {self.tables[i].name: int(n) for i, n in rows}
        counts = {}
        with my.cursor() as cursor:
            for table in self.tables:
                cursor.execute(f"SELECT COUNT(*) FROM {mysql_name(table.name)}")
                row = cursor.fetchone()
                counts[table.name] = int(row[0]) if row else -1
        return counts

    # --- ends ---

    def _go_back(self, error: BaseException) -> Flag:
        """Undoes what was done, or goes forward when the commit happened after all. Returns the flag that is now in
        force.
        """
        run = journal.Run(self.id, State.PREFLIGHT, self.held.epoch, False, {})
        tried = any(s.state is State.PREPARED for s in self.steps)  # only the journal knows whether it was committed
        if tried:
            self.hands.c = self.c = _controller_again(self.context, self.c)
            run = journal.find(self.c.postgres, self.c.cursor, self.id)
        if run.committed:
            return finish(self.way, self.hands, run)
        with self.console.step(f"{self.way.title}: undo ({type(error).__name__})"):
            return undo(self.hands, run, certain=not tried)

    def _end(self, outcome: str, flag: Flag, probe: PauseProbe, error: BaseException | None) -> CutoverResult:
        """The result. The writer is settled by now, so nothing that fails here changes the outcome."""
        pause = probe.stop()
        problems = list(self.warnings)
        if error is not None:
            problems.insert(0, str(error) or type(error).__name__)
        if outcome == "open":
            foreign = self._detail(State.OPEN).get("foreignTransactions", 0)
            if foreign:
                problems.append(
                    f"{foreign} transactions of someone privileged went into MySQL after it was closed: "
                    "they are not on the target. Find them in the binlog"
                )
        problems += self.hands.published()
        result = self._result(outcome, flag, problems, pause)
        try:
            with self.context.postgres() as pg:
                journal.store(pg, self.way.direction.value, result.ok, result.to_json())
        except (ZdmError, psycopg.Error) as e:
            problems.append(f"this result could not be stored: {e}")
        if error is not None and not isinstance(error, Exception):
            raise error
        return result

    def _detail(self, state: State) -> dict[str, Any]:
        return next((s.detail for s in self.steps if s.state is state), {})

    def _result(
        self, outcome: str, flag: Flag | None, problems: list[str], pause: Pause | None = None
    ) -> CutoverResult:
        return CutoverResult(
            self.id,
            outcome,
            flag,
            problems,
            self.steps,
            pause,
            self.context.outputs.kpis.pause_seconds,
            self.differences,
            self.way.direction,
        )


# --- back, and forward after a death ----------------------------------------------------------------------------------


def undo(hands: Hands, run: journal.Run, *, certain: bool = False) -> Flag:
    """Makes the source the writer again, whatever of the fence was done (`Hands.undo`). Returns the new flag.

    Raises `ZdmError` when the source cannot be opened.
    """
    deadline = time.monotonic() + UNDO_PATIENCE
    while True:
        try:
            return hands.undo(run, certain)
        except (psycopg.Error, pymysql.err.MySQLError, OSError, ZdmError) as e:
            if time.monotonic() > deadline:
                raise ZdmError(
                    f"the {run.direction} could not be undone: {e}. Writes may still be fenced. Bring both databases "
                    "within reach and run `./zdm cutover resume`: it will undo this run"
                ) from e
            time.sleep(0.5)
            hands.c = _controller_again(hands.context, hands.c)


def finish(way: Way, hands: Hands, run: journal.Run) -> Flag:
    """Opens the target for a run that is committed. Returns the flag. Every step may have happened already."""
    newest = max(hands.c.mysql_flag(), hands.c.postgres_flag(), key=lambda f: (f.epoch, f.v))
    settled = newest.mode is way.target
    flag = newest if settled else newest.changed(weight=way.weight, writes=Writes.OPEN, mode=way.target)
    hands.open(run.id, flag)
    return flag


def recover(context: Context, c: Controller, died: journal.Run, console: Console) -> CutoverResult:
    """What the journal says of a run that died decides: committed is finished, anything else undone."""
    direction = way(context, died.direction)
    hands = direction.hands(c)
    try:
        return _recovered(direction, hands, died, console)
    finally:
        hands.c.close()


def _recovered(direction: Way, hands: Hands, died: journal.Run, console: Console) -> CutoverResult:
    problems = []
    with console.step(f"{direction.title}: the run {died.id} died in state {died.state}") as step:
        if died.committed:
            flag, outcome = finish(direction, hands, died), "finished"
        else:
            flag, outcome = undo(hands, died), "undone"
            problems = [
                f"the run {died.id} had died in state {died.state}; run `./zdm {died.direction}` again to switch"
            ]
        problems += hands.published()
        step.done(outcome)
    result = CutoverResult(died.id, outcome, flag, problems, direction=died.direction)
    journal.store(hands.c.postgres, died.direction.value, result.ok, result.to_json())
    return result


def _controller_again(context: Context, old: Controller) -> Controller:
    """New connections in place of lost ones. Waits until the old sessions have ended, so that nothing of them can
    still happen.
    """
    old.close()
    deadline = time.monotonic() + UNDO_PATIENCE
    while True:
        fresh: Controller | None = None
        try:
            fresh = Controller(context)
            fresh.lock()
            return fresh
        except (ZdmError, psycopg.Error, pymysql.err.MySQLError, OSError) as e:
            if fresh is not None:
                fresh.close()
            if time.monotonic() > deadline:
                raise ZdmError(
                    f"the databases cannot be reached to finish or undo the run: {e}. "
                    "Run `./zdm cutover resume` when they can"
                ) from e
            time.sleep(0.5)
