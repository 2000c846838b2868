"""Weights in int8, one scale per output channel; activations keep their type.

The quantized checkpoint is made once, saved as safetensors, and loaded by every later session.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.compiler import is_compiling

from topout.cost.predict import Expectation
from topout.generation.build import Build
from topout.kernels.linear_ops import Int4Weight, Int8Weight
from topout.models.decoder import Decoder
from topout.quantization.rounding import (
    INT8,
    Scheme,
    linear_layers,
    load_or_quantize,
    quantize_per_channel,
)
from topout.rungs.generate_gemv import GeneratedGemvLinear, few_rows_product, most_rows
from topout.rungs.rung import Rung

_KERNEL_STEP = 16  # PyTorch's int8 kernel reads K so many at a time, and beyond the end of others


class QuantizeWeightsInt8(Rung):
    """A quarter of fp32's weight bytes; the rounding of weights is the only change to the output.

    The head is quantized too: it is the largest matrix of a small model, and its rows are read
    whole for each token. A tied embedding keeps its own type, since it is read one row at a time.
    """

    name = "quantize_weights_int8"
    change = "weights of all linear layers in int8, one scale per output channel; activations stay"
    tasks = ("generate", "forward")
    requires = ("static_cache",)
    output_class = "near"

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """One byte per weight, and the rate of the int8 weight kernel."""
        return expectation.replace(weight_dtype="int8")

    def stored_linear_weights(self) -> Scheme | torch.dtype | None:
        """As they are multiplied."""
        return INT8

    def transform_model(self, model: Decoder, build: Build) -> Decoder:
        """Swap each nn.Linear for its int8 twin, from the saved checkpoint where there is one."""
        fingerprint = build.source.fingerprint
        weights = load_or_quantize(model, build.quantized_folder, fingerprint, INT8)
        _swap(model, weights, build.device)
        return model

    def transform_module(self, module: nn.Module, build: Build) -> nn.Module:
        """The same of a module of transformers, rounded as it is loaded."""
        weights = {
            name: quantize_per_channel(linear.weight) for name, linear in linear_layers(module)
        }
        _swap(module, weights, build.device)
        return module


def _swap(
    model: nn.Module, weights: Mapping[str, Int8Weight | Int4Weight], device: torch.device
) -> None:
    for name, linear in linear_layers(model):
        values, scales, *_ = weights[name]
        generated = isinstance(linear, GeneratedGemvLinear)
        layer = WeightOnlyInt8Linear(values, scales, linear.bias, generated=generated)
        model.set_submodule(name, layer.to(device))


class WeightOnlyInt8Linear(nn.Module):
    """y = x · (W_int8 · scale)ᵀ + bias; x [..., K], W [N, K] int8, scales [N] fp32, y [..., N].

    `generated`: products of few rows are written for the compiler (see `generate_gemv`).
    """

    weight: Tensor
    scales: Tensor
    scales_bf16: Tensor

    def __init__(
        self, weight: Tensor, scales: Tensor, bias: Tensor | None, *, generated: bool = False
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scales", scales)
        # Converted here, since inductor's lowering of the int8 kernel takes no computed scales.
        self.register_buffer("scales_bf16", scales.to(torch.bfloat16))
        self.bias = bias
        self.generated = generated

    def forward(self, x: Tensor) -> Tensor:
        """x [..., K] → [..., N] in x's dtype."""
        flat = x.reshape(-1, x.shape[-1])
        if self.generated and flat.shape[0] <= most_rows(self.weight) and is_compiling():
            y = few_rows_product(flat, self.weight) * self.scales
        else:
            y = self._library_product(flat.to(torch.bfloat16))
        y = y.to(x.dtype).reshape(*x.shape[:-1], self.weight.shape[0])
        return y if self.bias is None else y + self.bias

    def _library_product(self, x: Tensor) -> Tensor:
        """x [M, K] bf16 → [M, N]; the kernels multiply in bf16 several times as fast as in fp32."""
        if x.device.type == "cpu" and x.shape[-1] % _KERNEL_STEP == 0:
            y: Tensor = torch.ops.aten._weight_int8pack_mm(x, self.weight, self.scales_bf16)
            return y
        # inductor fuses the widening into the matrix product's load of W.
        return nn.functional.linear(x, self.weight.bfloat16()) * self.scales
