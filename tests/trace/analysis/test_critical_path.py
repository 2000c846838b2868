"""Critical paths and the causes of gaps counted by hand, and what must hold for any trace."""

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
    trace,
)
from topout.trace.analysis.critical_path import NO_LAUNCHES
from topout.trace.analysis.groups import load_rules
from topout.trace.analysis.report import device_report
from topout.trace.table import Trace

RULES = load_rules()


def _path(of: Trace, device: int = 0) -> dict[str, int]:
    """Nanoseconds per part."""
    found = next(each for each in device_report(of, RULES) if each.device == device)
    total = sum(part.total_s for part in found.critical_path)
    for part in found.critical_path:
        assert part.share == pytest.approx(part.total_s / total)
    return {part.name: round(part.total_s * 1e9) for part in found.critical_path}


def _launched(called: int, start: int, duration: int, number: int, **more: object) -> list[Row]:
    row = kernel(start, duration, **more) | {"correlation": number}
    return [call(called, 5, correlation=number), row]


def test_a_device_that_is_never_out_of_work_is_the_path() -> None:
    # Kernels back to back with 2 ns between, launched well before.
    found = _path(
        trace(*_launched(0, 100, 50, 1), *_launched(10, 152, 48, 2), *_launched(20, 200, 30, 3))
    )
    assert found == {"matrix-mul": 128, "between kernels": 2}


def test_a_late_launch_puts_the_host_on_the_path() -> None:
    # Kernel 2 was called at 180, 30 ns after kernel 1 ended, and began at 200. The host was never
    # held, so that its way back goes to the beginning, at kernel 1's start.
    found = _path(trace(*_launched(0, 100, 50, 1), *_launched(180, 200, 60, 2)))
    assert found == {"matrix-mul": 60, "launch": 20, "host": 80}


def test_a_synchronisation_leads_back_to_the_device() -> None:
    # The host waited in [110, 155) for kernel 1, which ended at 150; then worked until 180.
    found = _path(
        trace(
            *_launched(0, 100, 50, 1),
            call(110, 45, "cudaStreamSynchronize"),
            *_launched(180, 200, 60, 2),
        )
    )
    assert found == {"matrix-mul": 110, "launch": 20, "host": 30}


def test_a_synchronisation_that_did_not_wait_does_not() -> None:
    found = _path(
        trace(
            *_launched(0, 100, 50, 1),
            call(160, 5, "cudaStreamSynchronize"),
            *_launched(180, 200, 60, 2),
        )
    )
    assert found == {"matrix-mul": 60, "launch": 20, "host": 80}


def test_a_synchronisation_of_a_thread_that_launches_nothing_does_not_count() -> None:
    found = _path(
        trace(
            *_launched(0, 100, 50, 1),
            call(110, 45, "cudaEventSynchronize", thread=9),
            *_launched(180, 200, 60, 2),
        )
    )
    assert found == {"matrix-mul": 60, "launch": 20, "host": 80}


def test_the_path_crosses_to_the_stream_that_was_waited_for() -> None:
    # The second kernel of stream 7 waits for the all-reduce on stream 20, which waited for the
    # first: 10 µs + 40 µs of all-reduce + 5 µs, while a short kernel elsewhere is off the path.
    found = _path(
        trace(
            *_launched(0, 1_000, 10_000, 1),
            call(10, 5, correlation=2),
            collective(11_000, 40_000, correlation=2),
            *_launched(20, 12_000, 3_000, 3, stream=9, name=ADD),
            *_launched(30, 51_500, 5_000, 4),
        )
    )
    assert found == {"communication": 40_000, "matrix-mul": 15_000, "between kernels": 500}


def test_a_kernel_queued_right_behind_another_waited_for_that_one() -> None:
    # An addition on stream 9 ends 1 µs before the second product, 2 µs after the first.
    found = _path(
        trace(
            *_launched(0, 1_000, 10_000, 1),
            *_launched(10, 9_000, 4_000, 2, stream=9, name=ADD),
            *_launched(20, 14_000, 5_000, 3),
        )
    )
    assert found == {"matrix-mul": 15_000, "between kernels": 3_000}


