"""`./zdm schema`: MySQL's schema as PostgreSQL's, made from the type contract, in three stages.

- `tables`: tables with their primary keys, NOT NULL, defaults, ENUM checks, identities, and triggers for ON UPDATE
  CURRENT_TIMESTAMP (they stay silent for the CDC sink, whose values come from MySQL).
- `indexes`: secondary indexes that are not unique, after the snapshot, built without blocking writes.
- `constraints`: unique indexes, foreign keys and CHECKs, when CDC has stopped: it applies partitions independently,
  so rows arrive out of order between tables and would break them.

Each run observes the target, plans what is missing, and applies the plan: a second run finds nothing to do. What the
contract has no rule for is refused by name, all at once, before anything is changed.

Rules: AUTO_INCREMENT becomes an identity (a sequence with a default where the column is numeric(20), which cannot have
one). A unique key over case-insensitive text becomes a unique index over `lower(column)`: the target then refuses what
differs in case only, as MySQL does; it tells accents apart, which MySQL's `_ai_` collations do not. An index over the
first n characters is one over `left(column, n)`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from rich.console import Console as RichConsole

from contract.control import READER_ROLE, SINK_USER, WRITER_ROLE
from contract.tables import Column, ForeignKey, Key, Table, postgres_name
from contract.types import NO_CHOICES, Choices, TypeRule, Unsupported, default_for, rule_for
from scripts.console import Console
from scripts.context import Context
from scripts.data.inspect import (
    MAX_NAME,
    Obstacle,
    mysql_tables,
    obstacles,
    translate_check,
    value_obstacles,
    without_unsupported,
)
from scripts.errors import UsageError, ZdmError

SCHEMA = "public"

Stage = Literal["tables", "indexes", "constraints"]
STAGES: tuple[Stage, ...] = ("tables", "indexes", "constraints")


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to do on the target. Its statements run in one transaction, unless it must run outside of any."""

    what: str
    statements: tuple[str, ...]
    transaction: bool = True
    before: str = ""
    """A query that must find nothing, or the change would fail; it finds the values that stand in the way."""


@dataclass
class Target:
    """What is there: tables with their columns' types, indexes (valid or not), constraints (validated or not),
    triggers."""

    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    indexes: dict[str, bool] = field(default_factory=dict)
    constraints: dict[tuple[str, str], bool] = field(default_factory=dict)
    triggers: set[tuple[str, str]] = field(default_factory=set)


@dataclass(frozen=True)
class SchemaResult:
    """What was done, or (`dry_run`) would be, and what was left out."""

    stage: Stage
    changes: list[Change]
    left_out: list[Obstacle]
    warnings: list[Obstacle]
    dry_run: bool

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "dryRun": self.dry_run,
            "changes": [c.what for c in self.changes],
            "statements": [s for c in self.changes for s in c.statements],
            "leftOut": [o.to_json() for o in self.left_out],
            "warnings": [o.to_json() for o in self.warnings],
        }

    def render(self, out: RichConsole) -> None:
        if self.dry_run:
            for change in self.changes:
                out.print("\n".join(f"{s};" for s in change.statements), markup=False, soft_wrap=True)
        out.print(
            f"{len(self.changes)} changes {'to do' if self.dry_run else 'done'} in stage {self.stage}"
            if self.changes
            else f"Stage {self.stage} is as it must be; nothing to do."
        )
        for obstacle in self.left_out:
            out.print(f"left out: {obstacle} ({obstacle.left_out})", markup=False)


