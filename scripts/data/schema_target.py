"""What is on the target, and how the target itself would write what ought to be there.

PostgreSQL keeps a default, a CHECK or an index as a tree, and prints it its own way (`'x'::character varying`). Rather
than guess how, `Twin` has it make an empty temporary table from our DDL in a transaction that is rolled back, and reads
back what it made of it: two definitions are the same if PostgreSQL prints them alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg

from contract.tables import ForeignKey, postgres_name
from contract.types import COLLATIONS, create_collation
from scripts.data.schema_changes import SCHEMA
from scripts.errors import ZdmError


@dataclass(frozen=True, slots=True)
class ColumnState:
    """`type` as `format_type` prints it; `default` and `generated` are expressions, or empty."""

    type: str
    not_null: bool = False
    default: str = ""
    generated: str = ""
    identity: bool = False
    comment: str = ""


@dataclass(frozen=True, slots=True)
class IndexState:
    table: str
    valid: bool
    definition: str
    """Whether it is unique, and all from its method on."""
    of_constraint: bool = False
    """Whether it belongs to a primary key or the like."""


@dataclass(frozen=True, slots=True)
class ConstraintState:
    kind: str
    """`c` CHECK, `f` foreign key, `p` primary key, `u` unique."""
    valid: bool
    definition: str


@dataclass
class Target:
    """The schema `public`. Constraints and triggers are keyed by table and name."""

    columns: dict[str, dict[str, ColumnState]] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of each table, without its indexes."""
    indexes: dict[str, IndexState] = field(default_factory=dict)
    constraints: dict[tuple[str, str], ConstraintState] = field(default_factory=dict)
    triggers: set[tuple[str, str]] = field(default_factory=set)
    collations: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Twin:
    """What a table ought to be, as PostgreSQL prints it."""

    columns: dict[str, ColumnState]
    indexes: dict[str, str]
    checks: dict[str, str]


def observe(pg: psycopg.Connection[Any]) -> Target:
    """The target's schema `public`."""
    target = Target()
    for table, size, comment in pg.execute(
        "SELECT relname, pg_table_size(oid), obj_description(oid, 'pg_class') FROM pg_class "
        "WHERE relkind IN ('r', 'p') AND relnamespace = %s::regnamespace",
        (SCHEMA,),
    ):
        target.columns[table] = {}
        target.comments[table] = comment or ""
        target.sizes[table] = size
    for table, columns in _columns(pg, SCHEMA).items():
        target.columns[table] = columns
    target.indexes = _indexes(pg, SCHEMA)
    target.constraints = _constraints(pg, SCHEMA)
    for table, name in pg.execute(
        "SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "WHERE NOT t.tgisinternal AND c.relnamespace = %s::regnamespace",
        (SCHEMA,),
    ):
        target.triggers.add((table, name))
    target.collations = {
        name
        for (name,) in pg.execute("SELECT collname FROM pg_collation WHERE collnamespace = %s::regnamespace", (SCHEMA,))
    }
    return target


def twin(
    pg: psycopg.Connection[Any], table: str, columns: Sequence[str], indexes: Sequence[str], checks: dict[str, str]
) -> Twin:
    """Has the target make a table of `columns` (each as DDL), `indexes` (CREATE INDEX statements on `table`) and
    `checks` (expressions by name), and take it back. Raises `ZdmError` if it refuses them."""
    name = postgres_name(table)
    constraints = [f"CONSTRAINT {postgres_name(check)} CHECK ({sql})" for check, sql in checks.items()]
    try:
        with pg.transaction(force_rollback=True):
            for collation in COLLATIONS:
                pg.execute(create_collation(collation, SCHEMA))
            pg.execute(f"CREATE TEMP TABLE {name} ({', '.join([*columns, *constraints])})")
            for statement in indexes:
                pg.execute(statement)
            row = pg.execute("SELECT nspname FROM pg_namespace WHERE oid = pg_my_temp_schema()").fetchone()
            assert row is not None, "a temporary table has a schema"
            space = str(row[0])
            return Twin(
                _columns(pg, space)[table],
                {index: state.definition for index, state in _indexes(pg, space).items()},
                {key[1]: state.definition for key, state in _constraints(pg, space).items()},
            )
    except psycopg.Error as e:
        raise ZdmError(f"the target refuses the definition of table {table}: {e}") from e


