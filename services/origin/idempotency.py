"""Idempotency keys: a write that is sent again under the same `Idempotency-Key` is executed once and answered alike.

- The same request again: the first answer with its status, and `idempotency-replayed: true`.
- The same key for another request (method, path or body differ): 422.
- The first is still under way: 409 with `retry-after`.

Invariants:
- An answer is stored in the transaction of its write: there is one exactly if the write happened. A crash or a lost
  COMMIT does not change that, and replication carries the answer to the other database like the write itself. The
  cutover opens Aurora when it has both.
- Stored is what a transaction came to: done, or refused by the shop (404, 422). What came to no transaction (a body
  that is not valid) or may go better next time (421, 503, values that the database refused) is not.
- The key's lock only makes the second one answer at once instead of waiting; the primary key is what it rests on.
- A stored answer is kept for `KEEP_HOURS`; a repeat after that is a new write.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import Request

from services.origin.answers import Busy, Problem
from services.origin.database import Database, DatabaseError, Session

log = logging.getLogger("zdm.origin")

HEADER = "idempotency-key"
REPLAYED = "idempotency-replayed"
LONGEST = 64
"""Characters of a key."""
KEEP_HOURS = 24
BATCH = 500
"""Answers that are deleted in one transaction: short, so that whoever fences never waits for it."""
PAUSE_SECONDS = 0.1
"""Between two such transactions."""
ROUND_SECONDS = 60.0
"""Between two searches for expired answers."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key, and the SHA-256 (hexadecimal) of the request that it was sent with."""

    name: str
    request: str

    @property
    def lock(self) -> int:
        """A number for the key, 64 bits with a sign."""
        return int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:8], signed=True)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a write came to. `replayed`: it did so before."""

    status: int
    content: bytes
    replayed: bool = False


def key_of(request: Request) -> Key | None:
    """The request's key, None if it has none. Its body must have been read. Raises `Problem` 400."""
    given = request.headers.getlist(HEADER)
    if not given:
        return None
    name = given[0]
    if len(given) > 1 or not 1 <= len(name) <= LONGEST or not all("!" <= letter <= "~" for letter in name):
        raise Problem(400, "invalid", f"{HEADER}: one key of 1 to {LONGEST} visible ASCII characters")
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(getattr(request.state, "body", b""))
    return Key(name, digest.hexdigest())


async def once(db: Session, key: Key, work: Callable[[Session], Awaitable[Answer]]) -> Answer:
    """Does `work` in the open transaction, or tells what it came to when it was done. Raises `Problem`."""
    if not await db.lock(key.lock):
        raise Busy(409, "idempotency-key-in-use", f"a request with this {HEADER} is under way")
    if (known := await _stored(db, key)) is not None:
        return known
    await db.savepoint()
    try:
        answer = await work(db)
    except Problem as e:
        await db.back()
        answer = Answer(e.status, e.content)
    await db.execute(
        "INSERT INTO zdm.idempotency (id, request, status, answer, at) VALUES (?, ?, ?, ?, CURRENT_TIMESTAMP(6))",
        key.name, key.request, answer.status, answer.content.decode(),
    )  # fmt: skip
    return answer


async def _stored(db: Session, key: Key) -> Answer | None:
    rows = await db.fetch("SELECT request, status, answer FROM zdm.idempotency WHERE id = ?", key.name)
    if not rows:
        return None
    request, status, answer = rows[0]
    if request != key.request:
        raise Problem(422, "idempotency-key-reused", f"this {HEADER} was sent with another request before")
    return Answer(int(status), str(answer).encode(), replayed=True)


async def prune(database: Database) -> int:
    """Deletes at most `BATCH` expired answers; returns how many there were. Raises `DatabaseError`."""

    async def work(db: Session) -> int:
        rows = await db.fetch(
            f"SELECT id FROM zdm.idempotency WHERE at < CURRENT_TIMESTAMP(6) - INTERVAL '{KEEP_HOURS}' HOUR "
            f"ORDER BY at LIMIT {BATCH} FOR UPDATE SKIP LOCKED"
        )
        if not rows:
            return 0
        names = [row[0] for row in rows]
        return await db.execute(f"DELETE FROM zdm.idempotency WHERE id IN ({', '.join('?' * len(names))})", *names)

    deleted, _ = await database.write(work)
    return deleted


async def keep_pruned(database: Database) -> None:
    """Deletes expired answers for ever, as long as this side is the writer. Several processes may do it at once."""
    while True:
        await asyncio.sleep(ROUND_SECONDS * random.uniform(0.5, 1.5))
        try:
            full = True
            while full:
                full = await prune(database) == BATCH
                await asyncio.sleep(PAUSE_SECONDS)
        except DatabaseError as e:
            log.debug("expired answers stay for now: %s", e)
        except Exception:
            log.exception("expired answers cannot be deleted")
