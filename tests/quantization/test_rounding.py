"""Rounding weights: how far they are off, in int8 and in int4."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from topout.kernels.linear_packing import Int4Weight, Int8Weight
from topout.quantization.rounding import (
    int4_scheme,
    quantize_in_groups,
    quantize_per_channel,
    restore_int4,
)

matrices = (
    st.integers(1, 6)
    .flatmap(
        lambda k: st.lists(
            st.lists(st.floats(-1e3, 1e3, width=32), min_size=k, max_size=k), min_size=1, max_size=5
        )
    )
    .map(lambda rows: torch.tensor(rows, dtype=torch.float32))
)


@settings(max_examples=50, deadline=None)
@given(matrices)
def test_no_weight_is_off_by_more_than_half_a_step(weight: Tensor) -> None:
    quantized, scales = quantize_per_channel(weight)
    assert quantized.dtype == torch.int8 and scales.dtype == torch.float32
    assert quantized.shape == weight.shape and scales.shape == weight.shape[:1]
    assert int(quantized.abs().max()) <= 127
    error = (weight.double() - quantized.double() * scales.double()[:, None]).abs()
    # Half a step, and the rounding of fp32 in weight / scale.
    assert bool((error <= scales.double()[:, None] * (0.5 + 1e-4)).all())


def test_weights_too_small_for_a_step_become_zeros() -> None:
    quantized, scales = quantize_per_channel(torch.tensor([[1.6465e-42, -1e-42]]))
    assert quantized.tolist() == [[0, 0]] and scales.tolist() == [1.0]


def test_steps_by_hand() -> None:
    quantized, scales = quantize_per_channel(torch.tensor([[1.27, -0.5, 0.004], [0.0, 0.0, 0.0]]))
    # 1.27 / 127 = 0.01 a step: 127, −50 and 0.4, which rounds to 0. A channel of zeros has step 1.
    assert quantized.tolist() == [[127, -50, 0], [0, 0, 0]]
    torch.testing.assert_close(scales, torch.tensor([0.01, 1.0]))


def test_each_channel_has_a_step_of_its_own() -> None:
    quantized, scales = quantize_per_channel(torch.tensor([[1e-3, -2e-3], [1e3, 5e2]]))
    assert quantized.abs().amax(dim=1).tolist() == [127, 127]
    torch.testing.assert_close(scales, torch.tensor([2e-3 / 127, 1e3 / 127]))


# --- int4 in groups ---------------------------------------------------------------------------


def test_four_bits_by_hand() -> None:
    # From 0 to 30 in steps of 2: each value is its own half, the scale 2, the offset 0.
    weight = torch.arange(0, 32, 2).float().repeat(2)[None]
    found = quantize_in_groups(weight, 32)
    assert found.group == 32
    assert found.scales.tolist() == [[2.0]] and found.offsets.tolist() == [[0.0]]
    # Two to a byte, the low one first: 0 and 1, 2 and 3, …
    assert found.values[0, :8].tolist() == [16 * (2 * i + 1) + 2 * i for i in range(8)]
    assert torch.equal(restore_int4(found), weight)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([32, 64, 128]), st.floats(-3, 3))
def test_a_group_is_not_far_off(seed: int, group: int, middle: float) -> None:
    random = torch.Generator().manual_seed(seed)
    weight = torch.randn(3, 128, generator=random) + middle
    found = quantize_in_groups(weight, group)
    error = (restore_int4(found) - weight).reshape(3, -1, group)
    groups = weight.reshape(3, -1, group)
    step = (groups.amax(-1) - groups.amin(-1)) / 15
    # Rounding in steps of the full range leaves step²/12 on average; offsets have 8 bits.
    offset = groups.abs().amax(-1) * 2**-8
    assert bool((error.square().mean(-1) <= (step / 2).square() + offset.square()).all())


def test_a_narrower_range_is_taken_where_it_is_nearer() -> None:
    torch.manual_seed(0)
    weight = torch.randn(1, 64)
    weight[0, 0] = 8.0  # one far out
    found = quantize_in_groups(weight, 64)
    full = (weight.max() - weight.min()) / 15
    assert float(found.scales[0, 0]) < 0.99 * float(full)


def test_a_group_of_one_value_and_of_zeros() -> None:
    weight = torch.cat([torch.full((1, 32), 0.5), torch.zeros(1, 32)], dim=1)
    found = quantize_in_groups(weight, 32)
    assert torch.equal(restore_int4(found), weight)


def test_large_matrices_go_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    from topout.quantization import rounding as quantization

    torch.manual_seed(0)
    weight = torch.randn(7, 64)
    whole = quantize_in_groups(weight, 32)
    monkeypatch.setattr(quantization, "_ROWS_AT_ONCE", 128)
    pieces = quantize_in_groups(weight, 32)
    assert all(torch.equal(one, other) for one, other in zip(whole, pieces, strict=True))


def test_what_int4_leaves_to_int8() -> None:
    scheme = int4_scheme(64)
    assert isinstance(scheme.quantize("blocks.0.mlp.up", torch.zeros(4, 128)), Int4Weight)
    assert isinstance(scheme.quantize("head", torch.zeros(4, 128)), Int8Weight)
    assert isinstance(scheme.quantize("blocks.0.mlp.up", torch.zeros(4, 40)), Int8Weight)
    narrow = scheme.quantize("blocks.0.mlp.up", torch.zeros(4, 96))
    assert isinstance(narrow, Int4Weight) and narrow.group == 32
