"""A version's product of matrices in any layout, by one of row-major matrices with least copying.

The versions read A and B by rows. PyTorch hands them transposed views all the time: the weight of
nn.Linear [n, k] comes as its transpose, and autograd transposes either side. Transposing the whole
product helps then: Cᵀ[n×m] = Bᵀ[n×k] · Aᵀ[k×m], since the rows of Bᵀ are the columns of B.

Of weights that their owner calls constant a copy is laid out once, packed or in rows. Nothing is
kept of a matrix that was not named: whether one has changed cannot be told for certain
(`tensor.data`, NumPy and other libraries write past PyTorch's count of changes).
"""

import weakref
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from topout.errors import UnsupportedError
from topout.kernels.gemm_ops import GemmLibrary, PackedMatrix

_Key = tuple[int, int, int, int, int]  # address, rows, columns, and both strides


class Layout(NamedTuple):
    """How to compute a product, and what has to be copied for it."""

    flipped: bool  # compute Cᵀ = Bᵀ·Aᵀ
    copies_a: bool
    copies_b: bool
    copies_c: bool

    @property
    def copied(self) -> str:
        """The matrices that are copied: "", "B", "A and C"."""
        names = zip("ABC", (self.copies_a, self.copies_b, self.copies_c), strict=True)
        return " and ".join(name for name, is_copied in names if is_copied)


def is_row_major(matrix: Tensor) -> bool:
    """Whether each row [n] lies in one piece, and the next one behind it."""
    return _is_by_rows(*matrix.shape, *matrix.stride())


def is_column_major(matrix: Tensor) -> bool:
    """Whether the transpose is row-major; a matrix of one row or column can be both."""
    (rows, columns), (down, across) = matrix.shape, matrix.stride()
    return _is_by_rows(columns, rows, across, down)


def _is_by_rows(rows: int, columns: int, down: int, across: int) -> bool:
    # The stride along an axis of one element says nothing.
    return (columns == 1 or across == 1) and (rows == 1 or down >= columns)


def leading_dimension(row_major: Tensor) -> int:
    """Elements from one row of a row-major matrix to the next."""
    rows, columns = row_major.shape
    return row_major.stride(0) if rows > 1 else columns


def choose_layout(a: Tensor, b: Tensor) -> Layout:
    """The way to compute a[m×k] · b[k×n] into a row-major C that copies the fewest elements."""
    (m, k), n = a.shape, b.shape[1]
    straight = Layout(False, not is_row_major(a), not is_row_major(b), False)
    if not (straight.copies_a or straight.copies_b):
        return straight
    # A C of one row or one column is the same in memory as its transpose.
    flips_freely = m == 1 or n == 1
    flipped = Layout(True, not is_column_major(a), not is_column_major(b), not flips_freely)
    sizes = (m * k, k * n, m * n)

    def copied_elements(layout: Layout) -> int:
        return sum(size for size, copied in zip(sizes, layout[1:], strict=True) if copied)

    return min((straight, flipped), key=copied_elements)


class _Prepared(NamedTuple):
    version: int  # PyTorch's count of changes in place when it was made
    matrix: PackedMatrix | Tensor


class ConstantWeights:
    """Copies of the named tensors' matrices, made at first use, freed with this object.

    A change in place that PyTorch counts is noticed, and the copy made again; one through `.data`
    or from outside PyTorch is not. Inference tensors have no such count and are left out. One
    thread at a time may use it.
    """

    def __init__(self, library: GemmLibrary, tensors: Iterable[Tensor]) -> None:
        self._library = library
        # An alias holds the memory, so that no other tensor can come to lie at its address, and
        # shares the count of changes. The tensor itself may be given other memory any time.
        aliases = [tensor.detach() for tensor in tensors if not tensor.is_inference()]
        self._aliases = {each.untyped_storage().data_ptr(): each for each in aliases}
        self._prepared: dict[_Key, _Prepared] = {}
        weakref.finalize(self, _free, self._prepared).atexit = False

    def find(self, b: Tensor, threads: int) -> PackedMatrix | Tensor | None:
        """B[k×n] packed, or row-major; None where it is not constant or needs no copy."""
        if not self._aliases:
            return None
        alias = self._aliases.get(b.untyped_storage().data_ptr())
        if alias is None or alias.dtype != b.dtype:
            return None
        if is_row_major(b) and not self._library.offers_packing:
            return None
        key = (b.data_ptr(), *b.shape, *b.stride())
        found = self._prepared.get(key)
        if found is None or found.version != alias._version:
            if found is not None:
                _close(found)
            found = _Prepared(alias._version, self._prepare(b, threads))
            self._prepared[key] = found
        return found.matrix

    def _prepare(self, b: Tensor, threads: int) -> PackedMatrix | Tensor:
        rows = b if is_row_major(b) else b.contiguous()
        if not self._library.offers_packing:
            return rows
        k, n = rows.shape
        try:
            return self._library.pack(rows.data_ptr(), n, k, leading_dimension(rows), threads)
        except UnsupportedError:  # no memory for it, and the rows are there
            return rows


def _close(prepared: _Prepared) -> None:
    if isinstance(prepared.matrix, PackedMatrix):
        prepared.matrix.close()


def _free(prepared: dict[_Key, _Prepared]) -> None:
    for each in prepared.values():
        _close(each)
    prepared.clear()


class AnyLayoutProduct:
    """A library's product of fp32 or bf16 matrices that lie in any way; `constant` are weights.

    One thread at a time may use it.
    """

    def __init__(self, library: GemmLibrary, constant: Iterable[Tensor]) -> None:
        self._library = library
        self._constant = ConstantWeights(library, constant)

    def multiply(self, a: Tensor, b: Tensor, target: Tensor, threads: int) -> str:
        """a[m×k] · b[k×n] into `target`, fp32 and contiguous; what was copied: "", "A and C"."""
        constant = self._constant.find(b, threads)
        if isinstance(constant, PackedMatrix):
            return self._multiply_packed(a, constant, target, threads)
        return self._multiply_plain(a, b if constant is None else constant, target, threads)

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
