"""From a recorded forward pass to the graph of data flow between its modules.

`Flow` says which of the recorded ops a graph shows, and between which of them data flows. Equal
blocks in a row, each fed by the one before it, are gathered into one node that says how many.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from torch import nn

from topout.errors import UnsupportedError
from topout.models.structure.recorder import record_forward
from topout.models.structure.recording import Call, Helper, Op, Recording, Shape
from topout.records import GraphNode, GraphPort, ModuleGraph

Unit = Call | Helper | Op

_ROOT = "model"
# Two equal layers in a row are a coincidence, two equal blocks are a stack.
_LEAST_BLOCKS, _LEAST_LAYERS = 2, 3


class Flow:
    """The ops worth a node, each with the nested units that it lies in.

    Left out are ops that only change shape or type, whatever depends on neither the inputs nor
    the weights (positions, causal masks), what follows from a boolean input alone (masks), and
    results that nobody uses.
    """

    def __init__(self, recording: Recording) -> None:
        self.ops: list[Op] = []
        self._shown: set[Op] = set()
        self._sources: dict[Op, list[Op]] = {}  # of any op: the shown ops and inputs behind it
        alive = _alive(recording)
        derived: set[Op] = set()
        for op in recording.ops:
            if _is_derived(op, derived):
                derived.add(op)
            self._sources[op] = self._behind(op) if op in derived else []
            if op in derived and _is_shown(op, alive):
                self.ops.append(op)
                self._shown.add(op)
        self._ops_in: Counter[Unit] = Counter()
        for op in self.ops:
            self._ops_in.update(unit for unit in (op.call, op.helper) if unit is not None)

    def sources(self, op: Op) -> list[Op]:
        """The shown ops and the inputs that a shown op takes values from."""
        return self._sources[op]

    def reached(self, op: Op) -> list[Op]:
        """The shown ops and the inputs that the value of any op comes from."""
        is_input = op.kind == "input" and not op.is_mask
        return [op] if is_input or op in self._shown else self._sources[op]

    def path(self, op: Op) -> list[Unit]:
        """The units that hold a shown op, outermost first, ending in the one drawn for it."""
        path: list[Unit] = []
        for call in _chain(op.call):
            path.append(call)
            if self._is_atom(call):
                return path
        helper = op.helper
        if helper is not None and not helper.holds_calls and self._ops_in[helper] > 1:
            path.append(helper)
        return [*path, op]

    def _behind(self, op: Op) -> list[Op]:
        reached = (each for source in op.sources for each in self.reached(source))
        return list(dict.fromkeys(reached))

    def _is_atom(self, call: Call) -> bool:
        """Whether a call is drawn without an inside."""
        if call.parent is None or call.children:
            return False
        return _is_of_torch(call) or self._ops_in[call] <= 1


def _is_shown(op: Op, alive: set[Op]) -> bool:
    if op.kind == "input":
        return False
    if op.call is not None and _is_of_torch(op.call) and not op.call.children:
        return True  # one of torch.nn's layers: one node, whatever its ops
    return op.kind == "compute" and op in alive


def _is_derived(op: Op, derived: set[Op]) -> bool:
    """Whether inputs or weights have a part in its value."""
    if op.kind == "input":
        return not op.is_mask
    return op.reads_state or any(source in derived for source in op.sources)


def _alive(recording: Recording) -> set[Op]:
    """The ops that an output depends on."""
    pending = [op for _, _, op in recording.outputs if op is not None]
    alive: set[Op] = set()
    while pending:
        op = pending.pop()
        if op not in alive:
            alive.add(op)
            pending += op.sources
    return alive


def _is_of_torch(call: Call) -> bool:
    return type(call.module).__module__.startswith("torch.nn.")


def _chain(call: Call | None) -> list[Call]:
    calls = []
    while call is not None:
        calls.append(call)
        call = call.parent
    return calls[::-1]


def trace_graph(
    module: nn.Module, *example_inputs: Any, expand: bool = False, **kwargs: Any
) -> ModuleGraph:
    """The graph of one forward pass, on meta or real tensors, at every level of modules.

    Equal blocks in a row become one node unless `expand`. Raises UnsupportedError that names the
    layer and the op where the forward pass fails.
    """
    return graph_of(record_forward(module, *example_inputs, **kwargs), expand)


def graph_of(recording: Recording, expand: bool = False) -> ModuleGraph:
    """The graph of a recorded forward pass; raises UnsupportedError where that failed."""
    failure = recording.failure
    if failure is not None:
        raise UnsupportedError(
            f"the forward pass stopped in {failure.layer} at {failure.op}: {failure.message}.",
            "On meta tensors an op that needs values fails: give it real ones.",
        )
    flow = Flow(recording)
    root = _draw_nodes(recording, flow)
    outputs = [
        GraphPort(name=name or "output", shape=list(shape), sources=_leave(root, flow, op))
        for name, shape, op in recording.outputs
    ]
    outputs = [port for port in outputs if port.sources]
    inputs, root_refs = _used_inputs(recording, root)
    node = _finish(root, recording.names, root_refs)
    if not expand:
        node, renamed = gather_stacks(node)
        outputs = [_rename(port, renamed) for port in outputs]
    return ModuleGraph(root=node, inputs=inputs, outputs=outputs, notes=_notes(recording, flow))


@dataclass(eq=False, slots=True)
class _Draft:
    """A node while its edges are being found."""

    unit: Unit
    id: str
    label: str
    children: dict[Unit, "_Draft"] = field(default_factory=dict)
    # (where it comes from, the op whose value it is) → port number
    ports: dict[tuple[str, Op], int] = field(default_factory=dict)
    outputs: dict[str, None] = field(default_factory=dict)
    shapes: list[Shape] = field(default_factory=list)

    def port(self, source: str, value: Op) -> str:
        """The name, inside this node, of the input that brings `value`."""
        return f"^{self.ports.setdefault((source, value), len(self.ports))}"


def _draw_nodes(recording: Recording, flow: Flow) -> _Draft:
    root = _Draft(recording.calls[0], _ROOT, "")
    root.shapes = recording.calls[0].output_shapes
    drafts: dict[Op, list[_Draft]] = {}
    namer = _Namer()
    for op in flow.ops:
        drafts[op] = _place(root, flow.path(op), op, namer)
        for source in flow.sources(op):
            _connect(root, drafts.get(source, []), drafts[op], source)
    return root


def _place(root: _Draft, path: list[Unit], op: Op, namer: "_Namer") -> list[_Draft]:
    """The drafts along a path, made where they are new; the last stands for `op`."""
    drafts = [root]
    for unit in path[1:]:
        parent = drafts[-1]
        if unit not in parent.children:
            node_id, label = namer.name(unit, drafts)
            draft = _Draft(unit, node_id, label)
            draft.shapes = unit.output_shapes if isinstance(unit, Call) else op.shapes
            parent.children[unit] = draft
        drafts.append(parent.children[unit])
        if isinstance(unit, Helper):
            drafts[-1].shapes = op.shapes  # in the end those of its last op
    return drafts


def _connect(root: _Draft, source: list[_Draft], target: list[_Draft], value: Op) -> None:
    """An edge between two ops: out of the units of one, beside each other, into the other's."""
    if not source:  # an input of the model
        reference, level = root.port(value.name, value), 1
    else:
        level = next(
            (i for i, (a, b) in enumerate(zip(source, target, strict=False)) if a is not b),
            min(len(source), len(target)),
        )
        if level >= len(source) or level >= len(target):
            return  # both in one unit without an inside
        _hand_out(source, level)
        reference = source[level].id
    for draft in target[level:]:
        reference = draft.port(reference, value)


