"""The seam between Python and the native linear layers: packing, multiplying, and PyTorch's op.

Weights are packed once into memory that the library owns; a `PackedLinear` holds it. The op
`topout::linear` knows packed weights by a number, so that a compiled graph calls it like any other.
"""

import ctypes
import functools
import itertools
import weakref
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from topout.errors import InputError, UnsupportedError
from topout.kernels.build import SOURCE_FOLDER
from topout.kernels.openmp import OpenmpBuild, build_with_openmp, load_openmp_library

LinearFormat = Literal["fp32", "bf16", "int8", "int4"]
LinearActivation = Literal["none", "gelu", "gelu_tanh", "relu", "silu"]
GROUP_SIZES = (32, 64, 128)  # values of int4 weights that share a scale and an offset

_FORMATS: dict[LinearFormat, int] = {"fp32": 0, "bf16": 1, "int8": 2, "int4": 3}
ACTIVATIONS: dict[LinearActivation, int] = {
    "none": 0,
    "gelu": 1,
    "gelu_tanh": 2,
    "relu": 3,
    "silu": 4,
}
_TYPES = {torch.float32: 0, torch.bfloat16: 1}
_LARGEST_INT8_K = 65_536  # beyond it sums of k · 255 · 128 may leave 32 bits

_int, _long, _pointer = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
# name: (result, arguments), as in src/linear.cpp
_ABI: dict[str, tuple[Any, list[Any]]] = {
    "topout_linear_pack": (
        _pointer,
        [_int, _pointer, *[_long] * 4, *[_pointer] * 3, _long, _pointer, _int, _int],
    ),
    "topout_linear_free": (None, [_pointer]),
    "topout_linear_bytes": (_long, [_pointer]),
    "topout_linear": (
        None,
        [
            *(_pointer, _int, _pointer, _int, _long, _long, _int),
            *(_pointer, _long, _pointer, _int, _long, _int),
        ],
    ),
    "topout_linear_instructions": (ctypes.c_char_p, []),
}


class LinearLibrary:
    """One build of the native linear layers; raises CompilerError when it cannot be loaded."""

    def __init__(self, build: OpenmpBuild) -> None:
        self.path, self.openmp = build
        self.library = load_openmp_library(build)
        for name, (result, arguments) in _ABI.items():
            function = getattr(self.library, name)
            function.restype, function.argtypes = result, arguments
        self.multiply = self.library.topout_linear

    @property
    def instructions(self) -> str:
        """What it multiplies with: "avx512 vdpbf16ps vpdpbusd", "avx2", "portable"."""
        return bytes(self.library.topout_linear_instructions()).decode()


@functools.cache
def linear_library(flags: tuple[str, ...] = ()) -> LinearLibrary:
    """The library built with such flags, compiled at first use; raises CompilerError."""
    return LinearLibrary(build_with_openmp("linear", SOURCE_FOLDER / "linear.cpp", flags))


class Int8Weight(NamedTuple):
    """W ≈ values · scales[:, None]: values [N, K] int8, scales [N] fp32."""

    values: Tensor
    scales: Tensor


class Int4Weight(NamedTuple):
    """W ≈ scales · values + offsets in groups along K.

    values [N, K/2] uint8, two to a byte, the low one first; scales and offsets [N, K/group] bf16.
    """

    values: Tensor
    scales: Tensor
    offsets: Tensor

    @property
    def group(self) -> int:
        """Values that share a scale."""
        return 2 * self.values.shape[1] // max(1, self.scales.shape[1])


