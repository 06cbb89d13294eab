"""The rehearsal's report: one self-contained page, the same as JSON, and the verdict for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup
from rich import box
from rich.console import Console as RichConsole
from rich.panel import Panel
from rich.table import Table as RichTable
from rich.text import Text

from scripts.console import duration
from scripts.rehearsal.charts import Bar, Series, Span, time_chart, waterfall
from scripts.rehearsal.ledger import Finding, LedgerVerdict
from scripts.rehearsal.measure import Second, Verb
from scripts.rehearsal.result import RehearsalResult, load, save

PAGE_FILE: Final = "report.html"
FINDINGS_SHOWN: Final = 50


@dataclass(frozen=True)
class Report:
    """A written report: what a command answers."""

    result: RehearsalResult
    page: Path

    @property
    def ok(self) -> bool:
        return self.result.ok

    def to_json(self) -> dict[str, Any]:
        """The verdict without the series, which are in `report.json`."""
        data = self.result.to_json()
        for series in ("seconds", "lag"):
            data.pop(series)
        return {**data, "page": str(self.page)}

    def render(self, out: RichConsole) -> None:
        result = self.result
        render_verdict(out, result.ok, headline(result), result.figures(), result.error)
        if result.left_out:
            out.print(Text(f"\nLeft out: {', '.join(f'{x.kind} {x.name}' for x in result.left_out)}", style="dim"))
        out.print(Text.assemble("\nReport: ", (str(self.page), "underline")))


class Measured(Protocol):
    """A figure of a rehearsal, as the terminal shows it."""

    @property
    def label(self) -> str: ...
    @property
    def text(self) -> str: ...
    @property
    def bound(self) -> str: ...
    @property
    def ok(self) -> bool: ...
    @property
    def note(self) -> str: ...


def render_verdict(out: RichConsole, ok: bool, told: str, figures: Iterable[Measured], error: str | None) -> None:
    """The verdict for the terminal: what it was in a sentence, and every figure against its bound."""
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, justify in (("", "left"), ("measured", "right"), ("bound", "right"), ("", "left"), ("", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for f in figures:
        table.add_row(
            f.label,
            Text(f.text, style="bold" if f.ok else "bold red"),
            Text(f.bound, style="dim"),
            Text("✓", style="green") if f.ok else Text("✗", style="bold red"),
            Text(f.note, style="dim"),
        )
    if error:
        out.print(Panel(Text(error), title="ended early", title_align="left", border_style="red"))
    out.print()
    stamp = ("  PASSED  ", "bold white on green") if ok else ("  FAILED  ", "bold white on red")
    out.print(Text.assemble(stamp, "  ", told))
    out.print()
    out.print(table)


def write(result: RehearsalResult, directory: Path) -> Report:
    """Writes `report.json` and `report.html` into `directory`."""
    save(result, directory)
    path = directory / PAGE_FILE
    path.write_text(page(result))
    return Report(result, path)


def show(directory: Path) -> Report:
    """Reads a rehearsal's `report.json` again and writes its page anew. Raises `UsageError` when there is none."""
    result = load(directory)
    path = directory / PAGE_FILE
    path.write_text(page(result))
    return Report(result, path)


def headline(result: RehearsalResult) -> str:
    """The rehearsal in one sentence."""
    what = "The shop" if result.kind == "sample shop" else "The database"
    if result.error:
        return f"The rehearsal did not come to its end after {duration(result.ended - result.started)}."
    failed = [f for f in result.figures() if not f.ok]
    if failed:
        names = [f"{f.label[0].lower()}{f.label[1:]} ({f.text})" for f in failed]
        verb = "does" if len(failed) == 1 else "do"
        count = f"{len(failed)} of {len(result.figures())} figures"
        return f"{what} moved, but {count} {verb} not hold: {', '.join(names)}."
    paused = f"writes paused for {_precise(result.pause)}"
    return f"{what} moved to Aurora PostgreSQL: {paused}, nothing was lost, nothing was done twice."


