"""Evidence: what was proven of a stack, by which revision, kept where the stack's other lasting things are.

Invariants:
- A record is one object `evidence/<kind>/<id>.json` of the stack's archive bucket. Ids begin with the time at which the
  result was made, so the last one is the newest. Records are never changed.
- Each is signed like the gate's (HMAC-SHA256 with the stack's own key, `switch.gate_record`): whoever may write to the
  bucket cannot make one up.
- `revision` is that of what was up in the stack, `commands` that of the program that looked at it.
- A record has figures, never rows: results may hold values of customers.

Records are small, and S3's lifecycle leaves objects below 128 KiB in the class they are in ("Amazon S3 API Reference",
TransitionDefaultMinimumObjectSize), so those of last year can be read as well.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from scripts.console import Result
from scripts.context import Context, git_revision
from scripts.errors import UsageError, ZdmError
from scripts.switch import gate_record

VERSION: Final = 1
DATA_CHECK, LOAD_TEST, FUNCTIONAL, FAULTS, SECURITY = "data-check", "load-test", "functional", "faults", "security"
SNAPSHOT, VERIFIED, REFRESH, DRIFT, PROMOTION = "snapshot", "snapshot-verified", "refresh", "drift", "promotion"
KINDS: Final = (
    DATA_CHECK, LOAD_TEST, FUNCTIONAL, FAULTS, SECURITY, SNAPSHOT, VERIFIED, REFRESH, DRIFT, PROMOTION,
)  # fmt: skip
LONGEST: Final = 300
"""Characters of a text among the figures."""
_ID: Final = re.compile(r"\d{8}T\d{6}Z-[0-9a-z]+")

R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Evidence:
    """A record. `authentic`: it was signed with the stack's key, and not changed since."""

    kind: str
    id: str
    at: datetime
    ok: bool
    revision: str
    figures: Mapping[str, Any]
    body: Mapping[str, Any]
    authentic: bool = True

    @property
    def commands(self) -> str:
        return str(self.body.get("commands", ""))

    def to_json(self) -> dict[str, Any]:
        return {**self.body, "authentic": self.authentic}


# --- keeping ----------------------------------------------------------------------------------------------------------


def keep(
    context: Context,
    kind: str,
    result: Result,
    *,
    figures: Mapping[str, Any] | None = None,
    at: datetime | None = None,
    revision: str = "",
) -> Evidence:
    """Keeps a result as evidence. `figures` are added to those that the result itself has at its top.

    `at` is when it was made (now), `revision` of what (of what is up in the stack). Raises `UsageError` where the stack
    has no place or no key for evidence, `ZdmError` where they cannot be used.
    """
    if kind not in KINDS:
        raise UsageError(f"{kind!r} is no kind of evidence: they are {', '.join(KINDS)}")
    out, made = context.outputs, at or datetime.now(UTC)
    body = {
        "v": VERSION,
        "kind": kind,
        "id": new_id(made),
        "project": out.project,
        "stack": out.stack,
        "at": made.astimezone(UTC).isoformat(timespec="seconds"),
        "ok": bool(result.ok),
        "revision": revision or out.revision or git_revision(),
        "commands": git_revision(),
        "figures": {**figures_of(result.to_json()), **(figures or {})},
    }
    return store(context, body)


def store(context: Context, body: Mapping[str, Any]) -> Evidence:
    """Signs a record, and keeps it under its kind and id."""
    signed = gate_record.signed(json.loads(json.dumps(body, default=str)), gate_record.key_of(context))
    _put(context, key_of(signed["kind"], signed["id"]), signed)
    return _read(signed, authentic=True)


def keeper(context: Context, kind: str, wanted: bool) -> Callable[[R], R]:
    """What a command gives its result to, to have it kept if that is wanted. Made before the command runs: it raises
    at once where nothing can be kept, and not after hours of work."""
    if wanted:
        bucket_of(context)
        gate_record.key_of(context)

    def pass_on(result: R) -> R:
        if wanted:
            keep(context, kind, result)
        return result

    return pass_on


