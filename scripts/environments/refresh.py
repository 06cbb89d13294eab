"""`./zdm refresh`: staging's databases from production's, masked, without staging ever being half-filled.

A set (or a moment) is restored beside the running databases, shut off, masked, scanned, checked, and takes their names.
Where it is, is read from names and tags in RDS (`refresh_phases`): killed anywhere and run again, it goes on, and until
the first swap `--discard` takes it back.

Invariants:
- Never towards production, and never onto itself.
- Nothing of production's logs in to staging, and nobody logs in to the copy before it is masked and scanned but the
  master account, whose password is the copy's own.
- No engine takes its place before both are ready. A swap is two renames; between those of the two engines, the next run
  goes on.
- The former server is deleted only once the new one has answered under its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from contract.control import INSERT_FENCE, READ_FENCE, SCHEMA, fence_values, flag_of_row
from contract.flag import Flag, Side
from contract.privacy import DataClasses, PrivacyError, load_classes
from contract.tables import Table
from scripts.clients import mysql, postgres
from scripts.clients.flagstore import FlagStore
from scripts.clients.rds import Cluster, Instance, Rds
from scripts.clients.waiting import await_ready
from scripts.console import Console, Step
from scripts.context import PROJECT, Context
from scripts.data.inspect import mysql_tables
from scripts.data.rules import MySQL, Postgres
from scripts.environments import refresh_data as data
from scripts.environments.masking import Masked, mask
from scripts.environments.privacy_scan import scan
from scripts.environments.refresh_check import FLAG_UNKNOWN, Request, check, origin_of, origin_of_tags
from scripts.environments.refresh_phases import (
    FROM,
    KEEP_OLD,
    REFRESH,
    ROLES,
    Phase,
    Seen,
    can_discard,
    next_one,
    plan,
)
from scripts.environments.refresh_result import NOTES, RefreshResult
from scripts.environments.refresh_servers import ClusterServers, InstanceServers
from scripts.environments.snapshot_set import AURORA, MYSQL
from scripts.errors import UsageError, ZdmError
from scripts.switch import bootstrap
from scripts.switch.fence import mark

PATIENCE = 24 * 3600.0
"""Seconds that one phase may take. Restoring 8 TB and masking them are its longest."""
ANSWER_PATIENCE = 20 * 60.0
"""Seconds until a renamed server answers: its new name is known after about ten minutes (Amazon RDS User Guide,
"Renaming a DB instance")."""


def run(
    target: Context,
    origin: Context,
    request: Request,
    console: Console,
    adopt: Callable[[Mapping[str, str]], object] | None,
    between: Callable[[str], None] = lambda _: None,
) -> RefreshResult:
    """Refreshes `target` from `origin`. `adopt` brings the engine's record of the stack up to date (given the new
    resource ids of instances by name); None where it is out of reach. `between` is called after each step, for tests.
    Raises `UsageError` before anything is changed, `ZdmError` where it stopped: then staging is as it was.
    """
    return _Refresh(target, origin, request, console, adopt, between).run()


@dataclass
class _Refresh:
    target: Context
    origin: Context
    request: Request
    console: Console
    adopt: Callable[[Mapping[str, str]], object] | None
    between: Callable[[str], None]
    done: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    locked: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def run(self) -> RefreshResult:
        out = self.target.outputs
        with self.console.step(f"Look at {out.stack} and {self.origin.outputs.stack}") as step:
            self.rds = Rds(self.target.aws("rds"))
            self.servers = self._servers()
            tags = self._under_way()
            roles = tags[ROLES].split() if tags else self.request.roles(out)
            if self.adopt is None and MYSQL in roles and not self.request.dry_run:
                raise UsageError(
                    "the engine knows an RDS instance by an id that changes with a refresh, and with --outputs the "
                    f"stack's state is out of reach: run it where {out.stack}'s state is, or with --only aurora"
                )
            self.servers = {role: self.servers[role] for role in roles}
            seen = self._look()
            fresh = not tags
            self.keep_old = self.request.keep_old or bool(tags.get(KEEP_OLD))
            if self.request.discard:
                step.done("to be discarded" if tags else "nothing to discard")
                return self._discard(seen)
            self.classes = self._classes()
            check(self.target, self.origin, self.request, tags, roles)
            for server in self.servers.values() if fresh else ():
                server.check()
            self.origins, self.tags, told = (
                origin_of(self.origin, self.request, roles) if fresh else origin_of_tags(self.origin, tags, roles)
            )
            self.id = tags.get(REFRESH) or f"{datetime.now(UTC):%y%m%d%H%M%S}"
            seen = self._look()
            if fresh:
                self._cover()
            step.done(told if fresh else f"goes on with {told}")
        actions = plan(seen, told, self.keep_old)
        if self.request.dry_run:
            return RefreshResult(out.stack, told, actions, True, notes=[*NOTES, *self.notes])
        while (one := next_one(self._look())) is not None:
            self._phase(one)
            if one.phase is Phase.DROPPED:
                break
            self.between(f"{one.role} {one.phase.name}")
        return RefreshResult(
            out.stack, told, self.done, False, self.figures, self.locked, [*NOTES, *self.notes], self._kept()
        )

    # --- what is there ---

    def _servers(self) -> dict[str, ClusterServers | InstanceServers]:
        out = self.target.outputs
        found: dict[str, ClusterServers | InstanceServers] = {}
        if out.source.instance:
            found[MYSQL] = InstanceServers(self.rds, self.target)
        if out.target.cluster:
            found[AURORA] = ClusterServers(self.rds, self.target)
        return found

    def _under_way(self) -> dict[str, str]:
        """The tags of a refresh that was begun, from whatever bears them."""
        for server in self.servers.values():
            seen = server.look()
            if seen.id:
                for tags in server.tags_of(seen):
                    if tags.get(REFRESH) and tags.get(ROLES):
                        return dict(tags)
        return {}

    def _look(self) -> list[Seen]:
        """One for each engine; those without a trace get the id of this refresh."""
        seen = [server.look() for server in self.servers.values()]
        id = next((one.id for one in seen if one.id), getattr(self, "id", ""))
        return [one if one.id else replace(one, id=id) for one in seen]

    def _classes(self) -> DataClasses:
        try:
            return load_classes(self.request.classes or PROJECT / "data-classes.yaml")
        except PrivacyError as e:
            raise UsageError(str(e)) from e

    def _cover(self) -> None:
        """Every column of production has a class, or nothing is restored."""
        try:
            with closing(self.origin.mysql()) as my:
                tables = mysql_tables(my, self.origin.outputs.database)
        except ZdmError as e:
            self.notes.append(
                f"production's MySQL cannot be reached from here ({e}): whether every column has a class is looked at "
                "in the restored copy, before anything is masked"
            )
            return
        if problems := self.classes.problems(tables):
            raise UsageError(
                "the data classes do not fit production's tables; nothing was restored:\n  "
                + "\n  ".join(problems)
                + "\nsay each column's class in data-classes.yaml"
            )

    def _kept(self) -> list[str]:
        return [one.old for one in self._look()] if self.keep_old else []

    # --- phases ---

    def _phase(self, one: Seen) -> None:
        match one.phase:
            case Phase.NOTHING | Phase.RESTORING:
                self._restore()
            case Phase.RESTORED:
                self._do(one, "shut production out of the copy", "closed", self._close)
            case Phase.CLOSED:
                self._do(one, "mask", "masked", self._mask)
            case Phase.MASKED:
                self._do(one, "scan for personal data", "scanned", self._scan)
            case Phase.SCANNED:
                self._do(one, "check, and make staging's own accounts", "ready", self._prepare)
            case Phase.READY | Phase.SWAPPING:
                self._do(one, f"swap {one.name}", "swapped", self._swap)
            case Phase.SWAPPED:
                self._do(one, f"wait for {one.name}'s answer", "opened", self._open)
            case Phase.OPENED:
                self._do(one, f"{'keep' if self.keep_old else 'delete'} {one.old}", "dropped", self._drop)
            case Phase.DROPPED:
                self._finish()

    def _do(self, one: Seen, title: str, step_tag: str, work: Callable[[Seen, Step], None]) -> None:
        with self.console.step(f"{one.role}: {title}") as step:
            work(one, step)
            self.servers[one.role].step(one, step_tag)
        self.done.append(f"{one.role}: {title}")

    def _await(self, step: Step, what: str, look: Callable[[], tuple[bool, str]], seconds: float = PATIENCE) -> None:
        def told() -> tuple[bool, str]:
            seen = look()
            self.between(f"{what}: {seen[1]}")
            return seen

        await_ready(told, what, step, seconds)

    def _restore(self) -> None:
        """Both at once."""
        with self.console.step("restore beside") as step:
            left = [one for one in self._look() if one.phase <= Phase.RESTORING]

            def look() -> tuple[bool, str]:
                texts = []
                for one in left:
                    if one.role not in self.origins:
                        raise ZdmError(
                            f"the snapshot set that this refresh began with is gone: `{self._again} --discard`"
                        )
                    ready, text = self.servers[one.role].restore_step(one, self.origins[one.role], self._tags())
                    if not ready:
                        texts.append(f"{one.role}: {text}")
                return not texts, "; ".join(texts)

            self._await(step, "the copies beside", look)
            for one in left:
                self.servers[one.role].step(replace(one, phase=Phase.RESTORING), "restored")
        self.done += [f"{one.role}: restored as {one.new}" for one in left]

    def _tags(self) -> dict[str, str]:
        keep = {KEEP_OLD: "true"} if self.keep_old else {}
        roles = " ".join(self.servers)
        return {**self.tags, **keep, REFRESH: self.id, ROLES: roles, FROM: self.origin.outputs.stack}

    def _close(self, one: Seen, step: Step) -> None:
        """The master's new password takes its time to be known."""
        self._await(step, f"an answer of {one.new}", lambda: self._answers(one), ANSWER_PATIENCE)
        tables = self._tables()
        if one.role == AURORA:
            with self._postgres(one) as pg:
                self.locked[one.role] = data.close_postgres(pg)
                data.clear_postgres(pg)
                data.keep_counts_postgres(pg, data.count_postgres(pg, tables))
        else:
            with self._mysql(one) as my:
                data.open_mysql(my)
                self.locked[one.role] = data.close_mysql(my)
                data.clear_mysql(my)
                data.keep_counts_mysql(my, data.count_mysql(my, self.target.outputs.database, tables))
        step.done(f"{len(self.locked[one.role])} accounts locked")

    def _mask(self, one: Seen, step: Step) -> None:
        key = self.target.account(self.target.outputs.masking_secret).password.encode()
        result = mask(self._masked(one), self.classes, key, step)
        self.figures[f"{one.role} masking"] = result.to_json()
        if not result.ok:
            raise ZdmError(f"{one.new} cannot be masked: {result.to_json()}")

    def _scan(self, one: Seen, step: Step) -> None:
        result = scan(self._masked(one), self.classes, step)
        self.figures[f"{one.role} scan"] = result.to_json()
        if not result.ok:
            found = "\n".join(f"  {f.table}.{f.column}: {f.what} in {f.rows:,} rows" for f in result.findings)
            raise ZdmError(
                f"personal data is left in {one.new}; {self.target.outputs.stack} stays as it is:\n{found}\n"
                "Give the columns their classes in data-classes.yaml (or allow what only looks like it), then "
                f"`{self._again} --discard`, and refresh anew: what is masked cannot be masked in another way"
            )

    def _prepare(self, one: Seen, step: Step) -> None:
        tables = self._tables()
        if one.role == AURORA:
            with self._postgres(one) as pg:
                before, after = data.kept_counts_postgres(pg), data.count_postgres(pg, tables)
        else:
            with self._mysql(one) as my:
                before = data.kept_counts_mysql(my)
                after = data.count_mysql(my, self.target.outputs.database, tables)
        if problems := data.compared(before, after):
            raise ZdmError(
                f"masking has changed more than values in {one.new}; {self.target.outputs.stack} stays as it is:\n  "
                + "\n  ".join(problems)
                + f"\nTake it back with `{self._again} --discard`"
            )
        step.update("accounts and flag")
        self._own(one)
        self._await(step, f"all of {one.new}", lambda: self.servers[one.role].complete_step(one))
        step.done(f"{len(after):,} counts equal")

    def _own(self, one: Seen) -> None:
        """Staging's accounts by the code of `bootstrap`, and its flag: the router must take it for the newest."""
        flag = self._flag()
        side = "postgres" if one.role == AURORA else "mysql"
        copies = {seen.role: seen for seen in self._look()}
        context = self._beside(copies)
        accounts = self._accounts()
        with closing(context.mysql(database=None)) as my, context.postgres() as pg:
            if side == "mysql":
                data.unlock_mysql(my, accounts)
            for _ in range(2):  # who may write follows from the flag
                for change in bootstrap.plan(context, my, pg):
                    if change.side == side:
                        bootstrap.apply(change, my, pg)
                if side == "postgres":
                    with pg.transaction():
                        pg.execute("DELETE FROM zdm.fence")
                        pg.execute(INSERT_FENCE, fence_values(flag))
                        pg.execute("DELETE FROM zdm.watermark")
                else:
                    with my.cursor() as cursor:
                        cursor.execute("START TRANSACTION")
                        cursor.execute("DELETE FROM zdm.fence")
                        cursor.execute(INSERT_FENCE, fence_values(flag))
                        mark(cursor)
                        cursor.execute("COMMIT")
            if side == "mysql" and flag.mode is Side.AURORA:
                with my.cursor() as cursor:
                    cursor.execute("SET PERSIST super_read_only = ON")

    def _accounts(self) -> list[str]:
        """MySQL's accounts of this stack."""
        out = self.target.outputs
        secrets = [out.source.cdc_secret, out.source.app_secret]
        if out.observability and out.observability.mysql_probe_secret:
            secrets.append(out.observability.mysql_probe_secret)
        return [self.target.account(secret).username for secret in secrets]

    def _flag(self) -> Flag:
        """Above all copies of the running staging's; the writer is the side that was it in production."""
        running = self._running()
        flags = [FLAG_UNKNOWN]
        with closing(running.mysql(database=None)) as my, running.postgres() as pg:
            flags += [flag for flag in (_mysql_flag(my), _postgres_flag(pg)) if flag]
        with FlagStore(self.target) as store:
            flags += [flag for flag in [store.read()] if flag]
        staging = max(flags, key=lambda flag: (flag.epoch, flag.v))
        if MYSQL not in self.servers:
            return staging  # MySQL stays, and with it what it says
        mode = staging.mode
        for seen in self._look():
            if seen.role == AURORA:
                with self._postgres(seen) as pg:
                    there = _postgres_flag(pg)
            else:
                with self._mysql(seen) as my:
                    there = _mysql_flag(my)
            mode = there.mode if there else mode
        return data.flag_for(staging, mode)

    def _swap(self, one: Seen, step: Step) -> None:
        self._await(step, f"the swap of {one.name}", lambda: self.servers[one.role].swap_step(one))

    def _open(self, one: Seen, step: Step) -> None:
        """An answer under the name that everybody uses, of the new server: it has what was counted."""
        self._await(step, f"an answer of {one.name}", lambda: self._answers_new(one), ANSWER_PATIENCE)
        context = self._running()
        if one.role == AURORA:
            with context.postgres() as pg:
                flag = _postgres_flag(pg)
        else:
            with closing(context.mysql(database=None)) as my:
                flag = _mysql_flag(my)
        if flag is not None:
            with FlagStore(self.target) as store:
                store.write(flag)

    def _drop(self, one: Seen, step: Step) -> None:
        if not self.keep_old:
            self._await(step, f"the end of {one.old}", lambda: self.servers[one.role].remove_step(one))
        context = self._running()
        if one.role == AURORA:
            with context.postgres() as pg:
                pg.execute(f"DROP TABLE IF EXISTS {SCHEMA}.{data.COUNTS}")
        else:
            with closing(context.mysql(database=None)) as my, my.cursor() as cursor:
                cursor.execute(f"DROP TABLE IF EXISTS {SCHEMA}.{data.COUNTS}")

    def _finish(self) -> None:
        """For both at once: the engine's record; then the tags go. (The engine takes those of the servers away, too, as
        the program has none such: with its record all is done.)
        """
        self.between("record")
        if self.adopt is None:
            up = f"./zdm up {self.target.outputs.stack} --refresh"
            self.notes.append(f"the stack's record is out of reach from here: run `{up}`")
        else:
            ids = {s.name: s.there().resource_id for s in self.servers.values() if isinstance(s, InstanceServers)}
            self.adopt(ids)
        for server in self.servers.values():
            server.clean()

    def _discard(self, seen: list[Seen]) -> RefreshResult:
        out = self.target.outputs
        begun = [one for one in seen if one.id]
        if not can_discard(seen):
            raise UsageError(
                f"{out.stack} has begun to take its new databases' places, so the way is forward: `{self._again}`"
            )
        actions = [f"{one.role}: delete {one.new}" for one in begun if one.phase is not Phase.NOTHING]
        if not self.request.dry_run:
            for one in begun:
                with self.console.step(f"{one.role}: delete {one.new}") as step:
                    self._await(step, f"the end of {one.new}", partial(self.servers[one.role].discard_step, one))
        return RefreshResult(out.stack, "", actions, self.request.dry_run, discarded=not self.request.dry_run)

    # --- ways in ---

    @property
    def _again(self) -> str:
        return f"./zdm refresh {self.target.outputs.stack} --from {self.origin.outputs.stack}"

    def _beside(self, copies: Mapping[str, Seen]) -> Context:
        """The stack's context with the copies in place of the running servers, where there are copies."""
        found = {role: self.servers[role].copy(copies[role]) for role in self.servers}
        return _at(self.target, found.get(AURORA), found.get(MYSQL))

    def _running(self) -> Context:
        """The stack's context as its servers are now: their secrets' names come and go with them."""
        out = self.target.outputs
        cluster = self.rds.cluster(out.target.cluster) if out.target.cluster else None
        instance = self.rds.instance(out.source.instance) if out.source.instance else None
        return _at(self.target, cluster, instance)

    @contextmanager
    def _postgres(self, one: Seen) -> Iterator[Postgres]:
        with self._beside({**{seen.role: seen for seen in self._look()}, one.role: one}).postgres() as pg:
            yield pg

    @contextmanager
    def _mysql(self, one: Seen) -> Iterator[MySQL]:
        context = self._beside({**{seen.role: seen for seen in self._look()}, one.role: one})
        with closing(context.mysql(database=None)) as my:
            yield my

    def _answers(self, one: Seen) -> tuple[bool, str]:
        try:
            if one.role == AURORA:
                with self._postgres(one) as pg:
                    pg.execute("SELECT 1")
            else:
                with self._mysql(one) as my, my.cursor() as cursor:
                    cursor.execute("SELECT 1")
        except data.PROBLEMS as e:
            return False, f"no answer yet ({str(e).splitlines()[0][:100]})"
        return True, "answers"

    def _answers_new(self, one: Seen) -> tuple[bool, str]:
        """By the host of the stack's outputs, as services know it."""
        out = self.target.outputs
        try:
            there = self.servers[one.role].there()
            secret = there.secret or (out.target.admin_secret if one.role == AURORA else out.source.admin_secret)
            account = self.target.account(secret)
            if one.role == AURORA:
                with postgres.connect(out.target.host, out.target.port, account, out.database) as pg:
                    pg.execute(f"SELECT count(*) FROM {SCHEMA}.{data.COUNTS}")
            else:
                with closing(mysql.connect(out.source.host, out.source.port, account, out.database)) as my:
                    data.kept_counts_mysql(my)
        except data.PROBLEMS as e:
            return False, f"no answer of the new server yet ({str(e).splitlines()[0][:100]})"
        return True, "answers"

    def _masked(self, one: Seen) -> Masked:
        context = self._beside({seen.role: seen for seen in self._look()})
        if one.role == AURORA:
            return Masked(Side.AURORA, context.postgres, self._tables())
        return Masked(Side.MYSQL, context.mysql, self._tables())

    def _tables(self) -> list[Table]:
        """As MySQL describes them: the copy's, or production's where only Aurora is refreshed."""
        database = self.target.outputs.database
        if MYSQL in self.servers:
            seen = next(one for one in self._look() if one.role == MYSQL)
            with self._mysql(seen) as my:
                return mysql_tables(my, database)
        with closing(self.origin.mysql(database=None)) as my:
            return mysql_tables(my, database)


