"""Ceilings by PyTorch's own operators: of a CPU a lower bound, of an NVIDIA GPU all there are.

On a CPU they stand in where no compiler is, and for matrix units (AMX), which PyTorch's libraries
reach and the native micro-benchmarks do not. On a GPU they are those of large matmuls, of sums and
copies, and of empty kernels.
"""

import statistics
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from topout.errors import UnsupportedError
from topout.extras import is_installed, require
from topout.machine.ceiling_checks import contradiction_doubts, contradictions, measure_again
from topout.machine.effort import PARTS, CeilingParts, Effort, Meter, Part, working_sets
from topout.progress import Notify
from topout.records import (
    BandwidthCeiling,
    Ceilings,
    ComputeCeiling,
    Doubt,
    Dtype,
    Machine,
    OverheadCeiling,
)
from topout.records.record import utc_now

if TYPE_CHECKING:
    import torch

_MATMUL_SIZE = 1536
_LONGEST_S = 1.0  # of all trials of one matmul, since some data types have slow kernels
_TINY_ROUNDS = 2000
_GPU_DTYPES: tuple[Dtype, ...] = ("fp32", "bf16", "fp16", "int8")
_GPU_MATMUL_SIZE = 8192
_MATMUL_BYTES = 16  # of an element of both inputs and the output at the most, and some room
_LARGEST_READ_BYTES = 4 << 30
_LAUNCHES = 2000
_WIDE_SPREAD = 0.1


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
    machine: Machine,
    threads: int,
    effort: Effort,
    why: str,
    meter: Meter,
    parts: Collection[Part] = PARTS,
) -> CeilingParts:
    """Matrix multiplications and sums of `threads` threads; `why` says what was missing."""
    doubt = Doubt(
        about="ceilings",
        sentence="The ceilings are what PyTorch's matmul and sum reach, and so a lower bound.",
        remedy=why,
    )
    with torch_threads(threads):
        reasons: dict[str, str] = {}
        compute: list[ComputeCeiling] = []
        if "compute" in parts:
            compute = measure_matmuls(("fp32", "bf16", "int8"), threads, effort, reasons, meter)
        bandwidth: list[BandwidthCeiling] = []
        if "bandwidth" in parts:
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
    if not is_installed("torch"):
        return None
    import torch

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


def measure_cuda_ceilings(
    machine: Machine, quick: bool = False, progress: Notify | None = None
) -> Ceilings:
    """Measure the first CUDA device; its ceilings stand under one thread.

    fp32 is true fp32 (no TF32). Raises UnsupportedError when PyTorch sees no such device.
    """
    require("climb", "measuring a GPU")
    import torch

    if not torch.cuda.is_available():
        raise UnsupportedError(
            "PyTorch sees no CUDA device.", "Check `nvidia-smi`, or use `--device cpu`."
        )
    begun = time.monotonic()
    rounds = 3 if quick else 9
    meter = Meter(len(_GPU_DTYPES) + 3, progress)
    reasons = {"clock_hz": "not inferred on CUDA devices"}

    def measure(threads: int, part: Part) -> CeilingParts:
        computes, reads = part == "compute", part == "bandwidth"
        compute = _measure_matmuls(torch, rounds, reasons, meter) if computes else []
        bandwidth = _measure_reads(torch, rounds, meter) if reads else []
        return CeilingParts(compute, bandwidth, [], [], [], {})

    meter.step("kernel launches")
    ceilings = Ceilings(
        host_key=machine.host_key,
        device="cuda",
        measured_at=utc_now(),
        elapsed_s=0.0,
        quick=quick,
        compute=measure(1, "compute").compute,
        bandwidth=measure(1, "bandwidth").bandwidth,
        overheads=[_measure_launch(torch, rounds)],
        reasons=reasons,
    )
    ceilings = measure_again(ceilings, machine, measure)
    doubts = _doubts_of_spread(ceilings.compute, ceilings.bandwidth)
    doubts += contradiction_doubts(contradictions(ceilings, machine))
    elapsed_s = time.monotonic() - begun
    return msgspec.structs.replace(ceilings, elapsed_s=elapsed_s, doubts=doubts)


def matmul_size(free_bytes: int) -> int:
    """The largest power of two up to 8192 whose matrices fit in a quarter of free memory."""
    size = _GPU_MATMUL_SIZE
    while size > 256 and size * size * _MATMUL_BYTES > free_bytes // 4:
        size //= 2
    return size


