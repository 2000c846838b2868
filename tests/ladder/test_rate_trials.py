"""How long an action takes, on a clock that the test moves; and the rate that follows, by hand."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from tests.cost.test_predict import CEILINGS
from topout.ladder import rate_trials
from topout.ladder.rate_trials import rate_of, time_of

CPU = torch.device("cpu")


class Work:
    """An action that takes as long as it is told, on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, durations: Callable[[int], float]) -> None:
        self.calls = 0
        self._durations = durations
        self._now = 100.0
        monkeypatch.setattr(rate_trials, "time", SimpleNamespace(perf_counter=lambda: self._now))

    def __call__(self) -> None:
        self._now += self._durations(self.calls)
        self.calls += 1


def test_a_short_action_is_repeated_within_each_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch, lambda call: 0.01)
    assert time_of(work, CPU) == pytest.approx(0.01)
    assert work.calls == 2 + 3 * 6  # a warm-up, an estimate, three trials of 0.06 s


def test_a_long_action_runs_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch, lambda call: 0.5)
    assert time_of(work, CPU) == pytest.approx(0.5)
    assert work.calls == 2 + 2


def test_neither_the_warm_up_nor_a_disturbed_trial_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch, lambda call: {0: 9.0, 3: 0.7}.get(call, 0.01))
    assert time_of(work, CPU) == pytest.approx(0.01)


def test_an_action_that_takes_no_time_comes_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work(monkeypatch, lambda call: 0.0)
    assert time_of(work, CPU, trials=2) == 0.0
    assert work.calls == 2 + 2 * 10_000


def test_a_rate_by_hand() -> None:
    # Four matrices of 64 × 32 with 0.5625 bytes a weight, from 1e4 B/s, in twice the time.
    moved = 4 * 64 * 32 * 0.5625
    rate = rate_of("native_int4", (1, 64, 32), 4, 0.5625, 2 * moved / 1e4, CEILINGS, 1)
    assert rate.kernel == "native_int4"
    assert rate.working_set_bytes == moved
    assert rate.efficiency == pytest.approx(0.5)
    assert rate.flops_per_s == pytest.approx(2 * 4 * 64 * 32 / (2 * moved / 1e4))


def test_no_rate_is_above_the_roofline() -> None:
    rate = rate_of("native_fp32", (1, 64, 32), 4, 4.0, 1e-9, CEILINGS, 1)
    assert rate.efficiency == 1.0
