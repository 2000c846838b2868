"""Linear layers whose products our own kernels compute, and how a model gets them.

The plain decoder gets blocks too that use their epilogues (`swap_decoder_layers`); any model of
PyTorch, those of Hugging Face included, gets the layers alone (`swap_linears`).
"""

import sys
from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from topout.errors import InputError, UnknownNameError, UnsupportedError
from topout.kernels.linear_ops import (
    ACTIVATIONS,
    LinearActivation,
    PackedLinear,
    linear_op,
    pack_float,
    pack_quantized,
)
from topout.models.decoder import Block, Decoder, GatedMlp, Mlp, Span, StaticCache
from topout.quantization.rounding import INT8, QuantizedWeights, Scheme, int4_scheme

NativeName = Literal["fp32", "bf16", "int8", "int8_dynamic", "int4"]
# What packs a layer's weight: its name in the model, the layer, and whether it is gated.
Packer: TypeAlias = Callable[[str, nn.Module, bool], PackedLinear]


class NativeFormat(NamedTuple):
    """What a native linear layer holds and multiplies."""

    name: NativeName
    scheme: Scheme | None  # how its weights are quantized
    dynamic: bool  # whether activations are quantized too, row by row, to int8
    weight_dtype: str  # as costs know it


NATIVE_FORMATS: dict[str, NativeFormat] = {
    each.name: each
    for each in (
        NativeFormat("fp32", None, False, "fp32"),
        NativeFormat("bf16", None, False, "bf16"),
        NativeFormat("int8", INT8, False, "int8"),
        NativeFormat("int8_dynamic", INT8, True, "int8"),
        NativeFormat("int4", int4_scheme(), True, "int4-g64"),
    )
}


class NativeLinear(nn.Module):
    """y = activation(x · Wᵀ + bias) [· gated] [+ residual]; x [..., K] fp32 or bf16, y [..., N].

    Inference only: there is no backward. The packed weights are no parameter, cannot be moved, and
    do not appear in a state_dict: save the model they were made from, or its quantized checkpoint.
    """

    def __init__(
        self, packed: PackedLinear, *, dynamic: bool = False, activation: LinearActivation = "none"
    ) -> None:
        super().__init__()
        self.packed = packed
        self.index, self.inputs, self.outputs = packed.index, packed.inputs, packed.outputs
        self.dynamic = dynamic
        self.activation = ACTIVATIONS[activation]

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed weights."""
        return self.packed.bytes

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x [..., K] → [..., N] in x's type; `residual` has the shape and type of y."""
        if torch.compiler.is_compiling() or _is_traced() or torch.is_grad_enabled():
            y: Tensor = linear_op(
                x, residual, self.index, self.outputs, self.activation, self.dynamic
            )
            return y
        return self.packed.multiply(x, residual, activation=self.activation, dynamic=self.dynamic)

    def extra_repr(self) -> str:
        """What print shows."""
        activations = "int8" if self.dynamic else "as they are"
        return f"{self.inputs} → {self.outputs}, {self.packed.format}, activations {activations}"


def _is_traced() -> bool:
    """Whether `torch.jit.trace` records what is called, of which it sees ops alone."""
    traced: bool = torch._C._is_tracing()
    return traced


class NativeMlp(nn.Module):
    """`Mlp` and `GatedMlp` in two products: activation and gate are in the first one's epilogue."""

    def __init__(self, up: NativeLinear, down: NativeLinear) -> None:
        super().__init__()
        self.up, self.down = up, down

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """x [B, S, C] → [B, S, C], with `residual` added."""
        out: Tensor = self.down(self.up(x), residual)
        return out


class NativeBlock(Block):
    """`Block` whose additions to the stream are in the epilogues of the products before them."""

    def __init__(self, block: Block, mlp: NativeMlp) -> None:
        nn.Module.__init__(self)
        self.attention_norm, self.attention = block.attention_norm, block.attention
        self.mlp_norm = block.mlp_norm
        self.native_mlp = mlp

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        rotation: tuple[Tensor, Tensor] | None,
        span: Span,
        cache: StaticCache | None,
    ) -> Tensor:
        """x [B, S, C] → [B, S, C]."""
        mixed = self.attention.mix(self.attention_norm(x), positions, rotation, span, cache)
        x = self.attention.output(mixed, x)
        out: Tensor = self.native_mlp(self.mlp_norm(x), x)
        return out


def swap_decoder_layers(
    model: Decoder, form: NativeFormat, weights: QuantizedWeights | None
) -> Decoder:
    """The decoder with native linear layers throughout; `weights` where the format is quantized.

    What they replace is let go layer by layer, so that both are never in memory whole.
    """
    packer = packer_of(form, weights)
    for number, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        model.blocks[number] = _native_block(block, f"blocks.{number}", packer, form)
    head = packer("head", model.head, False)
    model.set_submodule("head", NativeLinear(head, dynamic=form.dynamic))
    return model


def _native_block(block: Block, name: str, packer: Packer, form: NativeFormat) -> NativeBlock:
    def native(
        part: str, *, gated: bool = False, activation: LinearActivation = "none"
    ) -> NativeLinear:
        packed = packer(f"{name}.{part}", block.get_submodule(part), gated)
        return NativeLinear(packed, dynamic=form.dynamic, activation=activation)

    for part in ("qkv", "output"):
        setattr(block.attention, part, native(f"attention.{part}"))
    mlp = block.mlp
    assert isinstance(mlp, Mlp | GatedMlp)
    gated = isinstance(mlp, GatedMlp)
    first = "mlp.gate_up" if gated else "mlp.up"
    up = native(first, gated=gated, activation=mlp.activation)
    return NativeBlock(block, NativeMlp(up, native("mlp.down")))


def packer_of(form: NativeFormat, weights: QuantizedWeights | None) -> Packer:
    """What packs a layer in a format, from `weights` by its name where they are given."""

    def pack(name: str, layer: nn.Module, gated: bool) -> PackedLinear:
        weight, bias = weight_and_bias(layer)
        if form.scheme is None:
            kind: Literal["fp32", "bf16"] = "bf16" if form.name == "bf16" else "fp32"
            return pack_float(weight, kind, bias, gated=gated)
        found = form.scheme.quantize(name, weight) if weights is None else weights[name]
        return pack_quantized(found, bias, gated=gated)

    return pack


def weight_and_bias(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Weight [N, K] and bias of an nn.Linear, or of a Conv1D, which holds its weight as [K, N]."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor) and (bias is None or isinstance(bias, Tensor))
    weight = weight.detach()
    return (weight if isinstance(layer, nn.Linear) else weight.t()), bias


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
