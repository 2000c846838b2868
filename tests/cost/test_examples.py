"""The worked examples against sums done by hand."""

import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.cost.examples import crossover, example, unit_of
from topout.errors import InputError, UnknownNameError
from topout.records import Example, ExampleName, ExampleReport, decode, encode

EXAMPLE_NAMES: tuple[ExampleName, ...] = get_args(ExampleName)


def intensities(counted: Example) -> dict[str, float]:
    return {each.name: each.arithmetic_intensity for each in counted.traffic}


def test_axpy_does_two_flops_for_24_bytes() -> None:
    counted = example("axpy", 1000)
    assert counted.flops == 2000  # 1000 multiplications, 1000 additions
    assert counted.traffic[0].bytes == 24_000  # x and y read, y written: 3 · 8 · 1000
    assert counted.traffic[0].read_bytes == 16_000
    assert counted.working_set_bytes == 16_000
    assert intensities(counted) == {"one pass": 2 / 24}
    assert f"{2 / 24:.3f}" == "0.083"


def test_the_stencil_does_seven_flops_for_64_bytes_without_a_cache_and_16_with_one() -> None:
    counted = example("stencil", 10)
    assert counted.flops == 7 * 1000  # 6 additions and 1 multiplication a point
    assert intensities(counted) == {
        "no cache": 7 / 64,  # 7 loads + 1 store
        "stores read first": 7 / 24,  # 1 load + 1 store + the line stored to
        "perfect cache": 0.4375,  # 7 / 16
    }
    assert [f"{value:.2f}" for value in intensities(counted).values()] == ["0.11", "0.29", "0.44"]
    assert [each.read_bytes for each in counted.traffic] == [56_000, 16_000, 8_000]
    assert counted.working_set_bytes == 2 * 12**3 * 8  # with a border on each side


@pytest.mark.parametrize("n", [16, 100, 3328])
def test_the_matmul_has_n_sixteenths_flops_per_byte(n: int) -> None:
    counted = example("matmul", n)
    assert counted.flops == 2 * n**3
    # A, B, C read, C written
    assert counted.traffic[0].bytes == 4 * n**2 * 8
    assert counted.traffic[0].read_bytes == 3 * n**2 * 8
    assert counted.traffic[0].arithmetic_intensity == n / 16


def test_the_matmul_turns_compute_bound_at_16_times_the_ridge_point() -> None:
    assert crossover(312e12, 1.5e12) == 3328  # 16 · 312/1.5 = 16 · 208
    assert round(crossover(312e12, 1555e9)) == 3210  # 16 · 312000/1555 = 16 · 200.64
    assert crossover(312e12, 1.5e12, element_bytes=2) == 832  # n/4 FLOP/byte in 16 bits


@given(st.sampled_from(EXAMPLE_NAMES), st.integers(1, 5000))
def test_intensities_are_flops_over_bytes(name: str, n: int) -> None:
    counted = example(name, n)
    for each in counted.traffic:
        assert math.isclose(each.arithmetic_intensity * each.bytes, counted.flops)
        assert 0 < each.read_bytes < each.bytes
    assert counted.counted in intensities(counted)


@given(st.floats(1e9, 1e16), st.floats(1e9, 1e13))
def test_at_the_crossover_the_intensity_is_the_ridge_point(flops: float, bytes_: float) -> None:
    assert math.isclose(crossover(flops, bytes_) / 16, flops / bytes_)


def test_every_example_says_what_a_store_costs() -> None:
    for name in EXAMPLE_NAMES:
        assert any("write-allocate" in note for note in example(name).notes)


def test_unknown_names_and_sizes_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"axpi.*axpy"):
        example("axpi")
    for n in (0, -1, 1 << 60):
        with pytest.raises(InputError, match=f"--n {n}"):
            example("axpy", n)


def test_only_the_matmul_runs_on_matrix_units() -> None:
    assert [unit_of(name) for name in EXAMPLE_NAMES] == ["vector", "vector", None]


def test_an_example_survives_its_json() -> None:
    report = ExampleReport(topout_version="0", created_at="now", example=example("stencil"))
    assert decode(encode(report), ExampleReport) == report
