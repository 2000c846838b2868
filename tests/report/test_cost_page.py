"""The page of a cost report: complete, self-contained, escaped, and with its sources as links."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from topout import records
from topout.records import CostReport
from topout.report.cost.charts import cost_charts
from topout.report.cost.page import cost_page
from topout.report.machine.hardware_figures import Source, hardware_figures, source_pieces

from .any_cost import cost_reports
from .browser import drawn, needs_browser, opened
from .example_cost import (
    MARKUP,
    NO_BANDWIDTH,
    bare_report,
    decoder_report,
    gpu,
    many_machines_report,
    marked_up_report,
)
from .html_page import Page, external_loads
from .test_cost_table import REPORTS

LINKS = ["https://example.org/a100.pdf", "https://example.org/mamf"]


@pytest.fixture(scope="module")
def html() -> str:
    report = decoder_report()
    return cost_page(report, [("A roofline of ours", cost_charts(report)["rates"])])


def _text(html: str) -> str:
    return " ".join(Page(html).text.split())


def test_the_page_loads_nothing_and_leads_only_to_sources(html: str) -> None:
    assert external_loads(html, links=LINKS) == []
    assert set(external_loads(html)) == set(LINKS)
    assert "default-src 'none'" in html


def test_the_page_says_what_the_record_says(html: str) -> None:
    report, text = decoder_report(), _text(html)
    for sentence in [*report.findings, *report.conventions, *report.not_counted]:
        assert sentence in text
    for machine in report.machines:
        assert machine.name in text
        for op in machine.ops:
            assert op.name in text
            assert op.shape in text
    for figure in (
        "28.1 ms",
        "24.7–33.7 ms",
        "105",
        "87.4–119",
        "91 % of time",
        "15.5 GFLOP in products",
        "1020×",
        "537 MFLOP, 537 MB, intensity 1.00 FLOP/byte",
        "2.00 TiB",
        "178 GiB",
    ):
        assert figure in text


def test_every_op_of_every_machine_has_its_figures(html: str) -> None:
    rows = re.findall(r"<tr><td>mlp_down</td>.*?</tr>", html, re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    # Prefill and decode on three machines; 2 · 32 · 14336 · 4096 FLOPs a token.
    assert [row[3] for row in cells] == ["1.92 T", "3.76 G"] * 3
    assert cells[1][:6] == ["mlp_down", "32", "1×14336 · 14336×4096", "3.76 G", "3.76 G", "1.00"]


def test_the_figures_of_machines_have_their_sources(html: str) -> None:
    text = _text(html)
    assert '<td class="num">312 TFLOP/s</td><td class="num">271 TFLOP/s</td>' in html
    assert "a table of matrix products, https://example.org/mamf (PyTorch)" in text
    assert "compute.fp8: the device has no arithmetic in this type" in text
    assert '<a href="https://example.org/mamf" rel="noopener noreferrer">' in html


def test_charts_are_there_without_scripts_and_rooflines_among_them(html: str) -> None:
    drawn = re.findall(r'<div class="chart" data-chart="(\w+)"><svg', html)
    assert drawn == [
        "rates",
        "time_prefill",
        "time_decode",
        "time_training",
        "roofline_1",
        "memory",
        "kv_cache",
        "training_memory",
    ]
    assert "A roofline of ours" in _text(html)


def test_ids_are_unique_and_links_within_the_page_lead_somewhere(html: str) -> None:
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"] or "" for tag, attrs in page.elements if tag == "a"]
    inside = [target.removeprefix("#") for target in targets if target.startswith("#")]
    assert len(inside) > 6
    assert set(inside) <= set(ids)


def test_the_record_can_be_taken_back_out_of_the_page(html: str) -> None:
    assert records.decode(Page(html).scripts["cost-record"], CostReport) == decoder_report()


@needs_browser
def test_the_charts_come_alive_in_a_browser_without_a_network(html: str, tmp_path: Path) -> None:
    dom, console = opened(html, tmp_path)
    assert console == []
    assert len(drawn(dom)) == 8
    assert dom.count('class="marks"') == 8  # the pictures are gone


def test_missing_figures_have_their_reason() -> None:
    text = _text(cost_page(many_machines_report()))
    assert f"my-own-npu, decode: {NO_BANDWIDTH}" in text


def test_markup_in_any_name_is_text() -> None:
    html = cost_page(marked_up_report(), [(MARKUP, cost_charts(marked_up_report())["rates"])])
    page = Page(html)
    assert page.count("script") == Page(cost_page(decoder_report())).count("script") == 4
    assert page.count("img") == 0
    assert page.text.count(MARKUP) > 20
    assert set(external_loads(html)) <= {*LINKS, "https://example.org/"}
    assert records.decode(page.scripts["cost-record"], CostReport) == marked_up_report()


@pytest.mark.parametrize("make", REPORTS)
def test_any_example_has_a_page(make: Callable[[], CostReport]) -> None:
    text = Page(cost_page(make())).text
    assert "How to read this" in text
    assert not re.search(r"\bNone\b|\bnan\b|\bundefined\b", text)


def test_a_page_without_charts_carries_no_chart_library() -> None:
    html = cost_page(bare_report())
    assert "data-chart=" not in html
    assert len(html) < 40_000


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(cost_reports())
def test_any_report_has_a_page(report: CostReport) -> None:
    html = cost_page(report)
    assert records.decode(Page(html).scripts["cost-record"], CostReport) == report


def test_the_report_does_not_import_torch() -> None:
    code = (
        "import sys, topout.report.cost.page, topout.report.cost.table, "
        "topout.report.cost.known_models_table; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("a document", [Source("a document")]),
        (
            "see https://example.org/a_(b), page 3",
            [
                Source("see "),
                Source("https://example.org/a_(b", "https://example.org/a_(b"),
                Source("), page 3"),
            ],
        ),
        ("javascript:alert(1)", [Source("javascript:alert(1)")]),
        (
            "https://example.org.",
            [Source("https://example.org", "https://example.org"), Source(".")],
        ),
        ("", []),
    ],
)
def test_only_web_addresses_become_links(text: str, pieces: list[Source]) -> None:
    assert source_pieces(text) == pieces


def test_a_source_given_twice_stands_once() -> None:
    memory = next(row for row in hardware_figures(gpu("a100", 80)) if row.name == "memory")
    assert memory.spec == "80.0 GiB"
    assert [piece.href for source in memory.sources for piece in source if piece.href] == LINKS[:1]
