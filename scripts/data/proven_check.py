"""`./zdm data-check`: the check with the proof that a difference is not lag, its stored verdict, and its kept state.

- While MySQL is the writer, a row that differs is judged only after everything written before was proven to be applied
  (`scripts.switch.drain`); the positions of the change topics at the start are stored with the verdict, and the
  cutover (and `--since-last`) compares again whatever changed after them.
- Once Aurora is the writer, MySQL stands still and Aurora moves on: a row that Aurora has committed since then may
  differ, and is counted as newer; every other row must be equal.
- A stored verdict is that of everything, or a failed one. A check of what changed stands on the last clean one, and
  looks again at all rows that were found different since.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from contract.flag import Side
from scripts.clients.kafka import KafkaClient
from scripts.console import Console
from scripts.context import Context
from scripts.data import check, check_metrics, check_page, check_state
from scripts.data.check_method import Wanted
from scripts.data.check_repair import repaired
from scripts.data.check_result import CheckResult, Kind
from scripts.data.check_since import check_changes
from scripts.data.compare import changed_since
from scripts.data.difference import Key, shown_key
from scripts.data.inspect import mysql_tables, without_unsupported
from scripts.data.rules import Postgres, Rules, rules_of
from scripts.data.settle import PATIENCE, Settle
from scripts.errors import UsageError
from scripts.switch import journal
from scripts.switch.changes import kafka_offsets, offsets_of
from scripts.switch.drain import settler
from scripts.switch.fence import Controller

NIGHTLY: Final = 5.0
"""Percent of the rows that a nightly check draws."""

KEPT: Final = 20_000
"""Keys of different rows that are stored with a failed verdict; after one with more only a full check tells."""


@dataclass(frozen=True)
class Options:
    """What is checked, and how. Nothing chosen is a check of everything."""

    tables: Sequence[str] | None = None
    where: str = ""
    """A condition over one table, in both databases' SQL."""
    since_last: bool = False
    sample: float | None = None
    """Percent of the rows."""
    nightly: bool = False
    seed: int | None = None
    restart: bool = False
    """Begin anew rather than go on with a check that was killed."""
    repair: bool = False
    dry_run: bool = False
    """Repair nothing, say what would be."""
    method: Wanted = "auto"
    connections: int = 2
    busy: float = 1.0
    patience: float = PATIENCE
    """Seconds that a row must differ, with the source unchanged, where no CDC proves that it is not lag."""
    reader: bool = False
    show_values: bool = False
    html: Path | None = None
    metrics: Path | None = None

    @property
    def kind(self) -> Kind:
        if self.where:
            return "where"
        if self.tables:
            return "tables"
        if self.nightly or (self.since_last and self.sample):
            return "nightly"
        return "since-last" if self.since_last else "sample" if self.sample else "full"

    @property
    def whole(self) -> bool:
        """Whether an equal verdict will say that everything is equal."""
        return self.kind in ("full", "since-last", "nightly")

    def problems(self) -> list[str]:
        """What does not go together."""
        part = self.since_last or self.sample is not None or self.nightly
        found = []
        if self.where and len(self.tables or ()) != 1:
            found.append("--where is a condition over one table: name it with --table")
        if part and (self.tables or self.where):
            found.append("--since-last, --sample and --nightly are about all tables: leave out --table and --where")
        if self.nightly and (self.since_last or self.sample is not None):
            found.append("--nightly is --since-last and --sample already")
        if self.sample is not None and not 0 < self.sample <= 100:
            found.append("--sample is a percentage between 0 and 100")
        if self.dry_run and not self.repair:
            found.append("--dry-run goes with --repair")
        return found


