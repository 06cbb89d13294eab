"""Two small stacks of this machine, production and staging, with data: one pair for all tests of a module."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pytest
import yaml

from local import engine
from local.stack import existing_stack
from scripts import cli, stacks
from scripts.cli_frame import context_of_another
from scripts.console import Console
from scripts.context import Context
from scripts.data import copy, schema
from scripts.rehearsal import fill
from scripts.switch import bootstrap

ROWS = 2_000


class Twins:
    """Both stacks, as commands reach them."""

    @property
    def prod(self) -> Context:
        return context_of_another("prod", True)

    @property
    def staging(self) -> Context:
        return context_of_another("staging", True)


def zdm(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of a command line."""
    capsys.readouterr()
    answer = cli.app([*words, "--local", "--json"], standalone_mode=False)
    out = capsys.readouterr().out
    assert isinstance(answer, cli.Answer)
    return 0 if answer.ok else answer.code, json.loads(out)


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twins]:
    folder = tmp_path_factory.mktemp("environments")
    project = folder / "project"
    (project / "infra").mkdir(parents=True)
    (project / "infra/__main__.py").write_text("from tests.environments.small_stack import main\n\nmain()\n")
    (project / ".venv").symlink_to(sys.prefix)
    runtime = {"name": "python", "options": {"virtualenv": ".venv"}}
    (project / "Pulumi.yaml").write_text(yaml.safe_dump({"name": "zdm", "main": "infra/", "runtime": runtime}))
    for name in ("prod", "staging"):
        (project / f"Pulumi.{name}.yaml").write_text("config:\n  aws:region: us-east-1\n")
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ZDM_HOME", str(folder / "home"))
        patch.setenv("ZDM_PYTHON", sys.executable)
        patch.setattr(stacks.engine, "workspace", partial(engine.workspace, project=project))
        try:
            for name in ("prod", "staging"):
                stacks.engine.workspace(name, True).up(with_policies=False)
            made = Twins()
            fill_both(made)
            yield made
        finally:
            for name in ("prod", "staging"):
                there = existing_stack(name)
                for process in there.processes() if there else ():
                    process.stop(2)
            os.environ.clear()
            os.environ.update(before)


def fill_both(made: Twins) -> None:
    """Production has a shop in both databases, and accounts that staging does not have; staging has next to nothing."""
    quiet = Console(quiet=True)
    fill.fill(lambda **options: made.prod.mysql(**options), ROWS)
    for one in (made.prod, made.staging):
        with closing(one.mysql()) as my:
            fill.create(my)
        bootstrap.run(one, dry_run=False, console=quiet)
        schema.run(one, console=quiet)
    copy.run(made.prod, without_capture=True, console=quiet)
    with closing(made.prod.mysql()) as my, my.cursor() as cursor, made.prod.postgres() as pg:
        cursor.execute("CREATE USER 'reporting'@'%' IDENTIFIED BY 'known-in-production-1' REQUIRE SSL")
        cursor.execute("GRANT SELECT ON ecommerce.* TO 'reporting'@'%'")
        pg.execute("CREATE ROLE reporting LOGIN PASSWORD 'known-in-production-1'")
        pg.execute("CREATE PUBLICATION everything FOR TABLE customers")
        pg.execute("SELECT pg_create_logical_replication_slot('capture', 'pgoutput')")
