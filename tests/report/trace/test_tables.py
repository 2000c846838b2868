"""Kernels, collectives, transfers and reasons of a trace as tables."""

from msgspec.structs import replace

from tests.trace.analysis.example_trace_report import GEMM, device, empty_report, gpus_report
from topout import units
from topout.records import TraceReport
from topout.report.document import Part, Row, Section, Table
from topout.report.trace.document import all_reasons
from topout.report.trace.measures import group_measures, places_of, time_measures
from topout.report.trace.tables import collectives, kernel_sections, over_devices, transfers


def texts(row: Row) -> list[str]:
    return [row.cell(index).value for index in range(len(row.cells))]


def each_device(report: TraceReport, top: int) -> list[tuple[str, Table]]:
    """The tables that a page has behind "Of each device"."""
    (section,) = kernel_sections(report, top)
    folded = next(part for part in section.parts if isinstance(part, Section) and part.folded)
    return [(part.title, table_of(part)) for part in folded.parts]


def table_of(part: Part) -> Table:
    assert isinstance(part, Section)
    (table,) = part.parts
    assert isinstance(table, Table)
    return table


def test_the_longest_kernels_of_each_device() -> None:
    tables = each_device(gpus_report(2), top=2)
    assert [title for title, _ in tables] == ["Longest kernels, rank 0", "Longest kernels, rank 1"]
    first = tables[0][1]
    assert texts(first.rows[0]) == [
        GEMM, "matrix-mul", "480", "450", "51.7 %", "938 µs", "469 µs – 2.81 ms",
    ]  # fmt: skip
    assert len(first.rows) == 2 and first.note == "3 more in --json."
    # Rank 1 is late: its collective is shorter, and still the second.
    assert [texts(row)[3] for row in tables[1][1].rows] == ["450", "150"]


def test_kernels_of_all_devices_are_summed() -> None:
    """16.7 ms = 400 / 24; 24.4 % = 0.4 / (0.87 + 0.77)."""
    collective = texts(over_devices(gpus_report(2), top=2).rows[1])
    assert collective[2:] == ["24", "400", "24.4 %", "16.7 ms", "150 – 250 ms a device"]


def test_a_kernel_that_a_device_never_ran_counts_as_nothing_there() -> None:
    report = gpus_report(2)
    bare = replace(report.ranks[1], kernels=report.ranks[1].kernels[1:])
    table = over_devices(replace(report, ranks=[report.ranks[0], bare]), top=9)
    gemm = next(row for row in table.rows if row.cell(0).value == GEMM)
    assert texts(gemm)[-1] == "0 – 450 ms a device"


def test_collectives_with_what_is_unknown() -> None:
    known, unknown = collectives(gpus_report(4).communication.collectives).rows
    assert (known.cell(0).value, known.cell(0).below) == ("all_reduce", "default_pg, 4 ranks")
    assert texts(known)[2:4] == ["500 MB", "5.00 GB/s"]
    assert texts(known)[5:] == ["150 (67 %)", "75.0 (33 %)"]
    assert known.cell(6).below == "for rank 3"
    assert texts(unknown)[5] == texts(unknown)[3] == units.ABSENT
    assert unknown.note == "the trace does not say how large its messages are"


def test_transfers_and_their_ends() -> None:
    report = gpus_report(4)
    matrix, listed = transfers(report.communication, top=1)
    # 2 · 3 · 500 MB / 4 = 750 MB in 150 ms
    assert texts(listed.rows[0]) == ["rank 0", "rank 1", "750 MB", "12", "150", "5.00 GB/s"]
    assert matrix.rows[0].cell(2).value == "750 MB" and matrix.rows[0].cell(2).below == "150 ms"
    assert places_of(report.communication.transfers) == [0, 1, 2, 3]
    largest, _ = transfers(gpus_report(64).communication, top=1)
    assert len(largest.rows) == 1 and largest.note == "63 more in --json."


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
    assert kernel_sections(report, 10) == []
    assert collectives(report.communication.collectives).rows == []
    assert all(not table.rows for table in transfers(report.communication, 10))
