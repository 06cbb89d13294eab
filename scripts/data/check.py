"""`./zdm data-check`: whether every row is the same in both databases, also while they change.

How: a table is cut at its primary key into chunks of equal size. For each chunk both databases compute, at the same
time, one SHA-256 over the sorted SHA-256 of its rows, each over the row's injective encoding (`contract.types`), key
included. Where the results differ, the rows' hashes tell the keys, and those rows are compared column by column. What
differs is looked at again until it is proven that it is not lag (`compare.settled_differences`). No lock is ever taken.

- Rows are sorted by their hashes, not by key: text sorts differently in the two databases.
- A table whose key starts with text is not cut but sorted into buckets by hash, in one pass over it.
- A result that the database cut off (GROUP_CONCAT, max_allowed_packet) is an error, not an answer.
- The number of connections is bounded: `connections` to each database, and one more to the source to find the cuts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import pymysql.cursors
from rich.console import Console as RichConsole

from contract.tables import mysql_name, postgres_name
from scripts.console import Console, Step
from scripts.context import Context
from scripts.data.compare import (
    SCHEMA,
    Difference,
    Key,
    MySQL,
    Postgres,
    Rules,
    rules_of,
    settled_differences,
)
from scripts.data.inspect import mysql_tables, without_unsupported
from scripts.errors import ZdmError

CHUNK = 20_000
"""Rows of a chunk."""

PACED_CHUNK = 1_000
"""Rows of a chunk where the databases must not notice: a query of some ten milliseconds."""

HASH = 64
"""Characters of a SHA-256 in hexadecimal."""

REPORTED = 100
"""Differences of one table that are reported row by row; beyond it they are counted."""


Expected = Callable[[Postgres, Rules, Sequence[Key]], Collection[Key]]
"""Given keys of rows that differ: those that may, because they were changed on the target after the switch."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows with `after` < key prefix <= `upto` (None is open), of which the hash's first `digits` tell the bucket."""

    after: tuple[Any, ...] | None = None
    upto: tuple[Any, ...] | None = None
    digits: int = 0


@dataclass
class TableResult:
    """One table. `differences` counts the rows found different, `examples` are the first of them."""

    table: str
    source_rows: int = 0
    target_rows: int = 0
    chunks: int = 0
    suspects: int = 0
    """Rows that looked different at first; most of them only late."""
    differences: int = 0
    examples: list[Difference] = field(default_factory=list)
    unsettled: list[Key] = field(default_factory=list)
    """Rows that changed too often to say."""
    newer: int = 0
    """Rows that were changed on the target after the switch, and so need not be the source's any more."""
    seconds: float = 0.0

    @property
    def note(self) -> str:
        """What a reader should know besides the numbers."""
        notes = []
        if self.newer:
            notes.append(f"{self.newer:,} rows changed on the target since the switch")
        if self.unsettled:
            notes.append(f"{len(self.unsettled):,} rows changed too often to say")
        return "; ".join(notes)

    def to_json(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "sourceRows": self.source_rows,
            "targetRows": self.target_rows,
            "chunks": self.chunks,
            "suspects": self.suspects,
            "differences": self.differences,
            "examples": [d.to_json() for d in self.examples],
            "unsettled": [list(key) for key in self.unsettled],
            "newer": self.newer,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class CheckResult:
    """`started` is what `marker` returned before the first row was read: from there on, changes are not checked."""

    tables: list[TableResult]
    started_at: float
    seconds: float
    started: Any = None
    left_out: list[str] = field(default_factory=list)

    @property
    def mismatches(self) -> int:
        return sum(table.differences for table in self.tables)

    @property
    def rows(self) -> int:
        return sum(table.source_rows for table in self.tables)

    @property
    def verdict(self) -> str:
        """`equal`, `different`, or `unsettled` (some rows changed too often to say)."""
        if self.mismatches:
            return "different"
        return "unsettled" if any(table.unsettled for table in self.tables) else "equal"

    @property
    def ok(self) -> bool:
        return self.verdict == "equal"

    @property
    def differences(self) -> list[Difference]:
        return [difference for table in self.tables for difference in table.examples]

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "mismatches": self.mismatches,
            "rows": self.rows,
            "startedAt": self.started_at,
            "seconds": round(self.seconds, 3),
            "started": self.started,
            "tables": [table.to_json() for table in self.tables],
            "leftOut": self.left_out,
        }

    def render(self, out: RichConsole) -> None:
        for table in self.tables:
            word = (
                f"{table.differences:,} rows differ"
                if table.differences
                else "unsettled"
                if table.unsettled
                else "equal"
            )
            note = f" ({table.note})" if table.note else ""
            out.print(f"{table.table:32} {table.source_rows:>14,} rows  {word}{note}", markup=False, soft_wrap=True)
            for difference in table.examples:
                out.print(f"    {difference}", markup=False, soft_wrap=True)
        out.print(f"{self.verdict}: {self.rows:,} rows, {self.mismatches:,} differ")


