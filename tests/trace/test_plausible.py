"""What cannot have been is left out and named, and nothing that recordings are like."""

from collections.abc import Sequence

import pytest

from tests.trace.analysis.example_traces import (
    ADD,
    ALL_REDUCE,
    GEMM,
    Row,
    call,
    copy,
    kernel,
    operator,
    trace,
)
from topout.records.trace import DeviceTime
from topout.trace.analysis.breakdown import break_down
from topout.trace.analysis.groups import load_rules
from topout.trace.plausible import plausible
from topout.trace.table import Trace

RULES = load_rules()
US, MS, S = 10**3, 10**6, 10**9
MINUTE, HOUR, DAY = 60 * S, 3600 * S, 86_400 * S
NOW = 1_750_000_000 * S  # Unix time of 2025


def launched(at: int, length: int, number: int, name: str = GEMM, **more: object) -> list[Row]:
    """An operator, its call and the kernel 20 µs after it."""
    return [
        operator(at, 20 * US),
        call(at + 5 * US, 5 * US, correlation=number),
        kernel(at + 20 * US, length, name, correlation=number, **more),
    ]


def steps(count: int = 10, begin: int = NOW, first: int = 1) -> list[Row]:
    """Kernels of 80 µs, one every 100 µs; 10 of them: 980 µs wall, 800 µs busy."""
    return [
        row
        for step in range(count)
        for row in launched(
            begin + step * 100 * US, 80 * US, first + step, (GEMM, ADD)[step % 2]
        )
    ]  # fmt: skip


def read(*rows: Row, **fields: object) -> Trace:
    return plausible(trace(*rows, **fields))


def times(of: Trace) -> tuple[float, float]:
    """Wall and busy time in µs."""
    device: DeviceTime = break_down(of, RULES)[0]
    return round(device.wall_s * 1e6, 3), round(device.busy_s * 1e6, 3)


def doubt(of: Trace) -> str:
    """The one doubt."""
    (found,) = of.doubts
    return found


def is_kept(*rows: Row, **fields: object) -> bool:
    """Whether everything is, just as it was recorded."""
    whole = trace(*rows, **fields)
    found = plausible(whole)
    return found.events.equals(whole.events) and found.doubts == ()


# --- clocks -------------------------------------------------------------------------------------


def test_events_that_were_never_given_a_time() -> None:
    """Half of the events, all at 0, weigh as much as one."""
    unset = [row | {"start_ns": 0, "duration_ns": 0} for row in steps(5, first=6)]
    found = read(*steps(5), *unset)
    assert times(found) == (480, 400)
    assert doubt(found) == (
        "15 events on another clock, up to 55.5 years before all others (aten::addmm, "
        "cudaLaunchKernel and 2 other names): left out."
    )


@pytest.mark.parametrize(
    ("at", "far"),
    [
        (2 * NOW, "55.5 years after"),
        (12_500, "55.5 years before"),
        (NOW - 30 * DAY, "30 days 0 h before"),
        (NOW + 2 * DAY, "2 days 0 h after"),
        (NOW + HOUR, "1 h 0 min after"),
    ],
)
@pytest.mark.parametrize("number", [99, 3, None])
def test_one_event_far_from_all_others(at: int, far: str, number: int | None) -> None:
    """Whether no call is known for it, or its call is where it belongs."""
    stray = copy(at, 359 * US, correlation=number)
    found = read(*steps(), stray)
    assert times(found) == (980, 800)
    assert doubt(found) == (
        f"1 event on another clock, up to {far} all others (Memcpy HtoD): left out."
    )


def test_a_few_far_events_hide_neither_each_other_nor_behind_each_other() -> None:
    strays = [kernel(NOW + way * HOUR, 5 * US, correlation=900) for way in (-3, -1, 1, 2, 5)]
    found = read(*steps(), *strays)
    assert times(found) == (980, 800)
    assert doubt(found).startswith("5 events on another clock, up to 5 h 0 min after all others")


def test_work_far_from_its_own_call_needs_no_ten_minutes() -> None:
    for at in (NOW - 5 * S, NOW + 5 * S):
        assert times(read(*steps(), kernel(at, 5 * US, correlation=3))) == (980, 800)
        # Of a device alone nobody knows when it was called.
        device_alone = [row for row in steps() if row["kind"] == "kernel"]
        assert is_kept(*device_alone, kernel(at, 5 * US))
    late = [row for row in steps() if row["kind"] == "kernel"]
    assert times(read(*late, kernel(NOW + HOUR, 5 * US))) == (980, 800)


