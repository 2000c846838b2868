"""The figures of a run as a reader sees them."""

from msgspec.structs import replace

from topout.report.run.rows import phase_rows, run_rows, sample_rows, verification_rows

from .example_run import example_run, failed_run, swapped_run, verification


def test_a_row_for_each_way_that_was_timed() -> None:
    assert [row.name for row in run_rows(example_run())] == ["pytorch"]
    assert [row.name for row in run_rows(swapped_run())] == ["pytorch", "tiled"]
    assert [row.name for row in run_rows(failed_run())] == ["pytorch"]


def test_the_shares_are_of_the_ceilings() -> None:
    """3.9 GFLOP in 64 ms of 118 GFLOP/s: 52 %; 34 MB in 1/300 s of 24.6 GB/s: 41 %."""
    row = run_rows(example_run())[0]
    assert (row.mfu, row.mbu) == ("52 %", "41 %")
    pairs = dict(phase_rows(example_run().result.prefill))
    assert (pairs["Reached"], pairs["MFU of it"]) == ("60.9 GFLOP/s", "51.6 %")


def test_runs_stand_in_the_order_in_which_they_ran() -> None:
    names = [row[0] for row in sample_rows(swapped_run())]
    assert names == ["pytorch", "tiled", "pytorch", "tiled"]


def test_what_is_not_known_of_a_phase_is_a_dash() -> None:
    phase = replace(example_run().result.prefill, ceiling_flops_per_s=None, mfu_of_ceiling=None)
    assert dict(phase_rows(phase))["MFU of it"] == "–"


def test_the_verdict_is_said_in_words() -> None:
    right, wrong = (dict(verification_rows(verification(passed=p))) for p in (True, False))
    assert (right["Verdict"], wrong["Verdict"]) == ("right", "not right")
    assert wrong["Same token where it is decided"] == "25.00 %"
