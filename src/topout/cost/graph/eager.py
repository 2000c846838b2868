"""Switches off, while counting, what hides ops: compiled code, fused fast paths, JIT fusion."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def op_by_op() -> Iterator[None]:
    """Within it every op reaches PyTorch's dispatcher by itself."""
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    with ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, fast_path)
        stack.enter_context(torch.jit.optimized_execution(False))  # type: ignore[attr-defined]
        if "torch._dynamo" in sys.modules:  # else nothing can have been compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def uncompiled(target: Callable[..., Any]) -> Callable[..., Any]:
    """What `torch.compile` was given, where `target` is what it gave back."""
    kept_as = "_orig_mod" if isinstance(target, nn.Module) else "_torchdynamo_orig_callable"
    original: Callable[..., Any] = getattr(target, kept_as, target)
    return original
