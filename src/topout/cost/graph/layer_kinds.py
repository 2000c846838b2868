"""Layers that repeat: a run goes through two of each kind, and each stands for how many there are.

Layers of a list are of one kind where all their modules have the same classes, settings, and shapes
of parameters; only their number may differ. The first of a kind stands for itself and those that
are skipped, the last for itself: a cache that is asked about its first or its last layer answers
as ever. A layer is skipped where it is given tensors of the shapes and types of one that ran, and
gives what that one gave.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

_FEWEST = 3  # of a kind, of which some can be skipped
_ITS_NUMBER = re.compile(r"(layer|block)_?(idx|id|index|number|num|i)|idx|index")
_PLAIN = (int, float, str, bool, type(None))


class LayerKinds:
    """Which layers of a module are run, and how often each counts."""

    def __init__(self, module: nn.Module, *, skip: bool = True) -> None:
        self.lists = dict(_layer_lists(module))
        self.times: dict[str, int] = {}  # of the layers of the run before, as far as some repeat
        # Told of what layers of one kind are given: which of them, and whether it runs.
        self.on_layer: Callable[[str, bool, list[torch.Tensor]], None] = lambda alike, runs, g: None
        self._kinds: list[list[tuple[str, nn.Module]]] = []
        texts: dict[int, int] = {}
        for path, layers in self.lists.items():
            self._kinds += _kinds(path, layers, texts) if skip else []

    def times_of(self, path: str) -> int:
        """How often what a module at `path` does is done by it and by those it stands for."""
        return self.times.get(self.layer_of(path), 1)

    def layer_of(self, path: str) -> str:
        """The path of the layer that holds a module; "" where none does."""
        for name in self.lists:
            if path.startswith(f"{name}."):
                number, _, _ = path[len(name) + 1 :].partition(".")
                return f"{name}.{number}"
        return ""

    @contextmanager
    def skipping(self) -> Iterator[None]:
        """Within it a layer that is given what one of its kind was gives what that one gave.

        The last of a kind is run all the same.
        """
        self.times = {}
        try:
            for kind in self._kinds:
                self._watch(kind)
            yield
        finally:
            for kind in self._kinds:
                for _, layer in kind:
                    layer.__dict__.pop("forward", None)

    def _watch(self, kind: list[tuple[str, nn.Module]]) -> None:
        made: dict[Any, tuple[str, Any]] = {}  # by what was given: the layer that ran, its result

        def watched(path: str, layer: Any, *, is_last: bool) -> Callable[..., Any]:
            own: Callable[..., Any] = layer.forward

            def forward(*args: Any, **kwargs: Any) -> Any:
                given = _given((args, kwargs))
                before = made.get(given)
                if before is not None and not is_last:
                    self.times[before[0]] += 1
                    self.on_layer(before[0], False, _numbers((args, kwargs)))
                    return before[1]
                self.times[path] = 1
                self.on_layer(path, True, _numbers((args, kwargs)))
                result = own(*args, **kwargs)
                made.setdefault(given, (path, result))
                return result

            return forward

        for path, layer in kind:
            layer.__dict__["forward"] = watched(path, layer, is_last=path == kind[-1][0])


def _given(values: Any) -> tuple[Any, ...]:
    """Shapes and types of the tensors that a layer is given in its arguments."""
    return tuple((tuple(tensor.shape), tensor.dtype) for tensor in _tensors(values))


def _numbers(values: Any) -> list[torch.Tensor]:
    """The tensors of floating-point numbers among them."""
    return [tensor for tensor in _tensors(values) if tensor.is_floating_point()]


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def _layer_lists(module: nn.Module) -> Iterator[tuple[str, nn.ModuleList]]:
    """Lists of layers that are in no other list."""
    found: list[str] = []
    for name, each in module.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if isinstance(each, nn.ModuleList) and len(each) and not inside:
            found.append(name)
            yield name, each


def _kinds(
    path: str, layers: nn.ModuleList, texts: dict[int, int]
) -> list[list[tuple[str, nn.Module]]]:
    """Layers of one kind, with their paths, for each kind of which there are enough."""
    kinds: dict[Any, list[tuple[str, nn.Module]]] = {}
    for number, layer in enumerate(layers):
        kinds.setdefault(_signature(layer, texts), []).append((f"{path}.{number}", layer))
    return [kind for kind in kinds.values() if len(kind) >= _FEWEST]


def _signature(layer: nn.Module, texts: dict[int, int]) -> tuple[Any, ...]:
    return tuple(
        (
            name,
            type(each).__qualname__,
            tuple(_settings(each, texts)),
            tuple((own, tuple(p.shape)) for own, p in each.named_parameters(recurse=False)),
            tuple((own, tuple(b.shape)) for own, b in each.named_buffers(recurse=False)),
        )
        for name, each in layer.named_modules()
    )


def _settings(module: nn.Module, texts: dict[int, int]) -> Iterator[tuple[str, Any]]:
    """Numbers, words and flags that a module holds, and its config, but not its own number."""
    for name, value in sorted(vars(module).items()):
        if name.startswith("_") or _ITS_NUMBER.fullmatch(name):
            continue
        if name == "config":
            yield name, _text_of(value, texts)
        elif isinstance(value, _PLAIN):
            yield name, value
        elif isinstance(value, list | tuple) and all(isinstance(each, _PLAIN) for each in value):
            yield name, tuple(value)


def _text_of(config: Any, texts: dict[int, int]) -> int:
    """A config by its content: layers may hold copies of one."""
    if id(config) not in texts:
        as_json = getattr(config, "to_json_string", None)
        texts[id(config)] = hash(as_json() if as_json is not None else repr(config))
    return texts[id(config)]
