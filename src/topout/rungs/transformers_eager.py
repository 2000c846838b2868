"""The baseline: `generate` as transformers runs it, which is what users have today."""

import time
from typing import Any

import torch
from torch import Tensor

from topout.cost.predict import Expectation
from topout.generation.sampling import Sampling
from topout.generation.session import GeneratedRun, wait_for
from topout.rungs.rung import Build, Rung, memory_bytes_of


class TransformersEager(Rung):
    """The bottom of the ladder."""

    name = "transformers_eager"
    change = "nothing: `generate` of transformers with its own KV cache, eager PyTorch"

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """Every op is called from Python, and the cache is copied to grow by each token."""
        return expectation.replace(
            mode="transformers_eager",
            kv_copies=1.0,
            gelu_passes=8 if build.source.config.activation == "gelu_tanh" else 1,
        )


class TransformersSession:
    """A transformers model behind the session's interface."""

    def __init__(self, model: Any, sampling: Sampling, device: torch.device) -> None:
        self.model = model
        self.device = device
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
    def weight_bytes(self) -> int:
        """Bytes of the model's parameters."""
        return memory_bytes_of(self.model)

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
        """The same logits from one pass without a cache: equal but for the order of summation.

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
