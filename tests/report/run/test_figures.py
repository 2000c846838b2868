"""The figures of a run as a reader sees them."""

from msgspec.structs import replace

from topout.records.climb import RunReport
from topout.report import describe

from ..parts import cells, facts, table
from .example_run import example_run, failed_run, swapped_run


def names(report: RunReport, first_column: str) -> list[str]:
    return [row.cell(0).value for row in table(describe(report), first_column).rows]


def test_a_row_for_each_way_that_was_timed() -> None:
    assert names(example_run(), "Product") == ["pytorch"]
    assert names(swapped_run(), "Product") == ["pytorch", "tiled"]
    assert names(failed_run(), "Product") == ["pytorch"]


def test_the_shares_are_of_the_ceilings() -> None:
    """3.9 GFLOP in 64 ms of 118 GFLOP/s: 52 %; 34 MB in 1/300 s of 24.6 GB/s: 41 %."""
    document = describe(example_run())
    rates = table(document, "Product")
    row = cells(rates, rates.rows[0])
    assert (row["MFU prefill"], row["MBU decode"], row["MFU MBU"]) == ("52 %", "41 %", "52 %\n41 %")
    pairs = facts(document, "Prefill")
    assert (pairs["Reached"], pairs["MFU of it"]) == ("60.9 GFLOP/s", "51.6 %")


def test_runs_stand_in_the_order_in_which_they_ran() -> None:
    assert names(swapped_run(), "Run of") == ["pytorch", "tiled", "pytorch", "tiled"]


def test_what_is_not_known_of_a_phase_is_a_dash() -> None:
    report = example_run()
    prefill = replace(report.result.prefill, ceiling_flops_per_s=None, mfu_of_ceiling=None)
    unknown = replace(report, result=replace(report.result, prefill=prefill))
    assert facts(describe(unknown), "Prefill")["MFU of it"] == "–"


def test_the_verdict_is_said_in_words() -> None:
    right, wrong = (
        facts(describe(report), "Is the output still right?")
        for report in (swapped_run(), failed_run())
    )
    assert (right["Verdict"], wrong["Verdict"]) == ("right", "not right")
    assert wrong["Same token where it is decided"] == "25.00 %"
