"""Sentences that a user can act on, with the figures behind them, from a report of traces."""

import re
from collections.abc import Sequence
from statistics import median

from topout import units
from topout.records.trace import CollectiveTime, DeviceTime, IdleTime, TraceReport
from topout.trace.analysis.groups import COMMUNICATION, MATRIX_MUL, OTHER

_IDLE_WORTH_A_SENTENCE = 0.05  # of the wall time
_COMMUNICATION_WORTH_A_SENTENCE = 0.02
_GROUP_WORTH_COMPARING = 0.05  # of a device's time, on any device
_UNLIKE = 1.3  # a device's time over the others' median, or the inverse
_WAITING_WORTH_A_SENTENCE = 0.1  # of the time of a collective
_IN_WORDS = 0.08  # how near a ratio is to "half" to be called so
_SHORT_KERNEL_S = 5e-6  # about what a launch costs
# Parts of kernel names that say how matrix products were computed.
_TENSOR_CORES = re.compile(
    r"tensorop|[sdh]?(884|1688|16816|161616|16832)|hmma|imma|wgmma|xmma|s16816|tf32|_bf16|bf16bf16|"
    r"h884|sm90_|sm100_|nvjet|mfma",
    re.IGNORECASE,
)
_PLAIN_CORES = re.compile(r"(volta|maxwell|turing|ampere|pascal)_[sdh]gemm|sgemm|simt|gemmsn|dgemm")
_CAUSES = {
    "host": (
        "the host launched the next kernel too late: a captured graph (CUDA graphs, "
        "torch.compile), a larger batch or fewer, larger operators help"
    ),
    "communication": (
        "of waiting on communication: more overlap with compute, larger buckets or fewer "
        "bytes (bf16 gradients, accumulation) help"
    ),
    "other": "of short gaps between queued kernels: fewer, larger (fused) kernels help",
}


def findings_of(report: TraceReport) -> list[str]:
    """What takes the time, what is idle and why, what is exposed, which device differs."""
    found: list[str] = []
    for each in _telling(report.ranks):
        name = device_name(each, has_several_ranks(report.ranks))
        for told in (
            _most_of_it, _idle, _communication, _tensor_cores, _short_kernels, _path, _memory,
        ):  # fmt: skip
            found += told(each, name)
    for ranks in cycles_apart(report.ranks):
        found += unlike_devices(ranks)
        found += _load_balance(ranks)
    if is_whole(report.ranks):
        for collective in report.communication.collectives:
            found += _waiting(collective, report.communication.unit)
    return found


def is_whole(ranks: Sequence[DeviceTime]) -> bool:
    """Whether all that was launched was recorded; else one device is not held against another."""
    return not any("unknown_s" in each.reasons for each in ranks)


def device_name(each: DeviceTime, several_ranks: bool) -> str:
    """ "Device 2", or "Rank 3" where each rank has one device; "the host" without any."""
    cycle = "" if each.cycle is None else f" in cycle {each.cycle}"
    if several_ranks and each.rank is not None:
        return f"Rank {each.rank}{cycle}"
    return f"The host{cycle}" if each.device < 0 else f"Device {each.device}{cycle}"


def has_several_ranks(ranks: Sequence[DeviceTime]) -> bool:
    """Whether the devices are told apart by their ranks."""
    recorded = {(each.rank, each.cycle) for each in ranks}
    return len({each.rank for each in ranks}) > 1 and len(recorded) == len(ranks)


def cycles_apart(ranks: Sequence[DeviceTime]) -> list[list[DeviceTime]]:
    """The devices of each cycle of their profilers, which alone can be compared."""
    numbers = sorted({each.cycle or 0 for each in ranks})
    return [[each for each in ranks if (each.cycle or 0) == number] for number in numbers]


def _telling(ranks: Sequence[DeviceTime]) -> list[DeviceTime]:
    """Of many devices that are alike the one that idles most, so that no sentence comes n times."""
    return sorted(
        ranks, key=lambda each: -(each.idle_s or 0.0) / each.wall_s if each.wall_s else 0.0
    )[:1]


def _most_of_it(each: DeviceTime, name: str) -> list[str]:
    if not each.groups:
        return []
    first = each.groups[0]
    sentence = (
        f"{name} spends {units.percent(first.share)} of its "
        f"{'' if is_whole([each]) else 'recorded '}work on {first.name} "
        f"({units.seconds(first.total_s)})"
    )
    if each.kernels:
        kernel = each.kernels[0]
        sentence += (
            f"; the longest {'operator' if each.device < 0 else 'kernel'}, {kernel.name}, "
            f"takes {units.percent(kernel.share)} in {kernel.calls} "
            f"{'call' if kernel.calls == 1 else 'calls'}"
        )
    return [f"{sentence}."]


