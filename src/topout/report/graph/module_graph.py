"""A model's graph as one SVG that needs nothing else: readable in light and in dark."""

from collections.abc import Callable, Collection
from html import escape

from topout.records import GraphNode, ModuleGraph
from topout.report.graph.insides import opened_by_default
from topout.report.graph.layout import (
    DETAIL_SIZE,
    NAME_SIZE,
    SHEET_STEP,
    SHEETS,
    Box,
    Line,
    class_of,
    lay_out,
    parameters_of,
    shape_of,
    shape_text,
    text_width,
    title_of,
)

_CORNER = 9.0
_BEND = 0.55  # how far a curve's handles reach, of the gap

Address = Callable[[GraphNode], str | None]


def module_graph_svg(
    graph: ModuleGraph,
    expanded: Collection[str] | None = None,
    address: Address | None = None,
    with_style: bool = True,
) -> str:
    """The graph from top to bottom; equal blocks once, as a stack that says how many.

    `expanded`: ids of the nodes to show from inside; without it one representative of each kind
    of block. `address`: where a click on a closed node leads. `with_style=False` is for pages that
    hold `graph_theme.STYLE` themselves. Names are escaped; nothing is loaded and no script runs.
    """
    opened = opened_by_default(graph) if expanded is None else set(expanded)
    picture = lay_out(graph, opened)
    boxes = picture.boxes
    inner = {box.id for box in boxes if box.look != "frame"}
    parts = [
        *(_frame(box) for box in boxes if box.look == "frame"),
        *(_line(line, line.end in inner) for line in picture.lines),
        *(_linked(box, opened, address) for box in boxes if box.look != "frame"),
        *(_header(box) for box in boxes if box.look == "frame"),
    ]
    width, height = _size(picture.width), _size(picture.height)
    name = escape(graph.root.class_name or graph.root.label)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="module-graph" role="img"'
        f' width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f"<title>{name}</title>{f'<style>{STYLE}</style>' if with_style else ''}"
        f'<rect class="mg-paper" width="{width}" height="{height}"/>'
        f"{''.join(parts)}</svg>"
    )


def _frame(box: Box) -> str:
    node = box.node
    assert node is not None
    look = f"mg-frame mg-{'function' if node.kind == 'function' else 'module'} mg-{box.level % 2}"
    return _sheets(box, node, look) + _rect(box, look, 10)


def _sheets(box: Box, node: GraphNode, look: str) -> str:
    """The further blocks of a stack, looking out behind the first."""
    if node.repeats == 1:
        return ""
    return "".join(
        f'<rect class="{look} mg-sheet" x="{_size(box.x + i * SHEET_STEP)}"'
        f' y="{_size(box.y + i * SHEET_STEP)}" width="{_size(box.width)}"'
        f' height="{_size(box.height)}" rx="10"/>'
        for i in range(SHEETS, 0, -1)
    )


def _header(box: Box) -> str:
    node = box.node
    assert node is not None
    name, about = title_of(node), class_of(node)
    x, y = box.header_x, box.y + 21
    parts = [_text(name, "mg-name", x, y)]
    x += text_width(name, NAME_SIZE, bold=True) + 8
    detail = "  ".join(part for part in (about, parameters_of(node)) if part)
    if detail:
        parts.append(_text(detail, "mg-soft", x, y))
        x += text_width(detail, DETAIL_SIZE) + 10
    if node.repeats > 1:
        parts.append(_badge(node, x, box.y + 8))
    return f"<g>{_tooltip(node)}{''.join(parts)}</g>"


def _badge(node: GraphNode, x: float, y: float) -> str:
    text = f"× {node.repeats}"
    width = text_width(text, DETAIL_SIZE, bold=True) + 14
    return (
        f'<rect class="mg-badge" x="{_size(x)}" y="{_size(y)}" width="{_size(width)}"'
        f' height="18" rx="9"/>{_text(text, "mg-count", x + width / 2, y + 13, "middle")}'
    )


def _linked(box: Box, opened: Collection[str], address: Address | None) -> str:
    drawn = f"<g>{_tooltip(box.node)}{_closed(box)}</g>"
    node = box.node
    if node is None or address is None or not node.children or node.id in opened:
        return drawn
    target = address(node)
    if target is None:
        return drawn
    return f'<a href="{escape(target)}" class="mg-link">{drawn}</a>'


