"""Versions and rivals on the same matrices, ready to be timed, and the ceilings of that moment."""

import functools
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from topout.errors import CompilerError, InputError, UnsupportedError
from topout.gemm.bounds import Comparison, allowed_after_bf16_output, allowed_error, compare
from topout.gemm.case import Case
from topout.gemm.matrices import (
    OUTPUT_TYPES,
    Doubles,
    Matrix,
    aligned_empty,
    as_doubles,
    poison,
    random_matrix,
)
from topout.gemm.rivals import Rival
from topout.kernels.gemm_ops import GemmLibrary
from topout.machine.native_ceilings import BandwidthProbe
from topout.measure.counters import EventCounts, count_events
from topout.measure.process import Closing
from topout.records.gemm import GemmDtype

# OpenBLAS's waiting threads spin for some 2^26 cycles, OpenMP's for less: the next candidate would
# share the cores with them.
_SETTLE_S = 0.02
_BLOCK_ELEMENTS = 1 << 22  # of a matrix that is converted to fp64 at a time
_REFERENCE_FLOPS = 2e9  # in fp64, of the sampled rows
_LEAST_ROWS = 4
_ROOF_S = 0.02  # of a look at a ceiling
# Waiting threads of OpenMP spin for some milliseconds, and would share the cores.
_ROOF_SETTLE_S = 0.01
_STAND_IN_SIZE = 768  # of NumPy's product, where nothing can be compiled
_STAND_IN_BYTES = 64 << 20


class Checked(msgspec.Struct, frozen=True):
    """A product on random numbers, compared with fp64; `seconds` is its first run."""

    seconds: float
    error_of_bound: float | None = None  # None where it is infinite
    fault: str | None = None
    packed_ahead: bool = False


class ExactRows(NamedTuple):
    """Rows of a product in fp64, and how far a result may lie from them."""

    rows: NDArray[np.int64]
    exact: Doubles
    allowed: Doubles

    def compare(self, found: Matrix) -> Comparison:
        """The whole result's rows against these; bf16 results (uint16) may be rounded once more."""
        rows, allowed = found[self.rows], self.allowed
        if found.dtype == np.uint16:
            allowed = allowed_after_bf16_output(self.exact, allowed)
            return compare(as_doubles(rows), self.exact, allowed, self.rows)
        return compare(rows, self.exact, allowed, self.rows)


def sampled_rows(m: int, n: int, k: int, random: np.random.Generator) -> NDArray[np.int64]:
    """All rows of a small product; of a large one the first, the last and some between."""
    affordable = max(_LEAST_ROWS, int(_REFERENCE_FLOPS / max(1, 4 * n * k)))
    if m <= affordable:
        return np.arange(m)
    between = random.choice(np.arange(1, m - 1), affordable - 2, replace=False)
    return np.sort(np.concatenate([[0, m - 1], between]))


