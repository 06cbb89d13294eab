"""Reads the values of one table, all its questions in the same pass, and says what follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pymysql
import pymysql.cursors
from pymysql.connections import Connection

from contract.records import MAX_RECORD_BYTES
from contract.tables import Table
from contract.types import Choices
from scripts.data.inspect import Obstacle
from scripts.data.survey_keys import (
    GROUPED_ROWS,
    LARGEST_ENTRY,
    behaviours,
    collisions,
    folded_columns,
    key_questions,
)
from scripts.data.survey_questions import Question, column_questions
from scripts.data.survey_result import Choice, Finding, Reading, percent, size_text
from scripts.data.survey_scan import Busy, Pace, Reader, budget

LARGEST_VALUE: Final = 2**30 - 1
"""Bytes of a text or bytea in PostgreSQL."""

LARGEST_JSON: Final = 2**28 - 1
"""Bytes of an array or object in jsonb."""


@dataclass
class Examined:
    """What one table's values say."""

    reading: Reading
    findings: list[Finding] = field(default_factory=list)
    obstacles: list[Obstacle] = field(default_factory=list)
    booleans: list[Choice] = field(default_factory=list)
    intervals: list[Choice] = field(default_factory=list)
    longest: dict[str, int] = field(default_factory=dict)
    widest_row: int | None = None


def examine(
    my: Connection[Any],
    table: Table,
    choices: Choices,
    pace: Pace,
    *,
    sample: float | None = None,
    kafka: bool = True,
) -> Examined:
    """Reads the table as far as `sample` says (None: as much as is needed for its size; 1: all). `kafka` says whether
    changes travel as Kafka's records. An error of MySQL's ends the reading of this table only. Raises `Busy`."""
    questions = [*column_questions(table, choices), *key_questions(table)]
    asked = [q for q in questions if not q.indexed]
    reader = Reader(my, table, [q.ask for q in asked], pace)
    try:
        reading = reader.read(budget(table, sample)) if asked else Reading(of=table.rows)
    except (pymysql.MySQLError, UnicodeDecodeError) as e:
        reading = Reading(how="unread", rows=reader.rows, of=max(table.rows, reader.rows), note=str(e.args[-1]))
    found = Examined(reading)
    for i, question in enumerate(asked):
        _tell(found, question, reader.counts[i], reading, reader.examples.get(i, []))
    for question in questions:
        if question.indexed:
            _tell_indexed(my, table, found, question)
    _choose(found, table, choices, asked, reader.counts)
    _sizes(found, table, kafka)
    found.obstacles += behaviours(table)
    found.obstacles += _collisions(my, table, found, asked, reader.counts, everything=sample == 1)
    return found


def unread(table: Table, busy: Busy) -> Examined:
    """A table whose values were not read because the source was busy."""
    return Examined(
        Reading(how="unread", of=table.rows, note=str(busy)),
        obstacles=[Obstacle("unread", table.name, f"its values were not read: {busy}", "survey it again", False)],
    )


def _tell(found: Examined, question: Question, count: int, reading: Reading, examples: Sequence[str]) -> None:
    name = question.name.partition(".")[2]
    if question.kind == "longest":
        found.longest[name] = count
    elif question.kind == "widest":
        found.widest_row = count
    elif question.kind == "key size" and count > LARGEST_ENTRY:
        reason = f"its longest entry has {count:,} bytes; PostgreSQL's have at most {LARGEST_ENTRY:,} once compressed"
        found.obstacles.append(Obstacle("index", question.name, reason, "may fail on the target", False))
    elif question.meaning and count:
        finding = Finding(
            kind=question.kind, name=question.name, rows=count, meaning=question.meaning, examples=list(examples)
        )
        found.findings.append(finding)
        found.obstacles.append(_obstacle(finding, question, reading))


def _obstacle(finding: Finding, question: Question, reading: Reading) -> Obstacle:
    seen = "" if reading.how == "all" else f" (seen in {percent(reading.share)} of the rows)"
    where = f": {'; '.join(finding.examples)}" if finding.examples else ""
    reason = f"{finding.rows:,} rows hold {finding.meaning}{seen}{where}"
    return Obstacle("value", finding.name, reason, question.then, question.blocking)


