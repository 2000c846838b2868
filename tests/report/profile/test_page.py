"""The page of a profile: self-contained, escaped, and with the figures of the record."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from topout.machine.catalog.measured import roofs_for
from topout.records import ProfileReport
from topout.report import describe
from topout.report.to_html import to_html

from ..browser import drawn, needs_browser, opened
from ..html_page import Page, external_loads
from .example_profile import MARKUP, example_phase, example_profile


def page_of(report: ProfileReport) -> str:
    roofs = roofs_for(report.machine, report.ceilings, report.threads)
    return to_html(describe(report, hardware=roofs))


def text_of(report: ProfileReport) -> str:
    return " ".join(Page(page_of(report)).text.split())


def test_it_loads_nothing() -> None:
    page = page_of(example_profile())
    assert external_loads(page) == [] and "default-src 'none'" in page


def test_its_figures_are_those_of_the_record() -> None:
    text = text_of(example_profile())
    for words in (
        "Decode takes 4.00 ms a pass, most of it in mlp.up (90 %); 20 % of it in no operator.",
        "Operators 8.00 ms + gaps 2.00 ms = 10.0 ms; the clock says 10.0 ms (0.10 % apart).",
        "1.25× as long [1.20, 1.30]",
        "aten::addmm",
        "[1, 8] [8, 9]",
        "(no operator)",
        "50.0 GFLOP/s",
        "42.0 %",
        "mine::scan",
        "no formula",
        "MainThread (77)",
        "topout-runs/trace.json.gz",
        "matrix-mul",
    ):
        assert words in text, words


def test_names_are_text() -> None:
    report = example_profile(name=MARKUP, phases=[example_phase(MARKUP, MARKUP)])
    page = page_of(report)
    assert "<script>alert" not in page and external_loads(page) == []


def test_a_function_without_a_model_has_a_page() -> None:
    report = example_profile(model=None, workload=None, backend=None)
    assert "a function, called on 2 threads" in text_of(report)


def test_without_ceilings_there_is_no_roofline() -> None:
    assert 'id="roofline"' in page_of(example_profile())
    assert 'id="roofline"' not in page_of(example_profile(ceilings=None))


@pytest.mark.parametrize("phases", [[], [replace(example_phase(), operators=[], timeline=[])]])
def test_what_is_empty_is_no_fault(phases: list) -> None:  # type: ignore[type-arg]
    assert "topout profile" in text_of(example_profile(phases=phases, memory=[]))


@needs_browser
def test_a_browser_draws_every_chart(tmp_path: Path) -> None:
    dom, complaints = opened(page_of(example_profile()), tmp_path)
    assert complaints == []
    assert drawn(dom) == [
        "operators_decode",
        "parts_decode",
        "timeline_decode",
        "roofline",
        "memory_0",
        "resident_0",
    ]
