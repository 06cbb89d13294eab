"""A table with the contract's rule of each column, and its keys as canonical texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import psycopg
from pymysql.connections import Connection

from contract.tables import Column, Table
from contract.types import NO_CHOICES, Choices, TypeRule, rule_for
from scripts.data.difference import Key

MySQL: TypeAlias = "Connection[Any]"
Postgres: TypeAlias = "psycopg.Connection[Any]"

SCHEMA = "public"
"""Of the target's tables."""


@dataclass(frozen=True)
class Rules:
    """A table with the rule of each column."""

    table: Table
    columns: tuple[tuple[Column, TypeRule], ...]
    key: tuple[tuple[Column, TypeRule], ...]

    @property
    def ordered(self) -> bool:
        """Whether both databases (and Python, by `order`) order the keys alike."""
        return all(rule.ordered for _, rule in self.key)

    def order(self, key: Key) -> tuple[Any, ...]:
        """What Python orders as both databases order the keys, where `ordered`."""
        return tuple(rule.parameter(text) for (_, rule), text in zip(self.key, key, strict=False))

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
