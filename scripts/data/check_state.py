"""What was checked, chunk by chunk, in PostgreSQL's schema `zdm`: so that a check that was killed goes on, that a
nightly one draws the parts seen longest ago, and that every table has a digest.

Invariants:
- A check of everything (`full`) has one run; its chunks follow one another from the lowest key to the highest without a
  gap, each beginning where another ends (None is open). A run without `ended` is unfinished.
- The chunks of the last full run that ended are the map: a later check of a part replaces the chunks that it looked at,
  and one of changes voids the digests of those that it touched (`dirty`).
- One check that keeps state at a time holds the advisory lock `LOCK`.
"""

from __future__ import annotations

import hashlib
import json
import random
import uuid
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from contract.control import POSTGRES_DDL
from scripts.data.check import Earlier
from scripts.data.check_result import Kind
from scripts.data.check_worker import Chunk
from scripts.data.difference import Key
from scripts.data.keyset import Bounds
from scripts.data.rules import Postgres, Rules
from scripts.errors import UsageError

LOCK: Final = 0x7A646D64
"""PostgreSQL's advisory lock of whoever checks and keeps state."""

KEPT_SUSPECTS: Final = 10_000
"""Of a chunk. One with more is not kept, and so is checked again when the check goes on after a kill."""


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk as it is kept."""

    n: int
    table: str
    bounds: Bounds
    source_rows: int
    target_rows: int
    digest: str | None
    suspects: tuple[Key, ...]
    day: date


@dataclass(frozen=True)
class Run:
    """A check. `marker` says from where on changes are not checked."""

    id: str
    kind: Kind
    marker: Any
    options: Mapping[str, Any]


def prepare(pg: Postgres) -> None:
    """Makes the control tables that are missing, and makes this session the only one that checks. Raises `UsageError`
    when another one does."""
    with pg.transaction():
        pg.execute("SET LOCAL client_min_messages = warning")
        for statement in POSTGRES_DDL:
            pg.execute(statement)
    pg.execute("SET synchronous_commit = off")  # what a crash of the server loses of it is checked once more
    row = pg.execute("SELECT pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
    if row is None or not row[0]:
        raise UsageError(
            "another data-check is under way (PostgreSQL advisory lock "
            f"{LOCK}, see pg_locks); wait for it, or check single tables with --table"
        )


def begin(pg: Postgres, kind: Kind, marker: Any, options: Mapping[str, Any]) -> Run:
    run = Run(uuid.uuid4().hex[:12], kind, marker, options)
    pg.execute(
        "INSERT INTO zdm.check_run (run, kind, marker, options) VALUES (%s, %s, %s, %s)",
        (run.id, kind, json.dumps(marker), json.dumps(options)),
    )
    return run


def unfinished(pg: Postgres) -> Run | None:
    """The last check of everything, if it did not end."""
    row = pg.execute(
        "SELECT run, kind, marker, options, ended IS NULL FROM zdm.check_run WHERE kind = 'full' "
        "ORDER BY started DESC LIMIT 1"
    ).fetchone()
    return Run(*row[:4]) if row is not None and row[4] else None


def last_map(pg: Postgres) -> str | None:
    """The run whose chunks are the map."""
    row = pg.execute(
        "SELECT run FROM zdm.check_run WHERE kind = 'full' AND ended IS NOT NULL ORDER BY started DESC LIMIT 1"
    ).fetchone()
    return None if row is None else str(row[0])


def end(pg: Postgres, run: Run, verdict: str) -> None:
    """A full run becomes the map; the one before is forgotten."""
    with pg.transaction():
        pg.execute("UPDATE zdm.check_run SET ended = clock_timestamp(), verdict = %s WHERE run = %s", (verdict, run.id))
        if run.kind == "full":
            for name in ("check_chunk", "check_table"):
                pg.execute(f"DELETE FROM zdm.{name} WHERE run <> %s", (run.id,))


def parts(pg: Postgres, run: str, table: str | None = None) -> list[Part]:
    """The chunks of a run (and a table), in the order in which they were done."""
    rows = pg.execute(
        "SELECT n, table_name, after_key, upto_key, source_rows, target_rows, digest, suspects, at::date "
        "FROM zdm.check_chunk WHERE run = %s AND (%s::text IS NULL OR table_name = %s) ORDER BY n",
        (run, table, table),
    )
    return [
        Part(n, name, Bounds(_key(after), _key(upto)), rows_, others, digest, tuple(map(tuple, suspects)), day)
        for n, name, after, upto, rows_, others, digest, suspects, day in rows
    ]


def table_digest(pg: Postgres, run: str, table: str) -> str | None:
    """SHA-256 over one line for each chunk, in the order of the key: its bounds as JSON, a space, and its digest. None
    where the digest of a chunk is not known (any more)."""
    chain = _chain(parts(pg, run, table), Bounds())
    if not chain or chain[-1].bounds.upto is not None or any(part.digest is None for part in chain):
        return None
    lines = (f"{_dumped(part.bounds.after)} {_dumped(part.bounds.upto)} {part.digest}\n" for part in chain)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def definition(rules: Rules) -> str:
    """A table as far as a check depends on it."""
    columns = [(c.name, c.full_type, c.collation, r.postgres, r.mysql_text, r.postgres_text) for c, r in rules.columns]
    return hashlib.sha256(json.dumps([columns, rules.table.primary_key]).encode()).hexdigest()


def draw(pg: Postgres, run: str, share: float, seed: int) -> dict[str, list[Bounds]]:
    """Parts of the map with about `share` (0 to 1) of all rows: those seen longest ago (by day), else by chance."""
    chance = random.Random(seed)
    drawn: dict[str, list[Bounds]] = {}
    known = sorted(parts(pg, run), key=lambda part: (part.day, chance.random()))
    wanted = share * sum(part.source_rows for part in known)
    for part in known:
        if wanted <= 0:
            break
        drawn.setdefault(part.table, []).append(part.bounds)
        wanted -= part.source_rows
    return drawn


def mark_dirty(pg: Postgres, run: str, rules: Rules, keys: Sequence[Key]) -> None:
    """Voids the digests of the chunks that the keys are in (of all chunks, where only the databases order the keys)."""
    known = [part for part in parts(pg, run, rules.table.name) if part.digest is not None]
    if rules.ordered:
        places = sorted(rules.order(key) for key in keys)
        known = [part for part in known if _holds(rules, part.bounds, places)]
    if keys and known:
        pg.execute(
            "UPDATE zdm.check_chunk SET dirty = true, digest = NULL WHERE n = ANY(%s)", ([part.n for part in known],)
        )


@dataclass
class FullLedger:
    """Of a check of everything; `resumed` one goes on where it was killed."""

    pg: Postgres
    run: Run
    resumed: bool = False
    digests: bool = True

    def earlier(self, rules: Rules) -> Earlier | None:
        if not self.resumed:
            return None
        table = rules.table.name
        row = self.pg.execute(
            "SELECT definition, method, ranges FROM zdm.check_table WHERE run = %s AND table_name = %s",
            (self.run.id, table),
        ).fetchone()
        if row is None or row[0] != definition(rules):
            return None
        known = parts(self.pg, self.run.id, table)
        done: list[Part] = []
        left = []
        for after, upto in row[2]:
            chain = _chain(known, Bounds(_key(after), _key(upto)))
            done += chain
            if not chain or chain[-1].bounds.upto != _key(upto):
                left.append(Bounds(chain[-1].bounds.upto if chain else _key(after), _key(upto)))
        self.pg.execute(
            "DELETE FROM zdm.check_chunk WHERE run = %s AND table_name = %s AND n <> ALL(%s)",
            (self.run.id, table, [part.n for part in done]),
        )
        return Earlier(
            row[1],
            left,
            sum(part.source_rows for part in done),
            sum(part.target_rows for part in done),
            len(done),
            [key for part in done for key in part.suspects],
        )

    def plan(self, rules: Rules, method: str, ranges: Sequence[Bounds]) -> None:
        table = rules.table.name
        with self.pg.transaction():
            for name in ("check_chunk", "check_table"):
                self.pg.execute(f"DELETE FROM zdm.{name} WHERE run = %s AND table_name = %s", (self.run.id, table))
            self.pg.execute(
                "INSERT INTO zdm.check_table VALUES (%s, %s, %s, %s, %s)",
                (self.run.id, table, definition(rules), method, json.dumps([(r.after, r.upto) for r in ranges])),
            )

    def chunk(self, rules: Rules, within: Bounds, chunk: Chunk) -> None:
        if len(chunk.suspects) <= KEPT_SUSPECTS:
            _insert(self.pg, self.run.id, rules, chunk)

    def judged(self, rules: Rules, different: Sequence[Key]) -> str | None:
        _judge(self.pg, self.run.id, rules, different)
        return table_digest(self.pg, self.run.id, rules.table.name)


@dataclass
class MapLedger:
    """Of a check of parts of the map, which it renews."""

    pg: Postgres
    map: str
    """The map's run."""
    digests: bool = True
    _seen: dict[tuple[str, Bounds], list[Chunk]] = field(default_factory=dict)

    def earlier(self, rules: Rules) -> Earlier | None:
        return None

    def plan(self, rules: Rules, method: str, ranges: Sequence[Bounds]) -> None:
        self._seen = {place: chunks for place, chunks in self._seen.items() if place[0] != rules.table.name}

    def chunk(self, rules: Rules, within: Bounds, chunk: Chunk) -> None:
        """The parts of a chunk take its place when all of them were seen."""
        chunks = self._seen.setdefault((rules.table.name, within), [])
        chunks.append(chunk)
        if not chunk.ended:
            return
        del self._seen[rules.table.name, within]
        if sum(len(part.suspects) for part in chunks) > KEPT_SUSPECTS:
            return
        with self.pg.transaction():
            old = [part.n for part in parts(self.pg, self.map, rules.table.name) if part.bounds == within]
            self.pg.execute("DELETE FROM zdm.check_chunk WHERE n = ANY(%s)", (old,))
            for part in chunks:
                _insert(self.pg, self.map, rules, part)

    def judged(self, rules: Rules, different: Sequence[Key]) -> str | None:
        _judge(self.pg, self.map, rules, different)
        return table_digest(self.pg, self.map, rules.table.name)