def test_a_call_and_its_work_together_are_believed() -> None:
    """A first product, an hour of something else, and then all the rest."""
    for at in (NOW - HOUR, NOW + DAY):
        assert is_kept(*steps(), *launched(at, 50 * US, 99))
    # At the very same moment they are not: that is how unset times look.
    together = [row | {"start_ns": NOW - DAY} for row in launched(0, 50 * US, 99)]
    assert times(read(*steps(), *together)) == (980, 800)


def test_a_call_of_the_host_minutes_apart_is_kept() -> None:
    assert is_kept(*steps(), operator(NOW - 9 * MINUTE, 10 * US))
    assert not is_kept(*steps(), operator(NOW - 11 * MINUTE, 10 * US))


def test_ten_spans_of_the_bulk_are_near() -> None:
    slow = [row for n in range(20) for row in launched(NOW + n * 2 * MINUTE, 80 * US, n + 1)]
    # Without the three moments at either end the bulk spans 36 min: 6 h are near.
    assert is_kept(*slow, kernel(NOW - 5 * HOUR, 5 * US))
    assert not is_kept(*slow, kernel(NOW - 9 * HOUR, 5 * US))


@pytest.mark.parametrize("pause", [10 * MINUTE, 12 * HOUR, 3 * DAY])
def test_cycles_of_a_profiler_with_long_pauses_are_kept(pause: int) -> None:
    """Each a hundredth of all: no one of them is the bulk."""
    cycles = [steps(5, NOW + n * pause, 10 * n + 1) for n in range(100 if pause < HOUR else 3)]
    assert is_kept(*(row for cycle in cycles for row in cycle))


def test_an_idle_night_between_halves_of_unlike_size_is_kept() -> None:
    assert is_kept(*steps(20), *steps(400, NOW + 9 * HOUR, 100))


def test_a_model_loaded_hours_before_it_runs_is_kept() -> None:
    load = [copy(NOW + n * MS, 500 * US, correlation=n + 1, stream=7) for n in range(30)]
    calls = [call(NOW + n * MS - 9 * US, 5 * US, correlation=n + 1) for n in range(30)]
    assert is_kept(*load, *calls, *steps(500, NOW + 3 * HOUR, 100))


def test_sparse_events_before_a_burst_are_kept() -> None:
    sparse = [operator(NOW - (9 - n) * 50 * S, 10 * US) for n in range(9)]
    assert is_kept(*sparse, *steps(500))


