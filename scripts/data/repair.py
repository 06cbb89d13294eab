"""`./zdm data-check --repair`: rows that were proven different are copied anew, one by one, as the sink writes them.

Each row goes in one transaction of the target: it is written as the source has it (or deleted, where the source has
none), and then read from the source AGAIN. Unchanged, the transaction commits; changed, it is rolled back and tried
again. That is safe while CDC runs, because the write locks the row (or its key) on the target until the transaction
ends, and the sink must wait for it:

- A change that the sink applied before our lock was committed on the source even before, so before the second read:
  that read sees it, and nothing older is committed over it.
- A change that the sink applies after our commit comes on top, as it does without us. One that is older than what we
  read is followed by all later ones, in the order of the key, so the row ends as the source has it.

A transaction locks a single row, so it cannot be in a deadlock with the sink. It runs under the sink's account: stamps
(ON UPDATE CURRENT_TIMESTAMP) are silent for it alone, and after a cutover it may not write at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import psycopg
import pymysql.cursors

from contract.tables import mysql_name, postgres_name
from contract.types import carried
from scripts.data.check_worker import read_only
from scripts.data.compare import mysql_keys, postgres_keys
from scripts.data.copy_plain import Refused, converter
from scripts.data.difference import Key
from scripts.data.keyset import key_text
from scripts.data.rules import SCHEMA, MySQL, Postgres, Rules

ATTEMPTS: Final = 10
"""For a row that changes all the time; the next check will find it again."""

REFERENCES: Final = (psycopg.errors.ForeignKeyViolation, psycopg.errors.RestrictViolation)
"""What a foreign key refuses; ON DELETE RESTRICT has an error of its own from PostgreSQL 18 on."""

_Raw = tuple[bytes | None, ...]


class Sides(Protocol):
    """Where connections come from (`scripts.context.Context`)."""

    def mysql(self, role: Any = ..., database: str | None = ..., **options: Any) -> MySQL: ...

    def postgres(self, role: Any = ..., **options: Any) -> Postgres: ...


def repair(sides: Sides, wrong: Iterable[tuple[Rules, Sequence[Key]]], progress: Callable[[int], None]) -> None:
    """Writes the rows of these tables to the target as the source has them; `progress` is told how many are done.
    What the target refuses, or what changes all the time, stays as it is: whoever asks looks afterwards.

    Where foreign keys hold, a row waits for the one that it refers to, and the deletion of one for those that refer to
    it, in the same table or another. So what was refused for that is tried again for as long as others succeed.
    """
    with sides.mysql(conv={}, use_unicode=False) as my, sides.postgres("sink") as pg:
        read_only(my, 0)
        pg.execute("SET lock_timeout = '10s'")
        left: list[tuple[Rules, str, Key]] = []
        for n, (rules, keys) in enumerate(wrong):
            stage = f"zdm_repair_{n}"
            relation = postgres_name(SCHEMA, rules.table.name)
            pg.execute(f"CREATE TEMPORARY TABLE {stage} (LIKE {relation}) ON COMMIT DELETE ROWS".encode())
            left += [(rules, stage, key) for key in keys]
        done, written = 0, True
        while left and written:
            written, waiting = False, []
            for rules, stage, key in left:
                try:
                    written |= _repaired(my, pg, rules, stage, key)
                    done += 1
                except REFERENCES:
                    waiting.append((rules, stage, key))
                progress(done)
            left = waiting


def _repaired(my: MySQL, pg: Postgres, rules: Rules, stage: str, key: Key) -> bool:
    for _ in range(ATTEMPTS):
        committed = False
        try:
            with pg.transaction():
                row = _read(my, rules, key)
                _write(pg, rules, stage, key, row)
                if _read(my, rules, key) != row:
                    raise psycopg.Rollback
                committed = True
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            continue
        except REFERENCES:
            raise
        except (Refused, psycopg.DataError, psycopg.IntegrityError):
            return False
        if committed:
            return True
    return False


def _read(my: MySQL, rules: Rules, key: Key) -> _Raw | None:
    """The row in MySQL's own texts."""
    names = ", ".join(rule.mysql_read.format(mysql_name(column.name)) for column, rule in rules.columns)
    places = [rules.columns.index(part) for part in rules.key]
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(f"SELECT {names} FROM {mysql_name(rules.table.name)} WHERE {mysql_keys(rules, [key])}")
        for row in cursor.fetchall():  # where case does not count there may be another one
            texts = (key_text(*part, row[place]) for part, place in zip(rules.key, places, strict=True))
            if tuple(texts) == key:
                return tuple(row)
    return None


def _write(pg: Postgres, rules: Rules, stage: str, key: Key, row: _Raw | None) -> None:
    relation = postgres_name(SCHEMA, rules.table.name)
    if row is None:
        pg.execute(f"DELETE FROM {relation} WHERE {postgres_keys(rules, [key])}".encode())
        return
    kept = set(carried([column for column, _ in rules.columns]))
    columns = [
        (column, rb"\N" if value is None else converter(rule.codec)(value))
        for (column, rule), value in zip(rules.columns, row, strict=True)
        if column in kept
    ]
    names = ", ".join(postgres_name(column.name) for column, _ in columns)
    keys = ", ".join(map(postgres_name, rules.table.primary_key))
    others = [postgres_name(column.name) for column, _ in columns if column.name not in rules.table.primary_key]
    action = f"UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in others)}" if others else "NOTHING"
    with pg.cursor().copy(f"COPY {stage} ({names}) FROM STDIN".encode()) as copy:
        copy.write(b"\t".join(value for _, value in columns) + b"\n")
    pg.execute(
        f"INSERT INTO {relation} ({names}) SELECT {names} FROM {stage} ON CONFLICT ({keys}) DO {action}".encode()
    )
    pg.execute(f"DELETE FROM {stage}")
