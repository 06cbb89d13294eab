"""Holds the load's ledger against the databases: was every acknowledged write executed, once, and on the right side?

The truth is the database that is the writer at the end. A write counts by its outcome in the ledger:
- acknowledged: it must be there exactly once;
- failed: the client was told that it was not executed, so it must not be there;
- unknown: it may be there once or not at all.

How a write is found:
- Sample shop: by its `client_ref` in `outbox` (one row for every write, in its transaction), and in its own table.
- Other databases: an insert by its key, and by the count of rows (more than before the load plus the acknowledged ones:
  something was executed twice). Absolute updates by the last acknowledged value. Increments by their sum.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from contract.flag import Side
from contract.tables import mysql_name, postgres_name
from scripts.errors import ZdmError
from scripts.rehearsal.load import LEDGER_FILE, LEDGER_VERSION
from scripts.rehearsal.workload import Plan, ShopPlan, TablesPlan

MARGIN_SECONDS: Final = 0.02
"""Clocks of the cutover and of the load are read at different moments; closer than this decides nothing."""

BATCH: Final = 1_000
EXHAUSTIVE: Final = 12
"""So many unknown increments of one row can still be tried in every combination."""


class LedgerError(ZdmError):
    """The ledger cannot be used: it is incomplete, or of another version."""


@dataclass(frozen=True)
class Ledger:
    """What `ledger.jsonl` holds: the generator's settings, the writes in order of their answers, and reads that went
    wrong.
    """

    header: dict[str, Any]
    writes: list[dict[str, Any]]
    reads: list[dict[str, Any]]
    end: dict[str, Any]


@dataclass(frozen=True)
class Finding:
    """One thing that should not be: which write (or row), what was expected and what is there."""

    table: str
    key: str
    ref: str
    expected: str
    found: str


@dataclass(frozen=True)
class Authority:
    """Who was allowed to write, and when (`time.time()`): the spans of each side, from when it was opened to when it
    was fenced. A time that is not known (a run that was finished after a crash) is taken as the widest.
    """

    spans: Mapping[Side, Sequence[tuple[float, float]]]
    writer: Side

    def allows(self, side: Side, sent: float, ack: float) -> bool:
        return any(
            sent <= fenced + MARGIN_SECONDS and ack >= opened - MARGIN_SECONDS for opened, fenced in self.spans[side]
        )


@dataclass
class LedgerVerdict:
    """What the ledger says. Counts are of writes unless said otherwise; the lists hold every case."""

    acknowledged: int = 0
    by_side: dict[str, int] = field(default_factory=dict)
    by_kind: dict[str, int] = field(default_factory=dict)
    """Acknowledged writes by `operation table`."""
    failed: int = 0
    unknown: int = 0
    unknown_executed: int = 0
    failed_reads: int = 0
    stale_reads: int = 0
    """Reads that did not find the reader's own acknowledged write."""
    lost: list[Finding] = field(default_factory=list)
    doubled: list[Finding] = field(default_factory=list)
    misplaced: list[Finding] = field(default_factory=list)
    """Acknowledged by a side that was not allowed to, or executed on the side that was left."""
    wrong: list[Finding] = field(default_factory=list)
    """There, but with other values than were acknowledged; or executed although the client was told that it failed."""
    increments: list[Finding] = field(default_factory=list)
    """Rows whose value is not the first one plus all acknowledged increments."""
    increments_checked: int = 0
    """Rows."""
    updates_checked: int = 0
    """Rows."""
    last_mysql: float | None = None
    first_aurora: float | None = None

    @property
    def pause(self) -> float | None:
        """Seconds from the last write that MySQL acknowledged to the first that Aurora did, as the clients saw it."""
        if self.last_mysql is None or self.first_aurora is None:
            return None
        return max(self.first_aurora - self.last_mysql, 0.0)

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.misplaced or self.wrong or self.increments)

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "pause": self.pause, **asdict(self)}


