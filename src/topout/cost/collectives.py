"""The time of collectives, and of what one device sends to another.

They cost a latency α per message and S bytes, the full buffer, over the bandwidth B of each of n
devices. Ring: the buffer goes round in n parts. Tree: up and down log2(n) hops, pipelined, as
libraries do for small buffers. Formulas: Thakur, Rabenseifner and Gropp, "Optimization of
Collective Communication Operations in MPICH" (2005).
"""

import math

from topout.cost.ops import Collective
from topout.errors import InputError


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
    """Seconds of one collective of `payload_bytes`, the full buffer; of a message from end to end.

    A message from one device to one other takes α + S/B.
    """
    if collective == "send":
        _check(payload_bytes, devices, bytes_per_s, latency_s)
        return latency_s + payload_bytes / bytes_per_s
    formula = all_reduce_s if collective == "all_reduce" else all_gather_s
    return formula(payload_bytes, devices, bytes_per_s, latency_s)


def _check(payload_bytes: float, devices: int, bytes_per_s: float, latency_s: float) -> None:
    if devices < 1:
        raise InputError(f"{devices} devices is out of range.", "Give 1 or more.")
    if payload_bytes < 0 or latency_s < 0:
        raise InputError(
            "payload_bytes and latency_s must be 0 or more.", "Give bytes and seconds."
        )
    if not bytes_per_s > 0:
        raise InputError(
            f"a link's bandwidth must be above 0, not {bytes_per_s} bytes/s.", "Give its bandwidth."
        )