def _closed(box: Box) -> str:
    middle = box.x + box.width / 2
    if box.port is not None:
        texts = _pair(box.port.name, shape_text(box.port.shape), box)
        return _rect(box, "mg-port", box.height / 2) + texts
    node = box.node
    assert node is not None
    kind = f"mg-fill mg-k-{kind_of(node)}"
    if box.look == "circle":
        y = box.y + box.height / 2 + 5.5
        return _rect(box, kind, box.height / 2) + _text(node.label, "mg-sign", middle, y, "middle")
    if box.look == "pill":
        return _rect(box, kind, box.height / 2) + _pair(node.label, shape_of(node), box)
    if node.kind == "function":
        kind += " mg-dashed"
    parts = [_sheets(box, node, kind), _rect(box, kind, 8)]
    name, about = title_of(node), class_of(node)
    parts.append(_text(name, "mg-name", box.x + 12, box.y + 19))
    after = box.x + 20 + text_width(name, NAME_SIZE, bold=True)
    parts.append(_text(about, "mg-soft", after, box.y + 19))
    parts.append(_text(shape_of(node), "mg-soft", box.x + 12, box.y + 36))
    right = box.x + box.width - 12
    parts.append(_text(parameters_of(node), "mg-figure", right, box.y + 36, "end"))
    if node.children:
        parts.append(_text("⋯", "mg-soft", right, box.y + 19, "end"))
    if node.repeats > 1:
        width = text_width(f"× {node.repeats}", DETAIL_SIZE, bold=True) + 14
        parts.append(_badge(node, box.x + box.width - width + 4, box.y - 13))
    return "".join(parts)


def _pair(name: str, detail: str, box: Box) -> str:
    """A name with a detail behind it, on one line in the middle of the box."""
    first = text_width(name, NAME_SIZE, bold=True)
    gap = 8 if detail else 0
    whole = first + gap + text_width(detail, DETAIL_SIZE)
    x, y = box.x + (box.width - whole) / 2, box.y + box.height / 2 + 4.5
    return _text(name, "mg-name", x, y) + _text(detail, "mg-soft", x + first + gap, y)


def _rect(box: Box, look: str, corner: float) -> str:
    return (
        f'<rect class="{look}" x="{_size(box.x)}" y="{_size(box.y)}" width="{_size(box.width)}"'
        f' height="{_size(box.height)}" rx="{_size(corner)}"/>'
    )


def _text(text: str, look: str, x: float, y: float, anchor: str = "start") -> str:
    if not text:
        return ""
    turned = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text class="{look}" x="{_size(x)}" y="{_size(y)}"{turned}>{escape(text)}</text>'


def _tooltip(node: GraphNode | None) -> str:
    if node is None:
        return ""
    shapes = ", ".join(shape_text(shape) for shape in node.output_shapes)
    lines = [
        node.id,
        node.class_name or node.kind,
        f"output {shapes}" if shapes else "",
        f"{node.parameters:,} parameters" if node.parameters else "",
    ]
    return f"<title>{escape(chr(10).join(line for line in lines if line))}</title>"


def _line(line: Line, has_head: bool) -> str:
    """A frame's edge is no end: the line goes on inside, and has its head there."""
    path = _curve(line.points) if line.curved else _corners(line.points)
    (x, y), (before_x, before_y) = line.points[-1], line.points[-2]
    head = _arrow(x, y, x - before_x, y - before_y) if has_head else ""
    return f'<path class="mg-line" d="{path}"/>{head}'


def _arrow(x: float, y: float, dx: float, dy: float) -> str:
    """A small head whose tip is at the end; it points down, left or right."""
    if abs(dx) > abs(dy):
        back = x - 6 if dx > 0 else x + 6
        corners = [(x, y), (back, y - 3.6), (back, y + 3.6)]
    else:
        corners = [(x, y), (x - 3.6, y - 6), (x + 3.6, y - 6)]
    points = " ".join(f"{_size(each_x)},{_size(each_y)}" for each_x, each_y in corners)
    return f'<polygon class="mg-head" points="{points}"/>'


def _curve(points: list[tuple[float, float]]) -> str:
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = points
    if abs(x1 - x2) < 0.5:
        return f"M{_size(x0)} {_size(y0)}L{_size(x3)} {_size(y3)}"
    bend = (y2 - y1) * _BEND
    return (
        f"M{_size(x0)} {_size(y0)}L{_size(x1)} {_size(y1)}"
        f"C{_size(x1)} {_size(y1 + bend)} {_size(x2)} {_size(y2 - bend)} {_size(x2)} {_size(y2)}"
        f"L{_size(x3)} {_size(y3)}"
    )


def _corners(points: list[tuple[float, float]]) -> str:
    """Straight pieces with rounded corners."""
    (x, y), path = points[0], ""
    path = f"M{_size(x)} {_size(y)}"
    for position in range(1, len(points) - 1):
        before, corner, after = points[position - 1 : position + 2]
        start, end = _toward(corner, before), _toward(corner, after)
        path += (
            f"L{_size(start[0])} {_size(start[1])}"
            f"Q{_size(corner[0])} {_size(corner[1])} {_size(end[0])} {_size(end[1])}"
        )
    return f"{path}L{_size(points[-1][0])} {_size(points[-1][1])}"


