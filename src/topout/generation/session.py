"""A session: a model that generates, timed, and scores given text; on either backend."""

import time
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

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

    weight_bytes: int  # of the model's parameters as they are held

    @property
    def module(self) -> nn.Module:
        """The model that generates."""
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
    """The plain generation loop over our decoder: prefill, then one token after the other."""

    def __init__(self, steps: Steps, sampling: Sampling, device: torch.device) -> None:
        self.steps = steps
        self.sampling = sampling
        self.device = device
        self.weight_bytes = memory_bytes_of(steps.model)

    @property
    def module(self) -> nn.Module:
        """The decoder."""
        return self.steps.model

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
        """Text [B, S] → [B, S − prompt_len, V], without a cache."""
        whole = text[:, :-1].to(self.device)
        positions = torch.arange(whole.shape[1], device=self.device)
        logits: Tensor = self.steps.model(whole, positions, None, None)
        return logits[:, prompt_len - 1 :].float().cpu()


class TransformersSession:
    """`generate` of transformers with its own KV cache."""

    def __init__(self, model: Any, sampling: Sampling, device: torch.device) -> None:
        self.model = model
        self.device = device
        self.weight_bytes = memory_bytes_of(model)
        self._sampling: dict[str, Any] = {
            "do_sample": False,
            "top_k": None,
            "temperature": None,
            "top_p": None,
        }
        if not sampling.greedy:
            self._sampling = {
                "do_sample": True,
                "temperature": sampling.temperature,
                "top_k": sampling.top_k or 0,
                "top_p": 1.0,
            }
        model.generation_config.eos_token_id = None  # nothing ends a row early
        model.generation_config.pad_token_id = 0

    @property
    def module(self) -> nn.Module:
        """The model of transformers."""
        model: nn.Module = self.model
        return model

    @torch.inference_mode()
    def generate(self, prompt: Tensor, new_tokens: int) -> GeneratedRun:
        """Prompt [B, S] → [B, new_tokens]."""
        prompt = prompt.to(self.device)
        stopwatch = _FirstTokenClock(self.device)
        began = time.perf_counter()
        output = self.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=new_tokens,
            stopping_criteria=[stopwatch],
            **self._sampling,
        )
        generated = output[:, prompt.shape[1] :].cpu()
        ended = time.perf_counter()
        return GeneratedRun(
            tokens=generated,
            ttft_s=stopwatch.first_token_at - began,
            total_s=ended - began,
            forward_passes=new_tokens - 1,
        )

    @torch.inference_mode()
    def score(self, text: Tensor, prompt_len: int) -> Tensor:
        """Text [B, S] → [B, S − prompt_len, V], through the model's own cache."""
        text = text.to(self.device)
        output = self.model(text[:, :prompt_len], use_cache=True, logits_to_keep=1)
        rows = [output.logits[:, -1].float().cpu()]
        for position in range(prompt_len, text.shape[1] - 1):
            output = self.model(
                text[:, position : position + 1],
                past_key_values=output.past_key_values,
                use_cache=True,
            )
            rows.append(output.logits[:, -1].float().cpu())
        return torch.stack(rows, dim=1)

    @torch.inference_mode()
    def score_at_once(self, text: Tensor, prompt_len: int) -> Tensor:
        """Text [B, S] → [B, S − prompt_len, V], without a cache.

        The difference to `score` is what rounding alone does to this model.
        """
        count = text.shape[1] - prompt_len
        output = self.model(text[:, :-1].to(self.device), use_cache=False, logits_to_keep=count)
        return output.logits.float().cpu()  # type: ignore[no-any-return]


class _FirstTokenClock:
    """A stopping criterion that never stops; it notes when the first token was there."""

    def __init__(self, device: torch.device) -> None:
        self.first_token_at = 0.0
        self._device = device

    def __call__(self, input_ids: Tensor, scores: object, **_: object) -> Tensor:
        if not self.first_token_at:
            wait_for(self._device)
            self.first_token_at = time.perf_counter()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def memory_bytes_of(model: nn.Module) -> int:
    """Bytes of a module's parameters, buffers and packed weights, shared storage counted once."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in [*model.parameters(), *model.buffers()]
    }
    packed = sum(getattr(part, "packed_bytes", 0) for part in model.modules())
    return sum(storages.values()) + packed


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
