"""Stacked bars of time, the frame of most charts of a trace: legible for one device and for many.

Bars get thin where they are many; of more than MOST_BARS the extremes and an even choice of the
rest are shown, which the caption says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import altair as alt

from topout import units
from topout.report.charts.labels import text_width
from topout.report.charts.theme import (
    AMBER,
    SKY,
    VALUE_MARGIN,
    Row,
    Spec,
    chart_of,
    coloured,
    finished,
    tooltips,
)

MOST_BARS = 64
GREY_FAINT, GREY_PALE = "#b9bfc6", "#d5d9dd"  # of what is idle, and of all the rest
# Room at the left too: a picture's letters are measured in another type than they are shown in.
_MARGIN = {**VALUE_MARGIN, "left": 14}
_THICK = 38  # pixels a bar takes of few
_THIN = 10  # and of many
_TALLEST = 640  # pixels that bars of middling number share
_LABELLED = 20  # pixels from which a bar can carry text
_SYMBOL = 24  # pixels that a legend's symbol and the gap after its text take
_WIDER = 1.1  # a legend's type, over that of the texts in a chart
_NARROWEST = 360  # pixels of a chart on a telephone
_WIDEST_LABEL = 150
_DARK_INK = {GREY_FAINT, GREY_PALE, AMBER, SKY}  # colours on which white cannot be read
_ROUNDING = 1e-9  # of a bar: what differences of rounded sums leave over
_UNITS = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")]


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its parts in seconds from left to right, and what stands at its end."""

    label: str
    parts: Mapping[str, float]
    end: str = ""
    details: str = ""  # what a part's tooltip says besides


def time_unit(longest_s: float) -> tuple[float, str]:
    """The unit in which a time reads well, as seconds and a name."""
    return next(((scale, name) for scale, name in _UNITS if longest_s >= 2 * scale), _UNITS[-1])


def chosen(values: Sequence[float], most: int = MOST_BARS) -> list[int]:
    """Places of at most `most` values, in order: both extremes and an even choice of the others."""
    if len(values) <= most:
        return list(range(len(values)))
    ranked = sorted(range(len(values)), key=lambda place: (values[place], place))
    step = (len(ranked) - 1) / (most - 1)
    return sorted({ranked[round(number * step)] for number in range(most)})


def choice_words(shown: int, of: int) -> str:
    """What a caption says of a choice; nothing where all are shown."""
    if shown == of:
        return ""
    return f" {shown} of {of} devices are shown, those with the least and the most among them."


def stacked_bars(
    bars: Sequence[Bar],
    colours: Mapping[str, str],
    whole: str = "",
    share_of: str = "",
) -> Spec:
    """Bars of seconds in parts; `colours` has the parts in the order in which they are stacked.

    Tooltips give each part's share of its bar, which is `whole`. With `share_of`, what the axis
    then says, all bars are of one length, and the axis is in percent.
    """
    longest = max((sum(bar.parts.values()) for bar in bars), default=0.0) or 1.0
    scale, unit = time_unit(longest)
    if share_of:
        longest, scale, unit = 1.0, 0.01, f"% of {share_of}"
    lengths = [_length(bar, 1.0) if share_of else 1.0 for bar in bars]
    rows = [
        row
        for bar, length in zip(bars, lengths, strict=True)
        for row in _rows(bar, colours, longest * length, scale * length)
    ]
    share = f"share of {whole}" if whole else "share"
    tooltip = tooltips(f"label: of, part, time, share: {share}, details")
    step = max(_THIN, min(_THICK, _TALLEST // max(1, len(bars))))
    labels = [bar.label for bar in bars]
    x = alt.X(
        "start:Q",
        scale=alt.Scale(domain=[0, longest / scale], nice=False),
        title=unit,
        axis=alt.Axis(tickCount=6),
    )
    y = alt.Y(
        "label:N",
        sort=labels,
        title=None,
        axis=alt.Axis(labelLimit=_WIDEST_LABEL, grid=False, labelOverlap="greedy"),
    )
    base = chart_of(rows)
    drawn = base.mark_bar(height=step * 0.72 if step >= _LABELLED else step - 1).encode(
        x=x, x2="stop:Q", y=y, color=_colour(colours, rows, labels), tooltip=tooltip
    )
    layers = [drawn]
    if step >= _LABELLED:
        scales = [scale * length for length in lengths]
        layers += [_part_texts(base, y), _ends(bars, scales, y)]
    return finished(alt.layer(*layers), height=step * max(1, len(bars)), padding=_MARGIN)


def _length(bar: Bar, of_none: float = 0.0) -> float:
    return sum(bar.parts.values()) or of_none


def _rows(bar: Bar, colours: Mapping[str, str], longest: float, scale: float) -> list[Row]:
    rows, start = [], 0.0
    whole = _length(bar, 1.0)
    for part in colours:
        value = bar.parts.get(part, 0.0)
        if value <= whole * _ROUNDING:
            continue
        share = units.percent(value / whole)
        rows.append(
            {
                "label": bar.label,
                "part": part,
                "start": start / scale,
                "middle": (start + value / 2) / scale,
                "stop": (start + value) / scale,
                "time": units.seconds(value),
                "share": share,
                "of": value / longest,
                "needed": text_width(share) + 8,
                "ink": "#1b1f24" if colours[part] in _DARK_INK else "white",
                "details": bar.details,
            }
        )
        start += value
    return rows


def _colour(colours: Mapping[str, str], rows: Sequence[Row], beside: Sequence[str]) -> alt.Color:
    present = {row["part"] for row in rows}
    shown = [part for part in colours if part in present]
    legend = alt.Legend(columns=legend_columns(shown, beside), symbolType="square")
    hues = {part: colours[part] for part in shown}
    return coloured("part", hues, title=None, sort=shown, legend=legend)


def legend_columns(names: Sequence[str], beside: Sequence[str] = ()) -> int:
    """As many entries side by side as a telephone is wide: a legend is laid out once for all.

    It begins right of the names that stand `beside` the bars.
    """
    room = _NARROWEST - min(_WIDEST_LABEL, max(map(text_width, beside), default=30.0))
    widths = [_WIDER * text_width(name) + _SYMBOL for name in names]
    for columns in range(len(names), 1, -1):
        if sum(max(widths[column::columns]) for column in range(columns)) <= room:
            return columns
    return 1


def _part_texts(base: alt.Chart, y: alt.Y) -> alt.Chart:
    """The share in each part that is wide enough for it, at the width of the screen."""
    texts: alt.Chart = base.mark_text(fontSize=11, fontWeight=600).encode(
        x="middle:Q",
        y=y,
        text="share:N",
        color=alt.Color("ink:N", scale=None),
        opacity=alt.condition("datum.of * width > datum.needed", alt.value(1), alt.value(0)),
    )
    return texts


def _ends(bars: Sequence[Bar], scales: Sequence[float], y: alt.Y) -> alt.Chart:
    rows = [
        {"label": bar.label, "at": _length(bar) / scale, "end": bar.end}
        for bar, scale in zip(bars, scales, strict=True)
    ]
    base = chart_of(rows).mark_text(align="left", dx=6)
    ends: alt.Chart = base.encode(x="at:Q", y=y, text="end:N")
    return ends
