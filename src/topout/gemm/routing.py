"""One version of the matrix product in PyTorch's place: what it takes over, and the counts.

PyTorch's own table of kernels has ours in it for as long as a block is open. A kernel for the CPU
key replaces `aten::mm`, `addmm` and their `.out` forms below autograd, so that gradients stay as
they are, and also where inference mode calls `aten::linear` as a whole. The other way, a
TorchDispatchMode, was measured on this call: it adds 2.4 µs to every operation of the model, an
entry in the table 0.9 µs to matrix products alone (1.0 µs the smallest); it also sees
`aten::linear` under inference mode and not the product within.

`bmm`, `baddbmm`, `mv`, `addmv` and their `.out` forms are counted and left to PyTorch; fused
attention, frozen graphs and the templates of torch.compile call no product of this table.
"""

import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor
from torch.library import Library, get_kernel

from topout.errors import InputError
from topout.gemm.routing_layout import AnyLayoutProduct
from topout.kernels.gemm_ops import GemmLibrary
from topout.records.gemm import GemmDtype

_TORCH_DTYPES: dict[GemmDtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
_SHORT_NAMES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.float64: "fp64",
}
_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
_COUNTED = {
    **dict.fromkeys(("bmm", "bmm.out", "baddbmm", "baddbmm.out"), "batched"),
    **dict.fromkeys(("mv", "addmv", "addmv.out"), "matrix times vector"),
}


class Routing:
    """What `topout.gemm.use` gives: inside its `with` block products go through a version.

    Blocks may be nested, the same object too: the innermost that can take a product does. The
    block holds for all threads of the process, since PyTorch's table of kernels is the process's;
    products of several threads are computed one after the other. `routed` counts the products
    computed here, `passed` those left to PyTorch by reason, `copied` the routed ones for which a
    matrix had to be copied into rows, by matrix. Raises InputError for threads below 1.
    """

    def __init__(
        self,
        library: GemmLibrary,
        name: str,
        threads: int | None = None,
        constant: Iterable[Tensor] = (),
    ) -> None:
        if threads is not None and threads < 1:
            raise InputError(f"{threads} threads.", "Ask for one thread or more.")
        self.name = name
        self.dtype: GemmDtype = library.dtype
        self._threads = threads
        self._product = AnyLayoutProduct(library, constant)
        self._torch_dtype = _TORCH_DTYPES[library.dtype]
        self._computing = threading.Lock()
        self._counting = threading.Lock()
        self.reset()

    def __enter__(self) -> Self:
        _activate(self)
        return self

    def __exit__(self, *_: object) -> None:
        _deactivate(self)

    # --- counts -----------------------------------------------------------------------------

    def reset(self) -> None:
        """Begin to count anew."""
        with self._counting:
            self.routed = 0
            self.passed: Counter[str] = Counter()
            self.copied: Counter[str] = Counter()

    def count_passed(self, reason: str) -> None:
        """One product was left to PyTorch."""
        with self._counting:
            self.passed[reason] += 1

    def summary(self) -> str:
        """The counts in a sentence or two."""
        passed = sum(self.passed.values())
        text = f"{self.routed} of {self.routed + passed} matrix products went through {self.name}"
        if passed:
            text += f"; left to PyTorch: {_listed(self.passed)}"
        text += "."
        if self.copied:
            text += f" Copied into rows: {_listed(self.copied)}."
        return text

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.summary()}>"

    # --- products ---------------------------------------------------------------------------

    def reason_to_pass(self, a: Tensor, b: Tensor) -> str | None:
        """Why a · b is left to PyTorch; None where it is taken over."""
        if a.dtype != self._torch_dtype:
            return _SHORT_NAMES.get(a.dtype, str(a.dtype).removeprefix("torch."))
        if not _is_plain(a, b) or a.shape[1] != b.shape[0]:
            return "not two plain matrices that fit"
        return "empty" if a.numel() == 0 or b.numel() == 0 else None

    def reason_to_pass_sum(
        self, addend: Tensor, a: Tensor, b: Tensor, beta: object, alpha: object
    ) -> str | None:
        """Why beta · addend + alpha · (a · b) is left to PyTorch."""
        reason = self.reason_to_pass(a, b)
        if reason is not None:
            return reason
        if addend.dtype != a.dtype or not _fits(addend, a.shape[0], b.shape[1]):
            return "a summand of another type or shape"
        if not all(type(factor) in (int, float) for factor in (beta, alpha)):
            return "a factor that is no plain number"
        # Then BLAS reads neither matrix, and what is not a number in them does not count.
        return "alpha = 0" if alpha == 0 else None

    def product(self, a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
        """a[m×k] · b[k×n], into `out` [m×n] where one is given."""
        return self._finish(self._multiply(a, b, self._target(out, a, b)), out)

    def scaled_sum(
        self,
        addend: Tensor,
        a: Tensor,
        b: Tensor,
        beta: float,
        alpha: float,
        out: Tensor | None = None,
    ) -> Tensor:
        """beta · addend + alpha · (a · b); with beta = 0 the addend is not read."""
        result = self._multiply(a, b, self._target(out, addend, a, b))
        if alpha != 1:
            result.mul_(alpha)
        if beta != 0:
            result.add_(addend, alpha=beta)
        return self._finish(result, out)

    def _target(self, out: Tensor | None, *operands: Tensor) -> Tensor | None:
        """`out` where the product can be written into it at once, and reads none of it."""
        if out is None or self.dtype != "fp32" or not out.is_contiguous():
            return None
        memory = out.untyped_storage().data_ptr()
        shared = any(each.untyped_storage().data_ptr() == memory for each in operands)
        return None if shared else out

    def _finish(self, result: Tensor, out: Tensor | None) -> Tensor:
        """The result in the type and the place that were asked for, rounded once."""
        if out is None:
            return result.to(self._torch_dtype)
        if out is not result:
            out.copy_(result)
        return out

    def _multiply(self, a: Tensor, b: Tensor, target: Tensor | None) -> Tensor:
        """The product in fp32, contiguous, in `target` or in memory of its own."""
        (m, _), n = a.shape, b.shape[1]
        if target is None:
            target = torch.empty((m, n), dtype=torch.float32, device="cpu")
        threads = self._threads or torch.get_num_threads()
        with self._computing:
            copied = self._product.multiply(a, b, target, threads)
        with self._counting:
            self.routed += 1
            if copied:
                self.copied[copied] += 1
        return target


def _is_plain(a: Tensor, b: Tensor) -> bool:
    """Whether both are strided matrices of one type in main memory, with no negation pending."""
    return (
        a.dtype == b.dtype
        and a.dim() == b.dim() == 2
        and a.layout == b.layout == torch.strided
        and a.is_cpu
        and b.is_cpu
        and not (a.is_neg() or b.is_neg())
    )


def _fits(addend: Tensor, m: int, n: int) -> bool:
    """Whether the addend is broadcast to [m×n]."""
    if addend.dim() > 2 or not addend.is_cpu or addend.layout != torch.strided:
        return False
    sizes = zip(reversed(addend.shape), (n, m), strict=False)
    return all(size in (1, whole) for size, whole in sizes)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} × {what}" for what, count in counts.most_common())


