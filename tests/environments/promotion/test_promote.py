"""From the update to the record: promoted, taken back, stopped; and killed at every step and run again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scripts import stacks
from scripts.environments import evidence, promote, promote_journal
from scripts.environments.promote_journal import Step
from scripts.errors import UsageError, ZdmError
from tests.environments.promotion.conftest import FORMER, Lab, Played


class Killed(BaseException):
    """As if the process had gone."""


def record(lab: Lab) -> dict[str, Any]:
    """The record of the last promotion, as it is kept."""
    kept = evidence.newest(lab.context("prod"), "promotion")
    assert kept is not None and kept.authentic
    assert promote_journal.read(lab.context("prod")) is None, "none is open"
    return dict(kept.body)


def test_promoted_and_watched(lab: Lab) -> None:
    hands = Played(lab)
    done = promote.run(lab.scene(hands, accepted=(), watch=2.5))
    assert (done.outcome, done.ok) == ("promoted", True)
    kept = record(lab)
    assert kept == done.record and kept["ok"] is True
    assert (kept["approvedBy"], kept["former"], kept["revision"]) == ("Ann", FORMER, lab.up["staging"])
    assert set(kept["evidence"]) == {"data-check", "load-test", "faults", "security"} and kept["snapshots"] == "prod-1"
    assert [step["step"] for step in kept["steps"]] == ["opened", "updating", "watching", "closed"]
    assert kept["difference"] == [{"name": "service.count", "source": "3", "target": "10"}]
    windows = kept["health"]["windows"]
    assert len(windows) >= 2 and all(w["probes"] >= 2 and w["unanswered"] == 0 and not w["broken"] for w in windows)
    assert windows[0]["requests"] == 100 and windows[0]["p95_ms"] < 150 and windows[0]["error_rate"] == 0
    (up,) = hands.done
    assert up.startswith(f"up g{lab.up['staging']}-"), "snapshots under a label of this promotion, and no other"

    again = promote.run(lab.scene(Played(lab, changes=0)))
    assert again.outcome == "already" and again.ok and record(lab)["id"] == kept["id"]
    assert promote.status(lab.context("prod")).record == kept


def test_customers_who_wait_or_are_failed_bring_the_former_revision_back(lab: Lab) -> None:
    def slow(what: str) -> None:
        lab.shop.slow, lab.shop.failing = (0.4, 3) if what == "upped" else (0.01, 0)

    hands = Played(lab, meanwhile=slow)
    done = promote.run(lab.scene(hands, watch=30))
    assert (done.outcome, done.ok) == ("returned", False)
    assert hands.done[1:] == [f"back to {FORMER}"] and lab.up["prod"] == FORMER
    kept = record(lab)
    assert not kept["ok"] and len(kept["health"]["windows"]) == 2, "not longer than it takes to be sure"
    assert "latency p95 of mysql" in " ".join(kept["reasons"]) and "errors 6.00%" in " ".join(kept["reasons"])
    assert kept["after"]["ok"] is True


def test_router_that_does_not_answer_is_a_breach_also_without_customers(lab: Lab) -> None:
    def down(what: str) -> None:
        lab.shop.down = what == "upped"

    lab.shop.customers = 0
    done = promote.run(lab.scene(Played(lab, meanwhile=down), watch=30))
    assert done.outcome == "returned" and "were not answered" in " ".join(record(lab)["reasons"])


def test_update_that_fails_is_taken_back(lab: Lab) -> None:
    hands = Played(lab, fails="db: no such class")
    done = promote.run(lab.scene(hands, watch=1))
    assert done.outcome == "returned" and hands.done[1:] == [f"back to {FORMER}"]
    assert "no such class" in record(lab)["reasons"][0] and record(lab)["health"] is None


def test_without_a_way_back_it_stops_and_says_so(lab: Lab) -> None:
    def down(what: str) -> None:
        lab.shop.down = what == "upped"

    hands = Played(lab, meanwhile=down, no_way="which revision it was is not known")
    assert "stop: which revision" in promote.run(lab.scene(hands), dry_run=True).plan[-1]
    done = promote.run(lab.scene(hands, watch=30))
    assert (done.outcome, done.ok) == ("stopped", False) and len(hands.done) == 1
    assert "no way back: which revision" in record(lab)["reasons"][-1]


STEPS = ("begin", "up", "upped", "watching", "watched", "back", "was back", "closing")


@pytest.mark.parametrize("well", [True, False], ids=["well", "not-well"])
def test_killed_at_every_step_and_run_again(lab: Lab, well: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is killed one step later than the one before; whatever it left, the last one ends as it should."""
    shop_is_down = {"upped": not well, "was back": False}
    at: list[str] = []

    def reach(what: str) -> None:
        lab.shop.down = shop_is_down.get(what, lab.shop.down)
        if what not in at:
            at.append(what)
            raise Killed(what)

    def around(module: Any, name: str, before: str = "", after: str = "") -> None:
        real = getattr(module, name)

        def wrapped(*args: Any, **named: Any) -> Any:
            if before:
                reach(before)
            result = real(*args, **named)
            if after:
                reach(after)
            return result

        monkeypatch.setattr(module, name, wrapped)

    around(promote.health, "baseline", before="begin")
    around(promote.health, "watch", before="watching", after="watched")
    around(evidence, "store", after="closing")
    labels = set()
    for _ in range(len(STEPS) + 1):
        hands = Played(lab, meanwhile=reach)
        try:
            done = promote.run(lab.scene(hands, watch=2))
        except Killed:
            assert lab.up["prod"] in (FORMER, lab.up["staging"])
            open_ = promote_journal.read(lab.context("prod"))
            assert open_ is not None and promote.status(lab.context("prod")).open
            if open_.step is not Step.OPENED:
                labels.add(open_.body["label"])
            continue
        break
    expected = STEPS if not well else ("begin", "up", "upped", "watching", "watched", "closing")
    assert tuple(at) == expected
    assert (done.outcome, lab.up["prod"]) == (("promoted", lab.up["staging"]) if well else ("returned", FORMER))
    assert record(lab)["outcome"] == done.outcome and len(evidence.latest(lab.context("prod"), "promotion", 9)) == 1
    assert len(labels) == 1, "the snapshots of before are taken once"


