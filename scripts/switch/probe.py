"""The independent writer that measures the pause: the application's accounts, straight into both databases.

It does what the shop does (asks the fence inside its transaction, then writes) and nothing the cutover does, and knows
nothing of it. The pause is the time between the last write that was acknowledged before the longest silence and the
first one after it, wherever that was.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from contract.control import MYSQL_READ_FENCE_FOR_WRITE, POSTGRES_LOCK_FOR_WRITE, READ_FENCE, flag_of_row
from contract.flag import Side
from scripts.context import Context

INTERVAL = 0.01
"""Seconds between two attempts; the measurement is that fine."""


@dataclass(frozen=True)
class Pause:
    """The longest time without an acknowledged write, with Unix times and the sides of the writes around it."""

    seconds: float
    began: float
    ended: float
    before: Side
    after: Side


class PauseProbe:
    """Writes from `start` to `stop`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._stop = threading.Event()
        self._accepted: list[tuple[float, float, Side]] = []
        self._threads = [
            threading.Thread(target=self._writer, args=(Side.MYSQL, self._mysql), name="probe-mysql", daemon=True),
            threading.Thread(target=self._writer, args=(Side.AURORA, self._aurora), name="probe-aurora", daemon=True),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def await_first(self, timeout: float) -> bool:
        """Whether a first write is acknowledged within `timeout` seconds; without one a pause cannot be measured."""
        deadline = time.monotonic() + timeout
        while not self._accepted and time.monotonic() < deadline:
            time.sleep(INTERVAL)
        return bool(self._accepted)

    def await_next(self, timeout: float) -> bool:
        """Whether another write is acknowledged within `timeout` seconds from now."""
        started = time.monotonic()
        while time.monotonic() - started < timeout:
            if self._accepted and self._accepted[-1][0] > started:
                return True
            time.sleep(INTERVAL)
        return False

    def stop(self) -> Pause | None:
        """Stops writing and says what was measured; None when there were not two writes."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5)
        accepted = sorted(self._accepted)
        gaps = [Pause(b[0] - a[0], a[1], b[1], a[2], b[2]) for a, b in pairwise(accepted)]
        return max(gaps, key=lambda gap: gap.seconds, default=None)

    def _writer(self, side: Side, connect: Callable[[], tuple[Any, Callable[[Any], bool]]]) -> None:
        connection: Any = None
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                if connection is None:
                    connection, write = connect()
                if write(connection):
                    self._accepted.append((time.monotonic(), time.time(), side))
            except Exception:  # refused or lost: that is what is being measured
                with contextlib.suppress(Exception):
                    connection.close()
                connection = None
            self._stop.wait(max(0.0, INTERVAL - (time.monotonic() - started)))
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.close()

    def _mysql(self) -> tuple[Any, Callable[[Any], bool]]:
        from pymysql.constants import CLIENT

        connection = self._context.mysql("app", "zdm", read_timeout=10, client_flag=CLIENT.MULTI_STATEMENTS)

        def write(connection: Any) -> bool:
            with connection.cursor() as cursor:
                cursor.execute(f"START TRANSACTION; {MYSQL_READ_FENCE_FOR_WRITE}")
                cursor.nextset()
                if not flag_of_row(cursor.fetchone()).may_write(Side.MYSQL):
                    connection.rollback()
                    return False
                cursor.execute("INSERT INTO zdm.pause_probe (at) VALUES (UTC_TIMESTAMP(6))")
                connection.commit()
            return True

        return connection, write

    def _aurora(self) -> tuple[Any, Callable[[Any], bool]]:
        connection = self._context.postgres("app")

        def write(connection: Any) -> bool:
            with connection.transaction():
                connection.execute(POSTGRES_LOCK_FOR_WRITE)
                if not flag_of_row(connection.execute(READ_FENCE).fetchone()).may_write(Side.AURORA):
                    return False
                connection.execute("INSERT INTO zdm.pause_probe DEFAULT VALUES")
            return True

        return connection, write
