"""What a refresh refuses before anything is changed, and where its data comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from contract.control import INITIAL_FLAG
from contract.flag import Flag
from contract.outputs import Outputs
from scripts.clients.rds import Rds
from scripts.context import Context
from scripts.environments.refresh_phases import FROM, FROM_TIME
from scripts.environments.rekey import account_of
from scripts.environments.restore import AtTime, FromSnapshot, Origin
from scripts.environments.snapshot_set import AURORA, FROM_SET, MYSQL, SnapshotSet
from scripts.environments.snapshot_store import Store
from scripts.errors import UsageError

FLAG_UNKNOWN: Flag = INITIAL_FLAG
"""Where nobody has one yet."""
ENGINES = (MYSQL, AURORA)


@dataclass(frozen=True)
class Request:
    """What was asked for. `snapshot` is a set's id or label, `at` a moment; neither is the newest verified set."""

    snapshot: str = ""
    at: datetime | None = None
    only: str = ""
    allow_unverified: bool = False
    keep_old: bool = False
    discard: bool = False
    dry_run: bool = False
    classes: Path | None = None

    def __post_init__(self) -> None:
        if self.snapshot and self.at:
            raise UsageError("give --snapshot or --at, not both")
        if self.only not in ("", *ENGINES):
            raise UsageError(f"--only must be mysql or aurora, not {self.only!r}")

    def roles(self, out: Outputs) -> list[str]:
        """The engines to refresh, of a stack that has both unless `only` says otherwise."""
        return [self.only] if self.only else list(ENGINES)


def check(
    target: Context, origin: Context, request: Request, under_way: Mapping[str, str], roles: Sequence[str]
) -> None:
    """Raises `UsageError` for what must not, or cannot, be."""
    to, source = target.outputs, origin.outputs
    if to.environment == "prod":
        raise UsageError(f"{to.stack} is production: its data is never replaced by another environment's")
    if to.stack == source.stack or (to.target.cluster and _arn(target) == _arn(origin)):
        raise UsageError(f"{to.stack} cannot be refreshed from itself")
    if to.database != source.database:
        raise UsageError(f"the database is {source.database} in {source.stack} and {to.database} in {to.stack}")
    for role, there, name in (
        (MYSQL, to.source.instance, "MySQL is a server that was there before (output source.instance is empty)"),
        (AURORA, to.target.cluster, "Aurora cluster has no identifier in its outputs"),
    ):
        if role in roles and not there:
            raise UsageError(
                f"{to.stack}'s {name}, so no copy can take its place: --only {_other(role)} leaves it alone"
            )
    if MYSQL in roles and not source.source.instance:
        raise UsageError(
            f"{source.stack}'s MySQL is a server that was there before (output source.instance is empty): RDS cannot "
            f"restore an instance from its disks. With --only aurora {to.stack}'s Aurora is refreshed and its MySQL "
            "stays as it is, so that the two no longer match: use that once Aurora is the writer, or to test reads; "
            f"else move {source.stack}'s MySQL to RDS first"
        )
    if not to.masking_secret:
        raise UsageError(
            f"{to.stack} has no key to mask with (output maskingSecret): bring it up with this version of the program"
        )
    if under_way:
        _same(request, under_way, source.stack, roles)
        return
    up = f"./zdm up {to.stack}"
    if to.pipeline.state != "stopped":
        raise UsageError(
            f"CDC of {to.stack} is {to.pipeline.state}: the connectors' places in its databases mean nothing in other "
            f"ones. First: {up} -c cdc.state=stopped"
        )
    if to.pipeline.way_back is not None and to.pipeline.way_back.state != "stopped":
        raise UsageError(f"the way back of {to.stack} is running. First: {up} -c cdc.reverse=stopped")
    if to.dms is not None and to.dms.running:
        raise UsageError(f"DMS replicates in {to.stack}. First: {up} -c dms.running=false")
    if request.at is not None and _account(target) != _account(origin):
        raise UsageError(
            "a moment can be restored within one account only: take a set there with --share-with "
            f"{_account(target)}, and give it with --snapshot"
        )


def _same(request: Request, tags: Mapping[str, str], stack: str, roles: Sequence[str]) -> None:
    """A refresh that was begun goes on as it was begun."""
    other = None
    if tags.get(FROM) not in (None, stack):
        other = f"from {tags[FROM]}"
    elif request.snapshot and request.snapshot != tags.get(FROM_SET):
        other = f"of {tags.get(FROM_SET) or tags.get(FROM_TIME)}"
    elif request.at and request.at.isoformat() != tags.get(FROM_TIME):
        other = f"of {tags.get(FROM_TIME) or tags.get(FROM_SET)}"
    elif request.only and [request.only] != list(roles):
        other = f"of {' and '.join(roles)}"
    if other:
        raise UsageError(
            f"another refresh is under way, {other}: run the command without these options to finish it, or with "
            "--discard to take it back"
        )