def _hand_out(drafts: list[_Draft], level: int) -> None:
    """The value of the innermost draft leaves the units down to `level`."""
    for outer, inner in zip(drafts[level:], drafts[level + 1 :], strict=False):
        outer.outputs[inner.id] = None


def _leave(root: _Draft, flow: Flow, op: Op | None) -> list[str]:
    """The ids of the root's children, or its inputs, that an output of the model comes from."""
    found: dict[str, None] = {}
    for source in flow.reached(op) if op is not None else []:
        if source.kind == "input":
            found[root.port(source.name, source)] = None
            continue
        drafts = [root]
        for unit in flow.path(source)[1:]:
            drafts.append(drafts[-1].children[unit])
        _hand_out(drafts, 0)
        if len(drafts) > 1:
            found[drafts[1].id] = None
    return list(found)


def _used_inputs(recording: Recording, root: _Draft) -> tuple[list[GraphPort], list[str]]:
    shapes = {name: shape for name, shape, _ in recording.inputs}
    names = [name for name, _ in root.ports]
    return [GraphPort(name=name, shape=list(shapes[name])) for name in names], names


def _finish(draft: _Draft, names: dict[nn.Module, str], inputs: list[str]) -> GraphNode:
    unit = draft.unit
    children = [
        _finish(child, names, [source for source, _ in child.ports])
        for child in draft.children.values()
    ]
    module = unit.module if isinstance(unit, Call) else None
    return GraphNode(
        id=draft.id,
        kind="module" if module is not None else "function" if isinstance(unit, Helper) else "op",
        label=draft.label or ("" if module is None else type(module).__name__),
        class_name=None if module is None else type(module).__name__,
        output_shapes=[list(shape) for shape in draft.shapes],
        parameters=0 if module is None else sum(p.numel() for p in module.parameters()),
        inputs=inputs if children or draft.id == _ROOT else list(dict.fromkeys(inputs)),
        outputs=list(draft.outputs),
        children=children,
    )


