"""The charts of a training run: the parts of a step, throughput by ranks, loss, steps, memory."""

from typing import Any

import altair as alt

from topout import units
from topout.records import RankTime, TrainCase, TrainReport
from topout.report.charts.theme import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    VALUE_MARGIN,
    Spec,
    chart_of,
    coloured,
    finished,
    names_axis,
    own_colours,
    tooltips,
)
from topout.report.document import Chart
from topout.report.figures import PARTS, rank_name

PART_COLOURS = dict(zip(PARTS, (AMBER, BLUE, GREEN, ORANGE, PINK, GREY), strict=True))
_STEP = 34  # pixels per rank
_OFF_SCALE = 2.0  # × the longest timed step: what is beyond is drawn there
_TEXTS = {
    "parts": (
        "Where a step's time goes",
        "The mean timed step of each rank. Communication is what backward takes longer with the "
        "sum of gradients over the ranks than without it: transfer and waiting that no "
        "computation hides.",
    ),
    "throughput": (
        "Throughput by ranks",
        "Each rank keeps its batch. Bars: samples per second of all ranks, with the 95 % "
        "interval. Ticks: as many times the rate of one rank.",
    ),
    "loss": ("The loss", "Mean over the ranks of the loss that each step began with."),
    "steps": (
        "Step by step",
        "Each step as its slowest rank took it. Warm-up and profiled steps are not timed ones: "
        "the profiler slows them down. What takes more than twice the longest timed step stands at "
        "the upper edge.",
    ),
    "memory": (
        "Peak memory",
        "Of each rank's process; on GPUs what PyTorch had allocated there. It holds weights, "
        "gradients, AdamW's two moments, activations, and the libraries.",
    ),
}


def train_charts(report: TrainReport) -> list[Chart]:
    """The charts that the report has the figures for, in the order in which they are read."""
    done = [case for case in report.cases if case.status == "done"]
    charts = []
    if done:
        charts.append(_chart("parts", parts_chart(done)))
    if len(done) > 1:
        charts.append(_chart("throughput", throughput_chart(done)))
    if any(case.loss for case in report.cases):
        charts.append(_chart("loss", loss_chart(report)))
        charts.append(_chart("steps", steps_chart(report)))
    if done:
        charts.append(_chart("memory", memory_chart(done)))
    return charts


def _chart(key: str, spec: Spec) -> Chart:
    title, caption = _TEXTS[key]
    return Chart(key, title, caption, spec)


def parts_chart(cases: list[TrainCase]) -> Spec:
    """A bar per rank, its parts one after another; the step's time stands at its end."""
    rows = [row for case in cases for time in case.times for row in _parts(case, time)]
    names = [rank_name(case, time) for case in cases for time in case.times]
    ends = [
        {"name": rank_name(case, time), "at": time.step_s, "text": units.seconds(time.step_s)}
        for case in cases
        for time in case.times
    ]
    present = {row["part"] for row in rows}
    shown = {part: colour for part, colour in PART_COLOURS.items() if part in present}
    y = names_axis("name", names, 170)
    bars = (
        chart_of(rows)
        .mark_bar(height=20)
        .encode(
            x=alt.X("start:Q", title="time of a step, s", axis=alt.Axis(tickCount=6)),
            x2="end:Q",
            y=y,
            # In one row they would not fit a telephone.
            color=coloured("part", shown, title=None, legend=alt.Legend(columns=3)),
            tooltip=[*tooltips("name: rank, part, time"), alt.Tooltip("share:Q", format=".1%")],
        )
    )
    text = (
        chart_of(ends)
        .mark_text(align="left", dx=6, fontWeight=600)
        .encode(x="at:Q", y=y, text="text:N")
    )
    layers = alt.layer(bars, text)
    return finished(layers, height=_STEP * len(names), padding=VALUE_MARGIN)


def part_times(time: RankTime) -> dict[str, float]:
    """The parts of a rank's step, which sum to it; communication is taken out of backward."""
    exposed = min(time.exposed_communication_s or 0.0, time.backward_s)
    return {
        "data": time.data_s,
        "forward": time.forward_s,
        "backward": time.backward_s - exposed,
        "communication": exposed,
        "optimizer": time.optimizer_s,
        "other": time.other_s,
    }


def _parts(case: TrainCase, time: RankTime) -> list[dict[str, Any]]:
    rows, start = [], 0.0
    for part, value in part_times(time).items():
        if value <= 0:
            continue
        rows.append(
            {
                "name": rank_name(case, time),
                "part": part,
                "start": start,
                "end": start + value,
                "time": units.seconds(value),
                "share": value / time.step_s,
            }
        )
        start += value
    return rows


