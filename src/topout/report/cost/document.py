"""What a model costs, as a document: machines side by side, op by op, rooflines, memory."""

from collections.abc import Callable, Sequence

from topout import units
from topout.errors import InputError
from topout.records import CostReport, MachineCost
from topout.report.cost.memory_tables import (
    kv_sentence,
    kv_table,
    saving_sentence,
    saving_table,
    training_sentence,
    training_table,
)
from topout.report.cost.ops import op_sections
from topout.report.cost.tables import (
    assumptions,
    fit_facts,
    machines_table,
    phases_table,
    reasons,
)
from topout.report.cost.words import (
    asked_sentence,
    model_sentence,
    parameters_sentence,
    phase_of,
    placed,
    rate_interval,
    rate_name,
    rate_of,
    rate_phase,
    span,
)
from topout.report.document import (
    Absent,
    Bullets,
    Chart,
    Document,
    Figures,
    Only,
    Paragraph,
    Section,
    Tile,
    first_and_others,
)
from topout.report.machine.hardware import sources_table

_MOST_TILES = 6
_MORE = (
    "Op by op, the KV cache, memory in training, what was assumed and how it is counted: --full, "
    "or the page (--report FILE.html)."
)
_ROOFLINE = (
    "Lines: what the machine can reach, bandwidth rising and arithmetic flat; solid as measured, "
    "dashed as the datasheet states it. Points: the ops and phases of the model, at the speed "
    "that is predicted for them."
)
_TERMS = {
    "Prefill and decode": "Prefill reads the whole prompt at once and yields the first new token; "
    "decode yields the others, one for each sequence of the batch at a time.",
    "FLOP, byte, FLOP/byte": "One multiply-add is 2 FLOPs. Bytes are those that main memory must "
    "move: weights, activations, KV cache. Their quotient is the arithmetic intensity; it decides "
    "whether arithmetic or memory is the limit. Traffic is given in powers of ten (1 GB = 10⁹ "
    "bytes), what is kept in memory in powers of two (1 GiB = 2³⁰ bytes).",
    "Bound by": "What most of the time is waited for. Compute: arithmetic. Memory: reading and "
    "writing. Overhead: starting the ops. Communication: other devices.",
    "Interval": "The range in which a measurement is expected, from how far predictions and "
    "measurements lay apart where both were known.",
    "MFU, MBU": "Model FLOP/s utilization and memory bandwidth utilization: the FLOPs or bytes "
    "that the phase needs, over its time, over what the datasheet states or what was measured.",
    "Largest batch, largest context": "The most that fits into the memory of one device beside its "
    "weights, with the other size as asked.",
    "ZeRO": "What data-parallel devices divide instead of keeping a copy each: 1 the optimizer's "
    "states, 2 also the gradients, 3 also the weights.",
}


def cost_document(report: CostReport, full: bool = False) -> Document:
    """The report of what a model costs; `full` for all of it on a terminal too, not one screen."""
    more: Only = None if full else "page"
    main_chart, other_charts = first_and_others(lambda: _speed(report))
    return Document(
        record=report,
        title=report.model.name,
        about=model_sentence(report),
        headlines=[f"{parameters_sentence(report)}."],
        tiles=_tiles(report),
        lead=[
            Paragraph(f"Asked: {asked_sentence(report)}."),
            *([main_chart] if placed(report) else []),
            _machines(report),
        ],
        parts=[
            *([other_charts] if placed(report) else []),
            _ops(report, more),
            Section(
                "On the roofline",
                [_figures(report, _rooflines)] if placed(report) else [],
                key="roofline",
                only="page",
            ),
            _cache(report, more),
            _training(report, more),
            _basis(report, more),
            Paragraph(_MORE if report.machines and not full else "", "note", only="terminal"),
        ],
        findings=report.findings,
        terms=[*_TERMS.items()],
        data_note="The whole report, as JSON, is inside this page.",
    )


def _figures(report: CostReport, draw: Callable[[CostReport], Sequence[Chart]]) -> Figures:
    return Figures(lambda: draw(report))


def _speed(report: CostReport) -> Sequence[Chart]:
    from topout.report.cost.charts import speed_charts

    return speed_charts(report)


def _memory(report: CostReport) -> Sequence[Chart]:
    from topout.report.cost.memory_charts import memory_charts

    return memory_charts(report)


def _training_memory(report: CostReport) -> Sequence[Chart]:
    from topout.report.cost.memory_charts import training_charts

    return training_charts(report)