def _columns(pg: psycopg.Connection[Any], space: str) -> dict[str, dict[str, ColumnState]]:
    found: dict[str, dict[str, ColumnState]] = {}
    for table, name, kind, not_null, generated, identity, expression, comment in pg.execute(
        """
            SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated <> '',
                   a.attidentity <> '', pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
            FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
            WHERE c.relkind IN ('r', 'p') AND c.relnamespace = %s::regnamespace ORDER BY 1, a.attnum""",
        (space,),
    ):
        expression = expression or ""
        found.setdefault(table, {})[name] = ColumnState(
            kind, not_null, "" if generated else expression, expression if generated else "", identity, comment or ""
        )
    return found


def _indexes(pg: psycopg.Connection[Any], space: str) -> dict[str, IndexState]:
    return {
        name: IndexState(table, valid, ("UNIQUE " if unique else "") + definition.partition(" USING ")[2], owned)
        for table, name, valid, unique, definition, owned in pg.execute(
            """
                SELECT t.relname, c.relname, i.indisvalid, i.indisunique, pg_get_indexdef(c.oid),
                       EXISTS (SELECT FROM pg_constraint o WHERE o.conindid = c.oid AND o.contype IN ('p', 'u', 'x'))
                FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
                WHERE t.relkind IN ('r', 'p') AND c.relnamespace = %s::regnamespace""",
            (space,),
        )
    }


_ACTIONS = {"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}


def _constraints(pg: psycopg.Connection[Any], space: str) -> dict[tuple[str, str], ConstraintState]:
    found: dict[tuple[str, str], ConstraintState] = {}
    for table, name, kind, valid, definition, columns, parent, parent_columns, on_delete, on_update in pg.execute(
        """
            SELECT c.relname, o.conname, o.contype, o.convalidated, pg_get_constraintdef(o.oid),
                   ARRAY(SELECT attname::text FROM unnest(o.conkey) WITH ORDINALITY k(num, place)
                         JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.num ORDER BY place),
                   p.relname,
                   ARRAY(SELECT attname::text FROM unnest(o.confkey) WITH ORDINALITY k(num, place)
                         JOIN pg_attribute a ON a.attrelid = o.confrelid AND a.attnum = k.num ORDER BY place),
                   o.confdeltype, o.confupdtype
            FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid LEFT JOIN pg_class p ON p.oid = o.confrelid
            WHERE o.contype IN ('c', 'f', 'p', 'u') AND c.relnamespace = %s::regnamespace""",
        (space,),
    ):
        if kind == "f":
            actions = _ACTIONS[on_delete], _ACTIONS[on_update]
            definition = foreign_key_sql(ForeignKey(name, tuple(columns), parent, tuple(parent_columns), *actions))
        elif kind == "p":
            definition = primary_key_sql(columns)
        found[table, name] = ConstraintState(kind, valid, definition.removesuffix(" NOT VALID"))
    return found


def primary_key_sql(columns: Sequence[str]) -> str:
    return f"PRIMARY KEY ({', '.join(map(postgres_name, columns))})"


def foreign_key_sql(foreign: ForeignKey) -> str:
    return (
        f"FOREIGN KEY ({', '.join(map(postgres_name, foreign.columns))}) "
        f"REFERENCES {postgres_name(SCHEMA, foreign.referenced_table)} "
        f"({', '.join(map(postgres_name, foreign.referenced_columns))}) "
        f"ON DELETE {foreign.on_delete} ON UPDATE {foreign.on_update}"
    )
