"""How fast the source may be read: by how busy it is, by bytes a second, and by how late the capture of changes is.

Each stream calls `pause` between two portions, with its own connection to the source. What makes the streams rest:

- more threads run on the source than `max_running`, the streams' own not counted: the rest doubles at each look up to
  `LONGEST`, and halves when it is over, so that the copy slows down and does not stop;
- changes reach Kafka later than `max_lag` seconds after their commit, as whoever watches that says: in the same way;
- more bytes were read than `bytes_per_second` allows.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Final

import pymysql.cursors

from scripts.data.rules import MySQL

MAX_RUNNING: Final = 25
"""Threads running on the source above which it is let rest."""

MAX_LAG: Final = 30.0
"""Seconds."""

LOOK_SECONDS: Final = 1.0
"""Between two looks at the source."""

SHORTEST, LONGEST = 0.1, 10.0
"""Of a rest, in seconds."""


@dataclass
class Throttle:
    """Shared by all streams. `own` is how many threads of the source are theirs."""

    own: int = 0
    max_running: int | None = MAX_RUNNING
    bytes_per_second: float | None = None
    max_lag: float = MAX_LAG
    lag: float = 0.0
    """How late changes are captured, as last seen."""
    rest: float = 0.0
    """Seconds that each stream rests after a portion now."""
    reason: str = ""
    """Why it does."""
    rested: float = 0.0
    """Seconds that all streams have rested."""
    _looked: float = 0.0
    _paid: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def pause(self, my: MySQL, size: int, stop: threading.Event) -> None:
        """Rests as long as need be after `size` bytes were read; ends at once when `stop` is set."""
        seconds = max(self._look(my), self._owed(size))
        if seconds > 0:
            began = time.monotonic()
            stop.wait(seconds)
            with self._lock:
                self.rested += time.monotonic() - began

    def _look(self, my: MySQL) -> float:
        with self._lock:
            now = time.monotonic()
            if now - self._looked < LOOK_SECONDS:
                return self.rest
            self._looked = now
        self.reason = self._excess(my)
        if self.reason:
            self.rest = min(max(2 * self.rest, SHORTEST), LONGEST)
        else:
            self.rest = self.rest / 2 if self.rest > SHORTEST else 0.0
        return self.rest

    def _excess(self, my: MySQL) -> str:
        if self.max_running is not None:
            busy = running(my) - self.own
            if busy > self.max_running:
                return f"{busy} threads run on the source"
        return f"changes are captured {self.lag:.0f} s late" if self.lag > self.max_lag else ""

    def _owed(self, size: int) -> float:
        """Seconds until all bytes read so far are paid for."""
        if not self.bytes_per_second:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._paid = max(self._paid, now) + size / self.bytes_per_second
            return self._paid - now


def running(my: MySQL) -> int:
    """Threads that run on the source now, the one that asks included."""
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Threads_running'")
        row = cursor.fetchone()
    return int(row[1]) if row else 0
