"""The worked examples of the roofline as they run here: checked against numpy, then timed."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from topout.errors import InputError, UnsupportedError
from topout.extras import require
from topout.kernels import ops
from topout.kernels.ops import Doubles, ThreadTeam
from topout.machine.describe import pinning_order
from topout.machine.effort import Meter
from topout.machine.native_ceilings import BandwidthProbe
from topout.machine.torch_ceilings import torch_threads
from topout.measure.stats import WIDE_SPREAD, estimate, inverse, relative_spread
from topout.progress import Notify
from topout.records import Doubt, Example, Machine, MeasuredExample

_A = 0.75
_TRIAL_S = 0.03  # of one trial at least: many passes of a small example
_PROBE_S = 0.02
_ROUNDS, _QUICK_ROUNDS = 15, 5
_LONGEST_S = 20.0  # of all trials together; the first is always finished
_CHECKED_ROWS = 4  # of a matmul
# Of memory: as much again is taken to measure the bandwidth.
_LARGEST_SHARE = 0.4
_ROUNDING = 8  # units in the last place that one sum of a few terms may be off


class _Kernel(NamedTuple):
    """An example ready to run: `seconds(passes)` times passes, `error()` checks the first one."""

    name: str
    seconds: Callable[[int], float]
    error: Callable[[], float]  # largest relative error against numpy; runs one pass
    tolerance: float


class _Trials(NamedTuple):
    """Seconds of one pass in each trial, and the ceilings measured after it."""

    samples_s: list[float]
    read_bytes_per_s: list[float]
    fp32_flops_per_s: list[float]


def measure_example(
    example: Example,
    machine: Machine,
    threads: int | None = None,
    progress: Notify | None = None,
    quick: bool = False,
) -> MeasuredExample:
    """Time passes of an example on `threads` threads, by default all that are usable.

    Raises InputError when it does not fit into memory, CompilerError without a compiler (axpy and
    stencil), UnsupportedError without PyTorch (matmul) or when a kernel computes a wrong result.
    """
    if example.working_set_bytes > _LARGEST_SHARE * machine.memory_bytes:
        raise InputError(
            f"{example.name} with n = {example.n} needs {example.working_set_bytes:,} bytes, more "
            f"than {_LARGEST_SHARE:.0%} of this machine's memory.",
            "Give a smaller --n.",
        )
    used = threads or machine.usable_cpus
    rounds = _QUICK_ROUNDS if quick else _ROUNDS
    meter = Meter(rounds + 1, progress)
    with ExitStack() as stack:
        meter.step(f"{example.name} against numpy, {used} threads")
        kernel = _KERNELS[example.name](example.n, used, stack)
        error = _checked(kernel)
        probe = _probe(used, example.working_set_bytes, stack)
        trials = _trials(kernel, probe, rounds, meter)
    seconds = estimate(trials.samples_s)
    return MeasuredExample(
        name=example.name,
        n=example.n,
        host_key=machine.host_key,
        threads=used,
        kernel=kernel.name,
        flops=example.flops,
        working_set_bytes=example.working_set_bytes,
        samples_s=trials.samples_s,
        time_s=seconds,
        flops_per_s=inverse(seconds, example.flops),
        largest_error=error,
        read_bytes_per_s=trials.read_bytes_per_s,
        fp32_flops_per_s=trials.fp32_flops_per_s,
        doubts=_doubts(example.name, trials),
    )


def _checked(kernel: _Kernel) -> float:
    """The error of one pass; raises UnsupportedError when rounding cannot explain it."""
    error = kernel.error()
    if not error <= kernel.tolerance:
        raise UnsupportedError(
            f"{kernel.name} differs from numpy by {error:.1e}, more than {kernel.tolerance:.1e}.",
            "Name another compiler in CXX, and report this: its time would mean nothing.",
        )
    return error


def _trials(kernel: _Kernel, probe: BandwidthProbe | None, rounds: int, meter: Meter) -> _Trials:
    """Seconds of one pass in each trial, and the machine's ceilings in between."""
    passes = max(1, round(_TRIAL_S / kernel.seconds(1)))
    trials = _Trials([], [], [])
    end = time.monotonic() + _LONGEST_S
    for _ in range(rounds):
        meter.step(f"{kernel.name}, {len(trials.samples_s)} trials done")
        trials.samples_s.append(kernel.seconds(passes) / passes)
        if probe is not None:
            trials.read_bytes_per_s.append(probe.read_bandwidth(_PROBE_S))
            trials.fp32_flops_per_s.append(probe.fma_rate("fp32", _PROBE_S / 2))
        if time.monotonic() > end:
            break
    return trials


