"""Angles, their scalings and their factors by hand: heads of 8, so that columns turn by 10^-i."""

import math
from typing import Any

import msgspec
import pytest
import torch

from topout.models.config import ModelConfig
from topout.models.rope import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    RopeScaling,
    YarnScaling,
)
from topout.models.rotary import Rotary, inverse_frequencies, rotate, yarn_attention_factor

from .tiny import LLAMA

PLAIN = [1.0, 0.1, 0.01, 0.001]  # 10000^(-2i/8)


def config(scaling: RopeScaling | None = None, **changes: Any) -> ModelConfig:
    """Two heads of 8 over a context of 64."""
    fields = {"width": 16, "heads": 2, "kv_heads": 2, "head_size": 8, "context_len": 64}
    return msgspec.structs.replace(
        ModelConfig.from_hugging_face(LLAMA, "tiny"),
        rope_theta=10_000.0,
        rope_scaling=scaling,
        **(fields | changes),
    )


def frequencies(scaling: RopeScaling | None, max_len: int = 64, **changes: Any) -> list[float]:
    found, _ = inverse_frequencies(config(scaling, **changes), max_len)
    assert found.dtype == torch.float32
    return found.tolist()


def yarn(**changes: Any) -> YarnScaling:
    return YarnScaling(**({"factor": 4.0, "original_context_len": 16} | changes))


def test_without_a_scaling() -> None:
    assert frequencies(None) == pytest.approx(PLAIN, rel=1e-6)
    assert inverse_frequencies(config(), 64)[1] == 1.0


def test_linear_scaling_divides_every_frequency() -> None:
    found = frequencies(LinearScaling(factor=2.5))
    assert found == pytest.approx([each / 2.5 for each in PLAIN], rel=1e-6)
    assert inverse_frequencies(config(LinearScaling(factor=2.5)), 64)[1] == 1.0


def test_dynamic_scaling_raises_the_base_past_the_context() -> None:
    scaling = DynamicScaling(factor=2.0)
    assert frequencies(scaling, 64) == pytest.approx(PLAIN, rel=1e-6)
    assert frequencies(scaling, 10) == pytest.approx(PLAIN, rel=1e-6)
    # Twice the context: 10000·(2·2 − 1)^(8/6), so that the last column turns 3 times as slowly.
    found = frequencies(scaling, 128)
    assert found == pytest.approx([each * 3 ** (-i / 3) for i, each in enumerate(PLAIN)], rel=1e-6)
    assert inverse_frequencies(config(scaling), 128)[1] == 1.0


def test_llama3_keeps_fast_columns_stretches_slow_ones_and_blends_between() -> None:
    scaling = Llama3Scaling(
        factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_context_len=64
    )
    # Wavelengths 6.28, 62.8, 628, 6283 against 64/4 = 16 and 64/1 = 64. The second lies between:
    # (64/62.83 − 1)/(4 − 1) = 0.0062 of 0.1, and the rest of 0.1/8.
    smooth = (64 / (20 * math.pi) - 1) / 3
    between = smooth * 0.1 + (1 - smooth) * 0.1 / 8
    assert frequencies(scaling) == pytest.approx([1.0, between, 0.01 / 8, 0.001 / 8], rel=1e-6)
    other = msgspec.structs.replace(scaling, low_freq_factor=0.05)
    # Against 16 and 1280: the third lies between too, (64/628.3 − 0.05)/3.95.
    blends = [(64 / length - 0.05) / 3.95 for length in (20 * math.pi, 200 * math.pi)]
    second, third = (
        share * each + (1 - share) * each / 8
        for share, each in zip(blends, (0.1, 0.01), strict=True)
    )
    assert frequencies(other) == pytest.approx([1.0, second, third, 0.001 / 8], rel=1e-5)
    assert inverse_frequencies(config(scaling), 64)[1] == 1.0


