"""Time of collective communication: latency α per message and bandwidth B per device.

Ring: the buffer S goes round in n parts. Tree: up and down log2(n) hops, pipelined, as libraries
do for small buffers. Formulas: Thakur, Rabenseifner and Gropp, "Optimization of Collective
Communication Operations in MPICH" (2005); n devices, S bytes the full buffer.
"""

import math
from typing import Literal

from topout.errors import InputError

Collective = Literal["all_reduce", "all_gather", "reduce_scatter"]


def all_reduce_s(payload_bytes: float, devices: int, bytes_per_s: float, latency_s: float) -> float:
    """Seconds of an all-reduce, by ring or by tree, whichever is faster.

    Ring: 2(n−1)·α + 2(n−1)/n·S/B. Tree: 2·⌈log2 n⌉·α + 2·S/B.
    """
    _check(payload_bytes, devices, bytes_per_s, latency_s)
    if devices == 1:
        return 0.0
    transfer_s = payload_bytes / bytes_per_s
    ring = 2 * (devices - 1) * (latency_s + transfer_s / devices)
    tree = 2 * math.ceil(math.log2(devices)) * latency_s + 2 * transfer_s
    return min(ring, tree)


def all_gather_s(payload_bytes: float, devices: int, bytes_per_s: float, latency_s: float) -> float:
    """Seconds of an all-gather by ring, which are those of a reduce-scatter: (n−1)(α + S/(n·B))."""
    _check(payload_bytes, devices, bytes_per_s, latency_s)
    return (devices - 1) * (latency_s + payload_bytes / bytes_per_s / devices)


def collective_s(
    collective: Collective,
    payload_bytes: float,
    devices: int,
    bytes_per_s: float,
    latency_s: float,
) -> float:
    """Seconds of one collective of `payload_bytes`, the full buffer."""
    formula = all_reduce_s if collective == "all_reduce" else all_gather_s
    return formula(payload_bytes, devices, bytes_per_s, latency_s)


def _check(payload_bytes: float, devices: int, bytes_per_s: float, latency_s: float) -> None:
    if devices < 1:
        raise InputError(f"{devices} devices cannot communicate.", "Give 1 or more.")
    if payload_bytes < 0 or latency_s < 0:
        raise InputError("a payload or a latency is negative.", "Give bytes and seconds from 0 on.")
    if not bytes_per_s > 0:
        raise InputError(f"a link of {bytes_per_s} bytes/s moves nothing.", "Give its bandwidth.")
