"""`./zdm survey`: what is in the source, what of it moves, and what must be decided or changed first.

It reads the source once, and only reads: the catalog, then each table's values, all questions in one pass over chunks
of its key. Small tables are read in full, of big ones a sample: the result says of each table how much was read, and
what was seen in a sample is called that. `--full` reads everything.

The result is kept as `survey.json` beside the commands' state, with a page for people (`survey.html`); the next survey
takes the growth from it where the tables themselves do not tell it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole

from contract.tables import Table
from contract.types import Choices
from scripts.console import Console, Step
from scripts.context import Context
from scripts.data import survey_catalog, survey_page, survey_result
from scripts.data.inspect import (
    Obstacle,
    excluded_columns,
    mysql_tables,
    obstacles,
    value_obstacles,
    without_unsupported,
)
from scripts.data.schema import refuse
from scripts.data.survey_catalog import Catalog
from scripts.data.survey_growth import growth
from scripts.data.survey_result import Proposals, Survey, TableFacts
from scripts.data.survey_scan import MAX_RUNNING, PATIENCE, SAMPLE, Busy, Pace, prepare
from scripts.data.survey_values import Examined, examine, unread


@dataclass(frozen=True)
class SurveyReport:
    """A survey and where it is kept."""

    survey: Survey
    file: Path
    page: Path

    @property
    def ok(self) -> bool:
        return self.survey.ok

    def to_json(self) -> dict[str, Any]:
        return self.survey.to_json()

    def render(self, out: RichConsole) -> None:
        survey_page.render(self.survey, out)
        out.print(f"\nPage: {self.page}\nData: {self.file}", markup=False, soft_wrap=True)


def run(
    context: Context,
    *,
    tables: Sequence[str] | None = None,
    sample: float | None = None,
    busy: float = 1.0,
    output: Path | None = None,
    console: Console,
    max_running: int = MAX_RUNNING,
    patience: float = PATIENCE,
) -> SurveyReport:
    """Surveys all tables of the source, or those named (which does not replace the kept survey of all).

    `sample` is the share of big tables that is read (1: all of everything); None leaves it to the tables' sizes. `busy`
    (0 to 1) is the share of the time in which queries run. While more than `max_running` threads run on the source it
    waits; after `patience` seconds of that it reads no more values.
    """
    began, at = time.monotonic(), datetime.now(UTC)
    out = context.outputs
    name = "survey" if tables is None else "survey-part"
    file, page = context.home / f"{name}.json", context.home / f"{name}.html"
    pace = Pace(busy, max_running, patience)
    with console.step("Survey the source") as step, context.mysql() as my:
        prepare(my)
        found = mysql_tables(my, out.database, tables)
        step.update("its catalog")
        catalog = survey_catalog.read(my, out.database, found)
        before = survey_result.former(context.home / survey_result.FILE, out.database)
        facts, examined = _tables(context, my, found, catalog, before, at, sample, pace, step)
        choices = out.pipeline.choices
        moving = without_unsupported(found, choices)
        kept = {table.name for table in moving}
        survey = Survey(
            database=out.database,
            server=catalog.server,
            at=at,
            seconds=round(time.monotonic() - began, 3),
            sample=SAMPLE if sample is None else sample,
            paused_seconds=round(pace.waited, 3),
            tables=facts,
            objects=catalog.objects,
            charsets=catalog.charsets,
            settings=catalog.settings,
            privileges=catalog.privileges,
            transactions=catalog.transactions,
            obstacles=[
                *catalog.obstacles,
                *obstacles(my, out.database, found, choices),
                *(obstacle for one in examined for obstacle in one.obstacles),
            ],
            proposals=Proposals(
                tables=[table.name for table in moving],
                booleans=[choice for one in examined for choice in one.booleans],
                intervals=[choice for one in examined for choice in one.intervals],
                excluded_columns=excluded_columns([t for t in found if t.name in kept], choices),
            ),
            unknown=catalog.unknown,
        )
        step.done(f"{len(facts)} tables, {survey.rows_read:,} of {survey.rows:,} rows read")
    for path in (file, *([output] if output else [])):
        survey_result.save(survey, path)
    page.write_text(survey_page.page(survey))
    return SurveyReport(survey, output or file, page)


def _tables(
    context: Context,
    my: Any,
    tables: Sequence[Table],
    catalog: Catalog,
    before: Survey | None,
    at: datetime,
    sample: float | None,
    pace: Pace,
    step: Step,
) -> tuple[list[TableFacts], list[Examined]]:
    pipeline = context.outputs.pipeline
    facts, examined = [], []
    total = sum(table.size for table in tables)
    done = 0
    given_up: Busy | None = None
    for table in tables:
        if given_up is None:
            try:
                one = examine(my, table, pipeline.choices, pace, sample=sample, kafka=pipeline.copy_ != "dms")
            except Busy as e:
                given_up = e
        if given_up is not None:
            one = unread(table, given_up)
        sizes = catalog.sizes[table.name]
        readable = one.reading.how != "unread"
        increase = growth(my, table, sizes.auto_increment, before, at) if readable else None
        facts.append(
            TableFacts(
                name=table.name,
                engine=table.engine,
                rows=one.reading.of if one.reading.how == "all" else table.rows,
                data_bytes=sizes.data_bytes,
                index_bytes=sizes.index_bytes,
                columns=len(table.columns),
                primary_key=list(table.primary_key),
                keys=[key.name for key in table.keys],
                foreign_keys=[f"{key.name}: {key.referenced_table}" for key in table.foreign_keys],
                triggers=catalog.triggers.get(table.name, []),
                partitions=table.partitions,
                collation=sizes.collation,
                auto_increment=sizes.auto_increment,
                growth=increase,
                heat=catalog.heat.get(table.name),
                reading=one.reading,
                longest=one.longest,
                widest_row=one.widest_row,
                findings=one.findings,
            )
        )
        examined.append(one)
        done += table.size
        step.progress(done / 2**20, total / 2**20, "MiB looked at")
    return facts, examined


@dataclass(frozen=True)
class Movable:
    """What of the source can be migrated. `tables` are as they will be on the target; `excluded` (`table.column`) are
    the columns that CDC must not carry (setting `cdc.excludedColumns`)."""

    tables: list[Table]
    left_out: list[Obstacle]
    warnings: list[Obstacle]
    excluded: list[str]


def movable(context: Context, *, choices: Choices | None = None, skip_unsupported: bool = False) -> Movable:
    """What moves with the settings as they are (or with other `choices`), and what is left out; every value is read.
    Raises `UsageError` that lists what cannot move, unless it may be left out."""
    out = context.outputs
    choices = choices or out.pipeline.choices
    with context.mysql() as my:
        everything = mysql_tables(my, out.database, out.pipeline.tables or None)
        found = [*obstacles(my, out.database, everything, choices), *value_obstacles(my, everything, choices)]
    blocking = [o for o in found if o.blocking]
    refuse(blocking, skip_unsupported)
    tables = without_unsupported(everything, choices)
    kept = {table.name for table in tables}
    excluded = excluded_columns((t for t in everything if t.name in kept), choices)
    return Movable(tables, blocking, [o for o in found if not o.blocking], excluded)
