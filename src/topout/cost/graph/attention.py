"""Fused attention: two products forward, five backward, and nothing as large as the scores moved.

Q B×H×S×D, K B×H'×T×D, V B×H'×T×E, where H' divides H (grouped queries): every query head meets
all keys, so FLOPs go by H, and bytes by what is stored, H'. Forward: QKᵀ (D) and its product
with V (E). Backward: QKᵀ again, the gradients of V and of the scores (E), those of Q and of K
(D): 2.5 × the forward where D = E. The softmax's FLOPs are `other_flops`, 5 an element.

A causal mask leaves `causal_pairs` of the S·T pairs of query and key.

`AttentionCalls` sees `scaled_dot_product_attention` before PyTorch chooses a kernel for it. Two
things are known only there: that the mask is causal, which a kernel made of plain products hides,
and, on meta tensors, that a device would run a fused kernel: PyTorch itself takes the unfused one
there, whose traffic grows with the square of the length.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from topout.cost.graph.formula import Call, OpWork, formulas_of, multiply_adds
from topout.cost.graph.places import AttentionScope, Places

_SOFTMAX_FLOPS = 5  # largest, subtract, exp, sum, divide

_HEADS_FIRST = [
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math_for_mps",
    "higher_order::flex_attention",
]
_TOKENS_FIRST = ["_flash_attention_forward", "_efficient_attention_forward"]
_scaled_dot_product_attention = F.scaled_dot_product_attention


def causal_pairs(queries: int, keys: int, lower_right: bool = False) -> int:
    """Pairs of query and key that a causal mask leaves.

    Query i sees keys 0…i; `lower_right`: the last query sees all keys, 0…(T − S + i).
    """
    rising = min(queries, keys)  # queries, each of which sees one key more than the one before
    # Of more queries than keys the others see every key, or else none.
    rest = rising * (keys - rising) if lower_right else (queries - rising) * keys
    return rising * (rising + 1) // 2 + rest


class _Heads(NamedTuple):
    """Attention of equal heads: B·H of them, S queries, T keys of D, values of E."""

    heads: int
    queries: int
    keys: int
    key_size: int
    value_size: int


Layout = Callable[[Call], Iterator[_Heads]]


def _heads_first(call: Call) -> Iterator[_Heads]:
    batch, heads, queries, key_size = call.shape("query")
    yield _Heads(batch * heads, queries, call.shape("key")[-2], key_size, call.shape("value")[-1])


def _tokens_first(call: Call) -> Iterator[_Heads]:
    """Q B×S×H×D, or packed sequences of lengths given by `cum_seq_q`, `cum_seq_k`."""
    *_, tokens, heads, key_size = call.shape("query")
    value_size = call.shape("value")[-1]
    starts = call.get("cum_seq_q", call.get("cu_seqlens_q"))
    key_starts = call.get("cum_seq_k", call.get("cu_seqlens_k", starts))
    if starts is None:
        batch = call.shape("query")[0]
        yield _Heads(batch * heads, tokens, call.shape("key")[-3], key_size, value_size)
        return
    longest = call.get("max_q", call.get("max_seqlen_q"))
    longest_keys = call.get("max_k", call.get("max_seqlen_k"))
    lengths = zip(_lengths(starts, longest), _lengths(key_starts, longest_keys), strict=True)
    for queries, keys in lengths:
        yield _Heads(heads, queries, keys, key_size, value_size)


def _lengths(starts: torch.Tensor, longest: int) -> list[int]:
    """Lengths of packed sequences; on meta, where they are unknown, the longest for each."""
    if starts.device.type == "meta":
        return [longest] * (starts.shape[0] - 1)
    with torch.no_grad():
        return [int(length) for length in starts.diff().tolist()]


def _causal(call: Call) -> bool | None:
    """None: no causal mask. True: aligned with the last key. False: with the first."""
    if mask_type := call.get("custom_mask_type"):
        return bool(mask_type == 2)
    if not call.get("is_causal"):
        return None
    # PyTorch gives the flash kernels unequal lengths with a mask aligned with the last key only.
    return "flash" in call.name and "for_cpu" not in call.name


def _attention(layout: Layout, backward: bool) -> Callable[[Call], OpWork]:
    def work(call: Call) -> OpWork:
        flops = causal_flops = other_flops = 0
        lower_right = _causal(call)
        for heads, queries, keys, key_size, value_size in layout(call):
            pairs = queries * keys
            left = pairs if lower_right is None else causal_pairs(queries, keys, lower_right)
            width = 3 * key_size + 2 * value_size if backward else key_size + value_size
            flops += multiply_adds(heads, pairs, width)
            causal_flops += multiply_adds(heads, left, width)
            other_flops += _SOFTMAX_FLOPS * heads * pairs
        return OpWork(flops=flops, causal_flops=causal_flops, other_flops=other_flops)

    return work


def _fused_layer(call: Call) -> OpWork:
    """nn.MultiheadAttention's and nn.TransformerEncoderLayer's fast paths. Input B×S×C."""
    batch, tokens, width = call.shape("query", "src")
    heads = call.get("num_head", call.get("num_heads"))
    keys = call.get("key")
    context = tokens if keys is None else keys.shape[1]
    projected = 2 * tokens + 2 * context  # Q and the output; K and V
    flops = multiply_adds(batch, projected, width, width)
    flops += 2 * multiply_adds(batch, tokens, context, width)
    other_flops = _SOFTMAX_FLOPS * batch * heads * tokens * context
    if call.get("ffn_weight_1") is not None:
        hidden = call.shape("ffn_weight_1")[0]
        flops += 2 * multiply_adds(batch, tokens, width, hidden)
        # Two norms (7) and two residual sums of the width, one activation of the hidden width.
        other_flops += batch * tokens * (16 * width + hidden)
    return OpWork(flops=flops, other_flops=other_flops)


formulas_of("attention", _HEADS_FIRST, _attention(_heads_first, backward=False))
formulas_of(
    "attention",
    [f"{name}_backward" for name in _HEADS_FIRST if "mps" not in name],
    _attention(_heads_first, backward=True),
)
formulas_of("attention", _TOKENS_FIRST, _attention(_tokens_first, backward=False))
formulas_of(
    "attention",
    ["_flash_attention_backward", "_efficient_attention_backward"],
    _attention(_tokens_first, backward=True),
)
formulas_of(
    "attention",
    ["_native_multi_head_attention", "_transformer_encoder_layer_fwd"],
    _fused_layer,
)


class AttentionCalls(TorchFunctionMode):
    """Marks causal attention, and on meta tensors runs the fused kernel where `fuse_on_meta`."""

    def __init__(self, places: Places, fuse_on_meta: bool) -> None:
        super().__init__()
        self._places = places
        self._fuse_on_meta = fuse_on_meta

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is _scaled_dot_product_attention:
            return self._attend(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            # Its body runs with this mode off, and finds the function by its name.
            with patch.object(F, "scaled_dot_product_attention", self._attend):
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def _attend(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        def run() -> Any:
            if self._fuse_on_meta and _can_fuse(query, key, value, attn_mask, enable_gqa):
                return _fused(query, key, value, attn_mask, is_causal, scale)
            return _scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask,
                dropout_p,
                is_causal,
                scale=scale,
                enable_gqa=enable_gqa,
            )

        if not is_causal or query.is_nested or query.dim() < 2 or key.dim() < 2:
            return run()
        queries, keys = query.shape[-2], key.shape[-2]
        scope = AttentionScope(queries * keys, causal_pairs(queries, keys))
        return self._places.inside_attention(scope, run)


def _can_fuse(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    enable_gqa: bool,
) -> bool:
    """Whether fused kernels take this: B×H×S×D, one head size, no gradient for the mask."""
    tensors = (query, key, value)
    return (
        all(t.device.type == "meta" and t.dim() == 4 and not t.is_nested for t in tensors)
        and query.shape[-1] == key.shape[-1] == value.shape[-1]
        and query.dtype == key.dtype == value.dtype
        and query.is_floating_point()
        and (enable_gqa or query.shape[1] == key.shape[1])
        and (mask is None or not mask.requires_grad)
    )


def _fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    is_causal: bool,
    scale: float | None,
) -> torch.Tensor:
    """The kernel that a CPU would run; a mask of booleans is turned into numbers, as there."""
    if mask is not None and mask.dtype == torch.bool:
        kept = torch.scalar_tensor(0.0, dtype=query.dtype, device=query.device)
        masked = torch.scalar_tensor(float("-inf"), dtype=query.dtype, device=query.device)
        mask = torch.where(mask, kept, masked)
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    output: torch.Tensor = fused(query, key, value, 0.0, is_causal, attn_mask=mask, scale=scale)[0]
    return output
