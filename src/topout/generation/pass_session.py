"""A model of one forward pass, timed: what a worker measures where nothing is generated."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from topout.generation.session import GeneratedRun, memory_bytes_of, wait_for

Pass = Callable[[Tensor], Tensor]  # x [B, S] or [B, channels, height, width] → [B, …, outputs]


class PassSession:
    """One call of a module; a run of it is one pass, and its time the whole run's."""

    def __init__(
        self, call: Pass, module: nn.Module, device: torch.device, *, gives_logits: bool
    ) -> None:
        self.module = module
        self.gives_logits = gives_logits  # else hidden states come out
        self.weight_bytes = memory_bytes_of(module)
        self._call = call
        self._device = device
        parameter = next(module.parameters(), None)
        self._dtype = torch.float32 if parameter is None else parameter.dtype

    @torch.inference_mode()
    def generate(self, inputs: Tensor, new_tokens: int) -> GeneratedRun:
        """One pass over `inputs`; nothing is generated, however many `new_tokens` are asked for."""
        x = self._prepared(inputs)
        began = time.perf_counter()
        self._call(x)
        wait_for(self._device)
        elapsed_s = time.perf_counter() - began
        nothing = torch.empty(len(inputs), 0, dtype=torch.int64)
        return GeneratedRun(tokens=nothing, ttft_s=elapsed_s, total_s=elapsed_s, forward_passes=1)

    @torch.inference_mode()
    def outputs(self, inputs: Tensor) -> Tensor:
        """[B, P, O] fp32 on the CPU: P positions (one where a sequence has one output)."""
        return positions_of(self.call(inputs)).float().cpu()

    @torch.inference_mode()
    def call(self, inputs: Tensor) -> Tensor:
        """What the model gives, as it gives it."""
        return self._call(self._prepared(inputs))

    def _prepared(self, inputs: Tensor) -> Tensor:
        """Images in the type of the weights; token ids as they are."""
        x = inputs.to(self._device)
        return x.to(self._dtype) if x.is_floating_point() else x


def positions_of(output: Tensor) -> Tensor:
    """[B, O], [B, P, O] or a map of features [B, O, height, width] → [B, P, O]."""
    if output.dim() == 2:
        return output[:, None]
    return output.flatten(2).transpose(1, 2) if output.dim() == 4 else output
