"""Reads tables for the survey: aggregates over chunks of the key, whole or sampled, without weighing on the source.

- Every query is a transaction of its own, only reads, and is ended by the server when it takes too long; how many rows
  a chunk has follows from the time that the last one took. Nothing is ever locked, no snapshot is held.
- A sample is made of ranges spread over the key: at equal distances where the leading column can be computed with
  (numbers, dates, text, bytes), else at the head and the tail.
- The server's running threads are looked at all along: above a bound the survey waits, and in the end gives up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final, Literal

import pymysql
import pymysql.cursors
from pymysql.connections import Connection

from contract.tables import Column, Table, mysql_name
from scripts.data.survey_result import Reading

SAMPLE: Final = 0.05
"""Share of a big table that is read by default."""

LEAST_ROWS: Final = 5_000
"""Tables up to this size are read in full, and at least so many rows of a bigger one."""

MOST_ROWS: Final = 1_000_000
MOST_BYTES: Final = 1_000_000_000
"""Of one table, unless the share was asked for."""

RANGE_ROWS: Final = 1_000
MOST_RANGES: Final = 200
"""A sample has a range for each so many rows, up to a number of ranges."""

FIRST_CHUNK_BYTES: Final = 4_000_000
LARGEST_CHUNK: Final = 50_000

TARGET_SECONDS: Final = 0.3
"""That reading a chunk should take."""

LIMIT_SECONDS: Final = 2.0
"""After which the server ends a query; the chunk is then cut in half."""

LAST_LIMIT_SECONDS: Final = 30.0
"""The same for a chunk that cannot be cut any more."""

MAX_RUNNING: Final = 40
"""Threads running on the source above which the survey waits."""

PATIENCE: Final = 600.0
"""Seconds that it waits before it gives up reading values."""

LOOK_SECONDS: Final = 0.25
"""Between two looks at the running threads."""

EXAMPLES: Final = 3
"""Rows that are named for each finding."""

QUERY_TIMEOUT: Final = 3024
"""MySQL's error for a query that exceeded its time."""

_CUTTABLE: Final = frozenset({
    "tinyint", "smallint", "mediumint", "int", "bigint", "decimal", "char", "varchar", "binary", "varbinary", "date",
    "datetime", "timestamp",
})  # fmt: skip
"""Types at whose values a table can be cut. (An ENUM is sorted by number and compared as text.)"""


class Busy(Exception):
    """The source stayed busy for longer than the survey waits."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One aggregate over a table `t`: for how many rows a condition holds (`count`), or the `longest` of a number."""

    expression: str
    how: Literal["count", "longest"] = "count"
    examples: bool = True
    """Whether some of the counted rows are to be named."""

    @property
    def sql(self) -> str:
        return f"COALESCE({'SUM' if self.how == 'count' else 'MAX'}({self.expression}), 0)"


@dataclass(frozen=True, slots=True)
class Bounds:
    """A condition on the key, with its parameters."""

    sql: str = "TRUE"
    values: tuple[Any, ...] = ()

    def __and__(self, other: Bounds) -> Bounds:
        return Bounds(f"({self.sql}) AND ({other.sql})", self.values + other.values)


def beyond(names: Sequence[str], values: Sequence[Any], sign: str) -> Bounds:
    """Keys beyond one; `sign` is `>`, `>=` or `<=`. (MySQL finds no index range for `(a, b) > (x, y)`.)"""
    parts, found = [], []
    for i, name in enumerate(names):
        last = i == len(names) - 1
        parts.append(" AND ".join([*(f"{n} = %s" for n in names[:i]), f"{name} {sign if last else sign[0]} %s"]))
        found += [*values[:i], values[i]]
    return Bounds(" OR ".join(f"({part})" for part in parts), tuple(found))


