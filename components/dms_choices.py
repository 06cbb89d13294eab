"""What can be chosen for an AWS DMS task, group by group; `dms_settings` puts the groups together. Pure.

Ranges and defaults are those of the AWS DMS user guide, "Specifying task settings for AWS Database Migration Service
tasks"; a choice that would lose data silently is none here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from components.base import demand

MAX_LOB_KB: Final = 102_400
LOB_EXPANSION: Final = 3
"""DMS counts a LOB in a form up to three times its size."""
MAX_FAILURES: Final = 10_000

Kind = Literal["full-load", "cdc", "full-load-and-cdc"]
Severity = Literal["ERROR", "WARNING", "INFO", "DEFAULT", "DEBUG", "DETAILED_DEBUG"]
Part = Literal[
    "FILE_FACTORY",
    "METADATA_MANAGER",
    "SORTER",
    "SOURCE_CAPTURE",
    "SOURCE_UNLOAD",
    "TABLES_MANAGER",
    "TARGET_APPLY",
    "TARGET_LOAD",
    "TASK_MANAGER",
    "TRANSFORMATION",
    "VALIDATOR",
]
PARTS: Final[tuple[Part, ...]] = (
    "FILE_FACTORY",
    "METADATA_MANAGER",
    "SORTER",
    "SOURCE_CAPTURE",
    "SOURCE_UNLOAD",
    "TABLES_MANAGER",
    "TARGET_APPLY",
    "TARGET_LOAD",
    "TASK_MANAGER",
    "TRANSFORMATION",
    "VALIDATOR",
)


@dataclass(frozen=True)
class FullLobs:
    """Every LOB whole, whatever its size, each by a look-up of its own: slow, and never wrong."""

    chunk_kb: int = 64
    """KB fetched at a time. 64, since larger chunks can make a task fail."""

    def __post_init__(self) -> None:
        demand(
            self, chunk_kb=(1 <= self.chunk_kb <= 64, f"1 to 64 KB (more can make a task fail), not {self.chunk_kb}")
        )


@dataclass(frozen=True)
class InlineLobs:
    """LOBs up to a size with their row, larger ones whole by a look-up: for tables where most are small."""

    inline_kb: int
    """Up to how many KB a LOB travels with its row."""
    chunk_kb: int = 64
    """KB fetched at a time for a larger one. 64, since larger chunks can make a task fail."""

    def __post_init__(self) -> None:
        demand(
            self,
            inline_kb=(1 <= self.inline_kb <= MAX_LOB_KB, f"1 to {MAX_LOB_KB} KB, not {self.inline_kb}"),
            chunk_kb=(1 <= self.chunk_kb <= 64, f"1 to 64 KB (more can make a task fail), not {self.chunk_kb}"),
        )


@dataclass(frozen=True)
class LimitedLobs:
    """All LOBs with their row: the fastest, and the one that cuts off silently what is larger than its limit.

    So the limit is not given but made from the largest LOB there is, and the task stops at the first that is cut off.
    """

    largest_kb: int
    """Size of the largest LOB in the source, measured (KB); the limit is three times that, as DMS counts."""

    def __post_init__(self) -> None:
        most = MAX_LOB_KB // LOB_EXPANSION
        demand(
            self,
            largest_kb=(
                1 <= self.largest_kb <= most,
                f"the size of the largest LOB, 1 to {most} KB (larger ones only travel whole), not {self.largest_kb}",
            ),
        )

    @property
    def limit_kb(self) -> int:
        """DMS's `LobMaxSize`."""
        return self.largest_kb * LOB_EXPANSION


Lobs = FullLobs | InlineLobs | LimitedLobs


@dataclass(frozen=True)
class FullLoad:
    """The copy of what is there when the task starts."""

    prepare: Literal["DO_NOTHING", "TRUNCATE_BEFORE_LOAD"] = "DO_NOTHING"
    """What happens to the target's tables first. Nothing by default: a restart then fails at rows that are there,
    instead of emptying tables. Dropping them is no choice, since DMS would make them anew by its own types."""
    at_once: int = 8
    """Tables, or parts of large ones, that are loaded at a time. DMS's default; each is a connection on both sides."""
    commit_rows: int = 10_000
    """Rows in a transaction. DMS's default; limited LOBs of some size need fewer."""
    open_transactions_seconds: int = 600
    """How long the load waits for transactions that are open when it starts. DMS's default, 10 minutes."""

    def __post_init__(self) -> None:
        demand(
            self,
            at_once=(1 <= self.at_once <= 49, f"1 to 49, not {self.at_once}"),
            commit_rows=(1 <= self.commit_rows <= 50_000, f"1 to 50000, not {self.commit_rows}"),
            open_transactions_seconds=(
                0 <= self.open_transactions_seconds <= 86_400,
                f"0 to 86400 seconds, not {self.open_transactions_seconds}",
            ),
        )


