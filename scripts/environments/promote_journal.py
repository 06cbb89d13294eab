"""The promotion that is open, as an object of the target's archive: whoever comes after a crash reads there how far it
was.

Invariants:
- At most one is open: the object is made only if there is none, and each step replaces exactly the one that was read
  (S3's conditional writes, `If-None-Match` and `If-Match`; "Amazon S3 User Guide", Conditional requests). A run that
  was taken over notices at its next step, and stops.
- It is signed as evidence is, and becomes evidence of kind `promotion` under its id before it goes.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from botocore.exceptions import ClientError

from scripts.context import Context
from scripts.environments import evidence
from scripts.environments.evidence import PROMOTION, Evidence
from scripts.errors import ZdmError
from scripts.switch import gate_record

KEY: Final = evidence.key_of(PROMOTION, "open")


class Step(StrEnum):
    """How far it is. Nothing is changed while it is OPENED; each other step is noted before it begins."""

    OPENED = "opened"
    UPDATING = "updating"
    WATCHING = "watching"
    RETURNING = "returning"
    CLOSED = "closed"


@dataclass(frozen=True)
class Entry:
    """The open promotion: what is known of it, and the version of the object that says so."""

    body: Mapping[str, Any]
    tag: str

    @property
    def step(self) -> Step:
        return Step(self.body["step"])

    @property
    def id(self) -> str:
        return str(self.body["id"])

    @property
    def revision(self) -> str:
        return str(self.body["revision"])

    @property
    def alive(self) -> bool:
        """Whether the process that wrote it is another one of this machine, and still there."""
        here, pid = self.body["process"]["host"] == socket.gethostname(), int(self.body["process"]["pid"])
        if not here or pid == os.getpid():
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def read(context: Context) -> Entry | None:
    """The open promotion, or None. Raises `ZdmError` for one that this stack's key did not sign."""
    data = evidence.get(context, KEY)
    if data is None:
        return None
    body, tag = data
    if not gate_record.authentic(body, gate_record.key_of(context)):
        raise ZdmError(
            f"the open promotion of {context.outputs.stack} ({KEY} in its archive) is not signed with the stack's key, "
            "or was changed since: find out who did that, and delete it"
        )
    return Entry(body, tag)


def begin(context: Context, body: Mapping[str, Any]) -> Entry:
    """Opens a promotion. Raises `ZdmError` when one is open already."""
    return _write(context, {**body, "step": Step.OPENED.value, "steps": [_stamp(Step.OPENED)]}, IfNoneMatch="*")


def move(context: Context, entry: Entry, step: Step, **more: Any) -> Entry:
    """Notes the next step, and what is known by now. Raises `ZdmError` when another run has taken over."""
    steps = [*entry.body["steps"], _stamp(step)]
    return _write(context, {**entry.body, **more, "step": step.value, "steps": steps}, IfMatch=entry.tag)


def close(context: Context, entry: Entry) -> Evidence:
    """Keeps what became of it as evidence, and ends it. Done twice it is as if done once."""
    kept = evidence.store(context, {key: value for key, value in entry.body.items() if key not in ("step", "process")})
    drop(context)
    return kept


def drop(context: Context) -> None:
    """Ends it without a trace: nothing was changed."""
    with evidence.told(context):
        context.aws("s3").delete_object(Bucket=evidence.bucket_of(context), Key=KEY)


def _stamp(step: Step) -> dict[str, str]:
    return {"step": step.value, "at": datetime.now(UTC).isoformat(timespec="seconds")}


def _write(context: Context, body: Mapping[str, Any], **condition: str) -> Entry:
    whole = {**body, "process": {"host": socket.gethostname(), "pid": os.getpid()}}
    record = gate_record.signed(json.loads(json.dumps(whole, default=str)), gate_record.key_of(context))
    with evidence.told(context):
        try:
            answer = context.aws("s3").put_object(
                Bucket=evidence.bucket_of(context),
                Key=KEY,
                Body=json.dumps(record, indent=1, sort_keys=True).encode(),
                ContentType="application/json",
                **condition,
            )
        except ClientError as e:
            if e.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"):
                raise
            raise ZdmError(
                f"another run has taken over the promotion into {context.outputs.stack}: see ./zdm promote status "
                f"{context.outputs.stack}"
            ) from e
    return Entry(record, str(answer["ETag"]))