def run(
    context: Context,
    *,
    stage: Stage = "tables",
    dry_run: bool = False,
    skip_unsupported: bool = False,
    console: Console,
    scan_values: bool = True,
) -> SchemaResult:
    """Brings the target's schema to where `stage` ends. `scan_values` reads the source once for values that cannot
    move.

    Raises `UsageError` that lists everything the contract does not know (unless it may be left out), and everything on
    the target that is there but different; `ZdmError` for rows that a unique index would refuse.
    """
    out = context.outputs
    with (
        console.step(f"Schema, {stage}: look at both databases") as step,
        context.mysql() as my,
        context.postgres() as pg,
    ):
        tables = mysql_tables(my, out.database, out.pipeline.tables or None)
        found = obstacles(my, out.database, tables, out.pipeline.choices)
        if stage == "tables" and scan_values:
            found += value_obstacles(my, tables, out.pipeline.choices)
        left_out = [o for o in found if o.blocking]
        refuse(left_out, skip_unsupported)
        changes = plan(without_unsupported(tables, out.pipeline.choices), observe(pg), stage, out.pipeline.choices)
        step.done(f"{len(changes)} to do" if changes else "nothing to do")
    for obstacle in found:
        if not obstacle.blocking and stage == "tables":
            console.warn(f"{obstacle}; {obstacle.left_out}")
    if changes and not dry_run:
        with console.step(f"Schema, {stage}: apply") as step, context.postgres() as pg:
            require_no_conflicts(pg, changes)
            for i, change in enumerate(changes):
                step.progress(i, len(changes), change.what)
                apply(pg, change)
            step.done(f"{len(changes)} changes")
    return SchemaResult(stage, changes, left_out, [o for o in found if not o.blocking], dry_run)


def refuse(found: Sequence[Obstacle], skip_unsupported: bool) -> None:
    """Raises `UsageError` that lists what cannot be carried. Values cannot be skipped: their rows would stop CDC."""
    wrong = [o for o in found if o.kind == "value" or not skip_unsupported]
    if wrong:
        ways = ["--skip-unsupported leaves it out"] if any(o.kind != "value" for o in wrong) else []
        ways += ["rows with such values must be changed on the source"] if any(o.kind == "value" for o in wrong) else []
        raise UsageError(
            f"the source has what this version cannot carry ({'; '.join(ways)}):\n" + "\n".join(f"  {o}" for o in wrong)
        )


def observe(pg: psycopg.Connection[Any]) -> Target:
    """The target's schema `public`."""
    target = Target()
    for table, column, kind in pg.execute(
        """
            SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_class c
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE c.relkind IN ('r', 'p') AND c.relnamespace = %s::regnamespace""",
        (SCHEMA,),
    ):
        target.columns.setdefault(table, {})[column] = kind
    for name, valid in pg.execute(
        """
            SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
            WHERE c.relnamespace = %s::regnamespace""",
        (SCHEMA,),
    ):
        target.indexes[name] = valid
    for table, name, valid in pg.execute(
        """
            SELECT c.relname, o.conname, o.convalidated FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid
            WHERE c.relnamespace = %s::regnamespace""",
        (SCHEMA,),
    ):
        target.constraints[table, name] = valid
    for table, name in pg.execute(
        """
            SELECT c.relname, t.tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
            WHERE NOT t.tgisinternal AND c.relnamespace = %s::regnamespace""",
        (SCHEMA,),
    ):
        target.triggers.add((table, name))
    return target


def plan(tables: Iterable[Table], target: Target, stage: Stage, choices: Choices = NO_CHOICES) -> list[Change]:
    """What is missing on the target for `stage`. Raises `UsageError` that lists what is there but different, and for a
    later stage the tables that are not there yet."""
    tables = list(tables)
    if stage == "tables":
        return _plan_tables(tables, target, choices)
    if missing := [table.name for table in tables if table.name not in target.columns]:
        raise UsageError(f"the target has no table {', '.join(missing)}: run `schema --stage tables` first")
    if stage == "indexes":
        return [c for t in tables for k in t.keys if not k.unique for c in _plan_index(t, k, target)]
    referenced = {(f.referenced_table, frozenset(f.referenced_columns)) for t in tables for f in t.foreign_keys}
    changes = []
    for table in tables:
        for key in table.keys:
            if key.unique:
                changes += _plan_index(table, key, target)
                if (table.name, frozenset(key.columns)) in referenced and _folded(table, key):
                    changes += _plan_index(table, key, target, exact=True)
        for check in table.checks:
            expression = translate_check(check.expression)
            changes += _plan_constraint(table, check.name, f"CHECK ({expression})", target)
    for table in tables:
        for foreign in table.foreign_keys:
            changes += _plan_constraint(table, foreign.name, _foreign_key_sql(foreign), target)
    return changes


