"""The product in whole numbers, with one element wrong at a time."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.gemm.matrices import whole_numbers
from topout.gemm.trial import WholeNumberProduct


def product_of(m: int, n: int, k: int) -> tuple[WholeNumberProduct, np.ndarray]:
    random = np.random.default_rng([m, n, k])
    a, b = (whole_numbers(*shape, "fp32", k, random) for shape in ((m, k), (k, n)))
    return WholeNumberProduct(a, b, random), (a.astype(int) @ b.astype(int)).astype(np.float32)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 20), st.data())
def test_one_wrong_element_is_always_found(m: int, n: int, k: int, data: st.DataObject) -> None:
    product, right = product_of(m, n, k)
    assert product.fault_of(right) is None
    i, j = data.draw(st.integers(0, m - 1)), data.draw(st.integers(0, n - 1))
    wrong = data.draw(st.sampled_from([np.nan, np.inf, -np.inf, 0.5, 1, -1, 2.0**20]))
    right[i, j] += np.float32(wrong)
    fault = product.fault_of(right)
    assert fault is not None and f"1 of {m} rows are wrong" in fault and f"C[{i}][{j}] = " in fault


def test_rows_of_a_part_keep_their_numbers() -> None:
    product, right = product_of(10, 6, 4)
    part = right[6:].copy()
    assert product.fault_of(part, first_row=6) is None
    part[1, 2] += 1
    assert "C[7][2]" in (product.fault_of(part, first_row=6) or "")


def test_int32_results_are_checked_too() -> None:
    random = np.random.default_rng(0)
    a, b = (whole_numbers(*shape, "int8", 9, random) for shape in ((4, 9), (9, 5)))
    right = a.astype(np.int32) @ b.astype(np.int32)
    product = WholeNumberProduct(a, b, random)
    assert product.fault_of(right) is None
    right[3, 4] ^= 1
    assert "C[3][4]" in (product.fault_of(right) or "")
