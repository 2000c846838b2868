"""Weights that their owner calls constant, laid out once in the way in which a version reads them.

Nothing is kept of a matrix that was not named: whether one has changed cannot be told for certain
(`tensor.data`, NumPy and other libraries write past PyTorch's count of changes).
"""

import weakref
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor

from topout.errors import UnsupportedError
from topout.gemm.routing_layout import is_row_major, leading_dimension
from topout.kernels.gemm_ops import GemmLibrary, PackedMatrix

_Key = tuple[int, int, int, int, int]  # address, rows, columns, and both strides


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
