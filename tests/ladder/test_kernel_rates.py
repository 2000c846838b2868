"""Rates by hand, on clocks that the test moves."""

import itertools
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch

from tests.cost.test_predict import CEILINGS
from topout.cost.ops import ELEMENT_BYTES
from topout.ladder import kernel_rates
from topout.ladder.kernel_rates import (
    Bench,
    MatrixSet,
    attention_rate,
    elementwise_rate,
    library_rates,
    linear_rates,
    rate_of,
    time_of,
)
from topout.quantization.native_layers import NATIVE_FORMATS
from topout.records import Dtype, LinearRate, encode

CPU = torch.device("cpu")
BENCH = Bench(CPU, 1, CEILINGS)  # 1e6 FLOP/s in fp32, 4e6 in bf16, 1e4 B/s
FAST = msgspec.structs.replace(
    CEILINGS,
    compute=[msgspec.structs.replace(each, flops_per_s=1e15) for each in CEILINGS.compute],
    bandwidth=[msgspec.structs.replace(each, bytes_per_s=1e15) for each in CEILINGS.bandwidth],
)
ROWS = (1, 5, 256)


class Work:
    """An action that takes as long as it is told, on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, durations: Callable[[int], float]) -> None:
        self.calls = 0
        self._durations = durations
        self._now = 100.0
        monkeypatch.setattr(kernel_rates, "time", SimpleNamespace(perf_counter=lambda: self._now))

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
    took_s = 2 * moved / 1e4
    rate = rate_of("native_int4", (1, 64, 32), 4, 0.5625, lambda again: took_s, BENCH)
    assert rate.kernel == "native_int4"
    assert rate.working_set_bytes == moved
    assert rate.efficiency == pytest.approx(0.5)
    assert rate.flops_per_s == pytest.approx(2 * 4 * 64 * 32 / (2 * moved / 1e4))


def product(bench: Bench, *took_s: float) -> tuple[LinearRate, list[bool]]:
    """Of four fp32 matrices of 64 × 32, which need 3.2768 s at 1e4 B/s; and the measurements."""
    asked: list[bool] = []

    def measure(again: bool) -> float:
        asked.append(again)
        return took_s[len(asked) - 1]

    return rate_of("native_fp32", (5, 64, 32), 4, 4.0, measure, bench), asked


def test_what_seems_faster_than_the_ceilings_is_measured_again() -> None:
    bench = Bench(CPU, 1, CEILINGS)
    rate, asked = product(bench, -0.1, 6.5536)
    assert asked == [False, True]
    assert rate.efficiency == pytest.approx(0.5)
    assert bench.doubts() == []


def test_two_measurements_scatter() -> None:
    bench = Bench(CPU, 1, CEILINGS)
    rate, asked = product(bench, 3.2768 / 1.019)
    assert (asked, rate.efficiency, bench.doubts()) == ([False], 1.0, [])


def test_no_rate_is_above_the_roofline_and_what_still_seems_so_is_doubted() -> None:
    bench = Bench(CPU, 1, CEILINGS)
    rate, asked = product(bench, 1.0, 0.5, 2.0)
    assert asked == [False, True, True]
    assert rate.efficiency == 1.0
    assert rate.flops_per_s == pytest.approx(2 * 5 * 4 * 64 * 32 / 3.2768)
    (doubt,) = bench.doubts()
    assert doubt.about == "above a ceiling"
    assert doubt.sentence.startswith(
        "1 kernel seemed faster than the ceilings allow, native_fp32 with 5 rows most: 2.00 s "
        "where they need 3.28 s."
    )
    product(bench, -1.0, -1.0, -1.0)
    (doubt,) = bench.doubts()
    assert "2 kernels" in doubt.sentence and "most: no time where" in doubt.sentence


# --- rates by hand ----------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is timed is run once and takes 10 ms and 1 s in turns: a single call, then all."""
    timed: list[Any] = []
    seconds = itertools.cycle([0.01, 1.0])

    def fake(action: Callable[[], object], device: torch.device, trials: int = 3) -> float:
        timed.append(action())
        return next(seconds)

    monkeypatch.setattr(kernel_rates, "time_of", fake)
    return timed