def test_a_step_reaches_from_the_end_of_the_one_before_to_its_own() -> None:
    # Steps on the host [0, 100), [100, 200), [200, 300); the device ends them at 190, 290 and
    # 450. Lived lengths: 190, 100 and 160: the middle one is the third, [290, 450).
    found = _path(
        trace(
            mark(0, 100, "ProfilerStep#1"),
            mark(100, 100, "ProfilerStep#2"),
            mark(200, 100, "ProfilerStep#3"),
            *_launched(10, 20, 170, 1),
            *_launched(110, 190, 100, 2),
            *_launched(210, 290, 120, 3),
            *_launched(220, 410, 40, 4, name=ADD),
        )
    )
    assert found == {"matrix-mul": 120, "element-wise": 40}


def test_host_time_on_the_path_is_named_where_it_is_known() -> None:
    # From 0: data [0, 40), 20 of anything, gloo [60, 90), launch call at 100.
    found = _path(
        trace(
            mark(0, 230, "ProfilerStep#1"),
            mark(0, 40, "enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__"),
            mark(60, 30, "gloo:all_reduce"),
            *_launched(100, 130, 100, 1),
        )
    )
    assert found == {
        "matrix-mul": 100, "data loading": 40, "communication": 30, "launch": 30, "host": 30,
    }  # fmt: skip


def test_the_host_may_end_the_step() -> None:
    found = _path(trace(mark(0, 500, "ProfilerStep#1"), *_launched(0, 10, 50, 1)))
    assert found == {"host": 500}


def test_without_launches_the_path_stays_on_the_device_and_says_so() -> None:
    only = trace(kernel(0, 10), copy(30, 10), kernel(45, 5, ADD))
    assert _path(only) == {
        "matrix-mul": 10, "memory": 10, "element-wise": 5, "between kernels": 25,
    }  # fmt: skip
    assert "critical_path" in device_report(only, RULES)[0].reasons


def test_the_path_of_a_host_alone() -> None:
    # One step of 100: loading 10, addmm 30 (in linear, 40), the backend until 80, then nothing.
    host = trace(
        mark(0, 100, "ProfilerStep#1"),
        mark(0, 10, "enumerate(DataLoader)#x"),
        operator(10, 40, "aten::linear"),
        operator(15, 30, "aten::addmm"),
        operator(20, 5, "aten::add", thread=3),
        mark(40, 40, "gloo:all_reduce", thread=2),
    )
    assert _path(host, device=-1) == {
        "data loading": 10, "matrix-mul": 40, "communication": 30, "host": 20,
    }  # fmt: skip


_WORK = st.lists(
    st.tuples(
        st.integers(0, 200),  # start
        st.integers(0, 30),  # duration
        st.integers(1, 3),  # stream
        st.one_of(st.none(), st.integers(-20, 60)),  # from call to start; None: not in the trace
    ),
    min_size=1,
    max_size=15,
)
_SYNCS = st.lists(st.tuples(st.integers(0, 230), st.integers(0, 40)), max_size=4)


@settings(deadline=None, max_examples=150)
@given(_WORK, _SYNCS, st.booleans())
def test_parts_sum_to_the_duration_of_the_step(
    work: list[tuple[int, int, int, int | None]], syncs: list[tuple[int, int]], stepped: bool
) -> None:
    rows = [call(start, length, "cudaDeviceSynchronize") for start, length in syncs]
    for number, (start, length, stream, delay) in enumerate(work):
        rows.append(kernel(start, length, stream=stream, correlation=number))
        if delay is not None:
            rows.append(call(start - delay, 3, correlation=number))
    end = max(start + length for start, length, _, _ in work)
    begin = min(start for start, _, _, _ in work)
    if stepped:
        rows.append(mark(50, 100, "ProfilerStep#1"))
        launched = [
            start + length for start, length, _, delay in work if 50 <= start - (delay or 0) < 150
        ]
        begin, end = 50, max([150, *launched])
    assert sum(_path(trace(*rows)).values()) == end - begin


