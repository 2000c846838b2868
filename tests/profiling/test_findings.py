"""What is doubted in a profile: time that it does not explain, and a profiler that costs."""

import pytest
from msgspec.structs import replace

from tests.report.profile.example_profile import example_phase, example_profile
from topout.profiling.findings import profile_doubts
from topout.records import PairedRatio


@pytest.mark.parametrize(("wall_s", "words"), [(0.0102, ""), (0.0103, "2.9 % of its time")])
def test_time_outside_operators_and_gaps_is_doubted_above_two_percent(
    wall_s: float, words: str
) -> None:
    """8 ms of operators and 2 ms of gaps: 0.3 of 10.3 ms are 2.9 %, 0.2 of 10.2 ms 1.96 %."""
    phase = replace(example_phase(), wall_s=wall_s, slowdown=None)
    assert phase.unaccounted_share == pytest.approx(1 - 0.01 / wall_s)
    doubts = profile_doubts(example_profile(phases=[phase]))
    assert [doubt.about for doubt in doubts] == (["decode"] if words else [])
    assert all(words in doubt.sentence for doubt in doubts)


def test_more_operators_than_the_clock_has_time_for_are_doubted_as_well() -> None:
    phase = replace(example_phase(), wall_s=0.008, slowdown=None)
    assert phase.unaccounted_share == pytest.approx(0.25)
    assert len(profile_doubts(example_profile(phases=[phase]))) == 1


@pytest.mark.parametrize(("median", "count"), [(1.25, 0), (1.26, 1)])
def test_a_profiler_that_costs_a_quarter_is_doubted(median: float, count: int) -> None:
    slowdown = PairedRatio(median=median, low=1.2, high=1.3, pairs=[median])
    phase = replace(example_phase(), slowdown=slowdown)
    assert len(profile_doubts(example_profile(phases=[phase]))) == count