def run(
    context: Context,
    *,
    tables: Sequence[str] | None = None,
    console: Console,
    title: str = "Check data",
    settle: Callable[[], None] | None = None,
    marker: Callable[[], Any] | None = None,
    expected: Expected | None = None,
    connections: int = 2,
    chunk: int = CHUNK,
    busy: float = 1.0,
    patience: float = 30.0,
) -> CheckResult:
    """Checks the captured tables (all of the source if none is), or only those named.

    `settle` returns when everything written to the source before its call is on the target, and raises when that cannot
    be proven; without it a row must differ for `patience` seconds. `marker` is called before the first row is read; its
    answer becomes `started`. `expected` says of which differing rows the target may be newer. `busy` (0 to 1) is the
    share of the time in which each connection's queries run: below 1 it rests after each chunk, and chunks are smaller.
    """
    out = context.outputs
    started_at, clock = time.time(), time.monotonic()
    with console.step(title) as step, ExitStack() as stack:
        started = marker() if marker is not None else None
        cuts = stack.enter_context(context.mysql())
        everything = mysql_tables(cuts, out.database, tables or out.pipeline.tables or None)
        chosen = without_unsupported(everything, out.pipeline.choices)
        pairs = [
            (stack.enter_context(context.mysql()), stack.enter_context(context.postgres())) for _ in range(connections)
        ]
        results = check_tables(
            cuts,
            pairs,
            [rules_of(table, out.pipeline.choices) for table in chosen],
            settle=settle,
            expected=expected,
            chunk=chunk if busy == 1 else min(chunk, PACED_CHUNK),
            busy=busy,
            patience=patience,
            step=step,
        )
        result = CheckResult(results, started_at, time.monotonic() - clock, started, _left_out(everything, chosen))
        step.done(f"{result.verdict}: {result.rows:,} rows, {result.mismatches:,} differ")
    return result


def check_tables(
    cuts: MySQL,
    pairs: Sequence[tuple[MySQL, Postgres]],
    tables: Sequence[Rules],
    *,
    settle: Callable[[], None] | None = None,
    expected: Expected | None = None,
    chunk: int = CHUNK,
    busy: float = 1.0,
    patience: float = 30.0,
    step: Step | None = None,
) -> list[TableResult]:
    """The same over open connections: `cuts` finds where to cut, each of `pairs` works on one chunk at a time."""
    checker = _Checker(pairs, chunk, busy)
    total = sum(rules.table.rows for rules in tables)
    done = 0
    results = []
    with checker.pool:
        for my, _ in [(cuts, None), *pairs]:
            _prepare(my, chunk)
        for rules in tables:
            clock = time.monotonic()
            result = TableResult(rules.table.name)
            suspects: dict[Key, None] = {}
            for source, target, keys in checker.chunks(rules, cut(cuts, rules, chunk)):
                result.source_rows += source
                result.target_rows += target
                result.chunks += 1
                suspects.update(dict.fromkeys(keys))
                if step is not None:
                    step.progress(done + result.source_rows, max(total, done + result.source_rows), "rows")
            result.suspects = len(suspects)
            if step is not None and suspects:
                step.update(f"{rules.table.name}: {len(suspects):,} rows looked different, looking again")
            my, pg = pairs[0]
            found, result.unsettled = settled_differences(my, pg, rules, suspects, settle=settle, patience=patience)
            if expected is not None and found:  # asked after the rows were read, so that none changed in between
                newer = set(expected(pg, rules, [difference.key for difference in found]))
                found = [difference for difference in found if difference.key not in newer]
                result.newer = len(newer)
            result.differences, result.examples = len(found), found[:REPORTED]
            result.seconds = time.monotonic() - clock
            done += result.source_rows
            results.append(result)
    return results


def cut(my: MySQL, rules: Rules, size: int) -> Iterator[Chunk]:
    """Cuts a table into chunks of about `size` rows, at values of the longest leading part of the key that both
    databases order alike. The first and the last chunk are open, so that no row on either side is outside of all."""
    names = _ordered(rules)
    if not names:
        yield Chunk(digits=_digits(my, rules, size))
        return
    listed = ", ".join(names)
    relation = _escaped(mysql_name(rules.table.name))
    after: tuple[Any, ...] | None = None
    while True:
        where, values = _range(names, after, None)
        with my.cursor(pymysql.cursors.Cursor) as cursor:
            cursor.execute(
                f"SELECT {listed} FROM {relation} WHERE {where} ORDER BY {listed} LIMIT 1 OFFSET %s",
                [*values, size - 1],
            )
            row = cursor.fetchone()
        upto = tuple(row) if row is not None else None
        yield Chunk(after, upto)
        if upto is None:
            return
        after = upto


