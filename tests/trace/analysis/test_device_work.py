"""Steps as marked on the host and as the device lived them."""

from tests.trace.analysis.example_traces import call, kernel, mark, trace
from topout.trace.analysis.device_work import (
    Step,
    device_steps,
    device_work_of,
    launches_of,
    middle_step,
    steps_of,
)
from topout.trace.analysis.groups import load_rules


def test_steps_are_the_marks_of_the_profiler_on_the_host_in_order() -> None:
    found = steps_of(
        trace(
            mark(50, 30, "ProfilerStep#2"),
            mark(0, 50, "ProfilerStep#1"),
            mark(0, 20, "my region"),
            kernel(0, 90, "ProfilerStep#1", kind="gpu_annotation"),
        )
    )
    assert found == [Step("ProfilerStep#1", 0, 50), Step("ProfilerStep#2", 50, 80)]
    assert steps_of(trace(kernel(0, 10))) == []


def test_a_step_ends_with_the_last_work_that_was_launched_in_it() -> None:
    marked = trace(
        mark(0, 50, "ProfilerStep#1"),
        mark(50, 50, "ProfilerStep#2"),
        call(10, 5, correlation=1),
        kernel(20, 60, correlation=1),  # ends at 80, in the second step's time
        call(60, 5, correlation=2),
        kernel(80, 5, correlation=2),  # ends before the host's mark
        call(120, 5, correlation=3),
        kernel(130, 50, correlation=3),  # launched after all steps
    )
    (work,) = device_work_of(marked, load_rules())
    lived = device_steps(steps_of(marked), work, launches_of(marked))
    assert [(step.start_ns, step.end_ns) for step in lived] == [(0, 80), (80, 100)]


def test_the_middle_step_is_that_of_median_duration() -> None:
    steps = [Step("a", 0, 10), Step("b", 10, 100), Step("c", 100, 120), Step("d", 120, 150)]
    assert middle_step(steps[:3]).name == "c"
    assert middle_step(steps).name == "c"
