"""Bytes a parameter in training, by recipe, optimizer and ZeRO stage."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from topout.cost.training import ParameterBytes, TrainingPlan, parameter_bytes
from topout.errors import InputError

brief = settings(max_examples=60, deadline=None)


def of(parameters: int, dtype: Any, **plan: Any) -> ParameterBytes:
    return parameter_bytes(parameters, dtype, TrainingPlan(**plan))


@pytest.mark.parametrize(
    ("dtype", "plan", "expected"),
    [
        # weights, gradients, optimizer of 256 parameters
        ("bf16", {}, (2, 2, 12)),  # fp32 copy and two moments: 16 bytes in all
        ("bf16", {"gradient_dtype": "fp32"}, (2, 4, 12)),
        ("bf16", {"recipe": "pure"}, (2, 2, 4)),
        ("fp32", {}, (4, 4, 8)),
        ("fp16", {"optimizer": "momentum"}, (2, 2, 8)),
        ("fp16", {"optimizer": "sgd"}, (2, 2, 4)),
        ("fp32", {"optimizer": "sgd"}, (4, 4, 0)),
        ("fp32", {"optimizer": "momentum"}, (4, 4, 4)),
    ],
)
def test_bytes_a_parameter(dtype: str, plan: dict[str, Any], expected: tuple[int, ...]) -> None:
    found = of(256, dtype, **plan)
    assert (found.weights, found.gradients, found.optimizer) == tuple(256 * n for n in expected)


def test_eight_bit_adam() -> None:
    # 1000 parameters: two moments of a byte and four blocks of 256 with an fp32 scale each.
    assert of(1000, "bf16", recipe="pure", optimizer="adam_8bit").optimizer == 2 * (1000 + 16)
    assert of(1000, "bf16", optimizer="adam_8bit").optimizer == 4000 + 2 * (1000 + 16)


def test_the_zero_papers_example() -> None:
    """arXiv 1910.02054, figure 1: 7.5 B parameters on 64 devices: 120, 31.4, 16.6, 1.9 GB."""
    totals = []
    for stage in range(4):
        found = of(7_500_000_000, "fp16", zero_stage=stage, data_parallel=64)
        totals.append((found.weights + found.gradients + found.optimizer) / 1e9)
    assert totals == pytest.approx([120, 31.4, 16.6, 1.9], abs=0.05)


@brief
@given(st.integers(1, 10**9), st.integers(1, 512), st.sampled_from(["fp32", "bf16"]))
def test_the_shares_make_up_the_whole(parameters: int, devices: int, dtype: str) -> None:
    whole = of(parameters, dtype)
    share = of(parameters, dtype, zero_stage=3, data_parallel=devices)
    for part in ("weights", "gradients", "optimizer"):
        together, alone = devices * getattr(share, part), getattr(whole, part)
        # Rounded up to whole parameters, of at most 12 bytes, on each device.
        assert 0 <= together - alone < 12 * devices


@brief
@given(st.integers(1, 10**9), st.integers(2, 512))
def test_a_higher_stage_never_takes_more(parameters: int, devices: int) -> None:
    stages = [of(parameters, "bf16", zero_stage=n, data_parallel=devices) for n in range(4)]
    totals = [each.weights + each.gradients + each.optimizer for each in stages]
    assert totals == sorted(totals, reverse=True)
    assert stages[1].gradients == stages[0].gradients
    assert stages[2].weights == stages[0].weights


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"zero_stage": 4}, "zero_stage is 4. Choose one of 0, 1, 2, 3"),
        ({"zero_stage": -1}, "zero_stage is -1"),
        ({"data_parallel": 0}, "data_parallel is 0. Give 1 or more"),
        ({"pipeline_parallel": -2}, "pipeline_parallel is -2"),
        ({"micro_batches": 0}, "micro_batches is 0"),
        ({"optimizer": "lion"}, "optimizer is 'lion'. Choose one of sgd, momentum, adam"),
        ({"recipe": "amp"}, "recipe is 'amp'"),
        ({"recompute": "half"}, "recompute is 'half'. Choose one of none, selective, full"),
        ({"gradient_dtype": "int8"}, "gradient_dtype is 'int8'"),
    ],
)
def test_bad_input(plan: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainingPlan(**plan)
