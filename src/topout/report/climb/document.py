"""A climb as a document: the ladder, its charts, every rung in full, the machine."""

from collections.abc import Sequence

from topout import units
from topout.records import Climb, Doubt, Duel, Estimate, PairedRatio
from topout.report.climb.rung import RungRow, rung_card, rung_rows
from topout.report.document import (
    Absent,
    Cell,
    Chart,
    Column,
    Document,
    Facts,
    Figures,
    Paragraph,
    Part,
    Row,
    Section,
    Style,
    Table,
    Tile,
)
from topout.report.figures import interval, terms
from topout.report.machine.facts import machine_section

_WIDE = 100  # characters that MFU and MBU, and what is predicted, need beside each other
_STYLES: dict[str, Style] = {
    "baseline": "best",
    "kept": "kept",
    "rejected": "rejected",
    "skipped": "skipped",
    "failed": "failed",
}
_OWN_TERMS = [
    (
        "Predicted",
        "Computed before the rung ran, from the FLOPs and bytes it needs, the measured ceilings "
        "and the overhead per operation: the larger of the arithmetic and memory times, plus "
        "overhead.",
    ),
    (
        "Kept, rejected, skipped, failed",
        "Kept: faster beyond the noise, and the output verified. Rejected: not faster, or the "
        "output changed more than was allowed. Skipped: could not run here. Failed: crashed, hung "
        "or ran out of memory, alone in its own process.",
    ),
]


def climb_document(climb: Climb) -> Document:
    """The report of a climb."""
    rows = rung_rows(climb)

    def charts() -> Sequence[Chart]:
        from topout.report.climb.charts import climb_charts

        return climb_charts(climb)

    cards = [rung_card(climb, row, _verdict(row)) for row in rows]
    return Document(
        record=climb,
        title=climb.model.name,
        about=_subject(climb),
        headlines=headlines(climb),
        tiles=_tiles(climb, rows),
        parts=[
            _ladder(rows),
            Figures(charts),
            Section("Rung by rung", cards, key="rungs", only="page"),
            _machine(climb),
        ],
        findings=climb.findings,
        doubts=_doubts(climb, rows),
        absent=Absent(climb.reasons),
        terms=[
            *terms("Prefill and decode", "TTFT, TPOT", "MFU", "MBU", "Speedup and its interval"),
            *_OWN_TERMS,
            *terms("±", "Regions of the roofline"),
        ],
        data_note="All figures with every single run, as JSON, are inside this page.",
    )


def _subject(climb: Climb) -> str:
    model, work = climb.model, climb.workload
    return (
        f"{units.count(model.parameters)} parameters ({model.weights} weights), {work.dtype}, on "
        f"{work.device} with {units.counted(work.threads, 'thread')}; prompt "
        f"{work.prompt_len} tokens, {work.new_tokens} new, batch {work.batch_size}; "
        f"{climb.machine.cpu_model}"
    )


def headlines(climb: Climb) -> list[str]:
    """The result in one or two sentences, from the duels of the best stack and the baseline."""
    duel, exact = climb.duel, climb.exact_duel
    sentences = [_without_duel(climb) if duel is None else _duel_sentence(duel)]
    if exact is not None and (duel is None or exact.champion != duel.champion):
        sentences.append(f"With the output unchanged: {_duel_sentence(exact)}")
    if climb.model.weights == "random":
        sentences.append(
            f"{climb.model.name} has random weights: the speed is real, the text is meaningless."
        )
    if not climb.finished:
        sentences.append("The climb was interrupted; what follows is what was finished.")
    return sentences


def _duel_sentence(duel: Duel) -> str:
    return (
        f"{duel.champion} is {units.times(duel.decode_speedup.median)} the baseline in decode "
        f"{interval(duel.decode_speedup)}, {units.times(duel.prefill_speedup.median)} in prefill "
        f"{interval(duel.prefill_speedup)}, and {units.times(duel.speedup.median)} over the whole "
        f"workload {interval(duel.speedup)}."
    )


def _without_duel(climb: Climb) -> str:
    reason = climb.reasons.get("duel", "")
    if reason:
        return f"There was no duel of the best stack and the baseline: {reason}"
    if not any(rung.decode or rung.prefill for rung in climb.rungs):
        failed = next((rung for rung in climb.rungs if rung.status == "failed"), None)
        why = f": {failed.name}: {failed.reason}" if failed else "."
        return f"Nothing was measured{why}"
    if climb.finished and climb.best in (None, climb.baseline):
        return f"No rung beat the baseline {climb.baseline}."
    return f"The best stack so far is {climb.best or climb.baseline}; it met no duel yet."


