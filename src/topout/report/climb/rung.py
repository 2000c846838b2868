"""One rung: as a row, its figures formatted once, and in full for its card."""

from collections import Counter
from dataclasses import dataclass

from topout import units
from topout.records import (
    Climb,
    Estimate,
    PairedRatio,
    PhasePrediction,
    PhaseResult,
    RungResult,
    RunSample,
    Status,
    Verification,
)
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
    PHASES,
    Phase,
    interval,
    phase_result,
    placement,
    predicted_tokens_per_s,
    sample_tokens_per_s,
    spread,
)

MARKS: dict[Status, str] = {"kept": "✓", "rejected": "✗", "skipped": units.ABSENT, "failed": "!"}


@dataclass(frozen=True, slots=True)
class RungRow:
    """A rung with its figures as text; what was not measured is an en dash."""

    rung: RungResult
    number: int  # its place in the order climbed; the baseline is 0
    label: str  # unique within the climb
    stack: str  # all rungs in force, joined by " + "
    is_baseline: bool
    is_best: bool
    measured: bool  # whether it was timed
    mark: str  # the verdict without colour
    verdict: str  # "baseline", "kept", "rejected", "skipped", "failed"
    prefill: str  # tokens/s
    prefill_spread: str
    decode: str  # tokens/s
    decode_spread: str
    speedup: str  # over the rival
    speedup_interval: str
    predicted: str
    over_baseline: str
    over_baseline_interval: str
    mfu: str  # prefill, of the measured ceiling
    mbu: str  # decode, of the measured ceiling
    memory: str


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
    over_baseline = "1.00×" if baseline else _median_times(rung.speedup_over_baseline)
    return RungRow(
        rung=rung,
        number=number,
        label=label,
        stack=stack,
        is_baseline=baseline,
        is_best=not baseline and rung.status == "kept" and climb.best == stack,
        measured=rung.prefill is not None or rung.decode is not None,
        mark="·" if baseline and rung.status == "kept" else MARKS[rung.status],
        verdict="baseline" if baseline and rung.status == "kept" else rung.status,
        prefill=_tokens_per_s(rung.prefill.tokens_per_s if rung.prefill else None),
        prefill_spread=spread(rung.prefill.tokens_per_s if rung.prefill else None),
        decode=_tokens_per_s(rung.decode.tokens_per_s if rung.decode else None),
        decode_spread=spread(rung.decode.tokens_per_s if rung.decode else None),
        speedup=_median_times(rung.speedup),
        speedup_interval=interval(rung.speedup),
        predicted=units.times(rung.predicted_speedup),
        over_baseline=over_baseline,
        over_baseline_interval=interval(rung.speedup_over_baseline),
        mfu=units.percent(rung.prefill.mfu_of_ceiling if rung.prefill else None),
        mbu=units.percent(rung.decode.mbu_of_ceiling if rung.decode else None),
        memory=units.memory(rung.peak_memory_bytes),
    )


def _tokens_per_s(estimate: Estimate | None) -> str:
    return units.ABSENT if estimate is None else units.significant(estimate.median)


def _median_times(ratio: PairedRatio | Estimate | None) -> str:
    return units.times(None if ratio is None else ratio.median)


_SAMPLE_COLUMNS = [
    Column("Run of", text=True),
    Column("Began at"),
    Column("TTFT"),
    Column("Total"),
    Column("Prefill\ntok/s"),
    Column("Decode\ntok/s"),
    Column("Passes"),
    Column("Stolen\nCPU"),
    Column("Bandwidth\nbefore"),
    Column("Peak\nmemory"),
]


