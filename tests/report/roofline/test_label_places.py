"""No two texts of a roofline meet, whatever is drawn on it: counted in the pixels of the plot."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.example_machines import cpu, gpu
from topout.cost.roofs import RooflinePoint
from topout.report.charts.labels import LINE, Box, along, beside_marks, text_width
from topout.report.charts.theme import Spec
from topout.report.climb.roofline_chart import label_box, place_labels
from topout.report.roofline.frame import HEIGHT, WIDTH, Frame, RoofLine
from topout.report.roofline.hierarchical import hierarchical_roofline
from topout.report.roofline.roof_names import label_boxes

# Text, and whether it stands above or beside its anchor: what Vega is told, read back.
_SLACK = 1e-6


def frame_of(spec: Spec) -> Frame:
    encoding = next(each["encoding"] for each in spec["layer"] if "scale" in each["encoding"]["x"])
    return Frame(encoding["x"]["scale"]["domain"], encoding["y"]["scale"]["domain"])


def texts_of(spec: Spec) -> dict[str, list[Box]]:
    """The boxes of every text that the spec has Vega draw, from its anchors, offsets and angles."""
    frame = frame_of(spec)
    found: dict[str, list[Box]] = {}
    for number, layer in enumerate(spec["layer"]):
        mark = layer["mark"]
        if mark["type"] != "text":
            continue
        rows = spec["datasets"][layer["data"]["name"]] if "name" in layer["data"] else None
        for index, row in enumerate(rows or layer["data"]["values"]):
            text = row[layer["encoding"]["text"]["field"]]
            if text:
                name = f"{number}.{index} {text}"
                found[name] = _boxes(text, mark, row, frame)
    return found


def _boxes(text: str, mark: dict[str, Any], row: dict[str, Any], frame: Frame) -> list[Box]:
    x, y = frame.pixels(row["intensity"], row["rate"])
    dx, dy = mark.get("dx", 0), mark.get("dy", 0)
    if isinstance(dx, dict):  # of a point's own name
        dx, dy = row["dx"] + (2 if mark["align"] == "left" else -2), row["dy"]
    width = text_width(text)
    align = mark.get("align", "center")
    left = {"left": 0.0, "right": -width, "center": -width / 2}[align] + dx
    rise = {"bottom": LINE / 2, "top": -LINE / 2}.get(mark.get("baseline", "middle"), 0.0) - dy
    if "angle" in mark:
        sin, cos = math.sin(frame.slope), math.cos(frame.slope)
        return along(x - rise * sin, y + rise * cos, left, width, frame.slope)
    return [Box(x + left, y + rise - LINE / 2, x + left + width, y + rise + LINE / 2)]


def meeting(texts: dict[str, list[Box]]) -> list[tuple[str, str]]:
    """Pairs of texts that cover each other by more than a rounding."""
    return [
        (one, other)
        for (one, boxes), (other, others) in itertools.combinations(texts.items(), 2)
        if any(a.overlap(b) > _SLACK for a in boxes for b in others)
    ]


# A failing example is as telling as its smallest, which would take minutes to find.
NO_SHRINKING = (Phase.explicit, Phase.generate)
POINTS = st.lists(
    st.tuples(
        st.sampled_from(("prefill", "decode", "an op with a rather long name")),
        st.floats(0.1, 1000.0),
        st.floats(1e10, 2e15),
    ),
    max_size=16,
)


@settings(
    max_examples=10, deadline=None, phases=NO_SHRINKING, suppress_health_check=list(HealthCheck)
)
@given(POINTS, st.sampled_from(["gpu", "cpu"]))
def test_no_two_texts_of_a_machine_s_roofline_meet(
    drawn: list[tuple[str, float, float]], machine: str
) -> None:
    points = [
        RooflinePoint(
            name=f"{name} {number}",
            group=name,
            arithmetic_intensity=intensity,
            flops_per_s=rate if machine == "gpu" else rate / 1e3,
            predicted=number % 2 == 0,
        )
        for number, (name, intensity, rate) in enumerate(drawn)
    ]
    texts = texts_of(hierarchical_roofline(gpu() if machine == "gpu" else cpu(), points))
    assert texts
    assert meeting(texts) == []


def test_texts_that_meet_are_noticed() -> None:
    """The reader of specs above sees what it is there for: all names put at one spot."""
    points = [
        RooflinePoint(
            name=f"op {number}",
            group="decode",
            arithmetic_intensity=1.0,
            flops_per_s=1e12,
            predicted=True,
        )
        for number in range(6)
    ]
    spec = hierarchical_roofline(gpu(), points)
    assert meeting(texts_of(spec)) == []
    names = {name.split(" ", 1)[1] for name in texts_of(spec)}
    assert {point.name for point in points} <= names  # six of one spot all have room
    for layer in spec["layer"]:
        rows = spec["datasets"].get(layer["data"].get("name"), []) if "datasets" in spec else []
        for row in rows or layer["data"].get("values", []):
            if "dx" in row:
                row["dx"], row["dy"] = 0.0, 0.0
    assert len(meeting(texts_of(spec))) >= 3


CLIMBS = st.lists(
    st.tuples(st.sampled_from(("prefill", "decode")), st.floats(0.3, 900.0), st.floats(3.0, 900.0)),
    max_size=20,
)
LINES = [
    RoofLine("DRAM", "DRAM 55.6 GB/s", "bandwidth", ((0.1, 5.56), (20.0, 1112.0))),
    RoofLine("L3", "L3 60.1 GB/s", "bandwidth", ((0.1, 6.01), (18.5, 1112.0))),
    RoofLine("fp32", "fp32 522 GFLOP/s", "compute", ((8.7, 522.0), (5000.0, 522.0))),
    RoofLine("bf16", "bf16 540 GFLOP/s", "compute", ((9.0, 540.0), (5000.0, 540.0))),
]


@settings(
    max_examples=12, deadline=None, phases=NO_SHRINKING, suppress_health_check=list(HealthCheck)
)
@given(CLIMBS)
def test_no_two_texts_of_a_climb_s_roofline_meet(drawn: list[tuple[str, float, float]]) -> None:
    frame = Frame([0.1, 5000.0], [1.0, 2000.0])
    points = [
        {"phase": phase, "intensity": x, "rate": y, "short": f"{number} native_linear_int8"}
        for number, (phase, x, y) in enumerate(drawn)
    ]
    place_labels(points, LINES, frame)
    boxes = [label_box(point, frame) for point in points if point["short"]]
    assert _all_apart(boxes)
    for box in boxes:
        assert box.outside(WIDTH, HEIGHT) < _SLACK
    marks = [
        Box(x - 6, y - 6, x + 6, y + 6)
        for x, y in (frame.pixels(point["intensity"], point["rate"]) for point in points)
    ]
    roofs = label_boxes(LINES, frame, marks)
    assert all(box.overlap(roof) <= _SLACK for box in boxes for roof in roofs)


def test_a_dozen_rungs_of_each_phase_all_keep_their_names() -> None:
    frame = Frame([0.1, 5000.0], [1.0, 2000.0])
    points = [
        {"phase": phase, "intensity": x, "rate": y + number, "short": f"{number} a_rung"}
        for phase, x, y in (("decode", 1.0, 20.0), ("prefill", 300.0, 200.0))
        for number in range(13)
    ]
    place_labels(points, LINES, frame)
    assert all(point["short"] for point in points)


def _all_apart(boxes: Sequence[Box]) -> bool:
    return all(a.overlap(b) <= _SLACK for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize("count", [1, 5, 40])
def test_where_nothing_is_free_a_name_is_left_out_and_never_put_over_another(count: int) -> None:
    marks = [(150.0, 60.0)] * count
    places = beside_marks(marks, ["a rather long name of an op"] * count, [], [], (360.0, 120.0))
    width = text_width("a rather long name of an op")
    boxes = []
    for (x, y), place in zip(marks, places, strict=True):
        if place is not None:
            left = x + place.dx + (2 if place.align == "left" else -2 - width)
            middle = y - place.dy
            boxes.append(Box(left, middle - LINE / 2, left + width, middle + LINE / 2))
    assert boxes and _all_apart(boxes)
    assert (len(boxes) < count) == (count == 40)
