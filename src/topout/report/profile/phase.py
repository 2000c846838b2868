"""A phase of a profile: its operators and gaps, and the same time from other sides."""

from collections.abc import Sequence
from dataclasses import replace

from topout.records import OperatorRate, PhaseProfile
from topout.records.profile import OperatorShape, OperatorTime
from topout.report.document import (
    Absent,
    Cell,
    Column,
    Paragraph,
    Row,
    Section,
    Table,
    table_of,
)
from topout.report.figures import GAP, interval, rate_name, short_name
from topout.roofline import share_of
from topout.units import (
    ABSENT,
    bytes_per_s,
    flops_per_s,
    percent,
    seconds,
    significant,
    times,
)

_MOST_OPERATORS = 20  # in a row each: all are in the JSON
_MOST_PARTS, _MOST_RATES, _MOST_GAPS = 12, 8, 4  # on a terminal


def gap_share(phase: PhaseProfile) -> float:
    """The share of the phase in which no thread was in an operator."""
    return phase.gap_s / phase.traced_s if phase.traced_s else 0.0


def phase_section(number: int, phase: PhaseProfile) -> Section:
    """A phase in figures; `number` makes its place on the page."""
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
