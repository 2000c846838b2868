"""The loop nest of each version of the ladder, with the block sizes of its C++ source.

A version is one nest, or several that run one after another: packing B, packing A, multiplying.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from topout.errors import UnsupportedError
from topout.gemm.case import ELEMENT_BYTES, OUTPUT_BYTES, Case
from topout.gemm.loop_nest import Array, Blocking, Loop, Nest, Variable

Constants = Mapping[str, int]


def blocking_of(
    version: str,
    case: Case,
    constants: Constants,
    *,
    packed_ahead: bool = False,
    whole: Case | None = None,
) -> Blocking:
    """The loops of a version at a case; `whole`: its matrices are parts of those of that one.

    Raises UnsupportedError for a name that is not on the ladder, for an empty product, and where
    the source lacks one of the block sizes.
    """
    build = _BLOCKINGS.get(version)
    if build is None:
        raise UnsupportedError(
            f"the loops of {version!r} are not known.", f"Known are {', '.join(_BLOCKINGS)}."
        )
    if case.is_empty:
        raise UnsupportedError(f"the product {case} is empty.", "Give sizes above zero.")
    try:
        return build(_Sizes(case, constants, packed_ahead, whole or case))
    except KeyError as missing:
        raise UnsupportedError(
            f"the source of {version!r} does not say its block size {missing}.", "Install again."
        ) from None


class _Sizes:
    """A case in the words that the nests are written in."""

    def __init__(self, case: Case, constants: Constants, packed_ahead: bool, whole: Case) -> None:
        self.case, self.constants, self.packed_ahead = case, constants, packed_ahead
        self.m, self.n, self.k, self.threads = case.m, case.n, case.k, case.threads
        self.products = case.m * case.n * case.k
        self.element = ELEMENT_BYTES[case.dtype]
        self.a = Array("A", "i", "k", self.element, whole.k * self.element)
        self.b = Array("B", "k", "j", self.element, whole.n * self.element)
        self.c = Array("C", "i", "j", OUTPUT_BYTES, whole.n * OUTPUT_BYTES)

    def nest(
        self,
        loops: Sequence[Loop],
        parts: Mapping[Variable, int],
        arrays: Sequence[Array] | None = None,
    ) -> Nest:
        """Loops of one thread, where variables are split into so many parts; over A, B and C."""
        whole: dict[Variable, int] = {"i": self.m, "j": self.n, "k": self.k}
        extents = {variable: size / parts.get(variable, 1) for variable, size in whole.items()}
        return Nest(extents, loops, arrays or [self.a, self.b, self.c], parts)


def _naive(sizes: _Sizes) -> Blocking:
    threads = min(sizes.threads, sizes.m)
    loops = [Loop("row", "i", 1), Loop("column", "j", 1), Loop("sum", "k", 1)]
    loaded = {"A": sizes.products * 4, "B": sizes.products * 4, "C": 0}
    return Blocking([sizes.nest(loops, {"i": threads})], loaded, threads)


def _loop_order(sizes: _Sizes) -> Blocking:
    threads = min(sizes.threads, sizes.m)
    loops = [Loop("row", "i", 1), Loop("sum", "k", 1), Loop("column", "j", 1)]
    loaded = {"A": sizes.m * sizes.k * 4, "B": sizes.products * 4, "C": sizes.products * 4}
    return Blocking([sizes.nest(loops, {"i": threads})], loaded, threads)


def _tiled(sizes: _Sizes) -> Blocking:
    rows, columns, depth = (sizes.constants[f"block_{each}"] for each in "ijk")
    threads = min(sizes.threads, math.ceil(sizes.m / rows))
    loops = [
        Loop("rows", "i", rows),
        Loop("columns", "j", columns),
        Loop("depth", "k", depth),
        Loop("row", "i", 1),
        Loop("sum", "k", 1),
        Loop("column", "j", 1),
    ]
    a_loads = sizes.m * sizes.k * math.ceil(sizes.n / columns)
    loaded = {"A": a_loads * 4, "B": sizes.products * 4, "C": sizes.products * 4}
    return Blocking([sizes.nest(loops, {"i": threads})], loaded, threads)


def _packed(sizes: _Sizes) -> Blocking:
    return _panels_on_the_way(sizes, tile_rows=1)


def _simd(sizes: _Sizes) -> Blocking:
    return _panels_on_the_way(sizes, tile_rows=sizes.constants["tile_rows"])


def _panels_on_the_way(sizes: _Sizes, tile_rows: int) -> Blocking:
    """Blocks of B, then blocks of A, are copied into panels; then a row or tile at a time."""
    constants, threads = sizes.constants, sizes.threads
    rows, columns, depth = (constants[f"block_{each}"] for each in "ijk")
    width = constants["width"]
    b_threads = min(threads, math.ceil(min(sizes.n, columns) / width))
    threads = min(threads, math.ceil(sizes.m / rows))
    blocks = [Loop("columns", "j", columns), Loop("depth", "k", depth)]
    panels = Array("packed B", "k", "j", 4, filled_in="depth")
    block = Array("packed A", "i", "k", 4, filled_in="rows")
    pack_b = sizes.nest(
        [*blocks, Loop("panel", "j", width), Loop("row of B", "k", 1), Loop("column", "j", 1)],
        {"j": b_threads},
        [sizes.b, panels],
    )
    a_loops = [*blocks, Loop("rows", "i", rows)]
    pack_a = sizes.nest(
        [*a_loops, Loop("row", "i", 1), Loop("sum", "k", 1)], {"i": threads}, [sizes.a, block]
    )
    tile = [Loop("panel", "j", width), Loop("tile", "i", tile_rows), Loop("sum", "k", 1)]
    inside = [Loop("row", "i", 1), Loop("column", "j", 1)]
    arrays = [block, panels, sizes.c]
    multiply = sizes.nest([*a_loops, *tile, *inside], {"i": threads}, arrays)
    places = math.ceil(sizes.n / width) * width
    tiles = math.ceil(sizes.m / tile_rows)
    again = math.ceil(sizes.k / depth) - 1
    return Blocking(
        [pack_b, pack_a, multiply],
        {
            "A": sizes.m * sizes.k * math.ceil(sizes.n / columns) * 4,
            "B": sizes.n * sizes.k * 4,
            "packed A": sizes.m * sizes.k * places / width * 4,
            "packed B": sizes.k * places * tiles * 4,
            "C": sizes.m * sizes.n * again * 4,
        },
        max(threads, b_threads),
        tile_rows,
    )


def _threaded(sizes: _Sizes) -> Blocking:
    few = sizes.constants["few_rows"]
    return _few_rows(sizes) if sizes.m <= few and not sizes.packed_ahead else _blocked(sizes)


def _few_rows(sizes: _Sizes) -> Blocking:
    """B is read where it is, some rows of it at a time; each thread has some of the columns."""
    together, columns = sizes.constants["unrolled"], sizes.constants["slice"]
    threads = min(_worthwhile(sizes), math.ceil(sizes.n / 16))
    loops = [
        Loop("columns", "j", columns),
        Loop("row", "i", 1),
        Loop("sum", "k", together),
        Loop("column", "j", 1),
        Loop("of the sum", "k", 1),
    ]
    slices = math.ceil(sizes.n / columns)
    c_loads = sizes.m * sizes.n * math.ceil(sizes.k / together)
    loaded = {
        "A": sizes.m * sizes.k * slices * 4,
        "B": sizes.products * 4,
        "C": c_loads * 4,
    }
    nest = sizes.nest(loops, {"j": threads})
    return Blocking([nest], loaded, threads, sizes.constants["kMostRows"])


def _worthwhile(sizes: _Sizes) -> int:
    """How many threads a product is shared by."""
    least = sizes.constants["worth_sharing"]
    small = sizes.m * sizes.n < least and sizes.products < least
    return 1 if small else sizes.threads


def row_parts(tiles: int, panels: int, threads: int) -> int:
    """Into how many parts the rows are cut, as `row_parts` of kernels/src/shares.h has it."""
    best, least = 1, 0
    for parts in range(1, threads + 1):
        if threads % parts:
            continue
        share = math.ceil(panels / (threads // parts)) * math.ceil(tiles / parts)
        if parts == 1 or share * 20 < least * 19:
            best, least = parts, share
    return best


def _blocked(sizes: _Sizes) -> Blocking:
    """kernels/gemm/blocked.h: chunks of columns, blocks of rows, panels, tiles."""
    constants = sizes.constants
    width, per_step = constants["width"], constants["per_step"]
    tile_rows = constants["kMostRows"]
    steps = math.ceil(sizes.k / per_step)
    cut = steps > constants["most_steps"]
    rows = constants["cut_rows" if cut else "block_rows"]
    piece = (constants["cut_steps"] if cut else steps) * per_step
    panels = math.ceil(sizes.n / width)
    tiles = math.ceil(sizes.m / tile_rows)
    threads = _worthwhile(sizes)
    parts = row_parts(tiles, panels, threads)
    split: dict[Variable, int] = {"i": min(parts, sizes.m), "j": min(threads // parts, panels)}
    chunk = _chunk(sizes, steps, panels)
    columns = [Loop("chunk", "j", chunk / split["j"])]
    into = None if sizes.packed_ahead else "chunk"
    packed_b = Array("packed B", "k", "j", sizes.element, filled_in=into)
    a = sizes.a if sizes.element == 4 else Array("packed A", "i", "k", _row_element(sizes))
    multiply = sizes.nest(
        [
            *columns,
            Loop("rows", "i", rows),
            Loop("panels", "j", width * (constants["cut_panels"] if cut else 1)),
            Loop("piece", "k", piece),
            Loop("panel", "j", width),
            Loop("tile", "i", tile_rows),
            Loop("sum", "k", per_step),
            Loop("row", "i", 1),
            Loop("column", "j", 1),
            Loop("of the step", "k", 1),
        ],
        split,
        [a, packed_b, sizes.c],
    )
    word = 4 / per_step  # bytes of a word of 32 bits that belong to one value
    pieces = math.ceil(sizes.k / piece)
    loaded = {
        a.name: sizes.m * sizes.k * panels * a.element_bytes,
        "packed B": sizes.k * panels * width * tiles * word,
        "C": sizes.m * sizes.n * (pieces - 1) * OUTPUT_BYTES,
    }
    before = _packing(sizes, columns, packed_b, a, threads, loaded)
    return Blocking([*before, multiply], loaded, threads, tile_rows)


def _chunk(sizes: _Sizes, steps: int, panels: int) -> float:
    """Columns that are packed at once."""
    if sizes.packed_ahead:
        return sizes.n
    panel_bytes = steps * sizes.constants["step_bytes"]
    at_once = sizes.constants["chunk_bytes"] // panel_bytes
    whole = max(at_once // sizes.threads, 1) * sizes.threads
    return min(whole, panels) * sizes.constants["width"]


def _row_element(sizes: _Sizes) -> float:
    """Bytes of a value of A as the micro-kernel reads it; bf16 that is widened has four."""
    widened = sizes.case.dtype == "bf16" and not sizes.constants.get("TOPOUT_BF16_DOT")
    return 4 if widened else sizes.element


def _packing(
    sizes: _Sizes,
    columns: list[Loop],
    packed_b: Array,
    a: Array,
    threads: int,
    loaded: dict[str, float],
) -> list[Nest]:
    """What is copied before the product: B unless it was ahead of time, and A unless it is fp32."""
    width, per_step = sizes.constants["width"], sizes.constants["per_step"]
    nests: list[Nest] = []
    if not sizes.packed_ahead:
        parts: dict[Variable, int] = {"j": min(threads, math.ceil(sizes.n / width))}
        loops = [
            *columns,
            Loop("panel", "j", width),
            Loop("row of B", "k", per_step),
            Loop("of the step", "k", 1),
            Loop("column", "j", 1),
        ]
        nests.append(sizes.nest(loops, parts, [sizes.b, packed_b]))
        loaded["B"] = sizes.n * sizes.k * sizes.element
    if a.name != "A":
        parts = {"i": min(threads, sizes.m)}
        rows = [Loop("row", "i", 1), Loop("value", "k", 1)]
        nests.append(sizes.nest(rows, parts, [sizes.a, a]))
        loaded["A"] = sizes.m * sizes.k * sizes.element
    return nests


_BLOCKINGS: dict[str, Callable[[_Sizes], Blocking]] = {
    "naive": _naive,
    "loop_order": _loop_order,
    "tiled": _tiled,
    "packed": _packed,
    "simd": _simd,
    "threaded": _threaded,
    "prepacked": _blocked,
    "bf16": _blocked,
    "int8": _blocked,
}
