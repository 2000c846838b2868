"""A model layer by layer as one HTML page: its graph, each block from inside, every layer."""

from markupsafe import Markup

from topout import units
from topout.records import GraphNode, LayersReport, ModuleGraph
from topout.report.graph.insides import Inside, insides
from topout.report.graph.module_graph import module_graph_svg
from topout.report.graph.text import class_of, parameters_of, shape_of
from topout.report.graph.theme import STYLE
from topout.report.layers.rows import layer_rows, shared_sentences, sums, workload_words
from topout.report.page import Tile, render_page


def layers_page(report: LayersReport, expand: bool = False) -> str:
    """The report as a self-contained HTML document; blocks open on a click, also without scripts.

    Equal blocks in a row are told once, with their number, unless `expand`.
    """
    graph = report.graph
    views = insides(graph) if graph is not None else []
    return render_page(
        "layers.html.j2",
        report,
        report.model,
        [],
        layers=report.layers,
        class_name=report.class_name,
        workload=workload_words(report),
        tiles=_tiles(report),
        graph=graph,
        graph_style=Markup(STYLE),  # noqa: S704 - ours, no input
        picture=_picture(graph, views, None) if graph is not None else "",
        insides=[_Opened(view, views) for view in views],
        rows=layer_rows(report.layers, expand),
        shared=shared_sentences(report.layers.root),
        sums=sums(report.layers),
        reasons=report.reasons,
    )


class _Opened:
    """One block's inside as the template shows it."""

    def __init__(self, view: Inside, views: list[Inside]) -> None:
        node = view.node
        self.key = view.key
        self.title = f"{node.id} × {node.repeats}" if node.repeats > 1 else node.id
        about = (class_of(node), parameters_of(node), shape_of(node))
        self.about = ", ".join(part for part in about if part)
        self.places = view.ids
        self.picture = _picture(view.graph, views, {node.id})


def _picture(graph: ModuleGraph, views: list[Inside], opened: set[str] | None) -> Markup:
    keys = {node_id: view.key for view in views for node_id in view.ids}

    def address(node: GraphNode) -> str | None:
        return f"#{keys[node.id]}" if node.id in keys else None

    svg = module_graph_svg(graph, opened, address, with_style=False)
    return Markup(svg)  # noqa: S704 - the writer has escaped all names


def _tiles(report: LayersReport) -> list[Tile]:
    layers = report.layers
    return [
        Tile("parameters", units.count(layers.parameters), f"{layers.parameters:,}", report.dtype),
        Tile("weights", units.si(layers.parameter_bytes, "B"), "", "each shared tensor once"),
        Tile(
            "outputs, forward",
            units.si(layers.forward_bytes, "B"),
            "",
            "of layers that call no other",
        ),
        Tile(
            "estimated total",
            units.si(layers.total_bytes, "B"),
            "",
            "inputs, outputs twice, weights",
        ),
    ]
