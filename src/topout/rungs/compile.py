"""torch.compile for prefill and decode apart, with shapes that never change."""

import itertools
from collections.abc import Callable
from types import FunctionType

import torch
from torch import Tensor

from topout.cache_folder import use_compiler_cache
from topout.cost.predict import Expectation
from topout.errors import CompilerError
from topout.generation.build import Build
from topout.generation.pass_session import Pass
from topout.generation.steps import DecoderSteps, PlainPrefill, Steps
from topout.models.decoder import Decoder, StaticCache
from topout.rungs.rung import Rung


class Compile(Rung):
    """One graph for prefill and one per chunk length of decode, instead of op after op."""

    name = "compile"
    change = "torch.compile of prefill and decode apart, shapes fixed: one call per token"
    tasks = ("generate", "forward")
    requires = ("static_cache",)

    def reason_to_skip(self, build: Build) -> str | None:
        """inductor needs a C++ compiler on a CPU."""
        if build.workload.device == "cpu":
            from topout.kernels.build import find_compiler

            try:
                find_compiler()
            except CompilerError as error:
                return f"torch.compile needs a C++ compiler on a CPU: {error}"
        return None

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """The overhead of one compiled call instead of one per op; the mask spans the cache."""
        return expectation.replace(mode="decoder_compiled", reads_whole_cache=True)

    def transform_steps(self, steps: Steps, build: Build) -> Steps:
        """Compile the plain steps; but for prefill, where a graph per length would have no end."""
        assert isinstance(steps, DecoderSteps)
        compiled = CompiledSteps(steps)
        return compiled if build.context_len is None else PlainPrefill(compiled, steps)

    def transform_pass(self, call: Pass, build: Build) -> Pass:
        """Compile the call; what a module of transformers does outside of graphs stays there."""
        return torch.compile(call, dynamic=False, mode=compile_mode(build.device))


class CompiledSteps:
    """The same steps, compiled: a mask over the whole cache stands for its filled part."""

    def __init__(self, steps: DecoderSteps) -> None:
        self.model = steps.model
        self.cache = steps.cache
        self.device = steps.device
        self.positions = steps.positions
        mode = compile_mode(self.device)
        use_compiler_cache()
        self._prefill, self._extend = (
            torch.compile(_apart(function), fullgraph=True, dynamic=False, mode=mode)
            for function in (_prefill, _extend)
        )

    def prefill(self, prompt: Tensor) -> Tensor:
        """Prompt [B, S] → [B, V]; one graph per length S."""
        length = prompt.shape[1]
        self.cache.truncate(0)
        prompt = plain_copy(prompt)
        logits: Tensor = self._prefill(self.model, prompt, self.positions[:length], self.cache)
        return logits

    def decode_one_token(self, token: Tensor, position: int) -> Tensor:
        """Token [B, 1] → [B, V]."""
        return self.extend(token, position)[:, -1]

    def extend(self, tokens: Tensor, position: int) -> Tensor:
        """Tokens [B, K] → [B, K, V]; one graph per chunk length K."""
        positions = self.positions[position : position + tokens.shape[1]]
        tokens = plain_copy(tokens)
        logits: Tensor = self._extend(self.model, tokens, positions, self.positions, self.cache)
        return logits


def plain_copy(tokens: Tensor) -> Tensor:
    """The same tokens with the strides of a fresh tensor.

    Strides are part of a graph's guards: a slice of a longer text would be compiled anew.
    """
    return tokens.clone(memory_format=torch.contiguous_format)


def compile_mode(device: torch.device) -> str | None:
    """How inductor is asked: CUDA graphs on a GPU, plain kernels on a CPU."""
    return "reduce-overhead" if device.type == "cuda" else None


_numbers = itertools.count()


def _apart(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The same function with code of its own.

    PyTorch gives up a code that was compiled for eight different inputs: without this, the graphs
    of all models and cache lengths in a process would be counted together.
    """
    assert isinstance(function, FunctionType)
    code = function.__code__.replace(co_name=f"{function.__name__}_{next(_numbers)}")
    return FunctionType(code, function.__globals__, code.co_name)


def _prefill(model: Decoder, prompt: Tensor, positions: Tensor, cache: StaticCache) -> Tensor:
    logits: Tensor = model(prompt, positions, cache, last_only=True)
    return logits[:, -1]


def _extend(
    model: Decoder, tokens: Tensor, positions: Tensor, slots: Tensor, cache: StaticCache
) -> Tensor:
    mask = slots[None, :] <= positions[:, None]  # [K, T]: what each token may see
    logits: Tensor = model(tokens, positions, cache, mask)
    return logits
