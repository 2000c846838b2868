"""How long runs are, and in which order two candidates take them; without any process."""

from types import SimpleNamespace
from typing import Any

import pytest

from topout.ladder.duel import Timing
from topout.measure.runner import StoppingRule
from topout.records import RunSample


class Runner:
    """A candidate that takes so long, and notes what it was asked for."""

    def __init__(self, label: str, total_s: float) -> None:
        self.label = label
        self.total_s = total_s
        self.asked: list[tuple[int, int]] = []

    def run(
        self, prompt: int, timed_tokens: int, at_s: float, bandwidth: float | None
    ) -> RunSample:
        self.asked.append((prompt, timed_tokens))
        return sample(self.total_s, at_s=at_s, ceiling_bytes_per_s=bandwidth)


def sample(total_s: float, **changes: Any) -> RunSample:
    known = {"ttft_s": 0.1, "new_tokens": 64, "timed_tokens": 64, "forward_passes": 63, "at_s": 0.0}
    return RunSample(total_s=total_s, **(known | changes))


def timing(new_tokens: int = 64) -> Timing:
    return Timing(new_tokens, lambda: 5.0)


@pytest.mark.parametrize(
    ("total_s", "new_tokens", "timed", "prompts"),
    [
        (0.99, 64, 64, 2),
        (1.0, 64, 64, 1),
        (2.49, 64, 64, 1),
        (2.5, 64, 16, 1),
        (2.5, 128, 32, 1),
        (2.5, 40, 16, 1),  # a quarter would be too few
        (2.5, 31, 31, 1),  # too few to time fewer
    ],
)
def test_runs_fit_the_baseline(total_s: float, new_tokens: int, timed: int, prompts: int) -> None:
    of = timing(new_tokens)
    doubt = of.fit_to(sample(total_s))
    assert (of.timed_tokens, of.prompts_per_run) == (timed, prompts)
    assert (doubt is not None) == (timed < new_tokens)
    if doubt is not None:
        assert f"the first {timed} of {new_tokens} new tokens" in doubt.sentence


def test_a_resumed_climb_times_as_the_earlier_one() -> None:
    of = timing()
    of.resume(sample(3.0, timed_tokens=16))
    assert (of.timed_tokens, of.prompts_per_run) == (16, 1)
    of = timing()
    of.resume(sample(0.5, timed_tokens=None))
    assert (of.timed_tokens, of.prompts_per_run) == (64, 2)


def test_a_run_takes_the_next_prompts_beside_the_bandwidth() -> None:
    of, runner = timing(), Runner("a", 0.5)
    of.fit_to(sample(0.5))
    of.probe = SimpleNamespace(read_bandwidth=lambda seconds: 2e10)  # type: ignore[assignment]
    found = of.run(runner, 3)  # type: ignore[arg-type]
    assert runner.asked == [(6, 64), (7, 64)]
    assert (found.at_s, found.ceiling_bytes_per_s) == (5.0, 2e10)
    assert of.bandwidths == [2e10]


def test_rivals_run_the_same_prompts_in_turns() -> None:
    of, fast, slow = timing(), Runner("fast", 1.0), Runner("slow", 2.0)
    told: list[int] = []
    duel = of.duel(
        fast,  # type: ignore[arg-type]
        slow,  # type: ignore[arg-type]
        StoppingRule(),
        lambda ratio: told.append(len(ratio.pairs)),
    )
    assert duel.ratio().median == 2.0
    assert fast.asked == slow.asked == [(0, 64), (1, 64), (2, 64)]
    assert told == [1, 2, 3]  # so clear a gain takes three pairs
