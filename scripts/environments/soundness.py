"""Whether a restored database is sound: every table there, every row read, indexes and constraints true.

A restored copy cannot be held against the moment it was taken at, since nothing stood still then. What can be proven:
- every row is read in full (`digest` is over all of it), and every index agrees with its table: `amcheck` with all heap
  tuples on PostgreSQL, CHECK TABLE on MySQL;
- constraints that are said to hold do: none is half-validated, and no foreign key points nowhere;
- no table has fewer or more rows than the live one, beyond what was inserted and deleted since (`scripts.environments.
  positions`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pymysql
import pymysql.cursors
from psycopg import sql

from contract.tables import mysql_name
from scripts.console import Step
from scripts.data.rules import MySQL, Postgres

Count = dict[str, int]
"""Rows by table; of PostgreSQL's schema `zdm` and MySQL's database `zdm` as `zdm.fence`."""


@dataclass(frozen=True)
class TableState:
    """One table, read in full. `digest` is the same for the same rows, in whatever order."""

    name: str
    rows: int
    digest: str


@dataclass(frozen=True)
class Soundness:
    """What was read, and every problem in words. `checked` says how."""

    tables: list[TableState]
    problems: list[str]
    checked: list[str]
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def counts(self) -> Count:
        return {table.name: table.rows for table in self.tables}

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "rows": self.rows,
            "tables": {one.name: {"rows": one.rows, "digest": one.digest} for one in self.tables},
            "problems": self.problems,
            "checked": self.checked,
            "notes": self.notes,
        }


def differences(restored: Count, live: Count, moved: int | None) -> list[str]:
    """What the counts say (pure). `moved`: rows inserted and deleted on the live server since then."""
    problems = [f"{name} is missing, the live database has it" for name in sorted(live.keys() - restored.keys())]
    if moved is None:
        return problems
    apart = {name: restored[name] - live[name] for name in sorted(live.keys() & restored.keys())}
    total = sum(abs(by) for by in apart.values())
    if total > moved:
        told = ", ".join(f"{name} {by:+,}" for name, by in apart.items() if by)
        problems.append(
            f"rows are apart from the live tables by {total:,} ({told}), though only {moved:,} were inserted or "
            "deleted since; a TRUNCATE or a dropped partition would explain it, nothing else does"
        )
    return problems


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND n.nspname IN ('public', 'zdm') ORDER BY pg_table_size(c.oid), 1, 2
"""
_INDEXES = """
SELECT n.nspname, c.relname, c.oid::regclass::text, i.indisvalid AND i.indisready
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_am a ON a.oid = c.relam
WHERE n.nspname IN ('public', 'zdm') AND c.relkind = 'i' AND a.amname = 'btree' ORDER BY 1, 2
"""
_INVALID = """
SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE NOT convalidated AND connamespace = 'public'::regnamespace
"""
_KEYS = """
SELECT c.conname, c.conrelid::regclass::text, c.confrelid::regclass::text,
  (SELECT array_agg(a.attname ORDER BY k.n) FROM unnest(c.conkey) WITH ORDINALITY AS k(num, n)
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num),
  (SELECT array_agg(a.attname ORDER BY k.n) FROM unnest(c.confkey) WITH ORDINALITY AS k(num, n)
    JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.num)
FROM pg_constraint c WHERE c.contype = 'f' AND c.conparentid = 0 AND c.connamespace = 'public'::regnamespace ORDER BY 1
"""


def postgres_counts(pg: Postgres) -> Count:
    """Exact counts of every table, one after another."""
    return {
        _named(schema, name): _one(pg, sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(schema, name)))
        for schema, name in pg.execute(_TABLES).fetchall()
    }


def postgres_soundness(pg: Postgres, step: Step, *, indexes: bool = True) -> Soundness:
    """Reads everything. `pg` is the master account's connection to a restored copy, which is changed: an extension."""
    tables, problems, notes = [], [], []
    names = pg.execute(_TABLES).fetchall()
    for done, (schema, name) in enumerate(names):
        step.progress(done, len(names), "tables of Aurora")
        read = sql.SQL("SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text FROM {} AS t")
        try:
            row = pg.execute(read.format(sql.Identifier(schema, name))).fetchone()
        except psycopg.errors.DatabaseError as e:
            problems.append(f"{_named(schema, name)} cannot be read in full: {_line(e)}")
            continue
        assert row is not None  # an aggregate has a row
        tables.append(TableState(_named(schema, name), int(row[0]), row[1]))
    problems += [f"{table}: the constraint {name} is not validated" for table, name in pg.execute(_INVALID).fetchall()]
    problems += postgres_orphans(pg)
    checked = ["every row read in full", "foreign keys joined"]
    if indexes:
        found, how = _postgres_indexes(pg, step)
        problems += found
        checked.append(how)
        if "not" in how:
            notes.append(how)
    if not names:
        problems.append("there is no table at all")
    return Soundness(tables, problems, checked, notes)


def postgres_orphans(pg: Postgres) -> list[str]:
    """Foreign keys that point nowhere."""
    problems = []
    for name, child, parent, columns, referenced in pg.execute(_KEYS).fetchall():
        if orphans := _one(pg, orphan_query(child, parent, columns, referenced, '"')):
            problems.append(f"{child}: {orphans:,} rows point nowhere by the foreign key {name}")
    return problems


