"""Medians, intervals and ratios, against values computed by hand."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topout.measure import stats
from topout.measure.process import ProcessorTime
from topout.measure.speed_test import SpeedTest
from topout.measure.stats import (
    CONFIDENCE,
    chained,
    drift_doubt,
    estimate,
    inverse,
    load_doubts,
    relative_spread,
    sample_doubts,
)
from topout.records import Estimate, RunSample

times = st.floats(min_value=1e-6, max_value=1e4)
samples = st.lists(times, min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("values", "median"),
    [([3.0, 1.0, 2.0], 2.0), ([4.0, 1.0, 2.0, 100.0], 3.0), ([7.0], 7.0), ([5.0, 5.0], 5.0)],
)
def test_the_median_is_the_middle_value(values: list[float], median: float) -> None:
    assert estimate(values).median == median


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [
        (1, 1.0, 1.0),
        # The median of 5 draws from 5 values is the least when 3 or more draws hit it:
        # Σ_{i≥3} C(5,i)·0.2^i·0.8^(5−i) = 0.0512 + 0.0064 + 0.0003 = 5.8 % > 2.5 %.
        (5, 1.0, 5.0),
        # 4 or more of 7 draws hit the least: 35·(1/7)⁴·(6/7)³ + 21·(1/7)⁵·(6/7)² + … = 1.0 %,
        # under 2.5 %; the least two: 35·(2/7)⁴·(5/7)³ + 21·(2/7)⁵·(5/7)² + … = 10.8 %, over it.
        (7, 2.0, 6.0),
    ],
)
def test_the_interval_is_the_bootstraps(count: int, low: float, high: float) -> None:
    found = estimate([float(value) for value in range(1, count + 1)])
    assert (found.low, found.high) == (low, high)


@pytest.mark.parametrize("count", range(2, 31))
def test_the_interval_by_its_slow_definition(count: int) -> None:
    """1000 resamples and their mirror images, the median of each by sorting it."""
    values = [float(rank**2 + 1) for rank in range(count)]
    generator = np.random.default_rng(20_241)
    medians = []
    for draws in generator.integers(0, count, size=(1000, count)).tolist():
        for ranks in (draws, [count - 1 - rank for rank in draws]):
            medians.append(statistics.median(values[rank] for rank in ranks))
    medians.sort()

    def quantile(share: float) -> float:
        """Between the two nearest of the 2000 in order."""
        below, rest = divmod(share * (len(medians) - 1), 1)
        low, high = medians[int(below)], medians[int(below) + 1]
        return low + rest * (high - low)

    found = estimate(values[::-1])
    assert found.median == statistics.median(values)
    assert found.low == pytest.approx(quantile(0.025), rel=1e-12)
    assert found.high == pytest.approx(quantile(0.975), rel=1e-12)


@given(samples)
def test_the_interval_holds_the_median_and_lies_among_the_samples(values: list[float]) -> None:
    found = estimate(values)
    assert min(values) <= found.low <= found.median <= found.high <= max(values)


@given(samples, st.floats(min_value=1e-3, max_value=1e3))
def test_another_unit_changes_nothing_else(values: list[float], factor: float) -> None:
    plain, scaled = estimate(values), estimate([factor * value for value in values])
    assert scaled.median == pytest.approx(factor * plain.median)
    assert scaled.low == pytest.approx(factor * plain.low)
    assert scaled.high == pytest.approx(factor * plain.high)


@given(samples.flatmap(lambda values: st.tuples(st.just(values), st.permutations(values))))
def test_the_order_of_samples_does_not_matter(pair: tuple[list[float], list[float]]) -> None:
    assert estimate(pair[0]) == estimate(pair[1])


@pytest.mark.parametrize("distribution", ["normal", "lognormal", "outliers"])
def test_the_interval_covers_the_truth_as_often_as_it_says(distribution: str) -> None:
    generator = np.random.default_rng(7)
    draws = generator.standard_normal((800, 12))
    if distribution == "lognormal":
        draws = np.exp(draws)
    if distribution == "outliers":
        spikes = generator.choice([-10.0, 10.0], draws.shape)
        draws = draws + spikes * (generator.random(draws.shape) < 0.1)
    truth = {"normal": 0.0, "lognormal": 1.0, "outliers": 0.0}[distribution]
    intervals = [estimate(row.tolist()) for row in draws]
    covered = np.mean([each.low <= truth <= each.high for each in intervals])
    assert CONFIDENCE - 0.04 <= covered <= CONFIDENCE + 0.04


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.inf], [1.0, -math.inf, 2.0]])
def test_what_is_no_sample_is_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="an estimate needs"):
        estimate(values)
    with pytest.raises(ValueError, match="an estimate needs"):
        relative_spread(values)


def test_seconds_per_token_become_tokens_per_second() -> None:
    found = inverse(Estimate(median=0.5, low=0.25, high=1.0), 3.0)
    assert found == Estimate(median=6.0, low=3.0, high=12.0)


@given(st.lists(times, min_size=3, max_size=3))
def test_the_inverse_of_the_inverse_is_the_figure(bounds: list[float]) -> None:
    low, median, high = sorted(bounds)
    twice = inverse(inverse(Estimate(median=median, low=low, high=high)))
    assert twice.median == pytest.approx(median)
    assert (twice.low, twice.high) == (pytest.approx(low), pytest.approx(high))


def test_chained_ratios_multiply_and_their_spreads_add_in_quadrature() -> None:
    first = Estimate(median=2.0, low=2 * math.exp(-0.3), high=2 * math.exp(0.05))
    second = Estimate(median=3.0, low=3 * math.exp(-0.4), high=3 * math.exp(0.12))
    product = chained(first, second)
    assert product.median == pytest.approx(6.0)
    assert product.low == pytest.approx(6 * math.exp(-0.5))  # 0.3² + 0.4² = 0.5²
    assert product.high == pytest.approx(6 * math.exp(0.13))  # 0.05² + 0.12² = 0.13²


def test_chaining_with_certainty_changes_nothing() -> None:
    ratio = SpeedTest().ratio([2.0, 2.2, 2.4], [1.0, 1.0, 1.0])
    product = chained(Estimate(median=1.0, low=1.0, high=1.0), ratio)
    assert product.median == pytest.approx(ratio.median)
    assert (product.low, product.high) == (pytest.approx(ratio.low), pytest.approx(ratio.high))


def test_relative_spread_is_between_the_quartiles() -> None:
    assert relative_spread([5.0, 1.0, 4.0, 2.0, 3.0]) == pytest.approx(2 / 3)  # (4 − 2) / 3
    assert relative_spread([2.0, 2.0, 2.0]) == 0.0
    assert relative_spread([0.0, 0.0, 1.0]) == math.inf


def samples_of(*totals_s: float, stolen: float | None = None) -> list[RunSample]:
    return [
        RunSample(
            ttft_s=0.1,
            total_s=total_s,
            new_tokens=8,
            forward_passes=7,
            at_s=0.0,
            stolen_share=stolen,
        )
        for total_s in totals_s
    ]


def sentences(samples: list[RunSample]) -> str:
    return "; ".join(doubt.sentence for doubt in sample_doubts("compile", samples))


def test_steady_samples_raise_no_doubt() -> None:
    assert sample_doubts("compile", samples_of(1.0, 1.02, 0.99, 1.01, stolen=0.001)) == []


def test_no_samples_raise_no_doubt() -> None:
    assert sample_doubts("compile", []) == []


def test_few_samples() -> None:
    (doubt,) = sample_doubts("compile", samples_of(1.0, 1.0))
    assert doubt.about == "compile"
    assert "Only 2 run(s) were timed" in doubt.sentence
    assert "--time-per-rung" in doubt.remedy


def test_scattered_samples() -> None:
    # Quartiles of 1.0, 1.2, 1.4 are 1.1 and 1.3: 0.2 of the median 1.2 is 17 %.
    assert "17%" in sentences(samples_of(1.0, 1.2, 1.4))
    assert sentences(samples_of(1.1, 1.2, 1.3)) == ""  # 8 %


def test_stolen_time() -> None:
    assert "up to 5%" in sentences(samples_of(1.0, 1.0, 1.0, stolen=0.05))
    assert sentences(samples_of(1.0, 1.0, 1.0, stolen=0.01)) == ""
    assert sentences(samples_of(1.0, 1.0, 1.0, stolen=None)) == ""


def test_what_just_passes() -> None:
    # Quartiles of 0.85, 1, 1.15 are 0.925 and 1.075: 15 % apart, and 2 % was stolen.
    assert sample_doubts("compile", samples_of(0.85, 1.0, 1.15, stolen=0.02)) == []
    assert len(sample_doubts("compile", samples_of(0.84, 1.0, 1.16, stolen=0.021))) == 2
    assert drift_doubt([14e9, 10e9]) is not None
    assert drift_doubt([13.9e9, 10e9]) is None
    assert drift_doubt([20e9]) is None


def test_whole_doubts() -> None:
    wide, stolen = sample_doubts("compile", samples_of(1.0, 1.2, 1.4, stolen=0.05))
    assert (wide.about, stolen.about) == ("compile", "compile")
    assert wide.sentence == "Single runs lie 17% apart (quartiles)."
    assert "quieter machine" in wide.remedy
    assert stolen.sentence == "The hypervisor took up to 5% of the CPU time from a run."
    assert "ratios" in stolen.remedy
    # The largest share counts, and runs of which none is known do not.
    mixed = [*samples_of(1.0, stolen=0.01), *samples_of(1.0, stolen=0.3), *samples_of(1.0)]
    assert [doubt.sentence for doubt in sample_doubts("compile", mixed)] == [
        "The hypervisor took up to 30% of the CPU time from a run."
    ]


def test_drifting_bandwidth() -> None:
    doubt = drift_doubt([54e9, 27e9, 40e9])
    assert doubt is not None and doubt.about == "machine"
    assert "27.0 and 54.0 GB/s" in doubt.sentence


@pytest.mark.parametrize("probes", [[], [50e9], [50e9, 40e9, 45e9]])
def test_a_steady_or_unprobed_bandwidth_raises_no_doubt(probes: list[float]) -> None:
    assert drift_doubt(probes) is None


def doubts_under(monkeypatch: pytest.MonkeyPatch, busy_ticks: int, swapped: float) -> list[str]:
    readings = iter(
        [
            ProcessorTime(total=0, idle=0, steal=0),
            ProcessorTime(total=100, idle=100 - busy_ticks, steal=0),
        ]
    )
    monkeypatch.setattr(stats, "processor_time", lambda: next(readings))
    monkeypatch.setattr(stats, "_swap_in_use_share", lambda: swapped)
    return [doubt.sentence for doubt in load_doubts(pause_s=0.0)]


def test_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doubts_under(monkeypatch, 40, 0.0) == ["Other programs use 40% of the processors."]


def test_swap(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doubts_under(monkeypatch, 0, 0.5) == ["50% of the swap space is in use."]


def test_a_quiet_machine_raises_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doubts_under(monkeypatch, 10, 0.05) == []
    assert doubts_under(monkeypatch, 14, 0.1) == []
    assert len(doubts_under(monkeypatch, 16, 0.11)) == 2


def test_a_machine_without_proc_stat_raises_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "processor_time", lambda: None)
    monkeypatch.setattr(stats, "_swap_in_use_share", lambda: 0.0)
    assert load_doubts(pause_s=0.0) == []


def test_the_real_swap_is_a_share() -> None:
    assert 0.0 <= stats._swap_in_use_share() <= 1.0