def _tell_indexed(my: Connection[Any], table: Table, found: Examined, question: Question) -> None:
    reader = Reader(my, table, [], Pace())
    try:
        count, examples = reader.count(question.ask)
    except pymysql.MySQLError as e:
        reason = f"an index could not say how many rows hold {question.meaning}: {e.args[-1]}"
        found.obstacles.append(Obstacle("unread", question.name, reason, "survey it again", False))
        return
    _tell(found, question, count, Reading(how="all", rows=count, of=count), examples)


def _choose(found: Examined, table: Table, choices: Choices, asked: Sequence[Question], counts: Sequence[int]) -> None:
    """Booleans are the TINYINT(1) with nothing but 0 and 1 in them; intervals the TIMEs with more than a day."""
    values = {(q.kind, q.name): counts[i] for i, q in enumerate(asked)}
    reading = found.reading
    part = "" if reading.proven else f" among {percent(reading.share)} of the rows"
    for (kind, name), filled in values.items():
        if kind == "filled" and filled and not values["boolean", name]:
            reason = f"{filled:,} values, all 0 or 1{part}"
            found.booleans.append(Choice(column=name, proven=reading.proven, reason=reason))
    refused = {f.name: f for f in found.findings if f.kind == "refused"}
    for column in table.columns:
        path = column.path
        if column.type == "time" and path in refused:
            reason = f"{refused[path].rows:,} rows hold {refused[path].meaning}"
            found.intervals.append(Choice(column=path, proven=True, reason=reason))
        elif path in choices.intervals:
            found.intervals.append(Choice(column=path, proven=True, reason="is set already"))
        elif path in choices.booleans and path not in refused:
            found.booleans.append(Choice(column=path, proven=reading.proven, reason=f"is set already{part}"))


def _sizes(found: Examined, table: Table, kafka: bool) -> None:
    for name, length in found.longest.items():
        most = LARGEST_JSON if table.column(name).type == "json" else LARGEST_VALUE
        if length > most:
            reason = f"its longest value has {size_text(length)}, PostgreSQL's have at most {size_text(most)}"
            found.obstacles.append(Obstacle("value", f"{table.name}.{name}", reason, "change such rows first"))
    if kafka and found.widest_row and 2 * found.widest_row > MAX_RECORD_BYTES:
        reason = (
            f"its widest row seen has {size_text(found.widest_row)}; a change carries it twice, and a record has at "
            f"most {size_text(MAX_RECORD_BYTES)}"
        )
        found.obstacles.append(Obstacle("row", table.name, reason, "a change of such a row stops CDC", False))


def _collisions(
    my: Connection[Any],
    table: Table,
    found: Examined,
    asked: Sequence[Question],
    counts: Sequence[int],
    everything: bool,
) -> Iterator[Obstacle]:
    reading = found.reading
    letters = {q.name: counts[i] for i, q in enumerate(asked) if q.kind == "letters"}
    for key in table.keys:
        name = f"{table.name}.{key.name}"
        if not letters.get(name):
            continue
        collation = " and ".join(dict.fromkeys(c.collation or "" for c in folded_columns(table, key)))
        groups = None
        if everything or max(table.rows, reading.rows) <= GROUPED_ROWS:
            groups = collisions(my, table, key)
        if groups is None:
            seen = f"{letters[name]:,} values of {percent(reading.share)} of the rows have"
            reason = f"{collation} and the target fold some letters differently, and {seen} more than printable ASCII"
            then = "whether rows collide was not tried (--full does); the index is not made before it has been"
            yield Obstacle("unique", name, reason, then, blocking=False)
        elif groups.rows:
            found.findings.append(groups)
            where = f": {'; '.join(groups.examples)}" if groups.examples else ""
            reason = f"{groups.rows:,} {groups.meaning}, and {collation} does not{where}"
            yield Obstacle("unique", name, reason, "the index cannot be made: change these rows first")
