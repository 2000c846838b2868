"""Attention, masks and experts of one's own in a model of transformers, while it is counted.

transformers lets a config name the implementation of its attention and of its experts. Under NAME
runs what `standing_in` was given: it sees each call with its module and tensors, and no op that
would look into their values.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from torch import nn

NAME = "topout_counted"


class StandIns(NamedTuple):
    """What runs in the place of transformers' own functions, with their arguments."""

    attention: Callable[..., Any]
    mask: Callable[..., Any]
    experts: Callable[..., Any]


_running: ContextVar[StandIns] = ContextVar("stand_ins")


def _attention(*args: Any, **kwargs: Any) -> Any:
    return _running.get().attention(*args, **kwargs)


def _mask(*args: Any, **kwargs: Any) -> Any:
    return _running.get().mask(*args, **kwargs)


def _experts(*args: Any, **kwargs: Any) -> Any:
    return _running.get().experts(*args, **kwargs)


@contextmanager
def standing_in(module: nn.Module, stand_ins: StandIns) -> Iterator[None]:
    """Within it `module` runs `stand_ins`; afterwards what its config named before."""
    from transformers.integrations.moe import ExpertsInterface
    from transformers.masking_utils import AttentionMaskInterface
    from transformers.modeling_utils import AttentionInterface

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)
    ExpertsInterface.register(NAME, _experts)
    configs = _configs(module)
    before = [(each, each._attn_implementation, each._experts_implementation) for each in configs]
    token = _running.set(stand_ins)
    try:
        for config in configs:
            config._attn_implementation = config._experts_implementation = NAME
        yield
    finally:
        _running.reset(token)
        for config, attention, experts in before:
            config._attn_implementation = attention
            config._experts_implementation = experts


def _configs(module: nn.Module) -> list[Any]:
    """The configs that the modules hold, each once: nested ones, and layers' own copies."""
    found: dict[int, Any] = {}
    for each in module.modules():
        config = getattr(each, "config", None)
        if hasattr(config, "_attn_implementation") and hasattr(config, "_experts_implementation"):
            found.setdefault(id(config), config)
    return list(found.values())
