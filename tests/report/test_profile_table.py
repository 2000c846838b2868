"""A profile on the terminal."""

from io import StringIO

from rich.console import Console

from topout.records import ProfileReport
from topout.report.profile.rows import operator_rows
from topout.report.profile.table import profile_table

from .example_profile import MARKUP, example_phase, example_profile


def shown(report: ProfileReport, width: int = 80) -> str:
    out = StringIO()
    Console(file=out, width=width).print(profile_table(report))
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
    rows = operator_rows(example_phase(), most=1)
    assert [row.name for row in rows] == ["aten::addmm", "(1 others)", "(no operator)"]
    assert [row.self_share for row in rows] == ["60.0 %", "20.0 %", "20.0 %"]


def test_a_function_that_was_only_profiled() -> None:
    report = example_profile(model=None, workload=None, memory=[], findings=[], doubts=[])
    assert "a function, called on 2 threads" in shown(report)