def throughput_chart(cases: list[TrainCase]) -> Spec:
    """Samples per second by the number of ranks, and what linear scaling would be."""
    alone = next((case for case in cases if case.ranks == 1), None)
    rows = []
    for case in cases:
        rate = case.samples_per_s
        if rate is None:
            continue
        single = alone.samples_per_s if alone is not None else None
        rows.append(
            {
                "name": units.counted(case.ranks, "rank"),
                "rate": rate.median,
                "low": rate.low,
                "high": rate.high,
                "linear": single.median * case.ranks if single is not None else None,
                "text": f"{units.significant(rate.median)} samples/s",
                "speedup": units.times(case.speedup.median if case.speedup else None),
                "efficiency": units.percent(case.parallel_efficiency),
            }
        )
    y = alt.Y("name:N", sort=[str(row["name"]) for row in rows], title=None)
    tooltip = tooltips("name, text, speedup, efficiency")
    base = chart_of(rows).encode(y=y, tooltip=tooltip)
    x = alt.X("rate:Q", title="samples/s", scale=alt.Scale(zero=True), axis=alt.Axis(tickCount=6))
    bars = base.mark_bar(color=BLUE, height=20).encode(x=x)
    interval = base.mark_rule(strokeWidth=2, color="currentColor").encode(x="low:Q", x2="high:Q")
    linear = base.mark_tick(color=ORANGE, thickness=3, size=28).encode(x="linear:Q")
    layers = alt.layer(bars, interval, linear)
    return finished(layers, height=_STEP * len(rows))


def loss_chart(report: TrainReport) -> Spec:
    """A line per case over the steps."""
    cases = [case for case in report.cases if case.loss]
    rows = [
        {"case": units.counted(case.ranks, "rank"), "step": step, "loss": loss}
        for case in cases
        for step, loss in enumerate(case.loss)
    ]
    base = chart_of(rows).encode(
        x=_step_axis(),
        y=alt.Y("loss:Q", title="loss", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5)),
        color=_case_colour(cases),
        tooltip=[*tooltips("case"), alt.Tooltip("step:Q"), alt.Tooltip("loss:Q", format=".4f")],
    )
    layers = alt.layer(base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=28))
    return finished(layers, height=220)


def steps_chart(report: TrainReport) -> Spec:
    """The time of every step: filled where it counts, hollow where it does not."""
    cases = [case for case in report.cases if case.steps]
    rows = [
        {
            "case": units.counted(case.ranks, "rank"),
            "step": same[0].number,
            "time_s": max(step.total_s for step in same),
            "time": units.seconds(max(step.total_s for step in same)),
            "phase": same[0].phase,
        }
        for case in cases
        for same in zip(*case.steps, strict=False)
    ]
    scale = alt.Scale(zero=True, clamp=True, domainMax=_highest(rows))
    base = chart_of(rows).encode(
        x=_step_axis(),
        y=alt.Y("time_s:Q", title="time, s", scale=scale, axis=alt.Axis(tickCount=5)),
        color=_case_colour(cases),
        tooltip=tooltips("case, step, phase, time"),
    )
    timed = base.transform_filter(alt.datum.phase == "timed").mark_point(filled=True, size=60)
    others = base.transform_filter(alt.datum.phase != "timed").mark_point(size=40, strokeWidth=1.5)
    return finished(alt.layer(others, timed), height=200)


def memory_chart(cases: list[TrainCase]) -> Spec:
    """A bar per rank: its process on the host, and what it allocated on its GPU."""
    rows = []
    for case in cases:
        for time in case.times:
            name = rank_name(case, time)
            places = [("host", time.peak_memory_bytes), ("GPU", time.peak_device_bytes)]
            rows += [
                {
                    "name": name if place == "host" else f"{name}, GPU",
                    "gib": peak / 1024**3,
                    "text": units.memory(peak),
                    "place": place,
                }
                for place, peak in places
                if peak is not None
            ]
    names = [str(row["name"]) for row in rows]
    y = names_axis("name", names, 170)
    base = chart_of(rows).encode(
        x=alt.X("gib:Q", title="peak, GiB", axis=alt.Axis(tickCount=5)),
        y=y,
        tooltip=tooltips("name: rank, text: peak"),
    )
    colour = coloured("place", {"host": BLUE, "GPU": GREEN}, legend=None)
    bars = base.mark_bar(height=20).encode(color=colour)
    text = base.mark_text(align="left", dx=6, fontWeight=600).encode(text="text:N")
    layers = alt.layer(bars, text)
    return finished(layers, height=_STEP * len(names), padding=VALUE_MARGIN)


def _highest(rows: list[dict[str, Any]]) -> float:
    """Where the axis of times ends: the first step of all may take a hundred times as long."""
    whole = max((row["time_s"] for row in rows), default=1.0)
    timed = max((row["time_s"] for row in rows if row["phase"] == "timed"), default=whole)
    return min(whole, _OFF_SCALE * timed)


def _step_axis() -> alt.X:
    return alt.X("step:Q", title="step", scale=alt.Scale(nice=False), axis=alt.Axis(tickMinStep=1))


def _case_colour(cases: list[TrainCase]) -> alt.Color:
    return coloured(
        "case", own_colours(units.counted(case.ranks, "rank") for case in cases), title=None
    )
