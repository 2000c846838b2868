"""`topout.accelerate`: a stack over a model of transformers that the user has loaded already."""

import tempfile
from pathlib import Path
from typing import Any

from topout.winner.choice import DEFAULT_STACK, choose_in_memory
from topout.winner.in_memory import DTYPES, share_weights, source_in_memory, wrapped_tokenizer
from topout.winner.loaded import LoadedModel
from topout.winner.request import LoadRequest


def accelerate(
    model: Any,
    stack: str = DEFAULT_STACK,
    *,
    tokenizer: Any = None,
    draft: str | None = None,
    threads: int | None = None,
    context_len: int | None = None,
) -> LoadedModel:
    """A causal language model of transformers under a stack of rungs, as `topout.load` gives one.

    `tokenizer` is a fast one of transformers, for text. Once loaded, no weight is there twice: the
    parameters of `model` are views of those that run, ties included, and it works as before; where
    the stack quantizes, packs or converts weights, `model` keeps its own. Weights are taken as they
    are now. Raises as `topout.load` does, and UnsupportedError, InputError or WeightsError for a
    model of another class, in training mode, with adapters, on several devices, or in a type that
    is not run.
    """
    source = source_in_memory(model)
    weight = next(iter(model.parameters()))
    request = LoadRequest(stack=stack, draft=draft, threads=threads, context_len=context_len)
    choice = choose_in_memory(request, source, weight.device.type, DTYPES[weight.dtype])
    with tempfile.TemporaryDirectory(prefix="topout-") as folder:
        # Quantized weights of a model that may change are kept for no one else.
        choice.build.quantized_folder = Path(folder)
        loaded = LoadedModel(choice, wrapped_tokenizer(tokenizer, source))
    share_weights(model, loaded.module, source)
    return loaded
