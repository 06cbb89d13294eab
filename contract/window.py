"""When a stack may be changed: days and hours of a week, in a time zone.

Invariants:
- A window belongs to the day on which it begins: `Fri 23:00-02:00` ends on Saturday.
- Times are those of the zone's clocks; where a clock is set forward, what it leaves out is not there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_DAY = "|".join(DAYS)
_FORM = re.compile(rf"(?P<first>{_DAY})(?:-(?P<last>{_DAY}))? (?P<begin>\d\d:\d\d)-(?P<end>\d\d:\d\d) (?P<zone>\S+)")


@dataclass(frozen=True)
class Window:
    """The same hours on each of some days. `days` are counted from Monday (0)."""

    days: frozenset[int]
    begin: time
    end: time
    """Not later than `begin`: of the next day."""
    zone: ZoneInfo

    @classmethod
    def parse(cls, text: str) -> Window:
        """Reads `Tue-Thu 02:00-04:00 Asia/Ho_Chi_Minh`. Raises `ValueError` that says what is wrong."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(f"{text!r} is no window such as Tue-Thu 02:00-04:00 Asia/Ho_Chi_Minh")
        first, last = DAYS.index(found["first"]), DAYS.index(found["last"] or found["first"])
        try:
            begin, end = time.fromisoformat(found["begin"]), time.fromisoformat(found["end"])
        except ValueError:
            raise ValueError(f"{found['begin']}-{found['end']} are no hours of a day (00:00-23:59)") from None
        if begin == end:
            raise ValueError(f"{found['begin']}-{found['end']} is no time at all")
        try:
            zone = ZoneInfo(found["zone"])
        except (KeyError, ValueError, OSError):
            raise ValueError(
                f"{found['zone']!r} is no time zone that this machine knows (such as Asia/Ho_Chi_Minh, UTC); the names "
                "are in the system's package tzdata"
            ) from None
        return cls(frozenset((first + n) % 7 for n in range((last - first) % 7 + 1)), begin, end, zone)

    def contains(self, moment: datetime) -> bool:
        """Whether a moment (with its time zone) is in the window. The end is not."""
        here = moment.astimezone(self.zone)
        clock, today, yesterday = here.time(), here.weekday(), (here.weekday() - 1) % 7
        if self.begin < self.end:
            return today in self.days and self.begin <= clock < self.end
        return (today in self.days and clock >= self.begin) or (yesterday in self.days and clock < self.end)

    def next(self, moment: datetime) -> datetime:
        """When it begins next, after a moment that is not in it."""
        here = moment.astimezone(self.zone)
        for later in range(8):
            begin = datetime.combine(here.date() + timedelta(days=later), self.begin, self.zone)
            if begin > here and begin.weekday() in self.days:
                return begin
        raise AssertionError("a window has at least one day in a week")
