"""Labels keep off each other, and stay near what they name."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.report.charts.labels import (
    LINE,
    Box,
    along,
    along_lines,
    beside_marks,
    stroke,
    text_width,
)

PLOT = (600.0, 400.0)


def boxes_of(
    marks: list[tuple[float, float]], texts: list[str], taken: list[Box] | None = None
) -> list[Box]:
    placed = beside_marks(marks, texts, [], taken or [], PLOT)
    boxes = []
    for (x, y), text, at in zip(marks, texts, placed, strict=True):
        left = x + at.dx if at.align == "left" else x + at.dx - text_width(text)
        middle = y - at.dy
        boxes.append(Box(left, middle - LINE / 2, left + text_width(text), middle + LINE / 2))
    return boxes


def test_overlap_is_the_area_in_common() -> None:
    assert Box(0, 0, 10, 10).overlap(Box(5, 6, 20, 20)) == 5 * 4
    assert Box(0, 0, 10, 10).overlap(Box(10, 0, 20, 10)) == 0
    assert Box(-5, 0, 5, 10).outside(*PLOT) == 50


def test_a_lone_name_stands_at_the_right_of_its_mark() -> None:
    (at,) = beside_marks([(100.0, 100.0)], ["name"], [], [], PLOT)
    assert (at.align, at.leader) == ("left", False)
    assert 0 < at.dx < 15
    assert at.dy == pytest.approx(0)


def test_at_the_edge_it_stands_inside() -> None:
    (at,) = beside_marks([(590.0, 100.0)], ["a rather long name"], [], [], PLOT)
    assert at.align == "right"


def test_names_of_a_crowd_do_not_cover_each_other() -> None:
    marks = [(300.0 + 7 * i, 200.0 + 5 * (i % 3)) for i in range(7)]
    boxes = boxes_of(marks, [f"operation {i}" for i in range(7)])
    for i, box in enumerate(boxes):
        assert box.outside(*PLOT) == 0
        assert all(box.overlap(other) < 1e-6 for other in boxes[:i])


def test_a_name_keeps_off_what_is_taken_and_a_line_joins_it() -> None:
    wall = Box(100.0, 90.0, 250.0, 110.0)
    (box,) = boxes_of([(100.0, 100.0)], ["name"], [wall])
    assert box.overlap(wall) == 0


def test_a_layout_that_ignores_the_others_would_be_seen() -> None:
    marks = [(300.0, 200.0), (302.0, 200.0)]
    naive = [Box(x + 8, 193, x + 40, 207) for x, _ in marks]
    assert naive[0].overlap(naive[1]) > 0
    placed = boxes_of(marks, ["first", "second"])
    assert placed[0].overlap(placed[1]) == 0


def test_texts_on_lines_far_apart_begin_where_they_want() -> None:
    placed = along_lines([0.0, 100.0], [5.0, 5.0], ["one", "two"], [0.0, 100.0])
    assert placed == [(5.0, True), (5.0, True)]


def test_of_two_close_lines_the_lower_has_its_text_below() -> None:
    placed = along_lines([100.0, 103.0], [5.0, 5.0], ["low", "high"], [100.0, 103.0])
    assert [above for _, above in placed] == [False, True]
    assert [at for at, _ in placed] == [5.0, 5.0]


@given(st.lists(st.floats(0, 60), min_size=1, max_size=8))
def test_texts_along_lines_never_meet(heights: list[float]) -> None:
    texts = [f"roof {i}" for i in range(len(heights))]
    placed = along_lines(heights, [0.0] * len(heights), texts, heights)
    boxes = [
        Box(
            at,
            height + 1 if above else height - LINE - 1,
            at + text_width(text),
            height + 1 + LINE if above else height - 1,
        )
        for height, text, (at, above) in zip(heights, texts, placed, strict=True)
    ]
    for i, box in enumerate(boxes):
        assert all(box.overlap(other) == 0 for other in boxes[:i])


def test_a_slanted_text_covers_boxes_along_it() -> None:
    boxes = along(10.0, 20.0, 0.0, 130.0, math.pi / 4)
    assert len(boxes) == 10
    last = boxes[-1]
    middle = 123.5 / math.sqrt(2)  # the middle of the last of 10 boxes, 13 pixels each
    assert (last.left + last.right) / 2 == pytest.approx(10 + middle)
    assert (last.bottom + last.top) / 2 == pytest.approx(20 + middle)


def test_a_stroke_reaches_both_ends() -> None:
    boxes = stroke((0.0, 0.0), (30.0, 40.0))
    assert boxes[0].overlap(Box(-2, -2, 2, 2)) > 0
    assert boxes[-1].overlap(Box(28, 38, 32, 42)) > 0
