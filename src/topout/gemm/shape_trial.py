"""A version at a shape of the user's: every element exactly, between guard pages."""

import time
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from topout.gemm.case import Case
from topout.gemm.exact import WholeNumberProduct
from topout.gemm.inputs import INPUT_TYPES, OUTPUT_TYPES, POISON, encoded, whole_numbers
from topout.gemm.operand import Layout, Operand
from topout.gemm.trial import Note
from topout.kernels.gemm_ops import GemmLibrary
from topout.measure.lifetime import Closing

# Below so many operations nothing is tried on few rows first.
_AT_ONCE_FLOPS = 1 << 27
_PILOT_ROWS_PER_THREAD = 8


class ShapeVerdict(NamedTuple):
    """What is wrong with a product, or how long it would take where that is too long."""

    fault: str | None = None
    too_slow_s: float | None = None


class ShapeTrial(Closing):
    """Whole numbers at one shape, their matrices flush with the guard pages behind them.

    Use it in a `with` block; it serves one version after the other.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        m, n, k, dtype = case.m, case.n, case.k, case.dtype
        random = np.random.default_rng([m, n, k])
        left, right = (whole_numbers(*shape, dtype, k, random) for shape in ((m, k), (k, n)))
        self._product = WholeNumberProduct(left, right, random)
        with ExitStack() as stack:
            self._a = stack.enter_context(Operand(m, k, INPUT_TYPES[dtype], Layout()))
            self._b = stack.enter_context(Operand(k, n, INPUT_TYPES[dtype], Layout()))
            self._c = stack.enter_context(Operand(m, n, OUTPUT_TYPES[dtype], Layout()))
            self._a.values[...] = encoded(left, dtype)
            self._b.values[...] = encoded(right, dtype)
            self._held = stack.pop_all()

    def check(self, library: GemmLibrary, note: Note, longest_s: float) -> ShapeVerdict:
        """Multiply and compare; a few rows first where that may take longer than `longest_s`."""
        ways = (False, True) if library.offers_packing else (False,)
        for packed in ways:
            verdict = self._check(library, packed, note, longest_s)
            if verdict != ShapeVerdict():
                how = "gemm_packed" if packed else "gemm"
                fault = verdict.fault and f"{how} at {self.case}: {verdict.fault}"
                return verdict._replace(fault=fault)
        return ShapeVerdict()

    def _check(
        self, library: GemmLibrary, packed: bool, note: Note, longest_s: float
    ) -> ShapeVerdict:
        predicted_s = self._predicted_s(library, packed, note, longest_s)
        if predicted_s > longest_s:
            return ShapeVerdict(too_slow_s=predicted_s)
        self._c.everything.view(np.uint32).fill(POISON)
        self._seconds_of(library, self.case.m, packed, note)
        return ShapeVerdict(self._product.fault_of(self._c.values))

    def _predicted_s(
        self, library: GemmLibrary, packed: bool, note: Note, longest_s: float
    ) -> float:
        """Seconds of the whole product, from some of its rows; 0 where it is small."""
        m, threads = self.case.m, self.case.threads
        few = min(_PILOT_ROWS_PER_THREAD * threads, m // 4)
        if self.case.flops <= _AT_ONCE_FLOPS or few == 0:
            return 0.0
        few_s = self._seconds_of(library, few, packed, note)
        if few_s * m / few <= longest_s:
            return few_s * m / few
        # What does not grow with the rows, such as packing B, must not be multiplied with them.
        more_s = self._seconds_of(library, 4 * few, packed, note)
        return more_s + max(0.0, more_s - few_s) / (3 * few) * (m - 4 * few)

    def _seconds_of(self, library: GemmLibrary, rows: int, packed: bool, note: Note) -> float:
        """Multiply the last `rows` rows of A into the last ones of C."""
        n, k, threads = self.case.n, self.case.k, self.case.threads
        a, b, c = self._a, self._b, self._c
        first = self.case.m - rows
        a_address, c_address = a.row_address(first), c.row_address(first)
        regions = {"A": (a_address, a.end), "B": (b.address, b.end), "C": (c_address, c.end)}
        note(f"{rows}x{n}x{k}", regions)
        start = time.perf_counter()
        if packed:
            with library.pack(b.address, n, k, b.stride, threads) as ready:
                library.multiply_packed(
                    a_address, ready, c_address, rows, n, k, a.stride, c.stride, threads
                )
        else:
            library.multiply(
                a_address, b.address, c_address, rows, n, k, a.stride, b.stride, c.stride, threads
            )
        return time.perf_counter() - start

    def close(self) -> None:
        """Give the memory back."""
        self._held.close()
