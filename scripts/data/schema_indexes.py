"""Indexes and constraints of the target, for the rows that are there already.

- A unique key over text becomes a unique index over what MySQL's collation compares (`unique_expression`), which the
  target refuses duplicates of as MySQL does. Where a foreign key refers to such a key, a second, plain one serves it.
- An index over the first n characters is one over `left(column, n)`, one over an expression is over its counterpart.
- PostgreSQL has no invisible indexes: a unique one is made (it still keeps duplicates out), another is left out.
- Constraints are added for new rows first (NOT VALID) and then validated: neither blocks writers while the table is
  read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contract import expressions
from contract.tables import Column, Key, Table, postgres_name
from contract.types import Choices, operands, rule_for, unique_expression
from scripts.data.schema_changes import SCHEMA, Change, identifier
from scripts.data.schema_tables import Difference
from scripts.data.schema_target import ConstraintState, Target, Twin, foreign_key_sql


@dataclass(frozen=True, slots=True)
class Index:
    """An index as it must be. `parts` are SQL, with their direction; `compared` without."""

    table: str
    name: str
    unique: bool
    parts: tuple[str, ...]
    compared: tuple[str, ...]

    def sql(self, *, concurrently: bool = True, temporary: bool = False) -> str:
        relation = postgres_name(self.table) if temporary else postgres_name(SCHEMA, self.table)
        return (
            f"CREATE {'UNIQUE ' if self.unique else ''}INDEX {'CONCURRENTLY ' if concurrently else ''}"
            f"{postgres_name(self.name)} ON {relation} ({', '.join(self.parts)})"
        )


def indexes_of(table: Table, choices: Choices, referenced: set[tuple[str, frozenset[str]]]) -> list[Index]:
    """The secondary indexes of a table. `referenced` are the tables and columns that foreign keys refer to."""
    found = []
    for key in table.keys:
        if not key.unique and not key.visible:
            continue
        index = _index(table, key, choices)
        found.append(index)
        if key.unique and (table.name, frozenset(key.columns)) in referenced:
            exact = _index(table, key, choices, exact=True)
            if exact.parts != index.parts:
                found.append(exact)
    return found


def _index(table: Table, key: Key, choices: Choices, exact: bool = False) -> Index:
    name = key.name if key.name.startswith(f"{table.name}_") else identifier(table.name, key.name)
    parts, compared = [], []
    for part in key.parts:
        if part.expression:
            result = expressions.translate(part.expression, operands(table.columns, choices))
            column, sql = result.operand.column if result.operand and result.kind == "text" else None, result.sql
        else:
            column = table.column(part.column)
            sql = _prefixed(column, part.prefix)
        if key.unique and not exact and column is not None and column.type not in ("enum", "set"):
            sql = unique_expression(column, sql)
        compared.append(sql)
        parts.append((sql if sql == postgres_name(part.column) else f"({sql})") + (" DESC" if part.descending else ""))
    name = identifier(name, "exact") if exact else identifier(name)
    return Index(table.name, name, key.unique, tuple(parts), tuple(compared))


def _prefixed(column: Column, prefix: int | None) -> str:
    name = postgres_name(column.name)
    if prefix is None or prefix >= (column.length or prefix + 1):
        return name
    return f"substring({name} FROM 1 FOR {prefix})" if column.collation is None else f"left({name}, {prefix})"


def references(tables: Iterable[Table]) -> set[tuple[str, frozenset[str]]]:
    """The tables and columns that foreign keys refer to."""
    return {(f.referenced_table, frozenset(f.referenced_columns)) for t in tables for f in t.foreign_keys}


def checks_of(table: Table, choices: Choices) -> dict[str, str]:
    """The table's CHECKs by name: those of MySQL, and the members of its ENUMs."""
    found = {}
    for column in table.columns:
        if check := rule_for(column, choices).check:
            found[identifier(table.name, column.name, "check")] = check.format(postgres_name(column.name))
    for own in table.checks:
        found[identifier(own.name)] = expressions.condition(own.expression, operands(table.columns, choices))
    return found


