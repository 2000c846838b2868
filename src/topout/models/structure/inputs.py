"""Example inputs, on the meta device, for a model that transformers built."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn

from topout.errors import InputError, UnsupportedError

DEFAULT_LENGTH = 128
_DEFAULT_IMAGE_SIZE = 224

Inputs = dict[str, Any]


def example_inputs(
    module: nn.Module, batch_size: int = 1, length: int | None = None
) -> list[Inputs]:
    """Keyword arguments for `module`, in the ways in which it may run without values.

    Token ids are batch × length (default: 128, or the context where that is less), of encoder and
    decoder alike; images batch × channels × height × width. Some models look into a mask that is
    not given and some into one that is, which meta tensors do not allow: take the first of the
    list that runs. Raises InputError for a size below 1 or a length above the context,
    UnsupportedError for a model that takes neither tokens nor images.
    """
    if batch_size < 1:
        raise InputError(f"batch size {batch_size} is below 1.", "Give 1 or more.")
    taken = inspect.signature(module.forward).parameters
    inputs: Inputs = {}
    if "input_ids" in taken:
        tokens = _tokens(module, batch_size, length)
        inputs["input_ids"] = tokens
        if "decoder_input_ids" in taken:
            inputs["decoder_input_ids"] = tokens.clone()
    if "pixel_values" in taken:
        inputs["pixel_values"] = _image(module, batch_size)
    if not inputs:
        raise UnsupportedError(
            f"{type(module).__name__} takes neither token ids nor images.",
            "Give `summarize_layers` the module with inputs of your own.",
        )
    if "use_cache" in taken:
        inputs["use_cache"] = False
    if "attention_mask" not in taken or "input_ids" not in inputs:
        return [inputs]
    mask = torch.ones_like(inputs["input_ids"], dtype=torch.bool)
    return [inputs, inputs | {"attention_mask": mask}]


def _tokens(module: nn.Module, batch_size: int, length: int | None) -> Tensor:
    config: Any = module.config
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    if length is None:
        length = min(DEFAULT_LENGTH, context or DEFAULT_LENGTH)
    if length < 1:
        raise InputError(f"length {length} is below 1.", "Give 1 or more tokens.")
    if isinstance(context, int) and 0 < context < length:
        raise InputError(
            f"length {length} is above the model's context of {context} tokens.", "Give less."
        )
    return torch.zeros(batch_size, length, dtype=torch.long, device="meta")


def _image(module: nn.Module, batch_size: int) -> Tensor:
    config: Any = module.config
    config = getattr(config, "vision_config", config)
    size = getattr(config, "image_size", _DEFAULT_IMAGE_SIZE)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    channels = getattr(config, "num_channels", 3)
    dtype = next(module.parameters()).dtype
    return torch.zeros(batch_size, channels, height, width, dtype=dtype, device="meta")
