"""Weights packed for the native linear layers, by the build of them that is fastest here.

A CPU that has AVX-512 is not always faster with it: some lower their clock, some run one vector of
64 bytes as two of 32. So both builds are made and timed, each format on its own, and the choice is
remembered.
"""

import functools
import json
import tempfile
import time
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from topout.errors import CompilerError, InputError, UnsupportedError
from topout.kernels.build import cpu_identity
from topout.kernels.cache import cache_folder, is_trusted, writable_cache_folder
from topout.kernels.linear_ops import LinearFormat, PackedLinear, linear_library

GROUP_SIZES = (32, 64, 128)  # values of int4 weights that share a scale and an offset
_FORMATS: dict[LinearFormat, int] = {"fp32": 0, "bf16": 1, "int8": 2, "int4": 3}
_LARGEST_INT8_K = 65_536  # beyond it sums of k · 255 · 128 may leave 32 bits
Flags = tuple[str, ...]
# As wide as the CPU's own vectors, and half of that; what is not AVX-512 has one width.
_DEFAULT: Flags = ()
_HALF: Flags = ("-DTOPOUT_VECTOR_BYTES=32",)
_ROUNDS = 12
_CLEARLY = 0.9  # the product of both ratios: less is noise
_SIZE = 512  # of a square weight: 1 MiB in fp32, which stays in the caches
_ROWS = (1, 96)


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


def pack_int8(
    weight: Int8Weight,
    bias: Tensor | None = None,
    *,
    gated: bool = False,
    flags: Flags | None = None,
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
    flags: Flags | None = None,
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
    return ratios[0] * ratios[1] < _CLEARLY


def _random_weight(kind: LinearFormat, flags: Flags) -> PackedLinear:
    if kind == "int8":
        values = torch.randint(-127, 128, (_SIZE, _SIZE), dtype=torch.int8)
        return pack_int8(Int8Weight(values, torch.ones(_SIZE)), flags=flags)
    if kind == "int4":
        values = torch.randint(0, 256, (_SIZE, _SIZE // 2), dtype=torch.uint8)
        scales = torch.ones(_SIZE, _SIZE // 64, dtype=torch.bfloat16)
        return pack_int4(Int4Weight(values, scales, -8 * scales), flags=flags)
    return pack_float(torch.randn(_SIZE, _SIZE), kind, flags=flags)


def _remembered(name: Path) -> dict[LinearFormat, Flags]:
    """What was measured before of these two builds on this CPU; damaged files count as nothing."""
    folder = cache_folder() / "kernels"
    try:
        if not is_trusted(folder):
            return {}
        found = json.loads((folder / name).read_text())
        if found["cpu"] != cpu_identity():
            return {}
        return {kind: _HALF if is_half else _DEFAULT for kind, is_half in found["half"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return {}


def _remember(name: Path, chosen: dict[LinearFormat, Flags]) -> None:
    """Write through a temporary file; a folder that cannot be written costs only the memory."""
    record = {
        "cpu": cpu_identity(),
        "half": {kind: flags == _HALF for kind, flags in chosen.items()},
    }
    try:
        folder = writable_cache_folder("kernels")
        with tempfile.TemporaryDirectory(prefix=".choosing-", dir=folder) as scratch:
            written = Path(scratch) / name
            written.write_text(json.dumps(record))
            written.replace(folder / name)
    except OSError:
        return