def origin_of(
    context: Context, request: Request, roles: Sequence[str]
) -> tuple[Mapping[str, Origin], dict[str, str], str]:
    """Where each engine's data comes from, the tags that say so, and the same in words."""
    out = context.outputs
    if request.at is not None:
        origins = _moment(out, request.at, roles)
        _within(Rds(context.aws("rds")), origins)
        return origins, {FROM_TIME: request.at.isoformat()}, _told(out, request.at)
    store = Store(context)
    sets = store.sets()
    if request.snapshot:
        one = store.named(request.snapshot, sets)
    else:
        fit = [one for one in sets if one.complete and (one.verified or request.allow_unverified)]
        if not fit:
            what = "complete" if request.allow_unverified else "complete and verified"
            raise UsageError(
                f"{out.stack} has no {what} snapshot set: `./zdm snapshot take {out.stack}`, then "
                f"`./zdm snapshot verify {out.stack}` (or --allow-unverified)"
            )
        one = fit[0]
    return _of_set(out, one, request, roles), {FROM_SET: one.id}, one.id


def origin_of_tags(
    context: Context, tags: Mapping[str, str], roles: Sequence[str]
) -> tuple[Mapping[str, Origin], dict[str, str], str]:
    """The same for a refresh that was begun."""
    out = context.outputs
    if at := tags.get(FROM_TIME):
        moment = datetime.fromisoformat(at)
        return _moment(out, moment, roles), {FROM_TIME: at}, _told(out, moment)
    id = tags.get(FROM_SET, "")
    one = next((found for found in Store(context).sets() if found.id == id), None)
    origins: dict[str, Origin] = {}
    for role in roles:
        if one and (part := one.part(role)):  # without its set, a copy that is restored can still be finished
            origins[role] = FromSnapshot(part.arn)
    return origins, {FROM_SET: id}, id


def _of_set(out: Outputs, one: SnapshotSet, request: Request, roles: Sequence[str]) -> dict[str, Origin]:
    if not one.complete:
        raise UsageError(f"{one.id} is incomplete: `./zdm snapshot take {out.stack} --label {one.label}` completes it")
    if not one.verified and not request.allow_unverified:
        raise UsageError(
            f"{one.id} was never verified: `./zdm snapshot verify {out.stack} {one.id}` (or --allow-unverified)"
        )
    origins: dict[str, Origin] = {}
    for role in roles:
        part = one.part(role)
        if part is None:
            raise UsageError(f"{one.id} has no snapshot of {role}: --only {_other(role)}, or another set")
        origins[role] = FromSnapshot(part.arn)
    return origins


def _moment(out: Outputs, at: datetime, roles: Sequence[str]) -> dict[str, AtTime]:
    names = {MYSQL: out.source.instance, AURORA: out.target.cluster}
    return {role: AtTime(names[role], at) for role in roles}


def _within(rds: Rds, origins: Mapping[str, AtTime]) -> None:
    """Raises `UsageError` for a moment that RDS cannot restore to."""
    for role, origin in origins.items():
        server = rds.cluster(origin.source) if role == AURORA else rds.instance(origin.source)
        if server is None:
            raise UsageError(f"{origin.source} is not there")
        earliest, latest = (server.raw.get(f"{which}RestorableTime") for which in ("Earliest", "Latest"))
        if latest is None or origin.at is None or origin.at > latest or (earliest and origin.at < earliest):
            window = f"from {earliest or 'its first backup'} to {latest}" if latest else "to no moment yet"
            raise UsageError(f"--at {origin.at}: {origin.source} can be restored {window}")


def _told(out: Outputs, at: datetime) -> str:
    return f"{out.stack} as it was at {at.isoformat()}"


def _other(role: str) -> str:
    return AURORA if role == MYSQL else MYSQL


def _arn(context: Context) -> str:
    cluster = Rds(context.aws("rds")).cluster(context.outputs.target.cluster)
    return cluster.resource_id if cluster else ""


def _account(context: Context) -> str:
    cluster = (
        Rds(context.aws("rds")).cluster(context.outputs.target.cluster) if context.outputs.target.cluster else None
    )
    return account_of(cluster.arn) if cluster else ""
