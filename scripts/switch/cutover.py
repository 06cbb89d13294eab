"""`./zdm cutover`: makes Aurora the writer. A resumable machine; `Machine.table` has its states.

Invariants:
- At any time at most one side accepts writes. MySQL is closed (row, read_only, super_read_only) before
  the target opens.
- The COMMITTED row in PostgreSQL's journal, written in one transaction with the move of the right to write, decides:
  before it any failure, and the end of the budget, undoes everything; after it there is only forward.
- A run that died is finished or undone by the next one, by what the journal says. Two operators never work at once, and
  one who was believed dead cannot commit: an undo first changes the row that a commit must find unchanged.
- Everything slow (connections, positions, comparing what changed since the last check) happens before the fence.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
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
from scripts.data.rules import rules_of
from scripts.data.settle import equal_or_settled
from scripts.errors import UsageError, ZdmError
from scripts.switch import journal, preflight
from scripts.switch.changes import ChangedKeys, offsets_of
from scripts.switch.drain import Drain, Drained, patience
from scripts.switch.fence import Controller, executed, mark
from scripts.switch.hands import CommitUnknown, Hands, LoggingHands
from scripts.switch.journal import State
from scripts.switch.probe import Pause, PauseProbe
from scripts.switch.result import CutoverResult, StepTime

FEW_KEYS = 1_000
"""The fence waits until a pass of comparing leaves at most about so many changed keys for the pause."""
PASSES = 12
COUNT_LIMIT = 3_000_000
"""Rows. A larger database is not counted in the pause: all keys changed since the last check are compared anyway."""
UNDO_PATIENCE = 60.0
"""Seconds during which undoing is tried again."""


def run(
    context: Context, *, dry_run: bool = False, console: Console, on_state: Callable[[State], None] | None = None
) -> CutoverResult:
    """Moves the writer, or says why not. `on_state` is called after each state has been written to the journal.

    Raises `UsageError` when another operator is at work, `ZdmError` when neither forward nor back was possible (the
    message says what is left to do). Whatever else goes wrong before the commit is undone, and told in the result.
    """
    with ExitStack() as stack:
        controller = stack.enter_context(Controller(context))
        controller.lock()
        died = journal.unfinished(controller.postgres, controller.cursor)
        if died is not None:
            if dry_run:
                return CutoverResult(
                    died.id,
                    "refused",
                    None,
                    [f"the cutover {died.id} died in state {died.state}: run without --dry-run to finish or undo it"],
                )
            return _recover(context, controller, died, console)
        machine = Machine(context, controller, stack, console, Hands(context, controller), on_state)
        if dry_run:
            machine.hands = LoggingHands(context, controller, console)
        return machine.run(dry_run)


# --- the machine ------------------------------------------------------------------------------------------------------


class Machine:
    """One run from PREFLIGHT to OPEN."""

    def __init__(
        self,
        context: Context,
        controller: Controller,
        stack: ExitStack,
        console: Console,
        hands: Hands,
        on_state: Callable[[State], None] | None,
    ) -> None:
        self.context = context
        self.c = controller
        self.stack = stack
        self.console = console
        self.hands = hands
        self.on_state = on_state or (lambda _: None)
        self.id = str(uuid.uuid4())
        self.steps: list[StepTime] = []
        self.differences: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.live = False

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

    def run(self, dry_run: bool) -> CutoverResult:
        self.live = dry_run
        kpis = self.context.outputs.kpis
        try:
            with self.console.step("Cutover: preflight") as step:
                found = self._preflight()
                step.done("ready" if not found else f"{len(found)} problems")
            if found:
                return self._result("refused", None, found)
            with self.console.step("Cutover: get ready") as step:
                self._get_ready()
                step.done(f"{self.changes.count} keys left for the pause")
        except (ZdmError, psycopg.Error, pymysql.err.MySQLError) as e:
            return self._result("refused", None, [str(e)])
        probe = PauseProbe(self.context)
        if not dry_run:
            probe.start()
            if not probe.await_first(10.0):
                probe.stop()
                return self._result(
                    "refused",
                    None,
                    [
                        "the application's account cannot write zdm.pause_probe, so the pause could not be measured: "
                        "run `./zdm bootstrap`, and look whether MySQL can be written"
                    ],
                )
        try:
            with self.console.step("Cutover: switch") as step:
                self._advance(kpis.abort_seconds)
                step.done("done")
        except BaseException as e:
            if not dry_run:
                flag = self._go_back(e)
                probe.await_next(5.0)
                return self._end("open" if flag.mode is Side.AURORA else "undone", flag, probe, e)
            if not isinstance(e, ZdmError | psycopg.Error | pymysql.err.MySQLError):
                raise
            return self._result("dry-run", self.before, [str(e)])
        if dry_run:
            return self._result("dry-run", self.before, self.warnings)
        probe.await_next(5.0)
        return self._end("open", self.opened, probe, None)

    def _advance(self, budget: float) -> None:
        """Through the table, with the budget for all that can be undone."""
        remaining = patience(budget, "the cutover was not finished")
        self._remaining = remaining
        self.hands.note(self.id, State.PREFLIGHT, self.held.epoch, {"before": self.before.to_json()})
        for state, act in self.table:
            if state is not State.OPEN:
                remaining()
            started = time.monotonic()
            detail = act()
            self.steps.append(StepTime(state, time.time(), time.monotonic() - started, detail))
            if state not in (State.COMMITTED, State.OPEN):  # those two write their row themselves, in their transaction
                self.hands.note(self.id, state, self.held.epoch, {})
            self.on_state(state)

    # --- before the fence ---

    def _preflight(self) -> list[str]:
        out = self.context.outputs
        started = time.monotonic()
        if out.pipeline.state != "running":
            state = out.pipeline.state
            return [f"the pipeline is {state}: set cdc.state to running, bring the stack up, and let it catch up"]
        with self.context.mysql() as my:
            tables = mysql_tables(my, out.database, out.pipeline.tables)
            self.tables = without_unsupported(tables, out.pipeline.choices)
        found = preflight.problems(self.context, self.c, self.tables)
        self.steps.append(StepTime(State.PREFLIGHT, time.time(), time.monotonic() - started, {"problems": len(found)}))
        return found

    def _get_ready(self) -> None:
        """Connections, positions, and comparing what changed since the last clean check, until little is left."""
        out = self.context.outputs
        self.before = self.c.mysql_flag()
        self.held = self.before.changed(writes=Writes.HOLD, new_epoch=True)
        self.opened = self.held.changed(weight=100.0, writes=Writes.OPEN, mode=Side.AURORA)
        record = journal.last_record(self.c.postgres, journal.DATA_CHECK)
        assert record is not None  # preflight saw it
        kafka = self.stack.enter_context(KafkaClient.of(out.brokers, out.region))
        self.drainer = Drain(self.context, kafka)
        self.rules = {out.topic_of(t.name): rules_of(t, out.pipeline.choices) for t in self.tables}
        since: Offsets = {p: o for p, o in offsets_of(record.body["started"]).items() if p[0] in self.rules}
        missing = [p for p in self.drainer.partitions if p not in since]
        if missing:
            raise UsageError(
                f"the last data-check knew nothing of {missing[0][0]}-{missing[0][1]}: run `./zdm data-check` again"
            )
        self.changes = ChangedKeys(kafka, self.rules, since)
        self.pool = self.stack.enter_context(ThreadPoolExecutor(4, thread_name_prefix="verify"))
        self.pairs = [
            (
                self.stack.enter_context(self.context.mysql(read_timeout=20)),
                self.stack.enter_context(self.context.postgres()),
            )
            for _ in range(2)
        ]
        self.counter = self.stack.enter_context(self.context.mysql(read_timeout=20))
        self.counting = sum(t.rows for t in self.tables) <= COUNT_LIMIT
        by_name = {rules.table.name: rules for rules in self.rules.values()}
        for _ in range(PASSES):
            self.changes.advance(self.drainer.ends(), 600)
            keys = self.changes.take()
            wrong, moved = equal_or_settled(*self.pairs[0], keys, by_name, self._settle)
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
        mark(self.c.cursor)
        all_of_it = executed(self.c.cursor)
        mark(self.c.cursor)
        self.drainer.run(all_of_it, patience(30, "the target has not caught up with the source"))

    # --- the steps ---

    def _fence(self) -> dict[str, Any]:
        self.closed = self.hands.fence(self.id, self.held, self.before)
        if self.counting:
            self.source_counts: Future[dict[str, int]] = self.pool.submit(self._count_source)
        return {"epoch": self.held.epoch, "executed": str(self.closed.executed), "repeats": self.closed.repeats}

    def _drain(self) -> dict[str, Any]:
        def read_on(ends: Offsets) -> None:
            self.changes.advance(ends, max(self._remaining(), 0.1))

        drained: Drained = self.drainer.run(self.closed.executed, self._remaining, read_on)
        return {
            "sourceSeconds": round(drained.source_seconds, 4),
            "sinkSeconds": round(drained.sink_seconds, 4),
            "ends": {f"{t}-{p}": end for (t, p), end in sorted(drained.ends.items())},
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
            target = self._count_target()
            source = self.source_counts.result(timeout=max(self._remaining(), 0.1))
            counts = {name: [source[name], target[name]] for name in source}
        wrong = [d for half in halves for d in half.result(timeout=max(self._remaining(), 0.1))]
        unequal = {name: both for name, both in counts.items() if both[0] != both[1]}
        self.differences += [d.to_json() for d in wrong[:20]]
        if (wrong or unequal) and not self.live:
            first = str(wrong[0]) if wrong else f"rows of {unequal}"
            raise ZdmError(
                f"the sides differ although everything was applied ({len(wrong)} rows, {len(unequal)} counts), "
                f"the first: {first}. Run `./zdm data-check`"
            )
        return {
            "keys": sum(map(len, keys.values())),
            "differences": len(wrong),
            "counts": counts,
            "counted": self.counting,
        }

    def _prepare(self) -> dict[str, Any]:
        return {"sequences": self.hands.sequences(self.tables)}

    def _commit(self) -> dict[str, Any]:
        self.hands.commit(self.id, self.held, {"opened": self.opened.to_json()})
        return {}

    def _open(self) -> dict[str, Any]:
        return self.hands.open(self.id, self.opened) | {"epoch": self.opened.epoch}

    def _count_source(self) -> dict[str, int]:
        counts = {}
        with self.counter.cursor() as cursor:
            for table in self.tables:
                cursor.execute(f"SELECT COUNT(*) FROM {mysql_name(table.name)}")
                row = cursor.fetchone()
                counts[table.name] = int(row[0]) if row else -1
        return counts

    def _count_target(self) -> dict[str, int]:
        union = " UNION ALL ".join(
            f"SELECT {i}, count(*) FROM {postgres_name('public', t.name)}" for i, t in enumerate(self.tables)
        )
        rows = self.c.postgres.execute(union.encode()).fetchall()  # as bytes: a % in a name is no placeholder
        return {self.tables[i].name: int(n) for i, n in rows}

    # --- ends ---

    def _go_back(self, error: BaseException) -> Flag:
        """Undoes what was done, or goes forward when the commit happened after all. Returns the flag that is now in
        force.
        """
        run = journal.Run(self.id, State.PREFLIGHT, self.held.epoch, False, {})
        committed = any(s.state is State.COMMITTED for s in self.steps)
        if isinstance(error, CommitUnknown) or committed:
            self.hands.c = self.c = self.stack.enter_context(_controller_again(self.context, self.c))
            run = journal.find(self.c.postgres, self.c.cursor, self.id)
        if run.committed:
            return finish(self.hands, run)
        with self.console.step(f"Cutover: undo ({type(error).__name__})"):
            return undo(self.hands, run, certain=not isinstance(error, CommitUnknown))

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
            try:
                self.hands.keep_shut()
            except pymysql.err.MySQLError as e:
                problems.append(f"a restart would open MySQL again ({e}): set super_read_only in its parameter group")
        problems += self.hands.published()
        result = self._result(outcome, flag, problems, pause)
        try:
            with self.context.postgres() as pg:
                journal.store(pg, journal.CUTOVER, result.ok, result.to_json())
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
        )


# --- back, and forward after a death ----------------------------------------------------------------------------------


def undo(hands: Hands, run: journal.Run, *, certain: bool = False) -> Flag:
    """Makes MySQL the writer again, whatever of the fence was done. Returns the new flag.

    PostgreSQL's row is changed first: then a run that was believed dead cannot commit any more. Only when it is
    `certain` that nobody commits, MySQL is opened even though PostgreSQL cannot be reached. Raises `ZdmError` when
    MySQL cannot be opened.
    """
    deadline = time.monotonic() + UNDO_PATIENCE
    while True:
        try:
            return _undo(hands, run, certain)
        except (psycopg.Error, pymysql.err.MySQLError, OSError, ZdmError) as e:
            if time.monotonic() > deadline:
                raise ZdmError(
                    f"the cutover could not be undone: {e}. MySQL may still be fenced. Bring both databases "
                    "within reach and run `./zdm cutover` again: it will undo this run first"
                ) from e
            time.sleep(0.5)
            hands.c = _controller_again(hands.context, hands.c)


def _undo(hands: Hands, run: journal.Run, certain: bool) -> Flag:
    c = hands.c
    flags = [c.mysql_flag()]
    try:
        flags.append(c.postgres_flag())
    except psycopg.Error:
        if not certain:
            raise
    newest = max(flags, key=lambda f: (f.epoch, f.v))
    done = newest.epoch > run.epoch and newest.writes is Writes.OPEN
    # In any other case a flag that is newer than whatever this run made, and whatever it could still make.
    flag = newest if done else replace(newest, v=newest.v + 2, epoch=run.epoch + 1, writes=Writes.OPEN)
    reached = len(flags) == 2
    if reached:
        c.set_postgres(flag)
    c.cursor.execute("SET GLOBAL super_read_only = OFF")
    c.set_mysql(flag, None, lambda cursor: journal.write_mysql(cursor, run.id, State.UNDONE, flag.epoch, {}))
    c.cursor.execute("SET GLOBAL read_only = OFF")
    if reached:
        journal.write_postgres(c.postgres, run.id, State.UNDONE, flag.epoch, {})
    hands.publish(flag)
    return flag


def finish(hands: Hands, run: journal.Run) -> Flag:
    """Opens the target for a run that is committed. Returns the flag. Every step may have happened already."""
    newest = max(hands.c.mysql_flag(), hands.c.postgres_flag(), key=lambda f: (f.epoch, f.v))
    flag = newest if newest.mode is Side.AURORA else newest.changed(weight=100.0, writes=Writes.OPEN, mode=Side.AURORA)
    hands.open(run.id, flag)
    return flag


def _recover(context: Context, c: Controller, died: journal.Run, console: Console) -> CutoverResult:
    """What the journal says of a run that died decides: committed is finished, anything else undone."""
    hands = Hands(context, c)
    problems = []
    with console.step(f"Cutover: the run {died.id} died in state {died.state}") as step:
        if died.committed:
            flag, outcome = finish(hands, died), "finished"
            hands.keep_shut()
        else:
            flag, outcome = undo(hands, died), "undone"
            problems = [f"the run {died.id} had died in state {died.state}; run `./zdm cutover` again to cut over"]
        problems += hands.published()
        step.done(outcome)
    result = CutoverResult(died.id, outcome, flag, problems)
    journal.store(c.postgres, journal.CUTOVER, result.ok, result.to_json())
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
                    f"the databases cannot be reached to finish or undo the cutover: {e}. "
                    "Run `./zdm cutover` again when they can: it will do so first"
                ) from e
            time.sleep(0.5)