class _Namer:
    """Ids that are unique in the graph, and labels short enough for a box."""

    def __init__(self) -> None:
        self._used = Counter([_ROOT])

    def name(self, unit: Unit, parents: list[_Draft]) -> tuple[str, str]:
        """The id and the label of a new node inside `parents`."""
        if isinstance(unit, Call):
            # A model that calls itself has no name; "^" begins the name of an input.
            name = f"./{unit.name}" if unit.name.startswith("^") else unit.name or _ROOT
            return self._unique(name), self._within(unit.name, parents)
        return self._unique(f"{parents[-1].id}:{unit.name}"), unit.name

    def _within(self, name: str, parents: list[_Draft]) -> str:
        around = next(each.unit for each in reversed(parents) if isinstance(each.unit, Call))
        prefix = f"{around.name}." if around.name else ""
        return name.removeprefix(prefix)

    def _unique(self, name: str) -> str:
        self._used[name] += 1
        return name if self._used[name] == 1 else f"{name}#{self._used[name]}"


def _rename(port: GraphPort, renamed: dict[str, str]) -> GraphPort:
    sources = dict.fromkeys(renamed.get(source, source) for source in port.sources)
    return GraphPort(name=port.name, shape=port.shape, sources=list(sources))


def _notes(recording: Recording, flow: Flow) -> list[str]:
    notes = [
        "Not drawn: reshapes and changes of type, positions and masks that no input or weight "
        "has a part in, and what follows from a boolean input alone."
    ]
    drawn = {unit for op in flow.ops for unit in flow.path(op)}
    idle: dict[str, int] = defaultdict(int)
    for call in recording.calls:
        if call not in drawn and not call.children and call.parent in drawn:
            idle[type(call.module).__name__] += 1
    if idle:
        names = ", ".join(f"{name} × {count}" for name, count in sorted(idle.items()))
        notes.append(f"Not drawn, for they compute nothing in evaluation: {names}.")
    return notes


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
