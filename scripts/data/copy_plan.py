"""What a copy has before it: the tables on both sides, what is in the way, and where a table is cut."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from contract.outputs import Pipeline
from contract.tables import Table, postgres_name
from contract.types import Choices, Unsupported, rule_for
from scripts.data import copy_state, copy_table
from scripts.data.copy_state import Run, Segment
from scripts.data.copy_table import Carried
from scripts.data.keyset import Bounds, split
from scripts.data.rules import SCHEMA, MySQL, Postgres, rules_of

PART_BYTES: Final = 32 << 20
"""A table is cut into segments of about this size, as many for each stream, so that all have work to the end."""
PARTS: Final = 16
"""But at most into so many for each stream."""


@dataclass(frozen=True)
class Seen:
    """What was found. `refused` says why nothing can be copied yet."""

    tables: list[Carried]
    """The largest first."""
    run: Run | None
    segments: list[Segment]
    """Of the tables that the run has begun."""
    refused: list[str]


def refused_by_state(pipeline: Pipeline, without_capture: bool) -> list[str]:
    """Why rows cannot be copied as the pipeline is."""
    if pipeline.copy_ != "zdm":
        return [f"rows travel by {pipeline.copy_} here: set cdc.copy to zdm and bring the stack up"]
    if pipeline.state == "running":
        return ["changes are applied already, and rows copied now could undo them: cdc.state must be capturing"]
    if pipeline.state == "stopped" and not without_capture:
        return [
            "nothing captures the changes that are made meanwhile: set cdc.state to capturing and bring the stack up "
            "(--without-capture copies all the same, and such changes are lost)"
        ]
    if pipeline.state == "capturing" and without_capture:
        return ["--without-capture is for a stack whose cdc.state is stopped"]
    return []


def observe(pg: Postgres, tables: Sequence[Table], pipeline: Pipeline, *, restart: bool = False) -> Seen:
    """Looks at the target, and holds it against the source's `tables`."""
    chosen, refused = _carried(tables, pipeline.choices, frozenset(pipeline.excluded))
    run = copy_state.current(pg) if copy_state.prepared(pg) else None
    segments = copy_state.segments(pg, run, [table.name for table in chosen]) if run else []
    if run is not None and not restart:
        refused += _changed(run, chosen)
        if run.captured != (pipeline.state == "capturing"):
            how = "while changes were captured" if run.captured else "without capture"
            refused.append(f"run {run.id} was begun {how} and cannot go on otherwise: --restart begins anew")
    refused += _unlike(pg, chosen) or _filled(pg, chosen, segments, restart)
    return Seen(chosen, run, segments, refused)


def parts(my: MySQL, table: Carried, streams: int) -> list[Bounds]:
    """Where a table is cut for so many streams."""
    for_each = math.ceil(table.rules.table.size / PART_BYTES / streams)
    cut = streams > 1 and table.rules.table.size > PART_BYTES
    return split(my, table.rules, streams * min(for_each, PARTS) if cut else 1)


def _carried(tables: Sequence[Table], choices: Choices, excluded: Collection[str]) -> tuple[list[Carried], list[str]]:
    chosen, refused = [], []
    for table in sorted(tables, key=lambda table: -table.size):
        kept = tuple(c for c in table.columns if c.path not in excluded or c.name in table.primary_key)
        problems = _problems(table := replace(table, columns=kept), choices)
        refused += problems
        if not problems:
            chosen.append(Carried(rules_of(table, choices)))
    return chosen, refused


def _problems(table: Table, choices: Choices) -> list[str]:
    problems = []
    for column in table.columns:
        try:
            rule_for(column, choices)
        except Unsupported as e:
            problems.append(f"{e} (cdc.excludedColumns leaves a column out)")
            continue
        if column.name in table.primary_key:
            if column.type.endswith("blob"):
                problems.append(f"{column.path}: a BLOB in the primary key has no literal to go on behind")
            if column.type in ("enum", "set") and "" in column.values:
                problems.append(f"{column.path}: in a primary key an empty member cannot be told from an invalid one")
    if not table.primary_key:
        problems.append(f"{table.name} has no primary key")
    return problems


def _changed(run: Run, tables: Sequence[Carried]) -> list[str]:
    return [
        f"{table.name} has changed since the copy began: {'; '.join(found)} (--restart -t {table.name} begins anew)"
        for table in tables
        if table.name in run.definitions
        and (found := copy_table.changes(run.definitions[table.name], table.definition()))
    ]


def _unlike(pg: Postgres, tables: Sequence[Carried]) -> list[str]:
    """What the target has not, or has of another type. (Lengths may differ: COPY holds the values against them.)"""
    there: dict[str, dict[str, str]] = {}
    for table_name, column_name, kind in pg.execute(
        "SELECT c.relname, a.attname, format_type(a.atttypid, NULL) FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE c.relkind IN ('r', 'p') AND c.relnamespace = %s::regnamespace",
        (SCHEMA,),
    ):
        there.setdefault(table_name, {})[column_name] = kind
    wanted = {rule.postgres for table in tables for _, rule in table.columns}
    bare = dict(
        pg.execute("SELECT kind, format_type(to_regtype(kind), NULL) FROM unnest(%s::text[]) kind", (list(wanted),))
    )
    refused = []
    for table in tables:
        if table.name not in there:
            refused.append(f"the target has no table {table.name}: run `./zdm schema` first")
            continue
        for column, rule in table.columns:
            have = there[table.name].get(column.name)
            if have is None:
                refused.append(f"the target has no column {column.path}: run `./zdm schema` first")
            elif have != bare[rule.postgres]:
                refused.append(f"{column.path} is {have} on the target and must be {rule.postgres}")
    return refused


def _filled(pg: Postgres, tables: Sequence[Carried], segments: Sequence[Segment], restart: bool) -> list[str]:
    """Rows where there should be none, or none where this copy has brought some."""
    refused = []
    for table in tables:
        rows = sum(segment.rows for segment in segments if segment.table == table.name)
        row = pg.execute(f"SELECT EXISTS (SELECT FROM {postgres_name(SCHEMA, table.name)})").fetchone()
        filled = row is not None and bool(row[0])
        if filled and not rows:
            refused.append(f"{table.name} has rows on the target that this copy has not brought: empty it first")
        elif rows and not filled and not restart:
            refused.append(
                f"{table.name} is empty, though {rows:,} rows were copied: --restart -t {table.name} begins anew"
            )
    return refused
