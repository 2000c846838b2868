"""The page: complete, self-contained, escaped, and alive in a browser without a network."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from topout import records
from topout.records import Climb
from topout.report import describe
from topout.report.to_html import to_html

from ..browser import drawn, needs_browser, opened
from ..example_climb import MARKUP, example_climb
from ..html_page import Page, external_loads
from .hard_climbs import HARD_CLIMBS, empty_climb, marked_up_climb, unplaced_climb


@pytest.fixture(scope="module")
def html() -> str:
    return to_html(describe(example_climb()))


def test_the_page_loads_nothing(html: str) -> None:
    assert external_loads(html) == []
    assert "default-src 'none'" in html


@pytest.mark.parametrize(
    "load",
    [
        '<img src="https://example.org/x.png">',
        '<script src="//cdn.example.org/vega.js"></script>',
        '<link rel="stylesheet" href="x.css">',
        '<a href="https://example.org">out</a>',
        "<style>@import 'x.css';</style>",
        '<p style="background: url(x.png)">',
    ],
)
def test_the_check_for_loads_finds_one(load: str) -> None:
    assert external_loads(f"<html><body>{load}</body></html>")


def test_the_page_is_of_reasonable_size(html: str) -> None:
    assert len(html.encode()) < 3_000_000


def test_the_page_says_what_the_record_says(html: str) -> None:
    climb, text = example_climb(), " ".join(Page(html).text.split())
    for rung in climb.rungs:
        assert rung.name in text
        assert rung.change in text
        assert rung.reason in text
    for finding in climb.findings:
        assert finding in text
    for figure in ("4.28×", "[4.26, 4.30]", "208 → 890 tokens/s", "118 GFLOP/s", "24.6 GB/s"):
        assert figure in text
    assert "Run again on a quieter machine" in text
    assert "perplexity rose by 94 %" in text
    assert "a rung that fails verification is not timed." in text


@pytest.mark.parametrize("term", ["TTFT", "TPOT", "MFU", "MBU", "interval"])
def test_terms_are_explained(html: str, term: str) -> None:
    reading = html[html.index('id="reading"') :]
    assert re.search(rf"<dt>[^<]*{term}[^<]*</dt>", reading)


def test_the_record_can_be_taken_back_out_of_the_page(html: str) -> None:
    embedded = Page(html).scripts["climb-record"]
    assert records.decode(embedded, Climb) == example_climb()


def test_charts_are_there_without_scripts(html: str) -> None:
    assert len(re.findall(r'<div class="chart[^"]*" data-chart="\w+"><svg', html)) == 6


def test_the_ids_of_the_pictures_do_not_collide(html: str) -> None:
    ids = [attributes["id"] for _, attributes in Page(html).elements if attributes.get("id")]
    assert len(ids) == len(set(ids))


def test_links_within_the_page_lead_somewhere(html: str) -> None:
    page = Page(html)
    ids = {attributes.get("id") for _, attributes in page.elements}
    targets = [attrs["href"] for tag, attrs in page.elements if tag == "a" and "href" in attrs]
    assert targets
    assert all((target or "").removeprefix("#") in ids for target in targets)


def test_markup_in_any_name_is_text() -> None:
    html = to_html(describe(marked_up_climb()))
    page = Page(html)
    assert page.count("script") == Page(to_html(describe(example_climb()))).count("script") == 4
    assert page.count("img") == 0
    assert page.text.count(MARKUP) > 20
    assert external_loads(html) == []
    assert records.decode(page.scripts["climb-record"], Climb) == marked_up_climb()


@pytest.mark.parametrize("make", HARD_CLIMBS)
def test_any_climb_has_a_page(make: Callable[[], Climb]) -> None:
    html = to_html(describe(make()))
    text = Page(html).text
    assert "How to read this" in text
    assert not re.search(r"\bNone\b|\bnan\b|\bundefined\b", text)


def test_missing_ceilings_have_their_reason() -> None:
    assert "no compiler was found." in to_html(describe(empty_climb()))
    assert "The ceilings were not measured" in to_html(describe(unplaced_climb()))


def test_the_report_does_not_import_torch() -> None:
    code = (
        "import sys, topout.report.climb.charts, topout.report.climb.document; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_browser
def test_the_charts_come_alive_in_a_browser_without_a_network(html: str, tmp_path: Path) -> None:
    dom, console = opened(html, tmp_path)
    assert console == []
    assert drawn(dom) == ["decode", "prefill", "roofline", "memory", "runs", "bandwidth"]
    assert dom.count('class="marks"') == 6  # the pictures are gone


@needs_browser
def test_markup_does_nothing_in_a_browser(tmp_path: Path) -> None:
    dom, console = opened(to_html(describe(marked_up_climb())), tmp_path)
    assert console == []
    assert len(drawn(dom)) == 6
    page = Page(dom)
    assert page.count("script") == 4
    assert page.count("img") == 0


@needs_browser
def test_a_chart_that_cannot_be_drawn_leaves_its_picture(html: str, tmp_path: Path) -> None:
    specs = json.loads(Page(html).scripts["chart-specs"])
    specs["decode"]["mark"], specs["decode"]["layer"] = "no such mark", None
    start = html.index('id="chart-specs">') + len('id="chart-specs">')
    end = html.index("</script>", start)
    dom, console = opened(html[:start] + json.dumps(specs) + html[end:], tmp_path)
    assert console
    assert "decode" not in drawn(dom)
    assert re.search(r'data-chart="decode"[^>]*><svg', dom)
