"""Critical paths counted by hand, and what must hold for any trace."""

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
