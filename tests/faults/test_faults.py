"""The switch with real parts and customers at work, while something breaks: every fault of `tests.faults.table`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from contract.flag import Side
from scripts.switch.journal import State
from tests.faults.blows import Strike, at_ready
from tests.faults.lab import ROUTER, STALE_ROUTER, CaseLoad, FaultLab, Seen
from tests.faults.table import AFTER, BEFORE, READY, Fault, Outcome
from tests.switch.test_cutover import Killed

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

ATTEMPTS = 4
"""Switches until one finishes: one that undoes what had died, one that is refused while a part comes back."""


def test_fault(faults: FaultLab, fault: Fault, tmp_path: Path) -> None:
    faults.begin()
    router = STALE_ROUTER if fault.kind == "stale-router" else ROUTER
    with faults.load(fault.name, router) as load:
        # The load's first answer may be to a read: the fault strikes when customers write, not before.
        load.await_writes(Side.MYSQL)
        first = attempt(faults, fault, tmp_path)
        faults.restore()
        last = until_finished(faults, load, first)
        load.await_writes(Side.AURORA)
        load.stop()
        assert faults.writer() is Side.AURORA
        verdict = load.verdict(last.result)
    left = faults.left_behind()
    keep(fault, first, verdict.to_json())
    assert first.outcome in fault.expected, first
    assert verdict.ok, [*verdict.lost, *verdict.doubled, *verdict.misplaced, *verdict.wrong, *verdict.increments][:5]
    assert left == []
    assert verdict.by_side.get("mysql", 0) > 0 and verdict.by_side.get("aurora", 0) > 0


def attempt(faults: FaultLab, fault: Fault, folder: Path) -> Seen:
    """A switch during which the fault happens."""
    strike = Strike(faults, fault)
    if fault.part == "controller" or fault.kind == "reopened":
        state = State.OPEN if fault.kind == "reopened" else State(fault.when)
        Killed(faults.lab, folder, state).kill()
        seen = faults.switch()
        if seen.outcome is Outcome.REFUSED and faults.writer() is Side.AURORA:
            seen = Seen(Outcome.FINISHED, seen.result, seen.said)
        if fault.kind == "reopened":
            strike.begin()
            strike.end()
        return seen
    if fault.when == AFTER:
        seen = faults.switch()
        strike.begin()
    elif fault.when == BEFORE:
        strike.begin()
        seen = faults.switch()
    elif fault.when == READY:
        with at_ready(strike.begin):
            seen = faults.switch()
    else:
        seen = faults.switch(lambda state: strike.begin() if state == fault.when else None)
    strike.end()
    return seen


def until_finished(faults: FaultLab, load: CaseLoad, seen: Seen) -> Seen:
    """What the operator does next: looks who writes, and runs the switch again until Aurora is the writer."""
    for _ in range(ATTEMPTS):
        if seen.outcome is Outcome.FINISHED:
            return seen
        if not faults.unfinished():
            assert faults.writer() is Side.MYSQL, seen
            load.await_writes(Side.MYSQL)
            faults.lab.clean_check()
        seen = faults.switch()
    assert seen.outcome is Outcome.FINISHED, seen
    return seen


def keep(fault: Fault, seen: Seen, verdict: dict[str, object]) -> None:
    """Writes down what was seen, for the page."""
    file = os.environ.get("ZDM_FAULTS_RESULTS")
    if not file:
        return
    path = Path(file)
    known = json.loads(path.read_text()) if path.exists() else {}
    lists = ("lost", "doubled", "misplaced", "wrong", "increments")
    pause = verdict["pause"]
    known[fault.name] = {
        "outcome": seen.outcome.value,
        "acknowledged": verdict["acknowledged"],
        "unknown": verdict["unknown"],
        **{name: len(verdict[name]) for name in lists},  # type: ignore[arg-type]
        "pause": None if pause is None or seen.outcome is not Outcome.FINISHED else round(float(pause), 2),  # type: ignore[arg-type]
    }
    path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
