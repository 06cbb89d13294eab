"""`./zdm snapshot verify`: the restore drill. A set, or a moment, is restored beside, read in full, measured, and gone.

Invariants:
- The scratch servers have unique names and the tag `zdm:scratch`; they are destroyed whatever happens, and what a
  killed drill left is removed by the next one. So there is one drill of a stack at a time.
- RTO runs from the request until the first query is answered, and on until everything was read. The bound is the
  requirement's 15 minutes until the first answer.
- RPO is what the copy lacks of the moment that was asked for: nothing, where the copy has all that was committed when
  the snapshot was asked for (its tags say up to where that was); else the time since its newest commit, which is the
  most that can be missing.
- Only what was sound is tagged `zdm:verified`; problems end with exit code 1 and are listed.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import psycopg
import pymysql
from rich.console import Console as RichConsole
from rich.table import Table

from scripts.clients import mysql, postgres
from scripts.clients.rds import Cluster, Instance, Rds
from scripts.clients.secrets import Account
from scripts.clients.waiting import await_ready
from scripts.console import Console, Step, duration
from scripts.context import Context
from scripts.environments import positions, soundness
from scripts.environments.positions import Counters, counters_of
from scripts.environments.restore import (
    AtTime,
    AuroraBeside,
    FromSnapshot,
    Master,
    MySQLBeside,
    Origin,
    remove_cluster,
    remove_instance,
)
from scripts.environments.snapshot_set import (
    AURORA,
    FROM_SET,
    MYSQL,
    POSITION,
    SCRATCH,
    STACK,
    VERIFIED,
    Part,
    SnapshotSet,
)
from scripts.environments.snapshot_store import Store
from scripts.environments.soundness import Count, Soundness
from scripts.errors import UsageError, ZdmError

RTO_BOUND = 15 * 60.0
"""Seconds: the requirement."""
PATIENCE = 12 * 3600.0
FLUSHED = 15.0
"""Seconds in which PostgreSQL's sessions tell their counters (an idle one after ten)."""


@dataclass(frozen=True)
class EngineDrill:
    """What was seen of one engine. Seconds count from the request."""

    role: str
    scratch: str
    serving_seconds: float
    counted_seconds: float
    rpo_seconds: float | None
    """None: not known, and `rpo_told` says why."""
    rpo_told: str
    newest: datetime | None
    found: Soundness
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return self.found.ok and not self.problems

    def to_json(self) -> dict[str, Any]:
        return {
            "role": self.role,
            "scratch": self.scratch,
            "sound": self.sound,
            "servingSeconds": round(self.serving_seconds, 2),
            "countedSeconds": round(self.counted_seconds, 2),
            "rpoSeconds": None if self.rpo_seconds is None else round(self.rpo_seconds, 3),
            "rpo": self.rpo_told,
            "newestCommit": self.newest.isoformat() if self.newest else None,
            "rows": self.found.rows,
            "problems": [*self.found.problems, *self.problems],
            "notes": [*self.found.notes, *self.notes],
            "read": self.found.to_json(),
        }


