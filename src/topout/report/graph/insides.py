"""The inside of each kind of node as a graph of its own, for a page on which nodes open."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from topout.records import GraphNode, GraphPort, ModuleGraph
from topout.report.graph.opening import build_of


@dataclass(slots=True)
class Inside:
    """What one kind of node looks like from inside, and which nodes are of that kind."""

    key: str  # unique on the page
    node: GraphNode  # the first of them
    graph: ModuleGraph
    ids: list[str] = field(default_factory=list)


def insides(graph: ModuleGraph) -> list[Inside]:
    """The insides of all nodes that have one, in the order in which they ran.

    Nodes of the same build, shapes and parameters share one.
    """
    found: dict[Hashable, Inside] = {}
    outer = {f"^{k}": port for k, port in enumerate(graph.inputs)}
    for node, ports in _nodes_with_parts(graph.root, outer):
        kind = _kind(node)
        if kind not in found:
            found[kind] = Inside(f"inside-{len(found)}", node, _as_graph(node, ports))
        found[kind].ids.append(node.id)
    return list(found.values())


def _nodes_with_parts(
    parent: GraphNode, outer: dict[str, GraphPort]
) -> Iterator[tuple[GraphNode, list[GraphPort]]]:
    """Every node with children, outer ones first, and what comes into it."""
    known = outer | {
        child.id: GraphPort(name=child.label, shape=_first_shape(child))
        for child in parent.children
    }
    for child in parent.children:
        ports = [known[reference] for reference in child.inputs]
        if child.children:
            yield child, ports
            yield from _nodes_with_parts(child, {f"^{k}": port for k, port in enumerate(ports)})


def _as_graph(node: GraphNode, inputs: list[GraphPort]) -> ModuleGraph:
    output = GraphPort(name="output", shape=_first_shape(node), sources=node.outputs)
    return ModuleGraph(root=node, inputs=inputs, outputs=[output] if node.outputs else [])


def _first_shape(node: GraphNode) -> list[int]:
    return node.output_shapes[0] if node.output_shapes else []


def _kind(node: GraphNode) -> Hashable:
    shapes = tuple(tuple(shape) for shape in node.output_shapes)
    return build_of(node), shapes, node.parameters
