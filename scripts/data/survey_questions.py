"""What the survey asks of the values of a table's columns (of its keys: `survey_keys`).

What the contract refuses, notes or loses is asked by its own conditions. Besides:

- TINYINT(1): whether there is anything but 0 and 1, or the column could be a boolean.
- BIGINT UNSIGNED beyond 2^63-1: for those who want to know whether bigint would have done.
- Bytes that are no text. MySQL tests text when it is written, but not when a server is upgraded or a tablespace
  imported; and in character sets with gaps it stores what has no meaning. A latin1 column whose bytes read as UTF-8 is
  suspicious: it may have been written through a wrong connection. Nothing can decide that, nor find text encoded twice.
- The longest values of LOB columns and the widest row: DMS's limited LOB mode cuts off, Kafka has a largest record.

Only columns that can have the trouble are asked about; a table with no such column is not read at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from contract.tables import Column, Table, mysql_name
from contract.types import Choices, TypeRule, Unsupported, rule_for
from scripts.data.inspect import MAX_NAME
from scripts.data.survey_scan import Ask

TEXTS: Final = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
LOBS: Final = frozenset({
    "tinytext", "text", "mediumtext", "longtext", "tinyblob", "blob", "mediumblob", "longblob", "json",
})  # fmt: skip

_CHANGE = "these rows stop copy and CDC: change them first"


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to know about a column or key (`name`). `meaning` continues "... rows hold"; `then` is what happens to
    them. `indexed`: an index answers it, the table need not be read."""

    kind: str
    name: str
    ask: Ask
    meaning: str = ""
    then: str = ""
    blocking: bool = False
    indexed: bool = False


def at(column: str) -> str:
    """A column of the table that is read."""
    return f"t.{mysql_name(column)}"


def charset(column: Column) -> str:
    """The column's character set, from its collation."""
    return (column.collation or "").split("_")[0]


def is_tinyint1(column: Column) -> bool:
    return column.full_type.startswith("tinyint(1)") and column.generated is None


def column_questions(table: Table, choices: Choices) -> Iterator[Question]:
    """In the order of the columns. Columns without a rule are not asked about."""
    leading = {table.primary_key[:1], *(key.columns[:1] for key in table.keys if key.kind == "btree")}
    for column in table.columns:
        rule = _rule(column, choices)
        if rule is None:
            continue
        indexed = (column.name,) in leading and column.type in ("time", "bigint")
        yield from _from_contract(column, rule, choices, indexed)
        if is_tinyint1(column) and column.path not in choices.booleans:
            ((condition, _),) = rule_for(column, Choices.of([column.path])).refuse
            yield Question("boolean", column.path, Ask(condition.format(at(column.name)), examples=False))
            yield Question("filled", column.path, Ask(f"{at(column.name)} IS NOT NULL", examples=False))
        if column.type == "bigint" and column.unsigned:
            yield Question(
                "large",
                column.path,
                Ask(f"{at(column.name)} > 9223372036854775807"),
                "numbers beyond 2^63-1, which bigint would not hold",
                f"{rule.postgres} on the target holds them",
                indexed=indexed,
            )
        if column.type in TEXTS:
            yield from _bytes(column)
        if column.type in LOBS:
            yield Question("longest", column.path, Ask(f"LENGTH({at(column.name)})", "longest"))
    if any(column.type in LOBS for column in table.columns):
        parts = [
            f"COALESCE(LENGTH({at(column.name)}), 0)"
            for column in table.columns
            if column.generated is None and (column.type in LOBS | TEXTS or column.type in ("binary", "varbinary"))
        ]
        yield Question("widest", table.name, Ask(" + ".join(parts), "longest"))


def _rule(column: Column, choices: Choices) -> TypeRule | None:
    try:
        return rule_for(column, choices) if len(column.name.encode()) <= MAX_NAME else None
    except Unsupported:
        return None


def _from_contract(column: Column, rule: TypeRule, choices: Choices, indexed: bool) -> Iterator[Question]:
    if column.path in choices.booleans:
        way = "take the column out of cdc.booleans, or change these rows first"
    elif column.type == "time":
        way = "name the column in cdc.intervals, or change these rows first"
    else:
        way = _CHANGE
    name = at(column.name)
    for condition, meaning in rule.refuse:
        yield Question("refused", column.path, Ask(condition.format(name)), meaning, way, True, indexed)
    for condition, meaning in rule.notes:
        yield Question("noted", column.path, Ask(condition.format(name)), meaning, "carried as the contract states")
    for condition, meaning in rule.loses:
        way = "the snapshot rounds them, later changes do not"
        yield Question("rounded", column.path, Ask(condition.format(name)), meaning, way)


def _bytes(column: Column) -> Iterator[Question]:
    name, kind = at(column.name), charset(column)
    as_utf8 = f"CONVERT(CAST({name} AS BINARY) USING utf8mb4)"
    if kind in ("utf8mb4", "utf8mb3", "utf8"):
        yield Question(
            "bytes",
            column.path,
            Ask(f"{name} IS NOT NULL AND {as_utf8} IS NULL"),
            "bytes that are no valid UTF-8",
            _CHANGE,
            True,
        )
    elif kind == "latin1":
        yield Question(
            "mojibake",
            column.path,
            Ask(f"LENGTH({name}) <> CHAR_LENGTH({as_utf8})"),
            "bytes of latin1 that read as UTF-8: it may have been written through a wrong connection",
            "carried as MySQL reads them; whether they are wrong only a reader can tell",
        )
    elif kind:
        text = f"CONVERT({name} USING utf8mb4)"
        yield Question(
            "lost",
            column.path,
            Ask(f"CHAR_LENGTH(REPLACE({text}, '?', '')) <> CHAR_LENGTH(REPLACE({name}, '?', ''))"),
            f"bytes that mean nothing in {kind}",
            "MySQL turns them into '?' for every reader, and so on the target",
        )
