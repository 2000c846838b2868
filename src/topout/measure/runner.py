"""Two rivals run in turns until their difference is decided, or their time is used up."""

import time
from collections.abc import Callable, Hashable
from typing import Generic, Protocol, TypeVar

import msgspec

from topout.measure.speed_test import LOOKS, SpeedTest
from topout.records import PairedRatio

FEWEST_PAIRS = LOOKS[0]
# Times the budget that a duel may take where that promises a decision.
PATIENCE = 3.0
# How many pairs would decide is a rough guess: a duel goes on while half of them may do.
_GUESS = 2.0
# Disturbed pairs that are repeated, beyond one for each that was not.
MOST_REPEATS = 3


class Timed(Protocol):
    """A sample of a run; only its duration matters here."""

    @property
    def total_s(self) -> float:
        """Wall time of the whole run in seconds."""
        ...


T = TypeVar("T", bound=Timed)


class StoppingRule(msgspec.Struct, frozen=True, kw_only=True):
    """When the pairs suffice.

    They do at the first of the test's looks that decides, or at its last one. Time ends a duel as
    well: `time_budget_s`, or `PATIENCE` times as much where the pairs so far give hope that this
    decides. `FEWEST_PAIRS` are run however long they take.
    """

    test: SpeedTest = SpeedTest(looks=LOOKS)
    time_budget_s: float = 60.0

    def enough(self, ratio: PairedRatio, elapsed_s: float) -> bool:
        """Whether the pairs so far decide, or no more can be afforded."""
        count, longest_s = len(ratio.pairs), PATIENCE * self.time_budget_s
        if count < FEWEST_PAIRS:
            return False
        if elapsed_s > longest_s or count >= self.test.looks[-1]:
            return True
        # Whatever else ends it depends on the pairs: that is a look, and so it is counted as one.
        if count not in self.test.looks:
            return False
        if ratio.verdict != "not proven":
            return True
        needed = ratio.pairs_to_decide
        is_hopeless = needed is None or needed * elapsed_s / count > _GUESS * longest_s
        return is_hopeless and elapsed_s > self.time_budget_s


class Duel(msgspec.Struct, Generic[T]):
    """Samples of two rivals that ran in turns, pair by pair."""

    rival: list[T]
    candidate: list[T]
    strata: list[Hashable] = []  # of each pair; empty, or all None: the ratio depends on nothing
    test: SpeedTest = SpeedTest()
    elapsed_s: float = 0.0
    disturbed: list[tuple[T, T]] = []  # rival and candidate; repeated, and not used
    uses_disturbed: bool = False  # since nearly all pairs were

    def ratio(self, seconds_of: Callable[[T], float] | None = None) -> PairedRatio:
        """The candidate's speedup over the rival: of the whole run, or of a part of it."""
        of = seconds_of or (lambda sample: sample.total_s)
        return self.test.ratio(
            [of(each) for each in self.rival],
            [of(each) for each in self.candidate],
            self.strata or None,
        )


class Watch(msgspec.Struct, Generic[T], frozen=True):
    """What is to be known of a sample beside its duration."""

    is_disturbed: Callable[[T], bool] = lambda _: False
    stratum_of: Callable[[T], Hashable] = lambda _: None  # what its duration depends on


def run_in_turns(
    rival: Callable[[], T],
    candidate: Callable[[], T],
    rule: StoppingRule,
    *,
    watch: Watch[T] | None = None,
    on_pair: Callable[[PairedRatio], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Duel[T]:
    """Run A B, B A, A B … until `rule` is satisfied.

    The order alternates, so that a machine which steadily speeds up or slows down favours neither.
    A pair that was disturbed is repeated; where more are than are not, and `MOST_REPEATS` beyond,
    the machine is so all the time, and all pairs are used. An exception of either rival ends the
    duel and passes through.
    """
    watch = watch or Watch()
    duel: Duel[T] = Duel(rival=[], candidate=[], strata=[], test=rule.test, disturbed=[])
    began = clock()
    while True:
        if (len(duel.rival) + len(duel.disturbed)) % 2 == 0:
            first, second = rival(), candidate()
        else:
            second, first = candidate(), rival()
        duel.elapsed_s = clock() - began
        _add(duel, (first, second), watch)
        if not duel.rival:
            continue
        ratio = duel.ratio()
        if on_pair is not None:
            on_pair(ratio)
        if rule.enough(ratio, duel.elapsed_s):
            return duel


def _add(duel: Duel[T], pair: tuple[T, T], watch: Watch[T]) -> None:
    """Take a pair in, or set it aside; once too many lie aside, all are taken in."""
    used = [pair]
    if not duel.uses_disturbed and any(map(watch.is_disturbed, pair)):
        duel.disturbed.append(pair)
        if len(duel.disturbed) <= len(duel.rival) + MOST_REPEATS:
            return
        used, duel.disturbed, duel.uses_disturbed = duel.disturbed, [], True
    for rival, candidate in used:
        duel.rival.append(rival)
        duel.candidate.append(candidate)
        of_candidate = watch.stratum_of(candidate)
        duel.strata.append(watch.stratum_of(rival) if of_candidate is None else of_candidate)
