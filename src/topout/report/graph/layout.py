"""A graph's boxes and lines, their words and places in pixels: nested frames, data flowing down.

Every opened node is a frame of its own, arranged from the inside out; its inputs are points on
its upper edge, and its values leave at one point of its lower edge.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from topout import units
from topout.records import GraphNode, GraphPort, ModuleGraph
from topout.report.graph.frame import Arranged, Item, Link, Point, arrange

NAME_SIZE, DETAIL_SIZE = 13.0, 11.0
# Of the font size; those of a wide sans-serif, so that no text leaves its box in another.
_NARROW, _DIGIT, _CAPITAL, _WIDE, _OTHER = 0.36, 0.64, 0.71, 0.95, 0.62
_CIRCLES = {"+", "−", "×", "÷"}


def text_width(text: str, size: float, bold: bool = False) -> float:
    """An upper estimate of a text's width in pixels."""
    width = sum(_character_width(character) for character in text) * size
    return width * 1.12 if bold else width


def _character_width(character: str) -> float:
    if character in " .,:;|!'`iIljtfr()[]":
        return _NARROW
    if character in "mwMW@%×÷−+":
        return _WIDE
    if character.isdigit():
        return _DIGIT
    if character.isupper():
        return _CAPITAL
    # Most scripts that are not Latin have wide letters.
    return _OTHER if ord(character) < 0x2000 else 1.05


def title_of(node: GraphNode) -> str:
    """The node's own name: "attn"; of a stack the first and the last: "h.0 – h.11"."""
    return f"{node.label} – {node.last_label}" if node.last_label else node.label


def class_of(node: GraphNode) -> str:
    """The class beside the name, where it says something more."""
    name = node.class_name or ("function" if node.kind == "function" else "")
    return "" if name == node.label else name


def shape_of(node: GraphNode) -> str:
    """The shape of what it puts out: "1 × 128 × 768"; of several the first and how many more."""
    if not node.output_shapes:
        return ""
    first = shape_text(node.output_shapes[0])
    more = len(node.output_shapes) - 1
    return f"{first}  + {more} more" if more else first


def shape_text(shape: list[int]) -> str:
    """ "1 × 128 × 768"; a single number is a scalar."""
    return " × ".join(str(size) for size in shape) or "scalar"


def parameters_of(node: GraphNode) -> str:
    """ "7.09 M", and of a stack "each"; empty without parameters."""
    if not node.parameters:
        return ""
    text = (
        units.parameters(node.parameters) if node.parameters >= 10_000 else f"{node.parameters:,}"
    )
    return f"{text} each" if node.repeats > 1 else text


def is_circle(node: GraphNode) -> bool:
    """Whether an op is drawn as a sign in a circle."""
    return node.kind == "op" and node.label in _CIRCLES


Look = Literal["box", "frame", "circle", "pill", "port"]

CIRCLE, PILL_HEIGHT, BOX_HEIGHT = 26.0, 28.0, 46.0
HEADER, PADDING, FOOT = 36.0, 18.0, 20.0
_NAME_FOOT = 27.0  # what a frame's name takes of its header
SHEETS, SHEET_STEP = 2, 5.0  # drawn behind a stack, and how far each looks out
_INPUT, _OUTPUT = "→", "←"  # of the model: ids that no module has
_LEAST_WIDTH, _TEXT_PADDING, _MORE_WIDTH = 104.0, 24.0, 20.0


@dataclass(slots=True)
class Box:
    """A node on the picture, `x` and `y` its upper left corner."""

    id: str
    look: Look
    x: float
    y: float
    width: float
    height: float
    level: int  # of nesting
    node: GraphNode | None = None  # None: an input or output of the model
    port: GraphPort | None = None
    header_x: float = 0.0  # of a frame: where its name begins


@dataclass(slots=True)
class Line:
    """A way for data from one box to another, or between a frame's edge and what is in it.

    Straight from point to point, with rounded corners; `curved`: bent between the second and the
    third of four points.
    """

    start: str
    end: str
    points: list[Point]
    curved: bool