def exact_rows(a: Matrix, b: Matrix, rows: NDArray[np.int64], dtype: GemmDtype) -> ExactRows:
    """Rows of A·B, and of |A||B| for the bound, in fp64; A and B in the type of the inputs."""
    left = as_doubles(a[rows])
    k, n = b.shape
    exact, magnitude = np.zeros((len(rows), n)), np.zeros((len(rows), n))
    step = max(1, _BLOCK_ELEMENTS // max(1, k))
    for j in range(0, n, step):
        right = as_doubles(b[:, j : j + step])
        with np.errstate(invalid="ignore"):
            exact[:, j : j + step] = left @ right
            magnitude[:, j : j + step] = np.abs(left) @ np.abs(right)
    return ExactRows(rows, exact, allowed_error(magnitude, k, dtype))


class _Candidate(NamedTuple):
    runs: list[Callable[[], object]]  # one for each of the matrices B
    result: Callable[[], Matrix]  # of the last run
    resources: ExitStack


class TimedProducts(Closing):
    """Matrices of one case, and the candidates that multiply them.

    `b_copies` different matrices B are used in turns, so that weights which one cache would hold
    come from memory, as they do in a model of many layers.
    """

    def __init__(self, case: Case, b_copies: int) -> None:
        self.case = case
        random = np.random.default_rng([case.m, case.n, case.k, 1])
        self._a = random_matrix(case.m, case.k, case.dtype, random)
        self._b = [random_matrix(case.k, case.n, case.dtype, random) for _ in range(b_copies)]
        self._c = aligned_empty(case.m, case.n, OUTPUT_TYPES[case.dtype])
        self._rows = sampled_rows(case.m, case.n, case.k, random)
        self._candidates: dict[str, _Candidate] = {}
        self._turns = 0

    def add_version(self, name: str, library: GemmLibrary) -> Checked:
        """Make a version ready, packed ahead where it offers it, and check its first product."""
        with ExitStack() as stack:
            runs = [self._run_of(library, b.ctypes.data, stack) for b in self._b]
            self._candidates[name] = _Candidate(runs, lambda: self._c, stack.pop_all())
        checked = self._run_and_check(name)
        return msgspec.structs.replace(checked, packed_ahead=library.offers_packing)

    def _run_of(self, library: GemmLibrary, b: int, stack: ExitStack) -> Callable[[], object]:
        """One product of a version with the B at that address, packed where it offers it."""
        m, n, k, threads = self.case.m, self.case.n, self.case.k, self.case.threads
        a, c = self._a.ctypes.data, self._c.ctypes.data
        if library.offers_packing:
            packed = stack.enter_context(library.pack(b, n, k, n, threads))
            return functools.partial(library.multiply_packed, a, packed, c, m, n, k, k, n, threads)
        return functools.partial(library.multiply, a, b, c, m, n, k, k, n, n, threads)

    def count(self, library: GemmLibrary) -> EventCounts:
        """Hardware events of one product, after one that wakes the threads and fills the caches."""
        with ExitStack() as stack:
            run = self._run_of(library, self._b[0].ctypes.data, stack)
            run()
            return count_events(run)

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

    @functools.cached_property
    def _exact(self) -> ExactRows:
        return exact_rows(self._a, self._b[0], self._rows, self.case.dtype)

    def _run_and_check(self, name: str) -> Checked:
        candidate = self._candidates[name]
        poison(self._c)
        start = time.perf_counter()
        candidate.runs[0]()
        seconds = time.perf_counter() - start
        found = candidate.result()
        return _judged(seconds, self._exact.compare(found), found)


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


class Roofs(msgspec.Struct, frozen=True):
    """Arithmetic in the data type of a case, and reads from memory; None where not measured."""

    flops_per_s: float | None
    bytes_per_s: float | None


class RoofProbe(Closing):
    """Threads and memory kept ready for one count of threads."""

    def __init__(self, threads: int, working_set_bytes: int, dtype: GemmDtype) -> None:
        self.dtype = dtype
        self.reasons: dict[str, str] = {}
        self._held = ExitStack()
        self._probe: BandwidthProbe | None = None
        self._has_dtype = True
        try:
            self._probe = self._held.enter_context(BandwidthProbe(threads, working_set_bytes))
            self._probe.fma_rate(dtype, _ROOF_S)
        except CompilerError as error:
            self.reasons["ceiling_flops_per_s"] = self.reasons["read_bytes_per_s"] = str(error)
        except (UnsupportedError, InputError) as error:
            self._has_dtype = False
            self.reasons["ceiling_flops_per_s"] = str(error)
            if self._probe is None:
                self.reasons["read_bytes_per_s"] = str(error)

    def measure(self) -> Roofs:
        """What all threads together reach now."""
        if self._probe is None:
            return Roofs(None, None)
        time.sleep(_ROOF_SETTLE_S)
        rate = self._probe.fma_rate(self.dtype, _ROOF_S) if self._has_dtype else None
        return Roofs(rate, self._probe.read_bandwidth(_ROOF_S))

    def ridge_point(self) -> float:
        """FLOP per byte from which on arithmetic is the lower roof.

        Without an instruction for the data type it is that of fp32, and without a compiler that
        of NumPy's product and sum.
        """
        if self._probe is None:
            return _numpy_ridge_point()
        roofs = self.measure()
        rate = roofs.flops_per_s or self._probe.fma_rate("fp32", _ROOF_S)
        return rate / roofs.bytes_per_s if roofs.bytes_per_s else 0.0

    def close(self) -> None:
        """Give threads and memory back."""
        self._held.close()


def _numpy_ridge_point() -> float:
    square = np.ones((_STAND_IN_SIZE, _STAND_IN_SIZE), dtype=np.float32)
    memory = np.ones(_STAND_IN_BYTES, dtype=np.uint8).view(np.uint64)
    product_s, sum_s = [], []
    for _ in range(3):
        start = time.perf_counter()
        square @ square
        product_s.append(time.perf_counter() - start)
        start = time.perf_counter()
        memory.max()
        sum_s.append(time.perf_counter() - start)
    return 2 * _STAND_IN_SIZE**3 / min(product_s) / (_STAND_IN_BYTES / min(sum_s))
