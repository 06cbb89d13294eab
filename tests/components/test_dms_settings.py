"""Settings of DMS tasks: every document that the builder makes is legal, and what would lose data cannot be built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.base import ArgumentError
from components.dms_choices import (
    MAX_FAILURES,
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
    Logging,
    Part,
    Severity,
    Validation,
)
from components.dms_settings import TaskSettings
from tests.json_schema import misfits

LEGAL = json.loads((Path(__file__).parent / "data/dms_task_settings.schema.json").read_text())
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])

# --- the builder's whole space, legal or not --------------------------------------------------------------------------

numbers = st.integers(-1, 200_000)
names = st.sampled_from(get_args(Severity))


def asked(make: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A group with any values; None where it refuses them itself."""

    def attempt(values: dict[str, Any]) -> Any:
        try:
            return make(**values)
        except ArgumentError:
            return None

    return st.fixed_dictionaries({}, optional=fields).map(attempt)


LOBS = st.one_of(
    asked(FullLobs, chunk_kb=numbers),
    st.integers(1, 9000).map(InlineLobs),
    st.integers(1, 2000).map(LimitedLobs),
)
BATCHES = asked(BatchApply, min_seconds=numbers, max_seconds=numbers, memory_mb=numbers, most_changes=numbers)
CHANGES = asked(
    Changes,
    batch=BATCHES,
    commit_seconds=numbers,
    commit_changes=numbers,
    memory_mb=numbers,
    memory_seconds=numbers,
    statements=st.integers(-1, 300),
)
LOADS = asked(
    FullLoad,
    prepare=st.sampled_from(["DO_NOTHING", "TRUNCATE_BEFORE_LOAD"]),
    at_once=st.integers(0, 60),
    commit_rows=st.integers(0, 60_000),
    open_transactions_seconds=numbers,
)
VALIDATIONS = asked(
    Validation, only=st.booleans(), threads=st.integers(0, 80), rows=numbers, most_failures=st.integers(0, 20_000)
)
TASKS = st.fixed_dictionaries(
    {"kind": st.sampled_from(get_args(Kind)), "carries_lobs": st.booleans()},
    optional={
        "lobs": LOBS.filter(lambda made: made is not None),
        "load": LOADS,
        "changes": CHANGES,
        "validation": VALIDATIONS,
        "errors": asked(Errors, policy=st.sampled_from(["SUSPEND_TABLE", "STOP_TASK"]), retry_seconds=numbers).filter(
            lambda made: made is not None
        ),
        "logging": st.builds(Logging, names, st.dictionaries(st.sampled_from(PARTS), names)),
        "buffers": asked(Buffers, streams=numbers, stream_mb=numbers, control_mb=st.integers(0, 9)).filter(
            lambda made: made is not None
        ),
    },
)


@BUSY
@given(TASKS)
def test_every_document_is_legal_and_loses_nothing(values: dict[str, Any]) -> None:
    try:
        task = TaskSettings(**values)
    except ArgumentError:
        return
    made = json.loads(task.document())
    assert list(misfits(LEGAL, made)) == []
    target, errors, validation = made["TargetMetadata"], made["ErrorBehavior"], made["ValidationSettings"]
    assert target["FullLobMode"] != target["LimitedSizeLobMode"], "just one mode of LOBs"
    if target["LimitedSizeLobMode"]:
        assert target["LobMaxSize"] > 0
        assert validation.get("ValidationPartialLobSize", target["LobMaxSize"]) == target["LobMaxSize"]
    if target["BatchApplyEnabled"]:
        assert target["LimitedSizeLobMode"] or not task.carries_lobs
    assert {errors["DataErrorPolicy"], errors["DataTruncationErrorPolicy"], errors["ApplyErrorUpdatePolicy"]} <= {
        "STOP_TASK",
        "SUSPEND_TABLE",
    }
    assert errors["FailOnNoTablesCaptured"] is True
    assert "CloudWatchLogGroup" not in made["Logging"]
    assert validation.get("FailureMaxCount", 0) <= MAX_FAILURES
    if validation["ValidationOnly"]:
        assert validation["EnableValidation"] and task.kind in ("full-load", "cdc")
        assert made["FullLoadSettings"]["TargetTablePrepMode"] == "DO_NOTHING"


