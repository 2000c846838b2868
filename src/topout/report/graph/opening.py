"""Which nodes of a graph a picture shows from inside, unless the reader chooses."""

import re
from collections.abc import Hashable

from topout.records import GraphNode, ModuleGraph

_ATTENTION_OP = "softmax"


def opened_by_default(graph: ModuleGraph) -> set[str]:
    """The ids of the nodes to open: down to the parts of one representative of each kind of block.

    Of numbered nodes of one class beside each other the one that repeats most is opened, and of
    nodes that are built alike the first. Modules made of ops alone stay closed; functions open
    where they     hold an attention's softmax.
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
