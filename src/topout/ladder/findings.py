"""What a climb found, in sentences with the figures behind them."""

import math
import statistics
from collections.abc import Sequence

from topout import units
from topout.generation.placement import (
    compute_s_of,
    exceeded_by,
    is_above_ceiling,
    memory_s_of,
    room_of,
)
from topout.ladder.stack import label_of
from topout.records import Climb, Doubt, Duel, PhaseResult, RungResult
from topout.roofline import ABOVE_A_CEILING, exceeded_doubts, is_above


def chain_doubt(duel: Duel, rungs: Sequence[RungResult]) -> Doubt | None:
    """That the product of a stack's ratios and its final duel tell another gain, if they do."""
    rung = next((each for each in rungs if label_of(each.stack) == duel.champion), None)
    chain = rung.speedup_over_baseline if rung is not None else None
    measured = duel.speedup
    if chain is None or (chain.low <= measured.high and measured.low <= chain.high):
        return None
    return Doubt(
        about=f"{duel.champion}, speedup",
        sentence=f"The ratios along the way multiply to {units.times(chain.median)} over the "
        f"baseline, and their runs in turns at the end say {units.times(measured.median)}.",
        remedy="Trust the latter: each ratio on the way is of another moment and another rival.",
    )


def climb_findings(climb: Climb) -> list[str]:
    """What can still be gained, the largest first, then the phases, speculation, predictions."""
    rungs = {label_of(rung.stack): rung for rung in climb.rungs if rung.decode or rung.prefill}
    baseline = rungs.get(climb.baseline)
    if baseline is None:
        return []
    best = rungs.get(climb.best or "")
    climbed = best is not None and best is not baseline
    gains = _undecided(climb)
    if best is not None and climbed:
        gains += _room(best)
    findings = [sentence for _, sentence in sorted(gains, key=lambda gain: -gain[0])]
    if best is not None and climbed:
        findings.append(_last_phase_finding(label_of(best.stack), best))
    findings.append(_last_phase_finding("the baseline", baseline))
    if baseline.decode is not None:
        findings.append(_prefill_finding(baseline))
    findings += _speculation_findings(climb)
    findings += _prediction_findings(climb)
    findings += _misprediction_findings(climb)
    return [finding for finding in findings if finding]


def climb_ceiling_doubts(climb: Climb) -> list[Doubt]:
    """Ceilings that a rung was measured above, and the bandwidth that was read again for that."""
    phases = [
        (label_of(rung.stack), name, phase)
        for rung in climb.rungs
        for name, phase in (("prefill", rung.prefill), ("decode", rung.decode))
        if phase is not None
    ]
    found = [each for name, label, phase in phases for each in exceeded_by(name, (label, phase))]
    return [*exceeded_doubts(found), *_read_again_doubts([phase for _, _, phase in phases])]


def _read_again_doubts(phases: Sequence[PhaseResult]) -> list[Doubt]:
    rates = [each.ceiling_bytes_per_s or 0.0 for each in phases if each.ceiling_read_again]
    if not rates:
        return []
    sentence = (
        "The bandwidth ceiling on file was exceeded. The rate that was read between the runs, "
        f"{units.bytes_per_s(max(rates))}, stands in its place for "
        f"{units.counted(len(rates), 'phase')}."
    )
    remedy = "Measure the ceilings again on a quiet machine (`topout machine --refresh`)."
    return [Doubt(about=ABOVE_A_CEILING, sentence=sentence, remedy=remedy)]


def _above_finding(what: str, phase: PhaseResult) -> str:
    """What is said of a phase above its ceiling, in the place of what follows from that."""
    if is_above(phase.mbu_of_ceiling):
        reached = units.bytes_per_s(phase.bytes / phase.time_s.median)
        ceiling = units.bytes_per_s(phase.ceiling_bytes_per_s)
        verb = "reads"
    else:
        reached = units.flops_per_s(phase.flops / phase.time_s.median)
        ceiling, verb = units.flops_per_s(phase.ceiling_flops_per_s), "computes"
    return (
        f"{what} {verb} {reached}, above the ceiling of {ceiling}: what bounds it, and what room "
        "is left, is not known until that is measured again."
    )


def _last_phase(rung: RungResult) -> tuple[PhaseResult, str, str]:
    """(decode, or the pass where nothing is generated; what it is called; what it takes time for).

    The rung has been timed.
    """
    if rung.decode is not None:
        return rung.decode, "decode", "token"
    assert rung.prefill is not None
    return rung.prefill, "the pass", "pass"


