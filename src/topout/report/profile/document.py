"""A profile as a document: its phases in figures, charts, memory, what was run."""

from collections.abc import Sequence

from topout import units
from topout.records import Hardware, PhaseProfile, ProfileReport
from topout.report.document import (
    Absent,
    Bullets,
    Chart,
    Column,
    Document,
    Facts,
    Section,
    Table,
    Tile,
    first_and_others,
    table_of,
)
from topout.report.figures import precision
from topout.report.machine.facts import asked, machine_section, workload_sentence
from topout.report.profile.phase import gap_share, phase_section
from topout.units import (
    counted,
    percent,
    seconds,
)

_MOST_TILED = 2  # phases with tiles of their own
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

    main_chart, other_charts = first_and_others(charts)
    phases = [phase_section(number, phase) for number, phase in enumerate(report.phases)]
    return Document(
        record=report,
        title=report.subject,
        about=f"{_subject(report)}; {report.machine.cpu_model}",
        headlines=_headlines(report),
        tiles=[tile for phase in report.phases[:_MOST_TILED] for tile in _tiles(phase)],
        lead=[main_chart, *phases[:1]],
        parts=[
            *phases[1:],
            other_charts,
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
    return f"{text}; {percent(gap_share(phase))} of it in no operator."


def _pass_s(phase: PhaseProfile) -> float:
    """Seconds of one pass without the profiler, or with it where nothing else was timed."""
    whole = phase.unprofiled_s.median if phase.unprofiled_s is not None else phase.wall_s
    return whole / max(phase.passes, 1)


def _tiles(phase: PhaseProfile) -> list[Tile]:
    passes = f"a pass, of {phase.passes}" if phase.passes > 1 else "the one pass"
    longest = phase.operators[0] if phase.operators else None
    return [
        Tile(phase.name, seconds(_pass_s(phase)), passes, "without the profiler"),
        Tile(
            f"{phase.name}, in operators",
            percent(1 - gap_share(phase)),
            f"{percent(longest.self_share)} in {longest.name}" if longest else "",
            f"{percent(gap_share(phase))} between them",
        ),
    ]


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
            ("Model", f"{model.class_name or model.architecture}, {model.weights} weights"),
            ("Parameters", units.parameters(model.parameters)),
            ("Weights", units.memory(report.weight_bytes)),
            *asked(work, source=f" of {work.prompt_source or 'text'}"),
            ("Batch", str(work.batch_size)),
            ("Precision", precision(work.dtype, work.dtype_origin)),
            ("Run by", f"{report.backend}, {work.device}"),
        ]
    return facts
