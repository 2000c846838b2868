"""One report of several ranks: its parts fit together and it survives JSON; memory keeps peaks."""

import dataclasses

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trace.analysis.example_traces import (
    ADD,
    Row,
    call,
    collective,
    copy,
    kernel,
    mark,
    operator,
    rank,
    trace,
)
from topout.errors import InputError
from topout.records.trace import TraceReport
from topout.trace.analysis.breakdown import NOT_TIMED
from topout.trace.analysis.groups import load_rules
from topout.trace.analysis.report import MOST_POINTS, analyse, memory_timelines
from topout.trace.table import Trace

RULES = load_rules()


def _training_rank(number: int) -> Trace:
    """Two steps: a copy, a product and an all-reduce that the late rank 1 enters 200 ns later."""
    late = 200 * number
    rows: list[Row] = []
    for step in range(2):
        at = step * 3000
        work = [
            copy(at + 100, 50, bytes=4096),
            kernel(at + 200, 500 + late),
            collective(at + 800 + late, 1000 - late, 10_000),
        ]
        rows.append(mark(at, 2500, f"ProfilerStep#{step}"))
        for place, row in enumerate(work):
            correlation = 10 * step + place
            rows += [call(at + 10 * place, 5, correlation=correlation)]
            rows += [row | {"correlation": correlation}]
        rows.append(
            {"kind": "memory", "name": "[memory]", "start_ns": at, "duration_ns": 0, "bytes": 64,
             "allocated_bytes": 640, "reserved_bytes": 1024, "device": 0}
        )  # fmt: skip
    return rank(number, *rows, host="a", origin_ns=10**15)


def test_a_report_of_two_ranks() -> None:
    report = analyse([_training_rank(1), _training_rank(0)], RULES)
    assert [(each.rank, each.device) for each in report.ranks] == [(0, 0), (1, 0)]
    assert report.world_size == 2
    assert report.format == "kineto"
    assert report.events == 2 * 2 * 8
    assert report.files == ["rank1.json", "rank0.json"]
    assert report.doubts == []
    for each in report.ranks:
        assert each.busy_s + each.idle_s == pytest.approx(each.wall_s)
        split = each.compute_s + each.communication_s + each.memory_s - each.overlap_s
        assert split == pytest.approx(each.busy_s)
        assert sum(cause.total_s for cause in each.idle) == pytest.approx(each.idle_s)
        assert sum(group.share for group in each.groups) == pytest.approx(1)
        assert sum(part.share for part in each.critical_path) == pytest.approx(1)
        assert [point.allocated_bytes for point in each.memory] == [640, 640]
    (all_reduce,) = report.communication.collectives
    assert all_reduce.late_rank == 1
    assert all_reduce.transfer_s == pytest.approx(1600e-9)
    assert any("waiting for others" in sentence for sentence in report.findings)
    cells = {(each.source, each.destination): each.bytes for each in report.communication.transfers}
    assert cells == {(-1, 0): 8192, (-1, 1): 8192, (0, 1): 80_000, (1, 0): 80_000}


def test_a_report_survives_json() -> None:
    report = analyse([_training_rank(0), _training_rank(1)], RULES)
    assert msgspec.json.decode(msgspec.json.encode(report), type=TraceReport) == report


def test_progress_begins_at_zero_rises_and_ends_at_one() -> None:
    seen: list[float] = []
    analyse([_training_rank(0), _training_rank(1)], RULES, lambda _what, part: seen.append(part))
    assert seen == sorted(seen)
    assert (seen[0], seen[-1]) == (0.0, 1.0)


def test_several_devices_of_one_process_are_told_apart_without_ranks() -> None:
    report = analyse([trace(kernel(0, 10), kernel(0, 10, ADD, device=3))], RULES)
    assert [(each.rank, each.device) for each in report.ranks] == [(None, 0), (None, 3)]


def test_a_rank_that_occurs_twice_is_numbered_by_its_place() -> None:
    first, second = _training_rank(0), _training_rank(0)
    second = dataclasses.replace(second, path=second.path.with_name("again.json"))
    report = analyse([first, second], RULES)
    assert [each.rank for each in report.ranks] == [0, 1]
    assert any("more than once" in doubt.sentence for doubt in report.doubts)


