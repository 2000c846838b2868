"""A module layer by layer: output shapes, parameters, memory, in the order of execution."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from topout.errors import InputError
from topout.models.structure.recorder import record_forward
from topout.models.structure.recording import Call, Recording
from topout.records import Layer, Layers

RULES = [
    "Parameters and buffers count once, however many layers share them.",
    "Outputs are those of every call of a layer that calls no other layer, each as if it had "
    "memory of its own; what functions between layers put out is not in it.",
    "Forward and backward: the outputs twice, once as activations and once as their gradients.",
    "Total: inputs, outputs twice, and parameters; buffers, optimizer states and the gradients of "
    "the parameters come on top.",
]


@dataclass(slots=True)
class Holding:
    """The parameters and buffers registered in one module itself, not in its parts."""

    parameters: list[Tensor] = field(default_factory=list)
    buffers: list[Tensor] = field(default_factory=list)
    shared: list[Tensor] = field(default_factory=list)  # of both, held by an earlier module too
    shared_with: list[str] = field(default_factory=list)


class Holdings:
    """Gives out each module's holding in the order in which it is asked."""

    def __init__(self) -> None:
        self._owner: dict[int, str] = {}

    def of(self, module: nn.Module, name: str) -> Holding:
        """What `module` holds; what was given out before is marked as shared."""
        holding = Holding(_distinct(module._parameters), _distinct(module._buffers))
        for tensor in (*holding.parameters, *holding.buffers):
            owner = self._owner.setdefault(id(tensor), name)
            if owner != name:
                holding.shared.append(tensor)
                if owner not in holding.shared_with:
                    holding.shared_with.append(owner)
        return holding


def elements(tensors: Iterable[Tensor]) -> int:
    """Numbers in all of them."""
    return sum(tensor.numel() for tensor in tensors)


def stored_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of all of them."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _distinct(tensors: Mapping[str, Tensor | None]) -> list[Tensor]:
    return list({id(t): t for t in tensors.values() if t is not None}.values())


def summarize_layers(
    module: nn.Module, *example_inputs: Any, depth: int | None = None, **kwargs: Any
) -> Layers:
    """Run `module` once and tell what each of its layers holds and puts out.

    On meta or real tensors, in evaluation mode, without gradients. `depth` leaves out layers
    nested deeper; the sums stay those of all. Where the forward pass fails, what ran until then
    is told and `failure` says where it stopped. Raises InputError for a negative `depth`.
    """
    return layers_of(record_forward(module, *example_inputs, **kwargs), depth)


def layers_of(recording: Recording, depth: int | None = None) -> Layers:
    """The layers of a recorded forward pass."""
    if depth is not None and depth < 0:
        raise InputError(f"depth {depth} is negative.", "Give 0 for the model alone, or more.")
    root = _Summary(recording, depth).layer(recording.module, "", 0)
    parameters, buffers = list(recording.module.parameters()), list(recording.module.buffers())
    input_bytes = sum(size for _, _, size in recording.inputs)
    failed = recording.failure is not None
    reason = "The forward pass did not come to its end."
    return Layers(
        root=root,
        parameters=elements(parameters),
        trainable_parameters=elements([each for each in parameters if each.requires_grad]),
        buffers=elements(buffers),
        parameter_bytes=stored_bytes(parameters),
        buffer_bytes=stored_bytes(buffers),
        input_bytes=input_bytes,
        forward_bytes=None if failed else root.forward_bytes,
        forward_backward_bytes=None if failed else 2 * root.forward_bytes,
        total_bytes=None
        if failed
        else input_bytes + 2 * root.forward_bytes + stored_bytes(parameters),
        rules=RULES,
        failure=recording.failure,
        reasons=dict.fromkeys(("forward_bytes", "forward_backward_bytes", "total_bytes"), reason)
        if failed
        else {},
    )


class _Summary:
    """Walks the module tree once, in the order in which its parts first ran."""

    def __init__(self, recording: Recording, depth: int | None) -> None:
        self._depth = math.inf if depth is None else depth
        self._calls: dict[nn.Module, list[Call]] = defaultdict(list)
        for call in recording.calls:
            self._calls[call.module].append(call)
        self._first_call = {module: calls[0].index for module, calls in self._calls.items()}
        self._holdings = Holdings()
        self._seen: set[nn.Module] = set()

    def layer(self, module: nn.Module, name: str, depth: int) -> Layer:
        """The record of one place in the tree; a module in two places is executed in the first."""
        repeated = module in self._seen
        self._seen.add(module)
        holding = self._holdings.of(module, name)
        parts = [
            self.layer(part, f"{name}.{key}" if name else key, depth + 1)
            for key, part in self._ordered_parts(module)
        ]
        calls = [] if repeated else self._calls[module]
        parameters = list(module.parameters())
        leaf_bytes = sum(call.output_bytes for call in calls if not call.children)
        return Layer(
            name=name,
            class_name=type(module).__name__,
            depth=depth,
            calls=len(calls),
            output_shapes=[list(shape) for shape in calls[0].output_shapes] if calls else None,
            output_bytes=sum(call.output_bytes for call in calls),
            forward_bytes=leaf_bytes + sum(part.forward_bytes for part in parts),
            own_parameters=elements(holding.parameters),
            own_shared_parameters=elements(
                [each for each in holding.parameters if _is_among(each, holding.shared)]
            ),
            shared_with=holding.shared_with,
            parameters=elements(parameters),
            trainable_parameters=elements([each for each in parameters if each.requires_grad]),
            parameter_bytes=stored_bytes(parameters),
            buffers=elements(list(module.buffers())),
            buffer_bytes=stored_bytes(list(module.buffers())),
            children=parts if depth < self._depth else [],
            reasons={} if calls else {"output_shapes": _why_not_called(repeated, parts)},
        )

    def _ordered_parts(self, module: nn.Module) -> list[tuple[str, nn.Module]]:
        parts = [(key, part) for key, part in module._modules.items() if part is not None]
        places: Counter[nn.Module] = Counter()
        order = {}
        for key, part in parts:
            order[key] = self._began(part, places[part])
            places[part] += 1
        return sorted(parts, key=lambda part: order[part[0]])

    def _began(self, module: nn.Module, place: int) -> float:
        """When the module first ran, or a part of it: a list of modules is not called itself.

        Registered several times in one module, it stands in each place for another call.
        """
        calls = self._calls.get(module, [])
        if 0 < place < len(calls):
            return calls[place].index
        return min(self._first_call.get(part, math.inf) for part in module.modules())


def _why_not_called(repeated: bool, parts: list[Layer]) -> str:
    if repeated:
        return "The same module as one before; its calls are told there."
    if any(part.calls or part.forward_bytes for part in parts):
        return "Holds other layers and is not called itself."
    return "Not called in this forward pass."


def _is_among(tensor: Any, tensors: list[Any]) -> bool:
    return any(tensor is other for other in tensors)