def new_id(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"


def key_of(kind: str, name: str) -> str:
    return f"evidence/{kind}/{name}.json"


def figures_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """What is worth keeping of a command's JSON: short values at its top, and measures against their bounds."""
    found: dict[str, Any] = {
        name: value
        for name, value in told.items()
        if value is None or isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= LONGEST)
    }
    measures = told.get("measures")
    if isinstance(measures, list) and all(isinstance(one, Mapping) and "name" in one for one in measures):
        found["measures"] = [{part: one.get(part) for part in ("name", "value", "bound", "ok")} for one in measures]
    return found


# --- looking ----------------------------------------------------------------------------------------------------------


def newest(context: Context, kind: str) -> Evidence | None:
    """The newest record of a kind, or None. One that is not authentic is given back as such."""
    return next(iter(latest(context, kind, 1)), None)


def latest(context: Context, kind: str, number: int) -> list[Evidence]:
    """The newest records of a kind, newest first."""
    return [find(context, kind, name) for name in sorted(_ids(context, kind), reverse=True)[:number]]


def find(context: Context, kind: str, name: str) -> Evidence:
    """One record. Raises `UsageError` when there is none."""
    data = get(context, key_of(kind, name))
    if data is None:
        raise UsageError(f"{context.outputs.stack} has no evidence {name} of kind {kind}")
    record, _ = data
    return _read(record, authentic=gate_record.authentic(record, gate_record.key_of(context)))


def find_any(context: Context, name: str) -> Evidence:
    """A record of whatever kind. Raises `UsageError` when there is none."""
    for kind in KINDS:
        if name in _ids(context, kind):
            return find(context, kind, name)
    raise UsageError(f"{context.outputs.stack} has no evidence {name}: ./zdm evidence list {context.outputs.stack}")


def _ids(context: Context, kind: str) -> Iterator[str]:
    prefix = f"evidence/{kind}/"
    with told(context):
        pages = context.aws("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket_of(context), Prefix=prefix)
        for page in pages:
            for found in page.get("Contents", ()):
                name = str(found["Key"]).removeprefix(prefix).removesuffix(".json")
                if _ID.fullmatch(name):
                    yield name


def _read(record: Mapping[str, Any], *, authentic: bool) -> Evidence:
    try:
        at = datetime.fromisoformat(record["at"])
        return Evidence(
            str(record["kind"]),
            str(record["id"]),
            at if at.tzinfo else at.replace(tzinfo=UTC),
            record["ok"] is True,
            str(record["revision"]),
            dict(record["figures"]),
            record,
            authentic,
        )
    except (KeyError, TypeError, ValueError) as e:
        raise ZdmError(f"a record of evidence is not as this version of the program writes them: {e!r}") from e


# --- the bucket -------------------------------------------------------------------------------------------------------


def bucket_of(context: Context) -> str:
    """The stack's archive bucket. Raises `UsageError` where it has none."""
    archive = context.outputs.archive
    if archive is None:
        raise UsageError(
            f"the stack {context.outputs.stack} has no archive, where evidence is kept: set archive.enabled to true, "
            "and bring it up"
        )
    return archive.bucket


def get(context: Context, key: str) -> tuple[dict[str, Any], str] | None:
    """A JSON object of the bucket and its ETag, or None."""
    with told(context):
        s3 = context.aws("s3")
        try:
            answer = s3.get_object(Bucket=bucket_of(context), Key=key)
        except s3.exceptions.NoSuchKey:
            return None
        text = answer["Body"].read()
    try:
        data = json.loads(text)
    except ValueError as e:
        raise ZdmError(f"{key} in the archive of {context.outputs.stack} is not JSON") from e
    if not isinstance(data, dict):
        raise ZdmError(f"{key} in the archive of {context.outputs.stack} is no JSON object")
    return data, str(answer["ETag"])


def _put(context: Context, key: str, data: Mapping[str, Any]) -> None:
    with told(context):
        context.aws("s3").put_object(
            Bucket=bucket_of(context),
            Key=key,
            Body=json.dumps(data, indent=1, sort_keys=True).encode(),
            ContentType="application/json",
        )


@contextmanager
def told(context: Context) -> Iterator[None]:
    """AWS' errors, as an error of the commands that names the bucket."""
    try:
        yield
    except (BotoCoreError, ClientError) as e:
        raise ZdmError(
            f"the evidence of {context.outputs.stack} cannot be used, in the bucket {bucket_of(context)}: {e}. Your "
            "role needs s3:ListBucket, s3:GetObject and s3:PutObject there, and the use of its key"
        ) from e
