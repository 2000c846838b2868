"""The geometry of graphs: nothing overlaps, every line ends at its boxes and runs through none."""

from itertools import combinations, pairwise

import pytest

from topout.models.known import known_config_json
from topout.records import GraphNode, GraphPort, ModuleGraph
from topout.report.graph.frame import Point
from topout.report.graph.insides import opened_by_default
from topout.report.graph.layout import Box, Line, Picture, lay_out
from topout.verbs.list_layers import report_layers

from ..layers.example_layers import block, marked_up_graph, module, op, stacked_graph

_EDGE = 0.6


def overlaps(picture: Picture) -> list[tuple[str, str]]:
    """Boxes that lie over each other without one holding the other."""
    return [
        (a.id, b.id)
        for a, b in combinations(picture.boxes, 2)
        if _meet(a, b) and not (_holds(a, b) or _holds(b, a))
    ]


def _meet(a: Box, b: Box) -> bool:
    return (
        a.x < b.x + b.width
        and b.x < a.x + a.width
        and a.y < b.y + b.height
        and b.y < a.y + a.height
    )


def _holds(outer: Box, inner: Box) -> bool:
    return (
        outer.look == "frame"
        and outer.level < inner.level
        and outer.x <= inner.x
        and inner.x + inner.width <= outer.x + outer.width
        and outer.y <= inner.y
        and inner.y + inner.height <= outer.y + outer.height
    )


def loose_ends(picture: Picture) -> list[tuple[str, str]]:
    """Lines of which an end lies on the edge of no box of the name that it gives."""
    boxes = {box.id: box for box in picture.boxes}
    return [
        (line.start, line.end)
        for line in picture.lines
        if not (
            _on_edge(boxes.get(line.start), line.points[0])
            and _on_edge(boxes.get(line.end), line.points[-1])
        )
    ]


def _on_edge(box: Box | None, point: Point) -> bool:
    if box is None:
        return False
    x, y = point
    near_x = any(abs(x - side) < _EDGE for side in (box.x, box.x + box.width))
    near_y = any(abs(y - side) < _EDGE for side in (box.y, box.y + box.height))
    within_x = box.x - _EDGE <= x <= box.x + box.width + _EDGE
    within_y = box.y - _EDGE <= y <= box.y + box.height + _EDGE
    return (near_x and within_y) or (near_y and within_x)


def crossings(picture: Picture) -> list[tuple[str, str, str]]:
    """Lines that run through a box which is no frame, or through a frame of others."""
    boxes = {box.id: box for box in picture.boxes}
    return [
        (line.start, line.end, box.id)
        for line in picture.lines
        for box in picture.boxes
        if any(_crosses(box, a, b) for a, b in pairwise(_along(line)))
        and not _frames(box, line, boxes)
    ]


def _crosses(box: Box, a: Point, b: Point) -> bool:
    """Whether an upright, a level or a short piece runs through the inside of a box."""
    (left, right), (top, bottom) = sorted((a[0], b[0])), sorted((a[1], b[1]))
    return (
        left < box.x + box.width - 1
        and box.x + 1 < right
        and top < box.y + box.height - 1
        and box.y + 1 < bottom
    )


def _frames(box: Box, line: Line, boxes: dict[str, Box]) -> bool:
    """Whether the line runs between parts of the frame."""
    if box.look != "frame":
        return False
    inside = [
        end == box.id or (end in boxes and _holds(box, boxes[end]))
        for end in (line.start, line.end)
    ]
    return all(inside)


def _along(line: Line) -> list[Point]:
    points = line.points
    if not line.curved:
        return points
    (x1, y1), (x2, y2) = points[1], points[2]
    bend = (y2 - y1) * 0.55
    curve = []
    for step in range(17):
        t = step / 16
        a, b, c, d = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3
        y = a * y1 + b * (y1 + bend) + c * (y2 - bend) + d * y2
        curve.append(((a + b) * x1 + (c + d) * x2, y))
    return [points[0], *curve, points[3]]


