"""A profile as a document: per phase its operators, parts, rates, gaps and threads."""

from collections.abc import Sequence
from dataclasses import replace

from topout import units
from topout.records import Hardware, OperatorRate, PhaseProfile, ProfileReport
from topout.records.profile import OperatorShape, OperatorTime
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
    table_of,
)
from topout.report.figures import GAP, interval, precision, rate_name, short_name
from topout.report.machine.facts import machine_section, workload_sentence
from topout.roofline import share_of
from topout.units import (
    ABSENT,
    bytes_per_s,
    count,
    counted,
    flops_per_s,
    percent,
    seconds,
    significant,
    times,
)

_MOST_TILED = 2  # phases with tiles of their own
_MOST_OPERATORS = 20  # in a row each: all are in the JSON
_MOST_PARTS, _MOST_RATES, _MOST_GAPS = 12, 8, 4  # on a terminal
_TERMS = {
    "Self, total, mean": "Self time is the time in an operator and in none that it called; the "
    "self times and the gaps add up to the phase. Total has in it what it called; mean is total "
    "over calls.",
    "Gaps": "Time in which no thread was in an operator of PyTorch. The profiler's own hooks are "
    "in it: compare with the slowdown.",
    "FLOP/s, B/s, of ceiling": "FLOP/s = FLOPs / time, B/s = bytes / time, where FLOPs and bytes "
    "follow from the shapes (a multiply-add is 2; every operator reads its arguments and writes "
    "its results). A ceiling is what this machine was measured to reach. Above 100 % of the "
    "bandwidth some of the bytes came from a cache.",
    "Bound": "compute or memory: at the measured rate that alone takes at least half of the "
    "operator's time. overhead: neither does.",
    "User, system, waiting": "Time of a thread on a processor in the program and in the system's "
    "kernel, and the rest of the wall time. Threads that spin while they wait for others count as "
    "user.",
    "The profiler's own cost": "Profiled runs are never the timed ones: both take turns, and the "
    "ratio of the pairs is the slowdown. It lengthens short operators most.",
}


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
            Section("Memory", [_memory(report)], key="memory"),
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
        terms=[*_TERMS.items()],
    )


def _subject(report: ProfileReport) -> str:
    threads = f"on {counted(report.threads, 'thread')}"
    model, work = report.model, report.workload
    if model is None or work is None:
        return f"a function, called {threads}"
    where = f" on {work.device}" if work.device != "cpu" else ""
    return workload_sentence(model, work, f"{report.backend}", threads + where)


def _headlines(report: ProfileReport) -> list[str]:
    sentences = [_headline(phase) for phase in report.phases] or ["Nothing was profiled."]
    if report.model is not None and report.model.weights == "random":
        sentences.append("The weights are random: the times are real, the text is meaningless.")
    return sentences