@pytest.mark.parametrize(("kernel", "size"), [("fp32", 4), ("bf16", 2), ("int8", 1)])
def test_linear_rates(kernel: Dtype, size: int, clock: list[Any]) -> None:
    rates = library_rates(kernel, MatrixSet(64, 32, 4, ROWS), BENCH)
    assert [rate.rows for rate in rates] == [1, 5, 256]
    # Four matrices at 1e4 B/s. One second, less four calls of 10 ms.
    read_s = 4 * 64 * 32 * size / 1e4
    for rate in rates:
        assert rate.kernel == f"linear_{kernel}"
        assert rate.matrix_elements == 64 * 32
        assert rate.working_set_bytes == 4 * 64 * 32 * size
        flops = 2 * rate.rows * 4 * 64 * 32
        multiply_s = flops / (1e6 if kernel == "fp32" else 4e6)
        took_s = max(0.96, read_s, multiply_s)  # faster than the roofline no kernel is
        assert rate.flops_per_s == pytest.approx(flops / took_s)
        assert rate.efficiency == pytest.approx(max(read_s, multiply_s) / took_s)
    assert rates[-1].efficiency == 1.0


def test_calls_that_took_longer_than_all_leave_a_rate_that_can_be_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kernel_rates, "time_of", lambda action, device: 1.0)
    for rate in library_rates("fp32", MatrixSet(64, 64, 3, ROWS), BENCH):
        assert rate.efficiency == 1.0
        encode(rate)


def test_attention_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([2.0, 0.01, 1.0])  # the prompt; one call; a token over twelve layers
    monkeypatch.setattr(kernel_rates, "time_of", lambda action, device: next(seconds))
    found = attention_rate("bf16", Bench(CPU, 1, FAST))
    # 12 heads of 64 over 512·513/2 pairs, 4 FLOPs each.
    assert found.prefill_flops_per_s == pytest.approx(4 * 12 * 64 * 512 * 513 / 2 / 2.0)
    # Keys and values of 12 layers · 12 heads · 512 · 64 in 2 bytes; twelve calls of 10 ms less.
    moved = 2 * 12 * 12 * 512 * 64 * 2
    assert found.decode_bytes_per_s == pytest.approx(moved / 0.88)


def test_attention_above_the_ceilings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_rates, "time_of", lambda action, device: 1.0)
    bench = Bench(CPU, 1, CEILINGS)
    found = attention_rate("bf16", bench)
    assert found.prefill_flops_per_s == pytest.approx(4e6)
    assert found.decode_bytes_per_s == pytest.approx(1e4)
    assert elementwise_rate(bench) == pytest.approx(1e4)
    assert len(bench.too_fast) == 3


def test_elementwise_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_rates, "time_of", lambda action, device: 0.5)
    # Two operands and the result, 512·3072 in fp32.
    assert elementwise_rate(Bench(CPU, 1, FAST)) == pytest.approx(3 * 512 * 3072 * 4 / 0.5)


def test_every_format_and_size_has_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    took: list[float] = []

    def fake(action: Callable[[], object], device: torch.device, trials: int = 3) -> float:
        action()
        took.append(0.01 if len(took) % 4 == 0 else 1.0)  # one call, then three sizes
        return took[-1]

    sets = (MatrixSet(64, 128, 2, (1, 5)), MatrixSet(128, 64, 3, (9,)))
    monkeypatch.setattr(kernel_rates, "NATIVE_SETS", sets)
    monkeypatch.setattr(kernel_rates, "time_of", fake)
    monkeypatch.setattr(kernel_rates, "LIBRARY_SETS", ())
    bench = Bench(CPU, 1, FAST)
    rates = linear_rates(bench, with_compile=False, with_native=True)
    assert [(rate.kernel, rate.rows) for rate in rates] == [
        (f"native_{name}", rows) for name in NATIVE_FORMATS for rows in (1, 5, 9)
    ]
    for rate in rates:
        size = ELEMENT_BYTES[NATIVE_FORMATS[rate.kernel.removeprefix("native_")].weight_dtype]
        count = 3 if rate.rows == 9 else 2
        assert rate.working_set_bytes == count * 64 * 128 * size
        assert rate.flops_per_s == pytest.approx(
            2 * rate.rows * count * 64 * 128 / (1.0 - count * 0.01)
        )
