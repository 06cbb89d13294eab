"""Compares single rows of both databases, by key: what a check does once chunks differ, and what a cutover verifies
with.

A key is the tuple of the primary key's canonical texts (`contract.types`): the same for both databases, whatever types
their drivers give.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

import psycopg
import pymysql.cursors
from pymysql.connections import Connection

from contract.tables import Column, Table, mysql_name, postgres_name
from contract.types import NO_CHOICES, Choices, TypeRule, rule_for
from scripts.errors import ZdmError

MySQL: TypeAlias = "Connection[Any]"
Postgres: TypeAlias = "psycopg.Connection[Any]"

SCHEMA = "public"
BATCH = 500
"""Keys in one query."""

SHOWN = 200
"""Characters of a value in a report."""

Key = tuple[str, ...]
Row = tuple[str | None, ...]
"""Canonical texts in the order of the table's columns."""


@dataclass(frozen=True, slots=True)
class ColumnDifference:
    column: str
    source: str | None
    target: str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """One row that differs. `kind` is `changed`, `missing` (on the target) or `extra` (only on the target)."""

    table: str
    key: Key
    kind: str
    columns: tuple[ColumnDifference, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "key": list(self.key),
            "kind": self.kind,
            "columns": [
                {"column": c.column, "source": _shown(c.source), "target": _shown(c.target)} for c in self.columns
            ],
        }

    def __str__(self) -> str:
        columns = "; ".join(f"{c.column}: {_shown(c.source)!r} is {_shown(c.target)!r}" for c in self.columns)
        return f"{self.table} ({', '.join(self.key)}) {self.kind}{': ' if columns else ''}{columns}"


@dataclass(frozen=True)
class Rules:
    """A table with the rule of each column."""

    table: Table
    columns: tuple[tuple[Column, TypeRule], ...]
    key: tuple[tuple[Column, TypeRule], ...]

    def canonical(self, key: Sequence[Any]) -> Key:
        """A key from values as drivers, topics (`key_of`) or reports give them."""
        return tuple(rule.canonical(value) for (_, rule), value in zip(self.key, key, strict=True))


def rules_of(table: Table, choices: Choices = NO_CHOICES) -> Rules:
    """Raises `Unsupported` for a column without a rule: leave such columns out first (`without_unsupported`)."""
    columns = {column.name: (column, rule_for(column, choices)) for column in table.columns}
    return Rules(table, tuple(columns.values()), tuple(columns[name] for name in table.primary_key))


def key_of(table: Table, payload: Mapping[str, Any], choices: Choices = NO_CHOICES) -> Key:
    """The key from the key of a record in a topic: the `payload` of Debezium's JSON with its schema."""
    rules = rules_of(table, choices)
    return tuple(rule.canonical(rule.from_debezium(payload[column.name])) for column, rule in rules.key)


def compare_keys(
    mysql: MySQL, pg: Postgres, table: Table, keys: Iterable[Sequence[Any]], choices: Choices = NO_CHOICES
) -> list[Difference]:
    """The rows under `keys` that differ now. Both sides are read at the same time, each once."""
    rules = rules_of(table, choices)
    wanted = list(dict.fromkeys(rules.canonical(key) for key in keys))
    with ThreadPoolExecutor(1) as pool:
        target = pool.submit(target_rows, pg, rules, wanted)
        source = source_rows(mysql, rules, wanted)
        return differences(rules, wanted, source, target.result())