def test_a_trace_of_the_host_alone_says_that_there_is_no_device() -> None:
    report = analyse([trace(operator(0, 60), operator(80, 20))], RULES)
    (host,) = report.ranks
    assert (host.device, round(host.idle_s * 1e9)) == (-1, 20)
    assert {"idle", "memory", "occupancy"} <= set(host.reasons)
    assert "devices" in report.reasons


def test_nothing_to_analyse_is_an_error_that_names_the_file() -> None:
    with pytest.raises(InputError, match="no trace to analyse"):
        analyse([], RULES)
    with pytest.raises(InputError, match=r"example\.json: no kernel, copy or operator"):
        analyse([trace(mark(0, 10, "ProfilerStep#1"))], RULES)


def test_a_summary_has_neither_idle_causes_nor_a_critical_path() -> None:
    report = analyse([trace(kernel(0, 60), collective(60, 40), timed=False)], RULES)
    (device,) = report.ranks
    assert device.idle == [] and device.critical_path == []
    assert device.reasons["idle"] == device.reasons["critical_path"] == NOT_TIMED
    said = " ".join(report.findings)
    assert "idle" not in said and "critical path" not in said and "could be" not in said
    assert "how much of that is exposed is not known" in said


def _change(start: int, size: int, total: int | None, reserved: int | None, device: int = 0) -> Row:
    return {
        "kind": "memory", "name": "[memory]", "start_ns": start, "duration_ns": 0, "bytes": size,
        "allocated_bytes": total, "reserved_bytes": reserved, "device": device,
    }  # fmt: skip


def test_points_are_seconds_from_the_first_event_of_the_trace() -> None:
    found = memory_timelines(
        trace(
            kernel(1_000_000_000, 10),
            _change(1_500_000_000, 512, 512, 2048),
            _change(2_000_000_000, -512, 0, 2048),
            _change(2_000_000_000, 64, 64, 0, device=-1),
        )
    )
    assert set(found) == {0, -1}
    assert [(point.at_s, point.allocated_bytes, point.reserved_bytes) for point in found[0]] == [
        (0.5, 512, 2048),
        (1.0, 0, 2048),
    ]
    assert found[-1][0].reserved_bytes is None  # the host reserves nothing


def test_totals_that_a_trace_does_not_say_are_summed_and_never_below_zero() -> None:
    # 100 more, 300 less, 50 more: the least is −200, where 0 must have been.
    rows = [_change(at, size, None, None) for at, size in ((0, 100), (1, -300), (2, 50))]
    found = memory_timelines(trace(*rows))[0]
    assert [point.allocated_bytes for point in found] == [300, 0, 50]


def test_a_trace_without_allocations_has_no_timeline() -> None:
    assert memory_timelines(trace(kernel(0, 10))) == {}


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 10**6), st.integers(1, 10**6)),
        min_size=1,
        max_size=150,
    ),
    st.integers(6, 60),
)
def test_thinning_keeps_peaks_ends_and_order(
    changes: list[tuple[int, int, int]], most: int
) -> None:
    changes = sorted(changes, key=lambda change: change[0])
    rows = [_change(at, 1, total, reserved) for at, total, reserved in changes]
    found = memory_timelines(trace(*rows), most)[0]
    assert len(found) <= most or len(changes) <= most
    assert max(point.allocated_bytes for point in found) == max(total for _, total, _ in changes)
    assert max(point.reserved_bytes or 0 for point in found) == max(r for _, _, r in changes)
    kept = [
        (round(p.at_s * 1e9) + changes[0][0], p.allocated_bytes, p.reserved_bytes) for p in found
    ]
    assert kept[0] == changes[0]
    assert kept[-1] == changes[-1]
    assert set(kept) <= set(changes)
    assert [at for at, _, _ in kept] == sorted(at for at, _, _ in kept)


def test_a_long_timeline_is_thinned_to_some_hundred_points() -> None:
    rows = [_change(at, 1, at % 977, 5000) for at in range(5000)]
    assert 100 < len(memory_timelines(trace(*rows))[0]) <= MOST_POINTS
