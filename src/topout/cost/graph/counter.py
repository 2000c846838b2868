"""`count`: FLOPs and bytes of any module or callable, from one run of it.

CONVENTIONS says in words how it counts; every count carries them.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from topout.cost.graph.attention import AttentionCalls
from topout.cost.graph.places import Places, Traffic, leaf_of
from topout.cost.graph.recorder import Recorder
from topout.errors import InputError
from topout.op_by_op import op_by_op
from topout.records.count import Count, CountFailure

CONVENTIONS = {
    "multiply_add": "2 FLOPs; 8 on complex numbers. Integer products count like floating-point.",
    "attention": (
        "flops count every pair of query and key. causal_flops count, where "
        "scaled_dot_product_attention or a fused kernel is told is_causal, the pairs that the "
        "mask leaves: S(S + 1)/2 for S queries and keys. A mask given as a tensor leaves all."
    ),
    "backward": "as executed: fused attention's is 5 products, an unfused one's 4.",
    "elementwise": (
        "other_flops: 1 for each element written, whatever the function; norms and softmax 4 to "
        "13 for each element; integers and booleans none."
    ),
    "bias": "of a product or a convolution: not counted. Padding is counted like input.",
    "embedding": "rows that are read, no product.",
    "bytes": (
        "traffic without fusion and caches: each op reads its arguments and writes its results; "
        "views are free, an expanded dimension is stored once, lookups read their rows alone. "
        "GB = 1e9 bytes."
    ),
    "compulsory_bytes": (
        "of a forward: what it reads of memory made outside, each byte once, and what it returns "
        "or changes there."
    ),
}

FUSED_ON_META = (
    "on meta tensors scaled_dot_product_attention is counted as the fused kernel that a device "
    "would run."
)
UNFUSED_ON_META = "on meta tensors scaled_dot_product_attention is counted unfused."
FAST_PATH = (
    "nn.TransformerEncoder and nn.MultiheadAttention are counted without their fast path, compiled "
    "code as its eager original."
)

MetaAttention = Literal["fused", "unfused"]


def uncompiled(target: Callable[..., Any]) -> Callable[..., Any]:
    """What `torch.compile` was given, where `target` is what it gave back."""
    kept_as = "_orig_mod" if isinstance(target, nn.Module) else "_torchdynamo_orig_callable"
    original: Callable[..., Any] = getattr(target, kept_as, target)
    return original


def roots(result: Any, loss: Callable[[Any], torch.Tensor] | None) -> list[torch.Tensor]:
    """The tensors that the backward starts from: the loss where there is one, else all results.

    A loss is what `loss(result)` gives, or `result.loss` (Hugging Face's models, given labels).
    """
    own = getattr(result, "loss", None)
    if loss is not None:
        result = loss(result)
    elif isinstance(own, torch.Tensor) and own.requires_grad:
        result = own
    leaves = (leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor))
    return [leaf for leaf in leaves if leaf.requires_grad]


def leaves_of(starts: list[torch.Tensor]) -> list[torch.Tensor]:
    """The parameters and inputs into which a backward from `starts` stores gradients."""
    found: list[torch.Tensor] = []
    seen: set[Any] = set()
    waiting: list[Any] = [start.grad_fn for start in starts]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = leaf_of(node)
        if leaf is not None:
            found.append(leaf)
        waiting.extend(following for following, _ in node.next_functions)
    return found


class KeptGradients:
    """Within it gradients start absent; afterwards they are what they were before."""

    def __init__(self, leaves: list[torch.Tensor]) -> None:
        self._before = [(leaf, leaf.grad) for leaf in leaves]

    def __enter__(self) -> None:
        for leaf, _ in self._before:
            leaf.grad = None

    def __exit__(self, *_: object) -> None:
        for leaf, gradient in self._before:
            leaf.grad = gradient


def count(
    target: Callable[..., Any],
    *args: Any,
    backward: bool | Callable[[Any], torch.Tensor] = False,
    meta_attention: MetaAttention = "fused",
    **kwargs: Any,
) -> Count:
    """Run `target(*args, **kwargs)` once and count what it does.

    Tensors may be real or on the meta device, where nothing is computed and no memory is taken.
    `backward`: also run the backward, from the loss that a function makes of the result, from
    `result.loss`, or from all results. Gradients are left as they were. A run that fails gives
    what was counted until then, with `complete` False and the `failure`.
    Raises InputError where module and inputs are on different devices, one of them meta, or
    where a backward was asked for and nothing needs a gradient.
    """
    target = uncompiled(target)
    _check_devices(target, (args, kwargs))
    counter = counting(target, meta_attention=meta_attention)
    starts: list[torch.Tensor] | None = None
    with suppress(Exception), counter:  # the counter notes what is suppressed
        result = target(*args, **kwargs)
        counter.end_forward(result)
        if backward:
            starts = roots(result, None if backward is True else backward)
            _run_backward(counter, starts)
    if starts == []:
        raise InputError(
            "a backward was asked for, and no result needs a gradient.",
            "Count with gradients enabled and at least one parameter that requires one.",
        )
    return counter.count()


def counting(
    target: Callable[..., Any] | None = None, *, meta_attention: MetaAttention = "fused"
) -> "Counter":
    """A context in which all that runs is counted; `.count()` gives the figures.

    Modules are named as in `target`, others after their class. An exception leaves the context
    as ever; the count then says where it arose.
    """
    return Counter(target, meta_attention)


class Counter:
    """Counts while it is entered; made by `counting`."""

    def __init__(self, target: Callable[..., Any] | None, meta_attention: MetaAttention) -> None:
        root = target if isinstance(target, nn.Module) else getattr(target, "__self__", None)
        module = root if isinstance(root, nn.Module) else None
        self._target = _name_of(target)
        self._meta_attention = meta_attention
        self._traffic = Traffic()
        self._places = Places(module, self._target, self._traffic)
        self._recorder = Recorder(self._places, self._traffic)
        self._stack = ExitStack()
        self._failure: CountFailure | None = None

    def __enter__(self) -> "Counter":
        with ExitStack() as stack:
            stack.enter_context(op_by_op())
            stack.enter_context(self._places)
            fuse = self._meta_attention == "fused"
            stack.enter_context(AttentionCalls(self._places, fuse_on_meta=fuse))
            stack.enter_context(self._recorder)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, _: Any, error: BaseException | None, __: Any) -> None:
        self._stack.close()
        if isinstance(error, Exception):
            self._fail(error)

    def end_forward(self, result: Any) -> None:
        """Say that the forward has ended with `result`: `compulsory_bytes` follow from it."""
        self._traffic.end(result)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A context, inside of this one, in which nothing is counted."""
        self._recorder.listening = False
        try:
            yield
        finally:
            self._recorder.listening = True

    def _fail(self, error: Exception) -> None:
        """Note that the run broke off with `error`."""
        if self._failure is not None:
            return
        op, needs_values = _failed_op(self._recorder, error)
        failed = self._places.failed
        module = failed[1] if failed is not None and failed[0] in _chain(error) else ""
        self._failure = CountFailure(
            module=module,
            op=op,
            message=_first_line(error),
            remedy=_remedy(op, needs_values),
            not_reached=self._places.not_reached(),
        )

    def count(self) -> Count:
        """What has been counted so far."""
        tally, places = self._recorder.tally, self._places
        fused = self._meta_attention == "fused"
        on_meta = FUSED_ON_META if fused else UNFUSED_ON_META
        return Count(
            target=self._target,
            complete=self._failure is None,
            failure=self._failure,
            total=tally.total(),
            phases=tally.phases(),
            compulsory_bytes=self._traffic.compulsory_bytes.get(None),
            ops=tally.ops(),
            modules=tally.modules(places.types, places.calls, self._traffic.compulsory_bytes),
            rows=tally.rows(),
            not_counted=tally.not_counted(),
            conventions={
                **CONVENTIONS,
                "meta_attention": on_meta,
                "op_by_op": FAST_PATH,
            },
        )


def _run_backward(counter: Counter, starts: list[torch.Tensor]) -> None:
    if not starts:
        return
    with counter.paused():
        gradients = [torch.ones_like(start) for start in starts]
    with KeptGradients(leaves_of(starts)):
        torch.autograd.backward(starts, gradients)


def _check_devices(target: Callable[..., Any], inputs: Any) -> None:
    """Raise InputError where exactly one of the module and its inputs is on meta."""
    if not isinstance(target, nn.Module):
        return
    held = {parameter.device.type for parameter in target.parameters()}
    given = {leaf.device.type for leaf in tree_leaves(inputs) if isinstance(leaf, torch.Tensor)}
    if held and given and ("meta" in held) != ("meta" in given):
        raise InputError(
            f"the module is on {', '.join(sorted(held))} and its inputs are on "
            f"{', '.join(sorted(given))}.",
            'Put both on meta (torch.device("meta")), or neither.',
        )


def _failed_op(recorder: Recorder, error: Exception) -> tuple[str | None, bool]:
    """The op that `error` came from, and whether it needs its tensors' values."""
    if recorder.failed is None or recorder.failed[0] not in _chain(error):
        return None, False
    return recorder.failed[1], recorder.failed[2]


def _chain(error: BaseException) -> list[BaseException]:
    """`error`, and those that it was raised from or while handling."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def _remedy(op: str | None, needs_values: bool) -> str:
    if needs_values:
        return "Give real tensors: the op needs their values, and meta tensors have none."
    if op is not None:
        return "Run the target without counting to see the full error."
    return "Check the arguments: the target raised this itself."


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _name_of(target: Callable[..., Any] | None) -> str:
    if target is None:
        return "block"
    if isinstance(target, nn.Module):
        return type(target).__name__
    return getattr(target, "__qualname__", type(target).__name__)