def test_the_defaults_of_each_kind_are_legal() -> None:
    for kind in get_args(Kind):
        made = json.loads(TaskSettings(kind).document())
        assert list(misfits(LEGAL, made)) == []
        assert made["TargetMetadata"]["FullLobMode"], "nothing is cut off unless it was asked for"
        assert {c["Id"] for c in made["Logging"]["LogComponents"]} == set(get_args(Part))


def test_the_list_of_legal_settings_notices_a_mistake() -> None:
    made = json.loads(TaskSettings("cdc").document())
    made["TargetMetadata"]["LobChunkSize"] = 128
    made["FullLoadSettings"]["TargetTablePrepMode"] = "DROP"
    made["Logging"]["CloudWatchLogGroup"] = "mine"
    made["ErrorBehavior"]["FailOnNoTableCaptured"] = True
    assert len(list(misfits(LEGAL, made))) == 4


def test_batches_are_off_until_asked_for_and_their_wait_is_short() -> None:
    plain = TaskSettings("cdc").sections()
    assert plain["TargetMetadata"]["BatchApplyEnabled"] is False
    batched = TaskSettings("cdc", carries_lobs=False, changes=Changes(batch=BatchApply())).sections()
    assert batched["TargetMetadata"]["BatchApplyEnabled"] is True
    assert batched["ChangeProcessingTuning"]["BatchApplyTimeoutMax"] == 5


def test_limited_lobs_are_made_from_the_largest_there_is() -> None:
    task = TaskSettings("full-load-and-cdc", lobs=LimitedLobs(20), validation=Validation())
    made = task.sections()
    assert made["TargetMetadata"]["LobMaxSize"] == 60
    assert made["ValidationSettings"]["ValidationPartialLobSize"] == 60
    assert made["ErrorBehavior"]["DataTruncationErrorPolicy"] == "STOP_TASK"


def test_inline_lobs_are_whole_lobs_too() -> None:
    target = TaskSettings("full-load", lobs=InlineLobs(32)).sections()["TargetMetadata"]
    assert (target["FullLobMode"], target["InlineLobMaxSize"], target["LimitedSizeLobMode"]) == (True, 32, False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TaskSettings("full-load-and-cdc", validation=Validation(only=True)), r"\.kind: .*not both"),
        (lambda: TaskSettings("cdc", load=FullLoad()), r"\.load: a task that loads nothing"),
        (lambda: TaskSettings("full-load", validation=Validation(only=True), load=FullLoad()), r"\.load: a task that"),
        (lambda: TaskSettings("full-load", changes=Changes()), r"\.changes: a task that follows no changes"),
        (lambda: TaskSettings("cdc", changes=Changes(batch=BatchApply())), r"\.changes: batches carry LOBs in the lim"),
        (lambda: TaskSettings("full-load", lobs=LimitedLobs(1000)), r"\.lobs: 3000 KB times 10000 rows"),
        (lambda: TaskSettings("cdc", lobs=InlineLobs(9000)), r"\.lobs: a LOB of 9000 KB .*stream_mb"),
        (lambda: LimitedLobs(0), r"LimitedLobs\.largest_kb: the size of the largest LOB"),
        (lambda: LimitedLobs(40_000), r"LimitedLobs\.largest_kb"),
        (lambda: FullLobs(chunk_kb=128), r"FullLobs\.chunk_kb: .*make a task fail"),
        (lambda: InlineLobs(0), r"InlineLobs\.inline_kb"),
        (lambda: FullLoad(at_once=50, commit_rows=50_001), r"FullLoad\.at_once.*FullLoad\.commit_rows"),
        (lambda: BatchApply(min_seconds=9), r"BatchApply\.min_seconds: 0 to max_seconds"),
        (lambda: Changes(statements=201), r"Changes\.statements"),
        (lambda: Validation(most_failures=10_001), r"Validation\.most_failures: .*whatever is asked"),
        (lambda: Errors(retry_seconds=1), r"Errors\.retry_seconds"),
        (lambda: Buffers(control_mb=9), r"Buffers\.control_mb"),
    ],
)
def test_what_dms_would_refuse_or_lose_is_refused_with_the_reason(make: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()
