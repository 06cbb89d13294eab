"""The cutover with real parts and writers at work: the writer moves, nothing is lost, and whatever fails is undone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from contract.control import OPERATOR_LOCK_KEY
from contract.flag import Side, Writes
from local.stack import PROJECT
from scripts.errors import UsageError
from scripts.switch import cutover, journal, traffic
from scripts.switch.fence import Controller, Moved
from scripts.switch.hands_there import ThereHands
from scripts.switch.journal import Direction, State
from scripts.switch.result import CutoverResult
from tests.switch.conftest import CUSTOMERS, Lab, Shop

pytestmark = pytest.mark.real

STATES = [
    State.PREFLIGHT,
    State.FENCED,
    State.DRAINED,
    State.VERIFIED,
    State.PREPARED,
    State.COMMITTED,
    State.OPEN,
]


def exactly_once(lab: Lab, shop: Shop, on_target: bool) -> None:
    """Every acknowledged write is there once: the orders by their keys, the increments by their sums."""
    assert shop.errors == []
    ask = lab.postgres if on_target else lab.mysql
    orders = {key for (key,) in ask("SELECT id FROM orders")}
    assert [key for _, key, _ in shop.acknowledged if key not in orders] == []
    expected = Counter(customer for _, _, customer in shop.acknowledged)
    found = {int(customer): n for customer, n in ask("SELECT id, n FROM customers WHERE id <= 10")}
    assert {c: found[c] for c in expected} == {c: n + shop.before[c] for c, n in expected.items()}  # type: ignore[attr-defined]


class CountedShop(Shop):
    """A shop that knows the counters before it began."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab.context)
        self.before = {int(customer): n for customer, n in lab.mysql("SELECT id, n FROM customers")}


def test_moves_the_writer(lab: Lab) -> None:
    with CountedShop(lab) as shop:
        result = cutover.run(lab.context, console=lab.quiet)
        assert (result.outcome, result.problems) == ("open", [])
        shop.await_writes(50, "aurora")
    assert result.ok and result.pause is not None
    assert (result.pause.before, result.pause.after) == (Side.MYSQL, Side.AURORA)
    assert [s.state for s in result.steps] == STATES
    verified = result.detail(State.VERIFIED)
    assert verified["differences"] == 0 and verified["keys"] > 0
    assert all(source == target for source, target in verified["counts"].values())
    exactly_once(lab, shop, on_target=True)
    seen = traffic.get(lab.context)
    assert (seen.flag.mode, seen.flag.weight, seen.flag.writes) == (Side.AURORA, 100.0, Writes.OPEN)
    assert seen.mysql == seen.postgres == seen.router == result.flag
    assert lab.mysql("SELECT @@super_read_only") == [(1,)]
    # what MySQL had at the end, the target has; and a new row gets a key that MySQL never gave
    with lab.context.postgres("app") as app:
        [(key,)] = app.execute("INSERT INTO customers (name) VALUES ('new') RETURNING id").fetchall()
    assert key > CUSTOMERS
    with lab.context.postgres("sink") as sink, pytest.raises(Exception, match="permission denied"):
        sink.execute("UPDATE customers SET n = 0")
    with lab.context.postgres() as pg:
        record = journal.last_record(pg, journal.CUTOVER)
    assert record is not None and record.ok and record.body["run"] == result.run
    again = cutover.run(lab.context, console=lab.quiet)
    assert again.outcome == "refused" and "Aurora is the writer already" in again.problems


def test_dry_run_changes_nothing(lab: Lab) -> None:
    before = traffic.get(lab.context)
    with CountedShop(lab) as shop:
        result = cutover.run(lab.context, dry_run=True, console=lab.quiet)
        assert (result.outcome, result.problems, result.ok) == ("dry-run", [], True)
        shop.await_writes(20, "mysql")
    assert [s.state for s in result.steps] == STATES
    assert traffic.get(lab.context) == before
    assert lab.postgres("SELECT count(*) FROM zdm.journal") == [(0,)]
    assert lab.mysql("SELECT @@read_only") == [(0,)]
    lab.settle()
    exactly_once(lab, shop, on_target=True)


