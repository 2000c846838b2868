"""How long ceilings are measured, how far that has got, and what came of it."""

from typing import NamedTuple

from topout.progress import Notify
from topout.records import BandwidthCeiling, ComputeCeiling, Doubt, OverheadCeiling


class Effort(NamedTuple):
    """Durations of single trials and how often each is repeated.

    Many short trials rather than a few long ones: beside another program some of them still fall
    between its time slices.
    """

    warmup_s: float
    compute_s: float
    compute_rounds: int
    screen_s: float  # of each way to walk through memory, before the best is measured
    read_s: float
    read_rounds: int
    curve_points: int  # working sets for one thread and for all
    overhead_rounds: int


FULL = Effort(
    warmup_s=0.2,
    compute_s=0.008,
    compute_rounds=60,
    screen_s=0.005,
    read_s=0.006,
    read_rounds=40,
    curve_points=12,
    overhead_rounds=15,
)
QUICK = Effort(
    warmup_s=0.1,
    compute_s=0.008,
    compute_rounds=20,
    screen_s=0.003,
    read_s=0.004,
    read_rounds=14,
    curve_points=0,
    overhead_rounds=7,
)


class Meter:
    """Tells a listener how much of a number of equal steps is done."""

    def __init__(self, steps: int, listener: Notify | None) -> None:
        self._steps = max(1, steps)
        self._done = 0
        self._listener = listener

    def step(self, what: str) -> None:
        """One more step is about to begin."""
        if self._listener is not None:
            self._listener(what, min(1.0, self._done / self._steps))
        self._done += 1


class CeilingParts(NamedTuple):
    """What one way of measuring found at one or more thread counts."""

    compute: list[ComputeCeiling]
    bandwidth: list[BandwidthCeiling]
    overheads: list[OverheadCeiling]
    clocks_hz: list[float]
    doubts: list[Doubt]
    reasons: dict[str, str]


def join_parts(parts: list[CeilingParts]) -> CeilingParts:
    """All parts in one; a doubt that several of them have stands there once."""
    doubts = {doubt.sentence: doubt for part in parts for doubt in part.doubts}
    return CeilingParts(
        compute=[one for part in parts for one in part.compute],
        bandwidth=[one for part in parts for one in part.bandwidth],
        overheads=[one for part in parts for one in part.overheads],
        clocks_hz=[one for part in parts for one in part.clocks_hz],
        doubts=list(doubts.values()),
        reasons={field: reason for part in parts for field, reason in part.reasons.items()},
    )
