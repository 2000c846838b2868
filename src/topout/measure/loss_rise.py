"""Whether the loss of a text rose by more than is allowed: decided by enough tokens, or not.

Two models are scored on the same tokens, so that what makes a token hard cancels in its
difference. Neighbouring tokens are not independent of each other: differences are averaged over
blocks of one text, and the interval is Student's over the blocks. The tokens are looked at again
and again while more are scored, and each look has its share of the error that is allowed in all.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import msgspec
import numpy as np
from numpy.typing import NDArray

from topout.measure.speed_test import student_quantile
from topout.records import Interval, QualityVerdict

BLOCK_TOKENS = 64
LEAST_BLOCKS = 16  # below them Student's interval is not to be trusted with skewed differences
LOOKS_TOKENS = (1024, 2048, 4096, 8192, 16384, 32768)  # at which the losses are looked at
MOST_LOOKS = len(LOOKS_TOKENS)
ERROR = 0.02  # of a verdict that is wrong, all looks of one test together
CONFIDENCE = 0.95  # of the interval that is shown
_LARGEST_EXPONENT = 700.0  # e to this is still a double
_TEXT_SHARE = 2.0  # how far beyond the bound a single text may be


class Rise(msgspec.Struct, frozen=True):
    """Mean rise of the loss in nats per token, and its standard error over blocks."""

    tokens: int
    blocks: int
    mean: float
    error: float

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Both ends, two-sided; a single block says nothing of its error."""
        if self.blocks < 2:
            return -math.inf, math.inf
        reach = student_quantile(1 - confidence, self.blocks - 1) * self.error
        return self.mean - reach, self.mean + reach


def rise_of(differences: Sequence[NDArray[np.floating]]) -> Rise:
    """Of differences in nats per token, one sequence for each stretch of text.

    Texts count as their tokens do; what is left of a stretch behind its last
    whole block belongs to that block.
    """
    means, weights = [], []
    for stretch in differences:
        count = max(1, len(stretch) // BLOCK_TOKENS)
        for block in np.array_split(np.asarray(stretch, dtype=np.float64), count):
            means.append(float(block.mean()))
            weights.append(len(block))
    values, shares = np.array(means), np.array(weights) / sum(weights)
    mean = float(values @ shares)
    count = len(values)
    # The variance of a weighted mean of independent blocks, with the small-sample factor.
    error = math.sqrt(float((shares**2) @ (values - mean) ** 2) * count / max(1, count - 1))
    return Rise(tokens=sum(weights), blocks=count, mean=mean, error=error)


def judge_rise(whole: Rise, of_texts: Sequence[Rise], max_loss: float) -> QualityVerdict:
    """What one look says of a rise, where perplexity may rise by `max_loss` (0.01: 1 %).

    `right` where the upper end of the interval lies within the bound, and none of the texts is
    proven to be beyond twice the bound; `wrong` where a lower end is beyond.
    """
    if whole.blocks < LEAST_BLOCKS:
        return "not proven"
    confidence = 1 - 2 * ERROR / MOST_LOOKS / (1 + len(of_texts))
    bound, far = math.log1p(max_loss), math.log1p(_TEXT_SHARE * max_loss)
    low, high = whole.interval(confidence)
    beyond = [
        each.interval(confidence)[0] > far for each in of_texts if each.blocks >= LEAST_BLOCKS
    ]
    if low > bound or any(beyond):
        return "wrong"
    return "right" if high <= bound else "not proven"


def tokens_to_decide(whole: Rise, max_loss: float) -> int | None:
    """About how many tokens would decide, were the mean the true rise; None: it is the bound."""
    distance = abs(math.log1p(max_loss) - whole.mean)
    if not distance:
        return None
    reach = NormalDist().inv_cdf(1 - ERROR / MOST_LOOKS) * whole.error
    return math.ceil(whole.tokens * (reach / distance) ** 2)


def perplexity(nats: float) -> float:
    """Of a loss in nats per token, or the ratio of two that differ by so much; always finite."""
    return math.exp(min(nats, _LARGEST_EXPONENT))


def perplexity_rise(nats: float) -> float:
    """A rise of the loss by 0.01 nats is one of perplexity by 1.005 %; always finite."""
    return math.expm1(min(nats, _LARGEST_EXPONENT))


def share_interval(right: int, count: int) -> Interval:
    """The 95 % interval of a share that `right` of `count` independent trials estimate.

    Wilson's score interval ("Probable inference", JASA 1927), which is none of width 0 at 1.
    """
    z = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2)
    share = right / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + (z / count / 2) ** 2)
    return Interval(low=max(0.0, centre - reach), high=min(1.0, centre + reach))