def settled_differences(
    mysql: MySQL,
    pg: Postgres,
    rules: Rules,
    keys: Iterable[Key],
    *,
    settle: Callable[[], None] | None = None,
    patience: float = 30.0,
    rounds: int = 8,
) -> tuple[list[Difference], list[Key]]:
    """The rows that differ and not only because the target is late, and the keys about which that cannot be said.

    In each round the source is read, then `settle` proves that all of it up to then was applied, then the target is
    read, then the source again. A row differs when the source had the same value both times and the target has
    another; a row that changed in between is tried again. Without `settle`, a row must differ, with the source
    unchanged, for `patience` seconds.
    """
    open_keys = list(dict.fromkeys(keys))
    if not open_keys:
        return [], []
    if settle is None:
        return _patient_differences(mysql, pg, rules, open_keys, patience)
    found: list[Difference] = []
    for attempt in range(rounds):
        if attempt:
            time.sleep(min(0.05 * 2**attempt, 1.0))
        before = source_rows(mysql, rules, open_keys)
        settle()
        target = target_rows(pg, rules, open_keys)
        after = source_rows(mysql, rules, open_keys)
        moved = {key for key in open_keys if before.get(key) != after.get(key)}
        wrong = differences(rules, open_keys, after, target)
        found += [difference for difference in wrong if difference.key not in moved]
        open_keys = [difference.key for difference in wrong if difference.key in moved]
        if not open_keys:
            break
    return found, open_keys


def equal_or_settled(
    mysql: MySQL,
    pg: Postgres,
    keys: Mapping[str, Sequence[Key]],
    rules: Mapping[str, Rules],
    settle: Callable[[], None],
) -> tuple[list[Difference], dict[str, list[Key]]]:
    """The rows of several tables that differ, and the keys that changed while looking. `keys` and `rules` are by table.

    What is equal at a glance is done. For the rest `settle` proves once, for all tables, that everything before was
    applied: a row differs when the source had the same value before and after, and the target another one in between.
    """
    suspects: dict[str, list[Key]] = {}
    for name, of_table in keys.items():
        source, target = source_rows(mysql, rules[name], of_table), target_rows(pg, rules[name], of_table)
        if unequal := [d.key for d in differences(rules[name], of_table, source, target)]:
            suspects[name] = unequal
    if not suspects:
        return [], {}
    before = {name: source_rows(mysql, rules[name], of_table) for name, of_table in suspects.items()}
    settle()
    found: list[Difference] = []
    moved: dict[str, list[Key]] = {}
    for name, of_table in suspects.items():
        target, after = target_rows(pg, rules[name], of_table), source_rows(mysql, rules[name], of_table)
        for difference in differences(rules[name], of_table, after, target):
            if before[name].get(difference.key) == after.get(difference.key):
                found.append(difference)
            else:
                moved.setdefault(name, []).append(difference.key)
    return found, moved


def _patient_differences(
    mysql: MySQL,
    pg: Postgres,
    rules: Rules,
    keys: list[Key],
    patience: float,
) -> tuple[list[Difference], list[Key]]:
    started = time.monotonic()
    since: dict[Key, tuple[Row | None, float]] = {}
    pause = 0.1
    while True:
        now = time.monotonic()
        source, target = source_rows(mysql, rules, keys), target_rows(pg, rules, keys)
        wrong = differences(rules, keys, source, target)
        for difference in wrong:
            seen = since.get(difference.key)
            if seen is None or seen[0] != source.get(difference.key):
                since[difference.key] = (source.get(difference.key), now)
        keys = [difference.key for difference in wrong]
        final = [d for d in wrong if now - since[d.key][1] >= patience]
        if len(final) == len(wrong):
            return final, []
        if now - started >= 2 * patience:
            settled = {d.key for d in final}
            return final, [key for key in keys if key not in settled]
        time.sleep(min(pause, max(patience / 10, 0.01)))
        pause = min(pause * 2, 2.0)


def differences(
    rules: Rules,
    keys: Iterable[Key],
    source: Mapping[Key, Row],
    target: Mapping[Key, Row],
) -> list[Difference]:
    """What differs among `keys`, by the contract's comparators."""
    found = []
    for key in keys:
        have, got = source.get(key), target.get(key)
        if have is None and got is None:
            continue
        if have is None or got is None:
            found.append(Difference(rules.table.name, key, "extra" if have is None else "missing"))
            continue
        columns = tuple(
            ColumnDifference(column.name, a, b)
            for (column, rule), a, b in zip(rules.columns, have, got, strict=True)
            if a != b and (a is None or b is None or not rule.equal(a, b))
        )
        if columns:
            found.append(Difference(rules.table.name, key, "changed", columns))
    return found


