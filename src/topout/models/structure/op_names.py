"""What people call PyTorch's functions, and which of them compute nothing."""

from typing import Any

_SYMBOLS = {
    "add": "+",
    "sub": "−",
    "rsub": "−",
    "mul": "×",
    "multiply": "×",
    "div": "÷",
    "truediv": "÷",
    "true_divide": "÷",
    "neg": "−x",
    "rtruediv": "÷",
    "rdiv": "÷",
    "bmm": "matmul",
    "rmatmul": "matmul",
    "_softmax": "softmax",
}

# They change shape, order or type; some copy, which the sharing of memory does not tell.
_VIEWS = {
    "bfloat16",
    "chunk",
    "clone",
    "contiguous",
    "detach",
    "double",
    "expand",
    "flatten",
    "float",
    "getitem",
    "half",
    "permute",
    "repeat",
    "reshape",
    "split",
    "squeeze",
    "to",
    "_to_copy",
    "transpose",
    "type",
    "type_as",
    "unbind",
    "unflatten",
    "unsqueeze",
    "view",
}


def op_name(func: Any) -> str:
    """ "+" for `add`, `__iadd__` and their like; other functions by their own name."""
    name = str(getattr(func, "__name__", func))
    if name == "__get__":  # a property of a tensor, such as x.mT
        return str(getattr(getattr(func, "__self__", None), "__name__", name))
    bare = name.strip("_") if name.startswith("__") else name.removesuffix("_")
    if name.startswith("__") and bare not in _SYMBOLS and bare[1:] in _SYMBOLS:
        bare = bare[1:]  # __iadd__, __radd__
    return _SYMBOLS.get(bare, bare)


def is_view_name(name: str) -> bool:
    """Whether an op of this name hands on its input, at most in another shape or type."""
    return name in _VIEWS
