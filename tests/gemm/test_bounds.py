"""The error bounds hold for honest arithmetic, and what lies beyond them is named."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topout.gemm.bounds import (
    UNIT_BF16,
    UNIT_FP32,
    Mismatch,
    allowed_after_bf16_output,
    allowed_error,
    compare,
    gamma,
)
from topout.gemm.matrices import as_doubles, from_bf16, to_bf16


def test_gamma_by_hand() -> None:
    assert gamma(1) == pytest.approx(UNIT_FP32, rel=1e-6)
    assert gamma(0) == 0
    with pytest.raises(ValueError, match="no bound"):
        gamma(2**24)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 300))
def test_a_sum_in_fp32_stays_within_its_bound(seed: int, k: int) -> None:
    random = np.random.default_rng(seed)
    a, b = (random.standard_normal(k).astype(np.float32) for _ in range(2))
    found = np.float32(0)
    for x, y in zip(a, b, strict=True):
        found += x * y
    exact = float(as_doubles(a) @ as_doubles(b))
    magnitude = np.array([float(np.abs(as_doubles(a)) @ np.abs(as_doubles(b)))])
    assert abs(float(found) - exact) <= allowed_error(magnitude, k, "fp32")[0]


def test_a_result_rounded_to_bf16_stays_within_its_bound() -> None:
    exact = np.random.default_rng(0).standard_normal(1000)
    rounded = from_bf16(to_bf16(exact.astype(np.float32)))
    allowed = allowed_after_bf16_output(exact, np.abs(exact) * UNIT_FP32)
    assert (np.abs(rounded - exact) <= allowed).all()
    assert allowed.max() < 2 * UNIT_BF16 * np.abs(exact).max()


def test_int8_is_exact() -> None:
    assert allowed_error(np.full(3, 1e9), 100, "int8").tolist() == [0.0, 0.0, 0.0]


def test_the_first_wrong_element_is_named() -> None:
    exact = np.arange(12.0).reshape(3, 4)
    found = exact.copy()
    found[1, 2], found[2, 0] = 7.0, np.nan
    comparison = compare(found, exact, np.full((3, 4), 0.5), np.array([10, 20, 30]))
    mismatch = comparison.mismatch
    assert mismatch == Mismatch(20, 2, 7.0, 6.0, 0.5, 2, 12)
    assert str(mismatch) == (
        "2 of 12 elements are wrong, first C[20][2] = 7 where 6 ± 0.5 is right"
    )
    assert comparison.error_of_bound == np.inf


def test_within_the_bound_nothing_is_wrong() -> None:
    exact = np.ones((2, 2))
    comparison = compare(exact + 0.25, exact, np.full((2, 2), 0.5), np.arange(2))
    assert comparison.mismatch is None and comparison.error_of_bound == 0.5


def test_nan_and_infinities_must_be_where_they_belong() -> None:
    exact = np.array([[np.nan, np.inf, -np.inf, 1.0]])
    rows = np.arange(1)
    assert compare(exact.copy(), exact, None, rows).mismatch is None
    for column, wrong in ((0, 1.0), (1, -np.inf), (2, np.nan), (3, np.inf)):
        found = exact.copy()
        found[0, column] = wrong
        with np.errstate(all="raise"):  # what is no number is no warning either
            comparison = compare(found, exact, np.full((1, 4), 9.0), rows)
        assert comparison.error_of_bound == np.inf
        mismatch = comparison.mismatch
        assert mismatch is not None and mismatch.column == column
        # Where the exact one is not finite there is no room around it.
        assert mismatch.allowed == (9.0 if column == 3 else 0.0)


def test_one_element_reads_as_one() -> None:
    mismatch = compare(np.array([[2.0]]), np.array([[1.0]]), None, np.arange(1)).mismatch
    assert str(mismatch) == "the only element is wrong, first C[0][0] = 2 where 1 is right"


def test_nothing_compares_as_right() -> None:
    comparison = compare(np.zeros((0, 3)), np.zeros((0, 3)), None, np.arange(0))
    assert comparison == (0.0, None)


def test_bounds_by_hand() -> None:
    """|A||B| = 3 over 5 terms: u = 2^-24, and 2^-126 the smallest normal number."""
    magnitude = np.array([3.0, 0.0])
    u = 2.0**-24
    # fp32: γ5 = 5u/(1 − 5u), and half a denormal, 2^-126·2^-24, for each of 5 products.
    fp32 = allowed_error(magnitude, 5, "fp32")
    assert fp32[0] == pytest.approx(3 * 5 * u / (1 - 5 * u), rel=1e-15)
    assert fp32[1] == 5 * 2.0**-150
    # bf16: one rounding more, γ6; each of 5 products and 5 sums may be flushed.
    bf16 = allowed_error(magnitude, 5, "bf16")
    assert bf16[0] == pytest.approx(3 * 6 * u / (1 - 6 * u), rel=1e-15)
    assert bf16[1] == 10 * 2.0**-126
    assert (allowed_error(magnitude, 0, "bf16") == 0).all()
    assert (allowed_error(magnitude, 1, "fp32") > 0).all()


def test_gamma_of_many_roundings() -> None:
    # 2^-1 of a unit of 2^-3 and four roundings: 0.5/(1 − 0.5).
    assert gamma(4, 2.0**-3) == 1.0
    with pytest.raises(ValueError, match="no bound"):
        gamma(8, 2.0**-3)


def test_a_product_rounded_to_bf16_by_hand() -> None:
    # 0.5 before it is rounded; 2^-8 of the largest it may be then, 4.5.
    assert allowed_after_bf16_output(np.array([-4.0]), np.array([0.5])) == 0.5 + 4.5 / 256


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (6.5, "6.5"),
        (-7.0, "-7"),
        (1 / 3, "0.333333333"),
        (1.00000012, "1.00000012"),
        (2.0**53 - 1, "9007199254740991"),
        (2.0**53, "9.00719925e+15"),
        (-(2.0**53), "-9.00719925e+15"),
        (np.inf, "inf"),
        (np.nan, "nan"),
    ],
)
def test_figures_of_a_mismatch(value: float, text: str) -> None:
    assert str(Mismatch(0, 0, value, 1.0, 0.0, 1, 1)) == (
        f"the only element is wrong, first C[0][0] = {text} where 1 is right"
    )


def test_the_largest_error_over_its_bound() -> None:
    """Errors of 0.25 and 0.75 of bounds 0.5 and 1: no element is wrong, the second is nearer."""
    exact = np.array([[1.0, 2.0]])
    found = np.array([[1.25, 1.25]])
    assert compare(found, exact, np.array([[0.5, 1.0]]), np.arange(1)) == (0.75, None)
    # An error as large as its bound is within it.
    at_bound = compare(found, exact, np.array([[0.25, 0.75]]), np.arange(1))
    assert at_bound == (1.0, None)
    # An exact one has no room at all; where all are exact the largest share of it is 0.
    with np.errstate(all="raise"):
        assert compare(found, exact, None, np.arange(1)).error_of_bound == np.inf
        assert compare(exact, exact, None, np.arange(1)) == (0.0, None)
    one_wrong = compare(np.array([[1.0, 3.0]]), exact, np.array([[0.0, 0.5]]), np.array([4]))
    assert one_wrong.error_of_bound == 2.0
    assert str(one_wrong.mismatch) == (
        "1 of 2 elements is wrong, first C[4][1] = 3 where 2 ± 0.5 is right"
    )
