"""The steps of generation over a static KV cache: prefill, decode_one_token, extend."""

from typing import Protocol

import torch
from torch import Tensor

from topout.models.decoder import Decoder, StaticCache


class Steps(Protocol):
    """What a generation loop calls; positions are counted from 0 and overwrite what lay there."""

    model: Decoder

    def prefill(self, prompt: Tensor) -> Tensor:
        """Prompt [B, S] → logits of its last position [B, V]; fills the cache from position 0."""
        ...

    def decode_one_token(self, token: Tensor, position: int) -> Tensor:
        """Token [B, 1] at `position` → logits of the next [B, V]."""
        ...

    def extend(self, tokens: Tensor, position: int) -> Tensor:
        """Tokens [B, K] from `position` on → logits of each next one [B, K, V]."""
        ...


class PlainPrefill:
    """Steps whose prefill is another's over the same cache: one that runs once need not compile."""

    def __init__(self, steps: Steps, plain: "DecoderSteps") -> None:
        self.model = steps.model
        self.prefill = plain.prefill
        self.decode_one_token = steps.decode_one_token
        self.extend = steps.extend


class DecoderSteps:
    """The plain steps: attention reads just the part of the cache that is filled."""

    def __init__(self, model: Decoder, batch_size: int, cache_len: int) -> None:
        parameter = next(model.parameters())
        self.model = model
        self.device = parameter.device
        self.cache = StaticCache(
            model.config, batch_size, cache_len, parameter.dtype, parameter.device
        )
        # All positions once, so that a step takes a slice instead of making a tensor.
        self.positions = torch.arange(cache_len, device=self.device)

    def prefill(self, prompt: Tensor) -> Tensor:
        """Prompt [B, S] → [B, V]."""
        length = prompt.shape[1]
        self.cache.truncate(0)
        logits: Tensor = self.model(prompt, self.positions[:length], self.cache, last_only=True)
        return logits[:, -1]

    def decode_one_token(self, token: Tensor, position: int) -> Tensor:
        """Token [B, 1] → [B, V]."""
        return self.extend(token, position)[:, -1]

    def extend(self, tokens: Tensor, position: int) -> Tensor:
        """Tokens [B, K] → [B, K, V]."""
        end = position + tokens.shape[1]
        self.cache.length = position  # what lies behind is overwritten
        logits: Tensor = self.model(tokens, self.positions[position:end], self.cache)
        return logits
