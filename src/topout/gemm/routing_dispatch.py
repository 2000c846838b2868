"""PyTorch's own table of kernels, with ours in it for as long as a block is open.

A kernel for the CPU key replaces `aten::mm`, `addmm` and their `.out` forms below autograd, so that
gradients stay as they are, and also where inference mode calls `aten::linear` as a whole. The other
way, a TorchDispatchMode, was measured on this call: it adds 2.4 µs to every operation of the model,
an entry in the table 0.9 µs to matrix products alone (1.0 µs the smallest); it also sees
`aten::linear` under inference mode and not the product within.

`bmm`, `baddbmm`, `mv`, `addmv` and their `.out` forms are counted and left to PyTorch; fused
attention, frozen graphs and the templates of torch.compile call no product of this table.
"""

import threading
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.library import Library, get_kernel

if TYPE_CHECKING:
    from topout.gemm.routing import Routing

_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
_COUNTED = {
    "bmm": "batched",
    "bmm.out": "batched",
    "baddbmm": "batched",
    "baddbmm.out": "batched",
    "mv": "matrix times vector",
    "addmv": "matrix times vector",
    "addmv.out": "matrix times vector",
}
# Blocks that are open, in the order in which they were entered. It is replaced, never changed, so
# that a kernel in another thread sees one state or the next.
_active: "tuple[Routing, ...]" = ()
_table: Library | None = None
_changing = threading.RLock()


def activate(routing: "Routing") -> None:
    """Offer products to `routing` first from now on."""
    global _active, _table
    with _changing:
        if _table is None:
            _table = _install()
        _active = (*_active, routing)


def deactivate(routing: "Routing") -> None:
    """Undo the latest `activate` of `routing`; after the last one PyTorch is as it was."""
    global _active, _table
    with _changing:
        last = max(at for at, each in enumerate(_active) if each is routing)
        _active = _active[:last] + _active[last + 1 :]
        if not _active and _table is not None:
            _table._destroy()  # type: ignore[no-untyped-call]
            _table = None


def _install() -> Library:
    """Our kernels in the table; all or none of them."""
    originals = {
        name: partial(get_kernel(f"aten::{name}", "CPU").call_boxed, _CPU)
        for name in ("mm", "mm.out", "addmm", "addmm.out", *_COUNTED)
    }
    kernels: dict[str, Callable[..., Tensor]] = {
        "mm": _mm_kernel(originals["mm"]),
        "mm.out": _mm_out_kernel(originals["mm.out"]),
        "addmm": _addmm_kernel(originals["addmm"]),
        "addmm.out": _addmm_out_kernel(originals["addmm.out"]),
    }
    kernels |= {name: _counted(originals[name], reason) for name, reason in _COUNTED.items()}
    library = Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            # That the kernels are replaced is the purpose, and no news to who asked for it.
            warnings.filterwarnings("ignore", "Warning only once for all operators")
            for name, kernel in kernels.items():
                library.impl(name, kernel, "CPU", allow_override=True)  # type: ignore[no-untyped-call]
    except BaseException:
        library._destroy()  # type: ignore[no-untyped-call]
        raise
    return library


def _taker(reason_to_pass: "Callable[[Routing], str | None]") -> "Routing | None":
    """The innermost block that takes a product; those that do not count it as passed."""
    for routing in reversed(_active):
        reason = reason_to_pass(routing)
        if reason is None:
            return routing
        routing.count_passed(reason)
    return None


def _mm_kernel(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def mm(a: Tensor, b: Tensor) -> Tensor:
        taker = _taker(lambda routing: routing.reason_to_pass(a, b))
        return taker.product(a, b) if taker else original(a, b)

    return mm


def _mm_out_kernel(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def mm_out(a: Tensor, b: Tensor, *, out: Tensor) -> Tensor:
        taker = _taker(lambda routing: routing.reason_to_pass(a, b) or _reason_of_out(out, a, b))
        return taker.product(a, b, out) if taker else original(a, b, out=out)

    return mm_out


def _addmm_kernel(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def addmm(addend: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        taker = _taker(lambda routing: routing.reason_to_pass_sum(addend, a, b, beta, alpha))
        if taker:
            return taker.scaled_sum(addend, a, b, beta, alpha)
        return original(addend, a, b, beta=beta, alpha=alpha)

    return addmm


def _addmm_out_kernel(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def addmm_out(
        addend: Tensor, a: Tensor, b: Tensor, *, out: Tensor, beta: Any = 1, alpha: Any = 1
    ) -> Tensor:
        taker = _taker(
            lambda routing: (
                routing.reason_to_pass_sum(addend, a, b, beta, alpha) or _reason_of_out(out, a, b)
            )
        )
        if taker:
            return taker.scaled_sum(addend, a, b, beta, alpha, out)
        return original(addend, a, b, beta=beta, alpha=alpha, out=out)

    return addmm_out


def _reason_of_out(out: Tensor, a: Tensor, b: Tensor) -> str | None:
    """Why PyTorch has to do with `out` what it does; an empty one is given its size here."""
    if out.dtype != a.dtype or out.device != a.device or out.layout != torch.strided:
        return "an `out` of another type or place"
    shape = (a.shape[0], b.shape[1])
    if tuple(out.shape) != shape:
        if out.numel() != 0:
            return "an `out` of another shape"
        out.resize_(shape)
    # An expanded `out` has elements that share memory, which PyTorch refuses.
    return "an `out` that overlaps itself" if 0 in out.stride() else None


def _counted(original: Callable[..., Tensor], reason: str) -> Callable[..., Tensor]:
    def kernel(*operands: Any, **options: Any) -> Tensor:
        for routing in _active:
            routing.count_passed(reason)
        return original(*operands, **options)

    return kernel
