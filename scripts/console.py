"""What a command says while it works: steps with their time on stderr, the result on stdout (as JSON with `--json`).

Invariants:
- stdout carries the result and nothing else, so that `--json` can be piped.
- A step that lasts says how far it is; without a terminal it says so in lines, at most one every few seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console as RichConsole
from rich.status import Status

PLAIN_INTERVAL = 5.0
"""Seconds between two progress lines of one step where there is no terminal."""


@dataclass
class Step:
    """One step under way. `started` is `time.time()`; `summary` is shown when it ends."""

    title: str
    started: float = field(default_factory=time.time)
    ended: float | None = None
    ok: bool = True
    summary: str = ""
    level: int = 0
    """0 for a step, 1 for a part of it."""
    _show: Callable[[str], None] = lambda _: None

    @property
    def seconds(self) -> float:
        return (self.ended or time.time()) - self.started

    def update(self, text: str) -> None:
        """Says how far the step is."""
        self._show(text)

    def progress(self, done: float, total: float, unit: str = "") -> None:
        """Says how far the step is, with the time it will still take at the pace so far."""
        if total <= 0:
            return
        share = min(done / total, 1.0)
        left = self.seconds * (1 - share) / share if share > 0.02 else None
        eta = f", {duration(left)} left" if left is not None and left > 1 else ""
        self.update(f"{done:,.0f} of {total:,.0f}{' ' + unit if unit else ''} ({share:.0%}{eta})")

    def done(self, summary: str) -> None:
        self.summary = summary


class Console:
    """`json_mode` prints results as JSON; `steps` keeps every step for reports."""

    def __init__(self, *, json_mode: bool = False, quiet: bool = False) -> None:
        self.json_mode = json_mode
        self.out = RichConsole(highlight=False)
        self.err = RichConsole(stderr=True, highlight=False, quiet=quiet)
        self.steps: list[Step] = []
        self._depth = 0

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        step = Step(title, level=self._depth)
        self.steps.append(step)
        self._depth += 1
        indent = "  " * (self._depth - 1)
        status: Status | None = None
        if self.err.is_terminal and self._depth == 1:
            status = self.err.status(title)
            status.start()
            step._show = lambda text: status.update(f"{title} [dim]{duration(step.seconds)} · {text}[/dim]")
        else:
            last = [time.monotonic()]

            def show(text: str) -> None:
                if time.monotonic() - last[0] >= PLAIN_INTERVAL:
                    last[0] = time.monotonic()
                    self.err.print(f"{indent}  … {title}: {text}", markup=False)

            step._show = show
        try:
            yield step
        except BaseException:
            step.ok = False
            raise
        finally:
            step.ended = time.time()
            self._depth -= 1
            if status is not None:
                status.stop()
            mark = "[green]✓[/green]" if step.ok else "[red]✗[/red]"
            note = f" [dim]{step.summary}[/dim]" if step.summary else ""
            self.err.print(f"{indent}{mark} {title} [cyan]{duration(step.seconds)}[/cyan]{note}")

    def info(self, text: str) -> None:
        self.err.print(text)

    def warn(self, text: str) -> None:
        self.err.print(f"[yellow]![/yellow] {text}")

    def error(self, text: str) -> None:
        self.err.print(f"[red]error[/red] {text}", markup=True)

    def result(self, data: dict[str, Any], render: Callable[[RichConsole], None] | None = None) -> None:
        """The command's answer: JSON on stdout with `--json`, else what `render` draws."""
        if self.json_mode or render is None:
            sys.stdout.write(json.dumps(data, indent=2, default=str) + "\n")
            sys.stdout.flush()
        else:
            render(self.out)


def duration(seconds: float) -> str:
    """`0.4 s`, `12.3 s`, `3 min 05 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class Result(Protocol):
    """What every command returns: the answer, for machines and for people."""

    @property
    def ok(self) -> bool:
        """Whether the answer is yes; decides between the exit codes 0 and 1."""
        ...

    def to_json(self) -> dict[str, Any]: ...

    def render(self, out: RichConsole) -> None:
        """Draws the answer for a person."""
        ...
