"""What each state of the machine means to people: `docs/cutover.md` and the tests are made from this table.

python -m scripts.switch.states      writes the table into docs/cutover.md
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scripts.switch.journal import State

PAGE: Final = Path("docs/cutover.md")
BEGIN, END = "<!-- states: begin -->", "<!-- states: end -->"


@dataclass(frozen=True)
class About:
    """`there` and `back` are what happens in a cutover and in a rollback; `dead` is what to do when the
    command died here."""

    there: str
    back: str
    ends: str
    failure: str
    sees: str
    dead: str


NOTHING: Final = "Nothing was changed: run it again."
RESUME_UNDO: Final = (
    "`./zdm cutover resume` undoes it: the old writer is opened again under a newer epoch. Then run it again."
)
RESUME_FINISH: Final = "`./zdm cutover resume` finishes it. Back again only by the opposite switch."

STATES: Final[dict[State, About]] = {
    State.PREFLIGHT: About(
        "privileges, fence rows, long transactions, DDL, lag, the last clean check, a fresh signed gate, room for the "
        "way back; keys changed since the check are compared ahead; accounts and publication of the way back are made",
        "Aurora is the writer, the way back carries (a marker makes its journey), MySQL is read only; keys "
        "changed since the cutover are compared ahead",
        "all is good",
        "refused, with every problem and its way out",
        "`refused`, exit code 1",
        NOTHING,
    ),
    State.FENCED: About(
        "MySQL's row says `hold` under a new epoch, which waits for writes under way; `read_only`, two markers, "
        "`super_read_only`; the GTID set between the markers shows whether somebody else wrote, and then it is "
        "done again",
        "Aurora's row says `hold`, and the application loses its right to write in the same transaction; sessions that "
        "passed their check before have 0.5 s to end, then are ended; two markers give the place in the log",
        "exactly our own transactions since the marker",
        "undo",
        "writes are held by the router from here on",
        RESUME_UNDO,
    ),
    State.DRAINED: About(
        "the source connector's committed position contains the GTID set, so Kafka has acknowledged every "
        "event; then the "
        "sink's committed offset reaches the end of every partition of every table",
        "the same, with the place in Aurora's log",
        "all partitions",
        "undo",
        "how long source and sink took",
        RESUME_UNDO,
    ),
    State.VERIFIED: About(
        "rows are counted on both sides, and every row whose key changed since the last pass is compared; the "
        "topics have "
        "not grown since they were drained",
        "the same",
        "0 differences",
        "undo; the rows that differ are named",
        "keys compared, counts",
        RESUME_UNDO,
    ),
    State.PREPARED: About(
        "sequences and identities move past the largest value; the slot of the way back is made at the place "
        "where Aurora "
        "begins to be the writer",
        "MySQL's AUTO_INCREMENT moves past Aurora's sequences",
        "done",
        "undo; the slot is dropped",
        "the new values",
        RESUME_UNDO,
    ),
    State.COMMITTED: About(
        "one transaction on Aurora: the journal's row, and the right to write goes from the sink to the application",
        "one transaction on Aurora: the journal's row, and the right to write goes from the application to the sink",
        "COMMIT",
        "before it undo, after it forward; when nobody knows, the journal is asked",
        "the point of no return",
        RESUME_FINISH,
    ),
    State.OPEN: About(
        "MySQL's row names Aurora as the writer, then Aurora's row opens; with a way back MySQL's sink account "
        "is unlocked",
        "Aurora's row names MySQL as the writer; the sink's account on MySQL is locked and its sessions end; "
        "then MySQL's "
        "row opens and `read_only` goes",
        "the first accepted write",
        "run again: it goes forward",
        "the new writer, and the pause as an independent writer measured it",
        RESUME_FINISH,
    ),
    State.PROBATION: About(
        "`./zdm cutover probation` watches latency, errors and the lag of the way back, and rolls back by itself when "
        "`kpis.probationBreaches` windows in a row break a bound",
        "–",
        "the time set has passed",
        "a breach rolls back (or is only told, with `--manual`); a broken way back is told, and Aurora goes on serving",
        "a line for each window",
        "Aurora goes on serving: start the probation again, or `./zdm rollback`.",
    ),
    State.FINAL: About(
        "the slot is dropped, the sink's account on MySQL locked, MySQL `super_read_only` for good",
        "–",
        "done",
        "refused while the way back's connector still reads",
        "Aurora is the writer for good",
        "Run `./zdm cutover final` again.",
    ),
    State.UNDONE: About(
        "MySQL is opened again under a newer epoch; PostgreSQL's row changes first, so a run believed dead "
        "cannot commit",
        "Aurora's row opens again and the application gets its right to write back, in one transaction",
        "the old writer accepts writes",
        "tried again for 60 s; then the message says what to bring within reach",
        "`undone`, exit code 4",
        NOTHING,
    ),
}


def table() -> str:
    """The states as Markdown."""
    lines = [
        "| state | cutover | rollback | what ends it | on failure | the operator sees | the command died here |",
        "|---|---|---|---|---|---|---|",
    ]
    for state in State:
        a = STATES[state]
        lines.append(f"| {state.value} | {a.there} | {a.back} | {a.ends} | {a.failure} | {a.sees} | {a.dead} |")
    return "\n".join(lines)


def page(text: str) -> str:
    """`docs/cutover.md` with the table that the machine has now."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
