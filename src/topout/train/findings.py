"""What a training run says, in sentences with the figures behind them, and what to doubt in it."""

import statistics
from collections.abc import Sequence

from topout import units
from topout.measure.stats import FEW_SAMPLES, QUIETER, WIDE_SPREAD, relative_spread
from topout.records import Doubt, TrainCase, TrainReport
from topout.roofline import Exceeded, exceeded_doubts, share_of
from topout.train.results import slowest

MORE_THAN_LINEAR = 1.1  # parallel efficiency beyond which one of the cases was disturbed
_OWN_PROCESSORS = 0.85  # of the threads' time, computing and waiting together
_NOTABLE_DATA = 0.05  # of a step
_NOTABLE_COMMUNICATION = 0.05
_UNEVEN = 0.10  # spread of the ranks' own compute
_LINEAR = 0.9  # parallel efficiency from which scaling is called linear
_PARTS = {
    "forward": "forward",
    "backward": "backward",
    "optimizer": "the optimizer",
    "data": "waiting for data",
}


def train_findings(report: TrainReport) -> list[str]:
    """Where a step's time goes, what the ranks cost and gain, and whether anything was learned."""
    findings = []
    done = [case for case in report.cases if case.status == "done"]
    if done:
        findings.append(_parts_sentence(done[0]))
        findings += _rate_sentence(done[-1])
    for case in done:
        findings += [*_communication(case), *_data(case), *_balance(case), *_agreement(case)]
    findings += [sentence for case in done for sentence in _scaling(case)]
    if done:
        findings += _learning(done[-1])
    return findings


def _of(case: TrainCase) -> str:
    return "one rank" if case.ranks == 1 else f"{case.ranks} ranks"


def _parts_sentence(case: TrainCase) -> str:
    """The parts of a step from the largest to the smallest, mean over the ranks."""
    parts = {name: _mean(case, f"{name}_s") for name in _PARTS}
    whole = _mean(case, "step_s")
    ordered = sorted(parts, key=lambda name: -parts[name])
    listed = ", ".join(f"{units.percent(parts[name] / whole)} {_PARTS[name]}" for name in ordered)
    return f"On {_of(case)} a step takes {units.seconds(whole)}: {listed}."


def _rate_sentence(case: TrainCase) -> list[str]:
    if case.flops_per_s is None:
        return []
    compute = "computes" if case.ranks == 1 else "compute"
    sentence = f"{_capital(_of(case))} {compute} {units.flops_per_s(case.flops_per_s)}"
    if case.mfu_of_ceiling is not None:
        share = share_of(case.mfu_of_ceiling)
        sentence += f", {share} of what this machine was measured to reach"
    return [f"{sentence}."]


def _communication(case: TrainCase) -> list[str]:
    exposed = [
        time.exposed_communication_s
        for time in case.times
        if time.exposed_communication_s is not None
    ]
    if not exposed:
        return []
    share = statistics.fmean(exposed) / _mean(case, "step_s")
    megabytes = units.si(float(case.gradient_bytes or 0), "B")
    if share < _NOTABLE_COMMUNICATION:
        return [
            f"Of the sum of {megabytes} of gradients over {case.ranks} ranks "
            f"{units.percent(share, 1)} of a step is seen; the rest hides behind backward."
        ]
    return [
        f"Summing {megabytes} of gradients over {case.ranks} ranks adds "
        f"{units.seconds(statistics.fmean(exposed))} to a step, {units.percent(share)} of it."
    ]


def _data(case: TrainCase) -> list[str]:
    share = _mean(case, "data_s") / _mean(case, "step_s")
    if share < _NOTABLE_DATA:
        return []
    wait = "waits" if case.ranks == 1 else "wait"
    return [f"{_capital(_of(case))} {wait} {units.percent(share)} of a step for data."]


def _balance(case: TrainCase) -> list[str]:
    """A rank whose own work, forward, takes longer than that of the others."""
    if case.ranks < 2:
        return []
    longest = max(case.times, key=lambda time: time.forward_s)
    others = statistics.fmean(time.forward_s for time in case.times if time.rank != longest.rank)
    if others <= 0 or longest.forward_s < (1 + _UNEVEN) * others:
        return []
    more = units.percent(longest.forward_s / others - 1)
    return [
        f"Of {case.ranks} ranks, rank {longest.rank} takes {more} longer in forward than the "
        "others, and they wait for it in backward."
    ]


