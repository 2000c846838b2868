"""What is asked of a measurement: options, durations, and the sizes of memory that are read."""

from typing import Annotated, Literal, NamedTuple

from topout.options import Device, Option, Request
from topout.progress import Notify
from topout.records import BandwidthCeiling, Cache, ComputeCeiling, Doubt, OverheadCeiling
from topout.roofline import level_holding

Part = Literal["compute", "bandwidth", "overheads"]
PARTS: tuple[Part, ...] = ("compute", "bandwidth", "overheads")
DeviceOption = Annotated[Device, Option("What is measured.")]
RefreshOption = Annotated[bool, Option("Measure again, also where it was measured before.")]
QuickOption = Annotated[bool, Option("Measure for seconds, not half a minute.")]
_SMALLEST_BYTES = 16 << 10  # of one thread
_LARGEST_BYTES = 1 << 30
_LEAST_DRAM_BYTES = 64 << 20
_GRAIN_BYTES = 4096
# Where the kernel shows no caches: what most CPUs of the last decade have at least.
_ASSUMED = [
    Cache(name="L1d", size_bytes=32 << 10),
    Cache(name="L2", size_bytes=512 << 10),
    Cache(name="L3", size_bytes=32 << 20, instances=1),
]


class MachineRequest(Request, frozen=True, kw_only=True):
    """The options of `topout machine`."""

    refresh: RefreshOption = False
    quick: QuickOption = False
    describe_only: Annotated[bool, Option("Measure nothing.")] = False
    device: DeviceOption = "cpu"


class ShowMachineRequest(Request, frozen=True, kw_only=True):
    """The options of `topout machine show`."""

    name: Annotated[
        str, Option("One that `topout machine list` names, or a file.", positional=True)
    ]


class SaveMachineRequest(Request, frozen=True, kw_only=True):
    """The options of `topout machine save`."""

    name: Annotated[str, Option("What `topout cost --on` is to call it.", positional=True)]
    device: DeviceOption = "cpu"
    refresh: RefreshOption = False
    quick: QuickOption = False


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


class WorkingSet(NamedTuple):
    """Memory read over and over by all threads together, and the level that it should sit in."""

    level: str
    total_bytes: int


def cache_capacities(caches: list[Cache], threads: int) -> list[tuple[str, int]]:
    """(level, bytes that `threads` threads on cores of their own can fill), smallest first.

    A cache without a count of instances is taken to be each core's own.
    """
    shown = [cache for cache in caches if not cache.name.endswith("i")] or _ASSUMED
    return sorted(
        (
            (
                cache.name.removesuffix("d"),
                cache.size_bytes * min(cache.instances or threads, threads),
            )
            for cache in shown
        ),
        key=lambda capacity: capacity[1],
    )


def working_sets(
    caches: list[Cache], memory_bytes: int, threads: int, points: int
) -> list[WorkingSet]:
    """Sizes for `threads` threads, ascending: half of every cache, and up to `points` in between.

    They reach from 16 KiB a thread to eight times the last cache, at most 1 GiB or an eighth of
    memory.
    """
    capacities = cache_capacities(caches, threads)
    last = capacities[-1][1]
    top = min(max(8 * last, _LEAST_DRAM_BYTES), max(_LARGEST_BYTES, 2 * last), memory_bytes // 8)
    bottom = _SMALLEST_BYTES * threads
    top = max(top, bottom)
    anchors = [capacity // 2 for _, capacity in capacities] + [bottom, top]
    ratio = (top / bottom) ** (1 / max(1, points - 1))
    grid = [round(bottom * ratio**i) for i in range(points)] if points > 1 else []
    sizes = sorted(size for size in anchors if bottom <= size <= top)
    for size in grid:
        # A point next to one that is there already teaches nothing.
        if all(not 1 / 1.3 < size / other < 1.3 for other in sizes):
            sizes.append(size)
    grain = _GRAIN_BYTES * threads
    whole = sorted({max(grain, size // grain * grain) for size in sizes})
    return [
        WorkingSet(level_holding(capacities, size, across_ops=False) or "DRAM", size)
        for size in whole
    ]
