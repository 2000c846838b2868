"""Hardware events of one product, counted in a process of its own.

In a process of its own, so that a library that ends its process ends no other, and so that its
threads are the only ones there. As a program: LIBRARY DTYPE M N K THREADS PACKED.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from topout.errors import TopoutError, UnsupportedError
from topout.gemm.case import Case
from topout.measure.counters import EventCounts, count_events
from topout.records.gemm import GemmDtype

_TIMEOUT_S = 60.0


def count_product(
    library: Path, case: Case, *, packed_ahead: bool = False, timeout_s: float = _TIMEOUT_S
) -> EventCounts:
    """The events of one product by a compiled library, of all its threads, in user code alone.

    Raises UnsupportedError when the process fails or does not end in time; a machine without
    events is a reason among those that are returned.
    """
    words = [str(library), case.dtype, str(case.m), str(case.n), str(case.k), str(case.threads)]
    command = [sys.executable, "-m", __name__, *words, str(int(packed_ahead))]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=True)
        events, reasons = msgspec.json.decode(
            done.stdout, type=tuple[dict[str, float], dict[str, str]]
        )
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError) as error:
        raise UnsupportedError(
            f"the process that counts events did not get through ({type(error).__name__}).",
            "Compare the version first: it may be at fault.",
        ) from None
    return EventCounts(events, reasons)


def _count(library: Path, case: Case, packed_ahead: bool) -> EventCounts:
    """One product that wakes the threads and fills the caches, then one that is counted."""
    import numpy as np

    from topout.gemm.inputs import OUTPUT_TYPES, aligned_empty, random_matrix
    from topout.kernels.gemm_ops import GemmBuild, GemmLibrary

    m, n, k, threads = case.m, case.n, case.k, case.threads
    random = np.random.default_rng(0)
    a, b = (random_matrix(*size, case.dtype, random) for size in ((m, k), (k, n)))
    c = aligned_empty(m, n, OUTPUT_TYPES[case.dtype])
    a_address, b_address, c_address = (matrix.ctypes.data for matrix in (a, b, c))
    product = GemmLibrary(GemmBuild(library, case.dtype, True))
    if packed_ahead:
        with product.pack(b_address, n, k, n, threads) as packed:
            return _second(
                lambda: product.multiply_packed(
                    a_address, packed, c_address, m, n, k, k, n, threads
                )
            )
    return _second(
        lambda: product.multiply(a_address, b_address, c_address, m, n, k, k, n, n, threads)
    )


def _second(action: Callable[[], None]) -> EventCounts:
    action()
    return count_events(action)


def main(words: list[str]) -> int:
    """Count as the arguments say, and print the events and the reasons as JSON."""
    library, dtype, m, n, k, threads, packed_ahead = words
    case = Case(int(m), int(n), int(k), msgspec.convert(dtype, GemmDtype), threads=int(threads))
    try:
        counts = _count(Path(library), case, packed_ahead == "1")
    except TopoutError as error:
        counts = EventCounts({}, {"events": error.message})
    sys.stdout.buffer.write(msgspec.json.encode(tuple(counts)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