def run(
    context: Context,
    *,
    tables: Sequence[str] | None = None,
    console: Console,
    connections: int = 2,
    busy: float = 1.0,
    title: str = "Check data",
    options: Options | None = None,
) -> CheckResult:
    """Checks every captured table (or as `options` say), stores the verdict in the target, and writes page and metrics.

    Raises `UsageError` for options that do not go together, and for what cannot be checked in the state at hand.
    """
    options = options or Options(tables=tables, connections=connections, busy=busy)
    if found := options.problems():
        raise UsageError("\n".join(found))
    with ExitStack() as stack:
        controller = stack.enter_context(Controller(context))
        moved = controller.postgres_flag().mode is Side.AURORA
        since = journal.last_commit(controller.postgres) if moved else None
        captured = context.outputs.pipeline.state == "running" and since is None
        if options.repair and since is not None:
            raise UsageError("--repair: Aurora is the writer now, and has newer rows than MySQL; nothing was changed")
        settle = stack.enter_context(settler(context)) if captured else _still if since is not None else None
        state = stack.enter_context(context.postgres())
        work = _Check(context, console, title, options, controller, state, settle, since, captured)
        result = work.run()
        if options.repair and result.mismatches:
            result = repaired(
                context, result, settle, dry_run=options.dry_run, console=console, patience=options.patience
            )
        if result.whole or not result.ok:  # that a part is equal says nothing about the whole
            journal.store(state, journal.DATA_CHECK, result.ok, {**result.to_json(), "open": _open(result)})
    check_page.write(result, context.home / check_page.FILE, *filter(None, [options.html]))
    check_metrics.write(result, context.home / check_metrics.FILE, *filter(None, [options.metrics]))
    return result


@dataclass
class _Check:
    """One check, by its kind."""

    context: Context
    console: Console
    title: str
    options: Options
    controller: Controller
    state: Postgres
    settle: Settle | None
    since: datetime | None
    """When Aurora became the writer."""
    captured: bool

    def run(self) -> CheckResult:
        kind = self.options.kind
        if kind in ("tables", "where"):
            return self._rows(tables=self.options.tables, where=self.options.where, kind=kind)
        check_state.prepare(self.state)
        if kind == "full":
            return self._full()
        if self.options.nightly and (self._base() is None or check_state.last_map(self.state) is None):
            return replace(self._full(), remark="in full, as there is no clean check of everything to stand on")
        if kind == "sample":
            return self._sample(self.options.sample or 0)
        changed = self._since_last()
        if kind == "since-last":
            return changed
        return _joined(changed, self._sample(self.options.sample or NIGHTLY))

    def _rows(self, **options: Any) -> CheckResult:
        """By rows. `started` is only of use to whom all rows are compared."""
        return check.run(
            self.context,
            console=self.console,
            title=self.title,
            settle=self.settle,
            expected=partial(_newer, self.since) if self.since is not None else None,
            connections=self.options.connections,
            busy=self.options.busy,
            patience=self.options.patience,
            method=self.options.method,
            reader=self.options.reader,
            show_values=self.options.show_values,
            **options,
        )

    def _full(self) -> CheckResult:
        options = {"method": self.options.method, "moved": self.since is not None}
        old = None if self.options.restart else check_state.unfinished(self.state)
        if old is not None and (old.options != options or not self._has_changes(old.marker)):
            old = None
        if old is not None:
            run, remark = old, f"went on with the check {old.id}, which had not ended"
            self.console.info(remark)
        else:
            run = check_state.begin(self.state, "full", self._marker(), options)
            remark = ""
        ledger = check_state.FullLedger(self.state, run, resumed=old is not None)
        result = self._rows(marker=lambda: run.marker, ledger=ledger, kind="full", remark=remark)
        check_state.end(self.state, run, result.verdict)
        return result

    def _sample(self, percent: float) -> CheckResult:
        """Parts of the map; without one, a check of everything draws it."""
        seed = secrets.randbelow(1_000_000) if self.options.seed is None else self.options.seed
        known = check_state.last_map(self.state)
        if known is None:
            raise UsageError("--sample draws from the parts of the last full check: run `./zdm data-check` first")
        run = check_state.begin(self.state, "sample", None, {"percent": percent, "seed": seed})
        drawn = check_state.draw(self.state, known, percent / 100, seed)
        parts = sum(map(len, drawn.values()))
        remark = f"{percent:g} % of the rows, {parts} parts of {len(drawn)} tables drawn with seed {seed}"
        self.console.info(remark)
        result = self._rows(ranges=drawn, ledger=check_state.MapLedger(self.state, known), kind="sample", remark=remark)
        check_state.end(self.state, run, result.verdict)
        return result

    def _since_last(self) -> CheckResult:
        base = self._base()
        if not self.captured or self.settle is None:
            raise UsageError("--since-last needs the changes: the pipeline must be running, with MySQL as the writer")
        if base is None:
            raise UsageError("--since-last stands on a clean check of everything: run `./zdm data-check` first")
        suspects = _open_since(self.state, base)
        known = check_state.last_map(self.state)
        started_at, clock, out = time.time(), time.monotonic(), self.context.outputs
        marker = kafka_offsets(self.context)
        run = check_state.begin(self.state, "since-last", marker, {})

        def touched(rules: Rules, keys: Sequence[Key]) -> None:
            if known is not None:
                check_state.mark_dirty(self.state, known, rules, keys)

        with (
            self.console.step(f"{self.title}: what changed since {base.at:%F %T} UTC") as step,
            self.context.mysql() as my,
            self.context.postgres() as pg,
        ):
            tables = without_unsupported(mysql_tables(my, out.database, out.pipeline.tables), out.pipeline.choices)
            results = check_changes(
                self.context,
                my,
                pg,
                [rules_of(table, out.pipeline.choices) for table in tables],
                since=base.body["started"],
                until=marker,
                suspects=suspects,
                settle=self.settle,
                touched=touched,
                step=step,
            )
            remark = f"what changed since {base.at:%F %T} UTC"
            result = CheckResult(
                results,
                started_at,
                time.monotonic() - clock,
                marker,
                kind="since-last",
                method="keys",
                remark=remark,
                show_values=self.options.show_values,
            )
            step.done(result.summary)
        check_state.end(self.state, run, result.verdict)
        return result

    def _base(self) -> journal.Record | None:
        """The last clean check of everything whose changes are all still there."""
        base = journal.last_clean(self.state, journal.DATA_CHECK)
        return base if base is not None and self._has_changes(base.body.get("started")) else None

    def _marker(self) -> Any:
        return kafka_offsets(self.context) if self.captured else None

    def _has_changes(self, marker: Any) -> bool:
        """Whether Kafka still has all changes since a marker of now (none is needed where nothing is captured)."""
        if not self.captured:
            return marker is None
        if not marker:
            return False
        out = self.context.outputs
        since = offsets_of(marker)
        with KafkaClient.of(out.brokers, out.region) as kafka:
            places = kafka.partitions([out.topic_of(table) for table in out.pipeline.tables])
            begin = kafka.begin_offsets(places)
        return all(place in since and begin[place] <= since[place] for place in places)


