"""What kernels reach on this machine, PyTorch's and our own: one rate a kernel, size and rows.

None is measured on the model that is predicted: linear layers over some working sets, attention at
one shape, and an elementwise op.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from topout import units
from topout.cost.measured_times import roofline_time
from topout.cost.ops import ELEMENT_BYTES
from topout.generation.build import TORCH_DTYPES
from topout.generation.session import wait_for
from topout.kernels.linear_ops import Int4Weight, Int8Weight, pack_float, pack_quantized
from topout.measure.worker import tell_work
from topout.models.config import DTYPE_BYTES
from topout.quantization.native_layers import NATIVE_FORMATS, NativeFormat, NativeLinear
from topout.quantization.rounding import quantize_per_channel
from topout.records import AttentionRate, Ceilings, Doubt, Dtype, LinearRate
from topout.roofline import ABOVE_A_CEILING, ROOF_TOLERANCE, bandwidth_at, ceilings_at, compute_at
from topout.rungs.generate_gemv import MOST_ROWS, few_rows_product
from topout.rungs.quantize_weights_int8 import WeightOnlyInt8Linear


class MatrixSet(NamedTuple):
    """`number` different matrices [N, K] that are run in turn, with so many rows of x.

    Where they are compiled, `chain` of them are in a graph.
    """

    n: int
    k: int
    number: int
    rows: tuple[int, ...]
    chain: int = 1


class TooFast(NamedTuple):
    """A kernel that seemed faster than the ceilings allow, each time it was measured."""

    what: str
    took_s: float  # may be below 0: its calls are taken off
    least_s: float


@dataclass(frozen=True)
class Bench:
    """Where kernels run, the ceilings that no kernel exceeds, and what seemed to exceed them."""

    device: torch.device
    threads: int
    ceilings: Ceilings
    too_fast: list[TooFast] = field(default_factory=list)

    def settled(self, what: str, least_s: float, measure: Callable[[bool], float]) -> float:
        """Seconds that `what` takes; measured again, at most twice, where the ceilings need longer.

        `measure` is told whether it is for another time. A trial that was disturbed while the
        calls taken off it were timed can seem faster than the roofline; no kernel is, and what
        still seems so counts as being on it.
        """
        took_s = measure(False)
        for _ in range(_MOST_AGAIN):
            if took_s * (1 + ROOF_TOLERANCE) >= least_s:
                return max(took_s, least_s)
            took_s = measure(True)
        if took_s * (1 + ROOF_TOLERANCE) < least_s:
            self.too_fast.append(TooFast(what, took_s, least_s))
        return max(took_s, least_s)

    def doubts(self) -> list[Doubt]:
        """One doubt about all that seemed too fast, the worst named."""
        if not self.too_fast:
            return []
        worst = min(self.too_fast, key=lambda each: each.took_s / each.least_s)
        took = units.seconds(worst.took_s) if worst.took_s > 0 else "no time"
        sentence = (
            f"{units.counted(len(self.too_fast), 'kernel')} seemed faster than the ceilings allow, "
            f"{worst.what} most: {took} where they need {units.seconds(worst.least_s)}. Either was "
            "disturbed; the rate at the ceiling is taken."
        )
        remedy = "Measure both again on a quiet machine (`topout machine --refresh`)."
        return [Doubt(about=ABOVE_A_CEILING, sentence=sentence, remedy=remedy)]


# In fp32 they are 16, 64 and 270 MB together: within a last-level cache, about its size, and far
# beyond it. With many rows the weights' place matters little, and one set will do.
LIBRARY_SETS = (
    MatrixSet(1024, 256, 16, (1, 5, 256)),
    MatrixSet(1024, 256, 64, (1,)),
    MatrixSet(3072, 768, 28, (1, 5, 256)),
    MatrixSet(3072, 768, 6, (64, 1024)),
)
# Each of these is a graph to compile, the longer the more products are in it: so there are few and
# short ones. Calls of the larger products' graph in turn are lost beside what they take.
GENERATED_SETS = (MatrixSet(1024, 256, 8, (1, 5), 8), MatrixSet(3072, 768, 24, (1,), 6))
NATIVE_SETS = (
    MatrixSet(1024, 256, 16, (1,)),
    MatrixSet(3072, 768, 28, (1, 5, 16)),
    MatrixSet(3072, 768, 6, (64, 512)),
)
KERNELS: tuple[Dtype, ...] = ("fp32", "bf16", "int8")
_WEIGHT_STD = 30.0  # random weights that are not all zero in int8
_GROUP = 64
_LEAST_TRIAL_S = 0.06
_MOST_AGAIN = 2


def linear_rates(bench: Bench, *, with_compile: bool, with_native: bool) -> list[LinearRate]:
    """The rates of the library's kernels, of those that inductor generates, and of our own."""
    rates: list[LinearRate] = []
    for matrices in LIBRARY_SETS:
        for kernel in KERNELS:
            tell_work(f"linear layers of PyTorch in {kernel}")
            rates += library_rates(kernel, matrices, bench)
    for matrices in GENERATED_SETS if with_compile else ():
        for kernel in KERNELS:
            tell_work(f"compiled linear layers in {kernel}")
            rates += generated_rates(kernel, matrices, bench)
    for form in NATIVE_FORMATS.values() if with_native else ():
        tell_work(f"native linear layers in {form.name}")
        rates += native_rates(form, bench)
    return rates