def plan_indexes(
    wanted: Sequence[Index], target: Target, twins: dict[str, Twin]
) -> tuple[list[Change], list[Difference]]:
    """Builds what is missing or was left unfinished; names what differs."""
    changes, different = [], []
    for index in wanted:
        there = target.indexes.get(index.name)
        if there is not None and there.valid:
            definition = twins[index.table].indexes.get(index.name) if index.table in twins else None
            if definition is not None and (there.table, there.definition) != (index.table, definition):
                different.append(
                    Difference(
                        f"index {index.name} is {there.definition} on {there.table}, it must be {definition}",
                        f"DROP INDEX CONCURRENTLY {index.name}, and run this again",
                    )
                )
            continue
        changes.append(
            Change(
                f"index {index.name}",
                (index.sql(),),
                index.table,
                index=index.name,
                parallel=True,
                before=_duplicates(index) if index.unique else "",
            )
        )
    return changes, different


def _duplicates(index: Index) -> str:
    listed = ", ".join(index.compared)
    present = " AND ".join(f"{sql} IS NOT NULL" for sql in index.compared)
    return (
        f"SELECT count(*), {listed} FROM {postgres_name(SCHEMA, index.table)} WHERE {present} "
        f"GROUP BY {listed} HAVING count(*) > 1 LIMIT 5"
    )


def plan_constraints(
    tables: Sequence[Table], target: Target, twins: dict[str, Twin], choices: Choices
) -> tuple[list[Change], list[Difference]]:
    """CHECKs and foreign keys: all are added before the first is validated."""
    adds: list[Change] = []
    validations: list[Change] = []
    different: list[Difference] = []
    for table in tables:
        relation = postgres_name(SCHEMA, table.name)
        keys = ", ".join(map(postgres_name, table.primary_key))
        wanted = {
            name: (f"CHECK ({sql})", f"SELECT {keys} FROM {relation} WHERE NOT ({sql}) LIMIT 5")
            for name, sql in checks_of(table, choices).items()
        }
        wanted |= {identifier(foreign.name): (foreign_key_sql(foreign), "") for foreign in table.foreign_keys}
        for name, (definition, offenders) in wanted.items():
            quoted = postgres_name(name)
            there = target.constraints.get((table.name, name))
            if there is None:
                adds.append(
                    Change(
                        f"constraint {table.name}.{name}",
                        (f"ALTER TABLE {relation} ADD CONSTRAINT {quoted} {definition} NOT VALID",),
                        table.name,
                    )
                )
            elif difference := _difference(table, name, definition, there, twins):
                different.append(difference)
                continue
            if there is None or not there.valid:
                validations.append(
                    Change(
                        f"validation of {table.name}.{name}",
                        (f"ALTER TABLE {relation} VALIDATE CONSTRAINT {quoted}",),
                        table.name,
                        parallel=True,
                        offenders=offenders,
                    )
                )
    return [*adds, *validations], different


def _difference(
    table: Table, name: str, definition: str, there: ConstraintState, twins: dict[str, Twin]
) -> Difference | None:
    if there.kind == "c":
        definition = twins[table.name].checks[name] if table.name in twins else there.definition
    if there.definition == definition:
        return None
    return Difference(
        f"constraint {table.name}.{name} is {there.definition}, it must be {definition}",
        f"ALTER TABLE {table.name} DROP CONSTRAINT {name}, and run this again",
    )


def superfluous(
    tables: Sequence[Table], target: Target, indexes: Sequence[Index], choices: Choices, constraints: bool
) -> list[Difference]:
    """Indexes (and in the last stage constraints) that the source does not have any more."""
    names = {table.name for table in tables}
    known = {index.name for index in indexes}
    found = [
        Difference(
            f"index {name} on {state.table} is not on the source", f"DROP INDEX CONCURRENTLY {name} if no one needs it"
        )
        for name, state in sorted(target.indexes.items())
        if state.table in names and name not in known and not state.of_constraint
    ]
    if not constraints:
        return found
    expected = {
        (table.name, name)
        for table in tables
        for name in (*checks_of(table, choices), *(identifier(f.name) for f in table.foreign_keys))
    }
    return found + [
        Difference(
            f"constraint {table}.{name} is not on the source",
            f"ALTER TABLE {table} DROP CONSTRAINT {name} if no one needs it",
        )
        for (table, name), state in sorted(target.constraints.items())
        if table in names and state.kind in "cf" and (table, name) not in expected
    ]
