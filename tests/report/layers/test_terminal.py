"""Layers on a terminal of 80 columns."""

from rich.console import Console

from topout.records import LayersReport
from topout.report import describe
from topout.report.to_terminal import to_terminal

from .example_layers import MARKUP, example_report, failed_report, layer


def _printed(report: LayersReport, width: int = 80, **options: bool) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(to_terminal(describe(report, **options)))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_equal_blocks_are_told_once() -> None:
    lines = _printed(example_report())
    block = next(line for line in lines if "0 – 3 × 4" in line)
    assert block.split()[-3:] == ["72", "32.0", "B"]
    assert sum("mix" in line for line in lines) == 1
    assert any(line.startswith("× n:") for line in lines)


def test_expanded_each_is_told() -> None:
    lines = _printed(example_report(), expand=True)
    assert sum("mix" in line for line in lines) == 4
    assert not any(line.startswith("× n:") for line in lines)


def test_it_fits_into_80_columns() -> None:
    for report in (example_report(), failed_report()):
        assert max(map(len, _printed(report))) <= 80


def test_sums_come_in_both_megabytes() -> None:
    text = " ".join(" ".join(_printed(example_report())).split())
    assert "360 (all trainable), 1.44 kB" in text
    assert "1.89 kB (1,888 bytes; 0.00 MB where 1 MB is 1024² bytes)" in text


def test_a_tied_layer_is_marked() -> None:
    lines = _printed(example_report())
    assert any("head" in line and "72*" in line for line in lines)
    assert "• * head shares 72 parameters with embed; they count once." in lines


def test_a_failure_is_told_with_layer_and_op() -> None:
    text = " ".join(_printed(failed_report()))
    assert "stopped in head (Linear) at aten::nonzero (no values)" in text
    assert "–" in text  # the total


def test_names_are_no_console_markup() -> None:
    report = example_report(model="[red]x[/red]")
    report.layers.root.children.append(layer(f"[bold]{MARKUP}", 1))
    text = "\n".join(_printed(report, width=140))
    assert "[red]x[/red]" in text
    assert "[bold]<script>" in text


def test_on_a_wide_terminal_the_class_has_a_column() -> None:
    assert any("Class" in line for line in _printed(example_report(), width=140))
    assert not any("Class" in line for line in _printed(example_report()))
