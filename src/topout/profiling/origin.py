"""The region that time belongs to: the one around it, or for a backward that of its forward.

Autograd numbers the nodes of its graph; the forward operator that makes a node carries its number
in the trace, and so does the node when the backward runs it.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from topout.profiling.innermost import Positions, innermost_at, numbers_of
from topout.trace.capture import PHASE_PREFIX

_NODE = "autograd::engine::evaluate_function: "


@dataclass(frozen=True)
class Origin:
    """For each call the row of its region, −1 for none, and whether it is part of a backward."""

    rows: Positions
    backward: NDArray[np.bool_]


def regions_of(events: pl.DataFrame, calls: pl.DataFrame) -> Origin:
    """Where each of `calls` belongs; `events` are the host's, with row (their place) and end_ns."""
    own = innermost_at(named_regions(events), calls)
    operators = events.filter(pl.col("kind") == "cpu_op")
    is_node = pl.col("name").str.starts_with(_NODE)
    nodes = operators.filter(is_node)
    if nodes.is_empty():
        return Origin(own, np.zeros(calls.height, np.bool_))
    around = innermost_at(nodes, calls)
    made = _made_in(events, operators.filter(~is_node), nodes)
    numbers = dict(zip(nodes["row"].to_list(), nodes["sequence"].to_list(), strict=True))
    forward = np.array([made.get(numbers.get(row), -1) for row in around.tolist()], np.int64)
    # A forward that runs again during the backward, to save memory, has regions of its own.
    starts = numbers_of(events, "start_ns")
    again = (own >= 0) & (around >= 0) & (starts[own] >= starts[around])
    return Origin(np.where(again | (around < 0), own, forward), around >= 0)


def named_regions(events: pl.DataFrame) -> pl.DataFrame:
    """Modules and what the user's code named; not the phases."""
    is_phase = pl.col("name").str.starts_with(PHASE_PREFIX)
    return events.filter((pl.col("kind") == "annotation") & ~is_phase)


def _made_in(
    events: pl.DataFrame, operators: pl.DataFrame, nodes: pl.DataFrame
) -> dict[int | None, int]:
    """By the number of a node: the region of the operator that made it."""
    forward = operators.filter(pl.col("sequence").is_not_null())
    forward = forward.filter(pl.Series(innermost_at(nodes, forward) < 0, dtype=pl.Boolean))
    # Operators that make no node carry the next one's number: the one that makes it is the last.
    forward = forward.sort("start_ns").unique("sequence", keep="last", maintain_order=True)
    regions = innermost_at(named_regions(events), forward).tolist()
    return dict(zip(forward["sequence"].to_list(), regions, strict=True))
