"""The statement that masks a range of a table's rows, made from the masks of its columns.

What the masks need more than once (digests, steps of permutations: `Kept`) is computed in subqueries, one within the
other, which the server must not merge into one; the outermost is joined to the table by its primary key.

Invariants:
- Only the columns that have a mask change, and none that the database computes; `ON UPDATE` timestamps stay.
- A row of a table whose primary key is masked is left alone when its key has the mask's form: it moved, and may be met
  again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from contract.flag import Side
from contract.mask_terms import Kept, Term, kept_of, level
from contract.masks import BINARIES, ERASED, form_of, term_of
from contract.privacy import DataClass, DataClasses
from contract.tables import Column, Table
from scripts.data.keyset import Bounds
from scripts.environments.masked import Session

NO_MERGE = {Side.MYSQL: "LIMIT 18446744073709551615", Side.AURORA: "OFFSET 0"}
"""Keeps a subquery apart, so that what it computes is computed once."""


@dataclass(frozen=True)
class TablePlan:
    """What becomes of a table: `columns` are those that change, each with its class."""

    table: Table
    columns: tuple[tuple[Column, DataClass], ...]

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def moves(self) -> bool:
        """Whether rows change their place in the primary key."""
        return any(column.name in self.table.primary_key for column, _ in self.columns)


def plan_of(table: Table, classes: DataClasses) -> TablePlan | None:
    """None where nothing is to be masked."""
    columns = tuple(
        (column, classes.of(column))
        for column in table.columns
        if classes.of(column).name != "none" and column.generated is None
    )
    return TablePlan(table, columns) if columns else None


def update(session: Session, plan: TablePlan, bounds: Bounds) -> str:
    """The statement for the rows within the bounds."""
    terms = {column.name: term for column, given in plan.columns if (term := _term(column, given)) is not None}
    steps = {column.name: kept_of(terms[column.name]) for column, _ in plan.columns if column.name in terms}
    condition = session.condition(plan.table, bounds) if plan.table.primary_key else "TRUE"
    some = " OR ".join(f"{session.name(column.name)} IS NOT NULL" for column, _ in plan.columns)
    condition = f"{condition} AND ({some})"
    relation = session.relation(plan.name)
    if plan.moves or not plan.table.primary_key or not any(steps.values()):
        changes = _changes(session, plan, terms, {}, "t")
        kept_out = "".join(
            f" AND NOT {session.dialect.fits(session.text(column), form_of(given.mask, column))}"
            for column, given in plan.columns
            if column.name in plan.table.primary_key
        )
        return f"UPDATE {relation} AS t SET {changes} WHERE {condition}{kept_out}"
    names = {(column, kept): f"zdm_{i}" for i, (column, kept) in enumerate(_all(steps))}
    inner = _subquery(session, plan, names, condition)
    pairs = [(session.name(name), f"zdm_p{i}") for i, name in enumerate(plan.table.primary_key)]
    matched = " AND ".join(f"t.{name} = z.{alias}" for name, alias in pairs)
    changes = _changes(session, plan, terms, names, "t")
    if session.side is Side.MYSQL:
        return f"UPDATE {relation} AS t JOIN ({inner}) AS z ON {matched} SET {changes}"
    return f"UPDATE {relation} AS t SET {changes} FROM ({inner}) AS z WHERE {matched} AND {condition}"


def _term(column: Column, given: DataClass) -> Term | None:
    return term_of(given.mask, column) if given.mask else None


def _all(steps: Mapping[str, list[Kept]]) -> list[tuple[str, Kept]]:
    return [(column, kept) for column, found in steps.items() for kept in found]


def _subquery(session: Session, plan: TablePlan, names: Mapping[tuple[str, Kept], str], condition: str) -> str:
    texts = {column.name: session.text(column) for column, _ in plan.columns}
    alone = NO_MERGE[session.side]
    query, carried = session.relation(plan.name), [
        f"{session.name(name)} AS zdm_p{i}" for i, name in enumerate(plan.table.primary_key)
    ]  # fmt: skip
    for step in range(1, max(level(kept) for _, kept in names) + 1):
        made = []
        for (column, kept), alias in names.items():
            if level(kept) == step:
                known = {k: name for (c, k), name in names.items() if c == column and level(k) < step}
                made.append((alias, session.dialect.write(kept.of, texts[column], known)))
        columns = [*carried, *(f"{sql} AS {alias}" for alias, sql in made)]
        where = f" WHERE {condition}" if step == 1 else ""
        query = f"SELECT {', '.join(columns)} FROM {query}{where} {alone}"
        carried = [column.rpartition(" AS ")[2] for column in columns]
        query = query if step == max(level(kept) for _, kept in names) else f"({query}) AS zdm_s{step}"
    return query


def _changes(
    session: Session,
    plan: TablePlan,
    terms: Mapping[str, Term],
    names: Mapping[tuple[str, Kept], str],
    alias: str,
) -> str:
    changes = []
    for column, given in plan.columns:
        old = f"{alias}.{session.name(column.name)}"
        known = {kept: f"z.{name}" for (owner, kept), name in names.items() if owner == column.name}
        new = _new_value(session, column, given, terms.get(column.name), known, alias)
        changes.append(f"{_target(session, column, alias)} = {_unless_empty(session, column, old, new, alias)}")
    for column in plan.table.columns:
        if column.on_update_now and session.side is Side.MYSQL:
            changes.append(f"{_target(session, column, alias)} = {alias}.{session.name(column.name)}")
    return ", ".join(changes)


def _target(session: Session, column: Column, alias: str) -> str:
    """PostgreSQL wants the bare name on the left."""
    return f"{alias}.{session.name(column.name)}" if session.side is Side.MYSQL else session.name(column.name)


def _unless_empty(session: Session, column: Column, old: str, new: str, alias: str) -> str:
    if column.type in ("json", "double", "float", "decimal", "date", "datetime", "timestamp"):
        return f"CASE WHEN {session.text(column, alias)} IS NULL THEN {old} ELSE {new} END"
    length = "LENGTH" if session.side is Side.MYSQL else "octet_length"
    return f"CASE WHEN {old} IS NULL OR {length}({old}) = 0 THEN {old} ELSE {new} END"


def _new_value(
    session: Session, column: Column, given: DataClass, term: Term | None, known: Mapping[Kept, str], alias: str
) -> str:
    if given.name == "secret":
        return erased(session, column)
    if term is None:
        return f"FLOOR({alias}.{session.name(column.name)})"
    text = session.dialect.write(term, session.text(column, alias), known)
    mysql = session.side is Side.MYSQL
    if column.type in BINARIES:
        return f"UNHEX({text})" if mysql else f"decode({text}, 'hex')"
    if column.type == "json":
        return f"""CONCAT('{{"masked": "', {text}, '"}}')""" if mysql else f"jsonb_build_object('masked', {text})"
    if column.type in ("date", "datetime", "timestamp") and not mysql:
        return f"({text})::date" if column.type == "date" else f"({text})::timestamp"
    return text


def erased(session: Session, column: Column) -> str:
    """What takes a secret's place."""
    if column.nullable:
        return "NULL"
    if column.type in BINARIES or column.type.endswith("blob"):
        pad = (
            f"{ERASED.encode().hex():0<{2 * (column.length or 1)}}"
            if column.type == "binary"
            else ERASED.encode().hex()
        )
        return f"X'{pad}'" if session.side is Side.MYSQL else f"'\\x{pad}'::bytea"
    return f"'{ERASED}'"
