"""The runs in the order of time, and the bandwidth of the machine between them."""

from collections.abc import Iterator
from typing import Any

import altair as alt

from topout import units
from topout.records import Climb, RunSample
from topout.report.charts.theme import GREY, Spec, chart_of, finished, rung_colour
from topout.report.climb.rung_row import RungRow, rung_rows
from topout.report.phase_rates import sample_tokens_per_s

# Both charts have the same room for labels at the left, so that their times stand in line.
_LEFT = 48


def runs_over_time(climb: Climb) -> Spec:
    """Decode tokens/s of every timed run, rung and rival, by the time at which it began."""
    rows = [row for row in rung_rows(climb) if row.rung.samples]
    dots = [_dot(climb, row, role, sample) for row, role, sample in _all_runs(climb)]
    base = chart_of([dot for dot in dots if dot is not None]).encode(
        x=_time_axis(climb, None),
        y=alt.Y(
            "rate:Q",
            title="decode, tokens/s",
            scale=alt.Scale(zero=True),
            axis=alt.Axis(minExtent=_LEFT, maxExtent=_LEFT, tickCount=5),
        ),
        color=alt.Color(
            "label:N",
            legend=None,
            scale=alt.Scale(
                domain=[row.label for row in rows], range=[rung_colour(r.number) for r in rows]
            ),
        ),
        tooltip=_TOOLTIP,
    )
    filled = base.transform_filter(alt.datum.role == _RUNG).mark_point(filled=True, size=46)
    hollow = base.transform_filter(alt.datum.role == _RIVAL).mark_point(size=34, strokeWidth=1.5)
    return finished(alt.layer(_names(climb, rows), hollow, filled), height=240)


_RUNG, _RIVAL = "the rung", "its rival"
_TOOLTIP = [
    alt.Tooltip("label:N", title="rung"),
    alt.Tooltip("role:N", title="run of"),
    alt.Tooltip("decode:N"),
    alt.Tooltip("ttft:N", title="time to first token"),
    alt.Tooltip("at:N", title="began at"),
    alt.Tooltip("stolen:N", title="CPU time stolen"),
    alt.Tooltip("bandwidth:N", title="bandwidth just before"),
]


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
        tooltip=[alt.Tooltip("bandwidth:N"), alt.Tooltip("at:N", title="measured at")],
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
    rate = sample_tokens_per_s(sample, climb.workload, "decode")
    if rate is None:
        return None
    return {
        "label": row.label,
        "role": role,
        "rate": rate,
        "at_s": sample.at_s,
        "at": units.seconds(sample.at_s),
        "decode": f"{units.significant(rate, 4)} tokens/s",
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
