"""What is counted of a whole module on meta tensors: its parameters by part, and runs of it."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from topout.cost.counted import Backward
from topout.cost.graph.calls import Log, logging_calls, use_of
from topout.cost.graph.fusion import fused
from topout.cost.graph.kernel_ops import kernel_ops
from topout.cost.graph.kernels import Fused, Kept, Memory
from topout.cost.graph.kernels_in_place import KernelsInPlace
from topout.cost.graph.latents import on_latents
from topout.cost.graph.layer_kinds import LayerKinds
from topout.cost.graph.module_parts import ModuleParts
from topout.cost.ops import Op

_CHOSEN = ("top_k", "num_experts_per_tok", "num_experts_per_token", "moe_top_k", "moe_topk")


class Run(NamedTuple):
    """One run: its kernels and what they hold, which layer made what, and what came out."""

    fused: Fused
    log: Log
    result: Any
    times: dict[str, int]  # of layers that stand for others


class ModuleCount:
    """Counts runs of one module; layers of one kind are run twice and counted as many."""

    def __init__(self, module: nn.Module, *, sees: bool, skip: bool = True) -> None:
        self.module = module
        self.kinds = LayerKinds(module, skip=skip)
        self.parts = ModuleParts(module, list(self.kinds.lists), sees=sees)
        self.kernels = KernelsInPlace()
        self.element_bytes = _element_bytes(module)
        self._weights = _weights(module)
        self._stated = _stated_experts(module)
        self._names = _names(module)

    def run(
        self,
        run: Callable[[], Any],
        kept: Callable[[Any], Iterable[Tensor]],
        before: Iterable[Tensor] = (),
        causal_tokens: int | None = None,
    ) -> Run:
        """The ops of one run; `kept` are the tensors that its result leaves for the next one.

        `before` are those that were there when it began; `causal_tokens` as `fused` takes them.
        Raises what the run raises.
        """
        held = list(before)  # alive, so that their addresses are given to no other
        with logging_calls(self.module) as recorder, self.kinds.skipping():
            self.kernels.log = recorder
            self.kinds.on_layer = recorder.mention
            try:
                result = run()
            finally:
                self.kernels.log = None
        cached = [*held, *kept(result)]
        memory = Memory(
            weights=self._weights,
            names=self._names,
            experts=self._experts(),
            cache={use.address: each.element_size() for each in cached if (use := use_of(each))},
        )
        logits = getattr(getattr(result, "output", result), "logits", None)
        if held:
            recorder.log.calls = on_latents(recorder.log.calls, self._weights, memory.cache)
        leaves = [leaf for leaf in tree_leaves(_outputs(result)) if isinstance(leaf, Tensor)]
        read_later = frozenset(use.address for leaf in leaves if (use := use_of(leaf)))
        found = fused(
            recorder.log,
            memory,
            self.parts,
            self.kinds,
            self.element_bytes,
            read_later,
            causal_tokens,
        )
        found.kept.logits = logits.numel() if isinstance(logits, Tensor) else 0
        return Run(found, recorder.log, result, self.kinds.times)

    def forget(self) -> None:
        """Leave out what the run has done until now: it failed, and is tried anew."""
        if self.kernels.log is not None:
            self.kernels.log.log.calls.clear()

    def ops(self, fused: Fused) -> list[Op]:
        """The kernels of a run as ops, those of equal layers together."""
        return kernel_ops(fused.kernels, self.parts.name_of, self.element_bytes)

    def backward(self, kept: Kept, tokens: int, layer_input: int) -> Backward:
        """What the backward of a run needs of it; each layer reads `layer_input` numbers."""
        size = self.element_bytes
        layers = {layer: held / size for layer, held in kept.by_layer.items() if layer}
        times = {layer: kept.times[layer] for layer in layers}
        return Backward(
            layers=sum(held * times[layer] for layer, held in layers.items()),
            statistics=kept.statistics,
            edges=kept.by_layer.get("", 0.0) / size,
            largest_layer=max(layers.values(), default=0.0),
            inputs=float(layer_input * sum(times.values())),
            states=float(layer_input if times else 0),
            logits=round(kept.logits),
            tokens=tokens,
        )

    def times_of(self, run: Run, tensor: Tensor) -> int:
        """How many layers keep a tensor like this one, which one of them made."""
        use = use_of(tensor)
        made_in = run.log.made_in.get(use.address, "") if use is not None else ""
        return run.times.get(self.kinds.layer_of(made_in), 1)

    def parameters_by_part(self) -> dict[str, int]:
        """Parameters, each once, by the part of the module that holds it first."""
        parts: dict[str, int] = {}
        seen: set[int] = set()
        for path, module in self.module.named_modules():
            for parameter in module.parameters(recurse=False):
                if id(parameter) not in seen:
                    seen.add(id(parameter))
                    part = self.parts.part_of(path)
                    part = "other" if part == "residuals" else part
                    parts[part] = parts.get(part, 0) + parameter.numel()
        return parts

    def idle_parameters(self) -> int:
        """Parameters of the experts that a token does not choose; known after a run."""
        experts = self._experts()
        idle = 0
        for parameter in self.module.parameters():
            use = use_of(parameter)
            if use is not None and use.address in experts:
                number, chosen = experts[use.address]
                idle += parameter.numel() // number * (number - min(chosen, number))
        return idle

    def experts(self) -> tuple[int, int] | None:
        """Experts of a layer and those that a token goes to, where most there are."""
        return max(self._experts().values(), default=None)

    def _experts(self) -> dict[int, tuple[int, int]]:
        """Of each parameter of experts: how many it holds, and how many a token chooses.

        By the calls that were seen; of layers that were skipped as of others of their class.
        """
        chosen = {type(module): k for module, k in self.kernels.chosen.items()}
        found = dict(self._stated)
        for module in self.module.modules():
            if type(module) in chosen:
                own: Any = module
                found |= _held_experts(module, int(own.num_experts), chosen[type(module)])
        return found


def _held_experts(module: nn.Module, number: int, chosen: int) -> dict[int, tuple[int, int]]:
    uses = [
        use_of(each)
        for each in module.parameters(recurse=False)
        if each.dim() >= 2 and each.shape[0] == number
    ]
    return {use.address: (number, chosen) for use in uses if use is not None}


def _stated_experts(module: nn.Module) -> dict[int, tuple[int, int]]:
    """Of modules of experts beside which a module states how many a token chooses."""
    found: dict[int, tuple[int, int]] = {}
    for outer in module.modules():
        chosen = next((v for n in _CHOSEN if isinstance(v := getattr(outer, n, None), int)), None)
        for inner in outer.children() if chosen else ():
            number = getattr(inner, "num_experts", None)
            if isinstance(number, int) and "experts" in type(inner).__name__.lower():
                found |= _held_experts(inner, number, chosen or number)
    return found


def _weights(module: nn.Module) -> frozenset[int]:
    uses = [use_of(each) for each in module.parameters()]
    return frozenset(use.address for use in uses if use is not None)


def _names(module: nn.Module) -> dict[int, list[str]]:
    """The names of each parameter by its address: tied ones have several."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        use = use_of(parameter)
        if use is not None:
            names.setdefault(use.address, []).append(name)
    return names


def _element_bytes(module: nn.Module) -> int:
    """Of most parameters."""
    sizes: dict[int, int] = {}
    for parameter in module.parameters():
        size = parameter.element_size()
        sizes[size] = sizes.get(size, 0) + parameter.numel()
    return max(sizes, key=lambda size: sizes[size], default=torch.float32.itemsize)


def _outputs(result: Any) -> Any:
    """What a pass gives to who asked for it: logits, else the last states."""
    output = getattr(result, "output", result)
    for name in ("logits", "prediction_logits", "last_hidden_state"):
        found = getattr(output, name, None)
        if isinstance(found, Tensor):
            return found
    return output