def _at(context: Context, cluster: Cluster | Instance | None, instance: Cluster | Instance | None) -> Context:
    """The context with these servers in place of its own."""
    out = context.outputs
    source, target = out.source, out.target
    if isinstance(cluster, Cluster):
        target = target.model_copy(
            update={
                "host": cluster.host,
                "reader_host": cluster.reader_host or cluster.host,
                "port": cluster.port,
                "admin_secret": cluster.secret or target.admin_secret,
                "cluster": cluster.name,
            }
        )
    if isinstance(instance, Instance):
        source = source.model_copy(
            update={
                "host": instance.host,
                "port": instance.port,
                "admin_secret": instance.secret or source.admin_secret,
                "instance": instance.name,
            }
        )
    return replace(context, outputs=out.model_copy(update={"source": source, "target": target}))


def _postgres_flag(pg: Postgres) -> Flag | None:
    there = pg.execute("SELECT to_regclass('zdm.fence')").fetchone()
    row = pg.execute(READ_FENCE).fetchone() if there and there[0] else None
    return flag_of_row(row) if row else None


def _mysql_flag(my: MySQL) -> Flag | None:
    with my.cursor() as cursor:
        found = cursor.execute(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = 'fence'", (SCHEMA,)
        )
        if not found:
            return None
        cursor.execute(READ_FENCE)
        row = cursor.fetchone()
    return flag_of_row(row) if row else None
