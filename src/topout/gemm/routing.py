"""One version of the matrix product in PyTorch's place: what it takes over, and the counts."""

import threading
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from topout.errors import InputError
from topout.gemm.routing_dispatch import activate, deactivate
from topout.gemm.routing_layout import Layout, choose_layout, leading_dimension
from topout.gemm.routing_weights import ConstantWeights
from topout.kernels.gemm_ops import GemmLibrary, PackedMatrix
from topout.records.gemm import GemmDtype

_TORCH_DTYPES: dict[GemmDtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
_SHORT_NAMES = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.float64: "fp64",
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
        self._library = library
        self._threads = threads
        self._constant = ConstantWeights(library, constant)
        self._torch_dtype = _TORCH_DTYPES[library.dtype]
        self._computing = threading.Lock()
        self._counting = threading.Lock()
        self.reset()

    def __enter__(self) -> Self:
        activate(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        deactivate(self)

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
            constant = self._constant.find(b, threads)
            if isinstance(constant, PackedMatrix):
                copied = self._multiply_packed(a, constant, target, threads)
            else:
                b = constant if constant is not None else b
                copied = self._multiply_plain(a, b, target, threads)
        with self._counting:
            self.routed += 1
            if copied:
                self.copied[copied] += 1
        return target

    def _multiply_packed(self, a: Tensor, b: PackedMatrix, target: Tensor, threads: int) -> str:
        m, k = a.shape
        rows = a.contiguous()
        self._library.multiply_packed(
            rows.data_ptr(), b, target.data_ptr(), m, b.n, k, k, b.n, threads
        )
        return "" if rows is a else "A"

    def _multiply_plain(self, a: Tensor, b: Tensor, target: Tensor, threads: int) -> str:
        layout = choose_layout(a, b)
        left, right, result = (b.t(), a.t(), target.t()) if layout.flipped else (a, b, target)
        if layout.copies_c:
            result = torch.empty(result.shape, dtype=torch.float32, device="cpu")
        self._call(*_in_rows(left, right, layout), result, threads)
        if layout.copies_c:
            target.copy_(result.t())
        return layout.copied

    def _call(self, left: Tensor, right: Tensor, result: Tensor, threads: int) -> None:
        """Row-major all three (a result of one column is so as well as its transpose is)."""
        (m, k), n = left.shape, right.shape[1]
        self._library.multiply(
            left.data_ptr(),
            right.data_ptr(),
            result.data_ptr(),
            m,
            n,
            k,
            leading_dimension(left),
            leading_dimension(right),
            n,
            threads,
        )


def _in_rows(left: Tensor, right: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Both factors, copied into rows where the layout says so."""
    copies = (layout.copies_a, layout.copies_b)
    copies_left, copies_right = reversed(copies) if layout.flipped else copies
    return (
        _copied(left) if copies_left else left,
        _copied(right) if copies_right else right,
    )


def _copied(matrix: Tensor) -> Tensor:
    return matrix.clone(memory_format=torch.contiguous_format)


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