@pytest.mark.parametrize(
    ("scaling", "theta", "kept"),
    [
        # Column 8·ln(16/(r·2π))/(2·ln 10000): −1.1 for 32 turns, held at 0; 0.41 for one, so 1.
        (yarn(), 1e4, [1, 0, 0, 0]),
        # 512 positions: 32 turns in column 0.41, so 0; one turn in 1.91, so 2.
        (yarn(original_context_len=512), 1e4, [1, 0.5, 0, 0]),
        # The same columns as they are: (i − 0.4057)/(1.9111 − 0.4057).
        (yarn(original_context_len=512, truncate=False), 1e4, None),
        # 2000 turns lie before the first column; one turn in column 11.3, held at the last, 7.
        (
            yarn(original_context_len=4096, beta_fast=2000.0),
            10.0,
            [1, 6 / 7, 5 / 7, 4 / 7],
        ),
        # Both before the first column: it alone is kept.
        (yarn(original_context_len=4), 1e4, [1, 0, 0, 0]),
    ],
)
def test_yarn_keeps_fast_columns(
    scaling: YarnScaling, theta: float, kept: list[float] | None
) -> None:
    if kept is None:
        low, high = (8 * math.log(512 / (r * 2 * math.pi)) / (2 * math.log(1e4)) for r in (32, 1))
        kept = [1 - min(max((i - low) / (high - low), 0), 1) for i in range(4)]
    plain = [theta ** (-i / 4) for i in range(4)]
    expected = [
        share * each + (1 - share) * each / 4 for share, each in zip(kept, plain, strict=True)
    ]
    found, factor = inverse_frequencies(
        msgspec.structs.replace(config(scaling), rope_theta=theta), 64
    )
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    assert factor == pytest.approx(0.1 * math.log(4) + 1)


@pytest.mark.parametrize(
    ("scaling", "factor"),
    [
        (yarn(), 1.1386294),  # 0.1·ln 4 + 1
        (yarn(factor=1.0), 1.0),
        (yarn(factor=0.5), 1.0),  # no less, though its logarithm is negative
        (yarn(factor=1.5), 1.0405465),
        (yarn(attention_factor=1.3), 1.3),
        (yarn(attention_factor=1.3, mscale=0.7, mscale_all_dim=0.4), 1.3),
        # (0.07·ln 4 + 1)/(0.04·ln 4 + 1)
        (yarn(mscale=0.7, mscale_all_dim=0.4), 1.0970406 / 1.0554518),
        # One of the two alone says nothing.
        (yarn(mscale=0.7), 1.1386294),
        (yarn(mscale_all_dim=0.4), 1.1386294),
    ],
)
def test_yarns_factor(scaling: YarnScaling, factor: float) -> None:
    assert yarn_attention_factor(scaling) == pytest.approx(factor, rel=1e-7)
    assert inverse_frequencies(config(scaling), 64)[1] == pytest.approx(factor, rel=1e-7)


def test_tables_hold_angles_of_every_position() -> None:
    rotary = Rotary(config(yarn(attention_factor=2.0, original_context_len=4)), 5)
    assert rotary.cos.shape == rotary.sin.shape == (5, 4)
    # Position 3: 3·1, and 3·10^-i/4, twice as long.
    angles = [3.0, 0.075, 0.0075, 0.00075]
    assert rotary.cos[3].tolist() == pytest.approx([2 * math.cos(each) for each in angles])
    assert rotary.sin[3].tolist() == pytest.approx([2 * math.sin(each) for each in angles])
    cos, sin = rotary(torch.tensor([3, 0]), torch.float64)
    assert cos.dtype == sin.dtype == torch.float64
    assert cos.shape == sin.shape == (2, 8)
    assert cos[0].tolist() == [*rotary.cos[3].tolist(), *rotary.cos[3].tolist()]
    assert sin[1].tolist() == [0.0] * 8


def test_tables_stay_in_fp32_and_out_of_checkpoints() -> None:
    rotary = Rotary(config(), 5).to(torch.bfloat16)
    assert rotary.cos.dtype == rotary.sin.dtype == torch.float32
    assert rotary.state_dict() == {}
    with torch.device("meta"):
        real = Rotary(config(), 5)
    assert torch.equal(real.cos, Rotary(config(), 5).cos)


def test_a_turn_pairs_columns_half_a_head_apart() -> None:
    x = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])
    quarter = rotate(x, torch.zeros(1, 4), torch.ones(1, 4))
    assert quarter.flatten().tolist() == [-3.0, -4.0, 1.0, 2.0]
    # 0.6 of it and 0.8 of the quarter turn.
    some = rotate(x, torch.full((1, 4), 0.6), torch.full((1, 4), 0.8))
    assert some.flatten().tolist() == pytest.approx([-1.8, -2.0, 2.6, 4.0])
