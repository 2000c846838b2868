"""What a predicted cost stands on, in sentences: figures, splits, what is counted or left out."""

from collections.abc import Iterable

from topout import units
from topout.cost.measured_times import MeasuredTimes
from topout.cost.phases import Plan
from topout.machine.kept import kept_doubts
from topout.models.architecture import (
    Architecture,
)
from topout.records import (
    Hardware,
    PhaseCost,
)
from topout.roofline import is_above, share_of, stand_in_doubts
from topout.verbs.cost_machines import Candidate


def above_ceilings(hardware: Hardware, costs: Iterable[PhaseCost]) -> list[str]:
    """The phases that are to be faster than a measured ceiling, with both figures, and why."""
    sentences = []
    for cost in costs:
        if cost.time_s is None:
            continue
        of = f"{hardware.name}: {cost.phase}"
        if cost.mbu_of_ceiling is not None and is_above(cost.mbu_of_ceiling):
            rate = cost.bytes / cost.time_s
            sentences.append(
                f"{of} is to move {units.bytes_per_s(rate)}, above the "
                f"{units.bytes_per_s(rate / cost.mbu_of_ceiling)} of {hardware.levels[-1].name}: "
                "its data are timed in the nearer level that holds them."
            )
        if cost.mfu_of_ceiling is not None and is_above(cost.mfu_of_ceiling):
            sentences.append(
                f"{of} is to compute at {share_of(cost.mfu_of_ceiling)} of the measured ceiling, "
                "which was measured too low, as were the rates too high: measure them again."
            )
    return sentences


def assumptions_of(plan: Plan, candidate: Candidate) -> list[str]:
    workload, name = plan.workload, candidate.hardware.name
    sentences = []
    calibrated = (
        f"overheads of {workload.mode} runs and the speed of quantized products as calibrated on "
        "published runs (docs/cost.md)."
    )
    if candidate.hardware.ceilings is None:
        sentences.append(f"{name}: figures from the catalog; {calibrated}")
    elif not candidate.hardware.rates:
        sentences.append(f"{name}: ceilings measured there, PyTorch's rates not; {calibrated}")
    else:
        sentences.append(f"{name}: ceilings and PyTorch's rates measured there.")
        if isinstance(candidate.timer, MeasuredTimes):
            ceilings, rates = candidate.hardware.ceilings, candidate.timer.rates
            doubts = stand_in_doubts(ceilings, candidate.timer.threads)
            doubts += kept_doubts(ceilings) + kept_doubts(rates)
            sentences += [doubt.sentence for doubt in doubts]
    if workload.weight_dtype != workload.dtype:
        whole = ", ".join(workload.unquantized_parts)
        but = f", but for {whole}," if whole else ""
        sentences.append(
            f"Linear layers{but} read {workload.weight_dtype} weights and compute in "
            f"{workload.dtype}."
        )
    return sentences


def assumptions_of_split(plan: Plan, training: PhaseCost | None) -> list[str]:
    """How the model is taken to be laid over devices."""
    workload = plan.workload
    tensor, stages = workload.tensor_parallel, workload.pipeline_parallel
    sentences = []
    if tensor > 1:
        whole = "" if workload.sequence_parallel else "; norms and residuals are computed on each"
        sentences.append(f"Figures are those of one of {tensor} devices{whole}.")
    if workload.sequence_parallel:
        sentences.append(
            "In training each sum over them is a reduce-scatter and an all-gather; the inputs that "
            "backward gathers again go beside its products."
        )
    if stages > 1:
        sentences.append(
            f"Figures are those of the last of {stages} stages, which has the heads; "
            "micro-batches go forward and backward in turn (1F1B), and messages between stages are "
            "waited for."
        )
    if workload.data_parallel > 1:
        sentences.append(_gradient_sum(training))
    return sentences


def _gradient_sum(training: PhaseCost | None) -> str:
    rule = (
        "Gradients are summed over the replicas beside the backward pass of the last micro-batch, "
        "at the slow end of the interval after it; with ZeRO stage 3 the weights go round as well, "
        "which is not counted."
    )
    if training is None or not training.hidden_s:
        return rule
    return f"{rule} So {units.seconds(training.hidden_s)} of it are hidden."


def conventions_of_counts(architecture: Architecture) -> list[str]:
    """How a model is counted that no formulas describe."""
    if architecture.counted is None:
        return []
    is_own = architecture.kind == "module"
    passes = "one pass" if is_own else "a prompt, and a token more with the cache that it leaves"
    made = "" if is_own else " as transformers builds it,"
    return [
        f"Counted by running {architecture.counted_as}{made} on shapes alone: {passes}.",
        "What runs between matrix products in one part of a layer is one kernel, which reads what "
        "was made outside of it and writes what is read later; so is a scan or a recurrence.",
        "Where latents are cached, a decoded token's query is multiplied into them, and they are "
        "read once for all heads.",
        "Each token goes to its experts at random: of E experts, k a token, T tokens read "
        "E·(1 − (1 − k/E)^T).",
    ]


def left_out_of(architecture: Architecture) -> list[str]:
    generates = architecture.kind in ("decoder", "encoder_decoder")
    left_out = ["tokenizing", "copies between host and device"]
    if architecture.kind == "module":
        return left_out[1:]
    if architecture.kind == "image":
        left_out = ["decoding and resizing of images", "pooling", *left_out[1:]]
    return [*left_out, "sampling of the next token"] if generates else left_out
