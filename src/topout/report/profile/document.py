"""A profile as a document: per phase its operators, parts, rates, gaps and threads."""

from collections.abc import Sequence
from dataclasses import replace

from topout import units
from topout.records import Hardware, PhaseProfile, ProfileReport
from topout.records.profile import OperatorShape
from topout.report.document import (
    Absent,
    Bullets,
    Cell,
    Chart,
    Column,
    Document,
    Facts,
    Figures,
    Paragraph,
    Row,
    Section,
    Table,
    Tile,
)
from topout.report.figures import GAP, interval, rate_name, short_name
from topout.report.machine.facts import machine_section

_MOST_TILED = 2  # phases with tiles of their own
_MOST_OPERATORS = 20  # in a row each: all are in the JSON
_MOST_PARTS, _MOST_RATES, _MOST_GAPS = 12, 8, 4  # on a terminal
_TERMS = [
    (
        "Self, total, mean",
        "Self time is the time in an operator and in none that it called; the self times and the "
        "gaps add up to the phase. Total has in it what it called; mean is total over calls.",
    ),
    (
        "Gaps",
        "Time in which no thread was in an operator of PyTorch. The profiler's own hooks are in "
        "it: compare with the slowdown.",
    ),
    (
        "FLOP/s, B/s, of ceiling",
        "FLOP/s = FLOPs / time, B/s = bytes / time, where FLOPs and bytes follow from the shapes "
        "(a multiply-add is 2; every operator reads its arguments and writes its results). A "
        "ceiling is what this machine was measured to reach. Above 100 % of the bandwidth some of "
        "the bytes came from a cache.",
    ),
    (
        "Bound",
        "compute or memory: at the measured rate that alone takes at least half of the operator's "
        "time. overhead: neither does.",
    ),
    (
        "User, system, waiting",
        "Time of a thread on a processor in the program and in the system's kernel, and the rest "
        "of the wall time. Threads that spin while they wait for others count as user.",
    ),
    (
        "The profiler's own cost",
        "Profiled runs are never the timed ones: both take turns, and the ratio of the pairs is "
        "the slowdown. It lengthens short operators most.",
    ),
]


def profile_document(report: ProfileReport, hardware: Hardware | None = None) -> Document:
    """The report of a profile; `hardware` has the roofs of its roofline."""

    def charts() -> Sequence[Chart]:
        from topout.report.profile.charts import profile_charts

        return profile_charts(report, hardware)

    return Document(
        record=report,
        title=report.subject,
        about=f"{_subject(report)}; {report.machine.cpu_model}",
        headlines=_headlines(report),
        tiles=[tile for phase in report.phases[:_MOST_TILED] for tile in _tiles(phase)],
        parts=[
            Figures(charts),
            *(_phase(number, phase) for number, phase in enumerate(report.phases)),
            _memory(report),
            machine_section(
                "Machine and run",
                report.machine,
                Facts(_run(report), "What was run"),
                Bullets(report.exports, "The trace"),
            ),
        ],
        findings=report.findings,
        doubts=report.doubts,
        absent=Absent(report.reasons),
        terms=_TERMS,
    )


def _subject(report: ProfileReport) -> str:
    threads = f"on {units.counted(report.threads, 'thread')}"
    model, work = report.model, report.workload
    if model is None or work is None:
        return f"a function, called {threads}"
    where = f" on {work.device}" if work.device != "cpu" else ""
    return (
        f"{units.count(model.parameters)} parameters ({model.weights} weights), {work.dtype}, "
        f"{report.backend}, {threads}{where}; prompt {work.prompt_len} tokens, {work.new_tokens} "
        f"new, batch {work.batch_size}"
    )


def _headlines(report: ProfileReport) -> list[str]:
    sentences = [_headline(phase) for phase in report.phases] or ["Nothing was profiled."]
    if report.model is not None and report.model.weights == "random":
        sentences.append("The weights are random: the times are real, the text is meaningless.")
    return sentences


