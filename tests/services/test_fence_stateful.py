"""The fence on both real databases under random interleavings of writes, changed flags and killed sessions, held
against a model: whose transaction begins, what it gets to see, whom a changed row waits for, what is there then.

Writes go through the origins' own database layer, the flags through the controller's own statements.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from contract import control
from contract.flag import Flag, Side, Writes
from services.origin.database import Database, Fenced, Session, Unavailable, UnknownOutcome
from services.origin.server import database_of
from tests.services.databases import Databases, until

pytestmark = pytest.mark.real

SIDES = st.sampled_from(list(Side))
ROW = "UPDATE inventory SET on_hand = on_hand + 1 WHERE product_id = ?"


@dataclass
class UnderWay:
    """A write that has begun and stands still in its transaction."""

    side: Side
    product: int
    may_end: threading.Event = field(default_factory=threading.Event)
    result: Future[bool] | None = None
    killed: bool = False


class Origins:
    """Both sides' database layers on a loop of their own."""

    def __init__(self, databases: Databases) -> None:
        self.databases = databases
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.of = {side: self.call(self._open(side)).result(20) for side in Side}

    async def _open(self, side: Side) -> Database:
        return database_of(self.databases.settings(side, pool=8))

    def call(self, work: Awaitable[Any]) -> Future[Any]:
        async def run() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self.loop)

    def close(self) -> None:
        for database in self.of.values():
            self.call(database.close()).result(20)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(20)


