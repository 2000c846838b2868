"""A model layer by layer as a document: its graph, each block from inside, every layer."""

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from topout import units
from topout.records import GraphNode, Layer, Layers, LayersReport, ModuleGraph
from topout.report.document import (
    Absent,
    Bullets,
    Cell,
    Column,
    Document,
    Facts,
    Paragraph,
    Part,
    Picture,
    Row,
    Section,
    Table,
    Tile,
)
from topout.report.figures import precision
from topout.report.graph.insides import Inside, insides
from topout.report.graph.layout import class_of, parameters_of, shape_of

_WIDE = 110  # characters from which on the class has a column of its own
_MOST_PLACES = 12  # of blocks built alike that are named
_TERMS = {
    "Layer": "A module as PyTorch registers it. Figures of a layer that holds others are those of "
    "all of them together; of equal layers in a row (× n) those of one.",
    "Output": "The shape of the first tensor of the first call; + n: so many tensors more.",
    "Parameters, *": "A star marks a layer whose parameters were counted in an earlier one; the "
    "sum has them once.",
    "Outputs": "The bytes that it puts out in a forward pass, in all calls.",
    "Boxes": "A full border is a module, a dashed one a Python function of the model's code; round "
    "ones are single operations of PyTorch.",
}


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer, or the first of `repeats` equal ones in a row; figures are those of one."""

    layer: Layer
    label: str  # "attn", "0 – 11"
    guide: str  # the lines of the tree to the left of the label
    repeats: int
    depth: int

    @property
    def name(self) -> str:
        """The label, and how many there are."""
        return f"{self.label} × {self.repeats}" if self.repeats > 1 else self.label

    @property
    def class_name(self) -> str:
        """The class, where it is not the label, and how often it was called if not once."""
        name = "" if self.layer.class_name == self.label else self.layer.class_name
        calls = f"{self.layer.calls} calls" if self.layer.calls > 1 else ""
        return " ".join(part for part in (name, calls) if part)

    @property
    def shape(self) -> str:
        """The shape of its output; of several the first, and how many more."""
        shapes = self.layer.output_shapes
        if shapes is None:
            return "" if self.layer.forward_bytes else "not called"
        if not shapes:
            return units.ABSENT
        first = "×".join(str(size) for size in shapes[0]) or "scalar"
        return f"{first} +{len(shapes) - 1}" if len(shapes) > 1 else first

    @property
    def parameters(self) -> str:
        """All of them, exactly; marked where some were counted in an earlier layer."""
        mark = "*" if self.layer.own_shared_parameters else ""
        return f"{self.layer.parameters:,}{mark}" if self.layer.parameters else ""

    @property
    def outputs(self) -> str:
        """Bytes that its layers put out."""
        return units.si(self.layer.forward_bytes, "B") if self.layer.forward_bytes else ""


def layers_document(report: LayersReport, expand: bool = False) -> Document:
    """The report of a model's layers; equal blocks in a row are told once, unless `expand`."""
    layers = report.layers
    rows = layer_rows(layers, expand)
    repeated = any(row.repeats > 1 for row in rows)
    times = "× n: so many equal layers in a row; the figures are those of one."
    return Document(
        record=report,
        title=report.model,
        about=f"{report.class_name}; one forward pass of {workload_words(report)}, followed "
        "without weights",
        tiles=_tiles(report),
        parts=[
            Paragraph(_failure(report), "failed"),
            *_graph(report),
            Section(
                "Layer by layer",
                [
                    _layers(rows),
                    Paragraph(times if repeated else "", "note", only="terminal"),
                    Bullets(shared_sentences(layers.root)),
                ],
                key="layers",
            ),
            Section(
                "Memory",
                [Facts(sums(layers)), Absent(layers.reasons, "Not known"), Bullets(layers.rules)],
                key="sums",
            ),
        ],
        terms=[*_TERMS.items()],
    )


def _failure(report: LayersReport) -> str:
    failure = report.layers.failure
    if failure is None:
        return ""
    return (
        f"The forward pass stopped in {failure.layer} at {failure.op} ({failure.message}). Layers "
        "after it have no outputs here; on real tensors it may run to its end."
    )


def _tiles(report: LayersReport) -> list[Tile]:
    layers = report.layers
    calls = "of layers that call no other"
    total = "inputs, outputs twice, weights"
    return [
        Tile(
            "parameters",
            units.parameters(layers.parameters),
            f"{layers.parameters:,}",
            report.dtype,
        ),
        Tile("weights", units.si(layers.parameter_bytes, "B"), "", "each shared tensor once"),
        Tile("outputs, forward", units.si(layers.forward_bytes, "B"), "", calls),
        Tile("estimated total", units.si(layers.total_bytes, "B"), "", total),
    ]


def _layers(rows: Sequence[LayerRow]) -> Table:
    columns = [
        Column("Layer", text=True, below_width=_WIDE),
        Column("Layer", text=True, from_width=_WIDE),
        Column("Class", text=True, from_width=_WIDE),
        Column("Output", text=True, least=12),
        Column("Parameters"),
        Column("Outputs"),
    ]
    return Table(columns, [_row(row) for row in rows])


def _row(row: LayerRow) -> Row:
    name = f"{row.guide}{row.name}"
    return Row(
        [
            f"{name} {row.class_name}".rstrip(),
            name,
            Cell(row.class_name, style="soft"),
            row.shape,
            row.parameters,
            row.outputs,
        ],
        style="soft" if row.layer.output_shapes is None else "",
    )


