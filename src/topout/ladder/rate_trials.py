"""How a rate is measured: an action repeated, products of many matrices against the roofline."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from topout.cost.measured_times import roofline_time
from topout.generation.session import wait_for
from topout.records import Ceilings, LinearRate

_LEAST_TRIAL_S = 0.06


class MatrixSet(NamedTuple):
    """`number` different matrices [N, K] that are run in turn, with so many rows of x."""

    n: int
    k: int
    number: int
    rows: tuple[int, ...]


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
    took_s: float,
    ceilings: Ceilings,
    threads: int,
) -> LinearRate:
    """The efficiency of `count` products of one shape (M, N, K) that took `took_s` together."""
    m, n, k = shape
    weight_bytes = round(n * k * count * element_bytes)
    flops = 2.0 * m * n * k * count
    compute, memory = roofline_time(flops, weight_bytes, kernel, weight_bytes, ceilings, threads)
    return LinearRate(
        kernel=kernel,
        rows=m,
        matrix_elements=n * k,
        working_set_bytes=weight_bytes,
        # A trial that was disturbed while the calls taken off it were timed can seem faster than
        # the roofline; no kernel is.
        efficiency=min(1.0, max(compute, memory) / took_s),
        flops_per_s=flops / took_s,
    )
