"""Cycles of a profiler: files of one process, one after the other, and what is none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.trace.analysis.example_traces import call, collective, kernel, operator, rank, trace
from topout.trace.analysis.cycles import cycles_of, ranks_of
from topout.trace.analysis.diff_over_ranks import diff_ranks
from topout.trace.analysis.groups import load_rules
from topout.trace.analysis.report import analyse
from topout.trace.analysis.runs import runs_side_by_side
from topout.trace.table import Device, Trace

RULES = load_rules()
_MORNING, _SECOND = 1_790_857_026_000_000_000, 1_000_000_000


def cycle(number: int, at_s: int, duration: int = 100, **fields: Any) -> Trace:
    """A recording of a rank that began some seconds after the first: an operator, a collective."""
    pid = fields.pop("pid", 100 + number)
    rows = [
        operator(0, 10, process=pid),
        call(2, 5, process=pid, correlation=1),
        kernel(10, duration),
        collective(10 + duration, 50),
    ]
    known = {"origin_ns": _MORNING + at_s * _SECOND} | fields
    made = rank(number, *rows, **known)
    return replace(made, path=Path(f"rank{number}_at{at_s}_{pid}.json"))


def test_files_of_a_rank_that_follow_each_other_are_cycles() -> None:
    given = [cycle(1, 20), cycle(0, 10), cycle(1, 10), cycle(0, 20), cycle(0, 30)]
    assert cycles_of(given) == [2, 1, 1, 2, 3]
    found = ranks_of(given)
    assert [each.rank for each in found.traces] == [1, 0]
    assert found.places == [0, 1, 0, 1, 1]
    # Three cycles of four events, each ten seconds behind the one before, on the first one's clock.
    zero = found.traces[1]
    assert len(zero.events) == 12
    assert zero.origin_ns == _MORNING + 10 * _SECOND
    kernels = zero.events.filter(pl.col("collective").is_null() & (pl.col("kind") == "kernel"))
    assert kernels["start_ns"].to_list() == [10, 10 + 10 * _SECOND, 10 + 20 * _SECOND]


def test_one_file_of_each_rank_has_no_cycles() -> None:
    given = [cycle(0, 10), cycle(1, 10)]
    assert cycles_of(given) == [None, None]
    assert ranks_of(given).traces == given


@pytest.mark.parametrize(
    "other",
    [
        {"pid": 7777},  # another process
        {"host": "b"},
        {"world_size": 4},
        {"devices": (Device(0, "Tesla V100"),)},
        {"format": "nsys_sqlite"},
        {"origin_ns": _MORNING + 10 * _SECOND + 50},  # at the same time
        {"origin_ns": 0},  # at a time that is not known
    ],
)
def test_files_of_a_rank_that_are_of_several_jobs_are_no_cycles(other: dict[str, Any]) -> None:
    said = {"host": "a", "devices": (Device(0, "A100"),)}
    given = [cycle(0, 10, **said), cycle(0, 20, **(said | other))]
    assert cycles_of(given) == [None, None]
    report = analyse(given, RULES)
    assert any("rank 0 occurs more than once" in doubt.sentence for doubt in report.doubts)


def test_the_handler_of_tensorboard_names_the_process() -> None:
    names = [f"node1_42.{at}.pt.trace.json" for at in (1, 2)]
    given = [
        trace(kernel(0, 10), path=Path(name), origin_ns=_MORNING + at * _SECOND)
        for at, name in enumerate(names)
    ]
    assert cycles_of(given) == [1, 2]
    report = analyse(given, RULES)
    assert [(each.rank, each.cycle) for each in report.ranks] == [(None, 1), (None, 2)]
    assert report.communication.unit == "device"


def test_collectives_of_all_cycles_count_on_each_rank() -> None:
    given = [cycle(number, at) for number in (0, 1) for at in (10, 20)]
    report = analyse(given, RULES)
    (collectives,) = report.communication.collectives
    assert (collectives.calls, collectives.group_size) == (2, 2)
    assert collectives.total_s == pytest.approx(100e-9)
    assert collectives.transfer_s == pytest.approx(100e-9)
    assert [doubt.about for doubt in report.doubts] == []


def test_ranks_are_compared_within_a_cycle() -> None:
    """Rank 1 takes twice as long in the second cycle alone."""
    given = [cycle(0, 10), cycle(0, 20), cycle(1, 10), cycle(1, 20, 200)]
    sentences = [said for said in analyse(given, RULES).findings if " does " in said]
    assert sentences == [
        "Rank 0 in cycle 2 does about half (0.500×) the matrix-mul work of the other rank: "
        "100 ns against 200 ns."
    ]


def test_a_comparison_takes_each_cycle_with_its_like() -> None:
    before = [cycle(0, 10), cycle(0, 20)]
    after = [cycle(0, 50, 300), cycle(0, 60, 100)]
    diff = diff_ranks(before, after, RULES)
    (products,) = [each for each in diff.groups if each.name == "matrix-mul"]
    assert (products.before_s, products.after_s) == (pytest.approx(100e-9), pytest.approx(200e-9))
    assert "the slowest of 2 recordings" in diff.findings[0]
    assert any("rank 0 in cycle 1 went from" in said for said in diff.findings)
    assert "ranks" not in diff.reasons


def test_one_cycle_stands_for_a_run() -> None:
    one = analyse([cycle(0, 10, 400, world_size=1)], RULES)
    given = [cycle(number, at, took) for number in (0, 1) for at, took in ((10, 210), (20, 200))]
    two = analyse(given, RULES)
    runs = runs_side_by_side([("one", one), ("two", two)])
    assert [run.devices for run in runs.runs] == [1, 2]
    assert runs.runs[1].work_s == pytest.approx(400e-9)
    assert "Of 2 cycles of the profiler cycle 2" in " ".join(
        doubt.sentence for doubt in runs.doubts
    )
