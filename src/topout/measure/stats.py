"""Statistics that are derived from raw samples: medians, bootstrap intervals, paired ratios."""

import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from topout.records import Estimate, PairedRatio

CONFIDENCE = 0.95
RESAMPLES = 2000
# One seed for all bootstraps: the interval of given samples is the same wherever it is derived.
_SEED = 20_241


def _bootstrap_medians(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Medians of RESAMPLES samples drawn from `values` with replacement."""
    low, high = _middle_picks(len(values))
    ordered = np.sort(values)
    return np.asarray((ordered[low] + ordered[high]) / 2, dtype=np.float64)


@functools.cache
def _middle_picks(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranks of the two middle values of each resample (the same where `count` is odd).

    Ranks are as good as values: the median of a resample is the value of its middle rank. So the
    draws are made once per count, and a bootstrap costs microseconds. Every resample has its
    mirror image among the others, so that a ratio turned over has its interval turned over.
    """
    generator = np.random.default_rng(_SEED)
    ranks = np.sort(generator.integers(0, count, size=(RESAMPLES // 2, count)), axis=1)
    low, high = ranks[:, (count - 1) // 2], ranks[:, count // 2]
    mirrored_low, mirrored_high = count - 1 - high, count - 1 - low
    return np.concatenate([low, mirrored_low]), np.concatenate([high, mirrored_high])


def _finite(samples: Sequence[float]) -> NDArray[np.float64]:
    values = np.asarray(samples, dtype=np.float64)
    if values.size == 0:
        raise ValueError("an estimate needs at least one sample")
    if not np.isfinite(values).all():
        raise ValueError("an estimate needs finite samples")
    return values


def estimate(samples: Sequence[float]) -> Estimate:
    """Median of `samples` with its 95 % percentile-bootstrap interval; needs one finite sample."""
    values = _finite(samples)
    if values.size == 1:
        only = float(values[0])
        return Estimate(median=only, low=only, high=only)
    medians = _bootstrap_medians(values)
    tail = (1 - CONFIDENCE) / 2
    return Estimate(
        median=float(np.median(values)),
        low=float(np.quantile(medians, tail)),
        high=float(np.quantile(medians, 1 - tail)),
    )


def paired_ratio(rival_s: Sequence[float], candidate_s: Sequence[float]) -> PairedRatio:
    """Rival's time over candidate's, pair by pair; the interval comes from the pairs.

    Pairs lie next to each other in time, so that a drift of the machine cancels in each ratio.
    """
    if len(rival_s) != len(candidate_s):
        raise ValueError("every candidate's sample needs the rival's sample beside it")
    pairs = [rival / candidate for rival, candidate in zip(rival_s, candidate_s, strict=True)]
    # The bootstrap runs on logarithms: a ratio of 2 and one of 1/2 weigh the same.
    logarithms = estimate([math.log(pair) for pair in pairs])
    return PairedRatio(
        median=math.exp(logarithms.median),
        low=math.exp(logarithms.low),
        high=math.exp(logarithms.high),
        pairs=pairs,
    )


def inverse(figure: Estimate, numerator: float = 1.0) -> Estimate:
    """`numerator` / `figure`: seconds per token → tokens per second; the bounds change places."""
    return Estimate(
        median=numerator / figure.median, low=numerator / figure.high, high=numerator / figure.low
    )


def chained(first: Estimate, second: Estimate | PairedRatio) -> Estimate:
    """The product of two independent ratios; their relative errors add in quadrature."""
    product = first.median * second.median

    def spread(of: Estimate | PairedRatio, bound: float) -> float:
        return math.log(bound / of.median)

    down = math.hypot(spread(first, first.low), spread(second, second.low))
    up = math.hypot(spread(first, first.high), spread(second, second.high))
    return Estimate(median=product, low=product * math.exp(-down), high=product * math.exp(up))


def relative_spread(samples: Sequence[float]) -> float:
    """Interquartile range over median: how far single runs lie apart."""
    values = _finite(samples)
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float((high - low) / middle) if middle else math.inf