class PackedLinear:
    """Packed weights of one linear layer: y = activation(x · Wᵀ + bias) [· gated] [+ residual].

    `index` is what the op knows it by. Its memory goes when the object does.
    """

    def __init__(
        self, library: LinearLibrary, handle: int, outputs: int, inputs: int, kind: LinearFormat
    ) -> None:
        self.library = library
        self.handle = handle
        self.outputs = outputs  # of y: half of W's rows where it is gated
        self.inputs = inputs
        self.format = kind
        self.bytes: int = library.library.topout_linear_bytes(handle)
        self.index = next(_numbers)
        _packed[self.index] = self
        weakref.finalize(self, library.library.topout_linear_free, handle)

    def multiply(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        *,
        activation: int = 0,
        dynamic: bool = False,
    ) -> Tensor:
        """x [..., K] fp32 or bf16 → [..., N] of the same type; `residual` like y.

        `activation` is a value of ACTIVATIONS; `dynamic` quantizes the rows of x to int8 (int8 and
        int4 weights alone). Raises InputError for another width, type or device.
        """
        kind = _TYPES.get(x.dtype)
        if kind is None or x.shape[-1] != self.inputs or not x.is_cpu:
            raise _unusable(x, self.inputs)
        shape = (*x.shape[:-1], self.outputs)
        if residual is not None and not _fits(residual, shape, x.dtype):
            raise _unfit(residual, shape, x.dtype)
        y = torch.empty(shape, dtype=x.dtype)
        x, x_stride = _rows(x)
        added, added_stride = (None, 0) if residual is None else _rows(residual)
        self.library.multiply(
            self.handle,
            dynamic,
            x.data_ptr(),
            kind,
            y.numel() // self.outputs if self.outputs else 0,
            x_stride,
            activation,
            None if added is None else added.data_ptr(),
            added_stride,
            y.data_ptr(),
            kind,
            self.outputs,
            torch.get_num_threads(),
        )
        return y


_numbers = itertools.count()
_packed: "weakref.WeakValueDictionary[int, PackedLinear]" = weakref.WeakValueDictionary()


def _rows(x: Tensor) -> tuple[Tensor, int]:
    """x [..., K] with the elements of a row side by side, and those from one row to the next.

    The tensor itself where it can be: this is called once per layer and token.
    """
    if x.is_contiguous():
        return x, x.shape[-1]
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    if rows.stride(1) != 1 and rows.shape[1] > 1:
        rows = rows.contiguous()
    return rows, rows.stride(0)


