"""Runs that the machine disturbed: they are repeated, and used only where all are disturbed."""

from topout import units
from topout.measure.runner import Duel, Watch
from topout.measure.stats import NOTABLE_LOAD, NOTABLE_STEAL, QUIETER
from topout.records import DisturbedPair, Doubt, RunSample

# The kernel counts processor time in ticks of 10 ms: less of a short run is one tick, or none.
_LEAST_S = 0.01


def is_disturbed(sample: RunSample) -> bool:
    """Whether the hypervisor or other programs took a notable share of the CPUs from a run."""
    shares = ((sample.stolen_share, NOTABLE_STEAL), (sample.other_load, NOTABLE_LOAD))
    return any(
        share is not None and share > notable and share * sample.total_s > _LEAST_S
        for share, notable in shares
    )


def stratum_of(sample: RunSample) -> int | None:
    """The prompt of a run that speculates, since what it gains depends on the text; else None."""
    speculates = sample.forward_passes < sample.new_tokens - 1
    return sample.prompt if speculates else None


WATCH = Watch(is_disturbed, stratum_of)


def disturbed_pairs(duel: Duel[RunSample]) -> list[DisturbedPair]:
    """The pairs that were repeated, for the record."""
    return [DisturbedPair(rival=rival, candidate=own) for rival, own in duel.disturbed]


def disturbance_doubts(about: str, duel: Duel[RunSample] | None) -> list[Doubt]:
    """One where the machine was disturbed all the time, so that its runs had to be used."""
    if duel is None or not duel.uses_disturbed:
        return []
    pairs = zip(duel.rival, duel.candidate, strict=True)
    count = sum(is_disturbed(rival) or is_disturbed(own) for rival, own in pairs)
    sentence = (
        f"Other programs or the hypervisor disturbed {count} of "
        f"{units.counted(len(duel.rival), 'pair')}, too many to repeat, so they are used."
    )
    return [Doubt(about=about, sentence=sentence, remedy=QUIETER)]
