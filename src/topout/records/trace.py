"""What `topout trace` writes: time per rank, device, group and kernel; communication; findings."""

from typing import Literal

from topout.records.record import SCHEMA_VERSION, Doubt, Record

IdleCause = Literal["host", "communication", "other"]


class KernelTime(Record, frozen=True, kw_only=True):
    """All runs of one kernel on one device."""

    name: str
    group: str
    calls: int
    total_s: float
    mean_s: float
    min_s: float
    max_s: float
    share: float  # of the device's busy time counted kernel by kernel


class GroupTime(Record, frozen=True, kw_only=True):
    """A group of kernels on one device: "matrix-mul", "communication", …"""

    name: str
    calls: int
    total_s: float  # durations in sum: overlapping kernels count each
    share: float  # of the sum over all groups of the device
    examples: list[str] = []  # the longest kernels in it, for "other" all that matter


class IdleTime(Record, frozen=True, kw_only=True):
    """Time in which a device did nothing, by why."""

    cause: IdleCause
    gaps: int
    total_s: float
    share: float  # of the idle time


class CriticalPart(Record, frozen=True, kw_only=True):
    """A kind of work on the critical path of a step."""

    name: str  # "matrix-mul", "host", "communication", …
    total_s: float
    share: float


class MemoryPoint(Record, frozen=True, kw_only=True):
    """Memory of a device at one moment."""

    at_s: float
    allocated_bytes: int
    reserved_bytes: int | None = None


class DeviceTime(Record, frozen=True, kw_only=True):
    """One device of one rank from its first to its last event.

    The device's time is busy, idle or unknown: busy_s + idle_s + unknown_s = wall_s. Unknown is the
    time in which nothing is recorded though work was launched; where it is more than the idle time,
    all of both is unknown, and idle_s is None. Busy time is compute, or
    communication, or memory (fills, and copies but those between devices, which are
    communication), or two of them at once, which is `overlap_s`:
    busy_s = compute_s + communication_s + memory_s − overlap_s, with time that is covered three
    times counted in overlap_s twice.

    Of a summary, which does not say when kernels ran, wall_s and busy_s are the sum of their
    durations, and what depends on when they ran is None. Where copies were not recorded memory_s is
    None, and counts as 0 in the sums above.
    """

    rank: int | None
    device: int  # −1: the host, of a trace without device events
    cycle: int | None = None  # of the rank's profiler, from 1; None: the rank has one recording
    name: str | None = None
    file: str
    wall_s: float
    busy_s: float
    idle_s: float | None
    unknown_s: float = 0.0  # work was launched and not recorded
    compute_s: float
    communication_s: float
    memory_s: float | None  # None: the file does not record copies and fills
    overlap_s: float | None
    exposed_communication_s: float | None  # communication while nothing was computed
    utilization: float | None  # busy_s / wall_s
    occupancy: float | None = None  # of kernels, weighted by their time
    kernels: list[KernelTime] = []
    groups: list[GroupTime] = []
    idle: list[IdleTime] = []
    critical_path: list[CriticalPart] = []
    memory: list[MemoryPoint] = []
    reasons: dict[str, str] = {}


class Transfer(Record, frozen=True, kw_only=True):
    """What one device sent to another: a cell of the device × device matrix."""

    source: int  # rank or device; −1: the host
    destination: int
    bytes: int | None  # of those that say their size; None where none does
    total_s: float
    calls: int


class CollectiveTime(Record, frozen=True, kw_only=True):
    """All runs of one collective in one process group, over all ranks that were given."""

    name: str  # "all_reduce"
    group: str = ""
    group_size: int | None = None
    calls: int  # on each rank
    bytes: int | None = None  # of the messages of one rank, in sum
    sent_bytes: int | None = None  # that one rank must send, by the ring algorithm
    total_s: float  # mean over ranks
    transfer_s: float | None = None  # the shortest of each run over the ranks, in sum
    waiting_s: float | None = None  # the mean rest: waiting for the late rank
    late_rank: int | None = None  # the rank that was last most often
    bus_bandwidth_bytes_per_s: float | None = None
    reason: str | None = None


class Communication(Record, frozen=True, kw_only=True):
    """Who sends how much to whom, and how much of the time is waiting."""

    unit: Literal["rank", "device"] = "device"  # of `transfers`
    transfers: list[Transfer] = []
    collectives: list[CollectiveTime] = []
    reasons: dict[str, str] = {}


class TraceReport(Record, frozen=True, kw_only=True, tag_field="kind", tag="trace"):
    """What `topout trace` writes."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str  # ISO 8601, UTC
    files: list[str]
    format: str
    world_size: int | None = None
    events: int
    ranks: list[DeviceTime] = []
    communication: Communication = Communication()
    findings: list[str] = []
    doubts: list[Doubt] = []
    reasons: dict[str, str] = {}
    elapsed_s: float = 0.0


class GroupChange(Record, frozen=True, kw_only=True):
    """A group or kernel in two traces."""

    name: str
    before_s: float
    after_s: float
    before_calls: int
    after_calls: int
    change_s: float  # after − before: positive where it got slower
    ratio: float | None  # after / before; None where it was not there before


class TraceDiff(Record, frozen=True, kw_only=True, tag_field="kind", tag="trace-diff"):
    """What `topout trace diff A B` writes: per device and step where steps are known."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str
    before: str
    after: str
    per_step: bool  # all times are of one step
    wall_before_s: float
    wall_after_s: float
    devices_before: list[str] = []  # kinds of devices, where the traces name them
    devices_after: list[str] = []
    groups: list[GroupChange] = []
    kernels: list[GroupChange] = []
    findings: list[str] = []
    doubts: list[Doubt] = []
    reasons: dict[str, str] = {}


class DeviceShare(Record, frozen=True, kw_only=True):
    """The work of one device of a run beside that of the run's other devices."""

    rank: int | None
    device: int
    work_s: float  # durations in sum of all but what moves data
    work_ratio: float | None  # over the median of the other devices; None for one device alone
    matrix_s: float  # of matrix products
    matrix_ratio: float | None


class TracedRun(Record, frozen=True, kw_only=True):
    """One of several runs on other numbers of devices.

    Shares are of busy_s and may exceed 1 in sum, where kinds of work overlap; `moving_share` is of
    the durations in sum, as the groups are.
    """

    name: str
    files: list[str]
    format: str
    devices: int
    ranks: list[DeviceTime]  # without their kernels, memory and critical path
    wall_s: float  # of the device that takes longest
    busy_s: float  # of all devices in sum
    compute_share: float
    communication_share: float
    memory_share: float | None
    moving_share: float  # communication and copies
    work_s: float  # durations in sum of all but what moves data, over all devices
    groups: list[GroupTime]  # over all devices
    by_device: list[DeviceShare]
    work_ratio: float | None  # over that of the first run, in matrix products or all work
    speedup: float | None  # over the first run, where both hold the same work
    efficiency: float | None  # speedup over the growth of devices
    reasons: dict[str, str] = {}


class TraceRuns(Record, frozen=True, kw_only=True, tag_field="kind", tag="trace-runs"):
    """What `topout trace runs RUN RUN…` writes: runs by their number of devices, ascending."""

    schema_version: int = SCHEMA_VERSION
    topout_version: str
    created_at: str
    runs: list[TracedRun]
    findings: list[str] = []
    doubts: list[Doubt] = []
    reasons: dict[str, str] = {}
    elapsed_s: float = 0.0
