"""Switches off, while counting, what hides ops: compiled code, fused fast paths, JIT fusion."""

from collections.abc import Callable
from typing import Any

from torch import nn


def uncompiled(target: Callable[..., Any]) -> Callable[..., Any]:
    """What `torch.compile` was given, where `target` is what it gave back."""
    kept_as = "_orig_mod" if isinstance(target, nn.Module) else "_torchdynamo_orig_callable"
    original: Callable[..., Any] = getattr(target, kept_as, target)
    return original
