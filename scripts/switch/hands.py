"""Every act of a switch that changes something, and its double that only says what it would do.

`ThereHands` (cutover) and `BackHands` (rollback) know the databases; the order of the acts is the machine's.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psycopg

from contract.control import READ_FENCE, fence_values
from contract.flag import Flag, Side, Writes
from contract.tables import Table
from scripts.clients.flagstore import FlagStore
from scripts.console import Console
from scripts.context import Context
from scripts.errors import ZdmError
from scripts.switch import journal
from scripts.switch.fence import Closed, Controller, Moved
from scripts.switch.journal import State


class CommitUnknown(ZdmError):
    """The connection was lost while COMMIT was under way; the journal knows."""


class Hands(ABC):
    """The acts of one direction. Each may be repeated by a run that goes on after a death."""

    target: Side

    def __init__(self, context: Context, controller: Controller) -> None:
        self.context = context
        self.c = controller
        self._published: list[threading.Thread] = []
        self._unpublished: str = ""

    def note(self, run: str, state: State, epoch: int, detail: dict[str, Any]) -> None:
        journal.write_postgres(self.c.postgres, run, state, epoch, detail)

    @abstractmethod
    def get_ready(self) -> list[str]:
        """Makes ready, long before the fence, what needs no undoing. Returns what it did."""

    @abstractmethod
    def fence(self, run: str, held: Flag, before: Flag) -> Closed:
        """Closes the source for everybody, and says what must be drained."""

    @abstractmethod
    def stop_sink(self) -> None:
        """All is drained: the sink may not write any more, so that a second one that was believed dead cannot put an
        old row over what is compared next.
        """

    @abstractmethod
    def prepare(self, tables: Sequence[Table]) -> dict[str, Any]:
        """Makes the target ready to be written."""

    def commit(self, run: str, held: Flag, detail: dict[str, Any]) -> None:
        """The point of no return: one transaction. Raises `CommitUnknown` when nobody can say whether it happened."""
        pg = self.c.postgres
        sent = False
        try:
            pg.execute("BEGIN")
            row = pg.execute(f"{READ_FENCE} FOR UPDATE").fetchone()
            if row is None or (int(row[0]), int(row[1])) != fence_values(held)[:2]:
                raise Moved("PostgreSQL's flag is not the one of this run: someone has undone it")
            self.c.move_right_to_write(self.target)
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

    @abstractmethod
    def open(self, run: str, opened: Flag) -> dict[str, Any]:
        """Lets the target be written. The source learns first that it is no longer the writer, so that no stale read
        follows a write.
        """

    @abstractmethod
    def undo(self, run: journal.Run, certain: bool) -> Flag:
        """Makes the source the writer again, whatever of the fence was done. Returns the flag that is now in force.

        PostgreSQL's row is changed first: then a run that was believed dead cannot commit any more. Only when it is
        `certain` that nobody commits, that may be left out where PostgreSQL cannot be reached.
        """

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


def after(run: journal.Run, newest: Flag) -> Flag:
    """The flag of an undo: what is there when somebody has undone the run already, else one that is newer than whatever
    the run made, and whatever it could still make.
    """
    if newest.epoch > run.epoch and newest.writes is Writes.OPEN:
        return newest
    return Flag(newest.v + 2, run.epoch + 1, newest.weight, Writes.OPEN, newest.mode)


class LoggingHands(Hands):
    """Says what it would do, and changes nothing but the watermark (which exists to be changed)."""

    def __init__(
        self, hands: Hands, position: Callable[[Controller], Closed], words: Mapping[str, str], console: Console
    ) -> None:
        super().__init__(hands.context, hands.c)
        self.target = hands.target
        self._position, self._words, self._console = position, words, console

    def _would(self, act: str, **values: object) -> None:
        self._console.info(f"  would {self._words[act].format(**values)}")

    def note(self, run: str, state: State, epoch: int, detail: dict[str, Any]) -> None:
        pass

    def get_ready(self) -> list[str]:
        return []

    def fence(self, run: str, held: Flag, before: Flag) -> Closed:
        self._would("fence", flag=held.to_json())
        return self._position(self.c)

    def stop_sink(self) -> None:
        pass

    def prepare(self, tables: Sequence[Table]) -> dict[str, Any]:
        names = [column.path for table in tables for column in table.columns if column.auto_increment]
        self._would("prepare", tables=", ".join(names) or "no column")
        return {}

    def commit(self, run: str, held: Flag, detail: dict[str, Any]) -> None:
        self._would("commit")

    def open(self, run: str, opened: Flag) -> dict[str, Any]:
        self._would("open", flag=opened.to_json())
        return {}

    def undo(self, run: journal.Run, certain: bool) -> Flag:
        raise AssertionError("a dry run has nothing to undo")