@dataclass(frozen=True)
class VerifyResult:
    """The drill. `ok`: everything was sound, and the time to the first answer is within the bound."""

    stack: str
    origin: str
    drills: list[EngineDrill]
    notes: list[str] = field(default_factory=list)
    dry_run: bool = False

    @property
    def sound(self) -> bool:
        return bool(self.drills) and all(drill.sound for drill in self.drills)

    @property
    def rto_seconds(self) -> float:
        """Until the last engine answered."""
        return max((drill.serving_seconds for drill in self.drills), default=0.0)

    @property
    def rto_counted_seconds(self) -> float:
        return max((drill.counted_seconds for drill in self.drills), default=0.0)

    @property
    def rpo_seconds(self) -> float | None:
        """The worst engine's; None where one is not known."""
        known = [drill.rpo_seconds for drill in self.drills]
        return None if not known or None in known else max(value for value in known if value is not None)

    @property
    def within(self) -> bool:
        return self.rto_seconds <= RTO_BOUND

    @property
    def ok(self) -> bool:
        return self.dry_run or (self.sound and self.within)

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "stack": self.stack,
            "origin": self.origin,
            "dryRun": self.dry_run,
            "sound": self.sound,
            "rtoSeconds": round(self.rto_seconds, 2),
            "rtoCountedSeconds": round(self.rto_counted_seconds, 2),
            "rtoBoundSeconds": RTO_BOUND,
            "rtoHolds": self.within,
            "rpoSeconds": None if self.rpo_seconds is None else round(self.rpo_seconds, 3),
            "engines": [drill.to_json() for drill in self.drills],
            "notes": self.notes,
        }

    def render(self, out: RichConsole) -> None:
        if self.dry_run:
            for note in self.notes:
                out.print(note, markup=False)
            return
        table = Table("engine", "first answer", "all read", "rows", "RPO", "sound")
        for one in self.drills:
            rpo = "not known" if one.rpo_seconds is None else duration(one.rpo_seconds)
            table.add_row(
                one.role,
                duration(one.serving_seconds),
                duration(one.counted_seconds),
                f"{one.found.rows:,}",
                rpo,
                "yes" if one.sound else "[red]no[/red]",
            )
        out.print(table)
        for one in self.drills:
            out.print(f"{one.role}: {one.rpo_told}; {'; '.join(one.found.checked)}", markup=False)
            for problem in (*one.found.problems, *one.problems):
                out.print(f"[red]problem[/red] {one.role}: ", end="")
                out.print(problem, markup=False)
            for note in one.notes:
                out.print(f"note: {one.role}: {note}", markup=False)
        for note in self.notes:
            out.print(f"note: {note}", markup=False)
        holds = "holds" if self.within else "does NOT hold"
        out.print(
            f"RTO {duration(self.rto_seconds)} (bound {duration(RTO_BOUND)}: {holds}), all read after "
            f"{duration(self.rto_counted_seconds)}; {self.origin} is {'sound' if self.sound else 'NOT sound'}.",
            markup=False,
        )


class Drill(Protocol):
    """One engine's part: `beside` is its scratch server."""

    @property
    def role(self) -> str: ...

    @property
    def beside(self) -> AuroraBeside | MySQLBeside: ...

    def answers(self) -> None:
        """A query; raises while there is no answer."""

    def read(self, step: Step) -> Soundness: ...

    def live_counts(self) -> Count: ...

    def live_counters(self) -> Counters: ...

    def contains(self, place: str) -> bool | None: ...

    def newest(self, until: datetime) -> datetime | None: ...


class AuroraDrill:
    """Aurora's part."""

    role = AURORA

    def __init__(self, context: Context, beside: AuroraBeside, password: str) -> None:
        self._context, self.beside, self._password = context, beside, password
        self._there: Cluster | None = None

    def _connect(self) -> psycopg.Connection[Any]:
        there = self._there = self._there or self.beside.found()
        account = Account(there.master, self._password)
        return postgres.connect(there.host, there.port, account, self._context.outputs.database)

    def answers(self) -> None:
        with self._connect() as pg:
            pg.execute("SELECT count(*) FROM pg_class")

    def read(self, step: Step) -> Soundness:
        with self._connect() as pg:
            return soundness.postgres_soundness(pg, step)

    def live_counts(self) -> Count:
        with self._context.postgres(reader=True) as pg:
            return soundness.postgres_counts(pg)

    def live_counters(self) -> Counters:
        with self._context.postgres() as pg:
            return positions.postgres_counters(pg)

    def contains(self, place: str) -> bool | None:
        with self._connect() as pg:
            return positions.postgres_contains(pg, place)

    def newest(self, until: datetime) -> datetime | None:
        with self._connect() as pg:
            return positions.postgres_newest(pg, until)


