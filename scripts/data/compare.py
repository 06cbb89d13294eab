"""Reads and compares single rows of both databases, by key: what a check does once chunks differ, and what a cutover
verifies with.

A key is the tuple of the primary key's canonical texts (`contract.types`): the same for both databases, whatever types
their drivers give. A text longer than `LARGE` is read as its length and hash, so that rows of any size fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import psycopg
import pymysql.cursors

from contract.tables import Column, Table, mysql_name, postgres_name
from contract.types import NO_CHOICES, Choices, TypeRule
from scripts.data.difference import HASHED, ColumnDifference, Difference, Key, mask_of
from scripts.data.keyset import mysql_literal, postgres_literal
from scripts.data.rules import SCHEMA, MySQL, Postgres, Rules, key_of, rules_of
from scripts.errors import ZdmError

__all__ = ["SCHEMA", "Difference", "Key", "MySQL", "Postgres", "Rules", "key_of", "rules_of"]

BATCH = 500
"""Keys in one query, at most."""
BATCH_BYTES = 4 << 20
"""Bytes of the rows of one query, by the table's average."""
LARGE = 1 << 16
"""Bytes of a text from which on its hash is compared."""

_MAY_BE_LARGE = frozenset({"mediumtext", "longtext", "json"})

_Literal = Callable[[Column, TypeRule, str], str]

Row = tuple[str | None, ...]
"""Canonical texts in the order of the table's columns."""


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
            ColumnDifference(column.name, a, b, mask_of(column, rule))
            for (column, rule), a, b in zip(rules.columns, have, got, strict=True)
            if a != b and (a is None or b is None or not rule.equal(a, b))
        )
        if columns:
            found.append(Difference(rules.table.name, key, "changed", columns))
    return found


def source_rows(mysql: MySQL, rules: Rules, keys: Sequence[Key]) -> dict[Key, Row]:
    """The rows of the source under `keys`, as canonical texts."""
    texts = ", ".join(_mysql_text(rules, column, rule) for column, rule in rules.columns)
    relation = mysql_name(rules.table.name)
    found: dict[Key, Row] = {}
    for batch in batches(keys, batch_size(rules)):
        with mysql.cursor(pymysql.cursors.Cursor) as cursor:
            cursor.execute(f"SELECT {texts} FROM {relation} WHERE {mysql_keys(rules, batch)}")
            rows = cursor.fetchall()
        found.update(_keyed(rules, batch, rows))
    return found


def target_rows(pg: Postgres, rules: Rules, keys: Sequence[Key]) -> dict[Key, Row]:
    """The rows of the target under `keys`, as canonical texts."""
    texts = ", ".join(_postgres_text(rules, column, rule) for column, rule in rules.columns)
    relation = postgres_name(SCHEMA, rules.table.name)
    found: dict[Key, Row] = {}
    for batch in batches(keys, batch_size(rules)):
        sql = f"SELECT {texts} FROM {relation} WHERE {postgres_keys(rules, batch)}"
        found.update(_keyed(rules, batch, pg.execute(sql.encode()).fetchall()))
    return found


def changed_since(pg: Postgres, rules: Rules, keys: Sequence[Key], moment: datetime) -> set[Key]:
    """Those of `keys` whose row on the target was committed after `moment`. Raises `ZdmError` when the target does not
    keep that time."""
    texts = ", ".join(rule.postgres_text.format(postgres_name(column.name)) for column, rule in rules.key)
    relation = postgres_name(SCHEMA, rules.table.name)
    found: set[Key] = set()
    for batch in batches(keys, BATCH):
        sql = (
            f"SELECT {texts} FROM {relation} WHERE {postgres_keys(rules, batch)} "
            f"AND pg_xact_commit_timestamp(xmin) > '{moment.isoformat()}'::timestamptz"
        )
        try:
            rows = pg.execute(sql.encode()).fetchall()
        except psycopg.errors.ObjectNotInPrerequisiteState as e:
            raise ZdmError(
                "which rows changed since the switch is known only with track_commit_timestamp=on: set it in the "
                "cluster's parameter group"
            ) from e
        found.update(tuple(map(str, row)) for row in rows)
    return found & set(keys)


def mysql_keys(rules: Rules, keys: Sequence[Key]) -> str:
    """The condition for rows under `keys`, in MySQL's SQL; where text is case-insensitive it finds others as well. Keys
    that the source cannot have find nothing."""
    names = [_searched(c, rule.mysql_text.format(mysql_name(c.name)), mysql_name(c.name)) for c, rule in rules.key]
    return _in(rules, names, keys, mysql_literal)