def mysql_hashes(rules: Rules) -> str:
    """SQL for the hash of a row in MySQL."""
    encoded = ", ".join(rule.mysql_encoded(column.name) for column, rule in rules.columns)
    return f"SHA2(CONCAT({encoded}),256)"


def postgres_hashes(rules: Rules) -> str:
    """SQL for the hash of a row in PostgreSQL."""
    encoded = "||".join(rule.postgres_encoded(column.name) for column, rule in rules.columns)
    return f"encode(sha256(convert_to({encoded},'UTF8')),'hex')"


_Seen = tuple[int, int, list[Key]]


class _Checker:
    """Works on chunks with a fixed number of pairs of connections, the two sides of a pair at the same time."""

    def __init__(self, pairs: Sequence[tuple[MySQL, Postgres]], size: int, busy: float) -> None:
        self.pool = ThreadPoolExecutor(2 * len(pairs))
        self.size = size
        self.rest = 1 / busy - 1  # of the time that a chunk took
        self.count = len(pairs)
        self.free: SimpleQueue[tuple[MySQL, Postgres]] = SimpleQueue()
        for pair in pairs:
            self.free.put(pair)

    def chunks(self, rules: Rules, chunks: Iterator[Chunk]) -> Iterator[_Seen]:
        """Rows on both sides, and keys that look different, of each chunk as it is done."""
        running: set[Future[_Seen]] = set()
        try:
            for chunk in chunks:
                if len(running) == self.count:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
                running.add(self.pool.submit(self._chunk, rules, chunk))
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            for future in running:
                with suppress(Exception):  # the first error is on its way; the others must only be over
                    future.result()

    def _chunk(self, rules: Rules, chunk: Chunk) -> _Seen:
        my, pg = self.free.get()
        began = time.monotonic()
        try:
            target = self.pool.submit(_target_sums, pg, rules, chunk)
            source = _source_sums(my, rules, chunk)
            other = target.result()
            buckets = [b for b in source.keys() | other.keys() if source.get(b) != other.get(b)]
            rows, others = (sum(count for count, _ in sums.values()) for sums in (source, other))
            if not buckets:
                return rows, others, []
            remote = self.pool.submit(_target_keys, pg, rules, chunk, buckets)
            have = _source_keys(my, rules, chunk, buckets)
            return rows, others, list(dict.fromkeys(key for key, _ in have ^ remote.result()))
        finally:
            time.sleep((time.monotonic() - began) * self.rest)
            self.free.put((my, pg))


def _source_sums(my: MySQL, rules: Rules, chunk: Chunk) -> dict[str, tuple[int, str]]:
    """Rows and hash of each bucket on the source."""
    where, values = _range([mysql_name(c.name) for c, _ in rules.key], chunk.after, chunk.upto)
    sql = (
        "SELECT b, n, h, LENGTH(g), SHA2(g,256) FROM (SELECT LEFT(h,%s) AS b, COUNT(*) AS n, COUNT(h) AS h, "
        "GROUP_CONCAT(h ORDER BY h SEPARATOR '') AS g FROM "
        f"(SELECT {_escaped(mysql_hashes(rules))} AS h FROM {_escaped(mysql_name(rules.table.name))} WHERE {where}) r "
        "GROUP BY b) s"
    )
    found = {}
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(sql, [chunk.digits, *values])
        for bucket, rows, hashed, length, digest in cursor.fetchall():
            if hashed != rows:
                raise ZdmError(
                    f"MySQL could not encode {rows - hashed:,} rows of {rules.table.name}: they are larger than "
                    "its max_allowed_packet; raise it in the parameter group"
                )
            if length != HASH * rows:
                raise ZdmError(
                    f"MySQL cut off the hashes of {rules.table.name} ({length:,} of {HASH * rows:,} bytes): "
                    "group_concat_max_len or max_allowed_packet is too small; raise them or use smaller chunks"
                )
            found[bucket] = (int(rows), str(digest))
    return found


def _target_sums(pg: Postgres, rules: Rules, chunk: Chunk) -> dict[str, tuple[int, str]]:
    """Rows and hash of each bucket on the target."""
    where, values = _range([postgres_name(c.name) for c, _ in rules.key], chunk.after, chunk.upto)
    rows = pg.execute(
        "SELECT b, n, encode(sha256(convert_to(g,'UTF8')),'hex') FROM (SELECT left(h,%s) AS b, count(*) AS n, "
        "string_agg(h,'' ORDER BY h COLLATE \"C\") AS g FROM "
        f"(SELECT {_escaped(postgres_hashes(rules))} AS h FROM {_escaped(postgres_name(SCHEMA, rules.table.name))} "
        f"WHERE {where}) r GROUP BY 1) s",
        [chunk.digits, *values],
    )
    return {bucket: (int(count), str(digest)) for bucket, count, digest in rows}


