"""Runs on other numbers of devices, on the terminal and as a page."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.trace.analysis.example_trace_report import MARKUP, device, gpus_report
from topout import records
from topout.records import Doubt, TraceReport, TraceRuns
from topout.report import describe
from topout.report.to_html import to_html
from topout.report.to_terminal import to_terminal
from topout.report.trace.comparisons import runs_headline
from topout.trace.analysis.runs import runs_side_by_side

from ..browser import drawn, needs_browser, opened
from ..html_page import Page, external_loads
from .test_terminal import shown, words


def example() -> TraceRuns:
    """One device for a second, and four; all of the four do as much as the one."""
    return runs_side_by_side([("one", gpus_report(1)), ("four", gpus_report(4))])


def _halved(report: TraceReport) -> TraceReport:
    """Each group of each device takes half as long."""
    ranks = [
        replace(
            each,
            wall_s=each.wall_s / 2,
            groups=[replace(group, total_s=group.total_s / 2) for group in each.groups],
        )
        for each in report.ranks
    ]
    return replace(report, ranks=ranks)


def test_the_table_fits_80_columns_and_says_what_the_record_says() -> None:
    text = shown(to_terminal(describe(example())))
    assert max(map(len, text.splitlines())) <= 80
    flat = words(to_terminal(describe(example())))
    # Element-wise, matrix and other kernels: 600 ms on each device.
    for figure in (
        "Devices 1 4",
        "Work, all devices, ms 600 2,400",
        "of the first run's 1.00× 4.00×",
    ):
        assert figure in flat
    assert "Speedup – –" in flat
    assert "No speedup is claimed from 1 to 4 devices" in flat
    assert "a problem that grows with the devices (4.00×)" in flat


def test_a_speedup_is_shown_where_there_is_one() -> None:
    found = runs_side_by_side([("one", gpus_report(1)), ("two", _halved(gpus_report(2)))])
    assert runs_headline(found).startswith(
        "From 1 to 2 devices it is 2.00× as fast, an efficiency of 100 %"
    )
    assert "Speedup – 2.00×" in words(to_terminal(describe(found)))


def test_runs_on_as_many_devices_tell_nothing_of_scaling() -> None:
    same = runs_side_by_side([("a", gpus_report(2)), ("b", gpus_report(2))])
    assert runs_headline(same) == "All runs are on 2 devices: scaling cannot be told."


def test_of_many_devices_the_table_shows_some() -> None:
    many = runs_side_by_side([("one", gpus_report(1)), ("many", gpus_report(64))])
    assert "32 more on the page and in --json." in shown(to_terminal(describe(many)))


def test_idle_time_that_is_not_known_is_absent() -> None:
    summary = gpus_report(1)
    unknown = replace(
        summary,
        ranks=[
            device(
                idle_s=None, overlap_s=None, exposed_communication_s=None, utilization=None, idle=[]
            )
        ],
    )
    found = runs_side_by_side([("sums", unknown), ("four", gpus_report(4))])
    assert "Idle, mean of devices – " in words(to_terminal(describe(found)))
    assert external_loads(to_html(describe(found))) == []


def test_the_page_holds_the_record_and_loads_nothing() -> None:
    made = example()
    html = to_html(describe(made))
    page = Page(html)
    assert external_loads(html) == []
    assert records.decode(page.scripts["trace-runs-record"], TraceRuns) == made
    ids = [attributes["id"] for _, attributes in page.elements if attributes.get("id")]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"] or "" for tag, attrs in page.elements if tag == "a"}
    assert {target.removeprefix("#") for target in targets} <= set(ids)
    for sentence in made.findings:
        assert sentence in page.text


def test_names_are_text() -> None:
    made = example()
    evil = replace(
        made,
        runs=[replace(run, name=MARKUP, reasons={MARKUP: MARKUP}) for run in made.runs],
        findings=[MARKUP, "\x1b[2J"],
        doubts=[Doubt(about=MARKUP, sentence=MARKUP, remedy=MARKUP)],
    )
    page = Page(to_html(describe(evil)))
    assert page.count("script") == Page(to_html(describe(made))).count("script")
    assert page.text.count(MARKUP) > 6
    text = shown(to_terminal(describe(evil)), 200)
    assert MARKUP in text and "\x1b" not in text


@needs_browser
def test_a_browser_draws_both_charts(tmp_path: Path) -> None:
    dom, complaints = opened(to_html(describe(example())), tmp_path)
    assert complaints == []
    assert drawn(dom) == ["shares", "groups"]


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    runs = [(f"a-run-with-a-long-name-{count}", gpus_report(count)) for count in (1, 2, 4, 8)]
    text = shown(to_terminal(describe(runs_side_by_side(runs))), width)
    assert max(map(len, text.splitlines())) <= width
