"""`CallLog`: every op of a run in its order, with the memory that it reads and writes.

The counter sums; this keeps the calls, so that `fusion` can tell which memory passes between them.
Memory is told by its address, which views share.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

from topout.cost.graph.attention import AttentionCalls
from topout.cost.graph.formula import Call, tensors_in
from topout.cost.graph.places import Place, Places, Traffic, storage_of
from topout.cost.graph.recorder import Plan, Recorder, bytes_of, evaluate, new_tensors
from topout.op_by_op import op_by_op
from topout.records.count import OpFamily

# Names of what marks a layer that others may be like, and one that is not run.
ENTERED, SKIPPED = "entered", "skipped"
MARKS = (ENTERED, SKIPPED)
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """A part of one piece of memory that a call reads or writes."""

    address: int
    bytes: int
    storage_bytes: int
    shape: Shape
    offset: int  # where in it the part begins, in elements


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """One op: where it ran, what it computed, what it touched."""

    name: str
    family: OpFamily
    path: str  # the innermost module's qualified name
    flops: float  # products, as far as masks leave them
    other_flops: float
    reads: tuple[Use, ...]
    writes: tuple[Use, ...]  # new memory
    changes: tuple[Use, ...]  # memory that was there
    attended: tuple[int, ...] = ()  # batch, heads, queries, keys, size of a head
    causal: bool = True  # a mask has been taken off already


@dataclass(slots=True)
class Log:
    """The calls of a run in their order; `unknown` are ops that no formula is known for."""

    calls: list[LoggedCall] = field(default_factory=list)
    made_in: dict[int, str] = field(default_factory=dict)  # address → path of the first maker
    unknown: set[str] = field(default_factory=set)


class CallLog(Recorder):
    """A recorder that keeps each call instead of summing it."""

    def __init__(self, places: Places, traffic: Traffic, names: frozenset[str]) -> None:
        super().__init__(places, traffic)
        self.log = Log()
        self._module_names = names
        self._held: dict[int, StorageWeakRef] = {}

    def _path(self, place: Place) -> str:
        """The innermost module that has a name: activations may be modules that all share."""
        return next(name for name in reversed(place.path) if name in self._module_names)

    def _count(self, plan: Plan, func: Any, arguments: dict[str, Any], result: Any) -> None:
        call = Call(plan.name, arguments, result, in_place="self" in plan.changed)
        place, _ = self._places.place()
        family, work, reason = evaluate(plan, call, opaque=False)
        if reason is not None:
            self.log.unknown.add(f"{plan.name}: {reason}")
        flops = float(work.flops if work.causal_flops is None else work.causal_flops)
        if place.attention is not None and work.causal_flops is None and work.flops:
            flops = work.flops / place.attention.scores * place.attention.pairs
        new = new_tensors(plan, result)
        self._traffic.make(new, unwritten=False)
        self._note(
            LoggedCall(
                name=plan.name,
                family=family,
                path=self._path(place),
                flops=flops,
                other_flops=float(work.other_flops),
                reads=self._uses(_read(plan, call), work.read_bytes),
                writes=self._uses((("", tensor) for tensor in new), {}),
                changes=self._uses(_changed(plan, call), work.written_bytes),
                causal=family == "attention" or place.attention is not None,
            )
        )

    def attend(
        self,
        reads: list[torch.Tensor],
        output: torch.Tensor,
        flops: float,
        other_flops: float,
        attended: tuple[int, ...],
    ) -> None:
        """Note fused attention that stands in for a model's own; `reads` are Q, K, V and others."""
        place, _ = self._places.place()
        self._traffic.make([output], unwritten=False)
        self._note(
            LoggedCall(
                name="attention",
                family="attention",
                path=self._path(place),
                flops=flops,
                other_flops=other_flops,
                reads=self._uses((("", each) for each in reads), {}),
                writes=self._uses([("", output)], {}),
                changes=(),
                attended=attended,
            )
        )

    def mention(self, alike: str, runs: bool, tensors: list[torch.Tensor]) -> None:
        """Note what a layer is given: one that runs, or one for which `alike` stands."""
        name = ENTERED if runs else SKIPPED
        reads = self._uses((("", each) for each in tensors), {})
        self.log.calls.append(LoggedCall(name, "movement", alike, 0.0, 0.0, reads, (), ()))

    def _uses(
        self, named: Iterable[tuple[str, torch.Tensor]], moved: Mapping[str, int]
    ) -> tuple[Use, ...]:
        """What tensors show of their memory, whose address is given to no other while this logs."""
        found = []
        for name, tensor in named:
            use = use_of(tensor, moved.get(name))
            if use is None or use.bytes == 0:  # of some arguments nothing but the shape is read
                continue
            if use.address not in self._held:
                self._held[use.address] = StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
            found.append(use)
        return tuple(found)

    def _note(self, call: LoggedCall) -> None:
        for use in call.writes:
            self.log.made_in.setdefault(use.address, call.path)
        self.log.calls.append(call)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within it nothing is noted."""
        before, self.listening = self.listening, False
        try:
            yield
        finally:
            self.listening = before


@contextmanager
def logging_calls(module: nn.Module) -> Iterator[CallLog]:
    """Within it all that `module` runs, on this thread and without gradients, is logged."""
    traffic = Traffic()
    places = Places(module, type(module).__name__, traffic)
    names = frozenset(name for name, _ in module.named_modules())
    recorder = CallLog(places, traffic, names)
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(op_by_op())
        stack.enter_context(places)
        stack.enter_context(AttentionCalls(places, fuse_on_meta=True))
        stack.enter_context(recorder)
        yield recorder


def use_of(tensor: torch.Tensor, moved: int | None = None) -> Use | None:
    """The memory of a tensor; None where it has no one piece."""
    address, storage = storage_of(tensor)
    if storage is None:
        return None
    size = bytes_of(tensor) if moved is None else moved
    shape, offset = tuple(tensor.shape), int(tensor.storage_offset())
    return Use(address, size, storage.nbytes(), shape, offset)


def _read(plan: Plan, call: Call) -> Iterator[tuple[str, torch.Tensor]]:
    """Tensors that the call reads, each once, with their arguments' names."""
    seen: set[int] = set()
    for name, value in call.arguments.items():
        if name in plan.ignored:
            continue
        for tensor in tensors_in(value):
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield name, tensor


def _changed(plan: Plan, call: Call) -> Iterator[tuple[str, torch.Tensor]]:
    for name in plan.changed:
        for tensor in tensors_in(call.arguments.get(name)):
            yield name, tensor
