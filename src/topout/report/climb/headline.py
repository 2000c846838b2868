"""The result of a climb in one or two sentences, from the duels of best stack and baseline."""

from topout import units
from topout.records import Climb, Duel, PairedRatio
from topout.report.intervals import interval

_NOTHING = "Nothing was measured."


def headlines(climb: Climb) -> list[str]:
    """The sentences that stand on top of the result, the most important first."""
    sentences = []
    if climb.duel is not None:
        sentences.append(_duel_sentence(climb.duel))
    else:
        sentences.append(_without_duel(climb))
    exact = climb.exact_duel
    if exact is not None and (climb.duel is None or exact.champion != climb.duel.champion):
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
        f"{duel.champion} is {_ratio(duel.decode_speedup)} the baseline in decode "
        f"{interval(duel.decode_speedup)}, {_ratio(duel.prefill_speedup)} in prefill "
        f"{interval(duel.prefill_speedup)}, and {_ratio(duel.speedup)} over the whole workload "
        f"{interval(duel.speedup)}."
    )


def _without_duel(climb: Climb) -> str:
    reason = climb.reasons.get("duel", "")
    if reason:
        return f"There was no duel of the best stack and the baseline: {reason}"
    if not any(rung.decode or rung.prefill for rung in climb.rungs):
        failed = next((rung for rung in climb.rungs if rung.status == "failed"), None)
        return f"Nothing was measured: {failed.name}: {failed.reason}" if failed else _NOTHING
    if climb.finished and climb.best in (None, climb.baseline):
        return f"No rung beat the baseline {climb.baseline}."
    return f"The best stack so far is {climb.best or climb.baseline}; it met no duel yet."


def _ratio(ratio: PairedRatio) -> str:
    return units.times(ratio.median)
