"""The proof that a difference is not lag: rows that looked different are looked at again until nothing else is left.

A row differs when the source had the same value before and after, everything that it had written before was proven to
be applied in between, and the target still has another value. Without that proof (no CDC runs, or it is not ours), a
row must differ for a while, with the source unchanged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count

import pymysql.cursors

import rows
from contract import values
from contract.flag import Side
from contract.tables import mysql_name, postgres_name
from scripts.data.compare import (
    batch_size,
    batches,
    differences,
    mysql_keys,
    postgres_keys,
    source_rows,
    target_rows,
)
from scripts.data.difference import HASHED, Difference, Key
from scripts.data.rules import SCHEMA, MySQL, Postgres, Rules

PIECE = 4 << 20
"""Bytes of a long value that are read at once."""
PORTION = 8
"""So many queries' rows of each side are kept in memory at once."""

PATIENCE = 30.0
"""Seconds that a row must differ where nothing proves that it is not lag."""

Settle = Callable[[], None]
"""Returns when everything that was written to the source before its call is on the target; raises when that cannot be
proven."""

_Fingerprint = int | None


def settled_differences(
    mysql: MySQL,
    pg: Postgres,
    rules: Rules,
    keys: Iterable[Key],
    *,
    settle: Settle | None = None,
    patience: float = PATIENCE,
    rounds: int = 8,
) -> tuple[list[Difference], list[Key]]:
    """The rows that differ and not only because the target is late, and the keys about which that cannot be said.

    Each round proves once, by `settle`, that what the source had before is applied; a row that changed meanwhile is
    tried again in the next round. Without `settle`, a row must differ, with the source unchanged, for `patience`
    seconds.
    """
    wrong = [d for d, _ in _differing(mysql, pg, rules, list(dict.fromkeys(keys)))]
    open_keys = [difference.key for difference in wrong]
    if not open_keys:
        return [], []
    if settle is None:
        return _patient_differences(mysql, pg, rules, open_keys, patience)
    found: list[Difference] = []
    for attempt in range(rounds):
        if attempt:
            time.sleep(min(0.05 * 2**attempt, 1.0))
        before = _fingerprints(mysql, pg, rules, open_keys)
        settle()
        open_keys = []
        for difference, after in _differing(mysql, pg, rules, list(before)):
            if before[difference.key] == after:
                found.append(difference)
            else:
                open_keys.append(difference.key)
        if not open_keys:
            break
    return found, open_keys


def equal_or_settled(
    mysql: MySQL,
    pg: Postgres,
    keys: Mapping[str, Sequence[Key]],
    rules: Mapping[str, Rules],
    settle: Settle,
    writer: Side = Side.MYSQL,
) -> tuple[list[Difference], dict[str, list[Key]]]:
    """The rows of several tables that differ, and the keys that changed while looking. `keys` and `rules` are by table.

    What is equal at a glance is done. For the rest `settle` proves once, for all tables, that everything before was
    applied: a row differs when the side of the `writer` had the same value before and after, and the other side another
    one in between.
    """
    suspects = {
        name: unequal
        for name, of_table in keys.items()
        if (unequal := [d.key for d, _ in _differing(mysql, pg, rules[name], of_table, writer)])
    }
    if not suspects:
        return [], {}
    before = {name: _fingerprints(mysql, pg, rules[name], of_table, writer) for name, of_table in suspects.items()}
    settle()
    found: list[Difference] = []
    moved: dict[str, list[Key]] = {}
    for name, of_table in suspects.items():
        for difference, after in _differing(mysql, pg, rules[name], of_table, writer):
            if before[name][difference.key] == after:
                found.append(difference)
            else:
                moved.setdefault(name, []).append(difference.key)
    return found, moved


