"""Versions and rivals on the same matrices, each ready to be timed at any moment."""

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from topout.gemm.bounds import Comparison
from topout.gemm.case import Case
from topout.gemm.exact import ExactRows, exact_rows, sampled_rows
from topout.gemm.inputs import OUTPUT_TYPES, aligned_empty, poison, random_matrix
from topout.gemm.rivals import Rival
from topout.kernels.gemm_ops import GemmLibrary

Matrix = NDArray[Any]
# OpenBLAS's waiting threads spin for some 2^26 cycles, OpenMP's for less: whoever comes next would
# share the cores with them.
_SETTLE_S = 0.02
# To a product that takes longer it does not matter that its threads sleep and its code is cold.
_WARM_UP_BELOW_S = 0.05
_CHECK_AGAIN_BELOW_S = 1.0


class Checked(msgspec.Struct, frozen=True):
    """A product on random numbers, compared with fp64; `seconds` is its first run."""

    seconds: float
    error_of_bound: float | None = None  # None where it is infinite
    fault: str | None = None
    packed_ahead: bool = False


class _Candidate(NamedTuple):
    runs: list[Callable[[], object]]  # one for each of the matrices B
    result: Callable[[], Matrix]  # of the last run
    resources: ExitStack


class TimedProducts:
    """Matrices of one case, and whoever multiplies them.

    `b_copies` different matrices B are used in turns, so that weights which one cache would hold
    come from memory, as they do in a model of many layers.
    """

    def __init__(self, case: Case, b_copies: int) -> None:
        self.case = case
        random = np.random.default_rng([case.m, case.n, case.k, 1])
        self._a = random_matrix(case.m, case.k, case.dtype, random)
        self._b = [random_matrix(case.k, case.n, case.dtype, random) for _ in range(b_copies)]
        self._c = aligned_empty(case.m, case.n, OUTPUT_TYPES[case.dtype])
        rows = sampled_rows(case.m, case.n, case.k, random)
        self._exact: ExactRows = exact_rows(self._a, self._b[0], rows, case.dtype)
        self._candidates: dict[str, _Candidate] = {}
        self._turns = 0

    def add_version(self, name: str, library: GemmLibrary) -> Checked:
        """Make a version ready, packed ahead where it offers it, and check its first product."""
        m, n, k, threads = self.case.m, self.case.n, self.case.k, self.case.threads
        a, c = self._a.ctypes.data, self._c.ctypes.data
        runs: list[Callable[[], object]] = []
        with ExitStack() as stack:
            for matrix in self._b:
                b = matrix.ctypes.data
                if library.offers_packing:
                    packed = stack.enter_context(library.pack(b, n, k, n, threads))
                    run = functools.partial(
                        library.multiply_packed, a, packed, c, m, n, k, k, n, threads
                    )
                else:
                    run = functools.partial(library.multiply, a, b, c, m, n, k, k, n, n, threads)
                runs.append(run)
            self._candidates[name] = _Candidate(runs, lambda: self._c, stack.pop_all())
        checked = self._run_and_check(name)
        return msgspec.structs.replace(checked, packed_ahead=library.offers_packing)

    def add_rival(self, name: str, rival: Rival) -> Checked:
        """Make a rival ready and check its first product."""
        results: list[Matrix] = []

        def keeping(run: Callable[[], Matrix]) -> Callable[[], object]:
            def keep() -> None:
                results[:] = [run()]

            return keep

        products = [rival.prepare(self._a, b, self.case.threads) for b in self._b]
        runs = [keeping(run) for run in products]
        self._candidates[name] = _Candidate(runs, lambda: results[0], ExitStack())
        return self._run_and_check(name)

    def sample(self, name: str, repeats: int, warm_up: bool) -> float:
        """Seconds of one product: the mean of `repeats`."""
        runs = self._candidates[name].runs
        turn, count = self._turns, len(runs)
        self._turns += repeats + warm_up
        time.sleep(_SETTLE_S)
        if warm_up:
            runs[(turn + repeats) % count]()
        order = [runs[(turn + i) % count] for i in range(repeats)]
        start = time.perf_counter()
        for run in order:
            run()
        return (time.perf_counter() - start) / repeats

    def check_again(self, name: str) -> Checked:
        """Check one more product, after the last round."""
        return self._run_and_check(name)

    def close(self) -> None:
        """Give packed matrices back, and the candidates with them."""
        for candidate in self._candidates.values():
            candidate.resources.close()
        self._candidates.clear()

    def _run_and_check(self, name: str) -> Checked:
        candidate = self._candidates[name]
        poison(self._c)
        start = time.perf_counter()
        candidate.runs[0]()
        seconds = time.perf_counter() - start
        found = candidate.result()
        return _judged(seconds, self._exact.compare(found), found)


def needs_warm_up(product_s: float) -> bool:
    """Whether a product is run once before the clock starts."""
    return product_s < _WARM_UP_BELOW_S


def can_check_again(product_s: float) -> bool:
    """Whether a product is quick enough to be run once more after the last round."""
    return product_s < _CHECK_AGAIN_BELOW_S


def _judged(seconds: float, comparison: Comparison, found: Matrix) -> Checked:
    finite = comparison.error_of_bound if np.isfinite(comparison.error_of_bound) else None
    if comparison.mismatch is not None:
        return Checked(seconds, finite, str(comparison.mismatch))
    if found.dtype == np.float32 and not _all_finite(found):
        return Checked(seconds, finite, "an element of C is not finite where all inputs are")
    return Checked(seconds, finite)


def _all_finite(found: Matrix) -> bool:
    """Block by block: a mask of all of C would be as large as C."""
    return all(
        bool(np.isfinite(found[i : i + 256]).all()) for i in range(0, max(1, len(found)), 256)
    )
