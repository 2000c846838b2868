"""The cause of each gap, from launches made by hand."""

import pytest

from tests.trace.analysis.example_traces import Row, call, collective, copy, kernel, mark, trace
from topout.trace.analysis.groups import load_rules
from topout.trace.analysis.idle import NO_LAUNCHES
from topout.trace.analysis.report import device_report
from topout.trace.table import Trace

RULES = load_rules()


def _causes(of: Trace, device: int = 0) -> dict[str, tuple[int, int]]:
    """Gaps and nanoseconds by cause."""
    found = next(each for each in device_report(of, RULES) if each.device == device)
    assert round(sum(each.total_s for each in found.idle) * 1e9) == round(found.idle_s * 1e9)
    assert sum(each.share for each in found.idle) == pytest.approx(1.0)
    return {each.cause: (each.gaps, round(each.total_s * 1e9)) for each in found.idle}


def _launched(called: int, start: int, duration: int, number: int, **more: object) -> list[Row]:
    """A kernel and the call that launched it."""
    return [
        call(called, 5, correlation=number),
        kernel(start, duration, correlation=number, **more),
    ]


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
