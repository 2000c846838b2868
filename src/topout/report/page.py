"""What all HTML reports share: one file that holds everything it shows and loads nothing."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from topout import records
from topout.records import (
    Climb,
    CostReport,
    ExampleReport,
    GemmReport,
    LayersReport,
    ProfileReport,
    RunReport,
    TraceDiff,
    TraceReport,
    TraceRuns,
    TrainReport,
)
from topout.report.charts.theme import VEGA_LITE, chart_svg
from topout.report.document import Chart

PageRecord = (
    Climb
    | CostReport
    | ExampleReport
    | GemmReport
    | LayersReport
    | ProfileReport
    | RunReport
    | TraceDiff
    | TraceReport
    | TraceRuns
    | TrainReport
)


@dataclass(frozen=True, slots=True)
class Tile:
    """One large figure with its name above and what qualifies it below."""

    name: str
    value: str
    interval: str
    detail: str


def render_page(
    template: str, record: PageRecord, title: str, charts: Sequence[Chart], **content: Any
) -> str:
    """A self-contained HTML document from `template`, which extends `page.html.j2`.

    The template gets `charts`, their static `pictures` by key, and `content`. `record` is put
    into the page as JSON. Charts are interactive where scripts run and static pictures where they
    do not. Whatever stands in the record is shown as text, also where it looks like markup.
    """
    return (
        _environment()
        .get_template(template)
        .render(
            kind=record.__struct_config__.tag,
            title=title,
            version=record.topout_version,
            created_at=record.created_at,
            charts=charts,
            pictures={chart.key: _picture(chart) for chart in charts},
            specs=_script_json({chart.key: chart.spec for chart in charts}),
            record_json=_script_json(json.loads(records.encode(record))),
            vega=Markup(_vega()) if charts else "",  # noqa: S704 - the library, not input
            **content,
        )
    )


def unbroken(sentence: str) -> str:
    """The sentence with its intervals kept on one line."""
    return re.sub(r"\[([^\[\]]+), ([^\[\]]+)\]", "[\\1,\u00a0\\2]", sentence)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("topout.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


@lru_cache(maxsize=1)
def _vega() -> str:
    """The chart library as one script; it leaves `vegaEmbed` in the window."""
    bundle: str = vl_convert.javascript_bundle(
        "window.vegaEmbed = vegaEmbed;", vl_version=VEGA_LITE
    )
    return bundle.replace("</script", "<\\/script")


def _picture(chart: Chart) -> Markup:
    """The chart as SVG to be inlined; its ids are made its own, since a page has many charts."""
    svg = chart_svg(chart.spec)
    svg = re.sub(r'\bid="', f'id="{chart.key}-', svg)
    svg = svg.replace("url(#", f"url(#{chart.key}-")
    return Markup(svg)  # noqa: S704 - the renderer has escaped all text


def _script_json(value: Any) -> Markup:
    """JSON that a `<script>` can hold: no character of it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - escaped just above
