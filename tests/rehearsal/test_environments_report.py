"""The report of a rehearsal of environments: what decides, a page for each environment, JSON that can be read again."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from scripts.errors import UsageError
from scripts.rehearsal import environments_report as report
from scripts.rehearsal.environments_clone import nested
from scripts.rehearsal.environments_result import (
    ENVIRONMENTS,
    WANTED,
    Chapter,
    EnvironmentsResult,
    load,
    save,
)
from scripts.rehearsal.environments_stage import settings
from scripts.rehearsal.result import Timed


def told(**changes: object) -> EnvironmentsResult:
    """A rehearsal in which all is well."""
    result = EnvironmentsResult("environments", 1_000.0, 1_400.0, settings={"rows": 2_000, "seed": 1})
    for at, environment in enumerate(ENVIRONMENTS):
        chapter = Chapter(environment, f"What happened in {environment}", 1_000.0 + at, 1_010.0 + at, True, "it <went>")
        chapter.table(("Table", "Rows", "Verdict"), [("orders", 1_234, "✓ equal"), ("carts", None, "✗ <no>")])
        chapter.steps = [Timed("One", 1_000.0, 1_001.0), Timed("Two", 1_001.0, 1_002.0, True, "done", 1)]
        result.chapters.append(chapter)
    for wanted in WANTED:
        result.measure(wanted.key, 1.0, "1", True, "as it should")
    for name, value in changes.items():
        setattr(result, name, value)
    return result


class Links(HTMLParser):
    """Where a page leads, what it has, and whether its elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        self.ids |= {value or "" for name, value in attrs if name == "id"}
        if tag not in ("meta", "br", "line", "rect", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(text: str) -> Links:
    page = Links()
    page.feed(text)
    assert page.open == []
    return page


def test_all_is_well_only_if_everything_was_measured_and_told() -> None:
    assert told().ok
    assert not EnvironmentsResult("x").ok
    assert all(figure.text == "not measured" and not figure.ok for figure in EnvironmentsResult("x").figures())
    assert not told(error="it broke").ok
    assert not told(chapters=[]).ok
    unfinished = told()
    unfinished.chapters[1].ok = False
    assert not unfinished.ok


@pytest.mark.parametrize("key", [wanted.key for wanted in WANTED])
def test_each_figure_alone_fails_the_rehearsal(key: str) -> None:
    result = told()
    del result.measured[key]
    assert not result.ok
    result.measure(key, None, "not measured", True)
    assert not result.ok, "what has no value does not hold"


def test_counts_hold_only_if_all_are_good_and_there_is_one() -> None:
    result = told()
    for good, all_, held in ((3, 3, True), (2, 3, False), (0, 0, False)):
        result.count("refused", good, all_)
        assert result.measured["refused"].ok is held
    for found, held in ((0, True), (1, False), (None, False)):
        result.none_of("lost", found)
        assert result.measured["lost"].ok is held


def test_a_page_for_each_environment_that_lead_to_each_other_and_nowhere_else(tmp_path: Path) -> None:
    written = report.write(told(), tmp_path)
    assert written.ok and written.page == tmp_path / "index.html"
    names = {"index.html", *(f"{name}.html" for name in ENVIRONMENTS)}
    pages = {name: parsed((tmp_path / name).read_text()) for name in names}
    for name, page in pages.items():
        for link in page.links:
            file, _, anchor = link.partition("#")
            assert file in names, f"{name} leads to {link}"
            assert not anchor or anchor in pages[file].ids
    for name in ENVIRONMENTS:
        text = (tmp_path / f"{name}.html").read_text()
        assert f"What happened in {name}" in text and "1,234" in text and "Passed" in text
        assert not any(f"What happened in {other}" in text for other in ENVIRONMENTS if other != name)
        assert "it <went>" not in text and "&lt;no&gt;" in text
        assert {wanted.label for wanted in WANTED if wanted.environment == name} <= set(re.findall("<dt>(.*?)<", text))


def test_a_failed_rehearsal_says_what_does_not_hold(tmp_path: Path) -> None:
    result = told()
    result.none_of("lost", 3, "of 100")
    result.chapters[2].ok = False
    written = report.write(result, tmp_path)
    assert not written.ok
    index, prod, dev = ((tmp_path / f"{name}.html").read_text() for name in ("index", "prod", "dev"))
    assert "lost writes (3)" in index and "Failed" in index and "✗ not good" in index
    assert "not all of it is good: What happened in prod" in prod and "Passed" in dev
    console = Console(record=True, width=200)
    written.render(console)
    said = console.export_text()
    assert "FAILED" in said and "Lost writes" in said


def test_one_that_ended_early_has_what_there_was(tmp_path: Path) -> None:
    result = EnvironmentsResult("environments", 0.0, 60.0, error="the <cloud> is gone")
    report.write(result, tmp_path)
    index = parsed((tmp_path / "index.html").read_text())
    text = (tmp_path / "index.html").read_text()
    assert index.ids == set() and "&lt;cloud&gt;" in text and "did not come to its end" in text
    assert "Nothing happened in dev" in (tmp_path / "dev.html").read_text()


def test_json_can_be_read_again(tmp_path: Path) -> None:
    result = told()
    save(result, tmp_path)
    again = load(tmp_path)
    assert again.to_json() == result.to_json() and again.ok
    first = report.pages(result)
    assert report.show(tmp_path).page.read_text() == first["index.html"]
    data = json.loads((tmp_path / "environments.json").read_text())
    (tmp_path / "environments.json").write_text(json.dumps({**data, "version": 0}))
    with pytest.raises(UsageError, match="run it again"):
        load(tmp_path)
    with pytest.raises(UsageError, match="rehearse --environments"):
        load(tmp_path / "nowhere")


def test_settings_of_stacks_keep_what_they_had() -> None:
    known = {"zdm:environment": "dev", "zdm:aurora": {"readers": 1}}
    made = nested("zdm", known, {"aurora.maxAcu": 4, "region": "eu-west-1"})
    assert made == {"zdm:environment": "dev", "zdm:aurora": {"readers": 1, "maxAcu": 4}, "zdm:region": "eu-west-1"}
    assert known == {"zdm:environment": "dev", "zdm:aurora": {"readers": 1}}


def test_the_three_stacks_settings_are_good() -> None:
    from infra.settings import parse_settings

    for name, values in settings().items():
        config = {key.removeprefix("zdm:"): value for key, value in nested("zdm", {}, values).items()}
        parse_settings(config, name)
