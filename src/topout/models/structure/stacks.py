"""Equal blocks in a row, each fed by the one before it, as one node that says how many."""

import re
from collections.abc import Hashable

import msgspec

from topout.records import GraphNode

# Two equal layers in a row are a coincidence, two equal blocks are a stack.
_LEAST_BLOCKS, _LEAST_LAYERS = 2, 3


def gather_stacks(node: GraphNode) -> tuple[GraphNode, dict[str, str]]:
    """`node` with stacks gathered at every level; and the new ids of children that were merged."""
    children = [gather_stacks(child)[0] for child in node.children]
    runs = _runs(children)
    renamed = {each.id: run[0].id for run in runs for each in run}
    used_ids = dict.fromkeys(renamed.get(ref, ref) for ref in node.outputs)
    gathered = [_gathered(run, renamed) for run in runs]
    changed = msgspec.structs.replace(node, children=gathered, outputs=list(used_ids))
    return changed, {old: new for old, new in renamed.items() if old != new}


def _runs(children: list[GraphNode]) -> list[list[GraphNode]]:
    """The children in order, those of one stack together."""
    consumers: dict[str, set[str]] = {}
    for child in children:
        for reference in child.inputs:
            consumers.setdefault(reference, set()).add(child.id)
    signatures = [signature(child) for child in children]
    runs: list[list[GraphNode]] = []
    for position, child in enumerate(children):
        run = runs[-1] if runs else []
        if (
            run
            and signatures[position] == signatures[position - 1]
            and _continues(run, child, consumers)
        ):
            run.append(child)
        else:
            runs.append([child])
    return [part for run in runs for part in _worth_gathering(run)]


def _continues(run: list[GraphNode], child: GraphNode, consumers: dict[str, set[str]]) -> bool:
    """Whether `child` takes the place of the run's last in the chain and nothing else changes."""
    last = run[-1]
    if consumers.get(last.id, set()) != {child.id} or len(last.inputs) != len(child.inputs):
        return False
    before = run[-2].id if len(run) > 1 else None
    for old, new in zip(last.inputs, child.inputs, strict=True):
        if new == last.id:
            if before is not None and old != before:
                return False
        elif old != new:
            return False
    return True


def _worth_gathering(run: list[GraphNode]) -> list[list[GraphNode]]:
    least = _LEAST_BLOCKS if run[0].children else _LEAST_LAYERS
    is_stack = run[0].kind == "module" and len(run) >= least
    return [run] if is_stack else [[child] for child in run]


def _gathered(run: list[GraphNode], renamed: dict[str, str]) -> GraphNode:
    first = run[0]
    inputs = [renamed.get(reference, reference) for reference in first.inputs]
    if len(run) == 1:
        return msgspec.structs.replace(first, inputs=inputs)
    return msgspec.structs.replace(first, inputs=inputs, repeats=len(run), last_label=run[-1].label)


def signature(node: GraphNode) -> Hashable:
    """What two nodes have in common if they differ in their numbers and surroundings alone."""
    position = {child.id: str(index) for index, child in enumerate(node.children)}

    def inside(child: GraphNode) -> Hashable:
        inputs = tuple(position.get(reference, reference) for reference in child.inputs)
        return inputs, child.repeats, signature(child)

    return (
        node.kind,
        node.class_name,
        re.sub(r"\d+", "#", node.label),
        tuple(tuple(shape) for shape in node.output_shapes),
        node.parameters,
        len(node.inputs),
        tuple(position.get(reference, reference) for reference in node.outputs),
        tuple(inside(child) for child in node.children),
    )
