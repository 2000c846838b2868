"""A trace as a document: where the time goes, what is long, who waits for whom."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import PurePath

from topout import units
from topout.records import DeviceTime, TraceReport
from topout.report.document import (
    Absent,
    Chart,
    Document,
    Figures,
    Paragraph,
    Part,
    Section,
    Terms,
    Tile,
)
from topout.report.trace.measures import (
    MOST_COLUMNS,
    Measure,
    device_labels,
    device_table,
    every_device,
    group_measures,
    idle_measures,
    path_measures,
    time_measures,
    work_noun,
)
from topout.report.trace.tables import collectives, kernel_sections, transfers

NOT_TOLD = "What these traces do not tell"
_TERMS = {
    "Busy and idle": "A device is busy while anything runs on it, a kernel, a copy or a fill; all "
    "else between its first and its last event is idle. The two make up the wall time, but for "
    "what is not recorded: time in which nothing ran as far as is known, though work was launched "
    "of which nothing is recorded. Of a trace without a device they are those of the operators on "
    "the host.",
    "Compute, communication, copies, overlap": "Time covered by work of each kind, counted once "
    "where several run at once. Copies between devices are communication. Overlap is what two "
    "kinds cover together: busy = compute + communication + copies and fills − overlap.",
    "Communication not hidden": "Communication while nothing was computed: what a faster network, "
    "or better overlap, could save.",
    "Groups": "Kernels, or operators of a trace of the host, by what they do, told from their "
    "names by a table of rules that you can extend. Here durations are summed: those that run at "
    "once count each, so that the sum may exceed the busy time.",
    "Idle: why": "Each gap ends with the start of something, and the call that launched it tells "
    "the cause. The host was late: the call began after the device fell idle. Waiting for "
    "communication: the call came in time, and for more than half of the gap another device was in "
    "a collective or a copy, or a stream waited for an event; or the host itself sat in a "
    "collective. Other: the delay from kernel to kernel, and what the trace does not show.",
    "Transfer and waiting": "A collective ends on all ranks at the same time. The rank that comes "
    "last waits for nobody, so its duration is the transfer; what the others spend longer in the "
    "same collective is waiting for it.",
    "Bus bandwidth": "What the busiest link must carry, 2(n−1)/n of the message for an all-reduce "
    "of n ranks, over the time: comparable with what the hardware states, whatever the number of "
    "ranks.",
    "Critical path": "Followed backwards from the step's last event, always to what was waited "
    "for: the kernel before, another stream, the launch, the host. Shortening anything that is not "
    "on it does not shorten the step.",
    "Occupancy": "Warps that a multiprocessor held, of those that it could hold, as the profiler "
    "estimated it; the mean of the kernels, weighted by their time.",
}
FORMATS = {
    "kineto": "PyTorch (Kineto) JSON",
    "pytorch_legacy_json": "JSON of PyTorch's profiler before Kineto",
    "jax_json": "JAX (XLA) JSON",
    "nvprof_csv": "nvprof CSV",
    "nsys_csv": "Nsight Systems CSV",
    "nsys_sqlite": "Nsight Systems SQLite",
    "nsys_json": "Nsight Systems JSON",
    "rocprof_json": "rocprof JSON",
    "rocprof_csv": "rocprof CSV",
    "rocprofv3_json": "rocprofv3 JSON",
}


def report_title(report: TraceReport) -> str:
    """The file, the folder that holds them all, or the first and how many more.

    How many files a folder holds stands in `subject_sentence`.
    """
    paths = [PurePath(file) for file in report.files]
    if not paths:
        return "no file"
    if len(paths) == 1:
        return paths[0].name or report.files[0]
    folder = paths[0].parent.name
    if folder and all(path.parent == paths[0].parent for path in paths):
        return folder
    return f"{paths[0].name} and {len(paths) - 1} more"


def subject_sentence(report: TraceReport) -> str:
    """The format, how much was read, and whose time it is."""
    formats = [FORMATS.get(each, each) for each in report.format.split(", ")]
    parts = [" and ".join(formats), units.counted(len(report.files), "file")]
    parts.append(f"{units.count(report.events)} event{'' if report.events == 1 else 's'}")
    present = {each.rank for each in report.ranks if each.rank is not None}
    if present:
        of = f" of {report.world_size}" if report.world_size not in (None, len(present)) else ""
        parts.append(units.counted(len(present), "rank") + of)
    if cycles := cycles_in_words(report.ranks):
        parts.append(cycles)
    names = sorted({each.name for each in report.ranks if each.name})
    if names:
        parts.append(f"on {', '.join(names)}")
    if report.elapsed_s:
        parts.append(f"read and analysed in {units.seconds(report.elapsed_s)}")
    return ", ".join(parts)


def cycles_in_words(ranks: Sequence[DeviceTime]) -> str:
    """How many recordings there are of each device: "2 cycles each"; nothing where it is one."""
    counts = Counter((each.rank, each.device) for each in ranks)
    least, most = min(counts.values(), default=1), max(counts.values(), default=1)
    if all(each.cycle is None for each in ranks):
        return ""
    return f"{most} cycles each" if least == most else f"{least} to {most} cycles each"


def headline(report: TraceReport) -> str:
    """Where the time of all devices goes, in one sentence."""
    ranks = report.ranks
    wall = sum(each.wall_s for each in ranks)
    if not wall:
        return "Nothing was found that took time."
    if any(each.exposed_communication_s is None for each in ranks):
        return f"{_work_of(ranks)} in sum; when it ran is not known."
    shares = {
        "computing": sum(each.compute_s for each in ranks) / wall,
        "communicating with nothing computed": sum(
            each.exposed_communication_s or 0.0 for each in ranks
        )
        / wall,
    }
    words = [f"{name} {units.percent(share)}" for name, share in shares.items() if share >= 0.005]
    what = f" ({', '.join(words)})" if words else ""
    busy = units.percent(sum(each.busy_s for each in ranks) / wall)
    rest = _rest_of_the_time(ranks, wall)
    least = "at least " if any(each.unknown_s for each in ranks) else ""
    devices = units.counted(len({(each.rank, each.device) for each in ranks}), "device")
    cycles = cycles_in_words(ranks)
    whose = (
        f"{', '.join(filter(None, [devices, cycles, _span(ranks)]))}:"
        if len(ranks) > 1
        else f"In {_span(ranks)} {device_labels(ranks)[0]} is"
    )
    return f"{whose} busy for {least}{busy} of the time{what}, {rest}."


def _rest_of_the_time(ranks: Sequence[DeviceTime], wall_s: float) -> str:
    """What is idle, and what is unknown, since not all that was launched was recorded."""
    idle = units.percent(sum(each.idle_s or 0.0 for each in ranks) / wall_s)
    unknown_s = sum(each.unknown_s for each in ranks)
    if not unknown_s:
        return f"idle for {idle}"
    unknown = f"for {units.percent(unknown_s / wall_s)} nothing is known"
    return unknown if all(each.idle_s is None for each in ranks) else f"idle for {idle}; {unknown}"


def _work_of(ranks: Sequence[DeviceTime]) -> str:
    of = f"{len(ranks)} devices" if len(ranks) > 1 else device_labels(ranks)[0]
    return f"The work of {of} takes {_span(ranks)}"


def _span(ranks: Sequence[DeviceTime]) -> str:
    least, most = min(each.wall_s for each in ranks), max(each.wall_s for each in ranks)
    if units.seconds(least) == units.seconds(most):
        return units.seconds(most) + (" each" if len(ranks) > 1 else "")
    return f"{units.seconds(least)} to {units.seconds(most)} each"


def trace_document(report: TraceReport, top: int = 10) -> Document:
    """The report of a trace, with the `top` kernels of a device and `top` transfers of many."""

    @cache
    def charts() -> dict[str, Chart]:
        from topout.report.trace.charts import trace_charts

        return trace_charts(report)

    def draw(key: str, titled: bool = False) -> Figures:
        return Figures(lambda: [charts()[key]] if key in charts() else [], titled=titled)

    ranks = report.ranks
    labels, groups = device_labels(ranks), f"Groups of {work_noun(report)}"

    def question(key: str, title: str, measures: Sequence[Measure], *more: Part) -> Section:
        return Section(title, [*_answer(draw(key), labels, measures), *more], key=f"{key}_section")

    return Document(
        record=report,
        title=report_title(report),
        about=subject_sentence(report),
        headlines=[headline(report)],
        tiles=_tiles(report),
        lead=[question("time", "Where the time goes", time_measures(ranks) if ranks else [])],
        parts=[
            question("groups", groups, group_measures(ranks), _others(report)),
            *kernel_sections(report, top),
            _communication(report, top, draw),
            question("idle", "Idle: why", idle_measures(ranks)),
            question("critical_path", "Critical path of a step", path_measures(ranks)),
            Section(
                "Memory over time",
                [draw("memory")] if any(each.memory for each in ranks) else [],
                key="memory_section",
                only="page",
            ),
        ],
        findings=report.findings,
        doubts=report.doubts,
        absent=Absent(all_reasons(report), NOT_TOLD),
        terms=[*_TERMS.items()],
        data_note="All figures with every kernel that was kept, as JSON, are inside this page.",
    )


def _answer(figures: Figures, labels: Sequence[str], measures: Sequence[Measure]) -> list[Part]:
    """A picture and the figures of every device; nothing where nothing was measured."""
    if not measures:
        return []
    parts: list[Part] = [figures, device_table("ms", labels, measures)]
    if len(labels) > MOST_COLUMNS:
        every = every_device("ms", labels, measures)
        title = f"Every one of {len(labels)} devices"
        parts.append(Section(title, [every], folded=True, only="page"))
    return parts


def _others(report: TraceReport) -> Section:
    """What fell into no group, by device: a user's own rules could name it."""
    found = [
        (label, "\n".join(group.examples))
        for label, each in zip(device_labels(report.ranks), report.ranks, strict=True)
        for group in each.groups
        if group.name == "other" and group.examples
    ]
    note = (
        "Kernels that no rule names. A file of your own rules, --rules FILE.toml, puts them into "
        "a group."
    )
    parts: list[Part] = [Paragraph(note, "note"), Terms(found)] if found else []
    return Section("What fell to “other”", parts, folded=True, only="page")


