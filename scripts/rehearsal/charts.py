"""The report's charts as inline SVG. Colours are classes and variables of the page's style sheet, so that they follow
its theme.

Every time chart covers the same span with the same margins: charts below one another can be read as one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson
from markupsafe import Markup, escape

WIDTH: Final = 960
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 20, 26
MOST_POINTS: Final = 600
"""Points of one line; more are taken together, the largest value of each group stays."""

Value = float | None


@dataclass(frozen=True)
class Series:
    """One line (or area): a value, or None for a gap, at each of the chart's times."""

    name: str
    values: Sequence[Value]
    style: str
    """CSS class of its colour."""
    area: bool = False
    thin: bool = False
    quiet: bool = False
    """Not in the legend; the hover shows it only if it is among the largest."""


@dataclass(frozen=True)
class Span:
    """A stretch of time to mark on a chart."""

    start: float
    end: float
    label: str = ""


@dataclass(frozen=True)
class Bar:
    """One line of a waterfall."""

    label: str
    start: float
    end: float
    text: str
    ok: bool = True
    level: int = 0
    note: str = ""


def time_chart(
    times: Sequence[float],
    series: Sequence[Series],
    *,
    unit: str,
    start: float,
    end: float,
    height: int = 190,
    scale: Literal["linear", "log"] = "linear",
    stacked: bool = False,
    step: bool = False,
    top: float | None = None,
    span: Span | None = None,
    bound: float | None = None,
    bound_label: str = "",
    marks: Sequence[tuple[float, str]] = (),
) -> Markup:
    """Lines over time (seconds since `start`). `bound` is drawn where it is inside the scale, `marks` as hairlines with
    a word.
    """
    times, series = _thinned(times, series)
    drawn: list[list[tuple[Value, Value]]] = (
        _stacked(series) if stacked else [[(None, v) for v in s.values] for s in series]
    )
    highest = max([v for line in drawn for _, v in line if v is not None] or [1.0])
    lowest = min([v for line in drawn for _, v in line if v is not None and v > 0] or [1.0])
    y, ticks = _log_axis(lowest, highest, bound, height) if scale == "log" else _linear_axis(top or highest, height)
    x = _x_axis(start, end)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(", ".join(s.name for s in series if not s.quiet))}">'
    ]
    if span is not None:
        x0, x1 = x(span.start), max(x(span.end), x(span.start) + 2.5)
        parts.append(
            f'<rect class="pause" x="{x0:.1f}" y="{TOP}" width="{x1 - x0:.1f}" height="{height - TOP - BOTTOM}"/>'
        )
    for tick in ticks:
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text class="tick" x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{_short(tick)}</text>'
        )
    parts.append(
        f'<text class="unit" x="{LEFT - 8}" y="{height - BOTTOM + 18}" text-anchor="end">{escape(unit)}</text>'
    )
    for at in _time_ticks(end - start):
        anchor = "middle" if at else "start"
        parts.append(
            f'<text class="tick" x="{x(start + at):.1f}" y="{height - 8}" text-anchor="{anchor}">{_clock(at)}</text>'
        )
    for s, line in reversed(list(zip(series, drawn, strict=True))):
        parts.append(_path(times, line, x, y, s, step, height))
    if bound is not None and y(bound) >= TOP - 1:
        parts.append(
            f'<line class="bound" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(bound):.1f}" y2="{y(bound):.1f}"/>'
            f'<text class="bound" x="{WIDTH - RIGHT}" y="{y(bound) - 5:.1f}" text-anchor="end">'
            f"{escape(bound_label)}</text>"
        )
    for at, word in marks:
        parts.append(
            f'<line class="mark" x1="{x(at):.1f}" x2="{x(at):.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>'
            f'<text class="mark" x="{x(at) + 5:.1f}" y="{TOP + 11}">{escape(word)}</text>'
        )
    if span is not None and span.label:
        late = x(span.end) > WIDTH * 0.75
        parts.append(
            f'<text class="pause" x="{(x(span.start) - 6) if late else (x(span.end) + 8):.1f}" y="{TOP - 6}" '
            f'text-anchor="{"end" if late else "start"}">{escape(span.label)}</text>'
        )
    parts.append('<line class="cursor" y1="0" y2="0"/></svg>')
    data = {
        "x": [round(x(t), 1) for t in times],
        "t": [_clock(t - start, exact=True) for t in times],
        "unit": unit,
        "h": height,
        "top": TOP,
        "bottom": BOTTOM,
        "s": [[s.name, s.style, [None if v is None else round(v, 3) for v in s.values], s.quiet] for s in series],
    }
    legend = "".join(f'<span class="{s.style}"><i></i>{escape(s.name)}</span>' for s in series if not s.quiet)
    return Markup(
        f'<div class="plot" data-plot="{escape(orjson.dumps(data).decode())}"><div class="legend">{legend}</div>'
        f"{''.join(parts)}</div>"
    )


