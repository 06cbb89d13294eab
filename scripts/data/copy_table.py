"""A table on its way: which columns travel, the statements that read and write them, and what it was like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

from contract.tables import Column, mysql_name, postgres_name
from contract.types import TypeRule
from scripts.data.difference import Key
from scripts.data.keyset import Bounds, key_text, mysql_condition
from scripts.data.rules import SCHEMA, Rules

LONGEST_QUERY: Final = 600_000
"""Milliseconds after which MySQL ends a query that nobody waits for any more."""


@dataclass(frozen=True)
class Carried:
    """The columns of a table that are copied: all but what the target computes itself."""

    rules: Rules

    @property
    def name(self) -> str:
        return self.rules.table.name

    @cached_property
    def columns(self) -> tuple[tuple[Column, TypeRule], ...]:
        """What is written."""
        return tuple((column, rule) for column, rule in self.rules.columns if column.generated is None)

    @cached_property
    def read(self) -> tuple[tuple[Column, TypeRule], ...]:
        """What is read: also parts of the key that are not written."""
        return self.columns + tuple(part for part in self.rules.key if part not in self.columns)

    @cached_property
    def key_places(self) -> tuple[int, ...]:
        """Where the key's columns are in what is read."""
        return tuple(self.read.index(part) for part in self.rules.key)

    def select(self, bounds: Bounds, limit: int) -> str:
        """The next rows in the order of the key."""
        columns = ", ".join(rule.mysql_read.format(mysql_name(column.name)) for column, rule in self.read)
        order = ", ".join(mysql_name(column.name) for column, _ in self.rules.key)
        return (
            f"SELECT /*+ MAX_EXECUTION_TIME({LONGEST_QUERY}) */ {columns} FROM {mysql_name(self.name)} "
            f"FORCE INDEX (PRIMARY) WHERE {mysql_condition(self.rules, bounds)} ORDER BY {order} LIMIT {limit}"
        )

    def copy_into(self, form: Literal["binary", "text"]) -> str:
        columns = ", ".join(postgres_name(column.name) for column, _ in self.columns)
        return f"COPY {postgres_name(SCHEMA, self.name)} ({columns}) FROM STDIN (FORMAT {form})"

    def key(self, raw: tuple[bytes | None, ...]) -> Key:
        """Canonical texts from MySQL's own of the key's columns."""
        parts = zip(self.rules.key, raw, strict=True)
        return tuple(key_text(column, rule, text or b"") for (column, rule), text in parts)

    def definition(self) -> dict[str, Any]:
        """What must not change while the table is copied: columns with their types on both sides, and the key."""
        key = [f"{column.name}{f' {column.collation}' if column.collation else ''}" for column, _ in self.rules.key]
        return {
            "columns": {c.name: f"{c.full_type} ({rule.postgres} on the target)" for c, rule in self.columns},
            "key": ", ".join(key),
        }


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What differs between two definitions."""
    before, after = old["columns"], new["columns"]
    found = [f"{name} is gone" for name in before if name not in after]
    found += [f"{name} is new" for name in after if name not in before]
    found += [
        f"{name} was {before[name]} and is {after[name]}"
        for name in after
        if name in before and before[name] != after[name]
    ]
    if old["key"] != new["key"]:
        found.append(f"the primary key was ({old['key']}) and is ({new['key']})")
    return found