def _agreement(case: TrainCase) -> list[str]:
    if case.weights_agree is not False:
        return []
    return [f"The {case.ranks} ranks ended with different weights: they did not train one model."]


def _scaling(case: TrainCase) -> list[str]:
    if case.speedup is None or case.parallel_efficiency is None:
        reason = case.reasons.get("speedup")
        return [f"No speedup of {_of(case)} is claimed. {reason}"] if reason else []
    verdict = (
        "that is more than linear, and to be doubted"
        if case.parallel_efficiency > MORE_THAN_LINEAR
        else "scaling is linear"
        if case.parallel_efficiency >= _LINEAR
        else "scaling is not linear"
    )
    return [
        f"{_capital(_of(case))} train {units.times(case.speedup.median)} as many samples per "
        f"second as one, a parallel efficiency of {units.percent(case.parallel_efficiency)}: "
        f"{verdict}."
    ]


def _learning(case: TrainCase) -> list[str]:
    """Whether the loss went down, by the means of the first and the last quarter of the steps."""
    quarter = max(1, len(case.loss) // 4)
    first, last = statistics.fmean(case.loss[:quarter]), statistics.fmean(case.loss[-quarter:])
    before, after = units.significant(first), units.significant(last)
    if last < first:
        return [f"The loss went from {before} to {after} in {len(case.loss)} steps."]
    return [f"The loss did not go down in {len(case.loss)} steps: {before}, then {after}."]


def _mean(case: TrainCase, field: str) -> float:
    values: list[float] = [getattr(time, field) for time in case.times]
    return statistics.fmean(values)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def case_doubts(cases: Sequence[TrainCase]) -> list[Doubt]:
    """Steps that lie far apart, ranks without their processors, a speedup beyond the ranks, a
    rate beyond the ceiling.
    """
    doubts = []
    for case in cases:
        if case.status == "done":
            doubts += [*_spread(case), *_processors(case), *_superlinear(case)]
    exceeded = [
        Exceeded(f"training on {_of(case)}", "arithmetic", case.flops_per_s, case.mfu_of_ceiling)
        for case in cases
        if case.flops_per_s is not None and case.mfu_of_ceiling is not None
    ]
    return [*doubts, *exceeded_doubts(exceeded)]


def _spread(case: TrainCase) -> list[Doubt]:
    times = slowest(case.steps)
    if len(times) < FEW_SAMPLES or relative_spread(times) <= WIDE_SPREAD:
        return []
    return [
        Doubt(
            about=units.counted(case.ranks, "rank"),
            sentence=f"Single steps lie {units.percent(relative_spread(times))} apart (quartiles).",
            remedy=QUIETER,
        )
    ]


def _processors(case: TrainCase) -> list[Doubt]:
    """CPU ranks compute or wait, for each other or for data; what is missing others had."""
    if not case.times or any(
        time.device != "cpu" or time.processor_utilization is None for time in case.times
    ):
        return []
    share = statistics.fmean(time.processor_utilization or 0.0 for time in case.times)
    waiting = statistics.fmean(
        ((time.exposed_communication_s or 0.0) + time.data_s) / time.step_s for time in case.times
    )
    if share + waiting > _OWN_PROCESSORS:
        return []
    return [
        Doubt(
            about=units.counted(case.ranks, "rank"),
            sentence=(
                f"Processors worked for {units.percent(share)} of the threads' time, and waiting "
                f"explains {units.percent(waiting)}."
            ),
            remedy="Close other programs; until then trust no speedup.",
        )
    ]


def _superlinear(case: TrainCase) -> list[Doubt]:
    efficiency = case.parallel_efficiency
    if efficiency is None or efficiency <= MORE_THAN_LINEAR:
        return []
    return [
        Doubt(
            about="speedup",
            sentence=(
                f"{units.counted(case.ranks, 'rank')} cannot be {units.percent(efficiency)} "
                "efficient unless one rank was disturbed, or its data fit no cache."
            ),
            remedy=QUIETER,
        )
    ]
