"""MySQL's views as PostgreSQL's: translated by sqlglot, and tried on the target in a transaction that is rolled back.

A view that PostgreSQL takes may still mean something else: what is known to differ (text that MySQL compares without
regard to case, divisions, ...) is said as a note. Nothing is created: the SQL goes into the result or a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import psycopg
import sqlglot
from sqlglot import exp

from contract.tables import Column, Table, postgres_name
from contract.types import NO_CHOICES, Choices, Unsupported, rule_for
from scripts.data.schema_changes import SCHEMA

Node = Any
"""A node of sqlglot's tree."""
TRIAL: Final = "zdm_trial"
"""The schema that trials are made in; it never lasts."""


@dataclass(frozen=True, slots=True)
class Translation:
    """`sql` is empty where `problem` is not."""

    sql: str = ""
    problem: str = ""
    notes: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


def translate(
    name: str,
    definition: str,
    database: str,
    tables: Iterable[Table],
    choices: Choices = NO_CHOICES,
    *,
    invoker: bool = False,
    check_option: str = "NONE",
) -> Translation:
    """A view's query as information_schema has it, as CREATE VIEW of PostgreSQL. `invoker`: SQL SECURITY INVOKER."""
    if not definition:
        return Translation(
            problem="its query cannot be read: grant SHOW VIEW to the account of outputs.source.adminSecret"
        )
    if re.search(r"\bmatch\b.+\bagainst\b", definition):
        return Translation(problem="it uses MATCH ... AGAINST, which needs tsvector")
    try:
        tree = sqlglot.parse_one(definition, read="mysql")
    except sqlglot.errors.SqlglotError as e:
        return Translation(problem=f"its query cannot be read: {str(e).splitlines()[0]}")
    own = {table.name: {c.name: c for c in table.columns} for table in tables}
    aliases = {t.alias_or_name: t.name for t in tree.find_all(exp.Table)}
    used = tuple(sorted({t.name for t in tree.find_all(exp.Table)}))
    if others := sorted({t.db for t in tree.find_all(exp.Table)} - {"", database}):
        return Translation(problem=f"it reads the database {', '.join(others)}", tables=used)

    def column_of(node: Node) -> Column | None:
        return own.get(aliases.get(node.table, ""), {}).get(node.name) if isinstance(node, exp.Column) else None

    notes = tuple(sorted(set(_notes(tree, column_of))))
    tree = _adapt(tree, column_of, choices)
    query = tree.sql("postgres", unsupported_level=sqlglot.ErrorLevel.IGNORE, normalize_functions=False)
    options = " WITH (security_invoker = true)" if invoker else ""
    check = f" WITH {check_option} CHECK OPTION" if check_option in ("LOCAL", "CASCADED") else ""
    return Translation(f"CREATE VIEW {postgres_name(name)}{options} AS {query}{check}", notes=notes, tables=used)


def _adapt(tree: Node, column_of: Any, choices: Choices) -> Node:
    """Without MySQL's introducers and database names. Numbers that stand for truth become comparisons, those that a
    boolean column is compared with become truth values, and LENGTH() counts bytes."""

    def change(node: Node) -> Node:
        if isinstance(node, exp.Introducer):
            return node.expression
        if isinstance(node, exp.Table | exp.Column):
            node.set("db", None)
        if node.is_int and node.name in "01" and isinstance(node.parent, exp.EQ | exp.NEQ):
            column = column_of(node.parent.right if node.arg_key == "this" else node.parent.left)
            if column is not None and _is_boolean(column, choices):
                return exp.Boolean(this=node.name == "1")
        if isinstance(node, exp.Column) and _stands_for_truth(node):
            column = column_of(node)
            if column is not None and not _is_boolean(column, choices):
                return exp.Paren(this=exp.NEQ(this=node.copy(), expression=exp.Literal.number(0)))
        return node

    tree = tree.transform(change)
    for length in list(tree.find_all(exp.Length)):
        if length.args.get("binary"):
            length.replace(exp.Anonymous(this="OCTET_LENGTH", expressions=[length.this]))
    return tree


def _stands_for_truth(node: Node) -> bool:
    parent, child = node.parent, node
    while isinstance(parent, exp.Paren):
        parent, child = parent.parent, parent
    if isinstance(parent, exp.And | exp.Or | exp.Not | exp.Where | exp.Having):
        return True
    return isinstance(parent, exp.If) and parent.this is child and not _of_simple_case(parent)


def _of_simple_case(node: Node) -> bool:
    """Whether it is a branch of `CASE x WHEN`, whose condition is a value."""
    return isinstance(node.parent, exp.Case) and node.parent.this is not None


def _is_boolean(column: Column, choices: Choices) -> bool:
    try:
        return rule_for(column, choices).postgres == "boolean"
    except Unsupported:
        return False


def _notes(tree: Node, column_of: Any) -> Iterable[str]:
    """What PostgreSQL may take and mean differently."""

    def folds(node: Node) -> bool:
        columns = filter(None, map(column_of, node.find_all(exp.Column)))
        return any(column.case_insensitive and column.type != "enum" for column in columns)

    for node in tree.find_all(exp.EQ, exp.NEQ, exp.In, exp.Like):
        if folds(node):
            yield "it compares text, in which PostgreSQL tells case and accents apart"
    for node in tree.find_all(exp.Group, exp.Distinct):
        if folds(node):
            yield "it groups by text, in which PostgreSQL tells case and accents apart"
    if tree.find(exp.Div, exp.Avg):
        yield "it divides: PostgreSQL's result has more digits"
    if tree.find(exp.GroupConcat):
        yield "GROUP_CONCAT() becomes string_agg(), which is not cut at group_concat_max_len"
    if tree.find(exp.CurrentTimestamp, exp.CurrentDate) or any(
        f.name.lower() in ("now", "sysdate", "curdate", "curtime") for f in tree.find_all(exp.Anonymous)
    ):
        yield "it asks for the time, which PostgreSQL gives in the session's time zone"


def try_on_target(
    pg: psycopg.Connection[Any], views: Mapping[str, str], source_tables: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """Creates the views (SQL by name) in a transaction that is rolled back, those that others are made of first.

    Returns the names of those that the target takes, in an order in which they can be made, and for the others why not.
    """
    made: list[str] = []
    problems: dict[str, str] = {}
    with pg.transaction(force_rollback=True):
        pg.execute(f"CREATE SCHEMA {TRIAL}")
        pg.execute(f"SET LOCAL search_path = {TRIAL}, {SCHEMA}")
        waiting = dict(views)
        progress = True
        while waiting and progress:
            progress = False
            for name, sql in list(waiting.items()):
                try:
                    with pg.transaction():
                        pg.execute(sql)
                except psycopg.Error as e:
                    problems[name] = _problem(e, source_tables)
                    continue
                del waiting[name]
                problems.pop(name, None)
                made.append(name)
                progress = True
    return made, problems


def _problem(error: psycopg.Error, source_tables: Sequence[str]) -> str:
    text = error.diag.message_primary or str(error)
    if isinstance(error, psycopg.errors.UndefinedTable):
        missing = text.removeprefix('relation "').removesuffix('" does not exist')
        if missing in source_tables:
            return f"not tried: the table {missing} is not on the target"
    return f"PostgreSQL: {text}"
