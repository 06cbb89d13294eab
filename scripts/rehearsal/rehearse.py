"""`./zdm rehearse`: a whole migration on one machine, with real parts, under load, from `up` to `destroy`.

It uses the same program and the same commands as a migration on AWS; what is its own is the order, the load, the
ledger and the verdict. Invariants:
- Whatever happens (a failure, Ctrl-C), the load is stopped and the stack destroyed, unless `keep`; the report stays.
- The verdict is computed from what was measured; a figure that could not be measured fails its bound.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from contract.types import Choices
from scripts import stacks
from scripts.console import Console
from scripts.context import Context, context_from, git_revision
from scripts.data import check, copy, dump, inspect, lag, proven_check, schema, survey
from scripts.data.rules import rules_of
from scripts.errors import UsageError, ZdmError
from scripts.rehearsal import breach, fill, generic, ledger, planted, report, shop
from scripts.rehearsal.load import Load, Settings
from scripts.rehearsal.machine import Processors, machine, versions
from scripts.rehearsal.measure import read_seconds, window
from scripts.rehearsal.result import GateCheck, LeftOut, RehearsalResult, TableCheck, Timed
from scripts.rehearsal.workload import load_plan, save_plan, shop_plan
from scripts.switch import bootstrap, cutover, gate, probation, traffic, way_back
from scripts.switch.drain import settler
from scripts.switch.journal import Direction
from scripts.switch.result import CutoverResult

PILOT_WEIGHTS = (5.0, 50.0)
BUSY_UNDER_LOAD = 0.3
"""Share of the time that the check under load takes of its connection: two cores serve the shop and everything else."""
TOO_BUSY = 0.9
"""From this share of the processors' time on, what waits for a processor makes the latencies, and not the shop."""
PLAN = "plan.json"
RAMP = 10.0
"""Seconds until the load's full rate: the connectors have just started, and share this machine's processors."""
PROBATION_MINUTES = 1.0
SETTLING = 3.0
"""Seconds after a disturbance of our own in which requests are still late because of it."""
CATCH_UP_TIMEOUT = 300.0
"""Seconds that the sink may take for what has changed while rows were copied."""


@dataclass(frozen=True)
class Options:
    """`rate` and `reads` are writes and reads a second; `phase_seconds` is the load of each phase."""

    rows: int = 200_000
    rate: int = 100
    reads: int = 100
    dump: tuple[Path, ...] = ()
    skip_unsupported: bool = False
    phase_seconds: float = 15.0
    seed: int = 1
    name: str = "rehearse"
    keep: bool = False
    rollback: bool = False
    """The whole way there, back after a provoked breach, and there again."""
    rounds: int = 1
    """So many times back, with `rollback`: the first after the breach, the others by hand."""

    def __post_init__(self) -> None:
        for file in self.dump:
            if not file.is_file():
                raise UsageError(f"--dump {file}: there is no such file")
        if self.skip_unsupported and not self.dump:
            raise UsageError("--skip-unsupported belongs to --dump: the sample shop has nothing that is unsupported")


def run(options: Options, *, console: Console) -> report.Report:
    """Runs the rehearsal and writes its report, also when it ended early. Raises `UsageError` for wrong options."""
    rehearsal = _Rehearsal(options, console)
    result = rehearsal.result
    with terminated_as_interrupt():
        try:
            rehearsal.migrate()
        except UsageError:
            raise
        except ZdmError as e:
            result.error = str(e)
        except KeyboardInterrupt:
            result.error = "interrupted"
            raise
        finally:
            rehearsal.clean_up()
    return rehearsal.report()


