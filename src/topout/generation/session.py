"""A session: a model under a stack of rungs that generates, timed, and scores given text."""

import time
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from topout.generation.sampling import Sampling
from topout.generation.steps import Steps


@dataclass(frozen=True)
class GeneratedRun:
    """Tokens [B, new_tokens] of one run and how long they took."""

    tokens: Tensor
    ttft_s: float
    total_s: float
    forward_passes: int  # of the model after prefill


class Session(Protocol):
    """What a worker measures and verifies."""

    @property
    def weight_bytes(self) -> int:
        """Bytes of the model's parameters as they are held."""
        ...

    def generate(self, prompt: Tensor, new_tokens: int) -> GeneratedRun:
        """Prompt [B, S] → `new_tokens` more per row; nothing ends a row early."""
        ...

    def score(self, text: Tensor, prompt_len: int) -> Tensor:
        """Text [B, S] → fp32 logits [B, S − prompt_len, V] on the CPU, teacher-forced.

        Row i is what the model expects at position prompt_len + i; it must come out of the same
        steps that `generate` uses.
        """
        ...

    def score_at_once(self, text: Tensor, prompt_len: int) -> Tensor:
        """The same logits from one pass over the text: equal to `score` but for rounding."""
        ...


class DecoderSession:
    """The plain generation loop: prefill, then one token after the other."""

    def __init__(
        self, steps: Steps, sampling: Sampling, device: torch.device, weight_bytes: int
    ) -> None:
        self.steps = steps
        self.sampling = sampling
        self.device = device
        self._weight_bytes = weight_bytes

    @property
    def weight_bytes(self) -> int:
        """Bytes of the model's parameters as they are held."""
        return self._weight_bytes

    @torch.inference_mode()
    def generate(self, prompt: Tensor, new_tokens: int) -> GeneratedRun:
        """Prompt [B, S] → [B, new_tokens]."""
        prompt = prompt.to(self.device)
        position = prompt.shape[1]
        began = time.perf_counter()
        token = self.sampling.choose(self.steps.prefill(prompt))
        wait_for(self.device)
        first = time.perf_counter()
        tokens = [token]
        for step in range(new_tokens - 1):
            token = self.sampling.choose(self.steps.decode_one_token(token, position + step))
            tokens.append(token)
        generated = torch.cat(tokens, dim=1).cpu()
        ended = time.perf_counter()
        return GeneratedRun(
            tokens=generated,
            ttft_s=first - began,
            total_s=ended - began,
            forward_passes=new_tokens - 1,
        )

    @torch.inference_mode()
    def score(self, text: Tensor, prompt_len: int) -> Tensor:
        """Text [B, S] → [B, S − prompt_len, V]."""
        text = text.to(self.device)
        rows = [self.steps.prefill(text[:, :prompt_len]).float().cpu()]
        for position in range(prompt_len, text.shape[1] - 1):
            token = text[:, position : position + 1]
            rows.append(self.steps.decode_one_token(token, position).float().cpu())
        return torch.stack(rows, dim=1)

    @torch.inference_mode()
    def score_at_once(self, text: Tensor, prompt_len: int) -> Tensor:
        """Text [B, S] → [B, S − prompt_len, V]."""
        return score_at_once(self.steps, text.to(self.device), prompt_len)


def score_at_once(steps: Steps, text: Tensor, prompt_len: int) -> Tensor:
    """Text [B, S] → fp32 logits [B, S − prompt_len, V] on the CPU from one plain pass."""
    whole = text[:, :-1]
    logits = steps.model(whole, torch.arange(whole.shape[1], device=text.device), None, None)
    return logits[:, prompt_len - 1 :].float().cpu()  # type: ignore[no-any-return]


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
