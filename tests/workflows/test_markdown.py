"""The comment on a pull request: complete, within GitHub's bounds, and never more than names."""

from __future__ import annotations

from local.engine import Change, Outcome, Violation
from scripts.markdown import LIMIT, marker, preview_markdown


def outcome(*changes: Change, violations: tuple[Violation, ...] = ()) -> Outcome:
    counts = {"create": len(changes), "same": 3}
    return Outcome("preview", "prod", 1.0, counts, changes, {}, violations)


def test_names_cannot_break_out_of_their_cells() -> None:
    text = preview_markdown(outcome(Change("update", "aws:x:Y", "a|b <!-- x -->\n`c`", "urn", ("p", "q"))))
    row = next(line for line in text.splitlines() if "update" in line)
    assert row == "| `update` | `aws:x:Y` | a\\|b &lt;!-- x --> `c` | p, q |"
    assert text.startswith(f"{marker('prod')}\n### Preview of `prod`: 1 create, 3 same\n")


def test_a_broken_rule_comes_first_and_a_hint_refuses_nothing() -> None:
    hint = Violation("images-by-digest", False, "aws:ecs/taskDefinition:TaskDefinition", "task", "Says.", "wrong")
    text = preview_markdown(outcome(Change("create", "t", "n", "urn"), violations=(hint,)))
    assert "⚠️" in text and "❌" not in text
    refused = Violation("backups-kept", True, "aws:rds/cluster:Cluster", "db", "Says.", "keep 7 days")
    text = preview_markdown(outcome(Change("create", "t", "n", "urn"), violations=(hint, refused)))
    assert "❌" in text
    assert text.index("| `db` | `backups-kept` | keep 7 days |") < text.index("<details>")


def test_what_is_too_much_for_a_comment_is_counted() -> None:
    many = [Change("create", "aws:ec2/subnet:Subnet", f"subnet-{i}", "urn") for i in range(5000)]
    text = preview_markdown(outcome(*many))
    assert LIMIT * 0.9 < len(text) < LIMIT
    shown = text.count("`aws:ec2/subnet:Subnet`")
    assert f"... and {5000 - shown} more." in text
    assert text.rstrip().endswith("</details>")


def test_nothing_to_do_is_short() -> None:
    assert len(preview_markdown(outcome()).splitlines()) == 4
