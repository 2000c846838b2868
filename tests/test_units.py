"""Figures as people read them: golden strings, and that nothing but rounding is lost."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout import units

PREFIXES = {"P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "": 1.0}
BINARY = {"TiB": 2**40, "GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}
TIMES = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.35e11, "235 GFLOP/s"),
        (9.996e11, "1.00 TFLOP/s"),
        (999.4e9, "999 GFLOP/s"),
        (1e12, "1.00 TFLOP/s"),
        (0.0, "0 FLOP/s"),
        (-5e9, "-5.00 GFLOP/s"),
        (None, "–"),
    ],
)
def test_flops_per_s(value: float | None, text: str) -> None:
    assert units.flops_per_s(value) == text


def test_bandwidth_is_decimal_and_memory_is_binary() -> None:
    assert units.bytes_per_s(2**30) == "1.07 GB/s"
    assert units.memory(2**30) == "1.00 GiB"
    assert units.memory(1e9) == "954 MiB"
    assert units.memory(1023) == "1023 B"
    assert units.memory(None) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00123, "1.23 ms"),
        (59.94, "59.9 s"),
        (60, "1 min 0 s"),
        (214, "3 min 34 s"),
        (1.9e-6, "1.90 µs"),
        (3e-10, "0.300 ns"),
        (0, "0 s"),
        (None, "–"),
    ],
)
def test_seconds(value: float | None, text: str) -> None:
    assert units.seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1234"), (0.5, "0.500"), (9.996, "10.0"), (math.inf, "inf")]
)
def test_significant(value: float, text: str) -> None:
    assert units.significant(value, 4 if value > 1000 else 3) == text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0, 3, "0"),
        (-0.00996, 2, "-0.010"),
        (0.000999, 2, "0.0010"),
        (1234.5, 2, "1200"),
        (9996.0, 3, "10000"),
        (99.96, 3, "100"),
        (1.0, 1, "1"),
        (-math.inf, 3, "-inf"),
    ],
)
def test_significant_digits_by_hand(value: float, digits: int, text: str) -> None:
    assert units.significant(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (999.4, "999 B/s"),
        (999.6, "1.00 kB/s"),
        (1e3, "1.00 kB/s"),
        (999_499.0, "999 kB/s"),
        (999_501.0, "1.00 MB/s"),
        (1e15, "1.00 PB/s"),
        (5e18, "5000 PB/s"),
        (0.25, "0.250 B/s"),
        (-2e6, "-2.00 MB/s"),
    ],
)
def test_where_prefixes_begin(value: float, text: str) -> None:
    assert units.bytes_per_s(value) == text


def test_digits_of_a_prefixed_figure() -> None:
    assert units.si(123_456.0, "W", 4) == "123.5 kW"
    assert units.si(999_960.0, "W", 4) == "1.000 MW"
    assert units.si(5.0, "") == "5.00"
    assert units.si(0.0, "") == "0"
    assert units.si(None, "W") == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (1024, "1.00 KiB"),
        (1.5 * 2**20, "1.50 MiB"),
        (2.0**40, "1.00 TiB"),
        (2.0**50, "1020 TiB"),
        (-(2**30), "-1.00 GiB"),
        (0.4, "0 B"),
    ],
)
def test_memory_by_hand(value: float, text: str) -> None:
    assert units.memory(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (59.999, "60.0 s"),
        (-90, "-1 min 30 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (3600.4, "1 h 0 min"),
        (122_400, "34 h 0 min"),
        (-5_430, "-1 h 30 min"),
        (172_799, "48 h 0 min"),
        (172_800, "2 days 0 h"),
        (7 * 86_400 + 7_300, "7 days 2 h"),
        (1.75e9, "55.5 years"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (9.996e-4, "1.00 ms"),
        (1e-9, "1.00 ns"),
        (9.99e-10, "0.999 ns"),
        (-0.5, "-500 ms"),
    ],
)
def test_where_units_of_time_begin(value: float, text: str) -> None:
    assert units.seconds(value) == text


def test_counts_ratios_and_speedups() -> None:
    assert units.count(124_439_808) == "124 M"
    assert [units.count(number) for number in (0, 30, 999, 30.0)] == ["0", "30", "999", "30"]
    assert units.percent(0.534) == "53 %"
    assert units.percent(0.0123, 1) == "1.2 %"
    assert units.times(3.14159) == "3.14×"
    assert units.percent(None) == units.times(None) == units.count(None) == units.ABSENT


@given(st.floats(min_value=1e-3, max_value=9e17))
def test_a_rate_parses_back_within_rounding(value: float) -> None:
    number, prefixed = units.flops_per_s(value).split(" ")
    assert prefixed.endswith("FLOP/s")
    back = float(number) * PREFIXES[prefixed.removesuffix("FLOP/s")]
    assert back == pytest.approx(value, rel=0.0051)


@given(st.floats(min_value=1e3, max_value=9.9e17))
def test_a_prefixed_number_has_three_digits(value: float) -> None:
    number = units.bytes_per_s(value).split(" ")[0]
    assert len(number.replace(".", "")) == 3


@given(st.integers(min_value=0, max_value=2**49))
def test_memory_parses_back_within_rounding(value: int) -> None:
    number, unit = units.memory(value).split(" ")
    assert float(number) * BINARY[unit] == pytest.approx(value, rel=0.0051)


@given(st.floats(min_value=1e-9, max_value=59.9))
def test_a_duration_parses_back_within_rounding(value: float) -> None:
    number, unit = units.seconds(value).split(" ")
    assert float(number) * TIMES[unit] == pytest.approx(value, rel=0.0051)


@given(st.floats(min_value=60, max_value=3e7))
def test_a_long_duration_parses_back_to_the_smaller_of_its_two_units(value: float) -> None:
    whole, unit, rest, smaller = units.seconds(value).split(" ")
    lengths = {"days": 86_400, "h": 3600, "min": 60, "s": 1}
    assert 0 <= int(rest) * lengths[smaller] < lengths[unit] or value >= lengths[unit] * 60 - 30
    back = int(whole) * lengths[unit] + int(rest) * lengths[smaller]
    assert back == pytest.approx(value, abs=lengths[smaller] / 2)


@given(st.floats(min_value=1e-6, max_value=1e12))
def test_significant_is_within_half_a_digit(value: float) -> None:
    assert float(units.significant(value)) == pytest.approx(value, rel=0.0051)


def test_things_are_counted_in_words() -> None:
    counted = [units.counted(number, "thread") for number in (0, 1, 2)]
    assert counted == ["0 threads", "1 thread", "2 threads"]


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (7_241_732_096, "7.24 B"),
        (999_600_000, "1.00 B"),
        (124_439_808, "124 M"),
        (987_264, "987 k"),
        (1_760_000_000_000, "1.76 T"),
        (512, "512"),
        (None, "–"),
    ],
)
def test_parameters_are_counted_in_billions_as_models_are_named(
    number: int | None, shown: str
) -> None:
    assert units.parameters(number) == shown


def test_a_small_count_is_exact() -> None:
    assert [units.count(number) for number in (0, 1, 66, 999, 1000, 0.5)] == [
        *("0", "1", "66", "999", "1.00 k", "0.500"),
    ]