def test_drain_that_cannot_finish_is_undone_within_the_budget(lab: Lab) -> None:
    context = lab.with_kpis(abort_seconds=8.0)

    def stall(hands: ThereHands) -> None:
        lab.sink("pause")

    with CountedShop(lab) as shop:
        try:
            result = run_with(lab, context, before_fence=stall)
            assert result.outcome == "undone" and not result.ok
            assert "within 8 s" in result.reason
            assert result.pause is not None and result.pause.seconds < 20
            assert (result.pause.before, result.pause.after) == (Side.MYSQL, Side.MYSQL)
            shop.await_writes(50, "mysql")
        finally:
            lab.sink("resume")
    assert shop.of("aurora") == []
    assert lab.mysql("SELECT @@read_only, @@super_read_only") == [(0, 0)]
    exactly_once(lab, shop, on_target=False)
    lab.settle()
    exactly_once(lab, shop, on_target=True)
    flag = traffic.get(lab.context)
    assert flag.agree and (flag.flag.mode, flag.flag.writes) == (Side.MYSQL, Writes.OPEN)


def run_with(lab: Lab, context: object, before_fence: object = None, between_marks: object = None) -> CutoverResult:
    """A cutover with something happening at a point that no one else can hit."""
    with pytest.MonkeyPatch.context() as patch:
        fence = ThereHands.fence

        def fence_after(hands: ThereHands, *arguments: object) -> object:
            if before_fence is not None:
                before_fence(hands)  # type: ignore[operator]
            hands.between_marks = between_marks  # type: ignore[assignment]
            return fence(hands, *arguments)  # type: ignore[arg-type]

        patch.setattr(ThereHands, "fence", fence_after)
        return cutover.run(context, console=lab.quiet)  # type: ignore[arg-type]


def test_privileged_writer_between_the_markers_is_noticed(lab: Lab) -> None:
    written: list[int] = []

    def foreign() -> None:
        lab.mysql("INSERT INTO orders VALUES (UUID(), 1, 9.99, '2024-01-01')")
        written.append(1)

    def once() -> None:
        if not written:
            foreign()

    result = run_with(lab, lab.context, between_marks=foreign)
    assert result.outcome == "undone" and "privileged" in result.reason and len(written) == 3
    written.clear()
    lab.clean_check()
    result = run_with(lab, lab.context, between_marks=once)
    assert (result.outcome, result.problems) == ("open", [])
    assert result.detail(State.FENCED)["repeats"] == 1
    counts = result.detail(State.VERIFIED)["counts"]["orders"]
    assert counts[0] == counts[1] and lab.postgres("SELECT count(*) FROM orders WHERE total = 9.99") == [(4,)]


def test_difference_on_the_target_is_never_cut_over(lab: Lab) -> None:
    def spoil(hands: ThereHands) -> None:
        lab.mysql("UPDATE customers SET name = 'changed' WHERE id = 7")
        lab.settle()
        lab.postgres("UPDATE customers SET name = 'spoilt' WHERE id = 7")

    result = run_with(lab, lab.context, before_fence=spoil)
    assert result.outcome == "undone" and "customers (7) changed" in result.reason
    [column] = result.differences[0]["columns"]
    assert column["column"] == "name"
    assert (column["source"], column["target"]) == ("'…' (7 characters)", "'…' (6 characters)")
    lab.postgres("DELETE FROM customers WHERE id = 9")  # no change in the topics tells of it: the counts do
    lab.clean_check()
    result = cutover.run(lab.context, console=lab.quiet)
    assert result.outcome == "undone" and "1 counts" in result.reason


def test_preflight_lists_everything_at_once(lab: Lab) -> None:
    lab.postgres("DELETE FROM zdm.record")
    traffic.hold(lab.context)
    with lab.context.mysql(autocommit=False) as my, my.cursor() as cursor:
        cursor.execute("UPDATE customers SET n = n WHERE id = 3")
        cursor.execute("INSERT INTO customers (name) VALUES ('open')")
        time.sleep(6.5)
        result = cutover.run(lab.context, console=lab.quiet)
        my.rollback()
    assert result.outcome == "refused" and not result.ok
    for part in ("writes are hold", "no data-check", "transaction with locks open for"):
        assert part in result.reason
    traffic.release(lab.context)


