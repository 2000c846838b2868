"""What the native linear layers reach on this machine, one rate per format, size and rows."""

import torch

from topout.cost.ops import ELEMENT_BYTES
from topout.kernels.linear_packing import Int4Weight, Int8Weight, pack_float, pack_int4, pack_int8
from topout.ladder.rate_trials import MatrixSet, rate_of, time_of
from topout.quantization.native_layers import NATIVE_FORMATS, NativeFormat, NativeLinear
from topout.records import Ceilings, LinearRate

# In fp32 16 and 270 MB together: within a last-level cache, and far beyond it. Many rows take their
# time from the arithmetic, wherever the weights are.
NATIVE_SETS = (
    MatrixSet(1024, 256, 16, (1,)),
    MatrixSet(3072, 768, 28, (1, 5, 16)),
    MatrixSet(3072, 768, 6, (64, 512)),
)
_GROUP = 64
_CPU = torch.device("cpu")


def native_rates(ceilings: Ceilings, threads: int) -> list[LinearRate]:
    """The rates of every native format, with the weights cold where the set is large."""
    rates = []
    for form in NATIVE_FORMATS.values():
        tiny, small = _random_layer(form, 64, 64), torch.randn(1, 64)
        # The call itself is part of the mode's overhead, and is not counted twice.
        call_s = time_of(lambda tiny=tiny, small=small: tiny(small), _CPU)  # type: ignore[misc]
        for matrices in NATIVE_SETS:
            rates += _rates(form, matrices, call_s, ceilings, threads)
    return rates


def _rates(
    form: NativeFormat, matrices: MatrixSet, call_s: float, ceilings: Ceilings, threads: int
) -> list[LinearRate]:
    n, k, count, _ = matrices
    layers = [_random_layer(form, n, k) for _ in range(count)]
    rates = []
    for rows in matrices.rows:
        x = torch.randn(rows, k)

        def run_all(x: torch.Tensor = x) -> None:
            for layer in layers:
                layer(x)

        took = max(time_of(run_all, _CPU) - count * call_s, 1e-9)
        size = ELEMENT_BYTES[form.weight_dtype]
        kernel = f"native_{form.name}"
        rates.append(rate_of(kernel, (rows, n, k), count, size, took, ceilings, threads))
    return rates


def _random_layer(form: NativeFormat, n: int, k: int) -> NativeLinear:
    """A layer of random weights in the format, without the work of quantizing any."""
    bias = torch.zeros(n)
    if form.scheme is None:
        packed = pack_float(torch.randn(n, k), "bf16" if form.name == "bf16" else "fp32", bias)
    elif form.name == "int4":
        values = torch.randint(0, 256, (n, k // 2), dtype=torch.uint8)
        scales = torch.full((n, k // _GROUP), 0.01, dtype=torch.bfloat16)
        packed = pack_int4(Int4Weight(values, scales, -8 * scales), bias)
    else:
        values = torch.randint(-127, 128, (n, k), dtype=torch.int8)
        packed = pack_int8(Int8Weight(values, torch.full((n,), 0.001)), bias)
    return NativeLinear(packed, dynamic=form.dynamic)