class FenceMachine(RuleBasedStateMachine):
    """`flags` and `counts` are the model; `waiting` is the change of a row that waits for writes under way."""

    under_way = Bundle("under_way")
    origins: Origins

    def __init__(self) -> None:
        super().__init__()
        self.databases = self.origins.databases
        self.databases.reset()
        self.flags = dict.fromkeys(Side, control.INITIAL_FLAG)
        self.counts = {(side, product): 0 for side in Side for product in range(1, 21)}
        self.open: list[UnderWay] = []
        self.pool = ThreadPoolExecutor(2)
        self.waiting: tuple[Side, Flag, Future[None]] | None = None
        self.next = 0

    # --- writes ---

    def _write(self, side: Side, product: int, work: Callable[[Session], Awaitable[None]]) -> Future[Any]:
        async def both(db: Session) -> None:
            assert await db.execute(ROW, product) == 1
            await work(db)

        return self.origins.call(self.origins.of[side].write(both))

    def _product(self) -> int:
        """Rows of their own, so that writes wait for the fence only."""
        self.next = self.next % 20 + 1
        return self.next

    @precondition(lambda self: self.waiting is None)
    @rule(side=SIDES)
    def write(self, side: Side) -> None:
        product = self._product()
        while any(w.product == product and w.side is side for w in self.open):
            product = self._product()

        async def nothing(_: Session) -> None: ...

        answer = self._write(side, product, nothing)
        if self.flags[side].may_write(side):
            _, flag = answer.result(20)
            self.counts[side, product] += 1
        else:
            with pytest.raises(Fenced) as refused:
                answer.result(20)
            flag = refused.value.flag
        assert flag == self.flags[side]

    @precondition(lambda self: self.waiting is None and len(self.open) < 3)
    @rule(target=under_way, side=SIDES)
    def begin(self, side: Side) -> UnderWay:
        """A write that stands still before its end, if it may begin."""
        write = UnderWay(side, self._product())
        if not self.flags[side].may_write(side) or any(w.product == write.product for w in self.open):
            return write
        is_in = threading.Event()

        async def stand_still(_: Session) -> None:
            is_in.set()
            await asyncio.to_thread(write.may_end.wait, 60)

        write.result = self._write(side, write.product, stand_still)
        assert is_in.wait(20)
        self.open.append(write)
        return write

    @rule(write=consumes(under_way))
    def end(self, write: UnderWay) -> None:
        if write.result is None:
            return
        write.may_end.set()
        self.open.remove(write)
        if write.killed:  # it finds so at COMMIT, and cannot know
            with pytest.raises(UnknownOutcome):
                write.result.result(30)
        else:
            write.result.result(20)
            self.counts[write.side, write.product] += 1
        self._settle()

    @rule(side=SIDES)
    def kill_sessions(self, side: Side) -> None:
        """All of the origin's: what stood still has not happened."""
        if side is Side.MYSQL:
            find = "SELECT id FROM information_schema.processlist WHERE user = 'shop_app'"
            for (thread,) in self.databases.query(side, find):
                with suppress(Exception):
                    self.databases.query(side, f"KILL {thread}")
            gone = f"{find} AND command <> 'Killed'"
            until(lambda: not self.databases.query(side, gone))
        else:
            end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'shop_app'"
            self.databases.query(side, end)
        for write in self.open:
            write.killed |= write.side is side
        self._settle()

    # --- flags ---

    @precondition(lambda self: self.waiting is None)
    @rule(side=SIDES, what=st.sampled_from(["hold", "open here", "open there", "weight", "old"]))
    def change(self, side: Side, what: str) -> None:
        """A row adopts the flag of some operator's step, once writes under way have ended; an old one does nothing."""
        now, other = self.flags[side], self.flags[side.other]
        flag = {
            "hold": lambda: now.changed(writes=Writes.HOLD, new_epoch=True),
            "open here": lambda: now.changed(writes=Writes.OPEN, mode=side, new_epoch=True),
            "open there": lambda: now.changed(writes=Writes.OPEN, mode=side.other, new_epoch=True),
            "weight": lambda: now.changed(weight=(now.weight + 5) % 100),
            "old": lambda: Flag(now.v, max(now.epoch - 1, 0), now.weight, Writes.OPEN, side),
        }[what]()
        if flag.may_write(side) and (other.may_write(side.other) or any(w.side is not side for w in self._live())):
            return  # the order of the operator's steps keeps this from happening: see the model
        done = self.pool.submit(self._set, side, flag)
        self.waiting = side, flag, done
        if any(w.side is side for w in self._live()):
            until(lambda: done.done() or self._waits(side))
            assert not done.done(), "a row was changed under a write that holds it"
        else:
            self._settle()

    def _live(self) -> list[UnderWay]:
        return [w for w in self.open if not w.killed]

    def _set(self, side: Side, flag: Flag) -> None:
        values = control.adopt_values(flag)
        if side is Side.MYSQL:
            self.databases.query(side, control.SET_FENCE, *values)
            return
        with self.databases.postgres() as pg, pg.transaction():
            pg.execute(control.POSTGRES_LOCK_FOR_CHANGE)
            pg.execute(control.SET_FENCE, values)

    def _waits(self, side: Side) -> bool:
        if side is Side.MYSQL:
            sql = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        else:
            sql = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(self.databases.query(side, sql)[0][0] > 0)

    def _settle(self) -> None:
        """A waiting change happens as soon as the last write that it waited for is gone."""
        if self.waiting is None or any(w.side is self.waiting[0] for w in self._live()):
            return
        side, flag, done = self.waiting
        done.result(20)
        if flag.newer_than(self.flags[side]):
            self.flags[side] = flag
        self.waiting = None

    # --- what must hold ---

    @invariant()
    def rows_are_as_the_model_has_them(self) -> None:
        for side in Side:
            [row] = self.databases.query(side, control.READ_FENCE)
            assert control.flag_of_row(row) == self.flags[side]
            found = self.databases.query(side, "SELECT product_id, on_hand FROM inventory ORDER BY product_id")
            assert {(side, int(p)): int(n) for p, n in found} == {k: n for k, n in self.counts.items() if k[0] is side}
        assert not all(self.flags[side].may_write(side) for side in Side)

    def teardown(self) -> None:
        for write in self.open:
            write.may_end.set()
        for write in self.open:
            assert write.result is not None
            with suppress(Fenced, Unavailable, UnknownOutcome):
                write.result.result(30)
        if self.waiting is not None:
            self.waiting[2].result(30)
        self.pool.shutdown()


def test_random_interleavings(databases: Databases) -> None:
    origins = Origins(databases)
    try:
        machine = type("Machine", (FenceMachine,), {"origins": origins})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=8, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )  # fmt: skip
    finally:
        origins.close()
