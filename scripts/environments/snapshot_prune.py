"""Which snapshot sets stay, and why (pure): the policy of `./zdm snapshot prune`.

Invariants, whatever the numbers say:
- A protected set stays, one in use, and one that AWS is still taking.
- The last good set stays: the newest complete one that was verified; where none is, the newest complete one. So an
  unverified set never displaces the last one that is known to be restorable.
- What broke off stays for a day (someone may complete it), then goes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scripts.environments.snapshot_set import SnapshotSet
from scripts.errors import UsageError

BROKEN_STAYS = timedelta(days=1)


@dataclass(frozen=True)
class Policy:
    """The newest `newest` complete sets, the newest of each of the last `days` days, and of the last `weeks` weeks."""

    newest: int = 3
    days: int = 7
    weeks: int = 4

    def __post_init__(self) -> None:
        for name in ("newest", "days", "weeks"):
            if getattr(self, name) < 0:
                raise UsageError(f"--{name} must be 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class Verdict:
    """One set, and what becomes of it."""

    set: SnapshotSet
    stays: bool
    why: str

    def to_json(self) -> dict[str, Any]:
        return {"set": self.set.id, "at": self.set.at.isoformat(), "stays": self.stays, "why": self.why}


def last_good(sets: Sequence[SnapshotSet]) -> SnapshotSet | None:
    """The set that one would restore: the newest complete and verified one, else the newest complete one."""
    complete = sorted((one for one in sets if one.complete), key=lambda one: one.at, reverse=True)
    return next((one for one in complete if one.verified), complete[0] if complete else None)


def verdicts(sets: Sequence[SnapshotSet], policy: Policy, now: datetime, in_use: Collection[str] = ()) -> list[Verdict]:
    """What becomes of each set, the newest first."""
    good = last_good(sets)
    complete = sorted((one for one in sets if one.complete), key=lambda one: one.at, reverse=True)
    kept = {one.id: f"one of the newest {policy.newest}" for one in complete[: policy.newest]}
    by_day = _newest_of(complete, policy.days, lambda at: at.date().isoformat(), now, timedelta(days=1))
    by_week = _newest_of(complete, policy.weeks, _week, now, timedelta(weeks=1))
    for found, told in ((by_day, "the newest of {}"), (by_week, "the newest of week {}")):
        for id, key in found.items():
            kept.setdefault(id, told.format(key))

    def judge(one: SnapshotSet) -> Verdict:
        if one.protected:
            return Verdict(one, True, "protected")
        if one.id in in_use:
            return Verdict(one, True, "in use: something is being restored from it")
        if one.under_way:
            return Verdict(one, True, "AWS is still taking it")
        if good is not None and one.id == good.id:
            told = "verified" if one.verified else "complete; none is verified"
            return Verdict(one, True, f"the last good one ({told})")
        if not one.complete:
            if now - one.at < BROKEN_STAYS:
                return Verdict(one, True, "incomplete, but less than a day old: `take` with its label completes it")
            return Verdict(one, False, "incomplete for more than a day")
        if one.id in kept:
            return Verdict(one, True, kept[one.id])
        return Verdict(one, False, f"not among the newest {policy.newest}, nor the newest of a day or week that stays")

    return [judge(one) for one in sorted(sets, key=lambda one: (one.at, one.id), reverse=True)]


def _week(at: datetime) -> str:
    year, week, _ = at.isocalendar()
    return f"{year}-{week:02d}"


def _newest_of(
    newest_first: Sequence[SnapshotSet], count: int, key_of: Callable[[datetime], str], now: datetime, unit: timedelta
) -> dict[str, str]:
    """The newest set of each of the last `count` days or weeks, this one included."""
    wanted = {key_of(now - unit * back) for back in range(count)}
    found: dict[str, str] = {}
    for one in newest_first:
        key = key_of(one.at.astimezone(now.tzinfo))
        if key in wanted and key not in found.values():
            found[one.id] = key
    return found
