"""The loops of each version, and what they load, counted by hand."""

import pytest

from tests.gemm.example_machine import machine
from topout.errors import UnsupportedError
from topout.gemm.blockings import blocking_of, row_parts
from topout.gemm.case import VERSIONS, Case
from topout.gemm.source_constants import macros_of, read_constants
from topout.kernels.build import SOURCE_FOLDER
from topout.kernels.gemm_ops import GEMM_FOLDER, version_source
from topout.records.gemm import GemmDtype


def case(m: int, n: int, k: int, threads: int = 1, dtype: GemmDtype = "fp32") -> Case:
    return Case(m, n, k, dtype, threads)


BLOCKS = {"block_i": 8, "block_j": 64, "block_k": 16, "width": 16, "tile_rows": 4}
BLOCKED = {
    "per_step": 1,
    "width": 16,
    "step_bytes": 64,
    "kMostRows": 6,
    "block_rows": 12,
    "most_steps": 100,
    "cut_rows": 12,
    "cut_steps": 50,
    "cut_panels": 2,
    "worth_sharing": 1,
    "chunk_bytes": 1 << 20,
    "few_rows": 4,
    "unrolled": 4,
    "slice": 32,
}


def test_naive_loads_two_values_for_each_product() -> None:
    loaded = blocking_of("naive", case(10, 20, 30), {}).register_bytes
    assert loaded == {"A": 10 * 20 * 30 * 4, "B": 10 * 20 * 30 * 4, "C": 0}


def test_loop_order_keeps_the_value_of_a() -> None:
    loaded = blocking_of("loop_order", case(10, 20, 30), {}).register_bytes
    assert loaded == {"A": 10 * 30 * 4, "B": 6000 * 4, "C": 6000 * 4}


def test_tiled_loads_a_again_for_each_block_of_columns() -> None:
    # 100 columns in blocks of 64: two.
    loaded = blocking_of("tiled", case(8, 100, 16), BLOCKS).register_bytes
    assert loaded["A"] == 2 * 8 * 16 * 4


def test_simd_shares_loads_of_b_between_the_rows_of_a_tile() -> None:
    """8 × 32 × 48: tiles of 4 × 16, k in three blocks.

    packed B: 48 · 32 values for each of 2 tiles of rows; packed A: 8 · 48 for each of 2 panels;
    C: read back before the second and the third block.
    """
    loaded = blocking_of("simd", case(8, 32, 48), BLOCKS).register_bytes
    assert loaded["packed B"] == 48 * 32 * 2 * 4
    assert loaded["packed A"] == 8 * 48 * 2 * 4
    assert loaded["C"] == 2 * 8 * 32 * 4
    assert loaded["A"] == 8 * 48 * 4
    assert loaded["B"] == 48 * 32 * 4


def test_packed_loads_b_for_each_row() -> None:
    loaded = blocking_of("packed", case(8, 32, 48), BLOCKS).register_bytes
    assert loaded["packed B"] == 48 * 32 * 8 * 4


def test_threaded_packs_b_on_the_way_and_prepacked_does_not() -> None:
    """12 × 32 × 40: 2 tiles of 6 rows, 2 panels of 16 columns, k in one piece."""
    threaded = blocking_of("threaded", case(12, 32, 40), BLOCKED)
    assert threaded.register_bytes == {
        "A": 12 * 40 * 2 * 4,
        "packed B": 40 * 32 * 2 * 4,
        "C": 0,
        "B": 40 * 32 * 4,
    }
    ahead = blocking_of("prepacked", case(12, 32, 40), BLOCKED, packed_ahead=True)
    assert "B" not in ahead.register_bytes
    assert (len(threaded.nests), len(ahead.nests)) == (2, 1)


def test_a_long_k_is_cut_and_c_is_read_back() -> None:
    # 120 steps are more than 100: pieces of 50, so three, and C is read twice.
    blocking = blocking_of("prepacked", case(12, 32, 120), BLOCKED, packed_ahead=True)
    assert blocking.register_bytes["C"] == 2 * 12 * 32 * 4


def test_few_rows_read_b_where_it_is() -> None:
    """2 rows, four rows of B at a time: C is loaded for each four."""
    blocking = blocking_of("threaded", case(2, 64, 40), BLOCKED)
    assert blocking.register_bytes["C"] == 2 * 64 * 10 * 4
    assert len(blocking.nests) == 1
    ahead = blocking_of("threaded", case(2, 64, 40), BLOCKED, packed_ahead=True)
    assert "packed B" in ahead.register_bytes


def test_int8_loads_a_quarter_and_copies_a() -> None:
    constants = {**BLOCKED, "per_step": 4}
    loaded = blocking_of(
        "int8", case(12, 32, 40, dtype="int8"), constants, packed_ahead=True
    ).register_bytes
    assert loaded["packed B"] == 40 * 32 * 2 * 1
    assert loaded["packed A"] == 12 * 40 * 2 * 1
    assert loaded["A"] == 12 * 40


def test_widened_bf16_reads_a_in_four_bytes() -> None:
    constants = {**BLOCKED, "per_step": 2}
    bf16 = case(12, 32, 40, dtype="bf16")
    widened = blocking_of("bf16", bf16, constants, packed_ahead=True)
    dot = blocking_of("bf16", bf16, {**constants, "TOPOUT_BF16_DOT": 1}, packed_ahead=True)
    assert widened.register_bytes["packed A"] == 2 * dot.register_bytes["packed A"]


def test_a_product_that_is_not_worth_sharing_has_one_thread() -> None:
    small = blocking_of("prepacked", case(4, 4, 4, 8), {**BLOCKED, "worth_sharing": 1 << 16})
    assert small.threads == 1


@pytest.mark.parametrize(
    ("tiles", "panels", "threads", "parts"),
    [(10, 100, 2, 1), (100, 1, 2, 2), (100, 1, 4, 4), (1, 1, 2, 1), (3, 3, 1, 1)],
)
def test_rows_are_cut_where_there_are_too_few_panels(
    tiles: int, panels: int, threads: int, parts: int
) -> None:
    assert row_parts(tiles, panels, threads) == parts


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 70, 3), (200, 300, 2000), (1, 50257, 768)])
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_every_version_has_a_nest_that_covers_the_product(
    version: object, shape: tuple[int, int, int], threads: int
) -> None:
    from topout.gemm.case import Version

    assert isinstance(version, Version)
    folders = [GEMM_FOLDER, SOURCE_FOLDER]
    constants = read_constants(
        version_source(version.name), macros_of(machine(), version.dtype), folders
    )
    blocking = blocking_of(version.name, case(*shape, threads, version.dtype), constants)
    multiply = blocking.nests[-1]
    inner = multiply.inside(len(multiply.loops))
    assert all(extent <= 1 for extent in inner.values())
    assert 1 <= blocking.threads <= threads
    m, n, k = shape
    whole = {"i": m, "j": n, "k": k}
    for variable, extent in multiply.extents.items():
        assert extent * multiply.parts.get(variable, 1) == pytest.approx(whole[variable])


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="mine"):
        blocking_of("mine", case(4, 4, 4), {})
    with pytest.raises(UnsupportedError, match="empty"):
        blocking_of("naive", case(4, 0, 4), {})
    with pytest.raises(UnsupportedError, match="block_i"):
        blocking_of("tiled", case(4, 4, 4), {})