def apply(pg: psycopg.Connection[Any], change: Change) -> None:
    """Does one change; in one transaction where that is possible. `pg` must be in autocommit mode."""
    try:
        if change.transaction:
            with pg.transaction():
                for statement in change.statements:
                    pg.execute(statement)
        else:
            for statement in change.statements:
                pg.execute(statement)
    except psycopg.Error as e:
        raise ZdmError(f"{change.what} failed on the target: {e}") from e


def require_no_conflicts(pg: psycopg.Connection[Any], changes: Iterable[Change]) -> None:
    """Raises `ZdmError` that lists the values which the changes' unique indexes would refuse."""
    found = []
    for change in changes:
        if change.before:
            for row in pg.execute(change.before):
                found.append(f"  {change.what}: {row[0]:,} rows have {', '.join(map(repr, row[1:]))}")
    if found:
        raise ZdmError(
            "rows stand in the way of unique indexes (values beyond the first 5 of each are not listed):\n"
            + "\n".join(found)
        )


def set_sequences(pg: psycopg.Connection[Any], tables: Iterable[Table], margin: int = 0) -> dict[str, int]:
    """Sets the sequence of each AUTO_INCREMENT column past the largest value there is, and `margin` further.

    Returns the next value by `table.column`. Run it when no one writes any more.
    """
    values = {}
    for table in tables:
        for column in table.columns:
            if not column.auto_increment:
                continue
            relation = postgres_name(SCHEMA, table.name)
            following = f"GREATEST(COALESCE(MAX({postgres_name(column.name)}), 0), 0) + 1 + %s"
            row = pg.execute(
                f"SELECT setval(pg_get_serial_sequence(%s, %s), ({following})::bigint, false) FROM {relation}",
                (relation, column.name, margin),
            ).fetchone()
            if row is None or row[0] is None:
                raise ZdmError(f"{column.path} has no sequence on the target: run `schema --stage tables` first")
            values[column.path] = int(row[0])
    return values


# --- Tables -----------------------------------------------------------------------------------------------------------


def _plan_tables(tables: Sequence[Table], target: Target, choices: Choices) -> list[Change]:
    changes: list[Change] = []
    different: list[str] = []
    for table in tables:
        rules = {column.name: rule_for(column, choices) for column in table.columns}
        relation = postgres_name(SCHEMA, table.name)
        there = target.columns.get(table.name)
        if there is None:
            changes.append(Change(f"table {table.name}", tuple(create_table(table, rules))))
        else:
            for column in table.columns:
                kind = there.get(column.name)
                if kind is None:
                    changes.append(
                        Change(
                            f"column {column.path}",
                            (f"ALTER TABLE {relation} ADD COLUMN {_column_sql(column, rules[column.name])}",),
                        )
                    )
                elif kind != _format(rules[column.name].postgres):
                    different.append(f"  {column.path} is {kind}, it must be {_format(rules[column.name].postgres)}")
        changes += [
            change for column in table.columns if column.on_update_now for change in _plan_stamp(table, column, target)
        ]
    if different:
        raise UsageError("the target has tables that do not fit; drop or alter them:\n" + "\n".join(different))
    return changes