def _headline(phase: PhaseProfile) -> str:
    text = f"{phase.name.capitalize()} takes {seconds(_pass_s(phase))}"
    if phase.passes > 1:
        text += " a pass"
    parts = [part for part in phase.parts if part.self_share > 0][:2]
    if parts:
        named = " and ".join(f"{part.name} ({percent(part.self_share)})" for part in parts)
        text += f", most of it in {named}"
    return f"{text}; {percent(_gap_share(phase))} of it in no operator."


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
        Tile(phase.name, seconds(_pass_s(phase)), passes, "without the profiler"),
        Tile(
            f"{phase.name}, in operators",
            percent(1 - _gap_share(phase)),
            f"{percent(longest.self_share)} in {longest.name}" if longest else "",
            f"{percent(_gap_share(phase))} between them",
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
    overlap = f" − {seconds(phase.overlap_s)} on several threads at once" if phase.overlap_s else ""
    return (
        f"Operators {seconds(phase.operators_s)} + gaps {seconds(phase.gap_s)}{overlap}"
        f" = {seconds(phase.accounted_s)}; the clock says {seconds(phase.wall_s)} "
        f"({percent(phase.unaccounted_share, 2)} apart)."
    )


def _slowdown(phase: PhaseProfile) -> str:
    slowdown, plain = phase.slowdown, phase.unprofiled_s
    if slowdown is None or plain is None:
        return "It was not timed without the profiler."
    return (
        f"Without the profiler it takes {seconds(plain.median)}: the profiled run is "
        f"{times(slowdown.median)} as long {interval(slowdown)}, from "
        f"{len(slowdown.pairs)} pair{'' if len(slowdown.pairs) == 1 else 's'} of runs in turns."
    )


def _operators(phase: PhaseProfile) -> Table:
    """The largest self times first; all others in one row; the gaps come last."""
    on_device = any(each.device_s is not None for each in phase.operators)
    table = table_of(
        phase.operators[:_MOST_OPERATORS],
        [
            (
                Column("Operator, shapes of its inputs", text=True, least=18),
                lambda each: Cell(each.name, _shapes(each.shapes), "", short_name(each.name)),
            ),
            ("Self", lambda each: percent(each.self_share, 1)),
            ("Self\ntime", lambda each: seconds(each.self_s)),
            ("Total", lambda each: seconds(each.total_s)),
            ("Mean", lambda each: seconds(each.mean_s)),
            ("Calls", lambda each: str(each.calls)),
            *([("On\ndevices", _on_devices)] if on_device else []),
        ],
        "Operators",
    )
    rest = phase.operators[_MOST_OPERATORS:]
    others = (f"({len(rest)} others)", sum(each.self_s for each in rest))
    sums = [*([others] if rest else []), (GAP, phase.gap_s)]
    return replace(table, rows=[*table.rows, *(_sum(*each, phase) for each in sums)])


def _on_devices(operator: OperatorTime) -> str:
    return seconds(operator.device_s) if operator.device_s is not None else ""


def _shapes(shapes: Sequence[OperatorShape], most: int = 3) -> str:
    lines = [each.shapes or "no tensors" for each in shapes[:most]]
    if len(shapes) > most:
        lines.append(f"and {len(shapes) - most} more")
    return "\n".join(lines)


def _sum(name: str, self_s: float, phase: PhaseProfile) -> Row:
    share = percent(self_s / phase.traced_s if phase.traced_s else None, 1)
    return Row([name, share, seconds(self_s)])


def _tables(phase: PhaseProfile) -> list[Section]:
    """The phase from other sides; a page has each behind its title."""
    makers = (_parts, _groups, _rates, _uncounted, _gaps, _threads, _devices, _regions)
    tables = [table for make in makers if (table := make(phase)).rows]
    return [
        Section(table.title, [replace(table, title="")], folded=number > 0, only=table.only)
        for number, table in enumerate(tables)
    ]


def _parts(phase: PhaseProfile) -> Table:
    return table_of(
        phase.parts,
        [
            (Column("Part", text=True, least=14), lambda part: part.name),
            ("Self", lambda part: percent(part.self_share, 1)),
            ("Time", lambda part: seconds(part.self_s)),
            ("In\noperators", lambda part: seconds(part.operator_s)),
            ("In\ngaps", lambda part: seconds(part.gap_s)),
            (
                Column("In the\nbackward", only="page"),
                lambda part: seconds(part.backward_s or None),
            ),
            (Column("Calls", only="page"), lambda part: str(part.calls)),
        ],
        "By part",
        "Regions of the same name in all layers together. Time is that in the part itself, made "
        "of operators and gaps; the time of the backward is in it.",
        most=_MOST_PARTS,
    )


def _groups(phase: PhaseProfile) -> Table:
    return table_of(
        phase.groups,
        [
            (Column("Group", text=True), lambda group: group.name),
            ("Share", lambda group: percent(group.share, 1)),
            ("Time", lambda group: seconds(group.total_s)),
            ("Calls", lambda group: str(group.calls)),
            (Column("Longest", text=True), lambda group: ", ".join(group.examples)),
        ],
        "By what operators do",
        "The time in operators, by the outermost one whose work is known.",
        only="page",
    )


def _rates(phase: PhaseProfile) -> Table:
    level = next((rate.level for rate in phase.rates if rate.level), None)
    memory = f"{level}, which holds what a pass moves" if level else "main memory"
    return table_of(
        phase.rates,
        [
            (Column("Work", text=True, least=14), rate_name),
            ("Time", lambda rate: seconds(rate.time_s)),
            ("FLOP/s", lambda rate: flops_per_s(rate.flops_per_s if rate.flops else None)),
            ("of it", lambda rate: share_of(rate.of_compute_ceiling if rate.flops else None, 1)),
            ("B/s", lambda rate: bytes_per_s(rate.bytes_per_s)),
            ("of it", lambda rate: share_of(rate.of_bandwidth_ceiling, 1)),
            ("FLOP\n/byte", _intensity),
            (Column("Bound", text=True, from_width=90), lambda rate: rate.bound or ABSENT),
        ],
        "Against the measured ceilings",
        "FLOPs and bytes follow from the shapes; the rates are over the whole time of the "
        f"operator, and the bandwidth is that of {memory}.",
        most=_MOST_RATES,
    )


def _intensity(rate: OperatorRate) -> str:
    intensity = rate.arithmetic_intensity
    return ABSENT if intensity is None else significant(intensity, 2)


def _uncounted(phase: PhaseProfile) -> Table:
    return table_of(
        phase.uncounted,
        [
            (Column("Operator", text=True), lambda each: each.name),
            ("Calls", lambda each: str(each.calls)),
            ("Time", lambda each: seconds(each.total_s)),
            (Column("Reason", text=True), lambda each: each.reason),
        ],
        "Operators whose work is not known",
        "They are on no roofline.",
        only="page",
    )


def _gaps(phase: PhaseProfile) -> Table:
    return table_of(
        phase.gaps,
        [
            (Column("In", text=True, least=14), lambda gap: gap.part),
            ("Share", lambda gap: percent(gap.share, 1)),
            ("Time", lambda gap: seconds(gap.total_s)),
        ],
        "Gaps",
        "Time in which no thread was in an operator: Python, the framework, the profiler's own "
        "work between two operators, and waiting for a device.",
        most=_MOST_GAPS,
    )


def _threads(phase: PhaseProfile) -> Table:
    elapsed = phase.elapsed
    return table_of(
        elapsed.threads if elapsed else [],
        [
            (Column("Thread", text=True, least=14), lambda each: f"{each.name} ({each.thread})"),
            ("User", lambda each: seconds(each.user_s)),
            ("System", lambda each: seconds(each.system_s)),
            ("Waiting", lambda each: seconds(each.waiting_s)),
            ("Wall", lambda each: seconds(elapsed.wall_s if elapsed else None)),
        ],
        "Elapsed time, thread by thread",
        "Wall = user + system + waiting, of a run without the profiler.",
    )


def _devices(phase: PhaseProfile) -> Table:
    return table_of(
        phase.devices,
        [
            (Column("GPU", text=True, least=14), lambda each: each.name or f"GPU {each.device}"),
            ("Busy", lambda each: seconds(each.busy_s)),
            ("Utilization", lambda each: percent(each.utilization, 1)),
            ("Occupancy", lambda each: percent(each.occupancy, 1)),
            ("Idle", lambda each: seconds(each.idle_s)),
        ],
        "Devices",
        "Utilization: the share of the phase in which the device did anything at all.",
    )


def _regions(phase: PhaseProfile) -> Table:
    return table_of(
        phase.regions,
        [
            (Column("Region", text=True), lambda region: region.name),
            ("Calls", lambda region: str(region.calls)),
            ("Total", lambda region: seconds(region.total_s)),
            ("Self", lambda region: seconds(region.self_s)),
            ("In\noperators", lambda region: seconds(region.operator_s)),
            ("In\ngaps", lambda region: seconds(region.gap_s)),
        ],
        "Region by region",
        "In the order of their first calls. Total: with the regions inside.",
        only="page",
    )


def _memory(report: ProfileReport) -> Table:
    return table_of(
        report.memory,
        [
            (Column("Of", text=True, least=14), lambda track: track.name),
            ("Allocated,\npeak", lambda track: units.memory(track.peak_allocated_bytes)),
            ("Reserved,\npeak", lambda track: units.memory(track.peak_reserved_bytes)),
            ("Resident,\npeak", lambda track: units.memory(track.peak_resident_bytes)),
            ("Free at\nthe end", lambda track: units.memory(track.free_bytes)),
        ],
    )


def _run(report: ProfileReport) -> list[tuple[str, str]]:
    facts = [
        ("Subject", report.subject),
        ("Threads", str(report.threads)),
        ("Run at", f"{report.created_at}, in {seconds(report.elapsed_s)}"),
    ]
    model, work = report.model, report.workload
    if model is not None and work is not None:
        facts[1:1] = [
            ("Model", f"{model.architecture}, {model.weights} weights"),
            ("Parameters", count(model.parameters)),
            ("Weights", units.memory(report.weight_bytes)),
            ("Prompt", f"{work.prompt_len} tokens of {work.prompt_source or 'text'}"),
            ("New tokens", str(work.new_tokens)),
            ("Batch", str(work.batch_size)),
            ("Precision", precision(work.dtype, work.dtype_origin)),
            ("Run by", f"{report.backend}, {work.device}"),
        ]
    return facts