def _headline(phase: PhaseProfile) -> str:
    text = f"{phase.name.capitalize()} takes {units.seconds(_pass_s(phase))}"
    if phase.passes > 1:
        text += " a pass"
    parts = [part for part in phase.parts if part.self_share > 0][:2]
    if parts:
        named = " and ".join(f"{part.name} ({units.percent(part.self_share)})" for part in parts)
        text += f", most of it in {named}"
    return f"{text}; {units.percent(_gap_share(phase))} of it in no operator."


def _pass_s(phase: PhaseProfile) -> float:
    """Seconds of one pass without the profiler, or with it where nothing else was timed."""
    whole = phase.unprofiled_s.median if phase.unprofiled_s is not None else phase.wall_s
    return whole / max(phase.passes, 1)


def _gap_share(phase: PhaseProfile) -> float:
    return phase.gap_s / phase.traced_s if phase.traced_s else 0.0


def _tiles(phase: PhaseProfile) -> list[Tile]:
    passes = f"a pass, of {phase.passes}" if phase.passes > 1 else "the one pass"
    longest = phase.operators[0] if phase.operators else None
    return [
        Tile(phase.name, units.seconds(_pass_s(phase)), passes, "without the profiler"),
        Tile(
            f"{phase.name}, in operators",
            units.percent(1 - _gap_share(phase)),
            f"{units.percent(longest.self_share)} in {longest.name}" if longest else "",
            f"{units.percent(_gap_share(phase))} between them",
        ),
    ]


def _phase(number: int, phase: PhaseProfile) -> Section:
    passes = f", {phase.passes} passes" if phase.passes > 1 else ""
    return Section(
        f"{phase.name.capitalize()}{passes}, in figures",
        [
            Paragraph(_accounted(phase)),
            Paragraph(_slowdown(phase), "note"),
            _operators(phase),
            *_tables(phase),
            Absent(phase.reasons),
        ],
        key=f"phase_{number}",
    )


def _accounted(phase: PhaseProfile) -> str:
    """That operators and gaps add up to what the clock said."""
    overlap = (
        f" − {units.seconds(phase.overlap_s)} on several threads at once" if phase.overlap_s else ""
    )
    return (
        f"Operators {units.seconds(phase.operators_s)} + gaps {units.seconds(phase.gap_s)}{overlap}"
        f" = {units.seconds(phase.accounted_s)}; the clock says {units.seconds(phase.wall_s)} "
        f"({units.percent(phase.unaccounted_share, 2)} apart)."
    )


def _slowdown(phase: PhaseProfile) -> str:
    slowdown, plain = phase.slowdown, phase.unprofiled_s
    if slowdown is None or plain is None:
        return "It was not timed without the profiler."
    return (
        f"Without the profiler it takes {units.seconds(plain.median)}: the profiled run is "
        f"{units.times(slowdown.median)} as long {interval(slowdown)}, from "
        f"{len(slowdown.pairs)} pair{'' if len(slowdown.pairs) == 1 else 's'} of runs in turns."
    )


def _operators(phase: PhaseProfile) -> Table:
    """The largest self times first; all others in one row; the gaps come last."""
    on_device = any(each.device_s is not None for each in phase.operators)
    columns = [
        Column("Operator, shapes of its inputs", text=True, least=18),
        *map(Column, ("Self", "Self\ntime", "Total", "Mean", "Calls")),
        *([Column("On\ndevices")] if on_device else []),
    ]
    rows = [
        Row(
            [
                Cell(each.name, _shapes(each.shapes), "", short_name(each.name)),
                units.percent(each.self_share, 1),
                units.seconds(each.self_s),
                units.seconds(each.total_s),
                units.seconds(each.mean_s),
                str(each.calls),
                units.seconds(each.device_s) if each.device_s is not None else "",
            ]
        )
        for each in phase.operators[:_MOST_OPERATORS]
    ]
    rest = phase.operators[_MOST_OPERATORS:]
    if rest:
        rows.append(_sum(f"({len(rest)} others)", sum(each.self_s for each in rest), phase))
    return Table(columns, [*rows, _sum(GAP, phase.gap_s, phase)], "Operators")