def postgres_keys(rules: Rules, keys: Sequence[Key]) -> str:
    """The same in PostgreSQL's SQL. Keys that the target cannot have find nothing."""
    names = [
        _searched(c, rule.postgres_text.format(postgres_name(c.name)), postgres_name(c.name)) for c, rule in rules.key
    ]
    return _in(rules, names, keys, _possible_literal)


def batches(keys: Sequence[Key], size: int) -> Iterator[Sequence[Key]]:
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def batch_size(rules: Rules) -> int:
    """How many rows are read at once by key."""
    average = rules.table.size // max(rules.table.rows, 1)
    return max(1, min(BATCH, BATCH_BYTES // max(average, 1)))


def may_be_large(column: Column) -> bool:
    """Whether a value's text may be longer than a server likes to handle at once."""
    return column.type in _MAY_BE_LARGE


def is_blob(column: Column) -> bool:
    """Whether the canonical text is a hash of the value."""
    return column.type.endswith("blob")


def _searched(column: Column, text: str, name: str) -> str:
    """In what a key's canonical text is searched: the column itself, but the hash of a BLOB (without an index)."""
    return text if is_blob(column) else name


def _in(rules: Rules, names: Sequence[str], keys: Sequence[Key], literal: _Literal) -> str:
    rows = []
    for key in keys:
        try:
            rows.append(
                [
                    f"'{bytes.fromhex(text).hex()}'" if is_blob(column) else literal(column, rule, text)
                    for (column, rule), text in zip(rules.key, key, strict=True)
                ]
            )
        except (ValueError, ArithmeticError, ZdmError, psycopg.DataError):  # the column's type has no such value there
            continue
    if not rows:
        return "FALSE"
    if len(names) == 1:
        return f"{names[0]} IN ({', '.join(row[0] for row in rows)})"
    # Not as (a, b) IN ((..), (..)): there MySQL compares an ENUM with a number as text.
    cases = (" AND ".join(f"{name} = {value}" for name, value in zip(names, row, strict=True)) for row in rows)
    return f"({' OR '.join(f'({case})' for case in cases)})"


def _possible_literal(column: Column, rule: TypeRule, text: str) -> str:
    """A literal that PostgreSQL can read. Raises `ValueError` for times and texts that it has not."""
    codec = rule.codec.name
    if codec in ("date", "timestamp", "timestamptz") and (text < "0001" or "-00" in text[:10]):
        raise ValueError(f"PostgreSQL has no {text}")
    if codec == "time" and not "00:00:00" <= text < "24:00:00":
        raise ValueError(f"PostgreSQL has no {text}")
    if codec in ("text", "enum"):
        text.encode()
    return postgres_literal(column, rule, text)


def _mysql_text(rules: Rules, column: Column, rule: TypeRule) -> str:
    text = rule.mysql_text.format(name := mysql_name(column.name))
    if is_blob(column) and column.name not in rules.table.primary_key:
        return f"CONCAT('{HASHED}',LENGTH({name}),' ',{text})"
    if not may_be_large(column):
        return text
    return (
        f"IF(LENGTH({text}) > {LARGE} OR LEFT({text},{len(HASHED)}) = '{HASHED}',"
        f"CONCAT('{HASHED}',LENGTH({text}),' ',SHA2({text},256)),{text})"
    )


def _postgres_text(rules: Rules, column: Column, rule: TypeRule) -> str:
    text = rule.postgres_text.format(name := postgres_name(column.name))
    if is_blob(column) and column.name not in rules.table.primary_key:
        return f"'{HASHED}'||octet_length({name})||' '||{text}"
    if not may_be_large(column):
        return text
    return (
        f"CASE WHEN octet_length({text}) > {LARGE} OR left({text},{len(HASHED)}) = '{HASHED}' THEN "
        f"'{HASHED}'||octet_length({text})||' '||encode(sha256(convert_to({text},'UTF8')),'hex') ELSE {text} END"
    )


def _keyed(rules: Rules, wanted: Sequence[Key], rows: Iterable[Sequence[Any]]) -> Iterator[tuple[Key, Row]]:
    """Rows by their keys; only wanted ones, as a case-insensitive column finds more than was asked for."""
    positions = [rules.columns.index(part) for part in rules.key]
    asked = set(wanted)
    for row in rows:
        texts = tuple(value.decode() if isinstance(value, bytes) else value for value in row)
        key = tuple(str(texts[position]) for position in positions)
        if key in asked:
            yield key, texts