def rung_card(climb: Climb, row: RungRow, verdict: Cell) -> Section:
    """All that the record of a rung holds."""
    rung = row.rung
    phases = [_phase(climb, rung, phase) for phase in PHASES]
    assumptions = rung.prediction.assumptions if rung.prediction else []
    assumed = f"The prediction assumes: {'; '.join(assumptions)}." if assumptions else ""
    samples = _samples(climb, rung)
    return Section(
        f"{row.number} {row.label}",
        [
            Paragraph(rung.change),
            Paragraph(rung.reason or "", "failed" if rung.status == "failed" else "strong"),
            Facts(_facts(row)),
            Doubts(rung.doubts),
            Section("", phases, columns=True, key=f"phases-{row.number}"),
            Paragraph(assumed, "note"),
            Facts(_verification(rung.verification), "Is the output still right?"),
            Absent(rung.reasons),
            Section(f"{len(samples)} timed runs", [Table(_SAMPLE_COLUMNS, samples)], folded=True),
        ],
        key=f"rung-{row.number}",
        about=verdict.value,
        card=True,
    )


def _facts(row: RungRow) -> list[tuple[str, str]]:
    rung = row.rung
    chained = rung.decode_speedup_over_baseline
    facts = [
        ("Stands on", " + ".join(rung.on)),
        ("Timed against", (rung.rival or "") if rung.speedup else ""),
        ("Speedup over it", _join(row.speedup, row.speedup_interval) if rung.speedup else ""),
        ("Predicted", row.predicted if rung.predicted_speedup else ""),
        ("Measured over predicted", _off(rung)),
        (
            "Over the baseline",
            _join(row.over_baseline, row.over_baseline_interval)
            if rung.speedup_over_baseline
            else "",
        ),
        (
            "Over the baseline in decode",
            f"{units.times(chained.median)} [{chained.low:.2f}, {chained.high:.2f}]"
            if chained
            else "",
        ),
        ("Time to first token", _seconds(rung.ttft_s) if rung.ttft_s else ""),
        ("Output class", _OUTPUT[rung.output_class]),
        ("Weights", units.memory(rung.weight_bytes) if rung.weight_bytes else ""),
        ("Peak memory", row.memory if rung.peak_memory_bytes else ""),
        ("Prepared in", units.seconds(rung.prepare_s) if rung.prepare_s else ""),
        (
            "Tokens per pass",
            units.significant(rung.tokens_per_pass) if rung.tokens_per_pass else "",
        ),
    ]
    return [(name, value) for name, value in facts if value]


_OUTPUT = {
    "exact": "exact: the same tokens",
    "near": "near: a small loss is allowed",
    "sampled": "sampled: the same distribution",
}


def _off(rung: RungResult) -> str:
    if rung.speedup is None or not rung.predicted_speedup:
        return ""
    return units.significant(rung.speedup.median / rung.predicted_speedup)


def _phase(climb: Climb, rung: RungResult, phase: Phase) -> Table:
    """Figures of one phase, predicted and measured; no rows where it has neither."""
    columns = [Column("", text=True), Column("Predicted"), Column("Measured")]
    result = phase_result(rung, phase)
    expected = None
    if rung.prediction is not None:
        expected = rung.prediction.prefill if phase == "prefill" else rung.prediction.decode
    if result is None and expected is None:
        return Table(columns, [])
    predicted_rate = predicted_tokens_per_s(climb, rung, phase)
    figures = [
        (
            "Time of the phase" if phase == "prefill" else "Time per token",
            units.seconds(expected.time_s if expected else None),
            _seconds(result.time_s if result else None),
        ),
        (
            "Tokens per second",
            units.ABSENT if predicted_rate is None else units.significant(predicted_rate),
            _plain(result.tokens_per_s if result else None),
        ),
        *_terms(expected),
        *_work(expected, result),
        *_place(result),
    ]
    return Table(columns, [Row(figure) for figure in figures], phase.capitalize())


def _terms(expected: PhasePrediction | None) -> list[tuple[str, str, str]]:
    if expected is None:
        return []
    return [
        ("– arithmetic", units.seconds(expected.compute_s), ""),
        ("– memory", units.seconds(expected.memory_s), ""),
        ("– overhead", units.seconds(expected.overhead_s), ""),
    ]


