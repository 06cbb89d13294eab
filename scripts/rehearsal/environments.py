"""`./zdm rehearse --environments`: from production's snapshot to staging, and from dev to production.

Three stacks on one machine, a shop, customers, and the commands that are used on AWS; what is its own is the order, the
changes, what is planted, and the verdict. Invariants:
- The story plays in a copy of this project (`environments_clone`), where a change is a commit: the command makes the
  copy, and goes on as the copy's own program.
- Whatever happens (a failure, Ctrl-C), the load is stopped and the stacks destroyed, unless `keep`; the report stays.
- The verdict is computed from what was measured; what could not be measured fails its bound.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from typing import Final, NoReturn

from local.stack import existing_stack
from scripts import stacks
from scripts.console import Console
from scripts.context import PROJECT, git_revision
from scripts.errors import UsageError, ZdmError
from scripts.rehearsal import environments_dev as dev
from scripts.rehearsal import environments_duties as duties
from scripts.rehearsal import environments_prod as prod
from scripts.rehearsal import environments_promotion as promotion
from scripts.rehearsal import environments_recovery as recovery
from scripts.rehearsal import environments_report as report
from scripts.rehearsal import environments_staging as staging
from scripts.rehearsal.environments_clone import STACKS, Clone
from scripts.rehearsal.environments_result import ENVIRONMENTS, EnvironmentsResult
from scripts.rehearsal.environments_stage import Options, Stage, settings
from scripts.rehearsal.machine import machine
from scripts.rehearsal.rehearse import terminated_as_interrupt

HOME: Final = "ZDM_HOME"


def run(options: Options, *, console: Console) -> report.EnvironmentsReport:
    """Runs the rehearsal and writes its report, also when it ended early."""
    if options.inside is None:
        _go_on_in_a_copy(options, console)
    clone = Clone(options.inside)
    if clone.project != PROJECT or os.environ.get(HOME) != str(clone.home):
        raise UsageError("--inside is for the rehearsal's own copy of the project: leave it out")
    result = EnvironmentsResult(
        options.name,
        started=time.time(),
        settings={
            "rows": options.rows,
            "writes a second": options.rate,
            "reads a second": options.reads,
            "seed": options.seed,
            "git revision": git_revision(),
        },
        machine=machine(),
    )
    stage = Stage(options, console, clone, result)
    with terminated_as_interrupt():
        try:
            _tell(stage)
        except ZdmError as e:
            result.error = str(e)
        except KeyboardInterrupt:
            result.error = "interrupted"
            raise
        finally:
            _clean_up(stage)
            result.ended = time.time()
            written = report.write(result, clone.folder / "report")
    return written


def _tell(stage: Stage) -> None:
    """The whole story. Every chapter that cannot be told to its end raises."""
    prod.open_shop(stage)
    prod.snapshot(stage)
    staging.refresh(stage)
    promotion.refuse_what_is_not_proven(stage)
    dev.try_the_change(stage)
    staging.prove(stage)
    promotion.block_by_a_finding(stage)
    promotion.promote(stage)
    promotion.take_back_a_bad_change(stage)
    recovery.recover_deleted_rows(stage)
    prod.close_the_ledger(stage)
    duties.data_subject(stage)
    duties.keep_an_archive(stage)
    duties.find_drift(stage)
    duties.tell_the_cost(stage)


# --- the copy ---------------------------------------------------------------------------------------------------------


def _go_on_in_a_copy(options: Options, console: Console) -> NoReturn:
    """Makes the copy of the project, and becomes its `./zdm rehearse --environments`."""
    clone = Clone(stacks.home() / options.name)
    if not (PROJECT / ".zdm").exists():
        (PROJECT / ".zdm").mkdir()
    stacks.ensure_parts(console)
    stacks.ensure_plugin(console)
    with console.step("Copy the project: the team's repository of this rehearsal") as step:
        _throw_away(clone)
        clone.make(settings())
        step.done(str(clone.project))
    words = [str(clone.project / "zdm"), "rehearse", "--environments", "--inside", str(clone.folder)]
    words += ["--name", options.name, "--rows", str(options.rows), "--seed", str(options.seed)]
    words += ["--rate", str(options.rate), "--reads", str(options.reads)]
    words += ["--keep"] * options.keep + ["--json"] * console.json_mode
    sys.stdout.flush()
    sys.stderr.flush()
    os.chdir(clone.project)
    os.execve(words[0], words, {**os.environ, HOME: str(clone.home)})


def _throw_away(clone: Clone) -> None:
    """What an earlier rehearsal of this name has left."""
    for name in STACKS:
        there = existing_stack(name, clone.home)
        for process in there.processes() if there else ():
            process.stop(2)
    for folder in (clone.home, clone.folder / "report"):
        shutil.rmtree(folder, ignore_errors=True)
    clone.home.mkdir(parents=True)


# --- the end ----------------------------------------------------------------------------------------------------------


def _clean_up(stage: Stage) -> None:
    """Stops the load, and destroys the stacks unless they are to be kept. Never hides the error that led here."""
    with contextlib.suppress(ZdmError):
        if stage.load is not None:
            stage.load.stop(timeout=5)
    if stage.options.keep:
        home = f"{HOME}={stage.clone.home}"
        stage.console.info(
            f"The stacks stay up: cd {stage.clone.project} && {home} ./zdm snapshot list prod --local; the next "
            "rehearsal of this name removes them"
        )
        return
    left = 0
    for name in ENVIRONMENTS:
        there = existing_stack(name, stage.clone.home)
        if there is None:
            continue
        try:
            stage.destroy(name)
        except ZdmError as e:
            stage.console.warn(f"{name} could not be destroyed: {e}")
        for process in there.processes():
            if process.running():
                left += 1
                process.stop()
    stage.result.none_of("left", left, "of three stacks")
    if left == 0:
        stage.clone.remove_work_trees()
        shutil.rmtree(stage.clone.home, ignore_errors=True)
