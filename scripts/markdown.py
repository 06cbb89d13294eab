"""A preview as Markdown: what a reviewer reads on a pull request. Pure; names what changes, never a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from local.engine import Change, Outcome

LIMIT = 60_000
"""Characters; GitHub takes 65,536 in a comment."""


def preview_markdown(outcome: Outcome) -> str:
    """Verdict, broken rules, then every change; rows that would be too much are counted instead."""
    broken = len(outcome.violations)
    verdict = "❌ refused by a rule" if outcome.refused else "✅ keeps every rule" if not broken else "⚠️ with a hint"
    counts = ", ".join(f"{count} {op}" for op, count in sorted(outcome.counts.items())) or "nothing there"
    head = [
        marker(outcome.stack),
        f"### Preview of `{outcome.stack}`: {counts}",
        "",
        f"{verdict}; {_changes(outcome.changed)}.",
    ]
    rules = table_lines(
        ("resource", "rule", "what is wrong"),
        [(violation.name, violation.rule, violation.wrong) for violation in outcome.violations],
    )
    foot = ["", "</details>", ""]
    opening = ["", "<details><summary>What would change</summary>"]
    rows = [_row(change) for change in outcome.changes]
    room = LIMIT - len("\n".join([*head, *rules, *opening, *foot]))
    changes = table_lines(("", "type", "name", "because of"), rows, room)
    return "\n".join([*head, *rules, *([*opening, *changes, *foot] if rows else [""])])


def marker(stack: str) -> str:
    """What tells the comment of a stack from others, so that the next preview replaces it."""
    return f"<!-- zdm preview {stack} -->"


def _changes(number: int) -> str:
    return f"{number} change{'' if number == 1 else 's'}"


def _row(change: Change) -> tuple[str, str, str, str]:
    return change.op, change.type, change.name, ", ".join(change.properties)


def table_lines(columns: Sequence[str], rows: Iterable[Sequence[str]], room: int = LIMIT) -> list[str]:
    """A table, with a blank line before it; nothing without rows. Those beyond `room` characters are counted."""
    lines = ["", f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    left = 0
    for row in rows:
        line = f"| {' | '.join(_cell(text) for text in row)} |"
        room -= len(line) + 1
        if room > 200:
            lines.append(line)
        else:
            left += 1
    if left:
        lines += ["", f"... and {left} more."]
    return lines if len(lines) > 3 else []


def _cell(text: str) -> str:
    """One cell: no line breaks, and nothing that Markdown or HTML would take for its own."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|")
    return f"`{plain.replace('`', '')}`" if plain and " " not in plain and "&" not in plain else plain
