"""Reasons to trust a report of traces less: missing ranks, mixed jobs, clocks that differ."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePath

import polars as pl

from topout import units
from topout.records.record import Doubt
from topout.records.trace import DeviceTime
from topout.trace.analysis.alignment import Alignment
from topout.trace.analysis.cycles import span_of
from topout.trace.analysis.groups import OTHER
from topout.trace.table import HOST_DEVICE, Trace

# Clocks of hosts that keep time over the network agree to some tens of microseconds.
_CLOCKS_AGREE_NS = 50_000
_MUCH_OF_OTHER = 0.1  # of the time in groups
_LONGEST_NAME = 64
_RECORDED_WHOLE = (
    "Record fewer steps or with larger buffers, replays of CUDA graphs kernel by kernel (nsys: "
    "--cuda-graph-trace=node): nothing is concluded from that time."
)


def doubts_of(
    traces: Sequence[Trace], alignment: Alignment, ranks: Sequence[Trace] | None = None
) -> list[Doubt]:
    """What was mended or left out in the files, and whether they are the ranks of one job.

    `ranks` are the traces with the cycles of a rank put together, whose clocks were aligned.
    """
    ranks = traces if ranks is None else ranks
    doubts = doubts_of_files(traces)
    doubts += _ranks(ranks)
    if len(ranks) > 1:
        doubts += [*_jobs(ranks), *_hardware(ranks), *_clocks(ranks, alignment)]
    return doubts


def doubts_of_files(traces: Sequence[Trace]) -> list[Doubt]:
    """What was mended or left out, file by file; the file's name stands at its head alone."""
    labels = _labels(traces)
    return [
        Doubt(
            about=label, sentence=_sentence(doubt), remedy="Record the trace again if that matters."
        )
        for label, trace in zip(labels, traces, strict=True)
        for doubt in (*trace.doubts, *_work_of_no_device(trace))
    ]


def _work_of_no_device(trace: Trace) -> list[str]:
    device = pl.col("device")
    lost = trace.device_work.filter(device.is_null() | (device < 0))
    if lost.is_empty():
        return []
    lasted = units.seconds(int(lost["duration_ns"].sum()) / 1e9)
    return [
        f"It does not say on which device {lost.height} of its kernels, copies and fills ran "
        f"({lasted}): they are counted for none."
    ]


def doubts_of_recording(devices: Sequence[DeviceTime]) -> list[Doubt]:
    """What was launched and not recorded, and clocks that disagree, device by device."""
    several = len({each.file for each in devices}) < len(devices)
    return [
        Doubt(
            about=PurePath(each.file).name + (f", device {each.device}" if several else ""),
            sentence=each.reasons[key],
            remedy=_RECORDED_WHOLE if key == "unknown_s" else "Record the trace again.",
        )
        for each in devices
        for key in ("unknown_s", "clocks")
        if key in each.reasons
    ]


def doubts_of_groups(devices: Sequence[DeviceTime]) -> list[Doubt]:
    """That much of the time is in work that no rule names, with the longest names."""
    others = [group for each in devices for group in each.groups if group.name == OTHER]
    whole_s = sum(group.total_s for each in devices for group in each.groups)
    other_s = sum(group.total_s for group in others)
    if not whole_s or other_s / whole_s <= _MUCH_OF_OTHER:
        return []
    names = list(dict.fromkeys(name for group in others for name in group.examples))
    noun = "operators" if all(each.device == HOST_DEVICE for each in devices) else "kernels"
    return [
        Doubt(
            about="groups",
            sentence=(
                f"{units.percent(other_s / whole_s)} of the time is in {noun} that no rule puts "
                f"into a group: {_some([_short(name) for name in names])}."
            ),
            remedy="Name their groups in rules of your own: --rules FILE.toml.",
        )
    ]


def _short(name: str) -> str:
    """A name whose beginning and end are seen."""
    if len(name) <= _LONGEST_NAME:
        return name
    half = _LONGEST_NAME // 2
    return f"{name[:half]}…{name[-half:]}"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:] + ("" if words.endswith(".") else ".")


def _labels(traces: Sequence[Trace]) -> list[str]:
    """The names of the files, with their folders where names are alike."""
    names = [trace.path.name for trace in traces]
    if len(set(names)) == len(names):
        return names
    return [f"{trace.path.parent.name}/{trace.path.name}" for trace in traces]