def _graph(name: str, layers: dict[str, int]) -> ModuleGraph:
    report = report_layers(known_config_json(name) | layers, name, length=8 if layers else None)
    assert report.graph is not None
    return report.graph


def _all_ids(node: GraphNode) -> set[str]:
    return {node.id}.union(*(_all_ids(child) for child in node.children))


def _check(graph: ModuleGraph, opened: set[str]) -> Picture:
    picture = lay_out(graph, opened)
    assert not overlaps(picture)
    assert not loose_ends(picture)
    assert not crossings(picture)
    assert all(box.x >= 0 and box.x + box.width <= picture.width for box in picture.boxes)
    assert all(box.y >= 0 and box.y + box.height <= picture.height for box in picture.boxes)
    return picture


_SMALL = {
    "gpt2": {"n_layer": 3},
    "llama-3.2-1b": {"num_hidden_layers": 3},
    "distilbert": {"n_layers": 3},
    "bert-base": {"num_hidden_layers": 3},
    "t5-small": {"num_layers": 3, "num_decoder_layers": 3},
    "mixtral-8x7b": {"num_hidden_layers": 3},
    "gemma-3-1b": {"num_hidden_layers": 7},
    "resnet-18": {},
}


@pytest.mark.parametrize("name", _SMALL)
def test_models_are_drawn_without_overlaps_at_any_opening(name: str) -> None:
    graph = _graph(name, _SMALL[name])
    for opened in ({graph.root.id}, opened_by_default(graph), _all_ids(graph.root)):
        _check(graph, opened)


def test_hand_made_graphs_are_drawn_without_overlaps() -> None:
    for graph in (stacked_graph(), marked_up_graph()):
        for opened in (set[str](), _all_ids(graph.root)):
            _check(graph, opened)


def test_a_residual_connection_runs_beside_what_it_passes() -> None:
    picture = _check(stacked_graph(), {"blocks.0"})
    boxes = {box.id: box for box in picture.boxes}
    residual = next(
        line
        for line in picture.lines
        if (line.start, line.end) == ("blocks.0", "blocks.0:+") and not line.curved
    )
    mix = boxes["blocks.0.mix"]
    assert max(x for x, _ in residual.points) > mix.x + mix.width
    # It enters the sign from its right side.
    plus = boxes["blocks.0:+"]
    assert residual.points[-1] == pytest.approx((plus.x + plus.width, plus.y + plus.height / 2))


def test_side_inputs_of_one_source_are_one_line() -> None:
    twice = block("b", "a", "side", "side")
    root = GraphNode(
        id="model",
        kind="module",
        label="M",
        inputs=["x"],
        children=[module("a", "^0"), module("side", "^0"), twice],
        outputs=["b"],
    )
    graph = ModuleGraph(root=root, inputs=[GraphPort(name="x", shape=[1])], outputs=[])
    lines = [line for line in _check(graph, {"b"}).lines if line.start == "side"]
    assert len(lines) == 1


def test_data_flows_down() -> None:
    picture = _check(stacked_graph(), {"blocks.0"})
    assert all(line.points[0][1] <= line.points[-1][1] for line in picture.lines)


def test_the_checks_find_what_is_wrong() -> None:
    box = Box(id="a", look="box", x=0, y=0, width=50, height=20, level=0)
    over = Box(id="b", look="box", x=40, y=10, width=50, height=20, level=0)
    far = Line("a", "b", [(25, 20), (25, 90)], False)
    assert overlaps(Picture(100, 100, [box, over], [])) == [("a", "b")]
    assert loose_ends(Picture(100, 100, [box, over], [far])) == [("a", "b")]
    through = Line("c", "d", [(60, 0), (60, 90)], False)
    assert crossings(Picture(100, 100, [over], [through])) == [("c", "d", "b")]
    assert op("a", "+").label == "+"
