"""Figures and words that several reports, or a report and its charts, give alike."""

from typing import Literal

from topout import units
from topout.errors import InputError
from topout.records import (
    Estimate,
    OperatorRate,
    PairedRatio,
    PhasePrediction,
    PhaseResult,
    RankTime,
    RungForecast,
    RungResult,
    RunSample,
    TrainCase,
    WorkloadSummary,
)
from topout.records.climb import unit_of
from topout.report.document import Cell, Tile
from topout.roofline import ROOF_TOLERANCE, Placement, is_above, place


def spread(estimate: Estimate | None) -> str:
    """Half the interval as a share of the median: "±1.2 %"; empty when there is none."""
    if estimate is None or estimate.median == 0:
        return ""
    half = (estimate.high - estimate.low) / 2 / abs(estimate.median)
    return f"±{units.percent(half, 1)}"


def precision(dtype: str, *remarks: str) -> str:
    """A data type with why it is that one, and what is in another: "bf16 (as published)"."""
    told = ", ".join(remark for remark in remarks if remark)
    return f"{dtype} ({told})" if told else dtype


def interval(ratio: PairedRatio | Estimate | None) -> str:
    """The bounds of an interval: "[2.05, 2.18]"; empty when there is none."""
    if ratio is None:
        return ""
    return f"[{_bound(ratio.low)}, {_bound(ratio.high)}]"


def _bound(value: float) -> str:
    # The bounds of one interval are read side by side: equal decimals, not equal significance.
    return f"{value:.2f}" if value < 100 else units.significant(value)


def figure(value: float | None, digits: int = 3) -> str:
    """A figure without a unit; an en dash when there is none."""
    return units.ABSENT if value is None else units.significant(value, digits)


def rate_unit_of(dtype: str) -> str:
    """What rates of a data type are given in: operations on whole numbers are no FLOPs."""
    return "OP/s" if dtype.startswith("int") else "FLOP/s"


def rate_cell(rate: Estimate | None) -> Cell:
    """The median of a rate with its spread below."""
    return Cell(figure(rate.median if rate else None), spread(rate))


def ratio_cell(ratio: PairedRatio | Estimate | None) -> Cell:
    """A speedup with its interval below."""
    return Cell(units.times(ratio.median if ratio else None), interval(ratio))


def ratio_tile(name: str, ratio: PairedRatio | None, detail: str) -> Tile:
    """A speedup as a large figure."""
    cell = ratio_cell(ratio)
    return Tile(name, cell.value, cell.below, detail)


def rates_sentence(before: float, after: float, workload: WorkloadSummary) -> str:
    """The absolute rates behind a ratio: "210 → 904 tokens/s"."""
    unit = unit_of(workload)
    return f"{units.significant(before)} → {units.significant(after)} {unit}"


TERMS = {
    "Prefill and decode": "Prefill reads the whole prompt at once and yields the first new token; "
    "decode yields the others one after another. Prefill is mostly bound by arithmetic, decode by "
    "memory.",
    "Forward": "One forward pass over the whole batch: nothing is generated.",
    "TTFT, TPOT": "Time to first token: all of prefill; and time per output token after it: (total "
    "− TTFT) / (new tokens − 1).",
    "MFU": "Model FLOP/s utilization: the FLOPs that the model needs, over the time taken, over "
    "the arithmetic rate that this machine was measured to reach. One multiply-add is 2 FLOPs.",
    "MBU": "Memory bandwidth utilization: the weight and KV-cache bytes that one step must read, "
    "over the time taken, over the bandwidth that this machine was measured to reach. More than "
    "that, by over 2 %, is shown as >100 %: the ceiling was measured too low, or the bytes came "
    "from a nearer level of memory.",
    "Speedup and its interval": "Two rivals run in turns, and every pair of neighbouring runs "
    "gives one ratio. The figure is the median of the ratios; in brackets stands the interval of "
    "the test that also gives the verdict (Student's t on the trimmed mean of their logarithms). "
    "Faster or slower: the interval leaves out 1, and the figure is 5 % or more. No difference: "
    "all of it is within 5 % of 1. Anything else is not proven.",
    "Regions of the roofline": "Memory-bound and compute-bound work reaches at least half of the "
    "roof above it. Poor work stands under half of both roofs, so something else takes its time. "
    "Work above a roof was given to the wrong one: its bytes came from a nearer level of memory, "
    "or its FLOPs were not all done.",
    "±": "Half of the 95 % interval of the median, as a share of it.",
}


def terms(*names: str) -> list[tuple[str, str]]:
    """The terms of these names with their meanings."""
    return [(name, TERMS[name]) for name in names]


Phase = Literal["prefill", "decode"]
PHASES: tuple[Phase, Phase] = ("prefill", "decode")