def read_sizes(free_bytes: int, cache_bytes: int) -> list[tuple[str, int]]:
    """(level, bytes) to read: half of the L2 cache, and a set that is far beyond it."""
    large = min(_LARGEST_READ_BYTES, free_bytes // 8)
    cached = [("L2", cache_bytes // 2)] if cache_bytes >= 1 << 20 else []
    return [*cached, ("HBM", large)]


def _measure_matmuls(
    torch: Any, rounds: int, reasons: dict[str, str], meter: Meter
) -> list[ComputeCeiling]:
    size = matmul_size(torch.cuda.mem_get_info()[0])
    settings = torch.backends.cuda.matmul
    before, settings.fp32_precision = settings.fp32_precision, "ieee"
    ceilings: list[ComputeCeiling] = []
    try:
        for dtype in _GPU_DTYPES:
            meter.step(f"{dtype} matmul")
            try:
                multiply = matmul_of(dtype, size, "cuda")
                multiply()
            except (RuntimeError, AttributeError) as error:
                reasons[f"compute.{dtype}"] = f"this device has no such matmul ({error})"[:200]
                continue
            seconds = _event_seconds(torch, multiply, rounds, repeats=8)
            samples = [2 * size**3 / each for each in seconds]
            ceilings.append(
                ComputeCeiling(
                    dtype=dtype,
                    threads=1,
                    instruction="cuda matmul",
                    flops_per_s=max(samples),
                    samples=samples,
                )
            )
    finally:
        settings.fp32_precision = before
    return ceilings


def _measure_reads(torch: Any, rounds: int, meter: Meter) -> list[BandwidthCeiling]:
    """The faster of a sum (reads alone) and a copy (reads and writes, both counted)."""
    cache_bytes = int(getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 0))
    ceilings: list[BandwidthCeiling] = []
    for level, size in read_sizes(torch.cuda.mem_get_info()[0], cache_bytes):
        meter.step(f"{level} bandwidth")
        data = torch.randn(size // 4, device="cuda")
        # The copy takes half of the set for each side, so that both walk through as much.
        half = data.numel() // 2
        source, target = data[:half], data[half : 2 * half]

        def read(data: Any = data) -> Any:
            return data.sum()

        def copy(source: Any = source, target: Any = target) -> Any:
            return target.copy_(source)

        best: list[float] = []
        for work, moved in ((read, data.numel() * 4), (copy, half * 8)):
            repeats = 64 if level == "L2" else 4
            calls = _captured(torch, work, repeats)
            rates = [moved * repeats / each for each in _event_seconds(torch, calls, rounds, 1)]
            best = max(best, rates, key=lambda found: max(found, default=0.0))
        ceilings.append(
            BandwidthCeiling(
                level=level,
                threads=1,
                page="device",
                working_set_bytes=size,
                bytes_per_s=max(best),
                samples=best,
            )
        )
    return ceilings


def _captured(torch: Any, work: Callable[[], Any], repeats: int) -> Callable[[], Any]:
    """`work` so many times as one CUDA graph: in a cache a launch takes longer than the read."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            work()
    replay: Callable[[], Any] = graph.replay
    return replay


def _measure_launch(torch: Any, rounds: int) -> OverheadCeiling:
    """Host time to enqueue a kernel that does next to nothing."""
    one = torch.ones(1, device="cuda")
    samples: list[float] = []
    for _ in range(rounds + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(_LAUNCHES):
            one.add_(1)
        torch.cuda.synchronize()
        samples.append((time.perf_counter() - start) / _LAUNCHES)
    del samples[0]  # of warming up
    return OverheadCeiling(name="cuda_launch", threads=1, time_s=min(samples), samples=samples)


def _event_seconds(torch: Any, work: Callable[[], Any], rounds: int, repeats: int) -> list[float]:
    """Seconds of one call by the device's own clock, `rounds` times, after one to warm up."""
    seconds: list[float] = []
    for _ in range(rounds + 1):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            work()
        end.record()
        end.synchronize()
        seconds.append(max(start.elapsed_time(end) / 1e3 / repeats, 1e-9))
    return seconds[1:]


def _doubts_of_spread(
    compute: list[ComputeCeiling], bandwidth: list[BandwidthCeiling]
) -> list[Doubt]:
    doubts: list[Doubt] = []
    named = [(each.dtype, each.samples) for each in compute]
    for what, samples in [*named, *((each.level, each.samples) for each in bandwidth)]:
        spread = 1 - statistics.median(samples) / max(samples)
        if spread > _WIDE_SPREAD:
            sentence = f"The middle trial of {what} stays {spread:.0%} below the best."
            remedy = "Look for other programs on the GPU and for throttling, and measure again."
            doubts.append(Doubt(about=what, sentence=sentence, remedy=remedy))
    return doubts
