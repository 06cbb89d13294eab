"""`./zdm snapshot take`: databases, servers and volumes of a stack at one time, as a set.

It observes what the set lacks, plans the requests, sends them side by side, and waits. A set that broke off has fewer
parts than it says that it wants; taken again under the same label, what is missing is added, and what failed replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
import pymysql
from rich.console import Console as RichConsole

from contract.outputs import Outputs
from scripts.clients.ec2 import Disk
from scripts.clients.waiting import await_ready
from scripts.console import Console, duration
from scripts.context import Context, git_revision
from scripts.environments import snapshot_copy
from scripts.environments.positions import Position, mysql_position, postgres_position
from scripts.environments.snapshot_set import (
    AT,
    AURORA,
    LABEL,
    MYSQL,
    PART,
    PARTS,
    PROTECTED,
    REASON,
    REVISION,
    SET,
    STACK,
    Kind,
    SnapshotSet,
    fitting,
    fitting_label,
    name_of,
    set_id,
)
from scripts.environments.snapshot_store import Store
from scripts.environments.snapshot_table import render_set
from scripts.errors import UsageError, ZdmError

PATIENCE = 12 * 3600.0
"""Seconds that a set may take: the first snapshot of 8 TB of disks is a full one."""


@dataclass(frozen=True)
class Wanted:
    """One part to take: `source` is what it is of; `exclude` are volumes of the server that are not asked for."""

    kind: Kind
    role: str
    source: str
    exclude: tuple[str, ...] = ()
    root: bool = True

    @property
    def what(self) -> str:
        names = {
            "cluster": f"the Aurora cluster {self.source}",
            "instance": f"the MySQL instance {self.source}",
            "image": f"an image of the server {self.source}, without a reboot",
            "disk": f"the disks of {self.source}, of one moment",
        }
        return names[self.kind]


@dataclass(frozen=True)
class TakeResult:
    """The set that was taken, or (`dry_run`) what would be."""

    set: SnapshotSet | None
    actions: list[str]
    dry_run: bool
    seconds: float
    notes: list[str] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return self.dry_run or (self.set is not None and self.set.complete)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "dryRun": self.dry_run,
            "actions": self.actions,
            "seconds": round(self.seconds, 1),
            "notes": self.notes,
            "copies": self.copies,
            **(self.set.to_json() if self.set else {}),
        }

    def render(self, out: RichConsole) -> None:
        for action in self.actions:
            out.print(f"{'would' if self.dry_run else 'did'}: {action}", markup=False)
        if self.set is not None and not self.dry_run:
            render_set(out, self.set)
            out.print(f"in {duration(self.seconds)}", markup=False)
        for note in self.notes:
            out.print(f"note: {note}", markup=False)


@dataclass(frozen=True)
class Options:
    """`copy_to` is a region, `copy_key` a key there; `share_with` an account."""

    reason: str = ""
    label: str = ""
    dry_run: bool = False
    protect: bool = False
    copy_to: str = ""
    copy_key: str = ""
    share_with: str = ""
    patience: float = PATIENCE


def run(context: Context, options: Options, console: Console) -> TakeResult:
    """Takes a set, or completes the one with this label. Raises `ZdmError` with what could not be taken."""
    reason = fitting("--reason", options.reason)
    label = fitting_label(options.label) if options.label else ""
    store, out = Store(context), context.outputs
    with console.step(f"Look at what {out.stack} has") as step:
        wanted = parts_of(out, store)
        there = next((one for one in store.sets() if label and label in (one.label, one.id)), None)
        snapshot_copy.check(context, store, out, options.copy_to, options.copy_key, options.share_with)
        set, tags = _identity(out, there, label, reason, len(wanted), options.protect)
        broken = [part for part in there.parts if not part.available and not there.under_way] if there else []
        gone = {part.role for part in broken}
        missing = [one for one in wanted if there is None or one.role not in there.roles or one.role in gone]
        for one in missing:
            if one.kind in ("cluster", "instance"):
                name_of(out.project, set, one.role)
        step.done(f"{len(wanted)} parts, {len(missing)} to take")
    actions = [f"delete the failed {part.role} ({part.name})" for part in broken]
    actions += [f"snapshot {one.what}" for one in missing]
    if there and options.protect and not there.protected:
        actions.append(f"protect {there.id}")
    actions += snapshot_copy.actions(wanted_roles=[one.role for one in wanted], options=options)
    if options.dry_run:
        return TakeResult(there, actions, True, 0.0, _notes(out, missing))

    with console.step(f"Snapshots of {out.stack}: {set}") as step:
        for part in broken:
            store.delete(part)
        notes = _notes(out, missing)
        if missing:
            notes += _take(context, store, set, missing, tags)
        if there and options.protect:
            store.tag(there, {PROTECTED: "true"})

        def look() -> tuple[bool, str]:
            found = store.named(set)
            failed = [f"{p.role} {p.name} is {p.status}" for p in found.parts if p.status in ("failed", "error")]
            if failed:
                raise ZdmError(
                    f"{'; '.join(failed)}. Take the set again with --label {found.label}: what failed is replaced"
                )
            done = f"{len(found.ready_roles)} of {found.expected} parts"
            slowest = min((p.percent for p in found.parts if not p.available), default=100)
            return found.complete, f"{done}, the slowest at {slowest} %"

        await_ready(look, f"the set {set}", step, options.patience)
        taken = store.named(set)
        step.done(f"{len(taken.roles)} parts, {taken.size_gib} GiB, {taken.spread_seconds:.1f} s apart")
        seconds = step.seconds
    copies = snapshot_copy.run(context, store, taken, options.copy_to, options.copy_key, options.share_with, console)
    return TakeResult(taken, actions, False, seconds, notes, copies)


def parts_of(out: Outputs, store: Store) -> list[Wanted]:
    """What a set of this stack consists of."""
    wanted: list[Wanted] = []
    if out.target.cluster:
        wanted.append(Wanted("cluster", AURORA, out.target.cluster))
    source = out.source
    if source.instance:
        wanted.append(Wanted("instance", MYSQL, source.instance))
    wanted += [Wanted("image", f"image/{server}", server) for server in source.servers]
    if source.servers or source.volumes:
        disks = store.ec2.disks(source.servers, source.volumes)
        roots = {server: store.ec2.root_of(server) for server in {disk.server for disk in disks if disk.server}}
        wanted += disks_of(source.servers, source.volumes, disks, store.ec2.disks(sorted(roots)), roots)
    if not wanted:
        raise UsageError(f"{out.stack} has nothing that could be snapshotted: no cluster, instance, server or volume")
    return wanted


def disks_of(
    servers: Sequence[str],
    volumes: Sequence[str],
    named: Sequence[Disk],
    attached: Sequence[Disk],
    roots: dict[str, str],
) -> list[Wanted]:
    """The disks' parts: one for each server that has any, since only disks of one request are of one moment.

    Of the stack's servers all disks, of another server those `volumes` that it has; a loose one by itself. `attached`
    are all disks of the servers that `named` are attached to.
    """
    wanted: list[Wanted] = []
    for server in sorted(roots):
        own = [disk for disk in attached if disk.server == server]
        others = () if server in servers else tuple(d.volume for d in own if d.volume not in volumes)
        root = next((disk.volume for disk in own if disk.device == roots[server]), "")
        exclude = tuple(sorted(volume for volume in others if volume != root))
        wanted.append(Wanted("disk", f"disks/{server}", server, exclude, root not in others))
    loose = sorted(disk.volume for disk in named if not disk.server)
    return [*wanted, *(Wanted("disk", f"disk/{volume}", volume) for volume in loose)]


def _identity(
    out: Outputs, there: SnapshotSet | None, label: str, reason: str, parts: int, protect: bool
) -> tuple[str, dict[str, str]]:
    """The set's id, and the tags of all its parts."""
    revision = there.revision if there else git_revision()
    set = there.id if there else set_id(out.stack, datetime.now(UTC), revision)
    tags = {
        SET: set,
        STACK: out.stack,
        REVISION: revision,
        LABEL: label or set,
        PARTS: str(max(parts, there.expected if there else 0)),
    }
    if reason or (there and there.reason):
        tags[REASON] = reason or there.reason  # type: ignore[union-attr]
    if protect or (there and there.protected):
        tags[PROTECTED] = "true"
    return set, tags


