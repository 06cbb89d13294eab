"""Results that were made elsewhere: JUnit's XML of tests, SARIF of scanners, and a plain JSON for everything else.

Invariants:
- Nothing is good by being left out: a file in which nothing was tested is refused, and so is one that does not say what
  it is, or whose own sums do not agree (it was cut off).
- A file with a failure is read, and is not ok.
- The time is the result's own where the file says it, with its time zone; else that of the file. To give an old result
  again does not make it new.
"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from rich.console import Console as RichConsole

from scripts.environments.evidence import FAULTS, FUNCTIONAL, SECURITY
from scripts.errors import UsageError

SKEW: Final = timedelta(minutes=5)
"""How far another machine's clock may be ahead."""
NAMED: Final = 20
"""Failures that a record names."""
HIGH: Final = 7.0
"""A scanner's `security-severity` from which a result is high (GitHub: "SARIF support for code scanning")."""


@dataclass(frozen=True)
class Outside:
    """What a file says. `failed` are the names of what failed."""

    format: str
    tool: str
    at: datetime
    tested: int
    """What was really looked at: tests that ran, runs of a scanner, checks."""
    failed: tuple[str, ...]
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.failed

    def to_json(self) -> dict[str, Any]:
        more = len(self.failed) - NAMED
        return {
            "format": self.format,
            "tool": self.tool,
            "tested": self.tested,
            "failed": len(self.failed),
            "failures": "; ".join(self.failed[:NAMED]) + (f"; and {more} more" if more > 0 else ""),
            **self.figures,
        }

    def render(self, out: RichConsole) -> None:
        for name in self.failed[:NAMED]:
            out.print(f"failed: {name}", markup=False)
        out.print(f"{self.tool}: {self.tested} looked at, {len(self.failed)} failed", markup=False)


def read(kind: str, path: Path, now: datetime | None = None) -> Outside:
    """Reads a result of `kind`. Raises `UsageError` that says what is wrong with the file."""
    kinds = {FUNCTIONAL: (_junit,), FAULTS: (_junit,), SECURITY: (_sarif, _plain)}
    if kind not in kinds:
        raise UsageError(
            f"evidence of kind {kind!r} is made by its own command; results from elsewhere are {', '.join(kinds)}"
        )
    try:
        text, of_file = path.read_text(), datetime.fromtimestamp(path.stat().st_mtime, UTC)
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{path} cannot be read: {e}") from e
    if not text.strip():
        raise UsageError(f"{path} is empty: nothing was tested")
    try:
        found = _first(kinds[kind], text, of_file)
    except Unfit as e:
        raise UsageError(f"{path}: {e}") from None
    if found.tested == 0:
        raise UsageError(f"{path}: nothing was tested in it")
    if found.at > (now or datetime.now(UTC)) + SKEW:
        raise UsageError(f"{path}: it is from {found.at:%F %T} UTC, which is not yet")
    return found


class Unfit(ValueError):
    """What is wrong with a file."""


class _Other(Exception):
    """The file is of another format."""


Reader = Callable[[str, datetime], Outside]


def _first(readers: tuple[Reader, ...], text: str, of_file: datetime) -> Outside:
    for reader in readers:
        try:
            return reader(text, of_file)
        except _Other:
            continue
    names = " or ".join(str(reader.__doc__).partition(":")[0] for reader in readers)
    raise Unfit(f"this is no {names}")


# --- JUnit ------------------------------------------------------------------------------------------------------------


