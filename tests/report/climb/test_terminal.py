"""The result on the terminal."""

import io
import re
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from rich.console import Console

from topout.records import Climb
from topout.report import describe
from topout.report.to_terminal import to_terminal

from ..example_climb import MARKUP, example_climb
from .hard_climbs import HARD_CLIMBS, marked_up_climb


def _printed(climb: Climb, width: int, colour: bool = False) -> str:
    output = io.StringIO()
    console = Console(
        width=width,
        file=output,
        force_terminal=colour,
        color_system="truecolor" if colour else None,
    )
    console.print(to_terminal(describe(climb)))
    return output.getvalue()


@pytest.mark.parametrize("width", [80, 100, 140, 200])
def test_no_figure_is_cut_off(width: int) -> None:
    text = _printed(example_climb(), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for figure in ("transformers_eager", "[1.42, 1.47]", "±1.3 %", "262 MiB", "1.83×", "3.55×"):
        assert figure in text


@pytest.mark.parametrize("width", [80, 140])
def test_every_verdict_can_be_read_without_colour(width: int) -> None:
    text = _printed(example_climb(), width)
    for verdict in ("· baseline", "✓ kept", "✓ kept ★ best", "✗ rejected", "– skipped", "! failed"):
        assert verdict in text
    assert "\x1b" not in text


def test_a_terminal_gets_colour() -> None:
    assert "\x1b[32m" in _printed(example_climb(), 100, colour=True)


@pytest.mark.parametrize("width", [80, 140])
def test_reasons_headline_findings_and_doubts_are_all_there(width: int) -> None:
    climb = example_climb()
    text = re.sub(r"\s+", " ", _printed(climb, width))
    assert "int8_weights is 4.28× the baseline in decode [4.26, 4.30]" in text
    for sentence in [*climb.findings, *(doubt.remedy for doubt in climb.doubts)]:
        assert sentence in text
    if width == 80:
        assert all(rung.reason in text for rung in climb.rungs)
    assert "Run again on a quieter machine" in text  # the doubt of a rung


@pytest.mark.parametrize("make", HARD_CLIMBS)
@pytest.mark.parametrize("width", [40, 80, 140])
def test_any_climb_can_be_printed(make: Callable[[], Climb], width: int) -> None:
    assert _printed(make(), width).strip()


def test_markup_is_printed_as_it_is() -> None:
    assert MARKUP in _printed(marked_up_climb(), 200)


def test_rich_markup_in_a_name_is_text() -> None:
    hostile = replace(example_climb(), findings=["[red]not a style[/red] [1.0, 2.0]"])
    assert "[red]not a style[/red] [1.0, 2.0]" in _printed(hostile, 100)
