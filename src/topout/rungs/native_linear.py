"""Native linear layers as rungs: our own kernels in the place of the library's."""

from typing import ClassVar

import torch
from torch import nn

from topout.cost.predict import Expectation
from topout.errors import CompilerError
from topout.generation.build import Build
from topout.models.decoder import Decoder
from topout.quantization.native_layers import (
    NATIVE_FORMATS,
    NativeName,
    swap_decoder_layers,
    swap_linears,
)
from topout.quantization.rounding import Scheme, load_or_quantize
from topout.records import OutputClass
from topout.rungs.rung import Rung


class NativeLinearRung(Rung):
    """Weights packed once, and products whose epilogues do what follows them.

    Activations, norms, attention and the KV cache keep their type: only weights and the products
    themselves change.
    """

    weights: ClassVar[NativeName]
    tasks = ("generate", "forward")
    requires = ("static_cache",)
    output_class: ClassVar[OutputClass] = "near"

    def reason_to_skip(self, build: Build) -> str | None:
        """The kernels run on CPUs, and are compiled at first use."""
        if build.workload.device != "cpu":
            return "native linear layers run on the CPU"
        if build.workload.dtype == "fp16":
            return "native linear layers take activations in fp32 or bf16"
        from topout.kernels.build import find_compiler

        try:
            find_compiler()
        except CompilerError as error:
            return f"native linear layers are compiled at first use: {error}"
        return None

    def expect(self, expectation: Expectation, build: Build) -> Expectation:
        """The rates of the native kernels, measured before, and the bytes of the weights."""
        form = NATIVE_FORMATS[self.weights]
        return expectation.replace(
            native=form.name,
            weight_dtype=form.weight_dtype,
            mode=_MODES.get(expectation.mode, expectation.mode),
        )

    def stored_linear_weights(self) -> Scheme | torch.dtype | None:
        """As they are packed."""
        form = NATIVE_FORMATS[self.weights]
        return torch.bfloat16 if form.name == "bf16" else form.scheme

    def transform_model(self, model: Decoder, build: Build) -> Decoder:
        """Swap all linear layers; quantized weights come from the saved checkpoint."""
        form = NATIVE_FORMATS[self.weights]
        weights = None
        if form.scheme is not None:
            fingerprint = build.source.fingerprint
            weights = load_or_quantize(model, build.quantized_folder, fingerprint, form.scheme)
        return swap_decoder_layers(model, form, weights)

    def transform_module(self, module: nn.Module, build: Build) -> nn.Module:
        """Swap the linear layers of a module of transformers one by one: nothing is fused."""
        swap_linears(module, self.weights)
        return module


# A call of ours costs other overhead than PyTorch's, and there are fewer of them.
_MODES = {"decoder_eager": "native_eager", "decoder_compiled": "native_compiled"}
_OTHERS = (
    "bf16",
    "quantize_weights_int8",
    *(f"native_linear_{name}" for name in NATIVE_FORMATS),
)


def _others(name: NativeName) -> tuple[str, ...]:
    """What also decides the type of the weights."""
    return tuple(other for other in _OTHERS if other != f"native_linear_{name}")


class NativeLinearFp32(NativeLinearRung):
    """The same arithmetic, faster."""

    name = "native_linear_fp32"
    change = "our own matrix kernels: weights packed once, bias, GELU, gate and residual fused"
    weights = "fp32"
    excludes = _others("fp32")
    output_class = "exact"


class NativeLinearBf16(NativeLinearRung):
    """Half the bytes per weight."""

    name = "native_linear_bf16"
    change = "our own matrix kernels on bf16 weights: 2 bytes per weight, all else as it was"
    weights = "bf16"
    excludes = _others("bf16")


class NativeLinearInt8(NativeLinearRung):
    """A quarter of the bytes per weight."""

    name = "native_linear_int8"
    change = "our own matrix kernels on int8 weights, one scale per output channel"
    weights = "int8"
    excludes = _others("int8")


class NativeLinearInt8Dynamic(NativeLinearRung):
    """A quarter of the bytes, and products in int8."""

    name = "native_linear_int8_dynamic"
    change = "our own matrix kernels on int8 weights and activations, quantized row by row"
    weights = "int8_dynamic"
    excludes = _others("int8_dynamic")


class NativeLinearInt4(NativeLinearRung):
    """A seventh of the bytes per weight, and products in int8."""

    name = "native_linear_int4"
    change = (
        "our own matrix kernels on int4 weights in groups of 64 (the head in int8), int8 inputs"
    )
    weights = "int4"
    excludes = _others("int4")
