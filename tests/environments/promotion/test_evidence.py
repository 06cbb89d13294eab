"""Evidence: kept and signed in a real bucket; results of others read strictly."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scripts import cli
from scripts.data.proven_check import Options
from scripts.environments import evidence, evidence_files, evidence_page
from scripts.errors import UsageError, ZdmError
from tests.environments.promotion.conftest import Lab, Said

JUNIT = """<testsuites><testsuite name="faults" tests="{tests}" failures="{failures}" errors="0"{more}>
<testcase classname="faults" name="broker"/><testcase classname="faults" name="network">{one}</testcase>
</testsuite></testsuites>"""
SCANNER: dict[str, Any] = {"tool": {"driver": {"name": "trivy", "rules": [
    {"id": "CVE-1", "properties": {"security-severity": "9.8"}},
    {"id": "CVE-2", "defaultConfiguration": {"level": "note"}},
]}}}  # fmt: skip


def test_kept_signed_newest_first_and_not_believed_when_changed(lab: Lab) -> None:
    staging = lab.context("staging")
    old = evidence.keep(staging, "drift", Said(False), at=datetime.now(UTC) - timedelta(days=3))
    new = evidence.keep(staging, "drift", Said(), figures={"seconds": 2.5})
    assert [one.id for one in evidence.latest(staging, "drift", 5)] == [new.id, old.id]
    found = evidence.newest(staging, "drift")
    assert found == new and found.authentic and found.ok
    assert found.figures == {"ok": True, "rows": 7, "seconds": 2.5}, "figures, and no rows"
    assert found.revision == lab.up["staging"] and found.commands == lab.up["staging"]
    assert evidence.newest(lab.context("prod"), "drift") is None

    forged = {**old.body, "ok": True}
    key = evidence.key_of("drift", old.id)
    lab.account.client("s3").put_object(Bucket="zdm-staging-archive", Key=key, Body=json.dumps(forged))
    assert not evidence.find(staging, "drift", old.id).authentic
    assert not evidence_page.show(staging, old.id).ok
    lab.account.client("s3").put_object(Bucket="zdm-staging-archive", Key=key, Body=b"[]")
    with pytest.raises(ZdmError, match="no JSON object"):
        evidence_page.show_all(staging)
    with pytest.raises(UsageError, match="no evidence nobody"):
        evidence_page.show(staging, "nobody")
    with pytest.raises(UsageError, match="no kind of evidence"):
        evidence.keep(staging, "rumour", Said())


def test_where_it_cannot_be_kept_that_is_said_before_the_work(lab: Lab) -> None:
    lab.changes["staging"] = {"archive": None}
    with pytest.raises(UsageError, match=r"staging has no archive.*archive\.enabled"):
        evidence.keeper(lab.context("staging"), "data-check", wanted=True)
    kept = evidence.keeper(lab.context("staging"), "data-check", wanted=False)(Said())
    assert kept == Said()
    lab.changes["staging"] = {"gateSecret": ""}
    with pytest.raises(UsageError, match="gateSecret"):
        evidence.keeper(lab.context("staging"), "data-check", wanted=True)
    lab.changes["staging"] = {"archive": {"bucket": "nowhere", "keyArn": "k", "exportRoleArn": "r"}}
    with pytest.raises(ZdmError, match=r"in the bucket nowhere.*s3:PutObject"):
        evidence.keep(lab.context("staging"), "data-check", Said())


def test_commands_that_record(lab: Lab, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    staging = lab.context("staging")
    outputs = tmp_path / "outputs.json"
    outputs.write_text(staging.outputs.model_dump_json(by_alias=True))
    with pytest.raises(UsageError, match="--record keeps a check of everything"):
        cli.app(["data-check", "x", "--outputs", str(outputs), "--record", "--sample", "5"], standalone_mode=False)
    assert [Options().whole, Options(nightly=True).whole, Options(tables=["orders"]).whole] == [True, True, False]

    evidence.keeper(staging, "load-test", wanted=True)(Said())
    page = evidence_page.show_all(staging, kind="load-test", number=1)
    assert [one["ok"] for one in page.to_json()["evidence"]] == [True]


def file(folder: Path, text: str) -> Path:
    path = folder / "result"
    path.write_text(text)
    return path


def junit(tests: int = 2, failures: int = 0, one: str = "", more: str = "") -> str:
    return JUNIT.format(tests=tests, failures=failures, one=one, more=more)


def sarif(*results: dict[str, Any], **run: Any) -> str:
    return json.dumps({"version": "2.1.0", "runs": [{**SCANNER, "results": list(results), **run}]})


def test_added_as_of_when_it_was_made(lab: Lab, tmp_path: Path) -> None:
    at = (datetime.now(UTC) - timedelta(days=2)).replace(microsecond=0)
    path = file(tmp_path, junit(more=f' timestamp="{at.isoformat()}"'))
    added = evidence_page.add(lab.context("staging"), "faults", path)
    assert added.ok and added.evidence.at == at and added.evidence.figures["tested"] == 2
    newest = evidence.newest(lab.context("staging"), "faults")
    assert newest is not None and newest.at > at, "to give an old result again does not make it new"
    failed = evidence_page.add(
        lab.context("staging"), "faults", file(tmp_path, junit(failures=1, one="<failure/>")), "0123456789ab"
    )
    assert not failed.ok and failed.evidence.figures["failures"] == "faults.network"
    assert failed.evidence.revision == "0123456789ab"


@pytest.mark.parametrize(
    ("kind", "text", "tested", "failed"),
    [
        ("functional", junit(), 2, 0),
        ("faults", junit(one="<skipped/>"), 1, 0),
        ("faults", junit(failures=1, one="<error/>"), 2, 1),
        ("security", sarif(), 1, 0),
        ("security", sarif({"ruleId": "x"}), 1, 0),
        ("security", sarif({"ruleId": "x", "level": "error"}), 1, 1),
        ("security", sarif({"ruleId": "CVE-1", "level": "warning"}), 1, 1),
        ("security", sarif({"ruleIndex": 1}), 1, 0),
        ("security", sarif({"level": "error", "suppressions": [{"kind": "external"}]}), 1, 0),
        ("security", sarif({"level": "error", "suppressions": [{"kind": "external", "status": "rejected"}]}), 1, 1),
        ("security", sarif({"kind": "pass", "level": "none"}), 1, 0),
        ("security", '{"tool": "t", "checks": [{"name": "tls", "ok": true}, {"name": "waf", "ok": false}]}', 2, 1),
    ],
)
def test_results_of_others(tmp_path: Path, kind: str, text: str, tested: int, failed: int) -> None:
    found = evidence_files.read(kind, file(tmp_path, text))
    assert (found.tested, len(found.failed), found.ok) == (tested, failed, failed == 0)


@pytest.mark.parametrize(
    ("kind", "text", "wrong"),
    [
        ("faults", "", "is empty"),
        ("faults", "<testsuites/>", "nothing was tested"),
        ("faults", '<testsuite tests="1"><testcase name="a"><skipped/></testcase></testsuite>', "nothing was tested"),
        ("faults", junit(tests=3), "it is not whole"),
        ("faults", junit(failures=1), "it is not whole"),
        ("faults", junit()[:-30], "no XML"),
        ("faults", "<!DOCTYPE x [<!ENTITY a 'b'>]><testsuite/>", "document type"),
        ("faults", "<html/>", "no JUnit XML"),
        ("faults", junit(more=' timestamp="2999-01-01T00:00:00Z"'), "not yet"),
        ("security", "{}", "no SARIF 2.1.0 or JSON"),
        ("security", '{"version": "2.1.0", "runs": []}', "nothing was tested"),
        ("security", '{"version": "2.0.0", "runs": []}', "no SARIF 2.1.0"),
        ("security", sarif(results=None), "no results"),
        ("security", sarif(invocations=[{"executionSuccessful": False}]), "did not run to its end"),
        ("security", '{"tool": "t", "checks": []}', "nothing was tested"),
        ("security", '{"tool": "t", "checks": [{"name": "tls", "ok": "yes"}]}', "true or false"),
        ("security", '{"tool": "t", "at": "yesterday", "checks": [{"name": "tls", "ok": true}]}', "time zone"),
        ("data-check", "{}", "made by its own command"),
    ],
)  # fmt: skip
def test_what_cannot_be_believed_is_refused(tmp_path: Path, kind: str, text: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=wrong):
        evidence_files.read(kind, file(tmp_path, text))
