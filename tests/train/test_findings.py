"""What a training run says: the published figures of scaling, and no more than was measured."""

import pytest
from msgspec.structs import replace

from tests.report.train.example_train import done_case, example_train, step_of
from topout.train.findings import case_doubts, train_findings


def test_the_parts_are_named_from_the_largest() -> None:
    first = train_findings(example_train())[0]
    assert first == (
        "On one rank a step takes 100 ms: 50 % backward, 30 % forward, 15 % the optimizer, "
        "4 % waiting for data."
    )


def test_scaling_is_told_linear_or_not() -> None:
    said = " ".join(train_findings(example_train()))
    assert "parallel efficiency of 75 %: scaling is not linear" in said
    report = example_train()
    case = replace(report.cases[1], parallel_efficiency=0.97)
    said = " ".join(train_findings(replace(report, cases=[report.cases[0], case])))
    assert "97 %: scaling is linear" in said


def test_no_speedup_is_claimed_without_a_reason_said() -> None:
    report = example_train()
    case = replace(
        report.cases[1],
        speedup=None,
        parallel_efficiency=None,
        reasons={"speedup": "The two do not compute the same for a sample."},
    )
    said = train_findings(replace(report, cases=[report.cases[0], case]))
    assert "No speedup of 2 ranks is claimed. The two do not compute the same for a sample." in said
    assert not any("as many samples" in sentence for sentence in said)


def test_communication_is_named_with_its_share() -> None:
    said = " ".join(train_findings(example_train()))
    # 20 ms exposed of a step of 133 ms
    assert "Summing 30.4 MB of gradients over 2 ranks adds 20.0 ms to a step, 15 % of it." in said


def test_a_rank_that_is_late_is_named() -> None:
    report = example_train()
    slow = replace(report.cases[1].times[1], forward_s=0.045)
    case = replace(report.cases[1], times=[report.cases[1].times[0], slow])
    said = " ".join(train_findings(replace(report, cases=[report.cases[0], case])))
    assert "rank 1 takes 50 % longer in forward" in said
    assert "longer in forward" not in " ".join(train_findings(report))


def test_ranks_that_drifted_apart_and_a_loss_that_stays_are_told() -> None:
    report = example_train()
    case = replace(report.cases[1], weights_agree=False, loss=[1.0, 1.0, 1.2, 1.3])
    said = " ".join(train_findings(replace(report, cases=[report.cases[0], case])))
    assert "did not train one model" in said and "The loss did not go down" in said


def test_waiting_for_data_is_told_from_a_twentieth_on() -> None:
    report = example_train()
    time = replace(done_case(1).times[0], data_s=0.2, forward_s=0.1)
    said = " ".join(train_findings(replace(report, cases=[replace(done_case(1), times=[time])])))
    assert "One rank waits 200 % of a step for data." in said
    assert "for data." not in " ".join(train_findings(report)[1:])


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


def test_a_rate_above_the_ceiling_is_doubted_and_has_no_share() -> None:
    report = example_train()
    case = replace(report.cases[0], flops_per_s=3e11, mfu_of_ceiling=1.5)
    doubt = case_doubts([case])[-1]
    assert "above the arithmetic ceiling of 200 GFLOP/s" in doubt.sentence
    said = " ".join(train_findings(replace(report, cases=[case])))
    assert ">100 % of what this machine was measured to reach" in said
    calm = replace(case, mfu_of_ceiling=1.01)
    assert not any("ceiling" in each.sentence for each in case_doubts([calm]))
