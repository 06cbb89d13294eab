"""`./zdm subject export|erase ID STACK`: what a person may ask for by law, in both databases, with a signed record.

The law: Vietnam's Decree 13/2023/ND-CP on the protection of personal data and its Law on Personal Data Protection
(91/2025/QH15), articles 15 and 17 of the GDPR.

Invariants:
- The writer is changed under its fence; the other side follows by CDC where that runs, and is changed itself where not.
- `erase` derives what there is to do from the rows as they are: run again, it goes on, or says that all is erased.
- The record proves without telling: counts and keyed digests of before and after, signed with the stack's gate key; no
  value. It is kept in `zdm.record`.
- What cannot be changed is named: archives under object lock, with the day on which they may go.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console as RichConsole

from contract.flag import Side
from contract.privacy import DataClasses
from contract.tables import Column
from scripts.console import Console
from scripts.context import Context, git_revision
from scripts.environments import subject_erase as erasing
from scripts.environments.masked import Session
from scripts.environments.subject_rows import Person, digest
from scripts.environments.subject_seen import Archived, Rows, Seen, has_fence, seen_of
from scripts.errors import UsageError, ZdmError
from scripts.switch import gate_record, journal
from scripts.switch.fence import Controller

RECORD: Final = "subject"
"""Kind of the stored records."""
PATIENCE: Final = 120.0
"""Seconds in which CDC must bring an erasure to the other side."""
TICK: Final = 0.2

# --- results ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ExportResult:
    """The person's data, as the writer has it, signed. `document` is what the person is given."""

    document: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        return True

    def to_json(self) -> dict[str, Any]:
        return dict(self.document)

    def render(self, out: RichConsole) -> None:
        subject = self.document["subject"]
        out.print(f"{subject['table']} {subject['column']} {subject['id']}:", markup=False)
        for table, rows in self.document["tables"].items():
            out.print(f"  {table}: {len(rows)} rows", markup=False)
        for archive in self.document["archives"]:
            out.print(f"  archive {archive['id']}: {', '.join(archive['tables'])}", markup=False)
        out.print("The rows themselves: --output FILE, or --json")


@dataclass(frozen=True)
class EraseResult:
    """What became of the person's rows on each side. `left` names columns in which something still stands."""

    person: Person
    rows: Mapping[str, int]
    """By table, on the writer."""
    changed: Mapping[str, int]
    """Rows changed by this run, by side."""
    left: Mapping[str, Sequence[str]]
    archives: tuple[Archived, ...]
    record: Mapping[str, Any] | None = None
    already: str = ""
    """When it was erased before, if there was nothing to do."""
    dry_run: bool = False
    plan: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By table: the columns that change."""

    @property
    def ok(self) -> bool:
        return self.dry_run or not any(self.left.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "subject": vars_of(self.person),
            "rows": dict(self.rows),
            "columns": {table: list(columns) for table, columns in self.plan.items()},
            "changed": dict(self.changed),
            "left": {side: list(columns) for side, columns in self.left.items()},
            "archives": [archive.to_json() for archive in self.archives],
            "already": self.already,
            "dryRun": self.dry_run,
            "record": self.record,
        }

    def render(self, out: RichConsole) -> None:
        who = f"{self.person.table} {self.person.column} {self.person.id}"
        if self.already:
            out.print(f"{who} is erased already ({self.already}): nothing was changed", markup=False)
        for table, rows in self.rows.items():
            columns = f": {', '.join(self.plan[table])}" if self.plan.get(table) else ", nothing of a person in them"
            out.print(f"  {table}: {rows} rows{columns}", markup=False)
        if self.dry_run:
            out.print("Nothing was changed (--dry-run).")
        for side, count in self.changed.items():
            out.print(f"  {side}: {count} rows erased")
        for side, still in self.left.items():
            if still and not self.dry_run:
                out.print(f"  [red]{side}: still there in {', '.join(still)}[/red]")
        for a in self.archives:
            until = f"held under object lock until {a.until}" if a.until else "not locked"
            out.print(f"  archive {a.id} ({', '.join(a.tables)}): {until}", markup=False)


def vars_of(person: Person) -> dict[str, str]:
    return {"table": person.table, "column": person.column, "id": person.id}


# --- commands ---------------------------------------------------------------------------------------------------------


def export(context: Context, id: str, classes: DataClasses, *, console: Console) -> ExportResult:
    """All that is there of a person. Raises `UsageError` where there is no such person."""
    key = gate_record.key_of(context)
    with seen_of(context, id, classes, console) as seen:
        rows = seen.rows[seen.writer]
        hidden = {
            table: [
                column.name for column in seen.readers[seen.writer].tables[table].columns if _withheld(classes, column)
            ]
            for table in rows
        }
        document = {
            "kind": "subject-export",
            **_of_stack(context),
            "subject": vars_of(seen.person),
            "writer": str(seen.writer),
            "tables": {
                table: [{name: text for name, text in row.items() if name not in hidden[table]} for row in of_table]
                for table, of_table in rows.items()
            },
            "withheld": {table: columns for table, columns in hidden.items() if columns},
            "counts": {str(side): {t: len(r) for t, r in of_side.items()} for side, of_side in seen.rows.items()},
            "archives": [archive.to_json() for archive in seen.archives],
        }
    return ExportResult(gate_record.signed(document, key))


def save(result: ExportResult, file: Path) -> None:
    """Writes the document where only its owner may read it. Raises `UsageError`."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            os.fchmod(descriptor, 0o600)  # one that was there keeps its mode otherwise
            json.dump(result.document, stream, indent=2, ensure_ascii=False)
    except OSError as e:
        raise UsageError(f"{file} cannot be written: {e.strerror}") from e


