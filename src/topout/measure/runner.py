"""Two rivals run in turns until their difference is decided, or their time is used up."""

import functools
import math
import time
from collections.abc import Callable
from typing import Generic, Literal, Protocol, TypeVar

import msgspec

from topout.measure.stats import paired_ratio
from topout.records import PairedRatio

Verdict = Literal["faster", "slower", "no difference"]


class Timed(Protocol):
    """A sample of a run; only its duration matters here."""

    @property
    def total_s(self) -> float:
        """Wall time of the whole run in seconds."""
        ...


T = TypeVar("T", bound=Timed)


class StoppingRule(msgspec.Struct, frozen=True, kw_only=True):
    """When the pairs suffice, and what they say.

    A difference needs evidence that noise seldom gives, whatever the noise is like (a copy of the
    rival is to be called different in less than one duel of twenty, although the pairs are looked
    at again and again). From seven pairs on that is the sign test: under noise alone all pairs
    lie on one side of 1 in 1.6 % of the cases, and of 11, 14 … pairs one, two … may lie on the
    other side at the same level. Fewer pairs must all lie on one side and agree, the fewer the
    closer: `_LEAST_AGREEMENT` is the least over the largest effect. Where all are beyond
    `clear_ratio` they need not agree so well (half of three, a third of four …), so that a large
    effect is decided at once.

    Pairs are added up to `max_pairs` or `time_budget_s` while there is no difference yet and the
    interval reaches above `minimal_gain`. A gain below it is no gain: it does not pay for the
    complexity of a rung.
    """

    clear_pairs: int = 3
    clear_ratio: float = 1.2
    min_pairs: int = 7
    max_pairs: int = 16
    time_budget_s: float = 60.0
    minimal_gain: float = 0.05

    def enough(self, ratio: PairedRatio, elapsed_s: float) -> bool:
        """Whether the pairs so far decide, or no more can be afforded."""
        count = len(ratio.pairs)
        if count < self.clear_pairs:
            return False
        if count >= self.max_pairs or self.verdict(ratio) != "no difference":
            return True
        if count < self.min_pairs:
            return elapsed_s > 2 * self.time_budget_s
        return ratio.high < 1 + self.minimal_gain or elapsed_s > self.time_budget_s

    def verdict(self, ratio: PairedRatio) -> Verdict:
        """What the pairs say; without enough evidence it is "no difference"."""
        logarithms = [math.log(pair) for pair in ratio.pairs]
        if ratio.median >= 1 + self.minimal_gain and self._is_beyond_chance(logarithms):
            return "faster"
        inverted = [-logarithm for logarithm in logarithms]
        if ratio.median <= 1 / (1 + self.minimal_gain) and self._is_beyond_chance(inverted):
            return "slower"
        return "no difference"

    def _is_beyond_chance(self, logarithms: list[float]) -> bool:
        """Whether pairs (logarithms of ratios) lie above 0 more plainly than noise alone."""
        count, ordered = len(logarithms), sorted(logarithms)
        if count >= _SIGN_TEST_PAIRS:
            return ordered[_losses_within_chance(count)] > 0
        least, largest = ordered[0], ordered[-1]
        if count < self.clear_pairs or least <= 0:
            return False
        if least > math.log(self.clear_ratio) and least >= largest / (count - 1):
            return True
        return least >= _LEAST_AGREEMENT.get(count, 1.0) * largest


_SIGN_TEST_PAIRS = 7
# Least over largest |logarithm| of so many pairs, all on one side, that normal noise of any width
# exceeds in 0.2 % of the cases (2 million draws each).
_LEAST_AGREEMENT = {3: 0.87, 4: 0.65, 5: 0.45, 6: 0.31}


@functools.cache
def _losses_within_chance(count: int) -> int:
    """How many of `count` fair coins may fall on the other side at the level of 7 on one side.

    The largest k with 2 · Σ_{i≤k} C(count, i) / 2^count ≤ 2 / 2^7.
    """
    losses, tail = -1, 0
    while (tail := tail + math.comb(count, losses + 1)) <= 2 ** (count - _SIGN_TEST_PAIRS):
        losses += 1
    return losses


class Duel(msgspec.Struct, Generic[T]):
    """Samples of two rivals that ran in turns, pair by pair."""

    rival: list[T]
    candidate: list[T]

    def ratio(self) -> PairedRatio:
        """The candidate's speedup over the rival."""
        return paired_ratio(
            [sample.total_s for sample in self.rival],
            [sample.total_s for sample in self.candidate],
        )


def run_in_turns(
    rival: Callable[[], T],
    candidate: Callable[[], T],
    rule: StoppingRule,
    *,
    on_pair: Callable[[PairedRatio], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Duel[T]:
    """Run A B, B A, A B … until `rule` is satisfied.

    The order alternates, so that a machine which steadily speeds up or slows down favours neither.
    An exception of either rival ends the duel and passes through.
    """
    duel: Duel[T] = Duel(rival=[], candidate=[])
    began = clock()
    while True:
        if len(duel.rival) % 2 == 0:
            first, second = rival(), candidate()
        else:
            second, first = candidate(), rival()
        duel.rival.append(first)
        duel.candidate.append(second)
        ratio = duel.ratio()
        if on_pair is not None:
            on_pair(ratio)
        if rule.enough(ratio, clock() - began):
            return duel
