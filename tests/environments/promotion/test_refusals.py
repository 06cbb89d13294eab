"""A promotion is refused for each proof that is missing: one test each, and all of them at once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contract.window import DAYS
from local.engine import Violation
from scripts.environments import evidence, findings, promote
from scripts.environments.promote_result import PromoteResult
from tests.environments.promotion.conftest import FORMER, Lab, Played, git


def about(result: PromoteResult) -> list[str]:
    assert not result.ok
    return [reason.about for reason in result.reasons]


def text(result: PromoteResult) -> str:
    return "\n".join(reason.text for reason in result.reasons)


def test_nothing_is_in_the_way_when_all_is_proven(lab: Lab) -> None:
    planned = lab.plan()
    assert (planned.outcome, planned.ok, list(planned.reasons)) == ("planned", True, [])
    assert planned.former == FORMER and planned.revision == lab.up["staging"]
    assert [one.name for one in planned.difference] == ["service.count"]
    assert f"go back to revision {FORMER}" in planned.plan[-1]
    assert evidence.newest(lab.context("prod"), "promotion") is None, "a plan leaves nothing behind"


def test_everything_that_is_missing_is_told_at_once_and_nothing_is_done(lab: Lab) -> None:
    lab.commit("second")
    lab.rules = {"window": never()}
    hands = Played(lab)
    refused = promote.run(lab.scene(hands, approved_by=" "))
    assert refused.outcome == "refused"
    proofs = ["data-check", "load-test", "faults", "security"]
    assert about(refused) == ["revision", *proofs, "window", "approval"]
    assert hands.done == [] and lab.up["prod"] == FORMER


def never() -> str:
    """A window on another day than this one."""
    other = DAYS[(datetime.now(UTC).weekday() + 3) % 7]
    return f"{other} 02:00-04:00 UTC"


def test_another_revision_in_staging(lab: Lab) -> None:
    lab.up["staging"] = FORMER
    assert about(lab.plan()) == ["revision"]
    lab.up["staging"] = ""
    assert "not known" in text(lab.plan())
    lab.up["staging"] = f"{git(lab.clone, 'rev-parse', '--short=12', 'HEAD')}+"
    assert about(lab.plan()) == ["revision"], "what is up is not what was committed"


def test_work_tree_that_differs(lab: Lab) -> None:
    (lab.clone / "program.py").write_text("tried out\n")
    refused = lab.plan()
    assert about(refused) == ["work-tree"] and "program.py" in text(refused)


def test_a_finding_that_is_noted_or_closed_makes_no_other_revision(lab: Lab) -> None:
    noted = findings.add(findings.Files(), "staging", "Slow search", severity="low", found_by="Bo")
    git(lab.clone, "add", ".")
    git(lab.clone, "commit", "-qm", "a finding")
    assert lab.plan().ok
    findings.close(findings.Files(), noted.finding.id, by="Bo", how="an index")
    assert lab.plan().ok, "the file has changed, the program has not"


@pytest.mark.parametrize("kind", ["data-check", "load-test", "faults", "security"])
def test_evidence_missing_stale_red_of_another_revision_or_made_up(lab: Lab, kind: str) -> None:
    s3, bucket = lab.account.client("s3"), "zdm-staging-archive"
    found = evidence.newest(lab.context("staging"), kind)
    assert found is not None
    key = evidence.key_of(kind, found.id)

    made_up = {**found.body, "figures": {"rows": 8}}
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(made_up))
    refused = lab.plan()
    assert about(refused) == [kind] and "not signed" in text(refused)

    s3.delete_object(Bucket=bucket, Key=key)
    refused = lab.plan()
    assert about(refused) == [kind] and "there is no evidence" in text(refused)

    lab.prove(kind, hours=24 * 30)
    refused = lab.plan()
    assert about(refused) == [kind] and "h old" in text(refused)

    lab.prove(kind, hours=3, revision=FORMER)
    refused = lab.plan()
    assert about(refused) == [kind] and f"of revision {FORMER}" in text(refused)

    lab.prove(kind, hours=2, ok=False)
    refused = lab.plan()
    assert about(refused) == [kind] and "not good" in text(refused)

    lab.prove(kind, hours=1)
    assert lab.plan().ok


def test_evidence_of_another_stack_under_this_name(lab: Lab) -> None:
    """As whoever may write to both archives might put it."""
    other = evidence.find(lab.context("staging"), "faults", _id(lab, "faults"))
    moved = {**other.body, "kind": "security"}
    key = evidence.key_of("security", _id(lab, "security"))
    lab.account.client("s3").put_object(Bucket="zdm-staging-archive", Key=key, Body=json.dumps(moved))
    assert about(lab.plan()) == ["security"]
    lab.account.client("s3").put_object(Bucket="zdm-staging-archive", Key=key, Body=json.dumps(dict(other.body)))
    assert about(lab.plan()) == ["security"]


def _id(lab: Lab, kind: str) -> str:
    found = evidence.newest(lab.context("staging"), kind)
    assert found is not None
    return found.id


def test_functional_tests_are_no_condition_but_red_ones_are(lab: Lab) -> None:
    lab.prove("functional", ok=False)
    assert about(lab.plan()) == ["functional"]
    lab.prove("functional", hours=0.5)
    assert lab.plan().ok


def test_staging_without_an_archive(lab: Lab) -> None:
    lab.changes["staging"] = {"archive": None}
    refused = lab.plan()
    assert about(refused) == ["evidence"] and "archive.enabled" in text(refused)


def test_prod_without_an_archive(lab: Lab) -> None:
    lab.changes["prod"] = {"archive": None}
    refused = lab.plan()
    assert about(refused) == ["record"] and "archive.enabled" in text(refused)


def test_snapshots_missing_stale_or_not_verified(lab: Lab) -> None:
    rds = lab.account.client("rds")
    rds.delete_db_cluster_snapshot(DBClusterSnapshotIdentifier="prod-1")
    assert about(lab.plan()) == ["snapshots"]
    lab.snapshot("prod-2", verified=False)
    refused = lab.plan()
    assert about(refused) == ["snapshots"] and "no snapshots that were verified" in text(refused)
    lab.snapshot("prod-3", hours=72)
    refused = lab.plan()
    assert about(refused) == ["snapshots"] and "72.0 h old" in text(refused)
    lab.snapshot("prod-4", hours=3)
    assert lab.plan().ok


def test_outside_of_the_window(lab: Lab) -> None:
    lab.rules = {"window": never()}
    refused = lab.plan()
    assert about(refused) == ["window"] and "next is" in text(refused)
    assert lab.plan(override="the shop is down").ok
    now = datetime.now(UTC)
    lab.rules = {"window": f"Mon-Sun {now - timedelta(minutes=2):%H:%M}-{now + timedelta(minutes=5):%H:%M} UTC"}
    assert lab.plan().ok


def test_nobody_approved(lab: Lab) -> None:
    assert about(lab.plan(approved_by="")) == ["approval"]


def test_open_findings_of_high_severity(lab: Lab) -> None:
    store: Any = findings.Files()
    high = findings.add(store, "staging", "Orders twice", severity="high", found_by="Bo").finding
    refused = lab.plan()
    assert about(refused) == ["findings"] and high.id in text(refused)
    assert about(lab.plan(accepted=(high.id,))) == ["findings", "findings"], "this one cannot be accepted"
    findings.close(store, high.id, by="Bo", how="idempotency key")
    assert lab.plan().ok

    medium = findings.add(store, "staging", "Slow search", severity="medium", found_by="Bo").finding
    refused = lab.plan()
    assert about(refused) == ["findings"] and f"--accept {medium.id}" in text(refused)
    assert lab.plan(accepted=(medium.id,)).ok
    assert about(lab.plan(accepted=(medium.id, "nobody"))) == ["findings"]
    findings.add(store, "dev", "Other stack", severity="critical", found_by="Bo")
    assert lab.plan(accepted=(medium.id,)).ok


def test_rules_that_prod_would_break(lab: Lab) -> None:
    broken = Violation("backups-kept", True, "aws:rds/cluster:Cluster", "db", "Says.", "keep 7 days")
    refused = promote.run(lab.scene(Played(lab, violations=(broken,))), dry_run=True)
    assert about(refused) == ["preview"] and "backups-kept" in text(refused)
