"""`./zdm cutover start|status|resume|abort|final` and `./zdm rollback`: who is the writer, and the way there and back.

Each may be run again: what a run that died left open is finished or undone first, by what the journal says.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from contract.control import OPERATOR_LOCK
from contract.flag import Side, Writes
from scripts.console import Console
from scripts.context import Context
from scripts.errors import UsageError, ZdmError
from scripts.switch import journal, machine, way_back
from scripts.switch.fence import Busy, Controller
from scripts.switch.journal import Direction, State
from scripts.switch.result import CutoverResult, Done
from scripts.switch.status import Status
from scripts.switch.way import way

ABORT_PATIENCE = 90.0
"""Seconds that a run may take to notice that it was told to stop, and to undo itself."""


def run(
    context: Context,
    *,
    dry_run: bool = False,
    console: Console,
    on_state: Callable[[State], None] | None = None,
    direction: Direction = Direction.CUTOVER,
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
                problem = f"the {died.direction} {died.id} died in state {died.state}: run ./zdm cutover resume first"
                return CutoverResult(died.id, "refused", None, [problem], direction=died.direction)
            return machine.recover(context, controller, died, console)
        chosen = way(context, direction)
        return machine.Machine(chosen, controller, stack, console, on_state, dry_run=dry_run).run()


def resume(context: Context, *, console: Console) -> CutoverResult | Done:
    """Finishes or undoes the run that died, if one did."""
    with Controller(context) as controller:
        controller.lock()
        died = journal.unfinished(controller.postgres, controller.cursor)
        if died is None:
            return Done(True, "No run is open: there is nothing to resume.")
        return machine.recover(context, controller, died, console)


def abort(context: Context, *, console: Console) -> CutoverResult | Done:
    """Stops the run that is under way, if it is not committed: it undoes itself, or is undone here if it died.

    One that is under way elsewhere is stopped through PostgreSQL's flag, which its commit must find unchanged.
    """
    with Controller(context) as c:
        try:
            c.lock()
        except Busy:
            return _abort_another(c, console)
        died = journal.unfinished(c.postgres, c.cursor)
        if died is None:
            return Done(True, "No run is open: there is nothing to abort.")
        if died.committed:
            return Done(False, _TOO_LATE.format(run=died.id, state=died.state))
        return machine.recover(context, c, died, console)


_TOO_LATE = (
    "The run {run} is in state {state}, past its commit: it can only be finished (./zdm cutover resume). "
    "To go back after that: ./zdm rollback"
)


def _abort_another(c: Controller, console: Console) -> Done:
    with console.step("Abort the run of another operator") as step:
        deadline = time.monotonic() + ABORT_PATIENCE
        spoilt = False
        while time.monotonic() < deadline:
            run = journal.last(c.postgres, c.cursor)
            if run is not None and run.committed and not run.finished:
                return Done(False, _TOO_LATE.format(run=run.id, state=run.state))
            if spoilt and run is not None and run.finished:
                step.done(run.state.value)
                if run.state is State.UNDONE:
                    return Done(True, f"The run {run.id} has undone itself.")
                return Done(False, f"The run {run.id} was through already ({run.state}).")
            if not spoilt and run is not None and run.state is not State.PREFLIGHT and not run.finished:
                flag = c.postgres_flag()
                c.set_postgres(flag.changed())
                spoilt = True
            time.sleep(0.1)
    raise ZdmError(
        f"the run did not undo itself within {ABORT_PATIENCE:.0f} s: end its process, then ./zdm cutover resume"
    )


def status(context: Context) -> Status:
    """What both databases, the journal and the way back say, and what to do next."""
    with Controller(context) as c:
        back = context.outputs.pipeline.way_back
        [(free,)] = c.query("SELECT IS_FREE_LOCK(%s)", OPERATOR_LOCK)
        slot = way_back.slot_state(c.postgres, back) if back else (False, False, 0)
        [(read_only, super_read_only)] = c.query("SELECT @@GLOBAL.read_only, @@GLOBAL.super_read_only")
        return Status(
            outputs=context.outputs,
            mysql=c.mysql_flag(),
            postgres=c.postgres_flag(),
            read_only=bool(read_only),
            super_read_only=bool(super_read_only),
            run=journal.last(c.postgres, c.cursor),
            busy=not free,
            entries=journal.entries(c.postgres, 12),
            slot=slot,
        )


def final(context: Context, *, dry_run: bool = False) -> Done:
    """Gives the way back up: Aurora stays the writer for good, and MySQL can be archived."""
    with Controller(context) as c:
        c.lock()
        if journal.unfinished(c.postgres, c.cursor) is not None:
            raise UsageError("a run is open: ./zdm cutover resume first")
        flag, run = c.postgres_flag(), journal.last(c.postgres, c.cursor)
        if flag.mode is not Side.AURORA or flag.writes is not Writes.OPEN or run is None:
            raise UsageError("Aurora is not the writer: there is no way back to give up")
        if run.state is State.FINAL:
            return Done(True, "The way back was given up already.")
        back = way_back.required(context.outputs)
        if dry_run:
            return Done(
                True, f"Would drop the slot {back.slot}, lock the way back's sink out of MySQL and close MySQL."
            )
        way_back.give_up(context, c)
        journal.write_postgres(c.postgres, run.id, State.FINAL, flag.epoch, {"operator": machine.operator()})
        return Done(True, "Aurora is the writer for good: MySQL is closed for everybody, and the way back is given up.")