def phases_of(workload: WorkloadSummary) -> tuple[Phase, ...]:
    """The phases that a workload has: a model of one pass has that alone, kept as `prefill`."""
    return ("prefill",) if workload.task == "forward" else PHASES


def phase_name(workload: WorkloadSummary, phase: Phase) -> str:
    """How a phase is called: "prefill", "decode", or "forward"."""
    return "forward" if workload.task == "forward" else phase


def time_name(workload: WorkloadSummary) -> str:
    """How the time of the first phase is called."""
    return "Time" if workload.task == "forward" else "TTFT"


def rate_title(workload: WorkloadSummary, phase: Phase) -> str:
    """What an axis of rates shows: "decode, tokens/s"."""
    return f"{phase_name(workload, phase)}, {unit_of(workload)}"


def rate_head(workload: WorkloadSummary, phase: Phase) -> str:
    """The head of a column of rates: "Decode" over "tok/s"."""
    unit = "img/s" if workload.image_size else "tok/s"
    return f"{phase_name(workload, phase).capitalize()}\n{unit}"


def phase_terms(workload: WorkloadSummary) -> tuple[str, ...]:
    """The terms that explain the phases of a workload."""
    return ("Forward",) if workload.task == "forward" else ("Prefill and decode", "TTFT, TPOT")


def meaningless(workload: WorkloadSummary) -> str:
    """What random weights are good for nothing in."""
    what = "outputs are" if workload.task == "forward" else "text is"
    return f"the {what} meaningless"


def phase_result(rung: RungResult, phase: Phase) -> PhaseResult | None:
    """What was measured of one phase."""
    return rung.prefill if phase == "prefill" else rung.decode


def phase_prediction(rung: RungResult | RungForecast, phase: Phase) -> PhasePrediction | None:
    """What was predicted of one phase."""
    if rung.prediction is None:
        return None
    return rung.prediction.prefill if phase == "prefill" else rung.prediction.decode


def sample_tokens_per_s(sample: RunSample, workload: WorkloadSummary, phase: Phase) -> float | None:
    """Tokens/s of all sequences of the batch in one run; None when the phase took no time."""
    if phase == "prefill":
        tokens, time_s = _inputs(workload), sample.ttft_s
    else:
        # The first new token comes out of prefill.
        tokens, time_s = sample.new_tokens - 1, sample.total_s - sample.ttft_s
    return None if time_s <= 0 or tokens <= 0 else tokens * workload.batch_size / time_s


def sample_rates(sample: RunSample, workload: WorkloadSummary) -> list[str]:
    """Tokens/s of one run in each of its phases."""
    phases = phases_of(workload)
    return [figure(sample_tokens_per_s(sample, workload, phase), 4) for phase in phases]


def _inputs(workload: WorkloadSummary) -> int:
    """Tokens that go into a sequence at first, or its one image."""
    return 1 if workload.image_size else workload.prompt_len


def predicted_tokens_per_s(
    workload: WorkloadSummary, rung: RungResult | RungForecast, phase: Phase
) -> float | None:
    """Tokens/s that the cost model expected; None when it made no prediction."""
    expected = phase_prediction(rung, phase)
    if expected is None or expected.time_s <= 0:
        return None
    tokens = _inputs(workload) if phase == "prefill" else 1
    return tokens * workload.batch_size / expected.time_s


def bound_of(result: PhaseResult) -> str:
    """What bounds a phase; not known where it was measured above a ceiling."""
    if is_above(result.mfu_of_ceiling) or is_above(result.mbu_of_ceiling):
        return "not known: above a ceiling"
    return result.bound


def placement(result: PhaseResult) -> Placement | None:
    """Where a measured phase stands under its own ceilings; None when they are not known."""
    if result.ceiling_flops_per_s is None or result.ceiling_bytes_per_s is None:
        return None
    try:
        return place(
            result.arithmetic_intensity,
            result.flops / result.time_s.median,
            result.ceiling_flops_per_s,
            result.ceiling_bytes_per_s,
            ROOF_TOLERANCE,
        )
    except (InputError, ZeroDivisionError):
        return None


PARTS = ("data", "forward", "backward", "communication", "optimizer", "other")


def rank_name(case: TrainCase, time: RankTime) -> str:
    """ "1 rank", "2 ranks, rank 0": unique within a report."""
    name = units.counted(case.ranks, "rank")
    return name if case.ranks == 1 else f"{name}, rank {time.rank}"


GAP = "(no operator)"


def short_name(name: str) -> str:
    """An operator without the namespace that nearly all have."""
    return name.removeprefix("aten::")


def rate_name(rate: OperatorRate) -> str:
    """What the operator is and whose: "mlp.up addmm"."""
    short = short_name(rate.name)
    return f"{rate.part} {short}" if rate.part else short