def _fits(residual: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> bool:
    return residual.shape == shape and residual.dtype == dtype and residual.is_cpu


def _unfit(residual: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> InputError:
    return InputError(
        f"a residual of {tuple(residual.shape)} {residual.dtype}.",
        f"It is added to {shape} of {dtype}.",
    )


def _unusable(x: Tensor, inputs: int) -> InputError:
    return InputError(
        f"a native linear layer of {inputs} inputs got {tuple(x.shape)} {x.dtype} on {x.device}.",
        "Give fp32 or bf16 on the CPU with that many values in the last dimension.",
    )


def pack_float(
    weight: Tensor,
    kind: Literal["fp32", "bf16"],
    bias: Tensor | None = None,
    *,
    gated: bool = False,
    flags: tuple[str, ...] | None = None,
) -> PackedLinear:
    """Weight [N, K] of any float type and strides, in fp32 or rounded to bf16.

    `gated`: the first half of the rows are gates of the other half. `flags` ask for one build
    instead of the fastest. Raises InputError for unusable tensors, UnsupportedError without memory.
    """
    _check(weight.dim() == 2, f"a weight of {tuple(weight.shape)}", "Give [N, K].")
    values = weight.detach().to("cpu", torch.float32)
    data = (values.data_ptr(), *values.shape, *values.stride())
    return _pack(kind, data, (None, None, None, 0), bias, gated, flags)


def pack_int8(
    weight: Int8Weight,
    bias: Tensor | None = None,
    *,
    gated: bool = False,
    flags: tuple[str, ...] | None = None,
) -> PackedLinear:
    """The same of int8 weights with a scale per row."""
    values = weight.values.detach().cpu().contiguous()
    scales = weight.scales.detach().to("cpu", torch.float32).contiguous()
    n, k = values.shape
    fits = values.dtype == torch.int8 and scales.shape == (n,)
    _check(fits, f"int8 weights of {values.dtype}", "Give values [N, K] int8 and scales [N].")
    _check(k <= _LARGEST_INT8_K, f"{k} inputs of int8", f"Sums hold up to {_LARGEST_INT8_K}.")
    data = (values.data_ptr(), n, k, k, 1)
    return _pack("int8", data, (scales.data_ptr(), None, None, 0), bias, gated, flags)


def pack_int4(
    weight: Int4Weight,
    bias: Tensor | None = None,
    *,
    gated: bool = False,
    flags: tuple[str, ...] | None = None,
) -> PackedLinear:
    """The same of int4 weights in groups of 32, 64 or 128."""
    values = weight.values.detach().cpu().contiguous()
    scales = weight.scales.detach().to("cpu", torch.bfloat16).contiguous()
    offsets = weight.offsets.detach().to("cpu", torch.bfloat16).contiguous()
    n, k = values.shape[0], 2 * values.shape[1]
    group = weight.group
    _check(group in GROUP_SIZES, f"int4 groups of {group}", f"Groups are {GROUP_SIZES}.")
    whole = values.dtype == torch.uint8 and scales.shape == offsets.shape == (n, k // group)
    _check(whole, "int4 weights whose parts do not fit together", Int4Weight.__doc__ or "")
    data = (values.data_ptr(), n, k, k, 1)
    grouped = (None, scales.data_ptr(), offsets.data_ptr(), group)
    return _pack("int4", data, grouped, bias, gated, flags)


def _pack(
    kind: LinearFormat,
    data: tuple[int, ...],
    scales: tuple[int | None, int | None, int | None, int],
    bias: Tensor | None,
    gated: bool,
    flags: tuple[str, ...] | None,
) -> PackedLinear:
    from topout.kernels.linear_builds import fastest_flags

    library = linear_library(fastest_flags(kind) if flags is None else flags)
    _, n, k, *_ = data
    _check(not gated or n % 2 == 0, f"{n} gated rows", "Gates and what they gate are of a number.")
    added = None
    if bias is not None:
        added = bias.detach().to("cpu", torch.float32).contiguous()
        _check(added.shape == (n,), f"a bias of {tuple(added.shape)}", f"Give [{n}].")
    handle = library.library.topout_linear_pack(
        _FORMATS[kind],
        *data,
        *scales,
        None if added is None else added.data_ptr(),
        gated,
        torch.get_num_threads(),
    )
    if not handle:
        raise UnsupportedError(f"no memory to pack a weight of {n} × {k}.", "Use a smaller model.")
    return PackedLinear(library, handle, n // 2 if gated else n, k, kind)


def _check(holds: bool, what: str, remedy: str) -> None:
    if not holds:
        raise InputError(f"{what} cannot be packed.", remedy)


_library = torch.library.Library("topout", "DEF")  # type: ignore[no-untyped-call]
_library.define(  # type: ignore[no-untyped-call]
    "linear(Tensor x, Tensor? residual, int packed, int outputs, int activation, bool dynamic)"
    " -> Tensor"
)


def _linear(
    x: Tensor, residual: Tensor | None, packed: int, outputs: int, activation: int, dynamic: bool
) -> Tensor:
    found = _packed.get(packed)
    if found is None or found.outputs != outputs:
        raise InputError(
            f"there are no packed weights number {packed} with {outputs} outputs.",
            "Keep the PackedLinear as long as its layer is called.",
        )
    return found.multiply(x, residual, activation=activation, dynamic=dynamic)


def _linear_shape(
    x: Tensor, residual: Tensor | None, packed: int, outputs: int, activation: int, dynamic: bool
) -> Tensor:
    return x.new_empty((*x.shape[:-1], outputs))


_library.impl("linear", _linear, "CPU")  # type: ignore[no-untyped-call]
torch.library.register_fake("topout::linear", _linear_shape, lib=_library)


def _no_backward(context: Any, gradient: Tensor) -> Any:
    raise UnsupportedError(
        "native linear layers have no backward.", "Train with nn.Linear, and swap it afterwards."
    )


torch.library.register_autograd("topout::linear", _no_backward, lib=_library)
# What torch.compile puts into its graphs: the same as `PackedLinear.multiply`.
linear_op = torch.ops.topout.linear.default