# --- PyTorch's table of kernels ---

# Blocks that are open, in the order in which they were entered. It is replaced, never changed, so
# that a kernel in another thread sees one state or the next.
_active: tuple[Routing, ...] = ()
_table: Library | None = None
_changing = threading.RLock()


def _activate(routing: Routing) -> None:
    """Offer products to `routing` first from now on."""
    global _active, _table
    with _changing:
        if _table is None:
            _table = _install()
        _active = (*_active, routing)


def _deactivate(routing: Routing) -> None:
    """Undo the latest `_activate` of `routing`; after the last one PyTorch is as it was."""
    global _active, _table
    with _changing:
        last = max(at for at, each in enumerate(_active) if each is routing)
        _active = _active[:last] + _active[last + 1 :]
        if not _active and _table is not None:
            _table._destroy()  # type: ignore[no-untyped-call]
            _table = None


def _install() -> Library:
    """Our kernels in the table; all or none of them."""
    makers: dict[str, Callable[[Callable[..., Tensor]], Callable[..., Tensor]]] = {
        **dict.fromkeys(("mm", "mm.out"), _mm_kernel),
        **dict.fromkeys(("addmm", "addmm.out"), _addmm_kernel),
        **{name: partial(_counted, reason) for name, reason in _COUNTED.items()},
    }
    kernels = {
        name: make(partial(get_kernel(f"aten::{name}", "CPU").call_boxed, _CPU))
        for name, make in makers.items()
    }
    library = Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            # PyTorch warns that kernels are replaced, which is the purpose.
            warnings.filterwarnings("ignore", "Warning only once for all operators")
            for name, kernel in kernels.items():
                library.impl(name, kernel, "CPU", allow_override=True)  # type: ignore[no-untyped-call]
    except BaseException:
        library._destroy()  # type: ignore[no-untyped-call]
        raise
    return library


def _taker(reason_to_pass: Callable[[Routing], str | None]) -> Routing | None:
    """The innermost block that takes a product; those that do not count it as passed."""
    for routing in reversed(_active):
        reason = reason_to_pass(routing)
        if reason is None:
            return routing
        routing.count_passed(reason)
    return None


def _mm_kernel(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def mm(a: Tensor, b: Tensor, **out: Tensor) -> Tensor:
        taker = _taker(lambda routing: routing.reason_to_pass(a, b) or _reason_of_out(a, b, **out))
        return taker.product(a, b, **out) if taker else original(a, b, **out)

    return mm


def _addmm_kernel(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def addmm(
        addend: Tensor, a: Tensor, b: Tensor, *, beta: Any = 1, alpha: Any = 1, **out: Tensor
    ) -> Tensor:
        taker = _taker(
            lambda routing: (
                routing.reason_to_pass_sum(addend, a, b, beta, alpha) or _reason_of_out(a, b, **out)
            )
        )
        if taker:
            return taker.scaled_sum(addend, a, b, beta, alpha, **out)
        return original(addend, a, b, beta=beta, alpha=alpha, **out)

    return addmm


def _reason_of_out(a: Tensor, b: Tensor, out: Tensor | None = None) -> str | None:
    """Why PyTorch has to do with `out` what it does; an empty one is given its size here."""
    if out is None:
        return None
    if out.dtype != a.dtype or out.device != a.device or out.layout != torch.strided:
        return "an `out` of another type or place"
    shape = (a.shape[0], b.shape[1])
    if tuple(out.shape) != shape:
        if out.numel() != 0:
            return "an `out` of another shape"
        out.resize_(shape)
    # An expanded `out` has elements that share memory, which PyTorch refuses.
    return "an `out` that overlaps itself" if 0 in out.stride() else None


def _counted(reason: str, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def kernel(*operands: Any, **options: Any) -> Tensor:
        for routing in _active:
            routing.count_passed(reason)
        return original(*operands, **options)

    return kernel
