"""A check's result as one self-contained page: it refers to nothing outside of itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.console import duration
from scripts.data.check_result import REPORTED, CheckResult

FILE: Final = "data-check.html"

_KINDS: Final = {
    "full": "Every row of every table was compared.",
    "tables": "Every row of the tables named was compared.",
    "where": "The rows under a condition were compared.",
    "sample": "A part of the rows, drawn by chance, was compared.",
    "since-last": "The rows that changed since the last clean check were compared.",
    "nightly": "The rows that changed since the last clean check, and a part of all rows, were compared.",
}


def write(result: CheckResult, *files: Path) -> None:
    text = page(result)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(f".{file.name}.part")
        part.write_text(text)
        part.replace(file)


def page(result: CheckResult) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("check.html.j2").render(
        result=result,
        headline=_headline(result),
        lead=f"{_KINDS[result.kind]} Method: {result.method}. {' '.join(_sentences(result))}".strip(),
        started=f"{datetime.fromtimestamp(result.started_at, UTC):%F %T} UTC",
        took=duration(result.seconds),
        duration=duration,
        chunks=sum(table.chunks for table in result.tables),
        reported=REPORTED,
    )


def _headline(result: CheckResult) -> str:
    if result.ok:
        return f"{result.rows:,} rows are the same in both databases."
    if result.mismatches:
        return f"{result.mismatches:,} of {result.rows:,} rows are not the same in both databases."
    return f"Of {result.rows:,} rows none was proven different, but some could not be judged."


def _sentences(result: CheckResult) -> list[str]:
    return [f"{text[0].upper()}{text[1:]}." for text in (result.reason, result.remark) if text]
