"""Findings as issues on GitHub, through its own program `gh`: the issue's text is the document that a file would be.

Invariants:
- The issue's number is the id. Labels say what it is, for people; what is in the text decides.
- Closed is who closed it here: the text says by whom and how, and then the issue is closed. An issue that was closed
  on GitHub's own page counts as closed too, by whoever GitHub knows.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from typing import Any, Final

from scripts.context import PROJECT
from scripts.environments.findings import Finding, parse
from scripts.errors import UsageError, ZdmError

LABEL: Final = "finding"
MOST: Final = 1000
"""Issues that are asked for; more would be left out, so that is an error."""
_NUMBER: Final = re.compile(r"/issues/(\d+)\s*\Z")
_NEW: Final = "new"


@dataclass(frozen=True)
class Issues:
    """The findings of the repository on GitHub that this clone is of."""

    where: str = "GitHub's issues"

    def all(self) -> list[Finding]:
        fields = "number,body,state,closedAt"
        told = _gh("issue", "list", "--label", LABEL, "--state", "all", "--limit", str(MOST), "--json", fields)
        try:
            issues: list[dict[str, Any]] = json.loads(told)
        except ValueError as e:
            raise ZdmError(f"gh did not answer with JSON: {told[:200]!r}") from e
        if len(issues) >= MOST:
            raise ZdmError(f"there are {MOST} issues or more with the label {LABEL}: too many to be sure of all")
        return sorted((_finding(issue) for issue in issues), key=lambda one: int(one.id))

    def add(self, finding: Finding) -> Finding:
        _gh("label", "create", LABEL, "--description", "What tests found (./zdm findings)", "--force")
        label = f"severity: {finding.severity}"
        _gh("label", "create", label, "--force")
        document = replace(finding, id=_NEW).document()
        url = _gh("issue", "create", "--title", finding.title, "--label", LABEL, "--label", label, "--body-file", "-",
                  text=document)  # fmt: skip
        number = _NUMBER.search(url)
        if number is None:
            raise ZdmError(f"gh did not say which issue it made: {url[:200]!r}")
        return replace(finding, id=number[1])

    def close(self, finding: Finding) -> None:
        _gh("issue", "edit", finding.id, "--body-file", "-", text=replace(finding, id=_NEW).document())
        _gh("issue", "close", finding.id, "--comment", f"Closed by {finding.closed_by}: {finding.how}")


def _finding(issue: dict[str, Any]) -> Finding:
    finding = replace(parse(issue["body"] or "", f"issue {issue['number']}"), id=str(issue["number"]))
    if issue["state"].upper() == "CLOSED" and finding.open:
        at = str(issue["closedAt"])
        return replace(finding, status="closed", closed_by="GitHub", closed_at=at, how="see the issue")
    return replace(finding, status="open") if issue["state"].upper() == "OPEN" else finding


def _gh(*words: str, text: str = "") -> str:
    """What `gh` says. Raises `UsageError` where there is none, `ZdmError` with what went wrong."""
    if shutil.which("gh") is None:
        raise UsageError(
            "findings on GitHub need its program gh on PATH (https://cli.github.com), signed in; or keep them in the "
            "repository: without --github, setting promotion.findings"
        )
    run = subprocess.run(["gh", *words], cwd=PROJECT, input=text, capture_output=True, text=True, check=False)
    if run.returncode:
        raise ZdmError(f"gh {' '.join(words[:2])} failed: {run.stderr.strip() or run.stdout.strip()}")
    return run.stdout.strip()
