"""The charts of a climb: the ladder as bars, memory by rung, the runs in the order of time."""

from collections.abc import Iterator
from typing import Any

import altair as alt

from topout import units
from topout.records import Climb, RunSample
from topout.records.climb import unit_of
from topout.report.charts.theme import (
    BLUE,
    GREY,
    VALUE_MARGIN,
    Spec,
    chart_of,
    coloured,
    finished,
    names_axis,
    rung_colour,
    tooltips,
)
from topout.report.climb.ladder_chart import LADDER_CAPTION, ladder_chart
from topout.report.climb.roofline_chart import roofline_chart
from topout.report.climb.rung import RungRow, rung_rows
from topout.report.document import Chart
from topout.report.figures import (
    phase_name,
    phase_result,
    phases_of,
    rate_title,
    sample_tokens_per_s,
)


def climb_charts(climb: Climb) -> list[Chart]:
    """The charts that `climb` has the figures for, in the order in which they are read."""
    rungs = climb.rungs
    charts = []
    for phase in reversed(phases_of(climb.workload)):
        if any(phase_result(rung, phase) for rung in rungs):
            title = f"The ladder: {phase_name(climb.workload, phase)}"
            charts.append(Chart(phase, title, LADDER_CAPTION, ladder_chart(climb, phase)))
    if any(rung.prefill or rung.decode for rung in rungs):
        caption = _ROOFLINE if climb.workload.task == "generate" else _ROOFLINE_OF_ONE
        charts.append(Chart("roofline", "The roofline", caption, roofline_chart(climb)))
    if any(rung.weight_bytes or rung.peak_memory_bytes for rung in rungs):
        charts.append(Chart("memory", "Memory", _MEMORY, memory_chart(climb)))
    if any(rung.samples for rung in rungs):
        charts.append(Chart("runs", "The runs over time", _RUNS, runs_over_time(climb)))
    if has_bandwidth(climb):
        charts.append(
            Chart("bandwidth", "The machine meanwhile", _BANDWIDTH, bandwidth_over_time(climb))
        )
    return charts


_ROOFLINE = (
    "Lines: what this machine was measured to reach, bandwidth rising and arithmetic flat. "
    "Circles: decode. Squares: prefill. Numbers follow the order of the ladder. "
    "A point on its line can only be moved by doing less work."
)
_ROOFLINE_OF_ONE = _ROOFLINE.replace("Circles: decode. Squares: prefill. ", "")
_MEMORY = "Weights of the rung, and all else that its process held at the peak."
_RUNS = (
    "Every timed run of a rung (filled) and of its rival (hollow), in the order in which they "
    "ran. They take turns, so that what disturbs one disturbs the other."
)
_BANDWIDTH = (
    "Read bandwidth measured between the runs: where it moves, the machine was disturbed, "
    "and ratios hold better than absolute rates."
)


_PARTS = {"weights": BLUE, "all else at the peak": GREY}
_MIB = 2**20


def memory_chart(climb: Climb) -> Spec:
    """Stacked bars per measured rung: weight bytes and the rest of the peak, in MiB."""
    rows = rung_rows(climb)
    bars = [part for row in rows for part in _parts(row)]
    totals = [_total(row) for row in rows]
    longest = max((total["end"] for total in totals), default=0.0) or 1.0
    scale = alt.Scale(domain=[0, longest], nice=False)
    order = [row.label for row in rows]
    y = names_axis("label", order, 190)
    tooltip = tooltips("label: rung, weights, peak")
    stacked = (
        chart_of(bars)
        .mark_bar(height=16, opacity=0.85)
        .encode(
            x=alt.X(
                "mib:Q",
                stack="zero",
                scale=scale,
                title="memory, MiB",
                axis=alt.Axis(tickCount=6),
            ),
            y=y,
            order=alt.Order("rank:Q"),
            color=coloured("part", _PARTS, title=None),
            tooltip=tooltip,
        )
    )
    text = chart_of(totals).mark_text(align="left", dx=6).encode(x="end:Q", y=y, text="value:N")
    return finished(alt.layer(stacked, text), height=26 * len(rows), padding=VALUE_MARGIN)


def _parts(row: RungRow) -> list[dict[str, Any]]:
    weights, peak = row.rung.weight_bytes or 0, row.rung.peak_memory_bytes or 0
    common = {
        "label": row.label,
        "weights": units.memory(row.rung.weight_bytes),
        "peak": units.memory(row.rung.peak_memory_bytes),
    }
    # Weights mapped from a file or shared between processes can exceed the peak that was counted.
    rest = max(0, peak - weights)
    sizes = zip(_PARTS, (weights, rest), strict=True)
    return [
        {**common, "part": part, "rank": rank, "mib": size / _MIB}
        for rank, (part, size) in enumerate(sizes)
        if size
    ]


def _total(row: RungRow) -> dict[str, Any]:
    weights, peak = row.rung.weight_bytes, row.rung.peak_memory_bytes
    if peak is not None:
        value = units.memory(peak)
    elif weights is not None:
        value = f"weights {units.memory(weights)}, peak not measured"
    else:
        value = row.verdict if row.verdict in ("skipped", "failed") else "not measured"
    return {"label": row.label, "end": max(weights or 0, peak or 0) / _MIB, "value": value}


# Both charts have the same room for labels at the left, so that their times stand in line.
_LEFT = 48


