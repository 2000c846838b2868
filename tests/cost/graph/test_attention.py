"""Attention: fused, unfused, on a CPU, on meta, grouped, causal, forward and backward."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from topout.cost.graph import count
from topout.cost.graph.attention import causal_pairs
from topout.records.count import Count

from .one_op import flops_by_phase, meta, only, rows_of, torch_flops

aten = torch.ops.aten

# Batch 2, 4 heads of 16, 8 queries and keys: QKᵀ and the product with V, 2·2·4·8·8·16 each.
_ONE = 2 * 2 * 4 * 8 * 8 * 16
_FORWARD = 2 * _ONE
# A causal mask leaves 8·9/2 = 36 of 64 pairs.
_CAUSAL = _FORWARD * 36 // 64


def heads(count: int = 4, device: str = "cpu", length: int = 8) -> torch.Tensor:
    return torch.rand(2, count, length, 16, device=device, requires_grad=True)


def attend(device: str, kv_heads: int = 4, **more: Any) -> Count:
    query, key, value = heads(4, device), heads(kv_heads, device), heads(kv_heads, device)
    meta_attention = more.pop("meta_attention", "fused")
    return count(
        lambda: F.scaled_dot_product_attention(query, key, value, **more),
        backward=True,
        meta_attention=meta_attention,
    )


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_fused_attention_is_not_nothing(device: str) -> None:
    counted = attend(device)
    # Backward: 5 products.
    assert flops_by_phase(counted) == {"forward": _FORWARD, "backward": 5 * _ONE}
    assert counted.total.causal_flops == counted.total.flops
    (row,) = rows_of(counted, "aten::_scaled_dot_product_flash_attention_for_cpu")
    assert row.family == "attention"
    # Q, K, V in, and out: 2·4·8·16 numbers, not 8·8 scores; the log-sum-exp: 2·4·8.
    assert row.work.read_bytes == 3 * 4 * 1024
    assert row.work.written_bytes == 4 * (1024 + 64)
    # Softmax: 5 for each of 2·4·8·8 scores.
    assert row.work.other_flops == 2560
    assert counted.not_counted == []


def test_the_counter_of_torch_sees_nothing_of_it() -> None:
    """Why this counter exists; if this fails, PyTorch has mended it and docs/counting.md is due."""
    query = heads()
    assert torch_flops(lambda: F.scaled_dot_product_attention(query, query, query)) == 0


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_causal_attention_has_both_figures(device: str) -> None:
    counted = attend(device, is_causal=True)
    assert counted.phases["forward"].flops == _FORWARD
    assert counted.phases["forward"].causal_flops == _CAUSAL
    assert counted.phases["backward"].causal_flops == 5 * _ONE * 36 // 64


def test_unfused_attention_knows_that_it_is_causal() -> None:
    """Dropout makes a CPU take plain products, in which nothing tells of the mask."""
    counted = attend("cpu", is_causal=True, dropout_p=0.1)
    assert flops_by_phase(counted) == {"forward": _FORWARD, "backward": 4 * _ONE}
    assert counted.phases["forward"].causal_flops == _CAUSAL
    assert counted.phases["backward"].causal_flops == 4 * _ONE * 36 // 64
    assert {row.family for row in rows_of(counted, "aten::bmm")} == {"attention"}


def test_products_beside_causal_attention_stay_whole() -> None:
    query = heads()

    def run() -> torch.Tensor:
        mixed = F.scaled_dot_product_attention(query, query, query, dropout_p=0.1, is_causal=True)
        return mixed @ torch.rand(16, 16)

    counted = count(run)
    beside = 2 * 2 * 4 * 8 * 16 * 16
    assert counted.total.flops == _FORWARD + beside
    assert counted.total.causal_flops == _CAUSAL + beside


def test_meta_can_be_counted_unfused() -> None:
    counted = attend("meta", is_causal=True, meta_attention="unfused")
    assert flops_by_phase(counted) == {"forward": _FORWARD, "backward": 4 * _ONE}
    assert counted.phases["forward"].causal_flops == _CAUSAL
    assert "unfused" in counted.conventions["meta_attention"]


@pytest.mark.parametrize("mask", [torch.ones(8, 8).bool(), torch.zeros(8, 8)])
def test_a_mask_leaves_the_flops_and_is_read(mask: torch.Tensor) -> None:
    counted = attend("cpu", attn_mask=mask)
    assert flops_by_phase(counted) == {"forward": _FORWARD, "backward": 5 * _ONE}
    (row,) = rows_of(counted, "aten::_scaled_dot_product_flash_attention_for_cpu")
    assert row.work.read_bytes == 4 * (3 * 1024 + 64)
    on_meta = attend("meta", attn_mask=mask.to("meta"))
    assert on_meta.total == counted.total


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_grouped_queries_shrink_bytes_and_not_flops(device: str) -> None:
    counted = attend(device, kv_heads=2, enable_gqa=True)
    assert flops_by_phase(counted) == {"forward": _FORWARD, "backward": 5 * _ONE}
    (row,) = rows_of(counted, "aten::_scaled_dot_product_flash_attention_for_cpu")
    assert row.work.read_bytes == 4 * (1024 + 2 * 512)


def test_unfused_grouped_queries() -> None:
    counted = attend("cpu", kv_heads=2, enable_gqa=True, dropout_p=0.1)
    assert counted.phases["forward"].flops == _FORWARD


def test_attention_grows_with_the_square_of_the_length() -> None:
    short, long = (heads(length=length) for length in (8, 16))
    one = count(F.scaled_dot_product_attention, short, short, short)
    four = count(F.scaled_dot_product_attention, long, long, long)
    assert four.total.flops == 4 * one.total.flops


@pytest.mark.parametrize(
    "run",
    [
        lambda q, k: aten._scaled_dot_product_flash_attention(q, k, k, 0.0, True),
        lambda q, k: aten._scaled_dot_product_cudnn_attention(q, k, k, None, False, 0.0, True),
        lambda q, k: aten._scaled_dot_product_efficient_attention(q, k, k, None, False, 0.0, True),
    ],
)
def test_kernels_of_gpus(run: Callable[..., Any]) -> None:
    query = meta(2, 4, 8, 16, dtype=torch.float16)
    counted = count(run, query, query)
    assert (counted.total.flops, counted.total.causal_flops) == (_FORWARD, _CAUSAL)
    assert counted.not_counted == []


def test_backward_kernels_of_gpus() -> None:
    query = meta(2, 4, 8, 16, dtype=torch.float16)
    row = only(
        aten._scaled_dot_product_efficient_attention_backward,
        *(query, query, query, query, None, query, meta(2, 4, 32)),
        *(meta(dtype=torch.int64), meta(dtype=torch.int64), 0.0, [True, True, True, False], True),
    )
    assert (row.work.flops, row.work.causal_flops) == (5 * _ONE, 5 * _ONE * 36 // 64)


def test_tokens_come_first_in_the_kernels_beneath() -> None:
    """Q B×S×H×D: length and heads are not to be mistaken for one another."""
    query = meta(2, 8, 4, 16, dtype=torch.float16)
    row = only(
        aten._flash_attention_forward, query, query, query, None, None, 8, 8, 0.0, True, False
    )
    assert (row.work.flops, row.work.causal_flops) == (_FORWARD, _CAUSAL)


def test_packed_sequences_count_each_for_itself() -> None:
    """On meta the lengths are not known: each counts as the longest."""
    packed = meta(11, 4, 16, dtype=torch.float16)
    starts = meta(3, dtype=torch.int32)
    tensors = (packed, packed, packed, starts, starts)
    row = only(aten._flash_attention_forward, *tensors, 8, 8, 0.0, False, False)
    assert row.work.flops == 2 * (2 * 2 * 4 * 8 * 8 * 16)


def test_values_of_another_width_than_keys() -> None:
    query, value = meta(2, 4, 8, 16), meta(2, 4, 8, 24)
    counted = count(F.scaled_dot_product_attention, query, query, value)
    assert counted.total.flops == 2 * 2 * 4 * 8 * 8 * (16 + 24)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_modules_of_torch_do_not_hide_in_their_fast_path(grad: bool, device: str) -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, device=device).eval()
    value = torch.ones(2, 4, 16, device=device)
    with torch.set_grad_enabled(grad):
        counted = count(layer, value)
    # 8 tokens: Q, K, V, output 4·16·16, MLP 2·16·32; attention 2·2·4·4·16 for each of 2 products.
    assert counted.total.flops == 2 * 8 * (4 * 256 + 2 * 512) + 2 * (2 * 2 * 4 * 4 * 16)
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_fast_path_called_by_name() -> None:
    layer = nn.MultiheadAttention(16, 2, batch_first=True).eval()
    value = torch.ones(2, 4, 16)
    with torch.no_grad():
        row = only(
            torch._native_multi_head_attention,
            *(value, value, value, 16, 2, layer.in_proj_weight, layer.in_proj_bias),
            *(layer.out_proj.weight, layer.out_proj.bias, None, False),
        )
    assert row.work.flops == 2 * 8 * 4 * 256 + 2 * (2 * 2 * 4 * 4 * 16)


def test_causal_attention_inside_of_torchs_module() -> None:
    """`multi_head_attention_forward` looks the function up by its name."""
    layer = nn.MultiheadAttention(16, 2, dropout=0.5, batch_first=True).train()
    value = torch.ones(2, 4, 16)
    mask = nn.Transformer.generate_square_subsequent_mask(4)
    counted = count(
        lambda: layer(value, value, value, attn_mask=mask, is_causal=True, need_weights=False)
    )
    attention = 2 * (2 * 2 * 4 * 4 * 16)
    left = attention * 10 // 16
    assert counted.total.flops - counted.total.causal_flops == attention - left


@pytest.mark.filterwarnings("ignore:.*flex_attention called without torch.compile")
def test_flex_attention() -> None:
    from torch.nn.attention.flex_attention import flex_attention

    query = torch.ones(1, 2, 16, 8)
    counted = count(flex_attention, query, query, query)
    (row,) = rows_of(counted, "higher_order::flex_attention")
    assert row.work.flops == 2 * 2 * 2 * 16 * 16 * 8


lengths = st.integers(0, 12)


@given(queries=lengths, keys=lengths)
def test_causal_pairs_by_looking_at_each(queries: int, keys: int) -> None:
    upper = sum(k <= q for q in range(queries) for k in range(keys))
    assert causal_pairs(queries, keys) == upper
    lower = sum(k <= q + keys - queries for q in range(queries) for k in range(keys))
    assert causal_pairs(queries, keys, lower_right=True) == lower
