"""The page of a cost report: complete, self-contained, escaped, and with its sources as links."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from msgspec.structs import replace

from topout import records
from topout.records import CostReport
from topout.report import describe
from topout.report.machine.hardware import sources_table
from topout.report.to_html import to_html
from topout.verbs.cost_request import CostRequest
from topout.verbs.report_cost import report_cost

from ..browser import drawn, needs_browser, opened
from ..html_page import Page, external_loads
from .any_cost import cost_reports
from .example_cost import (
    MARKUP,
    NO_BANDWIDTH,
    bare_report,
    decoder_report,
    gpu,
    many_machines_report,
    marked_up_report,
)
from .test_terminal import REPORTS

LINKS = ["https://example.org/a100.pdf", "https://example.org/mamf"]


@pytest.fixture(scope="module")
def html() -> str:
    report = decoder_report()
    return to_html(describe(report))


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
    rows = re.findall(r"<tr[^>]*>\s*<td[^>]*>mlp_down</td>.*?</tr>", html, re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    # Prefill and decode on three machines; 2 · 32 · 14336 · 4096 FLOPs a token.
    assert [row[3] for row in cells] == ["1.92 T", "3.76 G"] * 3
    assert cells[1][:6] == ["mlp_down", "32", "1×14336 · 14336×4096", "3.76 G", "3.76 G", "1.00"]


def test_the_figures_of_machines_have_their_sources(html: str) -> None:
    text = _text(html)
    assert re.search(r">312 TFLOP/s</td>\s*<td[^>]*>271 TFLOP/s</td>", html)
    assert "a table of matrix products, https://example.org/mamf (PyTorch)" in text
    assert "compute.fp8: the device has no arithmetic in this type" in text
    assert '<a href="https://example.org/mamf" rel="noopener noreferrer">' in html


def test_charts_are_there_without_scripts(html: str) -> None:
    drawn = re.findall(r'<div class="chart[^"]*" data-chart="(\w+)"><svg', html)
    assert drawn == [
        "rates",
        "time_decode",
        "time_prefill",
        "time_training",
        "memory",
        "kv_cache",
        "training_memory",
    ]


def test_a_machine_with_roofs_has_its_roofline_on_the_page() -> None:
    html = to_html(describe(report_cost(CostRequest(model="gpt2", on=["a100-80gb"]))))
    assert 'id="roofline_1"' in html and "Roofline of a100-80gb: gpt2" in _text(html)


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
    assert len(drawn(dom)) == 7
    assert dom.count('class="marks"') == 7  # the pictures are gone


def test_missing_figures_have_their_reason() -> None:
    text = _text(to_html(describe(many_machines_report())))
    assert f"my-own-npu, decode: {NO_BANDWIDTH}" in text


def test_markup_in_any_name_is_text() -> None:
    html = to_html(describe(marked_up_report()))
    page = Page(html)
    assert page.count("script") == Page(to_html(describe(decoder_report()))).count("script") == 4
    assert page.count("img") == 0
    assert page.text.count(MARKUP) > 20
    assert set(external_loads(html)) <= {*LINKS, "https://example.org/"}
    assert records.decode(page.scripts["cost-record"], CostReport) == marked_up_report()


@pytest.mark.parametrize("make", REPORTS)
def test_any_example_has_a_page(make: Callable[[], CostReport]) -> None:
    text = Page(to_html(describe(make()))).text
    assert "How to read this" in text
    assert not re.search(r"\bNone\b|\bnan\b|\bundefined\b", text)


def test_a_page_without_charts_carries_no_chart_library() -> None:
    html = to_html(describe(bare_report()))
    assert "data-chart=" not in html
    assert len(html) < 40_000


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(cost_reports())
def test_any_report_has_a_page(report: CostReport) -> None:
    html = to_html(describe(report))
    assert records.decode(Page(html).scripts["cost-record"], CostReport) == report


def test_the_report_does_not_import_torch() -> None:
    code = (
        "import sys, topout.report.cost.document, topout.report.cost.charts, "
        "topout.report.cost.models; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("a document", []),
        ("see https://example.org/a_(b), page 3", ["https://example.org/a_(b"]),
        ("javascript:alert(1)", []),
        ("https://example.org.", ["https://example.org"]),
    ],
)
def test_only_web_addresses_become_links(text: str, addresses: list[str]) -> None:
    hardware = replace(
        gpu("a100", 80), memory_source=text, source="", compute=[], levels=[], links=[]
    )
    report = decoder_report()
    machine = replace(report.machines[0], hardware=hardware)
    page = Page(to_html(describe(replace(report, machines=[machine]))))
    targets = [a["href"] for tag, a in page.elements if tag == "a" and a.get("href")]
    assert [each for each in targets if not (each or "").startswith("#")] == addresses
    assert text in page.text


def test_a_source_given_twice_stands_once() -> None:
    rows = {row.cell(0).value: row for row in sources_table(gpu("a100", 80)).rows}
    assert rows["memory"].cell(1).value == "80.0 GiB"
    assert rows["memory"].cell(3).value.count(LINKS[0]) == 1
