"""One test of how fast two rivals are beside each other: its interval is printed, and it decides.

The test is Yuen's: Student's t on the trimmed mean of the logarithms of the pairs' ratios, with the
winsorized variance (K. K. Yuen, Biometrika 61, 1974). Pairs that are looked at again and again
share its chance of an error over the looks (Bonferroni), so that each interval printed on the way
is as good as the last one.
"""

import bisect
import functools
import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from statistics import fmean, median

import msgspec

from topout.records import PairedRatio, Verdict
from topout.speed_words import LEAST_GAIN

# Of each end. A tenth bears the outliers of a shared machine; a fifth of few pairs takes away so
# many that copies of a rival were called faster where one run in eight took ten times as long.
_TRIMMED = 0.1
_WIDEST = math.log(1000)  # half of an interval that says nothing: of one pair, or of wild ones
# Counts of pairs at which a duel may be decided: a pair costs as much as all before it bring.
LOOKS = (3, 4, 6, 9, 13, 19, 28, 40, 60, 90)
_MOST_PAIRS = 1000  # beyond, nobody would wait for a decision


class SpeedTest(msgspec.Struct, frozen=True, kw_only=True):
    """How sure a verdict has to be, and when it may be given.

    `error` is the chance that one of the intervals of a duel misses the ratio, over all `looks`:
    the counts of pairs at which the verdict may end a duel. Without looks there is one, at its end.
    """

    error: float = 0.05
    looks: tuple[int, ...] = ()
    least_gain: float = LEAST_GAIN

    def ratio(
        self,
        rival_s: Sequence[float],
        candidate_s: Sequence[float],
        strata: Sequence[Hashable] | None = None,
    ) -> PairedRatio:
        """Rival's time over candidate's, pair by pair, with the interval and the verdict.

        Pairs lie next to each other in time, so that a drift of the machine cancels in each ratio.
        `strata` name what the ratio is known to depend on, such as a pair's prompt: the ratio is
        then that of all strata alike, and differences between them are no noise.
        """
        if len(rival_s) != len(candidate_s):
            raise ValueError("every candidate's sample needs the rival's sample beside it")
        pairs = [rival / candidate for rival, candidate in zip(rival_s, candidate_s, strict=True)]
        logarithms = [math.log(pair) for pair in pairs]
        if not logarithms or not all(map(math.isfinite, logarithms)):
            raise ValueError("a ratio needs finite times, one pair at the least")
        spread = _Spread.of(logarithms, strata)
        half = spread.half_width(self._error_at_a_look())
        # The figure printed lies in its interval, however skewed few pairs are.
        low, high = (
            min(spread.centre - half, spread.middle),
            max(spread.centre + half, spread.middle),
        )
        verdict = self._verdict(spread.middle, low, high)
        return PairedRatio(
            median=math.exp(spread.middle),
            low=math.exp(low),
            high=math.exp(high),
            pairs=pairs,
            verdict=verdict,
            error=self.error,
            pairs_to_decide=self._pairs_to_decide(spread) if verdict == "not proven" else None,
        )

    def _error_at_a_look(self) -> float:
        """The share of the error that one look takes: also one that time makes the last."""
        return self.error / max(1, len(self.looks))

    def _verdict(self, middle: float, low: float, high: float) -> Verdict:
        """What an interval of the logarithm says."""
        gain = math.log1p(self.least_gain)
        if -gain < low and high < gain:
            return "no difference"
        if low > 0 and middle >= gain:
            return "faster"
        if high < 0 and middle <= -gain:
            return "slower"
        return "not proven"

    def _pairs_to_decide(self, spread: "_Spread") -> int | None:
        """About how many pairs would decide if they went on alike; None where no count would."""
        gain, distance = math.log1p(self.least_gain), abs(spread.middle)
        margin = distance if distance >= gain else gain - distance
        error = self._error_at_a_look()

        def decides(count: int) -> bool:
            return spread.half_width(error, count) < margin

        if spread.count < 2 or not decides(_MOST_PAIRS):
            return None
        counts = range(spread.count + 1, _MOST_PAIRS + 1)
        return counts[bisect.bisect_left(counts, True, key=decides)]