def _work(
    expected: PhasePrediction | None, result: PhaseResult | None
) -> list[tuple[str, str, str]]:
    return [
        (
            "FLOPs",
            units.si(expected.flops if expected else None, "FLOP"),
            units.si(result.flops if result else None, "FLOP"),
        ),
        (
            "Bytes",
            units.si(expected.bytes if expected else None, "B"),
            units.si(result.bytes if result else None, "B"),
        ),
        (
            "Bound by",
            expected.bound if expected else units.ABSENT,
            result.bound if result else units.ABSENT,
        ),
    ]


def _place(result: PhaseResult | None) -> list[tuple[str, str, str]]:
    if result is None:
        return []
    placed = placement(result)
    rows = [
        ("Intensity", "", f"{units.significant(result.arithmetic_intensity)} FLOP/byte"),
        (
            "MFU of the ceiling",
            "",
            _of(result.mfu_of_ceiling, result.ceiling_flops_per_s, "FLOP/s"),
        ),
        ("MBU of the ceiling", "", _of(result.mbu_of_ceiling, result.ceiling_bytes_per_s, "B/s")),
    ]
    if placed is not None:
        share = units.percent(placed.attained_share)
        rows.append(("On the roofline", "", f"{placed.region}, {share} of attainable"))
    return rows


def _of(share: float | None, ceiling: float | None, unit: str) -> str:
    if share is None or ceiling is None:
        return units.percent(share)
    return f"{units.percent(share)} of {units.si(ceiling, unit)}"


def _verification(verification: Verification | None) -> list[tuple[str, str]]:
    if verification is None:
        return []
    v = verification
    figures: list[tuple[str, float | int | None]] = [
        ("Positions compared", v.positions),
        ("Positions with a clear margin", v.decided_positions),
        ("Rounding noise of the baseline", v.rounding_noise),
        ("Largest error of a logit", v.max_logit_error),
        ("KL divergence, nats per token", v.kl_divergence),
        ("Perplexity", v.perplexity),
        ("Perplexity over the baseline's", v.perplexity_ratio),
        ("Bits per byte", v.bits_per_byte),
        ("Generated tokens compared", v.generated_tokens_compared),
        ("First differing token", v.first_divergence),
        ("p-value of the same distribution", v.p_value),
    ]
    rows = [
        ("Verdict", f"{'right' if v.passed else 'not right'}: {v.reason}"),
        ("Method", v.method),
    ]
    if v.token_agreement is not None:
        rows.append(("Tokens that agree", units.percent(v.token_agreement, 2)))
    return rows + [(name, f"{value:.5g}") for name, value in figures if value is not None]


def _samples(climb: Climb, rung: RungResult) -> list[Row]:
    """The timed runs of the rung and of its rival, in the order in which they ran."""
    runs = [("rung", s) for s in rung.samples] + [("rival", s) for s in rung.rival_samples]
    runs.sort(key=lambda run: run[1].at_s)
    return [_sample(climb, role, sample) for role, sample in runs]


def _sample(climb: Climb, role: str, sample: RunSample) -> Row:
    rates = [sample_tokens_per_s(sample, climb.workload, phase) for phase in PHASES]
    return Row(
        [
            role,
            f"{sample.at_s:.1f} s",
            units.seconds(sample.ttft_s),
            units.seconds(sample.total_s),
            *(units.ABSENT if rate is None else units.significant(rate, 4) for rate in rates),
            str(sample.forward_passes),
            units.percent(sample.stolen_share, 1),
            units.bytes_per_s(sample.ceiling_bytes_per_s),
            units.memory(sample.peak_memory_bytes),
        ]
    )


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
    bounds = f"[{units.significant(estimate.low)}, {units.significant(estimate.high)}]"
    return _join(units.significant(estimate.median), bounds)


def _join(value: str, interval: str) -> str:
    return f"{value} {interval}".strip()
