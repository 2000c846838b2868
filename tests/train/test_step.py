"""A training step: it learns, its micro-batches make one batch, and its parts are timed."""

import pytest
import torch

from tests.train.tiny_network import seeded
from topout.records import TrainDtype
from topout.train.data import generated_classes
from topout.train.distributed import Batch
from topout.train.step import StepTimer, Trainer


def trainer(accumulation: int = 1, dtype: TrainDtype = "fp32") -> Trainer:
    return Trainer(
        seeded(),
        device=torch.device("cpu"),
        dtype=dtype,
        accumulation=accumulation,
        learning_rate=0.1,
        weight_decay=0.0,
    )


def batch_of(first: int, count: int) -> Batch:
    samples = generated_classes(32, 10, 64, seed=0)
    rows = slice(first, first + count)
    tokens = torch.from_numpy(samples.tokens[rows]).long()
    labels = torch.from_numpy(samples.labels[rows]).long()
    return Batch(tokens, torch.ones_like(tokens, dtype=torch.bool), labels)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_the_loss_goes_down_on_data_that_can_be_learned(dtype: TrainDtype) -> None:
    learner = trainer(dtype=dtype)
    losses = [learner.step(lambda micro: batch_of(0, 32))[1] for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]


def test_accumulated_batches_make_one_step_on_all_of_them() -> None:
    at_once, in_parts = trainer(1), trainer(4)
    loss_at_once = at_once.step(lambda micro: batch_of(0, 16))[1]
    loss_in_parts = in_parts.step(lambda micro: batch_of(4 * micro, 4))[1]
    assert loss_at_once == pytest.approx(loss_in_parts, rel=1e-5)
    for a, b in zip(at_once.network.parameters(), in_parts.network.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_a_pass_without_the_sum_changes_nothing() -> None:
    learner = trainer()
    before = [parameter.clone() for parameter in learner.network.parameters()]
    assert learner.backward_without_sum(batch_of(0, 8)) > 0
    for parameter, old in zip(learner.network.parameters(), before, strict=True):
        assert parameter.grad is None and torch.equal(parameter, old)


def test_the_parts_lie_within_the_step() -> None:
    times, _ = trainer(2).step(lambda micro: batch_of(0, 8))
    parts = [times["data"], times["forward"], times["backward"], times["optimizer"]]
    assert all(part > 0 for part in parts) and sum(parts) <= times.total_s
    assert 0 < times.last("backward") < times["backward"]


def test_a_part_that_did_not_run_took_no_time() -> None:
    timer = StepTimer(torch.device("cpu"))
    timer.begin()
    timer.ended("forward")
    times = timer.end()
    assert times["optimizer"] == 0.0 and times.last("optimizer") == 0.0
    assert times["forward"] == times.last("forward") > 0
