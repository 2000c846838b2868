"""Fused attention, its masks and experts as kernels compute them, for models on meta tensors.

A model's own attention in PyTorch makes a matrix of scores, and its own experts look which tokens
go where. Here attention reads Q, K and V and writes its output, for the pairs that the mask leaves,
and each token goes through as many experts as it chooses: which ones decides no shape.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from topout.cost.graph.attended import masked_pairs, window_pairs
from topout.cost.graph.calls import CallLog

_SOFTMAX_FLOPS = 5  # largest, subtract, exp, sum, divide


class KernelsInPlace:
    """Functions with the arguments of transformers' own; they note what runs in `log`, if any.

    `chosen` are the experts that a token goes through, by the module of the experts; `guessed`
    names modules whose mask was not understood, so that its kind was taken from the module.
    """

    def __init__(self) -> None:
        self.log: CallLog | None = None
        self.chosen: dict[nn.Module, int] = {}
        self.guessed: set[str] = set()
        self._pairs: dict[int, int] = {}  # by the identity of a mask that is alive
        self._masks: list[Tensor] = []

    def mask(
        self,
        batch_size: int,
        q_length: int,
        kv_length: int,
        q_offset: int = 0,
        kv_offset: int = 0,
        mask_function: Callable[..., Any] | None = None,
        device: Any = "meta",
        **_: Any,
    ) -> Tensor:
        """A mask without content, of which is known how many pairs it leaves."""
        mask = torch.empty((), dtype=torch.bool, device=device)
        mask = mask.expand(batch_size, 1, q_length, kv_length)
        if mask_function is not None:
            pairs = masked_pairs(mask_function, q_length, kv_length, q_offset, kv_offset)
            if pairs is not None:
                self._pairs[id(mask)] = pairs
                self._masks.append(mask)
        return mask

    def attention(
        self,
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        *_: Any,
        **options: Any,
    ) -> tuple[Tensor, None]:
        """Q B×H×S×D, K B×H'×T×D, V B×H'×T×E → B×S×H×E."""
        batch, heads, queries, key_size = query.shape
        keys, value_size = key.shape[-2], value.shape[-1]
        output = query.new_empty(batch, queries, heads, value_size)
        if self.log is not None:
            pairs = self._left(module, attention_mask, queries, keys, options)
            bias = options.get("position_bias")
            self.log.attend(
                [query, key, value, *([bias] if isinstance(bias, Tensor) else [])],
                output,
                flops=2.0 * batch * heads * pairs * (key_size + value_size),
                other_flops=float(_SOFTMAX_FLOPS * batch * heads * pairs),
                attended=(batch, heads, queries, keys, key_size),
            )
        return output, None

    def _left(
        self,
        module: nn.Module,
        mask: Tensor | None,
        queries: int,
        keys: int,
        options: dict[str, Any],
    ) -> int:
        """Pairs that the mask leaves; without one, by what the module says of itself."""
        if mask is not None and id(mask) in self._pairs and mask.shape[-2:] == (queries, keys):
            return self._pairs[id(mask)]
        if mask is not None:
            self.guessed.add(type(module).__name__)
        stated = options.get("is_causal")
        causal = getattr(module, "is_causal", True) if stated is None else stated
        if not causal or queries == 1:
            return queries * keys
        return window_pairs(queries, keys, options.get("sliding_window"))

    def experts(
        self, module: Any, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
    ) -> Tensor:
        """Tokens × width → tokens × width: every token through one expert for each that it chose.

        The products are those of the first expert, which is as large as any.
        """
        tokens, width = hidden_states.shape[0], hidden_states.shape[-1]
        chosen = top_k_index.shape[-1]
        self.chosen[module] = chosen
        rows = hidden_states[:, None].expand(-1, chosen, -1).reshape(-1, width)
        name = "gate_up_proj" if module.has_gate else "up_proj"
        inner = _first_expert(module, name, rows)
        inner = module._apply_gate(inner) if module.has_gate else module.act_fn(inner)
        outer = _first_expert(module, "down_proj", inner)
        if module.has_post_expert_norm:
            outer = module.post_expert_norm(outer)
        weighted = outer * top_k_weights.reshape(-1, 1)
        return weighted.view(tokens, chosen, width).sum(dim=1).to(hidden_states.dtype)


def _first_expert(module: Any, name: str, rows: Tensor) -> Tensor:
    weight = getattr(module, name)[0]
    bias = getattr(module, f"{name}_bias")[0] if module.has_bias else None
    return F.linear(rows.to(weight.dtype), weight.t() if module.is_transposed else weight, bias)
