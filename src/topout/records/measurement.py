"""Measured figures with their spread, and the reasons to doubt them."""

from topout.records.record import Record


class Estimate(Record, frozen=True, kw_only=True):
    """A figure with its spread: median and the bounds of its 95 % bootstrap interval."""

    median: float
    low: float
    high: float


class PairedRatio(Record, frozen=True, kw_only=True):
    """Rival's time over candidate's time, pair by pair; above 1 the candidate is faster."""

    median: float
    low: float
    high: float
    pairs: list[float]


class Doubt(Record, frozen=True, kw_only=True):
    """A reason to trust a figure less, in a sentence, with what would remove it."""

    about: str
    sentence: str
    remedy: str
