"""Runs a module once and records what it did, whatever Python its forward is made of.

Modules are seen by hooks; PyTorch's functions by a `TorchFunctionMode`, which names them as the
code does ("softmax", "+"); what goes past that, such as a custom autograd function, and which
operator fails, by a `TorchDispatchMode`. Nothing is symbolic, so control flow, residual sums and
in-place writes are followed as they ran. On the meta device this costs neither memory nor work.
"""

import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from topout.models.structure.recording import (
    Call,
    HelperFinder,
    Op,
    Recording,
    Sources,
    named_tensors,
    storage_key,
    tensors_in,
)
from topout.op_by_op import op_by_op
from topout.records import TraceFailure

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

_LONGEST = 160  # of an error's message
_INDEX_DTYPES = (torch.bool, torch.int32, torch.int64)


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


def record_forward(module: nn.Module, *args: Any, **kwargs: Any) -> Recording:
    """One forward pass of `module` in evaluation mode, without gradients.

    The module is left as it was. An exception of the forward pass does not leave this function:
    it stands in the recording's `failure`, with the op that raised it.
    """
    module = getattr(module, "_orig_mod", module)  # what torch.compile was given
    recorder = _Recorder(module)
    recorder.give(args, kwargs)
    with recorder.watching(), _evaluating(module), torch.no_grad(), op_by_op():
        try:
            recorder.take(module(*args, **kwargs))
        except Exception as error:  # whatever the user's forward raises
            recorder.fail(error)
    return recorder.recording


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    were_training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in were_training:
            part.training = True


