"""Findings: kept as files or issues, read strictly, closed with a name and a reason."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import cli
from scripts.environments import findings, findings_github
from scripts.environments.findings import Files, Finding
from scripts.errors import UsageError, ZdmError

WORDS = st.text(st.characters(exclude_categories=["C"]), max_size=40)
NAMED = WORDS.filter(str.strip)
GH = """#!{python}
import json, sys
from pathlib import Path
here = Path(__file__).parent
text = sys.stdin.read()
words = sys.argv[1:]
with (here / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps([words, text]) + "\\n")
issues = json.loads((here / "issues.json").read_text())
if words[:2] == ["issue", "create"]:
    issues.append({{"number": len(issues) + 41, "body": text, "state": "OPEN", "closedAt": None}})
    print(f"https://github.com/shop/zdm/issues/{{issues[-1]['number']}}")
elif words[:2] == ["issue", "list"]:
    print(json.dumps(issues))
elif words[:2] == ["issue", "edit"]:
    next(one for one in issues if str(one["number"]) == words[2])["body"] = text
elif words[:2] == ["issue", "close"]:
    next(one for one in issues if str(one["number"]) == words[2])["state"] = "CLOSED"
(here / "issues.json").write_text(json.dumps(issues))
"""


@given(
    NAMED, NAMED, NAMED, NAMED, st.sampled_from(findings.SEVERITIES), st.text(st.characters(exclude_categories=["C"]))
)  # fmt: skip
def test_what_is_written_is_read(title: str, stack: str, revision: str, by: str, severity: str, text: str) -> None:
    made = Finding("20261128-0a1b2c", title, severity, stack, revision, by, "2026-11-28T01:02:03Z", text=text.strip())  # type: ignore[arg-type]
    assert findings.parse(made.document(), "x") == made


def test_noted_listed_shown_and_closed(clone: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    def zdm(*words: str) -> dict[str, object]:
        assert cli.app(["findings", *words, "--json"], standalone_mode=False) == cli.Answer(True)
        told: dict[str, object] = json.loads(capsys.readouterr().out)
        return told

    more = tmp_path / "more.md"
    more.write_text("# Steps\n\n---\n\n1. search\n")
    noted = zdm("add", "staging", "Slow search", "--severity", "high", "--by", "Bo", "--file", str(more))
    name = str(noted["id"])
    assert noted["status"] == "open" and noted["text"] == "# Steps\n\n---\n\n1. search"
    assert len(str(noted["revision"])) == 12, "of this work tree"
    assert [one["id"] for one in zdm("list")["findings"]] == [name]  # type: ignore[attr-defined]
    closed = zdm("close", name, "--by", "Ann", "--how", "an index")
    assert (closed["status"], closed["closed_by"], closed["how"]) == ("closed", "Ann", "an index")
    assert zdm("list")["findings"] == [] and len(zdm("list", "--all")["findings"]) == 1  # type: ignore[arg-type]
    assert zdm("show", name) == closed
    assert (clone / "findings" / f"{name}.md").read_text().startswith(f"---\nid: {name}\ntitle: Slow search\n")
    with pytest.raises(UsageError, match="is closed already, by Ann"):
        findings.close(Files(), name, by="Bo", how="again")
    with pytest.raises(UsageError, match="no finding nobody"):
        findings.show(Files(), "nobody")
    with pytest.raises(UsageError, match="--severity must be"):
        findings.add(Files(), "staging", "x", severity="bad", found_by="Bo")


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (("severity: high", "severity: hihg"), "severity must be one of"),
        (("severity: high\n", ""), "severity is missing"),
        (("status: open", "status: done"), "status must be open or closed"),
        (("status: open", "status: closed"), "does not say by whom and how"),
        (("status: open", "statis: open"), "no field 'statis'"),
        (("---\n", ""), "no finding"),
        (("title: x", "title: [x"), "no YAML"),
        (("id: 20261128-0a1b2c", "id: other"), "must be named by its id"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, change: tuple[str, str], wrong: str) -> None:
    made = Finding("20261128-0a1b2c", "x", "high", "staging", "r", "Bo", "2026-11-28T01:02:03Z")
    (tmp_path / f"{made.id}.md").write_text(made.document().replace(*change))
    with pytest.raises(ZdmError, match=wrong):
        Files(tmp_path).all()


def test_issues_on_github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`gh` is played: this machine has no repository on GitHub."""
    program = tmp_path / "gh"
    program.write_text(GH.format(python=sys.executable))
    program.chmod(0o755)
    (tmp_path / "issues.json").write_text("[]")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    store = findings.store_of("github")
    noted = findings.add(store, "staging", "Slow search", severity="medium", found_by="Bo", text="See there.").finding
    assert noted.id == "41" and findings.find(store, "41") == noted
    assert findings.close(store, "41", by="Ann", how="an index").finding == findings.find(store, "41")
    calls = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    made = next(words for words, _ in calls if words[:2] == ["issue", "create"])
    labels = ["--label", "finding", "--label", "severity: medium"]
    assert made == ["issue", "create", "--title", "Slow search", *labels, "--body-file", "-"]
    asked = next(words for words, _ in calls if words[:2] == ["issue", "list"])
    assert asked[2:6] == ["--label", "finding", "--state", "all"] and asked[-1] == "number,body,state,closedAt"
    assert calls[-2][0] == ["issue", "close", "41", "--comment", "Closed by Ann: an index"]

    issues = json.loads((tmp_path / "issues.json").read_text())
    (tmp_path / "issues.json").write_text(json.dumps([{**issues[0], "state": "OPEN"}]))
    assert findings.find(store, "41").open, "opened again on GitHub"
    (tmp_path / "issues.json").write_text(json.dumps([{**issues[0], "body": "no front matter"}]))
    with pytest.raises(ZdmError, match="issue 41 is no finding"):
        store.all()

    program.write_text("#!/bin/sh\necho 'not signed in' >&2\nexit 4\n")
    with pytest.raises(ZdmError, match="gh issue list failed: not signed in"):
        store.all()
    program.unlink()
    with pytest.raises(UsageError, match=r"gh on PATH.*promotion\.findings"):
        findings_github.Issues().all()
