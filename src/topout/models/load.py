"""Weights into memory: as Hugging Face tensors, as our model, or as transformers' model.

Importing this imports no torch; the functions that load do.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from topout.errors import WeightsError
from topout.models.checkpoint import Recipe, Shape, decoder_recipes, expected_tensors
from topout.models.encoder_checkpoint import (
    PARTS,
    holds_part,
    part_recipes,
    part_shapes,
    stored_labels,
)
from topout.models.hub import offline
from topout.models.plain_fields import plain_fields
from topout.models.source import AnySource, EncoderSource, ModelSource, PassSource

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from topout.models.decoder import Decoder
    from topout.models.encoder import Encoder

    Read = Callable[[str], Tensor]

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
    the weights. What a source does not hold, since it is saved quantized, stays on the meta device.
    Raises WeightsError when a file cannot be read.
    """
    import torch

    from topout.models.decoder import Decoder

    with torch.device("meta"):
        decoder = Decoder(source.config, max_len=max_len)
    read = decoder_reader(source, dtype or torch.float32)
    recipes = decoder_recipes(source.config)
    if source.origin == "trained":
        held = source.tensors.keys()
        recipes = {name: each for name, each in recipes.items() if each.sources.keys() <= held}
    fill(decoder, recipes, read, device)
    if source.config.tied_head:
        decoder.head.weight = decoder.token_embedding.weight
    if decoder.rotary is not None:
        decoder.rotary.to(device)
    return decoder.eval()


def load_encoder(
    source: EncoderSource,
    *,
    dtype: "torch.dtype | None" = None,
    device: "torch.device | str" = "cpu",
    pooler: bool | None = None,
) -> "Encoder":
    """Our encoder with the weights of `source`, in `dtype` (default fp32), ready for inference.

    `pooler`: whether it ends in one; by default where the architecture has one and the checkpoint
    holds it. Raises WeightsError when a file cannot be read, or holds no pooler that is asked for.
    """
    import torch

    from topout.models.encoder import Encoder

    config = source.config
    has_pooler = config.pools and (
        source.origin == "random" or holds_part(source.tensors, config, "pooler")
    )
    if pooler and not has_pooler:
        raise WeightsError(
            f"{source.name} has no pooler.", "Leave the pooler out, or give another checkpoint."
        )
    with torch.device("meta"):
        encoder = Encoder(config, pooler=has_pooler if pooler is None else pooler)
    read = encoder_reader(source, dtype or torch.float32, seed=source.seed)
    fill(encoder, encoder_recipes(source, encoder), read, device)
    return encoder.to(device).eval()


def fill(
    module: "nn.Module",
    recipes: Mapping[str, Recipe],
    read: "Read",
    device: "torch.device | str",
    *,
    trains: bool = False,
) -> None:
    """Set the parameters that `recipes` name, one by one; `trains`: they take gradients."""
    from torch import nn

    for name, recipe in recipes.items():
        module_name, _, attribute = name.rpartition(".")
        tensor = _prepare(recipe, read).to(device)
        parameter = nn.Parameter(tensor, requires_grad=trains)
        setattr(module.get_submodule(module_name), attribute, parameter)


def encoder_recipes(source: EncoderSource, encoder: "Encoder") -> dict[str, Recipe]:
    """How each parameter of `encoder` is made, its pooler included where it has one."""
    recipes = part_recipes(source.config, "encoder")
    return recipes if encoder.pooler is None else recipes | part_recipes(source.config, "pooler")


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
    config = AutoConfig.for_model(**plain_fields(source.config_json))
    factory: Any = AutoModelForCausalLM  # its methods are untyped
    with offline(), no_init_weights():  # pages of weights that are never touched take no memory
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
    read = decoder_reader(source, dtype)
    return {name: read(name) for name in expected_tensors(source.config)}


def _prepare(recipe: Recipe, read: "Read") -> "Tensor":
    """The tensor of ours that a recipe makes."""
    import torch

    pieces = [read(name) for name in recipe.sources]
    if recipe.transposed:
        pieces = [piece.t() for piece in pieces]
    return torch.cat(pieces) if len(pieces) > 1 else pieces[0].contiguous()


def decoder_reader(source: ModelSource, dtype: "torch.dtype") -> "Read":
    """A function from a tensor's canonical name to the tensor, read or made on each call.

    What is in memory already, in that type, is given as it lies there.
    """
    memory = source.memory
    if memory is not None:
        return _memory_reader(memory, dtype)
    if source.origin == "trained":
        return file_reader(source, dtype)
    shapes = expected_tensors(source.config)
    return lambda name: random_tensor(name, shapes[name], source.seed, dtype)


def _memory_reader(memory: "Mapping[str, Tensor]", dtype: "torch.dtype") -> "Read":
    def read(name: str) -> "Tensor":
        tensor = memory[name].detach().to(dtype)
        refuse_non_finite(tensor, name)
        return tensor

    return read


def encoder_reader(
    source: EncoderSource, dtype: "torch.dtype", *, seed: int, labels: int | None = None
) -> "Read":
    """The same for an encoder: what the checkpoint does not hold is made from `seed`.

    `labels` are those of a classifier, by default as the config states them; a stored one of
    another number of labels is left out.
    """
    labels = source.config.labels if labels is None else labels
    shapes: dict[str, Shape] = {}
    for part in PARTS:
        shapes |= part_shapes(source.config, part, labels)
    stored = set(source.tensors)
    if stored_labels(source.tensors, source.config) != labels:
        stored -= part_shapes(source.config, "classifier", labels).keys()
    read_stored = file_reader(source, dtype)

    def read(name: str) -> "Tensor":
        if name in stored:
            return read_stored(name)
        return random_tensor(name, shapes[name], seed, dtype)

    return read


def file_reader(source: AnySource | PassSource, dtype: "torch.dtype") -> "Read":
    """A function from a stored tensor's name to the tensor, in memory of its own."""
    from safetensors import SafetensorError, safe_open

    def read(name: str) -> "Tensor":
        stored = source.tensors[name]
        try:
            # Opened for each tensor, so that no more than one is mapped beside its copy.
            with safe_open(str(stored.file), framework="pt", device="cpu") as file:
                tensor: Tensor = file.get_tensor(stored.name)
                # A copy, since a tensor that stays mapped is paged in while it is timed.
                copied = tensor.to(dtype, copy=True)
        except (OSError, SafetensorError) as error:
            raise WeightsError(
                f"cannot read {stored.name} of {stored.file} ({error}).",
                "Download or write it again.",
            ) from None
        refuse_non_finite(copied, f"{stored.name} of {stored.file}")
        return copied

    return read


def refuse_non_finite(tensor: "Tensor", what: str) -> None:
    """Raise WeightsError for weights that hold NaN or infinity: all that is computed would too."""
    import torch

    # The sum tells in one pass; where it alone overflows, the values are looked at.
    if torch.isfinite(tensor.sum(dtype=torch.float32)) or torch.isfinite(tensor).all():
        return
    raise WeightsError(
        f"{what} holds NaN or infinite values.",
        "Download the checkpoint again, or save it anew.",
    )


def random_tensor(name: str, shape: tuple[int, ...], seed: int, dtype: "torch.dtype") -> "Tensor":
    """Norm weights 1, biases 0, matrices N(0, 0.02²); the same in every process."""
    import torch

    if name.endswith(".bias"):
        return torch.zeros(shape, dtype=dtype)
    if len(shape) == 1:
        return torch.ones(shape, dtype=dtype)
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))
    return torch.empty(shape).normal_(0.0, RANDOM_STD, generator=generator).to(dtype)
