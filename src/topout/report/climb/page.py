"""A climb as one HTML page that holds everything it shows and loads nothing."""

from topout import units
from topout.records import Climb, Doubt, Duel, Estimate, PairedRatio
from topout.report.climb.charts import climb_charts
from topout.report.climb.headline import headlines
from topout.report.climb.rung_card import SAMPLE_COLUMNS, rung_cards
from topout.report.climb.rung_row import RungRow, rung_rows
from topout.report.intervals import interval
from topout.report.machine.facts import (
    bandwidth_rows,
    compute_rows,
    machine_facts,
    overhead_rows,
)
from topout.report.page import Tile, render_page, unbroken


def climb_page(climb: Climb) -> str:
    """The result of a climb as a self-contained HTML document.

    Charts are interactive where scripts run and static pictures where they do not. Whatever the
    record says is shown as text, also where it looks like markup.
    """
    rows = rung_rows(climb)
    return render_page(
        "climb.html.j2",
        climb,
        climb.model.name,
        climb_charts(climb),
        climb=climb,
        rows=rows,
        cards=rung_cards(climb),
        headlines=[unbroken(sentence) for sentence in headlines(climb)],
        findings=[unbroken(sentence) for sentence in climb.findings],
        tiles=_tiles(climb, rows),
        workload=_workload(climb),
        doubts=_doubts(climb, rows),
        machine_facts=machine_facts(climb.machine),
        ceilings=climb.ceilings,
        ceiling_tables=_ceiling_tables(climb),
        sample_columns=SAMPLE_COLUMNS,
    )


def _tiles(climb: Climb, rows: list[RungRow]) -> list[Tile]:
    duel = climb.duel
    if duel is None:
        return []
    return [
        _tile("decode", duel.decode_speedup, _rates(rows, "decode")),
        _tile("prefill", duel.prefill_speedup, _rates(rows, "prefill")),
        _tile("whole workload", duel.speedup, _pairs(duel)),
    ]


def _tile(name: str, ratio: PairedRatio, detail: str) -> Tile:
    return Tile(name, units.times(ratio.median), interval(ratio), detail)


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
