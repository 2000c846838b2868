"""Three worked examples of the roofline, counted by hand: axpy, a 7-point stencil, n×n matmul.

All are in doubles of 8 bytes. Intensities: axpy 2/24 = 0.083 FLOP/byte; stencil 7/64 = 0.109
without a cache and 7/16 = 0.4375 with a perfect one; matmul n/16, each matrix moved once.
"""

from collections.abc import Callable
from typing import Literal

from topout.errors import InputError, UnknownNameError
from topout.records import Example, ExampleName, Traffic
from topout.roofline import ridge_point

DOUBLE_BYTES = 8
# Working sets of some 270 MB for the two that stream, beyond the last cache of most machines.
_DEFAULT_N: dict[ExampleName, int] = {"axpy": 1 << 24, "stencil": 256, "matmul": 2048}
_LARGEST_N: dict[ExampleName, int] = {"axpy": 1 << 40, "stencil": 1 << 13, "matmul": 1 << 20}


def example(name: str, n: int | None = None) -> Example:
    """The FLOPs and bytes of one pass of an example; `n` as in its `size`, or a default.

    Raises UnknownNameError for another name, InputError for an n that is not 1 or more, or that
    no machine could hold.
    """
    if name not in _MAKERS:
        raise UnknownNameError("example", name, list(_MAKERS), f"Known: {', '.join(_MAKERS)}.")
    known: ExampleName = name
    size = _DEFAULT_N[known] if n is None else n
    if not 1 <= size <= _LARGEST_N[known]:
        raise InputError(
            f"--n {size} of {name} is out of range.", f"Give 1 to {_LARGEST_N[known]}."
        )
    return _MAKERS[known](size)


def crossover(
    peak_flops_per_s: float, bytes_per_s: float, element_bytes: int = DOUBLE_BYTES
) -> float:
    """The n at which the n×n matmul turns compute-bound: 2 × bytes of an element × ridge point.

    2n³ FLOPs over 4n² elements are n/2 FLOPs per element; in doubles n/16 FLOP/byte, and so 16
    times the ridge point. Raises InputError unless both rates are positive and finite.
    """
    return 2 * element_bytes * ridge_point(peak_flops_per_s, bytes_per_s)


def unit_of(name: ExampleName) -> Literal["vector", "matrix"] | None:
    """The unit whose peak bounds the example; None: the strongest (matrix units take matmuls)."""
    return None if name == "matmul" else "vector"


def _axpy(n: int) -> Example:
    flops = 2.0 * n
    return Example(
        name="axpy",
        title="axpy",
        formula="y[i] ← y[i] + a · x[i]",
        n=n,
        size=f"two vectors of n = {n:,} doubles",
        flops=flops,
        flops_sum="1 multiplication + 1 addition = 2 FLOPs an element",
        working_set_bytes=2 * n * DOUBLE_BYTES,
        traffic=[
            _traffic(
                "one pass",
                (16.0 * n, 8.0 * n),
                flops,
                "x and y read, y written: 3 × 8 = 24 bytes an element",
            )
        ],
        counted="one pass",
        notes=[
            "No cache helps: every element is used once.",
            "A store usually makes the CPU read the line first that it writes to (write-allocate). "
            "Here that costs nothing more: y is read anyway.",
        ],
    )


def _stencil(n: int) -> Example:
    points = float(n) ** 3
    flops = 7 * points
    return Example(
        name="stencil",
        title="7-point stencil",
        formula="out[i,j,k] ← c · (in[i,j,k] + its 6 neighbours)",
        n=n,
        size=f"two grids of n³ = {n:,}³ doubles, with a border of one point on each side",
        flops=flops,
        flops_sum="6 additions + 1 multiplication = 7 FLOPs a point",
        working_set_bytes=2 * (n + 2) ** 3 * DOUBLE_BYTES,
        traffic=[
            _traffic(
                "no cache",
                (56 * points, 8 * points),
                flops,
                "7 loads + 1 store, each of 8 bytes = 64 bytes a point",
            ),
            _traffic(
                "stores read first",
                (16 * points, 8 * points),
                flops,
                "1 load + 1 store + 1 read of the line stored to = 24 bytes a point",
            ),
            _traffic(
                "perfect cache",
                (8 * points, 8 * points),
                flops,
                "1 load + 1 store, each of 8 bytes = 16 bytes a point",
            ),
        ],
        counted="perfect cache",
        notes=[
            "With a perfect cache every point is fetched once and its six further uses are hits. "
            "Three neighbouring planes of the grid must fit into it.",
            "A store usually makes the CPU read the line first that it writes to (write-allocate). "
            "Nothing else reads “out”, so that memory then moves 24 bytes a point, not 16; only "
            "streaming stores avoid it.",
            "The border is not counted: (n+2)³ − n³ more points are read.",
        ],
    )


def _matmul(n: int) -> Example:
    elements = float(n) ** 2
    flops = 2 * float(n) ** 3
    return Example(
        name="matmul",
        title="n×n matmul",
        formula="C ← C + A · B",
        n=n,
        size=f"three matrices of n × n = {n:,} × {n:,} doubles",
        flops=flops,
        flops_sum="n multiplications + n additions an element of C = 2n³ FLOPs",
        working_set_bytes=3 * n * n * DOUBLE_BYTES,
        traffic=[
            _traffic(
                "perfect cache",
                (3 * DOUBLE_BYTES * elements, DOUBLE_BYTES * elements),
                flops,
                "A, B and C read, C written: 4n² × 8 = 32n² bytes; 2n³ / 32n² = n/16",
            )
        ],
        counted="perfect cache",
        notes=[
            "A perfect cache holds all three matrices. Real ones do not, and a good matmul works "
            "in tiles that fit: it moves more bytes than this, but still reuses each often.",
            "A store usually makes the CPU read the line first that it writes to (write-allocate). "
            "Here that costs nothing more: C is read anyway.",
        ],
    )


_MAKERS: dict[ExampleName, Callable[[int], Example]] = {
    "axpy": _axpy,
    "stencil": _stencil,
    "matmul": _matmul,
}


def _traffic(
    name: str, read_and_written: tuple[float, float], flops: float, bytes_sum: str
) -> Traffic:
    moved_bytes = sum(read_and_written)
    return Traffic(
        name=name,
        bytes=moved_bytes,
        read_bytes=read_and_written[0],
        bytes_sum=bytes_sum,
        arithmetic_intensity=flops / moved_bytes,
    )
