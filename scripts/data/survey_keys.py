"""Keys over text: where MySQL and the target do not take the same values for equal.

MySQL compares by the column's collation: case, mostly accents, and (but for `utf8mb4_0900_*`) trailing spaces do not
count. On the target a primary key compares bytes, and a unique key as `contract.types.unique_expression` has it, by the
Unicode Collation Algorithm. What differs:

- Primary keys: the target accepts what MySQL refuses. No row stands in the way; the applications must know it.
- Unique keys: `latin1_swedish_ci` takes a and å for different letters, `utf8mb4_general_ci` ß and ss; the target's
  collation does not, so rows may collide. They can only when one of them has more than printable ASCII, so rows with
  more are counted first; where there are some, MySQL's newest collation (the same algorithm) groups the whole key.
- Foreign keys: the target's child must have the parent's very bytes.
- PostgreSQL's index entries have at most 2,704 bytes (after compression), MySQL's 3,072.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pymysql
import pymysql.cursors
from pymysql.connections import Connection

from contract.tables import Column, ForeignKey, Key, Table, mysql_name
from contract.types import collation_for
from scripts.data.inspect import Obstacle
from scripts.data.survey_questions import TEXTS, Question, at
from scripts.data.survey_result import Finding
from scripts.data.survey_scan import QUERY_TIMEOUT, Ask

LARGEST_ENTRY: Final = 2704
"""Bytes of an entry in PostgreSQL's B-tree."""

GROUPED_ROWS: Final = 1_000_000
"""Up to this size a key is grouped unless everything is to be read: it takes a temporary table on the source."""

GROUP_SECONDS: Final = 30

_SAME_ALGORITHM: Final = {"zdm_ai_ci": "utf8mb4_0900_ai_ci", "zdm_as_ci": "utf8mb4_0900_as_ci"}
"""The target's collations, by MySQL's names."""


def key_questions(table: Table) -> Iterator[Question]:
    for name in table.primary_key:
        column = table.column(name)
        if column.type in TEXTS and column.type != "char" and column.pads:
            yield Question(
                "spaces",
                column.path,
                Ask(f"LENGTH({at(name)}) <> LENGTH(TRIM(TRAILING ' ' FROM {at(name)}))"),
                "trailing spaces in the primary key, which MySQL ignores when it compares and the target does not",
                "carried with their spaces; a query without them finds them on MySQL only",
            )
    for key in table.keys:
        if key.kind == "btree" and (suspicious := folded_columns(table, key)):
            strange = " OR ".join(
                f"LENGTH(CONVERT({at(c.name)} USING utf8mb4)) <> CHAR_LENGTH({at(c.name)}) "
                f"OR REGEXP_LIKE({at(c.name)}, '[[:cntrl:]]')"
                for c in suspicious
            )
            yield Question("letters", f"{table.name}.{key.name}", Ask(strange, examples=False))
        if key.kind == "btree" and _declared(table, key) > LARGEST_ENTRY:
            yield Question("key size", f"{table.name}.{key.name}", Ask(_entry(table, key), "longest"))
    for foreign in table.foreign_keys:
        if any(table.column(name).type in TEXTS for name in foreign.columns):
            yield _reference(table, foreign)


def behaviours(table: Table) -> Iterator[Obstacle]:
    """What a primary key refuses in MySQL and not on the target, by its collations."""
    columns = [table.column(name) for name in table.primary_key]
    ignored = [
        word
        for word, ignores in (
            ("case", lambda c: c.case_insensitive),
            ("accents", lambda c: c.case_insensitive and "_as_" not in (c.collation or "")),
            ("trailing spaces", lambda c: c.pads and c.type != "char"),
        )
        if any(c.type in TEXTS and ignores(c) for c in columns)
    ]
    if ignored:
        yield Obstacle(
            "key",
            f"{table.name}.PRIMARY",
            f"MySQL refuses keys that differ only in {' or '.join(ignored)}, the target's primary key does not",
            "every row there is moves; an application that relies on it must look for itself",
            blocking=False,
        )


