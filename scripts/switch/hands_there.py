"""The cutover's acts: MySQL is closed, Aurora is opened, and the way back is made ready in between.

With a way back MySQL ends `read_only` and not `super_read_only`: its writer is the sink of the way back, an account
that can log in only from then on (`zdm_sink`, unlocked here and locked by a rollback).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from contract.control import SINK_USER
from contract.flag import Flag, Side
from contract.tables import Table
from contract.way_back import MYSQL_SINK_USER, postgres_drop_slot, postgres_slot
from scripts.clients.gtid import GtidSet
from scripts.data.schema import set_sequences
from scripts.errors import UsageError
from scripts.switch import journal, way_back
from scripts.switch.fence import Closed, executed
from scripts.switch.hands import Hands, after
from scripts.switch.journal import State

SEQUENCE_MARGIN = 1_000
"""How far past the largest value a sequence goes on."""


class ThereHands(Hands):
    """MySQL to Aurora."""

    target = Side.AURORA
    between_marks: Callable[[], None] | None = None
    _executed: GtidSet | None = None
    """What MySQL had when it was closed; None in a run that goes on after a death."""

    def get_ready(self) -> list[str]:
        return way_back.prepare(self.context, self.c) if self.context.outputs.pipeline.way_back else []

    def fence(self, run: str, held: Flag, before: Flag) -> Closed:
        detail = {"direction": journal.Direction.CUTOVER}
        self.c.set_mysql(
            held, before, lambda cursor: journal.write_mysql(cursor, run, State.FENCED, held.epoch, detail)
        )
        self._executed, repeats = self.c.close_mysql(self.between_marks)
        self.c.set_postgres(held, before)
        self.publish(held)
        return Closed(self._executed, repeats)

    def stop_sink(self) -> None:
        self.c.take_right_from_sink()

    def prepare(self, tables: Sequence[Table]) -> dict[str, Any]:
        done: dict[str, Any] = {"sequences": set_sequences(self.c.postgres, tables, SEQUENCE_MARGIN)}
        if (back := self.context.outputs.pipeline.way_back) is not None:
            try:
                [(place,)] = self.c.postgres.execute(postgres_slot(back.slot).encode()).fetchall()
            except psycopg.errors.DuplicateObject as e:
                raise UsageError(f"the slot {back.slot} is there already: raise cdc.reverseRound") from e
            done["slot"] = {"name": back.slot, "lsn": place}
        return done

    def open(self, run: str, opened: Flag) -> dict[str, Any]:
        c = self.c
        c.end_statements(SINK_USER)
        before, own = executed(c.cursor), 1
        if self._executed is not None:
            before, own = self._executed, 2  # the fence's second marker, and the row below
        if self.context.outputs.pipeline.way_back is not None:
            c.cursor.execute("SET PERSIST read_only = ON")
            c.cursor.execute("RESET PERSIST IF EXISTS super_read_only")
        c.cursor.execute("SET GLOBAL read_only = ON")
        c.cursor.execute("SET GLOBAL super_read_only = OFF")
        c.set_mysql(opened, None, lambda cursor: journal.write_mysql(cursor, run, State.OPEN, opened.epoch, {}))
        if self.context.outputs.pipeline.way_back is not None:
            c.unlock_mysql_account(MYSQL_SINK_USER)
        else:
            c.cursor.execute("SET PERSIST super_read_only = ON")
        foreign = executed(c.cursor) - before
        c.set_postgres(opened, None, lambda: journal.write_postgres(c.postgres, run, State.OPEN, opened.epoch, {}))
        self.publish(opened)
        return {"foreignTransactions": foreign.count - own}

    def undo(self, run: journal.Run, certain: bool) -> Flag:
        c = self.c
        flags = [c.mysql_flag()]
        try:
            flags.append(c.postgres_flag())
        except psycopg.Error:
            if not certain:
                raise
        reached = len(flags) == 2
        if flags[0].epoch < run.epoch:  # never fenced: perhaps because the row cannot be had
            flag = max(flags, key=lambda f: (f.epoch, f.v))
        else:
            flag = after(run, max(flags, key=lambda f: (f.epoch, f.v)))
            if reached:
                c.set_postgres(flag, None, lambda: c.move_right_to_write(Side.MYSQL))
            c.open_mysql(lambda: self._undone(run, flag))
        if reached:
            if (back := self.context.outputs.pipeline.way_back) is not None:
                c.postgres.execute(postgres_drop_slot(back.slot).encode())
            journal.write_postgres(c.postgres, run.id, State.UNDONE, flag.epoch, {})
        self.publish(flag)
        return flag

    def _undone(self, run: journal.Run, flag: Flag) -> None:
        self.c.set_mysql(flag, None, lambda cursor: journal.write_mysql(cursor, run.id, State.UNDONE, flag.epoch, {}))