def create_table(table: Table, rules: Mapping[str, TypeRule]) -> list[str]:
    """The statements that make a table with its primary key, and give the roles what they need."""
    name = postgres_name(SCHEMA, table.name)
    before, after = [], []
    lines = []
    for column in table.columns:
        lines.append(_column_sql(column, rules[column.name]))
        if column.auto_increment and rules[column.name].postgres == "numeric(20)":
            sequence = postgres_name(SCHEMA, _sequence(column))
            before.append(f"CREATE SEQUENCE {sequence}")
            after.append(f"ALTER SEQUENCE {sequence} OWNED BY {name}.{postgres_name(column.name)}")
            after.append(f"GRANT USAGE, SELECT ON SEQUENCE {sequence} TO {WRITER_ROLE}")
    lines += [
        f"CONSTRAINT {postgres_name(identifier(table.name, column.name, 'check'))} "
        f"CHECK ({rules[column.name].check.format(postgres_name(column.name))})"
        for column in table.columns
        if rules[column.name].check
    ]
    lines.append(f"PRIMARY KEY ({', '.join(map(postgres_name, table.primary_key))})")
    return [
        *before,
        f"CREATE TABLE {name} (\n  " + ",\n  ".join(lines) + "\n)",
        *after,
        f"GRANT SELECT ON {name} TO {READER_ROLE}",
        f"GRANT INSERT, UPDATE, DELETE ON {name} TO {WRITER_ROLE}",
    ]


def _column_sql(column: Column, rule: TypeRule) -> str:
    parts = [postgres_name(column.name), rule.postgres]
    if not column.nullable:
        parts.append("NOT NULL")
    if rule.generated:
        parts.append(f"GENERATED ALWAYS AS ({rule.generated}) STORED")
    elif column.auto_increment:
        if rule.postgres == "numeric(20)":
            parts.append(f"DEFAULT nextval('{postgres_name(SCHEMA, _sequence(column))}')")
        else:
            parts.append("GENERATED BY DEFAULT AS IDENTITY")
    else:
        try:
            default = default_for(column, rule)
        except Unsupported:
            default = None  # named among what is left out
        if default is not None:
            parts.append(f"DEFAULT {default}")
    return " ".join(parts)


def _plan_stamp(table: Table, column: Column, target: Target) -> list[Change]:
    """ON UPDATE CURRENT_TIMESTAMP: stamps a changed row unless the statement sets the column itself, as MySQL does."""
    trigger = identifier("stamp", column.name)
    if (table.name, trigger) in target.triggers:
        return []
    name = postgres_name(column.name)
    now = f"CURRENT_TIMESTAMP({column.fraction})" + ("" if column.type == "timestamp" else " AT TIME ZONE 'UTC'")
    function = postgres_name(SCHEMA, identifier("stamp", column.name, f"{column.type}{column.fraction}"))
    carried = [postgres_name(c.name) for c in table.columns if c.generated is None]
    changed = (
        f"ROW({', '.join(f'NEW.{c}' for c in carried)}) IS DISTINCT FROM ROW({', '.join(f'OLD.{c}' for c in carried)})"
    )
    make = (
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$stamp$ BEGIN NEW.{name} := {now}; RETURN NEW; END $stamp$"
    )
    use = (
        f"CREATE TRIGGER {postgres_name(trigger)} BEFORE UPDATE ON {postgres_name(SCHEMA, table.name)} FOR EACH ROW "
        f"WHEN (current_user <> '{SINK_USER}' AND NEW.{name} IS NOT DISTINCT FROM OLD.{name} AND {changed}) "
        f"EXECUTE FUNCTION {function}()"
    )
    return [Change(f"trigger {table.name}.{trigger}", (make, use))]


def identifier(*parts: str) -> str:
    """A name made of parts; a longer one than PostgreSQL takes is cut and told apart by a hash."""
    name = "_".join(parts)
    if len(name.encode()) <= MAX_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return name.encode()[: MAX_NAME - 9].decode(errors="ignore") + "_" + digest


def _sequence(column: Column) -> str:
    return identifier(column.table, column.name, "seq")