def runs_over_time(climb: Climb) -> Spec:
    """The rate of every timed run in its last phase, rung and rival, by when it began."""
    work, phase = climb.workload, phases_of(climb.workload)[-1]
    rows = [row for row in rung_rows(climb) if row.rung.samples]
    dots = [_dot(climb, row, role, sample) for row, role, sample in _all_runs(climb)]
    base = chart_of([dot for dot in dots if dot is not None]).encode(
        x=_time_axis(climb, None),
        y=alt.Y(
            "rate:Q",
            title=rate_title(work, phase),
            scale=alt.Scale(zero=True),
            axis=alt.Axis(minExtent=_LEFT, maxExtent=_LEFT, tickCount=5),
        ),
        color=coloured("label", {row.label: rung_colour(row.number) for row in rows}, legend=None),
        tooltip=_RUN_TOOLTIP,
    )
    filled = base.transform_filter(alt.datum.role == _RUNG).mark_point(filled=True, size=46)
    hollow = base.transform_filter(alt.datum.role == _RIVAL).mark_point(size=34, strokeWidth=1.5)
    return finished(alt.layer(_names(climb, rows), hollow, filled), height=240)


_RUNG, _RIVAL = "the rung", "its rival"
_RUN_TOOLTIP = tooltips(
    "label: rung, role: run of, rated: rate, ttft: time to first token, at: began at, "
    "stolen: CPU time stolen, bandwidth: bandwidth just before"
)


def _names(climb: Climb, rows: list[RungRow]) -> Any:
    """The rungs' names over their runs, each cut to the room that it has before the next."""
    first, last = _time_domain(climb)
    starts = [min(sample.at_s for sample in row.rung.samples) for row in rows]
    names = [
        {
            "number": str(row.number),
            "name": f"{row.number} {row.label}",
            "at_s": start,
            "share": min([other for other in starts if other > start], default=last) - start,
        }
        for row, start in zip(rows, starts, strict=True)
    ]
    room = f"(datum.share / {last - first} * width - 14)"
    style: dict[str, Any] = {
        "fontSize": 11,
        "limit": {"expr": f"max(14, {room})"},
        "text": {"expr": f"{room} < 48 ? datum.number : datum.name"},
    }
    return (
        chart_of(names)
        .mark_text(align="left", baseline="bottom", dx=-4, dy=-6, **style)
        .encode(x=_time_axis(climb, None), y=alt.value(0))
    )


def bandwidth_over_time(climb: Climb) -> Spec:
    """Read bandwidth measured between the runs, on the time axis of `runs_over_time`."""
    probes = sorted(
        (
            {
                "at_s": sample.at_s,
                "gb_per_s": sample.ceiling_bytes_per_s / 1e9,
                "bandwidth": units.bytes_per_s(sample.ceiling_bytes_per_s),
                "at": units.seconds(sample.at_s),
            }
            for _, _, sample in _all_runs(climb)
            if sample.ceiling_bytes_per_s is not None
        ),
        key=lambda probe: float(str(probe["at_s"])),
    )
    base = chart_of(probes).encode(
        x=_time_axis(climb, "time since the climb began, s"),
        y=alt.Y(
            "gb_per_s:Q",
            title="bandwidth, GB/s",
            scale=alt.Scale(zero=True),
            axis=alt.Axis(minExtent=_LEFT, maxExtent=_LEFT, tickCount=4),
        ),
        tooltip=tooltips("bandwidth, at: measured at"),
    )
    line = base.mark_line(color=GREY, strokeWidth=1)
    return finished(alt.layer(line, base.mark_circle(color=GREY, size=22)), height=110)


def has_bandwidth(climb: Climb) -> bool:
    """Whether any run was preceded by a bandwidth measurement."""
    return any(sample.ceiling_bytes_per_s is not None for _, _, sample in _all_runs(climb))


def _all_runs(climb: Climb) -> Iterator[tuple[RungRow, str, RunSample]]:
    for row in rung_rows(climb):
        yield from ((row, _RUNG, sample) for sample in row.rung.samples)
        yield from ((row, _RIVAL, sample) for sample in row.rung.rival_samples)


def _dot(climb: Climb, row: RungRow, role: str, sample: RunSample) -> dict[str, Any] | None:
    rate = sample_tokens_per_s(sample, climb.workload, phases_of(climb.workload)[-1])
    if rate is None:
        return None
    return {
        "label": row.label,
        "role": role,
        "rate": rate,
        "at_s": sample.at_s,
        "at": units.seconds(sample.at_s),
        "rated": f"{units.significant(rate, 4)} {unit_of(climb.workload)}",
        "ttft": units.seconds(sample.ttft_s),
        "stolen": units.percent(sample.stolen_share, 1),
        "bandwidth": units.bytes_per_s(sample.ceiling_bytes_per_s),
    }


def _time_axis(climb: Climb, title: str | None) -> alt.X:
    scale = alt.Scale(domain=list(_time_domain(climb)), nice=False)
    return alt.X("at_s:Q", title=title, scale=scale, axis=alt.Axis(tickCount=8))


def _time_domain(climb: Climb) -> tuple[float, float]:
    times = [sample.at_s for _, _, sample in _all_runs(climb)]
    first, last = min(times, default=0.0), max(times, default=1.0)
    margin = (last - first or 1.0) * 0.02
    return first - margin, last + margin
