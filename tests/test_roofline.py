"""Placements counted by hand, and what holds for all of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import InputError
from topout.roofline import attainable_flops_per_s, place, ridge_point

# An A100: 312 TFLOP/s in fp16 and 1555 GB/s, so the ridge is at 312000 / 1555 = 200.6 FLOP/byte.
A100_FLOPS, A100_BYTES = 312e12, 1555e9

rates = st.floats(min_value=1e3, max_value=1e18)
intensities = st.floats(min_value=1e-6, max_value=1e6)


def test_the_ridge_of_an_a100_is_at_200_flops_per_byte() -> None:
    assert ridge_point(A100_FLOPS, A100_BYTES) == pytest.approx(200.6, abs=0.05)


def test_a_square_matmul_turns_compute_bound_past_3328() -> None:
    # 2n³ FLOPs over 32n² bytes is n/16 FLOP/byte; 3328 / 16 = 208 = 312e12 / 1.5e12.
    assert ridge_point(312e12, 1.5e12) * 16 == 3328
    assert place(3327 / 16, 1e14, 312e12, 1.5e12).bound == "memory"
    assert place(3329 / 16, 1e14, 312e12, 1.5e12).bound == "compute"


def test_axpy_reaches_its_bandwidth_and_no_more() -> None:
    # y ← a·x + y in doubles: 2 FLOPs over 24 bytes; 1555 GB/s / 12 = 129.6 GFLOP/s.
    assert attainable_flops_per_s(2 / 24, A100_FLOPS, A100_BYTES) == pytest.approx(
        129.58e9, rel=1e-3
    )


@pytest.mark.parametrize(
    ("intensity", "achieved", "region"),
    [
        (1.0, 60.0, "memory-bound"),  # attainable 100
        (1.0, 49.9, "poor"),
        (1.0, 101.0, "above the bandwidth roof"),
        (100.0, 600.0, "compute-bound"),  # attainable 1000
        (100.0, 499.0, "poor"),
        (100.0, 1001.0, "above the compute roof"),
        (10.0, 1000.0, "compute-bound"),  # on the ridge, reached exactly
        (1.0, 2000.0, "above the bandwidth roof"),  # above both: the one that binds is named
    ],
)
def test_regions(intensity: float, achieved: float, region: str) -> None:
    assert place(intensity, achieved, 1000.0, 100.0).region == region


def test_a_point_within_the_tolerance_is_on_the_roof() -> None:
    assert place(1.0, 104.0, 1000.0, 100.0, tolerance=0.05).region == "memory-bound"
    assert place(1.0, 106.0, 1000.0, 100.0, tolerance=0.05).region == "above the bandwidth roof"


def test_a_placement_carries_its_figures() -> None:
    placed = place(1.0, 60.0, 1000.0, 100.0)
    assert placed.attainable_flops_per_s == 100.0
    assert placed.attained_share == 0.6
    assert placed.bound == "memory"


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_a_ceiling_must_be_positive_and_finite(bad: float) -> None:
    with pytest.raises(InputError, match="ceiling"):
        attainable_flops_per_s(1.0, bad, 1.0)
    with pytest.raises(InputError, match="ceiling"):
        ridge_point(1.0, bad)


def test_the_ceiling_that_is_wrong_is_named() -> None:
    for fails in (ridge_point, lambda *both: attainable_flops_per_s(1.0, *both)):
        with pytest.raises(InputError, match=r"the compute ceiling 0\.0 is not"):
            fails(0.0, 5.0)
        with pytest.raises(InputError, match=r"the bandwidth ceiling -2\.0 is not"):
            fails(5.0, -2.0)


def test_work_without_flops_attains_nothing() -> None:
    assert attainable_flops_per_s(0.0, 1000.0, 100.0) == 0.0


def test_the_edges_of_regions() -> None:
    # Under the slope 100 is attainable at 1 FLOP/byte, half of it is not poor, all of it not above.
    assert place(1.0, 50.0, 1000.0, 100.0).region == "memory-bound"
    assert place(1.0, 100.0, 1000.0, 100.0).region == "memory-bound"
    # At the ridge, 10 FLOP/byte, the compute roof binds; 25 % above 1000 are within 0.25.
    on_ridge = place(10.0, 1250.0, 1000.0, 100.0, tolerance=0.25)
    assert (on_ridge.bound, on_ridge.region) == ("compute", "compute-bound")
    assert on_ridge.arithmetic_intensity == 10.0
    assert on_ridge.achieved_flops_per_s == 1250.0
    assert on_ridge.attained_share == 1.25
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(InputError, match="achieved rate"):
            place(1.0, bad, 1.0, 1.0)
        with pytest.raises(InputError, match="must be above 0 FLOP/byte"):
            place(bad, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("bad", [-1.0, math.nan])
def test_an_intensity_is_not_negative(bad: float) -> None:
    with pytest.raises(InputError, match="arithmetic intensity"):
        attainable_flops_per_s(bad, 1.0, 1.0)


def test_work_without_flops_or_without_time_has_no_place() -> None:
    with pytest.raises(InputError, match="bandwidth alone"):
        place(0.0, 1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="achieved rate"):
        place(1.0, math.inf, 1.0, 1.0)


@given(intensities, rates, rates)
def test_the_roof_is_the_lower_of_both(intensity: float, flops: float, bandwidth: float) -> None:
    roof = attainable_flops_per_s(intensity, flops, bandwidth)
    assert roof <= flops
    assert roof <= intensity * bandwidth
    assert roof in (flops, intensity * bandwidth)


@given(intensities, rates, rates, st.floats(min_value=1e-3, max_value=10))
def test_poor_is_under_half_of_both_roofs(
    intensity: float, flops: float, bandwidth: float, share: float
) -> None:
    achieved = share * attainable_flops_per_s(intensity, flops, bandwidth)
    under_half_of_both = achieved < flops / 2 and achieved < intensity * bandwidth / 2
    region = place(intensity, achieved, flops, bandwidth).region
    if abs(share - 0.5) > 1e-9:  # at the border rounding decides
        assert (region == "poor") == under_half_of_both


@given(intensities, rates, rates)
def test_the_bound_changes_at_the_ridge(intensity: float, flops: float, bandwidth: float) -> None:
    placed = place(intensity, 1.0, flops, bandwidth)
    assert (placed.bound == "memory") == (intensity < ridge_point(flops, bandwidth))
