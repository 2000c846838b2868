"""Rotary position embedding: tables of cosines and sines, with the scalings of transformers."""

import math
from collections.abc import Callable
from typing import Any, assert_never

import torch
from torch import Tensor, nn

from topout.models.config import ModelConfig
from topout.models.rope import DynamicScaling, LinearScaling, Llama3Scaling, YarnScaling


class Rotary(nn.Module):
    """Cosine and sine of every position's angles, as fp32 tables [max_len, head_size / 2].

    The tables stay in fp32 when the module is moved to another dtype, and are real when the rest
    of a model is built on the meta device.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig, max_len: int) -> None:
        super().__init__()
        frequencies, attention_factor = inverse_frequencies(config, max_len)
        positions = torch.arange(max_len, dtype=torch.float32, device="cpu")
        angles = positions[:, None] * frequencies  # [max_len, head_size / 2]
        self.register_buffer("cos", angles.cos() * attention_factor, persistent=False)
        self.register_buffer("sin", angles.sin() * attention_factor, persistent=False)

    def forward(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines [S, head_size] of `positions` [S], each half of the columns alike."""
        cos, sin = self.cos[positions].to(dtype), self.sin[positions].to(dtype)
        return torch.cat((cos, cos), dim=-1), torch.cat((sin, sin), dim=-1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # A bf16 angle at position 1000 would be off by whole turns: follow the device alone.
        cos, sin = self.cos, self.sin
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.cos, self.sin = cos.to(self.cos.device), sin.to(self.sin.device)
        return self


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`x` [B, heads, S, head_size] turned by its positions; cos and sin [S, head_size].

    Column i is paired with column i + head_size / 2, as in transformers.
    """
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def inverse_frequencies(config: ModelConfig, max_len: int) -> tuple[Tensor, float]:
    """Radians per position [head_size / 2] in fp32, and the factor on cosine and sine.

    Operations and their order are those of transformers' `modeling_rope_utils`, so that the
    angles agree to the last bit. Dynamic scaling depends on the length; a table needs one
    length, and it is `max_len`.
    """
    scaling = config.rope_scaling
    theta = config.rope_theta
    if isinstance(scaling, DynamicScaling):
        length_ratio = max(max_len, config.context_len) / config.context_len
        stretch = scaling.factor * length_ratio - (scaling.factor - 1)
        theta = theta * stretch ** (config.head_size / (config.head_size - 2))
    columns = torch.arange(0, config.head_size, 2, dtype=torch.float32, device="cpu")
    frequencies = 1.0 / (theta ** (columns / config.head_size))
    match scaling:
        case None | DynamicScaling():
            return frequencies, 1.0
        case LinearScaling(factor=factor):
            return frequencies / factor, 1.0
        case Llama3Scaling():
            return _llama3(frequencies, scaling), 1.0
        case YarnScaling():
            return _yarn(config, scaling), yarn_attention_factor(scaling)
        case _:
            assert_never(scaling)


def _llama3(frequencies: Tensor, scaling: Llama3Scaling) -> Tensor:
    low, high, length = (
        scaling.low_freq_factor,
        scaling.high_freq_factor,
        scaling.original_context_len,
    )
    wavelengths = 2 * math.pi / frequencies
    stretched = torch.where(wavelengths > length / low, frequencies / scaling.factor, frequencies)
    smooth = (length / wavelengths - low) / (high - low)
    between = (1 - smooth) * stretched / scaling.factor + smooth * stretched
    is_between = ~(wavelengths < length / high) & ~(wavelengths > length / low)
    return torch.where(is_between, between, stretched)


def _yarn(config: ModelConfig, scaling: YarnScaling) -> Tensor:
    size = config.head_size

    def column(rotations: float) -> float:
        """The column that turns `rotations` times over the original context."""
        turns = scaling.original_context_len / (rotations * 2 * math.pi)
        return (size * math.log(turns)) / (2 * math.log(config.rope_theta))

    low, high = column(scaling.beta_fast), column(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    if low == high:
        high += 0.001  # keeps the ramp finite
    ramp = (torch.arange(size // 2, dtype=torch.float32, device="cpu") - low) / (high - low)
    kept = 1 - torch.clamp(ramp, 0, 1)  # share of the unscaled frequency
    columns = torch.arange(0, size, 2, device="cpu").to(torch.float32)
    powers = config.rope_theta ** (columns / size)
    return 1.0 / (scaling.factor * powers) * (1 - kept) + 1.0 / powers * kept


def yarn_attention_factor(scaling: YarnScaling) -> float:
    """The factor on cosine and sine, hence its square on the scores (arXiv 2309.00071, eq. 22)."""

    def magnitude(weight: float) -> float:
        return 0.1 * weight * math.log(scaling.factor) + 1.0 if scaling.factor > 1 else 1.0

    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.mscale and scaling.mscale_all_dim:
        return magnitude(scaling.mscale) / magnitude(scaling.mscale_all_dim)
    return magnitude(1.0)
