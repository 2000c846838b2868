"""The plain decoder: GPT-2 and the Llama family in one module tree; it defines correct output.

Shapes: B batch, S new tokens, T key positions, C width, H query heads, K key/value heads,
G = H / K query heads per key/value head, D head size, F MLP width, V vocabulary.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from topout.errors import InputError
from topout.models.config import ModelConfig
from topout.models.fields import Activation
from topout.models.rotary import Rotary, rotate


class StaticCache:
    """Keys and values per layer, each [B, kv_heads, max_len, head_size], allocated once.

    `length` counts the positions that are filled. `Decoder.forward` without a mask appends at it
    and advances it; with a mask the caller keeps count. Raises InputError for a size below 1.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int,
        max_len: int,
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
    ) -> None:
        for what, size in (("batch size", batch_size), ("cache length", max_len)):
            if size < 1:
                raise InputError(f"{what} {size} is below 1.", "Give a positive one.")
        shape = (batch_size, config.kv_heads, max_len, config.head_size)
        self.max_len = max_len
        self.length = 0
        # Zeros, not empty: a masked slot must not hold a NaN, since 0 · NaN is NaN.
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.layers)]

    def bytes(self) -> int:
        """Bytes allocated for keys and values of all layers."""
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))

    def truncate(self, length: int) -> None:
        """Forget all positions from `length` on; raises InputError when so many are not filled."""
        if not 0 <= length <= self.length:
            raise InputError(
                f"cannot truncate a cache of {self.length} positions to {length}.",
                f"Give 0 to {self.length}.",
            )
        self.length = length


class Span(NamedTuple):
    """The keys that a forward pass looks at, the same in every layer."""

    key_len: int  # T; with a cache, keys = cache[:, :, :T]
    is_causal: bool  # query s sees the first s + 1 keys; then there is no mask
    mask: Tensor | None  # [G·S, T], bool (True: seen) or additive; None: every key is seen


