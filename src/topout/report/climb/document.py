"""A climb as a document: the ladder, its charts, every rung in full, the machine."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import replace

from msgspec import structs

from topout import units
from topout.records import Climb, Doubt, Duel
from topout.report.climb.rung import RungRow, rung_card, rung_rows
from topout.report.climb.winner import winner_sections
from topout.report.document import (
    Absent,
    Cell,
    Chart,
    Column,
    Document,
    Paragraph,
    Part,
    Row,
    Section,
    Style,
    Table,
    Tile,
    first_and_others,
)
from topout.report.figures import (
    Phase,
    interval,
    meaningless,
    phase_name,
    phase_terms,
    phases_of,
    rate_head,
    rates_sentence,
    ratio_tile,
    sample_tokens_per_s,
    terms,
)
from topout.report.machine.facts import machine_section, workload_facts, workload_sentence

_FIGURE = re.compile(r"\d+(?:\.\d+)?")
_WIDE = 100  # characters that MFU and MBU, and what is predicted, need beside each other
_STYLES: dict[str, Style] = {
    "baseline": "best",
    "kept": "kept",
    "replaced": "soft",
    "rejected": "rejected",
    "not proven": "rejected",
    "skipped": "skipped",
    "failed": "failed",
}
_OWN_TERMS = {
    "Predicted": "Computed before the rung ran, from the FLOPs and bytes it needs, the measured "
    "ceilings and the overhead per operation: the larger of the arithmetic and memory times, plus "
    "overhead.",
    "Over the rival, over the baseline": "Over the rival: the rung timed in turns with the best "
    "stack before it. Over the baseline: of ★ and ☆, the best stack and the best that leaves the "
    "output unchanged, timed in turns with the baseline at the end, the same figure as on top; "
    "with a ≈, the product of the ratios of its stack, which are of other moments. Both are of "
    "the whole workload, prefill and decode together.",
    "Kept, replaced, rejected, not proven, skipped, failed": "Kept: at least 5 % faster beyond the "
    "noise, and the output verified. Replaced: kept, until a later rung that cannot be beside it "
    "was faster. Rejected: slower, no different, or the output changed more than was allowed. Not "
    "proven: the pairs, or the scored tokens, do not decide; it is not kept, and more time may. "
    "Skipped: could not run here. Failed: crashed, hung or ran out of memory, alone in its own "
    "process.",
}


def climb_document(climb: Climb, folder: str | None = None) -> Document:
    """The report of a climb; `folder` is where it lies, from which its winner is loaded."""
    rows = rung_rows(climb)

    def charts() -> Sequence[Chart]:
        from topout.report.climb.charts import climb_charts

        return climb_charts(climb)

    main_chart, other_charts = first_and_others(charts)
    work = climb.workload
    on = f"on {work.device} with {units.counted(work.threads, 'thread')}"
    cards = [rung_card(climb, row, verdict_cell(row)) for row in rows]
    return Document(
        record=climb,
        title=climb.model.name,
        about=f"{workload_sentence(climb.model, work, on)}; {climb.machine.cpu_model}",
        headlines=headlines(climb),
        tiles=_tiles(climb),
        lead=[main_chart, _ladder(climb, rows), *winner_sections(climb, folder)],
        parts=[
            other_charts,
            Section("Rung by rung", cards, key="rungs", only="page", printed=False),
            _machine(climb),
        ],
        findings=climb.findings,
        doubts=_doubts(climb, rows),
        absent=Absent(climb.reasons),
        terms=[
            *terms(*phase_terms(climb.workload), "MFU", "MBU", "Speedup and its interval"),
            *_OWN_TERMS.items(),
            *terms("±", "Regions of the roofline"),
        ],
        data_note="All figures with every single run, as JSON, are inside this page.",
    )


def headlines(climb: Climb) -> list[str]:
    """The result in one or two sentences, from the duels of the best stack and the baseline."""
    duel, exact = climb.duel, climb.exact_duel
    sentences = [_without_duel(climb) if duel is None else _duel_sentence(duel)]
    if exact is not None and (duel is None or exact.champion != duel.champion):
        sentences.append(f"With the output unchanged: {_duel_sentence(exact)}")
    if climb.model.weights == "random":
        sentences.append(
            f"{climb.model.name} has random weights: the speed is real, "
            f"{meaningless(climb.workload)}."
        )
    if not climb.finished:
        sentences.append("The climb was interrupted; what follows is what was finished.")
    return sentences


def _duel_sentence(duel: Duel) -> str:
    if duel.decode_speedup is None:
        return (
            f"{duel.champion} is {units.times(duel.speedup.median)} as fast as the baseline "
            f"{interval(duel.speedup)}."
        )
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


_WHICH_GAIN = (
    "Speedups are of the whole workload, from runs in turns; ≈: the product of the ratios on the "
    "way to it."
)


def _ladder(climb: Climb, rows: list[RungRow]) -> Section:
    work = climb.workload
    names = [phase_name(work, each) for each in phases_of(work)]
    columns = [
        Column("", text=True, only="terminal"),
        Column("Rung", text=True, least=16),
        *(Column(rate_head(work, each), least=7) for each in phases_of(work)),
        Column("Speedup\nover rival"),
        Column("Pre-\ndicted", below_width=_WIDE),
        Column("Predicted\nspeedup", from_width=_WIDE),
        Column("Over\nbase", below_width=_WIDE),
        Column("Over\nbaseline", from_width=_WIDE),
        Column("MFU\nMBU", below_width=_WIDE),
        Column(f"MFU\n{names[0]}", from_width=_WIDE),
        Column(f"MBU\n{names[-1]}", from_width=_WIDE),
        Column("Peak\nmemory"),
    ]
    parts: list[Part] = [
        Paragraph(
            "Each rung was timed in turns with its rival, the best stack before it. What helped "
            "and was verified stays.",
            "note",
            only="page",
        ),
        Paragraph(
            _WHICH_GAIN if any(row.speedup.value != units.ABSENT for row in rows) else "", "note"
        ),
        Table(columns, [_row(row, len(names)) for row in rows], notes_title="Verdict and reason"),
        Paragraph("" if rows else "No rung was finished."),
    ]
    return Section("The ladder", parts, key="ladder")


def _row(row: RungRow, phases: int) -> Row:
    verdict = verdict_cell(row)
    over: Style = "best" if row.is_best or row.is_best_exact else ""
    return Row(
        [
            Cell(row.mark, style=verdict.style),
            Cell(f"{row.number} {row.label}", short=row.label, link=f"#rung-{row.number}"),
            *[row.prefill, row.decode][:phases],
            row.speedup,
            row.predicted,
            row.predicted,
            Cell(row.over_baseline.value, style=over),
            replace(row.over_baseline, style=over),
            f"{row.mfu}\n{row.mbu}" if row.measured else row.mfu,
            row.mfu,
            row.mbu,
            row.memory,
        ],
        style="soft" if row.verdict in ("skipped", "failed") else "",
        verdict=verdict,
        note=row.note,
    )


def verdict_cell(row: RungRow) -> Cell:
    """What became of a rung: "✓ kept ★ best"."""
    best = " ★ best" if row.is_best else " ☆ exact" if row.is_best_exact else ""
    return Cell(f"{row.mark} {row.verdict}{best}", style=_STYLES[row.verdict])


def _tiles(climb: Climb) -> list[Tile]:
    duel = climb.duel
    if duel is None:
        return []
    pairs = f"{len(duel.speedup.pairs)} pairs of runs in turns"
    if duel.decode_speedup is None:
        return [
            ratio_tile("speedup", duel.speedup, _rates(climb, duel, "prefill")),
            Tile("evidence", str(len(duel.speedup.pairs)), detail="pairs of runs in turns"),
        ]
    return [
        ratio_tile("decode", duel.decode_speedup, _rates(climb, duel, "decode")),
        ratio_tile("prefill", duel.prefill_speedup, _rates(climb, duel, "prefill")),
        ratio_tile("whole workload", duel.speedup, pairs),
    ]


def _rates(climb: Climb, duel: Duel, phase: Phase) -> str:
    """The rates in the duel itself: those of the ladder are of other moments."""
    medians = []
    for samples in (duel.rival_samples, duel.samples):
        rates = [sample_tokens_per_s(each, climb.workload, phase) for each in samples]
        known = [rate for rate in rates if rate is not None]
        if not known:
            return ""
        medians.append(statistics.median(known))
    before, after = medians
    return rates_sentence(before, after, climb.workload)


def _doubts(climb: Climb, rows: list[RungRow]) -> list[Doubt]:
    """Those of the climb, of its rungs and of its ceilings, each with what it is about."""
    of_ceilings = [
        structs.replace(doubt, about=f"ceilings, {doubt.about}")
        for doubt in (climb.ceilings.doubts if climb.ceilings else [])
    ]
    of_rungs = [(row.label, doubt) for row in rows for doubt in row.rung.doubts]
    return [*climb.doubts, *_grouped(of_rungs), *of_ceilings]


def _grouped(doubts: list[tuple[str, Doubt]]) -> list[Doubt]:
    """Those that differ in their figures alone become one, that of the largest figures."""
    alike: dict[tuple[str, str, str], list[tuple[str, Doubt]]] = {}
    for label, doubt in doubts:
        words = _FIGURE.sub("#", doubt.sentence)
        alike.setdefault((doubt.about, words, doubt.remedy), []).append((label, doubt))
    found = []
    for group in alike.values():
        label, worst = max(group, key=lambda each: _figures_in(each[1].sentence))
        others = [other for other, _ in group if other != label]
        likewise = f" Likewise in {', '.join(others)}." if others else ""
        found.append(
            structs.replace(
                worst, about=f"{label}, {worst.about}", sentence=f"{worst.sentence}{likewise}"
            )
        )
    return found


def _figures_in(sentence: str) -> list[float]:
    return [float(figure) for figure in _FIGURE.findall(sentence)]


def _machine(climb: Climb) -> Section:
    work = climb.workload
    sampling = "greedy" if work.temperature == 0 else f"temperature {work.temperature:g}"
    if work.top_k is not None:
        sampling += f", top {work.top_k}"
    facts = workload_facts(
        climb.model,
        work,
        ("Baseline", climb.baseline),
        ("Device", f"{work.device}, {units.counted(work.threads, 'thread')}"),
        ("Loss allowed", units.percent(climb.max_loss, 1)),
        ("Climbed", f"{climb.created_at}, in {units.seconds(climb.elapsed_s)}"),
        decoding=sampling,
    )
    unmeasured = "" if climb.ceilings else "The ceilings were not measured."
    return machine_section(
        "Machine, workload and ceilings",
        climb.machine,
        facts,
        Paragraph(unmeasured, "note"),
        ceilings=climb.ceilings,
    )
