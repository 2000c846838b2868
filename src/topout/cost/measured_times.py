"""Op times on a machine that was measured: its ceilings, and what PyTorch reaches of them there."""

import itertools
import math

from topout.cost.ops import Load, Op, OpTime, Pace, moved_bytes
from topout.records import AttentionRate, Ceilings, Dtype, LinearRate, ModeOverhead, Rates
from topout.roofline import bandwidth_at, compute_at

# A handful of queries is a stream over the keys; from there on it is matrix multiplication.
_FEW_QUERIES = 16
# Overheads are measured per block of a decoder: four linear layers and attention.
_PRODUCTS_PER_BLOCK = 5
# Weights in int8 alone are widened, since the activations are fp32.
_NATIVE_ARITHMETIC: dict[str, Dtype] = {"bf16": "bf16", "int8_dynamic": "int8", "int4": "int8"}


class MeasuredTimes:
    """Times at the measured ceilings and PyTorch's share of them.

    `generated_gemv_rows` says, by weight type, up to how many rows a compiler generates the
    products of linear layers; empty where a library runs them. `native` names the format in which
    our own kernels run them all.
    """

    fast = Pace(compute=1.15, bandwidth=1.2, overhead=0.7)
    slow = Pace(compute=0.85, bandwidth=0.8, overhead=1.4)

    def __init__(
        self,
        ceilings: Ceilings,
        rates: Rates,
        threads: int,
        mode: str,
        generated_gemv_rows: dict[str, int] | None = None,
        native: str | None = None,
    ) -> None:
        self.ceilings = ceilings
        self.rates = rates
        self.threads = threads
        self.overhead = mode_overhead(rates, mode)
        self.generated_gemv_rows = generated_gemv_rows or {}
        self.native = native

    def missing(self, load: Load) -> str | None:
        """Why nothing can be predicted for this load, or None."""
        if load.groups:
            return "this machine was measured alone: it has no link to a second one"
        if f"linear_{load.weight_dtype}" not in {rate.kernel for rate in self.rates.linear}:
            return f"no rate of {load.weight_dtype} weights was measured on this machine"
        if load.dtype not in {rate.dtype for rate in self.rates.attention}:
            return f"no rate of {load.dtype} activations was measured on this machine"
        return None

    def time(self, op: Op, load: Load, pace: Pace) -> OpTime:
        """Seconds of all runs of `op`; `missing(load)` has to be None."""
        compute_s, memory_s = self.busy(op, load)
        return OpTime(
            compute_s=compute_s / pace.compute,
            memory_s=memory_s / pace.bandwidth,
            overhead_s=self._overhead_s(op, load) * pace.overhead,
        )

    def busy(self, op: Op, load: Load) -> tuple[float, float]:
        """(compute, memory) seconds of all runs of `op`, without overhead."""
        if op.kind in ("linear", "convolution"):
            return self._linear(op, load)
        moved = moved_bytes(op, load.sizes)
        if op.kind != "attention":
            return 0.0, moved.total / self.rates.elementwise_bytes_per_s
        # Keys and values come from memory; the queries and the output are in the caches.
        return self._attention(op, load, moved.kv or moved.total)

    def _linear(self, op: Op, load: Load) -> tuple[float, float]:
        weight_dtype = load.weight_dtype_of(op)
        most_rows = self.generated_gemv_rows.get(weight_dtype, 0)
        family = "gemv" if op.rows <= most_rows else "linear"
        kernel = f"{family}_{weight_dtype}"
        if self.native is not None:
            kernel = f"native_{self.native}"
        compute, memory = roofline_time(
            op.flops,
            moved_bytes(op, load.sizes).weight,
            kernel,
            load.working_set_bytes,
            self.ceilings,
            self.threads,
        )
        efficiency = linear_efficiency(self.rates, kernel, op.rows, load.working_set_bytes)
        return compute / efficiency, memory / efficiency

    def _attention(self, op: Op, load: Load, kv_bytes: float) -> tuple[float, float]:
        if op.rows == 1 and self.generated_gemv_rows:
            # One query over its keys is a matrix-vector product, and is generated as one.
            bandwidth = bandwidth_at(self.ceilings, load.working_set_bytes, self.threads)
            kernel = f"gemv_{load.dtype}"
            efficiency = linear_efficiency(self.rates, kernel, 1, load.working_set_bytes)
            return 0.0, kv_bytes / bandwidth / efficiency
        rate = self._attention_rate(load.dtype)
        compute = op.flops / rate.prefill_flops_per_s if op.rows > _FEW_QUERIES else 0.0
        return compute, kv_bytes / rate.decode_bytes_per_s

    def _attention_rate(self, dtype: str) -> AttentionRate:
        found = [rate for rate in self.rates.attention if rate.dtype == dtype]
        return (found or self.rates.attention)[0]

    def _overhead_s(self, op: Op, load: Load) -> float:
        """An equal part of a block's overhead for each of its products; the head bears the rest."""
        if not op.is_product:
            return 0.0
        mode, decoding = self.overhead, load.phase == "decode"
        if op.part == "head":
            return mode.decode_fixed_s if decoding else mode.prefill_fixed_s
        per_layer = mode.decode_per_layer_s if decoding else mode.prefill_per_layer_s
        return op.count * per_layer / _PRODUCTS_PER_BLOCK