def library_rates(kernel: Dtype, matrices: MatrixSet, bench: Bench) -> list[LinearRate]:
    """Efficiency of one kernel on one set of matrices, for each number of rows."""
    n, k, count, *_ = matrices
    layers = [_library_layer(kernel, n, k, bench.device) for _ in range(count)]
    tiny = _library_layer(kernel, 64, 64, bench.device)
    dtype = torch.float32 if kernel == "fp32" else torch.bfloat16
    rates = []
    for rows in matrices.rows:
        x, small = (torch.randn(rows, width, device=bench.device).to(dtype) for width in (k, 64))
        measure = _beyond_calls(layers, x, partial(tiny, small), None, bench.device)
        size = DTYPE_BYTES[kernel]
        rates.append(rate_of(f"linear_{kernel}", (rows, n, k), count, size, measure, bench))
    return rates


def generated_rates(kernel: Dtype, matrices: MatrixSet, bench: Bench) -> list[LinearRate]:
    """The same of kernels that inductor generates for few rows, in graphs of several products.

    Each product feeds the next, up and down as in an MLP: products of one x would be fused.
    """
    n, k, count, *_ = matrices
    stored = torch.int8 if kernel == "int8" else TORCH_DTYPES[kernel]
    shapes = [(n, k), (k, n)] * (count // 2)
    weights = [torch.randn(shape).mul(_WEIGHT_STD).to(bench.device, stored) for shape in shapes]
    chains = [weights[at : at + matrices.chain] for at in range(0, count, matrices.chain)]
    dtype = torch.bfloat16 if kernel == "bf16" else torch.float32
    rates = []
    for rows in matrices.rows:
        if rows > MOST_ROWS[kernel]:
            continue
        x = torch.randn(rows, k, device=bench.device).to(dtype)
        torch.compiler.reset()  # each shape is a graph of its own, and their number is limited
        # Graphs over matrices, as in a compiled model: no call from Python for each.
        run_chain = torch.compile(_chain, fullgraph=True, dynamic=False)
        measure = partial(_time_again, partial(_run_all, run_chain, x, chains), bench.device)
        size = DTYPE_BYTES[kernel]
        rates.append(rate_of(f"gemv_{kernel}", (rows, n, k), count, size, measure, bench))
    return rates


def _run_all(
    run_chain: Callable[[Tensor, list[Tensor]], Tensor], x: Tensor, chains: list[list[Tensor]]
) -> None:
    for chain in chains:
        x = run_chain(x, chain)


def _chain(x: Tensor, weights: list[Tensor]) -> Tensor:
    for weight in weights:
        scale = 1 / (_WEIGHT_STD * weight.shape[1] ** 0.5)  # keeps the size of x
        x = (few_rows_product(x, weight) * scale).to(x.dtype)
    return x


def native_rates(form: NativeFormat, bench: Bench) -> list[LinearRate]:
    """The same of our own kernels in one format, over all of its sets."""
    tiny, small = _native_layer(form, 64, 64), torch.randn(1, 64)
    call = partial(tiny, small)
    call_s = time_of(call, bench.device)
    rates = []
    for matrices in NATIVE_SETS:
        n, k, count, *_ = matrices
        layers = [_native_layer(form, n, k) for _ in range(count)]
        size = ELEMENT_BYTES[form.weight_dtype]
        for rows in matrices.rows:
            measure = _beyond_calls(layers, torch.randn(rows, k), call, call_s, bench.device)
            rates.append(rate_of(f"native_{form.name}", (rows, n, k), count, size, measure, bench))
    return rates


def _beyond_calls(
    layers: Sequence[Callable[[Tensor], object]],
    x: Tensor,
    call: Callable[[], object],
    call_s: float | None,
    device: torch.device,
) -> Callable[[bool], float]:
    """Measures seconds that layers take, but for their calls: those are part of a mode's overhead.

    `call` is one that computes next to nothing, and takes `call_s` where that is known.
    """

    def run_all() -> None:
        for layer in layers:
            layer(x)

    def measure(again: bool) -> float:
        once_s = time_of(call, device) if again or call_s is None else call_s
        return time_of(run_all, device) - len(layers) * once_s

    return measure


def _time_again(action: Callable[[], object], device: torch.device, again: bool) -> float:
    return time_of(action, device)


def _library_layer(
    kernel: Dtype, n: int, k: int, device: torch.device
) -> Callable[[Tensor], Tensor]:
    weight = torch.randn(n, k)
    bias = torch.zeros(n)
    if kernel == "int8":
        quantized, scales = quantize_per_channel(weight)
        return WeightOnlyInt8Linear(quantized, scales, bias.bfloat16()).to(device)
    weight = weight.to(device, TORCH_DTYPES[kernel])
    bias = bias.to(device, TORCH_DTYPES[kernel])
    return lambda x: F.linear(x, weight, bias)


def _native_layer(form: NativeFormat, n: int, k: int) -> NativeLinear:
    """A layer of random weights in the format, without the work of quantizing any."""
    bias = torch.zeros(n)
    if form.scheme is None:
        packed = pack_float(torch.randn(n, k), "bf16" if form.name == "bf16" else "fp32", bias)
    elif form.name == "int4":
        values = torch.randint(0, 256, (n, k // 2), dtype=torch.uint8)
        scales = torch.full((n, k // _GROUP), 0.01, dtype=torch.bfloat16)
        packed = pack_quantized(Int4Weight(values, scales, -8 * scales), bias)
    else:
        values = torch.randint(-127, 128, (n, k), dtype=torch.int8)
        packed = pack_quantized(Int8Weight(values, torch.full((n,), 0.001)), bias)
    return NativeLinear(packed, dynamic=form.dynamic)


def attention_rate(dtype: Dtype, bench: Bench) -> AttentionRate:
    """Causal prefill of 512 tokens, and one query over 12 layers of 512 keys; 12 heads of 64."""
    heads, length, size, layers = 12, 512, 64, 12
    kind, device = TORCH_DTYPES[dtype], bench.device

    def tensor(rows: int) -> Tensor:
        return torch.randn(1, heads, rows, size, device=device).to(kind)

    q, k, v = tensor(length), tensor(length), tensor(length)
    attend = F.scaled_dot_product_attention
    flops = 4.0 * heads * size * length * (length + 1) / 2
    peak = _peak(dtype, bench)
    prefill_s = bench.settled(
        f"attention in {dtype}",
        flops / peak if peak else 0.0,
        partial(_time_again, partial(attend, q, k, v, is_causal=True), device),
    )
    caches = [(tensor(length), tensor(length)) for _ in range(layers)]
    query, one = tensor(1), tensor(1)
    attend_each = [partial(attend, key=keys, value=values) for keys, values in caches]
    moved = 2.0 * layers * heads * length * size * DTYPE_BYTES[dtype]
    decode_s = bench.settled(
        f"attention over cached keys in {dtype}",
        moved / bandwidth_at(bench.ceilings, moved, bench.threads),
        _beyond_calls(attend_each, query, partial(attend, query, one, one), None, device),
    )
    return AttentionRate(
        dtype=dtype,
        prefill_flops_per_s=flops / prefill_s,
        decode_bytes_per_s=moved / decode_s,
    )


def _peak(dtype: Dtype, bench: Bench) -> float | None:
    fp32 = compute_at(bench.ceilings, "fp32", bench.threads)
    return compute_at(bench.ceilings, dtype, bench.threads) or fp32


def elementwise_rate(bench: Bench) -> float:
    """Bytes read and written per second by an elementwise op over 512 × 3072 activations.

    Reads and writes may overlap, so that only the fastest level of the memory bounds them both.
    """
    x = torch.randn(512, 3072, device=bench.device)
    other = torch.randn(512, 3072, device=bench.device)
    moved = 3.0 * x.nbytes
    fastest = max(each.bytes_per_s for each in ceilings_at(bench.ceilings, bench.threads).bandwidth)
    measure = partial(_time_again, partial(torch.add, x, other), bench.device)
    return moved / bench.settled("elementwise addition", moved / fastest, measure)


def time_of(action: Callable[[], object], device: torch.device, trials: int = 3) -> float:
    """Seconds that one `action` takes: the median of some trials of many repetitions each."""
    action()
    wait_for(device)
    began = time.perf_counter()
    action()
    wait_for(device)
    once = time.perf_counter() - began
    repetitions = max(1, min(10_000, round(_LEAST_TRIAL_S / max(once, 1e-7))))
    times = []
    for _ in range(trials if once < 0.2 else 2):
        began = time.perf_counter()
        for _ in range(repetitions):
            action()
        wait_for(device)
        times.append((time.perf_counter() - began) / repetitions)
    return sorted(times)[len(times) // 2]


def rate_of(
    kernel: str,
    shape: tuple[int, int, int],
    count: int,
    element_bytes: float,
    measure: Callable[[bool], float],
    bench: Bench,
) -> LinearRate:
    """The efficiency of `count` products of one shape (M, N, K), which `measure` times together."""
    m, n, k = shape
    weight_bytes = round(n * k * count * element_bytes)
    flops = 2.0 * m * n * k * count
    compute, memory = roofline_time(
        flops, weight_bytes, kernel, weight_bytes, bench.ceilings, bench.threads
    )
    least_s = max(compute, memory)
    took_s = bench.settled(f"{kernel} with {units.counted(m, 'row')}", least_s, measure)
    return LinearRate(
        kernel=kernel,
        rows=m,
        matrix_elements=n * k,
        working_set_bytes=weight_bytes,
        efficiency=least_s / took_s,
        flops_per_s=flops / took_s,
    )
