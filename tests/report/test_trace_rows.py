"""Kernels, collectives, transfers and reasons of a trace as rows."""

from msgspec.structs import replace

from tests.trace.analysis.example_trace_report import GEMM, device, empty_report, gpus_report
from topout import units
from topout.report.trace.measures import group_measures, time_measures
from topout.report.trace.reasons import all_reasons
from topout.report.trace.rows import (
    collective_rows,
    kernel_tables,
    kernels_over_devices,
    places_of,
    transfer_rows,
)


def test_the_longest_kernels_of_each_device() -> None:
    tables = kernel_tables(gpus_report(2), top=2)
    assert [table.title for table in tables] == ["rank 0", "rank 1"]
    first = tables[0].rows[0]
    assert (first.name, first.group, first.calls, first.total) == (GEMM, "matrix-mul", "480", "450")
    assert (first.share, first.mean, first.span) == ("51.7 %", "938 µs", "469 µs – 2.81 ms")
    assert len(tables[0].rows) == 2 and tables[0].left_out == "3 more in --json"
    # Rank 1 is late: its collective is shorter, and still the second.
    assert [row.total for row in tables[1].rows] == ["450", "150"]


def test_kernels_of_all_devices_are_summed() -> None:
    table = kernels_over_devices(gpus_report(2), top=2)
    collective = table.rows[1]
    assert table.title == "all 2 devices"
    assert (collective.calls, collective.total) == ("24", "400")
    assert collective.span == "150 – 250 ms a device"
    assert collective.mean == "16.7 ms"  # 400 / 24
    assert collective.share == "24.4 %"  # 0.4 / (0.87 + 0.77)


def test_a_kernel_that_a_device_never_ran_counts_as_nothing_there() -> None:
    report = gpus_report(2)
    bare = replace(report.ranks[1], kernels=report.ranks[1].kernels[1:])
    table = kernels_over_devices(replace(report, ranks=[report.ranks[0], bare]), top=9)
    gemm = next(row for row in table.rows if row.name == GEMM)
    assert gemm.span == "0 – 450 ms a device"


def test_collectives_with_what_is_unknown() -> None:
    known, unknown = collective_rows(gpus_report(4))
    assert (known.name, known.about) == ("all_reduce", "default_pg, 4 ranks")
    assert (known.bytes, known.bandwidth) == ("500 MB", "5.00 GB/s")
    assert (known.transfer, known.waiting, known.late) == (
        "150 (67 %)",
        "75.0 (33 %)",
        "for rank 3",
    )
    assert unknown.transfer == unknown.bandwidth == units.ABSENT
    assert unknown.reason == "the trace does not say how large its messages are"


def test_transfers_and_their_ends() -> None:
    report = gpus_report(4)
    rows = transfer_rows(report, most=1)
    # 2 · 3 · 500 MB / 4 = 750 MB in 150 ms
    assert rows == [("rank 0", "rank 1", "750 MB", "12", "150", "5.00 GB/s")]
    assert places_of(report.communication.transfers) == [0, 1, 2, 3]


def test_groups_come_by_their_time_over_all_devices_and_missing_ones_are_zero() -> None:
    first = device(0)
    second = replace(device(1), groups=[replace(first.groups[0], name="attention", total_s=9.0)])
    third = replace(device(2), groups=[])
    measures = {each.name: each for each in group_measures([first, second, third])}
    assert next(iter(measures)) == "attention"
    assert measures["attention"].text(0) == "0 (0 %)"
    assert measures["attention"].text(1) == "9,000 (100 %)"
    assert measures["attention"].text(2) == units.ABSENT


def test_time_with_shares_of_the_wall_and_peaks_of_memory() -> None:
    rows = {each.name.strip(): each.text(0) for each in time_measures([device()])}
    assert rows == {
        "Wall": "1,000",
        "Busy": "770 (77 %)",
        "Idle": "230 (23 %)",
        "Compute": "600 (60 %)",
        "Communication": "250 (25 %)",
        "not hidden": "150 (15 %)",
        "Copies and fills": "20.0 (2 %)",
        "Overlap": "100 (10 %)",
        "Occupancy": "43 %",
        "Peak allocated": "7.00 GiB",
        "Peak reserved": "9.00 GiB",
    }


def test_what_all_devices_lack_is_said_once() -> None:
    report = gpus_report(3)
    ranks = [replace(each, reasons={"occupancy": "not recorded"}) for each in report.ranks]
    ranks[2] = replace(ranks[2], reasons={"occupancy": "not recorded", "memory": "no counters"})
    reasons = all_reasons(replace(report, ranks=ranks, reasons={"steps": "none are marked"}))
    assert reasons == {
        "steps": "none are marked",
        "occupancy": "not recorded",
        "memory, rank 2": "no counters",
    }


def test_an_empty_report_has_no_rows() -> None:
    report = empty_report()
    assert kernel_tables(report, 10) == [] and collective_rows(report) == []
    assert transfer_rows(report) == [] and kernels_over_devices(report, 10).rows == []