def _graph(report: LayersReport) -> list[Section]:
    """The graph, and each kind of block in it from inside; or why there is none."""
    graph = report.graph
    if graph is None:
        return [Section("The graph", [Absent(report.reasons, "Not drawn")], only="page")]
    views = insides(graph)
    note = (
        "Data flows from top to bottom. A stack stands for equal blocks in a row. A block marked ⋯ "
        "holds parts that are not drawn: click on it to see it from inside."
    )
    parts: list[Part] = [
        Paragraph(note, "note"),
        Picture(_drawing(graph, views, None, with_style=True)),
        *(Paragraph(each, "note") for each in graph.notes),
    ]
    opened = [_inside(view, views) for view in views]
    alike: list[Part] = [Paragraph("Each kind of block once.", "note"), *opened] if opened else []
    return [
        Section("The graph", parts, key="graph", only="page"),
        Section("From inside", alike, key="insides", only="page"),
    ]


def _inside(view: Inside, views: Sequence[Inside]) -> Section:
    node, others = view.node, view.ids[1:]
    about = ", ".join(filter(None, (class_of(node), parameters_of(node), shape_of(node))))
    more = len(others) - _MOST_PLACES
    named = ", ".join(others[:_MOST_PLACES]) + (f" and {more} more" if more > 0 else "")
    return Section(
        f"{node.id} × {node.repeats}" if node.repeats > 1 else node.id,
        [
            Picture(_drawing(view.graph, views, {node.id}), key=view.key),
            Paragraph(f"Built alike: {named}." if others else "", "note"),
        ],
        key=f"of-{view.key}",
        about=about,
        folded=True,
    )


def _drawing(
    graph: ModuleGraph,
    views: Sequence[Inside],
    opened: set[str] | None,
    with_style: bool = False,  # that of the first picture holds for the whole page
) -> Callable[[], str]:
    keys = {node_id: view.key for view in views for node_id in view.ids}

    def address(node: GraphNode) -> str | None:
        return f"#{keys[node.id]}" if node.id in keys else None

    def draw() -> str:
        from topout.report.graph.module_graph import module_graph_svg

        return module_graph_svg(graph, opened, address, with_style=with_style)

    return draw


def layer_rows(layers: Layers, expand: bool = False) -> list[LayerRow]:
    """The rows in the order of execution; with `expand` every one of equal layers."""
    root = LayerRow(layers.root, layers.root.class_name, "", 1, 0)
    return [root, *_rows(layers.root, "", 1, expand)]


def _rows(parent: Layer, guide: str, depth: int, expand: bool) -> Iterator[LayerRow]:
    runs = _runs(parent.children, expand)
    for position, run in enumerate(runs):
        is_last = position == len(runs) - 1
        first = run[0]
        label = _label(first, parent)
        if len(run) > 1:
            label = f"{label} – {_label(run[-1], parent)}"
        yield LayerRow(first, label, guide + ("└ " if is_last else "├ "), len(run), depth)
        yield from _rows(first, guide + ("  " if is_last else "│ "), depth + 1, expand)


def _label(layer: Layer, parent: Layer) -> str:
    return layer.name.removeprefix(f"{parent.name}." if parent.name else "")


def _runs(children: list[Layer], expand: bool) -> list[list[Layer]]:
    """Neighbours that are equal, together."""
    runs: list[list[Layer]] = []
    for child in children:
        if runs and not expand and _signature(runs[-1][0]) == _signature(child):
            runs[-1].append(child)
        else:
            runs.append([child])
    return runs


def _signature(layer: Layer) -> Hashable:
    """What two layers have in common if they differ in the numbers of their names alone."""
    shapes = layer.output_shapes
    return (
        re.sub(r"\d+", "#", layer.name),
        layer.class_name,
        layer.calls,
        None if shapes is None else tuple(tuple(shape) for shape in shapes),
        (layer.own_parameters, layer.own_shared_parameters, layer.parameters),
        (layer.trainable_parameters, layer.parameter_bytes, layer.buffers, layer.forward_bytes),
        tuple(_signature(child) for child in layer.children),
    )


def shared_sentences(root: Layer) -> list[str]:
    """A sentence for each layer whose parameters were counted in an earlier one."""
    sentences = []
    if root.own_shared_parameters:
        others = ", ".join(other or root.class_name for other in root.shared_with)
        sentences.append(
            f"* {root.name} shares {root.own_shared_parameters:,} parameters with {others}; "
            "they count once."
        )
    return sentences + [each for child in root.children for each in shared_sentences(child)]


def sums(layers: Layers) -> list[tuple[str, str]]:
    """The totals, each with its name."""
    frozen = layers.parameters - layers.trainable_parameters
    of_them = "all trainable" if not frozen else f"{layers.trainable_parameters:,} trainable"
    rows = [("Parameters", f"{layers.parameters:,} ({of_them}), {_bytes(layers.parameter_bytes)}")]
    if layers.buffers:
        rows.append(("Buffers", f"{layers.buffers:,}, {_bytes(layers.buffer_bytes)}"))
    rows.append(("Inputs", _bytes(layers.input_bytes)))
    rows.append(("Outputs, forward", _bytes(layers.forward_bytes)))
    rows.append(("Forward and backward", _bytes(layers.forward_backward_bytes)))
    rows.append(("Estimated total", _total(layers.total_bytes)))
    return rows


def _bytes(value: int | None) -> str:
    return units.si(value, "B")


def _total(value: int | None) -> str:
    """Also in units of 1024² bytes, which other summaries call MB."""
    if value is None:
        return units.ABSENT
    binary = f"{value / 2**20:,.2f}"
    return f"{_bytes(value)} ({value:,} bytes; {binary} MB where 1 MB is 1024² bytes)"


def workload_words(report: LayersReport) -> str:
    """What went into the model: "input_ids 1×128, fp32 (as published)"."""
    given = [f"{port.name} {'×'.join(map(str, port.shape))}" for port in report.inputs]
    return ", ".join([*given, precision(report.dtype, report.dtype_origin)])