def _last_phase_finding(name: str, rung: RungResult) -> str:
    phase, called, unit = _last_phase(rung)
    what = f"{called[0].upper()}{called[1:]} of {name}"
    if is_above_ceiling(phase):
        return _above_finding(what, phase)
    taken = units.seconds(phase.time_s.median)
    memory_s = memory_s_of(phase)
    bandwidth = units.bytes_per_s(phase.ceiling_bytes_per_s)
    if phase.bound == "memory":
        return (
            f"{what} is memory-bound: a {unit} takes {taken}, of which "
            f"{units.seconds(memory_s)} are needed to read {units.si(phase.bytes, 'B')} at the "
            f"{bandwidth} that were measured (MBU {units.percent(phase.mbu_of_ceiling)})."
        )
    if phase.bound == "compute":
        return (
            f"{what} is compute-bound: a {unit} takes {taken} at "
            f"{units.percent(phase.mfu_of_ceiling)} of the measured FLOP/s."
        )
    if compute_s_of(phase) > memory_s:
        spent = phase.time_s.median - compute_s_of(phase)
        return (
            f"{what} is overhead-bound: {units.seconds(spent)} of {taken} per {unit} are spent "
            f"beyond {units.si(phase.flops, 'FLOP')} at the measured rate: in calls, small ops and "
            f"slow kernels (MFU {units.percent(phase.mfu_of_ceiling)})."
        )
    spent = phase.time_s.median - memory_s
    return (
        f"{what} is overhead-bound: {units.seconds(spent)} of {taken} per {unit} are "
        f"spent beyond reading {units.si(phase.bytes, 'B')} at the measured {bandwidth}: "
        f"in calls, small ops and slow kernels (MBU {units.percent(phase.mbu_of_ceiling)})."
    )


def _prefill_finding(rung: RungResult) -> str:
    if rung.prefill is None:
        return ""
    prefill = rung.prefill
    if is_above_ceiling(prefill):
        return _above_finding("Prefill of the baseline", prefill)
    return (
        f"Prefill of the baseline is {prefill.bound}-bound: "
        f"{units.si(prefill.flops / prefill.time_s.median, 'FLOP/s')} are "
        f"{units.percent(prefill.mfu_of_ceiling)} of what this machine reaches in that type."
    )


def _room(best: RungResult) -> list[tuple[float, str]]:
    """How far the best rung is from the limit of its own bytes and FLOPs, and what would help."""
    phase, called, unit = _last_phase(best)
    found = room_of(phase, f"a {unit} of {label_of(best.stack)}", f"in {called}")
    return [found] if found is not None else []


def _undecided(climb: Climb) -> list[tuple[float, str]]:
    """Rungs whose gain the cost model predicts and the pairs did not prove, with what to do."""
    return [
        (
            rung.predicted_speedup,
            f"{label_of(rung.stack)} is predicted to be {units.times(rung.predicted_speedup)} as "
            f"fast as {rung.rival}, and its pairs did not prove it: climb again with a longer "
            "--time-per-rung.",
        )
        for rung in climb.rungs
        if rung.status == "rejected"
        and rung.speedup is not None
        and rung.speedup.verdict == "not proven"
        and rung.predicted_speedup is not None
        and rung.predicted_speedup >= 1.05
    ]


def _speculation_findings(climb: Climb) -> list[str]:
    """Tokens per pass; of several rungs one sentence, with the one that yields the most."""
    yields = {
        label_of(rung.stack): rung.tokens_per_pass for rung in climb.rungs if rung.tokens_per_pass
    }
    if not yields:
        return []
    most = max(yields, key=lambda label: yields[label])
    if len(yields) == 1:
        return [f"{most} yields {yields[most]:.2f} tokens per pass of the model."]
    return [
        f"{len(yields)} stacks that speculate yield {min(yields.values()):.2f} to "
        f"{yields[most]:.2f} tokens per pass of the model, {most} the most."
    ]


def _prediction_findings(climb: Climb) -> list[str]:
    """How far off the predictions were, and how often a measurement lay inside the interval."""
    phases = [
        phase
        for rung in climb.rungs
        for phase in (rung.prefill, rung.decode)
        if phase is not None and phase.predicted_interval is not None
    ]
    if not phases:
        return []
    errors = [abs((each.predicted_time_s or 0.0) / each.time_s.median - 1) for each in phases]
    inside = sum(lies_inside(each) for each in phases)
    return [
        f"Predicted times are off by {units.percent(statistics.median(errors))} in the median; "
        f"{inside} of {units.counted(len(phases), 'measured phase')} lie inside their predicted "
        "interval."
    ]


def lies_inside(phase: PhaseResult) -> bool:
    """Whether the median of the measured times lies in the predicted interval."""
    predicted = phase.predicted_interval
    return predicted is not None and predicted.low <= phase.time_s.median <= predicted.high


def _misprediction_findings(climb: Climb) -> list[str]:
    """Where prediction and measurement part: the phase that does most, and how many others."""
    found = {
        f"{name} of {label_of(rung.stack)}": phase.time_s.median / phase.predicted_time_s
        for rung in climb.rungs
        for name, phase in (("prefill", rung.prefill), ("decode", rung.decode))
        if phase is not None and phase.predicted_time_s and rung.status == "kept"
    }
    parted = {what: ratio for what, ratio in found.items() if not 0.6 < ratio < 1.67}
    if not parted:
        return []
    worst = max(parted, key=lambda what: abs(math.log(parted[what])))
    more = f", and {units.counted(len(parted) - 1, 'other phase')} too" if len(parted) > 1 else ""
    return [
        f"{worst[0].upper()}{worst[1:]} takes {units.times(parted[worst])} what was "
        f"predicted{more}: the cost model misses something there."
    ]