def read_ledger(directory: Path) -> Ledger:
    """Raises `LedgerError` when it is missing, of another version, or was not closed."""
    path = directory / LEDGER_FILE
    lines: list[dict[str, Any]] = []
    try:
        with path.open() as file:
            for number, line in enumerate(file, 1):
                try:
                    lines.append(json.loads(line))
                except ValueError as e:
                    raise LedgerError(
                        f"{path}:{number} is cut off: the load generator was killed, the ledger proves nothing"
                    ) from e
    except OSError as e:
        raise LedgerError(f"there is no ledger at {path}: {e.strerror}") from e
    if not lines or lines[0].get("ledger") != LEDGER_VERSION:
        raise LedgerError(f"{path} is no ledger of version {LEDGER_VERSION}")
    if not lines[-1].get("complete"):
        raise LedgerError(f"{path} was not closed: the load generator was killed, or requests were still under way")
    body = lines[1:-1]
    return Ledger(lines[0], [x for x in body if x["op"] != "read"], [x for x in body if x["op"] == "read"], lines[-1])


def authority(switches: Sequence[Mapping[str, Any]]) -> Authority:
    """Reads the times off the results (as JSON) of cutovers and rollbacks, in order. One that was refused or undone
    opened nothing.
    """
    spans: dict[Side, list[tuple[float, float]]] = {Side.MYSQL: [(-math.inf, math.inf)], Side.AURORA: []}
    writer = Side.MYSQL
    for switch in switches:
        if switch["outcome"] not in ("open", "finished"):
            continue
        steps = {step["state"]: step for step in switch.get("steps", ())}
        fenced, opened = steps.get("FENCED"), steps.get("OPEN")
        began, _ = spans[writer].pop()
        spans[writer].append((began, math.inf if fenced is None else float(fenced["at"])))
        writer = writer.other
        spans[writer].append((0.0 if opened is None else float(opened["at"]) - float(opened["seconds"]), math.inf))
    return Authority(spans, writer)


def verify(
    ledger: Ledger,
    plan: Plan,
    mysql: Any,
    postgres: Any | None,
    switches: Sequence[Mapping[str, Any]] = (),
    *,
    carried_back: bool = False,
) -> LedgerVerdict:
    """Looks every write of the ledger up.

    `mysql` is a connection in the migrated database, `postgres` one to the target (None: nothing was cut over yet).
    `switches` are the results of the cutovers and rollbacks that happened, in order, as JSON. The load must have ended;
    after a cutover, both databases are looked at. `carried_back`: what Aurora took was replicated to MySQL, so it
    may be there.
    """
    moved = authority(switches)
    verdict = _count(ledger)
    if len(moved.spans[Side.MYSQL]) + len(moved.spans[Side.AURORA]) > 2:
        verdict.last_mysql = verdict.first_aurora = None  # there were several pauses
    _sides(ledger, moved, verdict)
    aurora = moved.writer is Side.AURORA
    if aurora and postgres is None:
        raise LedgerError("after a cutover the target is the truth: the ledger cannot be checked without it")
    truth = _Postgres(postgres) if aurora else _MySQL(mysql)
    left = _MySQL(mysql) if aurora and not carried_back else None
    if isinstance(plan, ShopPlan):
        executed = _shop(ledger, truth, left, verdict)
        initial = {("inventory", "on_hand", (product,)): value for product, value in plan.on_hand.items()}
        _increments(ledger, truth, initial, executed, verdict)
    else:
        executed = None
        _inserts(ledger, plan, truth, verdict)
        initial = {
            (t.name, column, tuple(key)): value
            for t in plan.tables
            for column, values in t.increments.items()
            for key, value in zip(t.keys, values, strict=True)
            if value is not None
        }
        _increments(ledger, truth, initial, None, verdict)
    _updates(ledger, truth, executed, verdict)
    return verdict


# --- one side of the data -------------------------------------------------------------------------------------------


