"""The survey for people: one self-contained page, and a summary for the terminal."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rich import box
from rich.console import Console as RichConsole
from rich.table import Table as RichTable
from rich.text import Text

from scripts.console import duration
from scripts.data.inspect import Obstacle
from scripts.data.survey_result import Survey, TableFacts, listed, percent, size_text

KINDS: Final = {
    "setting": "Settings of the source",
    "privilege": "Privileges",
    "transaction": "Long transactions",
    "table": "Tables",
    "type": "Columns without a rule",
    "generated column": "Generated columns",
    "default": "Defaults",
    "value": "Values",
    "row": "Large rows",
    "unique": "Unique keys",
    "key": "Primary keys over text",
    "index": "Indexes",
    "check": "Checks",
    "cascade": "Cascading foreign keys",
    "trigger": "Triggers",
    "view": "Views",
    "procedure": "Procedures",
    "function": "Functions",
    "event": "Events",
    "partitions": "Partitions",
    "engine": "Engines",
    "unread": "Not read",
}
"""Kinds of obstacles, in the order of the page."""

_SHOWN_IN_TERMINAL: Final = 12


def headline(survey: Survey) -> str:
    """The survey in one sentence."""
    what = f"{len(survey.tables)} tables, {size_text(survey.size)}"
    blocking = survey.blocking
    if not blocking:
        return f"{what}: nothing stands in the way of the migration."
    counts = Counter(o.kind for o in blocking)
    named = [f"{n} × {KINDS.get(kind, kind).lower()}" for kind, n in counts.most_common(3)]
    more = " and others" if len(counts) > 3 else ""
    return f"{what}: {len(blocking)} things must be changed or left out by name ({', '.join(named)}{more})."


def render(survey: Survey, out: RichConsole) -> None:
    """The most important of it for a terminal."""
    ok = survey.ok
    stamp = ("  READY  ", "bold white on green") if ok else ("  TO DO  ", "bold white on red")
    out.print(Text.assemble(stamp, "  ", headline(survey)))
    out.print()
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ("table", "rows", "size", "a day", "read"):
        table.add_column(name, justify="left" if name in ("table", "read") else "right")
    biggest = _by_size(survey.tables)
    for facts in biggest[:_SHOWN_IN_TERMINAL]:
        table.add_row(
            Text(facts.name),
            f"{facts.rows:,}",
            size_text(facts.size),
            size_text(facts.growth.bytes_per_day) if facts.growth else "",
            Text(facts.reading.text, style="dim"),
        )
    out.print(table)
    if len(biggest) > _SHOWN_IN_TERMINAL:
        rest = biggest[_SHOWN_IN_TERMINAL:]
        out.print(Text(f"and {len(rest)} smaller tables, {size_text(sum(t.size for t in rest))}", style="dim"))
    for title, found in (("In the way", survey.blocking), ("To know", [o for o in survey.obstacles if not o.blocking])):
        if found:
            out.print(Text(f"\n{title} ({len(found)})", style="bold"))
        for obstacle in found[:_SHOWN_IN_TERMINAL]:
            out.print(Text(f"  {obstacle} ({obstacle.left_out})"), soft_wrap=True)
        if len(found) > _SHOWN_IN_TERMINAL:
            out.print(Text(f"  … and {len(found) - _SHOWN_IN_TERMINAL} more on the page", style="dim"))
    out.print(Text("\nSettings that follow", style="bold"))
    for name, values in survey.proposals.settings.items():
        shown = ", ".join(values) if len(values) <= _SHOWN_IN_TERMINAL else f"{len(values)} names, see the page"
        out.print(Text(f"  {name}: {shown}"), soft_wrap=True)
    if doubtful := [c.column for c in (*survey.proposals.booleans, *survey.proposals.intervals) if not c.proven]:
        out.print(
            Text(f"  of these from a sample only: {', '.join(doubtful)}; --full, or `./zdm schema`, confirms them"),
            soft_wrap=True,
        )


def page(survey: Survey) -> str:
    """The whole page as HTML; it refers to nothing outside of itself."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bytes": size_text, "percent": percent, "duration": duration}
    largest = max((table.size for table in survey.tables), default=0) or 1
    return environment.get_template("survey.html.j2").render(
        survey=survey,
        headline=headline(survey),
        lead=_lead(survey),
        figures=_figures(survey),
        blocking=_grouped(survey.blocking),
        notes=_grouped([o for o in survey.obstacles if not o.blocking]),
        tables=_by_size(survey.tables),
        largest=largest,
        lobs=sorted(
            ((length, f"{t.name}.{column}") for t in survey.tables for column, length in t.longest.items() if length),
            reverse=True,
        )[:15],
        hot=sorted((t for t in survey.tables if t.heat), key=_heat, reverse=True)[:10],
        settings=yaml_lines(survey),
        choices=[
            *(("cdc.booleans", choice) for choice in survey.proposals.booleans),
            *(("cdc.intervals", choice) for choice in survey.proposals.intervals),
        ],
    )