def _take(context: Context, store: Store, set: str, missing: Sequence[Wanted], tags: dict[str, str]) -> list[str]:
    """Sends all requests side by side, so that the parts are as close together as may be. Returns notes."""
    project = context.outputs.project
    positions, notes = _positions(context, missing)

    def ask(one: Wanted) -> None:
        name = name_of(project, set, one.role) if one.kind in ("cluster", "instance") else f"{project}-{set}"
        own = {**tags, PART: one.role, AT: datetime.now(UTC).isoformat()}
        if one.kind in ("cluster", "instance"):
            if position := positions.get(one.role):
                own |= position.to_tags()
            store.rds.take(one.kind, one.source, name, own)
            return
        own["Name"] = f"{name}-{one.role.replace('/', '-')}"
        if one.kind == "image":
            store.ec2.image_server(one.source, own["Name"], own)
        elif one.source.startswith("vol-"):
            store.ec2.snapshot_volume(one.source, own)
        else:
            store.ec2.snapshot_server(one.source, one.exclude, one.root, own)

    with ThreadPoolExecutor(len(missing)) as pool:
        asked = {one: pool.submit(ask, one) for one in missing}
    problems = [f"{one.role}: {error}" for one, future in asked.items() if (error := future.exception())]
    if problems:
        label = tags[LABEL]
        raise ZdmError(
            "the set is incomplete, these were not taken:\n  "
            + "\n  ".join(problems)
            + f"\nMend that, and complete it with: ./zdm snapshot take {context.outputs.stack} --label {label}"
        )
    return notes


def _positions(context: Context, missing: Sequence[Wanted]) -> tuple[dict[str, Position], list[str]]:
    """Where the databases are before they are asked for; without a way to them, a note instead."""
    readers: dict[str, Callable[[], Position]] = {
        AURORA: lambda: _with_postgres(context),
        MYSQL: lambda: _with_mysql(context),
    }
    found: dict[str, Position] = {}
    notes = []
    for one in missing:
        if one.role not in readers:
            continue
        try:
            found[one.role] = readers[one.role]()
        except (ZdmError, psycopg.Error, pymysql.err.MySQLError) as e:
            notes.append(
                f"{one.role}: this machine does not reach the database ({e}), so the snapshot bears no position, and "
                "`verify` cannot say what it lacks"
            )
    return found, notes


def _with_postgres(context: Context) -> Position:
    with context.postgres() as pg:
        return postgres_position(pg)


def _with_mysql(context: Context) -> Position:
    with closing(context.mysql(database=None)) as my:
        return mysql_position(my)


def _notes(out: Outputs, missing: Sequence[Wanted]) -> list[str]:
    notes = []
    if not out.source.instance and not out.source.servers and not out.source.volumes:
        notes.append(
            "MySQL is not part of the set: it is not on RDS, and neither source.existing.serverIds nor volumeIds name "
            "what it stands on"
        )
    if sum(one.role.startswith("disk") for one in missing) > 1:
        notes.append("the disks of each server are of one moment, those of different servers are not")
    return notes
