"""The rows of one person in one database: found along foreign keys and the links that `data-classes.yaml` declares.

Values are canonical texts (`contract.types`): the same row reads alike in both databases.

Invariants:
- Found is what refers to the person, and what refers to that; never what the person's rows refer to (a product that was
  bought is nobody's).
- No row is found twice, whatever circles the references make.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from contract.flag import Side
from contract.privacy import DataClasses, Link
from contract.tables import Column, Table
from contract.types import Choices, TypeRule, Unsupported, rule_for
from scripts.data.keyset import mysql_literal, postgres_literal
from scripts.environments.masked import Session
from scripts.errors import UsageError

AT_ONCE = 500
"""Values in one condition."""

Row = Mapping[str, str | None]


@dataclass(frozen=True)
class Person:
    """Whose rows are meant, as the data classes define a person: the row of `table` whose `column` is `id`."""

    table: str
    column: str
    id: str


@dataclass
class Reader:
    """Reads one side's rows as canonical texts."""

    session: Session
    tables: Mapping[str, Table]
    choices: Choices

    def columns(self, table: Table) -> Iterator[tuple[Column, TypeRule]]:
        """Those that have a rule: others are on no target either."""
        for column in table.columns:
            try:
                yield column, rule_for(column, self.choices)
            except Unsupported:
                continue

    def literal(self, column: Column, text: str) -> str:
        rule = rule_for(column, self.choices)
        literal = mysql_literal if self.session.side is Side.MYSQL else postgres_literal
        return literal(column, rule, text)

    def select(self, table: Table, conditions: Sequence[str]) -> list[Row]:
        """The rows under all conditions, in the order of their key."""
        columns = list(self.columns(table))
        mysql = self.session.side is Side.MYSQL
        texts = [
            (rule.mysql_text if mysql else rule.postgres_text).format(self.session.name(column.name))
            for column, rule in columns
        ]  # fmt: skip
        order = ", ".join(f"t.{self.session.name(name)}" for name in table.primary_key) or "1"
        rows = self.session.rows(
            f"SELECT {', '.join(texts)} FROM {self.session.relation(table.name)} AS t "
            f"WHERE {' AND '.join(conditions)} ORDER BY {order}"
        )
        names = [column.name for column, _ in columns]
        return [dict(zip(names, (None if t is None else str(t) for t in row), strict=True)) for row in rows]

    def key(self, table: Table, row: Row) -> tuple[str, ...]:
        """The row's primary key; of a table without one all its values."""
        names = table.primary_key or tuple(row)
        return tuple(str(row[name]) for name in names)


def person_of(classes: DataClasses, tables: Mapping[str, Table], id: str) -> Person:
    """Raises `UsageError` where the data classes say nothing of persons, or the id cannot be one."""
    subject = classes.subject
    if subject is None:
        raise UsageError("data-classes.yaml does not say who a person is: add `subject: {is: TABLE.COLUMN}`")
    table = tables.get(subject.table)
    if table is None or subject.column not in {column.name for column in table.columns}:
        raise UsageError(f"the source has no column {subject.table}.{subject.column}, which data-classes.yaml names")
    rule = rule_for(table.column(subject.column))
    try:
        rule.canonical(rule.parameter(id))
        if not id.strip() or id != id.strip():
            raise ValueError
    except (ValueError, ArithmeticError):
        raise UsageError(f"{id!r} is no {subject.table}.{subject.column} ({rule.postgres})") from None
    return Person(subject.table, subject.column, id)


def links_of(classes: DataClasses, tables: Mapping[str, Table]) -> list[Link]:
    """What refers to what: foreign keys of one column, and declared links."""
    found = [
        Link(table.name, key.columns[0], key.referenced_table, key.referenced_columns[0])
        for table in tables.values()
        for key in table.foreign_keys
        if len(key.columns) == 1
    ]
    declared = classes.subject.links if classes.subject else ()
    return [*found, *(link for link in declared if link.table in tables and link.to_table in tables)]


def rows_of(reader: Reader, person: Person, links: Iterable[Link]) -> dict[str, list[Row]]:
    """The person's rows by table, the person's own first; empty where there is no such person."""
    table = reader.tables[person.table]
    column = table.column(person.column)
    name = reader.session.name(person.column)
    start = reader.select(table, [f"{name} = {reader.literal(column, person.id)}"])
    found: dict[str, dict[tuple[str, ...], Row]] = {table.name: {reader.key(table, row): row for row in start}}
    to_follow = [(table.name, start)]
    links = list(links)
    while to_follow:
        parent, rows = to_follow.pop(0)
        for link in (link for link in links if link.to_table == parent):
            new = [
                row
                for row in _referring(reader, link, rows)
                if reader.key(reader.tables[link.table], row) not in found.get(link.table, {})
            ]
            if new:
                known = found.setdefault(link.table, {})
                known.update({reader.key(reader.tables[link.table], row): row for row in new})
                to_follow.append((link.table, new))
    return {name: list(rows.values()) for name, rows in found.items() if rows}


def _referring(reader: Reader, link: Link, parents: Sequence[Row]) -> Iterator[Row]:
    table = reader.tables[link.table]
    column = table.column(link.column)
    values = sorted({value for row in parents if (value := row.get(link.to_column)) is not None})
    where = [
        f"{reader.session.name(name)} = {reader.literal(table.column(name), value)}" for name, value in link.where
    ]  # fmt: skip
    for start in range(0, len(values), AT_ONCE):
        chosen = ", ".join(reader.literal(column, value) for value in values[start : start + AT_ONCE])
        yield from reader.select(table, [f"{reader.session.name(column.name)} IN ({chosen})", *where])


def digest(rows: Sequence[Row], key: bytes) -> str:
    """Of a table's rows, keyed: so that whoever reads a record of it cannot try values out."""
    text = json.dumps(sorted(json.dumps(row, sort_keys=True) for row in rows))
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
