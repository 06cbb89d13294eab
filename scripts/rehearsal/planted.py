"""Differences planted on the target: what the check must find, so that its `equal` means something.

They go into tables that stand still (no change of theirs is in Kafka), or CDC would mend them by itself. Each table
loses a row, and in others one value is changed, of a type that was not changed before where there is one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from contract.tables import Column, postgres_name
from contract.types import TypeRule
from scripts.clients.kafka import KafkaClient
from scripts.context import Context
from scripts.data.difference import Difference, Key
from scripts.data.rules import SCHEMA, Postgres, Rules

CHANGES: Final = 3
"""Values changed in one table, each in a row of its own."""

_OTHERS: Final = {
    "smallint": ("0", "1"),
    "integer": ("0", "1"),
    "bigint": ("0", "1"),
    "numeric": ("0", "1"),
    "real": ("0", "1"),
    "double precision": ("0", "1"),
    "boolean": ("true", "false"),
    "varchar": ("'x'", "'x '"),
    "text": ("'x'", "'x '"),
    "bytea": ("'\\x00'::bytea", "'\\x01'::bytea"),
    "jsonb": ("'[1]'::jsonb", "'[2]'::jsonb"),
    "date": ("date '2000-01-01'", "date '2000-01-02'"),
    "timestamp": ("timestamp '2000-01-01 00:00:00'", "timestamp '2000-01-01 00:00:01'"),
    "timestamptz": ("timestamptz '2000-01-01 00:00:00Z'", "timestamptz '2000-01-01 00:00:01Z'"),
    "time": ("time '01:00:00'", "time '01:00:01'"),
    "interval": ("interval '01:00:00'", "interval '01:00:01'"),
}
"""Two values of each type; a row gets one that it does not have."""


@dataclass(frozen=True)
class Planted:
    """A row that is not the source's any more: `changed` in a column, or `missing`."""

    table: str
    key: Key
    kind: str
    column: str = ""

    def is_found(self, differences: Sequence[Difference]) -> bool:
        """Whether it is among what a check has found, as what it is."""
        return any(
            (d.table, d.key, d.kind) == (self.table, self.key, self.kind)
            and (not self.column or self.column in {c.column for c in d.columns})
            for d in differences
        )


def still(context: Context) -> list[str]:
    """The captured tables of which no change has come into Kafka."""
    out = context.outputs
    with KafkaClient.of(out.brokers, out.region) as kafka:
        partitions = kafka.partitions([out.topic_of(table) for table in out.pipeline.tables])
        moving = {topic for (topic, _), end in kafka.end_offsets(partitions).items() if end > 0}
    return [table for table in out.pipeline.tables if out.topic_of(table) not in moving]


def plant(pg: Postgres, tables: Sequence[Rules]) -> list[Planted]:
    """Changes the tables on the target (`pg` is in autocommit mode); returns what it has done."""
    done: list[Planted] = []
    types: set[str] = set()
    for rules in tables:
        done += _planted(pg, rules, types)
    return done


def _planted(pg: Postgres, rules: Rules, types: set[str]) -> Iterator[Planted]:
    relation = postgres_name(SCHEMA, rules.table.name)
    row = pg.execute(f"SELECT count(*) FROM {relation}").fetchone()
    rows = int(row[0]) if row else 0
    columns = sorted(_changeable(rules), key=lambda pair: _base(pair[1]) in types)[:CHANGES]
    for place, (column, rule) in enumerate(columns, 1):
        if rows < 2 * (place + 1):
            break
        types.add(_base(rule))
        name = postgres_name(column.name)
        first, second = _OTHERS[_base(rule)]
        other = f"CASE WHEN {name} IS DISTINCT FROM {first} THEN {first} ELSE {second} END"
        key = _at(pg, rules, f"UPDATE {relation} SET {name} = {other}", rows * place // (len(columns) + 1))
        yield Planted(rules.table.name, key, "changed", column.name)
    if rows:
        yield Planted(rules.table.name, _at(pg, rules, f"DELETE FROM {relation}", rows - 1), "missing")


def _changeable(rules: Rules) -> list[tuple[Column, TypeRule]]:
    """Columns that are in no key, are not computed, and take each of the two values."""
    keys = {*rules.table.primary_key, *(name for key in rules.table.keys for name in key.columns)}
    return [
        (column, rule)
        for column, rule in rules.columns
        if column.name not in keys
        and column.generated is None
        and not column.on_update_now
        and _base(rule) in _OTHERS
        and not (rule.postgres.startswith("varchar") and (column.length or 0) < 2)
    ]


def _base(rule: TypeRule) -> str:
    return rule.postgres.partition("(")[0]


def _at(pg: Postgres, rules: Rules, statement: str, place: int) -> Key:
    """Executes the statement on the row at a place in the order of the key; returns that row's key."""
    relation = postgres_name(SCHEMA, rules.table.name)
    order = ", ".join(postgres_name(column.name) for column, _ in rules.key)
    texts = ", ".join(rule.postgres_text.format(postgres_name(column.name)) for column, rule in rules.key)
    sql = (
        f"{statement} WHERE ctid = (SELECT ctid FROM {relation} ORDER BY {order} OFFSET {place} LIMIT 1) "
        f"RETURNING {texts}"
    )
    found: Any = pg.execute(sql.encode()).fetchone()
    return tuple(map(str, found))
