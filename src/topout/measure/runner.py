"""Two rivals run in turns until their difference is decided, or their time is used up."""

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
    """When the pairs suffice.

    A large effect (every one of `clear_pairs` pairs beyond `clear_ratio`, all on one side) is
    decided at once: under noise alone three such pairs in a row come up in less than one of a
    thousand cases even where single runs scatter by 10 %. A smaller one needs `min_pairs`, and
    pairs are added up to `max_pairs` or `time_budget_s` while the interval still contains 1.
    A gain below `minimal_gain` is no gain: it does not pay for the complexity of a rung.
    """

    clear_pairs: int = 3
    clear_ratio: float = 1.2
    min_pairs: int = 6
    max_pairs: int = 16
    time_budget_s: float = 60.0
    minimal_gain: float = 0.03

    def enough(self, ratio: PairedRatio, elapsed_s: float) -> bool:
        """Whether the pairs so far decide."""
        count = len(ratio.pairs)
        if count < self.clear_pairs:
            return False
        if min(ratio.pairs) > self.clear_ratio or max(ratio.pairs) < 1 / self.clear_ratio:
            return True
        if count < self.min_pairs:
            return elapsed_s > 2 * self.time_budget_s
        undecided = ratio.low <= 1 + self.minimal_gain <= ratio.high
        return not undecided or count >= self.max_pairs or elapsed_s > self.time_budget_s

    def verdict(self, ratio: PairedRatio) -> Verdict:
        """What the pairs say; a difference counts only with its whole interval on one side of 1."""
        if ratio.low > 1 and ratio.median >= 1 + self.minimal_gain:
            return "faster"
        if ratio.high < 1 and ratio.median <= 1 / (1 + self.minimal_gain):
            return "slower"
        return "no difference"


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
