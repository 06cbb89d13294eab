"""What both databases and the archives have of one person.

Invariants:
- Which side is the writer is read from the fences, not from what the stack wants.
- Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from contract.control import READ_FENCE, flag_of_row
from contract.flag import Side
from contract.privacy import DataClasses
from contract.tables import Table
from contract.types import Choices
from scripts.console import Console
from scripts.context import Context
from scripts.data.inspect import mysql_tables
from scripts.environments.archive import entries, store_of
from scripts.environments.masked import Masked, Session, catalogue, open_session
from scripts.environments.subject_rows import Person, Reader, Row, links_of, person_of, rows_of
from scripts.errors import UsageError

Rows: TypeAlias = dict[str, list[Row]]
"""By table."""


@dataclass(frozen=True)
class Archived:
    """An archive that has tables of the person's; nothing in it can be deleted before `until`."""

    id: str
    tables: tuple[str, ...]
    until: str

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "tables": list(self.tables), "heldUntil": self.until}


@dataclass
class Seen:
    """Both sides, and what they have of the person."""

    person: Person
    writer: Side
    readers: Mapping[Side, Reader]
    rows: dict[Side, Rows] = field(default_factory=dict)
    archives: tuple[Archived, ...] = ()

    @property
    def other(self) -> Side:
        return Side.AURORA if self.writer is Side.MYSQL else Side.MYSQL

    def look(self, classes: DataClasses, side: Side) -> Rows:
        reader = self.readers[side]
        links = [link for link in links_of(classes, reader.tables) if link.table in reader.tables]
        self.rows[side] = rows_of(reader, self.person, links) if self.person.table in reader.tables else {}
        return self.rows[side]


@contextmanager
def seen_of(context: Context, id: str, classes: DataClasses, console: Console) -> Iterator[Seen]:
    out = context.outputs
    with context.mysql() as my:
        tables = mysql_tables(my, out.database, out.pipeline.tables or None)
    if missing := classes.missing(tables):
        raise UsageError(f"no data class: {', '.join(missing)} (`./zdm privacy {out.stack}` proposes them)")
    person = person_of(classes, {table.name: table for table in tables}, id)
    sessions = {
        Side.MYSQL: open_session(Masked(Side.MYSQL, context.mysql, tables)),
        Side.AURORA: open_session(Masked(Side.AURORA, context.postgres, tables)),
    }
    try:
        with console.step(f"Look for {person.table} {person.column} {id}") as step:
            readers = {side: _reader(session, tables, out.pipeline.choices) for side, session in sessions.items()}
            seen = Seen(person, _writer(sessions), readers)
            for side in sessions:
                seen.look(classes, side)
            found = seen.rows[seen.writer]
            if not found:
                raise UsageError(f"there is no {person.table} with {person.column} {id} in {seen.writer}, the writer")
            seen.archives = _archives(context, set(found))
            step.done(f"{sum(map(len, found.values()))} rows in {len(found)} tables")
        yield seen
    finally:
        for session in sessions.values():
            session.close()


def _reader(session: Session, tables: Sequence[Table], choices: Choices) -> Reader:
    there = catalogue(session)
    kept = {
        table.name: replace(table, columns=tuple(c for c in table.columns if c.name in there[table.name]))
        for table in tables
        if table.name in there and table.primary_key
    }
    return Reader(session, kept, choices)


def has_fence(session: Session) -> bool:
    [(count,)] = session.rows(
        "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'zdm' AND table_name = 'fence'"
    )
    return bool(count) and bool(session.rows(READ_FENCE))


def _writer(sessions: Mapping[Side, Session]) -> Side:
    """By the newer of the two fences; MySQL where a migration has not begun."""
    flags = [flag_of_row(session.rows(READ_FENCE)[0]) for session in sessions.values() if has_fence(session)]
    return max(flags, key=lambda flag: (flag.epoch, flag.v)).mode if flags else Side.MYSQL


def _archives(context: Context, tables: set[str]) -> tuple[Archived, ...]:
    """The archives that have any of the tables, by their manifests; of an incomplete one, by what it was to have."""
    if context.outputs.archive is None:
        return ()
    found = []
    for entry in entries(store_of(context)):
        names = tables if entry.tables is None else tables & entry.tables
        if names:
            until = entry.lock.until.isoformat() if entry.lock else ""
            found.append(Archived(entry.id, tuple(sorted(names)), until))
    return tuple(found)