def erase(context: Context, id: str, classes: DataClasses, *, dry_run: bool, console: Console) -> EraseResult:
    """Erases a person's data. Raises `UsageError` where there is no such person, or the writer's fence holds writes."""
    key = gate_record.key_of(context)
    with seen_of(context, id, classes, console) as seen:
        writer = seen.readers[seen.writer]
        mine = seen.rows[seen.writer]
        before = {side: _digests(rows, key) for side, rows in seen.rows.items()}
        todo = erasing.changes(writer.tables, classes, mine, secrets.token_bytes(32))
        plan = {
            table: [c.name for c, _ in erasing.personal_columns(writer.tables[table], classes)] for table in mine
        }  # fmt: skip
        counts = {table: len(rows) for table, rows in mine.items()}
        other_left = erasing.left(writer.tables, classes, seen.rows[seen.other])
        if dry_run or (not todo and not other_left):
            already = "" if todo or other_left else _when(context, seen.person) or "before this record was kept"
            return EraseResult(
                seen.person, counts, {}, _left(seen, classes), seen.archives, None, already, dry_run, plan
            )
        changed = {str(side): 0 for side in seen.readers}
        with console.step(f"Erase in {seen.writer}, the writer") as step:
            replies = erasing.answers(writer, todo)
            changed[str(seen.writer)] = erasing.write(writer, todo, replies, fenced=has_fence(writer.session))
            step.done(f"{len(todo)} rows, {len(replies)} stored answers")
        changed[str(seen.other)] = _other_side(context, seen, classes, replies, console)
        for side in seen.readers:
            seen.look(classes, side)
        left = _left(seen, classes)
        record = gate_record.signed(
            {
                "kind": "subject-erased",
                **_of_stack(context),
                "subject": vars_of(seen.person),
                "writer": str(seen.writer),
                "rows": counts,
                "columns": plan,
                "before": {str(side): digests for side, digests in before.items()},
                "after": {str(side): _digests(rows, key) for side, rows in seen.rows.items()},
                "left": {side: list(columns) for side, columns in left.items()},
                "archives": [archive.to_json() for archive in seen.archives],
            },
            key,
        )
        with context.postgres() as pg:
            journal.store(pg, RECORD, not any(left.values()), record)
    return EraseResult(seen.person, counts, changed, left, seen.archives, record, plan=plan)


def _withheld(classes: DataClasses, column: Column) -> bool:
    """What lets somebody in or pays is nobody's copy."""
    return classes.of(column).name in ("secret", "card")


def _of_stack(context: Context) -> dict[str, Any]:
    out = context.outputs
    return {
        "v": 1,
        "project": out.project,
        "stack": out.stack,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": git_revision(),
    }


def _digests(rows: Rows, key: str) -> dict[str, dict[str, Any]]:
    return {
        table: {"rows": len(of_table), "digest": digest(of_table, key.encode())} for table, of_table in rows.items()
    }


def _left(seen: Seen, classes: DataClasses) -> dict[str, list[str]]:
    return {
        str(side): erasing.left(seen.readers[side].tables, classes, rows) for side, rows in seen.rows.items()
    }  # fmt: skip


def _when(context: Context, person: Person) -> str:
    with context.postgres() as pg:
        row = pg.execute(
            "SELECT max(body->>'at') FROM zdm.record WHERE kind = %s AND body->'subject' = %s::jsonb",
            (RECORD, json.dumps(vars_of(person))),
        ).fetchone()
    return str(row[0]) if row and row[0] else ""


# --- the other side ---------------------------------------------------------------------------------------------------


def _carried(context: Context, writer: Side) -> bool:
    """Whether CDC brings the writer's changes to the other side."""
    out = context.outputs
    if writer is Side.MYSQL:
        return out.pipeline.state == "running" or bool(out.dms and out.dms.running)
    back = out.pipeline.way_back
    return back is not None and back.state == "running"


def _other_side(
    context: Context, seen: Seen, classes: DataClasses, replies: Mapping[str, str], console: Console
) -> int:
    """Brings the other side to the same values; returns how many rows were changed there."""
    reader = seen.readers[seen.other]
    theirs = seen.look(classes, seen.writer)
    behind = erasing.as_there(reader.tables, classes, seen.look(classes, seen.other), theirs)
    if not behind and not replies:
        return 0
    if _carried(context, seen.writer):
        with console.step(f"Wait until CDC has brought it to {seen.other}") as step:
            deadline = time.monotonic() + PATIENCE
            while erasing.as_there(reader.tables, classes, seen.look(classes, seen.other), theirs):
                if time.monotonic() > deadline:
                    raise ZdmError(
                        f"CDC has not brought the erasure to {seen.other} within {PATIENCE:.0f} s (see `./zdm lag`). "
                        f"It is done in {seen.writer}: run this again once CDC is up to date"
                    )
                time.sleep(TICK)
            step.done(f"{len(behind)} rows")
        return len(behind)
    with console.step(f"Erase in {seen.other}: no CDC runs"):
        known = _known(reader.session, replies)
        if seen.other is Side.AURORA:
            return erasing.write(reader, behind, known, fenced=False)
        with Controller(context) as c:
            c.lock()
            [(fenced,)] = c.query("SELECT @@GLOBAL.super_read_only")
            if fenced:
                c.query("SET GLOBAL super_read_only = OFF")  # read_only stays: applications are still refused
            try:
                return erasing.write(reader, behind, known, fenced=False)
            finally:
                if fenced:
                    c.query("SET GLOBAL super_read_only = ON")


def _known(session: Session, replies: Mapping[str, str]) -> dict[str, str]:
    """The answers that this side has as well."""
    return {
        id: answer for id, answer in replies.items() if session.rows("SELECT 1 FROM zdm.idempotency WHERE id = %s", id)
    }
