"""One rung as a row: its figures formatted once, the same on the terminal and on the page."""

from collections import Counter
from dataclasses import dataclass

from topout import units
from topout.records import Climb, Estimate, PairedRatio, RungResult, Status
from topout.report.intervals import interval, spread

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
