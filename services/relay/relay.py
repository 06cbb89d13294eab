"""The relay: every event of the outbox is delivered at least once, none is lost, and none overtakes its cause.

Invariants:
- What is left to do is what has no `delivered_at`, never what has a number above the last one: numbers are given when a
  row is inserted, not when it is committed, so a row may appear below the last one (seen: 1,546 of 20,086 lost).
- Events that one query finds are delivered by number, and a query sees an event only with all that was committed before
  it. The row is the last that a transaction of the shop writes, so an event's cause has a lower number or was delivered
  before. Events of one row are in the order of its changes: its lock is held while the number is given.
- Marks are set after delivery, in a fenced transaction, and replication carries them: after a cutover the other side
  goes on. What is between delivery and mark when something breaks is delivered again.
- One relay at a time, by a lock of its connection. One that loses the connection may still be delivering while the next
  begins: then events come twice, and a consumer drops those whose `id` it has had.
- Nothing is delivered while this side is not the writer: its rows may be behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge

from contract.control import READ_FENCE, flag_of_row
from contract.flag import Side
from services.origin.database import Database, DatabaseError, Session

log = logging.getLogger("zdm.relay")

LOCK = 0x7A646D_6F7574
"""Who holds it relays."""
BATCH = 500
"""Events in one round. All of them may come again after a failure."""
IDLE_SECONDS = 0.1
"""Between two rounds when there is nothing left."""
RETRY_SECONDS = 1.0
"""After a failure, and between two attempts to become the one that relays."""

UNDELIVERED = (
    "SELECT id, aggregate, aggregate_id, event, payload, client_ref, created_at FROM outbox "
    f"WHERE delivered_at IS NULL ORDER BY id LIMIT {BATCH}"
)


class NotDelivered(Exception):
    """Some events were not delivered; nobody knows which."""


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the outbox. `payload` is JSON, `created_at` is UTC."""

    id: int
    aggregate: str
    aggregate_id: int
    event: str
    payload: str
    client_ref: str | None
    created_at: datetime

    @property
    def aggregate_key(self) -> str:
        """What keeps events in order among themselves."""
        return f"{self.aggregate}:{self.aggregate_id}"


Publish = Callable[[Sequence[Event]], Awaitable[None]]
"""Returns when all of them are delivered, in this order. Raises `NotDelivered`."""


class Metrics:
    """What is measured about the relay, beside what every origin measures."""

    def __init__(self, side: Side, registry: CollectorRegistry) -> None:
        labels = [side.value]
        self.delivered = Counter(
            "zdm_outbox_delivered_total", "Events delivered and marked", ["side"], registry=registry
        ).labels(*labels)
        self.failures = Counter(
            "zdm_outbox_failures_total", "Rounds that failed; their events come again", ["side"], registry=registry
        ).labels(*labels)
        self.oldest = Gauge(
            "zdm_outbox_oldest_seconds", "Age of the oldest event that waits; 0 if none does", ["side"],
            registry=registry,
        ).labels(*labels)  # fmt: skip
        self.leads = Gauge(
            "zdm_outbox_relaying", "1 in the process that relays", ["side"], registry=registry
        ).labels(*labels)  # fmt: skip


class Relay:
    """Delivers what is in the outbox of one side."""

    def __init__(self, database: Database, publish: Publish, metrics: Metrics) -> None:
        self._database = database
        self._publish = publish
        self._metrics = metrics

    async def run(self) -> None:
        """Relays for ever, whatever fails."""
        while True:
            try:
                await self._lead()
            except (DatabaseError, NotDelivered) as e:
                self._metrics.failures.inc()
                log.warning("events wait: %s", e)
            except Exception:
                self._metrics.failures.inc()
                log.exception("events wait")
            finally:
                self._metrics.leads.set(0)
            await asyncio.sleep(RETRY_SECONDS)

    async def _lead(self) -> None:
        """Relays until something fails; returns at once if another one does."""
        async with self._database.alone(LOCK) as db:
            if db is None:
                return
            log.info("this process relays")
            self._metrics.leads.set(1)
            while True:
                if await self.round(db) < BATCH:
                    await asyncio.sleep(IDLE_SECONDS)

    async def round(self, db: Session) -> int:
        """Delivers at most `BATCH` events over the connection that has the lock, and returns how many."""
        fence = await db.fetch(READ_FENCE)
        if not fence or not flag_of_row(tuple(fence[0])).may_write(self._database.side):
            return 0
        rows = await db.fetch(UNDELIVERED)
        events = [Event(int(row[0]), row[1], int(row[2]), row[3], row[4], row[5], row[6]) for row in rows]
        self._metrics.oldest.set(_age(events[0]) if events else 0)
        if events:
            await self._publish(events)
            await self._mark([event.id for event in events])
            self._metrics.delivered.inc(len(events))
        return len(events)

    async def _mark(self, ids: Sequence[int]) -> None:
        await self._database.write(lambda db: db.execute(_marked(len(ids)), *ids))


def _age(event: Event) -> float:
    return max(0.0, (datetime.now(UTC) - event.created_at.replace(tzinfo=UTC)).total_seconds())


@lru_cache(maxsize=16)
def _marked(count: int) -> str:
    return (
        f"UPDATE outbox SET delivered_at = CURRENT_TIMESTAMP(6) WHERE delivered_at IS NULL "
        f"AND id IN ({', '.join('?' * count)})"
    )