class _Spread(msgspec.Struct, frozen=True):
    """Where logarithms lie, and how far they scatter."""

    count: int
    strata: int
    centre: float  # the trimmed mean
    middle: float  # the median
    variance: float  # of a pair, so that that of `centre` is it over the pairs left by trimming

    @classmethod
    def of(cls, logarithms: Sequence[float], strata: Sequence[Hashable] | None) -> "_Spread":
        """Of values, without the differences between strata."""
        groups = _groups(logarithms, strata)
        means = [fmean(group) for group in groups]
        level = fmean(means)
        values = sorted(
            each - mean + level for group, mean in zip(groups, means, strict=True) for each in group
        )
        if len(groups) == 1:  # nothing to take away: not even by rounding
            values = sorted(logarithms)
        count, cut = len(values), _cut(len(values))
        kept = values[cut : count - cut]
        winsorized = [min(max(each, kept[0]), kept[-1]) for each in values]
        mean = fmean(winsorized)
        squares = math.fsum((each - mean) ** 2 for each in winsorized)
        # A mean of strata is as good as that of all pairs where each has as many pairs.
        imbalance = count / len(groups) ** 2 * sum(1 / len(group) for group in groups)
        freedom = len(kept) - len(groups)
        variance = imbalance * squares / freedom if freedom else math.inf
        return cls(count, len(groups), fmean(kept), median(values), variance)

    def half_width(self, error: float, count: int | None = None) -> float:
        """Half of the interval that misses with the chance `error`, of `count` such values."""
        count = self.count if count is None else count
        kept = count - 2 * _cut(count)
        freedom = kept - self.strata
        if freedom < 1 or math.isinf(self.variance):
            return _WIDEST
        return min(_WIDEST, student_quantile(error, freedom) * math.sqrt(self.variance / kept))


def _cut(count: int) -> int:
    """Values that trimming takes from each end."""
    return int(_TRIMMED * count)


def _groups(logarithms: Sequence[float], strata: Sequence[Hashable] | None) -> list[list[float]]:
    """Values by stratum; all as one while a stratum has but one, whose scatter is not known."""
    groups: dict[Hashable, list[float]] = defaultdict(list)
    for stratum, each in zip(strata or [None] * len(logarithms), logarithms, strict=True):
        groups[stratum].append(each)
    if any(len(group) < 2 for group in groups.values()):
        return [list(logarithms)]
    return list(groups.values())


@functools.lru_cache(maxsize=4096)
def student_quantile(error: float, freedom: int) -> float:
    """The t that |T| exceeds with the chance `error`, for T of Student's distribution.

    The distribution function of whole degrees of freedom is a finite sum over θ = atan(t/√ν):
    Abramowitz and Stegun, 26.7.3 and 26.7.4; its inverse by bisection.
    """
    low, high = 0.0, math.pi / 2
    while (angle := (low + high) / 2) not in (low, high):
        if _student_within(angle, freedom) < 1 - error:
            low = angle
        else:
            high = angle
    return math.tan(angle) * math.sqrt(freedom)


def _student_within(angle: float, freedom: int) -> float:
    """P(|T| < √ν · tan θ)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    term = total = 1.0 if freedom % 2 == 0 else cosine
    for k in range(1, freedom // 2):
        # 1/2 · 3/4 · … cos²ᵏθ of even degrees; 2/3 · 4/5 · … cos²ᵏ⁺¹θ of odd ones.
        factor = (2 * k - 1) / (2 * k) if freedom % 2 == 0 else 2 * k / (2 * k + 1)
        term *= factor * cosine**2
        total += term
    if freedom % 2 == 0:
        return sine * total
    return 2 / math.pi * (angle + (sine * total if freedom > 1 else 0.0))
