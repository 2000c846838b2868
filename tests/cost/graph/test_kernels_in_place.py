"""What stands in for a model's attention, masks and experts, with sums by hand."""

import torch
from torch import nn

from topout.cost.graph.calls import LoggedCall, logging_calls
from topout.cost.graph.kernels_in_place import KernelsInPlace

B, H, K, S, D, E = 2, 4, 2, 6, 8, 5


class Attention(nn.Module):
    """Calls what stands in for attention as transformers' modules do."""

    def __init__(self, kernels: KernelsInPlace, *, is_causal: bool = True) -> None:
        super().__init__()
        self.kernels, self.is_causal = kernels, is_causal

    def forward(self, mask: torch.Tensor | None, keys: int = S, **options: object) -> torch.Tensor:
        query = torch.empty(B, H, S, D, device="meta")
        key = torch.empty(B, K, keys, D, device="meta")
        value = torch.empty(B, K, keys, E, device="meta")
        output, nothing = self.kernels.attention(self, query, key, value, mask, **options)
        assert nothing is None
        return output


def attended(module: Attention, mask: torch.Tensor | None, **options: object) -> LoggedCall:
    with logging_calls(module) as log:
        module.kernels.log = log
        output = module(mask, **options)
    assert output.shape == (B, S, H, E)
    (call,) = log.log.calls
    return call


def flops(pairs: int) -> float:
    return 2.0 * B * H * pairs * (D + E)


def test_keys_and_values_are_read_as_they_are_shared() -> None:
    call = attended(Attention(KernelsInPlace()), None)
    assert [use.bytes for use in call.reads] == [4 * B * H * S * D, 4 * B * K * S * D, 480]
    assert call.attended == (B, H, S, S, D)
    assert call.flops == flops(S * (S + 1) // 2)  # causal, as the module says


def test_without_a_mask_the_module_and_the_call_say_what_is_left() -> None:
    kernels = KernelsInPlace()
    every = attended(Attention(kernels, is_causal=False), None)
    assert every.flops == flops(S * S)
    told = attended(Attention(kernels), None, is_causal=False)
    assert told.flops == flops(S * S)
    windowed = attended(Attention(kernels), None, sliding_window=2)
    assert windowed.flops == flops(1 + 2 * (S - 1))
    assert kernels.guessed == set()


def test_a_mask_says_what_it_leaves_and_one_that_is_changed_is_told() -> None:
    from transformers.masking_utils import sliding_window_causal_mask_function as window

    kernels = KernelsInPlace()
    module = Attention(kernels)
    mask = kernels.mask(B, S, S, mask_function=window(3))
    assert tuple(mask.shape) == (B, 1, S, S)
    assert attended(module, mask).flops == flops(1 + 2 + 3 * (S - 2))
    assert kernels.guessed == set()
    assert attended(module, mask[:, :, :, :]).flops == flops(S * (S + 1) // 2)
    assert kernels.guessed == {"Attention"}


def test_outside_of_a_count_nothing_is_noted() -> None:
    kernels = KernelsInPlace()
    assert Attention(kernels)(None).shape == (B, S, H, E)


class Experts(nn.Module):
    """As transformers makes them: all of one layer in one tensor."""

    def __init__(self, *, gated: bool, transposed: bool) -> None:
        super().__init__()
        up = (8, 24) if transposed else (24, 8)
        down = (12 if gated else 24, 8) if transposed else (8, 12 if gated else 24)
        self.has_gate, self.has_bias, self.is_transposed = gated, True, transposed
        self.has_post_expert_norm = False
        name = "gate_up_proj" if gated else "up_proj"
        setattr(self, name, nn.Parameter(torch.randn(5, *up)))
        setattr(self, f"{name}_bias", nn.Parameter(torch.randn(5, 24)))
        self.down_proj = nn.Parameter(torch.randn(5, *down))
        self.down_proj_bias = nn.Parameter(torch.randn(5, 8))
        self.act_fn = nn.functional.silu

    def _apply_gate(self, both: torch.Tensor) -> torch.Tensor:
        gate, up = both.chunk(2, dim=-1)
        return self.act_fn(gate) * up


def test_experts_give_what_transformers_gives_where_all_choose_the_first() -> None:
    from transformers.integrations.moe import batched_mm_experts_forward

    for gated in (True, False):
        for transposed in (True, False):
            experts = Experts(gated=gated, transposed=transposed)
            experts._is_expert_parallel = False  # type: ignore[assignment]
            states, weights = torch.randn(7, 8), torch.rand(7, 3)
            chosen = torch.zeros(7, 3, dtype=torch.long)
            kernels = KernelsInPlace()
            found = kernels.experts(experts, states, chosen, weights)
            expected = batched_mm_experts_forward(experts, states, chosen, weights)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
            assert kernels.chosen == {experts: 3}