def yaml_lines(survey: Survey) -> str:
    """The proposals as they stand in `Pulumi.<stack>.yaml`."""
    lines = ["config:", "  zdm:cdc:"]
    for name, values in survey.proposals.settings.items():
        lines += [f"    {name.removeprefix('cdc.')}:", *(f"      - {_scalar(value)}" for value in values)]
    return "\n".join(lines) if len(lines) > 2 else ""


def _scalar(text: str) -> str:
    """A string in YAML; JSON's quotes are YAML's too."""
    return text if re.fullmatch(r"[A-Za-z_][\w.]*", text) else json.dumps(text, ensure_ascii=False)


def _lead(survey: Survey) -> str:
    unproven = [t for t in survey.tables if not t.reading.proven]
    read = f"{survey.rows_read:,} rows were read in {duration(survey.seconds)}."
    if unproven:
        names = listed([t.name for t in unproven])
        read += f" Of {names} a part only, or nothing: what was not seen there may still exist."
    return f"Database “{survey.database}” on {survey.server}. {read}"


def _figures(survey: Survey) -> list[dict[str, Any]]:
    known = [t for t in survey.tables if t.growth]
    without_key = [t for t in survey.tables if not t.primary_key]
    code = sum(len(names) for names in survey.objects.values()) + sum(len(t.triggers) for t in survey.tables)
    values = [o for o in survey.blocking if o.kind in ("value", "unique")]
    settings = [s for s in survey.settings if not s.ok and s.blocking]
    indexes = sum(t.index_bytes for t in survey.tables)
    choices = len(survey.proposals.booleans) + len(survey.proposals.intervals)
    return [
        _figure("Size", size_text(survey.size), f"{size_text(indexes)} of it indexes"),
        _figure("Rows", f"{survey.rows:,}", f"in {len(survey.tables)} tables, estimated where a part was read"),
        _figure(
            "Growth a day",
            size_text(survey.grows) if known else "unknown",
            f"known of {len(known)} of {len(survey.tables)} tables",
        ),
        _figure("Without primary key", str(len(without_key)), "tables that CDC cannot carry", not without_key),
        _figure("Views, code and events", str(code), "to be written anew, or left out", code == 0),
        _figure("Values in the way", str(len(values)), "columns and keys to clean up first", not values),
        _figure("Settings in the way", str(len(settings)), "of the source's binary log", not settings),
        _figure("To decide", str(choices), "columns, see below"),
    ]


def _figure(label: str, value: str, note: str, ok: bool | None = None) -> dict[str, Any]:
    return {"label": label, "value": value, "note": note, "ok": ok}


def _grouped(obstacles: Sequence[Obstacle]) -> list[tuple[str, list[Obstacle]]]:
    order = list(KINDS)
    kinds = sorted({o.kind for o in obstacles}, key=lambda kind: (order.index(kind) if kind in KINDS else 99, kind))
    return [(KINDS.get(kind, kind.capitalize()), [o for o in obstacles if o.kind == kind]) for kind in kinds]


def _by_size(tables: Sequence[TableFacts]) -> list[TableFacts]:
    return sorted(tables, key=lambda table: (-table.size, table.name))


def _heat(table: TableFacts) -> int:
    return table.heat.reads + table.heat.writes if table.heat else 0