def _patient_differences(
    mysql: MySQL, pg: Postgres, rules: Rules, keys: list[Key], patience: float
) -> tuple[list[Difference], list[Key]]:
    started = time.monotonic()
    since: dict[Key, tuple[_Fingerprint, float]] = {}
    pause = 0.1
    while True:
        now = time.monotonic()
        wrong = []
        for difference, source in _differing(mysql, pg, rules, keys):
            wrong.append(difference)
            seen = since.get(difference.key)
            if seen is None or seen[0] != source:
                since[difference.key] = (source, now)
        keys = [difference.key for difference in wrong]
        final = [d for d in wrong if now - since[d.key][1] >= patience]
        if len(final) == len(wrong):
            return final, []
        if now - started >= 2 * patience:
            settled = {d.key for d in final}
            return final, [key for key in keys if key not in settled]
        time.sleep(min(pause, max(patience / 10, 0.01)))
        pause = min(pause * 2, 2.0)


def _differing(
    mysql: MySQL, pg: Postgres, rules: Rules, keys: Sequence[Key], writer: Side = Side.MYSQL
) -> Iterator[tuple[Difference, _Fingerprint]]:
    """The rows that differ now, and the writer's value of each. The other side is read first: a row that the writer
    changes meanwhile then has another fingerprint than before."""
    for portion in batches(keys, PORTION * batch_size(rules)):
        if writer is Side.MYSQL:
            target, source = target_rows(pg, rules, portion), source_rows(mysql, rules, portion)
        else:
            source, target = source_rows(mysql, rules, portion), target_rows(pg, rules, portion)
        for difference in differences(rules, portion, source, target):
            if not _same_long_json(mysql, pg, rules, difference):
                row = (source if writer is Side.MYSQL else target).get(difference.key)
                yield difference, None if row is None else hash(row)


def _fingerprints(
    mysql: MySQL, pg: Postgres, rules: Rules, keys: Sequence[Key], writer: Side = Side.MYSQL
) -> dict[Key, _Fingerprint]:
    """The values that the writer has now."""
    found: dict[Key, _Fingerprint] = {}
    for portion in batches(keys, PORTION * batch_size(rules)):
        there = source_rows(mysql, rules, portion) if writer is Side.MYSQL else target_rows(pg, rules, portion)
        found |= {key: hash(there[key]) if key in there else None for key in portion}
    return found


def _same_long_json(mysql: MySQL, pg: Postgres, rules: Rules, difference: Difference) -> bool:
    """Whether all that differs is the text of long JSON, of which only hashes were compared, and its values are the
    same."""
    named = {column.name: rule.codec.name for column, rule in rules.columns}
    for column in difference.columns:
        hashed = (column.source or "").startswith(HASHED) or (column.target or "").startswith(HASHED)
        if not hashed or named[column.column] != "jsonb":
            return False
        mine = f"CAST(CAST({mysql_name(column.column)} AS CHAR) AS BINARY)"
        theirs = f"convert_to({postgres_name(column.column)}::text,'UTF8')"
        here = f"FROM {mysql_name(rules.table.name)} WHERE {mysql_keys(rules, [difference.key])}"
        there = f"FROM {postgres_name(SCHEMA, rules.table.name)} WHERE {postgres_keys(rules, [difference.key])}"
        source = b"".join(_pieces(partial(_from_mysql, mysql, mine, here)))
        target = b"".join(_pieces(partial(_from_postgres, pg, theirs, there)))
        if not _same_json(source, target):
            return False
    return bool(difference.columns)


def _pieces(read: Callable[[int], bytes | None]) -> Iterator[bytes]:
    """A long value: clients keep several copies of what comes at once."""
    for at in count(1, PIECE):
        piece = read(at)
        if not piece:
            return
        yield piece


def _from_mysql(mysql: MySQL, value: str, where: str, at: int) -> bytes | None:
    with mysql.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(f"SELECT SUBSTRING({value},{at},{PIECE}) {where}")
        row = cursor.fetchone()
    return row[0] if row is not None else None


def _from_postgres(pg: Postgres, value: str, where: str, at: int) -> bytes | None:
    row = pg.cursor(binary=True).execute(f"SELECT substring({value},{at},{PIECE}) {where}".encode()).fetchone()
    return row[0] if row is not None else None


def _same_json(a: bytes, b: bytes) -> bool:
    if rows.available():
        from rows.native import same_json

        return same_json(a, b)
    return values.same_json(a.decode(), b.decode())
