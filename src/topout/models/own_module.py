"""A module of the user's own, by the name of the class or function that makes it.

`FILE.py:Class`, or `module:function` of what can be imported. It is made on the meta device, so
that its parameters are shapes without memory. Naming it runs its code, as importing it does.
"""

import re
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from topout.errors import InputError
from topout.import_path import import_own

_SIZES = re.compile(r"\d+(?:[x×,]\d+)*")
_DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int64": torch.int64,
    "int32": torch.int32,
    "bool": torch.bool,
}
_MOST_ELEMENTS = 1 << 40


class OwnModule(NamedTuple):
    """A module on the meta device, and what it is called with."""

    module: nn.Module
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


def own_module(name: str, inputs: list[str]) -> OwnModule:
    """The module that `name` makes, called without arguments, and its inputs on the meta device.

    It may give its inputs itself: (module, inputs), a tensor, a tuple of them, or keywords.
    `inputs` are shapes as they are written on the command line, in their order: "1x1x28x28",
    "1x128:int64". Raises InputError for code that fails or makes no module, and for no inputs.
    """
    try:
        made = _made(import_own(name))
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's code raises
        raise InputError(
            f"{name}: {type(error).__name__}: {_first_line(error)}",
            "Name a class of torch.nn.Module, or a function, that needs no arguments.",
        ) from error
    module, given = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise InputError(
            f"{name} makes {type(module).__name__}, and no module of PyTorch.",
            "Name a class of torch.nn.Module, or a function that returns one.",
        )
    given = tuple(read_shape(each) for each in inputs) or given
    if given is None:
        raise InputError(
            f"{name}: what it is called with is not known.",
            "Give its inputs: --input 1x3x224x224, or of another type --input 1x128:int64.",
        )
    on_meta = tree_map_only(Tensor, lambda tensor: tensor.to("meta"), given)
    module = module.to("meta").eval()
    if isinstance(on_meta, dict):
        return OwnModule(module, (), on_meta)
    arguments = tuple(on_meta) if isinstance(on_meta, (tuple, list)) else (on_meta,)
    return OwnModule(module, arguments, {})


def read_shape(text: str) -> Tensor:
    """A tensor on the meta device of "SIZExSIZE…" or "SIZExSIZE…:DTYPE", float32 by default."""
    sizes, _, dtype = text.partition(":")
    if not _SIZES.fullmatch(sizes) or (dtype or "float32") not in _DTYPES:
        raise InputError(
            f"--input {text!r} is no shape.",
            f"Write sizes as 1x3x224x224, and after a colon one of {', '.join(_DTYPES)}.",
        )
    shape = [int(size) for size in re.split("[x×,]", sizes)]
    elements = 1
    for size in shape:
        elements *= size
    if elements > _MOST_ELEMENTS:
        raise InputError(f"--input {text} is larger than any machine holds.", "Give less.")
    return torch.zeros(shape, dtype=_DTYPES[dtype or "float32"], device="meta")


def _made(target: Any) -> Any:
    if isinstance(target, nn.Module):
        return target
    with torch.device("meta"):
        return target()


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else "it says nothing more"
