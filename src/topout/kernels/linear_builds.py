"""Which build of the native linear layers is fastest on this machine: measured, then remembered.

A CPU that has AVX-512 is not always faster with it: some lower their clock, some run one vector of
64 bytes as two of 32. So both are built and timed, each format on its own.
"""

import functools
import json
import tempfile
import time
from pathlib import Path

import torch

from topout.errors import CompilerError
from topout.kernels.build import cpu_identity
from topout.kernels.cache import cache_folder, is_trusted, writable_cache_folder
from topout.kernels.linear_ops import (
    Int4Weight,
    Int8Weight,
    LinearFormat,
    PackedLinear,
    linear_library,
    pack_float,
    pack_int4,
    pack_int8,
)

Flags = tuple[str, ...]
# As wide as the CPU's own vectors, and half of that; what is not AVX-512 has one width.
_DEFAULT: Flags = ()
_HALF: Flags = ("-DTOPOUT_VECTOR_BYTES=32",)
_ROUNDS = 12
_CLEARLY = 0.9  # the product of both ratios: less is noise
_SIZE = 512  # of a square weight: 1 MiB in fp32, which stays in the caches
_ROWS = (1, 96)


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
