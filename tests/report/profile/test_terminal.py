"""A profile on the terminal."""

from io import StringIO

from msgspec.structs import replace
from rich.console import Console

from topout.records import ProfileReport
from topout.report import describe
from topout.report.to_terminal import to_terminal

from ..parts import table
from .example_profile import MARKUP, example_phase, example_profile


def shown(report: ProfileReport, width: int = 80) -> str:
    out = StringIO()
    Console(file=out, width=width).print(to_terminal(describe(report)))
    return out.getvalue()


def test_it_fits_into_80_columns_and_tells_the_main_figures() -> None:
    text = shown(example_profile())
    assert max(map(len, text.splitlines())) <= 80
    for words in ("addmm", "60.0 %", "(no operator)", "20.0 %", "mlp.up", "MainThread", "Findings"):
        assert words in text, words


def test_names_are_no_markup() -> None:
    text = shown(example_profile(phases=[example_phase(f"[bold]{MARKUP}")]))
    assert "[bold]" in text


def test_what_is_not_shown_is_added_up() -> None:
    """25 operators of 4 % each: 20 are shown, 5 are 20 %, and the gaps are the last row."""
    phase = example_phase()
    one = replace(phase.operators[0], self_s=phase.traced_s * 0.04, self_share=0.04)
    document = describe(example_profile(phases=[replace(phase, operators=[one] * 25)]))
    rows = table(document, "Operator, shapes of its inputs").rows
    assert [row.cell(0).value for row in rows[20:]] == ["(5 others)", "(no operator)"]
    assert [row.cell(1).value for row in rows[20:]] == ["20.0 %", "20.0 %"]


def test_a_function_that_was_only_profiled() -> None:
    report = example_profile(model=None, workload=None, memory=[], findings=[], doubts=[])
    assert "a function, called on 2 threads" in shown(report)