def roofline_time(
    flops: float,
    weight_bytes: float,
    kernel: str,
    working_set_bytes: float,
    ceilings: Ceilings,
    threads: int,
) -> tuple[float, float]:
    """(compute, memory) seconds at the measured ceilings.

    PyTorch's kernels multiply int8 weights in bf16, so that is their compute ceiling; generated
    kernels (`gemv_…`), and machines without bf16 arithmetic, widen to fp32.
    """
    dtype: Dtype = "bf16" if kernel in ("linear_bf16", "linear_int8") else "fp32"
    if kernel.startswith("native_"):
        dtype = native_arithmetic(kernel.removeprefix("native_"))
    peak = compute_at(ceilings, dtype, threads) or compute_at(ceilings, "fp32", threads)
    bandwidth = bandwidth_at(ceilings, round(working_set_bytes), threads)
    return (flops / peak if peak else 0.0), weight_bytes / bandwidth


def native_arithmetic(name: str) -> Dtype:
    """The data type in which a native format multiplies fp32 activations."""
    return _NATIVE_ARITHMETIC.get(name, "fp32")


def linear_efficiency(rates: Rates, kernel: str, rows: int, working_set_bytes: float) -> float:
    """Efficiency interpolated between the measured numbers of rows and working sets.

    Both are compared by their logarithms; beyond the measured ones the nearest holds. In between
    it is the time that is interpolated, 1/efficiency: a set that fits a cache in part takes the
    time of its hits and of its misses.
    """
    measured = [rate for rate in rates.linear if rate.kernel == kernel] or rates.linear
    by_rows = [
        (
            float(m),
            _at_working_set([each for each in measured if each.rows == m], working_set_bytes),
        )
        for m in sorted({rate.rows for rate in measured})
    ]
    return _between(by_rows, rows)


def _at_working_set(measured: list[LinearRate], working_set_bytes: float) -> float:
    points = sorted((float(rate.working_set_bytes), rate.efficiency) for rate in measured)
    return _between(points, working_set_bytes)


def _between(points: list[tuple[float, float]], x: float) -> float:
    """The efficiency at `x`, its inverse straight between the points over the logarithm."""
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x <= x1:
            part = math.log(x / x0) / math.log(x1 / x0)
            return 1 / ((1 - part) / y0 + part / y1)
    return points[-1][1]


def mode_overhead(rates: Rates, name: str) -> ModeOverhead:
    """The overhead measured for an execution mode; KeyError where none was."""
    for mode in rates.modes:
        if mode.mode == name:
            return mode
    raise KeyError(f"no overhead was measured for the execution mode {name!r}")