def _communication(report: TraceReport, top: int, draw: Callable[..., Figures]) -> Section:
    communication = report.communication
    parts: list[Part] = []
    if communication.collectives:
        parts += [draw("collectives", True), collectives(communication.collectives)]
    if communication.transfers:
        matrix, page = transfers(communication, top)
        pairs = f"{len(page.rows)} pairs in figures"
        parts += [
            draw("transfers", True),
            matrix,
            Section(pairs, [page], folded=True, only="page"),
        ]
    return Section("Communication", parts, key="communication")


def _tiles(report: TraceReport) -> list[Tile]:
    """Shares of the time of all devices together, with the span over them."""
    wall = sum(each.wall_s for each in report.ranks)
    if not wall or any(each.exposed_communication_s is None for each in report.ranks):
        return []
    shares = [
        ("busy", [each.busy_s for each in report.ranks], "at least one thing ran"),
        ("computing", [each.compute_s for each in report.ranks], "of the wall time"),
        (
            "communication not hidden",
            [each.exposed_communication_s or 0.0 for each in report.ranks],
            "while nothing was computed",
        ),
        *_tiles_of_the_rest(report.ranks),
    ]
    walls = [each.wall_s for each in report.ranks]
    return [
        Tile(name, units.percent(sum(values) / wall), _span_of_shares(values, walls), detail)
        for name, values, detail in shares
    ]


