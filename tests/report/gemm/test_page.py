"""The page of a comparison: complete, self-contained, escaped, drawn by a browser."""

from pathlib import Path

import msgspec
import pytest

from tests.gemm import example_report as example
from topout import records
from topout.records import GemmReport
from topout.report import describe
from topout.report.to_html import to_html

from ..browser import drawn, needs_browser, opened
from ..html_page import Page, external_loads


@pytest.fixture(scope="module")
def html() -> str:
    return to_html(describe(example.report()))


def text_of(html: str) -> str:
    return " ".join(Page(html).text.split())


def test_the_page_loads_nothing(html: str) -> None:
    assert external_loads(html) == []
    assert "default-src 'none'" in html


def test_the_page_says_what_the_record_says(html: str) -> None:
    text = text_of(html)
    for figure in (
        "Matrix product 1024x1024x1024",
        "prepacked is the fastest version.",
        "226",  # GFLOP/s
        "141×",  # over naive
        "1024x1024x1024, fp32, 1 thread",
        "onednn_packed (B packed ahead)",
        "It is busy. Wait.",
        "24 accumulators hide the latency of a multiply-add.",
        "12.5 MB",
        "from the loops and block sizes",
        "31.0 M",  # cycles
        "cachegrind is not installed",
        "Example CPU",
    ):
        assert figure in text, figure


def test_a_failure_stands_with_its_reason() -> None:
    shape = example.shape()
    broken = example.failed("mine.cpp", "3 of 15 elements are wrong")
    shape = msgspec.structs.replace(shape, versions=[*shape.versions, broken])
    text = text_of(to_html(describe(example.report(shape))))
    assert "! mine.cpp: failed" in text and "3 of 15 elements are wrong" in text


def test_whole_numbers_are_no_flops() -> None:
    assert "GOP/s" in text_of(to_html(describe(example.report(example.shape(dtype="int8")))))


def test_markup_in_a_record_is_text() -> None:
    shape = msgspec.structs.replace(example.shape(), label=example.MARKUP)
    broken = example.failed(example.MARKUP, example.MARKUP)
    shape = msgspec.structs.replace(shape, versions=[*shape.versions, broken])
    html = to_html(describe(example.report(shape, model=example.MARKUP, source=example.MARKUP)))
    assert example.MARKUP not in html
    assert example.MARKUP in text_of(html)


@pytest.mark.parametrize("finished", [True, False])
def test_a_report_of_nothing_is_a_page(finished: bool) -> None:
    empty = msgspec.structs.replace(
        example.report(),
        shapes=[],
        findings=[],
        doubts=[],
        ceilings=None,
        finished=finished,
    )
    text = text_of(to_html(describe(empty)))
    assert "Nothing was compared." in text
    assert ("interrupted" in text) is not finished


def test_a_product_of_nothing_is_a_page() -> None:
    shape = msgspec.structs.replace(
        example.shape(),
        m=0,
        flops=0,
        arithmetic_intensity=0.0,
        versions=[
            msgspec.structs.replace(each, status="skipped", reason="empty", flops_per_s=None)
            for each in example.shape().versions
        ],
        rivals=[],
        ceiling_flops_per_s=None,
    )
    assert "empty" in text_of(to_html(describe(example.report(shape))))


def test_the_record_itself_can_be_read_back(tmp_path: Path) -> None:
    report = example.report()
    records.write(report, tmp_path / "run.json")
    assert records.read(tmp_path / "run.json", GemmReport) == report


@needs_browser
def test_a_browser_draws_every_chart(html: str, tmp_path: Path) -> None:
    dom, console = opened(html, tmp_path)
    assert drawn(dom) == ["ladder0", "roofline_fp32", "threads0"]
    assert console == []
