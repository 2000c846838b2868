"""Ceilings of the CPU by PyTorch's own operators: a lower bound.

They stand in where no compiler is, and for matrix units (AMX), which PyTorch's libraries reach
and the native micro-benchmarks do not.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from topout.machine.effort import CeilingParts, Effort, Meter
from topout.machine.working_sets import working_sets
from topout.records import (
    BandwidthCeiling,
    ComputeCeiling,
    Doubt,
    Dtype,
    Machine,
    OverheadCeiling,
)

if TYPE_CHECKING:
    import torch

_MATMUL_SIZE = 1536
_LONGEST_S = 1.0  # of all trials of one matmul, since some data types have slow kernels
_TINY_ROUNDS = 2000


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """PyTorch with so many threads, and as before afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure_with_torch(
    machine: Machine, threads: int, effort: Effort, why: str, meter: Meter
) -> CeilingParts:
    """Matrix multiplications and sums of `threads` threads; `why` says what was missing."""
    doubt = Doubt(
        about="ceilings",
        sentence="The ceilings are what PyTorch's matmul and sum reach, and so a lower bound.",
        remedy=why,
    )
    with torch_threads(threads):
        reasons: dict[str, str] = {}
        compute = measure_matmuls(("fp32", "bf16", "int8"), threads, effort, reasons, meter)
        bandwidth = _measure_sums(machine, threads, effort, meter)
    return CeilingParts(compute, bandwidth, [], [], [doubt], reasons)


def measure_matmuls(
    dtypes: tuple[Dtype, ...], threads: int, effort: Effort, reasons: dict[str, str], meter: Meter
) -> list[ComputeCeiling]:
    """The rate of one large matmul per data type; what PyTorch cannot do gets a reason."""
    ceilings: list[ComputeCeiling] = []
    with torch_threads(threads):
        for dtype in dtypes:
            meter.step(f"PyTorch {dtype} matmul, {threads} threads")
            try:
                multiply = matmul_of(dtype, _MATMUL_SIZE, "cpu")
                multiply()
            except (RuntimeError, AttributeError, NotImplementedError) as error:
                reasons[f"compute.{dtype}"] = f"PyTorch has no such matmul here ({error})"[:200]
                continue
            samples: list[float] = []
            end = time.perf_counter() + _LONGEST_S
            while not samples or (
                len(samples) < effort.compute_rounds and time.perf_counter() < end
            ):
                samples.append(2 * _MATMUL_SIZE**3 / _seconds_of(multiply))
            ceilings.append(
                ComputeCeiling(
                    dtype=dtype,
                    threads=threads,
                    instruction="torch matmul",
                    flops_per_s=max(samples),
                    samples=samples,
                )
            )
    return ceilings


def measure_torch_op(effort: Effort) -> OverheadCeiling | None:
    """The time of an operator on one element, called eagerly; None without PyTorch."""
    try:
        import torch
    except ImportError:
        return None
    one = torch.ones(1)

    def many() -> None:
        for _ in range(_TINY_ROUNDS):
            torch.add(one, one)

    with torch_threads(1), torch.inference_mode():
        many()
        samples = [_seconds_of(many) / _TINY_ROUNDS for _ in range(effort.overhead_rounds)]
    return OverheadCeiling(name="torch_op", threads=1, time_s=min(samples), samples=samples)


def matmul_of(dtype: Dtype, size: int, device: str) -> "Callable[[], torch.Tensor]":
    """A square matmul over random data, ready to be called; int8 gives int32.

    Raises RuntimeError or AttributeError where PyTorch has none.
    """
    import torch

    if dtype == "int8":
        left, right = (
            torch.randint(-64, 64, (size, size), dtype=torch.int8, device=device) for _ in range(2)
        )
        # The kernels of several devices want the second operand column by column.
        right = right.t().contiguous().t()
        multiply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = torch._int_mm
        return lambda: multiply(left, right)
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    a, b = (torch.randn(size, size, device=device).to(kind) for _ in range(2))
    return lambda: torch.matmul(a, b)


def _measure_sums(
    machine: Machine, threads: int, effort: Effort, meter: Meter
) -> list[BandwidthCeiling]:
    """The sum of fp32 tensors of the native benchmark's sizes, from the last cache on.

    In smaller ones the operator's own cost would be measured.
    """
    import torch

    sets = working_sets(machine.caches, machine.memory_bytes, threads, 0)
    ceilings: list[BandwidthCeiling] = []
    for each in sets[-2:]:
        meter.step(f"PyTorch sum, {threads} threads")
        data = torch.randn(each.total_bytes // 4)
        samples: list[float] = []
        for _ in range(effort.read_rounds + 1):
            seconds = _seconds_of(data.sum)
            samples.append(each.total_bytes / seconds)
        ceilings.append(
            BandwidthCeiling(
                level=each.level,
                threads=threads,
                page=f"{machine.page_bytes // 1024} KiB",
                working_set_bytes=each.total_bytes,
                bytes_per_s=max(samples[1:]),
                samples=samples[1:],
            )
        )
    return ceilings


def _seconds_of(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return max(time.perf_counter() - start, 1e-9)