def killed_at(lab: Lab, step: str) -> None:
    def kill(what: str) -> None:
        if what == step:
            raise Killed

    with pytest.raises(Killed):
        promote.run(lab.scene(Played(lab, meanwhile=kill), watch=1))


def test_open_promotion_of_another_revision_is_finished_from_there_or_taken_back(lab: Lab) -> None:
    killed_at(lab, "upped")
    was = lab.up["staging"]
    lab.commit("third")
    with pytest.raises(UsageError, match=f"of revision {was} is open.*--undo"):
        promote.run(lab.scene())
    planned = promote.run(lab.scene(), dry_run=True)
    assert "is finished first" in planned.plan[0]
    hands = Played(lab)
    done = promote.undo(lab.scene(hands))
    assert done.outcome == "returned" and hands.done == [f"back to {FORMER}"]
    assert "taken back by" in record(lab)["reasons"][0]
    with pytest.raises(UsageError, match="no promotion into prod is open"):
        promote.undo(lab.scene())


def test_return_that_fails_stays_open_until_it_is_done_or_given_up(lab: Lab) -> None:
    def broken(what: str) -> None:
        if what == "back":
            raise ZdmError("no credentials")

    hands = Played(lab, fails="x", meanwhile=broken)
    for _ in range(2):
        with pytest.raises(ZdmError, match="no credentials"):
            promote.run(lab.scene(hands))
    done = promote.give_up(lab.scene(), "brought up by hand")
    assert done.outcome == "stopped" and "brought up by hand" in record(lab)["reasons"][-1]


def test_one_at_a_time(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def other(what: str) -> None:
        if what == "up":
            monkeypatch.setattr(promote_journal.socket, "gethostname", lambda: "another machine")
            promote.run(lab.scene(Played(lab), watch=1))
            taken.append(what)

    with pytest.raises(ZdmError, match="taken over"):
        promote.run(lab.scene(Played(lab, meanwhile=other), watch=1))
    assert taken and record(lab)["outcome"] == "promoted"

    open_ = promote_journal.begin(lab.context("prod"), {**record(lab), "outcome": ""})
    with pytest.raises(ZdmError, match="taken over"):
        promote_journal.begin(lab.context("prod"), dict(open_.body))
    monkeypatch.setattr(promote_journal.os, "getpid", lambda: 1)
    with pytest.raises(UsageError, match="is under way, in process"):
        promote.run(lab.scene())


def test_busy_stack_is_no_reason_to_go_back(lab: Lab) -> None:
    def busy(what: str) -> None:
        if what == "up":
            raise stacks.Busy("stack prod is being changed by another run")

    with pytest.raises(stacks.Busy):
        promote.run(lab.scene(Played(lab, meanwhile=busy)))
    open_ = promote_journal.read(lab.context("prod"))
    assert open_ is not None and open_.step is Step.UPDATING
    assert promote.run(lab.scene(watch=1)).outcome == "promoted"


def test_open_promotion_that_someone_has_changed_is_not_believed(lab: Lab) -> None:
    killed_at(lab, "up")
    open_ = promote_journal.read(lab.context("prod"))
    assert open_ is not None
    forged = json.dumps({**open_.body, "former": "ffffffffffff"})
    lab.account.client("s3").put_object(Bucket="zdm-prod-archive", Key=promote_journal.KEY, Body=forged)
    with pytest.raises(ZdmError, match="not signed"):
        promote.run(lab.scene())
