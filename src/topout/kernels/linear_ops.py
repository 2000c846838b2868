"""The seam between Python and the native linear layers: packed weights, and PyTorch's op.

A `PackedLinear` holds weights in memory that the library owns. The op `topout::linear` knows packed
weights by a number, so that a compiled graph calls it like any other.

A CPU that has AVX-512 is not always faster with it: some lower their clock, some run one vector of
64 bytes as two of 32. So both builds are made and timed, each format on its own, and the choice is
remembered.
"""

import ctypes
import functools
import itertools
import json
import math
import time
import weakref
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from topout.cache_folder import kept_files, read_kept, writable_cache_folder
from topout.errors import CompilerError, InputError, OutputError, UnsupportedError
from topout.kernels.build import (
    SOURCE_FOLDER,
    Abi,
    OpenmpBuild,
    build_with_openmp,
    cpu_identity,
    declare,
    load_openmp_library,
)
from topout.whole_file import whole_file

LinearFormat = Literal["fp32", "bf16", "int8", "int4"]
LinearActivation = Literal["none", "gelu", "gelu_tanh", "relu", "silu"]
# Both in the order of the enumerations in src/linear.cpp
ACTIVATIONS: dict[LinearActivation, int] = {
    name: code for code, name in enumerate(get_args(LinearActivation))
}
_FORMATS: dict[LinearFormat, int] = {name: code for code, name in enumerate(get_args(LinearFormat))}
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
GROUP_SIZES = (32, 64, 128)  # values of int4 weights that share a scale and an offset
_LARGEST_INT8_K = 65_536  # beyond it sums of k · 255 · 128 may leave 32 bits
Flags = tuple[str, ...]
# As wide as the CPU's own vectors, and half of that; what is not AVX-512 has one width.
_DEFAULT: Flags = ()
_HALF: Flags = ("-DTOPOUT_VECTOR_BYTES=32",)
_ROUNDS = 12
_CLEARLY = 0.9  # the product of both ratios: less is noise
_SIZE = 512  # of a square weight: 1 MiB in fp32, which stays in the caches
_ROWS = (1, 96)


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
            raise InputError(
                f"a native linear layer of {self.inputs} inputs got {tuple(x.shape)} {x.dtype} on "
                f"{x.device}.",
                "Give fp32 or bf16 on the CPU with that many values in the last dimension.",
            )
        y = torch.empty((*x.shape[:-1], self.outputs), dtype=x.dtype)
        if residual is not None and not (
            residual.shape == y.shape and residual.dtype == y.dtype and residual.is_cpu
        ):
            raise InputError(
                f"a residual of {tuple(residual.shape)} {residual.dtype}.",
                f"It is added to {tuple(y.shape)} of {y.dtype}.",
            )
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


def pack_float(
    weight: Tensor,
    kind: Literal["fp32", "bf16"],
    bias: Tensor | None = None,
    *,
    gated: bool = False,
    flags: Flags | None = None,
) -> PackedLinear:
    """Weight [N, K] of any float type and strides, in fp32 or rounded to bf16.

    `gated`: the first half of the rows are gates of the other half. `flags` ask for one build
    instead of the fastest. Raises InputError for unusable tensors, UnsupportedError without memory.
    """
    _check(weight.dim() == 2, f"a weight of {tuple(weight.shape)}", "Give [N, K].")
    values = weight.detach().to("cpu", torch.float32)
    data = (values.data_ptr(), *values.shape, *values.stride())
    return _pack(kind, data, (None, None, None, 0), bias, gated, flags)