@dataclass(frozen=True)
class BatchApply:
    """Changes in batches instead of one transaction after the other: faster, and out of the source's order."""

    min_seconds: int = 1
    """Least time between two batches. DMS's default."""
    max_seconds: int = 5
    """Longest time that a change waits for its batch; part of the lag. DMS's default, 30, is all of the lag allowed."""
    memory_mb: int = 500
    """Memory in which a batch is prepared. DMS's default."""
    most_changes: int = 0
    """Changes in one batch; 0 is without a limit, DMS's default."""

    def __post_init__(self) -> None:
        demand(
            self,
            min_seconds=(0 <= self.min_seconds <= self.max_seconds, "0 to max_seconds"),
            max_seconds=(1 <= self.max_seconds <= 3600, f"1 to 3600 seconds, not {self.max_seconds}"),
            memory_mb=(100 <= self.memory_mb <= 65_536, f"100 to 65536 MB, not {self.memory_mb}"),
            most_changes=(0 <= self.most_changes <= 10_000_000, f"0 to 10000000, not {self.most_changes}"),
        )


@dataclass(frozen=True)
class Changes:
    """The capture and application of changes."""

    batch: BatchApply | None = None
    """In batches. Not by default: transactions then arrive as they were committed."""
    commit_seconds: int = 1
    """How long transactions are collected into one on the target, without batches. DMS's default."""
    commit_changes: int = 1000
    """How many changes are collected so. DMS's default."""
    memory_mb: int = 1024
    """Memory for transactions that are not committed yet; beyond it they go to the instance's disk. DMS's default."""
    memory_seconds: int = 60
    """How long a transaction stays in memory. DMS's default."""
    statements: int = 50
    """Prepared statements that are kept. DMS's default."""

    def __post_init__(self) -> None:
        demand(
            self,
            commit_seconds=(1 <= self.commit_seconds <= 600, f"1 to 600 seconds, not {self.commit_seconds}"),
            commit_changes=(1 <= self.commit_changes <= 1_000_000, f"1 to 1000000, not {self.commit_changes}"),
            memory_mb=(100 <= self.memory_mb <= 262_144, f"100 to 262144 MB, not {self.memory_mb}"),
            memory_seconds=(1 <= self.memory_seconds <= 86_400, f"1 to 86400 seconds, not {self.memory_seconds}"),
            statements=(0 <= self.statements <= 200, f"0 to 200, not {self.statements}"),
        )


@dataclass(frozen=True)
class Validation:
    """DMS's own comparison, row by row. A second opinion: the contract's check is the one that decides."""

    only: bool = False
    """Compare and move nothing: a task of its own beside the one that replicates, set for ever at its creation."""
    threads: int = 5
    """Comparisons at a time; each is a query on either side. DMS's default."""
    rows: int = 10_000
    """Rows read at a time. DMS's default."""
    most_failures: int = MAX_FAILURES
    """Failures at which the task's validation ends. DMS's default, and the most: it ends there whatever is asked."""
    most_table_failures: int = 1000
    """Failures at which one table's validation ends. DMS's default."""

    def __post_init__(self) -> None:
        demand(
            self,
            threads=(1 <= self.threads <= 64, f"1 to 64, not {self.threads}"),
            rows=(1 <= self.rows <= 1_000_000, f"1 to 1000000, not {self.rows}"),
            most_failures=(
                1 <= self.most_failures <= MAX_FAILURES,
                f"1 to {MAX_FAILURES} (validation stops there whatever is asked), not {self.most_failures}",
            ),
            most_table_failures=(
                1 <= self.most_table_failures <= self.most_failures,
                f"1 to most_failures, not {self.most_table_failures}",
            ),
        )


@dataclass(frozen=True)
class Errors:
    """What happens when a row or a table cannot be written."""

    policy: Literal["SUSPEND_TABLE", "STOP_TASK"] = "STOP_TASK"
    """Stop at the first, by default: a suspended table falls behind the others, and its rows are missing until it is
    loaded again. The choices of DMS that go on without the row are none here."""
    retry_seconds: int = 300
    """Longest pause between attempts to start again after an error of the environment, such as a failover. DMS's
    default, 1800, is a long gap in the changes."""

    def __post_init__(self) -> None:
        demand(self, retry_seconds=(5 <= self.retry_seconds <= 86_400, f"5 to 86400 seconds, not {self.retry_seconds}"))


@dataclass(frozen=True)
class Logging:
    """What the task writes to its log group."""

    level: Severity = "DEFAULT"
    """Of all parts."""
    parts: Mapping[Part, Severity] = field(default_factory=dict)
    """Of single parts, while a trouble is being looked for; debug levels fill the instance's disk."""


@dataclass(frozen=True)
class Buffers:
    """Memory between the stages of a task."""

    streams: int = 3
    """Data streams. DMS's default."""
    stream_mb: int = 8
    """Size of each; must hold a row with its inline LOBs. DMS's default."""
    control_mb: int = 5
    """Size of the control stream, 1 to 8; more only for tens of thousands of tables. DMS's default."""

    def __post_init__(self) -> None:
        demand(
            self,
            streams=(1 <= self.streams <= 100, f"1 to 100, not {self.streams}"),
            stream_mb=(1 <= self.stream_mb <= 4096, f"1 to 4096 MB, not {self.stream_mb}"),
            control_mb=(1 <= self.control_mb <= 8, f"1 to 8 MB, not {self.control_mb}"),
        )
