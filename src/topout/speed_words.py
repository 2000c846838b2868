"""What a test of two rivals says, in words: one rule for climbs, runs and matrix products."""

from topout import units
from topout.records import PairedRatio

LEAST_GAIN = 0.05  # what is called a gain; a smaller one does not pay for the complexity of a rung


def speed_sentence(ratio: PairedRatio, rival: str, pair_s: float | None = None) -> str:
    """The verdict with its figures, and of what is not proven what would decide it.

    `pair_s`: seconds that a pair takes.
    """
    interval = f"{ratio.median:.2f}× [{ratio.low:.2f}, {ratio.high:.2f}]"
    match ratio.verdict:
        case "faster":
            return f"{interval} as fast as {rival}."
        case "slower":
            return f"Slower than {rival}: {interval}."
        case "no difference":
            least = units.percent(LEAST_GAIN)
            return f"No difference to {rival}: {interval}, under {least} either way."
        case _:
            return f"Not proven against {rival}: {interval}; {what_would_decide(ratio, pair_s)}."


def ratio_words(ratio: PairedRatio, what: str) -> str:
    """How many times as fast as what, and if it is proven: "5.10× naive [5.02, 5.17]"."""
    interval = f"[{units.significant(ratio.low)}, {units.significant(ratio.high)}]"
    words = " ".join(part for part in (units.times(ratio.median), what, interval) if part)
    match ratio.verdict:
        case "not proven":
            return f"{words}, not proven ({what_would_decide(ratio)})"
        case "no difference":
            return f"{words}, no difference"
        case _:
            return words


def what_would_decide(ratio: PairedRatio, pair_s: float | None = None) -> str:
    """How far the pairs agree, and how many would do."""
    count = len(ratio.pairs)
    if count == 1:
        return "one pair tells nothing of its spread"
    above = sum(pair > 1 for pair in ratio.pairs)
    below = sum(pair < 1 for pair in ratio.pairs)
    agree = f"{max(above, below)} of {count} pairs say {'faster' if above >= below else 'slower'}"
    needed = ratio.pairs_to_decide
    if needed is None:
        return f"{agree}, and more of such pairs would not decide it soon"
    seconds = f" ({units.seconds(needed * pair_s)})" if pair_s else ""
    return f"{agree}, and about {needed}{seconds} would decide it"
