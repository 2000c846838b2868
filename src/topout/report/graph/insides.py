"""Which nodes of a graph are shown from inside, and the inside of each kind as a graph."""

import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

from topout.records import GraphNode, GraphPort, ModuleGraph

_ATTENTION_OP = "softmax"


def opened_by_default(graph: ModuleGraph) -> set[str]:
    """The ids of the nodes to open: down to the parts of one representative of each kind of block.

    Of numbered nodes of one class beside each other the one that repeats most is opened, and of
    nodes that are built alike the first. Modules made of ops alone stay closed; functions open
    where they hold an attention's softmax.
    """
    opened = {graph.root.id}
    _open_parts(graph.root, opened, set())
    return opened


def _open_parts(node: GraphNode, opened: set[str], known: set[Hashable]) -> None:
    chosen: dict[Hashable, GraphNode] = {}
    for child in node.children:
        name = child.class_name, re.sub(r"\d+", "#", child.label)
        if has_parts(child) and (name not in chosen or child.repeats > chosen[name].repeats):
            chosen[name] = child
    for child in node.children:
        kind = build_of(child)
        if child in chosen.values() and kind not in known:
            known.add(kind)
            opened.add(child.id)
            _open_parts(child, opened, known)


def has_parts(node: GraphNode) -> bool:
    """Whether the inside is worth a look without being asked for."""
    if node.kind == "function":
        return any(child.label == _ATTENTION_OP for child in node.children)
    return any(child.kind == "module" or has_parts(child) for child in node.children)


def build_of(node: GraphNode) -> Hashable:
    """The same for nodes that are built alike, whatever their names and sizes."""
    name = node.class_name or node.label
    return name, tuple(build_of(child) for child in node.children)


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
        # A record that was damaged may name what is not there.
        ports = [known[reference] for reference in child.inputs if reference in known]
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
