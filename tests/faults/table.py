"""Every fault that is tried, when, and what is expected: the tests and `docs/faults.md` are made of this table alone.

Whatever is expected of the switch, these hold always: no acknowledged write is lost, none is doubled, both sides agree,
exactly one side can be written, and once the fault is over the switch can be made.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What became of the switch during which the fault happened."""

    FINISHED = "finished"
    """Aurora is the writer."""
    UNDONE = "undone"
    """MySQL is the writer again."""
    REFUSED = "refused"
    """Nothing was begun."""
    HELD = "held"
    """Nobody writes until the operator runs the switch again."""


FINISHED, UNDONE, REFUSED, HELD = ({outcome} for outcome in Outcome)
UNDECIDED = FINISHED | UNDONE
"""Within the budget or not: how fast the part comes back decides."""

BEFORE, READY, AFTER = "before", "ready", "after"
"""Before the switch is begun; between its preflight and its fence; when it has ended."""
STATES = ("FENCED", "DRAINED", "VERIFIED", "PREPARED", "COMMITTED", "OPEN")
"""States after which a fault happens, as the switch's journal names them."""
MOMENTS = (BEFORE, *STATES, AFTER)

PARTS = {
    "source": "Debezium's source (a Connect worker)",
    "sink": "the sink (a Connect worker)",
    "kafka": "the Kafka broker",
    "mysql": "MySQL",
    "postgres": "PostgreSQL",
    "mysql-api": "MySQL's origin",
    "aurora-api": "Aurora's origin",
    "router": "the Worker",
    "kv": "the key-value store's server",
}


KNOWN: dict[str, str] = {}
"""Faults that are not as expected yet: their tests must fail, and say so when they do not any more."""


@dataclass(frozen=True)
class Fault:
    """`kind` says what is done (`tests.faults.blows`), `part` to whom, `when` is a moment, `what` is for people."""

    kind: str
    part: str
    when: str
    what: str
    expected: frozenset[Outcome]
    known: str = ""
    """Why it is not as expected yet; empty once it is."""

    @property
    def name(self) -> str:
        return f"{self.kind} {self.part} {self.when}" if self.part else f"{self.kind} {self.when}"


def _of_kill(part: str, when: str) -> set[Outcome]:
    """Of a part that is killed, and started again a second later (before a switch: after the answer)."""
    if part in ("mysql-api", "aurora-api", "router", "kv") or when == AFTER:
        return FINISHED
    if when == BEFORE:
        return REFUSED
    if part == "mysql":  # after VERIFIED nothing asks MySQL until it is committed
        return UNDONE if when in ("FENCED", "DRAINED") else FINISHED
    if part == "postgres":
        return FINISHED if when in ("COMMITTED", "OPEN") else UNDONE
    if part == "kafka" and when == "DRAINED":  # the rows to verify are known from its topics
        return UNDECIDED
    return UNDECIDED if when == "FENCED" else FINISHED  # the connectors have nothing to do once it is drained


def _of_freeze(part: str, when: str) -> set[Outcome]:
    """Of a part that stands still for some seconds, less than any timeout of the switch."""
    if part in ("mysql-api", "aurora-api", "router", "kv") or when in ("COMMITTED", "OPEN", AFTER):
        return FINISHED
    return FINISHED | REFUSED if when == BEFORE else UNDECIDED


def _faults() -> Iterator[Fault]:
    for when in STATES:
        over = FINISHED if when in ("COMMITTED", "OPEN") else UNDONE
        what = "the controller is killed, and `cutover` is run again"
        yield Fault("kill", "controller", when, what, frozenset(over))
    for part, words in PARTS.items():
        for when in MOMENTS:
            yield Fault("kill", part, when, f"{words} is killed", frozenset(_of_kill(part, when)))
            yield Fault("freeze", part, when, f"{words} stands still", frozenset(_of_freeze(part, when)))
    for when in (BEFORE, READY, "FENCED", "DRAINED", AFTER):
        expected = {BEFORE: FINISHED | REFUSED, READY: UNDECIDED, "FENCED": UNDECIDED}.get(when, FINISHED)
        what = "the network between PostgreSQL and both sink and origin loses everything for some seconds"
        yield Fault("cut", "wire", when, what, frozenset(expected))
    for name, when, what, expected in (
        ("long-transaction", BEFORE, "a transaction with locks has been open for long", REFUSED),
        ("holder", READY, "a transaction that holds the fence's row does not end", UNDONE),
        ("late-commit", READY, "one who never asks has changed rows and commits after the fence", FINISHED),
        ("ddl", "FENCED", "DDL comes while the target is drained", FINISHED),
        ("ddl-waits", READY, "DDL has begun and waits for a lock when the fence comes", UNDECIDED),
        ("poison", READY, "a row that the target refuses stops the sink", UNDONE),
        ("full-disk", READY, "Kafka cannot write any more: its disk is full", UNDONE),
        ("sessions", "DRAINED", "both of the controller's sessions are ended", UNDONE),
        ("gone-for-long", "FENCED", "MySQL stays away for longer than the switch has patience", HELD),
        ("rude-writer", "COMMITTED", "MySQL is killed; one who never asks writes as it comes back", FINISHED),
        ("reopened", AFTER, "the controller is killed just after it opened Aurora, then MySQL starts anew", FINISHED),
        ("stale-router", BEFORE, "a Worker does not look at its stores for 60 s", FINISHED),
        ("clock", BEFORE, "the clock of Aurora's origin is an hour ahead", FINISHED),
    ):  # fmt: skip
        yield Fault(name, "", when, what, frozenset(expected), KNOWN.get(name, ""))


FAULTS: dict[str, Fault] = {fault.name: fault for fault in _faults()}
