"""Sees `scaled_dot_product_attention` before PyTorch chooses a kernel for it.

Two things are known only there: that the mask is causal, which a kernel made of plain products
hides, and, on meta tensors, that a device would run a fused kernel: PyTorch itself takes the
unfused one there, whose traffic grows with the square of the length.
"""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from topout.cost.graph.attention import causal_pairs
from topout.cost.graph.places import AttentionScope, Places

_attention = F.scaled_dot_product_attention


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
        if func is _attention:
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
            return _attention(
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