class MySQLDrill:
    """MySQL's part."""

    role = MYSQL

    def __init__(self, context: Context, beside: MySQLBeside, password: str) -> None:
        self._context, self.beside, self._password = context, beside, password
        self._there: Instance | None = None

    def _connect(self) -> Any:
        there = self._there = self._there or self.beside.found()
        account = Account(there.master, self._password)
        return closing(mysql.connect(there.host, there.port, account, self._context.outputs.database))

    def answers(self) -> None:
        with self._connect() as my, my.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM information_schema.tables")

    def read(self, step: Step) -> Soundness:
        with self._connect() as my:
            return soundness.mysql_soundness(my, self._context.outputs.database, step)

    def live_counts(self) -> Count:
        with closing(self._context.mysql(database=None)) as my:
            return soundness.mysql_counts(my, self._context.outputs.database)

    def live_counters(self) -> Counters:
        with closing(self._context.mysql(database=None)) as my:
            return positions.mysql_counters(my)

    def contains(self, place: str) -> bool | None:
        with self._connect() as my:
            return positions.mysql_contains(my, place)

    def newest(self, until: datetime) -> datetime | None:
        with self._connect() as my:
            found = positions.mysql_newest(my)
        return found if found and found <= until else None


def run(
    context: Context, wanted: str | None, *, at: datetime | None = None, latest: bool = False, live: bool = True,
    dry_run: bool = False, console: Console,
) -> VerifyResult:  # fmt: skip
    """Drills a set (the newest complete one unless named), or a moment. `live`: hold counts against the live tables."""
    store, out = Store(context), context.outputs
    moment = at is not None or latest
    if moment and wanted:
        raise UsageError("give a set or a moment (--at, --latest), not both")
    one = None if moment else _chosen(store, wanted)
    roles = [MYSQL, AURORA] if one is None else [part.role for part in one.databases]
    models = _models(context, store.rds, roles)
    if not models:
        raise UsageError(f"{out.stack} has no database on RDS that could be restored beside")
    told = one.id if one else f"{out.stack} as it was {f'at {at.isoformat()}' if at else 'last'}"
    notes = _notes(one, models)
    stamp = f"{datetime.now(UTC):%Y%m%dt%H%M%S}"
    names = {role: f"{out.project}-{out.stack}-verify-{role}-{stamp}".lower() for role in models}
    leftovers = _leftovers(store.rds, out.stack)
    if dry_run:
        plan = [f"would remove {name}, left by a drill that was killed" for name in leftovers]
        plan += [f"would restore {role} of {told} as {names[role]}, read it in full, and destroy it" for role in models]
        return VerifyResult(out.stack, told, [], [*plan, *notes], dry_run=True)
    if leftovers:
        with console.step(f"Remove what a killed drill left: {', '.join(leftovers)}") as step:
            _remove(store.rds, leftovers, step)
    tags = {SCRATCH: out.stack, STACK: out.stack, **({FROM_SET: one.id} if one else {})}
    drills: list[Drill] = []
    for role, model in models.items():
        origin: Origin = FromSnapshot(_part(one, role).arn) if one else AtTime(model.name, at)
        drills.append(_drill(context, store.rds, model, names[role], origin, tags))
    try:
        seen = _measure(drills, one, at or datetime.now(UTC), moment, live, console)
    finally:
        with console.step("Destroy the scratch servers") as step:
            _remove(store.rds, _leftovers(store.rds, out.stack), step)
    result = VerifyResult(out.stack, told, seen, notes)
    if one is not None and result.sound:
        store.tag(one, {VERIFIED: datetime.now(UTC).isoformat()}, one.databases)
    return result


def _chosen(store: Store, wanted: str | None) -> SnapshotSet:
    sets = store.sets()
    stack = store.context.outputs.stack
    if wanted is not None:
        one = store.named(wanted, sets)
        if not one.complete:
            raise UsageError(f"{one.id} is incomplete: `./zdm snapshot take {stack} --label {one.label}` completes it")
        return one
    found = next((one for one in sets if one.complete), None)
    if found is None:
        raise UsageError(f"{stack} has no complete snapshot set: `./zdm snapshot take {stack}` takes one")
    return found


