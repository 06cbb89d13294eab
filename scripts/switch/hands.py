"""Every act of a cutover that changes something, and its double that only says what it would do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from contract.control import READ_FENCE, fence_values
from contract.flag import Flag
from contract.tables import Table
from scripts.clients.flagstore import FlagStore
from scripts.console import Console
from scripts.context import Context
from scripts.data.schema import set_sequences
from scripts.errors import ZdmError
from scripts.switch import journal
from scripts.switch.fence import Closed, Controller, Moved, executed, mark
from scripts.switch.journal import State

SEQUENCE_MARGIN = 1_000
"""How far past the largest value a sequence goes on."""


class CommitUnknown(ZdmError):
    """The connection was lost while COMMIT was under way; the journal knows."""


class Hands:
    """Every act that changes something. The dry run has other hands; the machine is the same."""

    def __init__(self, context: Context, controller: Controller) -> None:
        self.context = context
        self.c = controller
        self._published: list[threading.Thread] = []
        self._unpublished: str = ""

    def note(self, run: str, state: State, epoch: int, detail: dict[str, Any]) -> None:
        journal.write_postgres(self.c.postgres, run, state, epoch, detail)

    def fence(self, run: str, held: Flag, before: Flag) -> Closed:
        self.c.set_mysql(held, before, lambda cursor: journal.write_mysql(cursor, run, State.FENCED, held.epoch, {}))
        closed = self.c.close_mysql(self.between_marks)
        self.c.set_postgres(held, before)
        self.publish(held)
        return closed

    between_marks: Callable[[], None] | None = None

    def sequences(self, tables: Sequence[Table]) -> dict[str, int]:
        return set_sequences(self.c.postgres, tables, SEQUENCE_MARGIN)

    def commit(self, run: str, held: Flag, detail: dict[str, Any]) -> None:
        """The point of no return: one transaction. Raises `CommitUnknown` when nobody can say whether it happened."""
        pg = self.c.postgres
        sent = False
        try:
            pg.execute("BEGIN")
            row = pg.execute(f"{READ_FENCE} FOR UPDATE").fetchone()
            if row is None or (int(row[0]), int(row[1])) != fence_values(held)[:2]:
                raise Moved("PostgreSQL's flag is not the one of this run: someone has undone it")
            self.c.move_right_to_write()
            journal.write_postgres(pg, run, State.COMMITTED, held.epoch, detail)
            sent = True
            pg.execute("COMMIT")
        except psycopg.Error as e:
            if sent and pg.broken:
                raise CommitUnknown(f"PostgreSQL went away during COMMIT: {e}") from e
            if not pg.broken:
                pg.execute("ROLLBACK")
            raise
        except BaseException:
            if sent:
                raise CommitUnknown("interrupted during COMMIT") from None
            if not pg.broken:
                pg.execute("ROLLBACK")
            raise

    def open(self, run: str, opened: Flag) -> dict[str, Any]:
        """MySQL learns first that it is no longer the writer, so no stale read follows a write; may be repeated."""
        c = self.c
        c.end_sink_statements()
        before = executed(c.cursor)
        c.cursor.execute("SET GLOBAL read_only = ON")
        c.cursor.execute("SET GLOBAL super_read_only = OFF")
        c.set_mysql(opened, None, lambda cursor: journal.write_mysql(cursor, run, State.OPEN, opened.epoch, {}))
        c.cursor.execute("SET GLOBAL super_read_only = ON")
        foreign = executed(c.cursor) - before
        c.set_postgres(opened, None, lambda: journal.write_postgres(c.postgres, run, State.OPEN, opened.epoch, {}))
        self.publish(opened)
        return {"foreignTransactions": foreign.count - 1}

    def keep_shut(self) -> None:
        """A restart must not open MySQL again."""
        self.c.cursor.execute("SET PERSIST super_read_only = ON")

    def publish(self, flag: Flag) -> None:
        """Sends the flag to the router's store, beside the pause: routers learn it from the origins at once."""
        before = list(self._published)

        def send() -> None:
            for thread in before:
                thread.join()
            try:
                with FlagStore(self.context) as store:
                    store.write(flag)
                self._unpublished = ""
            except (ZdmError, ValueError) as e:
                self._unpublished = f"the router's store has not got the flag {flag.to_json()}: {e}"

        thread = threading.Thread(target=send, name="flag-store", daemon=True)
        self._published.append(thread)
        thread.start()

    def published(self) -> list[str]:
        """Waits for the store; what it did not take."""
        for thread in self._published:
            thread.join(timeout=30)
        return [self._unpublished] if self._unpublished else []


class LoggingHands(Hands):
    """Says what it would do, and changes nothing but the watermark (which exists to be changed)."""

    def __init__(self, context: Context, controller: Controller, console: Console) -> None:
        super().__init__(context, controller)
        self._console = console

    def _would(self, what: str) -> None:
        self._console.info(f"  would {what}")

    def note(self, run: str, state: State, epoch: int, detail: dict[str, Any]) -> None:
        pass

    def fence(self, run: str, held: Flag, before: Flag) -> Closed:
        self._would(f"hold writes (flag {held.to_json()}) and make MySQL read only")
        mark(self.c.cursor)
        first = executed(self.c.cursor)
        mark(self.c.cursor)
        return Closed(first, 0)

    def sequences(self, tables: Sequence[Table]) -> dict[str, int]:
        names = [column.path for table in tables for column in table.columns if column.auto_increment]
        self._would(f"set the sequences of {', '.join(names) or 'no column'} past the maximum")
        return {}

    def commit(self, run: str, held: Flag, detail: dict[str, Any]) -> None:
        self._would("move the right to write from the sink to the application, and commit")

    def open(self, run: str, opened: Flag) -> dict[str, Any]:
        self._would(f"open the target (flag {opened.to_json()})")
        return {}

    def keep_shut(self) -> None:
        pass