def _source_keys(my: MySQL, rules: Rules, chunk: Chunk, buckets: Sequence[str]) -> set[tuple[Key, str]]:
    """Key and hash of each row of some buckets on the source."""
    where, values = _range([mysql_name(c.name) for c, _ in rules.key], chunk.after, chunk.upto)
    keys = ", ".join(f"{rule.mysql_text.format(mysql_name(c.name))} AS k{i}" for i, (c, rule) in enumerate(rules.key))
    listed = ", ".join(f"k{i}" for i in range(len(rules.key)))
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(
            f"SELECT {listed}, h FROM (SELECT {_escaped(keys)}, {_escaped(mysql_hashes(rules))} AS h "
            f"FROM {_escaped(mysql_name(rules.table.name))} WHERE {where}) r "
            f"WHERE LEFT(h,%s) IN ({', '.join(['%s'] * len(buckets))})",
            [*values, chunk.digits, *buckets],
        )
        return {(tuple(map(_text, row[:-1])), str(row[-1])) for row in cursor.fetchall()}


def _target_keys(pg: Postgres, rules: Rules, chunk: Chunk, buckets: Sequence[str]) -> set[tuple[Key, str]]:
    """Key and hash of each row of some buckets on the target."""
    where, values = _range([postgres_name(c.name) for c, _ in rules.key], chunk.after, chunk.upto)
    keys = ", ".join(
        f"{rule.postgres_text.format(postgres_name(c.name))} AS k{i}" for i, (c, rule) in enumerate(rules.key)
    )
    listed = ", ".join(f"k{i}" for i in range(len(rules.key)))
    rows = pg.execute(
        f"SELECT {listed}, h FROM (SELECT {_escaped(keys)}, {_escaped(postgres_hashes(rules))} AS h "
        f"FROM {_escaped(postgres_name(SCHEMA, rules.table.name))} WHERE {where}) r WHERE left(h,%s) = ANY(%s)",
        [*values, chunk.digits, list(buckets)],
    )
    return {(tuple(map(_text, row[:-1])), str(row[-1])) for row in rows}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _prepare(my: MySQL, chunk: int) -> None:
    """The session must hold the hashes of a chunk; keys that repeat in a cut column can make one larger than asked
    for."""
    with my.cursor() as cursor:
        cursor.execute("SET SESSION group_concat_max_len = %s", (max(1 << 30, 4 * HASH * chunk),))


def _ordered(rules: Rules) -> list[str]:
    names = []
    for column, rule in rules.key:
        if not rule.ordered:
            break
        names.append(_escaped(mysql_name(column.name)))
    return names


def _digits(my: MySQL, rules: Rules, size: int) -> int:
    """How many digits of a hash make buckets of at most `size` rows."""
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM {mysql_name(rules.table.name)}")
        row = cursor.fetchone()
    rows = int(row[0]) if row else 0
    return math.ceil(math.log(rows / size, 16)) if rows > size else 0


def _range(names: Sequence[str], after: tuple[Any, ...] | None, upto: tuple[Any, ...] | None) -> tuple[str, list[Any]]:
    """`after` < names <= `upto`, in the order of the columns: as a condition that both planners can use an index
    for."""
    parts: list[str] = []
    values: list[Any] = []
    for bound, beyond, at in ((after, ">", False), (upto, "<", True)):
        if bound is None:
            continue
        used = names[: len(bound)]
        # The first column alone bounds the index scan; the rest is exact.
        parts.append(f"{used[0]} {beyond}= %s")
        values.append(bound[0])
        cases = []
        for i in range(len(used)):
            last = i == len(used) - 1
            cases.append(
                "("
                + " AND ".join(
                    [*(f"{name} = %s" for name in used[:i]), f"{used[i]} {beyond}{'=' if last and at else ''} %s"]
                )
                + ")"
            )
            values += bound[: i + 1]
        parts.append("(" + " OR ".join(cases) + ")")
    return " AND ".join(parts) or "TRUE", values


def _escaped(sql: str) -> str:
    return sql.replace("%", "%%")


def _left_out(everything: Sequence[Any], chosen: Sequence[Any]) -> list[str]:
    kept = {column.path for table in chosen for column in table.columns}
    tables = {table.name for table in chosen}
    return [
        name
        for table in everything
        for name in (
            [table.name] if table.name not in tables else [c.path for c in table.columns if c.path not in kept]
        )
    ]
