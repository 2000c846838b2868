"""The pages of a trace and of a comparison: complete, self-contained, escaped."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.trace.analysis.example_trace_report import (
    MARKUP,
    change,
    device,
    diff_report,
    empty_report,
    gpus_report,
    host_report,
    marked_up_report,
)
from topout import records
from topout.records import Doubt, TraceDiff, TraceReport
from topout.report import describe
from topout.report.to_html import to_html

from ..browser import drawn, needs_browser, opened
from ..html_page import Page, external_loads
from .test_terminal import REPORTS


@pytest.fixture(scope="module")
def html() -> str:
    return to_html(describe(gpus_report()))


def text_of(html: str) -> str:
    """The page's words, those of neighbouring cells apart."""
    apart = re.sub(r"</(t[dh]|span|b|d[dt])>", r"\g<0> ", html)
    return " ".join(Page(apart).text.split())


@pytest.mark.parametrize("make", REPORTS)
def test_every_report_has_a_page_that_loads_nothing(make: Callable[[], TraceReport]) -> None:
    html = to_html(describe(make()))
    assert external_loads(html) == []
    assert "default-src 'none'" in html
    text = text_of(html)
    assert "How to read this" in text
    assert not re.search(r"\bNone\b|\bnan\b|\bundefined\b", text)


def test_the_page_says_what_the_record_says(html: str) -> None:
    report, text = gpus_report(), text_of(html)
    for sentence in (*report.findings, *(doubt.sentence for doubt in report.doubts)):
        assert sentence in text
    for kernel in report.ranks[0].kernels:
        assert kernel.name in text
    for figure in ("770 (77 %)", "75.0 (33 %)", "for rank 3", "5.00 GB/s", "750 MB", "odd_kernel"):
        assert figure in text


def test_tiles_tell_the_span_over_devices(html: str) -> None:
    text = text_of(html)
    assert "busy 74 % 67 % to 77 % of a device" in text  # (3 · 0.77 + 0.67) / 4 = 0.745
    assert "computing 60 % 60 % of each device" in text


def test_ids_are_unique_and_links_within_the_page_lead_somewhere(html: str) -> None:
    for page in (Page(html), Page(to_html(describe(diff_report())))):
        ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
        assert len(ids) == len(set(ids))
        targets = [attrs["href"] or "" for tag, attrs in page.elements if tag == "a"]
        assert {target.removeprefix("#") for target in targets} <= set(ids)


def test_the_record_can_be_taken_back_out_of_the_page(html: str) -> None:
    assert records.decode(Page(html).scripts["trace-record"], TraceReport) == gpus_report()
    compared = Page(to_html(describe(diff_report())))
    assert records.decode(compared.scripts["trace-diff-record"], TraceDiff) == diff_report()


def test_many_devices_have_a_summary_and_each_its_figures() -> None:
    text = text_of(to_html(describe(gpus_report(64))))
    assert "Mean Least Most" in text and "Every one of 64 devices" in text
    assert text.count("ampere_sgemm_128x64_tn") >= 65


def test_top_limits_the_kernels() -> None:
    text = text_of(to_html(describe(gpus_report(1), top=1)))
    table = text[text.index("Longest kernels, rank 0 Name") : text.index("Communication Transfer")]
    assert "ampere_sgemm" in table and "nccl" not in table and "4 more in --json" in table


def test_missing_figures_have_their_reason() -> None:
    text = text_of(to_html(describe(host_report())))
    assert "communication: one rank alone sends nothing" in text
    assert "the trace has no events with a duration" in text_of(to_html(describe(empty_report())))


def test_markup_in_any_name_is_text() -> None:
    page = Page(to_html(describe(marked_up_report())))
    assert page.count("script") == Page(to_html(describe(gpus_report()))).count("script")
    assert page.text.count(MARKUP) > 12
    diff = diff_report(
        before=MARKUP,
        after=MARKUP,
        groups=[change(MARKUP, 0.1, 0.2)],
        kernels=[change(MARKUP, 0.1, 0.2)],
        findings=[MARKUP],
        doubts=[Doubt(about=MARKUP, sentence=MARKUP, remedy=MARKUP)],
        reasons={MARKUP: MARKUP},
    )
    compared = Page(to_html(describe(diff)))
    assert compared.count("script") == page.count("script")
    assert compared.text.count(MARKUP) >= 9
    assert external_loads(to_html(describe(diff))) == []


def test_a_comparison_says_what_changed() -> None:
    text = text_of(to_html(describe(diff_report())))
    for words in (
        "What got slower?",
        "A step takes 90.0 ms, where it took 100 ms: 10.0 % shorter.",
        "0.900× the time",
        "matrix-mul 60.0 40.0 −20.0 0.667× 10",
        "gone 48 → 0",
    ):
        assert words in text


def test_a_comparison_of_alike_traces_has_no_chart() -> None:
    same = diff_report(groups=[change("memory", 0.1, 0.1)], kernels=[], wall_after_s=0.1)
    html = to_html(describe(same))
    assert "data-chart=" not in html.split("<script")[0]
    assert "A step takes 100 ms, and took 100 ms." in text_of(html)


def test_a_trace_without_time_before_has_no_ratio() -> None:
    text = text_of(to_html(describe(replace(diff_report(), wall_before_s=0.0, per_step=False))))
    assert "The trace spans 90.0 ms, and took 0 s." in text and "– the time" in text


@needs_browser
def test_a_browser_draws_every_chart(html: str, tmp_path: Path) -> None:
    dom, complaints = opened(html, tmp_path)
    assert complaints == []
    assert sorted(drawn(dom)) == [
        "collectives",
        "critical_path",
        "groups",
        "idle",
        "memory",
        "time",
        "transfers",
    ]


@needs_browser
def test_a_browser_draws_a_comparison(tmp_path: Path) -> None:
    dom, complaints = opened(to_html(describe(diff_report())), tmp_path)
    assert complaints == []
    assert drawn(dom) == ["groups", "kernels"]


def test_the_page_of_a_summary_claims_no_idle_time() -> None:
    sums = device(
        idle_s=None, overlap_s=None, exposed_communication_s=None, utilization=None, idle=[]
    )
    text = text_of(to_html(describe(replace(gpus_report(1), ranks=[sums]))))
    assert "communication not hidden" not in text and "when it ran is not known" in text
    assert "nothing ran" not in text.split("How to read this")[0]
