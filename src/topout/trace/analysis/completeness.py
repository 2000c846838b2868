"""Was recorded what was launched? Calls of the host are held against the work of the devices.

Profilers lose work: buffers overflow, replays of a captured graph come without their kernels, the
first steps of a session lack theirs. A device of which nothing was recorded looks idle, and is not.

Work that a call launched and that is nowhere ran after its call and after what had been launched
before, and before what was launched next. What of the device's gaps lies in between is neither
busy nor idle: it is unknown. So are the gaps of a step without any work whose operators are as many
as in other steps. Launches into a stream that is being captured run nothing, and of calls inside
one another (runtime and driver) one has the work.
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout import units
from topout.trace.analysis.device_work import (
    UNKNOWN,
    DeviceWork,
    Launches,
    Step,
    device_work_of,
    launches_of,
    steps_of,
)
from topout.trace.analysis.groups import Rules
from topout.trace.analysis.intervals import (
    Intervals,
    Nanoseconds,
    gaps,
    nothing,
    overlap,
    union,
    union_of,
)
from topout.trace.table import DEVICE_WORK, Trace, matching_names

# cudaLaunchKernelExC, cuLaunchKernel, hipExtModuleLaunchKernel, urEnqueueKernelLaunch, …
_LAUNCHES = (
    r"(?i)launch(cooperative)?kernel|graphlaunch|kernellaunch|^(cuda|hip)launch(byptr)?(_v\d+)?$"
)
_CAPTURE_BEGINS, _CAPTURE_ENDS = r"(?i)streambegincapture", r"(?i)streamendcapture"
WORTH_A_DOUBT = 0.01  # of the wall time: less is lost at the edges of every recording
_FEW = 3  # calls, or WORTH_A_DOUBT of them, whose work is lost without that it matters
_HALF = 2
_NAMED = 3
_THREAD = ("process", "thread")


@dataclass(frozen=True)
class _Lost:
    """Calls whose work was not recorded, in the order of time, and steps without any work."""

    starts: Nanoseconds
    threads: NDArray[np.int64]
    processes: NDArray[np.int64]
    launches: dict[str, tuple[int, int]]  # by name: calls without work, and all calls
    all_calls: int
    partial: tuple[int, int]  # replays of graphs that lack work which others have, and all
    steps: list[Step]
    all_steps: int

    def in_words(self) -> str:
        """How many of what have no work."""
        parts = []
        if self.launches:
            named = sorted(self.launches.items(), key=lambda each: -each[1][0])
            listed = ", ".join(
                f"{lost:,} of {all_:,} {name}" for name, (lost, all_) in named[:_NAMED]
            )
            parts.append(f"no work of a device is recorded for {listed}")
        if self.partial[0]:
            lacking, replays = self.partial
            parts.append(f"{lacking:,} of {replays:,} replays of CUDA graphs lack work of others")
        if self.steps:
            names = ", ".join(step.name for step in self.steps[:_NAMED])
            more = f" and {len(self.steps) - _NAMED} more" if len(self.steps) > _NAMED else ""
            parts.append(
                f"{len(self.steps)} of {self.all_steps} steps were run as the others, and have no "
                f"work of a device ({names}{more})"
            )
        words = "; ".join(parts)
        return words[:1].upper() + words[1:]


def recorded_work(trace: Trace, rules: Rules) -> list[DeviceWork]:
    """Work per device, as `device_work_of` gives it, with the time in which some was lost."""
    work = device_work_of(trace, rules)
    if not work or not trace.timed:
        return work
    lost = _lost_of(trace, work)
    if lost is None:
        return work
    launches = launches_of(trace)
    return [_with_unknown(each, launches, lost) for each in work]


def without_devices(trace: Trace) -> str:
    """That calls launched work of which nothing at all was recorded; "" where none did."""
    launched = _launching_calls(trace).height
    if not launched:
        return ""
    return (
        f"{launched:,} calls launch work of a device, and none of it is recorded: times are those "
        "of the host alone, which is not idle while the device works."
    )


def _with_unknown(work: DeviceWork, launches: Launches, lost: _Lost) -> DeviceWork:
    """`work` with the time in which what was lost may have run, where it matters."""
    wall_ns = work.end_ns - work.begin_ns
    idle = gaps(work.busy, work.begin_ns, work.end_ns)
    in_steps = union(*(np.array(bounds, np.int64) for bounds in _bounds(lost.steps)))
    windows = _windows(work, launches, lost)
    unknown = overlap(idle, union_of(windows.gaps, in_steps))
    worth = WORTH_A_DOUBT * wall_ns
    is_many = windows.between > max(_FEW, WORTH_A_DOUBT * lost.all_calls)
    if max(unknown.covered_ns, windows.beyond.covered_ns) <= worth and not is_many:
        return work
    parts = []
    if unknown.covered_ns:
        long, whole = units.seconds(unknown.covered_ns / 1e9), units.seconds(wall_ns / 1e9)
        parts.append(f"for {long} of {whole} it is not known what the device did")
    if windows.beyond.covered_ns > worth:
        beyond = units.seconds(windows.beyond.covered_ns / 1e9)
        parts.append(f"of {beyond} before its first and after its last work nothing is known")
    words = ", and ".join(parts) or "calls and sums of kernels are too low"
    return replace(
        work, unknown=unknown, beyond=windows.beyond, lost=f"{lost.in_words()}: {words}."
    )


@dataclass(frozen=True)
class _Windows:
    """When the work of lost calls may have run."""

    gaps: Intervals
    beyond: Intervals  # before the device's first recorded work and after its last
    between: int  # lost calls behind which others have work: not those at the end of a recording


def _bounds(steps: list[Step]) -> tuple[list[int], list[int]]:
    return [step.start_ns for step in steps], [step.end_ns for step in steps]


def _windows(work: DeviceWork, launches: Launches, lost: _Lost) -> _Windows:
    """From each lost call, or the end of what was launched before it, to what was launched next."""
    calls = launches.find(work.correlations, work.processes)
    joined = np.flatnonzero(calls != UNKNOWN)
    if not joined.size:
        return _Windows(nothing(), nothing(), 0)
    called = launches.starts[calls[joined]]
    order = np.argsort(called, kind="stable")
    called, rows = called[order], joined[order]
    # Those of a thread that launches work for this device.
    own = np.isin(lost.threads, np.unique(launches.threads[calls[joined]]))
    if launches.several_processes:
        own &= np.isin(lost.processes, np.unique(work.processes[joined]))
    starts = lost.starts[own]
    # A replay that lacks some of its work stands among the joined calls itself.
    earlier, later = (np.searchsorted(called, starts, side=side) for side in ("left", "right"))
    before = np.concatenate([[work.begin_ns], work.ends[rows]])[earlier]
    following = np.concatenate([work.starts[rows], [work.end_ns]])[later]
    # Where the first call was lost, the device's time may have begun with it; so at the end.
    first, last = (starts.min(), starts.max()) if starts.size else (work.begin_ns, work.end_ns)
    return _Windows(
        union(np.maximum(starts, before), following),
        union(np.array([first, work.end_ns], np.int64), np.array([work.begin_ns, last], np.int64)),
        int((later < called.size).sum()),
    )


def _lost_of(trace: Trace, work: list[DeviceWork]) -> _Lost | None:
    """What has no work; None where nothing is lost, or where calls and work are not joined."""
    calls = _launching_calls(trace)
    missing = _without_work(trace, calls)
    partial, replays = _partial_replays(trace, calls)
    steps = steps_of(trace)
    empty = _empty_steps(trace, calls, work, steps)
    if not (missing.height or partial.height or empty):
        return None
    all_lost = pl.concat([missing, partial], how="diagonal").sort("start_ns")
    counts = dict(calls["name"].cast(pl.String).value_counts().iter_rows())
    lost = missing["name"].cast(pl.String).value_counts().sort("name")
    return _Lost(
        starts=all_lost["start_ns"].to_numpy(),
        threads=all_lost["thread"].fill_null(0).to_numpy(),
        processes=all_lost["process"].fill_null(UNKNOWN).to_numpy(),
        launches={name: (count, counts[name]) for name, count in lost.iter_rows()},
        all_calls=calls.height,
        partial=(partial.height, replays),
        steps=empty,
        all_steps=len(steps),
    )


def _launching_calls(trace: Trace) -> pl.DataFrame:
    """Calls that launch work, but those into a stream that is being captured."""
    names = matching_names(trace.events, _LAUNCHES)
    calls = (
        trace.events.lazy()
        .filter(
            (pl.col("kind") == "runtime")
            & pl.col("correlation").is_not_null()
            & pl.col("name").is_in(names)
        )
        .select("start_ns", "duration_ns", "name", *_THREAD, "correlation")
        .with_row_index("call")
        .collect()
    )
    begins, ends = (_starts_of(trace, pattern) for pattern in (_CAPTURE_BEGINS, _CAPTURE_ENDS))
    if ends.size and not (begins.size and begins[0] < ends[0]):
        begins = np.concatenate([calls["start_ns"].to_numpy()[:1], begins])  # it began before
    if not begins.size:
        return calls
    place = np.searchsorted(ends, begins, side="left")
    last = np.append(ends, np.iinfo(np.int64).max)[place]
    starts = calls["start_ns"].to_numpy()
    captured = union(begins, last).covered_in(starts, starts + 1) > 0
    return calls.filter(~pl.Series(captured))


def _starts_of(trace: Trace, pattern: str) -> Nanoseconds:
    names = matching_names(trace.events, pattern)
    if not names:
        return np.zeros(0, np.int64)
    found: Nanoseconds = trace.events.filter(pl.col("name").is_in(names))["start_ns"].to_numpy()
    return found


def _without_work(trace: Trace, calls: pl.DataFrame) -> pl.DataFrame:
    """Calls whose correlation no work has."""
    work = (
        trace.events.lazy()
        .filter(pl.col("kind").is_in(list(DEVICE_WORK)))
        .select("correlation", "process")
        .collect()
    )
    without = work["correlation"].null_count()
    work = work.drop_nulls("correlation")
    several = calls["process"].n_unique() > 1 and work["process"].null_count() < work.height
    keys = ["correlation", "process"] if several else ["correlation"]
    missing = calls.join(work, on=keys, how="anti", nulls_equal=True)
    if missing.is_empty():
        return missing
    # Work without a call may be what these launched: then correlations do not tell.
    all_calls = trace.events.lazy().filter(pl.col("kind") == "runtime").select(keys).collect()
    alone = work.join(all_calls, on=keys, how="anti", nulls_equal=True).height + without
    found = _outermost(calls, missing["call"])
    return found if alone < found.height else found.clear()


def _outermost(calls: pl.DataFrame, missing: pl.Series) -> pl.DataFrame:
    """Of the `missing` calls those that neither lie in one that has work nor hold one."""
    end = pl.col("start_ns") + pl.col("duration_ns")
    # A stretch of calls inside one another begins where none before reaches.
    reached = calls.with_columns(reached=end.cum_max().shift(1).over(_THREAD))
    begins = (pl.col("start_ns") >= pl.col("reached")).fill_null(value=True)
    stretches = reached.with_columns(stretch=begins.cum_sum().over(_THREAD))
    whole = (*_THREAD, "stretch")
    is_missing = pl.col("call").is_in(missing.implode()).all().over(whole)
    return stretches.filter(is_missing & (pl.col("call") == pl.col("call").first().over(whole)))


def _partial_replays(trace: Trace, calls: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Calls whose replay has fewer nodes than most of its graph's, and how many replays there are.

    Where no number of nodes is that of most, the graph's nodes run by condition.
    """
    if trace.events["graph_node"].null_count() == trace.events.height:
        return calls.clear(), 0
    replays = (
        trace.events.lazy()
        .filter(pl.col("kind").is_in(list(DEVICE_WORK)) & (pl.col("graph_node") > 0))
        .group_by("graph", "correlation")
        .agg(pl.col("graph_node").n_unique().alias("nodes"))
        .collect()
    )
    most = pl.col("nodes").max().over("graph")
    is_usual = (pl.col("nodes") == most).mean().over("graph") > 1 / _HALF
    lacking = replays.filter((pl.col("nodes") < most) & is_usual)
    found = calls.join(lacking.select("correlation"), on="correlation", how="semi")
    return found, replays.height


