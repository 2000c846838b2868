"""The charts of a trace: which there are, and what stands in them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.trace.analysis.example_trace_report import (
    MARKUP,
    change,
    device,
    devices_report,
    diff_report,
    empty_report,
    gpus_report,
    host_report,
    marked_up_report,
)
from topout.records import CollectiveTime, Communication, MemoryPoint, Transfer
from topout.report.charts.theme import chart_svg
from topout.report.trace.bars import MOST_BARS, chosen, legend_columns, time_unit
from topout.report.trace.charts import (
    change_bars,
    memory_chart,
    thinned,
    trace_charts,
    transfer_chart,
)
from topout.report.trace.time_charts import group_colours, time_parts, waiting_chart


def rows_of(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """All rows that are embedded anywhere in the spec."""
    found = list(spec.get("data", {}).get("values", []))
    for layer in spec.get("layer", []):
        found += rows_of(layer)
    return found


def test_a_chart_for_every_question_that_has_an_answer() -> None:
    assert list(trace_charts(gpus_report())) == [
        "time",
        "groups",
        "idle",
        "critical_path",
        "transfers",
        "collectives",
        "memory",
    ]
    assert list(trace_charts(host_report())) == ["time", "groups"]
    assert list(trace_charts(devices_report())) == [
        "time",
        "groups",
        "idle",
        "critical_path",
        "transfers",
    ]
    assert trace_charts(empty_report()) == {}


def test_parts_do_not_overlap_and_sum_to_the_wall_time() -> None:
    parts = time_parts(device())
    # 600 ms of compute, 100 of them with communication; 250 of that, 150 alone; 20 of copies.
    assert parts == pytest.approx(
        {
            "compute alone": 0.5,
            "both at once": 0.1,
            "communication alone": 0.15,
            "copies and fills": 0.02,
            "idle": 0.23,
        }
    )
    assert sum(parts.values()) == pytest.approx(device().wall_s)


def test_rounding_in_a_record_makes_no_negative_part() -> None:
    parts = time_parts(device(busy_s=0.6, compute_s=0.6000001, exposed_communication_s=0.0))
    assert min(parts.values()) >= 0


def test_bars_of_time_end_where_the_next_begins() -> None:
    spec = trace_charts(gpus_report(2))["time"].spec
    bars = [row for row in rows_of(spec) if row.get("label") == "rank 0" and "part" in row][:5]
    assert [bar["start"] for bar in bars[1:]] == pytest.approx([bar["stop"] for bar in bars[:-1]])
    assert bars[0]["start"] == 0
    assert bars[-1]["stop"] == pytest.approx(1000)  # ms
    assert bars[0]["share"] == "50 %"


@pytest.mark.parametrize("count", [1, 4, 64, 200])
def test_any_number_of_ranks_stays_legible(count: int) -> None:
    charts = trace_charts(gpus_report(count))
    for chart in charts.values():
        assert chart_svg(chart.spec).startswith("<svg")
        assert chart.spec["height"] <= 700
    labels = {row["label"] for row in rows_of(charts["time"].spec) if "label" in row}
    assert len(labels) == min(count, MOST_BARS)
    assert f"rank {count - 1}" in labels  # the least busy one
    assert ("are shown" in charts["time"].caption) is (count > MOST_BARS)


@given(st.lists(st.floats(0, 1e9), max_size=300), st.integers(2, 80))
def test_a_choice_is_in_order_and_has_both_extremes(values: list[float], most: int) -> None:
    places = chosen(values, most)
    assert places == sorted(set(places))
    assert len(places) == min(len(values), most)
    if values:
        assert min(values) in [values[place] for place in places]
        assert max(values) in [values[place] for place in places]


def test_units_of_time() -> None:
    assert time_unit(90) == (1.0, "s")
    assert time_unit(1.5) == (1e-3, "ms")
    assert time_unit(0.0015) == (1e-6, "µs")
    assert time_unit(0) == (1e-6, "µs")


def test_legends_are_laid_out_for_a_telephone() -> None:
    assert legend_columns(["a", "b", "c"]) == 3
    assert legend_columns(["a rather long name indeed"] * 4) == 1
    assert legend_columns([]) == 1


def test_small_groups_become_one_and_colours_stay_apart() -> None:
    names = [f"group {number}" for number in range(20)]
    groups = [
        replace(device().groups[0], name=name, total_s=1.0 / (number + 1))
        for number, name in enumerate(names)
    ]
    spec = trace_charts(replace(host_report(), ranks=[device(groups=groups)]))["groups"].spec
    parts = {row["part"] for row in rows_of(spec) if "part" in row}
    assert len(parts) == 10 and "all others" in parts
    colours = group_colours(["matrix-mul", "mine", "yours", "communication"])
    assert len(set(colours.values())) == 4


def test_who_sends_to_whom() -> None:
    chart = transfer_chart(devices_report().communication)
    assert chart is not None
    rows = rows_of(chart.spec)
    assert [(row["from"], row["to"], row["size"]) for row in rows] == [
        ("host", "GPU 0", "1.00 MB"),
        ("GPU 0", "GPU 1", "64.0 MB"),
    ]
    assert rows[1]["shade"] == 1.0 and rows[0]["shade"] < 0.2
    assert transfer_chart(Communication()) is None


def test_neighbours_share_cells_where_ranks_are_very_many() -> None:
    transfers = [
        Transfer(source=rank, destination=(rank + 1) % 256, bytes=10, total_s=0.1, calls=1)
        for rank in range(256)
    ]
    chart = transfer_chart(Communication(unit="rank", transfers=transfers))
    assert chart is not None
    rows = rows_of(chart.spec)
    assert "4 neighbours of 256 share" in chart.caption
    inside = next(row for row in rows if row["from"] == row["to"] == "rank 0–3")
    assert inside["size"] == "30.0 B"  # 0→1, 1→2, 2→3
    across = next(row for row in rows if (row["from"], row["to"]) == ("rank 0–3", "rank 4–7"))
    assert across["size"] == "10.0 B"


def test_waiting_stands_beside_transfer() -> None:
    chart = waiting_chart(gpus_report().communication)
    assert chart is not None
    parts = {
        (row["label"], row["part"]): row["time"] for row in rows_of(chart.spec) if "part" in row
    }
    assert parts == {
        ("all_reduce", "transfer"): "150 ms",
        ("all_reduce", "waiting for the late rank"): "75.0 ms",
        ("broadcast", "not told apart"): "4.00 ms",
    }


def test_collectives_of_one_name_and_of_many() -> None:
    found = [
        CollectiveTime(
            name="all_reduce", group=f"g{number % 2}", calls=1, total_s=1.0 / (number + 1)
        )
        for number in range(30)
    ]
    chart = waiting_chart(Communication(collectives=found))
    assert chart is not None
    labels = {row["label"] for row in rows_of(chart.spec) if "part" in row}
    assert len(labels) == 12 and "19 others" in labels
    assert waiting_chart(Communication()) is None


def test_memory_keeps_its_peaks_when_thinned() -> None:
    points = [MemoryPoint(at_s=float(i), allocated_bytes=i % 7) for i in range(5000)]
    points[1234] = MemoryPoint(at_s=1234.0, allocated_bytes=99)
    fewer = thinned(points)
    assert len(fewer) <= 301
    assert max(point.allocated_bytes for point in fewer) == 99
    assert fewer[-1] is points[-1]
    assert thinned(points[:10]) == points[:10]


def test_memory_of_many_devices_shows_few_and_says_so() -> None:
    chart = memory_chart(gpus_report(64).ranks)
    assert chart is not None and "4 of 64 devices are shown" in chart.caption
    assert memory_chart([device(memory=[])]) is None
    alone = memory_chart([device(memory=[MemoryPoint(at_s=0.0, allocated_bytes=5)])])
    assert alone is not None and "svg" in chart_svg(alone.spec)


def test_names_with_markup_are_text_in_every_chart() -> None:
    for chart in trace_charts(marked_up_report()).values():
        assert "<script" not in chart_svg(chart.spec)
    assert MARKUP in json.dumps(trace_charts(marked_up_report())["groups"].spec)


def test_a_comparison_leaves_out_what_did_not_change() -> None:
    rows = rows_of(change_bars(diff_report().groups, 10))
    assert {(row["name"], row["kind"], row["figure"]) for row in rows} == {
        ("memory", "slower", "+10.0"),
        ("matrix-mul", "faster", "−20.0"),
    }


def test_names_that_are_alike_when_cut_keep_their_own_bars() -> None:
    stem = "a_kernel_with_a_very_long_name_"
    spec = change_bars([change(f"{stem}{n}{'x' * 40}_end", 0.01, 0.02 + n) for n in range(3)], 10)
    assert len({row["label"] for row in rows_of(spec)}) == 3
    chart_svg(spec)