def _models(context: Context, rds: Rds, roles: list[str]) -> dict[str, Cluster | Instance]:
    """The running servers, by role."""
    out = context.outputs
    models: dict[str, Cluster | Instance] = {}
    if AURORA in roles and out.target.cluster:
        cluster = rds.cluster(out.target.cluster)
        if cluster is None:
            raise ZdmError(f"the cluster {out.target.cluster} is not there: ./zdm up {out.stack} --refresh")
        models[AURORA] = cluster
    if MYSQL in roles and out.source.instance:
        instance = rds.instance(out.source.instance)
        if instance is None:
            raise ZdmError(f"the instance {out.source.instance} of {out.stack} is not there")
        models[MYSQL] = instance
    return models


def _notes(one: SnapshotSet | None, models: dict[str, Cluster | Instance]) -> list[str]:
    notes = []
    if one and (disks := [part.role for part in one.parts if part.kind in ("image", "disk")]):
        notes.append(f"not drilled, since only RDS restores beside: {', '.join(sorted(set(disks)))}")
    if one and (gone := [part.role for part in one.databases if part.role not in models]):
        notes.append(f"not drilled, since the stack has none any more: {', '.join(gone)}")
    return notes


def _part(one: SnapshotSet, role: str) -> Part:
    part = one.part(role)
    assert part is not None  # the roles are those of the set
    return part


def _drill(
    context: Context, rds: Rds, model: Cluster | Instance, name: str, origin: Origin, tags: dict[str, str]
) -> Drill:
    password = secrets.token_urlsafe(24)
    master = Master(password)
    if isinstance(model, Instance):
        return MySQLDrill(context, MySQLBeside(rds, model, name, origin, tags, master), password)
    writer = rds.instance(model.writer)
    if writer is None:
        raise ZdmError(f"the cluster {model.name} has no writer: ./zdm up {context.outputs.stack} --refresh")
    return AuroraDrill(context, AuroraBeside(rds, model, writer, name, origin, tags, master), password)


def _measure(
    drills: list[Drill], one: SnapshotSet | None, asked: datetime, moment: bool, live: bool, console: Console
) -> list[EngineDrill]:
    began: dict[str, float] = {}
    serving: dict[str, float] = {}
    with console.step("Restore beside") as step:

        def look() -> tuple[bool, str]:
            texts = []
            for drill in drills:
                if drill.role in serving:
                    continue
                began.setdefault(drill.role, time.monotonic())
                ready, text = drill.beside.advance()
                if ready:
                    ready, text = _answers(drill)
                if ready:
                    serving[drill.role] = time.monotonic() - began[drill.role]
                else:
                    texts.append(f"{drill.role}: {text}")
            return len(serving) == len(drills), "; ".join(texts)

        await_ready(look, "the scratch servers", step, PATIENCE)
        step.done(", ".join(f"{role} answers after {duration(seconds)}" for role, seconds in serving.items()))
    with console.step("Read everything") as step, ThreadPoolExecutor(len(drills)) as pool:

        def read(drill: Drill) -> tuple[Soundness, float]:
            return drill.read(step), time.monotonic() - began[drill.role]

        waiting = {drill.role: pool.submit(read, drill) for drill in drills}
        found = {role: future.result() for role, future in waiting.items()}
        step.done(f"{sum(f.rows for f, _ in found.values()):,} rows")
    seen = []
    for drill in drills:
        part = one.part(drill.role) if one else None
        state, counted = found[drill.role]
        lost, told, newest, problems = _rpo(drill, part, asked, moment)
        notes: list[str] = []
        if live and part is not None:
            with console.step(f"Count the live tables of {drill.role}"):
                more, notes = _against_live(drill, part, state)
                problems += more
        if "zdm.fence" not in state.counts:
            notes.append("the control tables are not there: was the stack ever bootstrapped?")
        seen.append(
            EngineDrill(
                drill.role, drill.beside.name, serving[drill.role], counted, lost, told, newest, state, problems, notes
            )
        )
    return seen


