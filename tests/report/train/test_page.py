"""The page and the table of a training run: what they say, and that names stay text."""

import re
from io import StringIO
from pathlib import Path

import pytest
from msgspec.structs import replace
from rich.console import Console

from topout.records import TrainReport
from topout.report import describe
from topout.report.to_html import to_html
from topout.report.to_terminal import to_terminal
from topout.report.train.charts import part_times, parts_chart, steps_chart, throughput_chart

from ..browser import drawn, needs_browser, opened
from ..html_page import Page, external_loads
from .example_train import MARKUP, done_case, example_train, failed_train


def text_of(report: TrainReport) -> str:
    return " ".join(Page(to_html(describe(report))).text.split())


def table_of(report: TrainReport, width: int = 80) -> str:
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(to_terminal(describe(report, folder="topout-runs/a-run")))
    output = console.file
    assert isinstance(output, StringIO)
    return output.getvalue()


@pytest.mark.parametrize("report", [example_train(), failed_train(), example_train(MARKUP)])
def test_the_page_loads_nothing(report: TrainReport) -> None:
    page = to_html(describe(report))
    assert external_loads(page) == [] and "default-src 'none'" in page
    assert "<script>alert" not in page


def test_the_page_says_how_fast_it_trains() -> None:
    text = text_of(example_train())
    for words in (
        "trains on 2 ranks at 120 samples/s, 133 ms a step.",
        "2 ranks are 1.50× as fast as one [1.47, 1.53], an efficiency of 75 %.",
        "yes, bit by bit",
        "30.4 MB",
        "all_reduce",
        "1.40 → 0.700",
        "It is busy.",
    ):
        assert words in text


def test_measured_memory_stands_beside_the_predicted() -> None:
    text = text_of(example_train())
    assert "170 MiB: weights 30.0 MiB, gradients 30.0 MiB, optimizer 60.0 MiB" in text
    # 480 MiB at the peak, of which 300 MiB are the programs.
    assert re.search(r"Measured beside it *180 MiB", text)


def test_the_page_says_which_rank_failed_and_where_its_log_is() -> None:
    text = text_of(failed_train())
    assert "failed: rank 1 crashed with SIGSEGV" in text
    assert "logs/2-ranks/rank-1.log" in text and "skipped: The case with 2 ranks" in text
    assert "×" not in text.split("Findings")[0]


@pytest.mark.parametrize("report", [example_train(), failed_train()])
def test_the_table_fits_a_terminal(report: TrainReport) -> None:
    table = table_of(report)
    assert max(map(len, table.splitlines())) <= 80
    assert "topout trace topout-runs/a-run/traces/1-rank" in table


def test_the_table_has_the_parts_of_every_rank() -> None:
    table = table_of(example_train())
    assert re.search(
        r"2 ranks, rank 1 +4\.00 ms +30\.0 ms +83\.3 ms +20\.0 ms +15\.0 ms +90 %", table
    )
    assert "1.50×" in table and "75 %" in table


def test_markup_in_names_is_text_in_the_table() -> None:
    assert "[bold]x[/bold]" in table_of(example_train("[bold]x[/bold]"))


def test_the_parts_of_a_bar_sum_to_the_step() -> None:
    for time in done_case(2).times:
        parts = part_times(time)
        assert sum(parts.values()) == pytest.approx(time.step_s)
        assert parts["communication"] == 0.02
        late = replace(time, exposed_communication_s=9.0)  # more than backward: noise
        assert sum(part_times(late).values()) == pytest.approx(time.step_s)


def test_a_step_off_the_scale_does_not_flatten_the_others() -> None:
    text = str(steps_chart(example_train()))
    highest = re.search(r"'domainMax': ([0-9.]+)", text)
    assert highest is not None and float(highest[1]) == pytest.approx(2 * 0.4 / 3)


def test_charts_need_no_case_with_one_rank() -> None:
    two, four = done_case(2), done_case(4)
    assert parts_chart([two]) and throughput_chart([two, four])


@needs_browser
def test_a_browser_draws_every_chart(tmp_path: Path) -> None:
    dom, complaints = opened(to_html(describe(example_train())), tmp_path)
    assert complaints == []
    assert drawn(dom) == ["parts", "throughput", "loss", "steps", "memory"]
