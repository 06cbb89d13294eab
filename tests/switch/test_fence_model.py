"""Every interleaving of the fence's protocol: nothing is lost, doubled or stuck; and what each part of it is for.

A mutation leaves one thing out. That the search then finds a state that must not be shows that it looks.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.switch.fence_model import Protocol, explore

FORWARD = Protocol()
BACK = Protocol(back=True, sink_revoked="after-drain")
WAYS = pytest.mark.parametrize("real", [FORWARD, BACK], ids=["forward", "back"])
ONE_PAST_THE_FENCE = (True, False)
EVERY_END = {"", "open", "undone"}


def holds(p: Protocol) -> frozenset[str]:
    """How the switch can end. Fails with the shortest way to a state that must not be."""
    verdict = explore(p)
    assert verdict.wrong is None, "\n".join([verdict.wrong or "", *verdict.way])
    assert verdict.states > 1_000
    return verdict.ends


def test_two_writers_and_two_switches() -> None:
    assert holds(FORWARD) == EVERY_END


@WAYS
def test_two_writers(real: Protocol) -> None:
    assert holds(replace(real, runs=1)) == EVERY_END


@WAYS
def test_a_switch_after_one_that_was_undone(real: Protocol) -> None:
    assert holds(replace(real, writers=1)) == EVERY_END


@WAYS
def test_one_that_does_not_ask(real: Protocol) -> None:
    assert holds(replace(real, runs=1, asks=ONE_PAST_THE_FENCE)) == EVERY_END


@WAYS
def test_the_rows_alone_keep_those_who_ask(real: Protocol) -> None:
    """Where nothing stops those who never ask, and nobody is like that."""
    holds(replace(real, runs=1, sides_shut=False))


@WAYS
def test_rows_that_a_dead_controller_changes_late(real: Protocol) -> None:
    holds(replace(real, late_rows=True, writers=1))


def test_a_second_sink_that_loses_its_right_before_rows_are_compared() -> None:
    holds(replace(FORWARD, runs=1, second_sink=True, sink_revoked="after-drain"))


ONCE = replace(FORWARD, runs=1)
ROWS_ONLY = replace(ONCE, sides_shut=False)
MUTATIONS = {
    "the row is read before the transaction": (replace(ROWS_ONLY, reads_inside=False), "both sides accept"),
    "the fence does not wait for writes under way": (replace(ROWS_ONLY, waits=False), "both sides accept"),
    "the target opens before the source is closed": (replace(FORWARD, closes_first=False), "both sides accept"),
    "routers adopt whatever they hear": (replace(FORWARD, routers_compare=False), "refused twice"),
    "rows adopt whatever comes late": (
        replace(ROWS_ONLY, runs=2, rows_compare=False, late_rows=True, writers=1), "both sides accept"),
    "a write without an answer is sent again": (replace(FORWARD, resends_refused_only=False), ""),
    "nobody ends sessions that passed their check": (
        replace(BACK, asks=ONE_PAST_THE_FENCE, ends_sessions=False), "both sides accept"),
    "the sink keeps its right": (replace(ONCE, second_sink=True, sink_revoked="never"), "lost"),
    "the sink keeps its right until the commit": (replace(ONCE, second_sink=True, sink_revoked="at-commit"), "lost"),
    "two operators, and a commit that checks nothing": (replace(FORWARD, late_commit=True, commit_checks=False), ""),
    "two operators": (replace(FORWARD, late_commit=True), ""),
    "the way back is over when its old writer knows": (replace(BACK, runs=1, ends_last=False), "by itself"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_mutation_is_found(name: str) -> None:
    mutated, what = MUTATIONS[name]
    verdict = explore(mutated)
    assert verdict.wrong is not None and what in verdict.wrong, verdict
    assert verdict.way
