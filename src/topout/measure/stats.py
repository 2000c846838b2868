"""Statistics of raw samples, and doubts about them.

Medians and bootstrap intervals; a doubt is a sentence with what would remove it. Ratios of rivals
have a test of their own, `speed_test`.
"""

import functools
import math
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from topout.measure.process import busy_share, processor_time
from topout.records import Doubt, Estimate, PairedRatio, RunSample

CONFIDENCE = 0.95
RESAMPLES = 2000
# One seed for all bootstraps: the interval of given samples is the same wherever it is derived.
_SEED = 20_241
FEW_SAMPLES = 3
WIDE_SPREAD = 0.15
NOTABLE_STEAL = 0.02
NOTABLE_LOAD = 0.15
DRIFTING_BANDWIDTH = 1.4
QUIETER = "Close other programs, or run again on a quieter machine."
_TRUST_RATIOS = "Trust the ratios, which are of neighbouring runs, more than the times."


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


def sample_doubts(about: str, samples: Sequence[RunSample]) -> list[Doubt]:
    """Doubts that the raw samples of one rung raise."""
    if not samples:
        return []
    times = [sample.total_s for sample in samples]
    found: list[tuple[str, str]] = []
    if len(times) < FEW_SAMPLES:
        sentence = f"Only {len(times)} run(s) were timed."
        found.append((sentence, "Give more time with --time-per-rung."))
    elif relative_spread(times) > WIDE_SPREAD:
        sentence = f"Single runs lie {relative_spread(times):.0%} apart (quartiles)."
        found.append((sentence, QUIETER))
    stolen = [sample.stolen_share for sample in samples if sample.stolen_share is not None]
    if stolen and max(stolen) > NOTABLE_STEAL:
        sentence = f"The hypervisor took up to {max(stolen):.0%} of the CPU time from a run."
        found.append((sentence, _TRUST_RATIOS))
    return _doubts(about, found)


def _doubts(about: str, found: Sequence[tuple[str, str]]) -> list[Doubt]:
    return [Doubt(about=about, sentence=sentence, remedy=remedy) for sentence, remedy in found]


def drift_doubt(probes: Sequence[float]) -> Doubt | None:
    """A doubt when the read bandwidth that was probed between runs did not stay the same."""
    if len(probes) < 2 or max(probes) < DRIFTING_BANDWIDTH * min(probes):
        return None
    return Doubt(
        about="machine",
        sentence=(
            f"The read bandwidth drifted between {min(probes) / 1e9:.1f} and "
            f"{max(probes) / 1e9:.1f} GB/s during the climb."
        ),
        remedy=_TRUST_RATIOS,
    )


def load_doubts(pause_s: float = 0.3) -> list[Doubt]:
    """Doubts that the machine's state raises before anything is timed; waits for `pause_s`."""
    found = []
    before = processor_time()
    time.sleep(pause_s)
    busy = busy_share(before, processor_time())
    if busy is not None and busy > NOTABLE_LOAD:
        sentence = f"Other programs use {busy:.0%} of the processors."
        found.append((sentence, "Close them and run again."))
    swapped = _swap_in_use_share()
    if swapped > 0.1:
        sentence = f"{swapped:.0%} of the swap space is in use."
        found.append(
            (sentence, "Free memory, since a swapped page costs more than any rung saves.")
        )
    return _doubts("machine", found)


def _swap_in_use_share() -> float:
    import psutil

    swap = psutil.swap_memory()
    return float(swap.used / swap.total) if swap.total else 0.0