def _idle(each: DeviceTime, name: str) -> list[str]:
    if not each.idle_s or each.idle_s < _IDLE_WORTH_A_SENTENCE * each.wall_s:
        return []
    sentence = (
        f"{name} is idle for {units.percent(each.idle_s / each.wall_s)} of "
        f"{units.seconds(each.wall_s)}"
    )
    if not each.idle:
        reason = each.reasons.get("idle")
        return [f"{sentence}. {reason}" if reason else f"{sentence}."]
    largest: IdleTime = max(each.idle, key=lambda cause: cause.total_s)
    return [f"{sentence}, {units.percent(largest.share)} of that because {_CAUSES[largest.cause]}."]


def _communication(each: DeviceTime, name: str) -> list[str]:
    if each.communication_s < _COMMUNICATION_WORTH_A_SENTENCE * each.wall_s or not each.busy_s:
        return []
    sentence = (
        f"{name} communicates for {units.seconds(each.communication_s)}, "
        f"{units.percent(each.communication_s / each.busy_s)} of its busy time"
    )
    if each.exposed_communication_s is None:
        return [f"{sentence}; how much of that is exposed is not known."]
    if each.exposed_communication_s < _COMMUNICATION_WORTH_A_SENTENCE * each.wall_s:
        path = {part.name: part.share for part in each.critical_path}
        is_on_path = path.get(COMMUNICATION, 0.0) > _COMMUNICATION_WORTH_A_SENTENCE
        as_long = " that takes as long" if is_on_path else ""
        return [f"{sentence}, nearly all of it hidden behind compute{as_long}."]
    sentence += (
        f"; {units.percent(each.exposed_communication_s / each.communication_s)} of "
        "that is exposed, with nothing computed meanwhile"
    )
    if not is_whole([each]):
        return [f"{sentence}, as far as it was recorded."]
    wall, least_s = units.seconds(each.wall_s), _without_communication_s(each)
    if each.wall_s - least_s < _COMMUNICATION_WORTH_A_SENTENCE * each.wall_s:
        return [f"{sentence}, but hardly any of it on the critical path: {wall} would stay."]
    return [f"{sentence}: without it {wall} could be {units.seconds(least_s)}."]


def _without_communication_s(each: DeviceTime) -> float:
    """The wall time that is left at best, by what is exposed and by what the critical path holds.

    What is not on the path does not hold up the step, and what is hidden behind compute leaves that
    compute behind. The path is of one step, of as many as fit into the whole.
    """
    exposed_s = each.exposed_communication_s or 0.0
    on_path = {part.name: part.total_s for part in each.critical_path}
    if not on_path:
        return each.wall_s - exposed_s
    steps = max(1.0, each.wall_s / sum(on_path.values()))
    return each.wall_s - min(exposed_s, on_path.get(COMMUNICATION, 0.0) * steps)


def _tensor_cores(each: DeviceTime, name: str) -> list[str]:
    """What names of kernels say of tensor cores; nothing where they say nothing at all."""
    products = [kernel for kernel in each.kernels if kernel.group == MATRIX_MUL]
    total = sum(kernel.total_s for kernel in products)
    if each.device < 0 or not total:
        return []
    # A kernel named for both, such as ampere_sgemm … tf32, runs on tensor cores.
    on = sum(kernel.total_s for kernel in products if _TENSOR_CORES.search(kernel.name))
    off = sum(
        kernel.total_s
        for kernel in products
        if _PLAIN_CORES.search(kernel.name) and not _TENSOR_CORES.search(kernel.name)
    )
    if off > total / 2:
        return [
            f"{name} computes {units.percent(off / total)} of its matrix products "
            "in kernels whose names say plain fp32 cores: fp16, bf16 or TF32 would use tensor "
            "cores where the device has them."
        ]
    if on + off < total / 2:
        return [
            f"Whether {name.lower()} uses tensor cores is unknown: names of its "
            f"kernels do not say for {units.percent(1 - (on + off) / total)} of its matrix "
            "products."
        ]
    return []


def _short_kernels(each: DeviceTime, name: str) -> list[str]:
    calls = sum(group.calls for group in each.groups)
    if each.device < 0 or not calls or not each.wall_s:
        return []
    mean_s = sum(group.total_s for group in each.groups) / calls
    idle_s = each.idle_s or 0.0
    if mean_s > _SHORT_KERNEL_S or idle_s < _IDLE_WORTH_A_SENTENCE * each.wall_s:
        return []
    return [
        f"Kernels of {name.lower()} last {units.seconds(mean_s)} in the mean, no "
        "longer than it takes to launch one: fusing them (torch.compile) or a larger batch helps."
    ]


