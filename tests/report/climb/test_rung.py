"""The figures of a row as a reader sees them."""

from msgspec.structs import replace

from topout.records import Climb, Estimate, PairedRatio
from topout.report.climb.rung import RungRow, rung_labels, rung_rows
from topout.report.figures import interval, spread

from ..example_climb import example_climb


def _row(climb: Climb, name: str) -> RungRow:
    return next(row for row in rung_rows(climb) if row.rung.name == name)


def test_the_baseline_is_recognized_and_stands_at_one() -> None:
    row = _row(example_climb(), "transformers_eager")
    assert (row.verdict, row.over_baseline.value, row.speedup.value) == ("baseline", "1.00×", "–")


def test_each_verdict_has_its_own_mark() -> None:
    marks = {row.verdict: row.mark for row in rung_rows(example_climb())}
    assert marks == {"baseline": "·", "kept": "✓", "rejected": "✗", "skipped": "–", "failed": "!"}


def test_a_baseline_that_failed_says_so() -> None:
    climb = example_climb()
    failed = replace(climb.rungs[0], status="failed")
    assert rung_rows(replace(climb, rungs=[failed]))[0].verdict == "failed"


def test_only_the_best_stack_is_marked_best() -> None:
    assert [row.label for row in rung_rows(example_climb()) if row.is_best] == ["int8_weights"]


def test_a_name_tried_on_two_stacks_is_told_apart_by_them() -> None:
    climb = example_climb()
    again = replace(climb.rungs[2], on=["native_engine"])
    alone = replace(climb.rungs[2], on=[])
    labels = rung_labels(replace(climb, rungs=[climb.rungs[2], again, alone, alone]))
    assert labels == [
        "compile on static_cache",
        "compile on native_engine",
        "compile on transformers_eager",
        "compile on transformers_eager (2)",
    ]


def test_spread_is_half_the_interval_over_the_median() -> None:
    assert spread(Estimate(median=200, low=195, high=205)) == "±2.5 %"
    assert spread(Estimate(median=0, low=0, high=0)) == ""
    assert spread(None) == ""


def test_the_bounds_of_an_interval_have_equal_decimals() -> None:
    assert interval(PairedRatio(median=1, low=0.951, high=1.0499, pairs=[])) == "[0.95, 1.05]"
    assert interval(Estimate(median=120, low=110.4, high=131.2)) == "[110, 131]"
    assert interval(None) == ""


def test_what_was_not_measured_is_a_dash() -> None:
    row = _row(example_climb(), "int4_weights")
    cells = {row.prefill.line, row.decode.line, row.speedup.line}
    assert {*cells, row.mfu, row.mbu, row.memory} == {"–"}
    assert not row.measured
