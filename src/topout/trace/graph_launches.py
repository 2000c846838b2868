"""Work of replayed CUDA graphs joined to the calls that launched it, by the nodes of the graphs.

Most profilers give the work of a replay the correlation of its call. Where they do not, a trace
that names graphs and nodes tells all the same: a replay runs each node once, so that the k-th time
of a node is in the k-th replay of its graph. Where there are as many replays as calls that have no
work, the replays are those of the calls in the order of time.
"""

from dataclasses import replace

import polars as pl

from topout.trace.table import DEVICE_WORK, Trace, matching_names

GRAPH_LAUNCH = r"(?i)graphlaunch"
_EARLY_NS = 10**6  # by which work may seem to begin before its call: two clocks


def with_graph_launches(trace: Trace) -> Trace:
    """`trace` with the correlations of calls on the work of graphs that had none."""
    events = trace.events
    names = matching_names(events, GRAPH_LAUNCH)
    if not names or events["graph_node"].null_count() == events.height:
        return trace
    numbered = events.lazy().with_row_index("row")
    is_work = pl.col("kind").is_in(list(DEVICE_WORK))
    of_calls = numbered.filter((pl.col("kind") == "runtime") & pl.col("correlation").is_not_null())
    alone = numbered.filter(is_work & (pl.col("graph_node") > 0)).join(
        of_calls.select("correlation"), on="correlation", how="anti"
    )
    work = alone.select("row", "start_ns", "graph", "graph_node").collect()
    if work.is_empty():
        return trace
    without_work = of_calls.filter(pl.col("name").is_in(names)).join(
        numbered.filter(is_work).select("correlation"), on="correlation", how="anti"
    )
    calls = without_work.select("start_ns", "correlation").sort("start_ns").collect()
    replays, begins = _replays(work)
    is_early = begins.len() == calls.height and (begins < calls["start_ns"] - _EARLY_NS).any()
    if begins.len() != calls.height or is_early:
        return trace
    joined = replays.select("row", found=calls["correlation"].gather(replays["replay"]))
    correlations = numbered.select("row", "correlation").collect().join(
        joined, on="row", how="left", maintain_order="left"
    )  # fmt: skip
    known = correlations.select(pl.coalesce("found", "correlation").alias("correlation"))
    return replace(trace, events=events.with_columns(known["correlation"]))


def _replays(work: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """`work` with the number of its replay, and when each began, in the order of time."""
    turns = work.sort("start_ns", maintain_order=True).with_columns(
        turn=pl.int_range(pl.len()).over("graph", "graph_node")
    )
    ranked = (
        turns.group_by("graph", "turn")
        .agg(pl.col("start_ns").min().alias("begins"))
        .sort("begins", "graph", "turn")
        .with_row_index("replay")
    )
    numbered = turns.join(ranked, on=["graph", "turn"], how="left", nulls_equal=True)
    return numbered, ranked["begins"]
