"""The spread of a figure in words, the same in every report."""

from topout import units
from topout.records import Estimate, PairedRatio


def spread(estimate: Estimate | None) -> str:
    """Half the interval as a share of the median: "±1.2 %"; empty when there is none."""
    if estimate is None or estimate.median == 0:
        return ""
    half = (estimate.high - estimate.low) / 2 / abs(estimate.median)
    return f"±{units.percent(half, 1)}"


def interval(ratio: PairedRatio | Estimate | None) -> str:
    """The bounds of an interval: "[2.05, 2.18]"; empty when there is none."""
    if ratio is None:
        return ""
    return f"[{_bound(ratio.low)}, {_bound(ratio.high)}]"


def _bound(value: float) -> str:
    # The bounds of one interval are read side by side: equal decimals, not equal significance.
    return f"{value:.2f}" if value < 100 else units.significant(value)
