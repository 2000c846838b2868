"""A run on the terminal."""

import io

import pytest
from msgspec.structs import replace
from rich.console import Console

from topout.records import Doubt
from topout.records.climb import RunReport
from topout.report import describe
from topout.report.to_terminal import to_terminal

from .example_run import MARKUP, example_run, failed_run, swapped_run


def shown(report: RunReport, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(to_terminal(describe(report)))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


@pytest.mark.parametrize("report", [example_run(), swapped_run(), failed_run()])
def test_80_columns_suffice(report: RunReport) -> None:
    text = shown(report)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text and "MiB" in text


def test_both_ways_and_their_ratio() -> None:
    text = shown(swapped_run())
    assert "pytorch" in text and "tiled" in text
    assert "0.250×" in text and "[0.24, 0.26]" in text
    assert "With tiled in PyTorch's place" in text


def test_what_is_not_right_has_no_speed() -> None:
    text = shown(failed_run(), 200)
    assert "my.cpp has no speed." in text and "not right" in text
    assert "×" not in text


def test_random_weights_are_said_to_be_so() -> None:
    report = example_run()
    random = replace(report, model=replace(report.model, weights="random"))
    assert "the text is meaningless" in shown(random)
    assert "meaningless" not in shown(report)


def test_doubts_stand_with_their_remedies() -> None:
    doubt = Doubt(about="machine", sentence="It is busy.", remedy="Close them.")
    assert "machine: It is busy. Close them." in shown(example_run(doubts=[doubt]))


def test_markup_is_text() -> None:
    assert "[bold]" in shown(swapped_run(name="[bold]"))
    assert MARKUP in shown(swapped_run(name=MARKUP), 200)