@dataclass(slots=True)
class Picture:
    """All boxes, outer ones first, and all lines."""

    width: float
    height: float
    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)


def lay_out(graph: ModuleGraph, opened: Collection[str]) -> Picture:
    """The picture of a graph with the nodes `opened` shown from inside."""
    cells = [_port_cell(f"{_INPUT}{k}", port) for k, port in enumerate(graph.inputs)]
    cells += [_cell(child, opened) for child in graph.root.children]
    cells += [_port_cell(f"{_OUTPUT}{k}", port) for k, port in enumerate(graph.outputs)]
    links = [
        Link(_outside(reference), child.id, port)
        for child in graph.root.children
        for port, reference in _drawn_ports(child)
    ]
    links += [
        Link(_outside(source), f"{_OUTPUT}{k}", 0)
        for k, port in enumerate(graph.outputs)
        for source in port.sources
    ]
    items = [cell.item() for cell in cells]
    ends = [cell.id for cell in cells if cell.id.startswith(_OUTPUT)]
    arranged = arrange(items, links, ports=[], outputs=[], top=PADDING, foot=PADDING, last=ends)
    left, right = arranged.left - PADDING, arranged.right + PADDING
    picture = Picture(right - left, arranged.height)
    _put_inside(picture, cells, arranged, graph.root.id, (-left, 0.0), 0)
    return picture


@dataclass(slots=True)
class _Cell:
    """A node with its size and, if opened, with what is arranged in it."""

    id: str
    look: Look
    width: float
    height: float
    axis: float  # from the left: where its main input comes in
    out: float
    ports: dict[int, float]  # of frames: where each input comes in
    node: GraphNode | None = None
    port: GraphPort | None = None
    cells: list["_Cell"] = field(default_factory=list)
    arranged: Arranged | None = None
    origin: float = 0.0  # x of the arrangement's 0 in the frame
    header_x: float = 0.0

    def item(self) -> Item:
        sheets = SHEETS * SHEET_STEP if self.node is not None and self.node.repeats > 1 else 0.0
        return Item(
            id=self.id,
            left=self.axis,
            right=self.width - self.axis + sheets,
            height=self.height + sheets,
            out=self.out - self.axis,
            ports={port: x - self.axis for port, x in self.ports.items()},
            from_side=self.look == "circle",
            span=self.width * 0.6 if self.look in ("box", "pill") else 0.0,
            sheets=sheets,
        )


def _cell(node: GraphNode, opened: Collection[str]) -> _Cell:
    if node.id in opened and node.children:
        return _frame(node, opened)
    if is_circle(node):
        return _plain(node, "circle", CIRCLE, CIRCLE)
    if node.kind == "op":
        return _plain(node, "pill", _line_width(node.label, shape_of(node)), PILL_HEIGHT)
    upper = _line_width(title_of(node), class_of(node))
    lower = text_width(f"{shape_of(node)}    {parameters_of(node)}", DETAIL_SIZE)
    more = _MORE_WIDTH if node.children else 0.0
    width = max(_LEAST_WIDTH, upper + more, lower + _TEXT_PADDING)
    return _plain(node, "box", width, BOX_HEIGHT)


def _line_width(name: str, detail: str) -> float:
    gap = 8.0 if detail else 0.0
    return (
        text_width(name, NAME_SIZE, bold=True) + gap + text_width(detail, DETAIL_SIZE)
    ) + _TEXT_PADDING


def _plain(node: GraphNode, look: Look, width: float, height: float) -> _Cell:
    return _Cell(node.id, look, width, height, width / 2, width / 2, {}, node=node)


def _port_cell(name: str, port: GraphPort) -> _Cell:
    width = _line_width(port.name, shape_text(port.shape))
    return _Cell(name, "port", width, PILL_HEIGHT, width / 2, width / 2, {}, port=port)


