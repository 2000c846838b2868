"""What `topout profile` writes: where the time of each phase goes, and how far from the roof.

All times of a phase are those of the profiled run unless they are named `unprofiled_s`.
"""

from typing import Literal

from topout.records.climb import ModelSummary, WorkloadSummary
from topout.records.count import OpFamily
from topout.records.machine import Ceilings, Machine
from topout.records.record import SCHEMA_VERSION, Bound, Doubt, Estimate, PairedRatio, Record
from topout.records.trace import DeviceTime, GroupTime, MemoryPoint

SpanKind = Literal["region", "operator", "runtime"]


class OperatorShape(Record, frozen=True, kw_only=True):
    """The calls of one operator on inputs of the same shapes."""

    shapes: str  # "[8, 768] [768, 2304]"; "" where it has no tensors
    calls: int
    self_s: float
    total_s: float


class OperatorTime(Record, frozen=True, kw_only=True):
    """One operator over all of its calls; total_s has in it the operators that it called."""

    name: str  # "aten::addmm"
    calls: int
    self_s: float
    self_share: float  # of the phase's traced time
    total_s: float
    mean_s: float  # total_s / calls
    device_s: float | None = None  # of the kernels, copies and fills that it launched itself
    shapes: list[OperatorShape] = []  # the longest first


class OperatorRate(Record, frozen=True, kw_only=True):
    """An operator in one part of the model: the work that its shapes ask for, over its time.

    FLOPs include those of elementwise work. `time_s` is the whole time of the calls with all that
    they called; on a GPU the time of the kernels that they launched.
    """

    name: str
    part: str  # "attention.qkv"; "" outside of all modules
    family: OpFamily
    calls: int
    time_s: float
    flops: int
    bytes: int
    flops_per_s: float
    bytes_per_s: float
    arithmetic_intensity: float | None = None  # FLOP/byte; None where no byte is moved
    of_compute_ceiling: float | None = None  # flops_per_s / measured ceiling
    of_bandwidth_ceiling: float | None = None  # bytes_per_s / that of `level`
    level: str | None = None  # of memory, the nearest that holds what a pass of the phase moves
    bound: Bound | None = None  # of the two limits the one that asks for more time


class UncountedOperator(Record, frozen=True, kw_only=True):
    """An operator whose work is not known."""

    name: str
    calls: int
    total_s: float
    reason: str


class RegionTime(Record, frozen=True, kw_only=True):
    """A named region: a module, an optimizer's step, or what the user's code named.

    `self_s` is the time inside of it and of no region within, and that of the backward of its own
    forward; it is made of operators and gaps: self_s = operator_s + gap_s. `backward_s` is what of
    operator_s is of the backward. `total_s` is of the region itself, with the regions within.
    """

    name: str  # "blocks.3.mlp.up"
    part: str  # the same in all layers: "blocks.*.mlp.up"
    calls: int
    total_s: float
    self_s: float
    self_share: float  # of the phase's traced time
    operator_s: float
    gap_s: float
    backward_s: float = 0.0


class PartTime(Record, frozen=True, kw_only=True):
    """The regions of the same name in all layers together; names the parts of a decoder block."""

    name: str  # "attention.qkv"
    calls: int
    total_s: float
    self_s: float
    self_share: float
    operator_s: float
    gap_s: float
    backward_s: float = 0.0


class GapTime(Record, frozen=True, kw_only=True):
    """Time in no operator, by the part in which it passed, or the runtime call that took it."""

    part: str
    total_s: float
    share: float  # of the phase's traced time


class ThreadTime(Record, frozen=True, kw_only=True):
    """One thread: wall_s = user_s + system_s + waiting_s."""

    name: str
    thread: int  # the system's number
    user_s: float
    system_s: float
    waiting_s: float  # not on a processor: blocked, or ready and not scheduled


class ElapsedTime(Record, frozen=True, kw_only=True):
    """Where a phase's time went, thread by thread; of an unprofiled run."""

    wall_s: float
    user_s: float  # of all threads together
    system_s: float
    processor_share: float  # (user_s + system_s) / (wall_s × threads asked for)
    threads: list[ThreadTime] = []  # those that ran, the busiest first


class TimelineSpan(Record, frozen=True, kw_only=True):
    """One event of the phase's time line."""

    name: str
    kind: SpanKind
    depth: int  # 0: the phase itself
    start_s: float  # from the beginning of the phase
    duration_s: float


class PhaseProfile(Record, frozen=True, kw_only=True):
    """One phase of the work: prefill, decode, or the calls of a function.

    operators_s + gap_s = traced_s + overlap_s, where operators_s is the sum of the operators' self
    times, gap_s the time in which no thread was in an operator, and overlap_s the time in which
    more than one was (all but the first counted). traced_s is what the trace says of the phase,
    wall_s what the clock says.
    """

    name: str
    passes: int  # of the phase: tokens, or calls
    wall_s: float
    traced_s: float
    operators_s: float
    gap_s: float
    overlap_s: float = 0.0
    unprofiled_s: Estimate | None = None  # of the same passes without the profiler
    slowdown: PairedRatio | None = None  # the profiled over the unprofiled, pair by pair
    operators: list[OperatorTime] = []  # the largest self time first
    regions: list[RegionTime] = []  # in the order of their first calls
    parts: list[PartTime] = []  # the largest self time first
    groups: list[GroupTime] = []  # of operators by what they do
    rates: list[OperatorRate] = []  # the longest first
    uncounted: list[UncountedOperator] = []
    gaps: list[GapTime] = []
    elapsed: ElapsedTime | None = None
    devices: list[DeviceTime] = []  # GPUs during the phase, with kernel groups
    timeline: list[TimelineSpan] = []  # of one pass, the median one
    timeline_pass: str = ""  # "decode token 4"
    reasons: dict[str, str] = {}

    @property
    def accounted_s(self) -> float:
        """The operators' self times and the gaps together, each moment once."""
        return self.operators_s + self.gap_s - self.overlap_s

    @property
    def unaccounted_share(self) -> float:
        """The part of the clock's time that neither operators nor gaps explain."""
        return abs(self.accounted_s - self.wall_s) / self.wall_s if self.wall_s else 0.0


class MemoryTrack(Record, frozen=True, kw_only=True):
    """Memory of the host or of a GPU over the profiled run; `at_s` from its beginning.

    `allocated_bytes` of a point are those of PyTorch's allocator since the profiler began; of the
    host there is nothing reserved. `resident` is the whole process.
    """

    device: int  # −1: the host
    name: str
    points: list[MemoryPoint] = []
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    resident: list[MemoryPoint] = []  # at the ends of passes
    peak_resident_bytes: int | None = None
    total_bytes: int | None = None  # that the device has
    free_bytes: int | None = None  # at the end of the run


class ProfileReport(Record, frozen=True, kw_only=True, tag_field="kind", tag="profile"):
    """What `topout profile` and `topout.profile` write."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str  # ISO 8601, UTC
    elapsed_s: float = 0.0
    subject: str  # the model's or the function's name
    machine: Machine
    ceilings: Ceilings | None = None
    model: ModelSummary | None = None
    workload: WorkloadSummary | None = None
    backend: str | None = None
    threads: int
    weight_bytes: int | None = None
    phases: list[PhaseProfile] = []
    memory: list[MemoryTrack] = []
    exports: list[str] = []  # files for other viewers
    findings: list[str] = []
    doubts: list[Doubt] = []
    reasons: dict[str, str] = {}
