"""Native linear layers in any model of PyTorch, those of Hugging Face included."""

import sys

from torch import nn

from topout.errors import InputError, UnknownNameError, UnsupportedError
from topout.quantization.native_layers import (
    NATIVE_FORMATS,
    NativeFormat,
    NativeLinear,
    packer_of,
    weight_and_bias,
)


def swap_linears(model: nn.Module, weights: str = "fp32") -> int:
    """Swap each nn.Linear and each Conv1D of `transformers` for a native layer, in place.

    `weights` names a format of NATIVE_FORMATS: fp32, bf16, int8, int8_dynamic or int4. A layer on
    another device, or with outputs or inputs of zero, stays as it is. Returns how many were
    swapped. Raises UnknownNameError for another format, UnsupportedError where there is no layer
    to swap or no C++ compiler, InputError where a layer is trained.
    """
    if weights not in NATIVE_FORMATS:
        names = list(NATIVE_FORMATS)
        raise UnknownNameError("format", weights, names, f"There are {', '.join(names)}.")
    form = NATIVE_FORMATS[weights]
    if model.training:
        raise InputError(
            "the model is in training mode, and native linear layers have no backward.",
            "Call model.eval() first.",
        )
    found = [(name, part) for name, part in model.named_modules() if _is_linear(part)]
    for name, part in found:
        model.set_submodule(name, _native(name, part, form))
    if not found:
        raise UnsupportedError("the model has no linear layer on the CPU.", "Give another model.")
    return len(found)


def _linear_types() -> tuple[type[nn.Module], ...]:
    """nn.Linear, and Conv1D where transformers was imported: no model can have it otherwise."""
    transformers = sys.modules.get("transformers.pytorch_utils")
    return (nn.Linear,) if transformers is None else (nn.Linear, transformers.Conv1D)


def _is_linear(part: nn.Module) -> bool:
    if not isinstance(part, _linear_types()):
        return False
    weight, _ = weight_and_bias(part)
    return weight.device.type == "cpu" and weight.dim() == 2 and weight.numel() > 0


def _native(name: str, part: nn.Module, form: NativeFormat) -> NativeLinear:
    return NativeLinear(packer_of(form, None)(name, part, False), dynamic=form.dynamic)
