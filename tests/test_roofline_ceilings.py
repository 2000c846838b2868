"""Interpolation of measured ceilings, against values computed by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.errors import InputError
from topout.records import BandwidthCeiling, Ceilings, ComputeCeiling, Dtype
from topout.roofline import bandwidth_at, compute_at, level_bandwidth


def bandwidth(
    level: str, threads: int, size: int, rate: float, page: str = "huge"
) -> BandwidthCeiling:
    return BandwidthCeiling(
        level=level,
        threads=threads,
        page=page,
        working_set_bytes=size,
        bytes_per_s=rate,
        samples=[rate],
    )


def compute(dtype: Dtype, threads: int, rate: float, instruction: str = "fma") -> ComputeCeiling:
    return ComputeCeiling(
        dtype=dtype, threads=threads, instruction=instruction, flops_per_s=rate, samples=[rate]
    )


CEILINGS = Ceilings(
    host_key="k",
    device="cpu",
    measured_at="2026-01-01T00:00:00+00:00",
    elapsed_s=1.0,
    quick=False,
    compute=[
        compute("fp32", 1, 100.0),
        compute("fp32", 4, 350.0),
        compute("bf16", 4, 300.0),
        compute("bf16", 4, 900.0, "torch matmul"),
    ],
    bandwidth=[
        bandwidth("DRAM", 1, 10**8, 10.0),
        bandwidth("L1", 1, 10**4, 1000.0),
        bandwidth("DRAM", 1, 10**8, 8.0, "4 KiB"),
        bandwidth("DRAM", 4, 10**8, 30.0, "4 KiB"),
        bandwidth("DRAM", 4, 10**8, 40.0),
        bandwidth("DRAM", 4, 10**7, 90.0),
        bandwidth("L2", 4, 10**6, 200.0),
        bandwidth("L2", 4, 10**5, 400.0),
    ],
)


def test_measured_points_are_met_by_the_better_page_size() -> None:
    assert bandwidth_at(CEILINGS, 10**4, 1) == 1000.0
    assert bandwidth_at(CEILINGS, 10**8, 1) == pytest.approx(10.0)
    assert bandwidth_at(CEILINGS, 10**8, 4) == pytest.approx(40.0)


def test_between_points_the_curve_is_straight_on_log_log_axes() -> None:
    # Halfway in the logarithm from (1e4, 1000) to (1e8, 10): (1e6, 100).
    assert bandwidth_at(CEILINGS, 10**6, 1) == pytest.approx(100.0)
    # A quarter of the way: 1000 · 10^(−2/4).
    assert bandwidth_at(CEILINGS, 10**5, 1) == pytest.approx(1000.0 / math.sqrt(10))


@pytest.mark.parametrize(("size", "rate"), [(0, 1000.0), (1, 1000.0), (10**12, 10.0)])
def test_beyond_the_ends_the_nearest_point_holds(size: int, rate: float) -> None:
    assert bandwidth_at(CEILINGS, size, 1) == rate


@pytest.mark.parametrize(("threads", "rate"), [(1, 10.0), (3, 10.0), (4, 40.0), (64, 40.0)])
def test_the_next_lower_thread_count_stands_in(threads: int, rate: float) -> None:
    assert bandwidth_at(CEILINGS, 10**9, threads) == rate


def test_compute() -> None:
    assert compute_at(CEILINGS, "fp32", 1) == 100.0
    assert compute_at(CEILINGS, "fp32", 2) == 100.0
    assert compute_at(CEILINGS, "fp32", 8) == 350.0
    assert compute_at(CEILINGS, "bf16", 4) == 900.0
    assert compute_at(CEILINGS, "bf16", 1) == 900.0  # the lowest that was measured
    assert compute_at(CEILINGS, "int8", 1) is None


def test_levels() -> None:
    assert level_bandwidth(CEILINGS, "L2", 4) == 400.0
    assert level_bandwidth(CEILINGS, "DRAM", 4) == 40.0  # of the largest set, not the best
    assert level_bandwidth(CEILINGS, "L3", 4) is None
    assert level_bandwidth(CEILINGS, "DRAM", 2) is None


def test_nothing_measured_is_an_error() -> None:
    import msgspec

    empty = msgspec.structs.replace(CEILINGS, bandwidth=[])
    with pytest.raises(InputError, match="no bandwidth"):
        bandwidth_at(empty, 1, 1)


@given(st.floats(1, 1e12), st.integers(1, 256))
def test_the_curve_stays_between_its_extremes(size: float, threads: int) -> None:
    assert 8.0 <= bandwidth_at(CEILINGS, size, threads) <= 1000.0 * (1 + 1e-9)