def template(name: str) -> Template:
    """A page of a rehearsal; all of them include the same style and figures."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template(name)


def page(result: RehearsalResult) -> str:
    """The whole page as HTML; it refers to nothing outside of itself."""
    figures = result.figures()
    columns = 4
    ledger = result.ledger
    findings = _findings(ledger)
    rows = sum(result.rows.values())
    states = [s for s in result.cutover_states() if s.title != "PREFLIGHT"]
    return template("report.html.j2").render(
        title=f"Rehearsal {result.name}",
        name=result.name,
        ok=result.ok,
        verdict="Passed" if result.ok else "Failed",
        headline=headline(result),
        lead=_lead(result, rows),
        error=result.error,
        started=moment(result.started),
        ended=moment(result.ended)[11:],
        figures=figures,
        columns=columns,
        fillers=-len(figures) % columns,
        charts=_charts(result),
        load_text=_load_text(result),
        gates=result.gates,
        checks=result.checks,
        number=_number,
        all_counted=all(c.mysql_rows is not None and c.aurora_rows is not None for c in result.checks),
        differences=sum(c.differences or 0 for c in result.checks)
        if all(c.differences is not None for c in result.checks)
        else None,
        cutover_flow=waterfall(
            [Bar(s.title, s.started, s.ended, _precise(s.seconds), s.ok, 0, s.summary) for s in states], label_width=190
        ),
        cutover_text=_cutover_text(result),
        ledger=ledger,
        outcomes=_outcomes(ledger),
        findings=findings[:FINDINGS_SHOWN],
        more_findings=max(len(findings) - FINDINGS_SHOWN, 0),
        left_out=result.left_out,
        load_tests=result.load_tests,
        steps_flow=waterfall(
            [Bar(s.title, s.started, s.ended, duration(s.seconds), s.ok, s.level, s.summary) for s in result.steps]
        ),
        steps_text=f"{duration(result.ended - result.started)} from the first step to the last.",
        environment=[(title, [(k, str(v)) for k, v in pairs]) for title, pairs in _environment(result, rows) if pairs],
    )


def _lead(result: RehearsalResult, rows: int) -> str:
    load = result.load
    parts = [
        f"{rows:,} rows in {len(result.rows)} tables" if rows else "A rehearsal",
        f"took {duration(result.ended - result.started)} on one machine",
    ]
    text = f"{parts[0]}, {parts[1]}."
    if load.requests:
        text += (
            f" The load made {load.requests:,} requests in {duration(float(len(result.seconds)))}, "
            f"{load.answered('write'):,} of them "
            "writes, through the router and the same program and commands that move the real one."
        )
    return text


def _load_text(result: RehearsalResult) -> str:
    if not result.seconds:
        return ""
    rate, reads = result.settings.get("rate"), result.settings.get("reads")
    text = "Requests arrive at a constant rate, whatever becomes of those before"
    text += f": {rate} writes and {reads} reads a second." if rate else "."
    late = result.load.late_ms
    return text + (f" The generator itself was at most {late:.0f} ms behind." if late >= 50 else "")


def _cutover_text(result: RehearsalResult) -> str:
    client = result.ledger.pause if result.ledger else None
    text = (
        f"An independent writer measured a pause of {_precise(result.pause)}"
        if result.pause is not None
        else "The pause was not measured"
    )
    return text + (
        f"; the clients' last write on MySQL and first on Aurora lie {_precise(client)} apart."
        if client is not None
        else "."
    )


def _charts(result: RehearsalResult) -> list[dict[str, Any]]:
    """Throughput, latency, lag and weight over the same time."""
    seconds = _whole(result.seconds)
    if not seconds:
        return []
    start, end = float(seconds[0].t), float(seconds[-1].t + 1)
    times = [s.t + 0.5 for s in seconds]
    pause = result.pause_span()
    label = (
        f"writes paused {_precise(result.pause if result.pause is not None else pause[1] - pause[0])}" if pause else ""
    )
    common: dict[str, Any] = {"start": start, "end": end, "span": Span(*pause) if pause else None}
    labelled = {**common, "span": Span(*pause, label) if pause else None}
    bounds = result.bounds
    throughput = time_chart(
        times,
        [
            *(
                Series(name, [float(s.answered(None, side)) for s in seconds], side, area=True)
                for name, side in (("MySQL", "mysql"), ("Aurora", "aurora"))
            ),
            *(
                [Series("failed", [float(s.failed + s.unknown) for s in seconds], "bad-line")]
                if result.load.failed + result.load.unknown
                else []
            ),
        ],
        unit="/s",
        stacked=True,
        height=210,
        **labelled,
    )
    percentiles = [Series(f"p{p}", [s.histogram().percentile(p) for s in seconds], f"p{p}") for p in (50, 95, 99)]
    latency = time_chart(
        times,
        percentiles,
        unit="ms",
        scale="log",
        bound=bounds.latency_p95_ms,
        bound_label=f"bound for p95: {bounds.latency_p95_ms:g} ms",
        height=210,
        **common,
    )
    writes = time_chart(
        times,
        [
            Series(name, [_or_none(s, "write", side) for s in seconds], side)
            for name, side in (("MySQL", "mysql"), ("Aurora", "aurora"))
        ],
        unit="ms",
        scale="log",
        height=170,
        **common,
    )
    charts = [
        {"title": "Throughput by origin", "hint": "answers a second, reads and writes", "svg": throughput},
        {"title": "Latency", "hint": "all requests, logarithmic", "svg": latency},
        {"title": "Write latency by origin", "hint": "p95, logarithmic", "svg": writes},
    ]
    if result.lag:
        charts.append(
            {
                "title": "Replication lag by table",
                "hint": f"bound {bounds.lag_seconds:g} s",
                "svg": _lag_chart(result, common),
            }
        )
    if result.weights:
        charts.append(
            {"title": "Weight", "hint": "share of the users who read from Aurora", "svg": _weight_chart(result, common)}
        )
    return charts


def _lag_chart(result: RehearsalResult, common: dict[str, Any]) -> Markup:
    samples = [(t, tables) for t, tables in result.lag if common["start"] <= t <= common["end"]]
    names = sorted({name for _, tables in samples for name in tables})
    worst = [max(tables.values(), default=0.0) for _, tables in samples]
    series = [
        Series("slowest table", worst, "ink"),
        *(Series(name, [tables.get(name) for _, tables in samples], "quiet", thin=True, quiet=True) for name in names),
    ]
    bound = result.bounds.lag_seconds
    return time_chart(
        [t for t, _ in samples],
        series,
        unit="s",
        height=150,
        bound=bound if worst and max(worst) > bound / 3 else None,
        bound_label=f"bound {bound:g} s",
        top=max([*worst, 1e-9]) or 1.0,
        **common,
    )


def _weight_chart(result: RehearsalResult, common: dict[str, Any]) -> Markup:
    start, end = common["start"], common["end"]
    before = [w for t, w in result.weights if t <= start]
    changes = [(start, before[-1] if before else 0.0), *((t, w) for t, w in result.weights if start < t < end)]
    changes.append((end, changes[-1][1]))
    marks = [(t, f"{w:g} %") for t, w in changes[1:-1] if w < 100]
    return time_chart(
        [t for t, _ in changes],
        [Series("weight", [w for _, w in changes], "aurora", area=True)],
        unit="%",
        height=110,
        top=100.0,
        step=True,
        marks=marks,
        **common,
    )


def _whole(seconds: list[Second]) -> list[Second]:
    """Every second from the first full one to the last full one; those in which nothing ended are there too."""
    if len(seconds) < 3:
        return list(seconds)
    there = {s.t: s for s in seconds[1:-1]}
    return [there.get(t, Second(t)) for t in range(min(there), max(there) + 1)]


def _or_none(second: Second, verb: Verb, side: str) -> float | None:
    return second.histogram(verb, side).percentile(95)


def _outcomes(ledger: LedgerVerdict | None) -> list[tuple[str, int, bool]]:
    if ledger is None:
        return []
    rows = [
        (f"acknowledged by {'Aurora' if side == 'aurora' else 'MySQL' if side == 'mysql' else side}", n, True)
        for side, n in sorted(ledger.by_side.items(), reverse=True)
    ]
    bad = [
        ("lost", ledger.lost),
        ("executed more than once", ledger.doubled),
        ("on the wrong side, or past the fence", ledger.misplaced),
        ("there with other values", ledger.wrong),
        ("rows whose increments do not add up", ledger.increments),
    ]
    rows += [(name, len(found), not found) for name, found in bad]
    rows += [
        ("refused", ledger.failed, not ledger.failed),
        ("without a clear answer", ledger.unknown, not ledger.unknown),
    ]
    if ledger.unknown:
        rows.append(("of these executed", ledger.unknown_executed, True))
    rows += [
        ("rows with increments checked", ledger.increments_checked, True),
        ("rows with updates checked", ledger.updates_checked, True),
        ("reads that missed the reader's own write", ledger.stale_reads, not ledger.stale_reads),
    ]
    return rows


def _findings(ledger: LedgerVerdict | None) -> list[tuple[str, Finding]]:
    if ledger is None:
        return []
    groups = [
        ("lost", ledger.lost),
        ("doubled", ledger.doubled),
        ("misplaced", ledger.misplaced),
        ("wrong", ledger.wrong),
        ("increments", ledger.increments),
    ]
    return [(kind, finding) for kind, findings in groups for finding in findings]


def _environment(result: RehearsalResult, rows: int) -> list[tuple[str, list[tuple[str, Any]]]]:
    load = result.load
    numbers: list[tuple[str, Any]] = [("database", result.kind)]
    numbers += [("rows", f"{rows:,}")] if rows else []
    numbers += [(k, v) for k, v in result.settings.items() if k != "rows" and v not in (None, "", [], False)]
    if load.requests:
        answered = [f"{load.throughput(verb):,.0f} {verb}s" for verb in ("read", "write")]
        numbers.append(("answered a second", ", ".join(answered)))
    return [
        ("Rehearsal", numbers),
        ("Versions", list(result.versions.items())),
        ("Machine", list(result.machine.items())),
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}"


def _precise(seconds: float | None) -> str:
    """A short time with three digits: 4 ms, 812 ms, 1.42 s."""
    if seconds is None or math.isnan(seconds):
        return "an unknown time"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s" if seconds < 60 else duration(seconds)


def moment(t: float) -> str:
    return datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