def test_host_and_device_on_clocks_decades_apart_are_both_kept() -> None:
    """Each is whole in itself; the device's own times are right."""
    rows = [
        row | {"start_ns": row["start_ns"] - 2 * NOW // 3} if row["kind"] == "kernel" else row
        for row in steps()
    ]
    assert times(read(*rows)) == (980, 800)
    assert read(*rows).events.height == 30


def test_of_three_events_none_is_the_bulk() -> None:
    assert is_kept(kernel(NOW, 5), kernel(NOW + HOUR, 5), kernel(NOW + 9 * HOUR, 5))


# --- durations ----------------------------------------------------------------------------------


def test_a_duration_of_centuries() -> None:
    found = read(*steps(), *launched(NOW + MS, 236 * 365 * DAY, 99))
    assert times(found) == (980, 800)
    assert doubt(found).startswith(
        "1 event without a duration, of more than a week or at a time that no clock shows"
    )


@pytest.mark.parametrize("away", [2 * S, 5 * MINUTE, 9 * HOUR])
def test_times_that_were_never_set_need_no_ten_minutes(away: int) -> None:
    """A trace whose times count from a base that lies not long before it."""
    unset = [row | {"start_ns": 0, "duration_ns": 0} for row in steps(5, first=6)]
    assert times(read(*steps(5, away), *unset)) == (480, 400)
    # At 0 something may have run.
    assert is_kept(*steps(5, away), *(row | {"duration_ns": 900} for row in unset[:1])) == (
        away < 10 * MINUTE
    )


@pytest.mark.parametrize(
    ("length", "is_known"), [(500 * MS, True), (10 * MS, True), (9 * MS, False)]
)
def test_the_last_kernel_a_hundred_times_as_long_as_its_like(length: int, is_known: bool) -> None:
    """Nothing waits for it, and of its name there are five of 80 µs; ten spans are 9.2 ms."""
    rows = _with(12, length, steps(12))
    assert (times(read(*rows)) == (1080, 880)) == is_known
    assert is_kept(*rows) != is_known
    wait = call(NOW + MS, 120 * US + length, "cudaDeviceSynchronize")
    assert is_kept(*rows, wait)
    # Neither is one that ran seldom, nor a collective that waits for others.
    assert is_kept(*_with(12, length, rows, name="once"))
    nccl = [row | {"name": ALL_REDUCE} if row["kind"] == "kernel" else row for row in rows]
    assert is_kept(*nccl)


def test_an_operator_a_hundred_times_as_long_as_its_like() -> None:
    """Of the host alone."""
    rows = [operator(NOW + n * 50 * US, 40 * US) for n in range(20)]
    longer = [row | {"duration_ns": S} if at == 18 else row for at, row in enumerate(rows)]
    assert "1 event of up to 1.00 s, longer than all else" in doubt(read(*longer))
    # The first one is slow now and then, and the others begin after it.
    slow = [operator(NOW - 100 * MS, 99 * MS), *rows]
    assert is_kept(*slow)
    around = [*longer, operator(NOW - US, S + 910 * US, "region") | {"kind": "annotation"}]
    assert is_kept(*around)


@pytest.mark.parametrize("length", [2 * S, HOUR, 6 * DAY])
def test_a_kernel_longer_than_the_recording_that_nothing_waits_for(length: int) -> None:
    found = read(*steps(), *launched(NOW + MS, length, 99, "odd"))
    assert times(found) == (980, 800)
    assert "1 event of up to" in doubt(found) and "(odd): left out" in doubt(found)


def test_a_collective_that_hangs_ends_with_the_call_that_waits_for_it() -> None:
    hangs = launched(NOW + MS, 30 * MINUTE, 99, ALL_REDUCE, stream=20)
    wait = call(NOW + MS + 40 * US, 30 * MINUTE, "cudaDeviceSynchronize")
    assert is_kept(*steps(), *hangs, wait)
    assert not is_kept(*steps(), *hangs, wait | {"duration_ns": 20 * MINUTE})


def test_a_region_of_the_device_is_no_witness_for_a_kernel() -> None:
    """The profiler makes it from the kernels in it."""
    long = launched(NOW + MS, HOUR, 99, "odd")
    region = kernel(NOW + MS + 20 * US, HOUR, "ProfilerStep#1", kind="gpu_annotation")
    assert times(read(*steps(), *long, region)) == (980, 800)


def test_regions_and_python_functions_may_last_as_long_as_the_recording() -> None:
    cycles = [*steps(5), *steps(5, NOW + 12 * HOUR, 100)]
    frames = [
        operator(NOW - US * depth, 12 * HOUR + 600 * US + 2 * US * depth, f"run{depth}.py")
        | {"kind": "python"}
        for depth in range(9)
    ]
    assert is_kept(*cycles, *frames)


def test_a_kernel_of_half_an_hour_between_copies_is_kept() -> None:
    """Of a device alone, as nvprof records it."""
    there = [copy(NOW + n * MS, 500 * US) for n in range(5)]
    long = kernel(NOW + 6 * MS, 30 * MINUTE, "solve")
    back = [copy(NOW + 30 * MINUTE + (7 + n) * MS, 500 * US, "DtoH") for n in range(5)]
    assert is_kept(*there, long, *back)


def test_a_kernel_of_two_hours_before_all_else_is_kept() -> None:
    """Of a device alone: nothing was recorded before it, and the rest begins when it ends."""
    rest = [kernel(NOW + n * 100 * US, 80 * US) for n in range(20)]
    first = kernel(NOW - 2 * HOUR, 2 * HOUR - 50 * US, "warm_up")
    assert is_kept(first, *rest)
    assert not is_kept(first | {"duration_ns": HOUR}, *rest)
    assert not is_kept(first | {"duration_ns": 3 * HOUR}, *rest)


def test_durations_that_ran_over_to_one_number_do_not_confirm_each_other() -> None:
    """2³² µs, of kernels that begin within the same millisecond."""
    most = 2**32 * US
    one = launched(NOW + MS, most, 98, "odd", stream=8)
    other = launched(NOW + MS + 100 * US, most, 99, "odder", stream=9)
    assert times(read(*steps(), *one, *other)) == (980, 800)


def test_two_impossible_durations_do_not_confirm_each_other() -> None:
    one = launched(NOW + MS, 3 * HOUR, 98, "odd", stream=8)
    other = launched(NOW + MS, 2 * HOUR, 99, "odder", stream=9)
    assert times(read(*steps(), *one, *other)) == (980, 800)


# --- order in a stream --------------------------------------------------------------------------


def _with(number: int, length: int, rows: Sequence[Row], **more: object) -> list[Row]:
    """`rows` in which the kernel of a launch has another duration."""
    return [
        row | {"duration_ns": length} | more
        if row["kind"] == "kernel" and row["correlation"] == number
        else row
        for row in rows
    ]


@pytest.mark.parametrize("length", [300 * US, 1600 * MS, 6 * DAY])
def test_a_kernel_that_outlasts_those_behind_it_ends_where_the_next_begins(length: int) -> None:
    """The fourth of ten, 80 µs as the others: it is cut to the 100 µs until the next."""
    found = read(*_with(4, length, steps()))
    assert times(found) == (980, 820)
    assert "still running when what is queued behind in its stream is through" in doubt(found)
    assert ADD[:59] in doubt(found)


def test_several_that_outlast_each_other() -> None:
    found = read(*_with(2, HOUR, _with(4, 2 * HOUR, steps())))
    assert times(found) == (980, 840)
    nested = read(*_with(3, 2 * HOUR, _with(4, HOUR, steps())))
    assert times(nested) == (980, 840)


def test_several_of_one_name_do_not_make_each_other_usual() -> None:
    found = read(*_with(2, 400 * US, _with(4, 300 * US, steps(20))))
    # Each is cut to the 100 µs until the next, 20 more than it was.
    assert times(found) == (1980, 1640)
    assert "2 events of up to 400 µs" in doubt(found)


def test_less_than_three_times_its_like_is_left_alone() -> None:
    # Up to 220 µs of kernels of 80: two in the order of time lie inside it, or one.
    assert is_kept(*_with(4, 239 * US, steps()))
    assert not is_kept(*_with(4, 241 * US, steps()))


def test_rounding_and_dependent_launches_overlap_their_neighbours() -> None:
    packed = [
        row for n in range(10) for row in launched(NOW + n * 80 * US, 80 * US + 900, n + 1, GEMM)
    ]
    assert is_kept(*packed)
    early = [row for n in range(10) for row in launched(NOW + n * 80 * US, 150 * US, n + 1, GEMM)]
    assert is_kept(*early)


def test_kernels_of_one_captured_graph_run_side_by_side() -> None:
    """All carry the correlation of the call that launched the graph."""
    rows: list[Row] = []
    for replay in range(3):
        at = NOW + replay * MS
        rows.append(call(at, 20 * US, "cudaGraphLaunch", correlation=replay + 1))
        graph = {"correlation": replay + 1}
        rows.append(kernel(at + 30 * US, 800 * US, "long", **graph))
        rows += [kernel(at + (40 + n * 10) * US, 9 * US, "short", **graph) for n in range(20)]
    assert is_kept(*rows)


def test_streams_of_other_processes_and_devices_are_others() -> None:
    long = {"process": 11, "correlation": 900}
    assert is_kept(*steps(), kernel(NOW + 20 * US, 900 * US, GEMM, **long))
    assert is_kept(*steps(), kernel(NOW + 20 * US, 900 * US, GEMM, device=1, correlation=900))
    both_ways = [copy(NOW + 20 * US, 900 * US, "HtoD", stream=8, correlation=901)]
    assert is_kept(*steps(), *both_ways, copy(NOW + 30 * US, 900 * US, "DtoH", stream=9))


def test_a_queue_that_runs_side_by_side_all_the_time_is_left_alone() -> None:
    """As the hardware queues of some makers do, which several streams share."""
    rows = []
    for n in range(8):
        at = NOW + n * 500 * US
        rows += launched(at, 480 * US, 10 * n + 1, f"long{n}")
        for k in range(3):
            rows += launched(at + k * 100 * US, 50 * US, 10 * n + k + 2)
    assert is_kept(*rows)


def test_without_correlations_only_what_outlasts_the_recording_is_cut() -> None:
    """Side by side may be a graph then."""
    alone = [row | {"correlation": None} for row in steps() if row["kind"] == "kernel"]
    longer = [row | {"duration_ns": 700 * US} if at == 3 else row for at, row in enumerate(alone)]
    assert is_kept(*longer)
    overflown = [row | {"duration_ns": S} if at == 3 else row for at, row in enumerate(alone)]
    assert times(read(*overflown)) == (980, 820)


def test_a_summary_lays_its_events_end_to_end_and_is_taken_as_it_is() -> None:
    assert is_kept(*(kernel(n * 30 * DAY, HOUR) for n in range(20)), timed=False)
