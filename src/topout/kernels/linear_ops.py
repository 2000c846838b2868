"""The seam between Python and the native linear layers: packed weights, and PyTorch's op.

A `PackedLinear` holds weights in memory that the library owns (`linear_packing` makes them). The op
`topout::linear` knows packed weights by a number, so that a compiled graph calls it like any other.
"""

import ctypes
import functools
import itertools
import weakref
from typing import Any, Literal

import torch
from torch import Tensor

from topout.errors import InputError, UnsupportedError
from topout.kernels.build import (
    SOURCE_FOLDER,
    Abi,
    OpenmpBuild,
    build_with_openmp,
    declare,
    load_openmp_library,
)

LinearFormat = Literal["fp32", "bf16", "int8", "int4"]
LinearActivation = Literal["none", "gelu", "gelu_tanh", "relu", "silu"]
ACTIVATIONS: dict[LinearActivation, int] = {
    "none": 0,
    "gelu": 1,
    "gelu_tanh": 2,
    "relu": 3,
    "silu": 4,
}
_TYPES = {torch.float32: 0, torch.bfloat16: 1}

_int, _long, _pointer = ctypes.c_int, ctypes.c_int64, ctypes.c_void_p
# name: (result, arguments), as in src/linear.cpp
_ABI: Abi = {
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
        self.library = declare(load_openmp_library(build), _ABI)
        self.multiply = self.library.topout_linear

    @property
    def instructions(self) -> str:
        """What it multiplies with: "avx512 vdpbf16ps vpdpbusd", "avx2", "portable"."""
        return bytes(self.library.topout_linear_instructions()).decode()


@functools.cache
def linear_library(flags: tuple[str, ...] = ()) -> LinearLibrary:
    """The library built with such flags, compiled at first use; raises CompilerError."""
    return LinearLibrary(build_with_openmp("linear", SOURCE_FOLDER / "linear.cpp", flags))


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