def folded_columns(table: Table, key: Key) -> list[Column]:
    """The columns of a unique key for which MySQL and the target may fold letters differently."""
    columns = [table.column(name) for name in key.columns] if key.unique else []
    return [
        c
        for c in columns
        if c.type in TEXTS and (ours := collation_for(c)) is not None and c.collation != _SAME_ALGORITHM.get(ours)
    ]


def collisions(my: Connection[Any], table: Table, key: Key) -> Finding | None:
    """The groups of rows that the target's unique index takes for equal and MySQL does not; None where it takes too
    long to say. `rows` are the groups."""
    folded = ", ".join(_folded(table, key))
    present = " AND ".join(f"{at(name)} IS NOT NULL" for name in key.columns)
    names = ", ".join(f"CAST({at(name)} AS CHAR)" for name in table.primary_key)
    row = f"CONCAT_WS(',', {names})" if names else "''"
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        try:
            cursor.execute(
                f"SELECT /*+ MAX_EXECUTION_TIME({GROUP_SECONDS * 1000}) */ MIN({row}), MAX({row}), COUNT(*) "
                f"FROM {mysql_name(table.name)} t WHERE {present} GROUP BY {folded} HAVING COUNT(*) > 1"
            )
            found = list(cursor.fetchall())
        except pymysql.err.OperationalError as e:
            if e.args[0] != QUERY_TIMEOUT:
                raise
            return None
    return Finding(
        kind="collision",
        name=f"{table.name}.{key.name}",
        rows=len(found),
        meaning="groups of rows that the target's unique index takes for equal",
        examples=[f"{first} and {last}" for first, last, _ in found[:3]] if names else [],
    )


def _folded(table: Table, key: Key) -> Iterator[str]:
    for part in key.parts:
        column = table.column(part.column)
        text = at(part.column) if part.prefix is None else f"LEFT({at(part.column)}, {part.prefix})"
        if column.type in TEXTS:
            text = f"CONVERT({text} USING utf8mb4)"
            if column.pads:
                text = f"TRIM(TRAILING ' ' FROM {text})"
            text = f"{text} COLLATE {_SAME_ALGORITHM.get(collation_for(column) or '', 'utf8mb4_0900_bin')}"
        yield text


def _declared(table: Table, key: Key) -> int:
    """Bytes that an entry may have at most, by the declaration."""
    total = 0
    for part in key.parts:
        column = table.column(part.column) if part.column else None
        if column is not None and (column.type in TEXTS or column.length):
            total += (part.prefix or column.length or 0) * (4 if column.collation else 1)
    return total


def _entry(table: Table, key: Key) -> str:
    parts = []
    for part in key.parts:
        column = table.column(part.column) if part.column else None
        if column is None or column.length is None:
            continue
        text = at(part.column) if part.prefix is None else f"LEFT({at(part.column)}, {part.prefix})"
        text = f"CONVERT({text} USING utf8mb4)" if column.collation else text
        parts.append(f"COALESCE(LENGTH({text}), 0)")
    return " + ".join(parts)


def _reference(table: Table, foreign: ForeignKey) -> Question:
    pairs = list(zip(foreign.columns, foreign.referenced_columns, strict=True))
    same = " AND ".join(
        f"r.{mysql_name(theirs)} = {at(ours)}"
        + (
            f" AND CAST(r.{mysql_name(theirs)} AS BINARY) = CAST({at(ours)} AS BINARY)"
            if table.column(ours).type in TEXTS
            else ""
        )
        for ours, theirs in pairs
    )
    present = " AND ".join(f"{at(ours)} IS NOT NULL" for ours, _ in pairs)
    return Question(
        "reference",
        f"{table.name}.{foreign.name}",
        Ask(f"{present} AND NOT EXISTS (SELECT 1 FROM {mysql_name(foreign.referenced_table)} r WHERE {same})"),
        f"references to {foreign.referenced_table} that differ from its key in case, accents or spaces (or find none)",
        "the foreign key cannot be made on the target: write them as their parents are",
        True,
    )
