"""What the chapters of a rehearsal of environments play on: stacks, the load, the result, the repository.

Invariants:
- A process speaks HTTP to one local stack at a time: `at` turns it to the one that is asked for.
- A chapter that raises is not good, and ends the story.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from scripts import stacks
from scripts.console import Console
from scripts.context import Context, context_from, forget_accounts
from scripts.rehearsal import shop
from scripts.rehearsal.environments_clone import Clone
from scripts.rehearsal.environments_result import Chapter, Environment, EnvironmentsResult
from scripts.rehearsal.load import Load, Settings
from scripts.rehearsal.result import Timed
from scripts.rehearsal.workload import save_plan, shop_plan

PLAN: Final = "plan.json"
RAMP: Final = 5.0
SECOND_WRITE: Final = 1.0
"""Seconds in which what was committed in MySQL is in Aurora too, or will not be (docs/service.md)."""
PILOT_WEIGHT: Final = 50.0
"""Percent of production's readers who are on Aurora."""

SMALL: Final[dict[str, Any]] = {
    "network.zones": 2,
    "network.endpoints": False,
    "network.flowLogs": "none",
    "aurora.maxReaders": 0,
    "aurora.reportReaders": 0,
    "aurora.proxy": False,
    "aurora.monitoringSeconds": 0,
    "backups.vault": False,
    "backups.restoreTests": False,
    "archive.enabled": True,
    "kafka.enabled": False,
    "kafka.growToGib": 0,
    "kafka.exporters": False,
    "kafka.logArchive": False,
    "service.repository": False,
    "service.count": 1,
    "service.maxCount": 0,
    "service.standby": False,
    "service.dual": True,
    "observability.prometheus": False,
    "security.firewall": "off",
    "security.accessLogs": False,
    "cost.budgets": False,
    "cdc.tables": list(shop.TABLES),
    "cdc.booleans": list(shop.BOOLEANS),
    "kpis.throughputPerSecond": 20,
    "kpis.probationWindowSeconds": 5,
    "kpis.probationBreaches": 3,
}
"""What each stack leaves out so that three fit on a machine: nothing that the story is about. Second writes keep Aurora
up to date, since there is no Kafka."""


def settings(now: datetime | None = None) -> dict[str, dict[str, Any]]:
    """The three stacks' settings. Production has staging's: one that may be lost needs no protection, and `prod` would
    migrate from a server that is there already, of which a machine has none."""
    later = (now or datetime.now(UTC)) + timedelta(days=3)
    window = f"{later:%a} 02:00-04:00 UTC"
    return {
        "dev": {"environment": "dev", **SMALL, "aurora.readers": 0, "router.domain": "dev.example"},
        "staging": {
            "environment": "staging",
            **SMALL,
            "aurora.readers": 1,
            "aurora.maxAcu": 4,
            "router.domain": "staging.example",
        },
        "prod": {
            "environment": "staging",
            **SMALL,
            "aurora.readers": 1,
            "aurora.maxAcu": 16,
            "router.domain": "shop.example",
            "promotion.window": window,
        },
    }


@dataclass(frozen=True)
class Options:
    """`rate` and `reads` are production's writes and reads a second."""

    rows: int = 200_000
    rate: int = 10
    reads: int = 30
    seed: int = 1
    name: str = "environments"
    keep: bool = False
    inside: Path | None = None
    """The folder of the rehearsal, where this project is its copy."""


class Stage:
    """One rehearsal under way."""

    def __init__(self, options: Options, console: Console, clone: Clone, result: EnvironmentsResult) -> None:
        self.options, self.console, self.clone, self.result = options, console, clone, result
        self.load: Load | None = None
        self._contexts: dict[str, Context] = {}
        self.refused: set[str] = set()
        """What promotions were refused for so far."""

    # --- stacks -------------------------------------------------------------------------------------------------------

    def up(self, stack: Environment) -> Context:
        """Brings a stack up from the repository as it is now."""
        stacks.up(stack, local=True, console=self.console)
        return self.at(stack, anew=True)

    def at(self, stack: Environment, *, anew: bool = False) -> Context:
        """Turns to a stack. `anew`: its outputs, or its secrets, may be others by now."""
        cloud = stacks.local_environment(stack)
        os.environ.update(cloud)
        if anew or stack not in self._contexts:
            forget_accounts()
            out = stacks.outputs(stack, local=True)
            self._contexts[stack] = context_from(out, f"stack {stack}", self.clone.home / stack / "commands", cloud)
        return self._contexts[stack]

    def destroy(self, stack: Environment) -> None:
        stacks.destroy(stack, local=True, console=self.console)
        self._contexts.pop(stack, None)

    # --- the story ----------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def chapter(self, environment: Environment, title: str) -> Iterator[Chapter]:
        """A part of the story; it is good unless it says otherwise, or raises."""
        chapter = Chapter(environment, title, time.time())
        self.result.chapters.append(chapter)
        first = len(self.console.steps) + 1
        with self.console.step(f"{environment}: {title}") as step:
            try:
                chapter.ok = True
                yield chapter
                self.check_load()
            except BaseException:
                chapter.ok = False
                raise
            finally:
                chapter.ended = time.time()
                inner = self.console.steps[first:]
                chapter.steps = [
                    Timed(s.title, s.started, s.ended or chapter.ended, s.ok, s.summary, max(s.level - 1, 0))
                    for s in inner
                ]
            step.done(chapter.summary)

    def report(self, name: str) -> Path:
        """A file of the report."""
        folder = self.clone.folder / "report"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    # --- the load -----------------------------------------------------------------------------------------------------

    @property
    def load_folder(self) -> Path:
        return self.clone.folder / "report" / "load"

    def start_load(self, context: Context, folder: Path, *, writes: float, reads: float) -> Load:
        """A load of a stack that has its first answers."""
        folder.mkdir(parents=True)
        plan = folder / PLAN
        with contextlib.closing(context.mysql()) as my:
            save_plan(shop_plan(my), plan)
        url, seed = context.outputs.router.url, self.options.seed
        load = Load(Settings(url=url, plan=plan, out=folder, writes=writes, reads=reads, seed=seed, ramp=RAMP))
        load.wait_until_answered()
        return load

    def check_load(self) -> None:
        if self.load is not None:
            self.load.check()
