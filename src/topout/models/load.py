"""Weights into memory: as Hugging Face tensors, as our decoder, or as transformers' model.

Importing this imports no torch; the functions that load do.
"""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from topout.errors import WeightsError
from topout.models.source import ModelSource, resolve_model
from topout.models.tensors import Recipe, decoder_recipes, expected_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from topout.models.decoder import Decoder

__all__ = [
    "ModelSource",
    "expected_tensors",
    "hugging_face_tensors",
    "load_decoder",
    "load_transformers",
    "resolve_model",
]

RANDOM_STD = 0.02  # of random matrices, as transformers initializes them


def load_decoder(
    source: ModelSource,
    *,
    dtype: "torch.dtype | None" = None,
    device: "torch.device | str" = "cpu",
    max_len: int | None = None,
) -> "Decoder":
    """Our decoder with the weights of `source`, in `dtype` (default fp32), ready for inference.

    `max_len` as for `Decoder`. Tensors are converted one by one, so the peak is little more than
    the weights. Raises WeightsError when a file cannot be read.
    """
    import torch
    from torch import nn

    from topout.models.decoder import Decoder

    with torch.device("meta"):
        decoder = Decoder(source.config, max_len=max_len)
    read = _reader(source, dtype or torch.float32)
    for name, recipe in decoder_recipes(source.config).items():
        module_name, _, attribute = name.rpartition(".")
        tensor = _prepare(recipe, read).to(device)
        parameter = nn.Parameter(tensor, requires_grad=False)
        setattr(decoder.get_submodule(module_name), attribute, parameter)
    if source.config.tied_head:
        decoder.head.weight = decoder.token_embedding.weight
    return decoder.to(device).eval()


def load_transformers(
    source: ModelSource,
    *,
    dtype: "torch.dtype | None" = None,
    device: "torch.device | str" = "cpu",
) -> Any:
    """transformers' causal-LM model with the same weights, SDPA attention, in eval mode.

    Returns a `transformers.PreTrainedModel`. Raises WeightsError when a file cannot be read.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    dtype = dtype or torch.float32
    fields = {key: value for key, value in source.config_json.items() if key != "auto_map"}
    config = AutoConfig.for_model(**fields)
    factory: Any = AutoModelForCausalLM  # its methods are untyped
    with no_init_weights():  # pages of weights that are never touched take no memory
        model = factory.from_config(
            config, dtype=dtype, attn_implementation="sdpa", trust_remote_code=False
        )
    tensors = hugging_face_tensors(source, dtype)
    missing, unexpected = model.load_state_dict(tensors, strict=False, assign=True)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    return model.requires_grad_(False).to(device).eval()


def hugging_face_tensors(source: ModelSource, dtype: "torch.dtype") -> "dict[str, Tensor]":
    """Every tensor under its Hugging Face name, in `dtype`, on the CPU, in memory of its own."""
    read = _reader(source, dtype)
    return {name: read(name) for name in expected_tensors(source.config)}


def _prepare(recipe: Recipe, read: "Callable[[str], Tensor]") -> "Tensor":
    """The tensor of the decoder that a recipe makes."""
    import torch

    pieces = [read(name) for name in recipe.sources]
    if recipe.transposed:
        pieces = [piece.t() for piece in pieces]
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0].contiguous()


def _reader(source: ModelSource, dtype: "torch.dtype") -> "Callable[[str], Tensor]":
    """A function from a tensor's canonical name to the tensor, read or made on each call."""
    if source.origin == "trained":
        return _file_reader(source, dtype)
    shapes = expected_tensors(source.config)
    return lambda name: _random_tensor(name, shapes[name], source.seed, dtype)


def _file_reader(source: ModelSource, dtype: "torch.dtype") -> "Callable[[str], Tensor]":
    from safetensors import SafetensorError, safe_open

    def read(name: str) -> "Tensor":
        stored = source.tensors[name]
        try:
            # Opened for each tensor, so that no more than one is mapped beside its copy.
            with safe_open(str(stored.file), framework="pt", device="cpu") as file:
                tensor: Tensor = file.get_tensor(stored.name)
                # A copy, since a tensor that stays mapped is paged in while it is timed.
                return tensor.to(dtype, copy=True)
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"cannot read {stored.name} of {stored.file} ({error}).",
                "Download or write it again.",
            ) from None

    return read


def _random_tensor(name: str, shape: tuple[int, ...], seed: int, dtype: "torch.dtype") -> "Tensor":
    """Norm weights 1, biases 0, matrices N(0, 0.02²); the same in every process."""
    import torch

    if name.endswith(".bias"):
        return torch.zeros(shape, dtype=dtype)
    if len(shape) == 1:
        return torch.ones(shape, dtype=dtype)
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    return torch.empty(shape).normal_(0.0, RANDOM_STD, generator=generator).to(dtype)