def _answers(drill: Drill) -> tuple[bool, str]:
    """Whether the first query is answered: a new password and a new name take their time to be known everywhere."""
    try:
        drill.answers()
    except (ZdmError, psycopg.Error, pymysql.err.MySQLError, OSError) as e:
        return False, f"no answer yet ({str(e).splitlines()[0][:100]})"
    return True, "answers"


def _rpo(
    drill: Drill, part: Part | None, asked: datetime, moment: bool
) -> tuple[float | None, str, datetime | None, list[str]]:
    """Seconds, in words, the newest commit, and problems."""
    if moment or part is None:
        newest = drill.newest(asked)
        if newest is None:
            return None, "how far the copy is, is not known: nothing in it bears a time", None, []
        behind = (asked - newest).total_seconds()
        return behind, f"newest commit {newest.isoformat()}, {behind:.1f} s before the moment asked for", newest, []
    at = part.asked or asked
    newest = drill.newest(max(part.created or at, at))  # what the restore has committed is later
    told = f", newest commit {newest.isoformat()}" if newest else ""
    contains = drill.contains(part.tags.get(POSITION, ""))
    if contains:
        return 0.0, f"all that was committed when the snapshot was asked for is in the copy{told}", newest, []
    gap = max(0.0, (at - newest).total_seconds()) if newest else None
    if contains is None:
        why = "the snapshot bears no position" if not part.tags.get(POSITION) else "the position cannot be looked up"
        return gap, f"{why}, so the gap to the newest commit is the most that can be missing{told}", newest, []
    problem = f"the copy lacks what was committed when the snapshot was asked for ({part.tags[POSITION]})"
    return gap, f"{problem}{told}", newest, [problem]


def _against_live(drill: Drill, part: Part, state: Soundness) -> tuple[list[str], list[str]]:
    """Problems and notes of holding the counts against the live tables."""
    before = counters_of(part.tags)
    try:
        counts = drill.live_counts()
        moved = drill.live_counters().since(before) if before else None
        problems = soundness.differences(state.counts, counts, moved)
        deadline = time.monotonic() + FLUSHED
        while problems and moved is not None and time.monotonic() < deadline:
            time.sleep(0.5)  # sessions tell their counters late
            moved = drill.live_counters().since(before) if before else None
            problems = soundness.differences(state.counts, counts, moved)
    except (ZdmError, psycopg.Error, pymysql.err.MySQLError) as e:
        return [], [f"not held against the live tables: {e}"]
    if moved is None:
        why = "no counters were kept" if before is None else "the server was started anew since"
        return problems, [f"only the tables' names were held against the live ones: {why}"]
    return problems, [f"counts are within the {moved:,} rows inserted or deleted since"] if not problems else []


def _leftovers(rds: Rds, stack: str) -> list[str]:
    """Scratch servers of this stack: clusters, and instances on their own."""
    clusters = [one.name for one in rds.clusters() if one.tags.get(SCRATCH) == stack]
    return clusters + [
        one.name for one in rds.instances() if one.tags.get(SCRATCH) == stack and not one.raw.get("DBClusterIdentifier")
    ]


def _remove(rds: Rds, names: list[str], step: Step) -> None:
    removers: dict[str, Callable[[Rds, str], tuple[bool, str]]] = {
        name: remove_cluster if rds.cluster(name) else remove_instance for name in names
    }

    def look() -> tuple[bool, str]:
        seen = [remove(rds, name) for name, remove in removers.items()]
        return all(gone for gone, _ in seen), "; ".join(text for gone, text in seen if not gone)

    await_ready(look, "the scratch servers' end", step, PATIENCE)
    step.done(f"{len(names)} gone")
