"""The two directions in which the right to write moves: what is looked at, by whom and where. Changes are `hands`'
part.

Invariants:
- A way only reads, but for markers in the watermark, which exist to be written.
- A position that a way gives contains everything that its source had committed when it was asked for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contract.flag import Side
from contract.tables import Table
from scripts.clients.kafka import KafkaClient, Offsets
from scripts.console import Console
from scripts.context import Context
from scripts.errors import UsageError
from scripts.switch import drain, journal, preflight
from scripts.switch.changes import offsets_of
from scripts.switch.drain import Route
from scripts.switch.fence import Closed, Controller, executed, mark, postgres_place
from scripts.switch.hands import Hands, LoggingHands
from scripts.switch.hands_back import BackHands
from scripts.switch.hands_there import ThereHands
from scripts.switch.journal import Direction


@dataclass(frozen=True)
class Way(ABC):
    """One direction."""

    context: Context

    direction = Direction.CUTOVER
    title = "Cutover"
    source = Side.MYSQL
    target = Side.AURORA
    weight = 100.0
    """Of the readers, on Aurora, when it is done."""

    @property
    @abstractmethod
    def route(self) -> Route:
        """The direction of the pipeline that must be drained."""

    @abstractmethod
    def hands(self, c: Controller) -> Hands: ...

    @abstractmethod
    def problems(self, c: Controller, tables: Sequence[Table]) -> list[str]:
        """Everything that stands in the way."""

    @abstractmethod
    def topic_of(self, table: str) -> str: ...

    @abstractmethod
    def since(self, kafka: KafkaClient, c: Controller) -> Offsets:
        """From where on changes have not been compared yet, by the change topics' partitions."""

    @abstractmethod
    def position(self, c: Controller) -> Closed:
        """Markers written, and what must be drained so that everything before them is on the target."""

    def logging(self, hands: Hands, console: Console) -> LoggingHands:
        return LoggingHands(hands, self.position, self.words, console)

    @property
    @abstractmethod
    def words(self) -> Mapping[str, str]:
        """What a dry run says it would do, by act."""


class WayThere(Way):
    """The cutover: MySQL to Aurora."""

    @property
    def route(self) -> Route:
        return drain.way_there(self.context.outputs)

    def hands(self, c: Controller) -> ThereHands:
        return ThereHands(self.context, c)

    def problems(self, c: Controller, tables: Sequence[Table]) -> list[str]:
        return preflight.problems(self.context, c, tables)

    def topic_of(self, table: str) -> str:
        return self.context.outputs.topic_of(table)

    def since(self, kafka: KafkaClient, c: Controller) -> Offsets:
        record = journal.last_record(c.postgres, journal.DATA_CHECK)
        assert record is not None  # preflight saw it
        topics = {self.topic_of(name) for name in self.context.outputs.pipeline.tables}
        known = {p: o for p, o in offsets_of(record.body["started"]).items() if p[0] in topics}
        for topic, p in kafka.partitions(sorted(topics)):
            if (topic, p) not in known:
                raise UsageError(f"the last data-check knew nothing of {topic}-{p}: run `./zdm data-check` again")
        return known

    def position(self, c: Controller) -> Closed:
        mark(c.cursor)
        all_of_it = executed(c.cursor)
        mark(c.cursor)
        return Closed(all_of_it)

    @property
    def words(self) -> Mapping[str, str]:
        back = self.context.outputs.pipeline.way_back
        slot = f" and make the slot {back.slot} for the way back" if back else ""
        return {
            "fence": "hold writes (flag {flag}) and make MySQL read only",
            "prepare": "set the sequences of {tables} past the maximum" + slot,
            "commit": "move the right to write from the sink to the application, and commit",
            "open": "open Aurora (flag {flag})",
        }


class WayBack(Way):
    """The rollback: Aurora to MySQL."""

    direction = Direction.ROLLBACK
    title = "Rollback"
    source = Side.AURORA
    target = Side.MYSQL
    weight = 0.0

    @property
    def route(self) -> Route:
        return drain.way_back(self.context.outputs)

    def hands(self, c: Controller) -> BackHands:
        return BackHands(self.context, c)

    def problems(self, c: Controller, tables: Sequence[Table]) -> list[str]:
        return preflight.problems_back(self.context, c, tables)

    def topic_of(self, table: str) -> str:
        back = self.context.outputs.pipeline.way_back
        assert back is not None  # preflight saw it
        return back.topic_of(table)

    def since(self, kafka: KafkaClient, c: Controller) -> Offsets:
        """All of this round: both sides were compared when it began."""
        return kafka.begin_offsets(kafka.partitions(self.route.topics))

    def position(self, c: Controller) -> Closed:
        return Closed(postgres_place(c.postgres))

    @property
    def words(self) -> Mapping[str, str]:
        return {
            "fence": "hold writes (flag {flag}), take the right to write from the application and end its old sessions",
            "prepare": "move the AUTO_INCREMENT of {tables} past Aurora's sequences",
            "commit": "give the right to write on Aurora back to the sink, and commit",
            "open": "lock the sink of the way back out of MySQL and open MySQL (flag {flag})",
        }


def way(context: Context, direction: Direction) -> Way:
    return WayThere(context) if direction is Direction.CUTOVER else WayBack(context)