def _toward(corner: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """The point at which a rounded corner ends, at most half way to the next."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = max((dx * dx + dy * dy) ** 0.5, 1e-9)
    step = min(_CORNER, length / 2)
    return corner[0] + dx / length * step, corner[1] + dy / length * step


def _size(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


# The first of these whose words stand in the class or the name decides.
_KINDS = {
    "norm": ("norm",),
    "embedding": ("embed", "rotary", "position"),
    "attention": ("attention", "attn", "softmax", "scaled_dot_product"),
    "convolution": ("conv2d", "conv1d", "conv3d", "pool", "convlayer"),
    "activation": ("gelu", "relu", "silu", "swish", "tanh", "sigmoid", "activation", "softplus"),
    "linear": ("linear", "dense", "mlp", "expert", "matmul", "proj", "head"),
}
_LINEAR_CLASSES = {"Conv1D"}  # of transformers: a linear layer with its weight transposed


def kind_of(node: GraphNode) -> str:
    """What a node does: a key of the palette, "other" where neither class nor name tells."""
    if node.class_name in _LINEAR_CLASSES:
        return "linear"
    if node.kind == "op" and len(node.label) == 1:
        return "sign"
    words = (node.class_name or node.label).lower()
    for kind, parts in _KINDS.items():
        if any(part in words for part in parts):
            return kind
    return "other"


# Tints with a border of the same hue, light then dark; told apart by hue and by lightness.
_LIGHT = {
    "embedding": ("#efe6f7", "#9a76bd"),
    "attention": ("#fde8d7", "#d9812f"),
    "linear": ("#dfecf8", "#4a8ac4"),
    "norm": ("#e9edf1", "#8b98a5"),
    "activation": ("#fbf1cd", "#c9a227"),
    "convolution": ("#d9f0e6", "#2f9d78"),
    "other": ("#f3f4f6", "#98a1ab"),
    "sign": ("#ffffff", "#5c6570"),
}
_DARK = {
    "embedding": ("#342a42", "#a98cc9"),
    "attention": ("#452f1c", "#e09a55"),
    "linear": ("#1d344b", "#6aa7df"),
    "norm": ("#2a3037", "#8e9aa7"),
    "activation": ("#40381a", "#d6b64c"),
    "convolution": ("#173a2e", "#52b893"),
    "other": ("#262b31", "#838d98"),
    "sign": ("#14171b", "#9ba5b1"),
}


def _fills(palette: dict[str, tuple[str, str]]) -> str:
    return "".join(
        f".module-graph .mg-k-{kind}{{fill:{fill};stroke:{border}}}"
        for kind, (fill, border) in palette.items()
    )


STYLE = (
    ".module-graph{font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,"
    "sans-serif;--mg-paper:#fff;--mg-ink:#1b1f24;--mg-soft:#5c6570;--mg-edge:#c3cad2;"
    "--mg-line:#6b7580;--mg-in0:#f8f9fb;--mg-in1:#fff;--mg-badge:#1c69a8;--mg-on:#fff}"
    ".module-graph .mg-paper{fill:var(--mg-paper)}"
    ".module-graph .mg-frame{stroke:var(--mg-edge);stroke-width:1.2}"
    ".module-graph .mg-0{fill:var(--mg-in0)}.module-graph .mg-1{fill:var(--mg-in1)}"
    ".module-graph .mg-function,.module-graph .mg-dashed{stroke-dasharray:5 3.5}"
    ".module-graph .mg-fill{stroke-width:1.2}"
    ".module-graph .mg-port{fill:none;stroke:var(--mg-line);stroke-width:1.2}"
    ".module-graph .mg-line{fill:none;stroke:var(--mg-line);stroke-width:1.5}"
    ".module-graph .mg-head{fill:var(--mg-line)}"
    ".module-graph .mg-name{font-size:13px;font-weight:600;fill:var(--mg-ink)}"
    ".module-graph .mg-soft{font-size:11px;fill:var(--mg-soft);white-space:pre}"
    ".module-graph .mg-figure{font-size:11px;fill:var(--mg-ink);"
    "font-variant-numeric:tabular-nums}"
    ".module-graph .mg-sign{font-size:16px;fill:var(--mg-ink)}"
    ".module-graph .mg-badge{fill:var(--mg-badge)}"
    ".module-graph .mg-count{font-size:11px;font-weight:650;fill:var(--mg-on)}"
    ".module-graph .mg-link{cursor:pointer}"
    ".module-graph .mg-link:hover .mg-fill{stroke-width:2.4}"
    + _fills(_LIGHT)
    + "@media (prefers-color-scheme:dark){.module-graph{--mg-paper:#14171b;--mg-ink:#e7eaee;"
    "--mg-soft:#a5afba;--mg-edge:#3d4650;--mg-line:#8d98a4;--mg-in0:#1a1e23;--mg-in1:#14171b;"
    "--mg-badge:#6db3ee;--mg-on:#14171b}" + _fills(_DARK) + "}"
)
