"""Dev's chapter: a change is brought up there, the API is tested, and dev is gone again."""

from __future__ import annotations

import contextlib
import time

from scripts.data import schema
from scripts.errors import ZdmError
from scripts.rehearsal import api_tests, fill
from scripts.rehearsal.environments_stage import Stage
from scripts.switch import bootstrap

ROWS = 2_000
CHANGE = "More memory for each sort on Aurora"
WORK_MEM_KB = 24_576


def try_the_change(stage: Stage) -> None:
    """Commits a change of a setting for every stack, and tests it where it costs least."""
    with stage.chapter("dev", "A change is tried") as chapter:
        parameters = {"aurora.parameters": {"work_mem": str(WORK_MEM_KB)}}
        revision = stage.clone.commit(CHANGE, dict.fromkeys(("dev", "staging", "prod"), parameters))
        dev = stage.up("dev")
        with stage.console.step(f"Fill MySQL with {ROWS:,} rows") as step, contextlib.ExitStack():
            fill.fill(dev.mysql, ROWS, stage.options.seed, progress=step.progress)
        bootstrap.run(dev, dry_run=False, console=stage.console)
        schema.run(dev, stage="tables", dry_run=False, skip_unsupported=False, console=stage.console)
        with stage.console.step("Test the API") as step:
            began = time.time()
            results = api_tests.run(dev)
            api_tests.junit("functional", results, stage.report("dev-functional.xml"), began)
            passed = sum(not one.wrong for one in results)
            step.done(f"{passed} of {len(results)} passed")
        with dev.postgres() as pg:
            row = pg.execute("SELECT setting::int FROM pg_settings WHERE name = 'work_mem'").fetchone()
        chapter.text = (
            f"Revision {revision} ({CHANGE.lower()}) was brought up in dev, with {ROWS:,} rows of its own. Aurora's "
            f"work_mem is {row[0] if row else '?'} kB there. Then dev was destroyed."
        )
        chapter.table(
            ("Promise of the API", "Took, ms", "Verdict"),
            [(one.name, round(one.seconds * 1000), f"✗ {one.wrong}" if one.wrong else "✓ kept") for one in results],
        )
        stage.result.count("functional", passed, len(results), "orders, payments, stock, refusals")
        stage.destroy("dev")
        chapter.summary = f"{passed} of {len(results)} tests of the API passed"
        if row is None or row[0] != WORK_MEM_KB:
            raise ZdmError(f"the change is not there: work_mem is {row} in dev")
        if passed != len(results):
            raise ZdmError(f"tests of the API failed in dev: {[one.name for one in results if one.wrong]}")
