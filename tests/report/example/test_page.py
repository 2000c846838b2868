"""The worked example as a page."""

import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from tests.example_machines import cpu, empty, gpu, run_of
from topout.cost.example_report import report_example
from topout.cost.examples import example
from topout.records import Doubt, ExampleReport, decode
from topout.report import describe
from topout.report.example.charts import example_charts
from topout.report.to_html import to_html

from ..html_page import external_loads

MARKUP = "<script>alert(1)</script>"


class _Text(HTMLParser):
    """The text of a page outside scripts and styles, and the record that it carries."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words, self.record, self.open = "", "", [""]
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "style", "svg"):
            self.open.append(dict(attrs).get("id") or tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style", "svg"):
            self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open[-1] == "example-record":
            self.record += data
        elif len(self.open) == 1:
            self.words += data


def full() -> ExampleReport:
    run = run_of(example("stencil"), 7e9, read_bytes_per_s=[19e9, 20e9, 21e9])
    doubt = Doubt(about=MARKUP, sentence=MARKUP, remedy="None needed.")
    return report_example("stencil", None, [gpu(), cpu()], replace(run, doubts=[doubt]))


@pytest.fixture(scope="module")
def report() -> ExampleReport:
    return full()


@pytest.fixture(scope="module")
def page(report: ExampleReport) -> str:
    return to_html(describe(report))


def test_the_page_says_what_the_report_says(report: ExampleReport, page: str) -> None:
    words = " ".join(_Text(page).words.split())
    for sentence in [*report.findings, *report.example.notes]:
        assert " ".join(sentence.split()) in words
    for traffic in report.example.traffic:
        assert traffic.bytes_sum in words
    assert "0.4375 FLOP/byte" in words
    assert "Ridge point" in words


def test_the_page_loads_nothing_and_shows_markup_as_text(page: str) -> None:
    assert "default-src 'none'" in page
    assert external_loads(page) == []
    assert MARKUP not in page
    assert MARKUP in _Text(page).words


def test_the_record_can_be_taken_back_out_of_the_page(report: ExampleReport, page: str) -> None:
    assert decode(_Text(page).record, ExampleReport) == report


def test_each_machine_has_a_roofline_with_its_points(report: ExampleReport) -> None:
    here = example_charts(report)[1]
    names = {
        row["label"]
        for layer in here.spec["layer"]
        for row in _rows(here.spec, layer)
        if "region" in row
    }
    assert names == {
        "perfect cache, predicted",
        "no cache, measured",
        "stores read first, measured",
        "perfect cache, measured",
    }


def _rows(spec: dict, layer: dict) -> list[dict]:  # type: ignore[type-arg]
    data = layer["data"]
    return list(spec["datasets"][data["name"]] if "name" in data else data["values"])


def test_a_machine_without_figures_has_no_chart_but_a_reason() -> None:
    report = report_example("axpy", None, [empty(), gpu()])
    assert [chart.key for chart in example_charts(report)] == ["roofline-1"]
    words = _Text(to_html(describe(report))).words
    assert "its file states no fp64 rate" in words
    assert not re.search(r"\bNone\b|\bnan\b", words)


def test_a_report_without_machines_is_still_a_page() -> None:
    assert "No machine was asked about" in to_html(describe(report_example("matmul", 64, [])))
