"""A climb as one HTML page that holds everything it shows and loads nothing."""

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import vl_convert
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from topout import records, units
from topout.records import Climb, Doubt, Duel, Estimate, PairedRatio
from topout.report.chart_theme import VEGA_LITE, chart_svg
from topout.report.charts import Chart, climb_charts
from topout.report.headline import headlines
from topout.report.machine_facts import (
    bandwidth_rows,
    compute_rows,
    machine_facts,
    overhead_rows,
)
from topout.report.rung_card import SAMPLE_COLUMNS, rung_cards
from topout.report.rung_row import RungRow, interval, rung_rows


def climb_page(climb: Climb) -> str:
    """The result of a climb as a self-contained HTML document.

    Charts are interactive where scripts run and static pictures where they do not. Whatever the
    record says is shown as text, also where it looks like markup.
    """
    rows = rung_rows(climb)
    charts = climb_charts(climb)
    return (
        _environment()
        .get_template("climb.html.j2")
        .render(
            climb=climb,
            rows=rows,
            cards=rung_cards(climb),
            headlines=[_unbroken(sentence) for sentence in headlines(climb)],
            findings=[_unbroken(sentence) for sentence in climb.findings],
            tiles=_tiles(climb, rows),
            workload=_workload(climb),
            doubts=_doubts(climb, rows),
            charts=charts,
            pictures={chart.key: _picture(chart) for chart in charts},
            specs=_script_json({chart.key: chart.spec for chart in charts}),
            record=_script_json(json.loads(records.encode(climb))),
            vega=Markup(_vega()),  # noqa: S704 - the library, not input
            machine_facts=machine_facts(climb.machine),
            ceilings=climb.ceilings,
            ceiling_tables=_ceiling_tables(climb),
            sample_columns=SAMPLE_COLUMNS,
            units=units,
        )
    )


@dataclass(frozen=True, slots=True)
class _Tile:
    """One large figure."""

    name: str
    value: str
    interval: str
    detail: str


def _tiles(climb: Climb, rows: list[RungRow]) -> list[_Tile]:
    duel = climb.duel
    if duel is None:
        return []
    return [
        _tile("decode", duel.decode_speedup, _rates(rows, "decode")),
        _tile("prefill", duel.prefill_speedup, _rates(rows, "prefill")),
        _tile("whole workload", duel.speedup, _pairs(duel)),
    ]


def _tile(name: str, ratio: PairedRatio, detail: str) -> _Tile:
    return _Tile(name, units.times(ratio.median), interval(ratio), detail)


def _rates(rows: list[RungRow], phase: str) -> str:
    """The absolute rates behind a ratio: "210 → 904 tokens/s"."""
    ends = [
        next((r for r in rows if r.is_baseline), None),
        next((r for r in rows if r.is_best), None),
    ]
    rates: list[Estimate] = []
    for row in ends:
        result = row and (row.rung.decode if phase == "decode" else row.rung.prefill)
        if not result:
            return ""
        rates.append(result.tokens_per_s)
    return f"{' → '.join(units.significant(rate.median) for rate in rates)} tokens/s"


def _pairs(duel: Duel) -> str:
    return f"{len(duel.speedup.pairs)} pairs of runs in turns"


def _workload(climb: Climb) -> list[tuple[str, str]]:
    work, model = climb.workload, climb.model
    sampling = "greedy" if work.temperature == 0 else f"temperature {work.temperature:g}"
    if work.top_k is not None:
        sampling += f", top {work.top_k}"
    return [
        ("Model", f"{model.name} ({model.architecture}, {model.weights} weights)"),
        ("Parameters", units.count(model.parameters)),
        ("Shape", f"{model.layers} layers, {model.width} wide, {model.heads} heads"),
        ("Prompt", f"{work.prompt_len} tokens"),
        ("New tokens", f"{work.new_tokens}, {sampling}"),
        ("Batch", str(work.batch_size)),
        ("Baseline", f"{climb.baseline}, {work.dtype}"),
        ("Device", f"{work.device}, {work.threads} thread{'' if work.threads == 1 else 's'}"),
        ("Loss allowed", units.percent(climb.max_loss, 1)),
        ("Climbed", f"{climb.created_at}, in {units.seconds(climb.elapsed_s)}"),
    ]


def _unbroken(sentence: str) -> str:
    """The sentence with its intervals kept on one line."""
    return re.sub(r"\[([^\[\]]+), ([^\[\]]+)\]", "[\\1,\u00a0\\2]", sentence)


def _doubts(climb: Climb, rows: list[RungRow]) -> list[tuple[str, Doubt]]:
    of_rungs = [(row.label, doubt) for row in rows for doubt in row.rung.doubts]
    of_ceilings = [("ceilings", d) for d in climb.ceilings.doubts] if climb.ceilings else []
    return [*(("", doubt) for doubt in climb.doubts), *of_rungs, *of_ceilings]


def _ceiling_tables(climb: Climb) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    if climb.ceilings is None:
        return []
    tables = [
        (
            "Arithmetic",
            ("Type", "Threads", "Reached with", "Best trial"),
            compute_rows(climb.ceilings),
        ),
        (
            "Bandwidth (read)",
            ("Level", "Threads", "Pages", "Working set", "Best trial"),
            bandwidth_rows(climb.ceilings),
        ),
        ("Overhead", ("Of", "Threads", "Least time"), overhead_rows(climb.ceilings)),
    ]
    return [table for table in tables if table[2]]


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