def source_rows(mysql: MySQL, rules: Rules, keys: Sequence[Key]) -> dict[Key, Row]:
    """The rows of the source under `keys`, as canonical texts."""
    texts = ", ".join(rule.mysql_text.format(mysql_name(column.name)) for column, rule in rules.columns)
    names = [mysql_name(column.name) for column, _ in rules.key]
    found: dict[Key, Row] = {}
    for batch in _batches(keys):
        where, values = _where(names, rules, batch)
        with mysql.cursor(pymysql.cursors.Cursor) as cursor:
            # PyMySQL formats with %, so a % in a name must be doubled.
            cursor.execute(
                f"SELECT {_escaped(texts)} FROM {_escaped(mysql_name(rules.table.name))} WHERE {where}", values
            )
            rows = cursor.fetchall()
        found.update(_keyed(rules, batch, rows))
    return found


def target_rows(pg: Postgres, rules: Rules, keys: Sequence[Key]) -> dict[Key, Row]:
    """The rows of the target under `keys`, as canonical texts."""
    texts = ", ".join(rule.postgres_text.format(postgres_name(column.name)) for column, rule in rules.columns)
    relation = postgres_name(SCHEMA, rules.table.name)
    names = [postgres_name(column.name) for column, _ in rules.key]
    found: dict[Key, Row] = {}
    for batch in _batches(keys):
        where, values = _where(names, rules, batch)
        rows = pg.execute(f"SELECT {_escaped(texts)} FROM {_escaped(relation)} WHERE {where}", values).fetchall()
        found.update(_keyed(rules, batch, rows))
    return found


def changed_since(pg: Postgres, rules: Rules, keys: Sequence[Key], moment: datetime) -> set[Key]:
    """Those of `keys` whose row on the target was committed after `moment`. Raises `ZdmError` when the target does not
    keep that time."""
    texts = ", ".join(rule.postgres_text.format(postgres_name(column.name)) for column, rule in rules.key)
    relation = postgres_name(SCHEMA, rules.table.name)
    names = [postgres_name(column.name) for column, _ in rules.key]
    found: set[Key] = set()
    for batch in _batches(keys):
        where, values = _where(names, rules, batch)
        try:
            rows = pg.execute(
                f"SELECT {_escaped(texts)} FROM {_escaped(relation)} WHERE {where} "
                "AND pg_xact_commit_timestamp(xmin) > %s",
                [*values, moment],
            ).fetchall()
        except psycopg.errors.ObjectNotInPrerequisiteState as e:
            raise ZdmError(
                "which rows changed since the switch is known only with track_commit_timestamp=on: set it in the "
                "cluster's parameter group"
            ) from e
        found.update(tuple(map(str, row)) for row in rows)
    return found & set(keys)


def _batches(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    for start in range(0, len(keys), BATCH):
        yield keys[start : start + BATCH]


def _where(names: Sequence[str], rules: Rules, keys: Sequence[Key]) -> tuple[str, list[Any]]:
    values = [rule.parameter(text) for key in keys for (_, rule), text in zip(rules.key, key, strict=True)]
    if len(names) == 1:
        return f"{_escaped(names[0])} IN ({', '.join(['%s'] * len(keys))})", values
    one = "(" + ", ".join(["%s"] * len(names)) + ")"
    return f"({', '.join(map(_escaped, names))}) IN ({', '.join([one] * len(keys))})", values


def _keyed(rules: Rules, wanted: Sequence[Key], rows: Iterable[Sequence[Any]]) -> Iterator[tuple[Key, Row]]:
    """Rows by their keys; only wanted ones, as a case-insensitive column finds more than was asked for."""
    positions = [rules.columns.index(part) for part in rules.key]
    asked = set(wanted)
    for row in rows:
        texts = tuple(value.decode() if isinstance(value, bytes) else value for value in row)
        key = tuple(str(texts[position]) for position in positions)
        if key in asked:
            yield key, texts


def _escaped(sql: str) -> str:
    return sql.replace("%", "%%")


def _shown(value: str | None) -> str | None:
    return value if value is None or len(value) <= SHOWN else f"{value[:SHOWN]}… ({len(value):,} characters)"