class _Rehearsal:
    """One rehearsal: its result so far, and its steps in order."""

    def __init__(self, options: Options, console: Console) -> None:
        self.options = options
        self.console = console
        self.name = options.name
        self.home = stacks.home() / options.name
        self.folder = self.home / "report"
        self.tables: Sequence[str] = () if options.dump else shop.TABLES  # a dump's are known once it is loaded
        self.booleans: Sequence[str] = () if options.dump else shop.BOOLEANS
        self.intervals: Sequence[str] = ()
        self.excluded: Sequence[str] = ()
        self.result = RehearsalResult(
            name=options.name,
            kind=", ".join(file.name for file in options.dump) or "sample shop",
            started=time.time(),
            settings={
                "rows": None if options.dump else options.rows,
                "rate": options.rate,
                "reads": options.reads,
                "phase seconds": options.phase_seconds,
                "seed": options.seed,
                "git revision": git_revision(),
            },
            machine=machine(),
        )
        self.round = 1
        self.load: Load | None = None
        self.watch: _LagWatch | None = None
        self._context: Context | None = None

    @property
    def context(self) -> Context:
        assert self._context is not None, "the stack is not up yet"
        return self._context

    # --- the steps, in order ----------------------------------------------------------------------------------------

    def migrate(self) -> None:
        """The whole story. Every step that fails raises."""
        self._prepare()
        self._up("Bring up the stack", cdc="stopped")
        self._fill()
        self._survey()
        bootstrap.run(self.context, dry_run=False, console=self.console)
        self._up("Start to capture changes", cdc="capturing")
        self._schema("tables")
        self._copy_while_rows_change()
        self._up("Start to apply changes", cdc="running")
        self._await_applied()
        self._schema("indexes")
        if self.options.dump:
            self._prove_the_check()  # before the load, which may write to any of its tables
        self._start_load()
        self._let_run("Load on: all users on MySQL")
        if not self.options.dump:
            self._prove_the_check()
        self._check("Check every row under load", busy=BUSY_UNDER_LOAD)
        for weight in PILOT_WEIGHTS:
            self._pilot(weight)
        self._cut_over()
        if self.options.rollback:
            self._there_and_back()
        self._let_run("Load on: all users on Aurora")
        self._stop_load()
        if self.options.rollback:
            self._close_the_way_back()
        self._schema("constraints")
        self._verify()

    def _prepare(self) -> None:
        if (self.home / "network.json").exists():
            with self.console.step(f"Remove what is left of the last rehearsal {self.name!r}"):
                stacks.destroy(self.name, local=True, console=self.console)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        stacks.ensure_parts(self.console)

    def _up(self, title: str, *, cdc: str, reverse: str = "stopped") -> None:
        config = {
            "cdc.state": cdc,
            "cdc.reverse": reverse,
            "cdc.reverseRound": self.round,
            "cdc.tables": list(self.tables),
            "cdc.booleans": list(self.booleans),
            "cdc.intervals": list(self.intervals),
            "cdc.excludedColumns": list(self.excluded),
            "service.module": "services.tables" if self.options.dump else "services.orders",
        }
        outputs = stacks.up_generated(self.name, config, title=title, console=self.console)
        os.environ.update(stacks.local_environment(self.name))
        self._context = context_from(outputs, f"stack {self.name}", self.home / "commands")

    def _fill(self) -> None:
        if self.options.dump:
            self._load_dump()
            return
        with self.console.step(f"Fill MySQL with a shop of {self.options.rows:,} rows") as step:
            filled = fill.fill(self.context.mysql, self.options.rows, self.options.seed, progress=step.progress)
            step.done(f"{sum(filled.rows.values()):,} rows")

    def _load_dump(self) -> None:
        with self.console.step("Load the dump into MySQL") as step:
            loaded = dump.load(self.context, self.options.dump, progress=step.progress)
            step.done(f"{len(loaded.tables)} tables")

    def _survey(self) -> None:
        """Of a dump, what is found decides how its types travel; what the shop needs is known."""
        found = survey.run(self.context, sample=1.0, console=self.console).survey.proposals
        if not self.options.dump:
            return
        self.booleans = [choice.column for choice in found.booleans]
        self.intervals = [choice.column for choice in found.intervals]
        choices = Choices.of(self.booleans, self.intervals)
        with self.console.step("Look for what the type contract does not know") as step:
            moving = survey.movable(self.context, choices=choices, skip_unsupported=self.options.skip_unsupported)
            self.result.left_out = [LeftOut(o.kind, o.name, f"{o.reason}; {o.left_out}") for o in moving.left_out]
            self.tables = [table.name for table in moving.tables]
            self.excluded = moving.excluded
            step.done(f"{len(self.tables)} tables to move, {len(moving.left_out)} things left out")

    def _schema(self, stage: Any) -> None:
        schema.run(
            self.context,
            stage=stage,
            dry_run=False,
            skip_unsupported=self.options.skip_unsupported,
            console=self.console,
        )

    def _copy_while_rows_change(self) -> None:
        """A small load of its own changes rows meanwhile: bringing a stack up costs this machine too much for the whole
        load to be on. Whether every change arrived, the checks of all rows tell."""
        folder = self.folder / "load-while-copying"
        writes, reads = max(5.0, self.options.rate / 10), max(5.0, self.options.reads / 10)
        with self.console.step(f"Copy while {writes:.0f} writes a second change rows") as step:
            self.load = self._new_load(folder, writes=writes, reads=reads)
            began = time.time()
            copied = copy.run(self.context, console=self.console)
            self.load.stop()
            seen = window(folder, began)
            if seen.failed + seen.unknown:
                raise ZdmError(f"{seen.failed + seen.unknown} requests failed while rows were copied: see {folder}")
            step.done(f"{copied.rows:,} rows")
        self.result.rows = {table.table: table.rows for table in copied.tables}
        if not copied.ok:
            raise ZdmError(f"{len(copied.poisons)} rows could not be copied; the first: {copied.poisons[0]}")

    def _await_applied(self) -> None:
        """Returns when what has changed since before the copy is on Aurora."""
        with self.console.step("Apply what has changed since before the copy") as step:
            try:
                with settler(self.context, CATCH_UP_TIMEOUT) as settle:
                    settle()
            except ZdmError:
                stacks.raise_if_broken(self.name)
                raise
            samples = self.watch.samples if self.watch else []
            self.watch = _LagWatch(self.context, samples)
            step.done("nothing waits")

    def _start_load(self) -> None:
        self.result.versions = versions(self.context)
        self.result.bounds = self.context.outputs.kpis
        with self.console.step(
            f"Start the load: {self.options.rate} writes and {self.options.reads} reads a second"
        ) as step:
            self.result.weights.append((time.time(), 0.0))
            self.load = self._new_load(self._load_folder, writes=self.options.rate, reads=self.options.reads)
            step.done(self.context.outputs.router.url)

    def _new_load(self, folder: Path, *, writes: float, reads: float) -> Load:
        """A load that has its first answers, on a plan of what the source holds now."""
        folder.mkdir(parents=True)
        plan = folder / PLAN
        with self.context.mysql() as my:
            if self.options.dump:
                database = self.context.outputs.database
                tables = inspect.without_unsupported(inspect.mysql_tables(my, database, self.tables))
                save_plan(generic.tables_plan(my, tables, self.excluded, self.booleans), plan)
            else:
                save_plan(shop_plan(my), plan)
        url, seed = self.context.outputs.router.url, self.options.seed
        load = Load(Settings(url=url, plan=plan, out=folder, writes=writes, reads=reads, seed=seed, ramp=RAMP))
        load.wait_until_answered()
        return load

    @property
    def _plan(self) -> Path:
        return self._load_folder / PLAN

    @property
    def _load_folder(self) -> Path:
        return self.folder / "load"

    def _let_run(self, title: str) -> None:
        """Lets the load go on for a phase, and says what it does."""
        assert self.load is not None
        with self.console.step(title) as step:
            since, processors = time.time(), Processors()
            while (past := time.time() - since) < self.options.phase_seconds:
                self.load.check()
                step.progress(past, self.options.phase_seconds, "seconds")
                time.sleep(min(0.5, self.options.phase_seconds - past))
            busy = processors.busy()  # before our own work on the figures counts
            seen = window(self._load_folder, since)
            p95 = seen.percentile(95)
            step.done(
                f"{seen.throughput():,.0f} requests/s, p95 {p95:.0f} ms, {seen.failed + seen.unknown} failed, "
                f"processors {busy:.0%} busy"
                if p95 is not None
                else "no answers"
            )
        if busy >= TOO_BUSY:
            self.console.warn(
                f"this machine's processors are {busy:.0%} busy, so latencies are its own and not the shop's: "
                f"give a lower --rate (now {self.options.rate}) or --reads (now {self.options.reads})"
            )

    def _check(self, title: str, busy: float = 1.0) -> check.CheckResult:
        result = proven_check.run(self.context, console=self.console, title=title, connections=1, busy=busy)
        if not result.ok:
            first = f"; the first: {result.differences[0]}" if result.differences else ""
            raise ZdmError(f"the check says {result.verdict}: {result.mismatches} rows differ{first}")
        return result

    def _prove_the_check(self) -> None:
        """Plants differences in tables that stand still, finds them, and repairs them."""
        out = self.context.outputs
        with self.console.step("Plant differences on Aurora") as step:
            names = planted.still(self.context)
            with self.context.mysql() as my, self.context.postgres() as pg:
                choices = out.pipeline.choices
                tables = inspect.without_unsupported(inspect.mysql_tables(my, out.database, names), choices)
                done = planted.plant(pg, [rules_of(table, choices) for table in tables])
            step.done(f"{len(done)} in {len(tables)} tables" if done else "none: no table stands still")
        if not done:
            return
        options = proven_check.Options(tables=names, connections=1, busy=BUSY_UNDER_LOAD)
        seen = proven_check.run(self.context, console=self.console, title="Find them", options=options)
        found = sum(one.is_found(seen.differences) for one in done)
        self.result.planted, self.result.planted_found = len(done), found if seen.mismatches == len(done) else 0
        repairing = replace(options, repair=True)
        mended = proven_check.run(self.context, console=self.console, title="Repair them", options=repairing)
        if not mended.ok:
            raise ZdmError(f"the planted differences were not repaired: {mended.summary}")

    def _pilot(self, weight: float) -> None:
        traffic.set_weight(self.context, weight)
        self.result.weights.append((time.time(), weight))
        opened = gate.run(
            self.context,
            window=max(self.options.phase_seconds, 2 * gate.MIN_OF_A_SIDE / (self.options.reads * weight / 100)),
            console=self.console,
            title=f"Gate with {weight:g} % of the readers on Aurora",
            approved_by="the rehearsal",
        )
        self.result.gates.append(
            GateCheck(f"{weight:g} %", time.time(), opened.ok, weight, opened.reason or opened.summary)
        )
        if not opened.ok:
            raise ZdmError(f"the gate at {weight:g} % is closed: {opened.reason}")

    def _cut_over(self) -> None:
        done = cutover.run(self.context, dry_run=False, console=self.console)
        self.result.cutover = done.to_json()
        self.result.switches.append(done.to_json())
        if not done.ok:
            raise ZdmError("the cutover was not carried through: " + "; ".join(done.problems))
        self.result.weights.append((time.time(), 100.0))

    def _there_and_back(self) -> None:
        """The way back runs, Aurora becomes slow, the probation rolls back by itself; then the same way there again."""
        self._turn_round()
        with self._left_out_of_latency():
            with self.console.step("Provoke a breach: some statements on Aurora take 0.4 s") as step:
                breach.provoke(self.context, self.tables)
                step.done("writes are slow")
            watched = probation.run(self.context, minutes=PROBATION_MINUTES, console=self.console)
            if watched.outcome != "rolled-back":
                raise ZdmError(f"the probation did not roll back: {watched.outcome}, {watched.reason}")
            breach.mend(self.context, self.tables)
        self._moved_back(watched.rollback)
        self._there_again()
        for _ in range(self.options.rounds - 1):
            self._turn_round()
            self._moved_back(cutover.run(self.context, console=self.console, direction=Direction.ROLLBACK))
            self._there_again()
        self._turn_round()
        held = probation.run(self.context, minutes=PROBATION_MINUTES / 2, console=self.console)
        if not held.ok:
            raise ZdmError(f"the probation ended {held.outcome}: {held.reason}")

    def _moved_back(self, done: CutoverResult | None) -> None:
        assert done is not None
        self.result.rollback = done.to_json()
        self.result.switches.append(done.to_json())
        self.result.weights.append((time.time(), 0.0))
        if not done.ok:
            raise ZdmError("the rollback was not carried through: " + done.reason)

    def _there_again(self) -> None:
        self._let_run("Load on: all users on MySQL again")
        self.round += 1
        with self._left_out_of_latency():
            self._up("Turn the stream again: MySQL to Aurora", cdc="running")
        self._await_applied()
        self._check("Check every row after the rollback", busy=BUSY_UNDER_LOAD)
        self._pilot(PILOT_WEIGHTS[-1])
        self._cut_over()

    def _turn_round(self) -> None:
        assert self.watch is not None
        self.watch.stop()  # the way there carries no marker from here on
        with self._left_out_of_latency():
            self._up("Turn the stream round: Aurora to MySQL", cdc="stopped", reverse="running")

    def _close_the_way_back(self) -> None:
        """When all that Aurora has is on MySQL, for the comparison that follows."""
        with self.console.step("Await that MySQL has everything") as step:
            step.done(f"a marker took {way_back.await_running(self.context, CATCH_UP_TIMEOUT):.2f} s")
        self._up("Stop the way back", cdc="stopped")
        with self.console.step("Give the way back up: final") as step:
            step.done(cutover.final(self.context).says)

    @contextlib.contextmanager
    def _left_out_of_latency(self) -> Iterator[None]:
        """What the operator does here takes this machine's processors (an update), or is meant to hurt (a breach)."""
        began = time.time()
        try:
            yield
        finally:
            self.result.not_measured.append((began, time.time() + SETTLING))

    def _stop_load(self) -> None:
        assert self.load is not None and self.watch is not None
        with self.console.step("Stop the load") as step:
            self.load.stop()
            self.watch.stop()
            step.done("every answer is in the ledger")

    def _verify(self) -> None:
        """Every row that was not changed on Aurora since the cutover equals MySQL's, and the ledger holds."""
        assert self.result.cutover is not None
        checked = self._check("Check every row after the cutover")
        self.result.checks = [
            TableCheck(t.table, t.source_rows, None if t.newer else t.target_rows, t.differences, t.note)
            for t in checked.tables
        ]
        with self.console.step("Hold the ledger against both databases") as step:
            with self.context.mysql() as my, self.context.postgres() as pg:
                verdict = ledger.verify(
                    ledger.read_ledger(self._load_folder),
                    load_plan(self._plan),
                    my,
                    pg,
                    self.result.switches,
                    carried_back=self.options.rollback,
                )
            self.result.ledger = verdict
            step.done(f"{verdict.acknowledged:,} writes, {len(verdict.lost)} lost, {len(verdict.doubled)} doubled")

    # --- the end ----------------------------------------------------------------------------------------------------

    def report(self) -> report.Report:
        """Writes the report."""
        result = self.result
        result.ended = time.time()
        result.seconds = read_seconds(self._load_folder)
        result.lag = self.watch.samples if self.watch else []
        result.steps = [
            Timed(s.title, s.started, s.ended or result.ended, s.ok, s.summary, min(s.level, 1))
            for s in self.console.steps
        ]
        return report.write(result, self.folder)

    def clean_up(self) -> None:
        """Stops the load, and destroys the stack unless it is to be kept. Never hides the error that led here."""
        with contextlib.suppress(ZdmError):
            if self.load is not None:
                self.load.stop(timeout=5)
        if self.watch is not None:
            self.watch.stop()
        if self.options.keep:
            self.console.info(
                f"The stack stays up: ./zdm lag {self.name} --local; remove it with: ./zdm destroy {self.name} --local"
            )
            return
        try:
            stacks.destroy(self.name, local=True, console=self.console)
        except ZdmError as e:
            self.console.warn(
                f"the stack could not be destroyed: {e}\nTry again with: ./zdm destroy {self.name} --local"
            )


class _LagWatch:
    """Samples the lag once a second in the background, until stopped or until the source no longer takes markers."""

    def __init__(self, context: Context, samples: list[tuple[float, dict[str, float]]]) -> None:
        self.samples = samples
        self.error: Exception | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(context,), name="lag", daemon=True)
        self._thread.start()

    def _run(self, context: Context) -> None:
        try:
            with lag.Sampler(context) as sampler:
                while not self._stop.wait(1.0):
                    seen = sampler.sample()
                    self.samples.append((seen.at, seen.tables))
        except Exception as e:
            self.error = e

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(10)


@contextlib.contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """SIGTERM cleans up as Ctrl-C does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
