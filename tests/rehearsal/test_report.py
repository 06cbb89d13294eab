"""The report: figures against bounds, one page that needs nothing else, JSON that can be read again."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from scripts.errors import UsageError
from scripts.rehearsal import report
from scripts.rehearsal.charts import Bar, Series, Span, time_chart, waterfall
from scripts.rehearsal.ledger import LedgerVerdict
from scripts.rehearsal.result import RehearsalResult, TableCheck, load, percentile
from tests.rehearsal.made_up import rehearsal


def figures(result: RehearsalResult) -> dict[str, bool]:
    return {f.key: f.ok for f in result.figures()}


def test_a_good_rehearsal_holds_every_bound() -> None:
    result = rehearsal()
    assert result.ok and all(figures(result).values())
    assert list(figures(result)) == ["pause", "failed", "lost", "doubled", "increments", "mismatches", "lag", "latency"]


def test_what_was_not_measured_does_not_hold() -> None:
    result = RehearsalResult(name="x")
    assert not any(figures(result).values()) and not result.ok
    assert all(f.text in ("not measured", "not checked") for f in result.figures())


@pytest.mark.parametrize(
    "key", ["pause", "failed", "lost", "doubled", "increments", "mismatches", "lag", "latency", "astray"]
)
def test_each_figure_alone_fails_the_rehearsal(key: str) -> None:
    result = rehearsal()
    assert result.ledger and result.cutover
    finding = rehearsal(good=False).ledger.lost[0]  # type: ignore[union-attr]
    match key:
        case "pause":
            result.cutover["pauseSeconds"] = 31.0
        case "failed":
            result.seconds[3].failed = 100
        case "lost":
            result.ledger.lost.append(finding)
        case "doubled":
            result.ledger.doubled.append(finding)
        case "increments":
            result.ledger.increments.append(finding)
        case "astray":
            result.ledger.misplaced.append(finding)
        case "mismatches":
            result.checks[0] = TableCheck("customers", 5, 5, 1)
        case "lag":
            result.lag = [(t, dict.fromkeys(tables, 31.0)) for t, tables in result.lag]
        case "latency":
            for second in result.seconds:
                for histogram in second.latency.values():
                    histogram.buckets = {200: histogram.count}
    assert not result.ok
    assert [k for k, ok in figures(result).items() if not ok] == [key]


def test_a_table_that_was_not_compared_is_no_pass() -> None:
    result = rehearsal()
    result.checks[2] = TableCheck("products", 5, 5, None)
    assert not figures(result)["mismatches"]


def test_an_error_is_no_pass_and_is_told() -> None:
    result = rehearsal()
    result.error = "the gate at 5 % is closed: <latency>"
    assert not result.ok
    assert "the gate at 5 % is closed: &lt;latency&gt;" in report.page(result)


class Outside(HTMLParser):
    """Collects everything that a browser would have to fetch, and checks that tags are closed."""

    VOID = frozenset({"meta", "line", "rect", "path", "br", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.mark.parametrize("good", [True, False])
def test_the_page_needs_nothing_else_and_is_well_formed(good: bool) -> None:
    page = report.page(rehearsal(good=good))
    parser = Outside()
    parser.feed(page)
    assert parser.found == [] and parser.open == []
    assert not re.search(r"https?://|@import|url\(", page)
    assert "nan" not in re.sub(r"<[^>]+>", "", page).lower().split()
    assert ("Passed" in page) is good


def test_the_page_of_a_rehearsal_that_failed_at_once() -> None:
    page = report.page(RehearsalResult(name="x", started=1.0, ended=3.5, error="no MySQL"))
    assert "no MySQL" in page and "Under load" not in page


def test_what_was_left_out_and_what_was_found_is_named() -> None:
    page = report.page(rehearsal(good=False))
    for text in ("ins_film", "address.location", "id 41233", "5813 (-3)"):
        assert text in page


def test_json_can_be_read_again(tmp_path: Path) -> None:
    result = rehearsal(good=False)
    written = report.write(result, tmp_path)
    assert json.dumps(load(tmp_path).to_json()) == json.dumps(result.to_json())
    data = json.loads((tmp_path / "report.json").read_text())
    assert data["ok"] is False and data["figures"][0]["key"] == "pause"
    before = written.page.read_text()
    written.page.unlink()
    shown = report.show(tmp_path)
    assert shown.page.read_text() == before and not shown.ok
    assert "seconds" not in shown.to_json() and shown.to_json()["page"].endswith("report.html")


def test_a_missing_or_foreign_report_says_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\./zdm rehearse"):
        report.show(tmp_path)
    (tmp_path / "report.json").write_text('{"version": 99}')
    with pytest.raises(UsageError, match="version"):
        report.show(tmp_path)


@pytest.mark.parametrize("good", [True, False])
def test_the_terminal_shows_the_verdict(good: bool, tmp_path: Path) -> None:
    console = Console(width=120, record=True, file=(tmp_path / "x").open("w"))
    report.write(rehearsal(good=good), tmp_path).render(console)
    text = console.export_text()
    assert ("PASSED" if good else "FAILED") in text and "1.38 s" in text and "≤ 30 s" in text


def test_headlines() -> None:
    assert report.headline(rehearsal()).endswith("nothing was lost, nothing was done twice.")
    result = rehearsal()
    assert result.ledger
    result.ledger = LedgerVerdict(**{**vars(result.ledger), "lost": rehearsal(good=False).ledger.lost})  # type: ignore[union-attr]
    assert "1 of 8 figures does not hold: lost writes (1)" in report.headline(result)


def test_charts_survive_what_is_odd() -> None:
    for times, values in (
        ([], []),
        ([1.0], [None]),
        ([1.0, 2.0], [0.0, 0.0]),
        ([float(i) for i in range(2_000)], [5.0] * 2_000),
    ):
        for scale in ("linear", "log"):
            svg = time_chart(
                times,
                [Series("<a>", values, "mysql", area=True)],
                unit="ms",
                start=0.0,
                end=2.0,
                scale=scale,  # type: ignore[arg-type]
                span=Span(0.5, 0.6, "x"),
                bound=3.0,
                stacked=scale == "linear",
            )
            assert "<a>" not in svg and "nan" not in svg and len(svg) < 60_000
    assert waterfall([]) == ""
    assert "&lt;b&gt;" in waterfall([Bar("<b>", 1.0, 1.0, "0 ms")])


def test_percentiles_of_samples() -> None:
    assert percentile([], 95) is None
    assert percentile([3.0], 95) == 3.0
    assert percentile([float(i) for i in range(1, 101)], 95) == 95.0
