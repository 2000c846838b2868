"""The ceilings of the moment, measured between timed rounds."""

import time
from contextlib import ExitStack

import msgspec
import numpy as np

from topout.errors import CompilerError, InputError, UnsupportedError
from topout.machine.native_ceilings import BandwidthProbe
from topout.records.gemm import GemmDtype

_SECONDS = 0.02
# Waiting threads of OpenMP spin for some milliseconds, and would share the cores.
_SETTLE_S = 0.01
_STAND_IN_SIZE = 768  # of NumPy's product, where nothing can be compiled
_STAND_IN_BYTES = 64 << 20


class Roofs(msgspec.Struct, frozen=True):
    """Arithmetic in the data type of a case, and reads from memory; None where not measured."""

    flops_per_s: float | None
    bytes_per_s: float | None


class RoofProbe:
    """Threads and memory kept ready for one count of threads; close it after use."""

    def __init__(self, threads: int, working_set_bytes: int, dtype: GemmDtype) -> None:
        self.dtype = dtype
        self.reasons: dict[str, str] = {}
        self._held = ExitStack()
        self._probe: BandwidthProbe | None = None
        self._has_dtype = True
        try:
            self._probe = self._held.enter_context(BandwidthProbe(threads, working_set_bytes))
            self._probe.fma_rate(dtype, _SECONDS)
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
        time.sleep(_SETTLE_S)
        rate = self._probe.fma_rate(self.dtype, _SECONDS) if self._has_dtype else None
        return Roofs(rate, self._probe.read_bandwidth(_SECONDS))

    def ridge_point(self) -> float:
        """FLOP per byte from which on arithmetic is the lower roof.

        Without an instruction for the data type it is that of fp32, and without a compiler that
        of NumPy's product and sum.
        """
        if self._probe is None:
            return _numpy_ridge_point()
        roofs = self.measure()
        rate = roofs.flops_per_s or self._probe.fma_rate("fp32", _SECONDS)
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
