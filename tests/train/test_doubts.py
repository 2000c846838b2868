"""Figures that contradict themselves are doubted; those of a quiet machine are not."""

import pytest
from msgspec.structs import replace

from tests.report.example_train import done_case, example_train, step_of
from topout.train.doubts import case_doubts
from topout.train.findings import train_findings


def test_a_quiet_machine_raises_none() -> None:
    assert case_doubts(example_train().cases) == []


def test_more_than_linear_is_doubted_and_not_called_linear() -> None:
    alone, two = example_train().cases
    fast = replace(two, parallel_efficiency=1.72)
    (doubt,) = case_doubts([alone, fast])
    assert doubt.about == "speedup" and "172 % efficient" in doubt.sentence
    said = " ".join(train_findings(example_train(cases=[alone, fast])))
    assert "more than linear, and to be doubted" in said and "scaling is linear" not in said


@pytest.mark.parametrize(("share", "doubts"), [(0.57, 1), (0.9, 0), (None, 0)])
def test_one_rank_without_its_processors_is_doubted(share: float | None, doubts: int) -> None:
    case = done_case(1)
    time = replace(case.times[0], processor_utilization=share)
    assert len(case_doubts([replace(case, times=[time])])) == doubts


def test_waiting_for_other_ranks_explains_idle_processors() -> None:
    case = done_case(2)  # exposed communication is 15 % of a step, data 3 %
    times = [replace(time, processor_utilization=0.7) for time in case.times]
    assert case_doubts([replace(case, times=times)]) == []
    times = [replace(time, processor_utilization=0.6) for time in case.times]
    (doubt,) = case_doubts([replace(case, times=times)])
    assert "60 % of the threads' time, and waiting explains 18 %" in doubt.sentence


def test_steps_far_apart_are_doubted() -> None:
    case = done_case(2)
    steps = [[step_of(number, 0.1 * (1 + number % 2)) for number in range(8)] for _ in range(2)]
    (doubt,) = case_doubts([replace(case, steps=steps)])
    assert doubt.about == "2 ranks" and "apart" in doubt.sentence
