"""Kernels of a long input from those of three shorter ones, where running it would take minutes.

Models that go through a sequence token by token, or chunk by chunk, run as many ops as there are
tokens. They are fused into the same kernels whatever the length, and what a kernel computes and
moves grows with it, or with its square: three lengths decide the curve.
"""

import msgspec

from topout.cost.graph.kernels import Fused, Kept, Kernel

_GROWING = (
    "rows",
    "flops",
    "weight_bytes",
    "activation_bytes",
    "cache_bytes",
    "states_bytes",
)


def at_length(length: int, measured: dict[int, Fused]) -> Fused | None:
    """The kernels at `length`; None where those at the three lengths are not the same ones."""
    lengths, runs = list(measured), list(measured.values())
    structures = [[(k.path, k.kind, k.n, k.k) for k in run.kernels] for run in runs]
    if structures[1:] != structures[:-1]:
        return None
    kernels = []
    for alike in zip(*(run.kernels for run in runs), strict=True):
        kernels.append(_kernel(length, lengths, alike))
    layers = [run.kept.by_layer for run in runs]
    kept = Kept(
        by_layer={
            name: curve(length, lengths, [each.get(name, 0.0) for each in layers])
            for name in layers[-1]
        },
        times=runs[-1].kept.times,
        statistics=curve(length, lengths, [run.kept.statistics for run in runs]),
        logits=curve(length, lengths, [run.kept.logits for run in runs]),
    )
    working = curve(length, lengths, [run.working_bytes for run in runs])
    return Fused(kernels, working, kept)


def curve(x: float, places: list[int], values: list[float]) -> float:
    """The parabola through three points, or the line or constant that they lie on, at `x`."""
    total = 0.0
    for i, value in enumerate(values):
        factor = 1.0
        for j, place in enumerate(places):
            if j != i:
                factor *= (x - place) / (places[i] - place)
        total += value * factor
    return total


def _kernel(length: int, lengths: list[int], alike: tuple[Kernel, ...]) -> Kernel:
    figures = {
        name: curve(length, lengths, [getattr(each, name) for each in alike]) for name in _GROWING
    }
    attended = tuple(
        curve(length, lengths, list(sizes))
        for sizes in zip(*(each.attended for each in alike), strict=True)
    )
    return msgspec.structs.replace(alike[0], attended=attended, **figures)
