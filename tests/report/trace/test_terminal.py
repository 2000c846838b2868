"""A trace, and two traces compared, on the terminal."""

import io
from collections.abc import Callable

import pytest
from msgspec.structs import replace
from rich.console import Console, RenderableType

from tests.trace.analysis.example_trace_report import (
    MARKUP,
    device,
    devices_report,
    diff_report,
    empty_report,
    gpus_report,
    host_report,
    marked_up_report,
)
from topout.records import TraceReport
from topout.report import describe
from topout.report.to_terminal import to_terminal

REPORTS: list[Callable[[], TraceReport]] = [
    host_report,
    devices_report,
    gpus_report,
    lambda: gpus_report(64),
    marked_up_report,
    empty_report,
]


def shown(table: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(table)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def words(table: RenderableType) -> str:
    return " ".join(shown(table).split())


@pytest.mark.parametrize("make", REPORTS)
@pytest.mark.parametrize("width", [80, 120])
def test_every_report_fits_the_terminal(make: Callable[[], TraceReport], width: int) -> None:
    lines = shown(to_terminal(describe(make())), width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any("…" in line and "::" not in line for line in lines)  # no figure is cut


def test_all_sections_stand_in_the_order_of_reading() -> None:
    text = shown(to_terminal(describe(gpus_report())))
    titles = [
        "Where the time goes",
        "Groups of kernels",
        "Longest kernels, rank 0",
        "Collectives",
        "Sent, from the row",
        "Idle: why",
        "Critical path",
        "Findings",
        "Doubts",
    ]
    places = [text.index(title) for title in titles]
    assert places == sorted(places)


def test_figures_of_four_gpus() -> None:
    text = words(to_terminal(describe(gpus_report())))
    for figure in (
        "Busy 770 (77 %) 770 (77 %) 770 (77 %) 670 (67 %)",
        "Overlap 100 (10 %)",
        "matrix-mul 450 (52 %)",
        "ampere_sgemm_128x64_tn matrix-mul 480 450 51.7 % 938 µs",
        "all_reduce 12 500 MB 5.00 GB/s 225 150 (67 %) 75.0 (33 %)",
        "for rank 3",
        "750 MB",
        "the host was late 138 (60 %)",
        "clocks: The clocks of the hosts differ by 312 µs.",
    ):
        assert figure in text


def test_of_many_devices_extremes_are_named_and_kernels_summed() -> None:
    text = words(to_terminal(describe(gpus_report(64), top=3)))
    assert "Mean Least Most" in text and "rank 63" in text
    assert "Longest kernels All devices" in text and "Longest kernels, rank 0" not in text
    assert "Largest transfers" in text and "61 more in --json." in text


def test_top_limits_the_kernels() -> None:
    text = shown(to_terminal(describe(host_report(), top=1)))
    assert "aten::addmm" in text
    assert "odd_kernel" not in shown(to_terminal(describe(devices_report(), top=2)))
    assert "3 more in --json." in shown(to_terminal(describe(devices_report(), top=2)))


def test_names_are_text_and_no_terminal_obeys_them() -> None:
    assert MARKUP in shown(to_terminal(describe(marked_up_report())), 200)
    evil = replace(
        gpus_report(1), ranks=[device(0, name="\x1b]0;owned\x07\x9b2J")], findings=["\x1b[2J"]
    )
    text = shown(to_terminal(describe(evil)))
    assert "\x1b" not in text and "\x07" not in text and "\x9b" not in text
    assert "owned" in text


def test_nothing_found() -> None:
    text = words(to_terminal(describe(empty_report())))
    assert "Nothing was found that took time." in text
    assert "ranks: the trace has no events with a duration" in text


def test_a_comparison() -> None:
    text = words(to_terminal(describe(diff_report())))
    for figure in (
        "A step takes 90.0 ms, where it took 100 ms: 10.0 % shorter.",
        "matrix-mul 60.0 40.0 −20.0 0.667× 10",
        "memory 10.0 20.0 +10.0 2.00× 10 → 40",
        "ampere_sgemm_128x64_tn 60.0 0 −60.0 gone 48 → 0",
        "sm90_xmma_gemm_bf16 0 40.0 +40.0 new 0 → 48",
        "steps: Only 2 steps. Record more.",
    ):
        assert figure in text
    assert max(map(len, shown(to_terminal(describe(diff_report()))).splitlines())) <= 80


def test_a_comparison_shows_the_kernels_that_changed_most() -> None:
    text = shown(to_terminal(describe(diff_report(), top=1)))
    assert "ampere_sgemm" in text and "sm90" not in text
    assert "3 more on the page and in --json." in text


def test_of_a_summary_what_depends_on_time_is_absent() -> None:
    sums = device(
        idle_s=None, overlap_s=None, exposed_communication_s=None, utilization=None, idle=[],
        reasons=dict.fromkeys(("idle_s", "utilization"), "it is a summary"),
    )  # fmt: skip
    report = replace(gpus_report(1), ranks=[sums], findings=[])
    text = words(to_terminal(describe(report)))
    assert "The work of rank 0 takes 1.00 s in sum; when it ran is not known." in text
    assert "Idle" not in text and "Overlap" not in text and "not hidden" not in text
    assert "idle_s, utilization: it is a summary" in text
