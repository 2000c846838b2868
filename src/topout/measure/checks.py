"""Doubts about a measurement, each a sentence beside the figure with what would remove it."""

import time
from collections.abc import Sequence

from topout.measure.stats import relative_spread
from topout.measure.usage import busy_share, processor_time
from topout.records import Doubt, RunSample

FEW_SAMPLES = 3
WIDE_SPREAD = 0.15
NOTABLE_STEAL = 0.02
NOTABLE_LOAD = 0.15
DRIFTING_BANDWIDTH = 1.4


def sample_doubts(about: str, samples: Sequence[RunSample]) -> list[Doubt]:
    """Doubts that the raw samples of one rung raise."""
    doubts: list[Doubt] = []
    if not samples:
        return doubts
    times = [sample.total_s for sample in samples]
    if len(times) < FEW_SAMPLES:
        doubts.append(
            Doubt(
                about=about,
                sentence=f"Only {len(times)} run(s) were timed.",
                remedy="Give more time with --time-per-rung.",
            )
        )
    elif relative_spread(times) > WIDE_SPREAD:
        doubts.append(
            Doubt(
                about=about,
                sentence=f"Single runs lie {relative_spread(times):.0%} apart (quartiles).",
                remedy="Close other programs, or run again on a quieter machine.",
            )
        )
    stolen = [sample.stolen_share for sample in samples if sample.stolen_share is not None]
    if stolen and max(stolen) > NOTABLE_STEAL:
        doubts.append(
            Doubt(
                about=about,
                sentence=f"The hypervisor took up to {max(stolen):.0%} of the CPU time from a run.",
                remedy="Trust the ratios, which are of neighbouring runs, more than the times.",
            )
        )
    return doubts


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
        remedy="Trust the ratios, which are of neighbouring runs, more than the times.",
    )


def load_doubts(pause_s: float = 0.3) -> list[Doubt]:
    """Doubts that the machine's state raises before anything is timed; waits for `pause_s`."""
    doubts = []
    before = processor_time()
    time.sleep(pause_s)
    busy = busy_share(before, processor_time())
    if busy is not None and busy > NOTABLE_LOAD:
        doubts.append(
            Doubt(
                about="machine",
                sentence=f"Other programs use {busy:.0%} of the processors.",
                remedy="Close them and run again.",
            )
        )
    swapped = _swap_in_use_share()
    if swapped > 0.1:
        doubts.append(
            Doubt(
                about="machine",
                sentence=f"{swapped:.0%} of the swap space is in use.",
                remedy="Free memory, since a swapped page costs more than any rung saves.",
            )
        )
    return doubts


def _swap_in_use_share() -> float:
    import psutil

    swap = psutil.swap_memory()
    return float(swap.used / swap.total) if swap.total else 0.0
