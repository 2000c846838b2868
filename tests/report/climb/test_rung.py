"""The figures of a row as a reader sees them."""

from msgspec.structs import replace

from topout.records import Climb, Estimate, PairedRatio
from topout.report.climb.document import climb_document, headlines
from topout.report.climb.rung import RungRow, rung_card, rung_labels, rung_rows
from topout.report.document import Cell, Facts
from topout.report.figures import interval, spread

from ..example_climb import example_climb


def _row(climb: Climb, name: str) -> RungRow:
    return next(row for row in rung_rows(climb) if row.rung.name == name)


def test_the_baseline_is_recognized_and_stands_at_one() -> None:
    row = _row(example_climb(), "transformers_eager")
    assert (row.verdict, row.over_baseline.value, row.speedup.value) == ("baseline", "1.00×", "–")


def test_each_verdict_has_its_own_mark() -> None:
    marks = {row.verdict: row.mark for row in rung_rows(example_climb())}
    assert marks == {
        "baseline": "·",
        "kept": "✓",
        "replaced": "→",
        "rejected": "✗",
        "skipped": "–",
        "failed": "!",
    }


def test_what_is_not_proven_is_told_from_what_is_no_faster() -> None:
    climb = example_climb()
    rejected = next(rung for rung in climb.rungs if rung.status == "rejected" and rung.speedup)
    assert rejected.speedup is not None
    for verdict, shown in (("not proven", "? not proven"), ("slower", "✗ rejected")):
        speedup = replace(rejected.speedup, verdict=verdict)
        row = rung_rows(replace(climb, rungs=[replace(rejected, speedup=speedup)]))[0]
        assert f"{row.mark} {row.verdict}" == shown


def test_a_baseline_that_failed_says_so() -> None:
    climb = example_climb()
    failed = replace(climb.rungs[0], status="failed")
    assert rung_rows(replace(climb, rungs=[failed]))[0].verdict == "failed"


def test_only_the_best_stack_is_marked_best() -> None:
    assert [row.label for row in rung_rows(example_climb()) if row.is_best] == ["int8_weights"]


def test_the_best_that_leaves_the_output_unchanged_is_marked_where_it_is_another() -> None:
    climb = example_climb()
    assert [row.label for row in rung_rows(climb) if row.is_best_exact] == ["compile"]
    same = replace(climb, best_exact=climb.best)
    assert not any(row.is_best_exact for row in rung_rows(same))


def test_a_rung_that_was_replaced_is_not_of_the_best_and_says_by_what() -> None:
    row = _row(example_climb(), "compile")
    assert (row.verdict, row.replaced_by, row.needed_by) == ("replaced", "native_engine", None)
    assert row.note.endswith("verified. Replaced by native_engine, beside which it cannot be.")
    for kept in ("static_cache", "native_engine", "int8_weights"):
        assert _row(example_climb(), kept).verdict == "kept"
        assert "eplaced" not in _row(example_climb(), kept).note


def test_a_rejected_rung_that_a_kept_one_requires_is_told_to_be_of_the_best() -> None:
    climb = example_climb()
    rungs = [replace(r, status="rejected") if r.name == "static_cache" else r for r in climb.rungs]
    row = _row(replace(climb, rungs=rungs), "static_cache")
    assert (row.verdict, row.needed_by) == ("rejected", "compile")
    assert row.note.endswith("In the best stack all the same: compile requires it.")


def test_one_gain_is_one_figure_in_table_headline_and_tiles() -> None:
    climb = example_climb()
    assert climb.duel is not None and climb.exact_duel is not None
    best, exact = (_row(climb, name).over_baseline for name in ("int8_weights", "compile"))
    assert (best.value, best.below) == ("3.55×", "[3.53, 3.56]")
    assert (exact.value, exact.below) == ("2.03×", "[2.02, 2.04]")
    first, second = headlines(climb)
    assert "3.55× over the whole workload [3.53, 3.56]" in first
    assert "2.03× over the whole workload [2.02, 2.04]" in second
    tiles = climb_document(climb).tiles
    assert [(tile.name, tile.value, tile.interval) for tile in tiles] == [
        ("decode", "4.28×", "[4.26, 4.30]"),
        ("prefill", "1.88×", "[1.87, 1.89]"),
        ("whole workload", best.value, best.below),
    ]
    # The rates of the duel itself: 208 and 4.28 times as many, not those of the rungs' own runs.
    assert tiles[0].detail == "208 → 890 tokens/s" and tiles[1].detail == "3870 → 7280 tokens/s"


def test_a_product_of_ratios_is_marked() -> None:
    climb = example_climb()
    assert _row(climb, "static_cache").over_baseline.value == "1.30×"  # in turns with the baseline
    assert _row(climb, "native_engine").over_baseline.value == "≈2.79×"
    assert _row(climb, "tensor_parallel").over_baseline.value == "–"
    without = replace(climb, duel=None, exact_duel=None)
    assert _row(without, "int8_weights").over_baseline.value == "≈4.00×"
    card = rung_card(climb, _row(climb, "int8_weights"), Cell(""))
    facts = next(part for part in card.parts if isinstance(part, Facts))
    assert dict(facts.pairs) | {
        "Over the baseline, in turns": "3.55× [3.53, 3.56]",
        "In decode, in turns": "4.28× [4.26, 4.30]",
        "Over the baseline, ratios multiplied": "4.00× [3.98, 4.02]",
    } == dict(facts.pairs)


def test_a_record_without_the_runs_of_its_duel_shows_no_rates() -> None:
    climb = example_climb()
    assert climb.duel is not None
    older = replace(climb, duel=replace(climb.duel, samples=[], rival_samples=[]))
    assert [tile.detail for tile in climb_document(older).tiles[:2]] == ["", ""]


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