def waterfall(bars: Sequence[Bar], *, row: int = 26, label_width: int = 250) -> Markup:
    """Bars one below the other on a common time axis, each with its label and its duration."""
    if not bars:
        return Markup("")
    start, end = min(b.start for b in bars), max(b.end for b in bars)
    room = WIDTH - label_width - 84
    scale = room / max(end - start, 1e-9)
    parts = [f'<svg class="waterfall" viewBox="0 0 {WIDTH} {row * len(bars) + 4}" role="img">']
    for i, bar in enumerate(bars):
        x0, width, middle = (
            label_width + (bar.start - start) * scale,
            max((bar.end - bar.start) * scale, 2.0),
            i * row + row / 2,
        )
        name = "bad" if not bar.ok else "part" if bar.level else "step"
        parts.append(
            f"<g><title>{escape(bar.note or bar.label)}</title>"
            f'<line class="grid" x1="0" x2="{WIDTH}" y1="{(i + 1) * row}" y2="{(i + 1) * row}"/>'
            f'<text class="{"label" if not bar.level else "label part"}" x="{14 * bar.level}" y="{middle + 4}">'
            f"{escape(bar.label)}</text>"
            f'<rect class="{name}" x="{x0:.1f}" y="{middle - 6}" width="{width:.1f}" height="12" rx="2"/>'
            f'<text class="value" x="{x0 + width + 7:.1f}" y="{middle + 4}">{escape(bar.text)}</text></g>'
        )
    return Markup("".join(parts) + "</svg>")


def _x_axis(start: float, end: float) -> Any:
    room = WIDTH - LEFT - RIGHT
    return lambda t: LEFT + min(max((t - start) / max(end - start, 1e-9), 0.0), 1.0) * room


def _linear_axis(highest: float, height: int) -> tuple[Any, list[float]]:
    step = _nice(highest / 4)
    most = max(math.ceil(highest / step - 1e-9), 1) * step
    room = height - TOP - BOTTOM
    return (lambda v: height - BOTTOM - v / most * room), [step * i for i in range(round(most / step) + 1)]


def _log_axis(lowest: float, highest: float, bound: float | None, height: int) -> tuple[Any, list[float]]:
    low = math.floor(math.log10(max(lowest, 1e-3)))
    high = max(math.ceil(math.log10(max(highest, bound or 0, 10**low * 1.01))), low + 1)
    room = height - TOP - BOTTOM
    return (
        lambda v: height - BOTTOM - (math.log10(max(v, 10.0**low)) - low) / (high - low) * room,
        [10.0**e for e in range(low, high + 1)],
    )


def _nice(value: float) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(power * n for n in (1, 2, 5, 10) if power * n >= value * (1 - 1e-9))


def _time_ticks(length: float) -> list[float]:
    step = next((s for s in (5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400) if length / s <= 12), 86_400)
    return [float(t) for t in range(0, int(length) + 1, step)]


def _clock(seconds: float, exact: bool = False) -> str:
    whole = round(seconds)
    return (
        f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
        if whole >= 3600
        else f"{whole // 60}:{whole % 60:02d}"
    )


def _short(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:,.0f}" if value >= 1_000 else f"{value:g}"


def _thinned(times: Sequence[float], series: Sequence[Series]) -> tuple[list[float], list[Series]]:
    n = math.ceil(len(times) / MOST_POINTS) if len(times) > MOST_POINTS else 1
    if n == 1:
        return list(times), list(series)
    groups = [range(i, min(i + n, len(times))) for i in range(0, len(times), n)]

    def largest(values: Sequence[Value], group: range) -> Value:
        return max((v for j in group if (v := values[j]) is not None), default=None)

    thinned = [Series(s.name, [largest(s.values, g) for g in groups], s.style, s.area, s.thin, s.quiet) for s in series]
    return [times[g[0]] for g in groups], thinned


def _stacked(series: Sequence[Series]) -> list[list[tuple[Value, Value]]]:
    """Each series on top of those before it, as (from, to)."""
    below = [0.0] * max((len(s.values) for s in series), default=0)
    lines: list[list[tuple[Value, Value]]] = []
    for s in series:
        above = [b + (v or 0.0) for b, v in zip(below, s.values, strict=True)]
        lines.append(list(zip(below, above, strict=True)))
        below = above
    return lines


def _path(
    times: Sequence[float], line: Sequence[tuple[Value, Value]], x: Any, y: Any, s: Series, step: bool, height: int
) -> str:
    pieces: list[list[tuple[float, float, float]]] = [[]]
    for t, (below, value) in zip(times, line, strict=True):
        if value is None or (s.area and value == below and not step):
            pieces.append([])
            continue
        point = (x(t), y(value), y(below or 0.0) if s.area else 0.0)
        if step and pieces[-1]:
            pieces[-1].append((point[0], *pieces[-1][-1][1:]))
        pieces[-1].append(point)
    out = []
    for piece in pieces:
        if not piece:
            continue
        path = "M" + "L".join(f"{px:.1f} {py:.1f}" for px, py, _ in piece)
        if s.area:
            out.append(
                f'<path class="area {s.style}" d="{path}L'
                + "L".join(f"{px:.1f} {pb:.1f}" for px, _, pb in reversed(piece))
                + 'Z"/>'
            )
        out.append(f'<path class="line {s.style}{" thin" if s.thin else ""}" d="{path}"/>')
    return "".join(out)