def _junit(text: str, of_file: datetime) -> Outside:
    """JUnit XML: `testsuites`, `testsuite`, `testcase` with `failure`, `error` or `skipped`."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise Unfit("it declares a document type, which no result of tests needs")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as e:
        raise Unfit(f"it is no XML ({e})") from e
    if root.tag not in ("testsuites", "testsuite"):
        raise _Other
    cases = list(root.iter("testcase"))
    suites = [suite for suite in root.iter("testsuite") if not suite.findall("testsuite")]
    told = sum(_count(suite, "tests") for suite in suites)
    if told != len(cases):
        raise Unfit(f"its suites tell of {told} tests, and it has {len(cases)}: it is not whole")
    skipped = [case for case in cases if case.find("skipped") is not None]
    failed = tuple(_case(case) for case in cases if case.find("failure") is not None or case.find("error") is not None)
    declared = sum(_count(suite, "failures") + _count(suite, "errors") for suite in suites)
    if declared and not failed:
        raise Unfit(f"its suites tell of {declared} failures, and no test has one: it is not whole")
    names = ", ".join(dict.fromkeys(suite.get("name", "") for suite in suites)) or "tests"
    times = [at for suite in root.iter("testsuite") if (at := _time(suite.get("timestamp"))) is not None]
    return Outside(
        "junit", names, min(times, default=of_file), len(cases) - len(skipped), failed, {"skipped": len(skipped)}
    )


def _count(suite: ElementTree.Element, name: str) -> int:
    value = suite.get(name, "0")
    if not value.isdigit():
        raise Unfit(f"a suite has {name}={value!r}, which is no number")
    return int(value)


def _case(case: ElementTree.Element) -> str:
    return ".".join(filter(None, (case.get("classname"), case.get("name"))))


# --- SARIF ------------------------------------------------------------------------------------------------------------


def _sarif(text: str, of_file: datetime) -> Outside:
    """SARIF 2.1.0: runs of a scanner. A result fails that is an error, or of high severity, and not suppressed.

    "Static Analysis Results Interchange Format 2.1.0", 3.27.10: a level that is left out is the rule's, else `warning`;
    3.14.23: `results` is null where the scan could not be made, and empty where nothing was found.
    """
    data = _json(text)
    if "runs" not in data and "$schema" not in data:
        raise _Other
    if data.get("version") != "2.1.0" or not isinstance(data.get("runs"), list):
        raise Unfit(f"it is no SARIF 2.1.0 (version {data.get('version')!r})")
    others, failed, tools, times = 0, list[str](), list[str](), list[datetime]()
    for run in data["runs"]:
        try:
            tool = str(run["tool"]["driver"]["name"])
        except (KeyError, TypeError) as e:
            raise Unfit("a run does not say of which tool it is") from e
        tools.append(tool)
        for made in run.get("invocations") or ():
            if made.get("executionSuccessful") is not True:
                raise Unfit(f"{tool} says that it did not run to its end")
            times += filter(None, [_time(made.get("endTimeUtc"), UTC)])
        if not isinstance(run.get("results"), list):
            raise Unfit(f"{tool} has no results: it was not run, or its scan failed")
        for result in run["results"]:
            if _suppressed(result) or result.get("kind", "fail") in ("pass", "informational", "notApplicable"):
                continue
            name = str(result.get("ruleId") or (result.get("rule") or {}).get("id") or "unnamed rule")
            if _fails(run, result):
                failed.append(f"{tool} {name}")
            else:
                others += 1
    named = ", ".join(dict.fromkeys(tools))
    return Outside("sarif", named, min(times, default=of_file), len(tools), tuple(failed), {"lesser": others})


def _suppressed(result: Mapping[str, Any]) -> bool:
    """Whether someone has accepted it: there are suppressions, and none is under review or rejected."""
    suppressions = result.get("suppressions") or []
    return bool(suppressions) and all(one.get("status", "accepted") == "accepted" for one in suppressions)


def _fails(run: Mapping[str, Any], result: Mapping[str, Any]) -> bool:
    rule = _rule(run, result)
    level = result.get("level") or rule.get("defaultConfiguration", {}).get("level") or "warning"
    severity = rule.get("properties", {}).get("security-severity") or result.get("properties", {}).get(
        "security-severity"
    )
    try:
        return level == "error" or (severity is not None and float(severity) >= HIGH)
    except ValueError as e:
        raise Unfit(f"the security-severity {severity!r} is no number") from e


def _rule(run: Mapping[str, Any], result: Mapping[str, Any]) -> Mapping[str, Any]:
    rules = run["tool"]["driver"].get("rules") or []
    index = result.get("ruleIndex", (result.get("rule") or {}).get("index", -1))
    if isinstance(index, int) and 0 <= index < len(rules):
        return dict(rules[index])
    return next((rule for rule in rules if rule.get("id") == result.get("ruleId")), {})


# --- plain ------------------------------------------------------------------------------------------------------------


def _plain(text: str, of_file: datetime) -> Outside:
    """JSON as `{"tool": "...", "checks": [{"name": "...", "ok": true}]}`: what a person or a script has looked at."""
    data = _json(text)
    if set(data) - {"tool", "at", "checks"} or not isinstance(data.get("checks"), list):
        raise _Other
    if not isinstance(data.get("tool"), str) or not data["tool"]:
        raise Unfit("it does not say by which tool it was made")
    failed = tuple(name for name, ok in _checks(data["checks"]) if not ok)
    at = _time(data.get("at"))
    if "at" in data and at is None:
        raise Unfit(f"its time {data['at']!r} is none with a time zone, such as 2026-01-31T10:00:00Z")
    return Outside("plain", data["tool"], at or of_file, len(data["checks"]), failed)


def _checks(checks: list[Any]) -> Iterator[tuple[str, bool]]:
    for check in checks:
        if not isinstance(check, Mapping) or not isinstance(check.get("name"), str) or check["name"] == "":
            raise Unfit(f"a check has no name: {check!r}")
        if not isinstance(check.get("ok"), bool):
            raise Unfit(f"the check {check['name']!r} does not say whether it is ok (true or false)")
        yield check["name"], check["ok"]


def _json(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as e:
        raise Unfit(f"it is no JSON ({e})") from e
    if not isinstance(data, dict):
        raise Unfit("it is no JSON object")
    return data


def _time(text: Any, zone: Any = None) -> datetime | None:
    """A time with its time zone; None for anything else."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    at = at.replace(tzinfo=zone) if at.tzinfo is None else at
    return at if at.tzinfo is not None else None