class _Database:
    """Selects with quoted names from either database; what the two do alike."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def name(self, *parts: str) -> str:
        raise NotImplementedError

    def select(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as c:
            c.execute(sql, parameters)
            return list(c.fetchall())

    def refs(self, table: str, wanted: set[str], columns: Sequence[str] = ()) -> dict[str, list[tuple[Any, ...]]]:
        """The rows of `table` by their `client_ref`, for the wanted ones."""
        names = ", ".join(map(self.name, ("client_ref", *columns)))
        found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for row in self.select(f"SELECT {names} FROM {self.name(table)} WHERE client_ref IS NOT NULL"):
            ref = str(row[0]).strip()
            if ref in wanted:
                found[ref].append(tuple(row[1:]))
        return found

    def count(self, table: str) -> int:
        return int(self.select(f"SELECT COUNT(*) FROM {self.name(table)}")[0][0])

    def rows(
        self,
        table: str,
        key: Sequence[str],
        keys: Iterable[tuple[Any, ...]],
        columns: Sequence[str],
    ) -> dict[tuple[str, ...], tuple[Any, ...]]:
        """The rows with these keys, by their key as text."""
        names = ", ".join(map(self.name, (*key, *columns)))
        where = " AND ".join(f"{self.name(k)} = %s" for k in key)
        found: dict[tuple[str, ...], tuple[Any, ...]] = {}
        for batch in _batches(keys, BATCH // len(key)):
            sql = f"SELECT {names} FROM {self.name(table)} WHERE " + " OR ".join([f"({where})"] * len(batch))
            for row in self.select(sql, [value for one in batch for value in one]):
                found[_key(row[: len(key)])] = tuple(row[len(key) :])
        return found


class _MySQL(_Database):
    side = Side.MYSQL

    def name(self, *parts: str) -> str:
        return mysql_name(*parts)


class _Postgres(_Database):
    side = Side.AURORA

    def name(self, *parts: str) -> str:
        return postgres_name(*parts)


# --- the checks -----------------------------------------------------------------------------------------------------


def _count(ledger: Ledger) -> LedgerVerdict:
    acknowledged = [w for w in ledger.writes if w["outcome"] == "acknowledged"]
    return LedgerVerdict(
        acknowledged=len(acknowledged),
        by_side=dict(Counter(w["side"] for w in acknowledged)),
        by_kind=dict(sorted(Counter(f"{w['op']} {w['table']}" for w in acknowledged).items())),
        failed=sum(w["outcome"] == "failed" for w in ledger.writes),
        unknown=sum(w["outcome"] == "unknown" for w in ledger.writes),
        failed_reads=sum(r["outcome"] != "stale" for r in ledger.reads),
        stale_reads=sum(r["outcome"] == "stale" for r in ledger.reads),
        last_mysql=max((w["ack"] for w in acknowledged if w["side"] == Side.MYSQL), default=None),
        first_aurora=min((w["ack"] for w in acknowledged if w["side"] == Side.AURORA), default=None),
    )


def _sides(ledger: Ledger, moved: Authority, verdict: LedgerVerdict) -> None:
    """A write that a side took before it was open, or after it was fenced, went past the fence."""
    for w in ledger.writes:
        if w["outcome"] != "acknowledged":
            continue
        if w["side"] not in (Side.MYSQL, Side.AURORA):
            verdict.misplaced.append(_finding(w, "an answer that names its side", f"x-zdm-side {w['side']}"))
        elif not moved.allows(Side(w["side"]), w["sent"], w["ack"]):
            open_ = ", ".join(f"{a:.3f} to {b:.3f}" for a, b in moved.spans[Side(w["side"])]) or "never open"
            expected = f"a write on {w['side']} while it is open: {open_}"
            verdict.misplaced.append(_finding(w, expected, f"sent {w['sent']:.3f}, acknowledged {w['ack']:.3f}"))


def _shop(ledger: Ledger, truth: _MySQL | _Postgres, left: _MySQL | None, verdict: LedgerVerdict) -> dict[str, int]:
    """Every write by its `client_ref`. Returns how often each was executed."""
    refs = {w["ref"] for w in ledger.writes}
    outbox = {ref: len(rows) for ref, rows in truth.refs("outbox", refs).items()}
    own = {
        "orders": truth.refs("orders", refs, ("id", "total")),
        "payments": truth.refs("payments", refs, ("id", "amount")),
        "carts": truth.refs("carts", refs, ("id",)),
    }
    lines = Counter(
        _key(row)[0]
        for row in truth.select(
            f"SELECT i.order_id FROM {truth.name('order_items')} i JOIN {truth.name('orders')} o ON o.id = i.order_id "
            "WHERE o.client_ref IS NOT NULL"
        )
    )
    for w in ledger.writes:
        ref = w["ref"]
        rows = own[w["table"]].get(ref, []) if w["op"] == "insert" else None
        times = outbox.get(ref, 0)
        executed = max(times, len(rows or ()))
        if w["outcome"] == "unknown":
            verdict.unknown_executed += executed > 0
        if w["outcome"] == "failed" and executed:
            verdict.wrong.append(_finding(w, f"not executed: the client was told {w['status']}", _times(executed)))
        elif w["outcome"] == "acknowledged" and (times == 0 or rows == []):
            where = "in outbox" if times == 0 else f"in {w['table']}"
            verdict.lost.append(_finding(w, f"one row on {truth.side}, acknowledged by {w['side']}", f"none {where}"))
        elif executed > 1:
            verdict.doubled.append(_finding(w, f"one row on {truth.side}", _times(executed)))
        elif w["outcome"] == "acknowledged" and rows:
            key, *amount = rows[0]
            if int(key) != w["key"]["id"]:
                verdict.wrong.append(_finding(w, f"id {w['key']['id']}", f"id {key}"))
            elif amount and not _same(amount[0], next(iter(w["values"].values()))):
                verdict.wrong.append(_finding(w, str(w["values"]), str(amount[0])))
            elif w["table"] == "orders" and lines[str(int(key))] != w["lines"]:
                verdict.wrong.append(_finding(w, f"{w['lines']} items", f"{lines[str(int(key))]} items"))
    if left is not None:
        _left(ledger, left, refs, verdict)
    return outbox


def _left(ledger: Ledger, left: _MySQL, refs: set[str], verdict: LedgerVerdict) -> None:
    """Nothing of what Aurora acknowledged may be in MySQL, which was left."""
    there = left.refs("outbox", refs)
    for w in ledger.writes:
        if w["outcome"] == "acknowledged" and w["side"] == Side.AURORA and w["ref"] in there:
            verdict.misplaced.append(_finding(w, "on aurora only", f"also on {left.side}"))


def _inserts(ledger: Ledger, plan: TablesPlan, truth: _MySQL | _Postgres, verdict: LedgerVerdict) -> None:
    """Inserted rows by key, then by number: nothing else adds rows while the load runs."""
    for table in plan.tables:
        inserts = [w for w in ledger.writes if w["table"] == table.name and w["op"] == "insert"]
        if not inserts:
            continue
        acknowledged = [w for w in inserts if w["outcome"] == "acknowledged"]
        unknown = sum(w["outcome"] == "unknown" for w in inserts)
        there = truth.rows(table.name, table.key, (tuple(w["key"][k] for k in table.key) for w in acknowledged), ())
        lost = [w for w in acknowledged if _key([w["key"][k] for k in table.key]) not in there]
        verdict.lost += [_finding(w, f"one row on {truth.side}, acknowledged by {w['side']}", "none") for w in lost]
        expected = table.rows + len(acknowledged) - len(lost)
        extra = truth.count(table.name) - expected
        verdict.unknown_executed += min(max(extra, 0), unknown)
        if extra > unknown:
            verdict.doubled.append(
                Finding(
                    table.name,
                    "",
                    "",
                    f"{expected:,} rows and at most {unknown} unknown ones",
                    f"{expected + extra:,} rows",
                )
            )
        elif extra < 0:
            verdict.lost.append(Finding(table.name, "", "", f"{expected:,} rows", f"{expected + extra:,} rows"))


def _increments(
    ledger: Ledger,
    truth: _MySQL | _Postgres,
    initial: Mapping[tuple[str, str, tuple[Any, ...]], int],
    executed: Mapping[str, int] | None,
    verdict: LedgerVerdict,
) -> None:
    """First value plus all acknowledged increments is what must be there, give or take the unknown ones that were
    executed.

    `executed` (how often, by `client_ref`) decides each unknown one; without it any of them may have been executed or
    not.
    """
    groups: dict[tuple[str, str], dict[tuple[Any, ...], list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for w in ledger.writes:
        if w["op"] == "increment" and w["outcome"] != "failed":
            groups[w["table"], w["column"]][tuple(w["key"].values())].append(w)
    for (table, column), rows in groups.items():
        names = list(next(iter(rows.values()))[0]["key"])
        there = truth.rows(table, names, rows, (column,))
        for key, writes in rows.items():
            verdict.increments_checked += 1
            sure = initial[table, column, key] + sum(w["delta"] for w in writes if w["outcome"] == "acknowledged")
            open_ = [w for w in writes if w["outcome"] == "unknown"]
            if executed is not None:
                sure += sum(w["delta"] for w in open_ if executed.get(w["ref"]))
                open_ = []
            found = there.get(_key(key))
            if found is None:
                verdict.increments.append(Finding(table, _text(names, key), "", f"{column} = {sure}", "no row"))
                continue
            actual = int(found[0])
            if not _reachable(actual - sure, [w["delta"] for w in open_]):
                verdict.increments.append(
                    Finding(
                        table,
                        _text(names, key),
                        "",
                        f"{column} = {sure} after {len(writes)} increments"
                        + (f", {len(open_)} of them unknown" if open_ else ""),
                        f"{actual} ({actual - sure:+d})",
                    )
                )


def _updates(
    ledger: Ledger, truth: _MySQL | _Postgres, executed: Mapping[str, int] | None, verdict: LedgerVerdict
) -> None:
    """The row must hold what the last acknowledged update set, or what an unknown one set after it (or beside it)."""
    groups: dict[tuple[str, tuple[str, ...]], dict[tuple[Any, ...], list[dict[str, Any]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for w in ledger.writes:
        if w["op"] == "update" and w["outcome"] != "failed":
            groups[w["table"], tuple(w["values"])][tuple(w["key"].values())].append(w)
    for (table, columns), rows in groups.items():
        names = list(next(iter(rows.values()))[0]["key"])
        there = truth.rows(table, names, rows, columns)
        for key, writes in rows.items():
            last = max((w for w in writes if w["outcome"] == "acknowledged"), key=lambda w: w["ack"], default=None)
            if last is None:
                continue
            verdict.updates_checked += 1
            possible = [
                last,
                *(w for w in writes if w["outcome"] == "unknown" and (executed is None or executed.get(w["ref"]))),
            ]
            found = there.get(_key(key))
            if found is None:
                verdict.lost.append(_finding(last, "the row", "no row"))
            elif not any(all(_same(a, b) for a, b in zip(found, w["values"].values(), strict=True)) for w in possible):
                verdict.lost.append(
                    _finding(last, f"{last['values']}, acknowledged by {last['side']}", str(list(map(str, found))))
                )


# --- small things ---------------------------------------------------------------------------------------------------


def _finding(w: Mapping[str, Any], expected: str, found: str) -> Finding:
    key = w.get("key")
    return Finding(w["table"], _text(key, key.values()) if key else "", w["ref"], expected, found)


def _text(names: Iterable[str], values: Iterable[Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))


def _times(n: int) -> str:
    return "1 row" if n == 1 else f"{n} rows"


def _key(values: Iterable[Any]) -> tuple[str, ...]:
    """A key as text, the same from either database and from JSON."""
    return tuple(str(int(v)) if isinstance(v, Decimal | float) and v == int(v) else str(v) for v in values)


def _batches(items: Iterable[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    batch: list[tuple[Any, ...]] = []
    for item in items:
        batch.append(item)
        if len(batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _same(found: Any, sent: Any) -> bool:
    """Whether a database's value is the one that was sent as JSON."""
    if found is None or sent is None:
        return found is sent
    if isinstance(sent, bool) or isinstance(found, bool):
        return bool(found) == bool(sent)
    if isinstance(found, Decimal | int | float):
        try:
            return Decimal(str(found)) == Decimal(str(sent))
        except InvalidOperation:
            return False
    return str(found) == str(sent)


def _reachable(difference: int, deltas: Sequence[int]) -> bool:
    """Whether some of `deltas` add up to the difference; taken for granted within their range when there are many."""
    if len(deltas) > EXHAUSTIVE:
        return sum(d for d in deltas if d < 0) <= difference <= sum(d for d in deltas if d > 0)
    sums = {0}
    for delta in deltas:
        sums |= {s + delta for s in sums}
    return difference in sums
