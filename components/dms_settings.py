"""Settings of AWS DMS tasks. Pure: a typed builder, and the JSON document that it makes.

A combination that DMS would take and then lose data by, or would only complain about when the task starts, is refused
here, with the reason. What is the same for every task of a migration is no argument:

- A task that finds no table fails (`FailOnNoTablesCaptured`); else it would run on without doing anything.
- A row that cannot be written is never only logged: it suspends its table or stops the task.
- An insert that is there already becomes an update, a delete that is gone already is done: changes may arrive twice.
- DMS changes no table: the schema is the contract's. A source table's ALTER or DROP is not repeated on the target.
- Log groups are not named: DMS refuses a task that does.
- Parallel load is by ranges or partitions in the table mappings; `ParallelLoadThreads` does nothing for PostgreSQL, and
  for MySQL is no task setting.

Source: AWS DMS user guide, "Specifying task settings for AWS Database Migration Service tasks" and the pages under it,
"Setting LOB support for source databases in an AWS DMS task", "AWS DMS data validation".
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Final

from components.base import demand
from components.dms_choices import (
    PARTS,
    BatchApply,
    Buffers,
    Changes,
    Errors,
    FullLoad,
    FullLobs,
    InlineLobs,
    Kind,
    LimitedLobs,
    Lobs,
    Logging,
    Validation,
)

CONTROL_SCHEMA: Final = "awsdms_control"
"""Where DMS keeps its own tables on a target: its default on MySQL; on PostgreSQL that is `public`, among the data."""
LOB_MEMORY_MB: Final = 1024
"""Memory that one LOB column may take in a limited full load: the limit times the rows of a commit."""


@dataclass(frozen=True)
class TaskSettings:
    """All settings of one task. `document()` is what DMS gets."""

    kind: Kind
    """What the task does: load what is there, follow the changes, or both."""
    carries_lobs: bool = True
    """Whether any of its tables has a LOB. True unless known better: the rules are stricter then."""
    lobs: Lobs = field(default_factory=FullLobs)
    """How LOBs travel. Whole by default; nothing is cut off then."""
    load: FullLoad | None = None
    """The full load; DMS's defaults where none is given. Only for a task that loads."""
    changes: Changes | None = None
    """The changes; DMS's defaults where none are given. Only for a task that follows them."""
    validation: Validation | None = None
    """DMS's comparison of the rows; none by default, since each is paid for with queries on both databases."""
    errors: Errors = field(default_factory=Errors)
    """What happens when a row cannot be written."""
    logging: Logging = field(default_factory=Logging)
    """What is logged."""
    buffers: Buffers = field(default_factory=Buffers)
    """Memory between the stages."""

    def __post_init__(self) -> None:
        only = self.validation is not None and self.validation.only
        batch = self.changes is not None and self.changes.batch is not None
        load = self.load or FullLoad()
        limited = self.lobs.limit_kb if isinstance(self.lobs, LimitedLobs) else 0
        memory_mb = limited * load.commit_rows // 1024
        fits = self.kind == "cdc" or only or memory_mb <= LOB_MEMORY_MB
        stream_kb = self.buffers.stream_mb * 1024
        inline_kb = self.lobs.inline_kb if isinstance(self.lobs, InlineLobs) else limited
        demand(
            self,
            kind=(
                not only or self.kind != "full-load-and-cdc",
                "a task that only validates is a full load (one pass) or cdc (goes on), not both",
            ),
            load=(
                self.load is None or (self.kind != "cdc" and not only),
                "a task that loads nothing has no settings for it: leave it out" if self.kind == "cdc" or only else "",
            ),
            changes=(
                (self.changes is None or (self.kind != "full-load" and not only))
                and not (batch and self.carries_lobs and not isinstance(self.lobs, LimitedLobs)),
                "a task that follows no changes has no settings for them: leave it out"
                if self.kind == "full-load" or only
                else "batches carry LOBs in the limited mode only: measure the largest LOB and give LimitedLobs, or "
                "leave out `batch`",
            ),
            lobs=(
                fits and (not self.carries_lobs or inline_kb <= stream_kb),
                f"{limited} KB times {load.commit_rows} rows is {memory_mb} MB for each LOB column, and DMS sets that "
                f"memory aside: lower load.commit_rows until it is at most {LOB_MEMORY_MB} MB"
                if not fits
                else f"a LOB of {inline_kb} KB travels with its row, but a stream buffer holds {stream_kb} KB: raise "
                "buffers.stream_mb",
            ),
        )

    def sections(self) -> dict[str, dict[str, Any]]:
        """The document as Python values."""
        changes, load = self.changes or Changes(), self.load or FullLoad()
        batch, errors = changes.batch or BatchApply(), self.errors
        return {
            "TargetMetadata": {
                "TargetSchema": "",
                "SupportLobs": True,
                **self._lobs(),
                "LoadMaxFileSize": 0,
                "ParallelLoadThreads": 0,
                "ParallelLoadBufferSize": 0,
                "BatchApplyEnabled": changes.batch is not None,
                "TaskRecoveryTableEnabled": self.kind != "full-load" and not self._only,
            },
            "FullLoadSettings": {
                "TargetTablePrepMode": load.prepare,
                "CreatePkAfterFullLoad": False,
                "StopTaskCachedChangesApplied": False,
                "StopTaskCachedChangesNotApplied": False,
                "MaxFullLoadSubTasks": load.at_once,
                "TransactionConsistencyTimeout": load.open_transactions_seconds,
                "CommitRate": load.commit_rows,
            },
            "Logging": {
                "EnableLogging": True,
                "LogComponents": [
                    {"Id": part, "Severity": f"LOGGER_SEVERITY_{self.logging.parts.get(part, self.logging.level)}"}
                    for part in PARTS
                ],
            },
            "ControlTablesSettings": {
                "ControlSchema": CONTROL_SCHEMA,
                "HistoryTimeslotInMinutes": 5,
                "HistoryTableEnabled": True,
                "SuspendedTablesTableEnabled": True,
                "StatusTableEnabled": True,
            },
            "StreamBufferSettings": {
                "StreamBufferCount": self.buffers.streams,
                "StreamBufferSizeInMB": self.buffers.stream_mb,
                "CtrlStreamBufferSizeInMB": self.buffers.control_mb,
            },
            "ChangeProcessingTuning": {
                "BatchApplyPreserveTransaction": True,
                "BatchApplyTimeoutMin": batch.min_seconds,
                "BatchApplyTimeoutMax": batch.max_seconds,
                "BatchApplyMemoryLimit": batch.memory_mb,
                "BatchSplitSize": batch.most_changes,
                "MinTransactionSize": changes.commit_changes,
                "CommitTimeout": changes.commit_seconds,
                "MemoryLimitTotal": changes.memory_mb,
                "MemoryKeepTime": changes.memory_seconds,
                "StatementCacheSize": changes.statements,
            },
            "ChangeProcessingDdlHandlingPolicy": {
                "HandleSourceTableDropped": False,
                "HandleSourceTableTruncated": True,
                "HandleSourceTableAltered": False,
            },
            "ErrorBehavior": {
                "DataErrorPolicy": errors.policy,
                "DataTruncationErrorPolicy": errors.policy,
                "DataErrorEscalationPolicy": "STOP_TASK",
                "DataErrorEscalationCount": 0,
                "EventErrorPolicy": "IGNORE",
                "TableErrorPolicy": errors.policy,
                "TableErrorEscalationPolicy": "STOP_TASK",
                "TableErrorEscalationCount": 0,
                "RecoverableErrorCount": -1,
                "RecoverableErrorInterval": 5,
                "RecoverableErrorThrottling": True,
                "RecoverableErrorThrottlingMax": errors.retry_seconds,
                "RecoverableErrorStopRetryAfterThrottlingMax": False,
                "ApplyErrorDeletePolicy": "IGNORE_RECORD",
                "ApplyErrorInsertPolicy": "INSERT_RECORD",
                "ApplyErrorUpdatePolicy": errors.policy,
                "ApplyErrorEscalationPolicy": "LOG_ERROR",
                "ApplyErrorEscalationCount": 0,
                "ApplyErrorFailOnTruncationDdl": False,
                "FullLoadIgnoreConflicts": True,
                "FailOnNoTablesCaptured": True,
                "FailOnTransactionConsistencyBreached": False,
            },
            "ValidationSettings": self._validation(),
        }

    def document(self) -> str:
        """The task settings as DMS takes them."""
        return json.dumps(self.sections(), sort_keys=True)

    @property
    def _only(self) -> bool:
        return self.validation is not None and self.validation.only

    def _lobs(self) -> dict[str, Any]:
        lobs = self.lobs
        limited = isinstance(lobs, LimitedLobs)
        return {
            "FullLobMode": not limited,
            "LobChunkSize": 0 if isinstance(lobs, LimitedLobs) else lobs.chunk_kb,
            "LimitedSizeLobMode": limited,
            "LobMaxSize": lobs.limit_kb if isinstance(lobs, LimitedLobs) else 0,
            "InlineLobMaxSize": lobs.inline_kb if isinstance(lobs, InlineLobs) else 0,
        }

    def _validation(self) -> dict[str, Any]:
        if self.validation is None:
            return {"EnableValidation": False, "ValidationOnly": False}
        asked = self.validation
        return {
            "EnableValidation": True,
            "ValidationOnly": asked.only,
            "ValidationMode": "ROW_LEVEL",
            "ThreadCount": asked.threads,
            "PartitionSize": asked.rows,
            "FailureMaxCount": asked.most_failures,
            "TableFailureMaxCount": asked.most_table_failures,
            "RecordFailureDelayLimitInMinutes": 0,
            "RecordSuspendDelayInMinutes": 30,
            # The two databases order text differently; without this, keys of text are reported as missing.
            "HandleCollationDiff": True,
            "SkipLobColumns": False,
            # Must equal the limit where LOBs have one.
            "ValidationPartialLobSize": self.lobs.limit_kb if isinstance(self.lobs, LimitedLobs) else 0,
            "ValidationQueryCdcDelaySeconds": 180 if asked.only and self.kind == "cdc" else 0,
        }