def _frame(node: GraphNode, opened: Collection[str]) -> _Cell:
    children = _with_merged_ports(node)
    cells = [_cell(child, opened) for child in children]
    links = [
        Link(reference, child.id, port)
        for child in children
        for port, reference in _drawn_ports(child)
    ]
    arranged = arrange(
        [cell.item() for cell in cells],
        links,
        ports=[f"^{port}" for port, _ in _drawn_ports(node)],
        outputs=node.outputs,
        top=HEADER,
        foot=FOOT,
        head=_NAME_FOOT,
    )
    return _framed(node, cells, arranged)


def _framed(node: GraphNode, cells: list[_Cell], arranged: Arranged) -> _Cell:
    """The frame around an arrangement, with room for its name beside the lines that come in."""
    badge = 44.0 if node.repeats > 1 else 0.0
    name = _line_width(title_of(node), f"{class_of(node)}  {parameters_of(node)}") + badge
    left, right = arranged.left - PADDING, arranged.right + PADDING
    header_x = _free_x(left, sorted(x for x, _ in arranged.ports.values()), name)
    right = max(right, header_x + name)
    return _Cell(
        id=node.id,
        look="frame",
        width=right - left,
        height=arranged.height,
        axis=-left,
        out=arranged.out - left,
        ports={int(port[1:]): x - left for port, (x, _) in arranged.ports.items()},
        node=node,
        cells=cells,
        arranged=arranged,
        origin=-left,
        header_x=header_x - left,
    )


def _free_x(left: float, lines: list[float], width: float) -> float:
    """Where a text finds room between the lines that come in from above, the leftmost place."""
    starts = [edge + 12 for edge in (left, *lines)]
    free = (x for x, line in zip(starts, lines, strict=False) if x + width <= line - 6)
    return next(free, starts[-1])


def _first_of_source(node: GraphNode) -> list[int]:
    """For each port the one that is drawn for it: side inputs of one source are one line."""
    first: dict[str, int] = {}
    drawn = [0] if node.inputs else []
    for port, reference in enumerate(node.inputs[1:], start=1):
        drawn.append(first.setdefault(reference, port))
    return drawn


def _with_merged_ports(node: GraphNode) -> list[GraphNode]:
    """The children, their references to ports replaced by those that are drawn."""
    first = _first_of_source(node)

    def drawn(reference: str) -> str:
        return f"^{first[int(reference[1:])]}" if reference.startswith("^") else reference

    return [
        msgspec.structs.replace(child, inputs=[drawn(each) for each in child.inputs])
        for child in node.children
    ]


def _drawn_ports(node: GraphNode) -> Iterator[tuple[int, str]]:
    """The ports of a node that are drawn, each with where it comes from."""
    for port in dict.fromkeys(_first_of_source(node)):
        yield port, node.inputs[port]


def _outside(reference: str) -> str:
    return f"{_INPUT}{reference[1:]}" if reference.startswith("^") else reference


def _put_inside(
    picture: Picture, cells: list[_Cell], arranged: Arranged, parent: str, at: Point, level: int
) -> None:
    """Enter cells and lines, `at` being where the arrangement's origin comes to lie."""
    dx, dy = at
    for route in arranged.routes:
        points = [(x + dx, y + dy) for x, y in route.points]
        start = parent if route.start.startswith("^") else route.start
        picture.lines.append(Line(start, route.end or parent, points, route.curved))
    for cell in cells:
        x, y = arranged.places[cell.id]
        x, y = x + dx - cell.axis, y + dy
        picture.boxes.append(
            Box(
                id=cell.id,
                look=cell.look,
                x=x,
                y=y,
                width=cell.width,
                height=cell.height,
                level=level,
                node=cell.node,
                port=cell.port,
                header_x=x + cell.header_x,
            )
        )
        if cell.arranged is not None:
            _put_inside(
                picture, cell.cells, cell.arranged, cell.id, (x + cell.origin, y), level + 1
            )