def _tiles_of_the_rest(ranks: Sequence[DeviceTime]) -> list[tuple[str, list[float], str]]:
    """Idle where any of it is known, and what was not recorded where that is so."""
    tiles = []
    if any(each.idle_s is not None for each in ranks):
        tiles.append(("idle", [each.idle_s or 0.0 for each in ranks], "nothing ran"))
    if any(each.unknown_s for each in ranks):
        tiles.append(("not recorded", [each.unknown_s for each in ranks], "though launched"))
    return tiles


def _span_of_shares(values: list[float], walls: list[float]) -> str:
    ratios = [value / wall for value, wall in zip(values, walls, strict=True) if wall > 0]
    if len(ratios) < 2:
        return ""
    least, most = units.percent(min(ratios)), units.percent(max(ratios))
    return f"{least} of each device" if least == most else f"{least} to {most} of a device"


def all_reasons(report: TraceReport) -> dict[str, str]:
    """Everything that is missing in any part of the report; what all devices say alike, once."""
    reasons = {**report.reasons, **report.communication.reasons}
    labels = device_labels(report.ranks)
    for name in dict.fromkeys(name for each in report.ranks for name in each.reasons):
        said = [each.reasons.get(name) for each in report.ranks]
        if len(set(said)) == 1 and said[0] is not None:
            reasons[name] = said[0]
            continue
        reasons |= {
            f"{name}, {label}": reason
            for label, reason in zip(labels, said, strict=True)
            if reason is not None
        }
    return {", ".join(names): reason for reason, names in by_reason(reasons).items()}


def by_reason(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    """Each reason once, with all the names that it explains."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return names