def _empty_steps(
    trace: Trace, calls: pl.DataFrame, work: list[DeviceWork], steps: list[Step]
) -> list[Step]:
    """Steps without a launch and without work, with at least half the operators of the others.

    In a trace without operators, steps without any call.
    """
    if len(steps) < 2 or not calls.height:
        return []
    begins, ends = (np.array(each, np.int64) for each in _bounds(steps))
    at_work = np.sort(np.concatenate([calls["start_ns"].to_numpy(), *(w.starts for w in work)]))
    busy = _within(at_work, begins, ends) > 0
    if busy.all() or not busy.any():
        return []
    operators, calls_of_any = (
        trace.events.filter(pl.col("kind") == kind)["start_ns"].to_numpy()
        for kind in ("cpu_op", "runtime")
    )
    if operators.size:
        counts = _within(operators, begins, ends)
        alike = (counts > 0) & (counts * _HALF >= np.median(counts[busy]))
    else:
        # Of a step whose marks alone are there the profiler lost calls and work alike.
        alike = _within(calls_of_any, begins, ends) == 0
    return [step for step, lacks in zip(steps, ~busy & alike, strict=True) if lacks]


def _within(moments: Nanoseconds, begins: Nanoseconds, ends: Nanoseconds) -> NDArray[np.int64]:
    """How many of ascending `moments` lie in each interval."""
    counts: NDArray[np.int64] = np.searchsorted(moments, ends) - np.searchsorted(moments, begins)
    return counts
