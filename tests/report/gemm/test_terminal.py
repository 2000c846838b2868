"""The table of a comparison: all figures, within 80 columns."""

import io

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tests.gemm import example_report as example
from topout.gemm.results import with_parallel_efficiency
from topout.records import GemmReport
from topout.report import describe
from topout.report.gemm.rows import gemm_rows, report_title, shape_facts, shape_title
from topout.report.to_terminal import to_terminal


def shown(report: GemmReport, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(to_terminal(describe(report)))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_every_figure_is_there_in_80_columns() -> None:
    shapes = with_parallel_efficiency([example.shape(threads=1), example.shape(threads=2)])
    text = shown(example.report(*shapes))
    assert max(len(line) for line in text.splitlines()) <= 80
    for figure in (
        "1024x1024x1024, fp32, 2 threads",
        "171 FLOP/byte",
        "ceiling 235 GFLOP/s",
        "★ prepacked",
        "226",
        "96 %",
        "141×",
        "140–143",
        "Rivals",
        "★ onednn_packed",
        "Effi-",
        "ciency",
        "100 %",
        "prepacked is the fastest version.",
        "It is busy.",
    ):
        assert figure in text, figure


def test_what_was_not_timed_stands_with_its_reason() -> None:
    shape = example.shape()
    broken = example.failed("mine.cpp", "first C[0][1] = 5 where 4 is right")
    missing = msgspec.structs.replace(
        broken, name="mkl", status="skipped", reason="built without MKL"
    )
    shape = msgspec.structs.replace(
        shape, versions=[broken], rivals=[missing], reasons={"weights": "8 matrices took turns"}
    )
    text = shown(example.report(shape))
    assert "! mine.cpp: first C[0][1] = 5 where 4 is right" in text
    assert "– mkl: built without MKL" in text
    assert "8 matrices took turns" in text


def test_an_interrupted_comparison_says_so() -> None:
    report = example.report()
    assert "interrupted" not in shown(report)
    assert "interrupted" in shown(msgspec.structs.replace(report, finished=False))
    assert "Nothing was compared." in shown(msgspec.structs.replace(report, shapes=[]))


def test_the_fastest_version_and_the_fastest_rival_are_marked() -> None:
    best = [row.name for row in gemm_rows(example.shape()) if row.is_best]
    assert best == ["prepacked", "onednn_packed"]


@pytest.mark.parametrize(
    ("report", "title"),
    [
        (example.report(model="gpt2"), "Matrix products of gpt2"),
        (example.report(), "Matrix product 1024x1024x1024"),
        (example.report(example.shape(), example.shape(2, 2, 2)), "2 matrix products"),
    ],
)
def test_titles(report: GemmReport, title: str) -> None:
    assert report_title(report) == title


def test_a_product_in_words() -> None:
    shape = example.shape(835, 768, 768, label="attention_out", calls=12, threads=1)
    assert shape_title(shape) == "835x768x768, attention_out, fp32, 1 thread"
    assert "985 MFLOP, 12 times in a pass" in shape_facts(shape)  # 2 · 835 · 768 · 768
    assert "GOP/s" in shape_facts(example.shape(dtype="int8"))


@settings(max_examples=20, deadline=None)
@given(
    st.floats(1e-4, 1e4),
    st.floats(0, 0.999),
    st.integers(1, 2**31 - 1),
    st.text("abcdefgh_", min_size=1, max_size=40),
)
def test_no_figure_breaks_the_layout(value: float, spread: float, m: int, name: str) -> None:
    shape = example.shape(threads=1)
    result = msgspec.structs.replace(
        shape.versions[-1],
        name=name,
        over_naive=example.ratio(value, spread),
        over_previous=example.ratio(value, spread),
        over_best_rival=example.ratio(value, spread),
        flops_per_s=example.estimate(value * 1e9, spread),
    )
    text = shown(example.report(msgspec.structs.replace(shape, m=m, versions=[result])))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "Effi-" in text


def test_what_no_version_could_be_explained_by_is_named_with_the_reason() -> None:
    shape = example.shape(explained=True)
    assert "simulation: cachegrind is not installed" in shown(example.report(shape))
    # Of one version alone it is no matter of the machine.
    first = shape.versions[0]
    assert first.explanation is not None
    known = msgspec.structs.replace(first.explanation, reasons={})
    versions = [msgspec.structs.replace(first, explanation=known), *shape.versions[1:]]
    partly = msgspec.structs.replace(shape, versions=versions)
    assert "cachegrind" not in shown(example.report(partly))


def test_a_ratio_that_is_not_proven_is_marked() -> None:
    shape = example.shape()
    wild = example.ratio(4.16, 0.9)
    versions = [msgspec.structs.replace(each, over_naive=wild) for each in shape.versions]
    text = shown(example.report(msgspec.structs.replace(shape, versions=versions)))
    assert "? 0.416–7.90" in text and "? 0.416" not in shown(example.report())