def _causes(of: Trace, device: int = 0) -> dict[str, tuple[int, int]]:
    """Gaps and nanoseconds by cause."""
    found = next(each for each in device_report(of, RULES) if each.device == device)
    assert round(sum(each.total_s for each in found.idle) * 1e9) == round(found.idle_s * 1e9)
    assert sum(each.share for each in found.idle) == pytest.approx(1.0)
    return {each.cause: (each.gaps, round(each.total_s * 1e9)) for each in found.idle}


def test_a_launch_that_came_after_the_device_fell_idle_is_the_hosts_fault() -> None:
    # Idle from 110 to 160; the next launch was called at 150.
    assert _causes(trace(*_launched(0, 10, 100, 1), *_launched(150, 160, 40, 2))) == {
        "host": (1, 50)
    }


def test_a_launch_that_was_queued_in_time_is_not() -> None:
    assert _causes(trace(*_launched(0, 10, 100, 1), *_launched(20, 112, 40, 2))) == {
        "other": (1, 2)
    }


def test_a_launch_at_the_very_moment_was_in_time() -> None:
    assert _causes(trace(*_launched(0, 10, 100, 1), *_launched(110, 130, 40, 2))) == {
        "other": (1, 20)
    }


def test_a_wait_for_an_event_while_work_is_queued_is_communication() -> None:
    wait = kernel(110, 40, "Stream Wait Event", kind="gpu_sync")
    assert _causes(trace(*_launched(0, 10, 100, 1), wait, *_launched(20, 160, 40, 2))) == {
        "communication": (1, 50)
    }
    short = wait | {"duration_ns": 25}  # no more than half of the gap
    assert _causes(trace(*_launched(0, 10, 100, 1), short, *_launched(20, 160, 40, 2))) == {
        "other": (1, 50)
    }


def test_another_device_in_a_collective_explains_a_gap_only_when_work_was_queued() -> None:
    elsewhere = collective(105, 60, device=1)
    queued = trace(*_launched(0, 10, 100, 1), *_launched(20, 160, 40, 2), elsewhere)
    assert _causes(queued) == {"communication": (1, 50)}
    late = trace(*_launched(0, 10, 100, 1), *_launched(140, 160, 40, 2), elsewhere)
    assert _causes(late) == {"host": (1, 50)}


def test_a_host_that_sits_in_a_collective_waits_on_communication() -> None:
    gloo = mark(112, 40, "gloo:all_reduce")
    assert _causes(trace(*_launched(0, 10, 100, 1), gloo, *_launched(155, 160, 40, 2))) == {
        "communication": (1, 50)
    }


def test_half_of_a_gap_in_a_collective_is_not_enough() -> None:
    # The gap is [110, 160): the host sat in a collective for 25 of it, and for 26.
    half, more = (mark(112, length, "gloo:all_reduce") for length in (25, 26))
    parts = [*_launched(0, 10, 100, 1), *_launched(155, 160, 40, 2)]
    assert _causes(trace(*parts, half)) == {"host": (1, 50)}
    assert _causes(trace(*parts, more)) == {"communication": (1, 50)}


def test_gaps_of_different_causes_are_kept_apart() -> None:
    found = _causes(
        trace(
            *_launched(0, 10, 100, 1),
            *_launched(20, 113, 7, 2),
            *_launched(180, 200, 10, 3),
            kernel(215, 5),  # no launch is known
        )
    )
    assert found == {"host": (1, 80), "other": (2, 8)}


def test_without_launches_there_is_a_reason_and_no_cause() -> None:
    (found,) = device_report(trace(kernel(0, 10), copy(30, 10)), RULES)
    assert found.idle == []
    assert found.idle_s == pytest.approx(20e-9)
    assert found.reasons["idle"] == NO_LAUNCHES


def test_correlations_of_two_processes_are_told_apart() -> None:
    # Both processes have a call 1; that of process 10 came first, that of process 11 late.
    found = _causes(
        trace(
            call(0, 5, correlation=7, process=11),
            kernel(10, 100, correlation=7, process=11),
            call(20, 5, correlation=1, process=10),
            call(150, 5, correlation=1, process=11),
            kernel(160, 40, correlation=1, process=11),
        )
    )
    assert found == {"host": (1, 50)}
