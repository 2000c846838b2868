"""One rung: as a row, its figures formatted once, and in full for its card."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from topout import units
from topout.records import (
    Climb,
    Estimate,
    PhasePrediction,
    PhaseResult,
    RungResult,
)
from topout.report.climb.verification import interval_range, loss_table, verification_facts
from topout.report.document import (
    Absent,
    Cell,
    Column,
    Doubts,
    Facts,
    Paragraph,
    Row,
    Section,
    Table,
)
from topout.report.figures import (
    Phase,
    bound_of,
    figure,
    phase_name,
    phase_prediction,
    phase_result,
    phases_of,
    placement,
    predicted_tokens_per_s,
    rate_cell,
    rate_head,
    ratio_cell,
    sample_rates,
    time_name,
)
from topout.roofline import share_of

NOT_PROVEN = "not proven"
MARKS = {
    "baseline": "·",
    "kept": "✓",
    "replaced": "→",
    "rejected": "✗",
    NOT_PROVEN: "?",
    "skipped": units.ABSENT,
    "failed": "!",
}


@dataclass(frozen=True, slots=True)
class RungRow:
    """A rung with its figures as text; what was not measured is an en dash."""

    rung: RungResult
    number: int  # its place in the order climbed; the baseline is 0
    label: str  # unique within the climb
    stack: str  # all rungs in force, joined by " + "
    is_baseline: bool
    is_best: bool
    is_best_exact: bool  # the best with the output unchanged, where another one is the best
    measured: bool  # whether it was timed
    mark: str  # the verdict without colour
    verdict: str  # one of MARKS
    replaced_by: str | None
    needed_by: str | None  # the kept rung that brings it into the best stack, though not kept
    prefill: Cell  # tokens/s
    decode: Cell  # tokens/s
    speedup: Cell  # over the rival
    predicted: str
    over_baseline: Cell  # as its final duel says, else the product of its stack's ratios
    mfu: str  # of the first phase, of the measured ceiling
    mbu: str  # of the last phase, of the measured ceiling
    memory: str

    @property
    def note(self) -> str:
        """The reason of the verdict, and what became of the rung since."""
        reason = self.rung.reason or "no reason recorded"
        if self.replaced_by is not None:
            return f"{reason} Replaced by {self.replaced_by}, beside which it cannot be."
        if self.needed_by is not None:
            return f"{reason} In the best stack all the same: {self.needed_by} requires it."
        return reason


def rung_rows(climb: Climb) -> list[RungRow]:
    """The rungs of `climb` as rows, in the order they were climbed."""
    labels = rung_labels(climb)
    numbered = enumerate(zip(climb.rungs, labels, strict=True))
    return [_row(climb, rung, number, label) for number, (rung, label) in numbered]


def rung_labels(climb: Climb) -> list[str]:
    """A label per rung, unique: its name, and its stack where a name was tried more than once."""
    names = Counter(rung.name for rung in climb.rungs)
    seen: Counter[str] = Counter()
    labels = []
    for rung in climb.rungs:
        label = rung.name
        if names[rung.name] > 1:
            label += f" on {' + '.join(rung.on) or climb.baseline}"
        seen[label] += 1
        labels.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return labels


def is_baseline(climb: Climb, rung: RungResult) -> bool:
    """Whether `rung` is what all others are measured against."""
    return rung.name == climb.baseline and not rung.on


def _row(climb: Climb, rung: RungResult, number: int, label: str) -> RungRow:
    baseline = is_baseline(climb, rung)
    stack = " + ".join(rung.stack)
    verdict = _verdict(climb, rung)
    is_kept = not baseline and rung.status == "kept"
    last = phase_result(rung, phases_of(climb.workload)[-1])
    return RungRow(
        rung=rung,
        number=number,
        label=label,
        stack=stack,
        is_baseline=baseline,
        is_best=is_kept and climb.best == stack,
        is_best_exact=is_kept and climb.best_exact == stack != climb.best,
        measured=rung.prefill is not None or rung.decode is not None,
        mark=MARKS[verdict],
        verdict=verdict,
        replaced_by=climb.replaced_by(rung),
        needed_by=climb.needed_by(rung),
        prefill=rate_cell(rung.prefill.tokens_per_s if rung.prefill else None),
        decode=rate_cell(rung.decode.tokens_per_s if rung.decode else None),
        speedup=ratio_cell(rung.speedup),
        predicted=units.times(rung.predicted_speedup),
        over_baseline=Cell("1.00×") if baseline else _over_baseline(climb, rung),
        mfu=share_of(rung.prefill.mfu_of_ceiling if rung.prefill else None),
        mbu=share_of(last.mbu_of_ceiling if last else None),
        memory=units.memory(rung.peak_memory_bytes),
    )


def _verdict(climb: Climb, rung: RungResult) -> str:
    """The status, told apart: what was replaced since, what is no faster and what is not proven."""
    if is_baseline(climb, rung) and rung.status == "kept":
        return "baseline"
    checks = (rung.speedup, rung.verification)
    unproven = any(each is not None and each.verdict == NOT_PROVEN for each in checks)
    if rung.status == "rejected" and unproven:
        return NOT_PROVEN
    return "replaced" if climb.replaced_by(rung) is not None else rung.status


def _over_baseline(climb: Climb, rung: RungResult) -> Cell:
    """As timed in turns with it; else, after a "≈", the product of the ratios of its stack."""
    duel = climb.duel_of(rung)
    if duel is not None:
        return ratio_cell(duel.speedup)
    chain = ratio_cell(rung.speedup_over_baseline)
    timed = rung.speedup_over_baseline is None or rung.rival == climb.baseline
    return chain if timed else replace(chain, value=f"≈{chain.value}")


def rung_card(climb: Climb, row: RungRow, verdict: Cell) -> Section:
    """All that the record of a rung holds."""
    rung = row.rung
    phases = [_phase(climb, rung, phase) for phase in phases_of(climb.workload)]
    assumptions = rung.prediction.assumptions if rung.prediction else []
    assumed = f"The prediction assumes: {'; '.join(assumptions)}." if assumptions else ""
    samples = _samples(climb, rung)
    timed = f"{len(samples.rows)} timed runs"
    return Section(
        f"{row.number} {row.label}",
        [
            Paragraph(rung.change),
            Paragraph(row.note, "failed" if rung.status == "failed" else "strong"),
            Facts(_facts(climb, row)),
            Doubts(rung.doubts),
            Section("", phases, columns=True, key=f"phases-{row.number}"),
            Paragraph(assumed, "note"),
            Facts(verification_facts(rung.verification), "Is the output still right?"),
            loss_table(rung.verification),
            Absent(rung.reasons),
            Section(timed, [samples], folded=True),
        ],
        key=f"rung-{row.number}",
        about=verdict.value,
        card=True,
    )


def _facts(climb: Climb, row: RungRow) -> list[tuple[str, str]]:
    """What is known of it; nothing stands where nothing was measured."""
    rung = row.rung
    off = None
    if rung.speedup is not None and rung.predicted_speedup:
        off = rung.speedup.median / rung.predicted_speedup
    duel = climb.duel_of(rung)
    product = "" if rung.rival == climb.baseline else ", ratios multiplied"
    facts = [
        ("Stands on", " + ".join(rung.on)),
        ("Timed against", (rung.rival or "") if rung.speedup else ""),
        ("Speedup over it", row.speedup.line),
        ("Disturbed pairs, repeated", str(len(rung.disturbed) or "")),
        ("Predicted", _predicted_speedup(rung)),
        ("Measured over predicted", figure(off)),
        ("Over the baseline, in turns", ratio_cell(duel.speedup if duel else None).line),
        ("In decode, in turns", ratio_cell(duel.decode_speedup if duel else None).line),
        (f"Over the baseline{product}", ratio_cell(rung.speedup_over_baseline).line),
        (f"In decode{product}", ratio_cell(rung.decode_speedup_over_baseline).line),
        ("Time to first token", _seconds(rung.ttft_s) if rung.decode else ""),
        ("Output class", _OUTPUT[rung.output_class]),
        ("Weights", units.memory(rung.weight_bytes or None)),
        ("Peak memory", units.memory(rung.peak_memory_bytes or None)),
        ("Prepared in", units.seconds(rung.prepare_s or None)),
        ("Tokens per pass", figure(rung.tokens_per_pass or None)),
    ]
    return [(name, value) for name, value in facts if value not in ("", units.ABSENT)]


_OUTPUT = {
    "exact": "exact: the same tokens",
    "near": "near: a small loss is allowed",
    "sampled": "sampled: the same distribution",
}


def _phase(climb: Climb, rung: RungResult, phase: Phase) -> Table:
    """Figures of one phase, predicted and measured; no rows where it has neither."""
    result, expected = phase_result(rung, phase), phase_prediction(rung, phase)
    both = (expected, result)
    rows: list[Sequence[str]] = []
    if any(both):
        rows = [
            (
                "Time of the phase" if phase == "prefill" else "Time per token",
                _expected_time(expected),
                _seconds(result.time_s if result else None),
            ),
            (
                "Images per second" if climb.workload.image_size else "Tokens per second",
                figure(predicted_tokens_per_s(climb.workload, rung, phase)),
                _plain(result.tokens_per_s if result else None),
            ),
            *(_terms(expected) if expected else []),
            ("FLOPs", *(units.si(each.flops if each else None, "FLOP") for each in both)),
            ("Bytes", *(units.si(each.bytes if each else None, "B") for each in both)),
            (
                "Bound by",
                expected.bound if expected else units.ABSENT,
                bound_of(result) if result else units.ABSENT,
            ),
            *(_place(result) if result else []),
        ]
    columns = [Column("", text=True), Column("Predicted"), Column("Measured")]
    return Table(
        columns,
        [Row(row) for row in rows],
        phase_name(climb.workload, phase).capitalize() if rows else "",
    )


def _predicted_speedup(rung: RungResult) -> str:
    interval = rung.prediction.speedup_interval if rung.prediction else None
    return units.times(rung.predicted_speedup or None) + interval_range(interval, units.significant)


def _expected_time(expected: PhasePrediction | None) -> str:
    if expected is None:
        return units.ABSENT
    return units.seconds(expected.time_s) + interval_range(expected.interval, units.seconds)


def _terms(expected: PhasePrediction) -> list[tuple[str, str, str]]:
    return [
        ("– arithmetic", units.seconds(expected.compute_s), ""),
        ("– memory", units.seconds(expected.memory_s), ""),
        ("– overhead", units.seconds(expected.overhead_s), ""),
    ]


def _place(result: PhaseResult) -> list[tuple[str, str, str]]:
    placed = placement(result)
    mfu = _of(result.mfu_of_ceiling, result.ceiling_flops_per_s, "FLOP/s")
    mbu = _of(result.mbu_of_ceiling, result.ceiling_bytes_per_s, "B/s")
    rows = [
        ("Intensity", "", f"{units.significant(result.arithmetic_intensity)} FLOP/byte"),
        ("MFU of the ceiling", "", mfu),
        ("MBU of the ceiling", "", mbu),
    ]
    if placed is not None:
        share = share_of(placed.attained_share)
        rows.append(("On the roofline", "", f"{placed.region}, {share} of attainable"))
    return rows


def _of(share: float | None, ceiling: float | None, unit: str) -> str:
    if share is None or ceiling is None:
        return share_of(share)
    return f"{share_of(share)} of {units.si(ceiling, unit)}"


def _samples(climb: Climb, rung: RungResult) -> Table:
    """The timed runs of the rung and of its rival, in the order in which they ran."""
    runs = [("rung", s) for s in rung.samples] + [("rival", s) for s in rung.rival_samples]
    work = climb.workload
    rates = [rate_head(work, each) for each in phases_of(work)]
    titles = ("Began at", time_name(work), "Total", *rates, "Passes")
    more = ("Stolen\nCPU", "Bandwidth\nbefore", "Peak\nmemory")
    columns = [Column("Run of", text=True), *map(Column, (*titles, *more))]
    rows = [
        Row(
            [
                role,
                f"{sample.at_s:.1f} s",
                units.seconds(sample.ttft_s),
                units.seconds(sample.total_s),
                *sample_rates(sample, climb.workload),
                str(sample.forward_passes),
                units.percent(sample.stolen_share, 1),
                units.bytes_per_s(sample.ceiling_bytes_per_s),
                units.memory(sample.peak_memory_bytes),
            ]
        )
        for role, sample in sorted(runs, key=lambda run: run[1].at_s)
    ]
    return Table(columns, rows)


def _seconds(estimate: Estimate | None) -> str:
    if estimate is None:
        return units.ABSENT
    median, low, high = map(units.seconds, (estimate.median, estimate.low, estimate.high))
    unit = median.rpartition(" ")[2]
    if low.endswith(f" {unit}") and high.endswith(f" {unit}"):
        low = low.removesuffix(f" {unit}")
    return f"{median} [{low}, {high}]"


def _plain(estimate: Estimate | None) -> str:
    if estimate is None:
        return units.ABSENT
    median, low, high = map(figure, (estimate.median, estimate.low, estimate.high))
    return f"{median} [{low}, {high}]"