def _path(each: DeviceTime, name: str) -> list[str]:
    total = sum(part.total_s for part in each.critical_path)
    if not total or "critical_path" in each.reasons:  # the breakdown says as much
        return []
    parts = ", ".join(f"{part.name} {units.percent(part.share)}" for part in each.critical_path[:3])
    return [f"The critical path of {name.lower()} is {units.seconds(total)} long: {parts}."]


def _memory(each: DeviceTime, name: str) -> list[str]:
    if not each.memory:
        return []
    peak = max(each.memory, key=lambda point: point.allocated_bytes)
    sentence = (
        f"Memory of {name.lower()} peaks at {units.memory(peak.allocated_bytes)} "
        f"allocated, {units.seconds(peak.at_s)} after the trace begins"
    )
    reserved = max((point.reserved_bytes or 0 for point in each.memory), default=0)
    return [f"{sentence}, {units.memory(reserved)} reserved." if reserved else f"{sentence}."]


def unlike_devices(ranks: Sequence[DeviceTime], where: str = "") -> list[str]:
    """Each device and group whose time is far from the median of the other devices."""
    if len(ranks) < 2 or not is_whole(ranks):
        return []
    several = has_several_ranks(ranks)
    what = "ranks" if several else "devices"
    found = []
    for name in _worth_comparing(ranks):
        times = [_time_of(each, name) for each in ranks]
        for place, each in enumerate(ranks):
            others = [time for other, time in enumerate(times) if other != place]
            usual = median(others)
            if len(ranks) == 2 and times[place] > usual:
                continue  # of two, the one with less is named
            # Of three or more, the one unlike the middle is named, not those it makes look so.
            middle = usual if len(ranks) == 2 else median(times)
            if _alike(times[place], usual) or _alike(times[place], middle):
                continue
            rest = (
                f"the other {len(others)} {what}" if len(others) > 1 else f"the other {what[:-1]}"
            )
            found.append(
                f"{device_name(each, several)}{where} does {_share_in_words(times[place] / usual)} "
                f"{_work_named(name)} of {rest}: {units.seconds(times[place])} against "
                f"{units.seconds(usual)}."
            )
    return found


def _alike(time_s: float, usual_s: float) -> bool:
    return not usual_s or 1 / _UNLIKE <= time_s / usual_s <= _UNLIKE


def _work_named(group: str) -> str:
    return "the work of no known group" if group == OTHER else f"the {group} work"


def _worth_comparing(ranks: Sequence[DeviceTime]) -> list[str]:
    """Groups that take a part of any device's time, largest first; waiting is no work."""
    shares: dict[str, float] = {}
    for each in ranks:
        for group in each.groups:
            shares[group.name] = max(shares.get(group.name, 0.0), group.share)
    ranked = sorted(shares.items(), key=lambda share: -share[1])
    return [
        name for name, share in ranked if share >= _GROUP_WORTH_COMPARING and name != COMMUNICATION
    ]


def _time_of(each: DeviceTime, name: str) -> float:
    return next((group.total_s for group in each.groups if group.name == name), 0.0)


def _share_in_words(ratio: float) -> str:
    """0.53 → "about half (0.53×)"; "3.00×" where no word fits."""
    words = {1 / 3: "about a third of", 1 / 2: "about half", 2 / 3: "about two thirds of",
             2.0: "about twice"}  # fmt: skip
    for exact, word in words.items():
        if abs(ratio / exact - 1) < _IN_WORDS:
            return f"{word} ({units.times(ratio)})"
    return units.times(ratio)


def _load_balance(ranks: Sequence[DeviceTime]) -> list[str]:
    """How much shorter the longest computing device would be if all computed the same."""
    times = [each.compute_s for each in ranks]
    if len(times) < 2 or not sum(times) or not is_whole(ranks):
        return []
    mean, most = sum(times) / len(times), max(times)
    if most < _UNLIKE**0.5 * mean:
        return []
    several = has_several_ranks(ranks)
    busiest = device_name(ranks[times.index(most)], several)
    return [
        f"Work is not balanced: {busiest} computes for {units.seconds(most)}, the mean is "
        f"{units.seconds(mean)}; evenly spread it would take {units.percent(1 - mean / most)} less."
    ]


def _waiting(collective: CollectiveTime, unit: str) -> list[str]:
    waiting, total = collective.waiting_s, collective.total_s
    if waiting is None or not total or waiting < _WAITING_WORTH_A_SENTENCE * total:
        return []
    sentence = (
        f"{units.percent(waiting / total)} of the time in {collective.name} "
        f"({units.seconds(waiting)} of {units.seconds(total)} per {unit}) is waiting for others"
    )
    if collective.late_rank is None:
        return [f"{sentence}."]
    return [f"{sentence}; the last to come is most often {unit} {collective.late_rank}."]