class Decoder(nn.Module):
    """Tokens in, logits out; inference only.

    `max_len` is the number of positions that the rotary tables cover, by default the context
    length. Learned positions always end at the context length.
    """

    def __init__(self, config: ModelConfig, *, max_len: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.max_len = config.context_len if max_len is None else max_len
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding: nn.Embedding | None = None
        self.rotary: Rotary | None = None
        if config.positions == "learned":
            self.max_len = min(self.max_len, config.context_len)
            self.position_embedding = nn.Embedding(config.context_len, config.width)
        else:
            self.rotary = Rotary(config, self.max_len)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = _norm(config)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        if config.tied_head:
            self.head.weight = self.token_embedding.weight

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor,
        cache: StaticCache | None = None,
        mask: Tensor | None = None,
        *,
        last_only: bool = False,
    ) -> Tensor:
        """Logits [B, S, V], or [B, 1, V] of the last token with `last_only`.

        tokens [B, S] int64; positions [S] int64, ascending.
        Without a cache the S tokens are all there is, and attention is causal over them.
        With a cache their keys and values are written at `positions`, and
        - without a mask: the tokens follow the `cache.length` that are there; attention is causal
          over those and the new ones; `cache.length` advances by S;
        - with a mask [S, cache.max_len], bool (True: seen) or additive: attention runs over the
          whole cache under it, all shapes static, and `cache.length` is neither read nor written.
        A sliding window applies in all three cases. Raises InputError when the tokens do not fit.
        """
        span = self._span(positions, cache, mask)
        x = self.token_embedding(tokens)  # [B, S, C]
        if self.position_embedding is not None:
            x = x + self.position_embedding(positions)
        rotation = None if self.rotary is None else self.rotary(positions, x.dtype)
        for block in self.blocks:
            x = block(x, positions, rotation, span, cache)
        if last_only:
            x = x[:, -1:]
        logits: Tensor = self.head(self.norm(x))
        return logits

    def _span(self, positions: Tensor, cache: StaticCache | None, mask: Tensor | None) -> Span:
        """The keys to look at; without a mask this claims the new positions of the cache."""
        new_len = positions.shape[0]
        past_len = 0 if cache is None or mask is not None else cache.length
        self._check_room(past_len + new_len, cache)
        if mask is not None:
            key_len = new_len if cache is None else cache.max_len
        else:
            key_len = past_len + new_len
            if cache is not None:
                cache.length = key_len
        if mask is None and not self._window_binds(key_len):
            if new_len == 1:
                return Span(key_len, False, None)
            if past_len == 0:
                return Span(key_len, True, None)
        # A slot of the cache holds the position of its number.
        slots = torch.arange(key_len, device=positions.device)
        key_positions = positions if cache is None else slots
        if mask is None:
            mask = key_positions <= positions[:, None]  # [S, T]
        return Span(key_len, False, self._packed(mask, positions, key_positions))

    def _check_room(self, length: int, cache: StaticCache | None) -> None:
        room = self.max_len if cache is None else min(self.max_len, cache.max_len)
        if length > room:
            raise InputError(
                f"{length} tokens do not fit into the {room} positions of {self.config.name}.",
                "Give a shorter prompt or ask for fewer tokens.",
            )

    def _window_binds(self, key_len: int) -> bool:
        return self.config.sliding_window is not None and key_len > self.config.sliding_window

    def _packed(self, mask: Tensor, positions: Tensor, key_positions: Tensor) -> Tensor:
        """`mask` [S, T] within the window, in the rows that `Attention` packs: [G·S, T]."""
        hidden = float("-inf")
        if mask.dtype == torch.bool:
            hidden = False
        else:
            mask = mask.to(self.token_embedding.weight.dtype)
        if self.config.sliding_window is not None and self._window_binds(mask.shape[1]):
            near = key_positions > positions[:, None] - self.config.sliding_window
            mask = torch.where(near, mask, hidden)
        return mask.repeat(self.config.heads // self.config.kv_heads, 1)


class Block(nn.Module):
    """Attention, then MLP, each on the normalized stream and added back to it."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = _norm(config)
        self.attention = Attention(config, layer)
        self.mlp_norm = _norm(config)
        self.mlp: Mlp | GatedMlp = GatedMlp(config) if config.gated_mlp else Mlp(config)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
        span: Span,
        cache: StaticCache | None,
    ) -> Tensor:
        """x [B, S, C] → [B, S, C]."""
        x = x + self.attention(self.attention_norm(x), positions, rotation, span, cache)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class Attention(nn.Module):
    """Grouped-query attention; `qkv` gives all query heads, then all keys, then all values."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.heads, self.kv_heads, self.head_size = config.heads, config.kv_heads, config.head_size
        self.split_sizes = [config.query_width, config.kv_width, config.kv_width]
        self.scale = config.attention_scale(layer)
        self.qkv = nn.Linear(config.width, sum(self.split_sizes), bias=config.qkv_bias)
        self.output = nn.Linear(config.query_width, config.width, bias=config.attention_bias)
        self.query_norm = RmsNorm(config.head_size, config.norm_eps) if config.qk_norm else None
        self.key_norm = RmsNorm(config.head_size, config.norm_eps) if config.qk_norm else None

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
        span: Span,
        cache: StaticCache | None,
    ) -> Tensor:
        """x [B, S, C] → [B, S, C]; writes keys and values into the cache when there is one."""
        projected: Tensor = self.output(self.mix(x, positions, rotation, span, cache))
        return projected

    def mix(
        self,
        x: Tensor,
        positions: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
        span: Span,
        cache: StaticCache | None,
    ) -> Tensor:
        """x [B, S, C] → what the heads found, side by side: [B, S, H·D]."""
        B, S, _ = x.shape
        q, k, v = self.qkv(x).split(self.split_sizes, dim=-1)
        q = q.view(B, S, self.heads, self.head_size).transpose(1, 2)  # [B, H, S, D]
        k = k.view(B, S, self.kv_heads, self.head_size).transpose(1, 2)  # [B, K, S, D]
        v = v.view(B, S, self.kv_heads, self.head_size).transpose(1, 2)
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        if cache is not None:
            k = cache.keys[self.layer].index_copy_(2, positions, k)[:, :, : span.key_len]
            v = cache.values[self.layer].index_copy_(2, positions, v)[:, :, : span.key_len]
        out = self._attend(q, k, v, span)  # [B, H, S, D]
        return out.transpose(1, 2).reshape(B, S, -1)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, span: Span) -> Tensor:
        if span.is_causal:
            grouped = self.heads != self.kv_heads
            return F.scaled_dot_product_attention(
                q, k, v, is_causal=True, scale=self.scale, enable_gqa=grouped
            )
        # The query heads of a group become rows of their key/value head, so that no backend has
        # to copy keys and values G times: [B, H, S, D] → [B, K, G·S, D].
        B, _, S, D = q.shape
        packed = q.reshape(B, self.kv_heads, -1, D)
        out = F.scaled_dot_product_attention(packed, k, v, attn_mask=span.mask, scale=self.scale)
        return out.reshape(B, self.heads, S, D)


class Mlp(nn.Module):
    """Up, activation, down: GPT-2."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.up = nn.Linear(config.width, config.mlp_width, bias=config.mlp_bias)
        self.down = nn.Linear(config.mlp_width, config.width, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, S, C] → [B, S, C]."""
        out: Tensor = self.down(activate(self.up(x), self.activation))
        return out


class GatedMlp(nn.Module):
    """down(activation(gate) · up): the Llama family; `gate_up` gives the gate, then the up."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = config.activation
        self.gate_up = nn.Linear(config.width, 2 * config.mlp_width, bias=config.mlp_bias)
        self.down = nn.Linear(config.mlp_width, config.width, bias=config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, S, C] → [B, S, C]."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # [B, S, F] each
        out: Tensor = self.down(activate(gate, self.activation) * up)
        return out


class RmsNorm(nn.Module):
    """x / rms(x) in fp32, rounded to the dtype of x, then weighted: transformers' order."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., width] → the same shape."""
        wide = x.float()
        normal = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * normal.to(x.dtype)


def activate(x: Tensor, activation: Activation) -> Tensor:
    """The activation that a config names, elementwise."""
    match activation:
        case "gelu":
            return F.gelu(x)
        case "gelu_tanh":
            return F.gelu(x, approximate="tanh")
        case "relu":
            return F.relu(x)
        case "silu":
            return F.silu(x)


def _norm(config: ModelConfig) -> nn.Module:
    if config.norm == "layer_norm":
        return nn.LayerNorm(config.width, eps=config.norm_eps)
    return RmsNorm(config.width, config.norm_eps)
