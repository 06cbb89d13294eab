"""`./zdm traffic get|set|hold|release`: where readers go, and whether writes are held or rejected. Never who writes.

The flag is changed first where it is the truth (the fence row of the database that writes), by compare-and-set, then in
the other database and in the router's store. A command that was interrupted in between is finished by running it again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console as RichConsole
from rich.table import Table as RichTable

from contract.flag import Flag, FlagError, Side, Writes
from scripts.clients.flagstore import FlagStore
from scripts.context import Context
from scripts.errors import UsageError
from scripts.switch import journal
from scripts.switch.fence import Controller

PROPAGATION = (
    "Origins obey at once; a router that still has the older flag is corrected by the first origin it asks, and "
    "Cloudflare's edges read the new one within 60 s."
)


@dataclass(frozen=True)
class TrafficResult:
    """The flag everywhere, after the change if there was one."""

    mysql: Flag
    postgres: Flag
    router: Flag | None
    changed: bool = False
    dry_run: bool = False

    @property
    def flag(self) -> Flag:
        """The newest; all are equal unless someone is changing it, or a change was interrupted."""
        return max((f for f in (self.mysql, self.postgres, self.router) if f is not None), key=lambda f: (f.epoch, f.v))

    @property
    def agree(self) -> bool:
        """Whether every copy that can still be changed is the newest (after the cutover MySQL's is shut)."""
        copies = [self.postgres, self.router] + ([self.mysql] if self.flag.mode is Side.MYSQL else [])
        return all(copy == self.flag for copy in copies)

    @property
    def ok(self) -> bool:
        return self.dry_run or self.agree

    def to_json(self) -> dict[str, Any]:
        return {
            "flag": asdict(self.flag),
            "agree": self.agree,
            "changed": self.changed,
            "dryRun": self.dry_run,
            "mysql": asdict(self.mysql),
            "postgres": asdict(self.postgres),
            "router": None if self.router is None else asdict(self.router),
            "note": PROPAGATION,
        }

    def render(self, out: RichConsole) -> None:
        table = RichTable("where", "reads from Aurora", "writes", "writer", "epoch", "v")
        for where, flag in (("MySQL", self.mysql), ("PostgreSQL", self.postgres), ("router's store", self.router)):
            if flag is None:
                table.add_row(where, "nothing there", "", "", "", "")
            else:
                table.add_row(where, f"{flag.weight:g} %", flag.writes, flag.mode, str(flag.epoch), str(flag.v))
        out.print(table)
        if self.dry_run:
            out.print("Nothing was changed (dry run); this is how it would be.")
        elif not self.agree:
            out.print(
                "The copies differ: a change is under way or was interrupted. Run the same command again to finish it."
            )
        elif self.changed:
            out.print(PROPAGATION)


def get(context: Context) -> TrafficResult:
    """The flag in both databases and in the router's store."""
    with Controller(context) as c, FlagStore(context) as store:
        return TrafficResult(c.mysql_flag(), c.postgres_flag(), store.read())


def set_weight(context: Context, weight: float, *, dry_run: bool = False) -> TrafficResult:
    """Sends `weight` percent of the users' reads to Aurora. Raises `UsageError` for what is no weight."""
    try:
        Flag(weight=weight)
    except FlagError as e:
        raise UsageError(str(e)) from e
    return _change(context, weight=weight, dry_run=dry_run)


def hold(context: Context) -> TrafficResult:
    """Routers hold writes from now on (each for at most their hold time), and origins refuse them."""
    return _change(context, writes=Writes.HOLD)


def reject(context: Context) -> TrafficResult:
    """Routers and origins refuse writes from now on, at once; reads go on."""
    return _change(context, writes=Writes.REJECT)


def release(context: Context) -> TrafficResult:
    """Writes go on. Raises `UsageError` while MySQL itself would refuse them."""
    return _change(context, writes=Writes.OPEN)


def _change(
    context: Context,
    *,
    weight: float | None = None,
    writes: Writes | None = None,
    dry_run: bool = False,
) -> TrafficResult:
    with Controller(context) as c, FlagStore(context) as store:
        c.lock()
        run = journal.unfinished(c.postgres, c.cursor)
        if run is not None:
            raise UsageError(
                f"the {run.direction} {run.id} is not finished (state {run.state}): run `./zdm cutover resume` first"
            )
        truth = max(c.mysql_flag(), c.postgres_flag(), key=lambda f: (f.epoch, f.v))
        if truth.mode is Side.AURORA and weight is not None and weight < 100:
            raise UsageError("Aurora is the writer, so MySQL is stale: no read may go back to it (weight stays 100)")
        if writes is Writes.OPEN and truth.mode is Side.MYSQL and c.query("SELECT @@GLOBAL.read_only") == [(1,)]:
            raise UsageError(
                "MySQL is read only, so writes would fail: if plan B closed it, "
                f"`./zdm plan-b {context.outputs.stack} read-only --undo` lets both go on"
            )
        if weight not in (None, truth.weight) or writes not in (None, truth.writes):
            wanted = truth.changed(weight=weight, writes=writes)
        else:
            wanted = truth  # nothing new, but the copies may have to catch up
        if dry_run:
            return TrafficResult(wanted, wanted, wanted, wanted != truth, dry_run=True)
        if wanted.mode is Side.MYSQL:
            c.set_mysql(wanted, None if wanted == truth else truth)
            c.set_postgres(wanted)
        else:
            c.set_postgres(wanted, None if wanted == truth else truth)
        store.write(wanted)
        return TrafficResult(c.mysql_flag(), c.postgres_flag(), store.read(), wanted != truth)
