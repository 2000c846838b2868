"""A cost report as one HTML page that holds everything it shows and loads nothing."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from topout import units
from topout.records import CostReport, Hardware, MachineCost
from topout.report.charts.theme import Spec
from topout.report.cost.charts import memory_charts, speed_charts, training_charts
from topout.report.cost.machine_rows import machine_groups
from topout.report.cost.memory_rows import (
    kv_grid,
    kv_sentence,
    saving_grid,
    saving_sentence,
    training_grid,
    training_sentence,
)
from topout.report.cost.notes import assumptions, reasons
from topout.report.cost.op_rows import OpGroup, op_groups
from topout.report.cost.rate_chart import rate_phase
from topout.report.cost.words import (
    asked_sentence,
    model_sentence,
    parameters_sentence,
    phase_of,
    placed,
    rate_interval,
    rate_name,
    rate_of,
    span,
)
from topout.report.document import Chart
from topout.report.machine.hardware_figures import HardwareFigure, hardware_figures
from topout.report.page import Tile, render_page, unbroken

_MOST_TILES = 6
_ROOFLINE = (
    "Lines: what the machine can reach, bandwidth rising and arithmetic flat; solid as measured, "
    "dashed as the datasheet states it. Points: the ops and phases of the model, at the speed "
    "that is predicted for them."
)


def cost_page(report: CostReport, roofline_charts: Sequence[tuple[str, Spec]] = ()) -> str:
    """The cost of a model as a self-contained HTML document.

    `roofline_charts` are pairs of a title and a Vega-Lite spec, shown in their order. Whatever
    the record says is shown as text, also where it looks like markup; only web addresses among
    the sources of a machine's figures become links.
    """
    speed, memory, training = speed_charts(report), memory_charts(report), training_charts(report)
    roofline = [
        Chart(f"roofline_{number}", title, _ROOFLINE, spec)
        for number, (title, spec) in enumerate(roofline_charts, 1)
    ]
    return render_page(
        "cost.html.j2",
        report,
        report.model.name,
        [*speed, *roofline, *memory, *training],
        model=model_sentence(report),
        parameters=_with_units(parameters_sentence(report)),
        asked=asked_sentence(report),
        tiles=_tiles(report),
        findings=[unbroken(sentence) for sentence in report.findings],
        machines=placed(report),
        groups=machine_groups(report),
        speed=speed,
        roofline=roofline,
        memory=memory,
        training=training,
        blocks=_blocks(report),
        saving=saving_grid(report),
        saving_sentence=saving_sentence(report),
        cache=kv_grid(report),
        cache_sentence=kv_sentence(report),
        training_grid=training_grid(report),
        training_sentence=training_sentence(report),
        assumptions=assumptions(report),
        reasons=reasons(report),
        conventions=report.conventions,
        not_counted=report.not_counted,
        hardware=_hardware(report),
    )


def _with_units(sentence: str) -> str:
    """The sentence with each count kept on one line with its prefix."""
    return re.sub(r"(\d) ([kMGTP])\b", "\\1\u00a0\\2", sentence)


@dataclass(frozen=True, slots=True)
class _Block:
    """The ops of one machine; the first is open when the page is."""

    title: str
    groups: list[OpGroup]
    is_open: bool


@dataclass(frozen=True, slots=True)
class _Sources:
    """One machine's figures."""

    hardware: Hardware
    figures: list[HardwareFigure]


def _blocks(report: CostReport) -> list[_Block]:
    blocks = []
    for number, machine in enumerate(report.machines):
        groups = [group for group in op_groups(report, machine) if group.rows]
        if groups:
            title = f"Ops on {machine.name}" if machine.hardware is not None else "Ops"
            blocks.append(_Block(title, groups, number == 0))
    return blocks


def _hardware(report: CostReport) -> list[_Sources]:
    return [
        _Sources(machine.hardware, hardware_figures(machine.hardware))
        for machine in report.machines
        if machine.hardware is not None
    ]


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