class Killed:
    """A cutover that stands still in a state, in a process of its own."""

    def __init__(
        self,
        lab: Lab,
        folder: Path,
        state: State,
        direction: Direction = Direction.CUTOVER,
        outputs: object = None,
        go_on: bool = False,
    ) -> None:
        file = folder / "outputs.json"
        file.write_text(json.dumps(outputs or lab.outputs))
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("crash.py")),
                str(file),
                str(folder / "home"),
                state.value,
                direction.value,
            ],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None and self.process.stdin is not None
        assert self.process.stdout.readline() == "reached\n"
        if go_on:
            threading.Timer(1.0, self.process.stdin.close).start()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


def test_killed_while_fenced_is_undone_by_the_next(lab: Lab, tmp_path: Path) -> None:
    with CountedShop(lab) as shop:
        dead = Killed(lab, tmp_path, State.FENCED)
        try:
            with pytest.raises(UsageError, match="another operator"):
                cutover.run(lab.context, console=lab.quiet)
            with pytest.raises(UsageError, match="another operator"):
                traffic.release(lab.context)
        finally:
            dead.kill()
        assert lab.mysql("SELECT @@super_read_only") == [(1,)]
        with pytest.raises(UsageError, match="not finished"):
            traffic.release(lab.context)
        refused = cutover.run(lab.context, dry_run=True, console=lab.quiet)
        assert refused.outcome == "refused" and "died in state FENCED" in refused.reason
        result = cutover.run(lab.context, console=lab.quiet)
        assert result.outcome == "undone"
        shop.await_writes(30, "mysql")
        lab.clean_check()
        assert cutover.run(lab.context, console=lab.quiet).outcome == "open"
        shop.await_writes(30, "aurora")
    exactly_once(lab, shop, on_target=True)


def test_killed_after_the_commit_is_finished_by_the_next(lab: Lab, tmp_path: Path) -> None:
    with CountedShop(lab) as shop:
        Killed(lab, tmp_path, State.COMMITTED).kill()
        before = len(shop.acknowledged)
        time.sleep(0.3)
        assert len(shop.acknowledged) == before  # neither side writes: the target is not open yet
        result = cutover.run(lab.context, console=lab.quiet)
        assert (result.outcome, result.problems, result.ok) == ("finished", [], True)
        shop.await_writes(30, "aurora")
    exactly_once(lab, shop, on_target=True)
    assert traffic.get(lab.context).agree


def test_no_commit_after_an_undo(lab: Lab, tmp_path: Path) -> None:
    """An operator believed dead, whose run was undone by another, finds that it may not commit any more."""
    Killed(lab, tmp_path, State.PREPARED).kill()
    held = traffic.get(lab.context).flag
    [(run,)] = lab.postgres("SELECT DISTINCT run FROM zdm.journal")
    assert cutover.run(lab.context, console=lab.quiet).outcome == "undone"
    with Controller(lab.context) as late, pytest.raises(Moved):
        ThereHands(lab.context, late).commit(run, held, {})
    assert lab.postgres("SELECT count(*) FROM zdm.journal WHERE state = 'COMMITTED'") == [(0,)]
    with lab.context.postgres("app") as app, pytest.raises(Exception, match="permission denied"):
        app.execute("UPDATE customers SET n = 0")


def test_lost_sessions_are_undone_by_the_same_run(lab: Lab) -> None:
    """Both of the controller's sessions die while MySQL is fenced: the run opens new ones, and undoes itself."""

    def cut_off(reached: State) -> None:
        if reached is State.DRAINED:
            [(thread,)] = lab.mysql("SELECT IS_USED_LOCK('zdm:cutover')")
            lab.mysql(f"KILL {thread}")
            lab.postgres(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s",
                OPERATOR_LOCK_KEY,
            )

    with CountedShop(lab) as shop:
        result = cutover.run(lab.context, console=lab.quiet, on_state=cut_off)
        assert result.outcome == "undone"
        shop.await_writes(30, "mysql")
    exactly_once(lab, shop, on_target=False)
    assert traffic.get(lab.context).agree


def test_two_operators_at_once(lab: Lab) -> None:
    """Of two that start together at most one gets to work; the other is told."""
    answers: list[str] = []

    def operate() -> None:
        try:
            answers.append(cutover.run(lab.context, console=lab.quiet).outcome)
        except UsageError as e:
            answers.append("refused" if "another operator" in str(e) else str(e))

    threads = [threading.Thread(target=operate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == ["open", "refused"]
