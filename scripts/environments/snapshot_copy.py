"""Copies of a snapshot set into a second region, and for a second account.

Invariants:
- A key of AWS' own opens nothing elsewhere: a copy in another region needs a key there, and what is shared must be
  under a customer's key (Amazon Aurora User Guide, "Sharing encrypted snapshots"). Both are checked before anything is
  taken.
- A copy bears the tags of its origin and `zdm:copy-of`; copied again, what is there already stays.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from contract.outputs import Outputs
from scripts.clients import aws
from scripts.clients.ec2 import Ec2
from scripts.clients.rds import Rds
from scripts.clients.waiting import await_ready
from scripts.console import Console
from scripts.context import Context
from scripts.environments.snapshot_set import COPY_OF, SET, SnapshotSet
from scripts.environments.snapshot_store import Store, disk_snapshots
from scripts.errors import UsageError, ZdmError

if TYPE_CHECKING:
    from scripts.environments.snapshot_take import Options

_OWN = ("cluster", "instance")


def actions(wanted_roles: Sequence[str], options: Options) -> list[str]:
    """What `run` will do."""
    done = []
    if options.copy_to:
        done.append(f"copy {', '.join(wanted_roles)} to {options.copy_to} under {options.copy_key}")
    if options.share_with:
        done.append(f"let the account {options.share_with} copy and restore {', '.join(wanted_roles)}")
    return done


def check(context: Context, store: Store, out: Outputs, region: str, key: str, account: str) -> None:
    """Raises `UsageError` where copies or shares cannot be, before anything is taken."""
    if region:
        if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", region):
            raise UsageError(f"--copy-to must be a region such as ap-southeast-3, not {region!r}")
        if region == out.region:
            raise UsageError(f"--copy-to {region}: the snapshots are there already")
        if not key:
            raise UsageError(
                f"--copy-to {region} needs --copy-key: the ARN of a customer's key in that region (a key opens in its "
                "own region only)"
            )
        _describe(_in_region(context, "kms", region), key, "--copy-key", region)
    elif key:
        raise UsageError("--copy-key is for --copy-to")
    if account:
        if not re.fullmatch(r"\d{12}", account):
            raise UsageError(f"--share-with must be an account of 12 digits, not {account!r}")
        _shareable(context, store, out)


def _shareable(context: Context, store: Store, out: Outputs) -> None:
    servers: list[Any] = []
    if out.target.cluster:
        servers.append(store.rds.cluster(out.target.cluster))
    if out.source.instance:
        servers.append(store.rds.instance(out.source.instance))
    for server in servers:
        key = server.raw.get("KmsKeyId") if server else None
        if key and _describe(context.aws("kms"), key, f"the key of {server.name}", out.region) == "AWS":
            raise UsageError(
                f"--share-with: {server.name} is encrypted with AWS' own key {key}, which no other account can use. "
                "Copy its snapshot under a customer's key that lets that account in, and share the copy"
            )


def _describe(kms: Any, key: str, what: str, region: str) -> str:
    """Who manages the key: AWS or CUSTOMER."""
    try:
        found = kms.describe_key(KeyId=key)["KeyMetadata"]
    except (BotoCoreError, ClientError) as e:
        raise UsageError(f"{what} {key} cannot be found in {region}: {e}") from e
    if not found.get("Enabled", True):
        raise UsageError(f"{what} {key} is not enabled")
    manager = str(found.get("KeyManager") or "CUSTOMER")
    if what == "--copy-key" and manager == "AWS":
        raise UsageError(f"--copy-key {key} is AWS' own: a copy that shall be of use needs a customer's key")
    return manager


def run(
    context: Context, store: Store, taken: SnapshotSet, region: str, key: str, account: str, console: Console
) -> list[str]:
    """Copies, waits, and shares. Returns what there is now, in words."""
    done: list[str] = []
    if region:
        done += _copy(context, store, taken, region, key, console)
    if account:
        with console.step(f"Let the account {account} restore {taken.id}"):
            there = disk_snapshots(store.ec2, taken)
            for part in taken.parts:
                if part.kind in _OWN:
                    store.rds.share(part.kind, part.name, account)  # type: ignore[arg-type]
                else:
                    store.ec2.share(there[part.name], account)
                done.append(f"{part.role}: the account {account} may copy and restore {part.arn or part.name}")
    return done


def _copy(context: Context, store: Store, taken: SnapshotSet, region: str, key: str, console: Console) -> list[str]:
    home = context.outputs.region
    rds = Rds(_in_region(context, "rds", region))
    ec2 = Ec2(_in_region(context, "ec2", region))
    with console.step(f"Copy {taken.id} to {region}") as step:
        disks = disk_snapshots(store.ec2, taken)
        there = {one.tags.get(COPY_OF) for one in ec2.tagged(SET, [taken.id])}
        for part in taken.parts:
            tags = {**part.tags, COPY_OF: f"{home}/{part.name}"}
            if part.kind in _OWN:
                if rds.snapshot(part.kind, part.name) is None:  # type: ignore[arg-type]
                    rds.copy(part.kind, part.arn, part.name, key, tags, region=home)  # type: ignore[arg-type]
            elif tags[COPY_OF] not in there:
                ec2.copy(disks[part.name], tags.get("Name", part.name), key, home, tags)

        def look() -> tuple[bool, str]:
            copies = [(part, rds.snapshot(part.kind, part.name)) for part in taken.parts if part.kind in _OWN]  # type: ignore[arg-type]
            found = {one.tags.get(COPY_OF): one for one in ec2.tagged(SET, [taken.id])}
            states: list[Any] = [one for _, one in copies if one]
            states += [found[f"{home}/{part.name}"] for part in taken.parts if f"{home}/{part.name}" in found]
            failed = [one.name for one in states if one.status in ("failed", "error", "invalid")]
            if failed:
                raise ZdmError(f"the copies {', '.join(failed)} in {region} failed: delete them there, and take again")
            ready = sum(one.available for one in states)
            return ready == len(taken.parts), f"{ready} of {len(taken.parts)} copies"

        await_ready(look, f"the copies of {taken.id} in {region}", step, 24 * 3600.0)
    return [f"{part.role}: copied to {region}" for part in taken.parts]


def _in_region(context: Context, service: str, region: str) -> Any:
    return aws.client(service, region, dict(context.cloud))
