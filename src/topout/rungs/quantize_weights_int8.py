"""Weights in int8, one scale per output channel; activations keep their type.

The quantized checkpoint is made once, saved as safetensors, and loaded by every later session.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from topout.cost.predict import Expectation
from topout.models.decoder import Decoder
from topout.rungs.generate_gemv import GeneratedGemvLinear, few_rows_product, most_rows
from topout.rungs.rung import Build, Rung

_LARGEST = 127
_KERNEL_STEP = 16  # PyTorch's int8 kernel reads K so many at a time, and beyond the end of others
_FORMAT = "topout-int8-per-channel-1"


class QuantizeWeightsInt8(Rung):
    """A quarter of fp32's weight bytes; the rounding of weights is the only change to the output.

    The head is quantized too: it is the largest matrix of a small model, and its rows are read
    whole for each token. A tied embedding keeps its own type, since it is read one row at a time.
    """

    name = "quantize_weights_int8"
    change = "weights of all linear layers in int8, one scale per output channel; activations stay"
    requires = ("static_cache",)
    output_class = "near"

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """One byte per weight, and the rate of the int8 weight kernel."""
        return expectation.replace(weight_dtype="int8")

    def transform_model(self, model: Decoder, build: Build) -> Decoder:
        """Swap each nn.Linear for its int8 twin, from the saved checkpoint where there is one."""
        tensors = load_or_quantize(model, build.quantized_folder, build.source.fingerprint)
        for name, linear in linear_layers(model):
            weight, scales = tensors[f"{name}.weight"], tensors[f"{name}.scales"]
            generated = isinstance(linear, GeneratedGemvLinear)
            layer = WeightOnlyInt8Linear(weight, scales, linear.bias, generated=generated)
            model.set_submodule(name, layer.to(build.device))
        return model


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
        if self.generated and flat.shape[0] <= most_rows(self.weight):
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


def linear_layers(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    """Names and modules of all linear layers."""
    return [(name, part) for name, part in model.named_modules() if isinstance(part, nn.Linear)]


def quantize_per_channel(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [N, K] → int8 [N, K] and fp32 scales [N]: W ≈ int8 · scale, |error| ≤ scale / 2.

    A channel of zeros gets scale 1, so that nothing is divided by zero; so does one whose step
    would be subnormal, which holds too few digits to be a scale. Such weights become zeros.
    """
    weight = weight.float()
    scales = weight.abs().amax(dim=1) / _LARGEST
    scales = torch.where(scales >= torch.finfo(torch.float32).tiny, scales, torch.ones_like(scales))
    quantized = (weight / scales[:, None]).round().clamp(-_LARGEST, _LARGEST).to(torch.int8)
    return quantized, scales


def quantize_model(model: nn.Module) -> dict[str, Tensor]:
    """`name.weight` and `name.scales` for every linear layer, on the CPU."""
    tensors: dict[str, Tensor] = {}
    for name, linear in linear_layers(model):
        weight, scales = quantize_per_channel(linear.weight.detach())
        tensors[f"{name}.weight"] = weight.cpu()
        tensors[f"{name}.scales"] = scales.cpu()
    return tensors


def load_or_quantize(model: nn.Module, folder: Path, fingerprint: str) -> dict[str, Tensor]:
    """The int8 checkpoint of these weights from `folder`, made and saved there if need be."""
    path = folder / f"{fingerprint}-int8.safetensors"
    tensors = _load(path, model, fingerprint)
    if tensors is None:
        tensors = quantize_model(model)
        _save(tensors, path, fingerprint)
    return tensors


def _load(path: Path, model: nn.Module, fingerprint: str) -> dict[str, Tensor] | None:
    """The tensors of a saved checkpoint; None where it is missing, damaged or of other weights."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT or metadata.get("fingerprint") != fingerprint:
                return None
            # Copies in memory of their own: a mapped file is paged in while it is timed, and its
            # tensors are not aligned as the int8 kernel needs them.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    for name, linear in linear_layers(model):
        weight, scales = tensors.get(f"{name}.weight"), tensors.get(f"{name}.scales")
        if weight is None or weight.shape != linear.weight.shape or weight.dtype != torch.int8:
            return None
        if scales is None or scales.shape != linear.weight.shape[:1]:
            return None
    return tensors


def _save(tensors: dict[str, Tensor], path: Path, fingerprint: str) -> None:
    """Save through a temporary file; a folder that cannot be written costs only the saving."""
    import os
    import tempfile

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".int8-", dir=path.parent)
        os.close(handle)
        try:
            save_file(tensors, temporary, {"format": _FORMAT, "fingerprint": fingerprint})
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        print(f"the int8 checkpoint was not saved: {error}")  # noqa: T201 - the worker's log
