"""A case: what it needs, by hand counts, and what is refused before anything is allocated."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import InputError, UnknownNameError
from topout.gemm.case import VERSIONS, Case, bytes_needed, check_case, find_version, version_names
from topout.kernels.gemm_ops import GEMM_FOLDER


def test_counts_by_hand() -> None:
    case = Case(2, 3, 5, "fp32", 1)
    assert case.flops == 60  # 2 · 2 · 3 · 5
    assert case.least_bytes == 4 * (2 * 5 + 5 * 3 + 2 * 3)
    assert case.arithmetic_intensity == 60 / 124
    assert str(case) == "2x3x5"
    # Half the bytes, and a quarter, for A and B; 4 bytes of C stay.
    assert Case(2, 3, 5, "bf16", 1).least_bytes == 2 * 25 + 4 * 6
    assert Case(2, 3, 5, "int8", 1).least_bytes == 25 + 4 * 6


@pytest.mark.parametrize("size", [(0, 3, 5), (2, 0, 5), (2, 3, 0), (0, 0, 0)])
def test_an_empty_case_has_no_work(size: tuple[int, int, int]) -> None:
    case = Case(*size, "fp32", 1)
    assert case.is_empty and case.flops == 0 and case.arithmetic_intensity == 0
    check_case(case, processes=2, rivals=True, available_bytes=1 << 20)


@pytest.mark.parametrize(
    ("case", "word"),
    [
        (Case(-1, 3, 5, "fp32", 1), "negative"),
        (Case(2, 3, 5, "fp32", 0), "0 threads"),
        (Case(2**40, 2**40, 2, "fp32", 1), "overflows"),
        (Case(2**32, 1, 2**32, "int8", 1), "overflows"),
        (Case(8192, 8192, 8192, "fp32", 1), "GiB"),
        (Case(1, 1, 2**24, "fp32", 1), "error bound"),
    ],
)
def test_what_cannot_be_is_refused_with_its_shape(case: Case, word: str) -> None:
    with pytest.raises(InputError, match=word):
        check_case(case, processes=1, rivals=False, available_bytes=700 << 20)


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_what_is_needed_grows_with_processes_and_rivals(m: int, n: int, k: int) -> None:
    case = Case(m, n, k, "fp32", 1)
    least = bytes_needed(case, processes=1, rivals=False)
    assert case.least_bytes <= least <= bytes_needed(case, processes=1, rivals=True)
    assert least <= bytes_needed(case, processes=2, rivals=False)


def test_the_ladder_stands_in_the_order_in_which_it_teaches() -> None:
    assert version_names("fp32") == [
        "naive",
        "loop_order",
        "tiled",
        "packed",
        "simd",
        "threaded",
        "prepacked",
    ]
    assert version_names("bf16") == ["bf16"] and version_names("int8") == ["int8"]
    assert len(set(version_names())) == len(VERSIONS)


@pytest.mark.parametrize("name", version_names())
def test_every_version_has_its_file_and_a_sentence(name: str) -> None:
    assert (GEMM_FOLDER / f"{name}.cpp").is_file()
    assert find_version(name).change.endswith(".")


def test_an_unknown_version_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean naive"):
        find_version("naiv")