class _Recorder:
    """Builds the recording while the module runs."""

    def __init__(self, module: nn.Module) -> None:
        names = {part: name for name, part in module.named_modules()}
        self.recording = Recording(module, names)
        self._sources = Sources()
        # Buffers of indices and masks are constants, and no part of what the model has learned.
        buffers = (each for each in module.buffers() if each.dtype not in _INDEX_DTYPES)
        self._state = {id(tensor) for tensor in (*module.parameters(), *buffers)}
        self._stack: list[Call] = []
        self._running: set[int] | None = None  # storages written by the function that runs
        self._in_operator = False
        self._helpers = HelperFinder()
        self._raised_by = ""
        self._raised_in: tuple[BaseException | None, Call | None] = (sys.exc_info()[1], None)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """While this lasts, modules and ops are recorded."""
        with ExitStack() as stack:
            stack.callback(register_module_forward_pre_hook(self._enter).remove)
            leave = register_module_forward_hook(self._leave, always_call=True)
            stack.callback(leave.remove)
            stack.enter_context(_Operators(self))
            stack.enter_context(_Functions(self))
            yield

    def give(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Enter the model's inputs as the first ops; a boolean one is a mask."""
        for path, tensor in _named_inputs(self.recording.module, args, kwargs):
            op = self._new_op(path, "input", None)
            op.is_mask = tensor.dtype == torch.bool
            op.shapes = [tuple(tensor.shape)]
            self.recording.inputs.append((path, tuple(tensor.shape), tensor.nbytes))
            self._sources.make(op, [tensor], fresh=True)

    def take(self, output: Any) -> None:
        """Enter the model's outputs."""
        is_tensor = isinstance(output, Tensor)
        for path, tensor in named_tensors(output, "output" if is_tensor else ""):
            makers = self._sources.of([tensor])
            shape = tuple(tensor.shape)
            self.recording.outputs.append((path, shape, makers[0] if makers else None))

    def fail(self, error: Exception) -> None:
        """Say where the forward pass stopped."""
        raised, innermost = self._raised_in
        is_known = raised is error and innermost is not None
        layer = _described(innermost) if innermost and is_known else "the model"
        lines = str(error).strip().splitlines()
        self.recording.failure = TraceFailure(
            layer=layer,
            op=self._raised_by or "Python code",
            message=f"{type(error).__name__}: {lines[0][:_LONGEST] if lines else 'no message'}",
        )

    def _enter(self, module: nn.Module, args: Any) -> None:
        name = self.recording.names.get(module)
        if name is None:
            return
        parent = self._stack[-1] if self._stack else None
        if parent is not None:
            self._helpers.note_call(parent)
        call = Call(len(self.recording.calls), name, module, parent)
        self.recording.calls.append(call)
        if parent is not None:
            parent.children.append(call)
        self._stack.append(call)

    def _leave(self, module: nn.Module, args: Any, output: Any) -> None:
        if not self._stack or self._stack[-1].module is not module:
            return
        call = self._stack.pop()
        self._helpers.forget(call)
        # A hook that is always called runs while an exception passes, the innermost call's first.
        error = sys.exc_info()[1]
        if error is not None and error is not self._raised_in[0]:
            self._raised_in = error, call
        tensors = tensors_in(output)
        call.output_shapes = [tuple(tensor.shape) for tensor in tensors]
        call.output_bytes = sum(tensor.nbytes for tensor in tensors)

    def run_function(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Run one of PyTorch's Python functions and record what it did."""
        if self._in_operator:
            return func(*args, **kwargs)
        given = tensors_in((args, kwargs))
        sources = self._sources.of(given)
        outer, self._running = self._running, set()
        try:
            result = func(*args, **kwargs)
        except Exception:
            self._raised_by = self._raised_by or op_name(func)
            raise
        finally:
            written, self._running = self._running, outer
        self._raised_by = ""  # what was raised before has been caught
        self._record(op_name(func), given, sources, tensors_in(result), written or set())
        return result

    def run_operator(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Run an operator of the dispatcher; record it if no Python function stands for it."""
        given = tensors_in((args, kwargs))
        sources = [] if self._running is not None else self._sources.of(given)
        self._in_operator = True  # it passes by the Python functions' mode once more
        try:
            result = func(*args, **kwargs)
        except Exception:
            self._raised_by = _operator_name(func)
            raise
        finally:
            self._in_operator = False
        self._raised_by = ""
        written = _written(func, args, kwargs)
        if self._running is not None:
            self._running |= written
        else:
            name = op_name(getattr(func, "overloadpacket", func))
            self._record(name, given, sources, tensors_in(result), written)
        return result

    def _record(
        self,
        name: str,
        given: list[Tensor],
        sources: list[Op],
        made: list[Tensor],
        written: set[int],
    ) -> None:
        """Enter an op unless it gave nothing new."""
        old = {key for tensor in given if (key := storage_key(tensor)) is not None}
        written &= old
        ids = {id(tensor) for tensor in given}
        new = [tensor for tensor in made if id(tensor) not in ids]
        if not new and not written:
            return
        aliases = [storage_key(tensor) in old for tensor in new]
        is_view = not written and (all(aliases) or is_view_name(name))
        op = self._new_op(name, "view" if is_view else "compute", self._current())
        op.sources = sources
        op.reads_state = any(id(tensor) in self._state for tensor in given)
        op.shapes = [tuple(tensor.shape) for tensor in made or given[:1]]
        for tensor, is_alias in zip(new, aliases, strict=True):
            self._sources.make(op, [tensor], fresh=not is_alias)
        if written:
            self._sources.write(op, written)
            self._sources.make(op, [each for each in made if id(each) in ids], fresh=False)

    def _new_op(self, name: str, kind: Any, call: Call | None) -> Op:
        op = Op(len(self.recording.ops), name, call, kind)
        op.helper = None if call is None else self._helpers.helper_of(call)
        self.recording.ops.append(op)
        return op

    def _current(self) -> Call | None:
        return self._stack[-1] if self._stack else None


class _Functions(TorchFunctionMode):
    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._recorder.run_function(func, args, kwargs or {})


class _Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, recorder: _Recorder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._recorder = recorder

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._recorder.run_operator(func, args, kwargs or {})


def _written(func: Any, args: Any, kwargs: dict[str, Any]) -> set[int]:
    """The storages that an operator's schema says it writes to."""
    schema = getattr(func, "_schema", None)
    if schema is None or not schema.is_mutable:
        return set()
    keys = set()
    for position, argument in enumerate(schema.arguments):
        if argument.alias_info is None or not argument.alias_info.is_write:
            continue
        value = args[position] if position < len(args) else kwargs.get(argument.name)
        keys |= {key for tensor in tensors_in(value) if (key := storage_key(tensor)) is not None}
    return keys


def _operator_name(func: Any) -> str:
    schema = getattr(func, "_schema", None)
    return str(func) if schema is None else str(schema.name)


def _described(call: Call) -> str:
    class_name = type(call.module).__name__
    return f"{call.name} ({class_name})" if call.name else class_name


def _named_inputs(module: nn.Module, args: Any, kwargs: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors given to the module, by the names of its forward's parameters."""
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    except (TypeError, ValueError):  # the call itself will say what is wrong with it
        bound = {"args": args, **kwargs}
    for name, value in bound.items():
        is_catch_all = name == "kwargs" and isinstance(value, dict)
        yield from named_tensors(value, "" if is_catch_all else name)
