"""A model layer by layer as a document: its graph, each block from inside, every layer."""

from collections.abc import Callable, Sequence

from topout import units
from topout.records import GraphNode, LayersReport, ModuleGraph
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
from topout.report.graph.insides import Inside, insides
from topout.report.graph.text import class_of, parameters_of, shape_of
from topout.report.layers.rows import LayerRow, layer_rows, shared_sentences, sums, workload_words

_WIDE = 110  # characters from which on the class has a column of its own
_MOST_PLACES = 12  # of blocks built alike that are named
_TERMS = [
    (
        "Layer",
        "A module as PyTorch registers it. Figures of a layer that holds others are those of all "
        "of them together; of equal layers in a row (× n) those of one.",
    ),
    (
        "Output",
        "The shape of the first tensor of the first call; + n: so many tensors more.",
    ),
    (
        "Parameters, *",
        "A star marks a layer whose parameters were counted in an earlier one; the sum has them "
        "once.",
    ),
    ("Outputs", "The bytes that it puts out in a forward pass, in all calls."),
    (
        "Boxes",
        "A full border is a module, a dashed one a Python function of the model's code; round "
        "ones are single operations of PyTorch.",
    ),
]


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
        terms=_TERMS,
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
        Tile("parameters", units.count(layers.parameters), f"{layers.parameters:,}", report.dtype),
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