def _ladder(rows: list[RungRow]) -> Section:
    columns = [
        Column("", text=True, only="terminal"),
        Column("Rung", text=True, least=16),
        Column("Prefill\ntok/s", least=7),
        Column("Decode\ntok/s", least=7),
        Column("Speedup\nover rival"),
        Column("Pre-\ndicted", below_width=_WIDE),
        Column("Predicted\nspeedup", from_width=_WIDE),
        Column("Over\nbase", below_width=_WIDE),
        Column("Over\nbaseline", from_width=_WIDE),
        Column("MFU\nMBU", below_width=_WIDE),
        Column("MFU\nprefill", from_width=_WIDE),
        Column("MBU\ndecode", from_width=_WIDE),
        Column("Peak\nmemory"),
    ]
    parts: list[Part] = [
        Paragraph(
            "Each rung was timed in turns with its rival, the best stack before it. What helped "
            "and was verified stays.",
            "note",
            only="page",
        ),
        Table(columns, [_row(row) for row in rows], notes_title="Verdict and reason"),
        Paragraph("" if rows else "No rung was finished."),
    ]
    return Section("The ladder", parts, key="ladder")


def _row(row: RungRow) -> Row:
    verdict = _verdict(row)
    over: Style = "best" if row.is_best else ""
    return Row(
        [
            Cell(row.mark, style=verdict.style),
            Cell(f"{row.number} {row.label}", short=row.label, link=f"#rung-{row.number}"),
            Cell(row.prefill, row.prefill_spread),
            Cell(row.decode, row.decode_spread),
            Cell(row.speedup, row.speedup_interval),
            row.predicted,
            row.predicted,
            Cell(row.over_baseline, style=over),
            Cell(row.over_baseline, row.over_baseline_interval, style=over),
            f"{row.mfu}\n{row.mbu}" if row.measured else row.mfu,
            row.mfu,
            row.mbu,
            row.memory,
        ],
        style="soft" if row.verdict in ("skipped", "failed") else "",
        verdict=verdict,
        note=row.rung.reason or "no reason recorded",
    )


def _verdict(row: RungRow) -> Cell:
    best = " ★ best" if row.is_best else ""
    return Cell(f"{row.mark} {row.verdict}{best}", style=_STYLES[row.verdict])


def _tiles(climb: Climb, rows: list[RungRow]) -> list[Tile]:
    duel = climb.duel
    if duel is None:
        return []
    pairs = f"{len(duel.speedup.pairs)} pairs of runs in turns"
    return [
        _tile("decode", duel.decode_speedup, _rates(rows, "decode")),
        _tile("prefill", duel.prefill_speedup, _rates(rows, "prefill")),
        _tile("whole workload", duel.speedup, pairs),
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


def _doubts(climb: Climb, rows: list[RungRow]) -> list[Doubt]:
    """Those of the climb, of its rungs and of its ceilings, each with what it is about."""
    found = [(row.label, doubt) for row in rows for doubt in row.rung.doubts]
    found += [("ceilings", doubt) for doubt in (climb.ceilings.doubts if climb.ceilings else [])]
    return [
        *climb.doubts,
        *(
            Doubt(about=f"{label}, {doubt.about}", sentence=doubt.sentence, remedy=doubt.remedy)
            for label, doubt in found
        ),
    ]


def _machine(climb: Climb) -> Section:
    work, model = climb.workload, climb.model
    sampling = "greedy" if work.temperature == 0 else f"temperature {work.temperature:g}"
    if work.top_k is not None:
        sampling += f", top {work.top_k}"
    workload = [
        ("Model", f"{model.name} ({model.architecture}, {model.weights} weights)"),
        ("Parameters", units.count(model.parameters)),
        ("Shape", f"{model.layers} layers, {model.width} wide, {model.heads} heads"),
        ("Prompt", f"{work.prompt_len} tokens"),
        ("New tokens", f"{work.new_tokens}, {sampling}"),
        ("Batch", str(work.batch_size)),
        ("Baseline", f"{climb.baseline}, {work.dtype}"),
        ("Device", f"{work.device}, {units.counted(work.threads, 'thread')}"),
        ("Loss allowed", units.percent(climb.max_loss, 1)),
        ("Climbed", f"{climb.created_at}, in {units.seconds(climb.elapsed_s)}"),
    ]
    unmeasured = "" if climb.ceilings else "The ceilings were not measured."
    return machine_section(
        "Machine, workload and ceilings",
        climb.machine,
        Facts(workload, "What was run"),
        Paragraph(unmeasured, "note"),
        ceilings=climb.ceilings,
    )
