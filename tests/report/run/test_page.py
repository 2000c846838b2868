"""The page of a run: self-contained, escaped, and no speed for what is not right."""

from pathlib import Path

import pytest

from topout.machine.catalog.measured import roofs_for
from topout.records.climb import RunReport
from topout.report import describe
from topout.report.to_html import to_html

from ..browser import drawn, needs_browser, opened
from ..html_page import Page, external_loads
from .example_run import MARKUP, example_run, failed_run, swapped_run


def page_of(report: RunReport) -> str:
    roofs = roofs_for(report.machine, report.ceilings, report.workload.threads)
    return to_html(describe(report, hardware=roofs))


def text_of(report: RunReport) -> str:
    return " ".join(Page(page_of(report)).text.split())


@pytest.mark.parametrize("report", [example_run(), swapped_run(), failed_run()])
def test_it_loads_nothing(report: RunReport) -> None:
    page = page_of(report)
    assert external_loads(page) == []
    assert "default-src 'none'" in page


def test_it_says_how_fast_it_is() -> None:
    text = text_of(example_run())
    for words in ("4000", "300", "±2.0 %", "64.0 ms", "400 MiB", "Prefill does 61 GFLOP/s."):
        assert words in text
    assert "PyTorch's place" not in text.split("How to read this")[0]


def test_a_version_in_place_stands_beside_pytorchs_own() -> None:
    text = text_of(swapped_run())
    for words in ("0.250×", "[0.24, 0.26]", "0.500×", "4224 of 4236", "batched", "1.7e-05"):
        assert words in text
    assert "copied into rows first A 3" in text


def test_what_is_not_right_has_no_speed() -> None:
    text = text_of(failed_run())
    assert "my.cpp has no speed. The output is not right: a logit is off by 3" in text
    assert "not right" in text and "×" not in text.split("Findings")[0]


def test_names_are_text() -> None:
    page = page_of(swapped_run(name=MARKUP))
    assert "<script>alert" not in page
    assert external_loads(page) == []


def test_without_ceilings_there_is_no_roofline() -> None:
    assert 'id="roofline"' in page_of(example_run())
    assert 'id="roofline"' not in page_of(example_run(ceilings=None))


@needs_browser
def test_a_browser_draws_every_chart(tmp_path: Path) -> None:
    dom, complaints = opened(page_of(swapped_run()), tmp_path)
    assert complaints == []
    assert drawn(dom) == ["roofline", "runs_prefill", "runs_decode"]