@dataclass
class Pace:
    """How fast the source is read: the share of the time in which queries run, and how busy the source may be."""

    busy: float = 1.0
    max_running: int = MAX_RUNNING
    patience: float = PATIENCE
    waited: float = 0.0
    """Seconds spent because the source was busy."""
    looked: float = field(default=0.0, repr=False)

    def wait(self, my: Connection[Any]) -> None:
        """Returns when the source is not busy. Raises `Busy` when that does not come."""
        began = time.monotonic()
        if began - self.looked < LOOK_SECONDS:
            return
        pause = LOOK_SECONDS
        while (running := _running(my)) > self.max_running:
            if time.monotonic() - began >= self.patience:
                self.waited += time.monotonic() - began
                raise Busy(f"{running} threads were running on the source, more than {self.max_running}")
            time.sleep(pause)
            pause = min(2 * pause, 5.0)
        self.looked = time.monotonic()
        if pause > LOOK_SECONDS:
            self.waited += self.looked - began

    def rest(self, seconds: float) -> None:
        """After queries that took so many seconds."""
        time.sleep(seconds * (1 / self.busy - 1))


def prepare(my: Connection[Any]) -> None:
    """Makes the session one that only reads, and does not wait behind anyone's DDL. Strict mode: a text that cannot be
    converted must be NULL, and not cut off."""
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(
            "SET SESSION transaction_isolation = 'READ-COMMITTED', lock_wait_timeout = 2, "
            "sql_mode = 'STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO', "
            "information_schema_stats_expiry = 0"
        )
        cursor.execute("SET SESSION TRANSACTION READ ONLY")


