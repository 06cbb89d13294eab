"""GitHub's workflows: linted, pinned, least privilege; and every command in them is one that a test runs."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from components.ci_access import CiAccessArgs
from components.ci_documents import trust
from local import parts
from local.parts.pulumi import VERSION
from scripts import cli

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
STACKS = sorted(path.name.split(".")[1] for path in ROOT.glob("Pulumi.?*.yaml"))

COMMANDS = {
    # what a workflow runs, as command and options -> the test that runs it
    ".ci/run": "tests/workflows/test_workflows.py::test_what_ci_runs_is_what_this_test_is_part_of",
    "preview --markdown --plan": "tests/workflows/test_commands.py::test_a_preview_for_a_pull_request",
    "preview --local --markdown": "tests/workflows/test_commands.py::test_a_preview_for_a_pull_request",
    "cost --json": "tests/workflows/test_commands.py::test_costs_of_a_stack_are_held_against_its_bounds",
    "drift --markdown": "tests/workflows/test_commands.py::test_drift_is_told",
    "up --snapshot": "tests/infra/test_environments_up.py::test_prod_is_protected_until_it_is_to_go",
    "promote --dry-run --approve --accept --window-override": "tests/environments/promotion/test_commands.py::"
    "test_the_commands_of_the_workflow",
    "promote --approve --accept --window-override --json": "tests/environments/promotion/test_commands.py::"
    "test_the_commands_of_the_workflow",
    "outputs": "tests/workflows/test_commands.py::test_drift_is_told",
    "data-check --outputs --nightly --busy --json": "tests/switch/test_commands.py::test_the_nightly_check",
    "findings list --stack": "tests/environments/promotion/test_findings.py::test_noted_listed_shown_and_closed",
    "snapshot verify --outputs --record --json": "tests/environments/test_snapshot_refresh.py::"
    "test_sets_are_taken_completed_drilled_and_pruned",
    "refresh --from --record --json": "tests/environments/test_snapshot_refresh.py::"
    "test_refresh_finishes_wherever_it_is_killed",
}
LASTING = ("up/up", "nightly/data-check", "promote/plan", "promote/promote", "restore-drill/drill", "refresh/refresh")
"""Jobs that change something, or take long."""
SHELL = ("apt-get", "cat")
"""Programs of the runner that need no test of ours."""


def workflow(path: Path) -> dict[Any, Any]:
    loaded: dict[Any, Any] = yaml.safe_load(path.read_text())
    return loaded


def jobs() -> Iterator[tuple[str, dict[str, Any], dict[Any, Any]]]:
    for path in FILES:
        for name, job in workflow(path)["jobs"].items():
            yield f"{path.stem}/{name}", job, workflow(path)


JOBS = {name: (job, whole) for name, job, whole in jobs()}
RUNNING = {name: (job, whole) for name, (job, whole) in JOBS.items() if "runs-on" in job}


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)
    else:
        yield str(value)


def run_lines() -> Iterator[tuple[str, list[str]]]:
    """Every command line of every workflow, by its job."""
    for name, (job, _) in RUNNING.items():
        for step in job["steps"]:
            for line in step.get("run", "").replace("\\\n", " ").splitlines():
                if line.strip():
                    yield name, shlex.split(line.replace("${{ matrix.stack }}", "dev").replace("$STACK", "dev"))


@pytest.mark.real
def test_the_linter_is_content() -> None:
    binary = parts.require("actionlint").command["actionlint"]
    done = subprocess.run([*binary, "-no-color"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.real
def test_the_linter_finds_a_mistake(tmp_path: Path) -> None:
    binary = parts.require("actionlint").command["actionlint"]
    broken = tmp_path / "broken.yml"
    broken.write_text((ROOT / ".github/workflows/drift.yml").read_text().replace("matrix.stack", "matrix.stak"))
    done = subprocess.run([*binary, "-no-color", str(broken)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "stak" in done.stdout


def test_there_are_workflows_for_each_part_of_the_way() -> None:
    assert [path.stem for path in FILES] == [
        *("cost", "deploy", "drift", "nightly", "preview", "promote", "refresh", "restore-drill", "tests", "up")
    ]


def test_actions_are_pinned_by_commit_with_their_version_and_alike() -> None:
    pins: dict[str, str] = {}
    for path in FILES:
        for line in re.findall(r"uses: (.+)", path.read_text()):
            if line.startswith("./"):
                assert (ROOT / line).is_file()
                continue
            found = re.fullmatch(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)", line)
            assert found, f"{path.name}: {line}"
            assert pins.setdefault(found[1], found[2]) == found[2], f"{found[1]} has two pins"
    versions = {v for path in FILES for v in re.findall(r"pulumi-version: (\S+)", path.read_text())}
    assert versions == {VERSION}, "the engine of CI is the one that is tested"


@pytest.mark.parametrize("name", JOBS)
def test_permissions_are_empty_by_default_and_said_by_each_job(name: str) -> None:
    job, whole = JOBS[name]
    assert whole["permissions"] == {}
    assert set(job["permissions"]) <= {"contents", "id-token", "pull-requests"}
    assert job["permissions"].get("contents", "read") == "read"


@pytest.mark.parametrize("name", RUNNING)
def test_jobs_end_and_do_not_run_side_by_side(name: str) -> None:
    job, whole = RUNNING[name]
    assert 1 <= job["timeout-minutes"] <= 360
    concurrency = job.get("concurrency") or whole["concurrency"]
    if name in LASTING:
        assert concurrency["cancel-in-progress"] is False, "half of it done is worse than a wait"


@pytest.mark.parametrize("name", RUNNING)
def test_credentials_come_from_an_environment_and_only_where_the_code_was_reviewed_or_can_only_look(name: str) -> None:
    job, _ = RUNNING[name]
    text = "\n".join(texts(job))
    token = job["permissions"].get("id-token") == "write"
    assert token == ("environment" in job) == ("aws-actions/configure-aws-credentials@" in text)
    if not token:
        assert "secrets." not in text and "vars." not in text
        assert name in ("preview/comment", "preview/fork", "tests/tests")
    elif name == "up/up":
        assert job["environment"] == "${{ inputs.stack }}"
    elif name == "refresh/refresh":
        assert job["environment"] == "staging", "it changes staging, and only looks at prod"
    elif name == "restore-drill/drill":
        assert job["environment"] == "drill-prod", "it may make what it deletes again, and nothing else"
    elif name == "promote/promote":
        assert (job["environment"], job["needs"]) == ("prod", "plan"), "its reviewers have seen the plan"
    else:
        assert str(job["environment"]).startswith("preview-")
        assert " up " not in text


def test_roles_trust_the_environments_of_the_workflows() -> None:
    """`preview-STACK` looks, `drill-STACK` restores beside, `STACK` changes: CiAccess binds its roles to these."""
    scope = CiAccessArgs("zdm-dev", "dev", "dev", "123456789012", "aws", "eu-west-1", "shop/zdm").scope
    for environment in ("preview-dev", "drill-dev", "dev"):
        assert f'"repo:shop/zdm:environment:{environment}"' in trust(scope, "shop/zdm", environment)
    for name in ("preview/cloud", "drift/drift"):
        job = RUNNING[name][0]
        assert job["environment"] == "preview-${{ matrix.stack }}"
        assert sorted(job["strategy"]["matrix"]["stack"]) == STACKS


def test_forks_are_previewed_without_any_credentials() -> None:
    fork, whole = RUNNING["preview/fork"]
    assert "pull_request_target" not in whole[True], "YAML reads `on` as true"
    assert fork["if"] == "github.event.pull_request.head.repo.full_name != github.repository"
    assert fork["permissions"] == {"contents": "read"}
    assert any(step.get("run", "").startswith("./zdm preview") and "--local" in step["run"] for step in fork["steps"])
    cloud = RUNNING["preview/cloud"][0]
    assert cloud["if"] == "github.event.pull_request.head.repo.full_name == github.repository"


def test_code_of_a_pull_request_never_runs_with_a_token_that_writes() -> None:
    for name, (job, _) in RUNNING.items():
        if "write" in [job["permissions"].get(what) for what in ("pull-requests", "contents")]:
            assert not any("checkout" in step.get("uses", "") or "run" in step for step in job["steps"]), name


def test_prod_is_asked_for_seen_and_approved() -> None:
    deploy = workflow(ROOT / ".github/workflows/deploy.yml")
    assert deploy[True]["push"]["branches"] == ["main"]
    ways = dict(deploy["jobs"])
    assert (ways["dev"]["needs"], ways["staging"]["needs"], ways["prod"]["needs"]) == ("tests", "dev", "prod-preview")
    asked = "github.event_name == 'workflow_dispatch' && github.ref == 'refs/heads/main'"
    assert ways["prod-preview"]["if"] == asked
    assert {name: job["with"]["stack"] for name, job in ways.items() if "with" in job} == {s: s for s in STACKS}


def test_a_promotion_is_planned_before_it_is_asked_for_and_never_beside_an_update_of_prod() -> None:
    plan, promote = RUNNING["promote/plan"][0], RUNNING["promote/promote"][0]
    assert plan["if"] == "github.ref == 'refs/heads/main'"
    assert any("--dry-run" in step.get("run", "") for step in plan["steps"])
    assert promote["concurrency"]["group"] == "stack-prod"
    up = RUNNING["up/up"][0]["concurrency"]["group"]
    assert up.replace("${{ inputs.stack }}", "prod") == "stack-prod"
    for name in ("promote/plan", "promote/promote", "up/up", "nightly/data-check"):
        (checkout,) = [step for step in RUNNING[name][0]["steps"] if "checkout" in step.get("uses", "")]
        assert checkout["with"]["fetch-depth"] == 0, "the revision is that of the newest commit beside the findings"


def test_staging_is_refreshed_after_each_drill_that_went_well_and_never_beside_an_update() -> None:
    drill, refresh = (workflow(ROOT / f".github/workflows/{name}.yml") for name in ("restore-drill", "refresh"))
    assert drill[True]["schedule"] == [{"cron": "0 19 * * 6"}], "every week"
    assert refresh[True]["workflow_run"] == {"workflows": [drill["name"]], "types": ["completed"]}
    job = RUNNING["refresh/refresh"][0]
    assert "github.event.workflow_run.conclusion == 'success'" in job["if"]
    assert job["concurrency"]["group"] == "stack-staging"


def test_texts_of_others_are_never_part_of_a_script() -> None:
    for name, (job, _) in RUNNING.items():
        for step in job["steps"]:
            scripts = [step.get("run", ""), str(step.get("with", {}).get("script", ""))]
            for expression in re.findall(r"\$\{\{(.*?)\}\}", "\n".join(scripts)):
                assert expression.strip() == "matrix.stack", f"{name}: {expression}"


def signature(words: list[str]) -> str:
    """`preview --markdown --plan`: what a line runs, with the options as they stand and without their values."""
    if words[0] != "./zdm":
        return words[0]
    words = words[: words.index(">")] if ">" in words else words
    group = typer.main.get_command(cli.app).commands[words[1]]  # type: ignore[attr-defined]
    inner = [words[2]] if words[2:] and words[2] in getattr(group, "commands", {}) else []
    return " ".join([words[1], *inner, *(word for word in words[2:] if word.startswith("--"))])


@pytest.mark.parametrize("words", [line for _, line in run_lines()], ids=" ".join)
def test_each_command_is_one_that_the_command_line_knows(words: list[str]) -> None:
    if words[0] != "./zdm":
        assert words[0] in (*SHELL, ".ci/run")
        return
    words = words[: words.index(">")] if ">" in words else words
    group = typer.main.get_command(cli.app)
    name, command, rest = group.resolve_command(group.make_context("zdm", words[1:]), words[1:])  # type: ignore[attr-defined]
    assert name == words[1]
    if commands := getattr(command, "commands", {}):  # a group, whose first command may be left out
        first, rest = (rest[0], rest[1:]) if rest[0] in commands else (next(iter(commands)), rest)
        command = commands[first]
    context = command.make_context(name, list(rest))
    given = context.params
    named = {given["stack"]} if "stack" in given else {given["source"], given["target"]}
    assert named <= set(STACKS)


def test_each_command_is_run_by_a_test() -> None:
    run = {signature(words) for _, words in run_lines()} - set(SHELL)
    assert run == set(COMMANDS)
    for place in COMMANDS.values():
        file, _, name = place.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(), place


def test_what_ci_runs_is_what_this_test_is_part_of() -> None:
    """`.ci/run` runs `./zdm test`, which runs every test that it can find, this one too."""
    text = (ROOT / ".ci/run").read_text()
    assert "./zdm test " in text
    done = subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