def _rooflines(report: CostReport) -> Sequence[Chart]:
    """None where a machine's times were stated and its figures do not make a roofline."""
    from topout.report.cost.rooflines import cost_rooflines

    try:
        found = cost_rooflines(report)
    except InputError:
        return []
    return [
        Chart(f"roofline_{number}", title, _ROOFLINE, spec)
        for number, (title, spec) in enumerate(found, 1)
    ]


def _machines(report: CostReport) -> Section:
    note = (
        "All times are predicted. Below a figure stands the interval in which a measurement is "
        "expected."
    )
    machines = placed(report)
    several = len(machines) > 1
    title = f"On {machines[0].name}" if machines else "What it needs"
    return Section(
        "Machines side by side" if several else title,
        [
            Paragraph(note if machines else "", "note", only="page"),
            *([machines_table(report)] if several else [phases_table(report), fit_facts(report)]),
            Bullets(reasons(report), "What is not predicted, and why"),
        ],
        key="machines",
    )


def _ops(report: CostReport, only: Only) -> Section:
    note = (
        "Each op with all its runs of the phase together, in the order in which they run. A "
        "product of m×k and k×n is written m×k · k×n. The time is the longer one of compute and "
        "memory, plus overhead."
    )
    others = "The ops on the other machines stand in --json and --report."
    parts = op_sections(report)
    return Section(
        "Op by op",
        [
            Paragraph(note if parts else "", "note", only="page"),
            *parts,
            Paragraph(others if len(report.machines) > 1 else "", "note", only="terminal"),
        ],
        key="ops",
        only=only,
    )


def _cache(report: CostReport, only: Only) -> Section:
    saving, cache = saving_table(report), kv_table(report)
    has_any = saving.rows or cache.rows or kv_sentence(report)
    return Section(
        "What the KV cache saves, and what it takes",
        [
            Section("With and without a KV cache", [saving], only="terminal"),
            Section("", [saving], key="saving", only="page"),
            Paragraph(saving_sentence(report), "note"),
            Section("KV cache by context and batch", [cache]),
            Paragraph(kv_sentence(report), "note"),
            *([_figures(report, _memory)] if has_any else []),
        ],
        key="cache",
        only=only,
    )


def _training(report: CostReport, only: Only) -> Section:
    table = training_table(report)
    return Section(
        "Memory of one device in training",
        [
            table,
            Paragraph(training_sentence(report), "note"),
            *([_figures(report, _training_memory)] if table.rows else []),
        ],
        key="training",
        only=only,
    )


def _basis(report: CostReport, only: Only) -> Section:
    """What the figures stand on: assumptions, rules of counting, the machines' own figures."""
    sources = [
        Section(
            f"{machine.hardware.name}: {machine.hardware.full_name}",
            [
                Paragraph(machine.hardware.notes, "note"),
                sources_table(machine.hardware),
                Absent(machine.hardware.reasons, "Missing"),
            ],
            folded=True,
            only="page",
        )
        for machine in report.machines
        if machine.hardware is not None
    ]
    title = "Figures of the machines, and where they come from"
    return Section(
        "What this stands on",
        [
            Bullets(assumptions(report), "Assumed"),
            Bullets(report.not_counted, "Not counted"),
            Bullets(report.conventions, "How it is counted"),
            Section(title, sources, only="page"),
        ],
        key="basis",
        only=only,
    )


def _tiles(report: CostReport) -> list[Tile]:
    """A machine each, with its rate; only as many as can be taken in at once."""
    phase = rate_phase(report)
    if phase is None:
        return []
    tiles = []
    for machine in placed(report)[:_MOST_TILES]:
        rate, cost = rate_of(report, machine, phase), phase_of(machine, phase)
        if rate is None or cost is None:
            continue
        interval = span(rate_interval(report, machine, phase), units.significant)
        unit = f"{'decode' if phase == 'decode' else 'forward'}, {rate_name(report, phase)}"
        tiles.append(
            Tile(
                machine.name,
                units.significant(rate),
                f"{unit} [{interval}]" if interval else unit,
                _detail(machine, cost.bound),
            )
        )
    return tiles


def _detail(machine: MachineCost, bound: str | None) -> str:
    parts = [f"bound by {bound}"] if bound else []
    if machine.prefill is not None and machine.prefill.time_s is not None:
        parts.append(f"prefill {units.seconds(machine.prefill.time_s)}")
    if machine.fit is not None and not machine.fit.fits:
        parts.append("does not fit")
    return ", ".join(parts)