def pack_quantized(
    weight: Int8Weight | Int4Weight,
    bias: Tensor | None = None,
    *,
    gated: bool = False,
    flags: Flags | None = None,
) -> PackedLinear:
    """The same of int8 weights with a scale per row, or int4 weights in groups of 32, 64 or 128."""
    values = weight.values.detach().cpu().contiguous()
    n, k = values.shape
    if isinstance(weight, Int8Weight):
        scales = weight.scales.detach().to("cpu", torch.float32).contiguous()
        fits = values.dtype == torch.int8 and scales.shape == (n,)
        _check(fits, f"int8 weights of {values.dtype}", "Give values [N, K] int8 and scales [N].")
        _check(k <= _LARGEST_INT8_K, f"{k} inputs of int8", f"Sums hold up to {_LARGEST_INT8_K}.")
        data = (values.data_ptr(), n, k, k, 1)
        return _pack("int8", data, (scales.data_ptr(), None, None, 0), bias, gated, flags)
    k, group = 2 * k, weight.group
    scales, offsets = (
        part.detach().to("cpu", torch.bfloat16).contiguous()
        for part in (weight.scales, weight.offsets)
    )
    _check(group in GROUP_SIZES, f"int4 groups of {group}", f"Groups are {GROUP_SIZES}.")
    whole = values.dtype == torch.uint8 and scales.shape == offsets.shape == (n, k // group)
    _check(whole, "int4 weights whose parts do not fit together", Int4Weight.__doc__ or "")
    grouped = (None, scales.data_ptr(), offsets.data_ptr(), group)
    return _pack("int4", (values.data_ptr(), n, k, k, 1), grouped, bias, gated, flags)


def _pack(
    kind: LinearFormat,
    data: tuple[int, ...],
    scales: tuple[int | None, int | None, int | None, int],
    bias: Tensor | None,
    gated: bool,
    flags: Flags | None,
) -> PackedLinear:
    library = linear_library(fastest_flags(kind) if flags is None else flags)
    _, n, k, *_ = data
    _check(not gated or n % 2 == 0, f"{n} gated rows", "Give as many gates as gated rows.")
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


@functools.cache
def fastest_flags(kind: LinearFormat) -> Flags:
    """The flags of the fastest build for weights of a format; raises CompilerError."""
    default = linear_library(_DEFAULT)
    if not default.instructions.startswith("avx512"):
        return _DEFAULT
    try:
        half = linear_library(_HALF)
    except CompilerError:
        return _DEFAULT
    memory = Path(f"linear-{default.path.stem}-{half.path.stem}.json")
    chosen = _remembered(memory)
    if kind not in chosen:
        chosen[kind] = _HALF if _faster(kind, _HALF, _DEFAULT) else _DEFAULT
        _remember(memory, chosen)
    return chosen[kind]


def _faster(kind: LinearFormat, one: Flags, other: Flags) -> bool:
    """Whether build `one` takes less time than `other`, over few rows and many, in turns."""
    weights = [_random_weight(kind, flags) for flags in (one, other)]
    ratios = []
    for rows in _ROWS:
        x = torch.randn(rows, _SIZE)
        dynamic = kind in ("int8", "int4")
        times: list[list[float]] = [[], []]
        for _ in range(_ROUNDS + 1):
            for weight, taken in zip(weights, times, strict=True):
                began = time.perf_counter()
                for _ in range(max(1, 256 // rows)):
                    weight.multiply(x, dynamic=dynamic)
                taken.append(time.perf_counter() - began)
        # The first round warms up.
        ratios.append(min(times[0]) / min(times[1]))
    return math.prod(ratios) < _CLEARLY


def _random_weight(kind: LinearFormat, flags: Flags) -> PackedLinear:
    if kind == "int8":
        values = torch.randint(-127, 128, (_SIZE, _SIZE), dtype=torch.int8)
        return pack_quantized(Int8Weight(values, torch.ones(_SIZE)), flags=flags)
    if kind == "int4":
        values = torch.randint(0, 256, (_SIZE, _SIZE // 2), dtype=torch.uint8)
        scales = torch.ones(_SIZE, _SIZE // 64, dtype=torch.bfloat16)
        return pack_quantized(Int4Weight(values, scales, -8 * scales), flags=flags)
    return pack_float(torch.randn(_SIZE, _SIZE), kind, flags=flags)


def _remembered(name: Path) -> dict[LinearFormat, Flags]:
    """What was measured before of these two builds on this CPU; damaged files count as nothing."""
    try:
        (file,) = kept_files("kernels", str(name))
        found = json.loads(read_kept(file))
        if found["cpu"] != cpu_identity():
            return {}
        return {kind: _HALF if is_half else _DEFAULT for kind, is_half in found["half"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}


def _remember(name: Path, chosen: dict[LinearFormat, Flags]) -> None:
    """Write through a temporary file; a folder that cannot be written costs only the memory."""
    half = {kind: flags == _HALF for kind, flags in chosen.items()}
    try:
        with whole_file(writable_cache_folder("kernels") / name) as unfinished:
            unfinished.write_text(json.dumps({"cpu": cpu_identity(), "half": half}))
    except (OSError, OutputError):
        return