def budget(table: Table, sample: float | None) -> int | None:
    """How many rows of a table are to be read; None is all. `sample` is the share that was asked for."""
    if sample == 1 or table.rows <= LEAST_ROWS:
        return None
    rows = max(LEAST_ROWS, int(table.rows * (SAMPLE if sample is None else sample)))
    if sample is None:
        rows = min(rows, MOST_ROWS, max(MOST_BYTES // _width(table), 10))
        if rows > table.rows / 2:  # the rest is worth the proof
            return None
    return rows if rows < table.rows else None


def key_of(table: Table) -> tuple[str, tuple[Column, ...]]:
    """The index at which a table is cut, with as many of its leading columns as can be cut at; none at all where there
    is no such index: the primary key, or a unique one without NULLs."""
    candidates = [("PRIMARY", table.primary_key)] if table.primary_key else []
    candidates += [
        (key.name, key.columns)
        for key in table.keys
        if key.unique and all(p.column and not p.prefix and not p.descending for p in key.parts)
    ]
    for name, parts in candidates:
        columns = [table.column(part) for part in parts]
        if any(column.nullable for column in columns):
            continue
        cut = next((i for i, column in enumerate(columns) if column.type not in _CUTTABLE), len(columns))
        if cut:
            return name, tuple(columns[:cut])
    return "", ()


def between(low: Any, high: Any, share: float) -> Any:
    """A value at a share of the way from `low` to `high`; None for what cannot be computed with."""
    if type(low) is not type(high):
        return None
    if isinstance(low, int):
        return low + int((high - low) * share)
    if isinstance(low, Decimal):
        return low + (high - low) * Decimal(share)
    if isinstance(low, date):  # datetime too
        return low + (high - low) * share
    if isinstance(low, bytes):
        return bytes(_digits_between(list(low), list(high), 256, share))
    if isinstance(low, str):
        first, last = ([min(ord(c), 127) for c in text] for text in (low, high))
        return "".join(chr(max(code, 32)) for code in _digits_between(first, last, 128, share))
    return None


def _digits_between(low: list[int], high: list[int], base: int, share: float) -> list[int]:
    """The same for fractions in some base: what both begin with, and a few digits more."""
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    more = 4
    a, b = (
        sum(digit * base ** (more - 1 - i) for i, digit in enumerate(digits[same : same + more]))
        for digits in (low, high)
    )
    number = a + int((b - a) * share)
    return low[:same] + [number // base ** (more - 1 - i) % base for i in range(more)]


class Reader:
    """Reads one table. `counts` has the aggregates' values so far, `examples` the keys of rows that were counted, by
    the aggregate's place, `rows` how many were read: also when reading ended early."""

    def __init__(self, my: Connection[Any], table: Table, asks: Sequence[Ask], pace: Pace) -> None:
        self.my, self.table, self.asks, self.pace = my, table, list(asks), pace
        index, columns = key_of(table)
        self.key = [_escaped(f"t.{mysql_name(column.name)}") for column in columns]
        forced = f" FORCE INDEX ({mysql_name(index)})" if index else ""
        self.source = _escaped(f"{mysql_name(table.name)} t{forced}")
        self.sums = _escaped("".join(f", {ask.sql}" for ask in self.asks))
        self.chunk = max(1, min(LARGEST_CHUNK, FIRST_CHUNK_BYTES // _width(table)))
        self.counts = [0] * len(self.asks)
        self.examples: dict[int, list[str]] = {}
        self.rows = 0
        self.last: tuple[Any, ...] = ()
        """The largest key read."""

    def read(self, wanted: int | None) -> Reading:
        """Reads `wanted` rows, or all. Raises `Busy`, and MySQL's errors."""
        began = time.monotonic()
        how: Literal["all", "sample", "head"]
        if not self.key:
            how, ranges = self._keyless(), 1
        elif wanted is None:
            self._range(Bounds(), None)
            how, ranges = "all", 1
        else:
            how, ranges = self._sample(wanted)
        return Reading(
            how=how,
            rows=self.rows,
            of=self.rows if how == "all" else max(self.table.rows, self.rows),
            ranges=ranges,
            seconds=round(time.monotonic() - began, 3),
            note="it has no key to cut it at" if how == "head" else "",
        )

    def count(self, ask: Ask) -> tuple[int, list[str]]:
        """One count over the whole table, and examples: for what an index answers."""
        self.asks, self.counts, self.sums = [ask], [0], _escaped(f", {ask.sql}")
        where = Bounds(_escaped(ask.expression))
        self._add(_escaped(f"{mysql_name(self.table.name)} t"), where, 2)
        return self.counts[0], self.examples.get(0, [])

    def _sample(self, wanted: int) -> tuple[Literal["all", "sample"], int]:
        ranges = max(2, min(MOST_RANGES, wanted // RANGE_ROWS))
        first, last = self._edge(), self._edge(" DESC")
        if first is None or last is None:
            return "all", 1
        points = [between(first[0], last[0], i / (ranges - 1)) for i in range(1, ranges - 1)]
        starts = [] if None in points else [beyond(self.key[:1], [point], ">=") for point in points]
        size = -(-wanted // (len(starts) + 2))
        if self._range(Bounds(), size):
            return "all", 1
        if (tail := self._edge(" DESC", size - 1)) is not None:
            starts.append(beyond(self.key, tail, ">="))
        done = 1
        for start in starts:
            done += 1
            if self._range(beyond(self.key, self.last, ">") & start, size):
                break
        return "sample", done

    def _range(self, bounds: Bounds, size: int | None) -> bool:
        """Reads `size` rows, or all, from the beginning of `bounds` in chunks. Whether the table's end was reached."""
        left = size
        while left is None or left > 0:
            rows = self.chunk if left is None else min(self.chunk, left)
            self.pace.wait(self.my)
            began = time.monotonic()
            try:
                upto = self._cut(bounds, rows)
                within = bounds if upto is None else bounds & beyond(self.key, upto, "<=")
                read = self._add(self.source, within, rows)
            except pymysql.err.OperationalError as e:
                if e.args[0] != QUERY_TIMEOUT or rows == 1:
                    raise
                self.chunk = max(1, rows // 2)
                continue
            seconds = time.monotonic() - began
            if rows == self.chunk:  # the end of a range says little
                factor = min(2.0, max(0.25, TARGET_SECONDS / max(seconds, 1e-3)))
                self.chunk = max(1, min(LARGEST_CHUNK, int(rows * factor)))
            self.pace.rest(seconds)
            if upto is None:
                return True
            self.last = upto
            bounds = beyond(self.key, upto, ">")
            left = None if left is None else left - read
        return False

    def _cut(self, bounds: Bounds, rows: int) -> tuple[Any, ...] | None:
        """The key of the last of the first `rows` rows; None where there are no more than those."""
        listed = ", ".join(self.key)
        found = self._query(
            f"SELECT {_limit(rows)} {listed} FROM {self.source} WHERE {bounds.sql} "
            f"ORDER BY {listed} LIMIT 1 OFFSET {rows - 1}",
            bounds.values,
        )
        return found[0] if found else None

    def _edge(self, order: str = "", offset: int = 0) -> tuple[Any, ...] | None:
        listed = ", ".join(f"{name}{order}" for name in self.key)
        found = self._query(
            f"SELECT {_limit(1)} {', '.join(self.key)} FROM {self.source} ORDER BY {listed} LIMIT 1 OFFSET {offset}"
        )
        return found[0] if found else None

    def _keyless(self) -> Literal["all", "head"]:
        """A table that cannot be cut: its head, as much as there is time for; a small one is all head."""
        rows = self.chunk
        names = ", ".join(mysql_name(column.name) for column in self.table.columns)
        while True:
            # The server sets these rows aside first: there is no other way to aggregate over the first ones only.
            head = _escaped(f"(SELECT {names} FROM {mysql_name(self.table.name)} LIMIT {rows + 1}) t")
            self.pace.wait(self.my)
            try:
                return "all" if self._add(head, Bounds(), rows) <= rows else "head"
            except pymysql.err.OperationalError as e:
                if e.args[0] != QUERY_TIMEOUT or rows == 1:
                    raise
                rows //= 2

    def _add(self, source: str, bounds: Bounds, rows: int) -> int:
        """Adds a chunk of about `rows` rows to what is known, and says how many it had."""
        sql = f"SELECT {_limit(rows)} COUNT(*){self.sums} FROM {source} WHERE {bounds.sql}"
        ((count, *values),) = self._query(sql, bounds.values)
        for i, (ask, value) in enumerate(zip(self.asks, values, strict=True)):
            if ask.how == "longest":
                self.counts[i] = max(self.counts[i], int(value))
            elif value:
                self.counts[i] += int(value)
                if ask.examples:
                    self._name_rows(i, source, bounds)
        self.rows += count
        return int(count)

    def _name_rows(self, i: int, source: str, bounds: Bounds) -> None:
        there = self.examples.setdefault(i, [])
        columns = self.table.primary_key
        if len(there) >= EXAMPLES or not columns:
            return
        # Keys whose text is broken are shown by their bytes.
        names = ", ".join(_escaped(f"CAST(t.{mysql_name(name)} AS BINARY)") for name in columns)
        found = self._query(
            f"SELECT {_limit(1)} {names} FROM {source} WHERE ({bounds.sql}) AND ({_escaped(self.asks[i].expression)}) "
            f"LIMIT {EXAMPLES - len(there)}",
            bounds.values,
        )
        there += [", ".join(f"{n}={_shown(v)}" for n, v in zip(columns, row, strict=True)) for row in found]

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self.my.cursor(pymysql.cursors.Cursor) as cursor:
            cursor.execute(sql, tuple(values))
            return list(cursor.fetchall())


def _limit(rows: int) -> str:
    seconds = LAST_LIMIT_SECONDS if rows == 1 else LIMIT_SECONDS
    return f"/*+ MAX_EXECUTION_TIME({int(seconds * 1000)}) */"


def _width(table: Table) -> int:
    """Bytes of a row, on average."""
    return max(1, table.size // table.rows) if table.rows else 100


def _running(my: Connection[Any]) -> int:
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Threads_running'")
        row = cursor.fetchone()
    return int(row[1]) if row else 0


def _escaped(sql: str) -> str:
    """`%` as the driver wants it in a statement with parameters."""
    return sql.replace("%", "%%")


def _shown(value: bytes | None) -> str:
    if value is None:
        return "NULL"
    try:
        text = value.decode()
        return text if text.isprintable() and len(text) <= 80 else repr(text)[:80]
    except UnicodeDecodeError:
        return f"0x{value[:40].hex()}"