def _joined(changed: CheckResult, sample: CheckResult) -> CheckResult:
    """What changed and a part by chance, as one result; it stands on the marker of the former."""
    tables = {table.table: table for table in changed.tables}
    for part in sample.tables:
        table = tables.setdefault(part.table, part)
        if table is not part:
            table.join(part)
    return replace(
        changed,
        tables=list(tables.values()),
        seconds=changed.seconds + sample.seconds,
        left_out=sample.left_out,
        kind="nightly",
        method=f"keys, {sample.method}",
        reason=sample.reason,
        remark=f"{changed.remark}; {sample.remark}",
    )


def _open(result: CheckResult) -> dict[str, list[list[str]]] | None:
    """The rows that a later check must look at again; None when they are too many to be kept, or not all known."""
    tables = {t.table: [list(key) for key in (*t.keys, *t.unsettled)] for t in result.tables}
    if any(t.stopped for t in result.tables) or sum(map(len, tables.values())) > KEPT:
        return None
    if any(tuple(key) != shown_key(tuple(key)) for keys in tables.values() for key in keys):  # no JSON for the target
        return None
    return {name: keys for name, keys in tables.items() if keys}


def _open_since(pg: Postgres, base: journal.Record) -> dict[str, list[Key]]:
    """The rows that were found different after `base`. Raises `UsageError` when not all of them are known."""
    found: dict[str, dict[Key, None]] = {}
    for record in journal.records_since(pg, journal.DATA_CHECK, base.at):
        if record.ok:
            continue
        if record.body.get("open") is None:
            raise UsageError(
                f"the data-check of {record.at:%F %T} UTC found more differences than it kept: run it in full again"
            )
        for name, keys in record.body["open"].items():
            found.setdefault(name, {}).update(dict.fromkeys(map(tuple, keys)))
    return {name: list(keys) for name, keys in found.items()}


def _newer(since: datetime, pg: Postgres, rules: Rules, keys: Sequence[Key]) -> Collection[Key]:
    return changed_since(pg, rules, keys, since)


def _still() -> None:
    """The source is fenced: nothing is on its way any more."""
