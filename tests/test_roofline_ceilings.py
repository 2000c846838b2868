"""Interpolation of measured ceilings, against values computed by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from topout.errors import InputError
from topout.records import BandwidthCeiling, Ceilings, ComputeCeiling, Doubt, Dtype
from topout.roofline import (
    Exceeded,
    bandwidth_at,
    ceilings_at,
    compute_at,
    exceeded_doubts,
    is_above,
    level_ceiling,
    level_holding,
    share_of,
    stand_in_doubts,
)


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
    assert compute_at(CEILINGS, "bf16", 8) == 900.0
    assert compute_at(CEILINGS, "bf16", 3) is None  # 4 threads reach more than 3 can
    assert compute_at(CEILINGS, "int8", 1) is None


def rate_of(level: str, threads: int | None = None) -> float | None:
    found = level_ceiling(CEILINGS, level, threads)
    return None if found is None else found.bytes_per_s


def test_levels() -> None:
    assert rate_of("L2", 4) == 400.0
    assert rate_of("DRAM", 4) == 40.0  # of the largest set, not the best
    assert rate_of("L3", 4) is None
    assert rate_of("L2", 3) is None  # the curve of 1 thread has no L2
    assert rate_of("DRAM", 3) == 10.0  # of 1 thread, the better page size
    assert rate_of("DRAM") == 40.0  # of the most threads that were measured


def counts(found: Ceilings) -> tuple[set[tuple[str, int]], set[int]]:
    return {(c.dtype, c.threads) for c in found.compute}, {b.threads for b in found.bandwidth}


def test_ceilings_of_a_thread_count_are_its_own_or_of_the_largest_below() -> None:
    assert counts(ceilings_at(CEILINGS, 4)) == ({("fp32", 4), ("bf16", 4)}, {4})
    assert counts(ceilings_at(CEILINGS, 64)) == ({("fp32", 4), ("bf16", 4)}, {4})
    assert counts(ceilings_at(CEILINGS, 3)) == ({("fp32", 1)}, {1})  # bf16 has none below
    assert counts(ceilings_at(CEILINGS)) == ({("fp32", 4), ("bf16", 4)}, {4})
    # In the order in which they were measured.
    assert [each.dtype for each in ceilings_at(CEILINGS, 4).compute] == ["fp32", "bf16", "bf16"]


def test_ceilings_of_more_threads_never_stand_in() -> None:
    import msgspec

    of_four = msgspec.structs.replace(
        CEILINGS,
        compute=[each for each in CEILINGS.compute if each.threads == 4],
        bandwidth=[each for each in CEILINGS.bandwidth if each.threads == 4],
    )
    assert counts(ceilings_at(of_four, 3)) == (set(), set())
    assert compute_at(of_four, "fp32", 3) is None
    assert level_ceiling(of_four, "DRAM", 3) is None
    with pytest.raises(InputError, match="no bandwidth of 3 threads or fewer"):
        bandwidth_at(of_four, 10**8, 3)
    assert [doubt.sentence for doubt in stand_in_doubts(of_four, 3)] == [
        "No ceiling of 3 threads or fewer was measured."
    ]


@pytest.mark.parametrize(("threads", "those"), [(2, "1 thread"), (6, "4 threads")])
def test_what_stands_in_is_told(threads: int, those: str) -> None:
    doubt = Doubt(
        about="ceilings",
        sentence=f"The ceilings are those of {those}: {threads} were not measured.",
        remedy="Run on a power of two of threads, or on all of them: their ceilings are measured.",
    )
    assert stand_in_doubts(CEILINGS, threads) == [doubt]


def test_nothing_stands_in_for_what_was_measured() -> None:
    assert stand_in_doubts(CEILINGS, 1) == stand_in_doubts(CEILINGS, 4) == []
    # Arithmetic of one thread alone, bandwidth of four alone.
    mixed = replace(CEILINGS, compute=CEILINGS.compute[:1], bandwidth=CEILINGS.bandwidth[-1:])
    assert stand_in_doubts(mixed, 1) == stand_in_doubts(mixed, 4) == []


def test_a_set_of_one_byte_is_the_smallest() -> None:
    points = [bandwidth("L1", 1, 1, 16.0), bandwidth("L1", 1, 4, 4.0)]
    tiny = replace(CEILINGS, bandwidth=points)
    # Below one byte the rate of one; halfway to four, in the logarithm, the mean of both rates'.
    assert [bandwidth_at(tiny, size, 1) for size in (0, 1)] == [16.0, 16.0]
    assert bandwidth_at(tiny, 2, 1) == pytest.approx(8.0)


def test_a_gpu_has_no_threads_that_others_could_stand_in_for() -> None:
    import msgspec

    assert stand_in_doubts(msgspec.structs.replace(CEILINGS, device="cuda"), 6) == []


@pytest.mark.parametrize(
    ("size", "within_an_op", "across_ops"),
    [(1, "L1", "L2"), (100, "L1", "L2"), (101, "L2", "L2"), (1000, "L2", "L2"), (1001, None, None)],
)
def test_the_nearest_level_that_holds_a_working_set(
    size: int, within_an_op: str | None, across_ops: str | None
) -> None:
    levels = [("L1", 100), ("victim", None), ("L2", 1000)]
    assert level_holding(levels, size, across_ops=False) == within_an_op
    # The next op hands its parts to other cores, so that no first-level cache holds them.
    assert level_holding(levels, size, across_ops=True) == across_ops


def test_nothing_measured_is_an_error() -> None:
    import msgspec

    empty = msgspec.structs.replace(CEILINGS, bandwidth=[])
    with pytest.raises(InputError, match="no bandwidth"):
        bandwidth_at(empty, 1, 1)


@given(st.floats(1, 1e12), st.integers(1, 256))
def test_the_curve_stays_between_its_extremes(size: float, threads: int) -> None:
    assert 8.0 <= bandwidth_at(CEILINGS, size, threads) <= 1000.0 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("share", "text", "above"),
    [
        (None, "–", False),
        (0.534, "53 %", False),
        (1.0, "100 %", False),
        (1.02, "102 %", False),  # two measurements scatter
        (1.0201, ">100 %", True),
        (2.01, ">100 %", True),
    ],
)
def test_a_share_above_its_ceiling_is_one_of_none(
    share: float | None, text: str, above: bool
) -> None:
    assert (share_of(share), is_above(share)) == (text, above)


def test_digits_of_a_share() -> None:
    assert share_of(0.0534, 1) == "5.3 %"
    assert share_of(1.5, 1) == ">100 %"


def test_a_ceiling_that_was_exceeded_is_doubted_with_both_figures() -> None:
    found = [
        Exceeded("decode of a", "bandwidth", 30e9, 1.25),
        Exceeded("decode of b", "bandwidth", 40e9, 2.0),
        Exceeded("decode of c", "bandwidth", 20e9, 1.01),
        Exceeded("prefill of a", "arithmetic", 3e12, 1.5),
    ]
    arithmetic, bandwidth = exceeded_doubts(found)
    assert arithmetic.sentence == (
        "Prefill of a reaches 3.00 TFLOP/s, above the arithmetic ceiling of 2.00 TFLOP/s: "
        "the ceiling was measured too low."
    )
    assert bandwidth.sentence == (
        "Decode of b reaches 40.0 GB/s, above the bandwidth ceiling of 20.0 GB/s, and 1 more "
        "above theirs: the ceiling was measured too low."
    )
    assert "--refresh" in bandwidth.remedy
    assert exceeded_doubts(found[2:3]) == exceeded_doubts([]) == []
