"""`./zdm schema`: MySQL's schema as PostgreSQL's, made from the type contract, in three stages.

- `tables`: tables with their primary keys, NOT NULL, defaults, generated columns, identities, comments, and triggers
  for ON UPDATE CURRENT_TIMESTAMP (they stay silent for the CDC sink, whose values come from MySQL). Nothing that costs
  the copy time, or that one row could stop it with.
- `indexes`: secondary indexes that are not unique, after the copy, built without blocking writes.
- `constraints`: unique indexes, foreign keys, CHECKs (those of MySQL and the members of ENUMs) and sequences, when CDC
  has stopped: it applies partitions independently, so rows arrive out of order between tables and would break them.

Each run observes the target, plans what is missing or different, and applies the plan: a second run finds nothing to
do, and after a change of the source it applies the difference. What cannot be changed safely is named, with the way
out, and nothing at all is changed; so is what the contract has no rule for. What the source does not have any more is
named and never dropped. Views, triggers, procedures, functions and events are not made: `routines` says of each what
stands in the way, and what a view would be.

AUTO_INCREMENT becomes an identity (a sequence with a default where the column is numeric(20), which cannot have one).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psycopg
from rich.console import Console as RichConsole

from contract.tables import Table, postgres_name
from contract.types import COLLATIONS, NO_CHOICES, Choices, create_collation
from scripts.console import Console
from scripts.context import Context
from scripts.data import routines, schema_indexes, schema_tables
from scripts.data.inspect import Obstacle, mysql_tables, obstacles, value_obstacles, without_unsupported
from scripts.data.routines import CodeObject
from scripts.data.schema_changes import SCHEMA, Change, apply, apply_all, identifier
from scripts.data.schema_indexes import Index
from scripts.data.schema_tables import Difference, create_table
from scripts.data.schema_target import Target, Twin, observe, twin
from scripts.errors import UsageError, ZdmError

__all__ = ["STAGES", "Change", "SchemaResult", "Stage", "apply", "create_table", "identifier", "observe", "plan", "run"]

Stage = Literal["tables", "indexes", "constraints"]
STAGES: tuple[Stage, ...] = ("tables", "indexes", "constraints")


@dataclass(frozen=True)
class SchemaResult:
    """What was done, or (`dry_run`) would be, and what was left out."""

    stage: Stage
    changes: list[Change]
    left_out: list[Obstacle]
    warnings: list[Obstacle]
    dry_run: bool
    superfluous: list[Difference] = field(default_factory=list)
    """What is on the target and not on the source."""
    code: list[CodeObject] = field(default_factory=list)
    """Views, triggers, procedures, functions and events, each with a verdict."""

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
            "superfluous": [{"what": d.what, "wayOut": d.way_out} for d in self.superfluous],
            "code": [c.to_json() for c in self.code],
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
        code = {(c.kind, c.name) for c in self.code}
        for obstacle in self.left_out:
            if (obstacle.kind, obstacle.name) not in code:
                out.print(f"left out: {obstacle} ({obstacle.left_out})", markup=False)
        if self.stage == "tables":
            for kind, fate in routines.FATES.items():
                items = [item for item in self.code if item.kind == kind]
                for item in items:
                    out.print(f"left out: {item}", markup=False)
                if items:
                    out.print(f"  {'each' if len(items) > 1 else 'it'} is {fate}", markup=False)
        elif self.code:
            out.print(f"{len(self.code)} views, triggers and the like are left out (--stage tables has them)")
        for difference in self.superfluous:
            out.print(f"on the target only: {difference}", markup=False)


@dataclass
class Plan:
    """`different` is what must be changed by hand first."""

    changes: list[Change] = field(default_factory=list)
    different: list[Difference] = field(default_factory=list)
    superfluous: list[Difference] = field(default_factory=list)

    def add(self, found: tuple[list[Change], list[Difference]]) -> None:
        self.changes += found[0]
        self.different += found[1]


def run(
    context: Context,
    *,
    stage: Stage = "tables",
    dry_run: bool = False,
    skip_unsupported: bool = False,
    console: Console,
    scan_values: bool = True,
    jobs: int = 2,
    views: Path | None = None,
) -> SchemaResult:
    """Brings the target's schema to where `stage` ends, over at most `jobs` connections. `scan_values` reads the source
    once for values that cannot move; `views` is a file to write the views to, as PostgreSQL's SQL.

    Raises `UsageError` that lists everything the contract does not know (unless it may be left out), or everything on
    the target that is there but different; `ZdmError` for rows that a unique index or a constraint would refuse.
    """
    out = context.outputs
    choices = out.pipeline.choices
    with (
        console.step(f"Schema, {stage}: look at both databases") as step,
        context.mysql() as my,
        context.postgres() as pg,
    ):
        tables = mysql_tables(my, out.database, out.pipeline.tables or None)
        found = obstacles(my, out.database, tables, choices)
        if stage == "tables" and scan_values:
            found += value_obstacles(my, tables, choices)
        left_out = [o for o in found if o.blocking]
        refuse(left_out, skip_unsupported)
        carried = without_unsupported(tables, choices)
        target = observe(pg)
        planned = plan_stage(
            carried, target, stage, choices, twins_of(pg, carried, target, choices), not out.pipeline.tables
        )
        refuse_different(planned.different)
        if stage == "constraints":
            planned.changes += plan_sequences(pg, carried)
        code = routines.read(my, out.database, tables, choices)
        step.done(f"{len(planned.changes)} to do" if planned.changes else "nothing to do")
    for obstacle in found:
        if not obstacle.blocking and stage == "tables":
            console.warn(f"{obstacle}; {obstacle.left_out}")
    changes = planned.changes
    if changes and not dry_run:
        with console.step(f"Schema, {stage}: apply") as step:
            apply_all(context, changes, step, jobs=jobs, sizes=target.sizes)
            step.done(f"{len(changes)} changes")
    if any(item.kind == "view" for item in code):
        with console.step("Schema: try the views on the target") as step, context.postgres() as pg:
            code = routines.try_views(pg, code, tables)
            verdicts = [item.verdict for item in code if item.kind == "view"]
            step.done(f"{verdicts.count('translates')} of {len(verdicts)} translate")
    if views is not None:
        routines.write_views(views, code)
    return SchemaResult(
        stage, changes, left_out, [o for o in found if not o.blocking], dry_run, planned.superfluous, code
    )


def refuse(found: Sequence[Obstacle], skip_unsupported: bool) -> None:
    """Raises `UsageError` that lists what cannot be carried. Values cannot be skipped: their rows would stop CDC."""
    wrong = [o for o in found if o.kind == "value" or not skip_unsupported]
    if wrong:
        ways = ["--skip-unsupported leaves it out"] if any(o.kind != "value" for o in wrong) else []
        ways += ["rows with such values must be changed on the source"] if any(o.kind == "value" for o in wrong) else []
        raise UsageError(
            f"the source has what this version cannot carry ({'; '.join(ways)}):\n" + "\n".join(f"  {o}" for o in wrong)
        )


def refuse_different(different: Sequence[Difference]) -> None:
    """Raises `UsageError` that lists what is there but different."""
    if different:
        raise UsageError(
            "the target is different where that cannot be changed safely; nothing was changed:\n"
            + "\n".join(f"  {d}" for d in different)
        )


def plan(tables: Iterable[Table], target: Target, stage: Stage, choices: Choices = NO_CHOICES) -> list[Change]:
    """What is missing on the target for `stage`; what is there is not looked into."""
    return plan_stage(list(tables), target, stage, choices, {}).changes


def plan_stage(
    tables: Sequence[Table],
    target: Target,
    stage: Stage,
    choices: Choices,
    twins: dict[str, Twin],
    everything: bool = False,
) -> Plan:
    """What is missing or different on the target for `stage`. `everything`: the tables are all that the source has.

    Raises `UsageError` that lists the tables that are not there yet, which a later stage needs.
    """
    planned = Plan()
    if stage == "tables":
        planned.add(schema_tables.plan_tables(tables, target, twins, choices))
        planned.superfluous = schema_tables.superfluous(tables, target, everything)
    else:
        if missing := [table.name for table in tables if table.name not in target.columns]:
            raise UsageError(f"the target has no table {', '.join(missing)}: run `schema --stage tables` first")
        if lacking := [c.path for t in tables for c in t.columns if c.name not in target.columns[t.name]]:
            raise UsageError(f"the target has no column {', '.join(lacking)}: run `schema --stage tables` first")
        indexes = _indexes(tables, choices)
        unique = stage == "constraints"
        planned.add(schema_indexes.plan_indexes([i for i in indexes if i.unique is unique], target, twins))
        if unique:
            planned.add(schema_indexes.plan_constraints(tables, target, twins, choices))
        planned.superfluous = schema_indexes.superfluous(tables, target, indexes, choices, unique)
    planned.changes = [*_plan_collations(planned.changes, target), *planned.changes]
    return planned


def _indexes(tables: Sequence[Table], choices: Choices) -> list[Index]:
    referenced = schema_indexes.references(tables)
    return [index for table in tables for index in schema_indexes.indexes_of(table, choices, referenced)]


def _plan_collations(changes: Sequence[Change], target: Target) -> list[Change]:
    """The collations that the changes name."""
    text = "\n".join(statement for change in changes for statement in change.statements)
    return [
        Change(f"collation {name}", (create_collation(name, SCHEMA),))
        for name in COLLATIONS
        if postgres_name(name) in text and name not in target.collations
    ]


def twins_of(pg: psycopg.Connection[Any], tables: Sequence[Table], target: Target, choices: Choices) -> dict[str, Twin]:
    """How the target would write what is there of the tables, if it were as it ought to be."""
    found = {}
    by_table: dict[str, list[Index]] = {}
    for index in _indexes(tables, choices):
        by_table.setdefault(index.table, []).append(index)
    for table in tables:
        there = target.columns.get(table.name)
        if there is None:
            continue
        complete = all(column.name in there for column in table.columns)
        indexes = [i for i in by_table.get(table.name, []) if complete and i.name in target.indexes]
        checks = {
            name: sql
            for name, sql in schema_indexes.checks_of(table, choices).items()
            if complete and (table.name, name) in target.constraints
        }
        found[table.name] = twin(
            pg,
            table.name,
            schema_tables.twin_columns(table, target, choices),
            [index.sql(concurrently=False, temporary=True) for index in indexes],
            checks,
        )
    return found


# --- Sequences --------------------------------------------------------------------------------------------------------


def _following(table: Table, column: str, margin: int = 0) -> str:
    """SQL for what AUTO_INCREMENT must give next: past the largest value, and not before what MySQL would give."""
    return (
        f"SELECT GREATEST(COALESCE(MAX({postgres_name(column)}), 0) + 1 + {int(margin)}, {table.next_number})::bigint "
        f"FROM {postgres_name(SCHEMA, table.name)}"
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
            row = pg.execute(
                f"SELECT setval(pg_get_serial_sequence(%s, %s), ({_following(table, column.name, margin)}), false)",
                (postgres_name(SCHEMA, table.name), column.name),
            ).fetchone()
            if row is None or row[0] is None:
                raise ZdmError(f"{column.path} has no sequence on the target: run `schema --stage tables` first")
            values[column.path] = int(row[0])
    return values


def plan_sequences(pg: psycopg.Connection[Any], tables: Iterable[Table]) -> list[Change]:
    """Moves the sequences forward that would give a number again. Never back: others may use them already."""
    changes = []
    for table in tables:
        for column in table.columns:
            if not column.auto_increment:
                continue
            relation = postgres_name(SCHEMA, table.name)
            row = pg.execute("SELECT pg_get_serial_sequence(%s, %s)", (relation, column.name)).fetchone()
            if row is None or row[0] is None:
                raise ZdmError(f"{column.path} has no sequence on the target: run `schema --stage tables` first")
            following = _following(table, column.name)
            state = f"SELECT last_value + is_called::int FROM {row[0]}"
            behind = pg.execute(f"SELECT ({state}) < ({following})").fetchone()
            if behind is not None and behind[0]:
                sequence = "'" + row[0].replace("'", "''") + "'"
                setval = f"SELECT setval({sequence}, GREATEST(({following}), ({state})), false)"
                changes.append(Change(f"sequence of {column.path}", (setval,), table.name))
    return changes