def _postgres_indexes(pg: Postgres, step: Step) -> tuple[list[str], str]:
    problems = []
    try:
        pg.execute("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA public")
    except psycopg.errors.DatabaseError as e:
        return [], f"indexes not checked against their tables: amcheck is not there ({_line(e)})"
    indexes = pg.execute(_INDEXES).fetchall()
    for done, (_, name, full, valid) in enumerate(indexes):
        step.progress(done, len(indexes), "indexes of Aurora")
        if not valid:
            problems.append(f"the index {name} is not valid")
            continue
        try:
            pg.execute("SELECT public.bt_index_check(%s::regclass, true)", (full,))
        except psycopg.errors.InsufficientPrivilege as e:
            return problems, f"indexes not checked against their tables: amcheck may not be used ({_line(e)})"
        except psycopg.errors.DatabaseError as e:
            problems.append(f"the index {name} does not agree with its table: {_line(e)}")
    return problems, f"{len(indexes)} indexes against their tables (amcheck)"


# --- MySQL ------------------------------------------------------------------------------------------------------------


def mysql_counts(my: MySQL, database: str) -> Count:
    """Exact counts of every table, one after another."""
    return {
        _my_named(database, schema, name): int(_rows(my, f"SELECT COUNT(*) FROM {mysql_name(schema, name)}")[0][0])
        for schema, name in _my_tables(my, database)
    }


def mysql_soundness(my: MySQL, database: str, step: Step) -> Soundness:
    """Reads everything. `my` is the master account's connection to a restored copy."""
    tables, problems = [], []
    names = _my_tables(my, database)
    for done, (schema, name) in enumerate(names):
        step.progress(done, len(names), "tables of MySQL")
        full, told = mysql_name(schema, name), _my_named(database, schema, name)
        try:
            for _, _, kind, text in _rows(my, f"CHECK TABLE {full}"):
                if kind in ("error", "warning") or (kind == "status" and text != "OK"):
                    problems.append(f"{told}: CHECK TABLE says {text}")
            rows = int(_rows(my, f"SELECT COUNT(*) FROM {full}")[0][0])
            digest = _rows(my, f"CHECKSUM TABLE {full}")[0][1]
        except pymysql.err.MySQLError as e:
            problems.append(f"{told} cannot be read in full: {e.args[-1]}")
            continue
        if digest is None:
            problems.append(f"{told} cannot be read in full: CHECKSUM TABLE gives nothing")
        tables.append(TableState(told, rows, str(digest)))
    problems += mysql_orphans(my, database)
    if not names:
        problems.append("there is no table at all")
    return Soundness(
        tables, problems, ["every row read in full (CHECKSUM TABLE)", "indexes (CHECK TABLE)", "foreign keys joined"]
    )


_MY_KEYS = """
SELECT k.CONSTRAINT_NAME, k.TABLE_NAME, k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, k.COLUMN_NAME,
  k.REFERENCED_COLUMN_NAME
FROM information_schema.KEY_COLUMN_USAGE k
WHERE k.TABLE_SCHEMA = %s AND k.REFERENCED_TABLE_NAME IS NOT NULL
ORDER BY k.TABLE_NAME, k.CONSTRAINT_NAME, k.ORDINAL_POSITION
"""


def mysql_orphans(my: MySQL, database: str) -> list[str]:
    """Foreign keys that point nowhere."""
    keys: dict[tuple[str, str, str, str], list[tuple[str, str]]] = {}
    for name, table, schema, parent, column, referenced in _rows(my, _MY_KEYS, database):
        keys.setdefault((name, table, schema, parent), []).append((column, referenced))
    problems = []
    for (name, table, schema, parent), columns in keys.items():
        query = orphan_query(
            mysql_name(database, table),
            mysql_name(schema, parent),
            [column for column, _ in columns],
            [referenced for _, referenced in columns],
            "`",
        )
        if orphans := int(_rows(my, query)[0][0]):
            problems.append(f"{table}: {orphans:,} rows point nowhere by the foreign key {name}")
    return problems


# --- both -------------------------------------------------------------------------------------------------------------


def orphan_query(child: str, parent: str, columns: Sequence[str], referenced: Sequence[str], quote: str) -> str:
    """Counts the rows of a child without their parent; a key with a NULL points to nobody, by the standard's rule."""

    def quoted(name: str) -> str:
        return quote + name.replace(quote, quote * 2) + quote

    joined = " AND ".join(
        f"p.{quoted(theirs)} = c.{quoted(own)}" for own, theirs in zip(columns, referenced, strict=True)
    )
    there = " AND ".join(f"c.{quoted(own)} IS NOT NULL" for own in columns)
    nowhere = f"NOT EXISTS (SELECT 1 FROM {parent} AS p WHERE {joined})"
    return f"SELECT count(*) FROM {child} AS c WHERE {there} AND {nowhere}"


def _named(schema: str, name: str) -> str:
    return name if schema == "public" else f"{schema}.{name}"


def _my_named(database: str, schema: str, name: str) -> str:
    return name if schema == database else f"{schema}.{name}"


def _my_tables(my: MySQL, database: str) -> list[tuple[str, str]]:
    found = _rows(
        my,
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = 'BASE TABLE' "
        "AND table_schema IN (%s, 'zdm') ORDER BY data_length, 1, 2",
        database,
    )
    return [(str(schema), str(name)) for schema, name in found]


def _one(pg: Postgres, query: Any) -> int:
    row = pg.execute(query).fetchone()
    assert row is not None  # an aggregate has a row
    return int(row[0])


def _rows(my: MySQL, statement: str, *values: Any) -> list[tuple[Any, ...]]:
    with my.cursor(pymysql.cursors.Cursor) as cursor:
        cursor.execute(statement, values or None)
        return list(cursor.fetchall())


def _line(e: Exception) -> str:
    return str(e).strip().split("\n")[0]
