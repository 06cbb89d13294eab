"""The gate's record: what was measured, and who answers for it, signed so that a cutover can believe it.

Invariants:
- The signature is HMAC-SHA256 over the canonical JSON of all but itself; the key is a secret of the stack, so whoever
  may read that secret may sign. Not even who writes to the database may.
- A cutover takes a record only of this stack, epoch and revision, open, approved, and no older than `MAX_AGE`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console as RichConsole

from contract.flag import Flag
from scripts.context import Context, git_revision
from scripts.errors import UsageError

VERSION = 1
ALGORITHM = "HMAC-SHA256"
MAX_AGE = timedelta(hours=4)
"""A change window: what was measured in the morning says nothing about the load of the evening."""
SKEW = timedelta(minutes=5)
"""How far two operators' clocks may be apart."""


def canonical(body: Mapping[str, Any]) -> bytes:
    """The JSON that is signed: keys in order, no spaces, whole numbers without a point (as databases give them back).

    Raises `ValueError` for what JSON cannot say (NaN).
    """
    plain = _plain({key: value for key, value in body.items() if key != "signature"})
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def signed(body: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The body with its signature."""
    return {**body, "signature": {"algorithm": ALGORITHM, "value": _mac(body, key)}}


def authentic(record: Mapping[str, Any], key: str) -> bool:
    """Whether the record was signed with this key, and not changed since."""
    signature = record.get("signature")
    if not isinstance(signature, Mapping) or signature.get("algorithm") != ALGORITHM:
        return False
    try:
        return hmac.compare_digest(str(signature.get("value")).encode(), _mac(record, key).encode())
    except ValueError:
        return False


def key_of(context: Context) -> str:
    """The stack's key. Raises `UsageError` where it has none, `ZdmError` where it cannot be read."""
    secret = context.outputs.gate_secret
    if not secret:
        raise UsageError(
            f"the stack {context.outputs.stack} has no key for the gate's records (output gateSecret): bring it up "
            "with this version of the program"
        )
    return context.account(secret).password


def refusals(context: Context, record: Mapping[str, Any] | None, flag: Flag, now: datetime | None = None) -> list[str]:
    """Why a cutover under `flag` may not rely on this record; empty if it may."""
    again = f"run `./zdm gate {context.outputs.stack} --approve NAME`"
    if record is None:
        return [f"the gate has not been passed: {again}"]
    if not authentic(record, key_of(context)):
        return [f"the gate's record is not signed with this stack's key, or was changed since: {again}"]
    return [f"{problem}: {again}" for problem in _unfit(context, record, flag, now or datetime.now(UTC))]


def _unfit(context: Context, record: Mapping[str, Any], flag: Flag, now: datetime) -> Iterator[str]:
    out = context.outputs
    if record.get("v") != VERSION or record.get("kind") != "gate":
        yield "the gate's record is of another version of the program"
        return
    at, revision = datetime.fromisoformat(record["at"]), git_revision()
    if (record["project"], record["stack"]) != (out.project, out.stack):
        yield f"the gate's record is of {record['project']}/{record['stack']}"
    if not record["ok"]:
        yield f"the gate is closed ({record['reason']})"
    if not record["approvedBy"]:
        yield "nobody has approved what the gate measured"
    if now - at > MAX_AGE:
        yield f"the gate's record is from {at:%F %T} UTC, older than {MAX_AGE}"
    if at - now > SKEW:
        yield f"the gate's record is from {at:%F %T} UTC, which is not yet: mend this machine's clock"
    if record["epoch"] != flag.epoch:
        yield f"the gate was passed in epoch {record['epoch']}, now it is {flag.epoch}"
    if record["revision"] != revision:
        yield f"the gate was passed with revision {record['revision']} of the program, this is {revision}"


@dataclass(frozen=True)
class Verified:
    """What there is to say of a record in a file: `ok` is whether it is authentic."""

    ok: bool
    record: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "record": self.record}

    def render(self, out: RichConsole) -> None:
        if not self.ok:
            out.print("[red]Not authentic[/red]: not signed with this stack's key, or changed since.")
            return
        r = self.record
        out.print(
            f"Authentic: the gate of {r['stack']} was {'open' if r['ok'] else 'closed'} at {r['at']}, "
            f"approved by {r['approvedBy'] or 'nobody'}, revision {r['revision']}, epoch {r['epoch']}, "
            f"weight {r['weight']:g} %.",
            markup=False,
        )


def verify(context: Context, text: str, origin: str | Path) -> Verified:
    """Checks a record as `./zdm gate --json` printed it. Raises `UsageError` when the text is none."""
    try:
        record = json.loads(text)
    except ValueError as e:
        raise UsageError(f"{origin} is not JSON; a record is made by `./zdm gate STACK --json`") from e
    if not isinstance(record, dict) or "signature" not in record:
        raise UsageError(f"{origin} is no record of a gate: it has no signature")
    return Verified(authentic(record, key_of(context)), record)


def _mac(body: Mapping[str, Any], key: str) -> str:
    return hmac.new(key.encode(), canonical(body), hashlib.sha256).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
