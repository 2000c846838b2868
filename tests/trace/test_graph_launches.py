"""Work of replayed graphs finds its call by correlation, or else by the nodes of its graph."""

import json
from pathlib import Path

import polars as pl
import pytest

from tests.trace.analysis.example_traces import Row, call, kernel, trace
from tests.trace.readers.kineto_files import KinetoWriter
from topout.trace.analysis.groups import load_rules
from topout.trace.analysis.report import device_report
from topout.trace.graph_launches import with_graph_launches
from topout.trace.readers.read import read_trace
from topout.trace.table import Trace

RULES = load_rules()
US = 1000


def replays(count: int = 4, nodes: int = 3, **more: object) -> list[Row]:
    """Replays of two graphs in turn, 1 ms apart: their calls, and kernels 100 µs behind them."""
    rows: list[Row] = []
    for replay in range(count):
        at = 1000 * US * replay
        rows.append(call(at, 50 * US, "cudaGraphLaunch", correlation=10 + replay))
        for node in range(nodes):
            # The second and third of a graph run side by side.
            start = at + 100 * US + min(node, 1) * 200 * US
            graph = {"graph": 1 + replay % 2, "graph_node": 100 * (replay % 2) + node + 1}
            rows.append(kernel(start, 190 * US, f"k{node}", stream=7 + node, **graph, **more))
    return rows


def correlations(of: Trace) -> list[int | None]:
    return of.events.filter(pl.col("kind") == "kernel")["correlation"].to_list()


@pytest.mark.parametrize("unjoined", [None, 0])
def test_the_kth_time_of_a_node_is_in_the_kth_replay(unjoined: int | None) -> None:
    found = with_graph_launches(trace(*replays(correlation=unjoined)))
    assert correlations(found) == [10] * 3 + [11] * 3 + [12] * 3 + [13] * 3


def test_other_events_keep_their_correlations() -> None:
    other = [call(5 * US, US, correlation=3), kernel(20 * US, US, correlation=3)]
    found = with_graph_launches(trace(*replays(), *other))
    assert correlations(found)[0] == 3
    runtime = found.events.filter(pl.col("kind") == "runtime")["correlation"].to_list()
    assert runtime == [10, 3, 11, 12, 13]


def test_what_is_joined_already_is_left_alone() -> None:
    joined = [
        row | {"correlation": 10 + row["start_ns"] // (1000 * US)}
        if row["kind"] == "kernel" else row
        for row in replays()
    ]  # fmt: skip
    whole = trace(*joined)
    assert with_graph_launches(whole) is whole


def test_other_numbers_of_replays_than_of_calls_are_not_joined() -> None:
    rows = replays()
    for lacking in (rows[1:], rows[:-3]):
        whole = trace(*lacking)
        assert with_graph_launches(whole) is whole
    before_its_call = [
        row | {"start_ns": row["start_ns"] - 2_200 * US} if row["kind"] == "kernel" else row
        for row in rows
    ]
    whole = trace(*before_its_call)
    assert with_graph_launches(whole) is whole


def test_replays_that_were_launched_late_put_the_host_on_the_path() -> None:
    """Each kernel waits for its call, which comes when the device has long been idle."""
    (alone,) = device_report(trace(*replays()), RULES)
    assert "launch" not in {part.name for part in alone.critical_path}
    (found,) = device_report(with_graph_launches(trace(*replays())), RULES)
    path = {part.name: round(part.total_s * 1e6) for part in found.critical_path}
    # Of 3390 µs from 100 to 3490: two kernels and the 10 between them, 100 of launch, the host.
    assert path == {"host": 2900, "other": 380, "launch": 100, "between kernels": 10}
    assert [cause.cause for cause in found.idle] == ["host", "other"]


def test_replays_that_lack_kernels_of_others_are_not_whole() -> None:
    rows = replays(count=10)
    whole = with_graph_launches(trace(*rows))
    joined = whole.events.to_dicts()
    lacking = [row for row in joined if not (row["correlation"] == 16 and row["name"] == "k1")]
    lacking = [row for row in lacking if not (row["correlation"] == 16 and row["name"] == "k2")]
    (found,) = device_report(trace(*lacking), RULES)
    assert found.reasons["unknown_s"].startswith(
        "1 of 10 replays of CUDA graphs lack work of others: for "
    )
    # From the end of its first kernel at 6290 µs to the start of the next replay at 7100.
    assert round(found.unknown_s * 1e6) == 810 + 100
    (whole_device,) = device_report(whole, RULES)
    assert whole_device.unknown_s == 0.0


def test_nodes_that_run_by_condition_are_no_loss() -> None:
    """No number of nodes is that of most replays."""
    rows = [
        row for row in with_graph_launches(trace(*replays(count=12))).events.to_dicts()
        if not (row["name"] == "k2" and row["correlation"] % 3)
    ]  # fmt: skip
    (found,) = device_report(trace(*rows), RULES)
    assert found.unknown_s == 0.0


def test_a_trace_of_kineto_names_graphs_and_nodes(tmp_path: Path) -> None:
    writer = KinetoWriter(rank=0)
    for replay in range(3):
        at = replay * 1_000_000
        number = writer.launch("cudaGraphLaunch", at, 50_000)
        for node in (1, 2):
            graph = {"graph id": 9, "graph node id": node}
            writer.kernel("k", at + 100_000 * node, 90_000, correlation=0, **graph)
    assert number == 3
    path = writer.save(tmp_path / "t.json")
    assert "graph node id" in json.dumps(json.loads(path.read_text()))
    assert correlations(read_trace(path)) == [1, 1, 2, 2, 3, 3]
