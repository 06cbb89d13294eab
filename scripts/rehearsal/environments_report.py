"""The report of a rehearsal of environments: a page of all of it, one of each environment, the same as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console as RichConsole
from rich.text import Text

from scripts.console import duration
from scripts.rehearsal.charts import Bar, waterfall
from scripts.rehearsal.environments_result import (
    ENVIRONMENTS,
    RESULT_FILE,
    Cell,
    Chapter,
    Environment,
    EnvironmentsResult,
    Table,
    load,
    save,
)
from scripts.rehearsal.report import moment, render_verdict, template

INDEX: Final = "index.html"
COLUMNS: Final = 4
PLAYED: Final = {
    "dev": "where a change is tried",
    "staging": "production's data, masked, and where a change is proven",
    "prod": "where the customers are",
}


@dataclass(frozen=True)
class EnvironmentsReport:
    """A written report: what the command answers."""

    result: EnvironmentsResult
    page: Path

    @property
    def ok(self) -> bool:
        return self.result.ok

    def to_json(self) -> dict[str, Any]:
        return {**self.result.to_json(), "page": str(self.page)}

    def render(self, out: RichConsole) -> None:
        result = self.result
        render_verdict(out, result.ok, headline(result), result.figures(), result.error)
        out.print(Text.assemble("\nReport: ", (str(self.page), "underline")))


def written(directory: Path) -> bool:
    """Whether a folder has such a report."""
    return (directory / RESULT_FILE).exists()


def write(result: EnvironmentsResult, directory: Path) -> EnvironmentsReport:
    """Writes `environments.json`, `index.html`, and a page for each environment into `directory`."""
    save(result, directory)
    for name, text in pages(result).items():
        (directory / name).write_text(text)
    return EnvironmentsReport(result, directory / INDEX)


def show(directory: Path) -> EnvironmentsReport:
    """Reads a rehearsal's result again and writes its pages anew. Raises `UsageError` when there is none."""
    return write(load(directory), directory)


def headline(result: EnvironmentsResult) -> str:
    """The rehearsal in one sentence."""
    if result.error:
        return f"The rehearsal did not come to its end after {duration(result.ended - result.started)}."
    failed = [f"{f.label[0].lower()}{f.label[1:]} ({f.text})" for f in result.figures() if not f.ok]
    failed += [f"{c.environment}: {c.title[0].lower()}{c.title[1:]}" for c in result.chapters if not c.ok]
    if failed:
        return f"The story was told to its end, but not all of it holds: {'; '.join(failed)}."
    return "Production was snapshotted, staging refreshed and masked, and only what was proven there was promoted."


def pages(result: EnvironmentsResult) -> dict[str, str]:
    """Every page as HTML, by its file. They refer to each other, and to nothing else."""
    return {INDEX: _page(result, None), **{f"{name}.html": _page(result, name) for name in ENVIRONMENTS}}


def _page(result: EnvironmentsResult, environment: Environment | None) -> str:
    figures = result.figures(environment)
    told = [chapter for chapter in result.chapters if environment in (None, chapter.environment)]
    good = bool(told) and all(figure.ok for figure in figures) and all(chapter.ok for chapter in told)
    ok = result.ok if environment is None else good
    anchors = {id(chapter): f"c{number}" for number, chapter in enumerate(result.chapters, 1)}
    whole = environment is None
    return template("environments.html.j2").render(
        title=f"Rehearsal {result.name}" if environment is None else environment,
        name=result.name,
        here="all" if environment is None else environment,
        pages=[("all", INDEX), *((name, f"{name}.html") for name in ENVIRONMENTS)],
        kicker="dev → staging → prod" if environment is None else environment,
        ok=ok,
        verdict="Passed" if ok else "Failed",
        headline=headline(result) if environment is None else _of_environment(environment, told, ok),
        lead=_lead(result) if environment is None else _times(told),
        error=result.error,
        started=moment(result.started),
        ended=moment(result.ended)[11:],
        figures=figures,
        columns=COLUMNS,
        fillers=-len(figures) % COLUMNS,
        story=waterfall([_bar(chapter) for chapter in told], label_width=330) if whole else "",
        story_text=f"{duration(result.ended - result.started)} from the first step to the last.",
        overview=[_shown(chapter, anchors, tables=False) for chapter in told] if whole else [],
        chapters=[] if whole else [_shown(chapter, anchors) for chapter in told],
        environment=_environment(result) if whole else [],
    )


def _of_environment(name: Environment, told: list[Chapter], ok: bool) -> str:
    if not told:
        return f"Nothing happened in {name}."
    bad = [chapter.title for chapter in told if not chapter.ok]
    state = "and all of it is good" if ok else f"and not all of it is good: {'; '.join(bad) or 'see the figures'}"
    return f"{name}: {PLAYED[name]}. {len(told)} chapters, {state}."


def _lead(result: EnvironmentsResult) -> str:
    rows = result.settings.get("rows")
    return (
        f"A shop of {rows:,} rows, three stacks, and the same commands that move the real ones, on one machine in "
        f"{duration(result.ended - result.started)}."
        if isinstance(rows, int)
        else "Three stacks, and the same commands that move the real ones, on one machine."
    )


def _times(told: list[Chapter]) -> str:
    return f"{duration(sum(chapter.seconds for chapter in told))} of the story took place here." if told else ""


def _bar(chapter: Chapter) -> Bar:
    label = f"{chapter.environment}: {chapter.title}"
    return Bar(label, chapter.started, chapter.ended, duration(chapter.seconds), chapter.ok, 0, chapter.summary)


def _shown(chapter: Chapter, anchors: dict[int, str], *, tables: bool = True) -> dict[str, Any]:
    steps = [Bar(s.title, s.started, s.ended, duration(s.seconds), s.ok, s.level, s.summary) for s in chapter.steps]
    return {
        "environment": chapter.environment,
        "anchor": anchors[id(chapter)],
        "title": chapter.title,
        "summary": chapter.summary,
        "text": chapter.text,
        "ok": chapter.ok,
        "took": duration(chapter.seconds),
        "tables": [_table(table) for table in chapter.tables] if tables else [],
        "flow": waterfall(steps, label_width=420) if tables and len(steps) > 1 else "",
    }


def _table(table: Table) -> dict[str, Any]:
    numeric = [
        any(isinstance(row[at], int | float) for row in table.rows)
        and not any(isinstance(r[at], str) for r in table.rows)
        for at in range(len(table.head))
    ]
    return {
        "title": table.title,
        "head": list(zip(table.head, numeric, strict=True)),
        "rows": [list(zip(map(_cell, row), numeric, strict=True)) for row in table.rows],
    }


def _cell(value: Cell) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _environment(result: EnvironmentsResult) -> list[tuple[str, list[tuple[str, str]]]]:
    settings = {name: value for name, value in result.settings.items() if value not in (None, "", [], False)}
    parts = [("Rehearsal", settings), ("Versions", result.versions), ("Machine", result.machine)]
    return [(title, [(k, str(v)) for k, v in pairs.items()]) for title, pairs in parts if pairs]