def _shapes(shapes: Sequence[OperatorShape], most: int = 3) -> str:
    lines = [each.shapes or "no tensors" for each in shapes[:most]]
    if len(shapes) > most:
        lines.append(f"and {len(shapes) - most} more")
    return "\n".join(lines)


def _sum(name: str, self_s: float, phase: PhaseProfile) -> Row:
    share = units.percent(self_s / phase.traced_s if phase.traced_s else None, 1)
    return Row([name, share, units.seconds(self_s)])


def _tables(phase: PhaseProfile) -> list[Section]:
    """The phase from other sides; a page has each behind its title."""
    makers = (_parts, _groups, _rates, _uncounted, _gaps, _threads, _devices, _regions)
    tables = [table for make in makers if (table := make(phase)).rows]
    return [
        Section(table.title, [replace(table, title="")], folded=number > 0, only=table.only)
        for number, table in enumerate(tables)
    ]


def _parts(phase: PhaseProfile) -> Table:
    columns = [
        Column("Part", text=True, least=14),
        *map(Column, ("Self", "Time", "In\noperators", "In\ngaps")),
        Column("In the\nbackward", only="page"),
        Column("Calls", only="page"),
    ]
    rows = [
        Row(
            [
                part.name,
                units.percent(part.self_share, 1),
                units.seconds(part.self_s),
                units.seconds(part.operator_s),
                units.seconds(part.gap_s),
                units.seconds(part.backward_s) if part.backward_s else units.ABSENT,
                str(part.calls),
            ]
        )
        for part in phase.parts
    ]
    note = (
        "Regions of the same name in all layers together. Time is that in the part itself, made "
        "of operators and gaps; the time of the backward is in it."
    )
    return Table(columns, rows, "By part", note, most=_MOST_PARTS)


def _groups(phase: PhaseProfile) -> Table:
    columns = [
        Column("Group", text=True),
        *map(Column, ("Share", "Time", "Calls")),
        Column("Longest", text=True),
    ]
    rows = [
        Row(
            [
                group.name,
                units.percent(group.share, 1),
                units.seconds(group.total_s),
                str(group.calls),
                ", ".join(group.examples),
            ]
        )
        for group in phase.groups
    ]
    note = "The time in operators, by the outermost one whose work is known."
    return Table(columns, rows, "By what operators do", note, only="page")


def _rates(phase: PhaseProfile) -> Table:
    columns = [
        Column("Work", text=True, least=14),
        *map(Column, ("Time", "FLOP/s", "of it", "B/s", "of it")),
        Column("FLOP\n/byte"),
        Column("Bound", text=True, from_width=90),
    ]
    rows = [
        Row(
            [
                rate_name(rate),
                units.seconds(rate.time_s),
                units.flops_per_s(rate.flops_per_s) if rate.flops else units.ABSENT,
                units.percent(rate.of_compute_ceiling, 1) if rate.flops else units.ABSENT,
                units.bytes_per_s(rate.bytes_per_s),
                units.percent(rate.of_bandwidth_ceiling, 1),
                units.significant(rate.arithmetic_intensity, 2)
                if rate.arithmetic_intensity is not None
                else units.ABSENT,
                rate.bound or units.ABSENT,
            ]
        )
        for rate in phase.rates
    ]
    level = next((rate.level for rate in phase.rates if rate.level), None)
    memory = f"{level}, which holds what a pass moves" if level else "main memory"
    note = (
        "FLOPs and bytes follow from the shapes; the rates are over the whole time of the "
        f"operator, and the bandwidth is that of {memory}."
    )
    return Table(columns, rows, "Against the measured ceilings", note, most=_MOST_RATES)


def _uncounted(phase: PhaseProfile) -> Table:
    columns = [
        Column("Operator", text=True),
        Column("Calls"),
        Column("Time"),
        Column("Reason", text=True),
    ]
    rows = [
        Row([each.name, str(each.calls), units.seconds(each.total_s), each.reason])
        for each in phase.uncounted
    ]
    title = "Operators whose work is not known"
    return Table(columns, rows, title, "They are on no roofline.", only="page")


