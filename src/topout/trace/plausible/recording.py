"""The bulk of a recording, against which its events are held, and words for those left out."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout import units
from topout.trace.table import DEVICE_WORK

LONGEST_NS = 7 * 86_400 * 10**9  # of an event, and of a gap: no profiler records a week
_FAR_NS = 600 * 10**9  # a pause or a duration of minutes is no sign of anything by itself
_FAR_FROM_LAUNCH_NS = 10**9  # nor is one of a second, of work that the host launched
SPANS = 10  # times the span of the bulk: nearer is no sign of anything
FEW = 3  # events, or one in a thousand moments, are bad before the others are doubted
_EXAMPLES = 2
_LONGEST_NAME = 60

Nanoseconds = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Bulk:
    """The recording but for the `few` moments at either end, and how far from it is far."""

    first_ns: int
    last_ns: int
    has_calls: bool  # of the host, which launch the work of the device

    @property
    def span_ns(self) -> int:
        """From its first moment to its last."""
        return self.last_ns - self.first_ns

    @property
    def near_ns(self) -> int:
        """What is nearer, or no longer, is never far."""
        return max(SPANS * self.span_ns, _FAR_FROM_LAUNCH_NS)

    @property
    def reach_ns(self) -> int:
        """What is further, or longer, needs something else beside it."""
        return max(SPANS * self.span_ns, _FAR_NS)


def bulk_of(events: pl.DataFrame) -> Bulk | None:
    """The bulk of a recording; None of one with so few moments that none is beside the others."""
    starts = events["start_ns"].to_numpy()
    if not starts.size:
        return None
    moments = starts[np.concatenate([[True], starts[1:] != starts[:-1]])]
    few = min(max(FEW, moments.size // 1000), moments.size // 4)
    if not few:
        return None
    has_calls = bool((events["kind"] == "runtime").any())
    return Bulk(int(moments[few]), int(moments[-1 - few]), has_calls)


def is_device_work(events: pl.DataFrame) -> Mask:
    """Which events are kernels, copies and fills."""
    mask: Mask = events["kind"].is_in(list(DEVICE_WORK)).to_numpy()
    return mask


def counted_events(events: pl.DataFrame) -> str:
    """ "15 events"."""
    return units.counted(events.height, "event")


def names_of(events: pl.DataFrame) -> str:
    """The first names as far as they look unlike, and how many more there are."""
    names = events["name"].cast(pl.String).fill_null("without a name").unique(maintain_order=True)
    short = dict.fromkeys(
        name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…" for name in names
    )
    shown, more = list(short)[:_EXAMPLES], len(short) - _EXAMPLES
    return ", ".join(shown) + (f" and {units.counted(more, 'other name')}" if more > 0 else "")
