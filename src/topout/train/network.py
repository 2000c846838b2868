"""From a plan to the network that is trained: `network(tokens, mask, labels)` → (loss, logits)."""

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from torch import nn

    from topout.train.plan import Plan

DEFAULT_BUILDER = "topout.train.network:load_network"


def build_network(plan: "Plan") -> "nn.Module":
    """The network that the plan's builder makes; a builder is named "module:function"."""
    module_name, _, function_name = plan.builder.partition(":")
    builder = getattr(importlib.import_module(module_name), function_name)
    return cast("nn.Module", builder(plan))


def load_network(plan: "Plan") -> "nn.Module":
    """The model that the plan names, with a head for its task.

    Raises a TopoutError when it cannot be loaded.
    """
    from topout.models.source import resolve_source
    from topout.models.trainable import load_trainable

    source = resolve_source(plan.model, random_weights=plan.random_weights, seed=plan.seed)
    return load_trainable(source, plan.task, max(plan.labels, 2), seed=plan.seed)