def _probe(threads: int, working_set_bytes: int, stack: ExitStack) -> BandwidthProbe | None:
    """What measures the ceilings beside the example; None where they cannot be."""
    try:
        return stack.enter_context(BandwidthProbe(threads, working_set_bytes))
    except UnsupportedError:  # a missing compiler is one of these
        return None


def _axpy(n: int, threads: int, stack: ExitStack) -> _Kernel:
    team = stack.enter_context(ThreadTeam(threads, pinning_order()[:threads]))
    x, y = np.empty(n), np.empty(n)
    ops.fill_doubles(team, x, seed=1)
    ops.fill_doubles(team, y, seed=2)

    def error() -> float:
        expected = y + _A * x
        ops.axpy_seconds(team, _A, x, y, passes=1)
        return _largest_error(y, expected)

    return _Kernel(
        "native daxpy",
        lambda passes: ops.axpy_seconds(team, _A, x, y, passes),
        error,
        _ROUNDING * float(np.finfo(float).eps),
    )


def _stencil(n: int, threads: int, stack: ExitStack) -> _Kernel:
    team = stack.enter_context(ThreadTeam(threads, pinning_order()[:threads]))
    grid, out = np.empty((n + 2,) * 3), np.empty((n + 2,) * 3)
    ops.fill_doubles(team, grid, seed=1)
    ops.fill_doubles(team, out, seed=2)

    def error() -> float:
        ops.stencil_seconds(team, grid, out, passes=1)
        return max(
            _largest_error(out[i, 1:-1, 1:-1], stencil_plane(grid, i)) for i in range(1, n + 1)
        )

    return _Kernel(
        "native 7-point stencil",
        lambda passes: ops.stencil_seconds(team, grid, out, passes),
        error,
        _ROUNDING * float(np.finfo(float).eps),
    )


def stencil_plane(grid: Doubles, i: int) -> Doubles:
    """Plane `i` of the 7-point mean of `grid` by numpy, without the border."""
    inner = slice(1, -1)
    plane = grid[i]
    total = plane[inner, inner] + plane[inner, :-2] + plane[inner, 2:]
    total += plane[:-2, inner] + plane[2:, inner]
    total += grid[i - 1, inner, inner] + grid[i + 1, inner, inner]
    return np.asarray(total / 7, dtype=np.float64)


def _matmul(n: int, threads: int, stack: ExitStack) -> _Kernel:
    require("climb", "the measured matmul")
    import torch

    stack.enter_context(torch_threads(threads))
    random = np.random.default_rng(1)
    a, b, c = (torch.from_numpy(random.standard_normal((n, n))) for _ in range(3))

    def seconds(passes: int) -> float:
        start = time.perf_counter()
        for number in range(passes):
            # The sign changes, so that C stays as large as it is.
            c.addmm_(a, b, alpha=-1.0 if number % 2 else 1.0)
        return time.perf_counter() - start

    def error() -> float:
        rows = np.unique(np.linspace(0, n - 1, _CHECKED_ROWS).astype(int))
        start = c.numpy()[rows].copy()
        expected = start + a.numpy()[rows] @ b.numpy()
        # Terms of either sign cancel, and so the error is compared with the sum of their sizes.
        size = np.abs(start) + np.abs(a.numpy()[rows]) @ np.abs(b.numpy())
        seconds(1)
        return float(np.max(np.abs(c.numpy()[rows] - expected) / size))

    # Bound of an inner product of n terms, to first order: n times the unit roundoff.
    return _Kernel(
        "torch float64 matmul", seconds, error, (n + _ROUNDING) * float(np.finfo(float).eps)
    )


_KERNELS: dict[str, Callable[[int, int, ExitStack], _Kernel]] = {
    "axpy": _axpy,
    "stencil": _stencil,
    "matmul": _matmul,
}


def _largest_error(found: Doubles, expected: Doubles) -> float:
    """Relative, NaN where a result is not a number; the data is never zero."""
    return float(np.max(np.abs(found - expected) / np.abs(expected)))


def _doubts(name: str, trials: _Trials) -> list[Doubt]:
    """Doubts about trials that lie apart, and about ceilings that changed meanwhile."""
    doubts = []
    remedy = "Measure again on a quiet machine."
    for about, values in (
        (name, trials.samples_s),
        ("read bandwidth", trials.read_bytes_per_s),
        ("arithmetic", trials.fp32_flops_per_s),
    ):
        if len(values) > 1 and relative_spread(values) > WIDE_SPREAD:
            sentence = f"Single trials lie {relative_spread(values):.0%} apart (quartiles)."
            doubts.append(Doubt(about=about, sentence=sentence, remedy=remedy))
    if not trials.read_bytes_per_s:
        sentence = "The ceilings were not measured beside the trials."
        remedy = "Install a C++ compiler."
        doubts.append(Doubt(about="ceilings", sentence=sentence, remedy=remedy))
    return doubts
