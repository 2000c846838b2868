"""What all charts share: colours, type, and how a spec is finished and turned into a picture.

Text and axes are drawn in `currentColor`, so that a chart inlined in a page follows the page's
light or dark colours. The hues are those of Okabe and Ito, told apart by colour-blind readers.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import altair as alt
import vl_convert

Spec = dict[str, Any]
Row = dict[str, Any]
"""Of the data that a chart draws."""

VEGA_LITE = "6.4"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
STATIC_WIDTH = 760
# Beside horizontal bars: the value at the end of the longest bar stands in it at any width.
VALUE_MARGIN = {"left": 2, "top": 4, "right": 64, "bottom": 4}

BLUE, ORANGE, GREEN, PINK, SKY, AMBER, GREY = (
    "#2b7fc3",
    "#d9691e",
    "#149c79",
    "#c46a9d",
    "#56b4e9",
    "#dfa01a",
    "#8b929b",
)
VERDICT_COLOURS = {
    "baseline": GREY,
    "kept": BLUE,
    "replaced": SKY,
    "rejected": ORANGE,
    "not proven": AMBER,
    "skipped": GREY,
    "failed": PINK,
}
RUNG_COLOURS = [GREY, BLUE, ORANGE, GREEN, PINK, AMBER, SKY, "#7a6fd0", "#a0522d", "#6f8f1f"]

# Characters that XML 1.0 does not have: most control characters, lone surrogates.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_CONFIG: dict[str, Any] = {
    "background": None,
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 10,
        "gridColor": GREY,
        "gridOpacity": 0.22,
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
    },
    "axisX": {"labelOverlap": "greedy", "labelSeparation": 8},
    "legend": {
        "labelColor": "currentColor",
        "titleColor": "currentColor",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "orient": "top",
        "offset": 8,
        "labelLimit": 260,
        # On a narrow screen names below each other; outside a page there is no container to ask.
        "columns": {"expr": "containerSize()[0] < 520 ? 1 : 0"},
        "symbolStrokeWidth": 1.5,
        "symbolBaseFillColor": "currentColor",
    },
    "text": {"color": "currentColor", "fontSize": 12},
}


def chart_of(rows: list[dict[str, Any]]) -> alt.Chart:
    """A chart of these rows, which are embedded in its spec."""
    return alt.Chart(alt.Data(values=rows))  # type: ignore[no-untyped-call]


def finished(chart: Any, **top_level: Any) -> Spec:
    """The Vega-Lite JSON of an altair chart, in the common dress; `top_level` is added to it."""
    spec: Spec = json.loads(chart.to_json())
    spec["config"] = _CONFIG
    spec["width"] = "container"
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return {**spec, **top_level}


def tooltips(fields: str) -> list[alt.Tooltip]:
    """What is said where the pointer rests: "rate, low: at least" has a title for the second."""
    pairs = [field.partition(": ") for field in fields.split(", ")]
    return [
        alt.Tooltip(f"{field}:N", title=title) if title else alt.Tooltip(f"{field}:N")
        for field, _, title in pairs
    ]


def coloured(field: str, colours: Mapping[str, str], **options: Any) -> alt.Color:
    """A colour for each value of a field; the values stand in the legend in this order."""
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color(f"{field}:N", scale=scale, **options)


def names_axis(field: str, names: Sequence[str], limit: int) -> alt.Y:
    """Names from top to bottom, at most `limit` pixels wide, each with a bar to its right."""
    return alt.Y(f"{field}:N", sort=names, title=None, axis=alt.Axis(labelLimit=limit, grid=False))


def own_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, never grey, which is for what stands behind."""
    return dict(zip(names, cycle(RUNG_COLOURS[1:]), strict=False))


def rung_colour(number: int) -> str:
    """The colour of the rung of this number; beyond ten the colours repeat."""
    return RUNG_COLOURS[number % len(RUNG_COLOURS)]


def chart_svg(spec: Spec, width: int = STATIC_WIDTH, background: str | None = None) -> str:
    """The chart as an SVG document of `width` pixels, made without a browser.

    Inlined in a page it needs no `background`; a file of its own does, since its text is black.
    """
    sized = _sized(spec, width)
    sized["config"] = {**sized["config"], "background": background}
    svg: str = vl_convert.vegalite_to_svg(sized, vl_version=VEGA_LITE, allowed_base_urls=[])
    return svg


def chart_png(spec: Spec, width: int = STATIC_WIDTH, scale: float = 2.0) -> bytes:
    """The chart as a PNG on white, `scale` × `width` pixels wide, made without a browser."""
    sized = _sized(spec, width)
    sized["config"] = {**sized["config"], "background": "white"}
    png: bytes = vl_convert.vegalite_to_png(
        sized, vl_version=VEGA_LITE, scale=scale, allowed_base_urls=[]
    )
    return png


def _sized(spec: Spec, width: int) -> Spec:
    """A copy of fixed width: outside a page there is no container to take the width from."""
    sized: Spec = _drawable(spec)
    if sized.get("width") == "container":
        sized["width"] = width
    return sized


def _drawable(value: Any) -> Any:
    """A copy whose texts an SVG can hold: the renderer ends the whole process over any other."""
    if isinstance(value, str):
        return _NOT_XML.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_drawable(key): _drawable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_drawable(part) for part in value]
    return value