def _ranks(traces: Sequence[Trace]) -> list[Doubt]:
    unnamed = [trace.path.name for trace in traces if trace.rank is None]
    doubts = []
    if unnamed and len(traces) > 1:
        doubts.append(
            Doubt(
                about="ranks",
                sentence=(
                    f"{len(unnamed)} of {len(traces)} files do not say their rank "
                    f"({_some(unnamed)}): files are numbered in the order given."
                ),
                remedy="Start torch.distributed before the profiler, or give the files in order.",
            )
        )
    world = max((trace.world_size or 0 for trace in traces), default=0)
    present = {trace.rank for trace in traces if trace.rank is not None}
    missing = sorted(set(range(world)) - present)
    if missing and present:
        doubts.append(
            Doubt(
                about="ranks",
                sentence=(
                    f"The job has {world} ranks, and of {len(missing)} there is no trace "
                    f"({_some([str(rank) for rank in missing])}): waiting is that among the rest."
                ),
                remedy="Give the traces of all ranks.",
            )
        )
    return doubts


def _jobs(traces: Sequence[Trace]) -> list[Doubt]:
    """Signs that the files are not of one job."""
    signs = []
    counted = Counter(trace.rank for trace in traces if trace.rank is not None)
    twice = sorted(rank for rank, files in counted.items() if files > 1)
    if twice:
        signs.append(f"rank {_some([str(rank) for rank in twice])} occurs more than once")
    sizes = [trace.world_size for trace in traces if trace.world_size]
    if beyond := sorted(rank for rank in counted if sizes and rank >= max(sizes)):
        signs.append(f"there is rank {_some(list(map(str, beyond)))} in a job of {max(sizes)}")
    for what in ("world_size", "backend", "format"):
        values = sorted({str(getattr(trace, what)) for trace in traces if getattr(trace, what)})
        if len(values) > 1:
            signs.append(f"the {what.replace('_', ' ')} is {' in one file and '.join(values)}")
    for program in ("pytorch", "cuda", "hip", "nccl"):
        values = sorted({said for trace in traces if (said := trace.versions.get(program))})
        if len(values) > 1:
            signs.append(f"{program} is {' in one file and '.join(values)}")
    if _apart(traces):
        signs.append("some were recorded before others began")
    if not signs:
        return []
    return [
        Doubt(
            about="files",
            sentence=f"The files may be of several jobs: {'; '.join(signs)}.",
            remedy="Give the files of one job, from one folder.",
        )
    ]


def _hardware(traces: Sequence[Trace]) -> list[Doubt]:
    kinds = sorted({kind for trace in traces for kind in kinds_of_devices(trace)})
    if len(kinds) < 2:
        return []
    return [
        Doubt(
            about="devices",
            sentence=f"The files are of several kinds of devices: {_some(kinds)}.",
            remedy="Compare ranks on devices of one kind, or expect the slower to be waited for.",
        )
    ]


def kinds_of_devices(trace: Trace) -> list[str]:
    """The names of the devices that did work, each once; those that a trace does not name lack."""
    at_work = set(trace.device_numbers)
    return sorted({each.name for each in trace.devices if each.name and each.number in at_work})


def _apart(traces: Sequence[Trace]) -> bool:
    """Whether the time of one trace lies wholly before that of another; False where unknown."""
    spans = [span for trace in traces if (span := span_of(trace))]
    return len(spans) > 1 and max(begin for begin, _ in spans) > min(end for _, end in spans)


def _clocks(traces: Sequence[Trace], alignment: Alignment) -> list[Doubt]:
    doubts = []
    unknown = [
        trace.path.name
        for trace, offset in zip(traces, alignment.offsets_ns, strict=True)
        if offset is None
    ]
    if unknown:
        doubts.append(
            Doubt(
                about="clocks",
                sentence=(
                    f"Nothing joins the clock of {_some(unknown)} to that of "
                    f"{traces[0].path.name}: which rank came late is not known there."
                ),
                remedy="Give traces of one job with a collective in which all ranks take part.",
            )
        )
    for trace, ahead, runs in zip(traces, alignment.clock_ahead_ns, alignment.matched, strict=True):
        if ahead is not None and runs and abs(ahead) > _CLOCKS_AGREE_NS:
            way = "ahead of" if ahead > 0 else "behind"
            doubts.append(
                Doubt(
                    about="clocks",
                    sentence=(
                        f"The clock of {trace.path.name} is {units.seconds(abs(ahead) / 1e9)} "
                        f"{way} that of {traces[0].path.name}, by the ends of {runs} collectives: "
                        "its times are moved by that much for finding the late rank."
                    ),
                    remedy="Keep the hosts' clocks together (PTP, chrony).",
                )
            )
    return doubts


def _some(names: Sequence[str]) -> str:
    """The names, or the first few of many."""
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