def _gaps(phase: PhaseProfile) -> Table:
    columns = [Column("In", text=True, least=14), Column("Share"), Column("Time")]
    rows = [
        Row([gap.part, units.percent(gap.share, 1), units.seconds(gap.total_s)])
        for gap in phase.gaps
    ]
    note = (
        "Time in which no thread was in an operator: Python, the framework, the profiler's own "
        "work between two operators, and waiting for a device."
    )
    return Table(columns, rows, "Gaps", note, most=_MOST_GAPS)


def _threads(phase: PhaseProfile) -> Table:
    columns = [
        Column("Thread", text=True, least=14),
        *map(Column, ("User", "System", "Waiting", "Wall")),
    ]
    rows = [
        Row(
            [
                f"{thread.name} ({thread.thread})",
                units.seconds(thread.user_s),
                units.seconds(thread.system_s),
                units.seconds(thread.waiting_s),
                units.seconds(elapsed.wall_s),
            ]
        )
        for elapsed in ([phase.elapsed] if phase.elapsed else [])
        for thread in elapsed.threads
    ]
    note = "Wall = user + system + waiting, of a run without the profiler."
    return Table(columns, rows, "Elapsed time, thread by thread", note)


def _devices(phase: PhaseProfile) -> Table:
    columns = [
        Column("GPU", text=True, least=14),
        *map(Column, ("Busy", "Utilization", "Occupancy", "Idle")),
    ]
    rows = [
        Row(
            [
                device.name or f"GPU {device.device}",
                units.seconds(device.busy_s),
                units.percent(device.utilization, 1),
                units.percent(device.occupancy, 1),
                units.seconds(device.idle_s),
            ]
        )
        for device in phase.devices
    ]
    note = "Utilization: the share of the phase in which the device did anything at all."
    return Table(columns, rows, "Devices", note)


def _regions(phase: PhaseProfile) -> Table:
    columns = [
        Column("Region", text=True),
        *map(Column, ("Calls", "Total", "Self", "In\noperators", "In\ngaps")),
    ]
    rows = [
        Row(
            [
                region.name,
                str(region.calls),
                units.seconds(region.total_s),
                units.seconds(region.self_s),
                units.seconds(region.operator_s),
                units.seconds(region.gap_s),
            ]
        )
        for region in phase.regions
    ]
    note = "In the order of their first calls. Total: with the regions inside."
    return Table(columns, rows, "Region by region", note, only="page")


def _memory(report: ProfileReport) -> Section:
    columns = [
        Column("Of", text=True, least=14),
        *map(
            Column, ("Allocated,\npeak", "Reserved,\npeak", "Resident,\npeak", "Free at\nthe end")
        ),
    ]
    rows = [
        Row(
            [
                track.name,
                units.memory(track.peak_allocated_bytes),
                units.memory(track.peak_reserved_bytes),
                units.memory(track.peak_resident_bytes),
                units.memory(track.free_bytes),
            ]
        )
        for track in report.memory
    ]
    return Section("Memory", [Table(columns, rows)], key="memory")


def _run(report: ProfileReport) -> list[tuple[str, str]]:
    facts = [
        ("Subject", report.subject),
        ("Threads", str(report.threads)),
        ("Run at", f"{report.created_at}, in {units.seconds(report.elapsed_s)}"),
    ]
    model, work = report.model, report.workload
    if model is not None and work is not None:
        facts[1:1] = [
            ("Model", f"{model.architecture}, {model.weights} weights"),
            ("Parameters", units.count(model.parameters)),
            ("Weights", units.memory(report.weight_bytes)),
            ("Prompt", f"{work.prompt_len} tokens of {work.prompt_source or 'text'}"),
            ("New tokens", str(work.new_tokens)),
            ("Batch", str(work.batch_size)),
            ("Run by", f"{report.backend}, {work.dtype}, {work.device}"),
        ]
    return facts
