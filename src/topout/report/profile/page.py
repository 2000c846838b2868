"""A profile as one HTML page that holds everything it shows and loads nothing."""

from dataclasses import dataclass

from topout import units
from topout.records import Hardware, PhaseProfile, ProfileReport
from topout.report.machine.facts import machine_facts
from topout.report.page import Tile, render_page, unbroken
from topout.report.profile.charts import profile_charts
from topout.report.profile.rows import (
    OperatorRow,
    device_rows,
    gap_rows,
    group_rows,
    memory_rows,
    operator_rows,
    part_rows,
    rate_rows,
    region_rows,
    thread_rows,
    uncounted_rows,
)
from topout.report.profile.words import (
    accounted_sentence,
    gap_share,
    headlines,
    slowdown_sentence,
    subject_sentence,
    unprofiled_pass_s,
)

Rows = list[tuple[str, ...]]
_MOST_TILED = 2  # phases with tiles of their own
_MOST_OPERATORS = 20  # in a row each: all are in the JSON


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of the page; the first column is text, the others figures but for `words`."""

    title: str
    note: str
    columns: tuple[str, ...]
    rows: Rows
    words: tuple[int, ...] = ()  # columns of text


@dataclass(frozen=True, slots=True)
class _PhaseView:
    """A phase as the template takes it."""

    key: str
    title: str
    accounted: str
    slowdown: str
    operators: list[OperatorRow]
    on_device: bool
    tables: list[_Table]
    reasons: dict[str, str]


def profile_page(report: ProfileReport, hardware: Hardware | None = None) -> str:
    """A profile as a self-contained HTML document; `hardware` has the roofs of its roofline.

    Whatever the record says is shown as text, also where it looks like markup.
    """
    return render_page(
        "profile.html.j2",
        report,
        report.subject,
        profile_charts(report, hardware),
        report=report,
        subject=subject_sentence(report),
        headlines=[unbroken(sentence) for sentence in headlines(report)],
        findings=[unbroken(sentence) for sentence in report.findings],
        tiles=[tile for phase in report.phases[:_MOST_TILED] for tile in _tiles(phase)],
        phases=[_view(number, phase) for number, phase in enumerate(report.phases)],
        memory=memory_rows(report),
        machine_facts=machine_facts(report.machine),
        run=_run_facts(report),
        exports=report.exports,
    )


def _tiles(phase: PhaseProfile) -> list[Tile]:
    passes = f"a pass, of {phase.passes}" if phase.passes > 1 else "the one pass"
    longest = phase.operators[0] if phase.operators else None
    return [
        Tile(phase.name, units.seconds(unprofiled_pass_s(phase)), passes, "without the profiler"),
        Tile(
            f"{phase.name}, in operators",
            units.percent(1 - gap_share(phase)),
            f"{units.percent(longest.self_share)} in {longest.name}" if longest else "",
            f"{units.percent(gap_share(phase))} between them",
        ),
    ]


def _view(number: int, phase: PhaseProfile) -> _PhaseView:
    tables = [
        _Table(
            "By part",
            "Regions of the same name in all layers together. Time is that in the part itself, "
            "made of operators and gaps; the time of the backward is in it.",
            ("Part", "Self", "Time", "In operators", "In gaps", "In the backward", "Calls"),
            part_rows(phase),
        ),
        _Table(
            "By what operators do",
            "The time in operators, by the outermost one whose work is known.",
            ("Group", "Share", "Time", "Calls", "Longest"),
            group_rows(phase),
            words=(4,),
        ),
        _Table(
            "Against the measured ceilings",
            "FLOPs and bytes follow from the shapes; the rates are over the whole time of the "
            f"operator, and the bandwidth is that of {_level(phase)}.",
            ("Work", "Time", "FLOP/s", "of ceiling", "B/s", "of ceiling", "FLOP/byte", "Bound"),
            rate_rows(phase),
        ),
        _Table(
            "Operators whose work is not known",
            "They are on no roofline.",
            ("Operator", "Calls", "Time", "Why"),
            uncounted_rows(phase),
            words=(3,),
        ),
        _Table(
            "Gaps",
            "Time in which no thread was in an operator: Python, the framework, the profiler's own "
            "work between two operators, and waiting for a device.",
            ("In", "Share", "Time"),
            gap_rows(phase),
        ),
        _Table(
            "Elapsed time, thread by thread",
            "Wall = user + system + waiting, of a run without the profiler.",
            ("Thread", "User", "System", "Waiting", "Wall"),
            thread_rows(phase),
        ),
        _Table(
            "Devices",
            "Utilization: the share of the phase in which the device did anything at all.",
            ("GPU", "Busy", "Utilization", "Occupancy", "Idle"),
            device_rows(phase),
        ),
        _Table(
            "Region by region",
            "In the order of their first calls. Total: with the regions inside.",
            ("Region", "Calls", "Total", "Self", "In operators", "In gaps"),
            region_rows(phase),
        ),
    ]
    return _PhaseView(
        key=f"phase_{number}",
        title=phase.name.capitalize(),
        accounted=accounted_sentence(phase),
        slowdown=unbroken(slowdown_sentence(phase)),
        operators=operator_rows(phase, _MOST_OPERATORS),
        on_device=any(each.device_s is not None for each in phase.operators),
        tables=[table for table in tables if table.rows],
        reasons=phase.reasons,
    )


def _level(phase: PhaseProfile) -> str:
    level = next((rate.level for rate in phase.rates if rate.level), None)
    return f"{level}, which holds what a pass moves" if level else "main memory"


def _run_facts(report: ProfileReport) -> list[tuple[str, str]]:
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