_LONG = {
    "varchar": "character varying{}",
    "timestamp": "timestamp{} without time zone",
    "time": "time{} without time zone",
    "timestamptz": "timestamp{} with time zone",
    "bit": "bit{}",
}


def _format(kind: str) -> str:
    """A type as PostgreSQL's `format_type` writes it."""
    match = re.fullmatch(r"(\w+)(\([\d,]+\))?", kind)
    if match is None:
        return kind
    base, size = match[1], match[2] or ""
    if base == "numeric" and size and "," not in size:
        size = size[:-1] + ",0)"
    return _LONG[base].format(size) if base in _LONG else base + size


# --- Indexes and constraints ------------------------------------------------------------------------------------------


def _folded(table: Table, key: Key) -> bool:
    return key.unique and any(table.column(name).case_insensitive for name in key.columns)


def _index_name(table: Table, key: Key) -> str:
    return key.name if key.name.startswith(f"{table.name}_") else identifier(table.name, key.name)


def _plan_index(table: Table, key: Key, target: Target, exact: bool = False) -> list[Change]:
    name = _index_name(table, key) if not exact else identifier(_index_name(table, key), "exact")
    name = name if len(name.encode()) <= MAX_NAME else identifier(name)
    valid = target.indexes.get(name)
    if valid:
        return []
    parts, expressions = [], []
    for part in key.parts:
        column = table.column(part.column)
        expression = postgres_name(part.column)
        if part.prefix is not None and part.prefix < (column.length or part.prefix + 1):
            function = "substring" if column.collation is None else "left"
            arguments = (
                f"{expression} FROM 1 FOR {part.prefix}" if column.collation is None else f"{expression}, {part.prefix}"
            )
            expression = f"{function}({arguments})"
        if key.unique and column.case_insensitive and not exact:
            expression = f"lower({expression})"
        expressions.append(expression)
        parts.append(
            (expression if expression.startswith('"') else f"({expression})") + (" DESC" if part.descending else "")
        )
    relation = postgres_name(SCHEMA, table.name)
    create = (
        f"CREATE {'UNIQUE ' if key.unique else ''}INDEX CONCURRENTLY {postgres_name(name)} ON {relation} "
        f"({', '.join(parts)})"
    )
    drop = (f"DROP INDEX CONCURRENTLY {postgres_name(SCHEMA, name)}",) if valid is False else ()
    before = ""
    if key.unique:
        listed = ", ".join(expressions)
        present = " AND ".join(f"{e} IS NOT NULL" for e in expressions)
        before = (
            f"SELECT count(*), {listed} FROM {relation} WHERE {present} GROUP BY {listed} HAVING count(*) > 1 LIMIT 5"
        )
    return [Change(f"index {name}", (*drop, create), transaction=False, before=before)]


def _foreign_key_sql(foreign: ForeignKey) -> str:
    return (
        f"FOREIGN KEY ({', '.join(map(postgres_name, foreign.columns))}) "
        f"REFERENCES {postgres_name(SCHEMA, foreign.referenced_table)} "
        f"({', '.join(map(postgres_name, foreign.referenced_columns))}) "
        f"ON DELETE {foreign.on_delete} ON UPDATE {foreign.on_update}"
    )


def _plan_constraint(table: Table, name: str, definition: str, target: Target) -> list[Change]:
    """First for new rows only, then for all: adding it does not block writes while the table is read."""
    relation, quoted = postgres_name(SCHEMA, table.name), postgres_name(identifier(name))
    valid = target.constraints.get((table.name, identifier(name)))
    if valid:
        return []
    add = Change(
        f"constraint {table.name}.{name}", (f"ALTER TABLE {relation} ADD CONSTRAINT {quoted} {definition} NOT VALID",)
    )
    validate = Change(f"validation of {table.name}.{name}", (f"ALTER TABLE {relation} VALIDATE CONSTRAINT {quoted}",))
    return [validate] if valid is False else [add, validate]