def _insert(pg: Postgres, run: str, rules: Rules, chunk: Chunk) -> None:
    pg.execute(
        "INSERT INTO zdm.check_chunk (run, table_name, after_key, upto_key, source_rows, target_rows, digest, verdict, "
        "suspects, seconds) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            run,
            rules.table.name,
            _dumped(chunk.bounds.after),
            _dumped(chunk.bounds.upto),
            chunk.source_rows,
            chunk.target_rows,
            chunk.digest,
            "unsettled" if chunk.suspects else "equal",
            json.dumps(chunk.suspects),
            chunk.seconds,
        ),
    )


def _judge(pg: Postgres, run: str, rules: Rules, different: Sequence[Key]) -> None:
    """The verdicts of the chunks whose rows were looked at again."""
    wrong = set(different)
    for part in parts(pg, run, rules.table.name):
        if part.suspects:
            verdict = "different" if wrong.intersection(part.suspects) else "equal"
            pg.execute("UPDATE zdm.check_chunk SET verdict = %s WHERE n = %s", (verdict, part.n))


def _chain(known: Iterable[Part], bounds: Bounds) -> list[Part]:
    """The chunks that follow one another from the beginning of `bounds`, as far as they go, at most to their end."""
    following = {part.bounds.after: part for part in known}
    chain: list[Part] = []
    at = bounds.after
    while (part := following.pop(at, None)) is not None:
        chain.append(part)
        at = part.bounds.upto
        if at == bounds.upto or at is None:
            break
    return chain


def _holds(rules: Rules, bounds: Bounds, places: Sequence[Any]) -> bool:
    """Whether one of the places (in order) is within `bounds`; a shorter bound comes after all that begin with it."""
    first = 0 if bounds.after is None else _beyond(rules, bounds.after, places)
    last = len(places) if bounds.upto is None else _beyond(rules, bounds.upto, places)
    return first < last


def _beyond(rules: Rules, bound: Key, places: Sequence[Any]) -> int:
    end = rules.order(bound)
    return bisect_right(places, end, key=lambda place: place[: len(end)])


def _key(texts: Sequence[str] | None) -> Key | None:
    return None if texts is None else tuple(texts)


def _dumped(key: Key | None) -> str | None:
    return None if key is None else json.dumps(key, separators=(",", ":"))
